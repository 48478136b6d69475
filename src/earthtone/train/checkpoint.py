"""Everything a training needs to go on exactly where it was, in one safetensors file; no pickle.

Tensors: weights of model and loss, the optimizer's moments, the state of torch's generator. The header: where the
training is; run_state.py says which training.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from earthtone.errors import ModelError
from earthtone.models.weights import fill, read_safetensors, write_safetensors
from earthtone.train.task import PretrainTask

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a training is: steps done, seconds spent, the best validation so far, batches of twins only."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None
    twins_only: int = 0


def save_checkpoint(folder: Path, task: PretrainTask, progress: Progress) -> None:
    """Write the checkpoint of `task`, whole or not at all."""
    tensors = {**task.whole.tensors(), "torch_rng": torch.get_rng_state()}
    header = {
        "progress": progress.__dict__,
        "groups": task.trainer.optimizers[0].state_dict()["param_groups"],
    }
    write_safetensors(folder / CHECKPOINT_FILE, tensors, {"earthtone_checkpoint": json.dumps(header)})


def load_checkpoint(folder: Path, task: PretrainTask) -> Progress:
    """Fill `task` and torch's generator from the checkpoint in `folder` and return where it was.

    Raises ModelError when the file is broken or not ours.
    """
    path = folder / CHECKPOINT_FILE
    tensors, metadata = read_safetensors(path)
    if "earthtone_checkpoint" not in metadata:
        raise ModelError(f"{path}: no checkpoint of earthtone; train anew without --resume into another --out")
    weights = {name.removeprefix("task."): value for name, value in tensors.items() if name.startswith("task.")}
    for name, value in task.state_dict().items():
        if name.endswith("queue.pairs"):  # queues of earlier versions knew no pairs; a fresh one has nobody's
            weights.setdefault(name, value)
    fill(task, weights, path)
    try:
        header = json.loads(metadata["earthtone_checkpoint"])
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


def _optimizer_state(tensors: Mapping[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """Return the moments by parameter number and name."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    return state


def _check_moments(state: dict[str, Any], task: PretrainTask) -> None:
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
