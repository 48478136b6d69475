"""Rows, columns and slices of sound come back from a packed table as they went in."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from earthtone.data.pack import pack
from earthtone.data.packed import Table, table_schema
from earthtone.data.pair import PACKED_COLUMNS
from earthtone.errors import DataError
from earthtone.models.inputs import measured_tile
from earthtone.signal.audio import probe_audio, read_audio
from earthtone.signal.config import SignalConfig
from earthtone.signal.image import decode_tile
from earthtone.signal.spectrogram import log_mel


@pytest.fixture
def table(tiny_table: Path) -> Table:
    return Table(tiny_table)


def test_what_was_packed(table: Table, tiny_signal: SignalConfig) -> None:
    assert len(table) == 24 and table.signal == tiny_signal and table.extra_columns == ("label",)
    assert table.column("id") == [f"pair-{n}" for n in range(24)]
    assert table.column("label")[:4] == ["kind 0", "kind 1", "kind 2", "kind 3"]
    assert table.column("longitude")[3] == 3.5 and table.column("latitude")[3] == 42.0
    assert table.column("datetime") == [None] * 24
    np.testing.assert_allclose(table.column("audio_seconds"), [1 + n % 5 / 2 for n in range(24)], atol=1e-3)
    np.testing.assert_array_equal(table.frames(), [round(50 * (1 + n % 5 / 2)) for n in range(24)])


def test_pictures_and_sound_are_those_of_the_files(table: Table, tiny_pairs: Path, tiny_signal: SignalConfig) -> None:
    rows = [23, 0, 7]
    frames = table.frames()[rows].tolist()
    sounds = list(table.sound(rows, [0, 0, 0], frames))
    for row, image, sound in zip(rows, table.images(rows), sounds, strict=True):
        tile = measured_tile(tiny_pairs.parent / f"{row}.png", tiny_signal.image)[0]
        np.testing.assert_array_equal(decode_tile(image), tile)
        samples = read_audio(tiny_pairs.parent / f"{row}.wav", 16_000)
        np.testing.assert_array_equal(sound, log_mel(samples, tiny_signal.audio))


def test_slices_of_sound_in_any_order(table: Table) -> None:
    every = list(range(24))
    whole = list(table.sound(every, [0] * 24, table.frames().tolist()))
    draw = np.random.default_rng(0)
    rows = draw.integers(0, 24, 100)  # unsorted, many several times
    frames = draw.integers(1, 51, 100)
    starts = [int(draw.integers(len(whole[row]) - count + 1)) for row, count in zip(rows, frames, strict=True)]
    found = list(table.sound(rows.tolist(), starts, frames.tolist()))
    for slice_, row, start, count in zip(found, rows, starts, frames, strict=True):
        np.testing.assert_array_equal(slice_, whole[row][start : start + count])


def test_slices_of_sound_across_commits(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    """Rows keep their numbers when a table has grown by several commits, large recordings among small ones."""
    draw, mels = np.random.default_rng(0), tiny_signal.audio.mels
    sounds = [draw.integers(0, 256, (count, mels), np.uint8) for count in (60, 50, 9000, 70, 9000, 50, 80)]
    cells = {"image": b"", "image_hash": "", "audio_hash": ""}
    for part, mode in ((sounds[:3], "create"), (sounds[3:4], "append"), (sounds[4:], "append")):
        rows = [{**cells, "id": "x", "audio": sound.tobytes(), "audio_frames": len(sound)} for sound in part]
        batch = pa.Table.from_pylist(rows, schema=table_schema(tiny_signal, ()))
        lance.write_dataset(batch, str(tmp_path / "t.lance"), mode=mode)
    table = Table(tmp_path / "t.lance")
    order = [6, 2, 3, 0, 4, 4, 5]
    starts = [int(draw.integers(0, len(sounds[row]) - 49)) for row in order]
    found = list(table.sound(order, starts, [50] * len(order)))
    for row, start, sound in zip(order, starts, found, strict=True):
        assert np.array_equal(sound, sounds[row][start : start + 50])
    for wrong in (51, 0):
        with pytest.raises(DataError, match=r"t\.lance: a (file|recording) .* pack it again") as error:
            list(table.sound([1], [0], [wrong]))
        assert "\n" not in str(error.value)


def test_records_in_the_order_asked_for(table: Table) -> None:
    records = table.records([5, 2, 5, 20], ["id", "label"])
    assert [record["id"] for record in records] == ["pair-5", "pair-2", "pair-5", "pair-20"]
    assert records[0] == {"id": "pair-5", "label": "kind 1"}
    assert table.records([], ["id"]) == [] and list(table.sound([], [], [])) == []


def test_a_preview_to_listen_to(table: Table) -> None:
    preview = table.records([4], ["audio_preview"])[0]["audio_preview"]
    assert probe_audio(preview).seconds == 3.0


def test_reading_from_several_threads(table: Table) -> None:
    def read(row: int) -> bytes:
        return next(table.sound([row], [0], [50])).tobytes() + table.images([row])[0]

    rows = list(range(24)) * 4
    expected = [read(row) for row in rows[:24]] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, rows)) == expected


def test_rows_of_a_split(table: Table) -> None:
    splits = table.column("split")
    for split, count in (("train", 16), ("val", 4), ("test", 4)):
        rows = table.rows_of(split)
        assert rows.dtype == np.int64 and len(rows) == count
        assert all(splits[row] == split for row in rows) and (np.diff(rows) > 0).all()
    for everything in (None, "all"):
        np.testing.assert_array_equal(table.rows_of(everything), np.arange(24))


def test_groups_are_equal_where_values_are(table: Table) -> None:
    groups = table.groups("label")
    assert groups.dtype == np.int64 and [groups[n] == groups[0] for n in range(8)] == [True, False, False, False] * 2
    assert len(set(table.groups("image_hash").tolist())) == 24
    assert len(set(table.groups("attribution").tolist())) == 1  # unknown everywhere
    assert len(set(table.groups("longitude").tolist())) == 24


def test_groups_are_numbered_as_they_appear(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    """Over several commits, by the definition; without a value is -1."""
    draw = np.random.default_rng(0)
    values = [[None, "", "a", "b", "c", "\u00e4", "0"][number] for number in draw.integers(0, 7, 40)]
    cells = {"id": "x", "image": b"", "audio": b"", "image_hash": "", "audio_hash": "", "audio_frames": 0}
    for start, stop, mode in ((0, 9, "create"), (9, 10, "append"), (10, 40, "append")):
        rows = [{**cells, "label": value} for value in values[start:stop]]
        batch = pa.Table.from_pylist(rows, schema=table_schema(tiny_signal, ["label"]))
        lance.write_dataset(batch, str(tmp_path / "t.lance"), mode=mode)
    seen: dict[str | None, int] = {None: -1, "": -1}
    expected = [seen.setdefault(value, len(seen) - 2) for value in values]
    assert Table(tmp_path / "t.lance").groups("label").tolist() == expected


def test_unknown_splits_and_columns_are_answered_with_the_known_ones(table: Table) -> None:
    with pytest.raises(DataError, match=r"no rows of split 'dev'; it has test \(4\), train \(16\), val \(4\)"):
        table.rows_of("dev")
    with pytest.raises(DataError, match=r"no column 'labels'; it has id, longitude, .*, label"):
        table.column("labels")


def test_the_fingerprint_tells_contents_and_splits(
    table: Table, tiny_pairs: Path, tiny_table: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    assert table.fingerprint == Table(tiny_table).fingerprint and len(table.fingerprint) == 16
    again = pack(tiny_pairs, tmp_path / "again.lance", signal=tiny_signal, threads=1, preview_seconds=0.1)
    assert Table(again.path).fingerprint == table.fingerprint
    folder = tmp_path / "pairs"
    shutil.copytree(tiny_pairs.parent, folder)
    for old, new in ((",val,", ",test,"), ("pair-3,", "pair-x,"), ("3.png", "4.png"), ("3.wav", "4.wav")):
        (folder / "manifest.csv").write_text(tiny_pairs.read_text().replace(old, new))
        changed = pack(folder, tmp_path / f"{new}.lance".replace(",", ""), signal=tiny_signal)
        assert Table(changed.path).fingerprint != table.fingerprint


def no_folder(path: Path) -> None:
    pass


def empty_folder(path: Path) -> None:
    path.mkdir()


def folder_of_files(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("nothing packed here")


def file(path: Path) -> None:
    path.write_text("a file")


def foreign_dataset(path: Path) -> None:
    lance.write_dataset(pa.table({"id": ["a"]}), str(path))


def broken_dataset(path: Path) -> None:
    foreign_dataset(path)
    for version in (path / "_versions").iterdir():
        version.write_bytes(b"broken")


@pytest.mark.slow
@pytest.mark.parametrize("make", [no_folder, empty_folder, folder_of_files, file, foreign_dataset, broken_dataset])
def test_what_is_no_packed_table(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "t.lance"
    make(path)
    with pytest.raises(DataError, match=r"t.lance: not a packed table; make one with: earthtone pack DATA") as error:
        Table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "packed table of format 3, .* reads formats up to 2; install a newer earthtone"),
        ({"signal": {"audio": {}}}, "signal config of another version of earthtone"),
    ],
)
def test_tables_of_another_version(tmp_path: Path, change: dict[str, object], message: str) -> None:
    schema = table_schema(SignalConfig(), ())
    card = json.dumps(json.loads(schema.metadata[b"earthtone"]) | change)
    empty = schema.with_metadata({"earthtone": card}).empty_table()
    lance.write_dataset(empty, str(tmp_path / "t.lance"))
    with pytest.raises(DataError, match=message):
        Table(tmp_path / "t.lance")


def test_free_columns_must_not_be_the_tables_own() -> None:
    with pytest.raises(DataError, match=r"columns \['audio_hash', 'split'\] of the manifest have names"):
        table_schema(SignalConfig(), ("label", "split", "audio_hash"))
    assert set(PACKED_COLUMNS) < set(table_schema(SignalConfig(), ("label",)).names)


@pytest.mark.parametrize("side_m", [0.0, -40.0, float("inf"), 1e300, 1e-300])
def test_metres_along_a_tile_that_are_no_length(tiny_signal: SignalConfig, tmp_path: Path, side_m: float) -> None:
    sides_m = [None, float("nan"), 40.0, side_m]
    cells = {"id": "x", "image": b"", "image_hash": "", "audio": b"", "audio_hash": "", "audio_frames": 0}
    schema = table_schema(tiny_signal, ())
    for name, sides in (("good", sides_m[:3]), ("bad", sides_m)):
        rows = [{**cells, "tile_side_m": side} for side in sides]
        lance.write_dataset(pa.Table.from_pylist(rows, schema=schema), str(tmp_path / f"{name}.lance"))
    np.testing.assert_array_equal(Table(tmp_path / "good.lance").tile_sides_m, [np.nan, np.nan, 40.0])
    with pytest.raises(DataError, match=r"bad\.lance: tile_side_m is .*; metres, finite and more than 0, expected"):
        _ = Table(tmp_path / "bad.lance").tile_sides_m
