"""Runs as a table: means over seeds, and what each variant differs from the first, paired by seed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import t as student_t

from earthtone.verbs.sweep.run_settings import RunFigures

DONE, FAILED, WAITING = "done", "failed", "waiting"


@dataclass(frozen=True)
class RunRow:
    """One run as it is now."""

    variant: str
    seed: int
    state: str
    changes: Mapping[str, Any]
    folder: str
    """Relative to the sweep's."""
    found: RunFigures | None = None
    why: str = ""
    """Of a failed one."""


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and the standard deviation of one seed (n - 1 in the denominator; None for one alone)."""

    mean: float
    deviation: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of the differences between runs of the same seed, and its 95 % interval (None for one pair)."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class VariantRow:
    """One variant over its seeds."""

    label: str
    changes: Mapping[str, Any]
    runs: Sequence[RunRow]
    seconds: Spread | None
    figures: Mapping[str, Spread] = field(default_factory=dict)
    differences: Mapping[str, Difference] = field(default_factory=dict)
    """To the first variant."""

    @property
    def done(self) -> int:
        """How many of its runs have figures."""
        return sum(run.state == DONE for run in self.runs)


@dataclass(frozen=True)
class SweepTable:
    """All variants; `figures` names the columns."""

    variants: Sequence[VariantRow]
    figures: Sequence[str]

    @property
    def runs(self) -> list[RunRow]:
        """All runs, in order."""
        return [run for row in self.variants for run in row.runs]


def sweep_table(runs: Sequence[RunRow]) -> SweepTable:
    """Return the table of all runs, whose first variant is the one that the others are compared with."""
    groups: dict[str, list[RunRow]] = {}
    for run in runs:
        groups.setdefault(run.variant, []).append(run)
    names = list(dict.fromkeys(name for run in runs if run.found for name in run.found.figures))
    first = next(iter(groups))
    rows = [_row(label, group, names, groups[first] if label != first else []) for label, group in groups.items()]
    return SweepTable(rows, names)


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and deviation; None without a value."""
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def difference(of: Mapping[int, float], to: Mapping[int, float]) -> Difference | None:
    """Return how far the values by seed `of` lie from `to` on the seeds that both have; None without one.

    The interval is Student's for paired values (Student, "The probable error of a mean", Biometrika 6(1), 1908): mean
    of the n differences -/+ t(0.975, n - 1) * deviation / sqrt(n). It covers the draw of seeds, not that of the data.
    """
    found = spread([of[seed] - to[seed] for seed in of if seed in to])
    if found is None or found.deviation is None:
        return None if found is None else Difference(found.mean, None, None, found.n)
    half = float(student_t.ppf(0.975, found.n - 1)) * found.deviation / math.sqrt(found.n)
    return Difference(found.mean, found.mean - half, found.mean + half, found.n)


def _row(label: str, runs: Sequence[RunRow], names: Sequence[str], first: Sequence[RunRow]) -> VariantRow:
    figures = {name: found for name in names if (found := spread(list(_by_seed(runs, name).values())))}
    gaps = {name: gap for name in names if (gap := difference(_by_seed(runs, name), _by_seed(first, name)))}
    seconds = spread([run.found.training_seconds for run in runs if run.found])
    return VariantRow(label, runs[0].changes, runs, seconds, figures, gaps)


def _by_seed(runs: Sequence[RunRow], name: str) -> dict[int, float]:
    return {run.seed: run.found.figures[name] for run in runs if run.found and name in run.found.figures}
