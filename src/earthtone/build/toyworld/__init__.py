"""The toy world: a seeded procedural planet with pictures, sounds and truth. Synthetic; never real data."""

from earthtone.build.toyworld.land import LAND_COVER
from earthtone.build.toyworld.planet import Planet
from earthtone.build.toyworld.write import write_toyworld

__all__ = ["LAND_COVER", "Planet", "write_toyworld"]
