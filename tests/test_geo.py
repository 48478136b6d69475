"""Distances against the spherical law of cosines and known places; cubes and rings against distances by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone import geo as cells
from earthtone.geo import EARTH_RADIUS_KM, Ring, cell_keys, chord, great_circle_km

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


LONGITUDES, LATITUDES = st.floats(-180, 180), st.floats(-90, 90)
QUARTER_KM = np.pi / 2 * EARTH_RADIUS_KM


@pytest.mark.parametrize(
    ("start", "end", "km"),
    [
        ((0, 0), (90, 0), QUARTER_KM),
        ((0, 0), (0, 90), QUARTER_KM),
        ((0, 0), (180, 0), 2 * QUARTER_KM),
        ((179.5, 0), (-179.5, 0), QUARTER_KM / 90),  # across the date line
        ((13.4, -52.5), (13.4, -52.5), 0),
        ((30, 90), (-100, 90), 0),  # the pole has any longitude
        ((2.3522, 48.8566), (-0.1276, 51.5072), 343.5),  # Paris to London
    ],
)
def test_known_distances(start: tuple[float, float], end: tuple[float, float], km: float) -> None:
    assert great_circle_km(*start, *end) == pytest.approx(km, rel=1e-3, abs=1e-6)


@given(LONGITUDES, LATITUDES, LONGITUDES, LATITUDES)
def test_is_the_angle_between_the_vectors(east_a: float, north_a: float, east_b: float, north_b: float) -> None:
    km = float(great_circle_km(east_a, north_a, east_b, north_b))
    a, b = (
        np.array([np.cos(n) * np.cos(e), np.cos(n) * np.sin(e), np.sin(n)])
        for e, n in (np.radians([east_a, north_a]), np.radians([east_b, north_b]))
    )
    angle = np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)
    assert km == pytest.approx(EARTH_RADIUS_KM * angle, abs=1e-3)
    assert km == float(great_circle_km(east_b, north_b, east_a, north_a))


def test_broadcasts_and_keeps_the_unknown() -> None:
    km = great_circle_km(np.zeros((3, 1)), np.zeros((3, 1)), np.array([0.0, np.nan]), np.array([1.0, 1.0]))
    assert km.shape == (3, 2)
    assert np.isnan(km[:, 1]).all() and not np.isnan(km[:, 0]).any()
