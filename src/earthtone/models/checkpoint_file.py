"""Checkpoints of others, as PyTorch or safetensors write them, to plain named tensors; nothing in them is executed."""

import errno
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from earthtone.errors import ModelError
from earthtone.files import regular_file
from earthtone.models.weights import read_safetensors
from earthtone.signal.raster import warnings_as

#: Names under which trainers put the state dict beside optimizer and epoch.
_NESTS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."  # what DataParallel puts before every name


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file or of a state dict that `torch.save` wrote, by their names.

    A state dict nested under `state_dict`, `model_state_dict` or `model` is taken out, prefixes of DataParallel
    are taken off. Pickled objects other than tensors are refused, not run. Raises ModelError.
    """
    try:
        regular_file(path)
    except OSError as error:
        found = "nothing there" if error.errno == errno.ENOENT else error.strerror
        raise ModelError(f"{path}: {found}; a checkpoint file was expected") from error
    values = read_safetensors(path)[0] if path.suffix == ".safetensors" else _unpickled(path)
    for nest in _NESTS:
        if isinstance(values, Mapping) and isinstance(values.get(nest), Mapping):
            values = values[nest]
            break
    if not isinstance(values, Mapping) or not values:
        raise ModelError(f"{path}: holds {type(values).__name__}; a state dict (names and tensors) was expected")
    odd = [str(name) for name, value in values.items() if not isinstance(name, str) or not _is_plain(value)]
    if odd:
        raise ModelError(
            f"{path}: {len(odd)} entries are no tensors, the first is {odd[0]!r:.80}; a state dict was expected"
        )
    while all(name.startswith(_PARALLEL) for name in values):
        values = {name.removeprefix(_PARALLEL): value for name, value in values.items()}
    return dict(values)


def _unpickled(path: Path) -> Any:
    try:
        with warnings_as("ignore", UserWarning):  # of torch's reader about unusual pickles
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error).upper():  # torch names the function or class that it did not call
            raise ModelError(
                f"{path}: holds Python objects, and a pickle can run anything; nothing of it was run. Save the bare "
                "state dict: torch.save(model.state_dict(), FILE)"
            ) from error
        raise ModelError(
            f"{path}: no checkpoint of PyTorch; a file written by torch.save was expected (nothing of it was run)"
        ) from error
    except Exception as error:  # broken archives fail in many ways
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ModelError(f"{path}: cannot be read ({reason}); copy it again if it was cut off") from error


def _is_plain(value: object) -> bool:
    """Return whether a value is a tensor that can be copied into a module's."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return not (value.is_quantized or value.is_complex() or value.is_nested)
