"""Which rows are twins of which: one rule for a batch, a queue, the sampler and the rows of other processes."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

EARTH_RADIUS_M = 6_371_008.8  # the mean radius of the WGS 84 ellipsoid
GROUPS = 3  # numbers of a row: of its image, its recording and its place

#: What twins are to each other: no negatives, or positives.
USES = ("mask", "positive")
_ENTRIES = 2**20  # distances held at once
_NOBODY = -1  # a group number that equals none


class TwinRule(NamedTuple):
    """How twins are told and what becomes of them; rows with an equal number in a group always are twins."""

    use: str = "mask"
    """`mask` keeps twins out of the negatives, `positive` pulls them together as a pair's own two sides."""
    radius_m: float = 0.0
    """Rows closer than this are twins too; 0 does not look at places."""


def twins_between(
    groups: Tensor, points: Tensor | None, other_groups: Tensor, other_points: Tensor | None, radius_m: float = 0.0
) -> Tensor:
    """True (N, M) where a row and one of the others are twins: an equal group number, or closer than `radius_m`.

    `groups` int64 (N, k) and (M, k): columns are kinds (image, recording, place), negative numbers are nobody's.
    `points` (N, 3) and (M, 3) are unit vectors of the places, NaN where there is none (never a twin by distance);
    float64 tells nanometres, float32 half a metre. They are not looked at when `radius_m` is 0. The distance is that
    on the sphere of the Earth's mean radius. A function of the two rows alone, and the same both ways round: whoever
    knows the facts of rows, in whatever process, finds the same twins.

    >>> numbers = torch.tensor([[4, 1, -1], [4, 2, -1]])
    >>> twins_between(numbers, None, numbers, None).tolist()
    [[True, True], [True, True]]
    """
    same = torch.zeros(len(groups), len(other_groups), dtype=torch.bool, device=groups.device)
    for column in range(groups.shape[1]):
        known = other_groups[:, column] >= 0
        same |= (groups[:, column, None] == other_groups[None, :, column]) & known
    if radius_m > 0 and points is not None and other_points is not None:
        squared_chord = (2 * math.sin(min(radius_m / EARTH_RADIUS_M, math.pi) / 2)) ** 2
        rows = max(1, _ENTRIES // max(1, len(other_groups)))
        for start in range(0, len(groups), rows):
            strip = slice(start, start + rows)
            same[strip] |= squared_chords(points[strip], other_points) < squared_chord
    return same


def squared_chords(points: Tensor, others: Tensor) -> Tensor:
    """The squared straight distances (N, M) of unit vectors (N, 3) and (M, 3), in Earth radii; float64.

    By differences, which are exact for near points; 1 - cosine would lose the last centimetres in float64 and the last
    kilometres in float32. On mps, which has no float64, in float32.
    """
    if points.device.type != "mps":
        points, others = points.double(), others.double()
    total = (points[:, 0, None] - others[None, :, 0]).square()
    for axis in (1, 2):
        total += (points[:, axis, None] - others[None, :, axis]).square()
    return total


def whole_groups(groups: Tensor) -> Tensor:
    """Group numbers (N, up to 3) as (N, 3); kinds that are not given are nobody's."""
    return torch.nn.functional.pad(groups, (0, GROUPS - groups.shape[1]), value=_NOBODY)
