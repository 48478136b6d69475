"""The file `classes.csv` or `classes.yaml` beside images and masks: which value or colour of a mask is which class."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earthtone.data.datasets.masks import MOST_CLASSES, Value
from earthtone.data.labelled import Palette
from earthtone.data.read_csv import CsvTable
from earthtone.errors import DataError
from earthtone.files import regular_file
from earthtone.plain_yaml import read_yaml

NAMES = ("classes.csv", "classes.yaml", "classes.yml")
_IGNORED = ("", "ignored", "ignore", "unlabelled", "nodata", "no data")
_FORM = "value,name (or colour,name) with values such as 10 and colours such as #ff8800"


def class_table(folder: Path) -> Path | None:
    """Return the table of classes in a folder, or None."""
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def read_class_table(path: Path) -> Palette:
    """Return the palette of a table with `name` and `value`, `colour` or both (then masks hold values).

    A row named `ignored` (or without a name) says what is left out. YAML is a list of such rows, or value: name.
    Classes have the order of the table. Raises DataError.
    """
    names: list[str] = []
    values: dict[int, int] = {}
    colours: dict[tuple[int, int, int], int] = {}
    shown: dict[int, tuple[int, int, int]] = {}
    ignored: set[Value] = set()
    rows = _rows(path)
    by_value = any(row.get("value") not in (None, "") for row in rows)
    for row in rows:
        name = str(row.get("name") or "").strip()
        key = _value(path, row.get("value")) if by_value else _colour(path, row.get("colour"))
        if key in ignored or key in values or key in colours:
            raise DataError(f"{path}: {key} occurs twice; one row a value or colour was expected")
        if name.lower() in _IGNORED:
            ignored.add(key)
            continue
        if name not in names:
            names.append(name)
        index = names.index(name)
        if isinstance(key, int):
            values[key] = index
            if row.get("colour"):
                shown[index] = _colour(path, row["colour"])
        else:
            colours[key] = index
            shown.setdefault(index, key)
    if not 2 <= len(names) <= MOST_CLASSES:
        raise DataError(f"{path} names {len(names)} classes; 2 to {MOST_CLASSES} were expected as {_FORM}")
    drawn = (
        tuple(shown[index] for index in range(len(names))) if len(shown) == len(names) else default_colours(len(names))
    )
    return Palette(tuple(names), values, colours, frozenset(ignored), drawn)


def found_palette(found: set[Value]) -> Palette:
    """Return a palette in which every value or colour is a class named like it."""
    values = sorted(value for value in found if isinstance(value, int))
    colours = sorted(value for value in found if isinstance(value, tuple))
    if values and colours:
        raise DataError("some masks have one channel and some are in colour; one kind was expected")
    names = tuple(str(value) for value in values) + tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours)
    return Palette(
        names,
        values={value: index for index, value in enumerate(values)},
        colours={colour: index for index, colour in enumerate(colours)},
        shown=tuple(colours) or default_colours(len(names)),
    )


def default_colours(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return colours that differ well: hues a golden angle apart, three brightnesses."""
    import colorsys

    found = []
    for index in range(count):
        red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, 0.75, (1.0, 0.75, 0.5)[index % 3])
        found.append((round(255 * red), round(255 * green), round(255 * blue)))
    return tuple(found)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if path.suffix == ".csv":
        table = CsvTable(path)
        rows = list(table.rows(table.columns))
        faults = [f"{row.place}: {row.fault[1]}" for row in rows if row.fault is not None]
        if faults:
            raise DataError(f"{path}, {faults[0]}")
        return [{name.strip().lower(): cell for name, cell in row.cells.items()} for row in rows]
    try:
        content = read_yaml(regular_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}; a YAML list of classes was expected") from error
    if isinstance(content, dict):
        return [{"value": value, "name": name} for value, name in content.items()]
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        return content
    raise DataError(f"{path}: a list of classes, or value: name, was expected: {_FORM}")


def _value(path: Path, cell: object) -> int:
    text = str(cell if cell is not None else "").strip()
    if not (re.fullmatch(r"[0-9]{1,20}", text) and int(text) < 65536):
        raise DataError(f"{path}: value {text!r:.40}; a whole number from 0 to 65535 was expected")
    return int(text)


def _colour(path: Path, cell: object) -> tuple[int, int, int]:
    """Return a colour written as #rrggbb, as `255 0 0`, or as a list of three numbers."""
    text = " ".join(map(str, cell)) if isinstance(cell, list) else str(cell or "").strip()
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    parts = re.findall(r"[0-9]+", text)
    if len(parts) != 3 or max(map(len, parts)) > 20 or max(map(int, parts)) > 255:
        raise DataError(f"{path}: colour {text!r:.40}; #rrggbb or three numbers up to 255 were expected")
    return int(parts[0]), int(parts[1]), int(parts[2])
