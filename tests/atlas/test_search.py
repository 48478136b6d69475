"""Searching a table of embeddings: rankings beside plain NumPy, what queries may be, and one line for what is wrong."""

import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
import soundfile
import torch
from atlas_world import DIMENSIONS, drawn, embedded_pairs, unit_vectors, windows_and_tiles
from numpy.typing import NDArray
from PIL import Image

import earthtone
from earthtone.atlas.embeddings import TABLE, open_embeddings
from earthtone.atlas.queries import Catalogue
from earthtone.atlas.scan import Blocks, write_blocks
from earthtone.atlas.search import Index, open_index
from earthtone.cli import main
from earthtone.encode.store import content_fingerprint
from earthtone.errors import ConfigError, DataError, EarthtoneError, ModelError, SignalError
from earthtone.models.config import ModelConfig
from earthtone.models.storage import model_fingerprint, save_model
from earthtone.models.two_tower import TwoTower


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Path, tiny_model: TwoTower) -> Path:
    return embedded_pairs(tmp_path_factory.mktemp("pairs"), tiny_pairs, tiny_model)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return windows_and_tiles(tmp_path_factory.mktemp("world"))


def plain(folder: Path) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Return the rows and vectors of E without what is tested."""
    table = open_embeddings(folder)
    names = ["id", "modality", "start_s", "longitude", "latitude"]
    return table.columns(names).to_pylist(), table.vectors().astype(np.float64)


def ranking(
    folder: Path, query: NDArray[np.float64], medium: str | None = None, skip: set[int] | None = None,
    unit: bool = True,
) -> list[tuple[float, str, float, int]]:  # fmt: skip
    """Return (minus score, id, start, row) of every row, in order: a plain loop."""
    rows, vectors = plain(folder)
    found = []
    for number, (row, vector) in enumerate(zip(rows, vectors, strict=True)):
        if (medium in (None, row["modality"])) and number not in (skip or set()):
            score = float(np.float32((vector * query).sum() if unit else -np.square(vector - query).sum()))
            found.append((-score if unit else (-score) ** 0.5, row["id"], row["start_s"] or 0.0, number))
    return sorted(found)


def numbers(folder: Path, name: str) -> list[int]:
    return [n for n, row in enumerate(plain(folder)[0]) if row["id"] == name]


def unit(vector: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(vector, np.float64) / np.linalg.norm(np.asarray(vector, np.float64))


@pytest.mark.parametrize("normalised", [True, False])
def test_all_windows_are_ranked_as_a_plain_loop_does(tmp_path: Path, normalised: bool) -> None:
    folder = windows_and_tiles(tmp_path, unit=normalised)
    query = unit_vectors(1, 9)[0]
    for medium in ("image", "audio", "all"):
        result = open_index(folder).search(query, k=1000, find=medium, windows="all")
        wanted = ranking(folder, unit(query) if normalised else query, None if medium == "all" else medium,
                         unit=normalised)  # fmt: skip
        assert [hit.row for hit in result.hits] == [row for *_, row in wanted]
        np.testing.assert_allclose([hit.score for hit in result.hits], [-score for score, *_ in wanted], atol=1e-6)
        assert result.searched == len(wanted)
        behind = [100 * (len(wanted) - 1 - n) / (len(wanted) - 1) for n in range(len(wanted))]
        np.testing.assert_allclose([hit.percentile for hit in result.hits], behind)
        assert ("cosine" in result.score_is) == normalised


@pytest.mark.parametrize("k", [1, 4, 12])
def test_a_recording_is_one_hit_with_its_best_window(world: Path, k: int) -> None:
    query = unit_vectors(1, 5)[0]
    best: dict[str, tuple[float, str, float, int]] = {}
    whole = ranking(world, unit(query), "audio")
    for each in whole:
        best.setdefault(each[1], each)
    result = open_index(world).search(query, k=k, find="audio")
    assert [(hit.id, hit.row) for hit in result.hits] == [(name, row) for _, name, _, row in list(best.values())[:k]]
    place = {row: n for n, (*_, row) in enumerate(whole)}
    np.testing.assert_allclose(
        [hit.percentile for hit in result.hits],
        [100 * (len(whole) - 1 - place[hit.row]) / (len(whole) - 1) for hit in result.hits],
    )


def test_equal_scores_are_in_the_order_of_ids(world: Path) -> None:
    rows, vectors = plain(world)
    hits = open_index(world).search(vectors[numbers(world, "tile-11")[0]], k=3, find="image").hits
    assert [hit.id for hit in hits] == ["tile-03", "tile-11", "tile-21"]
    assert len({hit.score for hit in hits}) == 1
    assert [row["id"] for row in rows if row["id"] in ("tile-03", "tile-11", "tile-21")] != [hit.id for hit in hits]


def test_several_are_one_query_as_qdrant_has_it(world: Path) -> None:
    plus = [unit_vectors(1, seed)[0] for seed in (11, 12)]
    minus = [unit_vectors(1, seed)[0] for seed in (13, 14, 15)]
    mean_plus, mean_minus = (np.mean([unit(v) for v in part], axis=0) for part in (plus, minus))
    wanted = ranking(world, unit(mean_plus + mean_plus - mean_minus), "image")
    result = open_index(world).search(plus, minus, k=30, find="image")
    assert [hit.row for hit in result.hits] == [row for *_, row in wanted]
    assert result.query == "+ a vector + a vector - a vector - a vector - a vector"
    with pytest.raises(ConfigError, match="cancel each other"):
        open_index(world).search([plus[0], -plus[0]], find="image")


def test_the_block_file_of_an_index_changes_no_hit(tmp_path: Path) -> None:
    folder = windows_and_tiles(tmp_path)
    query = unit_vectors(1, 31)[0]
    before = [open_index(folder).search(query, k=5, find=find).to_dict() for find in ("image", "audio", "all")]
    write_blocks(open_embeddings(folder), folder / "index")
    after = open_index(folder)
    assert [after.search(query, k=5, find=find).to_dict() for find in ("image", "audio", "all")] == before
    assert isinstance(after._store[0], Blocks)


def test_an_id_is_all_its_windows_and_no_hit_itself(world: Path) -> None:
    _, vectors = plain(world)
    own = numbers(world, "rec-05")
    query = unit(np.mean([unit(vectors[row]) for row in own], axis=0))
    result = open_index(world).search("rec-05", k=1000, find="audio", windows="all")
    assert [hit.row for hit in result.hits] == [row for *_, row in ranking(world, query, "audio", set(own))]
    assert result.searched == len(ranking(world, query, "audio")) - len(own)
    across = open_index(world).search("rec-05", k=1000)
    assert across.found == "image"
    assert [hit.row for hit in across.hits] == [row for *_, row in ranking(world, query, "image")]
    one = open_index(world).search("rec-05@2.5", k=3, find="audio", windows="all")
    assert own[1] not in [hit.row for hit in one.hits] and one.hits[0].id == "rec-05"  # its other windows are alike
    assert one.hits[0].key == f"rec-05@{one.hits[0].start_s:g}"


def test_an_id_of_both_media_is_read_by_what_is_searched(pairs: Path) -> None:
    _, vectors = plain(pairs)
    image, sound = numbers(pairs, "pair-3")
    index = open_index(pairs)
    by_sound = index.search("pair-3", find="image", k=24)
    assert [hit.row for hit in by_sound.hits] == [row for *_, row in ranking(pairs, unit(vectors[sound]), "image")]
    assert {hit.key for hit in by_sound.hits} == {f"image:pair-{n}" for n in range(24)}
    by_image = index.search("image:pair-3", k=24)
    assert by_image.found == "audio"
    assert [hit.row for hit in by_image.hits] == [row for *_, row in ranking(pairs, unit(vectors[image]), "audio")]
    both = index.search("pair-3", k=100)
    query = unit(unit(vectors[image]) + unit(vectors[sound]))
    assert both.found == "all" and any("--find image" in note for note in both.notes)
    assert [hit.row for hit in both.hits] == [row for *_, row in ranking(pairs, query, None, {image, sound})]


def test_files_are_embedded_as_the_index_was(pairs: Path, tiny_pairs: Path, tiny_model: TwoTower) -> None:
    """A file that lies in the index is found by itself first, and as the model's own vector ranks."""
    index = open_index(pairs)
    sound, picture = tiny_pairs.parent / "5.wav", tiny_pairs.parent / "5.png"
    result = index.search(str(sound), k=24)
    assert result.found == "image" and result.query == str(sound)
    wanted = ranking(pairs, unit(tiny_model.embed_audio([sound])[0]), "image")
    assert [hit.row for hit in result.hits] == [row for *_, row in wanted]
    assert index.search(sound, find="audio", k=1).hits[0].id == "pair-5"
    assert index.search(picture, find="image", k=1).hits[0].id == "pair-5"
    assert index.search(picture, k=1).found == "audio"
    samples, hz = soundfile.read(sound, dtype="float32")
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    assert [hit.row for hit in index.search((samples, hz), k=24).hits] == [hit.row for hit in result.hits]
    assert index.search(pixels, find="image", k=1).hits[0].id == "pair-5"
    mixed = index.search([sound, picture], k=24)
    assert mixed.found == "all"


def test_the_model_is_opened_when_a_file_is_embedded_and_not_before(world: Path) -> None:
    index = open_index(world)
    assert len(index.search("tile-04", k=3).hits) == 3
    assert index._model is None
    with pytest.raises(
        ModelError, match=r"no-such-model, cannot be opened .*--model RUN; queries by id, place or vector"
    ):
        index.search(np.zeros((40, 40, 3), np.uint8))


def test_another_model_is_refused_with_both_fingerprints(
    pairs: Path, tiny_pairs: Path, tiny_model: TwoTower, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    other = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), tiny_model.signal).eval()
    save_model(tmp_path / "other", other, {})
    for model in (tmp_path / "other", other):
        with pytest.raises(ModelError, match="another model") as refused:
            open_index(pairs, model=model).search(tiny_pairs.parent / "0.wav")
        assert model_fingerprint(other) in str(refused.value) and model_fingerprint(tiny_model) in str(refused.value)
    with pytest.raises(ConfigError, match="--model has no effect"):
        earthtone.search(pairs, like=["image:pair-3"], model=tmp_path / "other")
    assert open_index(pairs, model=tmp_path / "other").search("image:pair-3").hits  # an index is asked many things
    with pytest.raises(ConfigError, match="--gsd_m has no effect"):
        open_index(pairs).search("image:pair-3", gsd_m=0.5)
    assert open_index(pairs, model=tiny_model).search(tiny_pairs.parent / "0.wav").hits


# Places.


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of 1 km in UTM 21 south and 20 south, one across the date line in degrees, and a sound without bounds."""
    from rasterio.warp import transform

    columns: dict[str, list[Any]] = {
        name: [] for name in ("id", "modality", "west", "south", "east", "north", "crs", "longitude", "latitude")
    }

    def add(name: str, bounds: tuple[float, ...], crs: str) -> None:
        west, south, east, north = bounds
        [lon], [lat] = transform(crs, "EPSG:4326", [(west + east) / 2], [(south + north) / 2])
        lon = (lon + 180) % 360 - 180
        for key, value in zip(columns, (name, "image", *bounds, crs, lon, lat), strict=True):
            columns[key].append(value)

    for column in range(4):
        for row in range(4):
            west, south = 740_000 + 1000 * column, 7_180_000 + 1000 * row
            add(f"utm21-{column}{row}", (west, south, west + 1000, south + 1000), "EPSG:32721")
            add(f"utm20-{column}{row}", (west, south, west + 1000, south + 1000), "EPSG:32720")
    add("big", (738_000, 7_178_000, 746_000, 7_186_000), "EPSG:32721")
    add("fiji", (179.9, -17.1, 180.1, -16.9), "EPSG:4326")
    add("south", (179.9, -27.1, -179.9, -26.9), "EPSG:4326")
    columns["longitude"][-1] = 180.0
    for key, value in zip(columns, ("sound", "audio", *[None] * 5, -54.6, -25.4), strict=True):
        columns[key].append(value)
    return drawn(tmp_path_factory.mktemp("tiles"), columns, unit_vectors(len(columns["id"]), 1))


def test_a_place_is_the_tile_that_holds_it(tiles: Path) -> None:
    from rasterio.warp import transform

    index = open_index(tiles)
    for crs, name in (("EPSG:32721", "utm21"), ("EPSG:32720", "utm20")):
        [lon], [lat] = transform(crs, "EPSG:4326", [742_400], [7_181_600])
        for given in (f"{lon},{lat}", f"at:{lon},{lat}", (lon, lat)):
            result = index.search(given, find="image", k=50)
            assert result.notes[0].endswith(f" is {name}-21"), result.notes
            assert f"{name}-21" not in [hit.id for hit in result.hits]
    with pytest.raises(DataError, match=rf"lies \d,\d+ km away; longitude comes first: {lon:.7g},{lat:.7g} does"):
        index.search(f"{lat},{lon}")  # as many say it
    for lon in (179.95, -179.95):
        assert "is fiji" in index.search((lon, -17.0), find="image").notes[0]
        assert "is south" in index.search((lon, -27.0), find="image").notes[0]
    with pytest.raises(DataError, match="no tile of the index holds this place"):
        index.search((0.0, -27.0))
    assert [hit.id for hit in index.search((180.0, -17.0)).hits] == ["sound"]  # heard, not seen


def test_a_place_without_a_tile_is_said_so(tiles: Path, pairs: Path) -> None:
    with pytest.raises(
        DataError, match=r"no tile of the index holds this place; the nearest image, utm.*km away; type "
    ):
        open_index(tiles).search("-54.0,-25.0")
    near = open_index(tiles).search("near:-54.0,-25.0", k=1)
    assert "is utm21" in near.notes[0] and "km away" in near.notes[0]
    assert "is sound, " in open_index(tiles).search("near:-54.0,-25.0", find="image", k=1).notes[0]
    with pytest.raises(DataError, match="the nearest image, image:pair-0, lies 0 km away"):  # a picture without bounds
        open_index(pairs).search((0.5, 45.0))
    assert "image:pair-0" in open_index(pairs).search("near:0.5,45.0", k=1).notes[0]
    for wrong in ("200,10", "10,95", "near:1", "at:a,b"):
        with pytest.raises(ConfigError, match=r"LON,LAT expected|is no place"):
            open_index(tiles).search(wrong)


# Vectors.


def test_vectors_of_a_file(world: Path, tmp_path: Path) -> None:
    query = unit_vectors(3, 21)
    np.save(tmp_path / "three.npy", query)
    result = open_index(world).search(str(tmp_path / "three.npy"), k=30, find="image")
    wanted = ranking(world, unit(np.mean([unit(v) for v in query], axis=0)), "image")
    assert [hit.row for hit in result.hits] == [row for *_, row in wanted]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.ones(DIMENSIONS + 1), rf"shape \({DIMENSIONS + 1},\); vectors of {DIMENSIONS} numbers"),
        (np.ones((2, 3, DIMENSIONS)), "vectors of 8 numbers"),
        (np.full(DIMENSIONS, np.nan), "not finite"),
        (np.zeros(DIMENSIONS), "no length"),
        (np.array(["a"] * DIMENSIONS), "vectors of 8 numbers"),
    ],
)
def test_vectors_that_are_none_are_one_line(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], values: NDArray[Any], told: str
) -> None:
    np.save(tmp_path / "v.npy", values)
    with pytest.raises(DataError, match=told):
        open_index(world).search(tmp_path / "v.npy")
    assert refused(["search", str(world), "--like", str(tmp_path / "v.npy")], capsys)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that the command line says when it refuses; nothing else is printed."""
    assert main(words) == 2
    out, told = capsys.readouterr()
    assert out == "" and told.startswith("earthtone: ") and told.count("\n") == 1, (out, told)
    return told


# What is wrong, one line each.


@pytest.mark.slow
def test_an_empty_index_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn(tmp_path, {"id": ["a"], "modality": ["image"]}, np.ones((1, 4)))
    lance.dataset(str(tmp_path / TABLE)).delete("true")
    assert "an empty index" in refused(["search", str(tmp_path), "--like", "a"], capsys)


def write_sound(path: Path, samples: NDArray[Any], hz: int = 16_000, subtype: str = "PCM_16") -> Path:
    soundfile.write(path, samples, hz, subtype=subtype)
    return path


def test_silence_ranks_nothing(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zeros, a constant, the noise of the last bit of 16, and channels that cancel; a faint call is a query."""
    draw = np.random.default_rng(0)
    zeros = np.zeros(32_000)
    silent = {
        "zeros": zeros, "constant": zeros + 0.25,
        "dither": draw.integers(-1, 2, 32_000) / 32_768,
        "cancels": np.stack([draw.normal(0, 0.1, 32_000)] * 2, axis=1) * [1, -1],
    }  # fmt: skip
    index = open_index(pairs)
    for name, samples in silent.items():
        file = write_sound(tmp_path / f"{name}.wav", samples, subtype="FLOAT" if name != "dither" else "PCM_16")
        with pytest.raises(SignalError, match=r"silence.*nothing is ranked"):
            index.search(file)
    assert "silence" in refused(["search", str(pairs), "--like", str(tmp_path / "dither.wav")], capsys)
    call = zeros.copy()
    call[8000:9600] = 0.002 * np.sin(np.arange(1600))  # -54 dB, a tenth of a second
    assert index.search(write_sound(tmp_path / "call.wav", call + silent["dither"])).hits


def test_a_query_of_more_than_six_hours_is_one_line(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with wave.open(str(tmp_path / "long.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(1000)
        file.writeframes(bytes(7 * 3600 * 1000))
    assert "at most 6 h" in refused(["search", str(pairs), "--like", str(tmp_path / "long.wav")], capsys)


@pytest.mark.slow
def test_broken_and_missing_files_are_one_line(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.wav", "a.png", "a.npy", "a.xyz", "\x1b[31m.wav"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        assert name.replace("\x1b", "\\x1b") in refused(["search", str(pairs), "--like", str(tmp_path / name)], capsys)
    assert "is no id" in refused(["search", str(pairs), "--like", str(tmp_path / "missing.wav")], capsys)
    assert "is no id" in refused(["search", str(pairs), "--like", "x" * 5000], capsys)
    assert "is no id" in refused(["search", str(pairs), "--like", "\udcff"], capsys)
    assert "a folder" in refused(["search", str(pairs), "--like", f"file:{tmp_path}"], capsys)


def test_a_damaged_or_missing_index_is_one_line(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "earthtone embed" in refused(["search", str(tmp_path), "--like", "a"], capsys)
    from shutil import copytree

    copytree(pairs, tmp_path / "E")
    file = next((tmp_path / "E" / TABLE / "data").glob("*.lance"))
    file.write_bytes(file.read_bytes()[:-9])
    assert "damaged" in refused(["search", str(tmp_path / "E"), "--like", "pair-1"], capsys)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to search by"),
        (["--unlike", "tile-01"], "--unlike alone"),
        (["--unlike", "tile-01", "--marks", "m.csv"], "--unlike alone"),
        (["--like", "tile-01", "--k", "0"], "1 or more"),
        (["--like", "tile-01", "--find", "smell"], "image, audio or all"),
        (["--like", "tile-01", "--target_score", "0.5"], "--borderline"),
        (["--like", "tile-01", "--borderline"], "--target_score"),
        (["--like", "tile-01", "--marks_query", "a"], "--marks"),
        (["--like", "tile-01", "--out", "hits.xlsx"], ".json, .csv, .geojson, .txt"),
        (["--like", "tile_01"], "is no id"),
        (["--like", "tile-01", "--model", "runs/none"], "--model has no effect"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    world: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert told in refused(["search", str(world), *words], capsys)


def test_windows_of_whole_recordings_and_a_medium_that_lacks(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--windows all has no effect"):
        open_index(pairs).search("image:pair-1", windows="all")
    drawn(tmp_path, {"id": ["a", "b", "c"], "modality": ["image"] * 3}, unit_vectors(3))
    with pytest.raises(DataError, match="--find audio: the index holds image alone"):
        open_index(tmp_path).search("a", find="audio")
    result = open_index(tmp_path).search("a")
    assert (result.found, [hit.id for hit in result.hits] != [], result.searched) == ("image", True, 2)
    assert "2 of 10 hits" in result.notes[0]


# Filters.


def test_filters_are_applied_before_the_search(pairs: Path) -> None:
    """Always k rows, where k pass: those of a plain loop over what passes."""
    rows, _ = plain(pairs)
    query = unit_vectors(1, 4)[0]
    np.save(pairs.parent / "q.npy", np.concatenate([query, query]))
    wide = unit(np.concatenate([query, query]))
    index = open_index(pairs)
    for given, keep in (
        ({"box": (3.0, 20.0, 12.0, 44.0)}, lambda row: 3 <= row["longitude"] <= 12 and 20 <= row["latitude"] <= 44),
        ({"polygon": "POLYGON ((0 0, 30 0, 30 60, 0 60, 0 0))", "license": "CC-BY*"},
         lambda row: int(row["id"].split("-")[1]) % 3 == 0),
        ({"where": ["label=kind 1|kind 2"], "months": "1-6"}, lambda row: row["id"] in LABELLED),
    ):  # fmt: skip
        result = index.search(pairs.parent / "q.npy", k=3, find="image", **given)
        passing = {n for n, row in enumerate(rows) if row["modality"] == "image" and keep(row)}
        wanted = ranking(pairs, wide, None, set(range(len(rows))) - passing)
        assert [hit.row for hit in result.hits] == [row for *_, row in wanted[:3]]
        assert result.searched == len(passing) and any(
            f"{len(passing)} of 48 rows pass" in note for note in result.notes
        )


#: By the manifest: labels are n % 4, times 15 days apart from 1 January on.
LABELLED = {f"pair-{n}" for n in range(13) if n % 4 in (1, 2)}


def test_fewer_rows_than_were_asked_for_are_said_so(pairs: Path) -> None:
    result = open_index(pairs).search("image:pair-3", k=10, box=(0.0, 0.0, 4.0, 90.0))
    assert len(result.hits) == 4
    assert any("4 of 10 hits: no more" in note for note in result.notes)
    assert any("4 of 48 rows pass" in note for note in result.notes)


def test_a_file_of_the_index_is_no_hit_of_its_own_search(
    tmp_path: Path, tiny_pairs: Path, tiny_model: TwoTower
) -> None:
    """By its content, wherever it lies; its image or sound under the same id may be a hit."""
    index = open_index(embedded_pairs(tmp_path, tiny_pairs, tiny_model, fingerprints=True))
    [own] = [row for row in numbers(index.folder, "pair-3") if plain(index.folder)[0][row]["modality"] == "audio"]
    [media] = index.table.columns(["media"], np.array([own]))["media"].to_pylist()
    copy = tmp_path / f"copy{Path(media).suffix}"
    copy.write_bytes(Path(media).read_bytes())
    result = index.search(copy, find="audio", k=100)
    by_id = index.search("audio:pair-3", find="audio", k=100)
    assert result.searched == by_id.searched == len(index) // 2 - 1
    assert [hit.row for hit in result.hits] == [hit.row for hit in by_id.hits] and own not in {
        hit.row for hit in result.hits
    }
    assert any("is in the index itself, as audio:pair-3" in note for note in result.notes)
    assert index.search(copy, k=100).searched == len(index) // 2
    copy.write_bytes(copy.read_bytes()[:-8])  # another file
    assert index.search(copy, find="audio", k=1).searched == len(index) // 2


def test_all_windows_of_a_file_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"a" * 100)
    prints = [None, content_fingerprint(tmp_path / "a.wav"), "9-00", content_fingerprint(tmp_path / "a.wav")]
    columns = {"id": [*"abcd"], "modality": ["audio"] * 4, "file_fingerprint": prints}
    table = open_embeddings(drawn(tmp_path / "E", columns, unit_vectors(4)))
    assert Catalogue(table).of_file(tmp_path / "a.wav").tolist() == [1, 3]
    assert Catalogue(table).of_file(tmp_path / "none.wav").tolist() == []


def test_a_query_without_its_option_is_told_where_it_belongs(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized arguments: a.wav; did you mean --like a.wav?" in refused(
        ["search", str(pairs), "a.wav"], capsys
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--license", "WTFPL"], "license WTFPL passes none"),
        (["--polygon", "POLYGON ((0 0, 10 10, 10 0, 0 10, 0 0))"], "does not cross itself"),
        (["--polygon", "POLYGON ((170 0, -170 0, -170 10, 170 10, 170 0))"], "crosses 180"),
        (["--box", "1,2,3"], "[a number, a number, a number, a number]"),
        (["--hours_utc", "25-26"], "0 to 24"),
        (["--season", "monsoon"], "winter"),
        (["--where", "labl=1"], "did you mean label"),
        (["--box", "100,50,101,51"], "no row passes"),
    ],
)
def test_filters_that_leave_nothing_or_make_no_sense_are_one_line(
    pairs: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert told in refused(["search", str(pairs), "--like", "image:pair-3", *words], capsys)


# The command line, and Python.


def test_the_table_says_what_its_figures_mean(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(world), "--like", "tile-04", "--find", "image", "--k", "3"]) == 0
    out = capsys.readouterr().out
    hits = open_index(world).search("tile-04", find="image", k=3).hits
    head, said, columns, *rows = out.splitlines()
    assert head == "tile-04: 3 of 29 images (of 70 rows), best first".replace("70", str(len(open_index(world))))
    assert "cosine" in said and "rank behind" in said
    assert columns.split() == ["place", "score", "percentile", "id", "time", "licence"]
    assert [row.split()[2:5] for row in rows] == [[f"{hit.score:.4f}", f"{hit.percentile:.2f}", hit.id] for hit in hits]


def test_python_and_the_command_line_are_the_same(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert main(["search", str(world), "--like", "tile-04", "--unlike", "rec-01", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(earthtone.search(world, like=["tile-04"], unlike=["rec-01"]).to_dict()))
    assert isinstance(earthtone.open_index(world), Index)
    assert issubclass(ConfigError, EarthtoneError)


@pytest.mark.slow
def test_the_options_are_refused_before_pytorch_is_loaded(world: Path) -> None:
    code = (
        "import sys\nfrom earthtone.cli import main\n"
        f"code = main(['search', {str(world)!r}, '--k', 'x'])\nprint(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"], done.stderr
