"""From a packed table and a recipe to a trained model in a run's folder."""

import logging
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.atomic import write_text_atomic
from earthtone.data.table import Table
from earthtone.errors import ConfigError, DataError
from earthtone.losses import make_loss
from earthtone.models.two_tower import TwoTower
from earthtone.train.checkpoint import CHECKPOINT_FILE, Progress, load_checkpoint
from earthtone.train.history import History, read_history
from earthtone.train.keeper import Keeper
from earthtone.train.loader import TrainLoader
from earthtone.train.precision import choose_device, choose_precision
from earthtone.train.recipe import Recipe
from earthtone.train.task import PretrainTask

#: Returns figures of a model on some rows of a table, `score` among them.
ValidateRows = Callable[[TwoTower, Table, NDArray[np.int64]], Mapping[str, float]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """How a training ended."""

    folder: Path
    finished: bool
    stopped_by: str | None
    progress: Progress
    steps: int


def fit(
    table: Table, recipe: Recipe, out: Path, *, resume: bool = False, validate: ValidateRows | None = None
) -> FitResult:
    """Train on the split `train` of `table`; `out` gets model, card, recipe, logs and checkpoints.

    With `resume` it goes on from the checkpoint in `out`, to the same weights as without a stop (bit for bit on one
    CPU). Raises ConfigError when `out` holds another run, DataError when the loss is no number any more.
    """
    if recipe.signal != table.signal:
        raise ConfigError(f"{table.path} was packed with another signal config than the recipe has; pack it again")
    identity = {**_flat(asdict(recipe)), "data": table.fingerprint}
    _refuse_other_run(out, resume)
    torch.manual_seed(recipe.train.seed)
    device = choose_device(recipe.train.device)
    model = TwoTower(recipe.model, recipe.signal).to(memory_format=torch.channels_last)
    loss = make_loss(recipe.loss.name, **recipe.loss.options)
    loader = TrainLoader(table, table.rows_of("train"), recipe)
    task = PretrainTask(model, loss, recipe.train, loader.steps)
    progress = _resumed(out, task, identity) if resume else Progress()
    loader.first = progress.step
    write_text_atomic(out / "recipe.yaml", recipe.to_yaml())  # not before the resume was found to fit
    with History(out, progress.step) as history:
        keeper = Keeper(
            out,
            history,
            progress,
            steps_per_epoch=loader.steps_per_epoch,
            validate=_validation(table, recipe, validate),
            identity=identity,
            card=_card(table, recipe, device),
        )
        if len(loader):
            _trainer(recipe, device, keeper).fit(task, loader)
    done = keeper.progress.step >= loader.steps
    if done:  # the checkpoint is three times the model, and nothing is left to resume
        (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    return FitResult(out, done, keeper.stopped_by.name if keeper.stopped_by else None, keeper.progress, loader.steps)


def _refuse_other_run(out: Path, resume: bool) -> None:
    """Raise ConfigError where a run would be written over."""
    begun = [name for name in ("model.safetensors", CHECKPOINT_FILE) if (out / name).exists()]
    if begun and not resume:
        raise ConfigError(f"{out} holds a run already ({begun[0]}); go on with --resume, or choose another --out")


def _resumed(out: Path, task: PretrainTask, identity: Mapping[str, Any]) -> Progress:
    """Return where the run in `out` is, its checkpoint loaded; a finished run is at its end."""
    if (out / CHECKPOINT_FILE).exists():
        return load_checkpoint(out, task, identity)
    history = read_history(out)
    if history and history[-1]["step"] >= task.steps:
        return Progress(step=task.steps)
    _log.warning("%s holds no checkpoint yet; training starts from the beginning", out)
    return Progress()


def _validation(table: Table, recipe: Recipe, validate: ValidateRows | None) -> Callable[[TwoTower], Any] | None:
    """Bind `validate` to the validation pairs; None when there are none."""
    if validate is None or not recipe.train.validate_every:
        return None
    try:
        rows = table.rows_of("val")
    except DataError:
        _log.warning("%s has no pairs of split val; the last weights are kept", table.path)
        return None
    count = recipe.train.validation_rows
    chosen = rows if len(rows) <= count else np.sort(np.random.default_rng(0).permutation(rows)[:count])
    return lambda model: validate(model, table, chosen)


def _trainer(recipe: Recipe, device: str, keeper: Keeper) -> Any:
    from lightning.pytorch import Trainer

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    return Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        devices=1,
        precision=choose_precision(recipe.train.precision, device),  # type: ignore[arg-type]
        max_epochs=1,  # the loader holds all epochs in a row: steps are the only clock
        gradient_clip_val=recipe.train.clip_norm,
        logger=False,
        callbacks=[keeper],
        enable_progress_bar=False,  # the keeper has one that knows where a resume started
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


def _card(table: Table, recipe: Recipe, device: str) -> dict[str, Any]:
    return {
        "recipe": asdict(recipe),
        "data": {"path": table.path.name, "rows": len(table), "fingerprint": table.fingerprint},
        "precision": choose_precision(recipe.train.precision, device),
        "device": device,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("earthtone", "torch", "timm", "lightning", "numpy")},
        },
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
