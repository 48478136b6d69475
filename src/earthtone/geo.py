"""Distances on the globe, and places sorted into the cubes of a grid."""

import math
import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_M = 6_371_008.8
"""The mean radius of the WGS 84 ellipsoid."""
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


_CRS = re.compile(
    r"\s*(?:(?:urn:ogc:def:crs:)?[\w.-]+(?::[\w.-]*)+|[A-Za-z_]+\s*[\[(].*|[{+].*)\s*",
    re.DOTALL,
)


def says_crs(text: str) -> bool:
    """Return whether a text can be a coordinate system: a code, WKT, PROJJSON or a PROJ string.

    GDAL takes an address for one too, and asks it; a file's name, and reads it.

    >>> says_crs("EPSG:32621"), says_crs("http://127.0.0.1/crs"), says_crs("/etc/passwd")
    (True, False, False)
    """
    return _CRS.fullmatch(text) is not None


# Cubes of a grid: which rows lie in one cube, and which ones lie in a ring around a place.

SMALLEST_KM = 0.1  # of a cube's side; three coordinates of 21 bits make one key
_BITS = 21
MOST_AROUND = 4096  # rows around a place that are looked at; more are drawn from
_AROUND = np.array([(x << 2 * _BITS) + (y << _BITS) + z for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])


def chord(km: float) -> float:
    """The straight distance, in Earth radii, of two places `km` apart on the sphere."""
    return 2 * math.sin(min(km * 1000 / EARTH_RADIUS_M, math.pi) / 2)


def cell_keys(points: NDArray[np.float64], km: float, shift: NDArray[np.float64] | float = 0.0) -> NDArray[np.int64]:
    """Return the number of each point's cube (N), of a side of `km`; a point without a place has a cube of its own.

    `points` (N, 3) are unit vectors; `shift`, in sides from 0 to 1, moves the grid. Cubes know neither poles nor a
    date line, and are all equally large.
    """
    known = np.asarray(np.isfinite(points).all(axis=1))
    places = np.floor((np.where(known[:, None], points, 0.0) + 1) / chord(km) + shift).astype(np.int64) + 1
    keys = (places[:, 0] << 2 * _BITS) + (places[:, 1] << _BITS) + places[:, 2]
    return np.where(known, keys, -1 - np.arange(len(points)))


class Ring:
    """Finds rows between two distances of a row; memory is two integers a row with a place."""

    def __init__(self, points: NDArray[np.float64], low_km: float, high_km: float) -> None:
        """`points` (N, 3) are unit vectors, NaN for rows without a place, which are in nobody's ring."""
        self._points = points
        self._low, self._high = chord(low_km) ** 2, chord(high_km) ** 2
        self._side_km = max(high_km, SMALLEST_KM)
        located = np.flatnonzero(np.isfinite(points).all(axis=1))
        keys = cell_keys(points[located], self._side_km)
        order = np.argsort(keys, kind="stable")
        self._rows, self._keys = located[order], keys[order]

    def around(self, row: int, draw: np.random.Generator) -> NDArray[np.int64]:
        """Return rows at least `low_km` and at most `high_km` from `row`, in random order.

        All of them where at most 4,096 rows lie in the 27 cubes around; else those among 4,096 drawn from these.
        """
        point = self._points[row]
        if not np.isfinite(point).all():
            return np.empty(0, np.int64)
        keys = cell_keys(point[None], self._side_km) + _AROUND
        starts, ends = np.searchsorted(self._keys, keys, "left"), np.searchsorted(self._keys, keys, "right")
        counts = ends - starts
        total = int(counts.sum())
        picks = np.arange(total) if total <= MOST_AROUND else np.unique(draw.integers(total, size=MOST_AROUND))
        run = np.searchsorted(counts.cumsum(), picks, "right")
        rows = self._rows[starts[run] + picks - (counts.cumsum() - counts)[run]]
        squared = np.square(self._points[rows] - point).sum(axis=1)
        found = rows[(squared >= self._low) & (squared <= self._high) & (rows != row)]
        return np.asarray(draw.permutation(found), np.int64)
