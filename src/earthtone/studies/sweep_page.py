"""The table of a sweep - means over seeds, differences to the first variant paired by seed - and its files."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scipy.stats import t as student_t

from earthtone.pages import NONE, Page, PageTable, TableCell, csv_text, interval_text
from earthtone.studies.study import DONE, FAILED, WAITING
from earthtone.studies.sweep_grid import RunFigures, value_text


@dataclass(frozen=True)
class RunRow:
    """One run with its state and figures."""

    variant: str
    seed: int
    state: str
    changes: Mapping[str, Any]
    folder: str
    """Relative to the sweep's."""
    result: RunFigures | None = None
    why: str = ""
    """Of a failed one."""


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and the standard deviation of one seed (n - 1 in the denominator; None for one alone)."""

    mean: float
    deviation: float | None
    n: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean by Student's t; None for one seed.

        Mean -/+ t(0.975, n - 1) * deviation / sqrt(n) (Student, "The probable error of a mean", Biometrika 6(1), 1908).
        It covers the draw of seeds, not that of the data.
        """
        if self.deviation is None:
            return None
        half = float(student_t.ppf(0.975, self.n - 1)) * self.deviation / math.sqrt(self.n)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class VariantRow:
    """One variant over its seeds."""

    label: str
    changes: Mapping[str, Any]
    runs: Sequence[RunRow]
    seconds: Spread | None
    figures: Mapping[str, Spread] = field(default_factory=dict)
    differences: Mapping[str, Spread] = field(default_factory=dict)
    """To the first variant, between runs of the same seed."""

    @property
    def done(self) -> int:
        """Return how many of its runs have figures."""
        return sum(run.state == DONE for run in self.runs)

    @property
    def seeds_text(self) -> str:
        """Return `3`, or `2 of 3` where some have no figures."""
        return str(self.done) if self.done == len(self.runs) else f"{self.done} of {len(self.runs)}"


@dataclass(frozen=True)
class SweepTable:
    """All variants; `figures` names the columns."""

    variants: Sequence[VariantRow]
    figures: Sequence[str]

    @property
    def runs(self) -> list[RunRow]:
        """Return all runs, in order."""
        return [run for row in self.variants for run in row.runs]


def sweep_table(runs: Sequence[RunRow]) -> SweepTable:
    """Return the table of all runs, whose first variant is the one that the others are compared with."""
    groups: dict[str, list[RunRow]] = {}
    for run in runs:
        groups.setdefault(run.variant, []).append(run)
    names = list(dict.fromkeys(name for run in runs if run.result for name in run.result.figures))
    first = next(iter(groups))
    rows = [_row(label, group, names, groups[first] if label != first else []) for label, group in groups.items()]
    return SweepTable(rows, names)


def spread(values: Sequence[float]) -> Spread | None:
    """Return mean and deviation; None without a value."""
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def difference(of: Mapping[int, float], to: Mapping[int, float]) -> Spread | None:
    """Return how far the values by seed `of` lie from `to` on the seeds that both have; None without one."""
    return spread([of[seed] - to[seed] for seed in of if seed in to])


def _row(label: str, runs: Sequence[RunRow], names: Sequence[str], first: Sequence[RunRow]) -> VariantRow:
    figures = {name: found for name in names if (found := spread(list(_by_seed(runs, name).values())))}
    gaps = {name: gap for name in names if (gap := difference(_by_seed(runs, name), _by_seed(first, name)))}
    seconds = spread([run.result.training_seconds for run in runs if run.result])
    return VariantRow(label, runs[0].changes, runs, seconds, figures, gaps)


def _by_seed(runs: Sequence[RunRow], name: str) -> dict[int, float]:
    return {run.seed: run.result.figures[name] for run in runs if run.result and name in run.result.figures}


SELECTION = (
    "Everything here was measured on val: it is for choosing a variant. The best of many on val is also the luckiest "
    "there; measure the one that you choose, once, on test: earthtone evaluate retrieval --split test."
)
_COLUMNS = (
    "figure", "mean", "deviation", "n", "difference", "difference_low", "difference_high", "difference_n",
    "training_seconds",
)  # fmt: skip


def sweep_page(table: SweepTable, settings: Mapping[str, Any]) -> Page:
    """Return what the page and the Markdown show: variants, their differences to the first, on the page every run.

    `settings` say what was measured.
    """
    first, *others = table.variants
    names = [name.replace("_", " ") for name in table.figures]
    variants = [
        [row.label, row.seeds_text, *(spread_text(row.figures.get(name)) for name in table.figures),
         spread_text(row.seconds, 0)]
        for row in table.variants
    ]  # fmt: skip
    gaps = [[row.label, *(difference_text(row.differences.get(name)) for name in table.figures)] for row in others]
    tables = [
        PageTable(
            "The table", ["variant", "seeds", *names, "training s"], variants,
            lead="Means over seeds, ± the standard deviation between seeds.",
        ),
        PageTable(
            f"Compared with {first.label}", ["variant", *names], gaps,
            lead="Each variant minus the first, seed by seed, with a 95 % interval over the seeds.",
        ),
        PageTable(
            "Every run", ["run", "state", *names], [_run_cells(run, table.figures) for run in table.runs],
            only_html=True,
        ),
    ]  # fmt: skip
    failed = [f"{run.variant}, seed {run.seed}: failed: {run.why}" for run in table.runs if run.state == FAILED]
    waiting = sum(run.state == WAITING for run in table.runs)
    unfinished = f"Not finished: {waiting} of {len(table.runs)} runs are still to be run. The same command goes on."
    return Page(
        "A sweep, measured on val",
        [SELECTION, *failed, *([unfinished] if waiting else [])],
        [each for each in tables if each.rows],
        {"How to read this": _reading(table, settings)},
    )


def _run_cells(run: RunRow, names: Sequence[str]) -> list[TableCell | str]:
    report = f"{run.folder}/report.html" if run.state == DONE else ""
    figures = {} if run.result is None else run.result.figures
    return [
        TableCell(f"{run.variant}, seed {run.seed}", link=report),
        TableCell(run.state, below=run.why),
        *(f"{figures[name]:.3f}" if name in figures else "" for name in names),
    ]


def _reading(table: SweepTable, settings: Mapping[str, Any]) -> list[str]:
    """Return sentences on what each column is and how variants are compared."""
    match = settings.get("match")
    fits = f", as is match precision@10, the share of the first ten whose label fits ({match})" if match else ""
    probe = (
        "probe accuracy: logistic regression on the frozen image features, fitted on train of "
        f"{settings.get('probe')}, its strength chosen by cross-validation there, measured on its val."
    )
    return [
        "score is the choice metric, by which a run chooses its weights: the mean reciprocal rank of both directions, "
        "as the run's own log has it for the step whose weights were kept.",
        f"R@10 is measured with these weights on all pairs of val{fits}.",
        *([probe] if "probe accuracy" in table.figures else []),
        "Figures are means over seeds, ± the standard deviation between seeds (n - 1); training s counts steps, not "
        "validation, and compares only what ran on one machine with as much beside it.",
        f"Differences are to {table.variants[0].label}, seed by seed, with a 95 % interval by Student's t over the "
        "seeds: whether other seeds would say the same, on these pairs. It is not corrected for the number of "
        "variants.",
    ]


def spread_text(found: Spread | None, digits: int = 3) -> str:
    """Return `0.123 ± 0.004`."""
    if found is None:
        return NONE
    return f"{found.mean:.{digits}f}" + ("" if found.deviation is None else f" ± {found.deviation:.{digits}f}")


def difference_text(found: Spread | None) -> str:
    """Return `+0.012 [-0.003, +0.027], n 3`, with how many seeds it is of."""
    if found is None:
        return NONE
    interval = "" if found.interval is None else f" {interval_text(*found.interval, sign='+')}"
    return f"{found.mean:+.3f}{interval}, n {found.n}"


def variants_csv(table: SweepTable) -> str:
    """Return a row for each variant and figure, with full precision; what a variant changes has its own columns."""
    keys = _changed_keys(table)
    return csv_text(["variant", *keys, *_COLUMNS], _variant_rows(table))


def _variant_rows(table: SweepTable) -> Iterator[dict[str, Any]]:
    for row in table.variants:
        seconds = {} if row.seconds is None else {"training_seconds": row.seconds.mean}
        for name in table.figures:
            found, gap = row.figures.get(name), row.differences.get(name)
            low, high = (gap and gap.interval) or (None, None)
            yield {
                "variant": row.label, **_changed(row), "figure": name, **seconds, "n": 0,
                **({} if found is None else {"mean": found.mean, "deviation": found.deviation, "n": found.n}),
                **({} if gap is None else {"difference": gap.mean, "difference_low": low, "difference_high": high,
                                           "difference_n": gap.n}),
            }  # fmt: skip


def runs_csv(table: SweepTable) -> str:
    """Return a row for each run, with full precision."""
    head = [
        "variant", "seed", "state", *_changed_keys(table), *table.figures, "kept_step", "training_seconds", "folder",
        "note",
    ]  # fmt: skip
    rows = (
        {
            "variant": run.variant, "seed": run.seed, "state": run.state, "folder": run.folder, "note": run.why,
            **_changed(run),
            **({} if run.result is None else {**run.result.figures, "kept_step": run.result.kept_step,
                                             "training_seconds": run.result.training_seconds}),
        }
        for run in table.runs
    )  # fmt: skip
    return csv_text(head, rows)


def _changed_keys(table: SweepTable) -> list[str]:
    return list(dict.fromkeys(key for row in table.variants for key in row.changes))


def _changed(row: VariantRow | RunRow) -> dict[str, str]:
    return {key: value_text(value) for key, value in row.changes.items()}
