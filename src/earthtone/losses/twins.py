"""Which rows are twins - one rule for a batch, a queue, the sampler and other processes - and which are positives."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from earthtone.geo import EARTH_RADIUS_M

GROUPS = 3  # numbers of a row: of its image, its recording and its place
#: Rows and columns of the tiles that a larger batch's matrices are cut into: 4 MiB each in float32.
TILE = 1024
ENTRIES_AT_ONCE = 2**20  # distances held at once
_NOBODY = -1  # a group number that equals none


class TwinRule(NamedTuple):
    """How twins are recognised and what becomes of them; rows with an equal number in a group always are twins."""

    use: str = "mask"
    """`mask` keeps twins out of the negatives, `positive` pulls them together as a pair's own two sides."""
    radius_m: float = 0.0
    """Rows closer than this are twins too; 0 does not look at places."""


def twins_between(
    groups: Tensor, points: Tensor | None, other_groups: Tensor, other_points: Tensor | None, radius_m: float = 0.0
) -> Tensor:
    """Return where (N, M) rows and others are twins: they share a group number, or are closer than `radius_m`.

    `groups` int64 (N, k) and (M, k): columns are kinds (image, recording, place), negative numbers are unknown.
    `points` (N, 3) and (M, 3) are unit vectors of the places, NaN where there is none (never a twin by distance);
    float64 resolves nanometres, float32 half a metre. They are not looked at when `radius_m` is 0. The distance is that
    on the sphere of the Earth's mean radius. A function of the two rows alone, and the same both ways round: every
    process that knows both finds the same twins.

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
        rows = max(1, ENTRIES_AT_ONCE // max(1, len(other_groups)))
        for start in range(0, len(groups), rows):
            strip = slice(start, start + rows)
            same[strip] |= squared_chords(points[strip], other_points) < squared_chord
    return same


def squared_chords(points: Tensor, others: Tensor) -> Tensor:
    """Return the squared straight distances (N, M) of unit vectors (N, 3) and (M, 3), in Earth radii; float64.

    By differences, which are exact for near points; 1 - cosine would lose the last centimetres in float64 and the last
    kilometres in float32. On mps, which has no float64, in float32.
    """
    if points.device.type != "mps":
        points, others = points.double(), others.double()
    total = (points[:, 0, None] - others[None, :, 0]).square()
    for axis in (1, 2):
        total += (points[:, axis, None] - others[None, :, axis]).square()
    return total


def padded_groups(groups: Tensor) -> Tensor:
    """Return group numbers (N, up to 3) as (N, 3); kinds that are not given are unknown."""
    return torch.nn.functional.pad(groups, (0, GROUPS - groups.shape[1]), value=_NOBODY)


class RowGroups(NamedTuple):
    """Of N rows: `groups` int64 (N, 3), numbers of image, recording and place, equal for equal ones; `points` (N, 3),
    unit vectors of the places, as precise as given; `pairs` int64 (N), equal for views of one pair. Negative numbers
    are unknown."""

    groups: Tensor | None = None
    points: Tensor | None = None
    pairs: Tensor | None = None

    def part(self, rows: slice) -> "RowGroups":
        """Return those of some of the rows."""
        return RowGroups(*(None if value is None else value[rows] for value in self))


class Masks(NamedTuple):
    """Of rows against columns, bool (N, M), None where it is False everywhere: positives beside the row's own partner,
    and ignored ones, which are neither positive nor negative.

    No entry is both. Whoever is neither, and not the row's own partner, is a negative.
    """

    positive: Tensor | None = None
    ignored: Tensor | None = None

    @property
    def either(self) -> Tensor | None:
        """Return where there is no negative."""
        if self.positive is None or self.ignored is None:
            return self.ignored if self.positive is None else self.positive
        return self.positive | self.ignored


def masks_between(rows: RowGroups, columns: RowGroups, rule: TwinRule, twins: Tensor | None = None) -> Masks:
    """Return the masks of rows against columns: views of one pair are positives whatever the rule, twins follow it.

    `twins` bool (N, M), when given, is taken instead of what groups and points say.
    """
    views = None
    if rows.pairs is not None and columns.pairs is not None:
        views = (rows.pairs[:, None] == columns.pairs) & (columns.pairs >= 0)
    if twins is None and rows.groups is not None and columns.groups is not None:
        twins = twins_between(rows.groups, rows.points, columns.groups, columns.points, rule.radius_m)
    if twins is None:
        return Masks(positive=views)
    if rule.use == "positive":
        return Masks(positive=twins if views is None else twins | views)
    return Masks(views, twins if views is None else twins & ~views)


@dataclass(frozen=True)
class Twins:
    """Who is positive, ignored or negative to whom among the `rows` rows of a batch; a row's own partner apart."""

    rows: int
    device: torch.device
    groups: RowGroups
    rule: TwinRule
    given: Tensor | None = None
    """bool (N, N): who is whose twin, instead of what `groups` say."""
    of_all: Masks | None = None
    """The masks of all rows against all, where a loss needs them at once."""

    def masks(self, rows: slice = slice(None), columns: slice = slice(None)) -> Masks:
        """Return the masks of some rows against some columns, the same or none of them; by default of all."""
        if self.of_all is not None:
            return Masks(*(None if mask is None else mask[rows, columns] for mask in self.of_all))
        given = None if self.given is None else self.given[rows, columns]
        found = masks_between(self.groups.part(rows), self.groups.part(columns), self.rule, given)
        if rows != columns:
            return found
        partners = self.partners(rows)
        return Masks(*(None if mask is None else mask & ~partners for mask in found))

    def partners(self, rows: slice = slice(None)) -> Tensor:
        """Return where a row's own partner is: the diagonal of some rows against the same."""
        return torch.eye(len(range(self.rows)[rows]), dtype=torch.bool, device=self.device)

    def positives(self, rows: slice, columns: slice) -> Tensor | None:
        """Return where a positive is, the own partner or another; None where there is none."""
        return self._with_partners(self.masks(rows, columns).positive, rows, columns)

    def non_negatives(self, rows: slice, columns: slice) -> Tensor | None:
        """Return where no negative is; None where all are."""
        return self._with_partners(self.masks(rows, columns).either, rows, columns)

    def _with_partners(self, mask: Tensor | None, rows: slice, columns: slice) -> Tensor | None:
        if rows != columns:
            return mask
        return self.partners(rows) if mask is None else mask | self.partners(rows)

    def has_positives(self) -> bool:
        """Return whether rows may have positives beside their own partner."""
        known = self.given is not None or self.groups.groups is not None
        return self.groups.pairs is not None or (known and self.rule.use == "positive")

    def no_negatives(self) -> Tensor | None:
        """Return whether no row has a negative, a bool; None where nothing is known. Never holds more than a tile."""
        if self.given is None and self.groups.groups is None and self.groups.pairs is None:
            return None
        parts = tile_slices(self.rows) if self.of_all is None else [slice(None)]
        covered = torch.ones((), dtype=torch.bool, device=self.device)
        for rows in parts:
            for columns in parts:
                others = self.non_negatives(rows, columns)
                covered = torch.zeros_like(covered) if others is None else covered & others.all()
                if len(parts) > 1 and not bool(covered):  # as nearly always in the first tile
                    return covered
        return covered


def is_one_tile(rows: int) -> bool:
    """Return whether a batch's matrices are one tile."""
    return rows <= TILE


def tile_slices(rows: int) -> list[slice]:
    """Return the rows in parts of at most `TILE`."""
    return [slice(start, min(start + TILE, rows)) for start in range(0, rows, TILE)]
