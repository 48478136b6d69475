"""The table of a suite: figures of models by task and set, and how each model compares with the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError
from earthtone.evaluate.bootstrap import Estimate
from earthtone.evaluate.paired import Comparison, compare_results, holm
from earthtone.evaluate.task_result import TaskResult

DONE, WAITING, FAILED, SKIPPED = "done", "waiting", "failed", "skipped"


@dataclass(frozen=True)
class Cell:
    """One task on one set by one model."""

    task: str
    dataset: str
    model: str
    state: str
    result: TaskResult | None = None
    why: str = ""
    """Why it failed or was skipped."""
    groups: Mapping[str, str] | None = None
    """The group of each test item by id, where items of one group stand or fall together."""
    close_up: Mapping[str, Any] | None = None
    """What its features look like; see `closeup.py`."""

    @property
    def figure(self) -> Estimate | None:
        """Return the headline's figure; None where there is no result."""
        return None if self.result is None else self.result.figures[self.result.headline]


@dataclass(frozen=True)
class Compared:
    """A model against the baseline in one column."""

    task: str
    dataset: str
    model: str
    found: Comparison | None
    p_holm: float | None = None
    """The p-value, corrected over all comparisons of the table."""
    why: str = ""
    """Why there is no comparison."""


@dataclass(frozen=True)
class Column:
    """One task on one set: a cell a model, in the order of the rows."""

    task: str
    dataset: str
    cells: tuple[Cell, ...]
    compared: tuple[Compared | None, ...]
    """A comparison a model; None for the baseline and for cells that are not done."""

    @property
    def headline(self) -> str:
        """Return the name of the figure; empty while no cell is done."""
        return next((cell.result.headline for cell in self.cells if cell.result is not None), "")

    @property
    def items(self) -> int | None:
        """Return how many test items the figures are from; None while no cell is done."""
        return next((cell.figure.queries for cell in self.cells if cell.figure is not None), None)

    @property
    def best(self) -> frozenset[str]:
        """Return the models with the highest figure; none where only one model has a figure."""
        values = {cell.model: cell.figure.value for cell in self.cells if cell.figure is not None}
        return frozenset(m for m, value in values.items() if value == max(values.values()) and len(values) > 1)


@dataclass(frozen=True)
class SuiteTable:
    """Everything that the pages of a suite show."""

    models: tuple[str, ...]
    baseline: str
    columns: tuple[Column, ...]

    @property
    def cells(self) -> list[Cell]:
        """Return all cells, column by column."""
        return [cell for column in self.columns for cell in column.cells]

    def count(self, state: str) -> int:
        """Return how many cells are in a state."""
        return sum(cell.state == state for cell in self.cells)

    @property
    def comparisons(self) -> list[Compared]:
        """Return all comparisons, column by column."""
        return [compared for column in self.columns for compared in column.compared if compared is not None]


Known = dict[tuple[str, str, str], Compared | None]


def suite_table(
    cells: Sequence[Cell], baseline: str, *, resamples: int = 1000, known: Known | None = None
) -> SuiteTable:
    """Return the table of cells in the order of columns and rows, with all comparisons that can be made.

    p-values are corrected by Holm's method over all comparisons of the table, since any of them may be pointed at.
    `known` keeps comparisons from one call to the next, while cells are added.
    """
    known = {} if known is None else known
    models = tuple(dict.fromkeys(cell.model for cell in cells))
    columns = []
    for task, dataset in dict.fromkeys((cell.task, cell.dataset) for cell in cells):
        own = tuple(cell for cell in cells if (cell.task, cell.dataset) == (task, dataset))
        first = next((cell for cell in own if cell.model == baseline), None)
        compared = []
        for cell in own:
            name = (task, dataset, cell.model)
            if known.get(name) is None:
                known[name] = _compared(cell, first, resamples)
            compared.append(known[name])
        columns.append(Column(task, dataset, own, tuple(compared)))
    return SuiteTable(models, baseline, tuple(_corrected(columns)))


def _compared(cell: Cell, baseline: Cell | None, resamples: int) -> Compared | None:
    if cell.result is None or baseline is None or baseline.result is None or cell.model == baseline.model:
        return None
    named = Compared(cell.task, cell.dataset, cell.model, None)
    try:
        found = compare_results(cell.result, baseline.result, clusters=_clusters(cell), resamples=resamples)
    except DataError as error:
        return replace(named, why=str(error))
    return replace(named, found=found)


def _clusters(cell: Cell) -> NDArray[np.int64] | None:
    if cell.result is None or not cell.groups:
        return None
    names = [cell.groups.get(name, f"\0{name}") for name in cell.result.ids]
    return np.unique(np.asarray(names, np.str_), return_inverse=True)[1].astype(np.int64)


def _corrected(columns: Sequence[Column]) -> list[Column]:
    made = {
        f"{at}/{row}": compared.found.p_value
        for at, column in enumerate(columns)
        for row, compared in enumerate(column.compared)
        if compared is not None and compared.found is not None
    }
    corrected = holm(made)
    return [
        replace(
            column,
            compared=tuple(
                None if compared is None else replace(compared, p_holm=corrected.get(f"{at}/{row}"))
                for row, compared in enumerate(column.compared)
            ),
        )
        for at, column in enumerate(columns)
    ]
