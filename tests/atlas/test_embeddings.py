"""The table of embeddings: what is written is what is read, and what is no such table is told."""

import json
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from earthtone.atlas.embeddings import (
    SHARDS,
    TABLE,
    EmbeddingCard,
    VectorType,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.cli import main
from earthtone.errors import DataError

FAR = pa.array([2**62, None], pa.timestamp("us", "UTC"))
CARD = EmbeddingCard("/runs/first", "0" * 32, dimensions=4, unit=True, data="places.csv")


@pytest.mark.parametrize(("kind", "error"), [("float16", 1e-3), ("float32", 0)])
def test_rows_come_back_in_order(tmp_path: Path, kind: VectorType, error: float) -> None:
    schema = embedding_schema(CARD, kind, ["label"])
    vectors = np.random.default_rng(0).random((7, 4), np.float32)
    first = {"id": list("abcde"), "modality": ["image"] * 5, "label": ["x"] * 5}
    write_embeddings(tmp_path / TABLE, schema, first, vectors[:5])
    write_embeddings(tmp_path / TABLE, schema, {"id": ["f", "g"], "modality": ["audio"] * 2}, vectors[5:], append=True)
    table = open_embeddings(tmp_path)
    assert (len(table), table.card) == (7, CARD)
    np.testing.assert_allclose(table.vectors(), vectors, atol=error)
    np.testing.assert_allclose(np.concatenate(list(table.blocks(3))), vectors, atol=error)
    rows = np.array([6, 0])
    assert table.columns(["id", "label"], rows).to_pylist() == [{"id": "g", "label": None}, {"id": "a", "label": "x"}]
    np.testing.assert_allclose(table.vectors(rows), vectors[rows], atol=error)


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="earthtone embed --model RUN"):
        open_embeddings(tmp_path)
    (tmp_path / SHARDS / "0-of-2.lance").mkdir(parents=True)
    with pytest.raises(DataError, match="1 shards wait to be merged; type: earthtone index"):
        open_embeddings(tmp_path)
    lance.write_dataset(pa.table({"id": ["a"]}), str(tmp_path / "other.lance"))
    with pytest.raises(DataError, match="no table of embeddings"):
        open_embeddings(tmp_path / "other.lance")


def test_a_table_that_lost_a_part_is_not_opened(tmp_path: Path) -> None:
    write_embeddings(tmp_path / TABLE, embedding_schema(CARD), {"id": list("abc")}, np.ones((3, 4), np.float32))
    file = next((tmp_path / TABLE / "data").glob("*.lance"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged"):
        open_embeddings(tmp_path)


def test_a_table_without_rows_is_one_and_gets_rows_later(tmp_path: Path) -> None:
    """As a part in which no item is."""
    schema = embedding_schema(CARD, "float32")
    write_embeddings(tmp_path / TABLE, schema, {}, np.zeros((0, 4), np.float32))
    assert len(open_embeddings(tmp_path)) == 0
    write_embeddings(tmp_path / TABLE, schema, {"id": ["a"]}, np.ones((1, 4), np.float32), append=True)
    assert open_embeddings(tmp_path).columns(["id"]).to_pylist() == [{"id": "a"}]


@pytest.mark.parametrize(
    ("name", "value"), [("model", 5), ("model", ["a"]), ("unit", "no"), ("model_fingerprint", None)]
)
def test_what_a_table_says_of_itself_has_its_kind(tmp_path: Path, name: str, value: object) -> None:
    schema = embedding_schema(replace(CARD, **{name: value}))  # type: ignore[arg-type]
    write_embeddings(tmp_path / TABLE, schema, {"id": ["a"], "modality": ["image"]}, np.ones((1, 4), np.float32))
    with pytest.raises(DataError, match=f"what it says of its {name} is none"):
        open_embeddings(tmp_path)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": [None, "b"]}, "without an id"), ({"modality": [None, "image"]}, "image or audio expected"),
        ({"modality": ["video", "image"]}, "modality 'video'"), ({"datetime": FAR}, "beyond all years"),
    ],
)  # fmt: skip
def test_cells_of_a_damaged_table_are_one_line(
    tmp_path: Path, columns: dict[str, list[object]], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain: dict[str, list[object]] = {"id": ["a", "b"], "modality": ["image", "image"], **columns}
    write_embeddings(tmp_path / TABLE, embedding_schema(CARD), plain, np.eye(4, dtype=np.float32)[:2])
    assert main(["search", str(tmp_path), "--like", "id:b"]) == 2
    assert told in capsys.readouterr().err
    if "video" not in told:
        assert main(["index", str(tmp_path), "--parquet"]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_bounds_that_are_no_numbers_are_none(tmp_path: Path) -> None:
    """JSON has no NaN."""
    columns = {"id": ["a", "b"], "modality": ["image"] * 2, "west": [np.nan] * 2} | {
        name: [np.inf] * 2 for name in ("south", "east", "north")
    }
    write_embeddings(tmp_path / TABLE, embedding_schema(CARD), columns, np.eye(4, dtype=np.float32)[:2])
    assert main(["search", str(tmp_path), "--like", "id:b", "--out", str(tmp_path / "hits.json")]) == 0
    [found] = json.loads((tmp_path / "hits.json").read_text())["hits"]
    assert (found["id"], found["west"], found["north"]) == ("a", None, None)
