"""Exact search: the k rows of a table of embeddings that are nearest to each query, all rows looked at.

A score is the dot product of the stored vector and the query, or minus the squared Euclidean distance where the table's
vectors are not of length 1; taken in float64, then rounded to float32. Equal scores are in the order of the ids. What
decides is always this exact score: faster passes, in int8 over the block file (`atlas/blocks.py`) or in float32, only
say which rows cannot be among the k.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.atlas.blocks import BLOCK_ROWS, PART_ROWS, Blocks, id_order, open_blocks, write_blocks
from earthtone.atlas.embeddings import BLOCKS, EmbeddingTable
from earthtone.errors import ConfigError, DataError, shell_line

__all__ = ["Blocks", "Floats", "Rows", "Store", "exact_scores", "id_order", "open_store", "top_k", "write_blocks"]

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]
Store: TypeAlias = EmbeddingTable | Blocks

_AT_ONCE = 64  # queries of one pass over the table
_FEW_ROWS = 4_096  # are looked at in float32 without a pass in int8
_SPARSE = 8  # a block of which less than one row in so many is asked for: these rows are copied together first
_GATHERED_ROWS = 16_384  # of them at once
_SAMPLED_ROWS = 8_192  # among which k are sought first
_EXACT_PAIRS = 8_192  # held as float64 at once
_WAITING_PAIRS = 256  # of a query and a row that may be among the best, before they are scored
_UNIT = 2.0**-24  # the largest relative error of one rounding to float32
_TINY = 2.0**-140  # more than what underflow loses
_LOWEST = np.iinfo(np.int32).min


def open_store(table: EmbeddingTable, folder: Path | None = None) -> tuple[Store, str | None]:
    """Return what `top_k` reads, and a line for users where it is not the block file in `folder` (default: `E/index`).

    Without a block file, or with one of another state of the table, it is the table itself: slower, and as right.
    Raises DataError for a damaged block file.
    """
    folder = table.path.parent / BLOCKS if folder is None else Path(folder)
    blocks = open_blocks(table, folder)
    if blocks is not None:
        return blocks, None
    line = shell_line("earthtone", "index", folder.parent)
    return table, f"the search reads the whole table; it is many times faster after: {line}"


def top_k(queries: NDArray[np.floating[Any]], store: Store, k: int, rows: Rows | None = None) -> tuple[Floats, Rows]:
    """Return the scores (Q, k) and row numbers (Q, k) of the k best rows for each query (Q, D), best first.

    `rows` (ascending) are the only ones looked at, all by default. Where there are fewer than k, all are returned.
    Equal scores are in the order of id, modality, start and row.

    Raises ConfigError for queries of another width, ConfigError and DataError for what is not finite.
    """
    queries = _checked(queries, store.card.dimensions, k)
    count = len(store) if rows is None else len(_checked_rows(rows, len(store)))
    k = min(k, count)
    found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    if k:
        for start in range(0, len(queries), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            best = _Best(queries[part], k, store)
            if isinstance(store, Blocks) and count > _FEW_ROWS:
                _CodeScan(best, store).run(None if rows is None else store.at_rows(rows))
            else:
                for numbers, vectors in _vectors_of(store, rows):
                    best.offer_all(numbers, vectors)
            found[0][part], found[1][part] = best.scores, best.rows
    return found


def exact_scores(queries: Doubles, vectors: NDArray[np.floating[Any]], unit: bool) -> Floats:
    """Return the scores (N,) of vectors (N, D) for one query (D,) or for one each (N, D).

    A vector's score is the same whatever other ones are beside it.
    """
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _EXACT_PAIRS):
        part = slice(start, start + _EXACT_PAIRS)
        left, right = queries[part] if queries.ndim == 2 else queries, vectors[part].astype(np.float64)
        terms = left * right if unit else -np.square(left - right)
        with np.errstate(over="ignore"):  # to minus infinity, which is the last
            found[part] = terms.sum(axis=1)
    return found


class _Best:
    """The k best rows so far of each query."""

    def __init__(self, queries: Doubles, k: int, store: Store) -> None:
        self.queries, self.k, self.unit = queries, k, store.card.unit
        self.scores = np.full((len(queries), k), -np.inf, np.float32)
        self.rows = np.full((len(queries), k), -1, np.int64)  # -1: none yet
        self.least = np.full(len(queries), -np.inf)
        """(Q,) what a row must score to come among the best of a query."""
        self._store = store
        self._places: Rows | None = None

    def offer(self, of: Rows, rows: Rows, vectors: NDArray[np.floating[Any]]) -> None:
        """Take what is better than what is there of N pairs of a query's number and a row, with the rows' vectors."""
        scores = exact_scores(self.queries[of], vectors, self.unit)
        reached = scores >= self.least[of]
        known = np.flatnonzero(self.rows >= 0)
        of = np.concatenate([known // self.k, of[reached]])
        rows = np.concatenate([self.rows.ravel()[known], rows[reached]])
        scores = np.concatenate([self.scores.ravel()[known], scores[reached]])
        _, once = np.unique(of * (rows.max(initial=0) + 1) + rows, return_index=True)
        of, rows, scores = of[once], rows[once], scores[once]
        order = np.lexsort((-scores, of))
        if ((of[order[1:]] == of[order[:-1]]) & (scores[order[1:]] == scores[order[:-1]])).any():
            order = np.lexsort((self._id_places(rows), -scores, of))
        of, rows, scores = of[order], rows[order], scores[order]
        place = np.arange(len(of)) - np.searchsorted(of, of)
        first = place < self.k
        self.rows[of[first], place[first]], self.scores[of[first], place[first]] = rows[first], scores[first]
        full = self.rows[:, -1] >= 0
        self.least[full] = self.scores[full, -1]

    def offer_all(self, rows: Rows, vectors: Floats, of: Rows | None = None) -> None:
        """Offer rows (N,) to each query, or to some, after a pass in float32 that leaves out what is too far.

        A sum of D products in float32, in any order, differs from the exact one by at most g |q| |v|, where
        g = D u / (1 - D u) and u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1); with
        the rounding of the query and of the score itself D + 3 roundings. Distances are 2 q v - |v|^2 - |q|^2 around
        the mean of the rows, whose subtraction is one rounding more a number: at most 2 g (|q| + |v|)^2, with D + 8.
        """
        of = np.arange(len(self.queries)) if of is None else of
        queries, count = self.queries[of], vectors.shape[1] + 8
        near = vectors
        if not self.unit:
            mean = vectors.mean(axis=0, dtype=np.float64)
            near, queries = (vectors - mean).astype(np.float32), queries - mean
        bound = count * _UNIT / (1 - count * _UNIT)
        lengths = np.linalg.norm(queries, axis=1)
        squares = np.einsum("nd,nd->n", near, near, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is looked at exactly
            products = near @ queries.astype(np.float32).T
            for number, length, scores in zip(of, lengths, products.T, strict=True):
                if self.unit:
                    error = bound * length * np.sqrt(squares) + _TINY
                else:
                    scores = 2.0 * scores - squares - length**2
                    error = 2 * bound * (length + np.sqrt(squares)) ** 2 + _TINY
                picked = np.flatnonzero(~(scores + error < self.least[number]))
                if len(picked) > 2 * self.k:
                    low = (scores - error)[picked]
                    least = np.partition(low, -self.k)[-self.k]
                    picked = picked[~((scores + error)[picked] < least)]
                self.offer(np.full(len(picked), number), rows[picked], vectors[picked])

    def _id_places(self, rows: Rows) -> Rows:
        if isinstance(self._store, Blocks):
            return self._store.id_places(rows)
        if self._places is None:  # asked for when two rows tie for the first time
            self._places = id_order(self._store)
        return self._places[rows]


def _vectors_of(store: Store, rows: Rows | None) -> Iterator[tuple[Rows, Floats]]:
    """Yield row numbers and vectors of a table or of a block file, a block at once."""
    if isinstance(store, Blocks):
        positions = np.arange(len(store)) if rows is None else np.flatnonzero(store.at_rows(rows))
        for start in range(0, len(positions), BLOCK_ROWS):
            part = positions[start : start + BLOCK_ROWS]
            yield store.rows_at(part), store.vectors_at(part).astype(np.float32)
    elif rows is not None and len(rows) * 16 < len(store):  # a few are read faster by number
        for start in range(0, len(rows), BLOCK_ROWS):
            part = rows[start : start + BLOCK_ROWS]
            yield part, _finite(store, store.vectors(part))
    else:
        start = 0
        for vectors in store.blocks(BLOCK_ROWS):
            end = start + len(vectors)
            numbers = np.arange(start, end) if rows is None else rows[slice(*np.searchsorted(rows, [start, end]))]
            if len(numbers):
                yield numbers, _finite(store, vectors if rows is None else vectors[numbers - start])
            start = end


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
    if not (np.abs(found) < np.finfo(np.float32).max).all():
        raise ConfigError("a query is not finite; the model, or what was put into it, is damaged")
    return found


def _checked_rows(rows: Rows, count: int) -> Rows:
    if len(rows) and (rows[0] < 0 or rows[-1] >= count or (rows[1:] <= rows[:-1]).any()):
        raise ConfigError(f"row numbers must ascend from 0 to less than {count:,}, each once")
    return rows


# The pass in int8. A vector is v = m + s c + r: the mean m of its block, codes c of int8, the scale s of its part, and
# a residual r, of which the largest length R and the largest length V of s c in the part are known. A query is
# q = h d + p with codes d of int8. Then
#
#     q v = q m + s h (c d) + e    with    |e| <= |p| V + |q| R
#
# since q (s c) = h d (s c) + p (s c), by Cauchy and Schwarz; c d is a whole number that int8 products give exactly.
# For distances the same with q - m for q: -|q - v|^2 = 2 (q - m) (v - m) - |q - m|^2 - |v - m|^2, where |v - m|^2 is at
# least the smallest one of the part. So a row whose c d is below a whole number, known for each part and query,
# scores less than the worst of the k best so far. All others are scored exactly.


class _Limits:
    """What the products of codes must reach, for each part of the blocks and each query."""

    def __init__(self, queries: Doubles, blocks: Blocks) -> None:
        parts, self._unit, means = blocks.parts, blocks.card.unit, blocks.means.astype(np.float64)
        self._part_starts = blocks.part_starts
        of_part = np.repeat(np.arange(len(means)), np.diff(self._part_starts))
        lengths = np.linalg.norm(queries, axis=1)
        reaches = (parts.length + parts.residual)[:, None]
        mean_lengths = np.linalg.norm(means, axis=1)[of_part, None]
        if self._unit:
            self._coded = [_coded(queries)]
            steps, losses = self._coded[0][1:]
            gain, base, near = 1.0, (means @ queries.T)[of_part], lengths
            magnitude = lengths * (mean_lengths + reaches)
        else:
            self._coded = [_coded(queries - mean) for mean in means]
            steps, losses = (np.stack([one[n] for one in self._coded])[of_part] for n in (1, 2))
            near = np.stack([np.linalg.norm(queries - mean, axis=1) for mean in means])[of_part]
            gain, base = 2.0, -np.square(near) - parts.square[:, None]
            magnitude = (lengths + mean_lengths + near + reaches) ** 2
        error = losses * parts.length[:, None] + near * parts.residual[:, None]
        rounding = 8 * (queries.shape[1] + 8) * 2.0**-53 * magnitude + _TINY  # of what is in float64, here and exactly
        self._base, self._beside = base, base + gain * error + rounding
        self._step = gain * parts.scale[:, None] * steps

    def codes(self, block: int) -> torch.Tensor:
        """Return the codes (D, Q) of the queries for a block."""
        return self._coded[0 if self._unit else block][0]

    def about(self, piece: "_Piece", products: NDArray[np.int32], of: Rows, rows: Rows) -> Floats:
        """Return what rows of a piece score by their codes, for these queries: arrays that broadcast."""
        part = piece.parts.start + (rows // PART_ROWS if piece.part is None else piece.part[rows])
        scores: Doubles = products[rows, of] * self._step[part, of] + self._base[part, of]
        return scores.astype(np.float32)

    def of(self, parts: slice, least: Doubles) -> NDArray[np.int32]:
        """Return the least products (parts, Q) of rows that may score as much as `least` (Q,)."""
        reach = least - 2 * _UNIT * np.abs(least)  # what rounds to it
        limits = np.floor((reach - self._beside[parts]) / self._step[parts]) - 1
        found: NDArray[np.int32] = np.clip(limits, _LOWEST, np.iinfo(np.int32).max).astype(np.int32)
        return found


def _coded(queries: Doubles) -> tuple[torch.Tensor, Doubles, Doubles]:
    """Return the int8 codes (D, Q) of queries (Q, D), what a step is (Q,), and the length of what is lost (Q,)."""
    steps = np.abs(queries).max(axis=1) / 127
    steps[steps == 0] = 1.0
    codes = np.clip(np.rint(queries / steps[:, None]), -127, 127)
    losses = np.linalg.norm(queries - steps[:, None] * codes, axis=1) * (1 + 1e-9)
    return torch.from_numpy(np.ascontiguousarray(codes.T.astype(np.int8))), steps, losses


@dataclass(frozen=True)
class _Piece:
    """Rows whose codes are multiplied at once: a block, or what is asked for of several ones, copied together."""

    codes: NDArray[np.int8]
    """(n, D)"""
    block: int
    """The block, or one of several that have one coding of the queries."""
    parts: slice
    """The parts in which the rows lie."""
    part: Rows | None
    """(n,) which of these parts a row is in; None: each has the next `PART_ROWS` rows."""
    positions: Rows | int
    """(n,), or the first one of positions that follow each other."""
    asked: NDArray[np.bool_] | None
    """(n,) which rows are asked for; None: all."""

    def at(self, rows: Rows) -> Rows:
        """Return the positions of rows of the piece."""
        return self.positions + rows if isinstance(self.positions, int) else self.positions[rows]

    def rows(self) -> Rows:
        """Return the rows of the piece that are asked for."""
        return np.arange(len(self.codes)) if self.asked is None else np.flatnonzero(self.asked)


def _pieces(blocks: Blocks, asked: NDArray[np.bool_] | None) -> Iterator[_Piece]:
    """Yield all rows of the file, or those asked for, by position (N,)."""
    starts, part_starts = blocks.starts.tolist(), blocks.part_starts
    sparse: list[tuple[int, Rows]] = []
    for block, (start, end) in enumerate(pairwise(starts)):
        own = None if asked is None else asked[start:end]
        count = end - start if own is None else np.count_nonzero(own)
        if own is not None and count * _SPARSE < end - start:
            sparse.append((block, np.flatnonzero(own) + start))
        else:
            parts = slice(*part_starts[block : block + 2])
            yield _Piece(blocks.codes(block), block, parts, None, start, None if count == end - start else own)
    together = (
        [sparse] if blocks.card.unit else [[one] for one in sparse]
    )  # else each has its own coding of the queries
    for several in together:
        positions = np.concatenate([found for _, found in several] or [np.empty(0, np.int64)])
        of = np.repeat([block for block, _ in several], [len(found) for _, found in several]).astype(np.int64)
        for start in range(0, len(positions), _GATHERED_ROWS):
            rows = slice(start, start + _GATHERED_ROWS)
            part = part_starts[of[rows]] + (positions[rows] - blocks.starts[of[rows]]) // PART_ROWS
            codes = blocks.codes_at(positions[rows], of[rows])
            parts = slice(part[0], part[-1] + 1)
            yield _Piece(codes, int(of[start]), parts, part - part[0], positions[rows], None)


class _CodeScan:
    """Brings the best rows of a block file into `best`."""

    def __init__(self, best: _Best, blocks: Blocks) -> None:
        self._best, self._blocks = best, blocks
        self._limits = _Limits(best.queries, blocks)
        self._product = _product_for(blocks.card.dimensions, len(best.queries))
        self._crowd = max(_WAITING_PAIRS, 4 * best.k * len(best.queries))

    def run(self, asked: NDArray[np.bool_] | None) -> None:
        """Look at all rows, or at those asked for, by position (N,)."""
        count = len(self._blocks) if asked is None else np.count_nonzero(asked)
        if count > 4 * _SAMPLED_ROWS:  # what is best in a sample of all places and modalities spares the most
            sample = np.zeros(len(self._blocks), np.bool_)
            sample[:: max(1, len(sample) // _SAMPLED_ROWS)] = True
            self._run(sample if asked is None else sample & asked)
        self._run(asked)

    def _run(self, asked: NDArray[np.bool_] | None) -> None:
        waiting: list[tuple[Rows, Rows]] = []
        for piece in _pieces(self._blocks, asked):
            waiting.append(self._candidates(piece))
            if sum(len(of) for of, _ in waiting) > self._crowd:
                self._offer(*map(np.concatenate, zip(*waiting, strict=True)))
                waiting.clear()
        if waiting:
            self._offer(*map(np.concatenate, zip(*waiting, strict=True)))

    def _offer(self, of: Rows, positions: Rows) -> None:
        if len(of):
            self._best.offer(of, self._blocks.rows_at(positions), self._blocks.vectors_at(positions))

    def _candidates(self, piece: _Piece) -> tuple[Rows, Rows]:
        """Return queries and positions of a piece that may be among the best, as pairs.

        Where nothing is known yet, or pairs are many, the best rows by their codes are scored at once, which raises
        what the others must reach. Where pairs stay many, all rows are looked at in float32.
        """
        best, several = self._best, len(self._best.queries)
        products = self._product(torch.from_numpy(piece.codes), self._limits.codes(piece.block)).numpy()
        if np.isfinite(best.least).all():
            of, found = self._reached(piece, products)
            if len(of) <= 2 * self._crowd:
                return of, piece.at(found)
            order = np.lexsort((-self._limits.about(piece, products, of, found), of))
            of, found = of[order], found[order]
            first = np.arange(len(of)) - np.searchsorted(of, of) < best.k
            self._offer(of[first], piece.at(found[first]))
        else:
            rows = piece.rows()
            scores = self._limits.about(piece, products, np.arange(several), rows[:, None])
            top = torch.from_numpy(scores).topk(min(best.k, len(rows)), dim=0, sorted=False).indices.numpy()
            self._offer(np.tile(np.arange(several), len(top)), piece.at(rows[top.ravel()]))
        of, found = self._reached(piece, products)
        many = np.bincount(of, minlength=several) > max(self._crowd, len(products) // 8)
        if many.any():
            rows = piece.rows()
            for start in range(0, len(rows), _FEW_ROWS):
                at = piece.at(rows[start : start + _FEW_ROWS])
                vectors = self._blocks.vectors_at(at).astype(np.float32)
                best.offer_all(self._blocks.rows_at(at), vectors, np.flatnonzero(many))
        return of[~many[of]], piece.at(found[~many[of]])

    def _reached(self, piece: _Piece, products: NDArray[np.int32]) -> tuple[Rows, Rows]:
        """Return queries and rows of a piece whose products may be those of the best, as pairs."""
        limits = self._limits.of(piece.parts, self._best.least)
        flat = _at_least(products, limits) if piece.part is None else np.flatnonzero(products >= limits[piece.part])
        rows, of = np.divmod(flat, products.shape[1])
        if piece.asked is not None:
            asked = piece.asked[rows]
            rows, of = rows[asked], of[asked]
        return of, rows


def _at_least(products: NDArray[np.int32], least: NDArray[np.int32]) -> Rows:
    """Return where products (n, Q) are at least those of their part (parts, Q), counted through all of them."""
    count, several = products.shape
    whole = count // PART_ROWS * PART_ROWS
    repeat = 1  # NumPy compares a few long rows faster than many short ones
    while repeat * several < 512 and 2 * repeat <= PART_ROWS:
        repeat *= 2
    head = products[:whole].reshape(-1, PART_ROWS // repeat, repeat * several)
    above = np.empty(products.shape, np.bool_)
    np.greater_equal(head, np.tile(least[: len(head)], repeat)[:, None], out=above[:whole].reshape(head.shape))
    if whole < count:
        np.greater_equal(products[whole:], least[-1], out=above[whole:])
    return np.flatnonzero(above)


# Products of int8. PyTorch has them for the processor under a private name only, and not on every processor are they
# right to the last bit (without VNNI pairs of products may saturate): so the first ones of each shape are compared.


Product: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _product_for(width: int, several: int) -> Product:
    """Return a function from codes (n, D) and (D, Q) to their exact products (n, Q) as int32."""
    return _int8_product if _int8_is_exact(width, several) else _float_product


def _int8_product(codes: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    return torch._int_mm(codes, queries)


def _float_product(codes: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
    """As `_int8_product`, in float32: sums of up to 1,024 products of int8 are whole numbers below 2**24."""
    found = torch.zeros(len(codes), queries.shape[1], dtype=torch.int32)
    for start in range(0, len(codes), 2_048):  # what fits the cache
        rows = slice(start, start + 2_048)
        for column in range(0, codes.shape[1], 1_024):
            part = slice(column, column + 1_024)
            found[rows] += (codes[rows, part].float() @ queries[part].float()).to(torch.int32)
    return found


@cache
def _int8_is_exact(width: int, several: int) -> bool:
    """Return whether this processor's int8 products are right, the largest ones among them."""
    draw = torch.Generator().manual_seed(0)
    try:
        for count in (1, 70, 4_096):
            codes = torch.randint(-127, 128, (count, width), dtype=torch.int8, generator=draw)
            queries = torch.randint(-127, 128, (width, several), dtype=torch.int8, generator=draw)
            codes[::3], queries[:, ::2] = 127, -127
            if not torch.equal(_int8_product(codes, queries), _float_product(codes, queries)):
                return False
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return True
