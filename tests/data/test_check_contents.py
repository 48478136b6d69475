"""What splits really hold: distinct images, recordings and places, and when that is next to nothing."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from earthtone.data.check import Contents, check, contents_of, place_numbers, small_split_warnings, table_contents
from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.signal.config import SignalConfig


def test_places_are_told_apart_to_a_hundred_metres() -> None:
    longitude = np.array([8.0, 8.00001, 8.01, -180.0, 180.0, np.nan, 8.0])
    latitude = np.array([50.0, 50.00001, 50.0, 0.0, 0.0, np.nan, np.nan])
    found = place_numbers(longitude, latitude)
    assert found[0] == found[1] != found[2] and found[3] == found[4] and found[5] == found[6] == -1


def test_what_rows_hold_is_counted_and_named() -> None:
    found = contents_of(np.array([4, 4, 7]), np.array([1, -1, -1]), np.array([3, 3, 3]), 3)
    assert found == Contents(3, 2, 1, 1) and str(found) == "3 rows of 2 images, 1 recording, 1 place"
    assert contents_of(None, np.arange(3), np.array([3, -1, 3]), 3) == Contents(3, None, 3, None)
    assert str(Contents(1)) == "1 row" and str(Contents(5000, 4000)) == "5,000 rows of 4,000 images"


@pytest.mark.parametrize(
    ("contents", "little"),
    [
        (Contents(185, 185, 185, 1), True), (Contents(185, 185, 185, 4), True), (Contents(185, 185, 185, 5), False),
        (Contents(185, 185, 185), False), (Contents(185, 185, 3, 90), True), (Contents(185, 9, 185), True),
        (Contents(9), True), (Contents(10), False), (Contents(40, None, 10, 5), False), (Contents(0, 0, 0), False),
    ],
)  # fmt: skip
def test_next_to_nothing_is_said(contents: Contents, little: bool) -> None:
    assert contents.is_small == little
    lines = small_split_warnings({"train": contents, "val": contents})
    assert len(lines) == little and all(line.startswith("val holds ") for line in lines)


def test_check_and_pack_count_places_of_each_split(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    """Sixty recordings at six sites, of which one is all of val."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(60):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / f"{number}.png")
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * rng.standard_normal(8000), 8000)
        site = number % 6
        split = "val" if site == 0 else "test" if site == 1 else "train"
        rows.append((number, f"{number}.png", f"{number}.wav", 8 + site, 50 + number * 1e-7, split))
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "image", "audio", "longitude", "latitude", "split"), *rows])
    found = check(tmp_path / "m.csv")
    assert found.contents["val"] == Contents(10, 10, 10, 1) and found.contents["train"] == Contents(40, 40, 40, 4)
    text = found.to_text()
    assert "    val: 10 rows of 10 images, 10 recordings, 1 place" in text
    assert "caution: val holds 10 rows of 10 images, 10 recordings, 1 place: a figure measured on so little" in text
    assert found.to_dict()["contents"]["test"]["places"] == 1
    assert check(tmp_path / "m.csv", sample=3).contents["val"] == Contents(10, None, None, 1)
    packed = pack(tmp_path / "m.csv", tmp_path / "t.lance", signal=tiny_signal)
    assert packed.contents == found.contents == table_contents(Table(tmp_path / "t.lance"))
    assert "caution: val holds 10 rows" in packed.to_text()


def test_a_medium_that_no_row_has_is_not_counted(tmp_path: Path, tiny_signal: SignalConfig) -> None:
    """In val images and a broken sound: no count of recordings. In train silence alone: none that is distinct."""
    rng = np.random.default_rng(3)
    rows = []
    soundfile.write(tmp_path / "silence.wav", np.zeros(8000), 8000)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / f"{number}.png")
        sound = "silence.wav" if number % 2 else "broken.wav" if number == 2 else ""
        rows.append((number, f"{number}.png", sound, 8 + number, 50, "train" if number % 2 else "val"))
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "image", "audio", "longitude", "latitude", "split"), *rows])
    for need in ("either", "image"):
        found = check(tmp_path / "m.csv", need=need)
        assert found.contents["val"] == Contents(12, 12, None, 12) and "caution: val" not in found.to_text()
    found = check(tmp_path / "m.csv", need="either")
    assert found.contents["train"] == Contents(12, 12, 0, 12)
    packed = pack(tmp_path / "m.csv", tmp_path / "t.lance", signal=tiny_signal, need="either")
    assert packed.contents == found.contents
