"""The processes that train together: which of them this is, and what they wait for and agree on."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from earthtone.errors import ConfigError, ProcessError
from earthtone.train.recipe import TrainConfig

_PATIENCE = timedelta(days=14)  # while the first one packs or validates; a process that dies is noticed at once
_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
_REASON = re.compile(r"connection (closed|reset) by peer|broken pipe|timed out[^.]*", re.IGNORECASE)
_LOST = ("gloo", "nccl", "connection", "socket", "broken pipe", "timed out", "store")  # in messages of torch


class World:
    """`rank` of `size` processes; a training on one device is a world of one, which waits for nobody.

    `environment` is Lightning's for the launcher that started the processes: torchrun, SLURM's srun, or Lightning
    itself, which starts the others when the training begins.
    """

    def __init__(self, rank: int = 0, size: int = 1, environment: Any = None) -> None:
        self.rank = rank
        self.size = size
        self.environment = environment
        self._control: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes, validates and reports."""
        return self.rank == 0

    def join(self, device: str) -> None:
        """Meet the others where a launcher has started all; Lightning's own processes meet when the training begins."""
        if self.size == 1 or not _started_by_launcher(self.environment):
            return
        if not distributed.is_initialized():
            os.environ["MASTER_ADDR"] = self.environment.main_address
            os.environ["MASTER_PORT"] = str(self.environment.main_port)
            distributed.init_process_group(_BACKENDS[device], rank=self.rank, world_size=self.size)
        self.connect()

    def connect(self) -> None:
        """Open the line for what processes agree on, apart from gradients; all of them call it, having met."""
        if self.size > 1 and self._control is None:
            self._control = distributed.new_group(backend="gloo", timeout=_PATIENCE)

    def wait(self) -> None:
        """Go on when all processes have come here; those that have not met yet do not wait."""
        self.largest(0)

    def largest(self, value: int) -> int:
        """Return the largest of the processes' values, on all of them; the own one before they have met."""
        if self._control is None:
            return value
        shared = torch.tensor(value)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX, self._control)
        return int(shared)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise ProcessError when another process is lost inside the block."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not any(word in str(error).lower() for word in _LOST):
                raise
            known = _REASON.search(str(error))
            reason = known.group() if known else str(error).strip().splitlines()[0][:120]
            raise ProcessError(
                f"process {self.rank} of {self.size} stops: another process of this training has ended or cannot be "
                f"reached ({reason}); the last checkpoint is whole, go on with --resume"
            ) from error


def find_world(config: TrainConfig) -> World:
    """Return the world that a recipe asks for, and which process this is by its environment.

    Raises ConfigError when a launcher has started another number of processes, or there is none for several nodes.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    size = config.devices * config.nodes
    if TorchElasticEnvironment.detect():
        return _launched(TorchElasticEnvironment(), "torchrun", config)
    if SLURMEnvironment.detect() and (size > 1 or int(os.environ.get("SLURM_PROCID", "0")) > 0):
        return _launched(SLURMEnvironment(auto_requeue=False), "SLURM", config)
    if size == 1:
        return World()
    if config.nodes > 1:
        raise ConfigError(
            f"train.nodes is {config.nodes}, but neither torchrun nor srun started this process (docs/scaling.md)"
        )
    environment = LightningEnvironment()
    return World(environment.local_rank(), size, environment)


def _launched(environment: Any, launcher: str, config: TrainConfig) -> World:
    size, started = config.devices * config.nodes, environment.world_size()
    if started != size:
        raise ConfigError(
            f"{launcher} has started {started} processes, but train.devices x train.nodes is "
            f"{config.devices} x {config.nodes}; type --train.devices and --train.nodes that give {started}"
        )
    return World(environment.global_rank(), size, environment) if size > 1 else World()


def _started_by_launcher(environment: Any) -> bool:
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment

    return environment is not None and not isinstance(environment, LightningEnvironment)
