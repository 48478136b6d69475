"""The planet before people: height, moisture, how settled it is, and what grows there."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from earthtone.data.toyworld.hashing import Float32s, key_of
from earthtone.data.toyworld.noise import Floats, layered, noise_stack

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
