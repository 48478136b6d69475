import csv
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import wave
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from earthtone.build.toyworld import LAND_COVER, Planet, write_toyworld
from earthtone.build.toyworld.write import write_png, write_wav
from earthtone.errors import ConfigError, DataError

SMALL = {"pixels": 32, "seconds": 0.5, "hz": 8_000}


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("toy") / "world"
    return write_toyworld(out, rows=20, masks=True, **SMALL)


def test_manifest_names_whole_files_and_says_what_it_is(world):
    rows = rows_of(world)
    assert len({row["id"] for row in rows}) == 20
    for row in rows:
        image, mask = (np.asarray(Image.open(world.parent / row[name])) for name in ("image", "mask"))
        assert image.shape == (32, 32, 3) and mask.shape == (32, 32) and mask.max() < len(LAND_COVER)
        assert (world.parent / row["audio"]).stat().st_size == 44 + 8_000
        assert row["source"] == "toyworld" and row["license"] == "CC0-1.0" and "synthetic" in row["attribution"]
        assert row["split"] in ("train", "val", "test") and row["land_cover"] in LAND_COVER
        when = datetime.fromisoformat(row["datetime"])
        assert when.utcoffset().total_seconds() == 0
        local = (when.hour + when.minute / 60 + float(row["longitude"]) / 15) % 24
        assert abs((local - float(row["hour"]) + 12) % 24 - 12) < 0.03
        assert float(row["image_gsd_m"]) == 8.0
    readme = (world.parent / "README.txt").read_text()
    assert "SYNTHETIC" in readme and "never present it" in readme and "11 airfield" in readme


def test_masks_are_the_planet(world):
    row = rows_of(world)[5]
    cover = Planet(0).land_cover(float(row["longitude"]), float(row["latitude"]), pixels=32)
    np.testing.assert_array_equal(np.asarray(Image.open(world.parent / row["mask"])), cover)


def test_images_are_distinct(world):
    digests = contents(world.parent / "images")
    assert len(set(digests.values())) == 20


# Digests of the files of seed 0 at these sizes, on any machine.
STORED = {
    "manifest.csv": "f1f7389e524114917cab11e7",
    "images/toy-0-00000003.png": "e57e49961b0c7530eaa4b272",
    "images/toy-0-00000017.png": "2fa41371a2ccc27c3d687a57",
    "audio/toy-0-00000003.wav": "aceb8cfbf0226f1f7668a6c8",
    "audio/toy-0-00000017.wav": "a30a62898d148644e3ce975f",
    "masks/toy-0-00000009.png": "5d5d86d950cbca0e1e455e2a",
}


@pytest.mark.slow
def test_files_are_those_of_every_other_machine(world):
    found = contents(world.parent)
    assert {name: found[name][:24] for name in STORED} == STORED


@pytest.mark.slow
def test_workers_do_not_change_a_byte(world, tmp_path):
    write_toyworld(tmp_path / "two", rows=20, masks=True, workers=2, **SMALL)
    assert contents(tmp_path / "two") == contents(world.parent)


def test_a_row_does_not_depend_on_the_number_of_rows(world, tmp_path):
    other = write_toyworld(tmp_path / "few", rows=3, start=14, masks=True, **SMALL)
    assert rows_of(other) == rows_of(world)[14:17]
    whole = contents(world.parent)
    for name, value in contents(tmp_path / "few").items():
        if name != "manifest.csv":
            assert whole[name] == value


def test_other_seeds_are_other_worlds(world, tmp_path):
    other = rows_of(write_toyworld(tmp_path / "w", rows=2, seed=1, masks=True, **SMALL))
    assert other[0]["longitude"] != rows_of(world)[0]["longitude"]


def test_progress_is_told(tmp_path):
    told = []
    write_toyworld(tmp_path / "w", rows=3, progress=lambda done, rows: told.append((done, rows)), **SMALL)
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(world, tmp_path):
    out = tmp_path / "killed"
    code = (
        "import sys; from pathlib import Path; from earthtone.build.toyworld import write_toyworld; "
        f"write_toyworld(Path(sys.argv[1]), rows=20, masks=True, **{SMALL!r})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    child = subprocess.Popen([sys.executable, "-c", code, str(out)], env=environment)
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob("audio/*.wav"))) < 4 and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (out / "manifest.csv").exists(), "the child was too fast to be killed"
    # What a kill leaves half-written is a hidden temporary, never a file under its own name.
    (out / "images" / ".toy-0-00000019.0badcafe.png").write_bytes(b"half")
    first = out / "images" / "toy-0-00000000.png"
    written = first.stat().st_mtime_ns
    write_toyworld(out, rows=20, masks=True, **SMALL)
    assert contents(out) == contents(world.parent)
    assert first.stat().st_mtime_ns == written, "finished files are kept"


def test_geotiffs_lie_where_the_row_says(tmp_path):
    manifest = write_toyworld(tmp_path / "w", rows=3, masks=True, geotiff=True, **SMALL)
    for row in rows_of(manifest):
        longitude, latitude = float(row["longitude"]), float(row["latitude"])
        for name, bands in (("image", 3), ("mask", 1)):
            with rasterio.open(manifest.parent / row[name]) as file:
                assert file.crs.to_epsg() == 4326 and file.count == bands and file.shape == (32, 32)
                west, south, east, north = file.bounds
                assert (west + east) / 2 == pytest.approx(longitude, abs=1e-9)
                assert (south + north) / 2 == pytest.approx(latitude, abs=1e-9)
                assert (north - south) * 111_319.49 == pytest.approx(256, rel=1e-4)
                assert (east - west) * 111_319.49 * np.cos(np.radians(latitude)) == pytest.approx(256, rel=1e-4)
        with rasterio.open(manifest.parent / row["mask"]) as file:
            np.testing.assert_array_equal(file.read(1), Planet(0).land_cover(longitude, latitude, pixels=32))


def test_another_world_in_the_folder_is_refused(world):
    with pytest.raises(DataError, match="holds another toy world"):
        write_toyworld(world.parent, rows=20, seed=9, masks=True, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "--rows 0; 1 or more"),
        ({"rows": 1, "start": -1}, "start=-1; 0 or more"),
        ({"rows": 1, "workers": 0}, "workers=0; 1 or more"),
        ({"rows": 1, "pixels": 8}, "pixels is 8"),
        ({"rows": 1, "size_m": 5_000.0}, "size_m is 5000"),
        ({"rows": 1, "seconds": -1.0}, r"seconds -1\.0"),
        ({"rows": 1, "hz": 1}, "hz 1 is not"),
    ],
)
def test_senseless_options_are_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        write_toyworld(tmp_path / "w", **options)
    assert not (tmp_path / "w").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        write_toyworld(tmp_path / "file" / "world", rows=1, **SMALL)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("mine")
    with pytest.raises(DataError, match=r"holds 'manifest.csv'.*choose another --out"):
        write_toyworld(tmp_path, rows=2, seconds=0.5, hz=8_000, pixels=16)
    assert (tmp_path / "manifest.csv").read_text() == "mine"


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (200, 180, 3), (1, 1)])
def test_png_reads_back(tmp_path, shape):
    pixels = (np.arange(np.prod(shape)) * 37 % 256).astype(np.uint8).reshape(shape)
    write_png(tmp_path / "a.png", pixels)
    with Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_wav_reads_back(tmp_path):
    samples = np.array([0, 1, -1, 32_767, -32_768], dtype=np.int16)
    write_wav(tmp_path / "a.wav", samples, 16_000)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(9), "<i2"), samples)


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        write_png(tmp_path / "images" / "a.png", np.zeros((2, 2), np.uint8))
