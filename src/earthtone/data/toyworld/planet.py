"""The toy planet: land cover, pictures and sounds of any place, from one seed. Synthetic; never real data."""

import math
from functools import lru_cache

import numpy as np

from earthtone.data.toyworld.exact import CIRCUMFERENCE_M
from earthtone.data.toyworld.ground import grid, shares, survey
from earthtone.data.toyworld.hashing import Stream
from earthtone.data.toyworld.render import PAD, Image, render
from earthtone.data.toyworld.soundscape import Samples, compose, nearness
from earthtone.data.toyworld.terrain import (
    AIRFIELD,
    BEACH,
    CITY,
    LAND_COVER,
    RAIL,
    ROAD,
    VILLAGE,
    WETLAND,
    Classes,
)
from earthtone.errors import ConfigError

MAX_LATITUDE = 85.0

#: What tells a place more than its area does, in this order: class and the share from which it names the scene.
TELLING = ((AIRFIELD, 0.10), (RAIL, 0.028), (CITY, 0.40), (VILLAGE, 0.25), (ROAD, 0.045), (BEACH, 0.10), (WETLAND, 0.3))
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
        self,
        longitude: float,
        latitude: float,
        *,
        hour: float,
        seconds: float = 10.0,
        hz: int = 32_000,
        seed: int = 0,
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
        """Return the scene class of a square: what tells most about it (see TELLING), else what covers most of it."""
        return scene(self.land_cover(longitude, latitude, size_m=size_m, pixels=_LABEL_PIXELS))


@lru_cache(maxsize=8)
def _cover(seed: int, longitude: float, latitude: float, size_m: float, pixels: int) -> Classes:
    """Return land cover; the last few are kept, for a label and a soundscape of one place."""
    return survey(seed, *grid(longitude, latitude, size_m, pixels)).cover


def scene(cover: Classes) -> str:
    """Return the scene class of land cover ids of any shape."""
    share = shares(cover, len(LAND_COVER))
    for number, least in TELLING:
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
