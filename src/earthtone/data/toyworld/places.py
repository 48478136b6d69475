"""Where and when the rows of a toy world are: a place of a wanted class for each row, and its spatial split."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from earthtone.data.toyworld import network
from earthtone.data.toyworld.exact import CIRCUMFERENCE_M, from_world
from earthtone.data.toyworld.ground import degrees_per_metre, survey
from earthtone.data.toyworld.hashing import Stream, key_of
from earthtone.data.toyworld.noise import Floats
from earthtone.data.toyworld.planet import Planet
from earthtone.data.toyworld.settlement import SITES, pulled_into
from earthtone.data.toyworld.terrain import BEACH, LAND_COVER, RAIL, ROAD, WATER, shore_between, terrain

#: Blocks of the spatial split, in degrees, and how far from a block's border all places stay.
BLOCK_DEGREES, MARGIN_DEGREES = 1.0, 0.02
#: Rows lie below this latitude: y = 7.4e6 on the map.
_NORTH_M = 7_400_000.0
_CANDIDATES, _TRIES, _CHECKS = 48, 16, 3
_REVISITED = 0.1
"""Share of rows that come back to the place of an earlier row, some steps away, in another light."""


@dataclass(frozen=True)
class Spot:
    """A place, rounded to what a manifest writes, and its scene class."""

    longitude: float
    latitude: float
    label: str


def split_of(seed: int, longitude: float, latitude: float) -> str:
    """Return train, val or test, the same for a whole block of one degree: about 70, 10 and 20 in 100 blocks."""
    column, row = int((longitude + 360.0) // BLOCK_DEGREES) % 360, int((latitude + 90.0) // BLOCK_DEGREES)
    part = key_of(seed, "split", column, row) % 100
    return "train" if part < 70 else "val" if part < 80 else "test"


def spot(planet: Planet, row: int, size_m: float) -> Spot:
    """Return the place of a row; it depends on the planet, the row and the size, on no other row's presence."""
    stream = Stream(planet.seed, "visit", row)
    if row == 0 or not stream.chance(_REVISITED):
        return _fresh(planet, row, size_m)
    first = _fresh(planet, row - 1 - stream.below(min(row, 12)), size_m)
    east, north = degrees_per_metre(first.latitude)
    longitude = round(first.longitude + stream.uniform(-0.4, 0.4) * size_m * east, 6)
    latitude = round(first.latitude + stream.uniform(-0.4, 0.4) * size_m * north, 6)
    return Spot(longitude, latitude, planet.label(longitude, latitude, size_m=size_m))


def _fresh(planet: Planet, row: int, size_m: float) -> Spot:
    stream = Stream(planet.seed, "place", row)
    target = row % len(LAND_COVER)
    last = Spot(0.0, 0.0, "")
    for _ in range(_TRIES):
        for x, y in _candidates(planet.seed, target, stream):
            longitude, latitude = from_world(x, y)
            east, north = degrees_per_metre(latitude)
            # Not every road runs through the middle of its picture.
            longitude = round((longitude + stream.uniform(-0.2, 0.2) * size_m * east + 180.0) % 360.0 - 180.0, 6)
            latitude = round(latitude + stream.uniform(-0.2, 0.2) * size_m * north, 6)
            if not (_inside_block(longitude) and _inside_block(latitude)):
                continue
            last = Spot(longitude, latitude, planet.label(longitude, latitude, size_m=size_m))
            if last.label == LAND_COVER[target]:
                return last
    if not last.label:  # no candidate at all, as on a planet without this class
        return Spot(0.5, 0.5, planet.label(0.5, 0.5, size_m=size_m))
    return last


def _inside_block(degrees: float) -> bool:
    part = degrees / BLOCK_DEGREES % 1.0 * BLOCK_DEGREES
    return MARGIN_DEGREES <= part <= BLOCK_DEGREES - MARGIN_DEGREES


def _candidates(seed: int, target: int, stream: Stream) -> Iterator[tuple[float, float]]:
    """Yield a few map positions whose own class is the target."""
    units = stream.units(3 * _CANDIDATES).astype(np.float64)
    x: Floats = (units[:_CANDIDATES] - 0.5) * CIRCUMFERENCE_M
    # The sum of two: fewer near the poles, where the map is larger than the ground.
    y: Floats = (units[_CANDIDATES : 2 * _CANDIDATES] + units[2 * _CANDIDATES :] - 1) * _NORTH_M
    if target in (ROAD, RAIL):
        net = network.MAIN_ROADS if target == ROAD else network.RAILWAYS
        x, y = network.pulled_onto(seed, net, x, y)
    elif target in SITES:
        x, y = pulled_into(seed, target, x, y, stream)
    elif target == BEACH or (target == WATER and stream.chance(0.5)):
        x, y = shore_between(seed, x[: _CANDIDATES // 2], y[: _CANDIDATES // 2], 60_000.0)
        if target == WATER:
            x = x + (stream.units(len(x)) - np.float32(0.5)) * np.float32(600)
    if len(x) == 0:
        return
    if target == WATER:
        found = terrain(seed, x, y)
        wanted = (found.cover == WATER) & (found.height > -0.03)
    else:
        wanted = survey(seed, x, y).cover == target
    for number in np.flatnonzero(wanted)[:_CHECKS].tolist():
        yield float(x[number]), float(y[number])
