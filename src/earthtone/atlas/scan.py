"""Exact search: the k rows of a table of embeddings that are nearest to each query, all rows looked at.

A score is the dot product of the stored vector and the query, or minus the squared Euclidean distance where the table's
vectors are not of length 1; taken in float64, then rounded to float32. Equal scores are in the order of the ids. What
decides is always this exact score: faster passes in float32 only say which rows cannot be among the k.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from earthtone.atlas.embeddings import EmbeddingTable
from earthtone.errors import ConfigError, DataError

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]

BLOCK_ROWS = 65_536
_EXACT_ROWS = 8_192  # held as float64 at once
_UNIT = 2.0**-24  # the largest relative error of one rounding to float32


def top_k(
    queries: NDArray[np.floating[Any]], store: EmbeddingTable, k: int, rows: Rows | None = None
) -> tuple[Floats, Rows]:
    """Return the scores (Q, k) and row numbers (Q, k) of the k best rows for each query (Q, D), best first.

    `rows` (ascending) are the only ones looked at, all by default. Where there are fewer than k, all are returned.
    Equal scores are in the order of id, modality, start and row.

    Raises ConfigError for queries of another width, ConfigError and DataError for what is not finite.
    """
    queries = _checked(queries, store.card.dimensions, k)
    rows = _checked_rows(rows, len(store))
    best = _Best(queries, k, store.card.unit, _Order(store))
    for numbers, vectors in _parts(store, rows):
        best.offer_all(numbers, vectors)
    return best.scores, best.rows


def exact_scores(query: Doubles, vectors: NDArray[np.floating[Any]], unit: bool) -> Floats:
    """Return the scores (N,) of vectors (N, D) for a query (D,), each the same whatever other rows are beside it."""
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _EXACT_ROWS):
        part = vectors[start : start + _EXACT_ROWS].astype(np.float64)
        terms = part * query if unit else -np.square(part - query)
        found[start : start + _EXACT_ROWS] = terms.sum(axis=1)
    return found


class _Order:
    """The place of each row in the order of the ids, made when two rows tie for the first time."""

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._places: Rows | None = None

    def __call__(self, rows: Rows) -> Rows:
        if self._places is None:
            self._places = id_order(self._table)
        return self._places[rows]


def id_order(table: EmbeddingTable) -> Rows:
    """Return for each row its place (N,) in the order of id, modality, start and row."""
    columns = ("id", "modality", "start_s")
    order = pc.sort_indices(table.columns(columns), sort_keys=[(name, "ascending") for name in columns])
    places = np.empty(len(order), np.int64)
    places[order.to_numpy()] = np.arange(len(order))
    return places


class _Best:
    """The k best rows so far of each query."""

    def __init__(self, queries: Doubles, k: int, unit: bool, order: _Order) -> None:
        self._queries, self._k, self._unit, self._order = queries, k, unit, order
        self._scores = [np.empty(0, np.float32) for _ in queries]
        self._rows = [np.empty(0, np.int64) for _ in queries]

    @property
    def scores(self) -> Floats:
        return np.stack(self._scores) if self._scores else np.empty((0, 0), np.float32)

    @property
    def rows(self) -> Rows:
        return np.stack(self._rows) if self._rows else np.empty((0, 0), np.int64)

    def least(self, query: int) -> float:
        """Return the score that a row must reach to come among the best of a query."""
        found = self._scores[query]
        return float(found[-1]) if len(found) == self._k else -np.inf

    def offer(self, query: int, rows: Rows, vectors: Floats) -> None:
        """Take what is better than what is there."""
        scores = exact_scores(self._queries[query], vectors, self._unit)
        reached = scores >= self.least(query)
        scores = np.concatenate([self._scores[query], scores[reached]])
        rows = np.concatenate([self._rows[query], rows[reached]])
        if len(scores) > self._k:  # all that tie with the last one stay for now
            reached = scores >= np.partition(scores, -self._k)[-self._k]
            scores, rows = scores[reached], rows[reached]
        tied = len(np.unique(scores)) < len(scores)
        order = np.lexsort((self._order(rows), -scores) if tied else (-scores,))[: self._k]
        self._scores[query], self._rows[query] = scores[order], rows[order]

    def offer_all(self, rows: Rows, vectors: Floats) -> None:
        """Offer rows to each query, after a pass in float32 that leaves out what cannot be among the best.

        A sum of D products in float32, in any order, differs from the exact one by at most g |q| |v|, where
        g = D u / (1 - D u) and u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1); with
        the rounding of the query and of the score itself D + 3 roundings. Distances are 2 q v - |v|^2 - |q|^2 around
        the mean of the rows, whose subtraction is one rounding more a number: at most 2 g (|q| + |v|)^2, with D + 8.
        """
        if self._unit:
            shift, count = np.zeros(vectors.shape[1]), vectors.shape[1] + 3
        else:
            shift, count = vectors.mean(axis=0, dtype=np.float64), vectors.shape[1] + 8
        near = (vectors - shift).astype(np.float32)
        squares = np.einsum("nd,nd->n", near, near, dtype=np.float64)
        queries = self._queries - shift
        lengths = np.linalg.norm(queries, axis=1)
        bound = count * _UNIT / (1 - count * _UNIT)
        products = near @ queries.astype(np.float32).T
        for query, length in enumerate(lengths):
            if self._unit:
                scores, error = products[:, query], bound * length * np.sqrt(squares)
            else:
                scores = 2.0 * products[:, query] - squares - length**2
                error = 2 * bound * (length + np.sqrt(squares)) ** 2
            low = scores - error
            least = self.least(query)
            if len(low) > self._k:
                least = max(least, float(np.partition(low, -self._k)[-self._k]))
            picked = np.flatnonzero(scores + error >= least)
            self.offer(query, rows[picked], vectors[picked])


def _parts(table: EmbeddingTable, rows: Rows | None) -> Iterator[tuple[Rows, Floats]]:
    """Yield row numbers and vectors of a table, a block at once."""
    if rows is not None and len(rows) * 16 < len(table):  # to read a few is faster by number
        for start in range(0, len(rows), BLOCK_ROWS):
            part = rows[start : start + BLOCK_ROWS]
            yield part, _finite(table, table.vectors(part))
        return
    start = 0
    for vectors in table.blocks(BLOCK_ROWS):
        numbers = np.arange(start, start + len(vectors))
        start += len(vectors)
        if rows is not None:
            numbers = rows[slice(*np.searchsorted(rows, [numbers[0], start]))] if len(numbers) else numbers
            vectors = vectors[numbers - (start - len(vectors))]
        if len(numbers):
            yield numbers, _finite(table, vectors)


def _finite(table: EmbeddingTable, vectors: Floats) -> Floats:
    if not np.isfinite(vectors).all():
        raise DataError(f"{table.path}: vectors that are not finite: a damaged table; embed the data again")
    return vectors


def _checked(queries: NDArray[np.floating[Any]], dimensions: int, k: int) -> Doubles:
    if k < 1:
        raise ConfigError(f"k is {k}; at least 1 expected")
    if queries.ndim != 2 or queries.shape[1] != dimensions:
        raise ConfigError(f"queries have shape {queries.shape}; (Q, {dimensions}) expected, the width of the table")
    found = queries.astype(np.float64)
    if not np.isfinite(found).all():
        raise ConfigError("a query is not finite; the model, or what was put into it, is damaged")
    return found


def _checked_rows(rows: Rows | None, count: int) -> Rows | None:
    if rows is None:
        return None
    if len(rows) and (rows[0] < 0 or rows[-1] >= count or (np.diff(rows) <= 0).any()):
        raise ConfigError(f"row numbers must ascend from 0 to less than {count:,}, each once")
    return rows


def open_store(table: EmbeddingTable, folder: Path) -> tuple[EmbeddingTable, str | None]:
    """Return what `top_k` reads fastest, and a line on why that is not what lies in `folder`, if anything should."""
    return table, None


def write_blocks(table: EmbeddingTable, folder: Path) -> Path:
    """Write into `folder` what makes the search of a table fast, whole or not at all, and return its path."""
    raise NotImplementedError
