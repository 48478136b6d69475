"""From data to a run: pack if need be, train, measure on the validation pairs, report."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.data.open_table import open_table
from earthtone.data.table import Table
from earthtone.errors import DataError
from earthtone.evaluate.on_data import evaluate_retrieval, validation_figures
from earthtone.evaluate.retrieval import RetrievalResult
from earthtone.evaluate.run_report import write_run_report
from earthtone.models.storage import load_model
from earthtone.train.fit import FitResult, fit
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import load_recipe

_log = logging.getLogger(__name__)


def pretrain(
    data: str | Path,
    out: str | Path,
    *,
    recipe: Recipe | str = "default",
    resume: bool = False,
    columns: Mapping[str, str] | None = None,
    report: bool = True,
) -> FitResult:
    """Train two encoders on the pairs of `data`; the run's folder `out` gets model, card, log and `report.html`.

    What is not packed yet is packed into `out` first. With `resume` a stopped run goes on exactly where it was.
    Raises EarthtoneError for wrong input; what was written before stays whole.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    out = Path(out)
    with open_table(data, recipe.signal, columns=columns, keep=out / "table.lance") as table:
        result = fit(table, recipe, out, resume=resume, validate=validation_figures)
        if result.finished and report:
            report_on_validation(out, table)
    return result


def report_on_validation(run: Path, table: Table) -> None:
    """Write the run's report from its validation pairs; the test pairs are for `earthtone evaluate`."""
    try:
        table.rows_of("val")
    except DataError:
        _log.warning(
            "%s has no pairs of split val: no report; type: earthtone evaluate retrieval --model %s", table, run
        )
        return
    model = load_model(run)

    def write(opened: Table, rows: NDArray[np.int64], result: RetrievalResult) -> None:
        write_run_report(run, model, opened, rows, result, split="val")

    evaluate_retrieval(model, table.path, split="val", then=write)
