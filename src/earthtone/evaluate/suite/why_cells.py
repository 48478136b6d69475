"""The drawings that stand under the table: what each model confuses, and what it takes for alike."""

from typing import Any

import numpy as np

from earthtone.evaluate.suite.table import Cell, Column
from earthtone.evaluate.why.confusion import confusion_svg, counted
from earthtone.evaluate.why.embedding_map import map_svg


def why_column(column: Column) -> dict[str, Any] | None:
    """Return the drawings of one column; None where no cell has any."""
    cells = [drawn for cell in column.cells if (drawn := _cell(cell)) is not None]
    return {"task": column.task, "dataset": column.dataset, "cells": cells} if cells else None


def _cell(cell: Cell) -> dict[str, Any] | None:
    drawn: dict[str, Any] = {"model": cell.model, "confusion": _confusion(cell), "map": None, "neighbours": []}
    seen = cell.close_up
    if seen is not None:
        positions = np.array(seen["positions"], np.float64).reshape(-1, 2)
        drawn["map"] = map_svg(positions, seen["labels"], seen["ids"], seen["method"])
        drawn |= {
            "method": seen["method"],
            "points": len(positions),
            "of": seen["of"],
            "neighbours": seen["neighbours"],
        }
    return drawn if drawn["confusion"] or drawn["map"] else None


def _confusion(cell: Cell) -> Any:
    if cell.result is None:
        return None
    if cell.result.truth:
        return confusion_svg(*counted(cell.result.truth, cell.result.predicted))
    facts = cell.result.facts
    if cell.task == "segment" and facts.get("confusion"):
        return confusion_svg(facts["classes"], np.array(facts["confusion"], np.int64))
    return None
