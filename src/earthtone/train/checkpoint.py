"""What a run keeps on disk: its state, its log, and all it needs to go on exactly where it was."""

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from earthtone.errors import ConfigError, DataError, ModelError, changes, flat
from earthtone.files import FORMATS, format_of, regular_file, write_text_atomic
from earthtone.models.weights import fill, read_safetensors, write_safetensors
from earthtone.train.recipe import Recipe
from earthtone.value_types import fits

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from earthtone.train.lightning_module import PretrainTask  # brings Lightning, which reports do without

LOG_FILE = "log.jsonl"
STATE_FILE = "run.json"
CHECKPOINT_FILE = "checkpoint.safetensors"
_TAIL_BYTES = 4096
_log = logging.getLogger(__name__)


class History(AbstractContextManager["History"]):
    """The log of a run, one JSON object a line, and the same figures for TensorBoard and for other loggers.

    Lines after the step that a resume starts from are dropped. A logger that fails is warned of, and left out from then
    on: the log has its figures, and a training is not lost for a server that cannot be reached.
    """

    def __init__(self, folder: Path, first_step: int, loggers: "Sequence[Logger]" = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._loggers = list(loggers)
        self._path = folder / LOG_FILE
        kept = [line for line in read_history(folder) if line["step"] <= first_step]
        write_text_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1 if kept else None)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Append the figures of a step. Raises DataError when the disk is full."""
        try:
            self._file.write(json.dumps({"step": step, **figures}) + "\n")
            self._file.flush()
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
        except OSError as error:
            raise DataError(f"cannot write {self._path}: {error.strerror}; free the disk, then --resume") from error
        for logger in list(self._loggers):
            try:
                logger.log_metrics(dict(figures), step)
            except Exception as error:  # each service has its own
                self._loggers.remove(logger)
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                _log.warning(
                    "step %d: the logger %s failed (%s) and gets no more figures; %s has all of them",
                    step, type(logger).__name__, reason, self._path,
                )  # fmt: skip

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could be written is written; an error before this one says more
            os.fsync(self._file)  # before the state says that the training has ended
            self._file.close()
            self._board.close()


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a run's log; a last line that a kill cut off is left out, as are values that are no numbers.

    Raises DataError for a log that cannot be read.
    """
    path = folder / LOG_FILE
    if not path.exists():
        return []
    try:
        text = regular_file(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; copy the run again") from error
    lines = []
    for line in text.splitlines():
        try:
            figures = json.loads(line)
        except (ValueError, RecursionError):
            break
        step = figures.get("step", -1) if isinstance(figures, dict) else -1
        if fits(step, int) and step >= 0:
            lines.append({name: value for name, value in figures.items() if fits(value, float)})
    return lines


def last_step(folder: Path) -> int:
    """Return the last step in a run's log, 0 where there is none; reads the end of the file alone."""
    path = folder / LOG_FILE
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        found = re.findall(rb'^\{"step": (\d+),.*\}$', file.read(), re.MULTILINE)
    return int(found[-1]) if found else 0


def open_run(folder: Path, identity: Mapping[str, Any], *, resume: bool) -> bool:
    """Return whether the run in `folder` has ended already; nothing is written.

    `identity` is flat: the recipe's values and the data's fingerprint. Raises ConfigError where a run would be written
    over, or resumed with something else than it was begun with.
    """
    state = _read(folder)
    refuse_other_run(folder, resume=resume)
    if state is None:
        if (folder / "model.safetensors").exists():
            raise ConfigError(f"{folder} holds a model but no {STATE_FILE}: no run to go on with; choose another --out")
        return False
    began = {**{key: value for key, value in flat(asdict(Recipe())).items() if key in identity}, **state["identity"]}
    if changed := changes(began, identity):  # a key that the run does not know came later: it had the default
        raise ConfigError(
            f"{folder}: --resume with something else than it was begun with ({changed}); undo it, such as by "
            f"--recipe {folder / 'recipe.yaml'}, which has all it was begun with, or start anew with another --out"
        )
    return bool(state["finished"])


def refuse_other_run(folder: Path, *, resume: bool) -> None:
    """Raise ConfigError where a run would be written over; cheap, before anything is packed."""
    if not resume and ((folder / STATE_FILE).exists() or (folder / "model.safetensors").exists()):
        raise ConfigError(f"{folder} holds a run already; go on with --resume, or choose another --out")


def write_state(
    folder: Path, identity: Mapping[str, Any], *, finished: bool, start: Mapping[str, Any] | None = None
) -> None:
    """Write the state, whole or not at all; `start` names the weights that the towers began with."""
    state = {"format": FORMATS["run"], "finished": finished, "identity": dict(identity)}
    state |= {"start": dict(start)} if start else {}
    write_text_atomic(folder / STATE_FILE, json.dumps(state, indent=1) + "\n")


def read_start(folder: Path) -> dict[str, Any]:
    """Return which weights the towers of the run in `folder` began with; nothing where they were random."""
    state = _read(folder)
    return {} if state is None else dict(state["start"])


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(state, dict):
            raise ValueError(f"{type(state).__name__}, a mapping expected")
        format_of(state, "run", path)
        finished, identity, start = state["finished"], state["identity"], state.get("start", {})
        if type(finished) is not bool or not isinstance(identity, dict) or not isinstance(start, dict):
            raise ValueError("finished, identity or start of another type")
    except KeyError as error:
        raise DataError(f"{path} cannot be read (it has no {error}); choose another --out") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({error}); choose another --out") from error
    return {"identity": identity, "finished": finished, "start": start}


@dataclass(frozen=True)
class Progress:
    """Where a training is: steps done, seconds spent, the best validation so far, batches of twins only."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    twins_only: int = 0


def save_checkpoint(folder: Path, task: "PretrainTask", progress: Progress) -> None:
    """Write all that `task` needs to go on exactly where it was: one safetensors file, whole or not at all, no pickle.

    Tensors: weights of model and loss, the optimizer's moments, the state of torch's generator. The header says where
    the training is; run.json says which training.
    """
    tensors = {**task.full.tensors(), "torch_rng": torch.get_rng_state()}
    groups = task.trainer.optimizers[0].state_dict()["param_groups"]
    header = {"format": FORMATS["checkpoint"], "progress": asdict(progress), "groups": groups}
    write_safetensors(folder / CHECKPOINT_FILE, tensors, {"earthtone_checkpoint": json.dumps(header)})


def load_checkpoint(folder: Path, task: "PretrainTask") -> Progress:
    """Fill `task` and torch's generator from the checkpoint in `folder` and return where it was.

    Raises ModelError when the file is broken or not ours.
    """
    path = folder / CHECKPOINT_FILE
    tensors, metadata = read_safetensors(path)
    if "earthtone_checkpoint" not in metadata:
        raise ModelError(f"{path}: no checkpoint of earthtone; train anew without --resume into another --out")
    header = _checkpoint_header(metadata["earthtone_checkpoint"], path)
    weights = {name.removeprefix("task."): value for name, value in tensors.items() if name.startswith("task.")}
    for name, value in task.state_dict().items():
        if name.endswith("queue.pairs"):  # queues of earlier versions knew no pairs; a fresh one has none
            weights.setdefault(name, value)
    fill(task, weights, path)
    try:
        state = {"state": _optimizer_state(tensors), "param_groups": header["groups"]}
        _check_moments(state, task)
        task.optimizer_state = state
        torch.set_rng_state(tensors["torch_rng"])
        progress = Progress(**header["progress"])
        if type(progress.step) is not int or not 0 <= progress.step <= task.steps:
            raise ValueError(f"step {progress.step!r:.40} of {task.steps}")
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise ModelError(f"{path}: no checkpoint of this version ({error}); train anew into another --out") from error
    task.done = progress.step
    return progress


def _checkpoint_header(text: str, path: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself. Raises ModelError."""
    try:
        header = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: its header is no JSON object ({error}); train anew into another --out") from error
    format_of(header, "checkpoint", path)
    return header


def _optimizer_state(tensors: Mapping[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """Return the moments by parameter number and name."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    return state


def _check_moments(state: dict[str, Any], task: "PretrainTask") -> None:
    """Raise ValueError unless every moment fits its weight; torch itself would not look before the first step."""
    optimizer = task.configure_optimizers()
    optimizer.load_state_dict(state)
    for weight, moments in optimizer.state.items():
        if moments.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"moments {sorted(moments)} of a weight")
        wrong = [name for name, value in moments.items() if value.shape != (() if name == "step" else weight.shape)]
        if wrong:
            raise ValueError(
                f"{wrong[0]} of shape {tuple(moments[wrong[0]].shape)} for a weight of {tuple(weight.shape)}"
            )
