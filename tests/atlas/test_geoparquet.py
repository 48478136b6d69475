"""GeoParquet: all rows and columns, points where the standard has them, and other programs read it."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from embedded import CARD, columns_of, vectors_of_rows, write_embedded, write_rows

from earthtone.atlas.embeddings import TABLE, embedding_schema, open_embeddings, write_embeddings
from earthtone.atlas.geoparquet import extent_of, group_rows, write_geoparquet
from earthtone.atlas.index import PARQUET, build_index
from earthtone.build.geometry_columns import CRS84
from earthtone.data.parquet import wkb_point


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_embedded(tmp_path_factory.mktemp("indexed") / "places of sound")
    assert build_index(folder, parquet=True).parquet == folder / PARQUET
    return folder


def expected_places(rows: int = 60) -> list[tuple[float, float] | None]:
    columns = columns_of(range(rows))
    pairs = zip(columns["longitude"], columns["latitude"], strict=True)
    return [None if longitude is None else (longitude, latitude) for longitude, latitude in pairs]


def test_all_rows_and_columns(folder: Path) -> None:
    rows = pq.read_table(folder / PARQUET)
    table = open_embeddings(folder)
    whole = table.dataset.to_table()
    for name in whole.schema.names:  # in the table's own types
        assert rows[name].combine_chunks().equals(whole[name].combine_chunks()), name
    plain = rows.to_pylist()
    for row, place in zip(plain, expected_places(), strict=True):
        assert (row["lon"], row["lat"]) == (row["longitude"], row["latitude"])
        if place is None:
            assert row["geometry"] is None and row["bbox"] is None
        else:
            assert row["geometry"] == struct.pack("<BIdd", 1, 1, *place) and wkb_point(row["geometry"]) == place
            assert list(row["bbox"].values()) == [*place, *place]
        assert row[row["modality"]] == row["media"]
        assert row["image" if row["modality"] == "audio" else "audio"] is None
    assert plain[1]["text"] == "place-00000 · kind 1 · toy · photographer 1"
    assert plain[0]["text"] == "place-00000 · photographer 0"


def test_what_it_says_of_itself(folder: Path) -> None:
    """As GeoParquet 1.1.0 has it."""
    geo = json.loads(pq.read_metadata(folder / PARQUET).metadata[b"geo"])
    there = [place for place in expected_places() if place is not None]
    west, south = (min(values) for values in zip(*there, strict=True))
    east, north = (max(values) for values in zip(*there, strict=True))
    assert (geo["version"], geo["primary_column"], list(geo["columns"])) == ("1.1.0", "geometry", ["geometry"])
    assert geo["columns"]["geometry"] == {
        "encoding": "WKB",
        "geometry_types": ["Point"],
        "crs": CRS84,
        "bbox": [west, south, east, north],
        "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
    }


def test_row_groups_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthtone.atlas.geoparquet.MOST_GROUP_ROWS", 1024)
    write_embedded(tmp_path, 2500)
    build_index(tmp_path, parquet=True)
    file = pq.ParquetFile(tmp_path / PARQUET).metadata
    assert [file.row_group(group).num_rows for group in range(file.num_row_groups)] == [1024, 1024, 452]
    assert pq.read_table(tmp_path / PARQUET)["id"].to_pylist() == columns_of(range(2500))["id"]
    assert (group_rows(128), group_rows(2048)) == (1024, 1024)
    monkeypatch.undo()
    assert (group_rows(128), group_rows(2048)) == (65_536, 8192)


def test_without_any_place(tmp_path: Path) -> None:
    rows, nothing = range(6), [None] * 6
    write_rows(tmp_path / TABLE, rows, longitude=nothing, latitude=nothing, datetime=nothing)
    build_index(tmp_path, parquet=True)
    column = json.loads(pq.read_metadata(tmp_path / PARQUET).metadata[b"geo"])["columns"]["geometry"]
    assert column["geometry_types"] == [] and "bbox" not in column
    assert pq.read_table(tmp_path / PARQUET)["geometry"].null_count == 6
    item = json.loads((tmp_path / "item.json").read_text())
    assert item["geometry"] is None and "bbox" not in item and item["properties"]["datetime"] is not None


def test_free_columns_with_names_of_the_file(tmp_path: Path) -> None:
    """They are kept under another name; a text of the data's own is the text."""
    free = ["text", "image", "lon", "lon_"]
    columns = {"id": ["a", "b"], "modality": ["image", "audio"], "media": ["/a.png", "/b.wav"]}
    columns |= {name: [f"{name} of a", None] for name in free}
    write_embeddings(tmp_path / TABLE, embedding_schema(CARD, extra=free), columns, vectors_of_rows([0, 1]))
    build_index(tmp_path, parquet=True)
    rows = pq.read_table(tmp_path / PARQUET).to_pylist()
    assert [rows[0][name] for name in ("text", "image", "image_", "lon", "lon_", "lon__")] == [
        "text of a", "/a.png", "image of a", None, "lon_ of a", "lon of a",
    ]  # fmt: skip
    assert rows[1]["text"] is None and rows[1]["audio"] == "/b.wav"


def test_it_is_renewed_with_the_index(tmp_path: Path) -> None:
    write_embedded(tmp_path, 10)
    build_index(tmp_path, parquet=True)
    build_index(tmp_path, remove=["place-00001"])  # it must not tell of what is no more
    assert "place-00001" not in pq.read_table(tmp_path / PARQUET)["id"].to_pylist()
    assert json.loads((tmp_path / "item.json").read_text())["properties"]["earthtone:rows"] == 8
    for name in (PARQUET, "item.json", "collection.json"):
        (tmp_path / name).write_bytes(b"{")
        build_index(tmp_path)
        assert pq.read_metadata(tmp_path / PARQUET).num_rows == 8
        assert all(json.loads((tmp_path / each).read_text()) for each in ("item.json", "collection.json"))


def test_an_earlier_file_outlives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_embedded(tmp_path, 10)
    build_index(tmp_path, parquet=True)
    before = (tmp_path / PARQUET).read_bytes()
    table = open_embeddings(tmp_path)

    def broken(*_: Any) -> pa.Table:
        raise MemoryError

    monkeypatch.setattr("earthtone.atlas.geoparquet._group", broken)
    with pytest.raises(MemoryError):
        write_geoparquet(table, tmp_path / PARQUET, extent_of(table), "state")
    assert (tmp_path / PARQUET).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".embeddings")] == []


# Programs of others.


@pytest.mark.extras
def test_duckdb_reads_it_as_a_spatial_table(folder: Path) -> None:
    """With the spatial extension out of its package, and nothing from elsewhere."""
    duckdb = pytest.importorskip("duckdb")
    packaged = pytest.importorskip("duckdb_extension_spatial")
    file = Path(packaged.__file__).parent / "extensions" / f"v{duckdb.__version__}" / "spatial.duckdb_extension"
    if not file.is_file():
        pytest.skip(f"the package holds no extension for duckdb {duckdb.__version__}")
    known = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    with duckdb.connect(config=known) as connection:
        connection.execute(f"LOAD '{file}'")
        path = str(folder / PARQUET)
        described = dict(row[:2] for row in connection.execute("DESCRIBE FROM read_parquet(?)", [path]).fetchall())
        assert described["geometry"].startswith("GEOMETRY") and described["vector"] == "FLOAT[]"
        found = connection.execute(
            "SELECT id, modality, ST_X(geometry), ST_Y(geometry) FROM read_parquet(?) "
            "WHERE ST_Within(geometry, ST_MakeEnvelope(-180, -90, -160, 0)) ORDER BY id, modality", [path],
        ).fetchall()  # fmt: skip
        columns = columns_of(range(60))
        rows = zip(columns["id"], columns["modality"], columns["longitude"], columns["latitude"], strict=True)
        wanted = [row for row in rows if row[2] is not None and -180 < row[2] < -160 and -90 < row[3] < 0]
        assert found == sorted(wanted) and found
        nearest = connection.execute(
            "SELECT id, list_cosine_similarity(vector, (SELECT vector FROM read_parquet($1) WHERE id = 'place-00004' "
            "AND modality = 'image')) AS near FROM read_parquet($1) ORDER BY near DESC LIMIT 1", [path],
        ).fetchall()  # fmt: skip
        assert nearest[0][0] == "place-00004" and nearest[0][1] == pytest.approx(1, abs=1e-3)


@pytest.mark.extras
def test_geopandas_reads_it(folder: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.read_parquet(folder / PARQUET)
    assert len(frame) == 60 and frame.crs.to_authority() == ("OGC", "CRS84")
    for point, place in zip(frame.geometry, expected_places(), strict=True):
        assert (point is None and place is None) or (point.x, point.y) == place
    west = geopandas.read_parquet(folder / PARQUET, bbox=(-180, -90, -160, 90))  # by the covering alone
    assert sorted(west["lon"]) == sorted(p[0] for p in expected_places() if p is not None and p[0] <= -160)
    np.testing.assert_array_equal(np.stack(list(frame["vector"])), open_embeddings(folder).vectors().astype(np.float16))


@pytest.mark.extras
def test_the_crs_is_what_proj_says_it_is() -> None:
    pyproj = pytest.importorskip("pyproj")
    assert pyproj.CRS.from_json_dict(dict(CRS84)) == pyproj.CRS("OGC:CRS84")


@pytest.mark.extras
def test_lonboard_makes_a_layer_of_it(folder: Path) -> None:
    lonboard = pytest.importorskip("lonboard")
    geopandas = pytest.importorskip("geopandas")
    frame = geopandas.read_parquet(folder / PARQUET)
    frame = frame[frame.geometry.notna()]
    layer = lonboard.ScatterplotLayer.from_geopandas(frame[["id", "modality", "text", "geometry"]])
    assert layer.table.num_rows == sum(place is not None for place in expected_places())
    rows = pq.read_table(folder / PARQUET)
    shown = lonboard.viz(rows.filter(pc.is_valid(rows["geometry"])))  # without pandas, with all columns
    assert isinstance(shown.layers[0], lonboard.ScatterplotLayer)


@pytest.mark.extras
def test_embedding_atlas_loads_it(folder: Path, tmp_path: Path) -> None:
    """By its own loader, and as the application that it writes."""
    cli = pytest.importorskip("embedding_atlas.cli")
    frame = cli.load_datasets([str(folder / PARQUET)])
    assert len(frame) == 60 and {"x", "y", "audio", "image", "text", "lon", "lat"} <= set(frame.columns)
    words = ["--x", "x", "--y", "y", "--text", "text", "--image", "image", "--audio", "audio"]
    out = tmp_path / "application"
    done = subprocess.run(
        [sys.executable, "-m", "embedding_atlas.cli", str(folder / PARQUET), *words, "--export-application", str(out)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(out / "data" / "dataset.parquet").to_pylist()
    table = open_embeddings(folder).columns(["id", "x", "y"]).to_pylist()
    assert [{name: row[name] for name in ("id", "x", "y")} for row in rows] == table
    assert json.loads((out / "data" / "metadata.json").read_text())["props"]
