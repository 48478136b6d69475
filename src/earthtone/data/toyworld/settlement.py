"""What people built: fields, villages, cities, airfields, each in the frame of its own place."""

from dataclasses import dataclass

import numpy as np

from earthtone.data.toyworld.hashing import Float32s, Stream, UInts, key_of
from earthtone.data.toyworld.noise import Cells, Floats, cell_bits, cells_of, value_noise
from earthtone.data.toyworld.terrain import AIRFIELD, CITY, VILLAGE, Bools

AIRFIELD_HALF_LENGTH_M, AIRFIELD_HALF_WIDTH_M = 950.0, 300.0
#: Any number of cells around a frame that never wraps.
_NO_WRAP = 1 << 40


@dataclass
class Place:
    """A settlement or airfield: where it is, and metres along its own axes."""

    inside: Bools
    u: Floats
    v: Floats
    bits: UInts


@dataclass
class Parcels:
    """Fields: each position's parcel."""

    bits: UInts
    along: Floats
    """Metres along the parcel's long side, for rows of crops."""
    across: Floats
    edge_m: Floats
    """Metres to the parcel's nearest border."""


@dataclass(frozen=True)
class Site:
    """A kind of place: one at most in each cell of a grid, wholly inside it, so that a position asks its own cell."""

    name: str
    cell_m: float
    share: float
    """Share of the cells that have one."""
    radius_m: tuple[float, float]
    reach: float
    """How many radii the place reaches at most."""


VILLAGES = Site("village", 3_300.0, 0.62, (160.0, 420.0), 1.4)
CITIES = Site("city", 30_000.0, 0.62, (1_500.0, 5_500.0), 1.4)
AIRFIELDS = Site("airfield", 14_000.0, 0.55, (1_050.0, 1_050.0), 1.0)
SITES = {VILLAGE: VILLAGES, CITY: CITIES, AIRFIELD: AIRFIELDS}


def _centre(site: Site, cells: Cells) -> tuple[Float32s, Float32s, Float32s]:
    """Return the radius of each cell's place and its metres east and north of the cell's centre."""
    radius = cells.draw(1, *site.radius_m)
    room = np.float32(site.cell_m / 2) - np.float32(site.reach) * radius
    return radius, cells.draw(2, -1, 1) * room, cells.draw(3, -1, 1) * room


def village(seed: int, x: Floats, y: Floats, settled: Float32s) -> Place | None:
    """Return the villages, or None where there is none."""
    return _round_place(VILLAGES, seed, x, y, settled > -0.05, 160.0)


def city(seed: int, x: Floats, y: Floats, settled: Float32s) -> Place | None:
    """Return the cities, or None where there is none."""
    return _round_place(CITIES, seed, x, y, settled > -0.2, 1_100.0)


def _round_place(site: Site, seed: int, x: Floats, y: Floats, allowed: Bools, ragged_m: float) -> Place | None:
    key = key_of(seed, site.name)
    cells = cells_of(key, x, y, site.cell_m)
    exists = cells.draw(0) < site.share
    if not exists.any():
        return None
    radius, east, north = _centre(site, cells)
    u, v = cells.turned(4, east, north)
    square = u * u + v * v
    if not (square < radius * radius * np.float32(site.reach * site.reach)).any():
        return None
    edge = value_noise(key_of(key, "edge"), x, y, ragged_m) * np.float32(site.reach - 1) + np.float32(1)
    radius = radius * edge
    inside = exists & (square < radius * radius) & allowed
    return Place(inside, u, v, cells.bits) if inside.any() else None


def airfield(seed: int, x: Floats, y: Floats) -> Place | None:
    """Return the airfields, rectangles along a runway, or None where there is none."""
    cells = cells_of(key_of(seed, AIRFIELDS.name), x, y, AIRFIELDS.cell_m)
    exists = cells.draw(0) < AIRFIELDS.share
    if not exists.any():
        return None
    _radius, east, north = _centre(AIRFIELDS, cells)
    u, v = cells.turned(4, east, north)
    inside = exists & (np.abs(u) < AIRFIELD_HALF_LENGTH_M) & (np.abs(v) < AIRFIELD_HALF_WIDTH_M)
    return Place(inside, u, v, cells.bits) if inside.any() else None


def pulled_into(seed: int, land_cover: int, x: Floats, y: Floats, stream: Stream) -> tuple[Floats, Floats]:
    """Return positions moved to random points of the place in their cell; whether it exists is not looked at."""
    site = SITES[land_cover]
    cells = cells_of(key_of(seed, site.name), x, y, site.cell_m)
    radius, east, north = _centre(site, cells)
    off_x, off_y = ((stream.units(len(x)) - np.float32(0.5)) * radius * np.float32(1.2) for _ in range(2))
    return x - cells.dx + east + off_x, y - cells.dy + north + off_y


def parcels(seed: int, x: Floats, y: Floats) -> Parcels:
    """Return the fields: bricks of random length in rows, turned differently in each region."""
    key = key_of(seed, "parcels")
    bend = value_noise(key, x, y, 900.0) * np.float32(70)
    # Regions meet along lines that wander, as parishes do.
    regions = cells_of(key, x + bend, y - bend, 2_700.0)
    u, v = regions.turned(0)
    u = u + bend
    depth = regions.draw(1, 70, 150).astype(np.float64)
    length = depth * regions.draw(2, 1.2, 3.0)
    row = np.floor(v / depth)
    row_number = row.astype(np.int64)
    shift = cell_bits(key_of(key, "shift"), row_number, row_number, _NO_WRAP) >> np.uint64(54)
    u = u + shift.astype(np.float64) * (length / 1024)
    column = np.floor(u / length)
    bits = cell_bits(key_of(key, "field"), column.astype(np.int64), row_number, _NO_WRAP) ^ regions.bits
    inner_u, inner_v = u - column * length, v - row * depth
    edge = np.minimum(np.minimum(inner_u, length - inner_u), np.minimum(inner_v, depth - inner_v))
    return Parcels(bits, u, v, edge)
