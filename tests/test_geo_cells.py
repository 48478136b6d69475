"""Cubes on the globe and rings around a place, against all distances by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone import geo as cells
from earthtone.geo import Ring, cell_keys, chord

EARTH_KM = 6371.0088


def places(seed: int, count: int = 60, spread_km: float = 40) -> NDArray[np.float64]:
    """Unit vectors around one random place - a pole or the date line as well as any other; some are unknown."""
    draw = np.random.default_rng(seed)
    middle = [[0.0, 0, 1], [-1, 0, 0], draw.normal(size=3)][seed % 3]
    points = np.asarray(middle) / np.linalg.norm(middle) + draw.normal(0, spread_km / EARTH_KM, (count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[draw.random(count) < 0.1] = np.nan
    return points


def kilometres(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * EARTH_KM * np.arcsin(np.linalg.norm(points[:, None] - points[None], axis=2) / 2)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), low=st.floats(0, 30), width=st.floats(0.5, 3000))
def test_a_ring_is_all_rows_between_its_distances(seed: int, low: float, width: float) -> None:
    points = places(seed)
    ring, apart = Ring(points, low, low + width), kilometres(points)
    for row in range(0, 60, 7):
        found = ring.around(row, np.random.default_rng(0)).tolist()
        clear = (abs(apart[row] - low) > 1e-6) & (abs(apart[row] - low - width) > 1e-6)
        inside = (apart[row] > low) & (apart[row] < low + width) & (np.arange(60) != row)
        assert set(np.flatnonzero(inside & clear)) <= set(found) <= set(np.flatnonzero(inside | ~clear))
        assert len(set(found)) == len(found)


def test_many_rows_around_are_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MOST_AROUND", 20)
    points = places(1)
    ring, apart = Ring(points, 1, 3000), kilometres(points)
    first = ring.around(4, np.random.default_rng(0))
    assert 0 < len(first) <= 20 and (apart[4, first] >= 1).all()
    assert set(first) != set(ring.around(4, np.random.default_rng(1)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), km=st.floats(0.1, 20_000), shift=st.floats(0, 1))
def test_rows_of_a_cell_are_near_and_near_rows_mostly_of_a_cell(seed: int, km: float, shift: float) -> None:
    points = places(seed)
    keys = cell_keys(points, km, np.full(3, shift))
    same = keys[:, None] == keys[None]
    straight = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert (straight[same & ~np.eye(60, dtype=bool)] <= chord(km) * 3**0.5).all()  # NaN would fail: they are alone
    assert same.diagonal().all()


def test_a_grid_may_be_moved() -> None:
    points = places(2)
    assert (cell_keys(points, 10, 0.0) != cell_keys(points, 10, 0.4)).any()
