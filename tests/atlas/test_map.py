"""Maps of ready tiles: every file pixel by pixel against a plain loop; what is wrong is told."""

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import soundfile
from filelock import FileLock
from map_tiles import HZ, card_of, keep_model, unit_vectors, write_tiles, write_tone
from PIL import Image
from pmtiles.reader import MemorySource, Reader, all_tiles

from earthtone.atlas.embeddings import embedding_schema, write_embeddings
from earthtone.atlas.map_grid import BANDS
from earthtone.atlas.map_output import SimilarityMap
from earthtone.atlas.map_pictures import ramp_colours
from earthtone.atlas.map_raster import VIEWS
from earthtone.atlas.maps import map_similarity
from earthtone.cli import main
from earthtone.encode.training_images import FILE as TRAINING_FILE
from earthtone.encode.training_images import (
    LOOK,
    TrainingImages,
    look_text,
    looks_of_text,
    write_training_images,
)
from earthtone.errors import DataError, ModelError
from earthtone.files import LOCK_FILE
from earthtone.models.inputs import recording_windows
from earthtone.models.storage import model_fingerprint
from earthtone.models.two_tower import TwoTower

ROWS, COLUMNS, STEP, TILE = 9, 12, 60.0, 100.0
WEST, NORTH = 700_000.0, 7_200_000.0


class World:
    """A grid of tiles that lacks some, three sounds, a model with its training's images."""

    def __init__(self, folder: Path, model: TwoTower) -> None:
        self.folder, self.model = folder, model
        self.run = keep_model(folder / "run", model)
        draw = np.random.default_rng(5)
        every = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
        self.cells = [cell for cell in every if cell not in {(3, 3), (3, 4), (8, 11)}]
        draw.shuffle(self.cells)
        self.vectors = unit_vectors(len(self.cells), model.config.dimensions)
        self.looks = draw.normal(100, 10, (len(self.cells), LOOK)).astype(np.float32)
        self.looks[:9] += 200  # unlike anything
        self.looks = looks_of_text([look_text(look) for look in self.looks])  # as the table has them
        places = [(WEST + (column + 0.5) * STEP, NORTH - (row + 0.5) * STEP) for row, column in self.cells]
        card = card_of(model, self.run)
        self.tiles = write_tiles(folder / "tiles", card, places, self.vectors, tile=(TILE, TILE), looks=self.looks)
        self.view_vectors = unit_vectors(2 * len(self.cells), model.config.dimensions, 9)
        names = [f"tile {n}" for n in range(len(self.cells))] * 2
        views = ["mirrored"] * len(self.cells) + ["turned"] * len(self.cells)
        columns = {"id": names, "modality": ["image"] * len(names), "view": views}
        write_embeddings(self.tiles / VIEWS, embedding_schema(card, "float32", ["view"]), columns, self.view_vectors)
        self.training = TrainingImages(
            unit_vectors(50, model.config.dimensions, 7), draw.normal(100, 10, (50, LOOK)).astype(np.float32),
            model_fingerprint(model), "training.lance",
        )  # fmt: skip
        write_training_images(self.run / TRAINING_FILE, self.training)
        self.sounds = [
            write_tone(folder / f"{name}.wav", hz) for name, hz in (("low", 200), ("mid", 900), ("high", 3e3))
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model: TwoTower) -> World:
    return World(tmp_path_factory.mktemp("map"), tiny_model)


@pytest.fixture(scope="module")
def drawn(world: World) -> SimilarityMap:
    """A map of three sounds."""
    return map_similarity([str(path) for path in world.sounds], world.folder / "three", tiles=world.tiles)


@pytest.fixture(scope="module")
def expected(world: World) -> list[dict[str, np.ndarray]]:
    """Every band of every sound by a plain loop over tiles."""
    found = []
    for path in world.sounds:
        query = world.model.embed_audio([path])[0]
        windows = recording_windows(path, world.model.signal.audio)
        heard = [world.model.embed_windows([window[None]])[0] for window in windows]
        scores = [sum(float(a) * float(b) for a, b in zip(vector, query, strict=True)) for vector in world.vectors]
        bands = {name: np.full((ROWS, COLUMNS), np.nan) for name in BANDS}
        for n, (row, column) in enumerate(world.cells):
            here = world.vectors[n]
            others = [world.view_vectors[n], world.view_vectors[n + len(world.cells)]]
            below = sum(score < scores[n] for score in scores)
            bands["score"][row, column] = scores[n]
            bands["percentile"][row, column] = 100 * (below + 0.5) / len(scores)
            bands["window_spread"][row, column] = np.std([float(here @ window) for window in heard], ddof=1)
            bands["view_spread"][row, column] = np.std([scores[n], *(float(v @ query) for v in others)], ddof=1)
            bands["unlike"][row, column] = world.training.unlikeness(here[None], world.looks[n : n + 1])[0]
        found.append(bands)
    return found


def test_geotiffs_are_pixel_by_pixel_those_of_a_loop(
    world: World, drawn: SimilarityMap, expected: list[dict[str, np.ndarray]]
) -> None:
    for name, bands in zip(("low", "mid", "high"), expected, strict=True):
        with rasterio.open(drawn.files[name]) as file:
            assert file.crs.to_epsg() == 32721 and file.bounds == (
                WEST,
                NORTH - ROWS * STEP,
                WEST + COLUMNS * STEP,
                NORTH,
            )
            assert file.descriptions == tuple(BANDS) and np.isnan(file.nodata) and file.overviews(1) == [2]
            assert (
                file.tags()["ATTRIBUTION"] == "a made-up raster, nobody, CC0-1.0"
                and "cosine" in file.tags()["DESCRIPTION"]
            )
            values = file.read()
        for number, band in enumerate(bands.values()):
            np.testing.assert_allclose(values[number], band, atol=2e-5)
    assert np.nanmax(expected[0]["unlike"]) > 1 > np.nanmin(expected[0]["unlike"])


def test_what_is_returned_lies_on_the_same_grid(drawn: SimilarityMap, expected: list[dict[str, np.ndarray]]) -> None:
    for number, bands in enumerate(expected):
        for name, band in bands.items():
            np.testing.assert_allclose(drawn.image(name, number), band, atol=2e-5)
    assert drawn.to_dict()["files"]["page"] == "index.html" and "tiles, " in drawn.to_text()


def test_the_likeliest_sound_and_its_lead(drawn: SimilarityMap, expected: list[dict[str, np.ndarray]]) -> None:
    scores = np.stack([bands["score"] for bands in expected])
    there = ~np.isnan(scores[0])
    with rasterio.open(drawn.files["likeliest"]) as file:
        best, colours, tags = file.read(1), file.colormap(1), file.tags()
        assert file.nodata == 255 and [tags[f"CLASS_{n}"] for n in range(3)] == ["low", "mid", "high"]
        assert len({colours[n] for n in range(3)}) == 3
    with rasterio.open(drawn.files["margin"]) as file:
        lead = file.read(1)
    assert (best[there] == scores[:, there].argmax(axis=0)).all() and (best[~there] == 255).all()
    ordered = np.sort(scores, axis=0)
    np.testing.assert_allclose(lead, np.where(there, ordered[-1] - ordered[-2], np.nan), atol=4e-5)


def test_differences(world: World, drawn: SimilarityMap, expected: list[dict[str, np.ndarray]]) -> None:
    """Over views they are paired: the same views of both sounds."""
    query = world.model.embed_audio(world.sounds)
    for name, number in (("mid", 1), ("high", 2)):
        with rasterio.open(drawn.files[f"{name}-minus-low"]) as file:
            values = file.read()
        one, other = expected[0], expected[number]
        np.testing.assert_allclose(values[0], other["score"] - one["score"], atol=4e-5)
        np.testing.assert_allclose(values[1], other["percentile"] - one["percentile"], atol=1e-3)
        np.testing.assert_allclose(values[2], np.hypot(one["window_spread"], other["window_spread"]), atol=4e-5)
        for n, (row, column) in enumerate(world.cells):
            views = [world.vectors[n], world.view_vectors[n], world.view_vectors[n + len(world.cells)]]
            found = np.std([float(view @ (query[number] - query[0])) for view in views], ddof=1)
            assert values[3, row, column] == pytest.approx(found, abs=4e-5)


@pytest.mark.slow
def test_pairs_are_all_compared_and_none_is_none(world: World) -> None:
    sounds = [str(path) for path in world.sounds]
    pairs = map_similarity(sounds, world.folder / "pairs", tiles=world.tiles, difference="pairs", show="score")
    assert {name for name in pairs.files if "minus" in name} == {"mid-minus-low", "high-minus-low", "high-minus-mid"}
    none = map_similarity(sounds, world.folder / "none", tiles=world.tiles, difference="none")
    assert not any("minus" in name for name in none.files)


def test_the_table_of_tiles(world: World, drawn: SimilarityMap, expected: list[dict[str, np.ndarray]]) -> None:
    table = pq.read_table(drawn.files["tiles"])
    said = json.loads(table.schema.metadata[b"geo"])
    geometry = said["columns"]["geometry"]
    assert (said["version"], geometry["encoding"], geometry["crs"]["id"]) == (
        "1.1.0",
        "WKB",
        {"authority": "EPSG", "code": 32721},
    )
    assert len(table) == len(world.cells)
    for n, row in enumerate(table.to_pylist()):
        at = row["row"], row["column"]
        assert (row["id"], at) == (f"tile {n}", world.cells[n])
        assert row["mid score"] == pytest.approx(expected[1]["score"][at], abs=2e-5)
        ring = np.frombuffer(row["geometry"][13:], "<f8").reshape(5, 2)
        x, y = WEST + (at[1] + 0.5) * STEP, NORTH - (at[0] + 0.5) * STEP
        np.testing.assert_allclose(ring.min(axis=0), [x - TILE / 2, y - TILE / 2])
        np.testing.assert_allclose(ring.max(axis=0), [x + TILE / 2, y + TILE / 2])
        signed = sum(ring[k, 0] * ring[k + 1, 1] - ring[k + 1, 0] * ring[k, 1] for k in range(4))
        assert signed > 0  # counterclockwise


def lonlat(zoom: int, column: int, row: int, x: int, y: int) -> tuple[float, float]:
    """Where a pixel's middle of a tile of Web Mercator lies, by the formula of the tile scheme."""
    across, down = (column + (x + 0.5) / 256) / 2**zoom, (row + (y + 0.5) / 256) / 2**zoom
    return across * 360 - 180, math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * down))))


def test_web_tiles_have_the_colours_of_the_ramp(
    world: World, drawn: SimilarityMap, expected: list[dict[str, np.ndarray]]
) -> None:
    """Read by the reader of PMTiles; each pixel looked up by the formulas of the projection."""
    data = drawn.files["low pmtiles"].read_bytes()
    reader = Reader(MemorySource(data))
    header, about = reader.header(), reader.metadata()
    assert about["attribution"] == "a made-up raster, nobody, CC0-1.0" and about["legend"]["ramp"] == "viridis"
    tiles = list(all_tiles(MemorySource(data)))
    assert len(tiles) == header["addressed_tiles_count"] and {z for (z, _, _), _ in tiles} == set(
        range(header["min_zoom"], header["max_zoom"] + 1)
    )
    ramp, seen = ramp_colours("viridis"), 0
    for (zoom, column, row), png in tiles:
        if zoom < header["max_zoom"]:
            continue
        picture = np.asarray(Image.open(io.BytesIO(png)))
        assert picture.shape == (256, 256, 4)
        places = [(x, y) for x in range(1, 256, 5) for y in range(2, 256, 5)]
        points = [lonlat(zoom, column, row, x, y) for x, y in places]
        east, north = rasterio.warp.transform("EPSG:4326", "EPSG:32721", *zip(*points, strict=True))
        for (x, y), at_x, at_y in zip(places, east, north, strict=True):
            cell_x, cell_y = (at_x - WEST) / STEP, (NORTH - at_y) / STEP
            if min(abs(cell_x - round(cell_x)), abs(cell_y - round(cell_y))) < 0.02:
                continue  # on a border either cell will do
            inside = 0 <= cell_x < COLUMNS and 0 <= cell_y < ROWS
            at = (int(cell_y), int(cell_x))
            value = expected[0]["percentile"][at] if inside else np.nan
            if np.isnan(value):
                assert picture[y, x].tolist() == [0, 0, 0, 0]
                continue
            colour = ramp[min(255, int(value / 100 * 256))]
            assert picture[y, x, :3].tolist() == colour.tolist()
            assert picture[y, x, 3] == (96 if expected[0]["unlike"][at] > 1 else 255)
            seen += 1
    assert seen > 500


def test_the_picture(drawn: SimilarityMap) -> None:
    picture = Image.open(drawn.files["png"])
    assert picture.format == "PNG" and min(picture.size) > 500 and len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_the_page_is_whole_and_asks_for_nothing(
    world: World, drawn: SimilarityMap, expected: list[dict[str, np.ndarray]]
) -> None:
    page = drawn.files["page"].read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page) and "://" not in re.sub(r"data:[^\"]*", "", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert policy and script and "default-src 'none'" in policy[1]
    import hashlib

    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    data = json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    bands = {band["name"]: np.frombuffer(base64.b64decode(band["values"]), "<f4") for band in data["bands"]}
    np.testing.assert_allclose(bands["mid score"].reshape(ROWS, COLUMNS), expected[1]["score"], atol=2e-5)
    np.testing.assert_allclose(bands["unlike"].reshape(ROWS, COLUMNS), expected[1]["unlike"], atol=1e-5)
    assert page.count("<audio") == 3 and "no probability" in page and "it says where, never whether" in page
    assert "nobody" in page and "Synthetic" not in page


@pytest.mark.slow
def test_names_are_no_markup(world: World) -> None:
    """Of sounds and of attribution, in page, picture and file names."""
    bad = write_tone(world.folder / "<script>alert(1)<\u2215script>$x_1^$\u202e.wav", 500)
    tiles = write_tiles(
        world.folder / "odd", card_of(world.model, world.run), [(WEST, NORTH), (WEST + 100, NORTH)],
        unit_vectors(2, world.model.config.dimensions), attribution=["</script><img src=x onerror=alert(1)>"] * 2,
    )  # fmt: skip
    found = map_similarity([str(bad), str(world.sounds[0])], world.folder / "odd-map", tiles=tiles)
    page = found.files["page"].read_text()
    assert "<script>alert" not in page and "<img src=x" not in page and "\u202e" not in page
    assert page.count("</script>") == 2
    assert all(
        re.fullmatch(r"[a-z0-9-]+(\.tif|\.pmtiles)|map\.(png|json)|tiles\.parquet|index\.html", path.name)
        for path in found.files.values()
    )


def test_among_a_background(world: World) -> None:
    """Percentiles are counted among its images, whatever else it holds."""
    vectors = unit_vectors(40, world.model.config.dimensions, 3)
    kinds = ["image"] * 30 + ["audio"] * 10
    write_embeddings(
        world.folder / "background.lance", embedding_schema(card_of(world.model), "float32"),
        {"id": list(map(str, range(40))), "modality": kinds}, vectors,
    )  # fmt: skip
    found = map_similarity(
        [str(world.sounds[0])], world.folder / "among", tiles=world.tiles, background=world.folder / "background.lance"
    )
    query = world.model.embed_audio([world.sounds[0]])[0]
    among = sorted(float(vector @ query) for vector in vectors[:30])
    for score, percentile in zip(found.bands["score"][:, 0], found.bands["percentile"][:, 0], strict=True):
        assert percentile == pytest.approx(100 * sum(other < score for other in among) / 30, abs=1e-3)
    assert "one in ten above 90" in found.chance


@pytest.mark.slow
def test_months_stand_beside_each_other(world: World) -> None:
    table = world.folder / "queries.csv"
    table.write_text("file,name,month\nlow.wav,dawn chorus,6\nmid.wav,dawn chorus,1\nhigh.wav,frogs,6\n")
    found = map_similarity([str(table)], world.folder / "months", tiles=world.tiles, difference="none")
    page = found.files["page"].read_text()
    assert "Months side by side" in page and page.count('class="none">no sound') == 1
    order = re.findall(r'<button class="small-map panel"[^>]*><img[^>]*>([^<]*)', page)
    assert order[:3] == ["dawn chorus, month 1", "dawn chorus, month 6", "frogs, month 6"]
    assert {"dawn-chorus-month-1", "dawn-chorus-month-6", "frogs-month-6"} <= set(found.files)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file,month\nlow.wav,13\n", "month is 13"),
        ("file,hour\nlow.wav,noon\n", "hour is noon"),
        ("sound\nlow.wav\n", "file expected"),
        ("file,month\nlow.wav,1.5\n", "whole number"),
        ("file\n", "0 sounds"),
        ("file,name\n,x\n", "no file"),
        ("file\nnowhere.wav\n", "nowhere.wav"),
    ],
)
def test_a_csv_that_is_none(world: World, text: str, told: str) -> None:
    (world.folder / "wrong.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        map_similarity([str(world.folder / "wrong.csv")], world.folder / "wrong-csv", tiles=world.tiles)


def test_across_the_antimeridian_in_degrees(world: World) -> None:
    """The GeoTIFF goes on beyond 180; web tiles have both sides of the world."""
    places = [(lon, lat) for lon in (179.7, 179.9, -179.9, -179.7) for lat in (-17.1, -16.9)]
    tiles = write_tiles(
        world.folder / "fiji", card_of(world.model, world.run), places, unit_vectors(8, world.model.config.dimensions),
        tile=(0.2, 0.2), crs="EPSG:4326",
    )  # fmt: skip
    found = map_similarity([str(world.sounds[0])], world.folder / "fiji-map", tiles=tiles)
    with rasterio.open(found.files["low"]) as file:
        assert (file.bounds.left, file.bounds.right) == (pytest.approx(179.6), pytest.approx(180.4))
        assert not np.isnan(file.read(1)).any()
    data = found.files["low pmtiles"].read_bytes()
    most = Reader(MemorySource(data)).header()["max_zoom"]
    columns = {
        x: np.asarray(Image.open(io.BytesIO(png))) for (z, x, _), png in all_tiles(MemorySource(data)) if z == most
    }
    assert {0, 2**most - 1} <= set(columns)
    assert columns[0][..., 3].any(axis=0)[0] and columns[2**most - 1][..., 3].any(axis=0)[-1]
    assert found.longitude.min() == pytest.approx(-179.9)


def test_raw_embeddings_are_compared_by_distance(world: World, tiny_signal: Any) -> None:
    import torch

    from earthtone.models.config import ModelConfig

    torch.manual_seed(1)
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=8, unit=False), tiny_signal).eval()
    run = keep_model(world.folder / "raw", model)
    vectors = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    tiles = write_tiles(
        world.folder / "raw-tiles", card_of(model, run), [(WEST + 100 * n, NORTH) for n in range(4)], vectors
    )
    found = map_similarity([str(world.sounds[0])], world.folder / "raw-map", tiles=tiles)
    query = model.embed_audio([world.sounds[0]])[0]
    plain = [-sum((float(a) - float(b)) ** 2 for a, b in zip(vector, query, strict=True)) for vector in vectors]
    np.testing.assert_allclose(found.bands["score"][:, 0], plain, rtol=1e-4)
    assert "squared distance" in found.sentence and np.isnan(found.bands["unlike"]).all()
    assert any("--training TABLE" in note for note in found.notes)


@pytest.mark.slow
def test_training_images_of_a_table(world: World, tiny_table: Path, tiny_model: TwoTower) -> None:
    """For models that keep none; what was made is kept in the map's folder."""
    bare = keep_model(world.folder / "bare", tiny_model)
    out = world.folder / "bare-map"
    found = map_similarity([str(world.sounds[0])], out, tiles=world.tiles, model=bare, training=tiny_table)
    assert found.facts["training images"] == "16 of tiny.lance" and not np.isnan(found.bands["unlike"]).any()
    again = map_similarity([str(world.sounds[0])], out, tiles=world.tiles, model=bare)
    np.testing.assert_array_equal(again.bands["unlike"], found.bands["unlike"])


def test_a_single_window_has_no_spread(world: World) -> None:
    short = write_tone(world.folder / "short.wav", 700, 1.0)
    found = map_similarity([str(short)], world.folder / "short-map", tiles=world.tiles)
    assert np.isnan(found.bands["window_spread"]).all() and any("one window" in note for note in found.notes)


def test_the_toy_world_is_called_synthetic(world: World) -> None:
    tiles = write_tiles(
        world.folder / "toy", card_of(world.model, world.run), [(WEST, NORTH), (WEST + 100, NORTH)],
        unit_vectors(2, world.model.config.dimensions), source=["toyworld"] * 2,
    )  # fmt: skip
    found = map_similarity([str(world.sounds[0])], world.folder / "toy-map", tiles=tiles)
    assert found.synthetic and "Synthetic: where" in found.files["page"].read_text()
    with rasterio.open(found.files["low"]) as file:
        assert file.tags()["SYNTHETIC"] == "a toy world"


# What is wrong: one line, exit code 2, nothing left.


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["map", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("earthtone: ")
    return said[-1]


def test_silence_is_no_query(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dither = np.random.default_rng(0).choice([-1, 0, 1], 3 * HZ) / 32768  # as search judges it: nothing is heard
    out = tmp_path / "map"
    for name, samples in {"silence.wav": np.zeros(3 * HZ), "dither.wav": dither}.items():
        soundfile.write(tmp_path / name, samples, HZ)
        words = ["--tiles", str(world.tiles), "--query", str(tmp_path / name), "--out", str(out)]
        assert "silence" in (said := refused(words, capsys))
        assert f"--query {tmp_path / name}" in said
        assert not out.exists()


@pytest.mark.slow
def test_another_model_is_refused_with_both_fingerprints(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], scaled: TwoTower
) -> None:
    run = keep_model(tmp_path / "other", scaled)
    words = [
        "--tiles",
        str(world.tiles),
        "--model",
        str(run),
        "--query",
        str(world.sounds[0]),
        "--out",
        str(tmp_path / "m"),
    ]
    said = refused(words, capsys)
    assert model_fingerprint(scaled) in said and model_fingerprint(world.model) in said
    write_embeddings(
        tmp_path / "b.lance",
        embedding_schema(card_of(scaled), "float32"),
        {"id": ["a"], "modality": ["image"]},
        unit_vectors(1, 16),
    )
    with pytest.raises(ModelError, match="another model"):
        map_similarity([str(world.sounds[0])], tmp_path / "m", tiles=world.tiles, background=tmp_path / "b.lance")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"west": [None] * 3}, "earthtone tiles"),
        ({"modality": ["audio"] * 3}, "none of its 3 rows is a tile"),
        ({"crs": [None] * 3}, "no CRS"),
        ({"crs": ["EPSG:0"] * 3}, "its CRS is 'EPSG:0'"),
        ({"west": [0.0, 100.0, 237.0], "east": [100.0, 200.0, 337.0]}, "no regular grid"),
    ],
)
def test_embeddings_that_are_no_grid(
    world: World, tmp_path: Path, change: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    card = card_of(world.model, world.run)
    tiles = write_tiles(tmp_path / "t", card, [(0.0, 0.0), (100.0, 0.0), (200.0, 0.0)], unit_vectors(3, 16), **change)
    words = ["--tiles", str(tiles), "--query", str(world.sounds[0]), "--out", str(tmp_path / "map")]
    assert told in refused(words, capsys)
    assert not (tmp_path / "map").exists()


def test_tiles_without_vectors(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiles = write_tiles(
        tmp_path / "t", card_of(world.model, world.run), [(0.0, 0.0)], np.full((1, 16), np.nan, np.float32)
    )
    words = ["--tiles", str(tiles), "--query", str(world.sounds[0]), "--out", str(tmp_path / "map")]
    assert "none of its 1 tiles has a vector" in refused(words, capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--query", "a.wav"], "--tiles EMBEDDINGS or --raster FILE expected; neither is given"),
        (["--tiles", "E", "--raster", "R", "--query", "a.wav"], "both are given"),
        (["--raster", "R", "--query", "a.wav"], "--raster needs --model"),
        (["--tiles", "E", "--query", "a.wav", "--stride", "5"], "--stride has no effect"),
        (["--tiles", "E", "--query", "a.wav", "--difference", "all"], "first, pairs or none"),
        (["--tiles", "nowhere", "--query", "a.wav"], "nowhere"),
    ],
)
def test_options_that_make_no_sense(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused([*words, "--out", str(tmp_path / "map")], capsys)
    assert not (tmp_path / "map").exists()


def test_one_writer_at_a_time(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tiles", str(world.tiles), "--query", str(world.sounds[0]), "--out", str(tmp_path)]
    with FileLock(tmp_path / LOCK_FILE):
        assert "another process is drawing a map into it" in refused(words, capsys)


def test_nothing_is_written_among_embeddings_of_another_verb(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tiles", str(world.tiles), "--query", str(world.sounds[0]), "--out", str(world.tiles)]
    before = sorted(world.tiles.iterdir())
    assert "holds embeddings that no map has made; choose another --out" in refused(words, capsys)
    assert sorted(world.tiles.iterdir()) == before


def test_a_sound_is_asked_for_once(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = str(world.sounds[0])
    words = ["--tiles", str(world.tiles), "--query", one, str(world.sounds[1]), one, "--out", str(tmp_path / "map")]
    assert f"{one} is given twice" in refused(words, capsys)


@pytest.mark.slow
def test_a_call_that_fails_leaves_the_map_before(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tiles", str(world.tiles), "--out", str(tmp_path), "--query"]
    assert main(["map", *words, str(world.sounds[0])]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    soundfile.write(tmp_path.parent / "still.wav", np.zeros(3 * HZ, np.float32), HZ)
    refused([*words, str(tmp_path.parent / "still.wav")], capsys)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert main(["map", *words, str(world.sounds[1]), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sounds"][0]["name"] == "mid" and (tmp_path / "low.tif").read_bytes() == before["low.tif"]


@pytest.mark.slow
def test_at_the_pole_there_are_no_web_tiles(world: World, caplog: pytest.LogCaptureFixture) -> None:
    places = [(2_000_000.0 + 1000 * n, 2_000_000.0) for n in range(3)]  # at the South Pole
    tiles = write_tiles(
        world.folder / "pole", card_of(world.model, world.run), places, unit_vectors(3, 16), tile=(1000.0, 1000.0),
        crs="EPSG:5042",
    )  # fmt: skip
    found = map_similarity([str(world.sounds[0])], world.folder / "pole-map", tiles=tiles)
    assert "low pmtiles" not in found.files and found.files["low"].exists() and "ends at 85 degrees" in caplog.text
