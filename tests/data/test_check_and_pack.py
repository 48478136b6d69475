"""What check calls usable, pack takes: the same rows, of whatever is wrong with the others."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from earthtone.cli import main
from earthtone.data.check import check
from earthtone.data.manifest import Manifest
from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.data.pair import ROW_PROBLEMS, Pair
from earthtone.errors import ConfigError, DataError, SignalError
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.signal.spectrogram import log_mel, refuse_short

SIGNAL = SignalConfig(
    AudioConfig(sample_rate_hz=8000, window_seconds=0.8, mels=16, hop_seconds=0.02),
    ImageConfig(pixels=16, stored_pixels=16),
)
IMAGES = (
    "a.png",
    "b.jpg",
    "c.tif",
    "deep.png",
    "half.png",
    "text.png",
    "empty.png",
    "no.png",
    "A.PNG",
    " a.png",
    "sub\\a.png",
    "",
)
SOUNDS = (
    "a.wav",
    "b.flac",
    "cut.mp3",
    "silent.wav",
    "cancel.wav",
    "short.wav",
    "almost.wav",
    "enough.wav",
    "text.wav",
    "empty.wav",
    "none.wav",
    "no.wav",
    ".",
)
OPTIONAL = (
    "",
    "NA",
    "nan",
    "-",
    "abc",
    "8",
    "50",
    "500",
    "0",
    "8,5",
    "1e400",
    "2020",
    "2020-05-01",
    "03/04/2024",
    "x" * 90,
)
COLUMNS = ("longitude", "latitude", "datetime", "image_gsd_m", "source", "license")
FREE = ("note", "site.name", "audio_seconds", "_rowid", "packing_notes", "id_", "a`b", "tile_side_m", "notes.", "Split")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whole, broken, short and empty files."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(3)
    for name in ("a.png", "b.jpg", "c.tif"):
        Image.fromarray(rng.integers(0, 255, (24, 20, 3), np.uint8)).save(folder / name)
    (folder / "half.png").write_bytes((folder / "a.png").read_bytes()[:700])
    for name, samples, hz in (
        ("a.wav", 6000, 8000), ("b.flac", 20_000, 16_000), ("short.wav", 800, 8000), ("almost.wav", 22_049, 44_100),
        ("enough.wav", 11_025, 22_050), ("none.wav", 0, 8000),
    ):  # fmt: skip
        soundfile.write(folder / name, rng.uniform(-0.3, 0.3, samples), hz)
    Image.fromarray(rng.integers(0, 60_000, (24, 20), np.uint16)).save(folder / "deep.png")
    sound = rng.uniform(-0.3, 0.3, 24_000)
    soundfile.write(folder / "cut.mp3", sound, 16_000)
    (folder / "cut.mp3").write_bytes((folder / "cut.mp3").read_bytes()[:4000])
    soundfile.write(folder / "silent.wav", np.zeros(8000), 8000)
    soundfile.write(folder / "cancel.wav", np.stack([sound, -sound], axis=1), 16_000)
    for name in ("text.png", "text.wav"):
        (folder / name).write_text("neither")
    for name in ("empty.png", "empty.wav"):
        (folder / name).touch()
    return folder


def packed_ids(path: Path, out: Path, signal: SignalConfig = SIGNAL) -> set[str]:
    try:
        pack(path, out, signal=signal, threads=1)
    except DataError as error:
        assert "no usable pair" in str(error)
        return set()
    return set(Table(out).column("id"))


def agree(path: Path, out: Path, signal: SignalConfig = SIGNAL) -> set[str]:
    """Return the ids that were packed, after comparing them and every count with what check says."""
    found = check(path, signal=signal, workers=1)
    packed = packed_ids(path, out, signal)
    broken = [kind for kind in found.problems if kind not in ROW_PROBLEMS]
    lost = {problem.id for kind in broken for problem in found.problems[kind]}
    usable = {item.id for item in Manifest(path) if isinstance(item, Pair) and item.id not in lost}
    assert usable == packed and len(packed) == found.usable and found.ok == bool(packed)
    listed = out.with_name(f"{out.name}.problems.csv")
    rows = list(csv.DictReader(listed.open(encoding="utf-8"))) if listed.exists() else []
    noted = sorted((row["id"].lstrip("'"), row["problem"]) for row in rows if row["row"] == "added")
    told = [(note.id, note.kind) for notes in found.notes.values() for note in notes if note.id in packed]
    assert noted == sorted(told)
    return packed


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_same_rows_are_usable(world: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    free = data.draw(st.lists(st.sampled_from(FREE), max_size=3, unique=True))
    rows = [
        {
            "id": data.draw(st.sampled_from(["r", f"r{number}", f"r{number}", "", "=1+1"])),
            "image": data.draw(st.sampled_from(IMAGES[:3] + IMAGES)),
            "audio": data.draw(st.sampled_from(SOUNDS[:2] + SOUNDS)),
            **{name: data.draw(st.sampled_from(OPTIONAL)) for name in COLUMNS},
            "split": data.draw(st.sampled_from(["train", "val", "test", "", "NA", "other"])),
            **dict.fromkeys(free, "text"),
        }
        for number in range(data.draw(st.integers(1, 6)))
    ]
    path = world / "m.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    agree(path, tmp_path_factory.mktemp("out") / "t.lance")


def write(folder: Path, rows: list[dict[str, Any]], name: str = "m.parquet") -> Path:
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), folder / name)
    else:
        features = [{"type": "Feature", "geometry": row.pop("geometry", None), "properties": row} for row in rows]
        (folder / name).write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return folder / name


def test_of_parquet_and_geojson_too(world: Path, tmp_path: Path) -> None:
    good = {"image": "a.png", "audio": "a.wav"}
    rows = [
        good | {"id": "nan", "longitude": math.nan, "latitude": math.nan, "audio_hash": "x"},
        good | {"id": "half", "longitude": 8.0, "latitude": math.nan},
        good | {"id": "far", "longitude": 800.0, "latitude": 0.0},
        good | {"id": "lost", "audio": "no.wav"},
        {"id": "bytes", "image": "text.png", "audio": "a.wav"},
    ]
    assert agree(write(world, rows), tmp_path / "p.lance") == {"nan", "half", "far"}
    geometries = ({"type": "Point", "coordinates": [1]}, {"type": "Polygon"}, None, None, 3)
    for row, geometry in zip(rows, geometries, strict=True):
        row.update(geometry=geometry, longitude="NA", latitude="NA")
    assert agree(write(world, rows, "m.geojson"), tmp_path / "g.lance") == {"nan", "half", "far"}


@pytest.mark.parametrize("min_seconds", [0.1, 0.3, 0.5, 0.75, 3600])
@pytest.mark.parametrize("hz", [4000, 8000, 11_025, 44_100])
def test_of_any_least_length_and_rate(world: Path, tmp_path: Path, min_seconds: float, hz: int) -> None:
    rows = [{"id": name, "image": "a.png", "audio": name} for name in SOUNDS if (world / name).is_file()]
    audio = AudioConfig(sample_rate_hz=hz, window_seconds=0.8, mels=16, hop_seconds=0.02, min_seconds=min_seconds)
    agree(write(world, rows), tmp_path / "t.lance", SignalConfig(audio, SIGNAL.image))


@pytest.mark.parametrize("hz", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_a_recording_a_sample_too_short_is_left_out_whatever_its_rate(world: Path, tmp_path: Path, hz: int) -> None:
    """0.5 s less one sample becomes 0.5 s at many rates: its own length counts, before it is resampled."""
    for name, samples in (("less", hz // 2 - 1), ("just", -(-hz // 2)), ("more", hz // 2 + 1)):
        soundfile.write(tmp_path / f"{name}.wav", np.random.default_rng(0).uniform(-1, 1, samples), hz)
    picture = str(world / "a.png")
    path = write(
        tmp_path, [{"id": name, "image": picture, "audio": f"{name}.wav"} for name in ("less", "just", "more")]
    )
    assert agree(path, tmp_path / "t.lance") == {"just", "more"}
    headers = check(path, signal=SIGNAL, headers_only=True)
    assert headers.usable == 2


def test_a_length_is_shown_with_the_digits_that_it_lacks() -> None:
    with pytest.raises(SignalError, match=r"^0.4999792 s of sound; at least 0.5 s expected"):
        refuse_short(23_999 / 48_000, AudioConfig())
    with pytest.raises(SignalError, match=r"^0.49 s of sound"):
        refuse_short(0.49, AudioConfig())
    assert len(log_mel(np.zeros(15_999, np.float32), AudioConfig())) == 1000  # resampling may cost a sample


def test_a_footprint_needs_metres_also_by_headers(world: Path, tmp_path: Path) -> None:
    rows = [{"id": f"{gsd}", "image": "a.png", "audio": "a.wav", "image_gsd_m": gsd} for gsd in (0.5, None, -1.0)]
    signal = SignalConfig(SIGNAL.audio, ImageConfig(pixels=16, stored_pixels=16, footprint_m=20.0))
    path = write(world, rows)
    assert agree(path, tmp_path / "t.lance", signal) == {"0.5"}
    headers = check(path, signal=signal, headers_only=True)
    assert headers.usable == 1 and "smaller than footprint" in headers.notes


def test_a_config_that_pack_refuses_is_refused_by_check(world: Path, tmp_path: Path) -> None:
    path = write(world, [{"id": "a", "image": "a.png", "audio": "a.wav"}])
    signal = SignalConfig(AudioConfig(input="spectrogram", mels=128), SIGNAL.image)
    for look in (lambda: check(path, signal=signal), lambda: pack(path, tmp_path / "t.lance", signal=signal)):
        with pytest.raises(ConfigError, match="holds recordings"):
            look()


def test_columns_are_left_unread_on_the_command_line(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"id": "a", "image": "a.png", "audio": "a.wav", "datetime": "03/04/2024", "lon": "x", "lat": "y"}
    path = write(world, [row])
    assert main(["check", str(path)]) == 0
    assert "note, unreadable cell: 2" in capsys.readouterr().out
    assert main(["check", str(path), "--columns", "datetime=,longitude=,latitude="]) == 0
    assert "note" not in capsys.readouterr().out
    out = tmp_path / "t.lance"
    assert main(["pack", str(path), "--out", str(out), "--columns", "datetime=,longitude=", "--recipe", "small"]) == 0
    assert Table(out).column("datetime_") == ["03/04/2024"] and Table(out).column("datetime") == [None]
    for wrong in ("=datetime", "datetime", "id=id,"):
        assert main(["check", str(path), "--columns", wrong]) == 2
        assert "OURS=THEIRS" in capsys.readouterr().err


@pytest.mark.parametrize("column", ["site.name", "audio_hash", "_rowid", "image_hash", "split.", "a`b"])
def test_the_exit_codes_agree(world: Path, tmp_path: Path, column: str) -> None:
    path = write(world, [{"id": "a", "image": "a.png", "audio": "a.wav", column: "x"}])
    small = ["--recipe", "small"]
    assert (
        main(["check", str(path), *small]) == main(["pack", str(path), "--out", str(tmp_path / "t.lance"), *small]) == 0
    )
    (name,) = Table(tmp_path / "t.lance").extra_columns
    assert Table(tmp_path / "t.lance").column(name) == ["x"]
