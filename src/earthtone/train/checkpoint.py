"""Everything a training needs to go on exactly where it was, in one safetensors file; no pickle.

Tensors: weights of model and loss, the optimizer's moments, the state of torch's generator. The header: the step, the
recipe, the data's fingerprint and what callbacks remember.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from earthtone.errors import ConfigError, ModelError
from earthtone.models.weights import read_safetensors, write_safetensors
from earthtone.train.task import PretrainTask

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a training is: steps done, seconds spent, the best validation so far."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int | None = None


def save_checkpoint(folder: Path, task: PretrainTask, progress: Progress, identity: Mapping[str, Any]) -> None:
    """Write the checkpoint of `task`, whole or not at all; `identity` is what a resume must agree with."""
    optimizer = task.trainer.optimizers[0].state_dict()
    tensors = {f"task.{name}": value for name, value in task.state_dict().items()}
    for index, state in optimizer["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors["torch_rng"] = torch.get_rng_state()
    header = {
        "progress": progress.__dict__,
        "identity": dict(identity),
        "groups": optimizer["param_groups"],
    }
    write_safetensors(folder / CHECKPOINT_FILE, tensors, {"earthtone_checkpoint": json.dumps(header)})


def load_checkpoint(folder: Path, task: PretrainTask, identity: Mapping[str, Any]) -> Progress:
    """Fill `task` and torch's generator from the checkpoint in `folder` and return where it was.

    Raises ConfigError when recipe or data are not those of the checkpoint, ModelError when the file is broken.
    """
    path = folder / CHECKPOINT_FILE
    tensors, metadata = read_safetensors(path)
    if "earthtone_checkpoint" not in metadata:
        raise ModelError(f"{path}: no checkpoint of earthtone; train anew without --resume into another --out")
    header = json.loads(metadata["earthtone_checkpoint"])
    _refuse_changes(path, header["identity"], identity)
    weights = {name.removeprefix("task."): value for name, value in tensors.items() if name.startswith("task.")}
    task.load_state_dict(weights)
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    task.optimizer_state = {"state": state, "param_groups": header["groups"]}
    torch.set_rng_state(tensors["torch_rng"])
    progress = Progress(**header["progress"])
    task.done = progress.step
    return progress


def _refuse_changes(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in now if before.get(key) != now.get(key)]
    if changed:
        raise ConfigError(
            f"{path}: --resume with something else than it was trained with ({'; '.join(changed)}); "
            "undo the change, or start anew with another --out"
        )
