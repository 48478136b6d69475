"""Train a backbone with a linear head, choose an epoch on val, name the test images once."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled import LabelledItem
from earthtone.data.ordered import ordered_map
from earthtone.errors import DataError, ModelError
from earthtone.evaluate.finetune_plan import FinetunePlan
from earthtone.evaluate.pictures import Bands, decoding_threads, picture_batches, read_square_of, shown_square
from earthtone.models.backbone import Backbone
from earthtone.models.layers import parameter_groups, shares_by_depth
from earthtone.signal.config import ValueRange
from earthtone.signal.image import Pixels
from earthtone.train.augment import random_view
from earthtone.train.precision import autocast, choose_precision
from earthtone.train.recipe import AugmentConfig

_ROOM = 1.25  # side of a tile before random crops, in sides of the view
Tick = Callable[[int], object]


@dataclass(frozen=True)
class TrainingData:
    """The items of one fine-tuning and how they are read."""

    train: Sequence[LabelledItem]
    val: Sequence[LabelledItem]
    test: Sequence[LabelledItem]
    classes: Sequence[str]
    """Of train, sorted."""
    bands: Bands | None = None
    broken: MutableMapping[str, str] = field(default_factory=dict)
    """Gets, by id, why an image cannot be read."""
    value_range: ValueRange | None = None
    """Values of more than 8 bits that become black and white."""


@dataclass(frozen=True)
class Finetuned:
    """What one seed gave."""

    ids: tuple[str, ...]
    """The test items that could be read."""
    predicted: tuple[str, ...]
    epoch: int
    """Whose weights were tested, from 1."""
    val_accuracy: tuple[float, ...]
    """After each epoch; empty where no epoch was chosen."""


class Classifier(nn.Module):
    """A backbone and a linear head on its pooled features."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.features, classes).to(backbone.device)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, classes) of prepared inputs (N, 3, side, side)."""
        logits: Tensor = self.head(self.backbone.pooled(inputs))
        return logits


def finetune(
    backbone: Backbone,
    data: TrainingData,
    plan: FinetunePlan,
    *,
    seed: int = 0,
    precision: str = "auto",
    tick: Tick = lambda _: None,
) -> Finetuned:
    """Train `backbone` itself by the plan and return what it says of the test items.

    The seed decides the head, the order and the views. `tick` is told of images done. Raises ModelError when the loss
    is not finite, DataError when no training image can be read.
    """
    device = backbone.device
    numbers = choose_precision(precision, device.type)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = Classifier(backbone, len(data.classes)).to(memory_format=torch.channels_last)
        optimizer = _optimizer(model, plan)
        best: tuple[float, float] = (-1.0, 0.0)
        kept, epoch_kept, accuracies = None, plan.epochs, []
        choose = plan.choose_epoch and len(data.val) > 0
        for epoch in range(plan.epochs):
            _train_epoch(model, optimizer, data, plan, seed, epoch, numbers, tick)
            if choose:
                accuracy, loss = _validated(model, data, plan, numbers, tick)
                accuracies.append(accuracy)
                if (accuracy, -loss) > best:
                    best, kept, epoch_kept = (accuracy, -loss), copy.deepcopy(model.state_dict()), epoch + 1
        if kept is not None:
            model.load_state_dict(kept)
        ids, logits = _logits(model, data.test, data, plan.batch_size, numbers, tick)
    names = np.asarray(data.classes, np.str_)
    return Finetuned(ids, tuple(names[logits.argmax(axis=1)].tolist()), epoch_kept, tuple(accuracies))


def learning_rate_share(done: float, plan: FinetunePlan) -> float:
    """Return the factor of the learning rate after a share `done` of the training."""
    if plan.warmup_share == 0:
        return 1.0
    if done < plan.warmup_share:
        return done / plan.warmup_share
    return 0.5 * (1 + math.cos(math.pi * (done - plan.warmup_share) / (1 - plan.warmup_share)))


def _optimizer(model: Classifier, plan: FinetunePlan) -> torch.optim.Optimizer:
    """Groups of parameters with their own `share` of the learning rate: less, the shallower."""
    layers = shares_by_depth(model.backbone.layer_groups(), plan.layer_decay)
    head = (model.head.parameters(), 1.0)  # it learns as fast as the deepest layers
    groups = parameter_groups([*layers, head], plan.weight_decay)
    kind = torch.optim.AdamW if plan.weight_decay else torch.optim.Adam
    return kind(groups, lr=plan.learning_rate)


def _train_epoch(
    model: Classifier, optimizer: torch.optim.Optimizer, data: TrainingData, plan: FinetunePlan, seed: int, epoch: int,
    numbers: str, tick: Tick,
) -> None:  # fmt: skip
    model.train()
    device, total = model.backbone.device, plan.epochs * len(data.train)
    seen = epoch * len(data.train)
    steps = 0
    for views, truth, count in _views(data, plan, model.backbone.pixels, seed, epoch, model.backbone.usual_gsd_m):
        seen += count
        rate = plan.learning_rate * learning_rate_share(min(1.0, (seen - count / 2) / total), plan)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
        with autocast(numbers, device.type):
            logits = model(model.backbone.prepare(torch.from_numpy(views)))
        loss = F.cross_entropy(logits.float(), torch.from_numpy(truth).to(device), label_smoothing=plan.label_smoothing)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(f"the loss is {value} in epoch {epoch + 1}; lower --learning_rate {plan.learning_rate:g}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if plan.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        steps += 1
        tick(count)
    if not steps:
        raise DataError(f"fewer than two of {len(data.train)} training images can be read; {_first(data.broken)}")


def _views(
    data: TrainingData, plan: FinetunePlan, side: int, seed: int, epoch: int, usual_gsd_m: float | None = None
) -> Iterator[tuple[Pixels, NDArray[np.int64], int]]:
    """Yield batches of views (N, side, side, C), their classes, and of how many items they are; in a seeded order.

    A last batch of one image is left out: batch normalisation has no variance there.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(data.train)).tolist()
    number = {name: at for at, name in enumerate(data.classes)}
    config = AugmentConfig()
    room = math.ceil(_ROOM * side) if plan.augment else side

    def view(row: int) -> Pixels | str:
        square = read_square_of(data.train[row], room, data.bands, usual_gsd_m, data.value_range)
        if isinstance(square, str):
            return square
        if not plan.augment:
            return shown_square(square, side)
        return random_view(square[0], side, config, np.random.default_rng([seed, epoch, row]), square[1])

    views: list[Pixels] = []
    truth: list[int] = []
    count = 0
    for place, (row, found) in enumerate(zip(order, ordered_map(view, order, decoding_threads()), strict=True)):
        item = data.train[row]
        count += 1
        if isinstance(found, str):
            data.broken[item.id] = found
        else:
            views.append(found)
            truth.append(number[item.label])
        if len(views) == plan.batch_size or (place + 1 == len(order) and len(views) > 1):
            yield np.stack(views), np.array(truth, np.int64), count
            views, truth, count = [], [], 0


def _validated(
    model: Classifier, data: TrainingData, plan: FinetunePlan, numbers: str, tick: Tick
) -> tuple[float, float]:
    """Accuracy and loss on val; a label that train lacks is wrong and has no loss."""
    ids, logits = _logits(model, data.val, data, plan.batch_size, numbers, tick)
    label = {item.id: item.label for item in data.val}
    number = {name: at for at, name in enumerate(data.classes)}
    truth = np.array([number.get(label[name], -1) for name in ids], np.int64)
    if not len(truth):
        raise DataError(f"none of {len(data.val)} val images can be read; {_first(data.broken)}")
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth), ignore_index=-1)
    return float((logits.argmax(axis=1) == truth).mean()), float(loss)


@torch.inference_mode()
def _logits(
    model: Classifier, items: Sequence[LabelledItem], data: TrainingData, batch: int, numbers: str, tick: Tick
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Ids of the items that can be read, and their logits."""
    model.eval()
    backbone = model.backbone
    ids: list[str] = []
    parts = [np.zeros((0, len(data.classes)), np.float32)]
    for found in picture_batches(
        items, backbone.pixels, batch, data.broken, data.bands, usual_gsd_m=backbone.usual_gsd_m,
        value_range=data.value_range,
    ):  # fmt: skip
        if len(found.good):
            with autocast(numbers, backbone.device.type):
                logits = model(backbone.prepare(torch.from_numpy(found.pixels)))
            parts.append(logits[: len(found.good)].float().cpu().numpy())
            ids += [items[found.start + int(at)].id for at in found.good]
        tick(found.count)
    return tuple(ids), np.concatenate(parts)


def _first(broken: Mapping[str, str]) -> str:
    return next((f"{name}: {reason}" for name, reason in broken.items()), "add training images")
