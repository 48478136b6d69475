"""Splits by name, for whole sources: the data's own, by place, and as published works dealt their rows out."""

import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.pair import SPLITS, Pair
from earthtone.data.source import Source, items_skipping
from earthtone.data.split import (
    assign_split,
    block_cell,
    block_split,
    buffered_block_split,
    hash_split,
    key_digit_split,
)
from earthtone.errors import ConfigError, DataError
from earthtone.progress import progress
from earthtone.wording import did_you_mean

MANIFEST = "manifest"
BUFFERED = "buffered-blocks"
DEFAULT_BUFFER_KM = 1.0
_LARGEST_BUFFER_KM = 50.0  # in blocks of 10 km even 10 km of buffer leave hardly a pair
_BLOCK_KM = 10.0
_SEED = 42  # of both published splits
_PSM_LEAST, _PSM_HELD_OUT, _PSM_VAL = 25, 0.35, 0.40

Record = Mapping[str, Any]
Assign = Callable[[Pair, str], str | None]


@dataclass(frozen=True)
class NamedSplit:
    """A way to deal rows out to train, val and test, ready for one source."""

    record: Record
    """What identifies it: `by`, its parameters and, where one row's split depends on the others, rows and a digest."""
    assign: Assign
    """The split of a pair, given a hash of its image; None: it is in no split."""


def named_split(by: str, source: Source, *, buffer_km: float | None = None) -> NamedSplit:
    """Return the split `by` for the rows of `source`; one pass over its metadata where rows depend on each other.

    Memory is 17 bytes a row. Raises ConfigError for an unknown name and for a buffer that is none or has no effect,
    DataError for a source that cannot be split so.
    """
    check_split_by(by, buffer_km)
    return NAMED_SPLITS[by](source, buffer_km)


def check_split_by(by: str, buffer_km: float | None = None) -> None:
    """Raise ConfigError for an unknown name of a split, and for a buffer that is none or has no effect."""
    if by not in NAMED_SPLITS:
        raise ConfigError(f"split_by {by!r}; {did_you_mean(by, NAMED_SPLITS)}one of {', '.join(NAMED_SPLITS)} expected")
    if buffer_km is not None and by != BUFFERED:
        raise ConfigError(f"--buffer_km has no effect with --split_by {by}; leave it out or type --split_by {BUFFERED}")
    if buffer_km is not None and not 0 < buffer_km <= _LARGEST_BUFFER_KM:
        raise ConfigError(f"buffer_km is {buffer_km}; more than 0 and at most {_LARGEST_BUFFER_KM:g} expected")


def split_in_words(record: Record) -> str:
    """Return how a recorded split deals rows out, for reports: its name and what that means."""
    by = str(record.get("by", MANIFEST))
    meaning = {
        MANIFEST: "the data's own splits; rows without one by blocks of 10 km, 70/10/20",
        "blocks": "blocks of 10 km, 70/10/20",
        BUFFERED: f"blocks of 10 km, 70/10/20, without pairs within {record.get('buffer_km')} km of another split's",
        "key-digit": "the key's last digit: 2 and 5 test, 7 validate, neighbours in several splits",
        "geoclap": f"a random 70/10/20 (seed {_SEED}), neighbours in several splits",
        "psm-cells": f"cells of 10 km: {_PSM_HELD_OUT:.0%} of those with {_PSM_LEAST} pairs or more are val and test",
    }.get(by, "unknown to this version")
    return f"{by}: {meaning}"


def by_manifest(pair: Pair, content: str) -> str | None:
    """Return the pair's split: its own, its place's, or that of its image, so that copies of one stay together."""
    placeless = pair.longitude is None or pair.latitude is None
    return hash_split(content) if pair.split is None and placeless else assign_split(pair)


def _manifest(source: Source, buffer_km: float | None) -> NamedSplit:
    return NamedSplit({"by": MANIFEST}, by_manifest)


def _blocks(source: Source, buffer_km: float | None) -> NamedSplit:
    def assign(pair: Pair, content: str) -> str | None:
        if pair.longitude is None or pair.latitude is None:
            return hash_split(content)
        return block_split(pair.longitude, pair.latitude, block_km=_BLOCK_KM)

    return NamedSplit({"by": "blocks", "block_km": _BLOCK_KM}, assign)


def _buffered_blocks(source: Source, buffer_km: float | None) -> NamedSplit:
    km = DEFAULT_BUFFER_KM if buffer_km is None else buffer_km

    def assign(pair: Pair, content: str) -> str | None:
        if pair.longitude is None or pair.latitude is None:
            return None  # it may lie anywhere, also beside a test pair
        return buffered_block_split(pair.longitude, pair.latitude, block_km=_BLOCK_KM, buffer_km=km)

    return NamedSplit({"by": BUFFERED, "block_km": _BLOCK_KM, "buffer_km": km}, assign)


def _key_digit(source: Source, buffer_km: float | None) -> NamedSplit:
    for pair in _pairs(source):
        if not (pair.id.isascii() and pair.id.isdigit()):
            raise DataError(
                f"{source.path}: id {pair.id!r} is no whole number, so --split_by key-digit cannot read its last "
                "digit; choose another one, or the column with the key: --columns id=key"
            )
    return NamedSplit({"by": "key-digit"}, lambda pair, _: key_digit_split(int(pair.id[-1])))


def _geoclap(source: Source, buffer_km: float | None) -> NamedSplit:
    """GeoCLAP's (arXiv 2309.10667): rows in the order of the file, shuffled as pandas' `sample(frac=1,
    random_state=42)` does, cut at int(0.7 n) and int(0.8 n): 50,792 rows are 35,554 / 5,079 / 10,159."""
    rows = _Rows(source, lambda pair: 0)
    return rows.dealt({"by": "geoclap", "seed": _SEED}, geoclap_codes(len(rows.keys)))


def geoclap_codes(count: int) -> NDArray[np.uint8]:
    """Return (count,) numbers of `SPLITS`, by row in the order of the file."""
    order = np.random.RandomState(_SEED).permutation(count)  # the old generator: it is pandas'
    codes = np.empty(count, np.uint8)
    for code, part in enumerate(np.split(order, [int(0.70 * count), int(0.8 * count)])):
        codes[part] = code
    return codes


def _psm_cells(source: Source, buffer_km: float | None) -> NamedSplit:
    """PSM's (arXiv 2408.07050) on proper cells: see `psm_codes`. Rows without a place are in no split."""
    rows = _Rows(source, _cell_number)
    record = {"by": "psm-cells", "cell_km": _BLOCK_KM, "least": _PSM_LEAST, "seed": _SEED}
    return rows.dealt(record, psm_codes(np.array(rows.values, np.int64)))


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
    band, bin_ = block_cell(pair.longitude, pair.latitude, block_km=_BLOCK_KM)
    return band << 32 | bin_


class _Rows:
    """One pass over a source: a hash of each pair's id, and a number that the pair has by `value`."""

    def __init__(self, source: Source, value: Callable[[Pair], int]) -> None:
        self._path = source.path
        self.keys, self.values = array("Q"), array("q")
        for pair in _pairs(source):
            self.keys.append(_key(pair.id))
            self.values.append(value(pair))

    def dealt(self, record: dict[str, Any], codes: NDArray[np.uint8]) -> NamedSplit:
        """Return the split that gives row i the split number `codes[i]`, and knows it by the id."""
        keys = np.array(self.keys, np.uint64)
        order = np.argsort(keys, kind="stable")
        keys, codes = keys[order], codes[order]
        digest = hashlib.blake2b(keys.tobytes() + codes.tobytes(), digest_size=8).hexdigest()
        names: list[str | None] = [*SPLITS, None]

        def assign(pair: Pair, content: str) -> str | None:
            key = np.uint64(_key(pair.id))
            at = int(np.searchsorted(keys, key))
            if at == len(keys) or keys[at] != key:
                raise DataError(f"{self._path}: id {pair.id!r} was not there a moment ago; pack it again at rest")
            return names[int(codes[at])]

        return NamedSplit({**record, "rows": len(keys), "digest": digest}, assign)


def _pairs(source: Source) -> Any:
    """Yield the pairs that can be read, without their media where that saves work."""
    items = progress(items_skipping(source, lambda number, name: True), total=len(source), label="split")
    return (item for item in items if isinstance(item, Pair))


def _key(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


#: How rows are dealt out, by name; each gets the source and the buffer.
NAMED_SPLITS: dict[str, Callable[[Source, float | None], NamedSplit]] = {
    MANIFEST: _manifest,
    "blocks": _blocks,
    BUFFERED: _buffered_blocks,
    "key-digit": _key_digit,
    "geoclap": _geoclap,
    "psm-cells": _psm_cells,
}
