"""From a packed table and a recipe to a trained model in a run's folder."""

import hashlib
import logging
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from numpy.typing import NDArray

from earthtone.data.packed import Table
from earthtone.device import choose_device, choose_precision
from earthtone.errors import ConfigError, DataError, changes, flat
from earthtone.files import write_text_atomic
from earthtone.losses.base import Loss
from earthtone.models.two_tower import TwoTower
from earthtone.models.warm_start import start_towers
from earthtone.train.callbacks import OtherRanksCallback, RankZeroCallback, Stopping
from earthtone.train.checkpoint import (
    CHECKPOINT_FILE,
    LOG_FILE,
    STATE_FILE,
    History,
    Progress,
    load_checkpoint,
    open_run,
    read_history,
    read_start,
    save_checkpoint,
    write_state,
)
from earthtone.train.distributed import World, find_world, make_trainer
from earthtone.train.lightning_module import (
    NotFiniteError,
    PretrainTask,
    check_queue,
    check_unfreeze,
    recipe_loss,
    recipe_within,
    with_ids,
)
from earthtone.train.loader import TrainLoader, training_side_m
from earthtone.train.loggers import check_parts, make_loggers, start_loggers
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import check_device, check_recipe
from earthtone.train.sampler import Refresher, drop_embeddings

#: Returns figures of a model on some rows of a table, `score` among them.
ValidateRows = Callable[[TwoTower, Table, NDArray[np.int64]], Mapping[str, float]]

_log = logging.getLogger(__name__)
_SOURCES_TOLD = 50
_FEWEST_TO_CHOOSE_BY = 30  # validation pairs; with fewer the best weights are the luckiest


@dataclass(frozen=True)
class FitResult:
    """How a training ended."""

    folder: Path
    finished: bool
    stopped_by: str | None
    progress: Progress
    steps: int
    rank: int = 0
    """Of the process that returns it; only the first, 0, has written anything."""


def fit(
    table: Table,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    validate: ValidateRows | None = None,
    world: World | None = None,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> FitResult:
    """Train on the split `train` of `table`; `out` gets model, card, recipe, logs and checkpoints.

    With `resume` it goes on from the checkpoint in `out`, to the same weights as without a stop (bit for bit on one
    CPU). `world` is the processes that train together, by default those that the recipe asks for; where Lightning has
    to start them it runs the whole program again in each. `callbacks` run after ours, `loggers` get the figures of the
    log, as the recipe's logger does. Raises ConfigError when `out` holds another run, DataError
    when the loss is no number any more, ProcessError when another process is lost.
    """
    _check(table, recipe)
    identity = {**flat(recipe.decisive()), "data": _data_identity(table, recipe)}
    device = choose_device(recipe.train.device)
    world = world or find_world(recipe.train)
    with world.watched():
        world.join(device)
        if world.largest(int(world.first and open_run(out, identity, resume=resume))):
            return _finished(out, world)
    torch.manual_seed(recipe.train.seed)
    model, start = _beginning(table, recipe, out, resume=resume)
    loss: Loss | None = recipe_loss(recipe)
    within = recipe_within(recipe)
    if recipe.train.control == "images_only":
        model.keep_only_images()  # only now: what is drawn above is as in the training that it is compared with
    if device == "mps" and loss is not None:
        loss = loss.float()  # the places in a queue are float64, which mps lacks
    rows = table.rows_of("train", recipe.model.media)
    if len(recipe.learns) == 1:
        loss = None
    if loss is not None:
        check_queue(loss, len(rows), recipe)
    loader = TrainLoader(table, rows, recipe, rank=world.rank, processes=world.size)
    check_unfreeze(recipe.train, loader.steps)
    task = PretrainTask(
        model, loss, recipe.train, loader.steps, world=world, within=within, ignores_twins=recipe.loss.twins == "ignore"
    )
    progress = Progress()
    if resume and (out / CHECKPOINT_FILE).exists():
        progress = load_checkpoint(out, task)
    elif resume:
        _log.warning("%s holds no checkpoint yet; training starts from the beginning", out)
    loader.first = progress.step
    stopping = Stopping(world)
    loggers = [*make_loggers(recipe.logger, out), *loggers]
    check_parts(callbacks, loggers)
    with ExitStack() as open_files:
        records = OtherRanksCallback(progress, stopping, world)
        if world.first:
            validation, keep_best = _validation(table, recipe, validate)
            start_loggers(loggers, recipe)
            write_state(out, identity, finished=False, start=start)
            write_text_atomic(out / "recipe.yaml", recipe.to_yaml())
            records = RankZeroCallback(
                progress, stopping, world, out, open_files.enter_context(History(out, progress.step, loggers)),
                steps_per_epoch=loader.steps_per_epoch, validate=validation, keep_best=keep_best,
                card={**_card(table, recipe, device), **({"start": start} if start else {})},
            )  # fmt: skip
        if loader.sampler.refresh_epochs:
            loader.refresh = Refresher(
                out, task.full, table, rows, loader.sampler, resumed=progress.step, world=world,
                checkpoint=lambda: save_checkpoint(out, task, records.progress),
            )  # fmt: skip
        try:
            with stopping.signals(), world.watched():
                make_trainer(recipe, device, world, [records, *callbacks], loggers).fit(task, loader)
        except NotFiniteError as error:
            raise with_ids(error, table, out) from error
    done = records.progress.step >= loader.steps
    if done and world.first:
        write_state(out, identity, finished=True, start=start)
        (out / CHECKPOINT_FILE).unlink(missing_ok=True)  # three times the model, and nothing is left to resume
        drop_embeddings(out)
    stopped_by = stopping.stopped_by.name if stopping.stopped_by else None if done else "a callback"
    return FitResult(out, done, stopped_by, records.progress, loader.steps, world.rank)


def _check(table: Table, recipe: Recipe) -> None:
    """Raise ConfigError for a wrong recipe, and for what this table or machine cannot do."""
    check_recipe(recipe, "recipe")
    if changed := changes(flat(asdict(table.signal)), flat(asdict(recipe.signal))):
        raise ConfigError(
            f"{table.path} was packed with another signal config than the recipe has ({changed}); pack it again with: "
            "earthtone pack DATA --out NEW.lance --recipe THE_SAME"
        )
    if recipe.model.scale_input:
        training_side_m(table, table.rows_of("train", recipe.model.media))
    check_device(recipe, choose_device(recipe.train.device))


def _beginning(table: Table, recipe: Recipe, out: Path, *, resume: bool) -> tuple[TwoTower, dict[str, Any]]:
    """Return the model as it begins, and what its towers began with."""
    model = TwoTower(recipe.model, recipe.signal)
    if recipe.model.scale_input:
        model.usual_side_m.fill_(training_side_m(table, table.rows_of("train", recipe.model.media)))
    goes_on = resume and (out / CHECKPOINT_FILE).exists()
    start = read_start(out) if goes_on else start_towers(model)  # a checkpoint has all weights
    return model.to(memory_format=torch.channels_last), start


def _data_identity(table: Table, recipe: Recipe) -> str:
    """Return a text that differs for tables that train differently: with `scale_input` by the tiles' metres too."""
    if not recipe.model.scale_input:
        return table.fingerprint
    return f"{table.fingerprint} {hashlib.blake2b(table.tile_sides_m.tobytes(), digest_size=8).hexdigest()}"


def _finished(out: Path, world: World) -> FitResult:
    """Return the result of a run that had ended before. Raises DataError where its log is lost."""
    lines = read_history(out)
    if not lines:
        raise DataError(
            f"{out}: {STATE_FILE} says that its training has ended, but {LOG_FILE} has no step: parts of the run are "
            "lost; copy it again, or train anew into another --out"
        )
    progress = Progress(step=int(lines[-1]["step"]), seconds=max(line.get("seconds", 0.0) for line in lines))
    return FitResult(out, True, None, progress, progress.step, world.rank)


def _validation(
    table: Table, recipe: Recipe, validate: ValidateRows | None
) -> tuple[Callable[[TwoTower], Any] | None, bool]:
    """Return `validate` on the validation pairs, and whether these are enough to choose weights by them."""
    best = recipe.train.keep == "best"
    if recipe.train.control != "none" or len(recipe.learns) == 1:
        if best:
            why = "one tower finds no partners" if len(recipe.learns) == 1 else "the pairs of this control are none"
            _log.warning("the last weights are kept: train.keep best chooses by retrieval, and %s", why)
        best = False
    if len(recipe.learns) == 1:
        return None, False
    if validate is None or not recipe.train.validate_every:
        return None, False
    try:
        rows = table.rows_of("val")
    except DataError:
        _log.warning("%s has no pairs of split val; the last weights are kept", table.path)
        return None, False
    if best and len(rows) < _FEWEST_TO_CHOOSE_BY:
        _log.warning(
            "%s has %d pairs of split val, at least %d are needed to choose weights by them; the last weights are kept",
            table.path, len(rows), _FEWEST_TO_CHOOSE_BY,
        )  # fmt: skip
    count = recipe.train.validation_rows
    chosen = rows if len(rows) <= count else np.sort(np.random.default_rng(0).permutation(rows)[:count])
    return lambda model: validate(model, table, chosen), best and len(rows) >= _FEWEST_TO_CHOOSE_BY


def _sources(table: Table) -> dict[str, int]:
    """Return how many of the rows that are learned from are of which source; the most frequent ones."""
    told = zip(table.column("split"), table.column("source"), strict=True)
    found = Counter(source or "unknown" for split, source in told if split == "train")
    return dict(found.most_common(_SOURCES_TOLD))


def _card(table: Table, recipe: Recipe, device: str) -> dict[str, Any]:
    return {
        "recipe": recipe.decisive(),
        "data": {
            "path": table.name,
            "rows": len(table),
            "fingerprint": table.fingerprint,
            "split": dict(table.split),
            "sources": _sources(table),
        },
        "precision": choose_precision(recipe.train.precision, device),
        "device": device,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("earthtone", "torch", "timm", "lightning", "numpy")},
        },
    }
