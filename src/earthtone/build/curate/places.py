"""Land and countries as outlines: which country a place lies in, how far the nearest land of one is.

Natural Earth at 1:50 million (public domain), as TopoJSON of the package world-atlas 2.0.2 (ISC, copyright 2013-2019
Michael Bostock). Such outlines are coarse: coasts lie a few kilometres off, small islands are not there. Never judge
without a margin (docs/curation.md has it measured).
"""

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError
from earthtone.geo import EARTH_RADIUS_KM

_FILE = Path(__file__).with_name("countries-50m.json.gz")
_KM_A_DEGREE = math.pi * EARTH_RADIUS_KM / 180
FARTHEST_KM = 500.0
"""Distances above are told as this."""
#: Names in use that neither the standard nor the outlines have, in small letters, and the code that they mean.
_ALSO = {
    "bolivia": "BO", "brunei": "BN", "cape verde": "CV", "czech republic": "CZ", "england": "GB", "great britain": "GB",
    "iran": "IR", "ivory coast": "CI", "laos": "LA", "moldova": "MD", "north korea": "KP", "northern ireland": "GB",
    "russia": "RU", "scotland": "GB", "south korea": "KR", "swaziland": "SZ", "syria": "SY", "taiwan": "TW",
    "tanzania": "TZ", "the netherlands": "NL", "turkey": "TR", "uk": "GB", "united kingdom": "GB",
    "united states": "US", "united states of america": "US", "usa": "US", "venezuela": "VE", "vietnam": "VN",
    "wales": "GB",
}  # fmt: skip


class Outlines:
    """Rings of countries as segments, sorted into bands of one degree of latitude."""

    def __init__(self, topology: Mapping[str, Any]) -> None:
        arcs = [_degrees(arc, topology["transform"]) for arc in topology["arcs"]]
        self.names: list[str] = []
        self._by_code: dict[str, int] = {}
        starts, ends, owners = [], [], []
        for number, country in enumerate(topology["objects"]["countries"]["geometries"]):
            self.names.append(country["properties"]["name"])
            if "id" in country:
                self._by_code.setdefault(country["id"], number)
            for ring in _rings(country, arcs):
                for turned in _unrolled(ring):
                    starts.append(turned[:-1])
                    ends.append(turned[1:])
                    owners.append(np.full(len(turned) - 1, number, np.int32))
        self._from, self._to, self._owner = np.concatenate(starts), np.concatenate(ends), np.concatenate(owners)
        low = np.floor(np.minimum(self._from[:, 1], self._to[:, 1])).astype(np.int64) + 90
        high = np.floor(np.maximum(self._from[:, 1], self._to[:, 1])).astype(np.int64) + 90
        self._bands = [np.flatnonzero((low <= band) & (band <= high)) for band in range(181)]
        self._named = {name.lower(): number for number, name in enumerate(self.names)}

    def country_at(self, longitude: float, latitude: float) -> int | None:
        """Return the number of the country that a place (degrees) lies in, None at sea.

        By the crossings of a parallel east of the place: an odd number is inside.
        """
        near = self._bands[min(180, math.floor(latitude) + 90)]
        begin, end = self._from[near], self._to[near]
        spans = (begin[:, 1] > latitude) != (end[:, 1] > latitude)
        begin, end, owners = begin[spans], end[spans], self._owner[near[spans]]
        at = begin[:, 0] + (latitude - begin[:, 1]) / (end[:, 1] - begin[:, 1]) * (end[:, 0] - begin[:, 0])
        odd = np.flatnonzero(np.bincount(owners[at > longitude], minlength=len(self.names)) % 2)
        return int(odd[0]) if len(odd) else None

    def km_to(self, longitude: float, latitude: float, country: int | None = None) -> float:
        """Return how far the nearest outline is, of a country or of any land; at most FARTHEST_KM.

        On the plane that touches the sphere there: right to about a percent within 500 km, but near the poles.
        """
        reach = FARTHEST_KM / _KM_A_DEGREE
        low, high = (min(180, max(0, math.floor(latitude + side * reach) + 90)) for side in (-1, 1))
        near = np.unique(np.concatenate(self._bands[low : high + 1]))
        if country is not None:
            near = near[self._owner[near] == country]
        if not len(near):
            return FARTHEST_KM
        scale = np.array([max(1e-6, math.cos(math.radians(latitude))), 1.0]) * _KM_A_DEGREE
        here = np.array([longitude, latitude])
        begin, end = (self._from[near] - here) * scale, (self._to[near] - here) * scale
        along = end - begin
        length = np.einsum("sd,sd->s", along, along)
        share = np.clip(-np.einsum("sd,sd->s", begin, along) / np.maximum(length, 1e-12), 0, 1)
        nearest = begin + share[:, None] * along
        return min(FARTHEST_KM, float(np.sqrt(np.einsum("sd,sd->s", nearest, nearest).min())))

    def find(self, said: str) -> int | None:
        """Return the number of the country that a cell names: codes of two or three letters or digits, a name.

        None where it is not understood, or has no outline.
        """
        import iso3166

        text = " ".join(said.split()).lower()
        if text in self._named:
            return self._named[text]
        found = iso3166.countries.get(_ALSO.get(text, text), None)
        return None if found is None else self._by_code.get(found.numeric)


@cache
def outlines() -> Outlines:
    """Return the outlines that come with the package."""
    return Outlines(json.loads(gzip.decompress(_FILE.read_bytes())))


def coarse(longitude: float, latitude: float, km: float) -> tuple[float, float]:
    """Return the middle of the cell of about `km` a side that a place lies in, the same for all places of the cell.

    Rows of cells are equally high from pole to pole; each is divided into whole cells from 180 degrees west on.

    >>> coarse(13.404954, 52.520008, 10.0)
    (13.360823, 52.532468)
    """
    if not 0 < km <= 5000:
        raise ConfigError(f"--coarsen_km {km:g}; kilometres from more than 0 to 5000 expected")
    rows = max(1, round(180 * _KM_A_DEGREE / km))
    row = min(rows - 1, math.floor((latitude + 90) / 180 * rows))
    north = (row + 0.5) / rows * 180 - 90
    columns = max(1, round(360 * _KM_A_DEGREE * math.cos(math.radians(north)) / km))
    column = math.floor((longitude + 180) / 360 * columns) % columns
    return round((column + 0.5) / columns * 360 - 180, 6), round(north, 6)


def _degrees(arc: Sequence[Sequence[int]], transform: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
    """Return the points (N, 2) of an arc, whose numbers are differences."""
    steps: NDArray[np.float64] = np.cumsum(np.array(arc, np.float64), axis=0)
    points: NDArray[np.float64] = steps * np.array(transform["scale"]) + np.array(transform["translate"])
    return points


def _rings(geometry: Mapping[str, Any], arcs: Sequence[NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """Yield the rings (N, 2) of a polygon or several; holes too, which count as rings."""
    polygons = [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
    for polygon in polygons if geometry["type"] in ("Polygon", "MultiPolygon") else ():
        for ring in polygon:
            parts = [arcs[arc] if arc >= 0 else arcs[~arc][::-1] for arc in ring]
            yield np.concatenate([parts[0], *(part[1:] for part in parts[1:])])


def _unrolled(ring: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield a ring that goes on beyond 180 degrees where it crosses them, and again so that -180 to 180 is covered.

    One that goes round a pole is closed along the pole.
    """
    east = np.unwrap(ring[:, 0], period=360)
    ring = np.stack([east, ring[:, 1]], axis=1)
    if abs(east[-1] - east[0]) > 180:
        pole = -90.0 if ring[0, 1] < 0 else 90.0
        ring = np.concatenate([ring, [[east[-1], pole], [east[0], pole]], ring[:1]])
    for turn in (-720, -360, 0, 360, 720):
        if ring[:, 0].min() + turn < 180 and ring[:, 0].max() + turn > -180:
            yield ring + np.array([turn, 0.0])
