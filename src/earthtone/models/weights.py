"""Weights in files: safetensors of ours, checkpoints of others as plain tensors; nothing in them is executed."""

import errno
import hashlib
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from earthtone.errors import ModelError
from earthtone.files import atomic_path, regular_file
from earthtone.signal.raster import warnings_as


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and header metadata of a file; nothing in it is executed. Raises ModelError."""
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: a .safetensors file was expected (pickles are not loaded)")
    with _opened(path) as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no iterator there
        return tensors, dict(opened.metadata() or {})


def read_header(path: Path) -> dict[str, str]:
    """Return the header metadata of a safetensors file without its tensors. Raises ModelError."""
    with _opened(path) as opened:
        return dict(opened.metadata() or {})


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            yield opened
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error}); copy it again if it was cut off") from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and header metadata to `path`, whole or not at all. Raises DataError when that cannot be done."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(plain, temporary, metadata=dict(metadata))
        except SafetensorError as error:  # what the system said, such as a full disk
            raise OSError(str(error).removeprefix("Error while serializing: ")) from error


def hash_weights(digest: "hashlib.blake2b", module: nn.Module) -> None:
    """Add names, types, shapes and values of a module's weights to a hash; the same on every device."""
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def fill(module: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Load `weights` into `module`. Raises ModelError unless names and shapes are exactly the module's."""
    check_fit(module, weights, source)
    module.load_state_dict(dict(weights))


def check_fit(module: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Raise ModelError unless names and shapes are exactly the module's, which may be on the device `meta`."""
    expected = module.state_dict()
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    wrong = sorted(key for key in expected.keys() & weights.keys() if expected[key].shape != weights[key].shape)
    if missing or extra or wrong:
        raise ModelError(
            f"{source}: weights of another architecture ({len(missing)} keys missing, {len(extra)} unexpected, "
            f"{len(wrong)} of another shape; first: {(missing + extra + wrong)[0]:.100})"
        )


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
