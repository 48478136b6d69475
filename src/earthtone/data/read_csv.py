"""CSV and TSV tables, streamed: UTF-8 with or without a byte order mark, quoted cells may hold newlines."""

import csv
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from earthtone.data.cell import clipped
from earthtone.data.row import BAD_ROW, Row
from earthtone.errors import DataError
from earthtone.files import regular_file

_LOG = logging.getLogger(__name__)


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
            with self._open() as reader:
                self._length = max(0, sum(1 for cells in reader if cells) - 1)
        return self._length

    def rows(self, names: Collection[str]) -> Iterator[Row]:
        """Yield every row, in the file's order, with at least the cells `names`. Raises DataError."""
        width = len(self._header)
        with self._open() as reader:
            next(cells for cells in reader if cells)
            line = reader.line_num + 1
            for cells in reader:
                place, line = f"line {line}", reader.line_num + 1
                if len(cells) == width:
                    yield Row(place, dict(zip(self._header, cells, strict=True)))
                elif cells:
                    detail = f"{len(cells)} cells where the header has {width}; check quotes and separators"
                    yield Row(place, {}, fault=(BAD_ROW, detail))

    def _read_header(self) -> list[str]:
        with self._open() as reader:
            header: list[str] | None = next((cells for cells in reader if cells), None)
        if header is None:
            raise DataError(f"{self.path} is empty; a first line with column names was expected")
        return header

    @contextmanager
    def _open(self) -> "Iterator[Any]":
        """Yield a csv reader; its errors become one line that names the file and the place."""
        reader: Any = None
        try:
            with regular_file(self.path).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self._delimiter, strict=True)
                yield reader
        except UnicodeDecodeError as error:
            line = _first_line_not_utf8(self.path)
            raise DataError(f"{self.path}, line {line}: not UTF-8 text; save the table as UTF-8") from error
        except csv.Error as error:
            line = reader.line_num if reader is not None else 1
            raise DataError(f"{self.path}, line {line}: {error}; a table with quoted cells was expected") from error
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}; a readable table was expected") from error


def _first_line_not_utf8(path: Path) -> int:
    """Return the number of the first line that does not decode; the reader itself decodes ahead in blocks."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
