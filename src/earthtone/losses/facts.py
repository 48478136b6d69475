"""What is known of a batch's rows beside their embeddings, and what it makes of two rows: positives, or nothing."""

from typing import NamedTuple

import torch
from torch import Tensor

from earthtone.losses.relation import TwinRule, twins_between

#: Rows and columns of the tiles that a larger batch's matrices are cut into: 4 MiB each in float32.
TILE = 1024


class Known(NamedTuple):
    """Of N rows: `groups` int64 (N, 3), numbers of image, recording and place, equal for equal ones; `points` (N, 3),
    unit vectors of the places, as precise as given; `pairs` int64 (N), equal for views of one pair. Negative numbers
    are nobody's."""

    groups: Tensor | None = None
    points: Tensor | None = None
    pairs: Tensor | None = None

    def part(self, rows: slice) -> "Known":
        """Of some of the rows."""
        return Known(*(None if value is None else value[rows] for value in self))


class Marks(NamedTuple):
    """Of rows against columns, bool (N, M), None where there is nobody: who else is a positive, who counts as nothing.

    No entry is both. Whoever is neither, and not the row's own partner, is a negative.
    """

    positive: Tensor | None = None
    ignored: Tensor | None = None

    @property
    def either(self) -> Tensor | None:
        """True where there is no negative."""
        if self.positive is None or self.ignored is None:
            return self.ignored if self.positive is None else self.positive
        return self.positive | self.ignored


def marks_between(rows: Known, columns: Known, rule: TwinRule, twins: Tensor | None = None) -> Marks:
    """The marks of rows against columns: views of one pair are positives whatever the rule, twins follow it.

    `twins` bool (N, M), when given, is taken for what the groups and points tell.
    """
    views = None
    if rows.pairs is not None and columns.pairs is not None:
        views = (rows.pairs[:, None] == columns.pairs) & (columns.pairs >= 0)
    if twins is None and rows.groups is not None and columns.groups is not None:
        twins = twins_between(rows.groups, rows.points, columns.groups, columns.points, rule.radius_m)
    if twins is None:
        return Marks(positive=views)
    if rule.use == "positive":
        return Marks(positive=twins if views is None else twins | views)
    return Marks(views, twins if views is None else twins & ~views)


class RowFacts(NamedTuple):
    """What is known of a batch's `rows` rows, and of all of them against each other without the diagonal."""

    rows: int
    device: torch.device
    known: Known
    rule: TwinRule
    twins: Tensor | None = None
    """bool (N, N) where they were given; else they are told from `known`."""
    keys: tuple[Tensor, Tensor] | None = None
    """(N, D) image and audio embeddings from momentum encoders, without gradients."""
    whole: Marks | None = None
    """The marks of all rows, where a loss needs all at once."""

    def marks(self, rows: slice = slice(None), columns: slice = slice(None)) -> Marks:
        """The marks of some rows against some columns, the same or none of them; by default of all."""
        if self.whole is not None:
            return Marks(*(None if mark is None else mark[rows, columns] for mark in self.whole))
        twins = None if self.twins is None else self.twins[rows, columns]
        found = marks_between(self.known.part(rows), self.known.part(columns), self.rule, twins)
        if rows != columns:
            return found
        partners = self.partners(rows)
        return Marks(*(None if mark is None else mark & ~partners for mark in found))

    def partners(self, rows: slice = slice(None)) -> Tensor:
        """True where a row's own partner is: on the diagonal of some rows against the same."""
        return torch.eye(len(range(self.rows)[rows]), dtype=torch.bool, device=self.device)

    def positives_in(self, rows: slice, columns: slice) -> Tensor | None:
        """True where a positive is, the own partner or another; None where there is none."""
        positive = self.marks(rows, columns).positive
        if rows != columns:
            return positive
        return self.partners(rows) if positive is None else positive | self.partners(rows)

    def no_negatives_in(self, rows: slice, columns: slice) -> Tensor | None:
        """True where no negative is; None where all are."""
        either = self.marks(rows, columns).either
        if rows != columns:
            return either
        return self.partners(rows) if either is None else either | self.partners(rows)

    def has_positives(self) -> bool:
        """Whether rows may have positives beside their own partner."""
        told = self.twins is not None or self.known.groups is not None
        return self.known.pairs is not None or (told and self.rule.use == "positive")

    def no_negatives(self) -> Tensor | None:
        """A bool, whether no row has a negative; None where nothing is known. Never holds more than a tile."""
        if self.twins is None and self.known.groups is None and self.known.pairs is None:
            return None
        parts = blocks(self.rows) if self.whole is None else [slice(None)]
        covered = torch.ones((), dtype=torch.bool, device=self.device)
        for rows in parts:
            for columns in parts:
                others = self.no_negatives_in(rows, columns)
                covered = torch.zeros_like(covered) if others is None else covered & others.all()
                if len(parts) > 1 and not bool(covered):  # as nearly always in the first tile
                    return covered
        return covered


def fits(rows: int) -> bool:
    """Whether a batch's matrices are one tile."""
    return rows <= TILE


def blocks(rows: int) -> list[slice]:
    """The rows in parts of at most `TILE`."""
    return [slice(start, min(start + TILE, rows)) for start in range(0, rows, TILE)]
