"""Pieces of a file, and bytes of our own between them, as one file: how a decoder is shown a mended header."""

import io
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

_WINDOW = 1 << 16  # bytes read at once

Piece = bytes | tuple[int, int]
"""Bytes of our own, or the first byte of a stretch of the file and the one after its last."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stream of a sound file: joined files hold several, one after another.

    `pieces` is what the decoder is shown, the file as it is when null. Counts are in samples a channel: `promised` by
    the header (null: it does not say), `there` known to be there without decoding (null: the decoder tells), of what is
    decoded `skip` are dropped and then at most `keep` kept. `frame` samples of a code without checksums stand or fall
    together.
    """

    pieces: tuple[Piece, ...] | None = None
    promised: int | None = None
    there: int | None = None
    skip: int = 0
    keep: int | None = None
    frame: int | None = None


class Spliced:
    """A file to read that consists of `pieces` of another; nothing is copied before it is read."""

    def __init__(self, source: Path | bytes, pieces: Sequence[Piece]) -> None:
        self._file = open_source(source)
        self._pieces = pieces
        lengths = (len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
        self._starts = [0, *accumulate(lengths)]
        self._at = self._window_at = 0
        self._window = b""

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` as far as there is something; libmpg123 asks for a few bytes at a time."""
        count = min(len(buffer), self._starts[-1] - self._at)
        offset = self._at - self._window_at
        if not 0 <= offset <= len(self._window) - count:
            self._window_at, offset = self._at, 0
            self._window = self._read(max(count, min(_WINDOW, self._starts[-1] - self._at)))
        data = self._window[offset : offset + count]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, count: int) -> bytes:
        found, at = [], self._at
        while count > 0:
            index = bisect_right(self._starts, at) - 1
            piece, offset = self._pieces[index], at - self._starts[index]
            here = min(count, self._starts[index + 1] - at)
            if isinstance(piece, bytes):
                data = piece[offset : offset + here]
            else:
                self._file.seek(piece[0] + offset)
                data = self._file.read(here)
            if not data:  # the file has shrunk meanwhile
                break
            found.append(data)
            at, count = at + len(data), count - len(data)
        return b"".join(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = min(max(0, start + offset), self._starts[-1])
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()


class Memory(io.BytesIO):
    """Bytes as a file; libsndfile seeks before the start of some broken ones, where an error could only be printed."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return super().seek(max(0, offset) if whence == io.SEEK_SET else offset, whence)


def open_source(source: Path | bytes) -> BinaryIO:
    """Return the file, or its bytes as a file."""
    return Memory(source) if isinstance(source, bytes) else source.open("rb", buffering=1 << 16)


def patched(start: int, end: int, patches: Mapping[int, bytes]) -> tuple[Piece, ...]:
    """Return the pieces of a file between two offsets with the bytes at some offsets replaced."""
    pieces: list[Piece] = []
    at = start
    for offset, data in sorted(patches.items()):
        pieces += [(at, offset), data]
        at = offset + len(data)
    return (*pieces, (at, end))


def find(file: BinaryIO, needle: bytes, start: int, end: int) -> int:
    """Return where `needle` begins in a file between two offsets, -1 where it does not."""
    step, at = 1 << 20, start
    while at < end:
        file.seek(at)
        data = file.read(min(step + len(needle) - 1, end - at))
        if (found := data.find(needle)) >= 0:
            return at + found
        at += step
    return -1
