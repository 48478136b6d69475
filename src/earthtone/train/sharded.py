"""Weights, gradients and moments in parts, one a process: torch's FSDP2 under Lightning, on a CPU too.

Whole weights of a block exist while it computes. Source: Zhao et al., "PyTorch FSDP", arXiv 2304.11277.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only

from earthtone.errors import ConfigError
from earthtone.models.two_tower import TwoTower
from earthtone.train.world import World

_SMALLEST = 0.02  # share of an encoder's weights that is worth a transfer of its own


class ShardedStrategy(DDPStrategy):
    """Lightning's processes as for DDP, around a task whose `shard` replaces its weights by this process's part."""

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
    shapes = ((model.config.image_channels, image.pixels, image.pixels), (1, audio.mels, audio.window_frames))
    for tower, shape in zip((model.image_tower, model.audio_tower), shapes, strict=True):
        for block in _blocks(tower.encoder, shape):
            _shard(block, mesh)
        _shard(tower.encoder, mesh)
    _shard(model, mesh)


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Part the weights that no inner module has parted; what comes out is no view.

    FSDP2 gathers weights for the backward pass by a hook on the output, which a view that is changed in place loses.
    """
    module.register_forward_hook(lambda _, __, output: tree_map_only(Tensor, _owned, output))
    fully_shard(module, mesh=mesh, reshard_after_forward=True)


def _owned(output: Tensor) -> Tensor:
    return output.clone() if output._is_view() else output


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


def own_part(value: Tensor) -> Tensor:
    """Return what this process holds of a tensor, in the same memory."""
    part: Tensor = value.to_local() if isinstance(value, DTensor) else value
    return part


def by_part(groups: Iterable[dict[str, Any]], model: TwoTower) -> list[dict[str, Any]]:
    """Return an optimizer's groups, a model's weights apart from others, such as a loss's, which are in no parts.

    Torch's kernels for many tensors at once take one kind or the other.
    """
    in_parts = {id(value) for value in model.parameters()}
    split = []
    for group in groups:
        for parted in (True, False):
            values = [value for value in group["params"] if (id(value) in in_parts) == parted]
            split += [{**group, "params": values}] if values else []
    return split


def part_of_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state dict of whole tensors as the parts that belong to the optimizer's weights."""
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


def clip_in_parts(gradients: list[Tensor], longest: float | None, world: World) -> Tensor:
    """Shorten gradients, changed in place, to a length over all processes, and return the length they had.

    Of a loss's weights, which are in no parts, the mean over processes is taken first: FSDP has averaged the others.
    """
    parts = [own_part(value) for value in gradients if isinstance(value, DTensor)]
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
