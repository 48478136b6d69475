"""What the pages of a Parquet file hold once they are unpacked, told by their headers before any is read.

A few kilobytes may stand for gigabytes: a page of one letter, or a text in a dictionary that every row repeats.
Arrow's own metadata are not asked: where they contradict themselves, that ends the process (pyarrow 26).
The layout is that of parquet-format's parquet.thrift, in Thrift's compact protocol.
"""

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

_DICTIONARY_PAGE, _DATA_PAGE, _DATA_PAGE_V2 = 2, 0, 3
_DELTA_BYTE_ARRAY = 7  # a text tells only in what it differs from the one before
_MOST_HEADER = 16 * 2**20  # as Arrow's own limit
_MOST_FOOTER = 2**30
_DEPTH = 16
_Struct = dict[int, Any]


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
        return [_chunk(self._file, chunk, self._first) for chunk in self._groups[group] if _name(chunk) in columns]


def _groups(file: BinaryIO) -> Iterator[list[_Struct]]:
    """Yield the column chunks' metadata of every row group."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < 8 or tail[4:] != b"PAR1" or not 0 < length <= min(size - 8, _MOST_FOOTER):
        raise BrokenParquetError("its end is not that of a Parquet file")
    file.seek(size - 8 - length)
    footer = _Compact(file.read(length)).struct()
    for group in _list(footer.get(4)):
        yield [_struct(_struct(chunk).get(3)) for chunk in _list(_struct(group).get(1))]


def _name(chunk: _Struct) -> str:
    path = chunk.get(3)
    if not (isinstance(path, list) and path and isinstance(path[0], bytes)):
        raise BrokenParquetError("a column has no name")
    return path[0].decode("utf-8", "replace")


def _chunk(file: BinaryIO, chunk: _Struct, first: bool) -> Unpacked:
    dictionary = page = 0
    value, prefix = 0.0, False
    for header in _headers(file, chunk):
        size = _whole(header, 2)
        if _whole(header, 1) == _DICTIONARY_PAGE:
            dictionary = max(dictionary, size)
            continue
        count, encoding = _values(header)
        page, value = max(page, size), max(value, size / max(count, 1))
        prefix = prefix or encoding == _DELTA_BYTE_ARRAY
        if first:
            break
    return Unpacked(_name(chunk), dictionary, page, value, prefix)


def _headers(file: BinaryIO, chunk: _Struct) -> Iterator[_Struct]:
    """Yield the headers of a column chunk's dictionary and data pages."""
    start, dictionary, left = _whole(chunk, 9), chunk.get(11), _whole(chunk, 5)
    place = dictionary if isinstance(dictionary, int) and 0 < dictionary < start else start
    end = place + _whole(chunk, 7)
    while left > 0 and place < end:
        header, length = _header(file, place)
        kind = _whole(header, 1)
        if kind in (_DATA_PAGE, _DATA_PAGE_V2):
            left -= _values(header)[0]
        if kind in (_DICTIONARY_PAGE, _DATA_PAGE, _DATA_PAGE_V2):
            yield header
        place += length + _whole(header, 3)


def _header(file: BinaryIO, place: int) -> tuple[_Struct, int]:
    """Return a page's header and its length; statistics in it may be long."""
    room = 256
    while True:
        file.seek(place)
        data = file.read(room)
        reader = _Compact(data)
        try:
            return reader.struct(), reader.place
        except BrokenParquetError:
            if len(data) < room or room >= _MOST_HEADER:
                raise
            room *= 16


def _values(header: _Struct) -> tuple[int, int]:
    """Return how many values a data page holds, and how they are encoded."""
    version_2 = _whole(header, 1) == _DATA_PAGE_V2
    inner = _struct(header.get(8 if version_2 else 5))
    return _whole(inner, 1), _whole(inner, 4 if version_2 else 2)


def _whole(of: _Struct, field: int) -> int:
    value = of.get(field)
    if not isinstance(value, int) or value < 0:
        raise BrokenParquetError("a size is missing or negative")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BrokenParquetError("a list is missing")
    return value


def _struct(value: object) -> _Struct:
    if not isinstance(value, dict):
        raise BrokenParquetError("a part is not described")
    return value


class _Compact:
    """Reads Thrift's compact protocol: structs as dicts by the numbers of their fields."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self, depth: int = 0) -> _Struct:
        found: _Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            found[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15, depth + 1)
        return found

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
        found = self._data[self.place : self.place + count]
        if len(found) < count:
            raise BrokenParquetError("it breaks off")
        self.place += count
        return found
