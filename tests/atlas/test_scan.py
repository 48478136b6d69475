"""Exact search: what it returns is what a plain loop over exact scores returns, ties and all, by every way there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file

from earthtone.atlas import blocks as block_file
from earthtone.atlas import scan
from earthtone.atlas.blocks import BLOCK_FILE, open_blocks, table_state, write_blocks
from earthtone.atlas.embeddings import (
    TABLE,
    EmbeddingCard,
    EmbeddingTable,
    VectorType,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.atlas.scan import open_store, top_k
from earthtone.errors import ConfigError, DataError, NewerFormatError

Array = NDArray[Any]


def table_of(folder: Path, vectors: Array, kind: VectorType = "float16", *, unit: bool = True) -> EmbeddingTable:
    """A table whose ids are in another order than its rows; a third of them sounds."""
    card = EmbeddingCard("/runs/first", "0" * 32, dimensions=vectors.shape[1], unit=unit, data="places.csv")
    count = len(vectors)
    columns = {
        "id": [f"item-{(row * 7919) % 100_003:06}" for row in range(count)],
        "modality": ["image" if row % 3 else "audio" for row in range(count)],
    }
    write_embeddings(folder / TABLE, embedding_schema(card, kind), columns, vectors.astype(np.float32))
    return open_embeddings(folder)


def plain(queries: Array, table: EmbeddingTable, k: int, rows: Array | None = None) -> tuple[Array, Array]:
    """All exact scores, sorted by (score, id) in plain Python."""
    vectors, ids = table.vectors().astype(np.float64), table.columns(["id"])["id"].to_pylist()
    asked = np.arange(len(vectors)) if rows is None else rows
    found = []
    for query in queries.astype(np.float64):
        terms = vectors[asked] * query if table.card.unit else -((vectors[asked] - query) ** 2)
        scores = terms.sum(axis=1).astype(np.float32)
        found.append(sorted(zip(-scores, [ids[row] for row in asked], asked, strict=True))[:k])
    numbers = np.array([[row for _, _, row in one] for one in found], np.int64)
    return np.array([[-score for score, _, _ in one] for one in found], np.float32), numbers


@contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks of 64 rows in parts of 16, and the pass in int8 for a few rows: all ways are taken by small tables."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (block_file, scan):
            patch.setattr(module, "PART_ROWS", 16)
        patch.setattr(block_file, "block_rows", lambda width: 64)
        patch.setattr(scan, "_FEW_ROWS", 4)
        patch.setattr(scan, "_WAITING_PAIRS", 24)
        patch.setattr(scan, "_GATHERED_ROWS", 7)
        patch.setattr(scan, "_SAMPLED_ROWS", 32)
        yield


def check(queries: Array, table: EmbeddingTable, k: int, rows: Array | None = None) -> None:
    """The table and its block file give what the plain loop gives."""
    expected = plain(queries, table, k, rows)
    store, note = open_store(table, table.path.parent / "index")
    assert note is None
    for where in (table, store):
        scores, numbers = top_k(queries, where, k, rows)
        np.testing.assert_array_equal(numbers, expected[1])
        np.testing.assert_array_equal(scores, expected[0])


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_as_a_plain_loop(tmp_path: Path, kind: VectorType, unit: bool) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((500, 24)) + draw.standard_normal(24)
    vectors[100:140] = vectors[:40]  # ties
    table = table_of(tmp_path, vectors, kind, unit=unit)
    queries = np.concatenate([vectors[:3], draw.standard_normal((2, 24))]).astype(np.float32)
    with small_blocks():
        write_blocks(table, tmp_path / "index")
        for rows in (None, np.arange(0, 500, 3), np.arange(0, 500, 19), np.arange(50, 300)):
            for k in (1, 12, 40):
                check(queries, table, k, rows)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_always_as_a_plain_loop(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    count, width = data.draw(st.integers(1, 400)), data.draw(st.sampled_from([1, 2, 3, 8, 33]))
    vectors = {
        "spread": lambda: draw.standard_normal((count, width)),
        "few": lambda: draw.integers(-1, 2, (count, width)),  # ties, zeros
        "equal": lambda: np.ones((count, 1)) * draw.standard_normal(width),
        "near": lambda: draw.standard_normal(width) + 2e-3 * draw.standard_normal((count, width)),
        "one": lambda: np.eye(width)[draw.integers(0, width, count)] * draw.choice([1, 1e-4, 300], (count, 1)),
        "far": lambda: 6e4 - draw.random((count, width)) * draw.choice([1e-2, 100.0]),
        "scales": lambda: draw.standard_normal((count, width)) * 10 ** draw.uniform(-7, 4, (count, 1)),
    }[data.draw(st.sampled_from(["spread", "few", "equal", "near", "one", "far", "scales"]))]()
    kind: VectorType = data.draw(st.sampled_from(["float16", "float32"]))
    folder = tmp_path_factory.mktemp("table")
    table = table_of(folder, vectors, kind, unit=data.draw(st.booleans()))
    queries = data.draw(st.sampled_from(["rows", "others", "zero"]))
    sought = {
        "rows": table.vectors()[draw.integers(0, count, 3)],
        "others": draw.standard_normal((2, width)).astype(np.float32),
        "zero": np.zeros((1, width), np.float32),
    }[queries]
    share = data.draw(st.sampled_from([None, 0.9, 0.3, 0.05]))
    rows = None if share is None else np.flatnonzero(draw.random(count) < share)
    if rows is not None and not len(rows):
        rows = np.array([count // 2])
    with small_blocks():
        write_blocks(table, folder / "index")
        check(sought, table, data.draw(st.sampled_from([1, 5, 30, 500])), rows)


@pytest.mark.slow
def test_blocks_of_the_usual_size(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((70_000, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = table_of(tmp_path, vectors)
    write_blocks(table, tmp_path / "index")
    queries = draw.standard_normal((3, 8)).astype(np.float32)
    for rows in (None, np.flatnonzero(draw.random(len(vectors)) < 0.08)):
        check(queries, table, 10, rows)


def test_products_without_those_of_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(-127, 128, (70, 2_500), dtype=torch.int8, generator=draw)
    queries = torch.randint(-127, 128, (2_500, 3), dtype=torch.int8, generator=draw)
    codes[:5], queries[:, 0] = 127, 127
    expected = codes.numpy().astype(np.int64) @ queries.numpy().astype(np.int64)
    np.testing.assert_array_equal(scan._float_product(codes, queries).numpy(), expected)
    wrong = lambda codes, queries: torch._int_mm(codes, queries).clamp(max=32_767)  # noqa: E731 - as without VNNI
    monkeypatch.setattr(scan, "_int8_product", wrong)
    scan._int8_is_exact.cache_clear()
    assert scan._product_for(2_500, 3) is scan._float_product
    scan._int8_is_exact.cache_clear()


def test_more_asked_for_than_there_is(tmp_path: Path) -> None:
    table = table_of(tmp_path, np.eye(4, dtype=np.float32))
    write_blocks(table, tmp_path / "index")
    store, _ = open_store(table, tmp_path / "index")
    queries = np.eye(4, dtype=np.float32)
    for where in (table, store):
        assert top_k(queries, where, 9)[1].shape == (4, 4)
        assert top_k(queries, where, 9, np.array([1, 3]))[1].tolist()[1] == [1, 3]
        assert top_k(queries, where, 9, np.array([], np.int64))[1].shape == (4, 0)
        assert top_k(queries[:0], where, 2)[1].shape == (0, 2)


def test_many_queries_are_taken_in_parts(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    table = table_of(tmp_path, draw.standard_normal((90, 4)))
    with small_blocks():
        write_blocks(table, tmp_path / "index")
        check(draw.standard_normal((150, 4)).astype(np.float32), table, 3)


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
    table = table_of(tmp_path, vectors)
    with pytest.raises(DataError, match="not finite"):
        top_k(np.ones((1, 4), np.float32), table, 1)
    with pytest.raises(DataError, match="not finite"):
        write_blocks(table, tmp_path / "index")
    assert not list((tmp_path / "index").iterdir())  # nor is anything half-written left


def test_the_file_is_one_of_safetensors(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float16)
    table = table_of(tmp_path, vectors)
    path = write_blocks(table, tmp_path / "index")
    found = load_file(path)
    np.testing.assert_array_equal(found["vectors"], vectors[found["row"]])
    np.testing.assert_array_equal(found["row"][found["position"]], np.arange(40))
    ids = np.array(table.columns(["id"])["id"].to_pylist())
    np.testing.assert_array_equal(ids[np.argsort(found["order"])], np.sort(ids))


def test_blocks_of_another_state_of_the_table_are_passed_over(tmp_path: Path) -> None:
    table = table_of(tmp_path, np.eye(4, dtype=np.float32))
    folder = tmp_path / "index"
    assert "earthtone index" in (open_store(table, folder)[1] or "")
    write_blocks(table, folder)
    schema = table.dataset.schema
    more = {"id": ["new"], "modality": ["image"]}
    write_embeddings(table.path, schema, more, np.ones((1, 4), np.float32), append=True)
    table = open_embeddings(tmp_path)
    store, note = open_store(table, folder)
    assert store is table and "earthtone index" in (note or "")
    assert top_k(np.ones((1, 4), np.float32), store, 1)[1].tolist() == [[4]]
    write_blocks(table, folder)
    before = table_state(table)
    table.dataset.add_columns({"x": "longitude * 2"})
    table = open_embeddings(tmp_path)
    assert table_state(table) == before and open_store(table, folder)[1] is None  # a further column changes nothing
    table.dataset.delete("id = 'new'")
    assert open_blocks(open_embeddings(tmp_path), folder) is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.999])
def test_a_damaged_block_file_is_refused(tmp_path: Path, share: float) -> None:
    draw = np.random.default_rng(0)
    table = table_of(tmp_path, draw.standard_normal((300, 8)))
    with small_blocks():
        path = write_blocks(table, tmp_path / "index")
        damaged = bytearray(path.read_bytes())
        damaged[int(share * len(damaged))] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="earthtone index"):
            store, _ = open_store(table, tmp_path / "index")
            top_k(draw.standard_normal((1, 8)).astype(np.float32), store, 300)


def test_a_block_file_that_was_cut_or_is_newer_is_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path, np.eye(4, dtype=np.float32))
    path = write_blocks(table, tmp_path / "index")
    whole = path.read_bytes()
    for part in (whole[:-1], whole[:100], whole[:3], b"", b"\xff" * 100, whole + b"\0"):
        path.write_bytes(part)
        with pytest.raises(DataError, match="earthtone index"):
            open_store(table, path.parent)
    path.write_bytes(whole.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    with pytest.raises(NewerFormatError, match="install a newer earthtone"):
        open_store(table, path.parent)


def test_a_table_without_rows_has_no_blocks(tmp_path: Path) -> None:
    table = table_of(tmp_path, np.ones((1, 4), np.float32))
    table.dataset.delete("true")
    with pytest.raises(DataError, match="has no rows"):
        write_blocks(table, tmp_path / "index")
    assert top_k(np.ones((2, 4), np.float32), table, 3)[1].shape == (2, 0)


@pytest.mark.skipif(os.geteuid() == 0 or not hasattr(os, "geteuid"), reason="for root no folder is closed")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    table = table_of(tmp_path, np.eye(4, dtype=np.float32))
    (tmp_path / "index").mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot write"):
        write_blocks(table, tmp_path / "index")
    assert not (tmp_path / "index" / BLOCK_FILE).exists()
