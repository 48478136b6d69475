"""What each of several runs at a time gets of a machine: threads, and a device."""

import os
from collections.abc import Sequence

import torch

from earthtone.errors import ConfigError
from earthtone.train.precision import choose_device
from earthtone.train.recipe import Recipe

_THREADS, _DEVICES = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"


def shares(jobs: int, recipes: Sequence[Recipe]) -> list[dict[str, str]]:
    """Return the environment variables of each of `jobs` places; nothing for a single one, which has the machine.

    Threads are divided, unless OMP_NUM_THREADS says how many; CUDA devices are dealt out in turn. Raises ConfigError
    where runs that take several devices each would run at once.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; 1 or more expected")
    if jobs == 1:
        return [{}]
    if most := max((recipe.train.devices for recipe in recipes), default=1) - 1:
        raise ConfigError(f"jobs is {jobs}, but runs with train.devices {most + 1} go one at a time; leave --jobs out")
    threads = {} if _THREADS in os.environ else {_THREADS: str(max(1, torch.get_num_threads() // jobs))}
    if not any(choose_device(recipe.train.device) == "cuda" for recipe in recipes):
        return [dict(threads) for _ in range(jobs)]
    named = [name for name in os.environ.get(_DEVICES, "").split(",") if name.strip()]
    devices = named or [str(number) for number in range(torch.cuda.device_count())]
    return [{**threads, _DEVICES: devices[place % len(devices)]} for place in range(jobs)]
