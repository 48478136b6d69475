"""Roads and railways: grids of lines bent by noise, continuous over the whole planet."""

from dataclasses import dataclass

import numpy as np

from earthtone.data.toyworld.exact import CIRCUMFERENCE_M
from earthtone.data.toyworld.hashing import key_of, unit
from earthtone.data.toyworld.noise import Floats, around, lattice, noise_stack
from earthtone.data.toyworld.terrain import Bools


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
    first = np.where(along_column, np.abs(off_u), 1e9)
    second = np.where(along_row, np.abs(off_v), 1e9)
    is_column = first <= second
    across = np.where(is_column, np.where(along_column, off_u, 1e9), off_v)
    across = np.where(is_column | along_row, across, 1e9)
    return across, np.where(is_column, v, u) * spacing


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
