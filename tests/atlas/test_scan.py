"""Exact search: what it returns is what a plain loop over exact scores returns, ties and all."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earthtone.atlas.embeddings import (
    TABLE,
    EmbeddingCard,
    EmbeddingTable,
    VectorType,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.atlas.scan import top_k
from earthtone.errors import ConfigError, DataError


def table_of(
    folder: Path, vectors: NDArray[np.float32], kind: VectorType = "float16", *, unit: bool = True
) -> EmbeddingTable:
    card = EmbeddingCard("/runs/first", "0" * 32, dimensions=vectors.shape[1], unit=unit, data="places.csv")
    count = len(vectors)
    ids = [f"item-{(row * 7919) % (count + 1):05}" for row in range(count)]
    columns = {"id": ids, "modality": ["image" if row % 3 else "audio" for row in range(count)]}
    write_embeddings(folder / TABLE, embedding_schema(card, kind), columns, vectors)
    return open_embeddings(folder)


def plain_loop(
    queries: NDArray[np.float32], table: EmbeddingTable, k: int, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """All exact scores, sorted by (score, id) in plain Python."""
    vectors, ids = table.vectors().astype(np.float64), table.columns(["id"])["id"].to_pylist()
    found = []
    for query in queries.astype(np.float64):
        scores = [
            np.float32(sum(vector * query) if table.card.unit else -sum((vector - query) ** 2)) for vector in vectors
        ]
        asked = range(len(vectors)) if rows is None else rows.tolist()
        found.append(sorted((-scores[row], ids[row], row) for row in asked)[:k])
    numbers = np.array([[row for _, _, row in one] for one in found], np.int64)
    return np.array([[-score for score, _, _ in one] for one in found], np.float32), numbers


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_as_a_plain_loop(tmp_path: Path, kind: VectorType, unit: bool) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((500, 24), np.float32)
    vectors[100:140] = vectors[:40]  # ties
    table = table_of(tmp_path, vectors, kind, unit=unit)
    queries = np.concatenate([vectors[:3], draw.standard_normal((2, 24), np.float32)])
    for rows in (None, np.arange(0, 500, 5)):
        scores, numbers = top_k(queries, table, 12, rows)
        expected, expected_numbers = plain_loop(queries, table, 12, rows)
        np.testing.assert_array_equal(numbers, expected_numbers)
        np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_more_asked_for_than_there_is(tmp_path: Path) -> None:
    table = table_of(tmp_path, np.eye(4, dtype=np.float32))
    assert top_k(np.eye(4, dtype=np.float32), table, 9)[1].shape == (4, 4)
    assert top_k(np.eye(4, dtype=np.float32), table, 9, np.array([1, 3]))[1].tolist()[1] == [1, 3]
    assert top_k(np.eye(4, dtype=np.float32), table, 9, np.array([], np.int64))[1].shape == (4, 0)


def test_what_is_no_query_is_told(tmp_path: Path) -> None:
    table = table_of(tmp_path, np.eye(4, dtype=np.float32))
    with pytest.raises(ConfigError, match=r"\(Q, 4\) expected"):
        top_k(np.ones((1, 5), np.float32), table, 1)
    with pytest.raises(ConfigError, match="not finite"):
        top_k(np.full((1, 4), np.nan, np.float32), table, 1)
    with pytest.raises(ConfigError, match="at least 1"):
        top_k(np.ones((1, 4), np.float32), table, 0)
    with pytest.raises(ConfigError, match="ascend"):
        top_k(np.ones((1, 4), np.float32), table, 1, np.array([2, 1]))


def test_vectors_that_are_not_finite_are_told(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    vectors[2, 0] = np.inf
    with pytest.raises(DataError, match="not finite"):
        top_k(np.ones((1, 4), np.float32), table_of(tmp_path, vectors), 1)
