"""What a search leaves: JSON, CSV, GeoJSON, Raven selection tables, a folder of media; each read by other readers."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import soundfile
from atlas_world import drawn, embedded_pairs, unit_vectors
from PIL import Image
from rasterio.transform import from_origin

from earthtone.atlas.hits import RAVEN_COLUMNS, Hit, SearchResult, csv_of, geojson_of, json_of, raven_of, write_hits
from earthtone.atlas.media import write_cut, write_tile
from earthtone.atlas.search import open_index
from earthtone.cli import main
from earthtone.data.packed import Table
from earthtone.encode.store import content_fingerprint
from earthtone.errors import ConfigError, DataError
from earthtone.models.two_tower import TwoTower


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Path, tiny_model: TwoTower) -> Path:
    """E of copies of the files, which tests may take away."""
    folder = tmp_path_factory.mktemp("pairs")
    copied = Path(shutil.copytree(tiny_pairs.parent, folder / "files")) / tiny_pairs.name
    return embedded_pairs(folder, copied, tiny_model)


def hit(**values: Any) -> Hit:
    plain: dict[str, Any] = {
        "rank": 1, "score": 0.5, "percentile": 99.0, "key": "a", "id": "a", "modality": "audio", "row": 0,
        "longitude": None, "latitude": None, "datetime": None, "source": None, "license": None, "attribution": None,
        "media": None, "start_s": None, "seconds": None,
    }  # fmt: skip
    return Hit(**{**plain, **values})


def result(*hits: Hit) -> SearchResult:
    return SearchResult("q.wav", "cosine", "audio", 100, 200, hits)


def test_json_csv_and_geojson_hold_the_same(pairs: Path, tmp_path: Path) -> None:
    found = open_index(pairs).search("audio:pair-3", k=5)
    for name in ("h.json", "h.csv", "h.geojson"):
        assert list(write_hits(found, tmp_path / name)) == [f"{tmp_path / name}: 5 hits"]
    plain = json.loads((tmp_path / "h.json").read_text())
    assert plain == json.loads(json.dumps(found.to_dict()))
    table = pd.read_csv(tmp_path / "h.csv")
    points = json.loads((tmp_path / "h.geojson").read_text())["features"]
    for at, each in enumerate(plain["hits"]):
        for name in ("id", "score", "percentile", "longitude", "latitude", "media"):
            assert table[name][at] == pytest.approx(each[name]) if isinstance(each[name], float) else each[name]
        assert points[at]["geometry"] == {"type": "Point", "coordinates": [each["longitude"], each["latitude"]]}
        assert points[at]["properties"]["score"] == each["score"] and points[at]["id"] == each["key"]
        assert (table["label"][at], points[at]["properties"]["label"]) == (each["more"]["label"],) * 2
    assert table["datetime"][0] == found.hits[0].datetime and found.hits[0].datetime.endswith("Z")


def test_names_of_strangers_harm_no_reader(tmp_path: Path) -> None:
    name = '=HYPERLINK("x")\n\t\x1b[31m\u202e<b>'
    free = {"label": "-1+2", "id": "+9+1", "=a\r": "b\u2028c\x85d"}
    bad = result(hit(id=name, key=name, license="@x", more=free, latitude=float("nan")))
    assert len(csv_of(bad).splitlines()) == 2  # one line a hit, for any reader
    [row] = csv.DictReader(csv_of(bad).splitlines(keepends=True))
    assert row["'=a\\r"] == "b\\u2028c\\x85d"
    assert row["id"] == "'" + name.replace("\n", "\\n")
    assert row["license"] == "'@x" and row["label"] == "'-1+2" and row["more.id"] == "'+9+1"
    assert json.loads(json_of(bad))["hits"][0]["latitude"] is None
    assert json.loads(geojson_of(bad))["features"][0]["geometry"] is None
    text, _ = raven_of(bad)
    assert len(text.splitlines()) == 2 and text.splitlines()[1].count("\t") == len(RAVEN_COLUMNS) - 1
    assert "\x1b" not in bad.to_text() and len(bad.to_text().splitlines()) == 4


def test_a_raven_table_counts_time_through_all_files(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, seconds, hz in (("a.wav", 4, 8000), ("b.wav", 6, 16_000)):
        soundfile.write(tmp_path / name, draw.normal(0, 0.1, seconds * hz), hz)
    a, b, gone = (str(tmp_path / name) for name in ("a.wav", "b.wav", "gone\t.wav"))
    found = result(
        hit(rank=1, media=b, start_s=2.0, seconds=1.5, license="CC0"),
        hit(rank=2, media=gone, start_s=3.0, seconds=2.0),
        hit(rank=3, media=a, start_s=None, seconds=4.0),
        hit(rank=4, media=b, start_s=0.5, seconds=1.5),
        hit(rank=5, modality="image", id="tile"),
    )
    assert "1 hits are images" in next(iter(write_hits(found, tmp_path / "h.txt")))
    table = pd.read_csv(tmp_path / "h.txt", sep="\t")
    assert tuple(table.columns) == RAVEN_COLUMNS
    assert table["Selection"].tolist() == [1, 2, 3, 4]
    starts = {"b.wav": 0.0, "a.wav": 6.0, "gone\\t.wav": 10.0}  # as one long sound of b, a and what lacks
    for _, row in table.iterrows():
        assert row["Begin Time (s)"] == pytest.approx(starts[row["Begin File"]] + row["File Offset (s)"])
    assert table["Rank"].tolist() == [1, 4, 3, 2]
    assert (table["End Time (s)"] - table["Begin Time (s)"]).tolist() == pytest.approx([1.5, 1.5, 4.0, 2.0])
    assert table["Low Freq (Hz)"].tolist()[:3] == [0, 0, 0] and np.isnan(table["Low Freq (Hz)"][3])
    assert table["High Freq (Hz)"].tolist()[:3] == [8000, 8000, 4000]
    assert table["View"].tolist() == ["Spectrogram 1"] * 3 + ["Waveform 1"]
    assert table["Media"].tolist() == ["there"] * 3 + ["missing"]
    assert table["Begin Path"][0] == b
    with pytest.raises(DataError, match="--find audio"):
        raven_of(result(hit(modality="image")))


# A folder of media.


def test_windows_are_cut_sample_by_sample(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    for suffix, subtype in ((".wav", "PCM_16"), (".flac", "PCM_24"), (".wav", "FLOAT")):
        source = tmp_path / f"s{subtype}{suffix}"
        soundfile.write(source, draw.uniform(-0.9, 0.9, (5 * 11_025, 2)), 11_025, subtype=subtype)
        whole, hz = soundfile.read(source)
        file = write_cut(source, tmp_path / f"cut{subtype}", 1.3, 2.1)
        part, rate = soundfile.read(file)
        assert rate == hz and file.suffix == ".flac" and soundfile.info(file).subtype == "PCM_24"
        first = round(1.3 * hz)
        np.testing.assert_allclose(part, whole[first : first + len(part)], atol=2**-23)
        assert abs(len(part) - 2.1 * hz) <= 1
    soundfile.write(tmp_path / "many.wav", draw.uniform(-2, 2, (9000, 9)), 9000, subtype="FLOAT")
    many = write_cut(tmp_path / "many.wav", tmp_path / "cut9", 0.25, None)
    np.testing.assert_array_equal(soundfile.read(many)[0], soundfile.read(tmp_path / "many.wav")[0][2250:])
    with pytest.raises(DataError, match=r"ends at 1\.00 s, before the part at 7 s; it is another file now"):
        write_cut(tmp_path / "many.wav", tmp_path / "beyond", 7, 1)


def scene(path: Path, crs: str = "EPSG:32721", size: float = 10.0) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).integers(0, 4000, (4, 60, 80), np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", width=80, height=60, count=4, dtype="uint16", crs=crs, nodata=0,
        transform=from_origin(500_000, 7_000_000, size, size),
    ) as out:  # fmt: skip
        out.write(values)
    return values


def test_tiles_are_cut_pixel_by_pixel(tmp_path: Path) -> None:
    values = scene(tmp_path / "scene.tif")
    bounds = (500_200.0, 6_999_700.0, 500_400.0, 6_999_900.0)
    file = write_tile(tmp_path / "scene.tif", tmp_path / "tile", bounds, "EPSG:32721")
    with rasterio.open(file) as tile:
        np.testing.assert_array_equal(tile.read(), values[:, 10:30, 20:40])
        assert tuple(tile.bounds) == bounds and tile.crs.to_epsg() == 32721 and tile.nodata == 0
    edge = write_tile(tmp_path / "scene.tif", tmp_path / "edge", (499_900.0, 6_999_900.0, 500_100.0, 7_000_100.0), None)
    with rasterio.open(edge) as tile:
        np.testing.assert_array_equal(tile.read()[:, 10:, 10:], values[:, :10, :10])
        assert not tile.read()[:, :10].any() and tile.shape == (20, 20)
    other = write_tile(tmp_path / "scene.tif", tmp_path / "other", (-56.998, -27.128, -56.996, -27.126), "EPSG:4326")
    with rasterio.open(other) as tile:
        assert tile.crs.to_epsg() == 4326 and tile.read().any()
    with pytest.raises(DataError, match="another file now"):
        write_tile(tmp_path / "scene.tif", tmp_path / "far", (0.0, 0.0, 100.0, 100.0), "EPSG:32721")
    (tmp_path / "net.vrt").write_text(
        (tmp_path / "net.vrt").name + '<VRTDataset rasterXSize="1" rasterYSize="1"><VRTRasterBand/></VRTDataset>'
    )
    with pytest.raises(DataError, match=r"net\.vrt"):
        write_tile(tmp_path / "net.vrt", tmp_path / "net", bounds, None)


def test_a_tile_s_crs_is_no_address(tmp_path: Path) -> None:
    """GDAL would ask it."""
    scene(tmp_path / "scene.tif")
    with pytest.raises(DataError, match=r"of the CRS 'http://127.0.0.1:9/crs', which is none"):
        write_tile(tmp_path / "scene.tif", tmp_path / "t", (0.0, 0.0, 1.0, 1.0), "http://127.0.0.1:9/crs")


def test_a_folder_has_what_can_be_had_and_says_what_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    media = tmp_path / "media"
    media.mkdir()
    draw = np.random.default_rng(2)
    soundfile.write(media / "rec.wav", draw.uniform(-0.5, 0.5, 80_000), 16_000)
    soundfile.write(media / "cut.wav", draw.uniform(-0.5, 0.5, 8000), 16_000)
    Image.fromarray(draw.integers(0, 255, (20, 20, 3), np.uint8)).save(media / "photo.jpg")
    values = scene(media / "scene.tif")
    (media / "secret.txt").write_text("-----BEGIN KEY-----")
    rows: list[dict[str, Any]] = [
        {"id": "rec/1", "modality": "audio", "media": "rec.wav", "start_s": 1.0, "seconds": 2.0},
        {"id": "rec2", "modality": "audio", "media": "rec.wav"},
        {"id": "../../up", "modality": "image", "media": "photo.jpg"},
        {"id": "tile", "modality": "image", "media": "scene.tif", "west": 500_000.0, "south": 6_999_800.0,
         "east": 500_200.0, "north": 7_000_000.0, "crs": "EPSG:32721"},
        {"id": "gone", "modality": "audio", "media": "gone.wav"},
        {"id": "short", "modality": "audio", "media": "cut.wav", "start_s": 30.0, "seconds": 2.0},
        {"id": "nowhere", "modality": "image"},
        {"id": "far", "modality": "image", "media": "https://example.org/a.jpg"},
        {"id": "key", "modality": "image", "media": "secret.txt"},
    ]  # fmt: skip
    names = ["id", "modality", "media", "start_s", "seconds", "west", "south", "east", "north", "crs"]
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns["media"] = [n and (n if "://" in n else str(media / n)) for n in columns["media"]]
    columns["license"], columns["attribution"] = ["CC-BY-4.0"] * 9, ["=ann"] * 9
    E = drawn(tmp_path / "E", columns, unit_vectors(9, 6), windows=True)  # noqa: N806
    np.save(tmp_path / "q.npy", unit_vectors(1, 8)[0])
    out = tmp_path / "hits"
    assert main(["search", str(E), "--like", str(tmp_path / "q.npy"), "--find", "all", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    with (out / "hits.csv").open(newline="") as file:
        found = {row["id"]: row for row in csv.DictReader(file)}
    state = {name: (bool(row["file"]), row["media_state"].split(":")[0]) for name, row in found.items()}
    assert state == {
        "rec/1": (True, "cut"), "rec2": (True, "copied"), "../../up": (True, "copied"), "tile": (True, "cut"),
        "gone": (False, "missing"), "short": (False, "cannot be read"), "nowhere": (False, "missing"),
        "far": (False, "not fetched"), "key": (False, "cannot be read"),
    }  # fmt: skip
    assert f"{out}: 9 hits, 4 with their media" in told and "gone: missing: " in told
    files = {row["file"] for row in found.values() if row["file"]}
    assert {path.name for path in out.iterdir()} == files | {"hits.csv", "hits.json", "hits.geojson", "credits.csv"}
    assert len(soundfile.read(out / found["rec/1"]["file"])[0]) == 32_000
    assert (out / found["rec2"]["file"]).read_bytes() == (media / "rec.wav").read_bytes()
    with rasterio.open(out / found["tile"]["file"]) as tile:
        np.testing.assert_array_equal(tile.read(), values[:, :20, :20])
    credits_ = pd.read_csv(out / "credits.csv")
    assert (
        set(credits_["license"]) == {"CC-BY-4.0"} and set(credits_["attribution"]) == {"'=ann"} and len(credits_) == 9
    )
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_a_packed_table_keeps_is_in_the_folder(tmp_path: Path, tiny_table: Path) -> None:
    """Its tile, and the beginning of a recording; windows of it as far as they are kept."""
    table = Table(tiny_table)
    hits = [
        hit(rank=1, id="pair-3", modality="image", media=f"{tiny_table}#pair-3"),
        hit(rank=2, id="pair-3", media=f"{tiny_table}#pair-3"),
        hit(rank=3, id="pair-3", media=f"{tiny_table}#pair-3", start_s=0.5, seconds=1.0),
        hit(rank=4, id="pair-3", media=f"{tiny_table}#pair-3", start_s=60.0, seconds=1.0),
        hit(rank=5, id="pair-99", modality="image", media=f"{tiny_table}#pair-99"),
        hit(rank=6, id="x", modality="image", media=f"{Path(__file__)}#x"),
    ]
    said = list(write_hits(result(*hits), tmp_path / "hits"))
    assert said[0].endswith("6 hits, 3 with their media")
    row = table.column("id").index("pair-3")
    assert (tmp_path / "hits" / "001-pair-3.jpg").read_bytes() == table.images([row])[0]
    whole, hz = soundfile.read(tmp_path / "hits" / "002-pair-3.ogg")
    part, _ = soundfile.read(tmp_path / "hits" / "003-pair-3.flac")
    np.testing.assert_allclose(part, whole[hz // 2 : hz // 2 + hz], atol=2**-15)
    for line, told in zip(said[1:], ("keeps the first", "has no row", "lie within"), strict=True):
        assert told in line


def test_media_that_have_changed_are_said_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.1), 16_000)
    known = content_fingerprint(tmp_path / "a.wav")
    same = hit(rank=1, media=str(tmp_path / "a.wav"), start_s=0.2, seconds=0.5, file_fingerprint=known)
    other = replace(same, rank=2, file_fingerprint="1-abc")
    list(write_hits(result(same, other), tmp_path / "hits"))
    with (tmp_path / "hits" / "hits.csv").open(newline="") as file:
        states = [row["media_state"] for row in csv.DictReader(file)]
    assert states == ["cut", "cut, but the file has changed since it was embedded"]


def test_nothing_that_is_there_is_written_over(pairs: Path, tmp_path: Path) -> None:
    found = open_index(pairs).search("audio:pair-3", k=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, told in (("full", "holds files already"), ("file", "is a file"), ("h.doc", r"\.csv")):
        with pytest.raises(ConfigError, match=told):
            list(write_hits(found, tmp_path / name))
    for name in ("empty", "new/deep/", "dotted.2024/"):
        said = list(write_hits(found, f"{tmp_path}/{name}"))
        assert said[0].endswith("2 hits, 2 with their media")
    (tmp_path / "h.csv").write_text("earlier")
    with pytest.raises(DataError, match="a Raven selection table holds sounds"):
        list(write_hits(replace(found, hits=(hit(modality="image"),)), tmp_path / "h.csv.txt"))
    assert (tmp_path / "h.csv").read_text() == "earlier" and not (tmp_path / "h.csv.txt").exists()


@pytest.mark.slow
def test_a_disk_without_room_leaves_no_folder(tmp_path: Path) -> None:
    """A process that may write small files alone: as a full disk does to libsndfile, and to a copy."""
    draw = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", draw.uniform(-1, 1, 80_000), 16_000)
    code = f"""
import resource, signal, sys
from pathlib import Path
from earthtone.atlas.hits import Hit, SearchResult, write_hits
from earthtone.errors import DataError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, -1))
for start in (0.0, None):
    hit = Hit(1, 0.5, 99.0, "a", "a", "audio", 0, None, None, None, None, None, None,
              {str(tmp_path / "a.wav")!r}, start, 4.0)
    try:
        list(write_hits(SearchResult("q", "cosine", "audio", 1, 1, (hit,)), Path({str(tmp_path)!r}) / "hits"))
    except DataError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.count("cannot write") == 2, (done.stdout, done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_folder_that_cannot_be_written_leaves_nothing(pairs: Path, tmp_path: Path) -> None:
    found = open_index(pairs).search("audio:pair-3", k=2)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot write"):
        list(write_hits(found, f"{tmp_path / 'file'}/hits/"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
