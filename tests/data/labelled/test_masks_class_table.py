"""classes.csv and classes.yaml: values, colours, what is ignored, and what is wrong in them."""

from pathlib import Path

import pytest

from earthtone.data.labelled.masks import class_table, default_colours, found_palette, read_class_table
from earthtone.errors import DataError


def written(folder: Path, text: str, name: str = "classes.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_values_with_colours(tmp_path: Path) -> None:
    path = written(tmp_path, "value,name,colour\n10,water,#0000ff\n30,wood,0 255 0\n40,wood,\n0,ignored,\n")
    assert class_table(tmp_path) == path
    palette = read_class_table(path)
    assert palette.names == ("water", "wood") and palette.values == {10: 0, 30: 1, 40: 1}
    assert palette.ignored == {0} and palette.shown == ((0, 0, 255), (0, 255, 0)) and not palette.colours


def test_colours_alone(tmp_path: Path) -> None:
    palette = read_class_table(written(tmp_path, "name,colour\nwater,#0000FF\nwood,#00ff00\n,#000000\n"))
    assert palette.colours == {(0, 0, 255): 0, (0, 255, 0): 1} and palette.ignored == {(0, 0, 0)}
    assert palette.shown == ((0, 0, 255), (0, 255, 0))


def test_yaml(tmp_path: Path) -> None:
    short = read_class_table(written(tmp_path, "10: water\n30: wood\n0: ignored\n", "classes.yaml"))
    rows = "- {value: 10, name: water, colour: [0, 0, 255]}\n- {value: 30, name: wood}\n- {value: 0, name: ignored}\n"
    long = read_class_table(written(tmp_path, rows, "classes.yml"))
    assert short == long and short.values == {10: 0, 30: 1} and len(short.shown) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("value,name\n10,water\n", "names 1 classes; 2 to 254 were expected"),
        ("value,name\n10,water\n10,wood\n", "10 occurs twice"),
        ("value,name\nten,water\n11,wood\n", "value 'ten'; a whole number"),
        ("value,name\n70000,water\n11,wood\n", "value '70000'"),
        ("name,colour\nwater,blue\nwood,#00ff00\n", "colour 'blue'; #rrggbb"),
        ("name,colour\nwater,0 0 256\nwood,#00ff00\n", "colour '0 0 256'"),
        ("value,name\n10,water,3\n11,wood\n", "line 2: 3 cells"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_class_table(written(tmp_path, text))


@pytest.mark.parametrize("text", ["[1, 2]", "{", "just text", "!!python/object:os.system {}"])
def test_wrong_yaml(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"classes\.yaml") as error:
        read_class_table(written(tmp_path, text, "classes.yaml"))
    assert "\n" not in str(error.value)


def test_found_values_become_classes() -> None:
    assert found_palette({30, 10}).names == ("10", "30")
    assert found_palette({(255, 0, 0), (0, 0, 0)}).names == ("#000000", "#ff0000")
    with pytest.raises(DataError, match="one kind was expected"):
        found_palette({30, (0, 0, 0)})


def test_default_colours_differ() -> None:
    assert len(set(default_colours(60))) == 60


@pytest.mark.parametrize("value", ["9" * 5000, "2020-13-45", "[&a [x], *a]", "#ff00" + "9" * 5000])
def test_values_that_are_none_are_refused(tmp_path: Path, value: str) -> None:
    for name, text in (
        ("classes.yaml", f"- {{name: a, colour: {value}}}\n"),
        ("classes.csv", f"colour,name\n{value},a\n"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=name):
            read_class_table(tmp_path / name)
