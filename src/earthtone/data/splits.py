"""Training, validation and test splits: by place, by id, by name, and as published works dealt rows out."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.exclude import Exclusion, excluded_rows, read_exclusion
from earthtone.data.grouped_split import (
    NONE,
    Codes,
    PackedHashes,
    SourceRows,
    deal,
    id_number,
    source_pairs,
    split_of_code,
)
from earthtone.data.pair import SPLITS, Pair
from earthtone.data.releases import key_digit_split
from earthtone.data.source import Source
from earthtone.data.split_file import ROOT, is_split_file, read_split
from earthtone.errors import ConfigError, DataError, did_you_mean
from earthtone.geo import EARTH_RADIUS_M

if TYPE_CHECKING:
    from earthtone.data.packed import Table  # imports torch and lance, which check can do without

_EARTH_KM = EARTH_RADIUS_M / 1000
_BLOCK_KM = 10.0
_TRAIN, _VAL = 0.7, 0.1  # shares of the blocks, and of the ids of rows without a place; test is the rest


def hash_split(id: str) -> str:
    """Return train, val or test, 70/10/20, from the id alone."""
    return _draw(f"id/0/{id}")


def block_split(
    longitude: float, latitude: float, *, block_km: float = _BLOCK_KM, buffer_km: float = 0.0
) -> str | None:
    """Return the split of the block that a place (degrees) lies in, None within `buffer_km` of a block of another one.

    Blocks are cells of nearly equal area: bands of latitude `block_km` high, cut into as many equal parts as fit at
    the middle of the band; each pole is one round cell. 70/10/20 holds over the cells, not exactly over the rows.
    Any two places that are kept in different splits are more than `buffer_km` apart on the sphere (twice that across a
    straight border).
    """
    if not 0 <= buffer_km < math.inf:
        raise ConfigError(f"buffer_km is {buffer_km}; 0 or more expected")
    cells = BlockGrid(block_km)

    def drawn(cell: tuple[int, int]) -> str:
        return _draw(f"cell/0/{cell[0]}/{cell[1]}")

    split = drawn(cells.cell(longitude, latitude))
    if buffer_km > 0:
        for cell in cells.around(longitude, latitude, buffer_km):
            if drawn(cell) != split and cells.km_to(longitude, latitude, cell) <= buffer_km:
                return None
    return split


def assign_split(pair: Pair) -> str | None:
    """Return the pair's own split if it has one, else its block's, else (no coordinates) that of its id's hash."""
    if pair.split is not None:
        return pair.split
    if pair.longitude is None or pair.latitude is None:
        return hash_split(pair.id)
    return block_split(pair.longitude, pair.latitude)


class BlockGrid:
    """The grid of blocks; a cell is (band, bin), counted from the south pole and from the date line eastwards."""

    def __init__(self, block_km: float) -> None:
        if not 0.01 <= block_km <= 10_000:
            raise ConfigError(f"block_km is {block_km}; 0.01 to 10000 expected")
        self.bands = max(2, round(math.pi * _EARTH_KM / block_km))
        self._block_km = block_km

    def bins(self, band: int) -> int:
        """Return the number of cells in a band; the caps at the poles are whole."""
        if band in (0, self.bands - 1):
            return 1
        middle = math.pi * ((band + 0.5) / self.bands - 0.5)
        return max(1, round(math.tau * _EARTH_KM * math.cos(middle) / self._block_km))

    def band(self, latitude: float) -> int:
        return min(max(int((latitude + 90) / 180 * self.bands), 0), self.bands - 1)

    def cell(self, longitude: float, latitude: float) -> tuple[int, int]:
        if not (-180 <= longitude <= 180 and -90 <= latitude <= 90):
            raise DataError(f"longitude {longitude}, latitude {latitude}; -180 to 180 and -90 to 90 degrees expected")
        band = self.band(latitude)
        bins = self.bins(band)
        return band, int((longitude + 180) / 360 * bins) % bins  # 180 is -180

    def around(self, longitude: float, latitude: float, km: float) -> list[tuple[int, int]]:
        """Return all cells that may lie within `km` of a place; a few more for certainty."""
        angle = km / _EARTH_KM
        degrees = math.degrees(angle)
        found = []
        reach = math.pi  # a circle around a pole touches every meridian
        if abs(latitude) + degrees < 89.9:
            reach = math.asin(min(1.0, math.sin(angle) / math.cos(math.radians(latitude))))
        for band in range(self.band(latitude - degrees - 1e-9), self.band(latitude + degrees + 1e-9) + 1):
            bins = self.bins(band)
            middle = (longitude + 180) / 360 * bins
            half = reach / math.tau * bins + 1e-9
            first, last = math.floor(middle - half), math.floor(middle + half)
            found += [(band, bin_ % bins) for bin_ in range(first, min(last, first + bins - 1) + 1)]
        return found

    def km_to(self, longitude: float, latitude: float, cell: tuple[int, int]) -> float:
        """Return the great-circle distance from a place to the nearest point of a cell; 0 inside."""
        band, bin_ = cell
        bins = self.bins(band)
        south, north = (math.pi * (edge / self.bands - 0.5) for edge in (band, band + 1))
        west, width = math.tau * bin_ / bins, math.tau / bins
        east_of_west = (math.radians(longitude + 180) - west) % math.tau
        phi = math.radians(latitude)
        if bins == 1 or east_of_west <= width:  # straight up or down
            return _EARTH_KM * max(0.0, south - phi, phi - north)
        return min(_km_to_meridian(phi, east_of_west - side, south, north) for side in (0.0, width))


def _km_to_meridian(phi: float, turn: float, south: float, north: float) -> float:
    """Return the distance from latitude `phi` to the part of a meridian, `turn` to the east, between two latitudes.

    With phi' along that meridian, cos(distance) = a cos(phi' - peak): largest at the peak, or at an end.
    """
    peak = math.atan2(math.sin(phi), math.cos(phi) * math.cos(turn))
    ends = (south, north, min(max(peak, south), north))
    return _EARTH_KM * min(_angle(phi, other, turn) for other in ends)


def _angle(phi: float, other: float, turn: float) -> float:
    """Return the central angle between two places (haversine: exact also for near ones)."""
    half = math.sin((other - phi) / 2) ** 2 + math.cos(phi) * math.cos(other) * math.sin(turn / 2) ** 2
    return 2 * math.asin(math.sqrt(min(1.0, half)))


def _draw(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = (int.from_bytes(digest, "big") >> 11) / 2**53  # below 1, evenly spaced
    return "train" if number < _TRAIN else "val" if number < _TRAIN + _VAL else "test"


MANIFEST = "manifest"
BUFFERED = "buffered-blocks"
DEFAULT_BUFFER_KM = 1.0
_LARGEST_BUFFER_KM = 50.0  # in blocks of 10 km even 10 km of buffer leave hardly a pair
_SEED = 42  # of both published splits
_PSM_LEAST, _PSM_HELD_OUT, _PSM_VAL = 25, 0.35, 0.40

Record = Mapping[str, Any]
_AS_IT_IS = 2  # beside 0, alone, and 1, linked to others


@dataclass(frozen=True)
class NamedSplit:
    """A way to deal rows out to train, val and test, ready for one source."""

    record: Record
    """What identifies it: `by`, its parameters and, where one row's split depends on the others, rows and a digest."""
    assign: Callable[[Pair], str | None]
    """The split of a pair; None: it is in no split."""
    settle: Callable[[str, str | None, Iterable[str]], str | None]
    """The split of the pair of an id, which `assign` has put there, now that the hashes of image and recording are
    known (empty: of nothing): rows are asked in their order, and those packed before are known. See `PackedHashes`."""
    linked: int = 0
    """Rows that share their image, their recording or its id with others, so that they are dealt out together."""
    parted: int = 0
    """Rows in no split, because they link rows of several splits that were not dealt out here."""
    excluded: tuple[str, ...] = ()
    """What was left out because a file names it, and what of that file was not found."""

    @property
    def linked_text(self) -> str:
        """How many rows are kept together; empty without any."""
        parted = f"; {self.parted} of them link several splits and are in none" if self.parted else ""
        return f"{self.linked} rows share an image, a recording or its id with others{parted}" if self.linked else ""


def named_split(
    by: str,
    source: Source,
    *,
    buffer_km: float | None = None,
    exclude: str | Path | None = None,
    packed: "Table | None" = None,
) -> NamedSplit:
    """Return the split `by` for the rows of `source`; passes over its metadata where rows depend on each other.

    Rows that share an image, a recording or the id of a recording (a column such as `recording_id`) are dealt out
    together, but for the published splits `key-digit` and `geoclap`, and the splits that the data's own table gives.
    `packed` is the table that the rows are to be added to: what it holds stays, and decides where new rows go.
    Rows that the file `exclude` names (see `exclude.py`) are in no split, and neither are those linked to them.
    Memory is about 100 bytes a row. Raises ConfigError for an unknown name and for a buffer that is none or has no
    effect, DataError for a source that cannot be split so.
    """
    check_split_by(by, buffer_km)
    named = None if exclude is None else read_exclusion(exclude)  # refused before the source is read
    split = NAMED_SPLITS[by](source, buffer_km, packed) if by in NAMED_SPLITS else _of_file(by, source, packed)
    return split if named is None else _without(split, named, source)


def check_split_by(by: str, buffer_km: float | None = None) -> None:
    """Raise ConfigError for an unknown name of a split, and for a buffer that is none or has no effect."""
    if by not in NAMED_SPLITS and not is_split_file(by):
        raise ConfigError(
            f"split_by {by!r}; {did_you_mean(by, NAMED_SPLITS)}one of {', '.join(NAMED_SPLITS)}, or the folder of "
            "earthtone split, expected"
        )
    if buffer_km is not None and by != BUFFERED:
        raise ConfigError(f"--buffer_km has no effect with --split_by {by}; leave it out or type --split_by {BUFFERED}")
    if buffer_km is not None and not 0 < buffer_km <= _LARGEST_BUFFER_KM:
        raise ConfigError(f"buffer_km is {buffer_km}; more than 0 and at most {_LARGEST_BUFFER_KM:g} expected")


def split_in_words(record: Record) -> str:
    """Return how a recorded split deals rows out, for reports: its name and what that means."""
    by = str(record.get("by", MANIFEST))
    meaning = {
        MANIFEST: "the data's own splits; linked rows without one together, by blocks of 10 km, 70/10/20",
        "blocks": "blocks of 10 km, 70/10/20",
        BUFFERED: f"blocks of 10 km, 70/10/20, without pairs within {record.get('buffer_km')} km of another split's",
        "key-digit": "the key's last digit: 2 and 5 test, 7 validate, neighbours in several splits",
        "geoclap": f"a random 70/10/20 (seed {_SEED}), neighbours in several splits",
        "file": _file_in_words(record),
        "psm-cells": f"cells of 10 km: {_PSM_HELD_OUT:.0%} of those with {_PSM_LEAST} pairs or more are val and test",
    }.get(by, "unknown to this version")
    left_out = record.get("exclude")
    without = f"; without {left_out['entries']} entries of {left_out['file']}" if isinstance(left_out, Mapping) else ""
    return f"{by}: {meaning}{without}"


def _file_in_words(record: Record) -> str:
    made = record.get("made")
    if not isinstance(made, Mapping):
        return f"as {record.get('file')} has it"
    said = ", ".join(f"{name} {str(value)[:60]}" for name, value in made.items() if value is not None)
    return f"as earthtone split dealt them out ({said})"


def _manifest(source: Source, buffer_km: float | None, packed: "Table | None") -> NamedSplit:
    record = {"by": MANIFEST}
    if getattr(source, "gives_splits", False):
        return _as_published(record, lambda pair: pair.split)
    return _together(source, packed, record, assign_split, own=lambda pair: pair.split)


def _blocks(source: Source, buffer_km: float | None, packed: "Table | None") -> NamedSplit:
    return _together(
        source, packed, {"by": "blocks", "block_km": _BLOCK_KM}, lambda pair: assign_split(replace(pair, split=None))
    )


def _buffered_blocks(source: Source, buffer_km: float | None, packed: "Table | None") -> NamedSplit:
    km = DEFAULT_BUFFER_KM if buffer_km is None else buffer_km

    def by_place(pair: Pair) -> str | None:
        if pair.longitude is None or pair.latitude is None:
            return None  # it may lie anywhere, also beside a test pair
        return block_split(pair.longitude, pair.latitude, buffer_km=km)

    record = {"by": BUFFERED, "block_km": _BLOCK_KM, "buffer_km": km}
    return _together(source, packed, record, by_place, strict=True)


def _key_digit(source: Source, buffer_km: float | None, packed: "Table | None") -> NamedSplit:
    for pair in source_pairs(source):
        if not (pair.id.isascii() and pair.id.isdigit()):
            raise DataError(
                f"{source.path}: id {pair.id!r} is no whole number, so --split_by key-digit cannot read its last "
                "digit; choose another one, or the column with the key: --columns id=key"
            )
    return _as_published({"by": "key-digit"}, lambda pair: key_digit_split(int(pair.id[-1])))


def _geoclap(source: Source, buffer_km: float | None, packed: "Table | None") -> NamedSplit:
    """Return GeoCLAP's split (arXiv 2309.10667): rows in the order of the file, shuffled as pandas' `sample(frac=1,
    random_state=42)` does, cut at int(0.7 n) and int(0.8 n): 50,792 rows are 35,554 / 5,079 / 10,159."""
    rows = SourceRows(source, lambda pair: None, lambda pair: None)
    codes = geoclap_codes(len(rows.ids))
    by_id = _SplitsById(source, rows.ids, codes, np.full(len(codes), _AS_IT_IS, np.uint8))
    return _as_published(_with_digest({"by": "geoclap", "seed": _SEED}, rows.ids, codes), by_id.split)


def geoclap_codes(count: int) -> NDArray[np.uint8]:
    """Return (count,) numbers of `SPLITS`, by row in the order of the file."""
    order = np.random.RandomState(_SEED).permutation(count)  # the old generator: it is pandas'
    codes = np.empty(count, np.uint8)
    for code, part in enumerate(np.split(order, [int(0.70 * count), int(0.8 * count)])):
        codes[part] = code
    return codes


def _psm_cells(source: Source, buffer_km: float | None, packed: "Table | None") -> NamedSplit:
    """Return PSM's split (arXiv 2408.07050) on proper cells: see `psm_codes`.

    Rows without a place are in no split, and so are those that are linked to one in a cell of another split.
    """
    cells = np.fromiter((_cell_number(pair) for pair in source_pairs(source)), np.int64)
    codes = psm_codes(cells)
    record = {"by": "psm-cells", "cell_km": _BLOCK_KM, "least": _PSM_LEAST, "seed": _SEED}
    return _together(source, packed, record, codes, strict=True)


def psm_codes(cells: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return (N,) numbers of `SPLITS` from the numbers of the rows' cells; 3 for a row without a cell (-1).

    The cells with 25 rows or more are parted at the 0.33 and 0.66 quantiles of their counts; in each part 35 % of the
    cells are held out, 40 % of these for val and the others for test; all else is train. Which cells is decided by a
    hash of their numbers, not by the rows' order.
    """
    number, of_row, counts = np.unique(cells, return_inverse=True, return_counts=True)
    full = (counts >= _PSM_LEAST) & (number >= 0)
    split = np.where(number >= 0, 0, 3).astype(np.uint8)
    if full.any():
        low, high = np.quantile(counts[full], [0.33, 0.66])
        for part in (counts <= low, (counts > low) & (counts <= high), counts > high):
            inside = sorted(np.flatnonzero(full & part).tolist(), key=lambda cell: _drawn(int(number[cell])))
            held_out = inside[: int(_PSM_HELD_OUT * len(inside))]
            val = int(_PSM_VAL * len(held_out))
            split[held_out[:val]], split[held_out[val:]] = 1, 2
    return split[of_row]


def _drawn(cell: int) -> bytes:
    return hashlib.blake2b(f"psm/{_SEED}/{cell}".encode(), digest_size=16).digest()


def _cell_number(pair: Pair) -> int:
    if pair.longitude is None or pair.latitude is None:
        return -1
    band, bin_ = BlockGrid(_BLOCK_KM).cell(pair.longitude, pair.latitude)
    return band << 32 | bin_


def _together(
    source: Source,
    packed: "Table | None",
    record: dict[str, Any],
    base: Callable[[Pair], str | None] | Codes,
    *,
    own: Callable[[Pair], str | None] = lambda pair: None,
    strict: bool = False,
) -> NamedSplit:
    """Return the split that deals rows out by `base`, linked ones together; see `deal`.

    `own` are the splits of the data itself; `base` is given by pair, or by row where rows depend on each other.
    """
    rows = SourceRows(source, base if callable(base) else lambda pair: None, own)
    if not callable(base):
        rows.base = base
        record = _with_digest(record, rows.ids, base)
    known, before = _known(packed)
    mine = rows.fixed != NONE
    fixed = np.array([known.get(int(id), code) for id, code in zip(rows.ids, rows.fixed, strict=True)], np.uint8)
    dealt = deal(rows.base, [] if mine.all() else rows.keys(), rows.order, fixed, strict=strict)
    kinds = np.where(mine, _AS_IT_IS, dealt.grouped | strict).astype(np.uint8)
    by_id = _SplitsById(source, rows.ids, np.where(mine, rows.fixed, dealt.codes), kinds)
    linked = int((dealt.grouped & ~mine).sum())
    return NamedSplit(record, by_id.split, partial(by_id.settled, before), linked, dealt.parted)


def _known(packed: "Table | None") -> tuple[dict[int, int], PackedHashes]:
    """Return the splits of a table's rows by the number of their id, and those of what the rows hold."""
    known: dict[int, int] = {}
    before = PackedHashes()
    if packed is not None:
        columns = [packed.column(name) for name in ("id", "split", "image_hash", "audio_hash")]
        for id, split, *hashes in zip(*columns, strict=True):
            before.note(split, hashes)
            if split is not None:
                known[id_number(id)] = SPLITS.index(split)
    return known, before


def _with_digest(record: dict[str, Any], ids: NDArray[np.uint64], codes: Codes) -> dict[str, Any]:
    """Return the record of a split in which a row's part depends on the others: with their number and a digest."""
    order = np.argsort(ids, kind="stable")
    digest = hashlib.blake2b(ids[order].tobytes() + codes[order].tobytes(), digest_size=8).hexdigest()
    return {**record, "rows": len(ids), "digest": digest}


def _of_file(by: str, source: Source, packed: "Table | None") -> NamedSplit:
    """Return the split in a file; rows that are not in it are in none. Raises DataError where no row is.

    One that goes on from another counts as the same, so that a table can grow with it. In one that `split` made, rows
    whose identity is seen in packing alone are in none; one of others is as it is.
    """
    found = read_split(by)
    ids = np.fromiter((id_number(pair.id) for pair in source_pairs(source)), np.uint64)
    there = found.find(ids)[1]
    if not there.any():
        raise DataError(f"{found.path}: none of its {len(found.ids):,} ids is one of {source.path}")
    lacking = int((~there).sum())
    lines = (f"{lacking:,} rows are not in {found.path}: they are in no split",) if lacking else ()

    def assign(pair: Pair) -> str | None:
        return split_of_code(int(found.find(np.array([id_number(pair.id)], np.uint64))[0][0]))

    made = {name: value for name, value in found.record.items() if name not in (ROOT, "region_said")}
    record = {"by": "file", "root": found.root, **({"made": made} if made else {"file": found.path.name})}
    if not made:
        return replace(_as_published(record, assign), excluded=lines)
    before = _known(packed)[1]
    return NamedSplit(
        record, assign, lambda id, split, hashes: before.settle(split, hashes, movable=False), excluded=lines
    )


def _without(split: NamedSplit, exclusion: Exclusion, source: Source) -> NamedSplit:
    """Return a split in which rows that an exclusion names are in none."""
    excluded = excluded_rows(exclusion, source)
    gone = set(excluded.ids[excluded.rows].tolist())

    def assign(pair: Pair) -> str | None:
        return None if id_number(pair.id) in gone else split.assign(pair)

    def settle(id: str, name: str | None, hashes: Iterable[str]) -> str | None:
        return None if id_number(id) in gone else split.settle(id, name, hashes)

    record = {**split.record, "exclude": exclusion.record}
    return replace(split, record=record, assign=assign, settle=settle, excluded=(*split.excluded, *excluded.lines))


def _as_published(record: Record, assign: Callable[[Pair], str | None]) -> NamedSplit:
    """Return a split that is what it is, whatever rows share."""
    return NamedSplit(record, assign, lambda id, split, hashes: split)


class _SplitsById:
    """The splits of a source's rows by their ids."""

    def __init__(self, source: Source, ids: NDArray[np.uint64], codes: Codes, kinds: NDArray[np.uint8]) -> None:
        order = np.argsort(ids, kind="stable")
        self._path = source.path
        self._ids, self._codes, self._kinds = ids[order], codes[order], kinds[order]

    def split(self, pair: Pair) -> str | None:
        return split_of_code(int(self._codes[self._row(pair.id)]))

    def settled(self, before: PackedHashes, id: str, split: str | None, hashes: Iterable[str]) -> str | None:
        """Return the split that a row gets beside what was packed `before`; see `NamedSplit.settle`."""
        kind = self._kinds[self._row(id)]
        if kind == _AS_IT_IS:
            before.note(split, hashes)
            return split
        return before.settle(split, hashes, movable=not kind)

    def _row(self, id: str) -> int:
        key = np.uint64(id_number(id))
        at = int(np.searchsorted(self._ids, key))
        if at == len(self._ids) or self._ids[at] != key:
            raise DataError(f"{self._path}: id {id!r} was not there a moment ago; pack it again at rest")
        return at


#: How rows are dealt out, by name; each gets the source, the buffer and the table that is added to.
NAMED_SPLITS: dict[str, "Callable[[Source, float | None, Table | None], NamedSplit]"] = {
    MANIFEST: _manifest,
    "blocks": _blocks,
    BUFFERED: _buffered_blocks,
    "key-digit": _key_digit,
    "geoclap": _geoclap,
    "psm-cells": _psm_cells,
}
