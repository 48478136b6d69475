"""The pictures of the toy planet: materials painted, lit and photographed from above."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from earthtone.build.toyworld import land
from earthtone.build.toyworld.land import LOCAL_ROAD_HALF_M, MAIN_ROAD_HALF_M, Bools, Ground
from earthtone.build.toyworld.noise import (
    CIRCUMFERENCE_M,
    NO_WRAP,
    SINE,
    SINE_STEPS,
    Float32s,
    Floats,
    Stream,
    UInts,
    cell_bits,
    draw,
    key_of,
    layered,
    mix_array,
    unit,
    value_noise,
)

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Material:
    """What the ground is made of, seen from above. Colours are sRGB, 0 to 255; a position shows a mix of both."""

    name: str
    first: Colour
    second: Colour
    rough: float
    """How much fine noise darkens and brightens it."""
    leaf: float = 0.0
    """How much it changes with the season: 1 for leaves and crops."""
    snow: float = 1.0
    """How much snow it holds."""


MATERIALS = (
    Material("deep water", (24, 48, 70), (34, 66, 84), 0.08, snow=0.0),
    Material("shallow water", (52, 94, 100), (74, 116, 112), 0.10, snow=0.0),
    Material("fresh water", (40, 58, 54), (58, 74, 62), 0.06, snow=0.0),
    Material("foam", (206, 214, 212), (176, 192, 192), 0.25, snow=0.0),
    Material("sand", (206, 190, 152), (188, 170, 132), 0.07, snow=0.6),
    Material("wet sand", (150, 134, 106), (134, 122, 100), 0.06, snow=0.0),
    Material("reeds", (104, 106, 62), (84, 96, 54), 0.22, 0.6),
    Material("mud", (78, 72, 56), (66, 66, 52), 0.10, snow=0.4),
    Material("grass", (98, 118, 66), (132, 132, 82), 0.12, 0.7),
    Material("broadleaf", (52, 76, 38), (74, 92, 46), 0.22, 1.0, 0.4),
    Material("conifer", (34, 54, 38), (46, 66, 42), 0.22, 0.1, 0.4),
    Material("rock", (134, 124, 112), (112, 102, 92), 0.20, snow=0.8),
    Material("dry earth", (172, 150, 116), (154, 126, 94), 0.12),
    Material("crop 0", (84, 116, 52), (94, 124, 58), 0.06, 0.8),
    Material("crop 1", (124, 140, 70), (134, 146, 76), 0.06, 0.8),
    Material("crop 2", (186, 170, 104), (178, 160, 98), 0.06, 0.5),
    Material("crop 3", (200, 190, 70), (188, 180, 72), 0.06, 0.9),
    Material("crop 4", (134, 108, 80), (120, 96, 72), 0.07),
    Material("crop 5", (156, 132, 100), (148, 124, 94), 0.07),
    Material("crop 6", (64, 98, 50), (74, 106, 54), 0.08, 0.8),
    Material("crop 7", (112, 126, 84), (126, 132, 88), 0.08, 0.7),
    Material("garden", (90, 112, 62), (112, 120, 74), 0.14, 0.7),
    Material("roof red", (160, 88, 66), (140, 76, 60), 0.06),
    Material("roof brown", (114, 88, 74), (100, 80, 70), 0.06),
    Material("roof grey", (128, 128, 130), (110, 112, 116), 0.05),
    Material("roof light", (196, 194, 188), (180, 180, 178), 0.05),
    Material("roof dark", (76, 78, 84), (66, 68, 74), 0.05),
    Material("asphalt", (92, 92, 94), (106, 104, 102), 0.06, snow=0.3),
    Material("track", (156, 140, 114), (142, 126, 102), 0.08, snow=0.7),
    Material("pavement", (150, 146, 140), (136, 132, 128), 0.08, snow=0.5),
    Material("paint", (222, 222, 216), (210, 210, 206), 0.04, snow=0.2),
    Material("ballast", (116, 106, 98), (102, 94, 88), 0.12, snow=0.6),
    Material("sleepers", (84, 74, 68), (94, 86, 80), 0.10, snow=0.3),
    Material("steel", (172, 168, 164), (150, 148, 148), 0.04, snow=0.0),
    Material("mown grass", (112, 130, 74), (124, 138, 84), 0.06, 0.6),
    Material("concrete", (172, 170, 164), (160, 158, 154), 0.04, snow=0.3),
    Material("white", (236, 236, 236), (228, 230, 232), 0.02, snow=0.0),
    Material("vehicle", (60, 62, 74), (196, 60, 52), 0.02, snow=0.2),
)
ID = {material.name: number for number, material in enumerate(MATERIALS)}
CROPS = 8

_SNOW = np.array([226, 230, 236], dtype=np.float32)
_AUTUMN = np.array([1.35, 1.0, 0.72], dtype=np.float32)
_DRY = np.array([1.32, 1.14, 0.98], dtype=np.float32)
_LUSH = np.array([0.86, 1.06, 0.88], dtype=np.float32)


def _palette(look: Stream, cold: float) -> tuple[Float32s, Float32s]:
    """Return both colours of each material, (materials, 3), in the season that the look draws.

    `cold` in 0 to 1 is how likely snow is.
    """
    first, second = _each_material("first"), _each_material("second")
    leaf, holds_snow = _each_material("leaf")[:, None], _each_material("snow")[:, None]
    season = (_AUTUMN, _DRY, _LUSH, np.ones(3, dtype=np.float32))[look.below(4)]
    factor = 1 + leaf * np.float32(look.uniform(0.2, 1.0)) * (season - 1)
    snow = holds_snow * np.float32(look.uniform(0.3, 0.85) if look.chance(cold) else 0.0)
    # No two places have quite the same soil, paint and leaves.
    own = 1 + (look.units(first.size).reshape(first.shape) - np.float32(0.5)) * np.float32(0.16)
    own = own * (1 + (look.units(len(first))[:, None] - np.float32(0.5)) * np.float32(0.22))
    factor = factor * own * (1 - snow)
    return first * factor + _SNOW * snow, second * factor + _SNOW * snow


def _each_material(name: str) -> Float32s:
    return np.array([getattr(material, name) for material in MATERIALS], dtype=np.float32)


class Canvas:
    """What is painted so far, all of the ground's shape (n, n): grass, to begin with."""

    def __init__(self, seed: int, ground: Ground, season: int) -> None:
        self.seed, self.ground, self.season = seed, ground, season
        shape = ground.cover.shape
        broad = self.layers("texture", (130.0, 0.45), (33.0, 0.35), (11.0, 0.25), part="broad")
        self.material = np.full(shape, ID["grass"], dtype=np.uint8)
        self.mixture = broad * np.float32(0.8) + np.float32(0.5)  # share of a material's second colour
        self.height: Float32s = np.zeros(shape, dtype=np.float32)  # metres above the ground, for shadows
        self.relief = broad * np.float32(0.06)  # added brightness
        self.fine = self.layers("texture", (5.0, 0.8), (2.6, 0.5))
        self.crown = self.layers("texture", (13.0, 0.7), (6.5, 0.5), part="crown")  # noise as wide as a tree

    def put(self, name: str, where: Bools, height_m: float = 0.0) -> None:
        """Cover positions with a material, at a height."""
        np.copyto(self.material, np.uint8(ID[name]), where=where)
        np.copyto(self.height, np.float32(height_m), where=where)

    def put_trees(self, name: str, where: Bools, height_m: float) -> None:
        """Cover positions with trees, higher in the middle of a crown."""
        self.put(name, where)
        np.copyto(self.height, np.float32(height_m) * (1 + self.crown), where=where)

    def noise(self, name: str, wavelength_m: float) -> Float32s:
        """Return value noise of the place, the same in every picture of it."""
        return value_noise(key_of(self.seed, "paint", name), self.ground.x, self.ground.y, wavelength_m)

    def layers(self, name: str, *layers: tuple[float, float], part: str | None = None) -> Float32s:
        """Return a sum of such noises, of these wavelengths and amplitudes."""
        key = key_of(self.seed, name)
        return layered(key if part is None else key_of(key, part), self.ground.x, self.ground.y, layers)


def _paint_grassland(canvas: Canvas, grass: Bools) -> None:
    moisture = canvas.ground.terrain.moisture
    canvas.put("dry earth", grass & (canvas.mixture + moisture < 0.05))
    canvas.put_trees("broadleaf", grass & (canvas.crown > np.float32(0.62) - 0.5 * np.maximum(moisture, 0)), 4.0)


def _paint_forest(canvas: Canvas, forest: Bools) -> None:
    stand = canvas.noise("stand", 240.0) + canvas.fine * np.float32(0.3)
    canvas.put_trees("broadleaf", forest, 11.0)
    canvas.put_trees("conifer", forest & (stand > canvas.ground.terrain.moisture * np.float32(-0.5)), 14.0)
    clearing = forest & (canvas.noise("clearing", 60.0) + canvas.crown * np.float32(0.3) < -0.72)
    canvas.put("grass", clearing)
    np.copyto(canvas.relief, canvas.relief + canvas.crown * np.float32(0.16), where=forest & ~clearing)


def _paint_wetland(canvas: Canvas, wet: Bools) -> None:
    canvas.put("reeds", wet)
    pools = canvas.layers("pools", (48.0, 0.7), (15.0, 0.4))
    canvas.put("mud", wet & (pools > 0.16))
    canvas.put("fresh water", wet & (pools > 0.24))
    canvas.put_trees("broadleaf", wet & (canvas.crown > 0.62), 4.0)


def _paint_bare(canvas: Canvas, bare: Bools) -> None:
    ridges = canvas.layers("ridges", (170.0, 1.0), (60.0, 0.5), (22.0, 0.3))
    canvas.put("dry earth", bare)
    canvas.put("rock", bare & (ridges + canvas.ground.terrain.height > 0.25))
    np.copyto(canvas.height, np.abs(ridges) * np.float32(26), where=bare)
    canvas.put_trees("broadleaf", bare & (canvas.crown > 0.85), 2.0)


def _paint_beach(canvas: Canvas, beach: Bools) -> None:
    canvas.put("sand", beach)
    canvas.put("wet sand", beach & (canvas.ground.terrain.height < 0.0004))


def _paint_water(canvas: Canvas, water: Bools) -> None:
    sea, depth = canvas.ground.terrain.sea, -canvas.ground.terrain.height
    canvas.put("fresh water", water)
    canvas.put("deep water", sea)
    canvas.put("shallow water", sea & (depth + canvas.mixture * np.float32(0.001) < 0.0025))
    swell = canvas.noise("swell", 19.0)
    surf = depth + np.float32(0.0003) * swell
    canvas.put("foam", sea & (canvas.fine > -0.1) & ((surf < 0.0002) | ((surf > 0.0005) & (surf < 0.0007))))
    np.copyto(canvas.relief, swell * np.float32(0.07), where=sea)


def _paint_farmland(canvas: Canvas, farmed: Bools) -> None:
    """Paint fields: a crop each, rows, field paths and hedges between."""
    fields = canvas.ground.parcels
    if fields is None:
        return
    # The same field bears another crop in another season.
    drawn = mix_array(fields.bits + np.uint64(canvas.season))
    crop = (drawn % np.uint64(CROPS)).astype(np.uint8) + np.uint8(ID["crop 0"])
    np.copyto(canvas.material, crop, where=farmed)
    np.copyto(canvas.height, np.float32(0), where=farmed)
    width = np.float32(3.5) + unit(mix_array(drawn)) * np.float32(9)
    across = np.where((drawn >> np.uint64(20)) & np.uint64(1) == 0, fields.along, fields.across).astype(np.float32)
    rows = across / width
    rows = np.abs(rows - np.floor(rows) - np.float32(0.5)) * 4 - 1
    strength = unit(drawn) * np.float32(0.13)
    np.copyto(canvas.relief, canvas.relief * np.float32(0.8) + rows * strength, where=farmed)
    border = farmed & (fields.edge_m < 4.5)
    canvas.put("garden", border)
    canvas.put("track", border & (fields.bits & np.uint64(3) == 0))
    canvas.put_trees("broadleaf", border & (fields.bits & np.uint64(3) == 1) & (canvas.crown > -0.35), 5.0)


# Painting houses, streets, roads, railways and airfields.

_ROOFS = np.array([ID[f"roof {name}"] for name in ("red", "brown", "grey", "light", "dark")], dtype=np.uint8)
# Villages have red and brown roofs, cities grey ones; both have some of all, so colour alone does not tell them apart.
_VILLAGE_ROOFS = _ROOFS[[0, 0, 0, 1, 1, 2, 3, 4]]
_CITY_ROOFS = _ROOFS[[0, 1, 2, 2, 3, 3, 4, 4]]


def _paint_village(canvas: Canvas, inside: Bools) -> None:
    """Paint gardens, trees, and one house a plot along parallel lanes."""
    place = canvas.ground.places[land.VILLAGE]
    canvas.put("garden", inside)
    canvas.put_trees("broadleaf", inside & (canvas.crown > 0.42), 6.0)
    lane, from_lane = _cut(place.v + canvas.noise("lane", 160.0) * np.float32(14), 62.0)
    plot, from_plot = _cut(place.u, 25.0)
    bits = _bits("plot", plot, lane * 2 + (from_lane > 0), place.bits)
    # Houses stand on both sides of a lane, each at its own distance and of its own size.
    off_lane = np.abs(from_lane) - (12.5 + draw(bits, 1, 0, 5))
    half_long, half_deep = draw(bits, 2, 4.5, 9.0), draw(bits, 3, 3.5, 6.0)
    house = inside & (np.abs(from_plot) < half_long) & (np.abs(off_lane) < half_deep) & (draw(bits, 4) < 0.78)
    _put_roofs(canvas, house, bits, _VILLAGE_ROOFS, draw(bits, 5, 4, 8))
    # Gabled: one side of the ridge is brighter.
    np.copyto(canvas.relief, np.where(off_lane > 0, np.float32(0.1), np.float32(-0.1)), where=house)
    canvas.put("asphalt", inside & (np.abs(from_lane) < 2.6))


def _paint_city(canvas: Canvas, inside: Bools) -> None:
    """Paint blocks of buildings between streets, with yards and parks."""
    place = canvas.ground.places[land.CITY]
    column, from_column = _cut(place.u, 118.0)
    row, from_row = _cut(place.v, 84.0)
    block = _bits("block", column, row, place.bits)
    street = (np.abs(from_column) > 59.0 - 6.5) | (np.abs(from_row) > 42.0 - 5.5)
    canvas.put("pavement", inside)
    park = inside & (draw(block, 1) < 0.09)
    canvas.put("garden", park)
    canvas.put_trees("broadleaf", park & (canvas.crown > 0.1), 8.0)
    lot_column, from_lot_column = _cut(place.u, 118.0 / 4)
    lot_row, from_lot_row = _cut(place.v, 84.0 / 3)
    # Every third block is one big hall or slab instead of lots.
    slab = draw(block, 2) < 0.3
    lot = np.where(slab, block, _bits("lot", lot_column, lot_row, block))
    margin = draw(lot, 3, 0.5, 3.5)
    in_lot = (np.abs(from_lot_column) < 118.0 / 8 - margin) & (np.abs(from_lot_row) < 84.0 / 6 - margin)
    in_slab = (np.abs(from_column) < 46.0 - 4 * margin) & (np.abs(from_row) < 33.0 - 4 * margin)
    building = inside & ~park & np.where(slab, in_slab, in_lot) & (draw(lot, 4) < 0.86)
    canvas.put_trees("broadleaf", inside & ~park & (canvas.crown > 0.7), 6.0)
    tall = draw(block, 5)
    _put_roofs(canvas, building, lot, _CITY_ROOFS, draw(lot, 6, 7, 18) * (1 + 2 * tall * tall))
    np.copyto(canvas.relief, canvas.fine * np.float32(0.06), where=building)
    canvas.put("asphalt", inside & street)
    _put_vehicles(canvas, inside & street, 0.10)


def _put_roofs(
    canvas: Canvas, where: Bools, bits: UInts, roofs: npt.NDArray[np.uint8], height_m: Float32s | float
) -> None:
    chosen = roofs[(mix_array(bits) >> np.uint64(61)).astype(np.int64)]
    np.copyto(canvas.material, chosen, where=where)
    np.copyto(canvas.height, np.float32(1) * height_m, where=where)


def _put_vehicles(canvas: Canvas, where: Bools, share: float) -> None:
    spots = canvas.noise("vehicles", 7.5)
    canvas.put("vehicle", where & (spots > 0.80 - share), 1.5)


def _paint_road(canvas: Canvas, road: Bools) -> None:
    (across, along), (local, local_along) = canvas.ground.main_road, canvas.ground.local_road
    is_main = np.abs(across) < MAIN_ROAD_HALF_M
    canvas.put("track", road & ~is_main)
    stretch = np.floor(local_along / 760.0).astype(np.int64)
    paved = cell_bits(key_of("paved"), stretch, np.zeros_like(stretch), NO_WRAP) & np.uint64(1) == 0
    canvas.put("asphalt", road & (is_main | ((np.abs(local) < LOCAL_ROAD_HALF_M) & paved)))
    dashes = along / 9.0
    canvas.put("paint", road & is_main & (np.abs(across) < 0.9) & (dashes - np.floor(dashes) < 0.5))
    canvas.put("paint", road & is_main & (np.abs(np.abs(across) - (MAIN_ROAD_HALF_M - 1.2)) < 0.7))
    _put_vehicles(canvas, road & is_main & (np.abs(np.abs(across) - 4.0) < 1.8), 0.16)


def _paint_rail(canvas: Canvas, rail: Bools) -> None:
    """Paint two tracks of two rails each."""
    across, along = canvas.ground.railway
    canvas.put("ballast", rail)
    in_track = np.abs(np.abs(across) - 3.4)
    ties = along / 3.0
    canvas.put("sleepers", rail & (in_track < 1.9) & (ties - np.floor(ties) < 0.6))
    canvas.put("steel", rail & (np.abs(in_track - 1.1) < 0.5))


def _paint_airfield(canvas: Canvas, inside: Bools) -> None:
    """Paint runway with markings, taxiway, apron, hangars and parked aeroplanes."""
    place = canvas.ground.places[land.AIRFIELD]
    u, v = place.u, place.v
    canvas.put("mown grass", inside)
    np.copyto(canvas.height, np.float32(0), where=inside)
    surface = ("asphalt", "concrete")[int(place.bits.ravel()[0]) & 1]
    runway = inside & (np.abs(v + 60) < 24) & (np.abs(u) < 860)
    canvas.put(surface, runway)
    stripes = u / 60.0
    canvas.put("paint", runway & (np.abs(v + 60) < 1.2) & (stripes - np.floor(stripes) < 0.55))
    keys = (v + 60) / 6.0
    canvas.put("paint", runway & (np.abs(np.abs(u) - 820) < 20) & (keys - np.floor(keys) < 0.5))
    links = u / 430.0
    linked = (np.abs(links - np.floor(links) - 0.5) * 430 < 9) & (v > -60) & (v < 90)
    canvas.put(surface, inside & (((np.abs(v - 90) < 9) & (np.abs(u) < 850)) | linked) & ~runway)
    apron = inside & (np.abs(v - 150) < 55) & (np.abs(u) < 330)
    canvas.put("concrete", apron)
    stand, from_stand = _cut(u, 46.0)
    bits = _bits("stand", stand, np.zeros_like(stand), place.bits)
    parked = apron & (draw(bits, 1) < 0.5) & (np.abs(v - 150) < 18)
    canvas.put("white", parked & (np.abs(from_stand) < 2.2), 3.0)
    canvas.put("white", parked & (np.abs(v - 152) < 2.8) & (np.abs(from_stand) < 16), 3.0)
    hall, from_hall = _cut(u, 82.0)
    halls = _bits("hall", hall, np.zeros_like(hall), place.bits)
    built = inside & (np.abs(v - 235) < 21) & (np.abs(from_hall) < 33) & (np.abs(u) < 330)
    _put_roofs(canvas, built & (draw(halls, 1) < 0.75), halls, _CITY_ROOFS, 11.0)


def _cut(position: Floats, size_m: float) -> tuple[Floats, Floats]:
    """Return the number of each position's piece and metres from the piece's middle."""
    piece = np.floor(position / size_m)
    return piece, position - (piece + 0.5) * size_m


def _bits(name: str, column: Floats, row: Floats, place: UInts) -> UInts:
    return mix_array(cell_bits(key_of(name), column.astype(np.int64), row.astype(np.int64), NO_WRAP) ^ place)


#: Pixels painted around the tile, whose shadows may fall into it.
PAD = 8

#: From the bottom to the top; roads and railways run over rivers.
_PAINTERS: dict[int, Callable[[Canvas, Bools], None]] = {
    land.GRASSLAND: _paint_grassland, land.FOREST: _paint_forest, land.WETLAND: _paint_wetland, land.BARE: _paint_bare,
    land.BEACH: _paint_beach, land.WATER: _paint_water, land.FARMLAND: _paint_farmland, land.VILLAGE: _paint_village,
    land.CITY: _paint_city, land.ROAD: _paint_road, land.RAIL: _paint_rail, land.AIRFIELD: _paint_airfield,
}  # fmt: skip


def render(seed: int, ground: Ground, step_m: float, look: Stream) -> Image:
    """Return the RGB picture, (n - 2 PAD, n - 2 PAD, 3), of (n, n) positions that are `step_m` apart."""
    canvas = Canvas(seed, ground, season=look.below(8))
    for land_cover, paint in _PAINTERS.items():
        where = ground.cover == land_cover
        if where.any():
            paint(canvas, where)
    inner = slice(PAD, -PAD)
    light = _light(canvas, step_m, look)[inner, inner]
    # From the equator (0) to the poles (1), with some noise of the place.
    far_north = abs(float(ground.y.ravel()[0])) / (CIRCUMFERENCE_M / 4)
    first, second = _palette(look, cold=min(0.5, max(0.0, far_north - 0.35)))
    material = canvas.material[inner, inner]
    mixture = np.clip(canvas.mixture[inner, inner], 0, 1)
    rgb = np.empty((*material.shape, 3), dtype=np.float32)
    for band in range(3):
        start = first[:, band][material]
        rgb[..., band] = (start + (second[:, band] - first[:, band])[material] * mixture) * light
    return _photograph(rgb, look)


def _light(canvas: Canvas, step_m: float, look: Stream) -> Float32s:
    """Return the brightness of each position: roughness, slopes towards the sun, and shadows."""
    light = 1 + _each_material("rough")[canvas.material] * canvas.fine + canvas.relief
    turn = look.below(SINE_STEPS)
    east, north = float(SINE[turn]), float(SINE[(turn + SINE_STEPS // 4) % SINE_STEPS])
    drop = np.float32(look.uniform(0.7, 1.8) * step_m)
    height = canvas.height
    towards = _moved(height, east, north, 1)
    light += np.clip((height - towards) * np.float32(0.035), -0.25, 0.25)
    shadow = np.zeros(height.shape, dtype=np.bool_)
    highest = float(height.max())
    for steps in range(1, PAD + 1):
        if steps * drop >= highest:
            break
        shadow |= _moved(height, east, north, steps) - drop * np.float32(steps) > height
    light[shadow] *= np.float32(look.uniform(0.42, 0.62))
    return light


def _moved(height: Float32s, east: float, north: float, steps: int) -> Float32s:
    """Return the heights `steps` pixels towards the sun, repeated at the borders (within the pad)."""
    right, up = round(east * steps), round(north * steps)
    rows = np.clip(np.arange(height.shape[0]) - up, 0, height.shape[0] - 1)
    columns = np.clip(np.arange(height.shape[1]) + right, 0, height.shape[1] - 1)
    return height[rows][:, columns]


def _photograph(rgb: Float32s, look: Stream) -> Image:
    """Apply the air and the camera: haze, white balance, exposure, contrast, blur and sensor noise; in place."""
    haze = np.float32(look.uniform(0, 1) * look.uniform(0, 0.45))
    haze_colour = np.array([look.uniform(165, 205), look.uniform(175, 210), look.uniform(185, 225)], dtype=np.float32)
    balance = np.array([look.uniform(0.92, 1.1), look.uniform(0.95, 1.05), look.uniform(0.88, 1.1)], dtype=np.float32)
    exposure, contrast = np.float32(look.uniform(0.72, 1.32)), np.float32(look.uniform(0.75, 1.25))
    # (rgb (1 - haze) + haze colour haze - 110) contrast + 110, times exposure and balance, as one gain and offset
    gain = (1 - haze) * contrast * exposure * balance
    offset = ((haze_colour * haze - 110) * contrast + 110) * exposure * balance
    rgb *= gain
    rgb += offset
    if look.chance(0.5):
        rgb[1:-1] = rgb[1:-1] * np.float32(0.5) + (rgb[:-2] + rgb[2:]) * np.float32(0.25)
        rgb[:, 1:-1] = rgb[:, 1:-1] * np.float32(0.5) + (rgb[:, :-2] + rgb[:, 2:]) * np.float32(0.25)
    grain = look.white(rgb.size).reshape(rgb.shape)
    grain *= np.float32(look.uniform(2, 14))
    rgb += grain
    np.clip(rgb, 0, 255, out=rgb)
    return rgb.astype(np.uint8)
