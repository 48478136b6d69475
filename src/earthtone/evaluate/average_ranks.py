"""Ranks as published protocols count them: by distance, average rank for ties, and what lies nearest on the globe."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthtone.evaluate.exact_search import ExactSearch, Floats, Indices, Keys
from earthtone.evaluate.geodesy import great_circle_km

MAX_BYTES = 16 * 2**20
TOP = 10
_ROWS = 512  # queries at once: a thousand places for each of them are in memory
_SAME_PLACE = 1e-14  # cosines nearer than this are told apart by the haversine formula


@dataclass(frozen=True)
class AverageRanks:
    """What N queries found in a gallery of N items, query i looking for item i; arrays are by query."""

    rank: Floats
    """(N,) 1 + the number of nearer items + half the number of other items that are exactly as far."""
    tied: NDArray[np.bool_]
    """(N,) whether another item is exactly as far as the own partner."""
    distance: Floats
    """(N,) Euclidean distance to the own partner, divided by its divisor where there is one."""
    mean_distance: Floats
    """(N,) mean distance to all items, from float32 distances."""
    top: Indices
    """(N, min(10, N)) rows of the nearest items, nearest first; of equal ones lower row numbers first."""
    km: Mapping[int, Floats]
    """For each depth k (N,) km from the query's place to the nearest of the places of the k nearest items; NaN where
    no place is known."""


@dataclass(frozen=True)
class Places:
    """Where the N pairs are: (N,) degrees, NaN when unknown."""

    longitude: Floats
    latitude: Floats

    def directions(self) -> Floats:
        """Return (N, 4): unit vectors, and -4 in the fourth column where the place is unknown (their vector is 0)."""
        east, north = np.radians(self.longitude), np.radians(self.latitude)
        columns = [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)]
        unknown = np.where(np.isnan(self.longitude), -4.0, 0.0)
        directions: Floats = np.nan_to_num(np.stack([*columns, unknown], axis=1), nan=0.0)
        return directions

    def km(self, one: Indices | np.int64, other: Indices) -> Floats:
        """Return the great-circle distances between rows."""
        there = self.longitude[other], self.latitude[other]
        return great_circle_km(self.longitude[one], self.latitude[one], *there)


def average_ranks(
    queries: NDArray[np.floating],
    gallery: NDArray[np.floating],
    places: Places,
    *,
    depths: tuple[int, ...] = (),
    divisor: Floats | None = None,
    max_bytes: int = MAX_BYTES,
) -> AverageRanks:
    """Return where each of N queries (N, D) finds its own item of the gallery (N, D), by Euclidean distance.

    With `divisor` (N,) the distance to gallery item j is divided by divisor[j] first. `depths` are the k of `km`, each
    at most N. `max_bytes` bounds the distances held at once (at least those of one query). Ranks are those of exact
    distances, see `ExactSearch`: equal items tie exactly, whatever the chunks.
    """
    search = ExactSearch(queries, gallery, divisor)
    count = len(queries)
    last = np.empty(count, np.int64)  # the place of the own item, or of the last of those that tie with it
    found = AverageRanks(
        rank=np.empty(count), tied=np.empty(count, np.bool_), distance=np.sqrt(search.own),
        mean_distance=np.empty(count), top=np.empty((count, min(TOP, count)), np.int64),
        km={k: np.full(count, np.nan) for k in depths},
    )  # fmt: skip
    directions = places.directions()
    for rows, keys in search.chunks(min(_ROWS, max(1, max_bytes // (4 * count)))):
        if divisor is None:
            found.mean_distance[rows] = [np.sqrt(key).mean(dtype=np.float64) for key in keys]
        for row, key in zip(rows, keys, strict=True):
            nearer, equal = search.before_own(row, key)
            found.rank[row] = nearer + (equal + 1) / 2
            found.tied[row], last[row] = equal > 1, nearer + equal
        _fill_nearest(search, rows, keys, last[rows], directions, places, found)
    return found


def _fill_nearest(
    search: ExactSearch,
    rows: Indices,
    keys: Keys,
    last: Indices,
    directions: Floats,
    places: Places,
    found: AverageRanks,
) -> None:
    """Fill in `top` and `km`. A query that finds its own item among the first k is 0 km off: nothing to search."""
    known = np.isfinite(places.longitude[rows])
    depths = np.array(sorted(found.km), np.int64)
    for k, km in found.km.items():
        km[rows[known & (last <= k)]] = 0.0
    missed = np.where(known, np.searchsorted(depths, last), 0)  # so many of the depths
    for number in np.unique(missed):
        at = np.flatnonzero(missed == number)
        chosen, some, near = rows[at], keys[at], None
        for depth in sorted({*depths[:number].tolist(), found.top.shape[1]}, reverse=True):
            near, some = search.nearest(chosen, some, near, depth)
            if depth in depths[:number]:
                found.km[depth][chosen] = _km_to_nearest(chosen, near, directions, places)
            if depth == found.top.shape[1]:
                found.top[chosen] = search.ordered(chosen, near)


def _km_to_nearest(rows: Indices, items: Indices, directions: Floats, places: Places) -> Floats:
    """Return (rows,) km from each query's known place to the nearest of the places of its items (rows, K)."""
    asking = directions[rows]
    asking[:, 3] = 1.0
    cosine = (directions[items] @ asking[:, :, None])[..., 0]  # below -2 where the item's place is unknown
    best = cosine.argmax(axis=1)
    km = places.km(rows, items[np.arange(len(rows)), best])
    close = cosine >= cosine[np.arange(len(rows)), best, None] - _SAME_PLACE
    for at in np.flatnonzero(np.count_nonzero(close, axis=1) > 1):
        km[at] = places.km(rows[at], items[at, close[at]]).min()
    return km
