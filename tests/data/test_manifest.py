"""Manifests of every format: what is written is read, and what cannot be read is one clear line."""

import csv
import json
import logging
import re
import struct
import tempfile
from collections.abc import Callable, Iterable, Mapping
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

from earthtone.data import tables as read_csv
from earthtone.data.manifest import Manifest
from earthtone.data.pair import Pair, Problem, is_unknown
from earthtone.errors import ConfigError, DataError

Rows = list[dict[str, Any]]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ID = TEXT.filter(lambda text: bool(text.strip()))


def write_media(folder: Path) -> None:
    Image.new("RGB", (8, 8), (10, 200, 30)).save(folder / "a.png")
    soundfile.write(folder / "a.wav", np.zeros(800), 8000)


def write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_geojson(path: Path, rows: Rows) -> None:
    features = []
    for row in rows:
        properties = {name: row[name] for name in row if name not in ("longitude", "latitude")}
        geometry = {"type": "Point", "coordinates": [row["longitude"], row["latitude"]]}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")


def write_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def wkb(longitude: float, latitude: float, order: str = "<") -> bytes:
    return bytes([order == "<"]) + struct.pack(f"{order}Idd", 1, longitude, latitude)


def write_geoparquet(path: Path, rows: Rows, **column: Any) -> None:
    for number, row in enumerate(rows):
        row["where"] = wkb(row.pop("longitude"), row.pop("latitude"), "<>"[number % 2])
    geo = {"version": "1.1.0", "primary_column": "where"}
    geo["columns"] = {"where": {"encoding": "WKB", "geometry_types": ["Point"], **column}}  # type: ignore[assignment]
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"geo": json.dumps(geo)})
    pq.write_table(table, path)


WRITERS: dict[str, Callable[[Path, Rows], None]] = {
    ".csv": write_csv, ".tsv": write_csv, ".geojson": write_geojson, ".json": write_geojson,
    ".parquet": write_parquet, ".geoparquet": write_geoparquet,
}  # fmt: skip


def pairs(manifest: Iterable[Pair | Problem]) -> list[Pair]:
    items = list(manifest)
    assert not [item for item in items if isinstance(item, Problem)]
    return [item for item in items if isinstance(item, Pair)]


def kinds(manifest: Iterable[Pair | Problem]) -> list[str]:
    return [item.kind if isinstance(item, Problem) else "" for item in manifest]


def simple(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", WRITERS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_what_is_written_is_read(suffix: str, data: st.DataObject) -> None:
    ids = data.draw(st.lists(ID, min_size=1, max_size=5, unique=True))
    rows = [
        {
            "id": id, "image": "a.png", "audio": "sub/../a.wav",
            "longitude": data.draw(st.floats(-180, 180)), "latitude": data.draw(st.floats(-90, 90)),
            "license": data.draw(ID.filter(lambda text: not is_unknown(text))),
            "split": data.draw(st.sampled_from(["train", "val", "test"])),
            "note": data.draw(TEXT), 'a "free", column\n': data.draw(TEXT),
        }
        for id in ids
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_media(folder)
        (folder / "sub").mkdir()
        path = folder / f"world{suffix}"
        WRITERS[suffix](path, [dict(row) for row in rows])
        manifest = Manifest(path)
        read = pairs(manifest)
        assert read == pairs(manifest)  # once more, the same
    assert len(manifest) == len(rows)
    assert manifest.extra_columns == ("note", 'a "free", column\n')
    for row, pair in zip(rows, read, strict=True):
        own = {name: getattr(pair, name) for name in ("id", "longitude", "latitude", "license", "split")}
        assert own | dict(pair.extra) == {name: row[name] for name in row if name not in ("image", "audio")}
        assert pair.image == folder / "a.png" and pair.audio == folder / "sub/../a.wav"


def test_a_byte_order_mark_blank_lines_and_crlf(tmp_path: Path) -> None:
    write_media(tmp_path)
    path = tmp_path / "m.csv"
    path.write_bytes("\ufeffid,image,audio,ort\r\n\r\n1,a.png,a.wav,Übersee\r\n\r\n".encode())
    assert [pair.extra for pair in pairs(Manifest(path))] == [{"ort": "Übersee"}]
    assert len(Manifest(path)) == 1


@pytest.mark.parametrize("longitude", ["lon", "lng", "long"])
def test_other_names_for_own_columns(tmp_path: Path, longitude: str) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", f"key,image,audio,{longitude},lat", "7,a.png,a.wav,8.5,50.5")
    (pair,) = pairs(Manifest(path))
    assert (pair.id, pair.longitude, pair.latitude, pair.extra) == ("7", 8.5, 50.5, {})


def test_the_proper_name_wins_over_its_alias(tmp_path: Path) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", "key,id,image,audio", "7,seven,a.png,a.wav")
    (pair,) = pairs(Manifest(path))
    assert (pair.id, pair.extra) == ("seven", {"key": "7"})


def test_two_aliases_are_not_guessed_between(tmp_path: Path) -> None:
    path = simple(tmp_path / "m.csv", "id,image,audio,lon,lng,lat")
    with pytest.raises(DataError, match="--columns longitude=lon or lng"):
        Manifest(path)


def test_columns_may_serve_two_names(tmp_path: Path) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", "file,label", "a.wav,dog")
    (pair,) = pairs(Manifest(path, columns={"id": "file", "audio": "file"}, need=("audio",)))
    assert (pair.id, pair.audio, pair.image, pair.extra) == ("a.wav", tmp_path / "a.wav", None, {"label": "dog"})


def test_a_column_whose_name_is_taken_is_left_out_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", "id,other,image,audio", "1,one,a.png,a.wav")
    with caplog.at_level(logging.WARNING):
        (pair,) = pairs(Manifest(path, columns={"id": "other"}))
    assert (pair.id, pair.extra) == ("one", {})
    assert "'id' are not carried" in caplog.text


def test_a_name_in_other_case_is_pointed_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Manifest(simple(tmp_path / "m.csv", "id,image,audio,Latitude"))
    assert "latitude=Latitude" in caplog.text


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("id,image,audio,decimalLatitude,decimalLongitude", "longitude=decimalLongitude,latitude=decimalLatitude"),
        ("id,image,audio,LAT,LON", "longitude=LON,latitude=LAT"),
        ("id,image,audio,geo_lat,geo_lon", "longitude=geo_lon,latitude=geo_lat"),
        ("id,image,audio,y,x", "longitude=x,latitude=y"),
        ("id,image,audio,eventDate", "datetime=eventDate"),
        ("id,image,audio,date_time", "datetime=date_time"),
        ("id,image,audio,recorded_at,Licence", "datetime=recorded_at,license=Licence"),
        ("id,image,audio,GSD (m)", "'image_gsd_m=GSD (m)'"),
    ],
)
def test_names_that_others_use_are_hinted_at_and_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, header: str, said: str
) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", header, "1,a.png,a.wav" + ",5" * (header.count(",") - 2))
    (pair,) = pairs(Manifest(path))
    assert f"type --columns {said}" in caplog.text
    assert (pair.longitude, pair.latitude, pair.datetime, pair.image_gsd_m, pair.license) == (None,) * 5
    assert set(pair.extra) == set(header.split(",")[3:])


@pytest.mark.parametrize(
    "header", ["id,image,audio,lat,lon,y", "id,image,audio,x,species", "id,image,audio,latex,datum"]
)
def test_other_free_columns_are_not_hinted_at(tmp_path: Path, caplog: pytest.LogCaptureFixture, header: str) -> None:
    Manifest(simple(tmp_path / "m.csv", header))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("id,file_name,audio", "type --columns image=file_name"),
        ("id,image,filename", "type --columns audio=filename"),
        ("id,image,Audio", "type --columns audio=Audio"),
        ("recordID,image,audio", "type --columns id=recordID"),
    ],
)
def test_what_is_needed_may_have_another_name(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        Manifest(simple(tmp_path / "m.csv", header))
    assert str(error.value).endswith(said)


def test_a_column_can_be_left_unread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", "id,image,audio,datetime,lon,lat,split", "1,a.png,a.wav,03/04/2024,8,50,left")
    unread = {"datetime": "", "longitude": "", "latitude": "", "split": ""}
    (pair,) = pairs(Manifest(path, columns=unread))
    assert (pair.datetime, pair.longitude, pair.latitude, pair.split, pair.remarks) == (None, None, None, None, ())
    assert pair.extra == {"datetime_": "03/04/2024", "lon": "8", "lat": "50", "split_": "left"}
    assert "'datetime' as 'datetime_'" in caplog.text and "--columns" not in caplog.text


@pytest.mark.parametrize("name", ["id", "image", "audio"])
def test_what_every_row_needs_cannot_be_left_unread(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"--columns {name}=: every row needs one; type --columns {name}=NAME"):
        Manifest(simple(tmp_path / "m.csv", "id,image,audio"), columns={name: ""})


def test_one_coordinate_alone_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", "id,image,audio,lat", *(f"{n},a.png,a.wav,50" for n in range(5)))
    found = pairs(Manifest(path))
    assert {(pair.latitude, pair.remarks, pair.extra["lat"]) for pair in found} == {(None, (), "50")}
    assert caplog.messages == [f"{path}: lat is not read, since there is no column for the other coordinate"]


def test_names_that_a_packed_table_cannot_hold_are_changed_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_media(tmp_path)
    names = ("site.name", "site_name", "audio_seconds", "_rowid", "a`b", "packing_notes", "*", "Image_Hash")
    path = simple(tmp_path / "m.csv", ",".join(("id", "image", "audio", *names)), "1,a.png,a.wav,1,2,3,4,5,6,7,8")
    manifest = Manifest(path)
    (pair,) = pairs(manifest)
    assert pair.extra == {
        "site_name_": "1", "site_name": "2", "audio_seconds_": "3", "column_rowid": "4", "a_b": "5",
        "packing_notes_": "6", "_": "7", "Image_Hash": "8",
    }  # fmt: skip
    assert manifest.extra_columns == tuple(pair.extra) and manifest.carried_as("_rowid") == "column_rowid"
    assert "'site.name' as 'site_name_'" in caplog.text and "Image_Hash" not in caplog.text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"imge": "file"}, ["imge=file", "did you mean 'image'", "'latitude'"]),
        ({"image": "fiel"}, ["image=fiel", "did you mean 'file'", "'key'"]),
    ],
)
def test_unknown_names_are_errors_that_list_the_known(
    tmp_path: Path, columns: Mapping[str, str], said: list[str]
) -> None:
    path = simple(tmp_path / "m.csv", "key,file,audio")
    with pytest.raises(DataError) as error:
        Manifest(path, columns=columns)
    assert all(part in str(error.value) for part in said)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("image,audio", "no column 'id', found 'image', 'audio'; type --columns id=NAME"),
        ("id,audio,pic", "no column 'image', found 'id', 'audio', 'pic'; type --columns image=NAME"),
        ("id;image;audio", "separated by something else"),
        ("id,image,audio,x,x", "column 'x' occurs twice"),
    ],
)
def test_missing_columns_say_what_to_type(tmp_path: Path, header: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        Manifest(simple(tmp_path / "m.csv", header))
    assert said in str(error.value) and "m.csv" in str(error.value)


def test_need_must_name_media(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'image', 'audio' or both"):
        Manifest(tmp_path / "m.csv", need=("picture",))


def test_every_row_is_one_item(tmp_path: Path) -> None:
    write_media(tmp_path)
    path = simple(
        tmp_path / "m.csv",
        "id,image,audio,longitude,latitude,datetime,split,image_gsd_m",
        "1,a.png,a.wav,8,50,20201104T170000,validation,0.2",
        "1,a.png,a.wav,8,50,,,",
        ",a.png,a.wav,8,50,,,",
        "4,b.png,a.wav,8,50,,,",
        "5,a.png,https://example.org/a.wav,8,50,,,",
        "6,a.png,a.wav,8,,,,",
        "7,a.png,a.wav,8,100,,,",
        "8,a.png,a.wav,800,50,,,",
        "9,a.png,a.wav,8,50,noon,,",
        "10,a.png,a.wav,8,50,,some,",
        "11,a.png,a.wav,8,50,,,big",
        "12,a.png,a.wav",
        '13,a.png,a.wav,8,50,"2020-11-04T17:00+02:00",,',
    )
    assert kinds(Manifest(path)) == [
        "", "duplicate id", "no id", "missing image", "missing audio", "", "", "", "", "bad split", "", "bad row", "",
    ]  # fmt: skip
    told = [item.remarks for item in Manifest(path) if isinstance(item, Pair)]
    assert [[kind for kind, _ in remarks] for remarks in told] == [
        [], ["unreadable cell"], ["coordinates swapped?"], ["coordinates out of range"], ["unreadable cell"],
        ["unreadable cell"], [],
    ]  # fmt: skip
    assert len(Manifest(path)) == 13


def test_places_count_lines_also_after_a_cell_with_newlines(tmp_path: Path) -> None:
    write_media(tmp_path)
    path = simple(tmp_path / "m.csv", "id,image,audio,note", '1,a.png,a.wav,"two', 'lines"', "2,a.png", ",a.png,a.wav,")
    _, ragged, nameless = list(Manifest(path))
    assert isinstance(ragged, Problem) and ragged.detail.startswith("line 4: 2 cells where the header has 4")
    assert isinstance(nameless, Problem) and nameless.id == "line 5"
    assert len(Manifest(path)) == 3


def broken(tmp_path: Path, name: str, data: bytes) -> str:
    """Return the one line a broken file gives, when it is opened or when it is read."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as error:
        list(Manifest(path))
    assert "\n" not in str(error.value) and name in str(error.value)
    return str(error.value)


HEAD = b"id,image,audio,note\n"


def test_broken_csv_files(tmp_path: Path) -> None:
    assert "is empty" in broken(tmp_path, "m.csv", b"")
    assert "is empty" in broken(tmp_path, "m.csv", b"\n\n")
    assert "not UTF-8" in broken(tmp_path, "m.csv", bytes(range(256)) * 40)
    assert "line 1: not UTF-8" in broken(tmp_path, "m.csv", "id,image\n".encode("utf-16"))
    late = HEAD + b"1,a,b,ok\n" * 9000 + "2,a,b,Übersee\n".encode("latin-1")
    assert "line 9002: not UTF-8" in broken(tmp_path, "m.csv", late)
    assert "line 2: field larger" in broken(tmp_path, "m.csv", HEAD + b"1,a,b," + b"x" * 200_000 + b"\n")
    assert "line 2" in broken(tmp_path, "m.csv", HEAD + b'1,a,b,"never closed\n')
    assert "no column 'id'" in broken(tmp_path, "m.csv", b"\0" * 5000)


@pytest.mark.parametrize("text", ["x" * 100, '"' + "a\n" * 40, "a," * 50, '"a\nb","c",' * 9])
def test_a_row_without_an_end_is_not_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Neither of one long line nor of many short ones; rows before it and their number do not count."""
    monkeypatch.setattr(read_csv, "MOST_CHARACTERS", 60)
    good = "".join(f"{n},a,b,ok\n" for n in range(40))
    said = broken(tmp_path, "m.csv", HEAD + good.encode() + text.encode())
    assert re.search(r"m.csv, line \d+: a row of more than 60 characters; a table with quoted cells", said)
    assert "a row of more than 60" in broken(tmp_path, "m.csv", text.encode())


def test_a_long_geojson_file_is_not_held_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "m.geojson").open("wb") as file:
        file.truncate(300_000_000)
    with pytest.raises(DataError, match="a GeoJSON file of 300,000,000 bytes; at most 268,435,456 were expected"):
        Manifest(tmp_path / "m.geojson")


def test_broken_geojson_files(tmp_path: Path) -> None:
    assert "line 1, column 1" in broken(tmp_path, "m.geojson", b"")
    assert "line 2, column 3" in broken(tmp_path, "m.geojson", b'{"type":\n  nothing}')
    assert "not UTF-8" in broken(tmp_path, "m.geojson", b'{"type": "\xfc"}')
    assert "FeatureCollection was expected" in broken(tmp_path, "m.json", b'{"type": "Feature"}')
    assert "'list'" in broken(tmp_path, "m.json", b"[1]")
    assert "not readable" in broken(tmp_path, "m.json", b"[" * 100_000)
    assert "half a character" in broken(
        tmp_path, "m.json", b'{"type": "FeatureCollection", "features": [{"id": "\\ud800"}]}'
    )
    old_crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
    text = json.dumps({"type": "FeatureCollection", "crs": old_crs, "features": []})
    assert "WGS 84" in broken(tmp_path, "m.json", text.encode())


def test_broken_parquet_files(tmp_path: Path) -> None:
    write_media(tmp_path)
    whole = tmp_path / "whole.parquet"
    write_parquet(whole, [{"id": str(n), "image": "a.png", "audio": "a.wav"} for n in range(2000)])
    data = whole.read_bytes()
    assert "Parquet" in broken(tmp_path, "m.parquet", data[: len(data) // 2])
    assert "Parquet" in broken(tmp_path, "m.parquet", b"")
    assert "Parquet" in broken(tmp_path, "m.parquet", b"id,image,audio\n")
    assert "Parquet" in broken(tmp_path, "m.parquet", data[:4] + b"\xff" * 3000 + data[3004:])


def test_a_time_that_python_cannot_hold(tmp_path: Path) -> None:
    write_media(tmp_path)
    times = pa.array([0, 2**62], pa.timestamp("us"))
    table = pa.table({"id": ["1", "2"], "image": ["a.png"] * 2, "audio": ["a.wav"] * 2, "datetime": times})
    pq.write_table(table, tmp_path / "m.parquet")
    one, two = pairs(Manifest(tmp_path / "m.parquet"))
    assert one.datetime is not None and one.datetime.year == 1970 and one.remarks == ()
    assert two.datetime is None and "datetime 'timestamp[us] 4611686018427387904'" in two.remarks[0].detail


def parquet_bytes() -> bytes:
    out = pa.BufferOutputStream()
    geo = json.dumps({"primary_column": "where", "columns": {"where": {"encoding": "WKB"}}})
    rows = [{"id": str(n), "image": b"x", "audio": {"bytes": b"y"}, "where": wkb(n, n)} for n in range(20)]
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({"geo": geo}), out)
    return bytes(out.getvalue())


@pytest.mark.parametrize("suffix", WRITERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_garbage_is_one_line_and_never_another_error(suffix: str, data: st.DataObject) -> None:
    if suffix in (".parquet", ".geoparquet"):
        content = bytearray(parquet_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    else:
        heads = [b"id,image,audio\n", b"id\timage\taudio\n", b'{"type": "FeatureCollection", "features": [', b""]
        content = bytearray(data.draw(st.sampled_from(heads)) + data.draw(st.binary(max_size=60)))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / f"m{suffix}"
        path.write_bytes(content)
        try:
            items = list(Manifest(path))
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert all(isinstance(item, Pair | Problem) for item in items)


def test_geojson_rows(tmp_path: Path) -> None:
    write_media(tmp_path)
    media = {"image": "a.png", "audio": "a.wav"}
    features: list[Any] = [
        {"type": "Feature", "id": 1, "geometry": None, "properties": media},
        {"type": "Feature", "id": 2, "geometry": {"type": "Point", "coordinates": [8, 50, 120]}, "properties": media},
        {"type": "Feature", "id": 3, "geometry": {"type": "Point", "coordinates": [8]}, "properties": media},
        {"type": "Feature", "id": 4, "geometry": {"type": "LineString", "coordinates": []}, "properties": media},
        {"type": "Feature", "id": 5, "geometry": {"type": "Point", "coordinates": ["x", 1]}, "properties": media},
        {"type": "Feature", "id": 6, "geometry": {"type": "Point", "coordinates": [50, 100]}, "properties": media},
        "not a feature",
        {"type": "Feature", "id": 8, "geometry": None, "properties": None},
        {"type": "Feature", "id": 9, "geometry": None, "properties": media | {"tags": ["rain", 1]}},
    ]
    path = tmp_path / "m.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    manifest = Manifest(path)
    assert kinds(manifest) == ["", "", "", "", "", "", "bad row", "missing image", ""]
    one, two, *odd, _, _, nine = list(manifest)
    assert [item.remarks[0].kind for item in odd if isinstance(item, Pair)] == [
        "unreadable cell", "unreadable cell", "unreadable cell", "coordinates swapped?",
    ]  # fmt: skip
    assert all(isinstance(item, Pair) and item.longitude is None for item in odd)
    assert isinstance(one, Pair) and (one.id, one.longitude) == ("1", None)
    assert isinstance(two, Pair) and (two.longitude, two.latitude) == (8.0, 50.0)
    assert isinstance(nine, Pair) and nine.extra == {"tags": '["rain", 1]'}
