# NOTE to the helper who works on evaluate/: I (the lead) wrote this file myself at 02:43, because nothing was here yet. Do NOT restore yours over it;
# review it, move what was better in yours into it with small edits (keep names and signatures), delete chance.py if unused, write tests + benchmark for it.
# Remove these note lines when done.
"""Ranks of the right answers, in chunks of queries so that memory stays bounded whatever the gallery.

A query is a row of one modality, its gallery all rows of the other. Its relevant items are its own partner and, with
twins merged, every item that cannot be told from it. The rank of a relevant item is 1 + the number of items of no
relevance that score at least as high: ranks are inclusive and ties count against the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.errors import ConfigError
from earthtone.evaluate.embedded import EmbeddedPairs

DIRECTIONS = ("image_to_sound", "sound_to_image")
TWINS = ("merge", "ignore")

_NDCG = 10  # depth of nDCG
_TOP = 100  # items kept a query


@dataclass(frozen=True)
class Ranking:
    """Of one direction, a row a query: best `rank` of a relevant item, number `relevant`, `ndcg` at 10, whether it
    `tied`, the `score` of the own partner, and the `top` items (N, at most 100), best first."""

    rank: NDArray[np.int64]
    relevant: NDArray[np.int64]
    ndcg: NDArray[np.float64]
    tied: NDArray[np.bool_]
    score: NDArray[np.float32]
    top: NDArray[np.int64]


def rank_pairs(pairs: EmbeddedPairs, *, twins: str = "merge", max_bytes: int = 256 * 2**20) -> dict[str, Ranking]:
    """Return the ranking of both directions; at most about three times `max_bytes` are used beside the embeddings."""
    if twins not in TWINS:
        raise ConfigError(f"twins {twins!r}; {' or '.join(TWINS)} expected")
    relevance = _Relevance(pairs, merged=twins == "merge")
    image, audio = torch.from_numpy(pairs.image), torch.from_numpy(pairs.audio)
    rows = max(1, max_bytes // (4 * len(pairs)))
    return {
        "image_to_sound": _rank(image, audio, relevance, rows),
        "sound_to_image": _rank(audio, image, relevance, rows),
    }


class _Relevance:
    """For each row the rows that are as right as itself, by sorting groups; never an N x N matrix."""

    def __init__(self, pairs: EmbeddedPairs, *, merged: bool) -> None:
        self.groups = [_members(group) for group in (pairs.image_group, pairs.audio_group)] if merged else []

    def of(self, query: int) -> NDArray[np.int64]:
        """Return the relevant rows of a query, ascending."""
        sets = [members[starts[group[query]] : starts[group[query] + 1]] for group, starts, members in self.groups]
        own = [np.array([query], np.int64)]
        return np.unique(np.concatenate(sets + own))


def _members(group: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return (number of each row's group, where each group starts, rows sorted by group)."""
    numbers = np.unique(group, return_inverse=True)[1].astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(numbers))])
    return numbers, starts, np.argsort(numbers, kind="stable")


def _rank(queries: torch.Tensor, gallery: torch.Tensor, relevance: _Relevance, rows: int) -> Ranking:
    parts = [
        part for start in range(0, len(queries), rows) for part in _chunk(queries, gallery, relevance, start, rows)
    ]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Ranking(*columns)


def _chunk(
    queries: torch.Tensor, gallery: torch.Tensor, relevance: _Relevance, start: int, rows: int
) -> Iterator[tuple[NDArray[np.generic], ...]]:
    """Yield the ranking's columns of one chunk of queries."""
    scores = queries[start : start + rows] @ gallery.T  # (chunk, gallery)
    count = len(scores)
    own = scores[torch.arange(count), torch.arange(start, start + count)].clone()
    top = torch.topk(scores, min(_TOP, len(gallery)), dim=1).indices
    rights = [relevance.of(start + row) for row in range(count)]
    row_of = torch.from_numpy(np.repeat(np.arange(count), [len(right) for right in rights]))
    column_of = torch.from_numpy(np.concatenate(rights))
    right_scores = scores[row_of, column_of]
    scores[row_of, column_of] = -torch.inf  # relevant items do not compete with each other
    best = torch.full((count,), -torch.inf).scatter_reduce(0, row_of, right_scores, "amax")
    ahead = (scores >= best[:, None]).sum(dim=1)
    tied = (scores == best[:, None]).any(dim=1)
    wrong = torch.topk(scores, min(_NDCG, len(gallery)), dim=1).values
    ndcg = _ndcg(wrong, row_of, right_scores, count)
    yield (
        (1 + ahead).numpy(),
        np.array([len(right) for right in rights], np.int64),
        ndcg,
        tied.numpy(),
        own.numpy(),
        top.numpy(),
    )


def _ndcg(wrong: torch.Tensor, row_of: torch.Tensor, right_scores: torch.Tensor, count: int) -> NDArray[np.float64]:
    """Return nDCG@10 with binary relevance (Järvelin and Kekäläinen 2002); equal scores rank the wrong item first."""
    out = np.zeros(count)
    discounts = 1 / np.log2(np.arange(2, _NDCG + 2))
    order = np.lexsort((-right_scores.numpy(), row_of.numpy()))
    rows, scores = row_of.numpy()[order], right_scores.numpy()[order]
    first = np.searchsorted(rows, np.arange(count))
    place = np.arange(len(rows)) - first[rows]  # how many relevant items of the same query score higher
    ahead = (wrong.numpy()[rows] >= scores[:, None]).sum(axis=1)
    position = place + ahead
    hits = (place < _NDCG) & (position < _NDCG)
    np.add.at(out, rows[hits], discounts[position[hits]])
    relevant = np.bincount(rows, minlength=count)
    ideal = np.cumsum(discounts)[np.minimum(relevant, _NDCG) - 1]
    return out / ideal
