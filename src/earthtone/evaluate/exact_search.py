"""Exact order by distance at the price of an inexact one: quick float32 keys, checked in float64 where it matters."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
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


def first_equal(points: NDArray[np.floating]) -> Indices:
    """Return for each row (N, D) the number of the first row that is equal to it, bit for bit."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(point.tobytes(), number) for number, point in enumerate(points)], np.int64)


def _columns(points: Floats, one: Floats, other: Floats, weight: Floats | None = None) -> Keys:
    """Return (N, D + 2) float32; the large columns come last, so that fewer sums are rounded at their size."""
    columns = np.concatenate([points, one[:, None], other[:, None]], axis=1)
    return (columns if weight is None else columns * weight[:, None]).astype(np.float32)
