"""Sound files that are frames or pages, counted: what of an MP3, a FLAC and an Ogg file is there, and clean streams.

libsndfile (libmpg123) believes the Xing frame, and guesses the length from the first frame's where there is none. So it
stops too early or too late with streams of variable bit rate, with files cut or joined, and with VBRI. We read every
frame's header (ISO/IEC 11172-3 2.4.1.3, 13818-3 2.4.1.2, and the unofficial MPEG-2.5), leave out all that is no frame,
and hand it the frames of one format at a time behind a silent frame of the lowest bit rate: it then expects more than
there is, and decodes all. The silence is dropped, and so is what the encoder says it added.
"""

import re
import struct
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING, Remark
from earthtone.signal.sound_headers import Part, Piece, find, read_at

_MPEG1, _MPEG2, _MPEG25 = 3, 2, 0
_HZ = {_MPEG1: (44_100, 48_000, 32_000), _MPEG2: (22_050, 24_000, 16_000), _MPEG25: (11_025, 12_000, 8_000)}
_KBITS = {  # (MPEG-1, layer) to kilobits a second by the header's index; index 0 is free format
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_DECODER_DELAY = 529  # samples by which a layer III decoder lags; gapless players leave them out with the encoder's
_HEAD = 4 + 32 + 2 + 4  # header, side information, CRC and the name of a Xing frame
_MP3_SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]")  # without free format and reserved values
_LONGEST_START = 1 << 16  # bytes of junk before the first frame of what has no tag and no other sign of an MP3
_LONGEST_TAIL = 4096  # bytes of junk at the start or end that are not worth a remark
_MOST_JUNK = 1 << 26  # bytes looked through in one file before the rest is given up
_MOST_TRIES = 1 << 17  # likely headers in one stretch of junk before the rest is given up, a second of work
_SURE = 3  # frames in a row that make a new format credible


class Header(NamedTuple):
    """Of a frame: MPEG version, layer, rate, channels; its length in bytes and samples; bytes of side information."""

    version: int
    layer: int
    hz: int
    channels: int
    size: int
    samples: int
    side: int

    @property
    def format(self) -> tuple[int, int, int, int]:
        """What a decoder cannot change within a stream."""
        return self[:4]


@dataclass
class Segment:
    """Frames of one format in a row, and by its Xing frame the `promised` frames, delay and padding."""

    first: Header
    head: bytes
    has_length: bool = False
    """Whether it begins with a frame that gives its length, if only in bytes."""
    promised: int | None = None
    delay: int | None = None
    padding: int = 0
    count: int = 0
    stretches: list[tuple[int, int]] = field(default_factory=list)
    cut: bool = False

    def add(self, at: int, size: int) -> None:
        if self.stretches and self.stretches[-1][1] == at:
            self.stretches[-1] = (self.stretches[-1][0], at + size)
        else:
            self.stretches.append((at, at + size))
        self.count += 1


@dataclass
class Frames:
    """What an MP3 file holds: segments, and bytes amid them that are neither frames nor tags."""

    segments: list[Segment] = field(default_factory=list)
    junk: int = 0
    tail: int = 0
    """Bytes after the last frame or tag that are neither."""
    free_format: bool = False
    lead: int = 0
    """Bytes before the first frame that are no tags, nor zeros behind one."""


@lru_cache(maxsize=4096)
def parse_header(head: bytes) -> Header | None:
    """Return what the 4 bytes of a frame's header tell, None where they are none (free format too)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
    index, padding = head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or index in (0, 15):
        return None
    first = version == _MPEG1
    hz, bits = _HZ[version][rate], 1000 * _KBITS[first, layer][index]
    channels = 1 if head[3] >> 6 == 3 else 2
    if layer == 1:
        return Header(version, layer, hz, channels, (12 * bits // hz + padding) * 4, 384, 0)
    samples = 1152 if first or layer == 2 else 576
    side = 0 if layer == 2 else (17 if channels == 1 else 32) if first else (9 if channels == 1 else 17)
    return Header(version, layer, hz, channels, samples // 8 * bits // hz + padding, samples, side)


def scan_frames(file: BinaryIO, start: int, end: int, *, sure: bool = True) -> Frames:
    """Return the segments of frames between two offsets; `sure` when something else says that it is an MP3."""
    found = Frames()
    at, last, searched = start, None, 0
    segment: Segment | None = None
    fresh = True  # whether a new segment may begin here: at the start, after a tag or a new format
    while at < end:
        head = read_at(file, at, _HEAD)
        header = parse_header(head[:4])
        if header is not None and header.size > end - at:
            if segment is not None and header.format == segment.first.format:
                segment.cut = True
                break
            header = None
        if header is not None and (segment is None or fresh or header.format != segment.first.format):
            if _in_a_row(file, at, end):
                if segment is None or header.format != segment.first.format:
                    segment = Segment(header, head)
                    found.segments.append(segment)
            else:
                header = None
        if header is not None:
            assert segment is not None  # noqa: S101 - made above at the latest
            if header.layer == 3 and (tag := _length_frame(file, at, header, head)) is not None:
                if segment.count or segment.has_length:
                    segment = Segment(header, head)
                    found.segments.append(segment)
                segment.has_length = True
                segment.promised, segment.delay, segment.padding = tag
            else:
                segment.add(at, header.size)
            at, last, fresh = at + header.size, at, False
            continue
        if (size := _tag_size(file, at, end, head)) > 0:
            at, last, fresh = at + size, None, True
            continue
        if not found.segments and not found.free_format and _is_free_format(head):
            found.free_format = True
        limit = min(end, at + (_MOST_JUNK - searched if sure or found.segments else _LONGEST_START))
        search = at + 1 if last is None or segment is None else last + 4
        following = _resync(file, search, limit, end)
        searched += max(0, (limit if following is None else following) - search)
        stop = end if following is None else following
        if segment is not None and last is not None and stop < at and segment.count:
            _drop_last(segment, last)
            found.junk += stop - last
        elif segment is not None and following is not None and not _is_padding(file, at, stop, fresh):
            found.junk += stop - at
        elif segment is None and following is not None and not (at > start and _is_padding(file, at, stop, fresh)):
            found.lead += stop - at
        if following is None:
            found.tail = end - at if segment is not None else 0
            break
        at, last, fresh = following, None, True
    found.segments = [part for part in found.segments if part.count]
    return found


def mp3_parts(frames: Frames, file: BinaryIO) -> tuple[list[Part], list[Remark]]:
    """Return each segment, one at least, as a stream that libsndfile decodes whole, and what was noticed about them."""
    remarks, first, last = [], frames.segments[0], frames.segments[-1]
    if frames.junk:
        remarks.append(Remark(DAMAGED_SOUND, f"{frames.junk} bytes amid the MP3 frames are no sound and were left out"))
    if frames.lead > _LONGEST_TAIL and first.promised != first.count:
        remarks.append(Remark(DAMAGED_SOUND, f"the first {frames.lead} bytes are no MP3 frames and were left out"))
    if frames.tail > _LONGEST_TAIL and last.promised != last.count:
        remarks.append(Remark(DAMAGED_SOUND, f"the last {frames.tail} bytes are no MP3 frames and were left out"))
    return [_part(segment, file) for segment in frames.segments], remarks


def id3v2_bytes(file: BinaryIO, end: int) -> int:
    """Return the length of the ID3v2 tags that a file begins with."""
    at = 0
    while True:
        head = read_at(file, at, _HEAD)
        if head[:3] != b"ID3" or not (size := _tag_size(file, at, end, head)):
            return at
        at += size


def _part(segment: Segment, file: BinaryIO) -> Part:
    samples = segment.first.samples
    there, trimmed = segment.count * samples, 0
    promised = there + samples if segment.cut else there
    if segment.promised is not None and abs(segment.promised - segment.count) > 1:
        promised = segment.promised * samples
    if segment.delay is not None:
        trimmed = min(segment.delay + _DECODER_DELAY, there)
        tail = max(0, segment.padding - _DECODER_DELAY) if segment.promised == segment.count else 0
        promised = max(0, promised - trimmed - (max(0, segment.padding - _DECODER_DELAY)))
        there = max(0, there - trimmed - tail)
    pieces = (_silent_frame(segment.head), *_without_lost_reservoir(segment, file))
    return Part(pieces, promised=promised, there=there, skip=samples + trimmed, keep=there, frame=samples)


def _silent_frame(head: bytes) -> bytes:
    """Return a frame of silence in the format of `head`, at the lowest bit rate, without CRC."""
    plain = bytes([head[0], head[1] | 1, 0x10 | head[2] & 0x0C, head[3]])
    header = parse_header(plain)
    assert header is not None  # noqa: S101 - index 1 is a bit rate of every format
    return plain + bytes(header.size - 4)


def _without_lost_reservoir(segment: Segment, file: BinaryIO) -> list[Piece]:
    """Return the frames, with those at the start silenced that begin in the bytes of frames which are not there.

    Only their side information is blanked: the frames after them may begin in their bytes.
    """
    pieces: list[Piece] = list(segment.stretches)
    if segment.first.layer != 3:
        return pieces
    (at, end), known, blanked = segment.stretches[0], 0, 0
    head: list[Piece] = []
    while at < end:
        data = read_at(file, at, _HEAD)
        header = parse_header(data[:4])
        if header is None:
            break
        side = 4 + (0 if data[1] & 1 else 2)
        wide = header.version == _MPEG1
        back = (data[side] << 1 | data[side + 1] >> 7) if wide else data[side]
        if back <= known:
            break
        # marked as without CRC, since the CRC covers what is blanked
        head += [bytes([data[0], data[1] | 1]) + data[2:4] + bytes(header.side + side - 4)]
        head += [(at + side + header.side, at + header.size)]
        known += header.size - side - header.side
        at += header.size
        blanked += 1
        if blanked > 40:  # as much as any stream may refer back
            break
    return [*head, (at, end), *pieces[1:]]


LengthFrame = tuple[int | None, int | None, int]
"""Frames, delay and padding, of a first frame that holds no sound but the length of the rest: Xing and Info, VBRI."""


def _length_frame(file: BinaryIO, at: int, header: Header, head: bytes) -> LengthFrame | None:
    if head[36:40] == b"VBRI" and not any(head[6:36]):
        data = read_at(file, at + 36, 18)
        return int.from_bytes(data[14:18], "big") or None, None, 0
    for offset in (4 + header.side, 6 + header.side):
        if head[offset : offset + 4] in (b"Xing", b"Info") and not any(head[6:offset]):
            return _xing(read_at(file, at + offset, min(160, header.size - offset)))
    return None


def _xing(data: bytes) -> LengthFrame:
    """Return what a Xing frame's tag tells; flags say which of frames, bytes, seek table and quality are there."""
    flags, at = int.from_bytes(data[4:8], "big"), 8
    frames = None
    if flags & 1:
        frames, at = int.from_bytes(data[8:12], "big"), 12
    at += 4 * bool(flags & 2) + 100 * bool(flags & 4) + 4 * bool(flags & 8)
    lame = data[at : at + 24]
    if len(lame) < 24 or not any(lame):
        return frames, 0, 0  # without LAME's part libsndfile leaves out the decoder's delay alone
    both = int.from_bytes(lame[21:24], "big")
    return frames, both >> 12, both & 0xFFF


def _in_a_row(file: BinaryIO, at: int, end: int) -> bool:
    """Return whether frames of one format follow each other here; few are enough before a tag or the end."""
    form = None
    for _ in range(_SURE):
        if at >= end:
            break
        head = read_at(file, at, _HEAD)
        header = parse_header(head[:4])
        if header is None:
            return form is not None and _tag_size(file, at, end, head) > 0
        if form is not None and header.format != form:
            return False
        if at + header.size > end:
            break
        form, at = header.format, at + header.size
    return form is not None


def _resync(file: BinaryIO, start: int, limit: int, end: int) -> int | None:
    """Return where the next frame begins, None where none does before `limit`."""
    step, at, tried = 1 << 16, start, 0
    while at < limit and tried < _MOST_TRIES:
        data = read_at(file, at, min(step + 3, limit + 3 - at))
        for hit in _MP3_SYNC.finditer(data):
            tried += 1
            header = parse_header(data[hit.start() : hit.start() + 4])
            if header is not None and at + hit.start() < limit and _in_a_row(file, at + hit.start(), end):
                return at + hit.start()
        at += step
    return None


def _drop_last(segment: Segment, at: int) -> None:
    """Take back the frame at `at`, whose header gives a wrong length."""
    first, _ = segment.stretches[-1]
    segment.count -= 1
    if first == at:
        segment.stretches.pop()
    else:
        segment.stretches[-1] = (first, at)


def _tag_size(file: BinaryIO, at: int, end: int, head: bytes) -> int:
    """Return the bytes of the tag that begins here: ID3v1, ID3v2, APE, Lyrics3; 0 where none does."""
    if head[:3] == b"ID3" and len(head) >= 10 and not any(byte & 0x80 for byte in head[6:10]):
        size = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        size += 10 * bool(head[5] & 0x10)
        return size if at + size <= end else 10
    if head[:3] == b"TAG":
        size = 227 if head[3:4] == b"+" and end - at >= 355 else 128
        return min(size, end - at)
    if head[:8] == b"APETAGEX" and len(head) >= 32:
        # the size counts items and footer; a header is marked by the highest of the flags' bits but two
        items, is_header = int.from_bytes(head[12:16], "little"), head[23] & 0x20
        size = items + 32 if is_header else 32
        return size if at + size <= end else 32
    if head[:11] == b"LYRICSBEGIN":
        data = read_at(file, at, min(1 << 20, end - at))
        for mark in (b"LYRICS200", b"LYRICSEND"):
            if (found := data.find(mark)) >= 0:
                return found + 9
    return 0


def _is_free_format(head: bytes) -> bool:
    """Return whether this is a frame's header but for its bit rate, which it does not tell."""
    return (
        len(head) > 3 and head[2] >> 4 == 0 and parse_header(head[:2] + bytes([head[2] | 0x10]) + head[3:4]) is not None
    )


def _is_padding(file: BinaryIO, at: int, end: int, fresh: bool) -> bool:
    """Return whether bytes that are no frame are no loss: zeros behind a tag, an APE tag that begins without a mark."""
    if end - at > 1 << 20:
        return False
    data = read_at(file, at, end - at)
    return b"APETAGEX" in data or (fresh and not any(data))


# FLAC files: joined ones as several, a length that the header does not tell or tells wrongly, going on after damage.
#
# libFLAC decodes all frames where the header tells no length, so that is what it is shown; libsndfile stops at the
# first frame that is damaged, so what follows is shown as a file of its own. Headers of frames: RFC 9639, 9.1.

_FLAC_SYNC = re.compile(rb"\xff[\xf8\xf9]")
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
        data = read_at(file, at, min(step + _LONGEST_HEADER, stream.end - at))
        for hit in _FLAC_SYNC.finditer(data, 0, step + 1):
            first = _first_sample(data[hit.start() : hit.start() + _LONGEST_HEADER], stream.block_samples)
            if first is not None and samples < first <= (stream.promised or first):
                return at + hit.start(), first
        at += step
    return None


def flac_length(file: BinaryIO, stream: FlacStream) -> int | None:
    """Return how many samples a FLAC has by the last of its frames, None where none is found in the last 1 MiB."""
    at = max(stream.frames, stream.end - (1 << 20))
    data = read_at(file, at, stream.end - at)
    last = None
    for hit in _FLAC_SYNC.finditer(data):
        head = data[hit.start() : hit.start() + _LONGEST_HEADER]
        first = _first_sample(head, stream.block_samples)
        if first is not None and (last is None or first > last):
            last, count = first, _frame_samples(head)
    return None if last is None else last + count


def _frame_samples(head: bytes) -> int:
    """Return how many samples the frame with this header has (RFC 9639, 9.1.1)."""
    code = head[2] >> 4
    if code in (6, 7):
        lead = head[4]
        at = 5 + (0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1)
        return int.from_bytes(head[at : at + code - 5], "big") + 1
    return 192 if code == 1 else 144 << code if code < 6 else 1 << code


def _next_stream(file: BinaryIO, start: int, end: int) -> int | None:
    at = start
    while (at := find(file, b"fLaC", at, end)) >= 0:
        if _stream(file, at, end) is not None:
            return at
        at += 4
    return None


def _stream(file: BinaryIO, start: int, end: int) -> FlacStream | None:
    """Return the stream whose marker stands at `start`, None where its metadata are none."""
    head = read_at(file, start, _STREAMINFO)
    if len(head) < _STREAMINFO or head[:4] != b"fLaC" or head[4] & 0x7F or head[5:8] != b"\0\0\x22":
        return None
    facts = int.from_bytes(head[18:26], "big")
    hz, total = facts >> 44, facts & (1 << 36) - 1
    at, last = start + 4, False
    while not last:
        block = read_at(file, at, 4)
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
    """Return the CRC-8 of FLAC's frame headers: x^8 + x^2 + x + 1, begun with 0."""
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
        head = read_at(file, at, _HEADER.size)
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
    """Return the CRC-32 that Ogg has: zlib's polynomial, but from the highest bit on, begun with 0 and not inverted."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")
