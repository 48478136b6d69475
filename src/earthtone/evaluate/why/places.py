"""The last map of an encoder: what it holds at each place, and how its features come from that."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Any, cast

import torch
from torch import Tensor, nn

from earthtone.errors import ModelError


@dataclass(frozen=True)
class Places:
    """The last map of a batch."""

    maps: Tensor
    """(N, C, h, w)."""
    pool: Callable[[Tensor], Tensor]
    """Such maps to the encoder's features (N, F)."""
    is_mean: bool
    """Whether `pool` is the plain mean over places, so that each place's share in the features is known exactly."""


@torch.no_grad()
def last_places(encoder: nn.Module, inputs: Tensor) -> Places:
    """Return the last map of an encoder in evaluation mode for inputs (N, channels, height, width).

    Convolutional networks: what their pooling sees. Vision transformers: the tokens before the last block, since behind
    it a class token no longer looks at the others. That the features follow from the map is checked on the inputs
    themselves. Raises ModelError for an encoder of another build.
    """
    features: Tensor = encoder(inputs)
    try:
        final: Tensor = cast(Any, encoder).forward_intermediates(inputs)[0]
        found = _of_map(encoder, final, features) if final.ndim == 4 else _of_tokens(encoder, inputs)
        fits = _same(found.pool(found.maps), features)
    except (AttributeError, TypeError, RuntimeError, ValueError, IndexError, AssertionError) as error:
        raise ModelError(
            f"{type(encoder).__name__} has no map of places that its features follow from ({error})"
        ) from error
    if not fits:
        raise ModelError(
            f"the features of {type(encoder).__name__} do not follow from its last map; no map can be drawn"
        )
    return found


def _of_map(encoder: nn.Module, final: Tensor, features: Tensor) -> Places:
    width = features.shape[1]
    channels_last = final.shape[1] != width and final.shape[-1] == width
    maps = final.permute(0, 3, 1, 2) if channels_last else final
    if maps.shape[1] == width and _same(_mean(maps), features):
        return Places(maps, _mean, is_mean=True)
    head = cast(Any, encoder).forward_head
    return Places(maps, lambda m: head(m.permute(0, 2, 3, 1) if channels_last else m), is_mean=False)


def _of_tokens(encoder: Any, inputs: Tensor) -> Places:
    seen: list[Tensor] = []
    last = encoder.blocks[-1]
    hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        encoder(inputs)
    finally:
        hook.remove()
    count = _grid(encoder, inputs)
    prefix = seen[0].shape[1] - count[0] * count[1]
    if prefix < 0:
        raise ValueError(f"{seen[0].shape[1]} tokens for {count[0]} x {count[1]} patches")
    before, patches = seen[0][:, :prefix], seen[0][:, prefix:]
    maps = patches.transpose(1, 2).reshape(len(patches), -1, *count)  # (N, C, h, w)

    def pool(given: Tensor) -> Tensor:
        tokens = torch.cat([before, given.flatten(2).transpose(1, 2)], dim=1)
        pooled: Tensor = encoder.forward_head(encoder.norm(last(tokens)))
        return pooled

    return Places(maps, pool, is_mean=False)


def _grid(encoder: Any, inputs: Tensor) -> tuple[int, int]:
    height, width = encoder.patch_embed.patch_size
    return ceil(inputs.shape[2] / height), ceil(inputs.shape[3] / width)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    return bool((found - expected).abs().max() <= 1e-3 * expected.abs().max().clamp_min(1e-6))
