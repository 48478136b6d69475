"""A suite as CSV: one row a cell, its comparison beside it."""

from collections.abc import Iterator
from typing import Any

from earthtone.evaluate.csv_text import csv_text
from earthtone.evaluate.suite.table import Cell, Column, Compared, SuiteTable

COLUMNS = (
    "task", "dataset", "model", "state", "headline", "value", "low", "high", "chance", "n", "best", "baseline",
    "difference", "difference_low", "difference_high", "p", "p_holm", "test", "better_on", "worse_on", "protocol",
    "note",
)  # fmt: skip


def suite_csv(table: SuiteTable) -> str:
    """Return the table as CSV with full precision; cells without a figure have their state and its reason."""
    return csv_text(COLUMNS, suite_rows(table))


def suite_rows(table: SuiteTable) -> list[dict[str, Any]]:
    """Return one mapping a cell, with those of `COLUMNS` that are known of it."""
    return [
        dict(_values(column, cell, compared, table.baseline))
        for column in table.columns
        for cell, compared in zip(column.cells, column.compared, strict=True)
    ]


def _values(column: Column, cell: Cell, compared: Compared | None, baseline: str) -> Iterator[tuple[str, Any]]:
    yield from (("task", cell.task), ("dataset", cell.dataset), ("model", cell.model), ("state", cell.state))
    figure, result = cell.figure, cell.result
    if figure is not None and result is not None:
        yield from (("headline", result.headline), ("protocol", result.protocol))
        yield from (("value", figure.value), ("low", figure.low), ("high", figure.high), ("chance", figure.chance))
        yield from (("n", figure.queries), ("best", int(cell.model in column.best)))
    found = None if compared is None else compared.found
    if found is not None and compared is not None:
        gap = found.difference
        yield from (("difference", gap.value), ("difference_low", gap.low), ("difference_high", gap.high))
        yield from (("p", found.p_value), ("p_holm", compared.p_holm), ("test", found.test), ("baseline", baseline))
        yield from (("better_on", found.first_better), ("worse_on", found.second_better))
    yield "note", cell.why or ("" if compared is None else compared.why)
