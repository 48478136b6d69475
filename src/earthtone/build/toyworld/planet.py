"""The toy planet: land cover, pictures and sounds of any place from one seed, and places of wanted classes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from earthtone.build.toyworld import land
from earthtone.build.toyworld.land import BEACH, LAND_COVER, RAIL, ROAD, WATER, Classes, degrees_per_metre, grid, survey
from earthtone.build.toyworld.noise import CIRCUMFERENCE_M, Floats, Stream, from_world, key_of
from earthtone.build.toyworld.pictures import PAD, Image, render
from earthtone.build.toyworld.sounds import Samples, compose, nearness
from earthtone.errors import ConfigError

MAX_LATITUDE = 85.0

#: Classes that name a scene though they cover little of it, in this order: the class and the share that is enough.
SCENE_SHARES = (
    (land.AIRFIELD, 0.10), (RAIL, 0.028), (land.CITY, 0.40), (land.VILLAGE, 0.25), (ROAD, 0.045), (BEACH, 0.10),
    (land.WETLAND, 0.3),
)  # fmt: skip
_LABEL_PIXELS = 48
_OUTER_M, _OUTER_PIXELS = 1_100.0, 24


class Planet:
    """A planet that is a function of its seed: equal seeds give equal bytes, on any machine.

    Places are functions of the absolute position, so tiles that overlap show the same ground. Positions are those of
    the Web Mercator map (EPSG:3857), on which all features have one size; on the ground they get smaller towards
    the poles.

    >>> Planet(0).tile(11.5, 48.1, pixels=64).shape
    (64, 64, 3)
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def land_cover(self, longitude: float, latitude: float, *, size_m: float = 256.0, pixels: int = 128) -> Classes:
        """Return the class ids, uint8 (pixels, pixels), of a square `size_m` metres wide; row 0 is the north.

        Names are in LAND_COVER. Raises ConfigError for a position or size that makes no sense.
        """
        check_square(longitude, latitude, size_m, pixels)
        return _cover(self.seed, float(longitude), float(latitude), float(size_m), pixels).copy()

    def tile(
        self, longitude: float, latitude: float, *, size_m: float = 256.0, pixels: int = 128, variant_seed: int = 0
    ) -> Image:
        """Return an RGB picture, uint8 (pixels, pixels, 3), of the same square as `land_cover`.

        `variant_seed` draws season, light, haze and camera; the ground below stays the same.
        """
        return self.tile_and_cover(longitude, latitude, size_m, pixels, variant_seed)[0]

    def tile_and_cover(
        self, longitude: float, latitude: float, size_m: float, pixels: int, variant_seed: int
    ) -> tuple[Image, Classes]:
        """Return `tile` and `land_cover` for the cost of one."""
        check_square(longitude, latitude, size_m, pixels)
        ground = survey(self.seed, *grid(longitude, latitude, size_m, pixels, PAD))
        inner = slice(PAD, PAD + pixels)
        look = Stream(self.seed, "look", variant_seed)
        return render(self.seed, ground, size_m / pixels, look), ground.cover[inner, inner]

    def soundscape(
        self, longitude: float, latitude: float, *, hour: float, seconds: float = 10.0, hz: int = 32_000, seed: int = 0
    ) -> Samples:
        """Return a mono recording, int16 (seconds * hz,), of what is near the place at an hour (0 to 24) of its day.

        `seed` draws which sources happen to sound, how loud, and the recorder.
        """
        check_square(longitude, latitude, 256.0, 1)
        check_sound(hour, seconds, hz)
        inner = self.land_cover(longitude, latitude, pixels=_LABEL_PIXELS)
        outer = self.land_cover(longitude, latitude, size_m=_OUTER_M, pixels=_OUTER_PIXELS)
        region = Stream(self.seed, "region", math.floor((longitude + 540.0) % 360.0 / 3.0), math.floor(latitude / 3.0))
        stream = Stream(self.seed, "sound", seed)
        return compose(nearness(inner, outer), hour, round(seconds * hz), hz, stream, region)

    def label(self, longitude: float, latitude: float, *, size_m: float = 256.0) -> str:
        """Return the scene class of a square: the first of SCENE_SHARES that it has, else what covers most of it."""
        return scene(self.land_cover(longitude, latitude, size_m=size_m, pixels=_LABEL_PIXELS))


@lru_cache(maxsize=8)
def _cover(seed: int, longitude: float, latitude: float, size_m: float, pixels: int) -> Classes:
    """Return land cover; the last few are kept, for a label and a soundscape of one place."""
    return survey(seed, *grid(longitude, latitude, size_m, pixels)).cover


def scene(cover: Classes) -> str:
    """Return the scene class of land cover ids of any shape."""
    share = np.bincount(cover.ravel(), minlength=len(LAND_COVER)).astype(np.float32) / np.float32(cover.size)
    for number, least in SCENE_SHARES:
        if share[number] >= least:
            return LAND_COVER[number]
    # Lines without enough share do not name a scene, however the rest is divided.
    share[[ROAD, RAIL]] = 0
    return LAND_COVER[int(np.argmax(share))]


def check_square(longitude: float, latitude: float, size_m: float, pixels: int) -> None:
    """Raise ConfigError unless this is a square on the map."""
    if not (math.isfinite(longitude) and -360.0 <= longitude <= 360.0):
        raise ConfigError(f"longitude {longitude} is not in -180 to 180 degrees; the order is longitude, latitude")
    if not abs(latitude) <= MAX_LATITUDE:
        raise ConfigError(
            f"latitude {latitude} is not in -{MAX_LATITUDE:g} to {MAX_LATITUDE:g} degrees, where the toy planet's map "
            "ends; the order is longitude, latitude"
        )
    if not 0.0 < size_m <= CIRCUMFERENCE_M / 16:
        raise ConfigError(f"size_m {size_m} is not above 0 and at most {CIRCUMFERENCE_M / 16:.0f} metres; try 256")
    if not 1 <= pixels <= 8192:
        raise ConfigError(f"pixels {pixels} is not in 1 to 8192; try 128")


def check_sound(hour: float, seconds: float, hz: int) -> None:
    """Raise ConfigError unless this describes a recording."""
    if not 0.0 <= hour <= 24.0:
        raise ConfigError(f"hour {hour} is not in 0 to 24")
    if not 2_000 <= hz <= 192_000:
        raise ConfigError(f"hz {hz} is not in 2000 to 192000; try 32000")
    if not (math.isfinite(seconds) and 0.01 <= seconds <= 3_600.0):
        raise ConfigError(f"seconds {seconds} is not in 0.01 to 3600; try 10")


# The rows of a toy world: a place of a wanted class for each row, and its spatial split.

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
    last = None
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
    # no candidate at all, as on a planet without this class
    return last or Spot(0.5, 0.5, planet.label(0.5, 0.5, size_m=size_m))


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
        net = land.MAIN_ROADS if target == ROAD else land.RAILWAYS
        x, y = land.pulled_onto(seed, net, x, y)
    elif target in land.SITES:
        x, y = land.pulled_into(seed, target, x, y, stream)
    elif target == BEACH or (target == WATER and stream.chance(0.5)):
        x, y = land.shore_between(seed, x[: _CANDIDATES // 2], y[: _CANDIDATES // 2], 60_000.0)
        if target == WATER:
            x = x + (stream.units(len(x)) - np.float32(0.5)) * np.float32(600)
    if len(x) == 0:
        return
    if target == WATER:
        found = land.terrain(seed, x, y)
        wanted = (found.cover == WATER) & (found.height > -0.03)
    else:
        wanted = survey(seed, x, y).cover == target
    for number in np.flatnonzero(wanted)[:_CHECKS].tolist():
        yield float(x[number]), float(y[number])
