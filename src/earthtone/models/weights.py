"""Weights to safetensors files and back into modules: every key must fit, or nothing is loaded."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from earthtone.atomic import atomic_path
from earthtone.errors import ModelError
from earthtone.files import regular_file


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return tensors and header metadata of a file; nothing in it is executed. Raises ModelError."""
    if path.suffix != ".safetensors":
        raise ModelError(f"{path}: a .safetensors file was expected (pickles are not loaded)")
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no iterator there
            return tensors, dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as safetensors ({error}); copy it again if it was cut off") from error


def read_header(path: Path) -> dict[str, str]:
    """Return the header metadata of a safetensors file without its tensors. Raises ModelError."""
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            return dict(opened.metadata() or {})
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
