"""Which numbers to compute with on which device."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch

from earthtone.errors import ConfigError


@cache
def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 matrices itself (AVX512-BF16 or AMX); emulation would be slower."""
    try:
        features = torch.cpu.get_capabilities()  # torch >= 2.10
        return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))
    except AttributeError:
        checks = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
        return any(check is not None and check() for check in checks)


def choose_device(name: str | torch.device) -> str:
    """Return `cpu`, `cuda` or `mps` for `auto`, any other name as it is, such as `cuda:1`.

    Raises ConfigError for one that is not there.
    """
    name = str(name)
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if there[device])
    if not there.get(name.partition(":")[0], False):
        have = ", ".join(device for device, yes in there.items() if yes)
        raise ConfigError(f"device is {name!r}; this machine has {have}")
    return name


def choose_precision(name: str, device: str) -> str:
    """Return Lightning's precision for a recipe's `train.precision`: `bf16-mixed` or `32-true`."""
    if name == "bf16":
        return "bf16-mixed"
    if name == "32":
        return "32-true"
    if device == "cpu":
        return "bf16-mixed" if cpu_has_bfloat16() else "32-true"
    return "bf16-mixed" if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """Return the context of a forward pass outside Lightning, for what `choose_precision` returned."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16-mixed" else nullcontext()
