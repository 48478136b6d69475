"""Rows that are there twice: equal samples, fingerprints of sounds and hashes of pictures that are nearly equal.

From the first row of the data on: a row goes where one before it, that stays, has its sound or its picture; else it
stays. A row that goes takes none with it. Each is compared with all that stay and are of about its length, as products
of matrices of -1 and +1: 10,000 in seconds, a hundred thousand in minutes (docs/curation.md).
"""

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.build.curate.measure import LEAST_WORDS, STILL, Facts, Words, words_of
from earthtone.build.curate.rules import Finding, unjudged
from earthtone.build.options import CurateOptions

_BLOCK = 1024  # rows compared at once with as many
_PAIRS = 4096  # fingerprints compared whole at once
_FIRST_WORDS = 16  # compared first
_FIRST_SLACK = 0.12  # further than the limit that they may be
_LENGTH_S, _LENGTH_SHARE = 0.25, 0.01  # by which the lengths of two encodings differ at most
_EXACT = -1.0  # the difference of equal samples: less than that of equal fingerprints


Positions = NDArray[np.int64]
Differences = NDArray[np.float64]


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
    _rows: "array[int]" = field(default_factory=lambda: array("q"))
    _digests: bytearray = field(default_factory=bytearray)
    _seconds: "array[float]" = field(default_factory=lambda: array("d"))
    _words: bytearray = field(default_factory=bytearray)
    _ends: "array[int]" = field(default_factory=lambda: array("q"))
    _picture_rows: "array[int]" = field(default_factory=lambda: array("q"))
    _picture_bits: bytearray = field(default_factory=bytearray)

    def add(self, row: int, facts: Facts, picture_counts: bool) -> None:
        """Add a row, by its number in the data, which grows."""
        if self.prints and facts.sound is not None and facts.sound.span > STILL:
            self._rows.append(row)
            self._digests += bytes.fromhex(facts.sound.digest)
            self._seconds.append(facts.sound.seconds)
            self._words += words_of(facts.sound.print or "").tobytes()
            self._ends.append(len(self._words) // 4)
        if self.pictures and picture_counts and facts.image is not None and not facts.image.blank:
            self._picture_rows.append(row)
            self._picture_bits += bytes.fromhex(facts.image.bits)

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

    def media(self, max_distance: float, max_bits: int) -> "dict[str, _Medium]":
        """Return what is compared for the rules same-audio and same-image."""
        digests = np.frombuffer(self._digests, np.uint64).reshape(-1, 2)
        words, ends = np.frombuffer(self._words, np.uint32), np.array(self._ends, np.int64)
        bits = np.frombuffer(self._picture_bits, np.uint8).reshape(-1, 32)
        return {
            "same-audio": _Sounds(np.array(self._rows), np.array(self._seconds), digests, words, ends, max_distance),
            "same-image": _Pictures(np.array(self._picture_rows), bits, max_bits),
        }


def twins_of(seen: Seen, max_distance: float, max_bits: int) -> Mapping[str, Mapping[int, Twin]]:
    """Return, for the rules same-audio and same-image, which rows go and which stay in their place.

    The nearest of the rows before that stay, the first of these where several are as near.
    """
    media = seen.media(max_distance, max_bits)
    rows = np.unique(np.concatenate([medium.rows for medium in media.values()]))
    staying = np.zeros(0, np.int64)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        for medium in media.values():
            medium.compare(block, staying)
        free = np.array([row for row in block.tolist() if all(row not in m.twins for m in media.values())], np.int64)
        more = _staying(free, list(media.values()))
        for medium in media.values():
            medium.compare(block, more)
        staying = np.concatenate([staying, more])
    return {rule: medium.twins for rule, medium in media.items()}


def _staying(rows: Positions, media: "list[_Medium]") -> Positions:
    """Return those of some rows that none before it, which stays, is near."""
    near = np.zeros((len(rows), len(rows)), bool)
    for medium in media:
        at = medium.positions(rows)
        where = np.searchsorted(rows, medium.rows[at])
        near[np.ix_(where, where)] |= np.isfinite(medium.differences(at, at))
    stays = np.zeros(len(rows), bool)
    for row in range(len(rows)):
        stays[row] = not (near[row] & stays).any()
    return rows[stays]


class _Medium:
    """Rows that have a sound, or a picture, in the order of the data; those that go, once they are compared."""

    slack, share = 0.0, 0.0
    """By how much the longer of two that are the same is longer at most: so much, and a share of the shorter."""

    def __init__(self, rows: Positions, lengths: NDArray[np.float64]) -> None:
        self.rows, self.lengths = rows.astype(np.int64), lengths
        self.twins: dict[int, Twin] = {}

    def differences(self, left: Positions, right: Positions) -> Differences:
        """Return how far apart the rows at some positions are (left, right): infinite beyond the limit."""
        raise NotImplementedError

    def positions(self, rows: Positions) -> Positions:
        """Return where those of some rows are that are here."""
        at = np.searchsorted(self.rows, rows)
        at = at[at < len(self.rows)]
        found: Positions = at[self.rows[at] == rows[: len(at)]]
        return found

    def compare(self, rows: Positions, staying: Positions) -> None:
        """Find the nearest twin of each of some rows among rows that stay."""
        own, others = self.positions(rows), self.positions(staying)
        others = others[np.argsort(self.lengths[others], kind="stable")]
        for start in range(0, len(others), _BLOCK):
            chunk = others[start : start + _BLOCK]
            shortest, longest = self.lengths[chunk[[0, -1]]]
            lengths = self.lengths[own]
            at = own[(self._most(lengths) >= shortest) & (lengths <= self._most(longest))]
            chunk = np.sort(chunk)  # of several as near the first counts
            difference = self.differences(at, chunk)
            difference[self.rows[chunk] >= self.rows[at][:, None]] = np.inf
            best = difference.argmin(axis=1)
            least = difference[np.arange(len(at)), best]
            for one in np.flatnonzero(np.isfinite(least)).tolist():
                self._add(int(self.rows[at[one]]), int(self.rows[chunk[best[one]]]), float(least[one]))

    def _add(self, row: int, other: int, difference: float) -> None:
        twin = Twin(other, max(0.0, difference), difference == _EXACT)
        before = self.twins.get(row)
        if before is None or (not twin.exact, twin.difference, other) < (
            not before.exact, before.difference, before.row,
        ):  # fmt: skip
            self.twins[row] = twin

    def _most(self, lengths: Any) -> Any:
        return lengths * (1 + self.share) + self.slack

    def fits(self, left: Positions, right: Positions) -> NDArray[np.bool_]:
        """Return which rows are of about the same length (left, right)."""
        one, other = self.lengths[left][:, None], self.lengths[right][None]
        fits: NDArray[np.bool_] = np.maximum(one, other) <= self._most(np.minimum(one, other))
        return fits


class _Pictures(_Medium):
    def __init__(self, rows: Positions, bits: NDArray[np.uint8], limit: int) -> None:
        super().__init__(rows, np.zeros(len(rows)))
        self._bits, self._limit = bits, limit

    def differences(self, left: Positions, right: Positions) -> Differences:
        one, other = (2.0 * np.unpackbits(self._bits[at], axis=1).astype(np.float32) - 1.0 for at in (left, right))
        difference = ((256 - one @ other.T) / 2).astype(np.float64)
        return np.where(difference <= self._limit, difference, np.inf)


class _Sounds(_Medium):
    slack, share = _LENGTH_S, _LENGTH_SHARE

    def __init__(
        self,
        rows: Positions,
        seconds: NDArray[np.float64],
        digests: NDArray[np.uint64],
        words: Words,
        ends: Positions,
        limit: float,
    ) -> None:
        super().__init__(rows, seconds)
        self._numbers = np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1)
        self._words, self._limit = words, limit
        self._ends, self._counts = ends, np.diff(ends, prepend=0)

    def differences(self, left: Positions, right: Positions) -> Differences:
        found = np.full((len(left), len(right)), np.inf)
        if self._limit > 0:
            one, other = np.nonzero(self._candidates(left, right))
            for start in range(0, len(one), _PAIRS):
                at = one[start : start + _PAIRS], other[start : start + _PAIRS]
                longest = int(np.minimum(self._counts[left[at[0]]], self._counts[right[at[1]]]).max())
                difference = _distances(self._first(left[at[0]], longest), self._first(right[at[1]], longest))
                found[at] = np.where(difference <= self._limit, difference, np.inf)
        found[self._numbers[left][:, None] == self._numbers[right][None]] = _EXACT
        return found

    def _candidates(self, left: Positions, right: Positions) -> NDArray[np.bool_]:
        """Return which pairs may be near by their first words, or have too few of these to tell."""
        (one, one_told), (other, other_told) = (_signs(self._first(at, _FIRST_WORDS)) for at in (left, right))
        bits = 32 * (one_told @ other_told.T)
        near = one @ other.T >= (1 - 2 * (self._limit + _FIRST_SLACK)) * bits
        near |= bits < 32 * LEAST_WORDS / 2
        near &= (self._counts[left] > 0)[:, None] & (self._counts[right] > 0)[None]
        return near & self.fits(left, right)

    def _first(self, at: Positions, count: int) -> Words:
        """Return the first words of some fingerprints (rows, count), 0 where there are no more."""
        columns = np.arange(count)
        there = columns < self._counts[at][:, None]
        places = np.where(there, (self._ends[at] - self._counts[at])[:, None] + columns, 0)
        return np.where(there, self._words[places], np.uint32(0)) if len(self._words) else there.astype(np.uint32)


def print_distance(one: Words, other: Words) -> float:
    """Return the share of bits in which two fingerprints differ where both tell; 1 where that is too little."""
    count = min(len(one), len(other))
    return float(_distances(one[None, :count], other[None, :count])[0])


def _distances(one: Words, other: Words) -> NDArray[np.float64]:
    """Return the same of pairs of fingerprints (pairs, words)."""
    both = (one != 0) & (other != 0)
    told = both.sum(axis=1)
    bits = (np.bitwise_count(one ^ other) * both).sum(axis=1, dtype=np.int64)
    return np.where(told >= LEAST_WORDS, bits / np.maximum(1, 32 * told), 1.0)


def _signs(words: NDArray[np.uint32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return bits as -1 and +1 (rows, 32 words), 0 where a word tells nothing, and which words tell (rows, words)."""
    told = words != 0
    bits = np.unpackbits(words.astype(">u4").view(np.uint8).reshape(len(words), 4 * words.shape[1]), axis=1)
    signs = (2.0 * bits - 1.0).astype(np.float32) * np.repeat(told, 32, axis=1)
    return signs, told.astype(np.float32)
