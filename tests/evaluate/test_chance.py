"""Chance against every ranking there is, and against simulated ones."""

from itertools import permutations

import numpy as np
import pytest

from earthtone.evaluate import chance

DISCOUNTS = 1 / np.log2(np.arange(2, 12))


def every_ranking(gallery: int, relevant: int) -> tuple[list[int], list[float]]:
    """Ranks of the first right item and nDCG@10 over all orders."""
    ranks, ndcgs = [], []
    for order in permutations(range(gallery)):
        hits = np.array(order)[:10] < relevant
        ranks.append(int(np.argmax(np.array(order) < relevant)) + 1)
        ndcgs.append(float(DISCOUNTS[: len(hits)][hits].sum() / DISCOUNTS[:relevant].sum()))
    return ranks, ndcgs


@pytest.mark.parametrize("relevant", [(1,), (2,), (6,), (1, 3), (1, 1, 2, 6)])
def test_is_the_mean_over_all_rankings(relevant: tuple[int, ...]) -> None:
    found = [every_ranking(6, m) for m in relevant]
    ranks = np.concatenate([ranks for ranks, _ in found])
    numbers = np.array(relevant)
    beyond = chance.beyond(6, numbers)
    assert [1 - beyond[k] for k in range(7)] == pytest.approx([(ranks <= k).mean() for k in range(7)])
    assert chance.mean_reciprocal_rank(beyond) == pytest.approx((1 / ranks).mean())
    assert chance.median_rank(beyond) == np.median(ranks)
    assert chance.ndcg(6, numbers) == pytest.approx(np.mean([ndcgs for _, ndcgs in found]))


@pytest.mark.parametrize("gallery", [1, 2, 419, 420, 50_000])
def test_one_right_item_in_a_large_gallery(gallery: int) -> None:
    beyond = chance.beyond(gallery, np.ones(gallery, np.int64))
    assert 1 - beyond == pytest.approx(np.arange(gallery + 1) / gallery)
    assert chance.median_rank(beyond) == (gallery + 1) / 2
    assert chance.mean_reciprocal_rank(beyond) == pytest.approx((1 / np.arange(1, gallery + 1)).mean())


def test_nearest_km_on_a_line_of_places() -> None:
    # 100 places a degree apart: the nearest of k random ones, by another simulation
    longitude, latitude = np.arange(100.0), np.zeros(100)
    found = chance.nearest_km(longitude, latitude, [1, 10], seed=0)
    rng = np.random.default_rng(1)
    draws = [np.abs(rng.permutation(100) - rng.integers(100)) for _ in range(4000)]
    degree = np.pi * 6371 / 180
    for k in (1, 10):
        assert found[k].mean() == pytest.approx(degree * np.mean([draw[:k].min() for draw in draws]), rel=0.06)


def test_nearest_passes_over_the_unknown() -> None:
    km = np.array([[np.nan, 3.0, 2.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(chance.nearest(km), [2.0, np.nan])
