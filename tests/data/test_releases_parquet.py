"""Releases as Parquet files: what is carried, what is left unread, and what is said of changed and broken ones."""

import logging
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earthtone.cli import main
from earthtone.data.manifest import Manifest
from earthtone.data.packed import Table
from earthtone.data.pair import Pair, Problem
from earthtone.data.releases import ParquetRelease
from earthtone.data.source import open_source
from earthtone.errors import ConfigError, DataError
from earthtone.signal.remarks import Remark

WriteRelease = Callable[..., Path]
TINY = [
    "--model.image_encoder=test_resnet", "--model.audio_encoder=test_resnet", "--model.dimensions=16",
    "--train.batch_size=8", "--train.epochs=1", "--train.device=cpu",
    "--signal.audio.sample_rate_hz=16000", "--signal.audio.window_seconds=0.8", "--signal.audio.mels=32",
    "--signal.audio.hop_seconds=0.02", "--signal.image.pixels=32", "--signal.image.stored_pixels=40",
]  # fmt: skip


def cells(path: Path, column: str) -> list[object]:
    return pq.read_table(path, columns=[column]).column(0).to_pylist()


def renamed(old: str, new: str) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.rename_columns([new if name == old else name for name in rows.column_names])


def test_soundingearth(soundingearth: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = open_source(soundingearth)
    items = list(source)
    assert isinstance(source, ParquetRelease) and len(source) == len(items) == 18 and source.name == "SoundingEarth"
    # files in the order of their names: test, train, validation
    assert [item.split for item in items if isinstance(item, Pair)] == ["test"] * 4 + ["train"] * 12 + ["val"] * 2
    first = soundingearth / "data" / "test-00000-of-00001.parquet"
    pair = items[1]
    detail = (
        "data/test-00000-of-00001.parquet, row 2: datetime 'in spring'; ISO 8601 expected, such as 2020-11-04T17:00Z"
    )
    assert pair == Pair(
        id="aporee-15_45",
        image=cells(first, "googleearth_image")[1]["bytes"],  # type: ignore[index]
        audio=cells(first, "audio")[1]["bytes"],  # type: ignore[index]
        longitude=6.125, latitude=51.875, datetime=None, image_gsd_m=0.2,
        source="aporee", license="research use only",
        attribution="MVRL/SoundingEarth (Khanal et al.), after SoundingEarth (Heidler et al.); "
        "recordings: Radio Aporee; imagery: Google Earth",
        split="test",
        extra={
            "short_id": "15", "audio_caption": "caption 15", "audio_caption_source": "qwen",
            "llava_caption_googleearth_zl1": "birds", "date_recorded": "in spring",
        },
        remarks=(Remark("unreadable cell", f"{detail}; the row is kept without it"),),
    )  # fmt: skip
    assert isinstance(items[0], Pair) and items[0].datetime == datetime(2010, 5, 8, tzinfo=UTC)
    assert sum(bool(item.remarks) for item in items if isinstance(item, Pair)) == 4
    assert caplog.messages == []
    assert list(source) == items


def test_geosound_and_its_choice_of_imagery(geosound: Path) -> None:
    bing = [item for item in open_source(geosound) if isinstance(item, Pair)]
    sentinel = [item for item in open_source(geosound, columns={"image": "sentinel_image"}) if isinstance(item, Pair)]
    file = geosound / "data" / "test-00000-of-00001.parquet"
    for found, column, metres in ((bing, "bingmap_image", 0.6), (sentinel, "sentinel_image", 10.0)):
        assert [pair.image for pair in found[:4]] == [cell["bytes"] for cell in cells(file, column)]  # type: ignore[index]
        assert {pair.image_gsd_m for pair in found} == {metres}
        assert Counter(pair.split for pair in found) == {"train": 12, "val": 2, "test": 4}
    assert bing[0].source == "iNat" and bing[0].datetime == datetime(2012, 6, 1, 8, 30, tzinfo=UTC)
    assert bing[0].extra["original_sampling_rate"] == "44100" and bing[0].extra["tags"] == "tags 14"
    assert set(bing[0].extra) == set(pq.read_schema(file).names) - {
        "sample_id", "source", "audio", "bingmap_image", "sentinel_image", "mel_features", "latitude", "longitude",
    }  # fmt: skip


def test_files_beside_each_other_or_alone(soundingearth: Path, tmp_path: Path) -> None:
    for path in (soundingearth / "data").iterdir():
        shutil.copy(path, tmp_path)
    assert [item.id for item in open_source(tmp_path)] == [item.id for item in open_source(soundingearth)]
    alone = open_source(tmp_path / "validation-00000-of-00001.parquet")
    assert isinstance(alone, ParquetRelease) and [getattr(item, "split", None) for item in alone] == ["val", "val"]


def test_a_manifest_in_parquet_is_still_a_manifest(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "image": ["a.png"], "audio": ["a.wav"]}), tmp_path / "manifest.parquet")
    assert isinstance(open_source(tmp_path), Manifest)
    assert isinstance(open_source(tmp_path / "manifest.parquet"), Manifest)


def test_other_sets_are_read_like_manifests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split in ("train", "dev"):
        rows = pa.table({"id": [split], "image": [b"picture"], "audio": [b"sound"], "label": ["x"], "raw": [b"-"]})
        (tmp_path / "default" / split).mkdir(parents=True)
        pq.write_table(rows, tmp_path / "default" / split / "0000.parquet")
    pairs = [item for item in open_source(tmp_path) if isinstance(item, Pair)]
    assert [(pair.id, pair.split, pair.extra, pair.license) for pair in pairs] == [
        ("dev", "val", {"label": "x"}, None), ("train", "train", {"label": "x"}, None),
    ]  # fmt: skip
    assert "columns 'raw' are not carried" in caplog.text


def test_media_that_are_not_wanted_are_not_read(soundingearth: Path, tmp_path: Path) -> None:
    """Every byte of the first row group's pictures is spoilt: rows are still there as long as none is asked for."""
    folder = shutil.copytree(soundingearth, tmp_path / "copy")
    path = folder / "data" / "test-00000-of-00001.parquet"
    group = pq.read_metadata(path).row_group(0)
    column = next(group.column(i) for i in range(99) if group.column(i).path_in_schema == "googleearth_image.bytes")
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    source = ParquetRelease(folder)
    numbers: list[tuple[int, str]] = []
    items = list(source.skipping(lambda number, name: numbers.append((number, name)) or number < 3))
    assert numbers == [(i, item.id) for i, item in enumerate(items)]
    assert [item.image is None for item in items if isinstance(item, Pair)] == [True] * 3 + [False] * 15
    assert all(item.image is None for item in source.skipping(lambda number, name: True) if isinstance(item, Pair))
    with pytest.raises(
        DataError, match=r"copy/data/test-00000-of-00001.parquet, after row 0: .*; a whole Parquet file"
    ):
        list(source)
    assert all(isinstance(item, Pair) for item in ParquetRelease(folder, need=("audio",)))


def test_cells_without_bytes_are_problems_and_paths_are_never_opened(
    write_release: WriteRelease, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"of this machine")

    def change(rows: pa.Table) -> pa.Table:
        values = rows.column("googleearth_image").to_pylist()
        values[0] = {"bytes": None, "path": str(secret)}
        values[1] = None
        kind = rows.schema.field("googleearth_image").type
        return rows.set_column(3, "googleearth_image", pa.array(values, kind))

    items = list(ParquetRelease(write_release(tmp_path / "set", change=change)))
    problems = [item for item in items if isinstance(item, Problem)]
    assert [problem.kind for problem in problems] == ["missing image"] * 8
    assert problems[0].detail == "data/test-00000-of-00001.parquet, row 1: the image cell is empty; the row is left out"


@pytest.mark.parametrize("column", ["sample_id", "googleearth_image", "audio", "latitude", "date_recorded"])
def test_a_changed_column_is_named(write_release: WriteRelease, tmp_path: Path, column: str) -> None:
    folder = write_release(tmp_path / "set", change=renamed(column, f"{column}s"))
    with pytest.raises(
        DataError, match=rf"no column '{column}' .* did you mean '{column}s'\?.* type --columns \w+=NAME"
    ):
        open_source(folder)
    own = {"sample_id": "id", "googleearth_image": "image", "date_recorded": "datetime"}.get(column, column)
    assert all(isinstance(item, Pair) for item in open_source(folder, columns={own: f"{column}s"}))


def test_columns_of_another_kind_or_in_some_files_only(soundingearth: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(soundingearth, tmp_path / "a")
    path = folder / "data" / "train-00001-of-00002.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["audio_caption"]), path)
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet has no column 'audio_caption', as data/test"):
        open_source(folder)
    folder = tmp_path / "b"
    folder.mkdir()
    pq.write_table(pa.table({"id": ["a"], "image": ["/etc/hostname"], "audio": [b"x"]}), folder / "train.parquet")
    with pytest.raises(
        DataError, match="column 'image' is of type string; bytes, or a struct with bytes, were expected"
    ):
        open_source(folder)


def test_broken_files_are_named_before_any_work(soundingearth: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(soundingearth, tmp_path / "copy")
    path = folder / "data" / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        DataError, match=r"train-00001-of-00002.parquet: .*; a whole Parquet file was expected"
    ) as found:
        open_source(folder)
    assert "\n" not in str(found.value)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(DataError, match="stands for a file that was not downloaded; type git lfs pull in"):
        open_source(folder)


def test_a_part_of_a_set_is_told(soundingearth: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = shutil.copytree(soundingearth, tmp_path / "copy")
    (folder / "data" / "train-00000-of-00002.parquet").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(open_source(folder)) == 11
    assert caplog.messages == [f"{folder} is a part of its data set: it has 1 of 2 data/train files"]


def test_splits_are_told_by_all_names_or_none(soundingearth: Path, tmp_path: Path) -> None:
    path = soundingearth / "data" / "test-00000-of-00001.parquet"
    shutil.copy(path, tmp_path / "part-1.parquet")
    assert {item.split for item in open_source(tmp_path) if isinstance(item, Pair)} == {None}
    shutil.copy(path, tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"the name of 'part-1.parquet' tells no split, others do"):
        open_source(tmp_path)


def test_useless_options_and_empty_folders(soundingearth: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is for SoundingEarth releases"):
        open_source(soundingearth, prefer="raw")
    with pytest.raises(DataError, match=r"or data/\*\.parquet\) was expected"):
        open_source(tmp_path)


def test_check(geosound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(geosound)]) == 0
    shown = capsys.readouterr().out
    assert "18 of 18 rows usable, 18 examined" in shown
    assert "splits: train (12), test (4), val (2)" in shown
    assert "sample rates (Hz): 32000 (18)" in shown and "licenses: research use only (18)" in shown
    assert main(["check", str(geosound), "--sample", "2", "--columns", "image=sentinel_image"]) == 0
    assert "18 of 18 rows usable, 2 examined" in capsys.readouterr().out


def test_duplicates_are_found_across_files(write_release: WriteRelease, tmp_path: Path) -> None:
    def change(rows: pa.Table) -> pa.Table:
        values = rows.column("googleearth_image").to_pylist()
        fixed = pa.array([same, *values[1:]], rows.schema.field("googleearth_image").type)
        return rows.set_column(3, "googleearth_image", fixed)

    from earthtone.data.check import check

    same = {"bytes": _png(), "path": "same.png"}
    found = check(write_release(tmp_path / "set", change=change), workers=1).duplicate_images
    assert [(group.ids, group.splits) for group in found] == [
        (("aporee-14_42", "aporee-0_0", "aporee-7_21", "aporee-12_36"), ("test", "train", "val"))
    ]


@pytest.mark.slow
def test_pretrain_and_pack(soundingearth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, table = tmp_path / "run", tmp_path / "t.lance"
    assert main(["pretrain", str(soundingearth), "--recipe", "small", "--out", str(run), *TINY]) == 0
    assert (run / "model.safetensors").exists()
    signal = [word for word in TINY if word.startswith("--signal")]
    words = ["pack", str(soundingearth), "--out", str(table), "--recipe", "small", *signal]
    assert main(words) == 0
    packed = Table(table)
    assert Counter(packed.column("split")) == {"train": 12, "val": 2, "test": 4}
    assert set(packed.column("license")) == {"research use only"}
    assert sorted(packed.column("audio_caption")) == sorted(f"caption {n}" for n in range(18))
    capsys.readouterr()
    assert main(words) == 0
    assert "0 pairs added, 18 were there, 18 in all" in capsys.readouterr().out


def _png() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (48, 48), (9, 99, 199)).save(out, "PNG")
    return out.getvalue()
