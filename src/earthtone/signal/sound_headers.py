"""Sound files as they are there: their headers' promises (WAV, RF64, W64, AIFF, AU, CAF) held against their bytes.

Recorders write the length last, so a power loss leaves 0 or an earlier one; 32 bits overflow at 4 GB; half a copy
holds less than was promised. What is there is decoded: libsndfile clamps a promise that is too large by itself, for
one that is too small it is shown the header with the length that is there, as a file spliced of pieces.
"""

import io
import math
import os
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from earthtone.errors import SignalError

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


class _Pieces(io.RawIOBase):
    def __init__(self, source: Path | bytes, pieces: Sequence[Piece]) -> None:
        self._file, self._pieces, self._at = open_source(source), pieces, 0
        lengths = (len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
        self._starts = [0, *accumulate(lengths)]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as one piece goes; nothing where the file has shrunk meanwhile."""
        index = bisect_right(self._starts, self._at) - 1
        if index == len(self._pieces):
            return 0
        piece, offset = self._pieces[index], self._at - self._starts[index]
        count = min(len(buffer), self._starts[index + 1] - self._at)
        if isinstance(piece, bytes):
            data = piece[offset : offset + count]
        else:
            data = read_at(self._file, piece[0] + offset, count)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = min(max(0, start + offset), self._starts[-1])
        return self._at

    def close(self) -> None:
        self._file.close()
        super().close()


def spliced(source: Path | bytes, pieces: Sequence[Piece]) -> BinaryIO:
    """Return a file of pieces of another, of which nothing is copied; read ahead, as libmpg123 asks for few bytes."""
    return io.BufferedReader(_Pieces(source, pieces), _WINDOW)


class Memory(io.BytesIO):
    """Bytes as a file; libsndfile seeks before the start of some broken ones, where an error could only be printed."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return super().seek(max(0, offset) if whence == io.SEEK_SET else offset, whence)


def open_source(source: Path | bytes) -> BinaryIO:
    """Return the file, or its bytes as a file."""
    return Memory(source) if isinstance(source, bytes) else source.open("rb", buffering=_WINDOW)


_due: ContextVar[float] = ContextVar("due", default=math.inf)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Have what reads and decodes sounds in this thread raise SignalError once it has taken so long.

    Files can be made so that to look through them, or to decode them, takes hours.
    """
    token = _due.set(min(_due.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _due.reset(token)


def in_time() -> None:
    """Raise SignalError where the time limit has passed."""
    if time.monotonic() > _due.get():
        raise SignalError("takes too long to be decoded; a shorter or plainer recording expected")


def read_at(file: BinaryIO, at: int, count: int) -> bytes:
    """Return what stands from an offset on, `count` bytes at most. Raises SignalError beyond a `time_limit`."""
    in_time()
    file.seek(at)
    return file.read(count)


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
        data = read_at(file, at, min(step + len(needle) - 1, end - at))
        if (found := data.find(needle)) >= 0:
            return at + found
        at += step
    return -1


_UNKNOWN_32 = 0x7FFF_F000  # what programs write that write to a pipe: this or a little more, or 0xFFFFFF00 or more
_LEAST_TAIL = 4096  # bytes behind the data that are less than this are not looked at
_PLAIN = (1, 3, 6, 7, 0xFFFE)  # codecs of WAV whose samples all have one size
_BLOCKS = (2, 0x11, 0x31)  # codecs of WAV that tell how many samples a block has: ADPCM of two kinds, GSM
_STREAMS = (0x14, 0x40)  # without blocks: G.723 and G.721
_INTEGERS = (1, 0xFFFE)
_TAGS = (b"ID3\2", b"ID3\3", b"ID3\4", b"APET", b"LYRI", b"TAG", b"<?xml")  # as they stand behind the samples, bare
_RIFF_NAMES = (b"LIST", b"guan", b"bext", b"id3 ", b"ID3 ", b"iXML", b"_PMX", b"wamd", b"JUNK", b"cue ", b"PAD ")
_AIFF_BYTES = {b"fl32": 4, b"FL32": 4, b"fl64": 8, b"FL64": 8, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1}
_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 23: 0.5, 25: 0.375, 26: 0.625, 27: 1}


@dataclass(frozen=True, slots=True)
class Layout:
    """Of one sound: its codec's number (WAV), where its data begin and end, bytes promised (null: unknown) and per
    sample of all channels, the patches that tell `end`, and where the next sound of a joined file begins."""

    codec: int
    start: int
    end: int
    promised: int | None
    sample_bytes: float
    pieces: tuple[Piece, ...] | None
    following: int | None = None
    block_bytes: int | None = None
    """Of codecs of blocks, each of which is decoded whole, the last one too."""

    @property
    def part(self) -> Part:
        promised = None if self.promised is None else self._samples(self.promised)
        there = self._samples(max(0, self.end - self.start))
        return Part(self.pieces, promised=promised, there=there, keep=None if self.block_bytes is None else there)

    def _samples(self, count: int) -> int:
        if self.block_bytes is None:
            return math.floor(count / self.sample_bytes)
        blocks = math.ceil((count - 1) / self.block_bytes)  # one byte may make the chunk even: no block
        return max(0, round(blocks * self.block_bytes / self.sample_bytes))


def read_layouts(file: BinaryIO, size: int) -> list[Layout]:
    """Return the sounds of a file, one unless files were joined; none for other kinds, and where the chunks are odd."""
    found: list[Layout] = []
    start: int | None = 0
    while start is not None:
        head = read_at(file, start, 12)
        read = _reader(head)
        if read is None:
            break
        layout = read(file, start, size)
        if layout is None:
            break
        found.append(layout)
        start = layout.following
    return found


def _reader(head: bytes) -> Callable[[BinaryIO, int, int], Layout | None] | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _wav
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff
    return {b"riff": _w64, b".snd": _au, b"caff": _caf}.get(head[:4])


def _chunks(
    file: BinaryIO, at: int, size: int, head: str, even: int = 1, *, wanted: tuple[bytes, ...]
) -> dict[bytes, tuple[int, int]]:
    """Return first byte and length of a file's `wanted` chunks up to the last of these; nothing where that one lacks.

    Their `head` is a name and a length, and they are aligned to `even`. W64's length, of 64 bits, counts the head too.
    """
    form, found = struct.Struct(head), {}
    while at + form.size <= size:
        name, length = form.unpack(read_at(file, at, form.size))
        length -= form.size if form.size == 24 else 0
        if name[:4] in wanted:
            found[name[:4]] = at + form.size, length
        if name[:4] == wanted[-1]:
            return found
        if length < 0:
            break
        at += form.size + -(-length // even) * even
    return {}


def _shown(
    start: int, end: int, following: int | None, size: int, mended: Mapping[int, bytes] | None
) -> tuple[Piece, ...] | None:
    """Return what the decoder is shown of a sound: its `mended` header, one sound of several, or None for the file."""
    if mended is not None:
        return patched(start, end, mended)
    return ((start, following or size),) if start or following is not None else None


def _wav(file: BinaryIO, start: int, size: int) -> Layout | None:
    kind = read_at(file, start, 4)
    order = ">" if kind == b"RIFX" else "<"
    chunks = _chunks(file, start + 12, size, f"{order}4sI", 2, wanted=(b"ds64", b"fmt ", b"data"))
    form_at, form_bytes = chunks.get(b"fmt ", (0, 0))
    form = read_at(file, form_at, min(form_bytes, 256))
    if len(form) < 16:
        return None
    at, length = chunks[b"data"]
    codec, channels, _, _, block, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    plain = codec in _PLAIN and channels and bits
    sample_bytes = channels * math.ceil(bits / 8) if plain else _coded_bytes(form, order)
    wider: dict[int, bytes] = {}
    if plain and codec in _INTEGERS and block % channels == 0 and sample_bytes < block <= 4 * channels:
        # such as 24 bits in 4 bytes, which stand in the upper ones; libsndfile would take them to be packed
        sample_bytes, wider = block, {form_at + 14: struct.pack(f"{order}H", 8 * block // channels)}
    if not sample_bytes:
        return None
    promised: int | None = length
    if b"ds64" in chunks and length == 0xFFFF_FFFF:
        long = int.from_bytes(read_at(file, chunks[b"ds64"][0] + 8, 8), "little")
        promised = long if long < 1 << 62 else None
    elif _is_unknown(length):
        promised = None
    end, following, mend = _end_of_data(file, start, at, promised, size, order)
    end = at + int((end - at) // sample_bytes * sample_bytes) if plain else end
    if mend and (kind in (b"RF64", b"BW64") or end - start > 0xFFFF_FF00):
        form = form[:14] + wider.get(form_at + 14, form[14:16]) + form[16:]
        pieces: tuple[Piece, ...] | None = _rf64(form, at, end, sample_bytes)
    elif mend:
        length_bytes = struct.pack(f"{order}I", end - at)
        lengths = {start + 4: struct.pack(f"{order}I", end - start - 8), at - 4: length_bytes}
        pieces = patched(start, end, lengths | wider)
    else:
        pieces = _shown(start, following or size, following, size, wider or None)
    return Layout(codec, at, end, promised, sample_bytes, pieces, following, None if plain else _block(form, order))


def _coded_bytes(form: bytes, order: str) -> float:
    """Return the bytes a sample of a codec of blocks; bytes a second are a whole number, too coarse for an hour."""
    codec, channels, hz, a_second, _, bits = struct.unpack(f"{order}HHIIHH", form[:16])
    if codec in _STREAMS and bits and channels:
        return float(channels * bits / 8)
    block = _block(form, order)
    if block is not None:
        return float(block / struct.unpack(f"{order}H", form[18:20])[0])
    return float(a_second / max(1, hz))


def _block(form: bytes, order: str) -> int | None:
    """Return the bytes of a block where the format tells how many samples it has."""
    codec, block = struct.unpack(f"{order}H10xH", form[:14])
    samples = struct.unpack(f"{order}H", form[18:20])[0] if codec in _BLOCKS and len(form) >= 20 else 0
    return block if samples and block else None


def _rf64(form: bytes, start: int, end: int, sample_bytes: float) -> tuple[Piece, ...]:
    """Return the data from byte `start` to `end` behind a header with lengths of 64 bits (EBU Tech 3306)."""
    count = int((end - start) // sample_bytes)
    sizes = struct.pack("<QQQI", end - start + 72 + len(form), end - start, count, 0)
    head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", len(sizes)) + sizes
    head += b"fmt " + struct.pack("<I", len(form)) + form + b"data\xff\xff\xff\xff"
    return head, (start, end)


def _w64(file: BinaryIO, start: int, size: int) -> Layout | None:
    chunks = _chunks(file, start + 40, size, "<16sQ", 8, wanted=(b"fmt ", b"data"))
    form_at, form_bytes = chunks.get(b"fmt ", (0, 0))
    form = read_at(file, form_at, min(max(0, form_bytes), 20))
    if len(form) < 16:
        return None
    codec, channels, _, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    sample_bytes = channels * math.ceil(bits / 8) if codec in _PLAIN else _coded_bytes(form, "<")
    if not sample_bytes:
        return None
    first, promised = chunks[b"data"][0], max(0, chunks[b"data"][1])
    end, following, pieces = min(size, first + promised), None, None
    behind = (end + 7) // 8 * 8
    if read_at(file, behind, 4) == b"riff":
        following = behind
    elif end < size and not (size - end < _LEAST_TAIL and promised) and not _is_w64_end(file, end, size, promised):
        patches = {start + 16: size - start, first - 8: size - first + 24}
        pieces = patched(start, size, {offset: struct.pack("<Q", value) for offset, value in patches.items()})
        end = size
    if pieces is None and (start or end < size):  # libsndfile reads on into what stands behind the samples
        pieces = ((start, end),)
    block = None if codec in _PLAIN else _block(form, "<")
    return Layout(codec, first, end, promised, sample_bytes, pieces, following, block)


def _is_w64_end(file: BinaryIO, end: int, size: int, promised: int) -> bool:
    """Return whether a chunk stands behind the samples, or nothing but zeros."""
    at = (end + 7) // 8 * 8
    head = read_at(file, at, 24)
    if head.startswith(_TAGS):
        return True
    chunk = _is_name(head[:4]) and 24 <= int.from_bytes(head[16:24], "little") <= size + 8 - at
    return chunk or (promised > 0 and only_zeros(file, end, size))


def _aiff(file: BinaryIO, start: int, size: int) -> Layout | None:
    chunks = _chunks(file, start + 12, size, ">4sI", 2, wanted=(b"COMM", b"SSND"))
    common_at, common_bytes = chunks.get(b"COMM", (0, 0))
    common = read_at(file, common_at, min(common_bytes, 64))
    if len(common) < 18:
        return None
    at, length = chunks[b"SSND"]
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    codec = common[18:22] if len(common) >= 22 else b"NONE"
    whole = codec in (b"NONE", b"sowt", b"twos", b"in24", b"in32", b"raw ")
    sample_bytes = channels * _AIFF_BYTES.get(codec, math.ceil(bits / 8) if whole else 0)
    first = at + 8 + int.from_bytes(read_at(file, at, 4), "big")
    if not sample_bytes or first > size:
        return None
    chunk_bytes = max(0, length - (first - at))
    end, following, mend = _end_of_data(file, start, first, chunk_bytes, size, ">")
    end = first + (end - first) // sample_bytes * sample_bytes
    mended = None
    if (mend or frames * sample_bytes < end - first) and end - start < 0xFFFF_FF00:
        patches = {start + 4: end - start - 8, common_at + 2: (end - first) // sample_bytes, at - 4: end - at}
        mended = {offset: struct.pack(">I", value) for offset, value in patches.items()}
    pieces = _shown(start, end, following, size, mended)
    promised = min(chunk_bytes, frames * sample_bytes)
    if mend and pieces is None:  # beyond what AIFF can tell: what it tells is heard, and that it is not all
        promised = end - first
    return Layout(0, first, end, promised, sample_bytes, pieces, following)


def _au(file: BinaryIO, start: int, size: int) -> Layout | None:
    head = read_at(file, start, 24)
    if len(head) < 24:
        return None
    offset, length, codec, _, channels = struct.unpack(">4x5I", head)
    sample_bytes, first = _AU_BYTES.get(codec, 0) * channels, start + offset
    if not sample_bytes or first > size:
        return None
    promised = None if _is_unknown(length) else length
    end, following, mend = _end_of_data(file, start, first, promised, size, ">")
    mended = {start + 8: struct.pack(">I", min(end - first, 0xFFFF_FFFF))} if mend else None
    return Layout(0, first, end, promised, sample_bytes, _shown(start, end, following, size, mended), following)


def _caf(file: BinaryIO, start: int, size: int) -> Layout | None:
    chunks = _chunks(file, start + 8, size, ">4sq", wanted=(b"desc", b"data"))
    if b"desc" not in chunks:
        return None
    at, length = chunks[b"data"]
    codec, sample_bytes = struct.unpack(">8x4s4xI", read_at(file, chunks[b"desc"][0], 20))
    promised, first = None if length < 0 else max(0, length - 4), at + 4  # behind a count of edits
    if codec not in (b"lpcm", b"ulaw", b"alaw") or not sample_bytes or first > size:
        return None
    end, following, mend = _end_of_data(file, start, first, promised, size, ">")
    mended = None
    if mend or promised is None or first + promised > size:  # libsndfile opens no CAF that was cut
        mended = {at - 8: struct.pack(">q", end - first + 4)}
    return Layout(0, first, end, promised, sample_bytes, _shown(start, end, following, size, mended), following)


def _end_of_data(
    file: BinaryIO, start: int, first: int, promised: int | None, size: int, order: str
) -> tuple[int, int | None, bool]:
    """Return where the samples end, where the next joined file begins, and whether the header tells too few of them."""
    if promised is None or first + promised > size:
        return size, None, False
    end = first + promised
    wrapped = end + ((size - end) >> 32 << 32)  # 32 bits overflowed, and chunks may stand behind the samples
    if wrapped > end and size - wrapped < 1 << 20:
        return wrapped, None, True
    known, following = _what_follows(file, end, promised, size, order)
    return (end, following, False) if known else (size, None, True)


def _what_follows(file: BinaryIO, end: int, promised: int, size: int, order: str) -> tuple[bool, int | None]:
    """Return whether what stands behind the samples is no sound, and where the next joined file begins."""
    for at in {end + promised % 2, end}:
        walked = False
        while at + 12 <= size:
            head = read_at(file, at, 12)
            if _reader(head) is not None:
                return True, at
            if head.startswith(_TAGS):
                return True, None
            name, length = struct.unpack(f"{order}4sI", head[:8])
            if not _is_name(name) or at + 8 + length > size + 1:
                walked = walked or (name in _RIFF_NAMES and size - at < 1 << 20)
                break
            walked, at = True, at + 8 + length + length % 2
        if walked:
            return True, None
    if size - end < _LEAST_TAIL:
        return True, None
    return promised > 0 and only_zeros(file, end, size), None


def only_zeros(file: BinaryIO, start: int, end: int) -> bool:
    """Return whether room was made for sound that never came; looked at in 32 places."""
    places = range(start, end, max(1, (end - start) // 32))
    return not any(any(read_at(file, at, min(4096, end - at))) for at in places)


def _is_unknown(length: int) -> bool:
    return length >= 0xFFFF_FF00 or _UNKNOWN_32 <= length <= 0x7FFF_FFFF


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)
