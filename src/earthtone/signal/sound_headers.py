"""What the headers of sound files promise (WAV, AIFF, AU, CAF, FLAC, Ogg), held against what is there."""

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING, Remark
from earthtone.signal.spliced import Part, Piece, find, patched

# Chunks of WAV, RF64, W64, AIFF, AU and CAF: what their headers promise against what is there, and mended headers.
#
# Recorders write the length last, so a power loss leaves 0 or an earlier one; 32 bits overflow at 4 GB; half a copy
# holds less than was promised. What is there is decoded: libsndfile clamps a promise that is too large by itself, for
# one that is too small it is shown the header with the length that is there.

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
    """Of one sound: its codec's number (WAV), where its data begin and end, bytes promised (null: not told) and per
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
        file.seek(start)
        head = file.read(12)
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


def _chunks(file: BinaryIO, start: int, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, first byte and length of RIFF's or AIFF's chunks."""
    at = start
    while at + 8 <= size:
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, at + 8, length
        at += 8 + length + length % 2


def _wav(file: BinaryIO, start: int, size: int) -> Layout | None:
    file.seek(start)
    kind = file.read(4)
    order = ">" if kind == b"RIFX" else "<"
    form, form_at, long_at = None, 0, None
    for name, at, length in _chunks(file, start + 12, size, order):
        if name == b"ds64":
            long_at = at
        elif name == b"fmt ":
            file.seek(at)
            form, form_at = file.read(min(length, 256)), at
        elif name == b"data":
            break
    else:
        return None
    if form is None or len(form) < 16:
        return None
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
    if long_at is not None and length == 0xFFFF_FFFF:
        file.seek(long_at + 8)
        long = int.from_bytes(file.read(8), "little")
        promised = long if long < 1 << 62 else None
    elif _is_unknown(length):
        promised = None
    end, following, mend = _end_of_data(file, start, at, promised, size, order)
    end = at + int((end - at) // sample_bytes * sample_bytes) if plain else end
    pieces: tuple[Piece, ...] | None = None
    if mend and (kind in (b"RF64", b"BW64") or end - start > 0xFFFF_FF00):
        form = form[:14] + wider.get(form_at + 14, form[14:16]) + form[16:]
        pieces = _rf64(form, at, end, sample_bytes)
    elif mend:
        length_bytes = struct.pack(f"{order}I", end - at)
        lengths = {start + 4: struct.pack(f"{order}I", end - start - 8), at - 4: length_bytes}
        pieces = patched(start, end, lengths | wider)
    elif start or following is not None or wider:
        pieces = patched(start, following or size, wider)
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
    at, form = start + 40, None
    while at + 24 <= size:
        file.seek(at)
        name, length = struct.unpack("<16sQ", file.read(24))
        if name[:4] == b"fmt ":
            form = file.read(min(max(0, length - 24), 20))
        if name[:4] == b"data":
            break
        if length < 24:
            return None
        at += (length + 7) // 8 * 8
    else:
        return None
    if form is None or len(form) < 16:
        return None
    codec, channels, _, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    sample_bytes = channels * math.ceil(bits / 8) if codec in _PLAIN else _coded_bytes(form, "<")
    if not sample_bytes:
        return None
    first, promised = at + 24, max(0, length - 24)
    end, following, pieces = min(size, first + promised), None, None
    behind = (end + 7) // 8 * 8
    file.seek(behind)
    if file.read(4) == b"riff":
        following = behind
    elif end < size and not (size - end < _LEAST_TAIL and promised) and not _is_w64_end(file, end, size, promised):
        patches = {start + 16: size - start, at + 16: size - at}
        pieces = patched(start, size, {offset: struct.pack("<Q", value) for offset, value in patches.items()})
        end = size
    if pieces is None and (start or end < size):  # libsndfile reads on into what stands behind the samples
        pieces = ((start, end),)
    block = None if codec in _PLAIN else _block(form, "<")
    return Layout(codec, first, end, promised, sample_bytes, pieces, following, block)


def _is_w64_end(file: BinaryIO, end: int, size: int, promised: int) -> bool:
    """Whether a chunk stands behind the samples, or nothing but zeros."""
    at = (end + 7) // 8 * 8
    file.seek(at)
    head = file.read(24)
    if head.startswith(_TAGS):
        return True
    chunk = _is_name(head[:4]) and 24 <= int.from_bytes(head[16:24], "little") <= size + 8 - at
    return chunk or (promised > 0 and _only_zeros(file, end, size))


def _aiff(file: BinaryIO, start: int, size: int) -> Layout | None:
    common_at, common = None, b""
    for name, at, length in _chunks(file, start + 12, size, ">"):
        if name == b"COMM":
            common_at = at
            file.seek(at)
            common = file.read(min(length, 64))
        elif name == b"SSND":
            break
    else:
        return None
    if common_at is None or len(common) < 18:
        return None
    channels, frames, bits = struct.unpack(">HIH", common[:8])
    codec = common[18:22] if len(common) >= 22 else b"NONE"
    whole = codec in (b"NONE", b"sowt", b"twos", b"in24", b"in32", b"raw ")
    sample_bytes = channels * _AIFF_BYTES.get(codec, math.ceil(bits / 8) if whole else 0)
    if not sample_bytes:
        return None
    file.seek(at)
    first = at + 8 + int.from_bytes(file.read(4), "big")
    if first > size:
        return None
    told = max(0, length - (first - at))
    end, following, mend = _end_of_data(file, start, first, told, size, ">")
    end = first + (end - first) // sample_bytes * sample_bytes
    pieces: tuple[Piece, ...] | None = None
    if (mend or frames * sample_bytes < end - first) and end - start < 0xFFFF_FF00:
        patches = {start + 4: end - start - 8, common_at + 2: (end - first) // sample_bytes, at - 4: end - at}
        pieces = patched(start, end, {offset: struct.pack(">I", value) for offset, value in patches.items()})
    elif start or following is not None:
        pieces = ((start, following or size),)
    promised = min(told, frames * sample_bytes)
    if mend and pieces is None:  # beyond what AIFF can tell: what it tells is heard, and that it is not all
        promised = end - first
    return Layout(0, first, end, promised, sample_bytes, pieces, following)


def _au(file: BinaryIO, start: int, size: int) -> Layout | None:
    file.seek(start)
    head = file.read(24)
    if len(head) < 24:
        return None
    offset, length, codec, _, channels = struct.unpack(">4x5I", head)
    sample_bytes, first = _AU_BYTES.get(codec, 0) * channels, start + offset
    if not sample_bytes or first > size:
        return None
    promised = None if _is_unknown(length) else length
    end, following, mend = _end_of_data(file, start, first, promised, size, ">")
    pieces: tuple[Piece, ...] | None = None
    if mend:
        pieces = patched(start, end, {start + 8: struct.pack(">I", min(end - first, 0xFFFF_FFFF))})
    elif start or following is not None:
        pieces = ((start, following or size),)
    return Layout(0, first, end, promised, sample_bytes, pieces, following)


def _caf(file: BinaryIO, start: int, size: int) -> Layout | None:
    at, sample_bytes = start + 8, 0
    while at + 12 <= size:
        file.seek(at)
        name, length = struct.unpack(">4sq", file.read(12))
        if name == b"desc":
            codec, sample_bytes = struct.unpack(">8x4s4xI", file.read(20))
            sample_bytes = sample_bytes if codec in (b"lpcm", b"ulaw", b"alaw") else 0
        if name == b"data":
            break
        if length < 0:
            return None
        at += 12 + length
    else:
        return None
    first = at + 16  # behind a count of edits
    if not sample_bytes or first > size:
        return None
    promised = None if length < 0 else max(0, length - 4)
    end, following, mend = _end_of_data(file, start, first, promised, size, ">")
    pieces: tuple[Piece, ...] | None = None
    if mend or promised is None or first + promised > size:  # libsndfile opens no CAF that was cut
        pieces = patched(start, end, {at + 4: struct.pack(">q", end - first + 4)})
    elif start or following is not None:
        pieces = ((start, following or size),)
    return Layout(0, first, end, promised, sample_bytes, pieces, following)


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
            file.seek(at)
            head = file.read(12)
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
    return promised > 0 and _only_zeros(file, end, size), None


def _only_zeros(file: BinaryIO, start: int, end: int) -> bool:
    """Whether room was made for sound that never came; looked at in 32 places."""
    for at in range(start, end, max(1, (end - start) // 32)):
        file.seek(at)
        if any(file.read(min(4096, end - at))):
            return False
    return True


def _is_unknown(length: int) -> bool:
    return length >= 0xFFFF_FF00 or _UNKNOWN_32 <= length <= 0x7FFF_FFFF


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


# FLAC files: joined ones as several, a length that the header does not tell or tells wrongly, going on after damage.
#
# libFLAC decodes all frames where the header tells no length, so that is what it is shown; libsndfile stops at the
# first frame that is damaged, so what follows is shown as a file of its own. Headers of frames: RFC 9639, 9.1.

_SAMPLES = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_STREAMINFO = 42  # marker, the block's header and its 34 bytes
_LONGEST_HEADER = 16


@dataclass(frozen=True, slots=True)
class FlacStream:
    """One stream from byte `start` to `end`, its first frame at byte `frames`; `promised` samples by its header."""

    start: int
    frames: int
    end: int
    hz: int
    block_samples: int
    bits_and_more: int
    promised: int | None
    most: int
    """Samples at the most, by its bytes: a frame has 9 at the least."""

    def pieces(self, first_frame: int) -> tuple[Piece, ...]:
        """Return the stream from the frame at an offset on, behind a header that tells no length."""
        length = self.start + 21  # 36 bits from the lower half of this byte on
        unknown = bytes([self.bits_and_more, 0, 0, 0, 0])
        return (self.start, length), unknown, (length + 5, self.frames), (first_frame, self.end)


def flac_streams(file: BinaryIO, start: int, end: int) -> list[FlacStream]:
    """Return the streams that follow one another between two offsets, the first of them at `start`; may be none."""
    found: list[FlacStream] = []
    begins: int | None = start
    while begins is not None:
        following = _next_stream(file, begins + 4, end)
        stream = _stream(file, begins, end if following is None else following)
        if stream is None:
            return found
        found.append(stream)
        begins = following
    return found


def frame_after(file: BinaryIO, stream: FlacStream, samples: int) -> tuple[int, int] | None:
    """Return the first frame that begins after so many samples: where it stands and the sample it begins with."""
    step, at = 1 << 20, stream.frames
    while at < stream.end:
        file.seek(at)
        data = file.read(min(step + _LONGEST_HEADER, stream.end - at))
        for hit in _SYNC.finditer(data, 0, step + 1):
            first = _first_sample(data[hit.start() : hit.start() + _LONGEST_HEADER], stream.block_samples)
            if first is not None and samples < first <= (stream.promised or first):
                return at + hit.start(), first
        at += step
    return None


def _next_stream(file: BinaryIO, start: int, end: int) -> int | None:
    at = start
    while (at := find(file, b"fLaC", at, end)) >= 0:
        if _stream(file, at, end) is not None:
            return at
        at += 4
    return None


def _stream(file: BinaryIO, start: int, end: int) -> FlacStream | None:
    """Return the stream whose marker stands at `start`, None where its metadata are none."""
    file.seek(start)
    head = file.read(_STREAMINFO)
    if len(head) < _STREAMINFO or head[:4] != b"fLaC" or head[4] & 0x7F or head[5:8] != b"\0\0\x22":
        return None
    facts = int.from_bytes(head[18:26], "big")
    hz, total = facts >> 44, facts & (1 << 36) - 1
    at, last = start + 4, False
    while not last:
        file.seek(at)
        block = file.read(4)
        if len(block) < 4 or block[0] == 0xFF:
            return None
        last, at = bool(block[0] & 0x80), at + 4 + int.from_bytes(block[1:4], "big")
    if at > end or hz == 0:
        return None
    least, longest = int.from_bytes(head[8:10], "big"), int.from_bytes(head[10:12], "big")
    return FlacStream(start, at, end, hz, least, head[21] & 0xF0, total or None, ((end - at) // 9 + 1) * longest)


def _first_sample(head: bytes, block_samples: int) -> int | None:
    """Return the number of the first sample of the frame with this header, None where it is none."""
    if len(head) < 6 or head[3] & 1 or head[2] & 15 == 15 or head[3] >> 4 > 10:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    extra = {6: 1, 7: 2}.get(size_code, 0) + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    lead = head[4]
    following = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1  # as in UTF-8, up to 36 bits
    crc_at = 5 + following + extra
    if size_code == 0 or 0x80 <= lead < 0xC0 or lead == 0xFF or len(head) <= crc_at:
        return None
    if _crc8(head[:crc_at]) != head[crc_at]:
        return None
    number = lead if not following else lead & (0x3F >> following)
    for byte in head[5 : 5 + following]:
        number = number << 6 | byte & 0x3F
    return number if head[1] & 1 else number * block_samples


def _crc8(data: bytes) -> int:
    """x^8 + x^2 + x + 1, begun with 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


# The pages of an Ogg file: its links, since libsndfile hears only the first, and whether pages are lost (RFC 3533).
_HEADER = struct.Struct("<4sBBqIIIB")  # capture pattern, version, flags, granule, serial, sequence, CRC, segments
_FLAC = b"\x7fFLAC"  # then a version and a number of packets, 4 bytes, and a FLAC file (xiph.org/flac/ogg_mapping.html)
_BEGINS, _ENDS = 2, 4  # flags of a stream's first and last page
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass
class _Link:
    """Streams that begin together; those of an Ogg file that was made by joining others follow one another."""

    start: int
    end: int
    next_page: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    lost: int = 0
    flac: int | None = None
    """The serial number of a FLAC stream, whose `bodies` of pages are a FLAC file behind a few bytes."""
    bodies: list[tuple[int, int]] = field(default_factory=list)

    @property
    def part(self) -> Part:
        if not self.bodies:
            return Part(((self.start, self.end),))
        (start, end), *rest = self.bodies
        return Part(((start + len(_FLAC) + 4, end), *rest))


def ogg_parts(file: BinaryIO, start: int, end: int) -> tuple[list[Part], list[Remark]]:
    """Return each link as a file of its own, and remarks on pages that are lost."""
    links, damaged, cut = _links(file, start, end)
    remarks = []
    lost = damaged + sum(link.lost for link in links)
    if lost:
        remarks.append(
            Remark(DAMAGED_SOUND, f"pages of the Ogg file that are damaged or lost: {lost}; the rest is heard")
        )
    endless = [link for link in links if not link.ended]
    if endless or cut:
        which = "the file" if len(links) <= 1 else f"{max(1, len(endless))} of {len(links)} streams"
        remarks.append(
            Remark(SOUND_MISSING, f"{which} breaks off: cut, its last page is not there; a whole copy was expected")
        )
    if not links or (len(links) == 1 and links[0].start == 0 and not links[0].bodies):
        return [Part()], remarks
    return [link.part for link in links], remarks


def _links(file: BinaryIO, start: int, end: int) -> tuple[list[_Link], int, bool]:
    """Return the links, how many stretches are no whole pages, and whether the last page is cut."""
    links: list[_Link] = []
    at, damaged, beginning = start, 0, False
    while at < end:
        file.seek(at)
        head = file.read(_HEADER.size)
        size, page = 0, None
        if len(head) == _HEADER.size and head[:5] == b"OggS\0":
            page = _HEADER.unpack(head)
            table = file.read(page[7])
            size = _HEADER.size + len(table) + sum(table)
            if at + size > end:
                return links, damaged, True
            body = file.read(sum(table))
            if _checksum(head[:22] + bytes(4) + head[26:] + table + body) != page[6]:
                page = None
        if page is None:
            following = find(file, b"OggS\0", at + 1, end)
            damaged += following >= 0
            if following < 0:
                return links, damaged, bool(links) and len(head) < _HEADER.size and head[:4] == b"OggS"
            at = following
            continue
        _, _, flags, _, serial, sequence, _, _ = page
        if flags & _BEGINS and not beginning:
            if links:
                links[-1].end = at
            links.append(_Link(at, end))
        beginning = bool(flags & _BEGINS)
        if links:
            link = links[-1]
            if flags & _BEGINS and body.startswith(_FLAC):
                link.flac = serial
            if serial == link.flac:
                link.bodies.append((at + size - len(body), at + size))
            if serial not in link.next_page:  # its first page is lost, and nothing of it can be heard
                link.lost += not flags & _BEGINS
            elif sequence < link.next_page[serial]:  # out of order, or of another stream without its first page
                link.lost += 1
            else:
                link.lost += sequence - link.next_page[serial]
            link.next_page[serial] = sequence + 1
            if flags & _ENDS:
                link.ended.add(serial)
        at += size
    return links, damaged, False


def _checksum(page: bytes) -> int:
    """CRC-32 as Ogg has it: zlib's polynomial, but from the highest bit on, begun with 0 and not inverted."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")
