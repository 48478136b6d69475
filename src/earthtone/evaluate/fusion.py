"""Both towers and a small head on them, trained end to end to name the scene of a pair."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled import LabelledItem
from earthtone.data.ordered import ordered_map
from earthtone.errors import ConfigError, DataError, ModelError
from earthtone.evaluate.audiovisual_splits import Division
from earthtone.evaluate.pictures import decoding_threads, measured_square, shown_square
from earthtone.evaluate.recordings import read_spectrogram
from earthtone.models.two_tower import TwoTower
from earthtone.progress import progress_bar
from earthtone.signal.image import Pixels
from earthtone.signal.mel import Spectrogram, windows
from earthtone.train.augment import random_sound, random_starts, random_view
from earthtone.train.precision import autocast, choose_precision
from earthtone.train.recipe import AugmentConfig

_ROOM = 1.25  # side of a tile before random crops, in sides of the view
_HIDDEN = 256
_DROPOUT = 0.5
_WARMUP = 0.1
_WINDOWS_AT_ONCE = 32  # of a recording, which may be long


@dataclass(frozen=True)
class FusionPlan:
    """How the head and the towers are trained."""

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    """Of the head; the towers learn at a tenth of it."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2 or not 0 < self.learning_rate < 10:
            raise ConfigError(
                f"fusion of {self.epochs} epochs, batches of {self.batch_size}, rate {self.learning_rate}; "
                "at least 1, at least 2 and above 0 expected"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


class FusionNet(nn.Module):
    """Class scores (N, classes) of pixels (N, side, side, C) and windows (N, frames, mels)."""

    def __init__(self, towers: TwoTower, classes: int) -> None:
        super().__init__()
        self.towers = towers
        width = towers.image_tower.features + towers.audio_tower.features
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, _HIDDEN), nn.GELU(), nn.Dropout(_DROPOUT), nn.Linear(_HIDDEN, classes)
        )

    def forward(self, pixels: Tensor, spectrograms: Tensor) -> Tensor:
        """Return the scores."""
        return self.joined(self.seen(pixels), self.heard(spectrograms))

    def seen(self, pixels: Tensor) -> Tensor:
        """Return image features (N, F) of pixels (N, side, side, C)."""
        features: Tensor = self.towers.image_tower.encoder(self.towers.image_input(pixels))
        return features

    def heard(self, spectrograms: Tensor) -> Tensor:
        """Return sound features (N, F) of windows (N, frames, mels)."""
        features: Tensor = self.towers.audio_tower.encoder(self.towers.sound_input(spectrograms))
        return features

    def joined(self, image: Tensor, sound: Tensor) -> Tensor:
        """Return scores (N, classes) of both features."""
        scores: Tensor = self.head(torch.cat([image.float(), sound.float()], dim=1))
        return scores


def fusion_answers(
    model: TwoTower,
    items: Sequence[LabelledItem],
    division: Division,
    plan: FusionPlan,
    *,
    seed: int = 0,
    precision: str = "auto",
) -> list[str]:
    """Return what a trained fusion of both towers says of the test pairs; `model` itself is not changed.

    Random views and windows in training; the epoch that is best on val is kept (the last one without val pairs), and
    the test is looked at once, on whole tiles and the mean of the scores over all windows. Raises ModelError when the
    loss is not finite, DataError when there are fewer than two training pairs.
    """
    train, val = division.fits[0]
    if len(train) < 2:
        raise DataError(f"{len(train)} training pairs; two or more expected")
    labels = sorted({items[row].label for row in train})
    device = model.device
    numbers = choose_precision(precision, device.type)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        progress_bar(plan.epochs * len(train), "fusion", "pair") as bar,
    ):
        torch.manual_seed(seed)
        network = FusionNet(copy.deepcopy(model), len(labels)).to(device)
        optimizer = torch.optim.AdamW(
            [
                {"params": list(network.head.parameters()), "share": 1.0},
                {"params": list(network.towers.parameters()), "share": 0.1},
            ],
            lr=plan.learning_rate,
            weight_decay=0.05,
        )
        best, kept = -1.0, None
        for epoch in range(plan.epochs):
            _train_epoch(network, optimizer, items, train, labels, plan, (seed, epoch), numbers, bar)
            if len(val):
                said = _named(network, items, val, labels, numbers)
                right = float(np.mean([items[row].label == name for row, name in zip(val, said, strict=True)]))
                if right > best:
                    best, kept = right, copy.deepcopy(network.state_dict())
        if kept is not None:
            network.load_state_dict(kept)
        return _named(network, items, division.test, labels, numbers)


def _train_epoch(
    network: FusionNet, optimizer: torch.optim.Optimizer, items: Sequence[LabelledItem], train: NDArray[np.int64],
    labels: Sequence[str], plan: FusionPlan, seed: tuple[int, int], numbers: str, bar: Any,
) -> None:  # fmt: skip
    network.train()
    number = {name: at for at, name in enumerate(labels)}
    epoch = seed[1]
    seen = 0
    for rows, pixels, heard in _batches(network.towers, items, train, plan.batch_size, seed):
        done = (epoch + seen / len(train)) / plan.epochs
        rate = done / _WARMUP if done < _WARMUP else 0.5 * (1 + math.cos(math.pi * (done - _WARMUP) / (1 - _WARMUP)))
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * group["share"] * max(rate, 1e-3)
        device = network.towers.device
        truth = torch.tensor([number[items[row].label] for row in rows], device=device)
        with autocast(numbers, device.type):
            scores = network(torch.from_numpy(pixels).to(device), torch.from_numpy(heard).to(device))
        loss = F.cross_entropy(scores.float(), truth, label_smoothing=0.1)
        if not torch.isfinite(loss):
            raise ModelError(f"the loss is {loss.item()} in epoch {epoch + 1}; lower --fusion_rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        seen += len(rows)
        bar.update(len(rows))


def _batches(
    model: TwoTower, items: Sequence[LabelledItem], train: NDArray[np.int64], size: int, seed: tuple[int, int]
) -> Iterator[tuple[list[int], Pixels, Spectrogram]]:
    """Yield rows, views (N, side, side, C) and windows (N, frames, mels); a last batch of one pair is left out."""
    audio, config = model.signal.audio, AugmentConfig()
    side = model.signal.image.pixels

    def read(row: int) -> tuple[int, Pixels, Spectrogram]:
        item, draw = items[row], np.random.default_rng([*seed, row])
        assert item.image is not None and item.audio is not None  # noqa: S101 - pairs are whole
        room = math.ceil(_ROOM * side)
        square, side_m = measured_square(item.image, room, None, item.image_gsd_m, model.usual_gsd_m)
        view = random_view(square, side, config, draw, side_m)
        whole, _ = read_spectrogram(item.audio, audio)
        (start,) = random_starts(len(whole) - audio.window_frames, 1, draw)
        return row, view, random_sound(whole[start : start + audio.window_frames], audio, config, draw)

    order = np.random.default_rng(seed).permutation(train).tolist()
    waiting: list[tuple[int, Pixels, Spectrogram]] = []
    for place, found in enumerate(ordered_map(read, order, decoding_threads())):
        waiting.append(found)
        if len(waiting) == size or (place + 1 == len(order) and len(waiting) > 1):
            rows, views, heard = zip(*waiting, strict=True)
            yield list(rows), np.stack(views), np.stack(heard)
            waiting = []


@torch.inference_mode()
def _named(
    network: FusionNet, items: Sequence[LabelledItem], rows: NDArray[np.int64], labels: Sequence[str], numbers: str
) -> list[str]:
    """The likeliest class of each pair: its whole tile with each of its windows, the mean of their scores."""
    network.eval()
    model = network.towers
    side, device = model.signal.image.pixels, model.device

    def read(row: int) -> tuple[Pixels, Spectrogram]:
        item = items[row]
        assert item.image is not None and item.audio is not None  # noqa: S101 - pairs are whole
        whole, _ = read_spectrogram(item.audio, model.signal.audio)
        square = measured_square(item.image, side, None, item.image_gsd_m, model.usual_gsd_m)
        return shown_square(square, side), windows(whole, model.signal.audio)

    said = []
    for pixels, heard in ordered_map(read, rows.tolist(), decoding_threads()):
        with autocast(numbers, device.type):
            image = network.seen(torch.from_numpy(pixels[None]).to(device))
            starts = range(0, len(heard), _WINDOWS_AT_ONCE)
            parts = [network.heard(torch.from_numpy(heard[at : at + _WINDOWS_AT_ONCE]).to(device)) for at in starts]
            scores = network.joined(image.expand(len(heard), -1), torch.cat(parts))
        said.append(labels[int(scores.float().mean(0).argmax())])
    return said
