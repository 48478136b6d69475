"""Painting houses, streets, roads, railways and airfields."""

import numpy as np

from earthtone.data.toyworld.hashing import Float32s, UInts, key_of, mix_array, unit
from earthtone.data.toyworld.materials import ID
from earthtone.data.toyworld.network import LOCAL_ROAD_HALF_M, MAIN_ROAD_HALF_M
from earthtone.data.toyworld.noise import Floats, cell_bits
from earthtone.data.toyworld.paint_natural import Canvas
from earthtone.data.toyworld.terrain import AIRFIELD, CITY, RAIL, ROAD, VILLAGE, Bools

_NO_WRAP = 1 << 40
_ROOFS = np.array([ID[f"roof {name}"] for name in ("red", "brown", "grey", "light", "dark")], dtype=np.uint8)
# Villages have red and brown roofs, cities grey ones; both have some of all, so colour alone does not tell them apart.
_VILLAGE_ROOFS = _ROOFS[[0, 0, 0, 1, 1, 2, 3, 4]]
_CITY_ROOFS = _ROOFS[[0, 1, 2, 2, 3, 3, 4, 4]]


def paint_village(canvas: Canvas) -> None:
    """Paint gardens, trees, and one house a plot along parallel lanes."""
    place, inside = canvas.ground.village, canvas.ground.cover == VILLAGE
    if place is None or not inside.any():
        return
    canvas.put("garden", inside)
    canvas.put_trees("broadleaf", inside & (canvas.crown > 0.42), 6.0)
    lane, from_lane = _cut(place.v + canvas.noise("lane", 160.0) * np.float32(14), 62.0)
    plot, from_plot = _cut(place.u, 25.0)
    bits = _bits("plot", plot, lane * 2 + (from_lane > 0), place.bits)
    # Houses stand on both sides of a lane, each at its own distance and of its own size.
    off_lane = np.abs(from_lane) - (12.5 + _draw(bits, 1, 0, 5))
    half_long, half_deep = _draw(bits, 2, 4.5, 9.0), _draw(bits, 3, 3.5, 6.0)
    house = inside & (np.abs(from_plot) < half_long) & (np.abs(off_lane) < half_deep) & (_draw(bits, 4, 0, 1) < 0.78)
    _put_roofs(canvas, house, bits, _VILLAGE_ROOFS, _draw(bits, 5, 4, 8))
    # Gabled: one side of the ridge is brighter.
    np.copyto(canvas.relief, np.where(off_lane > 0, np.float32(0.1), np.float32(-0.1)), where=house)
    canvas.put("asphalt", inside & (np.abs(from_lane) < 2.6))


def paint_city(canvas: Canvas) -> None:
    """Paint blocks of buildings between streets, with yards and parks."""
    place, inside = canvas.ground.city, canvas.ground.cover == CITY
    if place is None or not inside.any():
        return
    column, from_column = _cut(place.u, 118.0)
    row, from_row = _cut(place.v, 84.0)
    block = _bits("block", column, row, place.bits)
    street = (np.abs(from_column) > 59.0 - 6.5) | (np.abs(from_row) > 42.0 - 5.5)
    canvas.put("pavement", inside)
    park = inside & (_draw(block, 1, 0, 1) < 0.09)
    canvas.put("garden", park)
    canvas.put_trees("broadleaf", park & (canvas.crown > 0.1), 8.0)
    lot_column, from_lot_column = _cut(place.u, 118.0 / 4)
    lot_row, from_lot_row = _cut(place.v, 84.0 / 3)
    # Every third block is one big hall or slab instead of lots.
    slab = _draw(block, 2, 0, 1) < 0.3
    lot = np.where(slab, block, _bits("lot", lot_column, lot_row, block))
    margin = _draw(lot, 3, 0.5, 3.5)
    in_lot = (np.abs(from_lot_column) < 118.0 / 8 - margin) & (np.abs(from_lot_row) < 84.0 / 6 - margin)
    in_slab = (np.abs(from_column) < 46.0 - 4 * margin) & (np.abs(from_row) < 33.0 - 4 * margin)
    building = inside & ~park & np.where(slab, in_slab, in_lot) & (_draw(lot, 4, 0, 1) < 0.86)
    canvas.put_trees("broadleaf", inside & ~park & (canvas.crown > 0.7), 6.0)
    tall = _draw(block, 5, 0, 1)
    _put_roofs(canvas, building, lot, _CITY_ROOFS, _draw(lot, 6, 7, 18) * (1 + 2 * tall * tall))
    np.copyto(canvas.relief, canvas.fine * np.float32(0.06), where=building)
    canvas.put("asphalt", inside & street)
    _put_vehicles(canvas, inside & street, 0.10)


def _put_roofs(canvas: Canvas, where: Bools, bits: UInts, roofs: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
               height_m: Float32s | float) -> None:  # fmt: skip
    chosen = roofs[(mix_array(bits) >> np.uint64(61)).astype(np.int64)]
    np.copyto(canvas.material, chosen, where=where)
    np.copyto(canvas.height, np.float32(1) * height_m, where=where)


def _put_vehicles(canvas: Canvas, where: Bools, share: float) -> None:
    spots = canvas.noise("vehicles", 7.5)
    canvas.put("vehicle", where & (spots > 0.80 - share), 1.5)


def paint_lines(canvas: Canvas) -> None:
    """Paint roads and railways, also over rivers."""
    cover = canvas.ground.cover
    road = cover == ROAD
    if road.any():
        across, along = canvas.ground.main_road
        local = canvas.ground.local_road[0]
        is_main = np.abs(across) < MAIN_ROAD_HALF_M
        canvas.put("track", road & ~is_main)
        paved = _bits("paved", *_whole(canvas.ground.local_road[1] / 760.0, local * 0), None) & np.uint64(1) == 0
        canvas.put("asphalt", road & (is_main | ((np.abs(local) < LOCAL_ROAD_HALF_M) & paved)))
        dashes = along / 9.0
        dashed = dashes - np.floor(dashes) < 0.5
        canvas.put("paint", road & is_main & (np.abs(across) < 0.9) & dashed)
        canvas.put("paint", road & is_main & (np.abs(np.abs(across) - (MAIN_ROAD_HALF_M - 1.2)) < 0.7))
        _put_vehicles(canvas, road & is_main & (np.abs(np.abs(across) - 4.0) < 1.8), 0.16)
    rail = cover == RAIL
    if rail.any():
        across, along = canvas.ground.railway
        canvas.put("ballast", rail)
        # Two tracks of two rails each.
        in_track = np.abs(np.abs(across) - 3.4)
        ties = along / 3.0
        canvas.put("sleepers", rail & (in_track < 1.9) & (ties - np.floor(ties) < 0.6))
        canvas.put("steel", rail & (np.abs(in_track - 1.1) < 0.5))


def paint_airfield(canvas: Canvas) -> None:
    """Paint runway with markings, taxiway, apron, hangars and parked aeroplanes."""
    place, inside = canvas.ground.airfield, canvas.ground.cover == AIRFIELD
    if place is None or not inside.any():
        return
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
    parked = apron & (_draw(bits, 1, 0, 1) < 0.5) & (np.abs(v - 150) < 18)
    canvas.put("white", parked & (np.abs(from_stand) < 2.2), 3.0)
    canvas.put("white", parked & (np.abs(v - 152) < 2.8) & (np.abs(from_stand) < 16), 3.0)
    hall, from_hall = _cut(u, 82.0)
    halls = _bits("hall", hall, np.zeros_like(hall), place.bits)
    built = inside & (np.abs(v - 235) < 21) & (np.abs(from_hall) < 33) & (np.abs(u) < 330)
    _put_roofs(canvas, built & (_draw(halls, 1, 0, 1) < 0.75), halls, _CITY_ROOFS, 11.0)


def _cut(position: Floats, size_m: float) -> tuple[Floats, Floats]:
    """Return the number of each position's piece and metres from the piece's middle."""
    piece = np.floor(position / size_m)
    return piece, position - (piece + 0.5) * size_m


def _whole(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    return np.floor(u), v


def _bits(name: str, column: Floats, row: Floats, place: UInts | None) -> UInts:
    bits = cell_bits(key_of(name), column.astype(np.int64), row.astype(np.int64), _NO_WRAP)
    return bits if place is None else mix_array(bits ^ place)


def _draw(bits: UInts, number: int, low: float, high: float) -> Float32s:
    return unit(mix_array(bits + np.uint64(number))) * np.float32(high - low) + np.float32(low)
