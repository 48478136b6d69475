"""The three files of a suite: `suite.html`, `suite.csv`, `suite.md`."""

from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.evaluate.page import render_page
from earthtone.evaluate.suite.interval_bar import interval_bar
from earthtone.evaluate.suite.table import Column, Compared, SuiteTable
from earthtone.evaluate.suite.why_cells import why_column
from earthtone.evaluate.suite.words import Notes, cell_text, interval_text, p_text, reading, state_notes
from earthtone.evaluate.suite.write_csv import suite_csv
from earthtone.evaluate.suite.write_markdown import suite_markdown


def write_pages(out: Path, table: SuiteTable, notes: Notes | None = None) -> None:
    """Write all three, each whole; nothing in them depends on when or how fast the cells were run."""
    write_text_atomic(out / "suite.csv", suite_csv(table))
    write_text_atomic(out / "suite.md", suite_markdown(table, notes))
    write_text_atomic(out / "suite.html", suite_html(table, notes))


def suite_html(table: SuiteTable, notes: Notes | None = None) -> str:
    """Return the page: the table, the comparisons, how to read them."""
    notes = notes or Notes()
    return render_page(
        "suite/suite.html.j2",
        title="What the encoders learned",
        notes=[*state_notes(table), *notes.urgent],
        remarks=notes.remarks,
        columns=[_column(column) for column in table.columns],
        models=list(enumerate(table.models)),
        baseline=table.baseline,
        comparisons=[_compared(compared) for compared in table.comparisons],
        reading=reading(table),
        why=[drawn for column in table.columns if (drawn := why_column(column)) is not None],
    )


def _column(column: Column) -> dict[str, Any]:
    figures = [cell.figure for cell in column.cells if cell.figure is not None]
    return {
        "task": column.task,
        "dataset": column.dataset,
        "headline": column.headline.replace("_", " "),
        "test_items": column.items,
        "chance": next((figure.chance for figure in figures if figure.chance is not None), None),
        "protocols": list(dict.fromkeys(cell.result.protocol for cell in column.cells if cell.result is not None)),
        "cells": [
            {
                "state": cell.state,
                "text": cell_text(cell),
                "value": "" if cell.figure is None else f"{cell.figure.value:.3f}",
                "interval": "" if cell.figure is None else f"[{cell.figure.low:.3f}, {cell.figure.high:.3f}]",
                "bar": None if cell.figure is None else interval_bar(cell.figure),
                "best": cell.model in column.best,
                "why": cell.why,
            }
            for cell in column.cells
        ],
    }


def _compared(compared: Compared) -> dict[str, Any]:
    found = compared.found
    said: dict[str, Any] = {"task": compared.task, "dataset": compared.dataset, "model": compared.model}
    if found is None:
        return {**said, "why": compared.why, "difference": ""}
    sure = compared.p_holm is not None and compared.p_holm < 0.05
    return {
        **said,
        "why": "",
        "difference": interval_text(found.difference, "+"),
        "p": p_text(found.p_value),
        "test": {"mcnemar": "McNemar", "sign_flip": "sign flips"}.get(found.test, found.test),
        "p_holm": p_text(compared.p_holm),
        "better": found.first_better,
        "worse": found.second_better,
        "test_items": found.difference.queries,
        "verdict": ("better" if found.difference.value > 0 else "worse") if sure else "",
    }
