"""FLAC files: joined ones as several, a length that the header does not tell or tells wrongly, going on after damage.

libFLAC decodes all frames where the header tells no length, so that is what it is shown; libsndfile stops at the first
frame that is damaged, so what follows is shown as a file of its own. Headers of frames: RFC 9639, 9.1.
"""

import re
from dataclasses import dataclass
from typing import BinaryIO

from earthtone.signal.spliced import Piece, find

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
