"""From data to a run: pack if need be, train, measure on the validation pairs, report."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.data.pair import MEDIA
from earthtone.data.remote import refuse_remote
from earthtone.device import choose_device
from earthtone.encode.engine import Medium, embed_medium
from earthtone.encode.training_images import keep_training_images
from earthtone.errors import DataError
from earthtone.evaluate.health import tower_findings
from earthtone.evaluate.overlap import warn_of_overlap
from earthtone.evaluate.protocols import RetrievalResult
from earthtone.evaluate.report import write_run_report
from earthtone.evaluate.retrieval import evaluate_retrieval, validation_figures
from earthtone.files import only_writer
from earthtone.models.storage import load_model
from earthtone.models.two_tower import TwoTower
from earthtone.models.warm_start import check_start
from earthtone.options import PretrainOptions
from earthtone.train.checkpoint import refuse_other_run
from earthtone.train.distributed import find_world
from earthtone.train.fit import FitResult, fit
from earthtone.train.lightning_module import check_model, recipe_loss
from earthtone.train.loggers import check_logger, check_parts
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import check_device, check_recipe, load_recipe
from earthtone.value_types import takes

_LOOKED_AT = 1000  # validation rows of a tower that was trained alone


@takes(PretrainOptions)
def pretrain(options: PretrainOptions) -> FitResult:
    """Train two encoders on the pairs of `data`, or with `only` one of them on the rows that have its medium.

    The run's folder `out` gets model, card, log and `report.html`, and what its training images are like
    (`encode/training_images.py`), for maps.
    What is not packed yet is packed into `out` first, `split_by` and `buffer_km` as for `pack`. With `resume` a stopped
    run goes on exactly where it was. `callbacks` and `logger` are Lightning's; a callback's own state is not kept for
    a resume.
    Raises EarthtoneError for wrong input, and while another process writes into `out`; what was written before stays
    whole.
    """
    refuse_remote(options.out, "choose a folder on a disk, and copy the run when it has ended")
    out, resume = Path(options.out), options.resume
    recipe = options.recipe if isinstance(options.recipe, Recipe) else load_recipe(options.recipe)
    if options.only is not None:
        recipe = recipe.with_only(options.only)
    check_recipe(recipe, "recipe")  # mistakes are refused before anything is packed
    check_device(recipe, choose_device(recipe.train.device))
    recipe_loss(recipe)
    check_model(recipe)
    check_logger(recipe.logger)
    given = options.logger
    loggers = () if given is None else tuple(given) if isinstance(given, Sequence) else (given,)
    check_parts(options.callbacks, loggers)
    keep, columns, split_by, buffer_km = out / "table.lance", options.columns, options.split_by, options.buffer_km
    world = find_world(recipe.train)
    if not resume:
        check_start(recipe.model)
    if world.first:
        refuse_other_run(out, resume=resume)
    with ExitStack() as stack:
        if world.first:
            stack.enter_context(only_writer(out, "training"))
            refuse_other_run(out, resume=resume)  # one may have been begun in between
        with world.watched():
            world.join(choose_device(recipe.train.device))
            if not world.first:
                world.wait()  # until the first process has packed
        table = stack.enter_context(
            open_table(
                options.data,
                recipe.signal,
                columns=columns,
                split_by=split_by,
                buffer_km=buffer_km,
                exclude=options.exclude,
                need=recipe.model.only or "both",
                keep=keep,
            )
        )
        if world.first:
            world.wait()
            warn_of_overlap(table, recipe.model.media)
        result = fit(
            table, recipe, out, resume=resume, validate=validation_figures, world=world, callbacks=options.callbacks,
            loggers=loggers,
        )  # fmt: skip
        if result.finished and world.first:
            model = load_model(out)
            if "image" in model.towers:
                keep_training_images(out, model, table)
            if options.report:
                report_on_validation(out, table)
    return result


def report_on_validation(run: Path, table: Table, match: str | None = None) -> RetrievalResult | None:
    """Return how a run does on its validation pairs, None without any, after writing the run's report.

    `match` also counts hits by label, as for `evaluate_retrieval`. The test pairs are for `earthtone evaluate`.
    """
    model = load_model(run)
    if model.config.only is not None:
        write_run_report(run, model, table, health=_health_of_tower(model, table, model.config.only))
        return None
    if not any(split == "val" and pair for split, pair in zip(table.column("split"), table.has(*MEDIA), strict=True)):
        write_run_report(run, model, table, note=f"{table.name} has no pairs of split val: nothing was measured yet.")
        return None

    def write(opened: Table, rows: NDArray[np.int64], result: RetrievalResult) -> None:
        write_run_report(run, model, opened, rows, result)

    return evaluate_retrieval(model, table.path, split="val", match=match, then=write)


def _health_of_tower(model: TwoTower, table: Table, medium: Medium) -> dict[str, str]:
    """Return what can be said of one tower without the other, on at most 1,000 validation rows; nothing without any."""
    try:
        rows = table.rows_of("val", [medium])
    except DataError:
        return {}
    if len(rows) > _LOOKED_AT:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:_LOOKED_AT])
    if len(rows) < 2:
        return {}
    found = tower_findings(medium, embed_medium(model, table, rows, medium))
    told = {f"{finding.name.capitalize()}": f"{finding.value:.3g}: {finding.sentence}" for finding in found}
    return {"Rows looked at": f"{len(rows):,} (val)", **told}
