"""Parquet and GeoParquet manifests: types, points, and files that contradict themselves."""

import contextlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.test_manifest import (
    pairs,
    parquet_bytes,
    wkb,
    write_geoparquet,
    write_media,
)

from earthtone.data.manifest import Manifest
from earthtone.data.pair import Pair, Problem
from earthtone.errors import DataError


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_giant_text_in_a_dictionary_is_refused_before_it_is_copied(tmp_path: Path, kind: pa.DataType) -> None:
    """Two megabytes in the file, four gigabytes as the rows' own texts."""
    rows = 2000
    note = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 2_000_000]))
    names = pa.array([f"{n}" for n in range(rows)])
    table = pa.table({"id": names, "image": names, "audio": names, "note": note})
    pq.write_table(table, tmp_path / "m.parquet", store_schema=pa.types.is_dictionary(kind))
    with pytest.raises(DataError, match=r"m.parquet: column 'note' has a text of 2000000 bytes; at most 1048576 were"):
        next(iter(Manifest(tmp_path / "m.parquet")))


#: Tells how many bytes more a process holds, at most, after it has read some rows of a table.
_READ = """
import resource, sys
from itertools import islice
from pathlib import Path
from earthtone.data.source import open_source
from earthtone.errors import DataError
import pyarrow.parquet
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    found = sum(1 for _ in islice(open_source(Path(sys.argv[1])), 200))
except DataError as error:
    found = str(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
print(found)
"""
_ROWS = 1024
_NAMES = pa.array([str(n) for n in range(_ROWS)])
_SAME = pa.array([0] * _ROWS, pa.int32())


def repeated(cell: str | bytes) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(_SAME, pa.array([cell]))


def read_apart(table: pa.Table, path: Path, **options: Any) -> tuple[int, str]:
    """Return how many MB a process of its own took for the first rows, and what it found."""
    pq.write_table(table, path, compression="zstd", store_schema=False, **options)
    assert path.stat().st_size < 2_000_000
    done = subprocess.run([sys.executable, "-c", _READ, path], capture_output=True, text=True, check=True)
    kilobytes, found = done.stdout.splitlines()
    return int(kilobytes) // 1000, found


def test_texts_of_a_dictionary_are_copied_a_few_rows_at_a_time(tmp_path: Path) -> None:
    """Some kilobytes in the file, four gigabytes as 1024 rows of texts."""
    texts = {f"note{n}": repeated(str(n) * 1_000_000) for n in range(4)}
    table = pa.table({"id": _NAMES, "image": _NAMES, "audio": _NAMES, **texts})
    megabytes, found = read_apart(table, tmp_path / "m.parquet")
    assert found == "200" and megabytes < 700


@pytest.mark.slow
def test_media_of_a_dictionary_are_copied_a_few_rows_at_a_time(tmp_path: Path) -> None:
    """32 MB in a dictionary, half a gigabyte in 16 rows."""
    options = {"dictionary_pagesize_limit": 2**30}
    table = pa.table({"id": _NAMES, "image": repeated(b"x" * 2**25), "audio": repeated(b"y")}).slice(0, 20)
    megabytes, found = read_apart(table, tmp_path / "m.parquet", **options)
    assert found == "20" and megabytes < 600
    (tmp_path / "data").mkdir()
    megabytes, found = read_apart(table, tmp_path / "data" / "train.parquet", **options)
    assert found == "20" and megabytes < 600


@pytest.mark.parametrize(
    "options",
    [
        {"use_dictionary": ["note"], "dictionary_pagesize_limit": 2**30},
        {"use_dictionary": False, "data_page_size": 2**30},
        {"use_dictionary": False, "data_page_size": 2**30, "data_page_version": "2.0"},
    ],
)
def test_pages_that_would_fill_the_memory_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """A hundred different texts of a megabyte each: they are short once they are packed."""
    notes = pa.array([str(n) + "x" * 1_000_000 for n in range(100)])
    names = _NAMES.slice(0, 100)
    table = pa.table({"id": names, "image": names, "audio": names, "note": notes})
    megabytes, found = read_apart(table, tmp_path / "m.parquet", **options)
    assert "m.parquet: column 'note' has a page of 1" in found and "at most 67,108,864 were expected" in found
    assert megabytes < 50


@pytest.mark.slow
def test_texts_told_by_their_differences_are_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    """A page of a megabyte and 1024 differences of some bytes, a gigabyte of texts."""
    notes = pa.array(["x" * 1_000_000 + str(n) for n in range(200)])
    names = _NAMES.slice(0, 200)
    table = pa.table({"id": names, "image": names, "audio": names, "note": notes})
    options = {"use_dictionary": False, "column_encoding": {"note": "DELTA_BYTE_ARRAY"}}
    megabytes, found = read_apart(table, tmp_path / "m.parquet", **options)
    assert found == "200" and megabytes < 300


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}])
def test_a_text_of_more_than_a_megabyte_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    table = pa.table({"id": ["a"], "image": ["b"], "audio": ["c"], "note": ["x" * 2_000_000]})
    pq.write_table(table, tmp_path / "m.parquet", **options)
    with pytest.raises(DataError, match="column 'note' has a text of 2000000 bytes; at most 1048576 were expected"):
        list(Manifest(tmp_path / "m.parquet"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"id": "list"},
            "column 'list' holds bytes or lists, for id texts or numbers were expected; type --columns",
        ),
        ({"license": "bytes"}, "type --columns license= to leave it unread"),
        ({"image": "list"}, "column 'list' is of type 'list<element: int64>'; a path, bytes, or a struct with bytes"),
        ({"image": "struct"}, "column 'struct' is of type"),
    ],
)
def test_lists_are_not_unfolded(tmp_path: Path, columns: dict[str, str], said: str) -> None:
    """A list of a gigabyte of zeros is a few bytes."""
    nested = {"list": pa.array([[0] * 9]), "bytes": pa.array([b"a"]), "struct": pa.array([{"bytes": [0]}])}
    name = pa.array(["a"])
    pq.write_table(pa.table({"id": name, "image": name, "audio": name, **nested}), tmp_path / "m.parquet")
    with pytest.raises(DataError) as error:
        list(Manifest(tmp_path / "m.parquet", columns=columns))
    assert said in str(error.value)


def test_what_lies_beside_bytes_and_path_is_not_read(tmp_path: Path) -> None:
    image = pa.array([{"bytes": b"a", "path": None, "pixels": [[1]]}])
    name = pa.array(["a"])
    table = pa.table({"id": name, "image": image, "audio": image, "pixels": image})
    pq.write_table(table, tmp_path / "m.parquet")
    (pair,) = pairs(Manifest(tmp_path / "m.parquet"))
    assert (pair.image, pair.audio, pair.extra) == (b"a", b"a", {})


@pytest.mark.slow
def test_no_byte_of_a_parquet_files_metadata_ends_the_process(tmp_path: Path) -> None:
    whole, path = parquet_bytes(), tmp_path / "m.parquet"
    for position in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x50]) + whole[position + 1 :])
        with contextlib.suppress(DataError):
            list(Manifest(path))


def test_parquet_types_and_media_as_bytes(tmp_path: Path) -> None:
    file = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table(
        {
            "sample": pa.array([1, 2]),
            "audio": pa.array([{"bytes": b"RIFF", "path": None}] * 2, file),
            "tile": pa.array([b"JPEG", None], pa.binary()),
            "datetime": pa.array([1_604_509_200_123_456_789, None], pa.timestamp("ns", tz="America/New_York")),
            "latitude": pa.array([50.0, None]),
            "longitude": pa.array([8, None], pa.int16()),
            "wet": pa.array([True, None]),
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "mel": pa.array([[1.0], [2.0]]),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "m.parquet")
    manifest = Manifest(tmp_path / "m.parquet", columns={"id": "sample", "image": "tile"})
    one, two = list(manifest)
    assert isinstance(one, Pair) and isinstance(two, Problem)
    assert (one.id, one.image, one.audio) == ("1", b"JPEG", b"RIFF")
    assert one.datetime is not None and one.datetime.isoformat() == "2020-11-04T17:00:00.123456+00:00"
    assert (one.longitude, one.latitude, one.extra) == (8.0, 50.0, {"wet": "true", "kind": "a"})
    assert (two.id, two.kind) == ("2", "missing image")
    only_audio = Manifest(tmp_path / "m.parquet", columns={"id": "sample"}, need=("audio",))
    assert [pair.image for pair in pairs(only_audio)] == [None, None]


def test_parquet_in_many_batches_keeps_its_order(tmp_path: Path) -> None:
    write_media(tmp_path)
    rows = [{"id": str(n), "image": "a.png", "audio": "a.wav"} for n in range(3000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet", row_group_size=700)
    assert [pair.id for pair in pairs(Manifest(tmp_path / "m.parquet"))] == [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"encoding": "point"}, "WKB was expected"),
        ({"crs": {"name": "WGS 84 / UTM zone 32N", "id": {"authority": "EPSG", "code": 32632}}}, "UTM zone 32N"),
        ({"crs": None}, "WGS 84 was expected"),
    ],
)
def test_geoparquet_that_is_not_points_in_degrees(tmp_path: Path, column: dict[str, Any], said: str) -> None:
    path = tmp_path / "m.parquet"
    write_geoparquet(path, [{"id": "1", "image": "a", "audio": "b", "longitude": 8.0, "latitude": 50.0}], **column)
    with pytest.raises(DataError) as error:
        Manifest(path)
    assert said in str(error.value)


def test_geoparquet_geometries(tmp_path: Path) -> None:
    write_media(tmp_path)
    polygon = struct.pack("<BII", 1, 3, 0) + b"\0" * 20
    shapes = [wkb(8, 50), wkb(float("nan"), float("nan")), None, polygon, b"\1", wkb(8, 50)[:-1], wkb(500, 0)]
    shapes.append(b"\0" + struct.pack(">Iddd", 1001, 9, 51, 300))
    rows = [{"id": str(n), "image": "a.png", "audio": "a.wav", "where": shape} for n, shape in enumerate(shapes)]
    geo = {
        "primary_column": "where",
        "columns": {"where": {"encoding": "WKB", "crs": {"id": {"authority": "EPSG", "code": 4326}}}},
    }
    path = tmp_path / "m.parquet"
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({"geo": json.dumps(geo)}), path)
    found = pairs(Manifest(path))
    bad = ["unreadable cell"]
    kinds = [[kind for kind, _ in pair.remarks] for pair in found]
    assert kinds == [[], [], [], bad, bad, bad, ["coordinates out of range"], []]
    assert [(pair.longitude, pair.latitude) for pair in found] == [(8, 50), *[(None, None)] * 6, (9, 51)]


@pytest.mark.parametrize("geo", ["{", "[]", '{"primary_column": "x", "columns": {}}'])
def test_geoparquet_metadata_that_is_none(tmp_path: Path, geo: str) -> None:
    table = pa.table({"id": ["1"], "image": ["a"], "audio": ["b"]}).replace_schema_metadata({"geo": geo})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(DataError, match="GeoParquet"):
        Manifest(tmp_path / "m.parquet")
