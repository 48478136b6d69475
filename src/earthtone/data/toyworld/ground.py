"""The land cover at any positions of the map: the terrain, and on it what people built."""

from dataclasses import dataclass

import numpy as np

from earthtone.data.toyworld import network
from earthtone.data.toyworld.exact import CIRCUMFERENCE_M, cosine_of_latitude, to_world
from earthtone.data.toyworld.hashing import Float32s, key_of, unit
from earthtone.data.toyworld.noise import Floats, value_noise
from earthtone.data.toyworld.settlement import Parcels, Place, airfield, city, parcels, village
from earthtone.data.toyworld.terrain import (
    AIRFIELD,
    BARE,
    CITY,
    FARMLAND,
    RAIL,
    ROAD,
    VILLAGE,
    WATER,
    Classes,
    Terrain,
    terrain,
)


@dataclass
class Ground:
    """Land cover with what a painter needs to know about it; places are None where there is none."""

    x: Floats
    y: Floats
    cover: Classes
    terrain: Terrain
    parcels: Parcels | None
    village: Place | None
    city: Place | None
    airfield: Place | None
    main_road: tuple[Floats, Floats]
    local_road: tuple[Floats, Floats]
    railway: tuple[Floats, Floats]


def grid(longitude: float, latitude: float, size_m: float, pixels: int, pad: int = 0) -> tuple[Floats, Floats]:
    """Return map positions x (1, n) and y (n, 1) of a square's pixel centres, n = pixels + 2 * pad, north first.

    `size_m` is on the ground: the map is larger than the ground by one over the cosine of the latitude.
    """
    x, y = to_world((longitude + 180.0) % 360.0 - 180.0, latitude)
    step = size_m / pixels / cosine_of_latitude(latitude)
    offsets = (np.arange(-pad, pixels + pad, dtype=np.int64).astype(np.float64) - (pixels - 1) / 2) * step
    return (x + offsets)[None, :], (y - offsets)[:, None]


def survey(seed: int, x: Floats, y: Floats) -> Ground:
    """Return the ground at map positions (x, y), broadcastable arrays."""
    land = terrain(seed, x, y)
    cover = land.cover
    dry = cover != WATER
    fields = _farm(seed, x, y, land)
    houses = village(seed, x, y, land.settled)
    if houses is not None:
        cover[houses.inside & dry] = VILLAGE
    streets = city(seed, x, y, land.settled)
    if streets is not None:
        cover[streets.inside & dry] = CITY
    main = network.distance_m(seed, network.MAIN_ROADS, x, y)
    local = network.distance_m(seed, network.LOCAL_ROADS, x, y)
    rails = network.distance_m(seed, network.RAILWAYS, x, y)
    wild = (land.settled < -0.35) | (cover == CITY) | (cover == WATER)
    cover[(np.abs(local[0]) < network.LOCAL_ROAD_HALF_M) & ~wild] = ROAD
    cover[(np.abs(main[0]) < network.MAIN_ROAD_HALF_M) & ~land.sea] = ROAD
    cover[(np.abs(rails[0]) < network.RAILWAY_HALF_M) & ~land.sea] = RAIL
    runway = airfield(seed, x, y)
    if runway is not None:
        cover[runway.inside & ~land.sea] = AIRFIELD
    return Ground(x, y, cover, land, fields, houses, streets, runway, main, local, rails)


def _farm(seed: int, x: Floats, y: Floats, land: Terrain) -> Parcels | None:
    """Turn land that is good and settled into fields, parcel by parcel."""
    fertile = land.settled + np.float32(0.5) * value_noise(key_of(seed, "fertile"), x, y, 1_900.0)
    possible = (fertile > 0.0) & (land.cover > 1) & (land.cover != BARE) & (land.height < 0.4)
    if not possible.any():
        return None
    fields = parcels(seed, x, y)
    land.cover[possible & (fertile > unit(fields.bits) * np.float32(0.35)) & (land.moisture < 0.6)] = FARMLAND
    return fields


def shares(cover: Classes, classes: int) -> Float32s:
    """Return the share of each class."""
    return np.bincount(cover.ravel(), minlength=classes).astype(np.float32) / np.float32(cover.size)


def degrees_per_metre(latitude: float) -> tuple[float, float]:
    """Return degrees of longitude and of latitude that one metre on the ground spans."""
    cosine = cosine_of_latitude(latitude)
    return 360.0 / CIRCUMFERENCE_M / cosine, 360.0 / CIRCUMFERENCE_M
