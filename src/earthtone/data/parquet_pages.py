"""What the pages of a Parquet file hold once they are unpacked, by their headers, before any is read.

A few kilobytes may stand for gigabytes: a page of one letter, or a text in a dictionary that every row repeats. Read
by hand, since Arrow's own metadata name no pages and end the process where they contradict themselves (pyarrow 26).
The layout is that of parquet-format's parquet.thrift, in Thrift's compact protocol.
"""

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

_DICTIONARY_PAGE, _DATA_PAGE, _DATA_PAGE_V2 = 2, 0, 3
_DELTA_BYTE_ARRAY = 7  # a text tells only in what it differs from the one before
_MOST_HEADER = 16 * 2**20  # as Arrow's own limit
_MOST_FOOTER = 2**30
_DEPTH = 16
_Struct = dict[int, Any]
_Kind = TypeVar("_Kind", int, list[Any], _Struct)


class BrokenParquetError(ValueError):
    """A file whose own description cannot be read."""


@dataclass(frozen=True)
class Unpacked:
    """The largest pages of one column in a row group, in bytes as they lie in memory.

    `value` is the mean length of a value in the page where it is largest; with a `prefix` encoding a value may be as
    long as its page.
    """

    column: str
    dictionary: int
    page: int
    value: float
    prefix: bool


class Pages:
    """What a file's own description says of its pages; `first` asks the first pages of a column alone, for files in
    which every look costs a request. Raises BrokenParquetError, a ValueError.
    """

    def __init__(self, file: BinaryIO, *, first: bool = False) -> None:
        self._file = file
        self._first = first
        self._groups = list(_groups(file))

    def sizes(self, group: int, columns: Collection[str]) -> list[Unpacked]:
        """Return the sizes of some columns, by their outermost names, in a row group."""
        if group >= len(self._groups):
            raise BrokenParquetError("a row group is not described")
        return [self._unpacked(name, chunk) for name, chunk in self._groups[group] if name in columns]

    def _unpacked(self, name: str, chunk: _Struct) -> Unpacked:
        dictionary = page = 0
        value, prefix = 0.0, False
        for header in _headers(self._file, chunk):
            size = _field(header, 2, int)
            if _field(header, 1, int) == _DICTIONARY_PAGE:
                dictionary = max(dictionary, size)
                continue
            count, encoding = _page_values(header)
            page, value = max(page, size), max(value, size / max(count, 1))
            prefix = prefix or encoding == _DELTA_BYTE_ARRAY
            if self._first:
                break
        return Unpacked(name, dictionary, page, value, prefix)


def _groups(file: BinaryIO) -> Iterator[list[tuple[str, _Struct]]]:
    """Yield the column chunks of every row group: outermost name and metadata."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != b"PAR1" or not 0 < length <= min(size - 8, _MOST_FOOTER):
        raise BrokenParquetError("its end is not that of a Parquet file")
    file.seek(size - 8 - length)
    for group in _field(_Compact(file.read(length)).struct(), 4, list):
        chunks = [_field(chunk, 3, dict) for chunk in _field(group, 1, list)]
        yield [(_name(chunk), chunk) for chunk in chunks]


def _name(chunk: _Struct) -> str:
    path = _field(chunk, 3, list)
    if not (path and isinstance(path[0], bytes)):
        raise BrokenParquetError("a column has no name")
    return path[0].decode("utf-8", "replace")


def _headers(file: BinaryIO, chunk: _Struct) -> Iterator[_Struct]:
    """Yield the headers of a column chunk's dictionary and data pages."""
    start, dictionary, left = _field(chunk, 9, int), chunk.get(11), _field(chunk, 5, int)
    at = dictionary if isinstance(dictionary, int) and 0 < dictionary < start else start
    end = at + _field(chunk, 7, int)
    while left > 0 and at < end:
        header, length = _header(file, at)
        kind = _field(header, 1, int)
        if kind in (_DATA_PAGE, _DATA_PAGE_V2):
            left -= _page_values(header)[0]
        if kind in (_DICTIONARY_PAGE, _DATA_PAGE, _DATA_PAGE_V2):
            yield header
        at += length + _field(header, 3, int)


def _header(file: BinaryIO, at: int) -> tuple[_Struct, int]:
    """Return a page's header and its length; statistics in it may be long."""
    room = 256
    while True:
        file.seek(at)
        data = file.read(room)
        reader = _Compact(data)
        try:
            return reader.struct(), reader.at
        except BrokenParquetError:
            if len(data) < room or room >= _MOST_HEADER:
                raise
            room *= 16


def _page_values(header: _Struct) -> tuple[int, int]:
    """Return how many values a data page holds, and how they are encoded."""
    version_2 = _field(header, 1, int) == _DATA_PAGE_V2
    inner = _field(header, 8 if version_2 else 5, dict)
    return _field(inner, 1, int), _field(inner, 4 if version_2 else 2, int)


def _field(of: Any, number: int, kind: type[_Kind]) -> _Kind:
    """Return a field of a struct. Raises BrokenParquetError where it is missing, of another kind, or negative."""
    value = of.get(number) if isinstance(of, dict) else None
    if not isinstance(value, kind) or (isinstance(value, int) and value < 0):
        raise BrokenParquetError("a part is not described, or a size is negative")
    return value


class _Compact:
    """Reads Thrift's compact protocol: structs as dicts by the numbers of their fields."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int = 0) -> _Struct:
        values: _Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            values[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15, depth + 1)
        return values

    def _value(self, kind: int, depth: int) -> Any:
        read: Callable[[], Any] | None = {
            1: lambda: self._byte() == 1, 2: lambda: self._byte() == 1, 3: self._byte, 4: self._zigzag,
            5: self._zigzag, 6: self._zigzag, 7: lambda: struct.unpack("<d", self._bytes(8))[0],
            8: lambda: self._bytes(self._varint()), 9: lambda: self._items(depth), 10: lambda: self._items(depth),
            12: lambda: self.struct(depth),
        }.get(kind)  # fmt: skip
        if read is None or depth > _DEPTH:
            raise BrokenParquetError("an unknown or endless description")
        return read()

    def _items(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise BrokenParquetError("a number without an end")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        values = self._data[self.at : self.at + count]
        if len(values) < count:
            raise BrokenParquetError("it breaks off")
        self.at += count
        return values
