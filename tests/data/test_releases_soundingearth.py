"""The release's folder in miniature: its layout, both kinds of audio, and what happens when something is missing."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from earthtone.data.pair import Pair, Problem
from earthtone.data.releases import RELEASE_COLUMNS, SoundingEarth
from earthtone.data.source import open_source
from earthtone.errors import ConfigError, DataError
from earthtone.signal.config import AudioConfig
from earthtone.signal.spectrogram import spectrogram_from_picture, windows


def release(folder: Path, keys: tuple[object, ...] = (10, 12, 15, 17, 20), **cells: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "images").mkdir()
    (folder / "spectrograms").mkdir()
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, RELEASE_COLUMNS)
        writer.writeheader()
        for key in keys:
            row = {"key": key, "long_key": f"aporee_{key}", "latitude": 50.5, "longitude": 8.25, "title": "By the sea"}
            row |= {"description": 'Waves,\n"loud"', "mp3name": f"sea{key}.mp3", "mp3samplerate": 44100}
            writer.writerow(row | {"date_recorded": "2010-05-08"} | cells)
            Image.new("RGB", (32, 32), (0, 0, 200)).save(folder / "images" / f"{key}.jpg", "JPEG")
            Image.new("L", (40, 128), 90).save(folder / "spectrograms" / f"{key}.jpg", "JPEG")
    return folder


def recording(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(4410), 44100, format="MP3")


def test_ready_spectrograms(tmp_path: Path) -> None:
    source = SoundingEarth(release(tmp_path / "world"))
    items = list(source)
    assert source.ready_spectrograms and len(source) == 5 and source.name == "world"
    first = items[0]
    assert first == Pair(
        id="10", image=source.path / "images/10.jpg", audio=source.path / "spectrograms/10.jpg",
        longitude=8.25, latitude=50.5, datetime=datetime(2010, 5, 8, tzinfo=UTC), source="aporee", split="train",
        image_gsd_m=0.2, license="CC-BY-4.0 (Zenodo 5600379); imagery: Google Earth",
        attribution="SoundingEarth (Heidler et al.); recordings: Radio Aporee; imagery: Google Earth",
        extra={
            "title": "By the sea", "description": 'Waves,\n"loud"', "long_key": "aporee_10",
            "mp3name": "sea10.mp3", "mp3samplerate": "44100",
        },
    )  # fmt: skip
    assert tuple(first.extra) == source.extra_columns
    assert [item.split for item in items if isinstance(item, Pair)] == ["train", "test", "test", "val", "train"]
    assert list(source) == items


@pytest.mark.parametrize("name", ["audio/sea10.mp3", "raw/10.mp3", "mp3/sea10.mp3", "raw_audio/aporee_10/sea10.mp3"])
def test_raw_recordings_are_preferred_and_never_mixed_with_spectrograms(tmp_path: Path, name: str) -> None:
    recording(release(tmp_path) / name)
    source = SoundingEarth(tmp_path)
    first, *others = list(source)
    assert not source.ready_spectrograms
    assert isinstance(first, Pair) and first.audio == tmp_path / name
    assert [item.kind for item in others if isinstance(item, Problem)] == ["missing audio"] * 4


def test_spectrograms_can_be_preferred(tmp_path: Path) -> None:
    recording(release(tmp_path) / "audio/sea10.mp3")
    source = SoundingEarth(tmp_path, prefer="spectrogram")
    assert source.ready_spectrograms
    assert all(isinstance(item, Pair) for item in source)


def test_rows_without_a_file_are_problems(tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / "images/12.jpg").unlink()
    (tmp_path / "spectrograms/17.jpg").unlink()
    items = list(SoundingEarth(tmp_path))
    assert [(item.id, item.kind) for item in items if isinstance(item, Problem)] == [
        ("12", "missing image"), ("17", "missing audio"),
    ]  # fmt: skip
    assert len(items) == 5


def test_images_alone(tmp_path: Path) -> None:
    release(tmp_path)
    (tmp_path / "spectrograms/17.jpg").unlink()
    source = SoundingEarth(tmp_path, need=("image",))
    assert not source.ready_spectrograms
    assert all(isinstance(item, Pair) and item.audio is None for item in source)


def test_bad_keys_are_problems(tmp_path: Path) -> None:
    source = SoundingEarth(release(tmp_path, keys=("", "x1", "1.5", "-3", 10, 10)))
    assert [getattr(item, "kind", "") for item in source] == ["no id", *["bad number"] * 3, "", "duplicate id"]


def test_unreadable_dates_keep_the_row_and_are_told(tmp_path: Path) -> None:
    source = SoundingEarth(release(tmp_path, date_recorded="summer of 2009"))
    for item in source:
        assert isinstance(item, Pair) and item.datetime is None
        assert [(kind, "summer of 2009" in detail) for kind, detail in item.remarks] == [("unreadable cell", True)]


def test_a_column_can_be_left_unread(tmp_path: Path) -> None:
    release(tmp_path, date_recorded="summer of 2009", latitude=5000)
    unread = {"datetime": "", "longitude": "", "latitude": "", "license": ""}
    source = open_source(tmp_path, columns=unread)
    assert isinstance(source, SoundingEarth)
    assert [(item.remarks, item.latitude, item.license) for item in source if isinstance(item, Pair)] == [
        ((), None, None)
    ] * 5
    with pytest.raises(DataError, match="--columns image=: every row needs one"):
        open_source(tmp_path, columns={"image": ""})
    with pytest.raises(DataError, match="--columns date=: no such column of a pair; did you mean 'datetime'"):
        open_source(tmp_path, columns={"date": ""})


@pytest.mark.parametrize("column", RELEASE_COLUMNS)
def test_a_changed_column_is_named(tmp_path: Path, column: str) -> None:
    path = release(tmp_path) / "metadata.csv"
    path.write_text(path.read_text().replace(f"{column},", "other,", 1).replace(f",{column}\n", ",other\n", 1))
    with pytest.raises(DataError, match=rf"lacks the SoundingEarth columns '{column}'"):
        SoundingEarth(tmp_path)


def test_the_nearest_name_is_offered(tmp_path: Path) -> None:
    path = release(tmp_path) / "metadata.csv"
    path.write_text(path.read_text().replace("date_recorded", "date_recording", 1))
    with pytest.raises(DataError, match=r"'date_recorded'; did you mean 'date_recording'\? known: 'date_recording';"):
        SoundingEarth(tmp_path)


@pytest.mark.parametrize("frames", [5, 128, 300])
def test_bytes_of_a_spectrogram_pass_unchanged(tmp_path: Path, frames: int) -> None:
    """Grey or RGB, as JPEG: the decoded values themselves, time first, in windows of 128 frames."""
    config = AudioConfig(input="spectrogram", mels=128, hop_seconds=0.01, window_seconds=1.28)
    values = np.random.default_rng(0).integers(0, 256, (128, frames), np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.jpg", quality=95)
    Image.fromarray(np.repeat(values[..., None], 3, axis=2)).save(tmp_path / "rgb.jpg", quality=95)
    stored = np.asarray(Image.open(tmp_path / "grey.jpg"))
    for name in ("grey.jpg", "rgb.jpg"):
        found = spectrogram_from_picture(tmp_path / name, config)
        assert found.shape == (max(frames, 128), 128) and found.dtype == np.uint8
        assert np.array_equal(found[:frames], stored.T) and not found[frames:].any()
    cut = windows(found, config)
    assert cut.shape == (-(-frames // 128), 128, 128)
    assert np.array_equal(cut[0], found[:128]) and np.array_equal(cut[-1], found[-128:])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    release(tmp_path)
    with pytest.raises(DataError, match="no recordings in 'audio'"):
        SoundingEarth(tmp_path, prefer="raw")
    with pytest.raises(ConfigError, match="'auto', 'raw', 'spectrogram'"):
        SoundingEarth(tmp_path, prefer="mel")
    recording(tmp_path / "audio/sea10.mp3")
    recording(tmp_path / "mp3/sea12.mp3")
    with pytest.raises(DataError, match="'audio', 'mp3'"):
        SoundingEarth(tmp_path)


def test_neither_kind_of_audio(tmp_path: Path) -> None:
    release(tmp_path)
    for path in (tmp_path / "spectrograms").iterdir():
        path.unlink()
    (tmp_path / "spectrograms").rmdir()
    with pytest.raises(DataError, match="neither spectrograms/ nor recordings"):
        SoundingEarth(tmp_path)
