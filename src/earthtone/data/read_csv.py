"""CSV and TSV tables, streamed: UTF-8 with or without a byte order mark, quoted cells may hold newlines."""

import csv
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from earthtone.data.cell import clipped
from earthtone.data.row import BAD_ROW, Row
from earthtone.errors import DataError
from earthtone.files import regular_file

_LOG = logging.getLogger(__name__)
_MOST_CHARACTERS = 2**24  # in a row; a cell has at most 131,072, as Python's csv reads them


class CsvTable:
    """A table whose first line names the columns; cells are text. Only one row is in memory at a time."""

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
                place = f"line {line}"
                if len(cells) == width:
                    yield Row(place, dict(zip(self._header, cells, strict=True)))
                else:
                    detail = f"{len(cells)} cells where the header has {width}; check quotes and separators"
                    yield Row(place, {}, fault=(BAD_ROW, detail))

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


class _Lines:
    """A file's lines, which csv puts together to rows; it would take any number of gigabytes for one of them."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._room = _MOST_CHARACTERS

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._room + 1)
        if not line:
            raise StopIteration
        self._room -= len(line)
        if self._room < 0:
            raise csv.Error(f"a row of more than {_MOST_CHARACTERS} characters")
        return line

    def next_row(self) -> None:
        """Begin to count anew."""
        self._room = _MOST_CHARACTERS


def _rows(reader: Any, lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with the number of its first line."""
    line = 1
    for cells in reader:
        lines.next_row()
        if cells:
            yield line, cells
        line = reader.line_num + 1


def _first_line_not_utf8(path: Path) -> int:
    """Return the number of the first line that does not decode; the reader itself decodes ahead in blocks."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(4 * _MOST_CHARACTERS), b""), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
