"""Distances against the spherical law of cosines and against places that anyone can look up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.geo import EARTH_RADIUS_KM, great_circle_km

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
