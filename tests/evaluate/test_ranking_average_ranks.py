"""Average ranks, kilometres and exact distances, against scipy and plain loops, for all inputs, in any chunks."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from earthtone.evaluate.ranking import AverageRanks, ExactSearch, Places, average_ranks, first_equal
from earthtone.geo import great_circle_km

Array = np.ndarray[Any, Any]


def plain(queries: Array, gallery: Array, places: Places, depths: tuple[int, ...], divisor: Array) -> AverageRanks:
    """The same in the plainest way."""
    apart = ((queries[:, None].astype(float) - gallery[None]) ** 2).sum(axis=2) * divisor**-2.0
    count = len(queries)
    order = np.argsort(apart, axis=1, kind="stable")
    km = {}
    for depth in depths:
        found = order[:, :depth]
        to = great_circle_km(
            places.longitude[:, None], places.latitude[:, None], places.longitude[found], places.latitude[found]
        )
        km[depth] = np.where(np.isnan(to).all(axis=1), np.nan, np.nanmin(np.where(np.isnan(to), np.inf, to), axis=1))
    distances = np.sqrt(apart)
    return AverageRanks(
        rank=np.array([rankdata(apart[n])[n] for n in range(count)]),
        tied=(apart == np.diag(apart)[:, None]).sum(axis=1) > 1,
        distance=np.diag(distances), mean_distance=distances.mean(axis=1), top=order[:, :10], km=km,
    )  # fmt: skip


def assert_same(found: AverageRanks, expected: AverageRanks) -> None:
    for name in ("rank", "tied", "top"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-12)
    for depth, km in expected.km.items():
        np.testing.assert_allclose(found.km[depth], km, rtol=1e-12, atol=1e-12)


def world(rng: np.random.Generator, count: int) -> Places:
    """Places, some of them the same, some unknown, some a few centimetres apart."""
    longitude, latitude = rng.uniform(-180, 180, count), rng.uniform(-90, 90, count)
    copies = rng.integers(0, count, count)
    near = rng.random(count)
    longitude, latitude = (np.where(near < 0.3, of[copies], of) for of in (longitude, latitude))
    latitude = np.clip(np.where((near > 0.2) & (near < 0.3), latitude + 1e-7, latitude), -90, 90)
    unknown = near > 0.9
    return Places(np.where(unknown, np.nan, longitude), np.where(unknown, np.nan, latitude))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 70), st.sampled_from([1e-6, 0.01, 1.0]), st.sampled_from([0.0, 1e4]),
    st.booleans(), st.integers(1, 3000),
)  # fmt: skip
def test_agrees_with_a_plain_loop(
    seed: int, count: int, spread: float, offset: float, divided: bool, max_bytes: int
) -> None:
    """Also where embeddings are equal, nearly equal, far from zero, or divided by something."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((max(1, count // 2), 5)) + offset
    queries = points[rng.integers(0, len(points), count)].astype(np.float32)
    gallery = (points[rng.integers(0, len(points), count)] + rng.choice([0.0, spread], (count, 1))).astype(np.float32)
    divisor = rng.choice([0.5, 1.0, 3.0], count) if divided else np.ones(count)
    depths = tuple(k for k in (1, 7, 30) if k < count)
    places = world(rng, count)
    found = average_ranks(
        queries, gallery, places, depths=depths, divisor=divisor if divided else None, max_bytes=max_bytes
    )
    assert_same(found, plain(queries, gallery, places, depths, divisor))


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [2, 128])
def test_agrees_with_a_plain_loop_on_more_pairs(dimensions: int) -> None:
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((700, dimensions)).astype(np.float32)
    gallery = (queries + 2 * rng.standard_normal((700, dimensions))).astype(np.float32)
    gallery[::7] = gallery[1::7][: len(gallery[::7])]
    gallery[5], queries[6] = 1e4 * gallery[5], 1e3 * queries[6]
    places = world(rng, 700)
    found = average_ranks(queries, gallery, places, depths=(10, 100, 500), max_bytes=100_000)
    expected = plain(queries, gallery, places, (10, 100, 500), np.ones(700))
    assert_same(found, expected)
    np.testing.assert_allclose(found.mean_distance, expected.mean_distance, rtol=1e-5)


def test_the_nearest_place_by_hand() -> None:
    """Query 0 finds items 1 and 2 first; 2 lies a degree of longitude away on the equator, 1 two."""
    queries = np.zeros((4, 1), np.float32)
    gallery = np.array([[9], [1], [2], [3]], np.float32)
    places = Places(np.array([0.0, 2.0, 1.0, np.nan]), np.array([0.0, 0.0, 0.0, np.nan]))
    found = average_ranks(queries, gallery, places, depths=(1, 2, 4))
    degree = np.pi / 180 * 6371
    np.testing.assert_allclose([found.km[k][0] for k in (1, 2, 4)], [2 * degree, degree, 0])
    np.testing.assert_allclose([found.km[k][2] for k in (1, 2)], [degree, 0])
    assert np.isnan([found.km[k][3] for k in (1, 2, 4)]).all()  # its own place is unknown


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [1, 16, 128, 600])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_keys_are_within_the_tolerance_of_exact_distances(dimensions: int, offset: float) -> None:
    rng = np.random.default_rng(dimensions)
    queries, gallery = (rng.standard_normal((2, 400, dimensions)) * rng.lognormal(size=(2, 400, 1)) + offset).astype(
        np.float32
    )
    gallery[0] *= 1000  # one that lies far out
    search = ExactSearch(queries, gallery)
    exact = ((queries[:, None].astype(float) - gallery[None]) ** 2).sum(axis=2)
    for rows, keys in search.chunks(170):
        for row, error in zip(rows, np.abs(keys - exact[rows]), strict=True):
            nearest, farthest = exact[row].argsort()[[0, -1]]
            for item in (nearest, farthest, error.argmax(), 0, 1, 2):
                assert error[item] <= 0.5 * search.tolerance(row, exact[row, item])  # with room to spare


def test_equal_rows_have_the_first_ones_number() -> None:
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5], [3, 4]], np.float32)
    assert first_equal(rows).tolist() == [0, 1, 0, 3, 1]
    assert first_equal(rows[:0]).tolist() == []
