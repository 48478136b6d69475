"""Text tables, streamed: CSV, TSV and GeoJSON."""

import csv
import json
import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from earthtone.data.pair import BAD_ROW, Row, clipped
from earthtone.errors import DataError
from earthtone.files import regular_file

_LOG = logging.getLogger(__name__)
MOST_CHARACTERS = 2**24  # in a row; a cell has at most 131,072, as Python's csv reads them


class CsvTable:
    """A CSV or TSV table, read a row at a time: its first line names the columns, cells are text and may hold newlines.

    UTF-8, with or without a byte order mark.
    """

    has_points = False

    def __init__(self, path: Path, delimiter: str = ",") -> None:
        self.path = path
        self._delimiter = delimiter
        self._length: int | None = None
        self._header = self._read_header()
        # pandas writes its row index as a column without a name
        self.columns = tuple(name for name in self._header if name)
        self.carried = self.columns
        if len(set(self.columns)) < len(self.columns):
            twice = next(name for name in self.columns if self.columns.count(name) > 1)
            raise DataError(f"{path}: column {clipped(twice)} occurs twice; rename one of them")
        if len(self.columns) < len(self._header):
            _LOG.warning("%s: columns without a name are left out", path)

    def __len__(self) -> int:
        """Return the number of rows, counted once: quoted newlines make lines and rows differ."""
        if self._length is None:
            with self._open() as rows:
                self._length = max(0, sum(1 for _ in rows) - 1)
        return self._length

    def rows(self, names: Collection[str]) -> Iterator[Row]:
        """Yield every row, in the file's order, with at least the cells `names`. Raises DataError."""
        width = len(self._header)
        with self._open() as rows:
            next(rows)
            for line, cells in rows:
                where = f"line {line}"
                if len(cells) == width:
                    yield Row(where, dict(zip(self._header, cells, strict=True)))
                else:
                    detail = f"{len(cells)} cells where the header has {width}; check quotes and separators"
                    yield Row(where, {}, fault=(BAD_ROW, detail))

    def _read_header(self) -> list[str]:
        with self._open() as rows:
            for _, header in rows:
                return header
        raise DataError(f"{self.path} is empty; a first line with column names was expected")

    @contextmanager
    def _open(self) -> Iterator[Iterator[tuple[int, list[str]]]]:
        """Yield the rows, each with the number of its first line; errors become one line with the file and place."""
        reader: Any = None
        try:
            with regular_file(self.path).open(encoding="utf-8-sig", newline="") as file:
                lines = _Lines(file)
                reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
                yield _rows(reader, lines)
        except UnicodeDecodeError as error:
            line = _first_line_not_utf8(self.path)
            raise DataError(f"{self.path}, line {line}: not UTF-8 text; save the table as UTF-8") from error
        except csv.Error as error:
            line = reader.line_num if reader is not None else 1
            raise DataError(f"{self.path}, line {line}: {error}; a table with quoted cells was expected") from error
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}; a readable table was expected") from error


class _Lines(Iterator[str]):
    """A file's lines, which csv puts together to rows; it would take any number of gigabytes for one of them."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.room = MOST_CHARACTERS
        """Characters that the row may still have."""

    def __next__(self) -> str:
        line = self._file.readline(self.room + 1)
        if not line:
            raise StopIteration
        self.room -= len(line)
        if self.room < 0:
            raise csv.Error(f"a row of more than {MOST_CHARACTERS} characters")
        return line


def _rows(reader: Any, lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the number of its first line."""
    line = 1
    for cells in reader:
        lines.room = MOST_CHARACTERS
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _first_line_not_utf8(path: Path) -> int:
    """Return the number of the first line that does not decode; the reader itself decodes ahead in blocks."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(4 * MOST_CHARACTERS), b""), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


_WGS84 = ("CRS84", "EPSG::4326", "EPSG:4326")
_MOST_BYTES = 2**28  # of a file: in memory it takes up to thirty times as much
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class GeoJsonTable:
    """A GeoJSON FeatureCollection (RFC 7946) of points, whose properties are the columns.

    It is held whole in memory, several times the size of the file: very many rows belong into GeoParquet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._features = _features(path)
        features = [feature for feature in self._features if isinstance(feature, dict)]
        self.has_points = any(feature.get("geometry") is not None for feature in features)
        self.columns = tuple(dict.fromkeys(name for feature in features for name in _cells(feature) if name))
        self.carried = self.columns

    def __len__(self) -> int:
        return len(self._features)

    def rows(self, names: Collection[str]) -> Iterator[Row]:
        """Yield every feature, in the file's order; its point is (longitude, latitude)."""
        for number, feature in enumerate(self._features, 1):
            where = f"feature {number}"
            if not isinstance(feature, dict) or not isinstance(feature.get("properties") or {}, dict):
                yield Row(where, {}, fault=(BAD_ROW, "not a GeoJSON Feature with properties"))
                continue
            geometry = feature.get("geometry")
            if geometry is None:
                yield Row(where, _cells(feature))
                continue
            point, fault = _point(geometry)
            yield Row(where, _cells(feature), point, point_fault=fault)


def _cells(feature: dict[str, Any]) -> dict[str, Any]:
    """Return the properties; the feature's own id counts as one where they have none."""
    properties = feature.get("properties")
    cells = {"id": feature["id"]} if "id" in feature else {}
    return cells | properties if isinstance(properties, dict) else cells


def _point(geometry: object) -> tuple[tuple[object, object] | None, str | None]:
    if not isinstance(geometry, dict) or geometry.get("type") != "Point":
        found = geometry.get("type") if isinstance(geometry, dict) else geometry
        return None, f"the geometry is {clipped(found)}; a Point was expected"
    coordinates = geometry.get("coordinates")
    if coordinates == []:  # an empty point: the place is unknown
        return None, None
    if not isinstance(coordinates, list) or len(coordinates) not in (2, 3):
        return None, f"the point is {clipped(coordinates)}; [longitude, latitude] was expected"
    return (coordinates[0], coordinates[1]), None


def _features(path: Path) -> list[Any]:
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise DataError(
                f"{path}: a GeoJSON file of {size:,} bytes; at most {_MOST_BYTES:,} were expected, since it is held in "
                "memory whole; write it as GeoParquet or CSV"
            )
        text = regular_file(path).read_text(encoding="utf-8-sig")
        document = json.loads(text)
        if _LONE_SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, byte {error.start}: not UTF-8 text; save the GeoJSON as UTF-8") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: holds \\u escapes that are half a character; write the GeoJSON anew") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}; JSON was expected") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}); a GeoJSON FeatureCollection was expected") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a readable GeoJSON file was expected") from error
    return _checked(document, path)


def _checked(document: object, path: Path) -> list[Any]:
    kind = document.get("type") if isinstance(document, dict) else type(document).__name__
    features = document.get("features") if isinstance(document, dict) else None
    if kind != "FeatureCollection" or not isinstance(features, list):
        raise DataError(f"{path}: found JSON of type {clipped(kind)}; a GeoJSON FeatureCollection was expected")
    crs = document.get("crs") if isinstance(document, dict) else None
    if crs is not None and not json.dumps(crs).rstrip('"}] ').endswith(_WGS84):
        raise DataError(f"{path}: coordinates are in {clipped(crs)}; WGS 84 longitude and latitude were expected")
    return features
