"""The land of the toy planet: terrain, roads, settlements, and the land cover at any position."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from earthtone.build.toyworld.noise import (
    CIRCUMFERENCE_M,
    NO_WRAP,
    Cells,
    Float32s,
    Floats,
    Stream,
    UInts,
    around,
    cell_bits,
    cells_of,
    cosine_of_latitude,
    key_of,
    lattice,
    layered,
    noise_stack,
    to_world,
    unit,
    value_noise,
)

#: Names of the land cover by class id.
LAND_COVER: tuple[str, ...] = (
    "water", "beach", "wetland", "grassland", "forest", "farmland", "bare",
    "village", "city", "road", "rail", "airfield",
)  # fmt: skip
WATER, BEACH, WETLAND, GRASSLAND, FOREST, FARMLAND, BARE, VILLAGE, CITY, ROAD, RAIL, AIRFIELD = range(12)

Classes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

_HEIGHT = (
    (4_000_000, 1.0), (1_000_000, 0.45), (250_000, 0.18), (60_000, 0.07),
    (15_000, 0.028), (4_000, 0.011), (1_000, 0.0045), (230, 0.0012),
)  # fmt: skip
_MOISTURE = ((1_500_000, 0.6), (300_000, 0.5), (60_000, 0.45), (12_000, 0.4), (2_500, 0.35), (520, 0.3), (90, 0.1))
_SETTLED = ((800_000, 0.6), (150_000, 0.5), (30_000, 0.45), (6_000, 0.35), (1_500, 0.25))


@dataclass
class Terrain:
    """Fields over the positions, about -1 to 1; `cover` has the natural classes only."""

    height: Float32s
    moisture: Float32s
    settled: Float32s
    cover: Classes
    sea: Bools
    """Wide water, which no road crosses; rivers and ponds are water but not sea."""


def terrain(seed: int, x: Floats, y: Floats) -> Terrain:
    """Return the terrain at map positions (x, y)."""
    height = _height(seed, x, y)
    moisture = layered(key_of(seed, "moisture"), x, y, _MOISTURE)
    settled = layered(key_of(seed, "settled"), x, y, _SETTLED)
    beach_width, ragged, pond, marsh, course, meander = noise_stack(
        [key_of(seed, name) for name in ("beach", "ragged", "pond", "marsh", "river", "meander")],
        x, y, (900.0, 45.0, 650.0, 2_600.0, 14_000.0, 1_700.0),
    )  # fmt: skip

    cover = np.full(height.shape, GRASSLAND, dtype=np.uint8)
    cover[moisture < -0.42] = BARE
    cover[height > 0.5 + 0.1 * moisture] = BARE
    cover[(moisture + ragged * np.float32(0.08) > 0.10) & (height < 0.55)] = FOREST
    pond = pond + np.float32(0.4) * moisture
    low = height < 0.16
    marsh = marsh + np.float32(0.35) * moisture
    cover[low & (marsh + ragged * np.float32(0.1) > 0.5)] = WETLAND
    cover[low & (pond > 0.86)] = WATER
    # A river runs along the zero line of a noise, which is a closed, winding curve.
    course = np.abs(course + np.float32(0.12) * meander)
    cover[(course < np.float32(0.0045) * (1 + moisture)) & (height < 0.45) & (moisture > -0.5)] = WATER
    shore = np.float32(0.0015) + np.float32(0.0022) * beach_width
    cover[(height < shore) & (height >= 0)] = BEACH
    sea = height < 0
    cover[sea] = WATER
    return Terrain(height, moisture, settled, cover, sea)


def _height(seed: int, x: Floats, y: Floats) -> Float32s:
    return layered(key_of(seed, "height"), x, y, _HEIGHT) + np.float32(0.08)


def shore_between(seed: int, x: Floats, y: Floats, width_m: float) -> tuple[Floats, Floats]:
    """Return points of the shore, found by halving between those positions and others `width_m` east of them.

    Positions without a shore between are left out.
    """
    wet = _height(seed, x, y) < 0
    found = wet != (_height(seed, x + width_m, y) < 0)
    x, y, wet = x[found], y[found], wet[found]
    while len(x) and width_m > 8.0:
        width_m /= 2
        same = (_height(seed, x + width_m, y) < 0) == wet
        x = x + np.where(same, width_m, 0.0)
    # The beach is on the dry side.
    return x + np.where(wet, 2 * width_m, -width_m), y


# Roads and railways: grids of lines bent by noise, continuous over the whole planet.


@dataclass(frozen=True)
class Net:
    """One kind of line."""

    name: str
    spacing_m: float
    bend_m: float
    bend_wavelength_m: float
    share: float
    """Share of the stretches between two crossings that exist."""


MAIN_ROADS = Net("main road", 5_200.0, 1_500.0, 9_000.0, 0.85)
LOCAL_ROADS = Net("local road", 760.0, 170.0, 800.0, 0.5)
RAILWAYS = Net("railway", 19_000.0, 4_500.0, 33_000.0, 0.8)
MAIN_ROAD_HALF_M, LOCAL_ROAD_HALF_M, RAILWAY_HALF_M = 9.0, 3.2, 8.0


def distance_m(seed: int, net: Net, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return metres to the nearest line (signed, across it; large where no line exists) and metres along it.

    Metres are those of the bent grid: a line is a little wider where the grid is stretched.
    """
    spacing = CIRCUMFERENCE_M / around(net.spacing_m)
    u, v = _bent(seed, net, x, y)
    u, v = u / spacing, v / spacing
    column, row = np.floor(u + 0.5), np.floor(v + 0.5)
    off_u, off_v = (u - column) * spacing, (v - row) * spacing
    # A line ends at crossings only: the stretch is named by its line and the gap between two cross lines.
    along_column = _exists(seed, net, "column", column, np.floor(v), off_u)
    along_row = _exists(seed, net, "row", np.floor(u), row, off_v)
    off_u, off_v = np.where(along_column, off_u, 1e9), np.where(along_row, off_v, 1e9)
    is_column = np.abs(off_u) <= np.abs(off_v)
    return np.where(is_column, off_u, off_v), np.where(is_column, v, u) * spacing


def pulled_onto(seed: int, net: Net, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return positions moved east or west until they are (nearly) on a line of the grid."""
    spacing = CIRCUMFERENCE_M / around(net.spacing_m)
    for _ in range(6):
        u, _v = _bent(seed, net, x, y)
        x = x - (u - np.floor(u / spacing + 0.5) * spacing) * 0.7
    return x, y


def _bent(seed: int, net: Net, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    bend = np.float32(net.bend_m)
    keys = [key_of(seed, net.name, 1), key_of(seed, net.name, 2)]
    u, v = noise_stack(keys, x, y, [net.bend_wavelength_m] * 2)
    return x + u * bend, y + v * bend


def _exists(seed: int, net: Net, name: str, column: Floats, row: Floats, off_m: Floats) -> Bools:
    """Which stretches exist; looked up only near a line."""
    exists: Bools = np.zeros(off_m.shape, dtype=np.bool_)
    near = np.abs(off_m) < 60.0
    if near.any():
        bits = lattice(
            key_of(seed, net.name, name), column[near].astype(np.int64), row[near].astype(np.int64),
            around(net.spacing_m),
        )  # fmt: skip
        exists[near] = unit(bits) < net.share
    return exists


# What people built: fields, villages, cities, airfields, each in the frame of its own place.

AIRFIELD_HALF_LENGTH_M, AIRFIELD_HALF_WIDTH_M = 950.0, 300.0


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
    settled: float = 0.0
    """The least `Terrain.settled` that it needs."""
    ragged_m: float = 0.0
    """The wavelength of its border."""


VILLAGES = Site("village", 3_300.0, 0.62, (160.0, 420.0), 1.4, -0.05, 160.0)
CITIES = Site("city", 30_000.0, 0.62, (1_500.0, 5_500.0), 1.4, -0.2, 1_100.0)
AIRFIELDS = Site("airfield", 14_000.0, 0.55, (1_050.0, 1_050.0), 1.0)
SITES = {VILLAGE: VILLAGES, CITY: CITIES, AIRFIELD: AIRFIELDS}


def _centre(site: Site, cells: Cells) -> tuple[Float32s, Float32s, Float32s]:
    """Return the radius of each cell's place and its metres east and north of the cell's centre."""
    radius = cells.draw(1, *site.radius_m)
    room = np.float32(site.cell_m / 2) - np.float32(site.reach) * radius
    return radius, cells.draw(2, -1, 1) * room, cells.draw(3, -1, 1) * room


def _place(site: Site, seed: int, x: Floats, y: Floats, settled: Float32s) -> Place | None:
    """Return the places of a kind, or None where there is none."""
    key = key_of(seed, site.name)
    cells = cells_of(key, x, y, site.cell_m)
    exists = cells.draw(0) < site.share
    if not exists.any():
        return None
    radius, east, north = _centre(site, cells)
    u, v = cells.turned(4, east, north)
    if site is AIRFIELDS:  # a rectangle along the runway
        inside = exists & (np.abs(u) < AIRFIELD_HALF_LENGTH_M) & (np.abs(v) < AIRFIELD_HALF_WIDTH_M)
    else:
        square = u * u + v * v
        if not (square < radius * radius * np.float32(site.reach * site.reach)).any():
            return None
        edge = value_noise(key_of(key, "edge"), x, y, site.ragged_m) * np.float32(site.reach - 1) + np.float32(1)
        radius = radius * edge
        inside = exists & (square < radius * radius) & (settled > site.settled)
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
    shift = cell_bits(key_of(key, "shift"), row_number, row_number, NO_WRAP) >> np.uint64(54)
    u = u + shift.astype(np.float64) * (length / 1024)
    column = np.floor(u / length)
    bits = cell_bits(key_of(key, "field"), column.astype(np.int64), row_number, NO_WRAP) ^ regions.bits
    inner_u, inner_v = u - column * length, v - row * depth
    edge = np.minimum(np.minimum(inner_u, length - inner_u), np.minimum(inner_v, depth - inner_v))
    return Parcels(bits, u, v, edge)


@dataclass
class Ground:
    """Land cover with what a painter needs to know about it; `places` are by class, without those not there."""

    x: Floats
    y: Floats
    cover: Classes
    terrain: Terrain
    parcels: Parcels | None
    places: dict[int, Place]
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
    places = {number: place for number, site in SITES.items() if (place := _place(site, seed, x, y, land.settled))}
    for settlement in (VILLAGE, CITY):
        if settlement in places:
            cover[places[settlement].inside & dry] = settlement
    main = distance_m(seed, MAIN_ROADS, x, y)
    local = distance_m(seed, LOCAL_ROADS, x, y)
    rails = distance_m(seed, RAILWAYS, x, y)
    wild = (land.settled < -0.35) | (cover == CITY) | (cover == WATER)
    cover[(np.abs(local[0]) < LOCAL_ROAD_HALF_M) & ~wild] = ROAD
    cover[(np.abs(main[0]) < MAIN_ROAD_HALF_M) & ~land.sea] = ROAD
    cover[(np.abs(rails[0]) < RAILWAY_HALF_M) & ~land.sea] = RAIL
    if AIRFIELD in places:
        cover[places[AIRFIELD].inside & ~land.sea] = AIRFIELD
    return Ground(x, y, cover, land, fields, places, main, local, rails)


def _farm(seed: int, x: Floats, y: Floats, land: Terrain) -> Parcels | None:
    """Turn land that is good and settled into fields, parcel by parcel."""
    fertile = land.settled + np.float32(0.5) * value_noise(key_of(seed, "fertile"), x, y, 1_900.0)
    possible = (fertile > 0.0) & (land.cover > 1) & (land.cover != BARE) & (land.height < 0.4)
    if not possible.any():
        return None
    fields = parcels(seed, x, y)
    land.cover[possible & (fertile > unit(fields.bits) * np.float32(0.35)) & (land.moisture < 0.6)] = FARMLAND
    return fields


def degrees_per_metre(latitude: float) -> tuple[float, float]:
    """Return degrees of longitude and of latitude that one metre on the ground spans."""
    cosine = cosine_of_latitude(latitude)
    return 360.0 / CIRCUMFERENCE_M / cosine, 360.0 / CIRCUMFERENCE_M
