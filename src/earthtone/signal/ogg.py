"""The pages of an Ogg file: its links, since libsndfile hears only the first, and whether pages are lost (RFC 3533)."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING, Remark
from earthtone.signal.spliced import Part, find

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
