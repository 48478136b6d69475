"""The verb build: from a folder to a described table, growing, stopped, refused; each step once."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from archives import archive, sound
from imagery_hosts import QUICK, Asked, Said, hosting
from PIL import Image
from rasterio.transform import from_origin
from rasters import position_values, write_raster

import earthtone
from earthtone.build import recipe as recipes
from earthtone.build.build import BuildResult
from earthtone.build.pairs import pair_licence
from earthtone.build.recipe import read_build_recipe
from earthtone.build.sources.source import Page, Recording, RecordingSource
from earthtone.build.tile_grid import to_lonlat
from earthtone.build.web import QuotaReachedError, Web
from earthtone.cli import main
from earthtone.data.packed import Table
from earthtone.errors import ConfigError, DataError
from earthtone.signal.image import read_picture

UTM, WEST, NORTH = "EPSG:32633", 500_000, 6_000_000
#: Three recorders, 15 km apart, and one beyond the imagery.
DEVICES = {f"24F300000000000{number}": place for number, place in enumerate(((5, 5), (20, 5), (35, 35), (90, 5)), 1)}
SIGNAL = {"audio": {"sample_rate_hz": 8000, "window_seconds": 1.0, "mels": 16, "hop_seconds": 0.02},
          "image": {"pixels": 32, "stored_pixels": 32}}  # fmt: skip


def record(cards: Path, device: str, hour: int, seed: int) -> None:
    """Write a recording, as a recorder names it."""
    path = cards / device[-1] / f"{device}_20260411_{hour:02d}0000.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.2, 0.2, 8000), 8000)


def deployed(folder: Path, licences: dict[str, str] | None = None) -> None:
    lines = ["device,longitude,latitude,uncertainty_m,zone,license,attribution"]
    for device, (east, south) in DEVICES.items():
        longitude, latitude = to_lonlat(UTM).transform(WEST + east * 1000, NORTH - south * 1000)
        licence = (licences or {}).get(device, "CC-BY-4.0")
        lines.append(f"{device},{longitude:.7f},{latitude:.7f},10,+02:00,{licence},A. Recordist")
    (folder / "deployments.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of cards, deployments, imagery of 40 km (100 m a pixel) and a recipe."""
    for number, device in enumerate(DEVICES):
        for hour in (6, 7):
            record(tmp_path / "cards", device, hour, 10 * number + hour)
    deployed(tmp_path)
    write_raster(tmp_path / "island.tif", position_values(400, 400), UTM, from_origin(WEST, NORTH, 100, 100))
    written(tmp_path)
    return tmp_path


def written(folder: Path, **sections: Any) -> Path:
    """Write the recipe; a section that is None is left out."""
    values: dict[str, Any] = {
        "recordings": {"folder": "cards", "deployments": "deployments.csv"},
        "imagery": {"raster": "island.tif", "scales": [{"metres": 1600, "pixels": 32}], "license": "CC0",
                    "attribution": "The Survey"},
        "split": {"shares": [0.4, 0.3, 0.3]}, "pack": {"signal": SIGNAL, "threads": 1}, "describe": {"title": "Island"},
    }  # fmt: skip
    values = {name: section for name, section in {**values, **sections}.items() if section is not None}
    (folder / "r.yaml").write_text(yaml.safe_dump(values))
    return folder / "r.yaml"


def built(place: Path, **more: Any) -> BuildResult:
    said: list[str] = []
    found = earthtone.build_dataset(place / "r.yaml", place / "out", say=said.append, **more)
    assert isinstance(found, BuildResult)
    assert [line.partition(" ")[2] for line in said] == [one.name for one in found.steps if one.fresh]
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]


def splits_of(folder: Path) -> dict[str, str]:
    return {row["id"]: row["split"] for row in rows_of(folder / "split.parquet")}


def test_from_a_folder_to_a_described_table(place: Path) -> None:
    """All steps; what each leaves is a manifest, a table, a page of its own. The second call does nothing."""
    found = built(place)
    assert [one.name for one in found.steps] == ["recordings", "imagery", "split", "pack", "describe"]
    assert all(one.fresh for one in found.steps) and found.rows == 6
    pairs = rows_of(place / "out" / "pairs.parquet")
    assert len(pairs) == 6 and len({row["image"] for row in pairs}) == 3  # recordings of one place share a tile
    assert found.steps[1].result["left_out"] == {"too little imagery there": 2}
    row = pairs[0]
    assert (row["license"], row["audio_license"], row["image_license"]) == ("CC-BY-4.0", "CC-BY-4.0", "CC0")
    assert row["attribution"] == "A. Recordist; image: The Survey" and row["recordist"] == "A. Recordist"
    picture = read_picture(place / "out" / row["image"]).pixels
    middle = picture[16, 16].astype(int)  # of a raster that says where a pixel is
    assert abs(middle[0] - 250 * 5 / 40) < 3 and abs(middle[1] - 250 * 5 / 40) < 3
    table = Table(place / "out" / "pairs.lance")
    assert len(table) == 6 and table.tile_sides_m[0] == 1600
    assert dict(zip(table.column("id"), table.column("split"), strict=True)) == splits_of(place / "out" / "split-1")
    described = json.loads((place / "out" / "describe" / "describe.json").read_text())
    assert described["title"] == "Island" and described["rows"] == 6 and described["whole"] == "CC-BY-4.0"
    page = (place / "out" / "build.html").read_text()
    assert "too little imagery there: 2" in page and "data:image/png" in page and "CC-BY-4.0" in page
    again = built(place)
    assert not any(one.fresh for one in again.steps) and again.to_dict()["rows"] == 6
    (place / "out" / "pairs.parquet").unlink()  # what somebody took away is made again, and nothing more
    assert [one.name for one in built(place).steps if one.fresh] == ["imagery"]


def test_next_months_recordings_move_no_row(place: Path) -> None:
    written(place, describe=None)
    built(place)
    before = splits_of(place / "out" / "split-1")
    for number, device in enumerate(DEVICES):
        record(place / "cards", device, 9, 100 + number)
    found = built(place)
    after = splits_of(place / "out" / "split-2")
    assert len(before) == 6 and len(after) == 9 and before.items() <= after.items()
    assert found.split == place / "out" / "split-2" and found.steps[-1].result["added"] == 3
    assert len(Table(place / "out" / "pairs.lance")) == 9
    lines = (place / "out" / "imagery-1600m" / "tiles.jsonl").read_text().splitlines()
    assert len(lines) == 5  # the head and four places: nothing was cut twice
    written(place, describe=None, split={"by": "random"})
    with pytest.raises(ConfigError, match=r"split is other than that of .*split-2, whose rows do not move"):
        built(place)


def test_rows_that_were_packed_and_are_others_now_are_told(place: Path) -> None:
    """A packed table is only added to: a licence that was mended, a recording that went, are no silent difference."""
    written(place, describe=None, split=None)
    built(place)
    deployed(place, {"24F3000000000001": "CC0"})
    with pytest.raises(DataError, match=r"2 of its rows have changed or gone .* delete it, and type the same again"):
        built(place)
    assert "have changed or gone" in (place / "out" / "build.html").read_text()
    subprocess.run(["rm", "-r", str(place / "out" / "pairs.lance")], check=True)
    assert built(place).steps[-1].result["added"] == 6
    assert set(Table(place / "out" / "pairs.lance").column("license")) == {"CC0-1.0", "CC-BY-4.0"}


def test_files_that_were_replaced_in_place_are_seen(place: Path) -> None:
    """Also of the same size, and where the table that names them is as it was."""
    written(place, describe=None, split=None)
    built(place)
    record(place / "cards", "24F3000000000001", 6, 999)
    with pytest.raises(DataError, match=r"1 of its rows have changed or gone"):
        built(place)


def test_a_list_of_what_to_exclude_counts_by_what_it_says(place: Path) -> None:
    listed = place / "leave.csv"
    listed.write_text("id\nnobody\n")
    written(place, describe=None, split=None, pack={"signal": SIGNAL, "exclude": "leave.csv"})
    built(place)
    listed.write_text(f"id\n{rows_of(place / 'out' / 'pairs.parquet')[0]['id']}\n")
    with pytest.raises((ConfigError, DataError)):  # of the table, which was packed without it
        built(place)


def test_tables_with_columns_of_a_build(place: Path) -> None:
    """A table of another build, whose rows name who recorded them, is recordings for this one."""
    written(place, split=None, pack=None, describe=None)
    built(place)
    rows = pq.read_table(place / "out" / "recordings.parquet").to_pylist()
    table = pa.Table.from_pylist(
        [{**row, "recordist": f"R{number}", "file_bytes": 7} for number, row in enumerate(rows)]
    )
    pq.write_table(table, place / "out" / "mine.parquet")
    written(place, recordings={"table": "out/mine.parquet"}, split=None, pack=None, describe=None)
    found = earthtone.build_dataset(place / "r.yaml", place / "second", say=lambda line: None)
    assert isinstance(found, BuildResult)
    assert len({row["recordist"] for row in rows_of(found.manifest)}) == 6


def test_a_region_from_a_file_beside_the_recipe(place: Path) -> None:
    """A polygon as text stays one, however long."""
    for region in ("region.geojson", f"POLYGON(({', '.join(['14 54'] * 200)}))"):
        written(place, split={"by": "region", "region": region})
        (place / "region.geojson").write_text("{}")
        asked = read_build_recipe(place / "r.yaml").split
        assert asked is not None
        assert asked.region == (str(place / "region.geojson") if region == "region.geojson" else region)


def test_keys_of_users_go_where_users_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of a stranger names no other host for them, and its page and records hold none."""
    monkeypatch.setenv("EARTHTONE_TILE_KEY", "very-secret")
    imagery = {"template": "https://evil.example/{z}/{x}/{y}?k={key}", "scales": [{"metres": 1600}]}
    written(place, imagery=imagery)
    with pytest.raises(ConfigError, match=r"export EARTHTONE_TILE_KEY_HOST=evil\.example"):
        built(place)
    written(place, recordings={"source": "freesound", "words": "rain", "endpoint": "https://evil.example"})
    with pytest.raises(ConfigError, match=r"recordings\.endpoint is at 'evil\.example'"):
        built(place)
    address = "# stac: https://stac.example/v1?sig=QUJD/REVG=\n"
    recipe = written(place, split=None, pack=None, describe=None)
    recipe.write_text(address + recipe.read_text())
    built(place)
    assert "QUJD" not in (place / "out" / "build.html").read_text()


def test_each_scale_is_a_manifest_of_the_same_rows(place: Path) -> None:
    scales = [{"metres": 1600, "pixels": 32}, {"metres": 6400, "pixels": 64}]
    written(place, split=None, pack=None, describe=None,
            imagery={"raster": "island.tif", "scales": scales, "nodata_share": 0.3})  # fmt: skip
    built(place)
    first, second = rows_of(place / "out" / "pairs.parquet"), rows_of(place / "out" / "pairs-6400m.parquet")
    assert [row["id"] for row in first] == [row["id"] for row in second] and len(first) == 6
    assert (first[0]["image_gsd_m"], second[0]["image_gsd_m"]) == (50, 100)
    assert read_picture(place / "out" / second[0]["image"]).pixels.shape == (64, 64, 3)
    assert first[0]["license"] == "sound: CC-BY-4.0; image: unknown"  # nobody stated that of the imagery


def test_curation_refuses_rows_and_says_why(place: Path) -> None:
    """The imagery's licence counts too; further scales keep the same rows; other thresholds are another table."""
    deployed(place, {"24F3000000000002": "CC-BY-NC-4.0"})
    scales = [{"metres": 1600, "pixels": 32}, {"metres": 3200, "pixels": 32}]
    imagery = {"raster": "island.tif", "scales": scales, "license": "CC-BY-4.0", "nodata_share": 0.2}
    written(place, imagery=imagery, curate={"min_seconds": 0.5}, split=None, pack=None, describe=None)
    found = built(place)
    assert found.rows == 4 and found.steps[-1].result["left_out"] == {"licence": 2}
    dropped = rows_of(place / "out" / "curate" / "dropped.parquet")
    assert {row["rule"] for row in dropped} == {"licence"} and "24F3000000000002" in dropped[0]["id"]
    second = rows_of(place / "out" / "curate" / "curated-3200m.parquet")
    assert [row["id"] for row in second] == [row["id"] for row in rows_of(found.manifest)]
    assert read_picture(found.manifest.parent / second[0]["image"]).pixels.shape == (32, 32, 3)
    imagery["scales"] = [*scales, {"metres": 800, "pixels": 32}]  # of the same rows, so that the first scale stays
    written(place, imagery=imagery, curate={"min_seconds": 0.5}, split=None, pack=None, describe=None)
    assert [one.name for one in built(place).steps if one.fresh] == ["imagery", "curate"]
    assert len(rows_of(place / "out" / "curate" / "curated-800m.parquet")) == 4
    written(place, imagery=imagery, curate={"min_seconds": 0.5, "allow": ["nc"]}, split=None, pack=None, describe=None)
    assert [one.name for one in built(place).steps if one.fresh] == ["curate"]
    assert len(rows_of(found.manifest)) == 6


def test_a_licence_of_both_parts() -> None:
    assert pair_licence("CC BY-SA 4.0", "CC BY-NC 4.0") == "sound: CC BY-SA 4.0; image: CC BY-NC 4.0"
    assert pair_licence("all rights reserved", "CC0") == "sound: all rights reserved; image: CC0"


def test_a_dry_run_asks_no_host_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imagery = {"template": "https://tiles.example/{z}/{x}/{y}?key={key}", "scales": [{"metres": 1600, "pixels": 256}],
               "license": "CC-BY-4.0", "rate": 2}  # fmt: skip
    recipe = written(place, imagery=imagery)
    assert main(["build", str(recipe), "--out", str(place / "out"), "--dry_run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recordings"]["licences"] == {"CC-BY-4.0": 8} and found["steps"] == ["split", "pack", "describe"]
    [scale] = found["imagery"]
    assert (scale["tiles"], scale["from"], scale["license"]) == (4, "tiles.example", "CC-BY-4.0")
    assert 16 <= scale["requests"] <= 100 and scale["bytes_at_most"] == 4 * 256 * 256 * 3
    assert main(["build", str(recipe), "--out", str(place / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "about" in told and "requests" in told and "8 rows of 8 files" in told and "next: earthtone build" in told
    assert not (place / "out").exists()
    written(place, imagery={**imagery, "template": "https://mt1.google.com/vt?x={x}&y={y}&z={z}", "license": None})
    assert main(["build", str(recipe), "--out", str(place / "out")]) == 2
    assert "forbid to store" in capsys.readouterr().err and not (place / "out").exists()


def test_what_cannot_be_built_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = place / "r.yaml", str(place / "out")
    for sections, told in (
        ({"recordings": {"folder": "nowhere"}}, "nowhere is no folder"),
        ({"recordings": {"folder": "cards"}}, "no row has a place; imagery needs one: give recordings.deployments"),
        ({"imagery": {"raster": "none.tif", "scales": [{"metres": 100}]}}, "none.tif"),
        (
            {"imagery": {"raster": "island.tif", "scales": [{"metres": 100}], "maxcloud": 3}},
            "did you mean imagery.max_cloud",
        ),
    ):
        written(place, **sections)
        assert main(["build", str(recipe), "--out", out]) == 2
        assert told in capsys.readouterr().err


def test_two_builds_into_one_folder(place: Path) -> None:
    second: list[str] = []

    def say(line: str) -> None:
        with pytest.raises(ConfigError, match="another process is building a data set into it") as got:
            earthtone.build_dataset(place / "r.yaml", place / "out")
        second.append(str(got.value))

    written(place, imagery=None, split=None, pack=None, describe=None, recordings={"folder": "cards"})
    earthtone.build_dataset(place / "r.yaml", place / "out", say=say)
    assert len(second) == 1


def test_a_full_disk_is_told_and_gone_on_from(place: Path) -> None:
    written(place, split=None, pack=None, describe=None)
    before, usual = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*free the disk"):
            earthtone.build_dataset(place / "r.yaml", place / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, usual)
    assert built(place).rows == 6
    assert not [path for path in (place / "out").rglob(".*") if path.suffix in (".parquet", ".tif", ".json")]


_KILLED = """
import os, signal, sys
import earthtone
def say(line):
    if line.endswith(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
earthtone.build_dataset(sys.argv[1], sys.argv[2], say=say)
"""
_HELD = """
import sys, time
from pathlib import Path
import earthtone.build.tiles as cutting
import earthtone
real = cutting._tile_file
def slow(*arguments):
    found = real(*arguments)
    Path(sys.argv[3]).touch()
    time.sleep(60)
    return found
cutting._tile_file = slow
earthtone.build_dataset(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_killed_at_each_step_it_goes_on(place: Path) -> None:
    """kill -9 of real processes before a step and in the middle of one; the same rows as of a build left alone."""
    paths = [str(place / "r.yaml"), str(place / "out")]
    half = subprocess.Popen([sys.executable, "-c", _HELD, *paths, str(place / "begun")])
    for _ in range(1200):
        if (place / "begun").exists():
            break
        time.sleep(0.05)
    os.kill(half.pid, signal.SIGKILL)
    half.wait()
    assert not (place / "out" / "pairs.parquet").exists()
    assert subprocess.run([sys.executable, "-c", _KILLED, *paths, "pack"], check=False).returncode == -signal.SIGKILL
    found = built(place)
    assert [one.name for one in found.steps if one.fresh] == ["pack", "describe"]
    whole = earthtone.build_dataset(place / "r.yaml", place / "whole")
    assert isinstance(whole, BuildResult)
    for name in ("pairs.parquet", "split-1/split.parquet"):
        assert (place / "out" / name).read_bytes() == (place / "whole" / name).read_bytes()
    one, other = Table(place / "out" / "pairs.lance"), Table(place / "whole" / "pairs.lance")
    assert one.column("image_hash") == other.column("image_hash") and one.column("id") == other.column("id")


# Archives.


class Small(RecordingSource):
    """Three sounds of a host on loopback."""

    name: ClassVar[str] = "small"
    terms: ClassVar[str] = "none"

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        rows = [
            Recording("small", str(n), media_url=f"{self.endpoint}/{n}.wav", longitude=lon, latitude=lat, suffix=".wav",
                      license="CC BY 4.0", author=f"author {n}", seconds=0.5)
            for n, (lon, lat) in enumerate(SPOTS)
        ]  # fmt: skip
        yield Page(tuple(rows), None, 3)


SPOTS = [to_lonlat(UTM).transform(WEST + east * 1000, NORTH - 20_000) for east in (8, 20, 32)]


def test_a_quota_is_a_clear_stop_that_is_gone_on_from(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 75, what was fetched is kept; nothing is asked for twice."""
    monkeypatch.setattr(recipes, "_source_kind", lambda name: Small)
    monkeypatch.setattr(recipes, "SOURCES", {**recipes.SOURCES, "small": "x:Small"})
    with archive() as host:
        written(place, recordings={"source": "small", "endpoint": host.url}, split=None, pack=None, describe=None)
        host.files = {f"/{n}.wav": sound(n) for n in range(3)}
        host.always["/2.wav"] = Said(b"later", 429, {"Retry-After": "4000"})
        options: dict[str, Any] = {"cache": place / "cache", "patience": QUICK}
        with pytest.raises(QuotaReachedError, match="type the same again after") as got:
            earthtone.build_dataset(place / "r.yaml", place / "out", **options)
        assert got.value.exit_code == 75
        del host.always["/2.wav"]
        options["cache"] = place / "cache-2"  # of a user who was patient
        found = earthtone.build_dataset(place / "r.yaml", place / "out", **options)
        assert isinstance(found, BuildResult) and found.rows == 3
        assert [host.paths().count(f"/{n}.wav") for n in range(2)] == [1, 1]
        rows = rows_of(place / "out" / "pairs.parquet")
        assert {row["author"] for row in rows} == {"author 0", "author 1", "author 2"} and "recordist" not in rows[0]
        plan = earthtone.build_dataset(place / "r.yaml", place / "out", dry_run=True, **options)
        assert "licence CC-BY-4.0: 3" in plan.to_text() and "imagery: 3 tiles of 1600 m" in plan.to_text()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_imagery_that_a_host_could_not_give_is_asked_for_again(place: Path) -> None:
    bad, picture = True, io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(values).save(picture, "PNG")

    def speaks(asked: Asked) -> Said:
        x = int(asked.path.split("/")[2])
        return Said(b"<html>busy</html>") if bad and x % 2 else Said(picture.getvalue() + asked.path.encode())

    with hosting(speaks) as host:
        imagery = {"template": f"{host.url}/{{z}}/{{x}}/{{y}}.png", "max_zoom": 14, "license": "CC0",
                   "scales": [{"metres": 1600, "pixels": 32}]}  # fmt: skip
        written(place, imagery=imagery, split=None, pack=None, describe=None)
        options: dict[str, Any] = {"cache": place / "cache", "patience": QUICK}
        first = built(place, **options)
        assert first.steps[-1].result["unfinished"] and not built(place, **options).steps[0].fresh
        bad = False
        second = built(place, **options)
        assert second.steps[-1].fresh and not second.steps[-1].result["unfinished"]
        assert not built(place, **options).steps[-1].fresh


@pytest.mark.slow
def test_a_toy_world_is_built_and_trained(tmp_path: Path) -> None:
    """From a folder to a described table, and a few steps of training on it."""
    earthtone.write_toyworld(tmp_path / "world", rows=40, seconds=1.0, hz=8000, pixels=32)
    written(tmp_path, recordings={"table": "world"}, imagery=None, split={"by": "random"})
    found = earthtone.build_dataset(tmp_path / "r.yaml", tmp_path / "out")
    assert isinstance(found, BuildResult) and found.rows == 40
    small = {"model.image_encoder": "test_resnet", "model.audio_encoder": "test_resnet", "train.epochs": 1,
             "train.batch_size": 8, "signal": SIGNAL}  # fmt: skip
    recipe = earthtone.load_recipe("default", small)
    assert earthtone.pretrain(found.table, out=tmp_path / "run", recipe=recipe, report=False).finished


SOUNDSCAPES = Path(__file__).resolve().parents[3] / "shared" / "data" / "geo_soundscapes" / "metadata.csv"


@pytest.mark.slow
@pytest.mark.skipif(not SOUNDSCAPES.exists(), reason="needs ../shared/data/geo_soundscapes beside the checkout")
def test_real_soundscapes_of_six_zones_share_tiles(tmp_path: Path) -> None:
    """Rows of one place have one tile; licences of repositories of code are none of recordings."""
    write_raster(tmp_path / "globe.tif", position_values(180, 360), "EPSG:4326", from_origin(-180, 90, 1, 1))
    written(
        tmp_path, recordings={"table": str(SOUNDSCAPES), "columns": {"id": "file", "audio": "file"}},
        imagery={"raster": "globe.tif", "scales": [{"metres": 200_000, "pixels": 32}], "license": "CC0"},
        split=None, pack=None, describe=None,
    )  # fmt: skip
    found = earthtone.build_dataset(tmp_path / "r.yaml", tmp_path / "out")
    assert isinstance(found, BuildResult) and found.rows == 185
    rows = rows_of(found.manifest)
    assert len({row["image"] for row in rows}) == 15
    assert all(row["license"].startswith("sound: ") for row in rows)
