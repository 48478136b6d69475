"""The weights as one process would have them, for who writes and validates."""

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from earthtone.models.two_tower import TwoTower
from earthtone.train.world import World

if TYPE_CHECKING:
    from earthtone.train.task import PretrainTask


class Whole:
    """Of a task whose weights each process has: there is nothing to gather."""

    def __init__(self, task: "PretrainTask") -> None:
        self._task = task

    def model(self) -> TwoTower:
        """Return the model with all its weights; for the first process."""
        return self._task.model

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of a checkpoint, by name; for the first process."""
        return self._task.tensors()

    def release(self) -> None:
        """Let the others go on; the first process calls it where they `serve`."""

    def serve(self) -> None:
        """Give the first process what it asks for until it is done; for the others."""


class Gathered(Whole):
    """Of a task whose weights are in parts (sharded.py): the first process asks, and all of them gather.

    So only the first one has to know what is due when, such as a checkpoint by its clock.
    """

    _DONE, _MODEL, _ALL = range(3)

    def __init__(self, task: "PretrainTask", world: World) -> None:
        """Call it before the weights are parted; the first process keeps a copy of the model without weights."""
        super().__init__(task)
        self._world = world
        self._empty = _without_weights(task.model) if world.first else None

    def model(self) -> TwoTower:
        """Return a copy with all weights, on the task's device, in the task's mode."""
        weights = self._asked(self._MODEL)
        whole = copy.deepcopy(self._empty)
        assert whole is not None  # noqa: S101 - for the type checker
        whole.load_state_dict(weights, assign=True)
        return whole.to(self._task.device).train(self._task.model.training)

    def tensors(self) -> dict[str, Tensor]:
        """Return them in the first process's memory, not the device's."""
        return self._asked(self._ALL)

    def release(self) -> None:
        """Let the others go on."""
        self._world.largest(self._DONE)

    def serve(self) -> None:
        """Gather whatever is asked for, until the first process is done."""
        while asked := self._world.largest(self._DONE):
            self._gather(asked)

    def _asked(self, what: int) -> dict[str, Tensor]:
        self._world.largest(what)
        return self._gather(what)

    def _gather(self, what: int) -> dict[str, Tensor]:
        """Return whole tensors, one after another, in the first process; nothing in the others."""
        found = self._task.model.state_dict() if what == self._MODEL else self._task.tensors()
        gathered = {}
        for name, value in found.items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if self._world.first:
                gathered[name] = whole.detach().to("cpu", copy=True)
        return gathered


def _without_weights(model: TwoTower) -> TwoTower:
    """Return a copy that has buffers, but parameters without memory."""
    empty = copy.deepcopy(model)
    for module in empty.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(torch.empty_like(value, device="meta"), value.requires_grad)
    return empty
