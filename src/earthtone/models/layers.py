"""An encoder's weights by depth, for learning rates that decay with it."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from timm.models import group_parameters
from torch import nn

from earthtone.errors import ConfigError


def layer_groups(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """Return all parameters in groups, shallow to deep: stem, blocks, what follows. Raises ConfigError."""
    matcher = getattr(encoder, "group_matcher", None)
    groups = group_parameters(encoder, cast(Any, matcher)(coarse=False), return_values=True) if matcher else {}
    if len(groups) < 2:
        raise ConfigError(
            f"{type(encoder).__name__} does not tell its blocks, so no rate can decay with their depth; "
            "leave layer_decay at 1, or choose another encoder"
        )
    return [list(groups[depth]) for depth in sorted(groups)]


def shares_by_depth(
    groups: Sequence[list[nn.Parameter]], layer_decay: float
) -> list[tuple[Iterable[nn.Parameter], float]]:
    """Return groups, shallow to deep, with their share of the learning rate: layer_decay^(groups above), 1 at the top.

    Source: Clark et al., "ELECTRA", arXiv 2003.10555, appendix A.
    """
    return [(group, layer_decay ** (len(groups) - 1 - depth)) for depth, group in enumerate(groups)]


def parameter_groups(
    layers: Iterable[tuple[Iterable[nn.Parameter], float]], weight_decay: float
) -> list[dict[str, Any]]:
    """Return an optimizer's groups of the parameters that learn, each with its `share` of the learning rate.

    Matrices and kernels decay, biases and norms do not; parameters of one kind and share are in one group, also where
    nothing decays: how many groups there are is part of a checkpoint.
    """
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for layer, share in layers:
        learning = [value for value in layer if value.requires_grad]
        for decays in (True, False):
            values = [value for value in learning if (value.ndim >= 2) == decays]
            if values:
                found.setdefault((share, decays), []).extend(values)
    return [
        {"params": values, "weight_decay": weight_decay if decays else 0.0, "share": share}
        for (share, decays), values in found.items()
    ]
