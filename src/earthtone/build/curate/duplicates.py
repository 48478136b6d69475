"""Rows that are there twice: equal samples, fingerprints of sounds and hashes of pictures that are nearly equal.

Of each pair of them the row that comes first in the data stays. All are compared with all of about their length, as one
product of matrices of -1 and +1: 10,000 in seconds, a hundred thousand in minutes (docs/curation.md).
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earthtone.build.curate.measure import LEAST_WORDS, STILL, Facts, Words, words_of
from earthtone.build.curate.rules import Finding, unjudged
from earthtone.build.options import CurateOptions

_BLOCK = 1024  # rows compared at once with as many
_FIRST_WORDS = 16  # compared first
_FIRST_SLACK = 0.12  # further than the limit that they may be
_LENGTH_S, _LENGTH_SHARE = 0.25, 0.01  # by which the lengths of two encodings differ at most
_MOST_EACH = 64  # partners of a row in one block that are looked at


@dataclass(frozen=True)
class Twin:
    """The row that stays in a row's place, by its number, and in how far the two differ."""

    row: int
    difference: float
    """Share of bits of a fingerprint, or bits of a picture's hash; 0 for equal samples."""
    exact: bool


@dataclass
class Seen:
    """What is compared of the rows that other rules have left, as they come."""

    prints: bool
    pictures: bool
    _rows: list[int] = field(default_factory=list)
    _digests: list[bytes] = field(default_factory=list)
    _seconds: list[float] = field(default_factory=list)
    _words: list[Words] = field(default_factory=list)
    _picture_rows: list[int] = field(default_factory=list)
    _picture_bits: list[bytes] = field(default_factory=list)

    def add(self, row: int, facts: Facts, picture_counts: bool) -> None:
        """Add a row, by its number in the data."""
        if self.prints and facts.sound is not None and facts.sound.span > STILL:
            self._rows.append(row)
            self._digests.append(bytes.fromhex(facts.sound.digest))
            self._seconds.append(facts.sound.seconds)
            self._words.append(words_of(facts.sound.print or ""))
        if self.pictures and picture_counts and facts.image is not None and not facts.image.blank:
            self._picture_rows.append(row)
            self._picture_bits.append(bytes.fromhex(facts.image.bits))

    def finding(
        self, rule: str, row: int, twin: Twin | None, names: Mapping[int, str], options: CurateOptions
    ) -> Finding:
        """Return what the rule same-audio or same-image says of a row; `twin` stays in its place, `names` are ids."""
        sound = rule == "same-audio"
        rows = self._rows if sound else self._picture_rows
        at = bisect_left(rows, row)
        if at == len(rows) or rows[at] != row:
            return unjudged(f"dropped by another rule, or no {'sound' if sound else 'picture'} to be compared")
        unit = "of the bits" if sound else "of 256 bits"
        wanted = f"more than {options.max_distance if sound else options.max_bits:g} {unit} other than each row before"
        if twin is None:
            return Finding("no row before is so near", wanted, "stays")
        if twin.exact:
            return Finding(f"the samples of {names[twin.row]}", wanted, "dropped", 0.0)
        how = f"{twin.difference:.{3 if sound else 0}f} {unit}"
        return Finding(f"{how} other than {names[twin.row]}", wanted, "dropped", twin.difference)

    def same_sounds(self, max_distance: float) -> dict[int, Twin]:
        """Return the rows whose sound is that of a row before."""
        twins, first = dict[int, Twin](), dict[bytes, int]()
        for row, digest in zip(self._rows, self._digests, strict=True):
            if (other := first.setdefault(digest, row)) != row:
                twins[row] = Twin(other, 0.0, True)
        if max_distance > 0:
            left = [at for at, row in enumerate(self._rows) if row not in twins and len(self._words[at])]
            order = np.array(sorted(left, key=lambda at: (self._seconds[at], at)), np.int64)
            seconds = np.array([self._seconds[at] for at in order])
            ends = np.searchsorted(seconds, seconds * (1 + _LENGTH_SHARE) + _LENGTH_S, "right")
            pairs = _near_prints([self._words[at] for at in order], ends, max_distance)
            twins |= _first_stays(pairs, [self._rows[at] for at in order])
        return twins

    def same_pictures(self, max_bits: int) -> dict[int, Twin]:
        """Return the rows whose picture is that of a row before."""
        bits = np.frombuffer(b"".join(self._picture_bits), np.uint8).reshape(-1, 32)
        pairs = _near_pictures(bits, max_bits)
        return _first_stays(pairs, self._picture_rows)


Pairs = Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]


def _first_stays(pairs: Pairs, rows: list[int]) -> dict[int, Twin]:
    """Return the twin of each row that goes, given pairs of positions in `rows` with their differences.

    From the first row on: one that stays takes with it all that are near it, not what is near those.
    """
    near: dict[int, list[tuple[int, float]]] = {}
    for one, other, difference in pairs:
        for a, b, how in zip(one.tolist(), other.tolist(), difference.tolist(), strict=True):
            before, after = sorted((rows[a], rows[b]))
            near.setdefault(after, []).append((before, how))
    gone: dict[int, Twin] = {}
    for row in sorted(near):
        staying = [(how, before) for before, how in near[row] if before not in gone]
        if staying:
            how, before = min(staying)
            gone[row] = Twin(before, how, False)
    return gone


def _near_prints(words: list[Words], ends: NDArray[np.int64], limit: float) -> Pairs:
    """Yield pairs (i, j), i < j < ends[i], of fingerprints that differ in at most a share of their bits."""
    firsts = np.zeros((len(words), _FIRST_WORDS), np.uint32)
    for row, own in enumerate(words):
        firsts[row, : len(own)] = own[:_FIRST_WORDS]
    for start in range(0, len(words), _BLOCK):
        left = slice(start, min(start + _BLOCK, len(words)))
        signs, told = _signs(firsts[left])
        for begin in range(start, int(ends[left].max(initial=0)), _BLOCK):
            right = slice(begin, min(begin + _BLOCK, len(words)))
            others, others_told = (signs, told) if begin == start else _signs(firsts[right])
            bits = 32 * (told @ others_told.T)
            near = signs @ others.T >= (1 - 2 * (limit + _FIRST_SLACK)) * bits
            near &= bits >= 32 * LEAST_WORDS / 2
            rows, columns = np.arange(left.start, left.stop)[:, None], np.arange(right.start, right.stop)[None]
            near &= (columns > rows) & (columns < ends[left][:, None])
            one, other = _some_each(near)
            one, other = one + left.start, other + right.start
            difference = np.array(
                [print_distance(words[a], words[b]) for a, b in zip(one, other, strict=True)], np.float64
            )
            kept = difference <= limit
            yield one[kept], other[kept], difference[kept]


def print_distance(one: Words, other: Words) -> float:
    """Return the share of bits in which two fingerprints differ where both tell; 1 where that is too little."""
    count = min(len(one), len(other))
    both = (one[:count] != 0) & (other[:count] != 0)
    told = int(both.sum())
    if told < LEAST_WORDS:
        return 1.0
    return float(np.bitwise_count(one[:count][both] ^ other[:count][both]).sum()) / (32 * told)


def _signs(words: NDArray[np.uint32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return bits as -1 and +1 (rows, 32 words), 0 where a word tells nothing, and which words tell (rows, words)."""
    told = words != 0
    bits = np.unpackbits(words.astype(">u4").view(np.uint8).reshape(len(words), -1), axis=1)
    signs = (2.0 * bits - 1.0).astype(np.float32) * np.repeat(told, 32, axis=1)
    return signs, told.astype(np.float32)


def _near_pictures(bits: NDArray[np.uint8], limit: int) -> Pairs:
    """Yield pairs of hashes (N, 32 bytes) that differ in at most so many bits."""
    signs = 2.0 * np.unpackbits(bits, axis=1).astype(np.float32) - 1.0
    for start in range(0, len(bits), _BLOCK):
        for begin in range(start, len(bits), _BLOCK):
            left, right = signs[start : start + _BLOCK], signs[begin : begin + _BLOCK]
            difference = (256 - left @ right.T) / 2
            near = difference <= limit
            if begin == start:
                near &= np.triu(np.ones_like(near), 1)
            one, other = _some_each(near)
            yield one + start, other + begin, difference[one, other].astype(np.float64)


def _some_each(near: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of what is true; of a row with very many the first ones, which bounds the memory."""
    if int(near.sum()) > _MOST_EACH * len(near):
        near &= near.cumsum(axis=1) <= _MOST_EACH
    one, other = np.nonzero(near)
    return one.astype(np.int64), other.astype(np.int64)


def twins_of(seen: Seen, max_distance: float, max_bits: int) -> Mapping[str, Mapping[int, Twin]]:
    """Return, for the rules same-audio and same-image, which rows go and which stay in their place."""
    sounds = seen.same_sounds(max_distance) if seen.prints else {}
    pictures = seen.same_pictures(max_bits) if seen.pictures else {}
    return {"same-audio": sounds, "same-image": pictures}
