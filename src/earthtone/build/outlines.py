"""Outlines of land for pictures of places: Natural Earth at 1:50 million (public domain), as the page ships it.

Natural Earth: naturalearthdata.com; its form is world-atlas' TopoJSON, whose rings go on across 180. At that scale
coasts are a kilometre or more off, so that pictures of a few kilometres have none.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError

_FOLDER = Path(__file__).parents[1] / "serve" / "page" / "assets"
CREDIT = "Land: Natural Earth, 1:50 million"
#: Narrower maps, in degrees, show no land: its coasts are too coarse.
LEAST_DEGREES = 1.0
Ring = NDArray[np.float64]


@cache
def land_rings() -> tuple[Ring, ...]:
    """Return the rings of all land, each (N, 2) degrees of longitude and latitude, the last point the first.

    They go on beyond 180, without a jump. Holes, such as the Caspian Sea, are rings of the other direction. Raises
    DataError where the page's file is not there.
    """
    found = sorted(_FOLDER.glob("land-50m-*.json"))
    try:
        topology = json.loads(found[0].read_bytes())
        scale, shift = (np.array(topology["transform"][name]) for name in ("scale", "translate"))
        arcs = [np.cumsum(np.array(arc, np.int64), axis=0) * scale + shift for arc in topology["arcs"]]
        shapes = topology["objects"]["land"]["geometries"]
        polygons = [polygon for shape in shapes for polygon in _polygons(shape["type"], shape["arcs"])]
        return tuple(_ring(numbers, arcs) for polygon in polygons for numbers in polygon)
    except (IndexError, KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(
            f"{_FOLDER}: the land of the page, land-50m-*.json, is missing or damaged; install earthtone again"
        ) from error


def land_rings_in(west: float, south: float, east: float, north: float) -> list[Ring]:
    """Return the rings that reach into a box of degrees, which may go on beyond 180: turned by 360 where they do."""
    found = []
    for ring in land_rings():
        (left, low), (right, high) = ring.min(axis=0), ring.max(axis=0)
        if low > north or high < south:
            continue
        turns = (turn for turn in (-360.0, 0.0, 360.0) if left + turn <= east and right + turn >= west)
        found += [ring + np.array((turn, 0.0)) for turn in turns]
    return found


def _polygons(kind: str, arcs: list[list[list[int]]] | list[list[list[list[int]]]]) -> list[list[list[int]]]:
    return arcs if kind == "MultiPolygon" else [arcs]  # type: ignore[list-item, return-value]


def _ring(numbers: list[int], arcs: list[Ring]) -> Ring:
    """Return the arcs of a ring as one; those numbered below 0 are the other way round, each begins where one ends."""
    parts = [arcs[number] if number >= 0 else arcs[~number][::-1] for number in numbers]
    ring: Ring = np.concatenate([parts[0], *(part[1:] for part in parts[1:])])
    ring[:, 0] = np.unwrap(ring[:, 0], period=360)
    if abs(ring[-1, 0] - ring[0, 0]) > 180:  # around the globe: Antarctica, which ends at the pole
        ring = np.concatenate([ring, [(ring[-1, 0], -90.0), (ring[0, 0], -90.0), ring[0]]])
    return ring
