"""What the ground is made of, seen from above: two colours to mix, how rough it looks, and what a season does to it."""

from dataclasses import dataclass

import numpy as np

from earthtone.data.toyworld.hashing import Float32s, Stream

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Material:
    """Colours are sRGB, 0 to 255; a position shows a mix of both."""

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


def palette(look: Stream, cold: float) -> tuple[Float32s, Float32s]:
    """Return both colours of each material, (materials, 3), in the season that the look draws.

    `cold` in 0 to 1 is how likely snow is.
    """
    first = np.array([material.first for material in MATERIALS], dtype=np.float32)
    second = np.array([material.second for material in MATERIALS], dtype=np.float32)
    leaf = np.array([material.leaf for material in MATERIALS], dtype=np.float32)[:, None]
    holds_snow = np.array([material.snow for material in MATERIALS], dtype=np.float32)[:, None]
    season = (_AUTUMN, _DRY, _LUSH, np.ones(3, dtype=np.float32))[look.below(4)]
    factor = 1 + leaf * np.float32(look.uniform(0.2, 1.0)) * (season - 1)
    snow = holds_snow * np.float32(look.uniform(0.3, 0.85) if look.chance(cold) else 0.0)
    # No two places have quite the same soil, paint and leaves.
    own = 1 + (look.units(first.size).reshape(first.shape) - np.float32(0.5)) * np.float32(0.16)
    own = own * (1 + (look.units(len(first))[:, None] - np.float32(0.5)) * np.float32(0.22))
    factor = factor * own * (1 - snow)
    return first * factor + _SNOW * snow, second * factor + _SNOW * snow
