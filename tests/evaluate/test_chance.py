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
    longitude = np.array([0.0, np.nan, np.nan])
    found = chance.nearest_km(longitude, longitude, [1, 3], seed=0)
    assert np.isnan(found[1]).any() and np.nanmax(found[1]) == 0 and found[3].tolist() == [0.0] * 4000


def test_what_a_random_ranking_finds_counts_every_right_item() -> None:
    one_each = chance.share_found(20, {1: 7})
    assert one_each == pytest.approx(np.arange(21) / 20)
    mixed = chance.share_found(20, {1: 1, 4: 3})
    rng, ranks = np.random.default_rng(0), np.arange(1, 21)
    first = [rng.permutation(ranks)[:number].min() for _ in range(4000) for number in (1, 4, 4, 4)]
    assert mixed[1:] == pytest.approx([np.mean(np.array(first) <= k) for k in ranks], abs=0.015)
    assert chance.share_found(3, {}).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ((0.5, 0.1, 0.4, 0.6), ""),
        ((0.1, 0.3, 0.05, 0.2), "below chance"),
        ((0.25, 0.3, 0.1, 0.4), "below chance, though not clearly"),
        ((0.35, 0.3, 0.2, 0.5), "not clearly above chance"),
        ((1.0, 1.0, 1.0, 1.0), "chance reaches it too"),
        ((0.9, 1 - 1e-12, 0.8, 1.0), "chance reaches it too"),
        ((0.1, 0.3, None, None), "below chance"),
        ((0.4, None, 0.3, 0.5), ""),
    ],
)
def test_how_a_figure_stands_to_chance(figure: tuple[float, float | None, float, float], words: str) -> None:
    value, by_chance, low, high = figure
    assert chance.against_chance(value, by_chance, low, high) == words


def test_of_ranks_less_is_better() -> None:
    assert chance.against_chance(3.0, 50.0, 2.0, 5.0, less=True) == ""
    assert chance.against_chance(70.0, 50.0, 60.0, 80.0, less=True) == "below chance"
    assert chance.against_chance(1.0, 1.0, 1.0, 1.0, less=True) == "not clearly above chance"
