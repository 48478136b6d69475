"""The toy world: a seeded procedural planet with pictures, sounds and truth. Synthetic; never real data."""

from earthtone.data.toyworld.planet import Planet
from earthtone.data.toyworld.terrain import LAND_COVER
from earthtone.data.toyworld.write import write_toyworld

__all__ = ["LAND_COVER", "Planet", "write_toyworld"]
