"""Approximate search: what it returns is scored exactly, its recall is the one that it says, filters hold."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earthtone.atlas.approximate import (
    CLUSTER_FILE,
    ENOUGH,
    Clusters,
    approximate_top_k,
    open_clusters,
    write_clusters,
)
from earthtone.atlas.blocks import BLOCK_FILE
from earthtone.atlas.embeddings import (
    TABLE,
    EmbeddingCard,
    EmbeddingTable,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.atlas.scan import top_k
from earthtone.cli import main
from earthtone.errors import ConfigError, DataError

KINDS = np.array(["image" if row % 3 else "audio" for row in range(3_000)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddingTable, Clusters]:
    folder = tmp_path_factory.mktemp("approximate")
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((60, 16))[draw.integers(0, 60, len(KINDS))] + 0.3 * draw.standard_normal(
        (len(KINDS), 16)
    )
    vectors += np.where(KINDS == "audio", 1.0, -1.0)[:, None] * draw.standard_normal(16)  # a gap between the two
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    card = EmbeddingCard("/runs/first", "0" * 32, dimensions=16, unit=True, data="places.csv")
    columns = {"id": [f"{row:05}" for row in range(len(KINDS))], "modality": KINDS.tolist()}
    write_embeddings(folder / TABLE, embedding_schema(card), columns, vectors.astype(np.float32))
    table = open_embeddings(folder)
    return table, write_clusters(table, table, folder / "index")


def sounds(table: EmbeddingTable, count: int = 40) -> NDArray[np.float32]:
    return table.vectors(np.flatnonzero(KINDS == "audio")[:count])


def test_each_row_is_in_one_cluster_of_its_modality(made: tuple[EmbeddingTable, Clusters]) -> None:
    _, clusters = made
    assert np.sort(clusters.rows).tolist() == list(range(len(KINDS)))
    for cluster, number in enumerate(clusters.of):
        rows = clusters.rows[clusters.starts[cluster] : clusters.starts[cluster + 1]]
        assert set(KINDS[rows]) <= {["audio", "image"][number]}


def test_the_recall_is_measured_with_queries_of_the_other_modality(made: tuple[EmbeddingTable, Clusters]) -> None:
    table, clusters = made
    assert {(one.queries, one.found) for one in clusters.recalls} == {("image", "audio"), ("audio", "image")}
    assert all(one.recall >= ENOUGH and one.share < 1 for one in clusters.recalls)
    assert "recall@10 of" in clusters.recalls[0].sentence()
    images = np.flatnonzero(KINDS == "image")
    best = top_k(sounds(table, 200), table, 10, images)[1]
    near = approximate_top_k(sounds(table, 200), clusters, table, 10, modality="image")[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near, best, strict=True)])
    [said] = [one.recall for one in clusters.recalls if one.found == "image"]
    assert abs(recall - said) < 0.05


def test_scores_are_exact_and_filters_hold(made: tuple[EmbeddingTable, Clusters]) -> None:
    table, clusters = made
    images = np.flatnonzero(KINDS == "image")
    scores, rows = approximate_top_k(sounds(table), clusters, table, 10, modality="image")
    for query, own, numbers in zip(sounds(table), scores, rows, strict=True):
        again = top_k(query[None], table, 10, np.sort(numbers))
        np.testing.assert_array_equal(again[0][0], own)
        np.testing.assert_array_equal(again[1][0], numbers)
    few = images[::400]  # as many as pass are found, wherever they are
    found = approximate_top_k(sounds(table), clusters, table, 10, few, modality="image")[1]
    assert found.shape == (40, len(few)) and all(set(one) == set(few) for one in found)
    assert approximate_top_k(sounds(table), clusters, table, 10, images[:0])[1].shape == (40, 0)
    everything = approximate_top_k(sounds(table), clusters, table, 10, share=1.0)
    np.testing.assert_array_equal(everything[1], top_k(sounds(table), table, 10)[1])


def test_it_is_there_on_request_alone_and_of_this_table(made: tuple[EmbeddingTable, Clusters], tmp_path: Path) -> None:
    table, clusters = made
    with pytest.raises(ConfigError, match=r"earthtone index .* --approximate"):
        open_clusters(table, tmp_path)
    again = open_clusters(table)
    assert again.recalls == clusters.recalls and again.share == clusters.share
    np.testing.assert_array_equal(again.rows, clusters.rows)
    whole = (table.path.parent / "index" / CLUSTER_FILE).read_bytes()
    for part in (whole[:-9], whole[:20], b""):
        (tmp_path / CLUSTER_FILE).write_bytes(part)
        with pytest.raises(DataError, match="a damaged file"):
            open_clusters(table, tmp_path)
    (tmp_path / CLUSTER_FILE).write_bytes(whole)
    card = EmbeddingCard("/runs/first", "0" * 32, dimensions=16, unit=True, data="other.csv")
    columns = {"id": ["a"], "modality": ["image"]}
    write_embeddings(tmp_path / TABLE, embedding_schema(card), columns, np.ones((1, 16), np.float32) / 4)
    with pytest.raises(ConfigError, match="earlier state"):
        open_clusters(open_embeddings(tmp_path), tmp_path)


@pytest.mark.slow
def test_the_verbs(made: tuple[EmbeddingTable, Clusters], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "E"
    shutil.copytree(made[0].path.parent, folder)
    shutil.rmtree(folder / "index")
    search = ["search", str(folder), "--like", "00003", "--k", "5", "--json"]
    assert main([*search, "--approximate"]) == 2
    assert "index" in capsys.readouterr().err
    assert main(["index", str(folder), "--approximate"]) == 0
    assert "recall@10 of audio queries among image rows: " in capsys.readouterr().out
    assert main(search) == 0
    exact = json.loads(capsys.readouterr().out)
    assert main([*search, "--approximate"]) == 0
    near = json.loads(capsys.readouterr().out)
    assert any("some may be missing" in note for note in near["notes"])
    assert len({hit["id"] for hit in near["hits"]} & {hit["id"] for hit in exact["hits"]}) >= 4
    assert main([*search, "--approximate", "--borderline", "--target_score", "0.1"]) == 2
    assert main(["index", str(folder), "--remove", "00004"]) == 0  # renewed with the index
    assert "recall@10" in capsys.readouterr().out
    assert main([*search, "--approximate"]) == 0


def test_index_makes_damaged_files_again(made: tuple[EmbeddingTable, Clusters], tmp_path: Path) -> None:
    folder = tmp_path / "E"
    shutil.copytree(made[0].path.parent, folder)
    assert main(["index", str(folder)]) == 0
    for name in (BLOCK_FILE, CLUSTER_FILE):
        path = folder / "index" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert main(["index", str(folder)]) == 0
        assert len(path.read_bytes()) == len(whole)
