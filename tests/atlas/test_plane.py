"""The plane: principal components as others find them, the same for the same rows, whatever they are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from earthtone.atlas.plane import Plane, lay_plane, sampled_rows

Read = Callable[[NDArray[np.int64]], tuple[NDArray[Any], list[str]]]


def reader(vectors: NDArray[Any], modalities: list[str]) -> Read:
    return lambda rows: (vectors[rows], [modalities[row] for row in rows.tolist()])


def places(vectors: NDArray[Any], modalities: list[str], method: Any = "pca", **named: Any) -> NDArray[np.float32]:
    rows = np.arange(len(vectors))
    plane = lay_plane(reader(vectors, modalities), rows, method, cosine=True, **named)
    return plane.place(rows, vectors, modalities)


@pytest.fixture
def two_cones() -> tuple[NDArray[np.float64], list[str]]:
    """Images and sounds far apart, which differ among themselves along the same two directions."""
    draw = np.random.default_rng(0)
    content = draw.standard_normal((6000, 2)) * [3.0, 2.0]
    vectors = content @ np.eye(2, 16) + draw.standard_normal((6000, 16)) * 0.1
    vectors[::3, 9] += 50.0
    return vectors, ["audio" if row % 3 == 0 else "image" for row in range(6000)]


def test_it_is_that_of_another_library(two_cones: tuple[NDArray[np.float64], list[str]]) -> None:
    vectors, modalities = two_cones
    centred = vectors.copy()
    for name in ("audio", "image"):
        own = np.array(modalities) == name
        centred[own] -= vectors[own].mean(axis=0)
    theirs = PCA(2, svd_solver="full").fit(centred)
    expected = theirs.transform(centred) * np.sign(theirs.components_[range(2), np.abs(theirs.components_).argmax(1)])
    np.testing.assert_allclose(places(vectors, modalities), expected, atol=1e-5)
    plane = lay_plane(reader(vectors, modalities), np.arange(6000), "pca", cosine=True)
    np.testing.assert_allclose(plane.shares, theirs.explained_variance_ratio_, rtol=1e-6)


def test_it_tells_content_and_not_which_modality(two_cones: tuple[NDArray[np.float64], list[str]]) -> None:
    vectors, modalities = two_cones
    found = places(vectors, modalities)
    for axis in range(2):
        assert abs(np.corrcoef(found[:, axis], vectors[:, axis])[0, 1]) > 0.99
    sounds = np.array(modalities) == "audio"
    assert np.abs(found[sounds].mean(axis=0) - found[~sounds].mean(axis=0)).max() < 0.01


def test_a_place_does_not_depend_on_the_rows_beside_it(two_cones: tuple[NDArray[np.float64], list[str]]) -> None:
    vectors, modalities = two_cones
    plane = lay_plane(reader(vectors, modalities), np.arange(6000), "pca", cosine=True)
    whole, rows = plane.place(np.arange(6000), vectors, modalities), np.arange(17, 90)
    np.testing.assert_allclose(plane.place(rows, vectors[rows], [modalities[n] for n in rows]), whole[rows], rtol=1e-6)


@pytest.mark.parametrize(
    "vectors",
    [np.ones((1, 4)), np.ones((5, 4)), np.zeros((3, 4)), np.arange(5.0).reshape(5, 1), np.eye(2, 3)],
    ids=["one row", "all alike", "zeros", "one number", "two rows"],
)
def test_where_there_is_little_to_tell_apart(vectors: NDArray[Any]) -> None:
    found = places(vectors.astype(np.float16), ["image"] * len(vectors))
    assert found.shape == (len(vectors), 2) and np.isfinite(found).all()
    assert (found[:, 1] == 0).all()
    assert len(set(found[:, 0].tolist())) == len(np.unique(vectors, axis=0))


def test_rows_that_are_looked_at() -> None:
    """All where there are few; as many of a rare modality as there are."""
    codes = np.array([0] * 90 + [1] * 10, np.int8)
    np.testing.assert_array_equal(sampled_rows(codes, 0), np.arange(100))
    found = sampled_rows(codes, 0, most=40)
    assert len(found) == 40 and (np.diff(found) > 0).all() and (codes[found] == 1).sum() == 10
    np.testing.assert_array_equal(found, sampled_rows(codes, 0, most=40))
    assert not np.array_equal(found, sampled_rows(codes, 1, most=40))
    assert np.bincount(codes[sampled_rows(codes, 0, most=12)]).tolist() == [6, 6]


def test_those_who_are_not_looked_at_are_placed_too(two_cones: tuple[NDArray[np.float64], list[str]]) -> None:
    vectors, modalities = two_cones
    plane = lay_plane(reader(vectors, modalities), np.arange(0, 6000, 5), "pca", cosine=True)
    found = plane.place(np.arange(6000), vectors, modalities)
    close = np.abs(found - places(vectors, modalities)).max(axis=0)
    assert (close < 1.0).all() and np.isfinite(found).all()


@pytest.mark.extras
def test_umap(two_cones: tuple[NDArray[np.float64], list[str]]) -> None:
    """Neighbours stay neighbours; the same call gives the same places; rows it was not laid by are placed."""
    pytest.importorskip("umap")
    draw = np.random.default_rng(1)
    kinds = draw.integers(0, 3, 300)
    vectors = (np.eye(3, 8)[kinds] * 5 + draw.standard_normal((300, 8)) * 0.2).astype(np.float32)
    modalities = ["image"] * 300
    threads = torch.get_num_threads()
    found = places(vectors, modalities, "umap", seed=3)
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(found, places(vectors, modalities, "umap", seed=3))
    apart = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (kinds[apart.argmin(axis=1)] == kinds).mean() > 0.98
    rows = np.arange(0, 300, 2)
    plane = lay_plane(reader(vectors, modalities), rows, "umap", cosine=True, seed=3)
    others = plane.place(np.arange(300), vectors, modalities)
    assert isinstance(plane, Plane) and np.isfinite(others).all()
    near = np.linalg.norm(others[1::2, None] - others[None, ::2], axis=2).argmin(axis=1)
    assert (kinds[::2][near] == kinds[1::2]).mean() > 0.98


@pytest.mark.extras
def test_umap_of_a_few_rows_is_principal_components() -> None:
    """There are no 15 neighbours."""
    pytest.importorskip("umap")
    vectors = np.random.default_rng(0).standard_normal((9, 4))
    np.testing.assert_array_equal(places(vectors, ["image"] * 9, "umap"), places(vectors, ["image"] * 9))


def test_clusters_are_those_the_vectors_lie_in(two_cones: tuple[NDArray[np.float64], list[str]]) -> None:
    _, modalities = two_cones
    draw = np.random.default_rng(1)
    truth = draw.choice(4, 6000, p=[0.4, 0.3, 0.2, 0.1])
    vectors = 10 * np.eye(4, 16)[truth] + draw.standard_normal((6000, 16))
    vectors[::3] += 50.0  # sounds lie apart, and are told apart like pictures all the same
    rows = np.arange(6000)
    plane = lay_plane(reader(vectors, modalities), rows, "pca", cosine=True, clusters=4)
    found = plane.clusters(vectors, modalities)
    assert found.dtype == np.int16 and np.mean(found == truth + 1) > 0.99, "the largest is the first"
    np.testing.assert_array_equal(plane.clusters(vectors[7:9], modalities[7:9]), found[7:9])
    same = lay_plane(reader(vectors, modalities), rows, "pca", cosine=True, clusters=4)
    np.testing.assert_array_equal(same.centres, plane.centres)


def test_there_are_no_more_clusters_than_vectors_that_differ() -> None:
    vectors, modalities = np.repeat(np.eye(3, 8), 5, axis=0), ["image"] * 15
    plane = lay_plane(reader(vectors, modalities), np.arange(15), "pca", cosine=True, clusters=12)
    assert sorted(set(plane.clusters(vectors, modalities).tolist())) == [1, 2, 3]
