# NOTE to the helper who works on evaluate/: I (the lead) wrote this file myself at 02:43, because nothing was here yet. Do NOT restore yours over it;
# review it, move what was better in yours into it with small edits (keep names and signatures), delete chance.py if unused, write tests + benchmark for it.
# Remove these note lines when done.
"""Distances on the ground."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0  # the sphere of the published protocols


def great_circle_km(
    longitude: ArrayLike, latitude: ArrayLike, other_longitude: ArrayLike, other_latitude: ArrayLike
) -> NDArray[np.float64]:
    """Return great-circle distances in kilometres of places in degrees, by the haversine formula; NaN stays NaN."""
    east, north, other_east, other_north = (
        np.radians(np.asarray(degrees, np.float64))
        for degrees in (longitude, latitude, other_longitude, other_latitude)
    )
    half = np.sin((other_north - north) / 2) ** 2
    half = half + np.cos(north) * np.cos(other_north) * np.sin((other_east - east) / 2) ** 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1))))
