"""Every kind of problem a row can have, and what is read when it has none."""

from decimal import Decimal
from pathlib import Path

import pytest

from earthtone.data.pair import CELL_REMARKS, PAIR_COLUMNS, Pair, Problem, Row, RowReader
from earthtone.signal.remarks import Remark

COLUMNS = {name: name for name in PAIR_COLUMNS}
GOOD: dict[str, object] = {"id": "a", "image": b"picture", "audio": b"sound"}


def read(**cells: object) -> Pair | Problem:
    return RowReader(Path(), COLUMNS, {"note": "note"}).read(Row("line 7", GOOD | cells))


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        ({"image": None}, "missing image", "empty"),
        ({"image": "nowhere.jpg"}, "missing image", "nowhere.jpg"),
        ({"image": "."}, "missing image", "not a file"),
        ({"image": "x" * 5000}, "missing image", "not a file"),
        ({"image": "zero\0byte"}, "missing image", "not a file"),
        ({"image": "https://example.org/a.jpg"}, "missing image", "remote address"),
        ({"image": "s3://bucket/a.jpg"}, "missing image", "remote address"),
        ({"image": "file:///a.jpg"}, "missing image", "plain path"),
        ({"image": 3}, "missing image", "int"),
        ({"audio": ""}, "missing audio", "empty"),
        ({"audio": {"bytes": None, "path": None}}, "missing audio", "empty"),
        ({"audio": b""}, "missing audio", "empty"),
        ({"id": ""}, "no id", "'id'"),
        ({"id": "  "}, "no id", "'id'"),
        ({"id": float("nan")}, "no id", "'id'"),
        ({"id": b"a"}, "no id", "holds bytes"),
        ({"image": float("nan")}, "missing image", "the image cell is empty"),
        ({"split": "training"}, "bad split", "train, val, test"),
        ({"split": 1}, "bad split", "train, val, test"),
        ({"split": "excluded"}, "bad split", "'excluded'"),
    ],
)
def test_a_bad_cell_leaves_the_row_out_and_says_why(cells: dict[str, object], kind: str, said: str) -> None:
    problem = read(**cells)
    assert isinstance(problem, Problem)
    assert problem.kind == kind
    assert said in problem.detail
    assert problem.detail.startswith("line 7: ") and problem.detail.endswith("the row is left out")
    assert problem.id == ("line 7" if kind == "no id" else "a")


@pytest.mark.parametrize(
    ("cells", "kind", "said"),
    [
        ({"longitude": 181, "latitude": 0}, "coordinates out of range", "-180 to 180"),
        ({"longitude": 50.0, "latitude": 100.0}, "coordinates swapped?", "(longitude, latitude)"),
        ({"longitude": "8"}, "unreadable cell", "longitude is given without latitude"),
        ({"longitude": "8", "latitude": "NA"}, "unreadable cell", "longitude is given without latitude"),
        ({"longitude": "8,5", "latitude": "50,1"}, "unreadable cell", "longitude '8,5'"),
        ({"longitude": Decimal("sNaN"), "latitude": 8}, "unreadable cell", "latitude is given without"),
        ({"datetime": "03/04/2024"}, "unreadable cell", "datetime '03/04/2024' does not say which number is the month"),
        ({"datetime": "2020"}, "unreadable cell", "datetime '2020' is no whole date; ISO 8601 expected"),
        ({"datetime": 1604509200}, "unreadable cell", "1604509200"),
        ({"image_gsd_m": "0.2 m"}, "unreadable cell", "image_gsd_m '0.2 m'"),
        ({"image_gsd_m": 0}, "unreadable cell", "image_gsd_m 0; 0.001 to 100,000 metres a pixel expected"),
        ({"image_gsd_m": "1e308"}, "unreadable cell", "0.001 to 100,000"),
        ({"license": b"CC0"}, "unreadable cell", "license holds 3 bytes; text expected"),
    ],
)
def test_an_optional_cell_costs_its_value_and_says_so(cells: dict[str, object], kind: str, said: str) -> None:
    pair = read(split="test", **cells)
    assert isinstance(pair, Pair) and pair.split == "test" and kind in CELL_REMARKS
    assert (pair.longitude, pair.latitude, pair.datetime, pair.image_gsd_m, pair.license) == (None,) * 5
    ((found, detail),) = pair.remarks
    assert found == kind and said in detail
    assert detail.startswith("line 7: ") and detail.endswith("; the row is kept without it")


def test_every_lost_value_is_told_and_the_others_stay() -> None:
    pair = read(longitude="x", latitude="y", datetime="noon", image_gsd_m="big", license="CC0", source="n/a")
    assert isinstance(pair, Pair) and (pair.license, pair.source) == ("CC0", None)
    assert [remark.detail.split()[2] for remark in pair.remarks] == ["longitude", "datetime", "image_gsd_m"]


@pytest.mark.parametrize("word", ["NA", "NaN", "null", "None", "-", "n/a", " ", float("nan"), Decimal("NaN")])
def test_words_for_unknown_are_silent(word: object) -> None:
    optional = [name for name in PAIR_COLUMNS if name not in ("id", "image", "audio")]
    pair = read(**dict.fromkeys(optional, word))
    assert isinstance(pair, Pair) and pair.remarks == ()
    assert {getattr(pair, name) for name in optional} == {None}


@pytest.mark.parametrize("zero", ["0", 0, "-0.0", 1e-9])
def test_zero_zero_is_kept_and_told(zero: object) -> None:
    pair = read(longitude=zero, latitude="0.000")
    assert isinstance(pair, Pair) and pair.longitude == float(zero)  # type: ignore[arg-type]
    assert [kind for kind, _ in pair.remarks] == ["place is (0, 0)"]
    other = read(longitude=zero, latitude=51.5)
    assert isinstance(other, Pair) and other.remarks == ()


def test_the_first_of_equal_ids_is_kept() -> None:
    reader = RowReader(Path(), COLUMNS, {})
    first, second, other = (reader.read(Row(f"line {n}", GOOD | {"id": id})) for n, id in enumerate("aab"))
    assert isinstance(first, Pair) and isinstance(other, Pair)
    assert isinstance(second, Problem) and (second.kind, second.id) == ("duplicate id", "a")


def test_empty_cells_are_unknown_and_free_cells_are_text() -> None:
    pair = read(longitude="", latitude="", datetime="", license="", split="", image_gsd_m="", note=None)
    assert isinstance(pair, Pair)
    assert (pair.longitude, pair.latitude, pair.datetime, pair.license, pair.split) == (None,) * 5
    assert pair.extra == {"note": ""}


@pytest.mark.parametrize("gsd_m", [0.001, 100_000.0])
def test_the_ends_of_metres_a_pixel(gsd_m: float) -> None:
    pair = read(image_gsd_m=gsd_m)
    assert isinstance(pair, Pair) and pair.image_gsd_m == gsd_m


@pytest.mark.parametrize(("text", "split"), [("validation", "val"), ("VAL", "val"), ("dev", "val"), (" test ", "test")])
def test_names_of_splits(text: str, split: str) -> None:
    pair = read(split=text)
    assert isinstance(pair, Pair) and pair.split == split


def test_only_the_needed_media_are_read() -> None:
    pair = RowReader(Path(), COLUMNS, {}, ("audio",)).read(Row("line 1", GOOD | {"image": "nowhere"}))
    assert isinstance(pair, Pair)
    assert pair.image is None and pair.audio == b"sound"


def test_a_struct_gives_its_bytes_first_then_its_path(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"from file")
    reader = RowReader(tmp_path, COLUMNS, {})
    one = reader.read(Row("row 1", GOOD | {"image": {"bytes": b"inside", "path": "b.jpg"}}))
    two = reader.read(Row("row 2", GOOD | {"id": "b", "image": {"bytes": None, "path": "b.jpg"}}))
    assert isinstance(one, Pair) and one.image == b"inside"
    assert isinstance(two, Pair) and two.image == tmp_path / "b.jpg"


@pytest.mark.parametrize(
    ("point", "columns", "place", "said"),
    [
        ((8.1000001, 50.0), ("8.1", 50), (8.1000001, 50.0), []),
        ((8, 50), (50, 8), (None, None), ["the geometry is at (8.0, 50.0), the row's own columns say (50.0, 8.0)"]),
        ((8, 50), ("NA", None), (8, 50), []),
        ((8, 50), ("east", 50), (8, 50), ["longitude 'east'"]),
        ((8, 500), (8, 50), (8, 50), ["geometry: longitude 8, latitude 500"]),
        ((None, None), (8, 50), (8, 50), []),
        (("x", 1), (None, None), (None, None), ["geometry: longitude 'x'"]),
        ((0, 0), (None, None), (0, 0), ["Gulf of Guinea"]),
    ],
)
def test_a_geometry_counts_first_and_contradictions_are_no_place(
    point: tuple[object, object], columns: tuple[object, object], place: tuple[object, object], said: list[str]
) -> None:
    cells = GOOD | {"longitude": columns[0], "latitude": columns[1]}
    pair = RowReader(Path(), COLUMNS, {}).read(Row("row 1", cells, point))
    assert isinstance(pair, Pair) and (pair.longitude, pair.latitude) == place
    assert len(pair.remarks) == len(said)
    assert all(part in remark.detail for part, remark in zip(said, pair.remarks, strict=True))


def test_a_geometry_that_is_no_point_leaves_the_place_to_the_columns() -> None:
    pair = RowReader(Path(), COLUMNS, {}).read(
        Row("row 1", GOOD | {"longitude": 8, "latitude": 50}, point_fault="the geometry is 'Polygon'")
    )
    assert isinstance(pair, Pair) and pair.longitude == 8
    detail = "row 1: geometry: the geometry is 'Polygon'; the row is kept without it"
    assert pair.remarks == (Remark("unreadable cell", detail),)


def test_a_name_that_nearly_fits_is_told_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "Rec 1.WAV").touch()
    problem = RowReader(tmp_path, COLUMNS, {}).read(Row("line 2", GOOD | {"audio": " rec 1.wav"}))
    assert isinstance(problem, Problem) and problem.kind == "missing audio"
    assert "is not a file; 'Rec 1.WAV' is there (with nearly this name): write it so" in problem.detail
