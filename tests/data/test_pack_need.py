"""Rows without an image, or without a sound, in a packed table; every reader of it takes them or says what lacks."""

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import earthtone
from earthtone.atlas.items import open_items
from earthtone.atlas.reading import read_ahead, reader_of
from earthtone.cli import main
from earthtone.data.check import CheckResult, check
from earthtone.data.check_table import check_table
from earthtone.data.pack import open_table, pack
from earthtone.data.packed import Table, table_schema
from earthtone.data.pair import NO_MEDIA
from earthtone.encode.engine import embed_rows
from earthtone.encode.training_images import training_images_of
from earthtone.errors import ConfigError, DataError
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import Need
from earthtone.signal.config import SignalConfig
from earthtone.studies.pretrain import report_on_validation
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import Recipe, TrainConfig

WritePairs = Callable[[Path, int], Path]


def changed(manifest: Path, name: str, change: Callable[[int, dict[str, str]], None]) -> Path:
    """The manifest with its cells changed, under another name beside it; columns that no row has are left out."""
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        change(number, row)
    path = manifest.with_name(name)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [key for key in rows[0] if any(key in row for row in rows)])
        writer.writeheader()
        writer.writerows(rows)
    return path


def some_lack(number: int, row: dict[str, str]) -> None:
    """Of 24 rows 0, 5, 10, 15, 20 have no image, 3, 8, 13, 18, 23 no sound."""
    for lacking, cell in ((0, "image"), (3, "audio")):
        if number % 5 == lacking:
            row[cell] = ""


@pytest.fixture(scope="module")
def mixed_manifest(tiny_pairs: Path) -> Path:
    return changed(tiny_pairs, "mixed.csv", some_lack)


@pytest.fixture(scope="module")
def mixed(mixed_manifest: Path, tiny_signal: SignalConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixed") / "mixed.lance"
    return pack(mixed_manifest, out, signal=tiny_signal, need="either", threads=2).path


@pytest.fixture(scope="module")
def sounds(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    manifest = changed(tiny_pairs, "sounds.csv", lambda _, row: row.__delitem__("image"))
    out = tmp_path_factory.mktemp("sounds") / "sounds.lance"
    return pack(manifest, out, signal=tiny_signal, need="audio", threads=2).path


def looked(data: Path, **options: Any) -> CheckResult:
    found = check(data, **options)
    assert isinstance(found, CheckResult)
    return found


def card(table: Path) -> dict[str, Any]:
    return dict(json.loads(lance.dataset(str(table)).schema.metadata[b"earthtone"]))


def test_a_row_keeps_what_it_has(
    mixed: Path, mixed_manifest: Path, tiny_table: Path, tiny_signal: SignalConfig
) -> None:
    table, whole = Table(mixed), Table(tiny_table)
    assert (len(table), table.need, card(mixed)["format"]) == (24, "either", 2)
    has = {medium: table.has(medium) for medium in ("image", "audio")}
    assert [row for row in range(24) if not has["image"][row]] == [0, 5, 10, 15, 20]
    assert [row for row in range(24) if not has["audio"][row]] == [3, 8, 13, 18, 23]
    nothing = {"image_hash": "", "audio_hash": "", "audio_frames": 0}
    for name in ("image", "image_hash", "audio_hash", "audio_frames", "audio_seconds"):
        there = has[name[:5]]
        expected = [value if there[row] else nothing.get(name) for row, value in enumerate(whole.column(name))]
        assert table.column(name) == expected
    heard = np.flatnonzero(has["audio"]).tolist()
    frames = table.frames()[heard].tolist()
    for ours, theirs in zip(*(of.sound(heard, [0] * len(heard), frames) for of in (table, whole)), strict=True):
        assert np.array_equal(ours, theirs)
    again = pack(mixed_manifest, mixed, signal=tiny_signal, need="either")
    assert (again.added, again.already_there) == (0, 24)
    with pytest.raises(DataError, match="packed with --need either, the new rows come with --need both"):
        pack(mixed_manifest, mixed, signal=tiny_signal)


def test_what_a_row_must_have_decides_what_is_left_out(
    mixed_manifest: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    both = pack(mixed_manifest, tmp_path / "both.lance", signal=tiny_signal)
    assert both.problems == {"missing image": 5, "missing audio": 5} and both.added == 14
    assert card(both.path)["format"] == 1 and "need" not in card(both.path)  # earlier versions open it
    assert not lance.dataset(str(both.path)).schema.field("image").nullable
    image = pack(mixed_manifest, tmp_path / "image.lance", signal=tiny_signal, need="image")
    assert (image.added, image.problems, image.lacking) == (19, {"missing image": 5}, {"audio": 5})
    assert "19 rows added" in image.to_text() and "added without audio: 5" in image.to_text()
    found = looked(mixed_manifest, need="image")
    assert (found.usable, found.lacking) == (19, {"audio": 5}) and "without audio: 5" in found.to_text()
    assert looked(mixed_manifest, need=("image",)).lacking == {}  # as before: sounds are not looked at


def test_a_medium_that_is_named_but_not_there_is_noted(
    write_pairs: WritePairs, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    manifest = write_pairs(tmp_path, 6)
    (tmp_path / "1.wav").unlink()
    (tmp_path / "2.wav").write_bytes(b"no sound")
    (tmp_path / "3.wav").write_bytes(b"no sound")
    (tmp_path / "3.png").write_bytes(b"no picture")
    (tmp_path / "4.png").unlink()
    (tmp_path / "4.wav").unlink()
    found = pack(manifest, tmp_path / "t.lance", signal=tiny_signal, need="either")
    assert found.notes == {"missing audio": 1, "broken audio": 1} and found.lacking == {"image": 0, "audio": 2}
    assert found.problems == {"broken audio": 1, NO_MEDIA: 1} and found.added == 4
    assert Table(found.path).notes() == found.notes
    seen = looked(manifest, need="either", signal=tiny_signal)
    assert {kind: len(each) for kind, each in seen.notes.items()} == found.notes
    assert (seen.usable, seen.lacking) == (4, {"image": 0, "audio": 2})
    assert check_table(found.path).ok


def test_excerpts_and_named_splits(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    def cut(number: int, row: dict[str, str]) -> None:
        some_lack(number, row)
        row["start_s"] = "x" if number == 1 else "0.1"

    manifest = changed(tiny_pairs, "cut.csv", cut)
    found = pack(manifest, tmp_path / "t.lance", signal=tiny_signal, need="either", split_by="blocks")
    assert (found.added, found.notes) == (24, {"bad number": 1})  # without its sound: the whole one is another
    assert found.lacking == {"image": 5, "audio": 6} and sum(found.splits.values()) == 24


def test_a_manifest_of_one_medium(sounds: Path, tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    table = Table(sounds)
    assert len(table) == 24 and not table.has("image").any() and table.has("audio").all()
    assert set(table.column("image")) == {None}
    manifest = tiny_pairs.with_name("sounds.csv")
    needs: tuple[Need, ...] = ("both", "image")
    for need in needs:
        with pytest.raises(DataError, match="no column 'image'"):
            pack(manifest, tmp_path / "t.lance", signal=tiny_signal, need=need)
    none = changed(manifest, "none.csv", lambda _, row: row.__delitem__("audio"))
    with pytest.raises(DataError, match="no column 'image'"):
        pack(none, tmp_path / "t.lance", signal=tiny_signal, need="either")
    with open_table(manifest, tiny_signal, need="audio") as once:
        assert len(once) == 24
    assert check_table(sounds).ok


def test_rows_are_told_by_what_they_have(mixed: Path, sounds: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(mixed)
    with caplog.at_level(logging.WARNING):
        pairs = table.rows_of("train")
    assert "of 16 rows of split train lack an image or a sound, and are left out" in caplog.text
    assert table.has("image", "audio")[pairs].all() and len(pairs) < len(table.rows_of("train", ["audio"])) < 16
    assert len(table.rows_of("all", ["image"])) == 19 and len(table.rows_of("all", [])) == 24
    with pytest.raises(DataError, match="none of 16 rows of split train has an image and a sound"):
        Table(sounds).rows_of("train")
    with pytest.raises(DataError, match="row 0 has no image"):
        table.images([0])
    with pytest.raises(DataError, match="a row has no sound"):
        next(table.sound([3], [0], [0]))


def test_a_check_finds_rows_that_lost_a_medium(mixed: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    table = Table(mixed)
    names = table_schema(tiny_signal, table.extra_columns, need="either").names
    rows = table.records([1, 2, 4], [name for name in names if name != "audio"])
    frames = table.frames()[[1, 2, 4]].tolist()
    for row, sound in zip(rows, table.sound([1, 2, 4], [0] * 3, frames), strict=True):
        row["audio"] = sound.tobytes()
    rows[0]["image"] = None
    rows[1] |= {"image": None, "image_hash": "", "audio": None, "audio_frames": 0}
    schema = table_schema(tiny_signal, table.extra_columns, need="either")
    lance.write_dataset(pa.Table.from_pylist(rows, schema=schema), str(tmp_path / "t.lance"))
    faults = check_table(tmp_path / "t.lance").faults
    assert [fault.rpartition(": ")[2] for fault in faults] == ["it has no picture", "it has no picture"]
    rows = rows[2:]
    rows[0] |= {"image": None, "image_hash": ""}
    schema = table_schema(tiny_signal, table.extra_columns, need="image")
    loose = schema.set(schema.get_field_index("image"), pa.field("image", pa.binary()))
    lance.write_dataset(pa.Table.from_pylist(rows, schema=loose), str(tmp_path / "u.lance"))
    assert "it has no image, which the table's rows must have" in check_table(tmp_path / "u.lance").faults[0]


def test_vectors_of_what_is_there(mixed: Path, sounds: Path, tiny_table: Path, tiny_model: TwoTower) -> None:
    for medium, lacking in (("image", 0), ("audio", 3)):
        found = {}
        for path in (mixed, tiny_table):
            items = open_items(path, tiny_model, modality=medium)
            read = list(read_ahead(items.items(medium, lambda *_: False), reader_of(items, tiny_model, medium)))  # type: ignore[arg-type]
            found[path] = {each[0].id: each[1].inputs for each in read if isinstance(each, tuple)}
            assert len(read) == items.count(medium)  # type: ignore[arg-type]
        assert list(found[mixed]) == [id for n, id in enumerate(found[tiny_table]) if n % 5 != lacking]
        assert all(np.array_equal(found[mixed][id], found[tiny_table][id]) for id in found[mixed])
    assert open_items(sounds, tiny_model).media == ("audio",)
    with pytest.raises(DataError, match="has no image to embed"):
        open_items(sounds, tiny_model, modality="image")
    rows = Table(mixed).rows_of("all")
    for ours, theirs in zip(*(embed_rows(tiny_model, Table(of), rows) for of in (mixed, tiny_table)), strict=True):
        assert np.array_equal(ours, theirs)
    assert len(training_images_of(tiny_model, Table(mixed))) == len(Table(mixed).rows_of("train", ["image"]))


def test_a_training_and_its_figures_take_pairs(mixed: Path, tiny_model: TwoTower, tmp_path: Path) -> None:
    table = Table(mixed)
    rows = table.rows_of("train")
    loader = TrainLoader(table, rows, Recipe(signal=table.signal, train=TrainConfig(epochs=1, batch_size=4)))
    assert all(set(batch.rows.tolist()) <= set(rows.tolist()) for batch in loader)
    model = tmp_path / "model"
    save_model(model, tiny_model, {})
    result = earthtone.evaluate_retrieval(model, mixed, split="all", resamples=10)
    assert result.gallery == 14
    with pytest.raises(DataError, match="14 pairs of split all; at least 50 expected"):
        earthtone.doctor(model, mixed, split="all")
    probed = earthtone.evaluate_probe(model, mixed, label="label", resamples=10)
    assert len(probed.ids) == int(table.has("image")[table.rows_of("test", [])].sum())
    earthtone.why_pairs(model, mixed, tmp_path / "why.html", split="train", rows=2)
    assert report_on_validation(model, table) is not None
    assert (model / "report.html").exists()


def test_a_table_of_one_medium_says_what_lacks(sounds: Path, tiny_model: TwoTower, tmp_path: Path) -> None:
    model = tmp_path / "model"
    save_model(model, tiny_model, {})
    lacks = "has an image and a sound, which is needed here"
    for call in (
        lambda: earthtone.evaluate_retrieval(model, sounds),
        lambda: earthtone.doctor(model, sounds, split="all"),
        lambda: earthtone.why_pairs(model, sounds, tmp_path / "why.html"),
        lambda: earthtone.pretrain(sounds, tmp_path / "run", recipe=Recipe(signal=Table(sounds).signal)),
    ):
        with pytest.raises(DataError, match=lacks):
            call()
    with pytest.raises(DataError, match="has an image, which is needed here"):
        training_images_of(tiny_model, Table(sounds))
    with pytest.raises(DataError):
        earthtone.evaluate_probe(model, sounds, label="label")
    assert report_on_validation(model, Table(sounds)) is None


def test_description_and_split(mixed: Path, mixed_manifest: Path, tmp_path: Path) -> None:
    for found in (earthtone.describe(mixed), earthtone.describe(mixed_manifest, need="either")):
        assert (found.rows, found.images, found.recordings, found.without_length) == (24, 19, 19, 5)
    assert earthtone.describe(mixed_manifest).problems == {"missing audio": 5, "missing image": 5}
    assert earthtone.describe(mixed_manifest, need="audio").rows == 19
    dealt = earthtone.split(mixed_manifest, tmp_path / "split", need="either")
    for result in (dealt, earthtone.split(mixed, tmp_path / "split2")):
        assert sum(result.report.rows.values()) == 24
    with pytest.raises(ConfigError, match="--need has no effect with --metadata_only"):
        earthtone.describe(mixed_manifest, need="image", metadata_only=True)
    with pytest.raises(ConfigError, match="--need out"):
        earthtone.describe(mixed, need="image")


def test_on_the_command_line(mixed_manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(mixed_manifest), "--need", "image"]) == 0
    assert "19 of 24 rows usable" in capsys.readouterr().out
    assert main(["pack", str(mixed_manifest), "--out", str(tmp_path / "t.lance"), "--need", "imagine"]) == 2
    said = capsys.readouterr().err
    assert "both, image, audio or either expected" in said and "Traceback" not in said
    assert main(["pack", str(mixed_manifest), "--out", str(tmp_path / "t.lance"), "--need", "audio"]) == 0
    assert "added without image: 5" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "t.lance"), "--need", "audio"]) == 2


def test_a_published_set_in_parquet_may_lack_cells(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    def cell(data: bytes | None) -> dict[str, object] | None:
        return None if data is None else {"bytes": data, "path": None}

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [tiny_pairs.with_name(f"{n}.png").read_bytes() if n % 3 else None for n in range(6)]
    sounds = [tiny_pairs.with_name(f"{n}.wav").read_bytes() if n % 2 else None for n in range(6)]
    rows = {"id": [f"row {n}" for n in range(6)], "image": pa.array(map(cell, images), kind)}
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({**rows, "audio": pa.array(map(cell, sounds), kind)}), tmp_path / "set" / "train.parquet")
    found = pack(tmp_path / "set", tmp_path / "t.lance", signal=tiny_signal, need="either")
    assert (found.added, found.problems, found.lacking) == (5, {NO_MEDIA: 1}, {"image": 1, "audio": 2})
    again = pack(tmp_path / "set", found.path, signal=tiny_signal, need="either")
    assert (again.added, again.already_there, again.problems) == (0, 5, {NO_MEDIA: 1})
    (tmp_path / "images").mkdir()
    pq.write_table(pa.table(rows), tmp_path / "images" / "train.parquet")
    alone = pack(tmp_path / "images", tmp_path / "u.lance", signal=tiny_signal, need="image")
    assert (alone.added, alone.problems) == (4, {"missing image": 2})
