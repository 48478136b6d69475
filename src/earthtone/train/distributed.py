"""Several processes that train together: who they are, gathered embeddings, parameters in parts."""

import copy
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.autograd.function import Function
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from earthtone.device import choose_precision
from earthtone.errors import ConfigError, ProcessError
from earthtone.models.two_tower import TwoTower
from earthtone.train.recipe import Recipe, TrainConfig

if TYPE_CHECKING:
    from earthtone.train.lightning_module import PretrainTask


_PATIENCE = timedelta(days=14)  # while the first one packs or validates; a process that dies is noticed at once
_BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
_REASON = re.compile(r"connection (closed|reset) by peer|broken pipe|timed out[^.]*", re.IGNORECASE)
_SMALLEST = 0.02  # share of an encoder's weights that is worth a transfer of its own
_LOST = ("gloo", "nccl", "connection", "socket", "broken pipe", "timed out", "store")  # in messages of torch


@dataclass(eq=False)
class World:
    """`rank` of `size` processes; a training on one device is a world of one, which never waits.

    `environment` is Lightning's for the launcher that started the processes: torchrun, SLURM's srun, or Lightning
    itself, which starts the others when the training begins.
    """

    rank: int = 0
    size: int = 1
    environment: Any = None
    _control: Any = field(default=None, init=False)

    @property
    def first(self) -> bool:
        """Return whether this is the process that writes, validates and reports."""
        return self.rank == 0

    def join(self, device: str) -> None:
        """Meet the others where a launcher has started all; Lightning's own processes meet when the training begins."""
        if self.environment is None or isinstance(self.environment, LightningEnvironment):
            return
        if not distributed.is_initialized():
            os.environ["MASTER_ADDR"] = self.environment.main_address
            os.environ["MASTER_PORT"] = str(self.environment.main_port)
            distributed.init_process_group(_BACKENDS[device], rank=self.rank, world_size=self.size)
        self.connect()

    def connect(self) -> None:
        """Make the process group for what processes agree on beside gradients; all of them call it, having met."""
        if self.size > 1 and self._control is None:
            self._control = distributed.new_group(backend="gloo", timeout=_PATIENCE)

    def wait(self) -> None:
        """Wait until all processes have come here; those that have not met yet do not wait."""
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
    size = config.processes
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
    size, started = config.processes, environment.world_size()
    if started != size:
        raise ConfigError(
            f"{launcher} has started {started} processes, but train.devices x train.nodes is "
            f"{config.devices} x {config.nodes}; type --train.devices and --train.nodes that give {started}"
        )
    return World(environment.global_rank(), size, environment) if size > 1 else World()


def gather_rows(own: Tensor, world: World) -> Tensor:
    """Return the (N, D) rows of the global batch; `own` (n, D) are rows rank, rank + size, rank + 2 size, ... of it.

    Each process then computes the loss of the whole batch, the same one. Its gradient with respect to the own rows is
    taken times `size`: DDP averages over processes what has to be summed, each having sent through its towers the part
    of the gradient that its rows have. Gradients of the loss's own weights are equal everywhere and their own average.
    """
    if world.size == 1:
        return own
    rows: Tensor = _Gather.apply(own, world.rank, world.size)
    return rows


class _Gather(Function):
    @staticmethod
    def forward(context: Any, own: Tensor, rank: int, size: int) -> Tensor:
        context.rank, context.size = rank, size
        own = own.contiguous()
        parts = [torch.empty_like(own) for _ in range(size)]
        distributed.all_gather(parts, own)
        return torch.stack(parts, dim=1).flatten(0, 1)  # (n, size, D) to (N, D): in the order of the global batch

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][context.rank :: context.size] * context.size, None, None


class ShardedStrategy(DDPStrategy):
    """Lightning's processes as for DDP, around a task whose `shard` replaces its weights by this process's part.

    By hand: Lightning's strategy for FSDP2 refuses CPUs. Whole weights of a block exist only while it computes.
    Source: Zhao et al., "PyTorch FSDP", arXiv 2304.11277.
    """

    def model_to_device(self) -> None:
        """Keep a part, then move it: the whole model never lies on the device."""
        task = cast(Any, self.lightning_module)
        task.shard(init_device_mesh(self.root_device.type, (self.world_size,)))
        super().model_to_device()

    def configure_ddp(self) -> None:
        """Wrap nothing: each block gathers its weights and shares out its gradients by hooks."""

    def teardown(self) -> None:
        """End as DDP does, but leave the parts where they are: they belong to a device."""
        for part in (self.cluster_environment, self.precision_plugin, self.accelerator):
            cast(Any, part).teardown()


def shard_model(model: TwoTower, mesh: DeviceMesh) -> None:
    """Replace each weight of `model` by this process's rows of it, on the mesh's device; only its `forward` computes.

    Raises ConfigError for weights that have no rows.
    """
    for name, value in model.named_parameters():
        if not value.ndim:
            raise ConfigError(f"train.strategy fsdp: {name} is a single number, which has no parts; choose ddp")
        value.data = value.data.contiguous()  # FSDP2 takes no other order in memory
    image, audio = model.signal.image, model.signal.audio
    shapes = {
        "image": (model.config.image_channels, image.pixels, image.pixels),
        "audio": (1, audio.mels, audio.window_frames),
    }
    for name, tower in model.towers.items():
        for block in _blocks(tower.encoder, shapes[name]):
            _shard(block, mesh)
        _shard(tower.encoder, mesh)
    _shard(model, mesh)


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Shard the weights that no inner module has sharded; what comes out is no view.

    FSDP2 gathers weights for the backward pass by a hook on the output, which a view that is changed in place loses.
    """

    def no_view(_: nn.Module, __: Any, output: Any) -> Any:
        return tree_map_only(Tensor, lambda part: part.clone() if part._is_view() else part, output)

    module.register_forward_hook(no_view)
    fully_shard(module, mesh=mesh, reshard_after_forward=True)


def _blocks(encoder: nn.Module, shape: tuple[int, int, int]) -> list[nn.Module]:
    """Return modules, inner ones first, that run once a pass and hold a good share of an encoder's weights."""
    names = [id(value) for _, value in encoder.named_parameters(remove_duplicate=False)]
    if len(set(names)) < len(names):  # weights of two modules must be gathered together
        return []
    chains = [module for module in encoder.modules() if isinstance(module, (nn.Sequential, nn.ModuleList))]
    listed = {part for chain in chains for part in chain}
    runs = _runs(encoder, shape)
    least = _SMALLEST * sum(value.numel() for value in encoder.parameters())
    blocks, taken = [], set[nn.Parameter]()
    for module in reversed(list(encoder.modules())):
        own = [value for value in module.parameters() if value not in taken]
        if module in listed and runs[module] == 1 and sum(value.numel() for value in own) >= least:
            blocks.append(module)
            taken.update(own)
    return blocks


def _runs(encoder: nn.Module, shape: tuple[int, int, int]) -> Counter[nn.Module]:
    """Return how often each module is called in one pass."""
    runs: Counter[nn.Module] = Counter()
    hooks = [module.register_forward_pre_hook(lambda module, _: runs.update([module])) for module in encoder.modules()]
    modes = {module: module.training for module in encoder.modules()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        encoder.eval()(torch.zeros(1, *shape))
    for module, training in modes.items():
        module.training = training
    for hook in hooks:
        hook.remove()
    return runs


def local_part(value: Tensor) -> Tensor:
    """Return what this process holds of a tensor, in the same memory."""
    part: Tensor = value.to_local() if isinstance(value, DTensor) else value
    return part


def split_sharded(groups: Iterable[dict[str, Any]], model: TwoTower) -> list[dict[str, Any]]:
    """Return an optimizer's groups, a model's weights apart from others, such as a loss's, which are not sharded.

    Torch's kernels for many tensors at once take one kind or the other.
    """
    in_parts = {id(value) for value in model.parameters()}
    split = []
    for group in groups:
        for parted in (True, False):
            values = [value for value in group["params"] if (id(value) in in_parts) == parted]
            split += [{**group, "params": values}] if values else []
    return split


def shard_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state dict of full tensors as the shards that belong to the optimizer's weights."""
    weights = [value for group in optimizer.param_groups for value in group["params"]]

    def part(weight: Tensor, value: Tensor) -> Tensor:
        if not isinstance(weight, DTensor) or value.shape != weight.shape:
            return value
        mesh, placements = weight.device_mesh, weight.placements
        return distribute_tensor(value.to(weight.device), mesh, placements, src_data_rank=None)

    parts = {
        index: {name: part(weights[index], value) for name, value in moments.items()}
        for index, moments in state["state"].items()
    }
    return {**state, "state": parts}


def clip_sharded(gradients: list[Tensor], longest: float | None, world: World) -> Tensor:
    """Shorten gradients, changed in place, to a length over all processes, and return the length they had.

    Of a loss's weights, which are not sharded, the mean over processes is taken first: FSDP has averaged the others.
    """
    parts = [local_part(value) for value in gradients if isinstance(value, DTensor)]
    whole = [value for value in gradients if not isinstance(value, DTensor)]
    for value in whole:
        distributed.all_reduce(value)
        value.div_(world.size)
    own = torch.nn.utils.get_total_norm(parts).to(gradients[0].device)
    lengths = [torch.empty_like(own) for _ in range(world.size)]
    distributed.all_gather(lengths, own)
    if whole:
        lengths.append(torch.nn.utils.get_total_norm(whole))
    length: Tensor = torch.linalg.vector_norm(torch.stack(lengths))
    if longest is not None:
        factor = torch.clamp(longest / (length + 1e-6), max=1.0)  # as clip_grad_norm_ has it
        torch._foreach_mul_([*parts, *whole], factor)
    return length


class FullWeights:
    """The weights as one process would have them, for validation and files; here each process has them all."""

    def __init__(self, task: "PretrainTask") -> None:
        self._task = task

    def model(self) -> TwoTower:
        """Return the model with all its weights; for the first process."""
        return self._task.model

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of a checkpoint, by name; for the first process."""
        return self._task.tensors()

    def release(self) -> None:
        """End the other processes' `serve`; for the first process."""

    def serve(self) -> None:
        """Gather what the first process asks for, until it is done; for the others."""


class ShardedWeights(FullWeights):
    """The full weights of a task that holds a part in each process: the first process asks, and all of them gather.

    So only the first one has to know what is due when, such as a checkpoint by its clock.
    """

    _DONE, _MODEL, _ALL = range(3)

    def __init__(self, task: "PretrainTask", world: World) -> None:
        """Call it before the weights are sharded; the first process keeps a copy of the model without weights."""
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
        """End the other processes' `serve`."""
        self._world.largest(self._DONE)

    def serve(self) -> None:
        """Gather what the first process asks for, until it is done."""
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
    empty = {id(value): nn.Parameter(value.to("meta"), value.requires_grad) for value in model.parameters()}
    return copy.deepcopy(model, empty)


def make_trainer(
    recipe: Recipe, device: str, world: World, callbacks: Sequence[Callback], loggers: Sequence[Logger]
) -> Trainer:
    """Return Lightning's trainer, with DDP or FSDP for several processes; `callbacks` are called in this order."""
    several: dict[str, Any] = {"devices": 1}
    if world.size > 1:
        strategy = ShardedStrategy if recipe.train.strategy == "fsdp" else DDPStrategy
        several = {
            "devices": recipe.train.devices,
            "num_nodes": recipe.train.nodes,
            # buffers are not sent round: a queue is the same everywhere, running statistics are the first process's
            "strategy": strategy(cluster_environment=world.environment, broadcast_buffers=False),
        }
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    return Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        precision=choose_precision(recipe.train.precision, device),  # type: ignore[arg-type]
        max_epochs=1,  # the loader holds all epochs in a row: steps are the only clock
        gradient_clip_val=recipe.train.clip_norm,
        logger=list(loggers) or False,
        callbacks=list(callbacks),
        enable_progress_bar=False,  # our callback has one that knows where a resume started
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **several,
    )
