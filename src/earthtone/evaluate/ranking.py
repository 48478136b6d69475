"""Where each query finds its partner among all items of the other modality, in memory that does not grow with N x N."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.embedded import EmbeddedPairs

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
    relevant = _relevant(pairs) if twins == "merge" else _itself
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
    """From whole units to what is told: a cosine, or minus a distance."""


def _cosines(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> _Scoring:
    return _Scoring(
        lambda rows: queries[rows].astype(np.float64) / _COSINE_STEP,
        gallery.T.astype(np.float64),
        lambda score: score * _COSINE_STEP,
    )


def _distances(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> _Scoring:
    """Minus the squared distances |q|^2 + |g|^2 - 2 qg, around the mean embedding: smaller numbers are rounded less."""
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
    found.ndcg[row] = _ndcg(key[top[:NDCG_DEPTH]] & 1 == 0, len(right))
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


def _ndcg(hits: NDArray[np.bool_], relevant: int) -> float:
    return float(NDCG_DISCOUNTS[: len(hits)][hits].sum() / NDCG_DISCOUNTS[:relevant].sum())


def _itself(row: int) -> Indices:
    return np.array([row], dtype=np.int64)


def _relevant(pairs: EmbeddedPairs) -> Callable[[int], Indices]:
    """A function from a row to the rows that are right for it."""
    image_members, audio_members = _members(pairs.image_group), _members(pairs.audio_group)

    def relevant(row: int) -> Indices:
        images, sounds = image_members(row), audio_members(row)
        if len(images) == 1 or len(sounds) == 1 or np.array_equal(images, sounds):
            return images if len(images) > len(sounds) else sounds
        return np.union1d(images, sounds)

    return relevant


def _members(group: NDArray[np.int64]) -> Callable[[int], Indices]:
    """A function from a row to the ascending rows of its group."""
    _, number, size = np.unique(group, return_inverse=True, return_counts=True)
    order = np.argsort(number, kind="stable").astype(np.int64)
    end = np.cumsum(size)
    return lambda row: order[end[number[row]] - size[number[row]] : end[number[row]]]
