"""Distances between places on the globe."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0
"""The round radius of the published protocol (Heidler et al. 2023, arXiv 2108.00688); the mean one is 6371.0088 km."""


def great_circle_km(
    longitude_a: ArrayLike, latitude_a: ArrayLike, longitude_b: ArrayLike, latitude_b: ArrayLike
) -> NDArray[np.float64]:
    """Return the distances in km along great circles of a sphere of radius 6371 km; NaN where a coordinate is NaN.

    Degrees in, any shapes that broadcast. The haversine formula, which is exact for small distances too
    (Sinnott, "Virtues of the Haversine", Sky and Telescope 68(2), 1984).

    >>> float(great_circle_km(0.0, 0.0, 90.0, 0.0).round(1))
    10007.5
    """
    east_a, north_a = np.radians(longitude_a), np.radians(latitude_a)
    east_b, north_b = np.radians(longitude_b), np.radians(latitude_b)
    half = np.sin((north_b - north_a) / 2) ** 2
    half = half + np.cos(north_a) * np.cos(north_b) * np.sin((east_b - east_a) / 2) ** 2
    # rounding can lift antipodes above 1
    km: NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))
    return km
