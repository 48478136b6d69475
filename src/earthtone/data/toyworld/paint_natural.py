"""Painting water, shores, plants, rocks and fields."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from earthtone.data.toyworld.ground import Ground
from earthtone.data.toyworld.hashing import Float32s, key_of, mix_array, unit
from earthtone.data.toyworld.materials import CROPS, ID
from earthtone.data.toyworld.noise import layered, value_noise
from earthtone.data.toyworld.terrain import BARE, BEACH, FARMLAND, FOREST, GRASSLAND, WATER, WETLAND, Bools


@dataclass
class Canvas:
    """What is painted so far, all of the ground's shape (n, n)."""

    seed: int
    ground: Ground
    season: int
    material: npt.NDArray[np.uint8]
    mixture: Float32s
    """Share of a material's second colour."""
    height: Float32s
    """Metres above the ground, for shadows."""
    relief: Float32s
    """Added brightness."""
    fine: Float32s
    crown: Float32s
    """Noise as wide as a tree."""

    def put(self, name: str, where: Bools, height_m: float = 0.0) -> None:
        """Cover positions with a material, at a height."""
        np.copyto(self.material, np.uint8(ID[name]), where=where)
        np.copyto(self.height, np.float32(height_m), where=where)

    def put_trees(self, name: str, where: Bools, height_m: float) -> None:
        """Cover positions with trees, higher in the middle of a crown."""
        np.copyto(self.material, np.uint8(ID[name]), where=where)
        np.copyto(self.height, np.float32(height_m) * (1 + self.crown), where=where)

    def noise(self, name: str, wavelength_m: float) -> Float32s:
        """Return value noise of the place, the same in every picture of it."""
        return value_noise(key_of(self.seed, "paint", name), self.ground.x, self.ground.y, wavelength_m)


def new_canvas(seed: int, ground: Ground, season: int) -> Canvas:
    """Return a canvas of grass."""
    shape = ground.cover.shape
    key = key_of(seed, "texture")
    fine = layered(key, ground.x, ground.y, ((5.0, 0.8), (2.6, 0.5)))
    broad = layered(key_of(key, "broad"), ground.x, ground.y, ((130.0, 0.45), (33.0, 0.35), (11.0, 0.25)))
    crown = layered(key_of(key, "crown"), ground.x, ground.y, ((13.0, 0.7), (6.5, 0.5)))
    return Canvas(
        seed, ground, season, np.full(shape, ID["grass"], dtype=np.uint8), broad * np.float32(0.8) + np.float32(0.5),
        np.zeros(shape, dtype=np.float32), broad * np.float32(0.06), fine, crown,
    )  # fmt: skip


def paint_nature(canvas: Canvas) -> None:
    """Paint everything that grows or lies there by itself, under all else."""
    cover, land = canvas.ground.cover, canvas.ground.terrain
    present = set(np.unique(cover).tolist())
    broad, crown = canvas.mixture, canvas.crown
    grass = cover == GRASSLAND
    if GRASSLAND in present:
        canvas.put("dry earth", grass & (broad + land.moisture < 0.05))
        bushes = grass & (crown > np.float32(0.62) - 0.5 * np.maximum(land.moisture, 0))
        canvas.put_trees("broadleaf", bushes, 4.0)
    if FOREST in present:
        _paint_forest(canvas, cover == FOREST)
    if WETLAND in present:
        wet = cover == WETLAND
        canvas.put("reeds", wet)
        pools = layered(key_of(canvas.seed, "pools"), canvas.ground.x, canvas.ground.y, ((48.0, 0.7), (15.0, 0.4)))
        canvas.put("mud", wet & (pools > 0.16))
        canvas.put("fresh water", wet & (pools > 0.24))
        canvas.put_trees("broadleaf", wet & (crown > 0.62), 4.0)
    if BARE in present:
        _paint_bare(canvas, cover == BARE)
    if BEACH in present:
        beach = cover == BEACH
        canvas.put("sand", beach)
        canvas.put("wet sand", beach & (land.height < 0.0004))
    if WATER in present:
        _paint_water(canvas, cover == WATER)


def _paint_forest(canvas: Canvas, forest: Bools) -> None:
    stand = canvas.noise("stand", 240.0) + canvas.fine * np.float32(0.3)
    canvas.put_trees("broadleaf", forest, 11.0)
    canvas.put_trees("conifer", forest & (stand > canvas.ground.terrain.moisture * np.float32(-0.5)), 14.0)
    clearing = forest & (canvas.noise("clearing", 60.0) + canvas.crown * np.float32(0.3) < -0.72)
    canvas.put("grass", clearing)
    np.copyto(canvas.relief, canvas.relief + canvas.crown * np.float32(0.16), where=forest & ~clearing)


def _paint_bare(canvas: Canvas, bare: Bools) -> None:
    ridges = layered(
        key_of(canvas.seed, "ridges"), canvas.ground.x, canvas.ground.y, ((170.0, 1.0), (60.0, 0.5), (22.0, 0.3))
    )
    canvas.put("dry earth", bare)
    rocky = bare & (ridges + canvas.ground.terrain.height > 0.25)
    canvas.put("rock", rocky)
    np.copyto(canvas.height, np.abs(ridges) * np.float32(26), where=bare)
    canvas.put_trees("broadleaf", bare & (canvas.crown > 0.85), 2.0)


def _paint_water(canvas: Canvas, water: Bools) -> None:
    land = canvas.ground.terrain
    canvas.put("fresh water", water)
    depth = -land.height
    canvas.put("deep water", land.sea)
    canvas.put("shallow water", land.sea & (depth + canvas.mixture * np.float32(0.001) < 0.0025))
    swell = canvas.noise("swell", 19.0)
    surf = depth + np.float32(0.0003) * swell
    breaking = land.sea & (canvas.fine > -0.1)
    canvas.put("foam", breaking & ((surf < 0.0002) | ((surf > 0.0005) & (surf < 0.0007))))
    np.copyto(canvas.relief, swell * np.float32(0.07), where=land.sea)


def paint_farmland(canvas: Canvas) -> None:
    """Paint fields: a crop each, rows, field paths and hedges between."""
    fields = canvas.ground.parcels
    farmed = canvas.ground.cover == FARMLAND
    if fields is None or not farmed.any():
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
    hedge = border & (fields.bits & np.uint64(3) == 1) & (canvas.crown > -0.35)
    canvas.put_trees("broadleaf", hedge, 5.0)
