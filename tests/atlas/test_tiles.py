"""The verb tiles: what it writes, that it goes on, and what it says of what cannot be used."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from imagery_hosts import QUICK, Asked, Said, hosting, json_said, picture, ranged
from PIL import Image
from pyproj import Transformer
from rasterio.transform import from_origin
from rasters import noise_values, write_raster

import earthtone
from earthtone.build.stac import StacImagery
from earthtone.build.web import without_secrets
from earthtone.cli import main
from earthtone.data.pair import Pair
from earthtone.data.source import open_source
from earthtone.errors import ConfigError, DataError
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.image import read_picture

UTM = "EPSG:32631"
CORNER = from_origin(500_000, 5_001_000, 10, 10)
BACK = Transformer.from_crs(UTM, "OGC:CRS84", always_xy=True)


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.28 by 0.96 km; the last quarter of it in the east is no data."""
    values = noise_values(3, 96, 128)
    values[:, :, 96:] = 0
    return write_raster(tmp_path_factory.mktemp("raster") / "scene.tif", values, UTM, CORNER, nodata=0)


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_of(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*"))
            if path.is_file() and path.name != "tiles.jsonl"}  # fmt: skip


@pytest.mark.parametrize("kind", ["tif", "png", "jpg"])
def test_tiles_of_a_raster(raster: Path, tmp_path: Path, kind: Any) -> None:
    out = tmp_path / "tiles"
    result = earthtone.tiles(
        out,
        raster=raster,
        metres=320,
        pixels=32,
        stride=160,
        nodata_share=0.5,
        format=kind,
        license="CC0-1.0",
        attribution="The Agency",
    )
    rows = rows_of(out)
    assert (result.tiles, result.left_out) == (len(rows), 5) and result.tiles == 30  # 5 rows, 7 columns, the last out
    assert result.grids == {UTM: 30} and result.metres / result.pixels == 10
    assert "5 tiles are left out" in result.to_text() and "wherever they are shown: The Agency" in result.to_text()
    with rasterio.open(raster) as file:
        for row in rows:
            bounds = tuple(float(row[edge]) for edge in ("west", "south", "east", "north"))
            plain = np.moveaxis(file.read(window=file.window(*bounds)), 0, -1)
            shown = read_picture(out / row["image"])
            if kind == "jpg":
                assert np.abs(plain.astype(int) - shown.pixels).mean() < 20
            else:
                np.testing.assert_array_equal(shown.pixels, plain)
                share = 1.0 if shown.empty is None else 1 - shown.empty.mean()
                assert share == pytest.approx(float(row["valid_share"]))
            middle = BACK.transform((bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2)
            assert (float(row["longitude"]), float(row["latitude"])) == pytest.approx(middle, abs=1e-7)
            assert row["crs"] == UTM and float(row["image_gsd_m"]) == 10 and row["source"] == "scene.tif"
            if kind == "tif":
                with rasterio.open(out / row["image"]) as tile:
                    assert tuple(tile.bounds) == bounds and tile.crs.to_epsg() == 32631


def test_the_manifest_is_one_that_every_verb_reads(raster: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    earthtone.tiles(out, raster=raster, metres=320, pixels=32)
    earthtone.tiles(tmp_path / "p", raster=raster, metres=320, pixels=32, parquet=True)
    table = pq.read_table(tmp_path / "p" / "manifest.parquet").to_pylist()
    for folder in (out, tmp_path / "p"):
        source = open_source(folder, need=("image",))
        pairs = [item for item in source if isinstance(item, Pair)]
        assert len(pairs) == len(source) == 9
        assert [pair.id for pair in pairs] == [row["id"] for row in rows_of(out)] == [row["id"] for row in table]
        assert all(pair.image_gsd_m == 10 and not pair.remarks for pair in pairs)
        assert {"west", "south", "east", "north", "crs"} <= set(source.extra_columns)
        assert [float(pair.extra["west"]) for pair in pairs] == [row["west"] for row in table]
    assert earthtone.check(out, need=("image",)).ok


def test_a_tile_at_each_place(raster: Path, tmp_path: Path) -> None:
    """In the raster's own system; one place lies outside, one row is none."""
    at = [BACK.transform(500_300 + 7 * n, 5_000_500) for n in range(3)]
    lines = [f"A/{n}: 'x',{lon},{lat}" for n, (lon, lat) in enumerate(at)]
    table = tmp_path / "places.csv"
    table.write_text("\n".join(["id,longitude,latitude", *lines, "far,100,10", "none,,"]) + "\n")
    result = earthtone.tiles(tmp_path / "t", raster=raster, places=table, metres=320, pixels=32)
    rows = rows_of(tmp_path / "t")
    assert [row["id"] for row in rows] == [f"A/{n}: 'x'" for n in range(3)]
    assert (result.tiles, result.left_out, len(result.problems)) == (3, 1, 1)
    for row, (lon, lat) in zip(rows, at, strict=True):
        west, north = float(row["west"]), float(row["north"])
        assert west % 10 == north % 10 == 0  # the raster's own pixels
        x, y = Transformer.from_crs("OGC:CRS84", UTM, always_xy=True).transform(lon, lat)
        assert abs(west + 160 - x) <= 5 and abs(north - 160 - y) <= 5
        with rasterio.open(raster) as file:
            bounds = [float(row[edge]) for edge in ("west", "south", "east", "north")]
            plain = np.moveaxis(file.read(window=file.window(*bounds)), 0, -1)
        np.testing.assert_array_equal(read_picture(tmp_path / "t" / row["image"]).pixels, plain)
        assert Path(row["image"]).parent == Path("images")


def test_a_raster_in_degrees_becomes_tiles_in_metres(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "d.tif", noise_values(3, 300, 300), "EPSG:4326", from_origin(8.0, 60.0, 2e-4, 1e-4))
    result = earthtone.tiles(tmp_path / "t", raster=path, metres=500, pixels=64)
    assert set(result.grids) == {"EPSG:32632"} and result.tiles > 20
    usual = earthtone.tiles(tmp_path / "u", raster=path, pixels=64)
    assert usual.metres / usual.pixels == pytest.approx(11.1, rel=0.02)  # of the raster's own


def test_what_a_model_was_trained_on(raster: Path, tmp_path: Path, tiny_model: TwoTower) -> None:
    from dataclasses import replace

    image = replace(tiny_model.signal.image, footprint_m=320.0, view=0.5)
    seen = TwoTower(tiny_model.config, replace(tiny_model.signal, image=image))
    save_model(tmp_path / "model", seen, {})
    result = earthtone.tiles(tmp_path / "t", raster=raster, model=tmp_path / "model")
    assert (result.metres, result.pixels) == (320.0, 2 * tiny_model.signal.image.pixels)
    assert earthtone.tiles(tmp_path / "u", raster=raster, model=seen, pixels=16).pixels == 16
    assert not any("nothing says" in note for note in result.notes)
    guessed = earthtone.tiles(tmp_path / "g", raster=raster, model=tiny_model)
    assert any("nothing says how many metres" in note and "--metres" in note for note in guessed.notes)


# A stopped call goes on.


def test_a_repeated_call_does_nothing_again(raster: Path, tmp_path: Path) -> None:
    out = tmp_path / "t"
    options: dict[str, Any] = {"raster": raster, "metres": 320, "pixels": 32}
    first = earthtone.tiles(out, **options)
    times = {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    second = earthtone.tiles(out, **options)
    assert first == second
    assert times == {path: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    next(iter(times)).unlink()
    before = files_of(out)
    assert earthtone.tiles(out, **options) == first and len(files_of(out)) == len(before) + 1
    with pytest.raises(ConfigError, match=r"cut otherwise \(metres, count\); choose another --out"):
        earthtone.tiles(out, **{**options, "metres": 160})
    assert len(files_of(out)) == len(before) + 1


_KILLED = """
import sys, time
import earthtone.atlas.tiles as verb
import earthtone.build.tiles as cutting
real = cutting._tile_file
def slow(*arguments):
    time.sleep(0.05)
    return real(*arguments)
cutting._tile_file = slow
verb.tiles(sys.argv[2], raster=sys.argv[1], metres=160, pixels=32, stride=80, threads=1)
"""


@pytest.mark.slow
def test_a_killed_call_goes_on(raster: Path, tmp_path: Path) -> None:
    """kill -9 in the middle: nothing lost, nothing twice, the same files as of a call that was left alone."""
    out = tmp_path / "killed"
    worker = subprocess.Popen([sys.executable, "-c", _KILLED, str(raster), str(out)])
    record = out / "tiles.jsonl"
    for _ in range(600):
        if record.exists() and record.read_text().count("\n") > 8:
            break
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    with record.open("a") as file:
        file.write('{"id": "half')
    done = record.read_text().count("\n") - 1
    assert done >= 8 and not (out / "manifest.csv").exists()
    options: dict[str, Any] = {"raster": raster, "metres": 160, "pixels": 32, "stride": 80}
    assert earthtone.tiles(out, **options).tiles > done
    earthtone.tiles(tmp_path / "whole", **options)
    assert files_of(out) == files_of(tmp_path / "whole")


# Hosts.


@pytest.mark.slow
def test_tiles_of_a_server(tmp_path: Path) -> None:
    """A placeholder that shows itself late costs the tiles that were made of it before."""
    grey = picture((204, 204, 204))

    def speaks(asked: Asked) -> Said:
        _, z, x, y = asked.path.partition("?")[0].removesuffix(".png").split("/")
        draw = np.random.default_rng([int(z), int(x), int(y)])
        here = picture(draw.integers(0, 255, (256, 256, 3), dtype=np.uint8))
        return Said(grey if int(x) % 4 == 0 else here, 200, {"Cache-Control": "max-age=600"})

    with hosting(speaks) as host:
        options: dict[str, Any] = {
            "template": f"{host.url}/{{z}}/{{x}}/{{y}}.png", "region": "7.4,46.5,7.47,46.52", "metres": 500,
            "pixels": 50, "rate": 100, "cache": tmp_path / "cache", "patience": QUICK, "attribution": "Somebody",
        }  # fmt: skip
        options["template"] += "?apikey=very-secret"
        result = earthtone.tiles(tmp_path / "t", **options)
        kept = b"".join(path.read_bytes() for path in (tmp_path / "t").iterdir() if path.is_file())
        assert b"very-secret" not in kept and b"apikey=~" in kept
        record, told = tmp_path / "t" / "tiles.jsonl", f"apikey=~{without_secrets('?very-secret')[2:]}"
        before = record.read_text()
        record.write_text(before.replace(told, "apikey=very-secret"))  # as an earlier version wrote it
        files = files_of(tmp_path / "t")
        assert earthtone.tiles(tmp_path / "t", **options).tiles == result.tiles and files_of(tmp_path / "t") == files
        with pytest.raises(ConfigError, match="cut otherwise"):
            earthtone.tiles(tmp_path / "t", **{**options, "template": options["template"] + "2"})
        rows = rows_of(tmp_path / "t")
        assert result.tiles == len(rows) and result.left_out > 5
        assert {row["attribution"] for row in rows} == {"Somebody"} and rows[0]["source"].startswith(host.url)
        for row in rows:
            pixels = read_picture(tmp_path / "t" / row["image"]).pixels
            assert not (pixels == 204).all(axis=2).mean() > 0.1
        asked = len(host.asked)
        assert asked == len(set(host.paths()))  # each once
        earthtone.tiles(tmp_path / "u", **{**options, "threads": 1})
        assert len(host.asked) == asked and rows_of(tmp_path / "u") == rows


def test_tiles_of_a_stac_api_at_places(raster: Path, tmp_path: Path) -> None:
    data = raster.read_bytes()
    outline = shapely.transform(shapely.box(500_000, 5_000_040, 501_280, 5_001_000),
                                lambda points: np.column_stack(BACK.transform(*points.T)))  # fmt: skip
    item = {
        "id": "one",
        "collection": "c",
        "geometry": json.loads(shapely.to_geojson(outline)),
        "links": [],
        "properties": {"datetime": "2024-05-01T10:11:12Z"},
        "assets": {"visual": {"href": "/scene.tif"}},
    }

    def speaks(asked: Asked) -> Said:
        if asked.path == "/search":
            return json_said({"features": [item], "links": []})
        if asked.path == "/collections/c":
            return json_said({"id": "c", "license": '=HYPERLINK("https://evil.example")'})
        return ranged(asked, data) if asked.path == "/scene.tif" else Said(b"", 404)

    table = tmp_path / "p.csv"
    lon, lat = BACK.transform(500_400, 5_000_500)
    table.write_text(f"id,longitude,latitude\na,{lon},{lat}\n")
    with hosting(speaks) as host:
        words = ["tiles", "--stac", host.url, "--collections", "c", "--places", table, "--metres", "320", "--pixels",
                 "32", "--out", tmp_path / "t", "--cache", tmp_path / "cache", "--rate", "100"]  # fmt: skip
        assert main([str(word) for word in words]) == 0
    [row] = rows_of(tmp_path / "t")
    assert (row["source"], row["datetime"]) == ("c/one", "2024-05-01T10:11:12Z")
    assert row["license"].startswith("'=HYPERLINK")
    with rasterio.open(raster) as file:
        plain = file.read(window=file.window(*[float(row[edge]) for edge in ("west", "south", "east", "north")]))
    np.testing.assert_array_equal(read_picture(tmp_path / "t" / row["image"]).pixels, np.moveaxis(plain, 0, -1))
    assert StacImagery.__doc__


# What cannot be used: one line, exit 2, nothing lost.


def test_bad_input_is_one_line(raster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    homeless = write_raster(tmp_path / "homeless.tif", noise_values(3, 32, 32), None, CORNER)
    empty = write_raster(tmp_path / "empty.tif", np.zeros((3, 64, 64), np.uint8), UTM, CORNER, nodata=0)
    out, web = str(tmp_path / "out"), "https://example.org/{z}/{x}/{y}.png"
    scene = ["--raster", str(raster)]
    for words, told in (
        ([*scene, "--region", "10,50,11,51"], "lies outside"),
        ([*scene, "--region", "POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))"], "does not cross itself"),
        ([*scene, "--region", "POLYGON ((170 0, -170 0, -170 5, 170 0))"], "it crosses 180; cut"),
        (["--raster", str(homeless)], "no coordinate system"),
        (["--raster", str(empty), "--metres", "320", "--pixels", "32"], "none of 4 tiles holds enough data"),
        (["--raster", "/vsicurl/http://127.0.0.1/a.tif"], "No such file"),
        ([*scene, "--metres", "320", "--stride", "400"], "is more than --metres"),
        ([*scene, "--metres", "320", "--value_range", "0,3000"], "has no effect on"),
        ([*scene, "--bands", "7,8,9"], "has the bands 1 to 3"),
        ([*scene, "--max_zoom", "3"], "--max_zoom has no effect with --raster"),
        ([*scene, "--template", web], "--raster and --template; one of"),
        ([], "no imagery; one of"),
        (["--template", web], "needs a place"),
        (["--template", web, "--region", "1,1,2,2"], "how large is a tile on the ground?"),
        (["--template", "tiles.example/{z}/{x}/{y}?k=secret", "--region", "1,1,2,2"], "http:// or https:// expected"),
        (["--template", "https://[a/{z}/{x}/{y}?k=secret", "--region", "1,1,2,2"], "is no address"),
        (["--template", "file:///{z}/{x}/{y}", "--region", "1,1,2,2"], "http:// or https:// expected"),
        (["--template", "https://mt1.google.com/{z}/{x}/{y}", "--region", "1,1,2,2"], "forbid to store"),
        (["--stac", "https://example.org", "--region", "1,1,2,2", "--metres", "9"], "needs --collections"),
        ([*scene, "--places", "p.csv", "--region", "1,1,2,2"], "both say where"),
        ([*scene, "--pixels", "3"], "16 to 8192 expected"),
    ):
        assert main(["tiles", "--out", out, *words]) == 2, words
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1 and "Traceback" not in said and "secret" not in said, said
    assert not (Path(out) / "manifest.csv").exists()


@pytest.mark.slow
def test_a_damaged_record_and_another_writer(raster: Path, tmp_path: Path) -> None:
    out = tmp_path / "t"
    earthtone.tiles(out, raster=raster, metres=320, pixels=32)
    for rubbish in (b"\xff\xfe", b'{"format":1,"of":[1]}\n', b"[" * 100_000, b"[]"):
        (out / "tiles.jsonl").write_bytes(rubbish)
        with pytest.raises(DataError, match=r"tiles\.jsonl is damaged; delete it"):
            earthtone.tiles(raster=raster, out=out, metres=320)
    (out / "tiles.jsonl").write_text("rubbish\n")
    with pytest.raises(DataError, match=r"tiles\.jsonl is damaged; delete it"):
        earthtone.tiles(out, raster=raster, metres=320, pixels=32)
    assert len(rows_of(out)) == 9
    from earthtone.files import only_writer

    with only_writer(out, "testing"), pytest.raises(ConfigError, match="another process is"):
        code = f"import earthtone; earthtone.tiles({str(out)!r}, raster={str(raster)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        raise ConfigError(done.stderr.strip().splitlines()[-1])


def test_names_of_files_are_safe(raster: Path, tmp_path: Path) -> None:
    lon, lat = BACK.transform(500_400, 5_000_500)
    names = ["../../evil", "con", "A", "a", "x" * 300, "\u00e9t\u00e9", ".."]
    table = tmp_path / "p.csv"
    table.write_text("\n".join(["id,longitude,latitude", *(f"{name},{lon},{lat}" for name in names)]), encoding="utf-8")
    earthtone.tiles(tmp_path / "t", raster=raster, places=table, metres=320, pixels=32, format="png")
    rows = rows_of(tmp_path / "t")
    assert [row["id"] for row in rows] == names
    files = [path.name for path in (tmp_path / "t" / "images").iterdir()]
    assert len(files) == len({name.lower() for name in files}) == len(names)
    assert all((tmp_path / "t" / row["image"]).is_file() for row in rows)
    assert Image.open(tmp_path / "t" / rows[0]["image"]).size == (32, 32)
