"""Training of a segmenter: two protocols, one loop."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import cos, pi

import torch
from torch import nn

from earthtone.data.datasets.masks import IGNORED
from earthtone.errors import DataError
from earthtone.evaluate.segment.network import Segmenter
from earthtone.evaluate.segment.patches import ReadTile, epoch_of_patches
from earthtone.progress import progress_bar

_WARMUP = 0.05


@dataclass(frozen=True)
class SegmentProtocol:
    """How a segmenter is trained and chosen."""

    name: str
    epochs: int
    batch_size: int
    patch_pixels: int
    stride_pixels: int | None
    """Of patches on a grid; None: random places, turned and mirrored."""
    learning_rate: float
    adamw: bool
    backbone_rate: float
    """The backbone's learning rate as a share of the head's."""
    choose: bool
    """Keep the epoch that is best on the validation tiles."""

    def sentence(self) -> str:
        """Return what is trained how, with the numbers in force."""
        places = (
            "at random places, turned and mirrored"
            if self.stride_pixels is None
            else f"at stride {self.stride_pixels}, no augmentation"
        )
        rate = f"{'AdamW' if self.adamw else 'Adam'} {self.learning_rate:g}"
        schedule = ", warm-up and cosine" if self.adamw else ""
        kept = "the best on val kept" if self.choose else "the last weights"
        return (
            f"{self.name}: patches of {self.patch_pixels} px {places}, batches of {self.batch_size}, "
            f"{rate}{schedule}, {self.epochs} epochs, {kept}; test once"
        )


PROTOCOLS = {
    "modern": SegmentProtocol(
        name="modern", epochs=20, batch_size=16, patch_pixels=256, stride_pixels=None, learning_rate=1e-3, adamw=True,
        backbone_rate=0.3, choose=True,
    ),
    "soundingearth": SegmentProtocol(
        name="soundingearth (the release's)", epochs=5, batch_size=16, patch_pixels=512, stride_pixels=347,
        learning_rate=1e-3, adamw=False, backbone_rate=1.0, choose=False,
    ),
}  # fmt: skip


def train_segmenter(
    model: Segmenter,
    items: Sequence[int],
    read: ReadTile,
    protocol: SegmentProtocol,
    *,
    seed: int,
    precision: torch.dtype,
    score: Callable[[], float] | None = None,
    label: str = "segment",
) -> int:
    """Train `model` in place and return the number of the epoch whose weights it has, from 1.

    `score` measures it on the validation tiles after each epoch; the best epoch is kept. Raises DataError when
    the loss is no number, or when there is nothing to learn from.
    """
    device = next(model.parameters()).device
    optimizer = _optimizer(model, protocol)
    best, best_epoch, kept = -1.0, protocol.epochs, None
    bar = progress_bar(protocol.epochs * len(items), label, "tile")
    for epoch in range(protocol.epochs):
        model.train()
        batches = epoch_of_patches(
            items, read, side=protocol.patch_pixels, batch=protocol.batch_size, stride=protocol.stride_pixels,
            seed=(seed, epoch),
        )  # fmt: skip
        seen = 0
        for seen, batch in enumerate(batches, 1):
            # the number of batches is known only at the epoch's end, the schedule goes by epochs and what is seen
            rate = _rate(epoch + min(1.0, seen * protocol.batch_size / max(1, len(items))), protocol)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                scores = model(batch.image.to(device))
            loss = _cross_entropy(scores, batch.mask.to(device))
            if not torch.isfinite(loss):
                raise DataError(f"loss is {loss.item()} in epoch {epoch + 1}; lower --learning_rate")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            bar.set_postfix({"loss": f"{loss.item():.3f}"}, refresh=False)
        if not seen:
            raise DataError(f"{len(items)} training tiles give no batch of two patches; add tiles")
        bar.update(len(items))
        if score is not None and protocol.choose and (reached := score()) > best:
            best, best_epoch, kept = reached, epoch + 1, deepcopy(model.state_dict())
    bar.close()
    if kept is not None:
        model.load_state_dict(kept)
    return best_epoch


def _cross_entropy(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the known pixels; 0 with a gradient of 0 where a batch has none."""
    total = nn.functional.cross_entropy(scores, mask, ignore_index=IGNORED, reduction="sum")
    return total / (mask != IGNORED).sum().clamp_min(1)


def _optimizer(model: Segmenter, protocol: SegmentProtocol) -> torch.optim.Optimizer:
    groups: list[dict[str, object]] = [{"params": list(model.head.parameters()), "share": 1.0}]
    if not model.frozen:
        groups.append({"params": list(model.backbone.parameters()), "share": protocol.backbone_rate})
    kind = torch.optim.AdamW if protocol.adamw else torch.optim.Adam
    return kind(groups, lr=protocol.learning_rate)


def _rate(epochs: float, protocol: SegmentProtocol) -> float:
    """The learning rate after so many epochs: constant for Adam, warm-up and half a cosine for AdamW."""
    if not protocol.adamw:
        return protocol.learning_rate
    done = epochs / protocol.epochs
    if done < _WARMUP:
        return protocol.learning_rate * done / _WARMUP
    return protocol.learning_rate * 0.5 * (1 + cos(pi * (done - _WARMUP) / (1 - _WARMUP)))
