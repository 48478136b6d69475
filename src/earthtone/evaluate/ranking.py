"""Where each query finds its partner among all items of the other modality, in memory that does not grow with N x N.

`EmbeddedPairs` are pairs as vectors with places, twins and labels. Two engines rank them, both kept by hand since no
library gives exact ties in bounded memory: `rank_pairs` puts wrong items first where scores are equal, `average_ranks`
gives equal items their average rank, as published protocols do.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from earthtone.data.grouped_split import linked
from earthtone.errors import ConfigError, DataError, ModelError
from earthtone.geo import great_circle_km

SIMILARITIES = ("cosine", "l2")
_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class EmbeddedPairs:
    """N pairs: row i of `image` and row i of `audio` belong together.

    Raises DataError for arrays that do not fit together and for impossible coordinates, ModelError for embeddings
    that are not finite, or no unit vectors where the cosine compares them.
    """

    ids: Sequence[str]
    """The N ids of the pairs."""
    image: NDArray[np.float32]
    """(N, D); rows of length 1 for `cosine`."""
    audio: NDArray[np.float32]
    """(N, D); rows of length 1 for `cosine`."""
    longitude: NDArray[np.float64]
    """(N,) degrees, NaN when unknown."""
    latitude: NDArray[np.float64]
    """(N,) degrees, NaN when unknown."""
    image_group: NDArray[np.int64]
    """(N,) equal numbers: the identical image."""
    audio_group: NDArray[np.int64]
    """(N,) equal numbers: the identical recording."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Labels by column, N each; an empty text is no label."""
    similarity: str = "cosine"
    """How image and audio are compared: `cosine` of unit vectors, or `l2`, the Euclidean distance of any vectors."""

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise ConfigError(f"similarity is {self.similarity!r}; {' or '.join(SIMILARITIES)} expected")
        for name in ("image", "audio"):
            self._check_embeddings(name)
        if self.image.shape[1] != self.audio.shape[1]:
            raise DataError(
                f"image embeddings have {self.image.shape[1]} dimensions and audio embeddings {self.audio.shape[1]}; "
                "both must come from one model"
            )
        for name in ("longitude", "latitude", "image_group", "audio_group"):
            found = np.shape(getattr(self, name))
            if found != (len(self),):
                raise DataError(f"{name} has shape {found}; ({len(self)},) expected, one number a pair")
        for name, labels in self.columns.items():
            if len(labels) != len(self):
                raise DataError(f"column {name!r} has {len(labels)} labels for {len(self)} pairs; give one a pair")
        self._check_places()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_place(self) -> NDArray[np.bool_]:
        """Return (N,), true where the coordinates are known."""
        return np.isfinite(self.longitude)

    def twin_clusters(self) -> NDArray[np.int64]:
        """Return (N,) numbers that are equal for pairs linked by a shared image or recording, also through others."""
        groups = [np.unique(group, return_inverse=True)[1] for group in (self.image_group, self.audio_group)]
        cluster = linked(groups)
        return np.where(cluster < 0, np.arange(len(self)), cluster)

    def _check_embeddings(self, name: str) -> None:
        values = getattr(self, name)
        if values.ndim != 2 or len(values) != len(self):
            raise DataError(f"{name} embeddings have shape {values.shape}; ({len(self)}, D) expected, one row a pair")
        if values.dtype != np.float32:
            raise DataError(f"{name} embeddings are {values.dtype}; float32 expected: .astype(numpy.float32)")
        lengths = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
        unit = self.similarity == "cosine"
        right = np.abs(lengths - 1) <= _NORM_TOLERANCE if unit else np.isfinite(lengths)  # NaN is wrong in both
        if right.all():
            return
        first = int(right.argmin())
        count = f"{int((~right).sum())} of {len(self)} {name} embeddings are not"
        if not unit:
            raise ModelError(f"{count} finite, the first of id {self.ids[first]!r}: the model's training diverged")
        raise ModelError(
            f"{count} unit vectors, the first of id {self.ids[first]!r} has length {lengths[first]:.4g}; a length of "
            "nan or inf means that the model's training diverged, any other that the rows were not divided by their "
            "length"
        )

    def _check_places(self) -> None:
        half = np.isnan(self.longitude) != np.isnan(self.latitude)
        outside = (np.abs(self.longitude) > 180) | (np.abs(self.latitude) > 90)
        for rows, problem in ((half, "only one coordinate is known"), (outside, "coordinates are out of range")):
            if rows.any():
                first = int(np.flatnonzero(rows)[0])
                raise DataError(
                    f"{problem} for {int(rows.sum())} pairs, the first of id {self.ids[first]!r}: longitude "
                    f"{self.longitude[first]:g}, latitude {self.latitude[first]:g}; degrees within 180 and 90 expected,"
                    " NaN for both when unknown"
                )


DIRECTIONS = ("image_to_sound", "sound_to_image")
TWINS = ("merge", "ignore")
MAX_BYTES = 256 * 2**20
NDCG_DEPTH = 10
NDCG_DISCOUNTS = 1 / np.log2(np.arange(2, NDCG_DEPTH + 2))
_COSINE_STEP = 2.0**-24
_L2_STEP = 2.0**-26  # of four times the largest squared length: the longest squared distance is 2**28 steps
_BLOCKS = 5  # blocks an asked-for item; more find a tighter threshold and cost more

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class DirectionRanks:
    """What N queries found in a gallery of N items; arrays are by query."""

    rank: NDArray[np.int64]
    """(N,) 1 + the number of wrong items that score at least as high as the best right one."""
    relevant: NDArray[np.int64]
    """(N,) how many gallery items are right."""
    tied: NDArray[np.bool_]
    """(N,) whether a wrong item scores exactly like the best right one."""
    score: NDArray[np.float64]
    """(N,) cosine of the best right item, or minus its Euclidean distance: more is nearer."""
    ndcg: NDArray[np.float64]
    """(N,) nDCG@10."""
    top: NDArray[np.int64]
    """(N, K) gallery rows, best first; of equal scores wrong ones come first, then lower row numbers."""


def rank_pairs(
    pairs: EmbeddedPairs, *, twins: str = "merge", depth: int = 100, max_bytes: int = MAX_BYTES
) -> dict[str, DirectionRanks]:
    """Return the ranks of both directions, `image_to_sound` and `sound_to_image`, by `pairs.similarity`.

    Right for query i is item i and, with `twins="merge"`, each item whose image or recording is identical to that of
    pair i; with `twins="ignore"` item i alone. Scores are computed in float64 and rounded - cosines to multiples of
    2**-24, squared distances to multiples of 2**-26 of the largest squared distance from the mean embedding - so that
    equal items tie exactly and neither the chunks nor the machine's kernels change a rank. The scores of as many
    queries as fit `max_bytes` are held at once, at least of one. nDCG@10 has binary gains (Järvelin and Kekäläinen,
    "Cumulated gain-based evaluation of IR techniques", 2002) and the best possible order as ideal.

    Raises ConfigError for an unknown `twins`, DataError when there are no pairs.
    """
    if twins not in TWINS:
        raise ConfigError(f"twins is {twins!r}; one of {', '.join(TWINS)} expected")
    if depth < 1:
        raise ConfigError(f"depth is {depth}; at least 1 expected, the number of top items to keep")
    if not len(pairs):
        raise DataError("there are no pairs to rank; choose a split that has some")
    relevant = _relevant(pairs) if twins == "merge" else lambda row: np.array([row], dtype=np.int64)
    scoring = _cosines if pairs.similarity == "cosine" else _distances
    sides = {"image_to_sound": (pairs.image, pairs.audio), "sound_to_image": (pairs.audio, pairs.image)}
    return {
        direction: _rank_direction(scoring(queries, gallery), relevant, depth, max_bytes)
        for direction, (queries, gallery) in sides.items()
    }


@dataclass(frozen=True)
class _Scoring:
    """Scores of N queries and N items as a matrix product, in units to be rounded to whole ones; more is nearer."""

    queries: Callable[[slice], NDArray[np.float64]]
    """(n, K) for n of the queries: in float64 all of them are large."""
    items: NDArray[np.float64]
    """(K, N)"""
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """From whole units to a cosine, or to minus a distance."""


def _cosines(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> _Scoring:
    return _Scoring(
        lambda rows: queries[rows].astype(np.float64) / _COSINE_STEP,
        gallery.T.astype(np.float64),
        lambda score: score * _COSINE_STEP,
    )


def _distances(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> _Scoring:
    """Return scores by minus |q|^2 + |g|^2 - 2 qg, the squared distance, around the mean embedding: it rounds less."""
    middle = (queries.mean(axis=0, dtype=np.float64) + gallery.mean(axis=0, dtype=np.float64)) / 2
    right = gallery - middle
    squares = np.einsum("nd,nd->n", right, right)
    longest = max(float(squares.max()), max(float(((query - middle) ** 2).sum()) for query in queries))
    step = max(longest * _L2_STEP, np.finfo(np.float64).tiny)

    def left(rows: slice) -> NDArray[np.float64]:
        apart = queries[rows] - middle
        own = np.einsum("nd,nd->n", apart, apart)
        return np.concatenate([2 * apart, -own[:, None], np.full((len(own), 1), -1.0)], axis=1) / step

    items = np.concatenate([right, np.ones((len(right), 1)), squares[:, None]], axis=1)
    return _Scoring(left, np.ascontiguousarray(items.T), lambda score: -np.sqrt(np.maximum(-score, 0.0) * step))


def _rank_direction(
    scoring: _Scoring, relevant: Callable[[int], Indices], depth: int, max_bytes: int
) -> DirectionRanks:
    count = scoring.items.shape[1]
    found = DirectionRanks(
        rank=np.empty(count, np.int64), relevant=np.empty(count, np.int64), tied=np.empty(count, np.bool_),
        score=np.empty(count), ndcg=np.empty(count), top=np.empty((count, min(depth, count)), np.int64),
    )  # fmt: skip
    chunk = min(count, max(1, max_bytes // (8 * count)))
    buffer = np.empty((chunk, count))  # one for all chunks: fresh pages cost as much as the product
    for start in range(0, count, chunk):
        stop = min(start + chunk, count)
        scores = buffer[: stop - start]  # (chunk, N)
        np.matmul(scoring.queries(slice(start, stop)), scoring.items, out=scores)
        for row in range(start, stop):
            _rank_query(scores[row - start], relevant(row), found, row)
    found.score[:] = scoring.score(found.score)
    return found


def _rank_query(scores: NDArray[np.float64], right: Indices, found: DirectionRanks, row: int) -> None:
    """Fill in what one query found; `scores` is overwritten.

    An item's key is twice its score, plus one if it is wrong: the order of the keys puts wrong before right where
    scores are equal, and an even key says "right".
    """
    key = np.rint(scores, out=scores).astype(np.int32)
    key <<= 1
    key += 1
    key[right] -= 1
    first = key[right].max()
    top = largest(key, max(found.top.shape[1], NDCG_DEPTH))
    found.rank[row] = 1 + np.count_nonzero(key > first)
    found.relevant[row] = len(right)
    found.tied[row] = (key == first + 1).any()
    found.score[row] = first >> 1  # in units
    hits = key[top[:NDCG_DEPTH]] & 1 == 0
    found.ndcg[row] = NDCG_DISCOUNTS[: len(hits)][hits].sum() / NDCG_DISCOUNTS[: len(right)].sum()
    found.top[row] = top[: found.top.shape[1]]


def largest(key: NDArray[np.int32], count: int) -> Indices:
    """Return the places of the `count` largest values (all when there are fewer), largest first.

    Of equal values lower places come first. The count-th largest of the maxima of many blocks is a lower bound, below
    which nothing needs to be sorted.
    """
    width = len(key) // (_BLOCKS * count)
    if width < 2:
        return np.argsort(-key, kind="stable")[:count]
    maxima = key[: width * _BLOCKS * count].reshape(width, -1).max(axis=0)
    split = len(maxima) - count
    candidates = np.flatnonzero(key >= np.partition(maxima, split)[split])
    return candidates[np.argsort(-key[candidates], kind="stable")[:count]]


def _relevant(pairs: EmbeddedPairs) -> Callable[[int], Indices]:
    """Return a function from a row to the rows that are right for it."""
    image_members, audio_members = _members(pairs.image_group), _members(pairs.audio_group)

    def relevant(row: int) -> Indices:
        images, sounds = image_members(row), audio_members(row)
        if len(images) == 1 or len(sounds) == 1 or np.array_equal(images, sounds):
            return images if len(images) > len(sounds) else sounds
        return np.union1d(images, sounds)

    return relevant


def _members(group: NDArray[np.int64]) -> Callable[[int], Indices]:
    """Return a function from a row to the ascending rows of its group."""
    _, number, size = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(number, kind="stable").astype(np.int64)
    end = np.cumsum(size)
    return lambda row: order[end[number[row]] - size[number[row]] : end[number[row]]]


Floats = NDArray[np.float64]
Keys = NDArray[np.float32]

_MANY = 64  # items to check exactly; of more than these each distinct one once: a collapsed model has few
_SURE = 4.0  # lambda of `tolerance`: a rounding beyond it has a chance of about 2 exp(-8)


class ExactSearch:
    """Squared Euclidean distances between N queries (N, D) and a gallery of N items (N, D).

    The distances of a chunk of queries, the "keys", come from one float32 matrix product. Whatever their rounding could
    put in another order - items about as far as the own partner or as the k-th - is computed again in float64 from the
    differences themselves. So the order is that of exact distances: equal items tie exactly, and neither chunks nor
    the machine's kernels change it. The N x N distances are never held at once. With `divisor` (N,) the distance to
    gallery item j is divided by divisor[j].
    """

    def __init__(
        self, queries: NDArray[np.floating], gallery: NDArray[np.floating], divisor: Floats | None = None
    ) -> None:
        self._queries, self._gallery = queries, gallery
        self._weight = np.ones(len(gallery)) if divisor is None else divisor**-2.0
        middle = (queries.mean(axis=0, dtype=np.float64) + gallery.mean(axis=0, dtype=np.float64)) / 2
        left, right = queries - middle, gallery - middle  # distances stay, the numbers to subtract shrink
        squares = np.einsum("nd,nd->n", left, left), np.einsum("nd,nd->n", right, right)
        self._left = _columns(left, squares[0], np.ones(len(left)))
        self._right = np.ascontiguousarray(_columns(-2 * right, np.ones(len(right)), squares[1], self._weight).T)
        self._sizes, self._largest = squares[0], float(squares[1].max())
        self._heaviest = float(self._weight.max())
        self._same = first_equal(gallery)
        own = np.arange(len(queries))
        self.own: Floats = self._exact(own, own)
        """(N,) exact squared distances to the own items, weighted."""

    def tolerance(self, row: np.int64, distance: float | np.floating) -> float:
        """Return how far a float32 key of a query may be from the exact one, at keys of about `distance`.

        The rounding of an inner product of D terms is below lambda sqrt(D) 2**-24 times the sum of their sizes, but
        for chances that vanish with lambda (Higham and Mary, "A new approach to probabilistic rounding error
        analysis", 2019); here the sizes sum to at most 2 (|q|^2 + |g|^2). An item at a squared distance d has
        |g|^2 <= 2 (|q|^2 + d): so a few items that lie far out do not make all others uncertain.
        """
        own = float(self._sizes[row]) * self._heaviest
        sizes = min(own + self._largest * self._heaviest, 3 * own + 2 * float(distance))
        return _SURE * math.sqrt(self._left.shape[1]) * 2.0**-24 * 2 * sizes

    def chunks(self, size: int) -> Iterator[tuple[Indices, Keys]]:
        """Yield row numbers of `size` queries and their keys (size, N), which are overwritten by the next."""
        count = len(self._queries)
        buffer = np.empty((min(size, count), count), np.float32)
        for start in range(0, count, size):
            rows = np.arange(start, min(start + size, count))
            keys = buffer[: len(rows)]
            np.matmul(self._left[rows], self._right, out=keys)
            yield rows, np.maximum(keys, 0, out=keys)

    def _exact(self, queries: Indices | np.int64, items: Indices) -> Floats:
        """Return the weighted squared distances, in float64, of items from their queries, or all from one."""
        if items.ndim == 1 and np.ndim(queries) == 0 and len(items) > _MANY:
            distinct, back = np.unique(self._same[items], return_inverse=True)
            if len(distinct) < len(items):
                return self._squares(queries, distinct)[back] * self._weight[items]
        return self._squares(queries, items) * self._weight[items]

    def _squares(self, queries: Indices | np.int64, items: Indices) -> Floats:
        apart = self._queries[queries].astype(np.float64) - self._gallery[items]
        squares: Floats = np.einsum("...d,...d->...", apart, apart)
        return squares

    def before_own(self, row: np.int64, key: Keys) -> tuple[int, int]:
        """Return how many items are nearer to a query than its own, and how many exactly as far, with itself."""
        own = self.own[row]
        tolerance = self.tolerance(row, own)
        low, high = np.float32(own - tolerance), np.float32(own + tolerance)
        nearer = int(np.count_nonzero(key < low))
        if np.count_nonzero(key <= high) - nearer <= 1:
            return nearer, 1
        exact = self._exact(row, ((key >= low) & (key <= high)).nonzero()[0])
        return nearer + int(np.count_nonzero(exact < own)), int(np.count_nonzero(exact == own))

    def nearest(self, rows: Indices, keys: Keys, among: Indices | None, depth: int) -> tuple[Indices, Keys]:
        """Return the `depth` nearest items of each row, ascending by number, and their keys; both (rows, depth).

        `keys` (rows, M) are those of the items `among` (rows, M) in ascending order, of all items when None.
        """
        if keys.shape[1] == depth:
            return np.tile(np.arange(depth), (len(rows), 1)) if among is None else among, keys
        chosen = np.empty((len(rows), depth), np.int64)
        for at, (row, key) in enumerate(zip(rows, keys, strict=True)):
            last = np.partition(key, depth - 1)[depth - 1]
            slack = np.float32(2 * self.tolerance(row, last))
            places = (key <= last + slack).nonzero()[0]
            if len(places) > depth:
                items = places if among is None else among[at, places]
                places = places[self._first(row, items, key[places] < last - slack, depth)]
            chosen[at] = places
        kept = np.take_along_axis(keys, chosen, axis=1)
        return (chosen if among is None else np.take_along_axis(among, chosen, axis=1)), kept

    def _first(self, row: np.int64, items: Indices, sure: NDArray[np.bool_], depth: int) -> Indices:
        """Return the places of the `depth` nearest among a few more items, ascending; those that are `sure` stay."""
        unsure = np.flatnonzero(~sure)
        order = np.argsort(self._exact(row, items[unsure]), kind="stable")
        inside = sure.nonzero()[0]
        return np.sort(np.concatenate([inside, unsure[order[: depth - len(inside)]]]))

    def ordered(self, rows: Indices, items: Indices) -> Indices:
        """Return the items of each row, (rows, K) ascending by number, nearest first; equal ones stay in order."""
        order = np.argsort(self._exact(rows[:, None], items), axis=1, kind="stable")
        return np.take_along_axis(items, order, axis=1)


def normalised_rows(values: NDArray[np.floating]) -> Floats:
    """Return the rows (N, D) at length 1, in float64; a row of zeros stays."""
    rows = values.astype(np.float64)
    lengths: Floats = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = rows / np.where(lengths > 0, lengths, 1.0)
    return unit


def first_equal(points: NDArray[np.floating]) -> Indices:
    """Return for each row (N, D) the number of the first row that is equal to it, bit for bit."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(point.tobytes(), number) for number, point in enumerate(points)], np.int64)


def _columns(points: Floats, one: Floats, other: Floats, weight: Floats | None = None) -> Keys:
    """Return (N, D + 2) float32; the large columns come last, so that fewer sums are rounded at their size."""
    columns = np.concatenate([points, one[:, None], other[:, None]], axis=1)
    return (columns if weight is None else columns * weight[:, None]).astype(np.float32)


AVERAGE_RANKS_MAX_BYTES = 16 * 2**20
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

    @cached_property
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
    max_bytes: int = AVERAGE_RANKS_MAX_BYTES,
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
    for rows, keys in search.chunks(min(_ROWS, max(1, max_bytes // (4 * count)))):
        if divisor is None:
            found.mean_distance[rows] = [np.sqrt(key).mean(dtype=np.float64) for key in keys]
        for row, key in zip(rows, keys, strict=True):
            nearer, equal = search.before_own(row, key)
            found.rank[row] = nearer + (equal + 1) / 2
            found.tied[row], last[row] = equal > 1, nearer + equal
        _fill_nearest(search, rows, keys, last[rows], places, found)
    return found


def _fill_nearest(
    search: ExactSearch, rows: Indices, keys: Keys, last: Indices, places: Places, found: AverageRanks
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
                found.km[depth][chosen] = _km_to_nearest(chosen, near, places)
            if depth == found.top.shape[1]:
                found.top[chosen] = search.ordered(chosen, near)


def _km_to_nearest(rows: Indices, items: Indices, places: Places) -> Floats:
    """Return (rows,) km from each query's known place to the nearest of the places of its items (rows, K)."""
    asking = places.directions[rows]
    asking[:, 3] = 1.0
    cosine = (places.directions[items] @ asking[:, :, None])[..., 0]  # below -2 where the item's place is unknown
    best = cosine.argmax(axis=1)
    km = places.km(rows, items[np.arange(len(rows)), best])
    close = cosine >= cosine[np.arange(len(rows)), best, None] - _SAME_PLACE
    for at in np.flatnonzero(np.count_nonzero(close, axis=1) > 1):
        km[at] = places.km(rows[at], items[at, close[at]]).min()
    return km
