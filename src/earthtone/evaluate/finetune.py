"""Fine-tuning: a whole network with a linear head on labelled images, over several seeds."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled.items import LabelledItem
from earthtone.device import autocast, choose_device, choose_precision
from earthtone.encode.engine import read_items, shown_square, square_of_item, warn_of_files
from earthtone.encode.store import data_fingerprint
from earthtone.errors import ConfigError, DataError, ModelError, changes
from earthtone.evaluate.classifiers import even_odd, open_labelled_set, split_items, warn_of_unknown
from earthtone.evaluate.overlap import item_facts
from earthtone.evaluate.results import (
    TaskResult,
    accuracy_by_class,
    classification_figures,
    deviation,
    right_shares,
    write_task_result,
)
from earthtone.files import FORMATS, format_of, write_text_atomic
from earthtone.models.backbone import Backbone, open_backbone
from earthtone.models.batches import rows_by_item
from earthtone.models.encoders import parameter_groups, shares_by_depth
from earthtone.options import FinetuneOptions
from earthtone.progress import decoding_threads, progress_bar
from earthtone.signal.config import ValueRange, plain_range
from earthtone.signal.image import Pixels
from earthtone.signal.raster import Bands
from earthtone.train.augment import random_view
from earthtone.train.recipe import AugmentConfig
from earthtone.value_types import takes


@dataclass(frozen=True)
class FinetunePlan:
    """One way of training a backbone with a linear head."""

    protocol: str = "modern"
    """`modern`, or `soundingearth` for that of the release."""
    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 32
    learning_rate: float = 5e-4
    """Of the head and the deepest layers, at its highest."""
    weight_decay: float = 0.05
    """Decoupled (AdamW), of matrices and kernels alone; 0: plain Adam."""
    layer_decay: float = 0.9
    """Each group of layers learns at this share of the rate of the next deeper one."""
    warmup_share: float = 0.1
    """Share of the training with a rising rate; a cosine to zero follows. 0: a constant rate."""
    label_smoothing: float = 0.1
    augment: bool = True
    """Random crops, rotations, mirrors and colours (`AugmentConfig`)."""
    choose_epoch: bool = True
    """Keep the weights of the epoch that was best on val; otherwise the last."""
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ConfigError(f"--batch_size {self.batch_size}; 2 or more expected")
        if not 0 < self.learning_rate < 10:
            raise ConfigError(f"--learning_rate {self.learning_rate}; above 0 expected, such as 5e-4")


#: Adam, layer-wise decay (Clark et al., arXiv 2003.10555), warm-up and cosine (arXiv 1608.03983), label smoothing
#: (arXiv 1512.00567); and the release's (Heidler et al., arXiv 2108.00688), on sorted files, even train, odd test.
FINETUNE_PLANS: Mapping[str, FinetunePlan] = {
    "modern": FinetunePlan(),
    "soundingearth": FinetunePlan(
        protocol="soundingearth", epochs=5, batch_size=48, learning_rate=1e-3, weight_decay=0.0, layer_decay=1.0,
        warmup_share=0.0, label_smoothing=0.0, augment=False, choose_epoch=False, clip_norm=None,
    ),
}  # fmt: skip
RELEASE_BATCH_SIZES: Mapping[str, int] = {"aid": 8}
"""Where the release's batch size is not 48 (UC Merced, RESISC45): its 600 px images."""


def finetune_plan(options: FinetuneOptions, dataset: str) -> FinetunePlan:
    """Return the plan of a protocol with what the options change. Raises ConfigError for numbers that make no sense."""
    plan = FINETUNE_PLANS[options.protocol]
    if options.protocol == "soundingearth":
        plan = replace(plan, batch_size=RELEASE_BATCH_SIZES.get(dataset, plan.batch_size))
    asked = {name: getattr(options, name) for name in ("epochs", "batch_size", "learning_rate")}
    return replace(plan, **{name: value for name, value in asked.items() if value is not None})


ROOM = 1.25  # side of a tile before random crops, in sides of the view
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

    @property
    def parts(self) -> dict[str, Sequence[LabelledItem]]:
        """Return the items by split."""
        return {"train": self.train, "val": self.val, "test": self.test}


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
    """Train `backbone` itself by the plan and return the classes that it gives the test items.

    The seed decides the head, the order and the views. `tick` is called with the number of images done. Raises
    ModelError when the loss is not finite, DataError when no training image can be read.
    """
    device = backbone.device
    numbers = choose_precision(precision, device.type)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = Classifier(backbone, len(data.classes)).to(memory_format=torch.channels_last)
        optimizer = finetune_optimizer(model, plan)
        accuracies: list[float] = []

        def score() -> tuple[float, float]:
            accuracy, loss = validation_scores(model, data, plan, numbers, tick)
            accuracies.append(accuracy)
            return accuracy, -loss

        epoch = keep_best(
            model, plan.epochs, lambda epoch: train_epoch(model, optimizer, data, plan, seed, epoch, numbers, tick),
            score if plan.choose_epoch and data.val else None,
        )  # fmt: skip
        ids, logits = logits_of(model, data.test, data, plan.batch_size, numbers, tick)
    names = np.asarray(data.classes, np.str_)
    return Finetuned(ids, tuple(names[logits.argmax(axis=1)].tolist()), epoch, tuple(accuracies))


def keep_best(
    model: nn.Module, epochs: int, train: Callable[[int], None], score: Callable[[], tuple[float, ...]] | None
) -> int:
    """Train epoch after epoch, give the model the weights of the one that scored best and return its number, from 1.

    Without `score`, and where no score is a number, the last epoch is kept; of equally good ones the first.
    """
    best: tuple[float, ...] = (-math.inf,)
    kept, number = None, epochs
    for epoch in range(epochs):
        train(epoch)
        if score is not None and (reached := score()) > best:
            best, kept, number = reached, copy.deepcopy(model.state_dict()), epoch + 1
    if kept is not None:
        model.load_state_dict(kept)
    return number


def warmup_cosine(done: float, warmup: float, peak: float = 1.0) -> float:
    """Return the learning rate after a share `done` of a training: a rise to `peak`, then half a cosine to zero."""
    if done < warmup:
        return peak * done / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


def take_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, where: str,
    *, clip_norm: float | None = None,
) -> None:  # fmt: skip
    """Take one step; each group of parameters learns at its own `share` of the rate.

    `where` names the epoch and what to type when the loss is not finite, for which ModelError is raised.
    """
    if not torch.isfinite(loss):
        raise ModelError(f"the loss is {loss.item()} in {where}")
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()


def finetune_optimizer(model: Classifier, plan: FinetunePlan) -> torch.optim.Optimizer:
    """Return an optimizer whose groups of parameters learn at their own `share` of the rate: less, the shallower."""
    layers = shares_by_depth(model.backbone.layer_groups(), plan.layer_decay)
    head = (model.head.parameters(), 1.0)  # it learns as fast as the deepest layers
    groups = parameter_groups([*layers, head], plan.weight_decay)
    kind = torch.optim.AdamW if plan.weight_decay else torch.optim.Adam
    return kind(groups, lr=plan.learning_rate)


def train_epoch(
    model: Classifier, optimizer: torch.optim.Optimizer, data: TrainingData, plan: FinetunePlan, seed: int, epoch: int,
    numbers: str, tick: Tick,
) -> None:  # fmt: skip
    model.train()
    device, total = model.backbone.device, plan.epochs * len(data.train)
    seen = epoch * len(data.train)
    steps = 0
    for views, truth, count in training_views(
        data, plan, model.backbone.pixels, seed, epoch, model.backbone.usual_gsd_m
    ):
        seen += count
        done = min(1.0, (seen - count / 2) / total)
        rate = plan.learning_rate * (warmup_cosine(done, plan.warmup_share) if plan.warmup_share else 1.0)
        with autocast(numbers, device.type):
            logits = model(model.backbone.prepare(torch.from_numpy(views)))
        loss = F.cross_entropy(logits.float(), torch.from_numpy(truth).to(device), label_smoothing=plan.label_smoothing)
        where = f"epoch {epoch + 1}; lower --learning_rate {plan.learning_rate:g}"
        take_step(model, optimizer, loss, rate, where, clip_norm=plan.clip_norm)
        steps += 1
        tick(count)
    if not steps:
        raise DataError(f"fewer than two of {len(data.train)} training images can be read; {_first(data.broken)}")


def training_views(
    data: TrainingData, plan: FinetunePlan, side: int, seed: int, epoch: int, usual_gsd_m: float | None = None
) -> Iterator[tuple[Pixels, NDArray[np.int64], int]]:
    """Yield batches of views (N, side, side, C), their classes, and of how many items they are; in a seeded order.

    A last batch of one image is left out: batch normalisation has no variance there.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(data.train))
    items = [data.train[row] for row in order]
    number = {name: at for at, name in enumerate(data.classes)}
    at = {item.id: row for row, item in enumerate(data.train)}
    config = AugmentConfig()
    room = math.ceil(ROOM * side) if plan.augment else side

    def view(item: LabelledItem) -> Pixels:
        square = square_of_item(item, room, data.bands, usual_gsd_m, data.value_range)
        if not plan.augment:
            return shown_square(square, side)
        return random_view(square[0], side, config, np.random.default_rng([seed, epoch, at[item.id]]), square[1])

    views: list[Pixels] = []
    truth: list[int] = []
    count = 0
    found = read_items(items, view, data.broken, decoding_threads())
    for place, (item, pixels) in enumerate(zip(items, found, strict=True), 1):
        count += 1
        if pixels is not None:
            views.append(pixels)
            truth.append(number[item.label])
        if len(views) == plan.batch_size or (place == len(items) and len(views) > 1):
            yield np.stack(views), np.array(truth, np.int64), count
            views, truth, count = [], [], 0


def validation_scores(
    model: Classifier, data: TrainingData, plan: FinetunePlan, numbers: str, tick: Tick
) -> tuple[float, float]:
    """Return accuracy and loss on val; a label that train lacks is wrong and has no loss."""
    ids, logits = logits_of(model, data.val, data, plan.batch_size, numbers, tick)
    label = {item.id: item.label for item in data.val}
    number = {name: at for at, name in enumerate(data.classes)}
    truth = np.array([number.get(label[name], -1) for name in ids], np.int64)
    if not len(truth):
        raise DataError(f"none of {len(data.val)} val images can be read; {_first(data.broken)}")
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth), ignore_index=-1)
    return float((logits.argmax(axis=1) == truth).mean()), float(loss)


def logits_of(
    model: Classifier, items: Sequence[LabelledItem], data: TrainingData, batch: int, numbers: str, tick: Tick
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the ids of the items that can be read, and their logits."""
    backbone = model.backbone

    def read(item: LabelledItem) -> Pixels:
        square = square_of_item(item, backbone.pixels, data.bands, backbone.usual_gsd_m, data.value_range)
        return shown_square(square, backbone.pixels)[None]

    def forward(pixels: Tensor) -> Tensor:
        with autocast(numbers, backbone.device.type):
            logits: Tensor = model(backbone.prepare(pixels))
        return logits

    ids: list[str] = []
    parts = [np.zeros((0, len(data.classes)), np.float32)]
    pictures = read_items(items, read, data.broken, decoding_threads())
    size = {"width": len(data.classes), "batch": batch}
    rows = rows_by_item(pictures, forward, model=model, device=backbone.device, **size)
    for item, logits in zip(items, rows, strict=True):
        if len(logits):
            ids.append(item.id)
            parts.append(logits)
        tick(1)
    return tuple(ids), np.concatenate(parts)


def _first(broken: Mapping[str, str]) -> str:
    return next((f"{name}: {reason}" for name, reason in broken.items()), "add training images")


RESULT_FILE = "result.json"
_log = logging.getLogger(__name__)


@takes(FinetuneOptions)
def evaluate_finetune(options: FinetuneOptions) -> TaskResult:
    """Return how well the whole network with a linear head, trained on `train`, names the images of `test`.

    `protocol` is `modern` (chosen on `val`) or `soundingearth` (the release's); what is not None changes it. Each seed
    trains from the model's own weights, `random:NAME` from weights of that seed. The test images are named once, at
    the end. With `out`, every finished seed is kept there and a stopped call goes on with the others; `result.json` is
    the result. Raises DataError, ConfigError, ModelError.
    """
    labelled = open_labelled_set(options)
    plan = finetune_plan(options, labelled.name)
    parts = even_odd(labelled) if options.protocol == "soundingearth" else split_items(labelled)
    classes = sorted({item.label for item in parts["train"]})
    if len(classes) < 2:
        raise DataError(f"all training images have the class {classes[0]!r}; two classes or more expected")
    data = TrainingData(
        parts["train"], parts["val"], parts["test"], classes, options.bands, value_range=options.value_range
    )
    known, truth = (np.array([item.label for item in parts[name]], np.str_) for name in ("train", "test"))
    unknown = warn_of_unknown(known, truth)
    device, start = choose_device(options.device), time.perf_counter()
    items, split = [*parts["train"], *parts["test"]], ["train"] * len(known) + ["test"] * len(truth)
    overlap = item_facts(items, split, "test", ["image"], bands=options.bands)
    found = _by_seed(options, data, plan, device)
    if not parts["val"] and plan.choose_epoch:
        _log.warning("%s has no images of split val; the last epoch of each seed was tested", labelled.name)
    facts = {
        "precision": choose_precision(options.precision, device),
        "labels_that_train_lacks": list(unknown),
        "broken_images": dict(data.broken),
        "seconds": round(time.perf_counter() - start, 1),
        **overlap,
    }
    result = _result(labelled.name, options, data, plan, found, facts)
    write_task_result(None if options.out is None else Path(options.out) / RESULT_FILE, result)
    return result


def _by_seed(options: FinetuneOptions, data: TrainingData, plan: FinetunePlan, device: str) -> dict[int, Finetuned]:
    """Return what each seed gave; those that `options.out` holds already are read from there."""
    val = len(data.val) if plan.choose_epoch else 0
    each = plan.epochs * (len(data.train) + val) + len(data.test)
    found = {}
    with progress_bar(each * len(options.seeds), "finetune", "image") as bar:
        for at, seed in enumerate(options.seeds):
            bar.set_postfix({"seed": seed})
            backbone = open_backbone(options.model, pixels=options.pixels, seed=seed, device=device)
            identity = _identity(backbone, data, plan, seed, choose_precision(options.precision, device))
            path = None if options.out is None else Path(options.out) / f"seed-{seed}.json"
            if path is not None and path.exists():
                found[seed] = _read_seed(path, identity, data)
            else:
                found[seed] = finetune(backbone, data, plan, seed=seed, precision=options.precision, tick=bar.update)
                if path is not None:
                    kept = {
                        "format": FORMATS["result of a seed"],
                        "identity": identity,
                        "result": asdict(found[seed]),
                        "broken": dict(data.broken),
                    }
                    write_text_atomic(path, json.dumps(kept, ensure_ascii=False) + "\n")
            bar.update(each * (at + 1) - bar.n)
    warn_of_files(data.broken, (), sum(map(len, data.parts.values())), "images")
    first = found[options.seeds[0]]
    if any(one.ids != first.ids for one in found.values()) or not first.ids:
        raise DataError("the test images that can be read changed between seeds; run again with another --out")
    return found


def _identity(backbone: Backbone, data: TrainingData, plan: FinetunePlan, seed: int, precision: str) -> dict[str, Any]:
    """Return what must be equal for a kept seed to be read again."""
    labels = [LabelledItem(f"{item.id}={item.label}", "") for items in data.parts.values() for item in items]
    return {
        "seed": seed, "model": backbone.fingerprint, "pixels": backbone.pixels, "precision": precision,
        "bands": data.bands and list(data.bands), "labels": data_fingerprint(labels),
        **{name: data_fingerprint(items) for name, items in data.parts.items()}, **asdict(plan),
        **({} if data.value_range is None else {"value_range": plain_range(data.value_range)}),
    }  # fmt: skip


def _read_seed(path: Path, identity: Mapping[str, Any], data: TrainingData) -> Finetuned:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        format_of(kept, "result of a seed", path)
        before, values = dict(kept["identity"]), kept["result"]
        found = Finetuned(
            tuple(values["ids"]), tuple(values["predicted"]), int(values["epoch"]), tuple(values["val_accuracy"])
        )
        broken = dict(kept["broken"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: no result of a seed ({error}); delete it and run again") from error
    if before != identity:
        raise ConfigError(f"{path} is of another fine-tuning ({changes(before, identity)}); choose another --out")
    data.broken.update(broken)
    return found


def _result(
    dataset: str, options: FinetuneOptions, data: TrainingData, plan: FinetunePlan, found: Mapping[int, Finetuned],
    facts: Mapping[str, Any],
) -> TaskResult:  # fmt: skip
    first = next(iter(found.values()))
    label = {item.id: item.label for item in data.test}
    truth = [label[name] for name in first.ids]
    predictions = [one.predicted for one in found.values()]
    figures = classification_figures(truth, *predictions, resamples=options.resamples)
    each = [float(np.mean(right_shares(truth, one))) for one in predictions]
    return TaskResult(
        task="finetune",
        dataset=dataset,
        model=str(options.model),
        protocol=_protocol(plan, len(data.val) > 0, len(found)),
        headline="accuracy",
        figures={name: figures[name] for name in ("accuracy", "macro_f1")},
        ids=first.ids,
        scores=right_shares(truth, *predictions),
        truth=tuple(truth),
        predicted=first.predicted,
        facts={
            "classes": len(data.classes),
            **{f"{name}_images": len(items) for name, items in data.parts.items()},
            "plan": asdict(plan),
            "seeds": list(found),
            "accuracy_by_seed": each,
            "deviation_over_seeds": deviation(each),
            "epoch_by_seed": [one.epoch for one in found.values()],
            "val_accuracy_by_epoch": [list(one.val_accuracy) for one in found.values()],
            "accuracy_by_class": accuracy_by_class(truth, first.predicted),
            "predicted_is_of_seed": next(iter(found)),
            **facts,
        },
    )


def _protocol(plan: FinetunePlan, has_val: bool, seeds: int) -> str:
    over = "" if seeds == 1 else f", mean of {seeds} seeds"
    if plan.protocol == "soundingearth":
        how = f"Adam {plan.learning_rate:g}, {plan.epochs} epochs, batch {plan.batch_size}, no augmentation"
        return f"soundingearth: sorted files, even ones train, odd ones test; {how}; tested once at the end{over}"
    return (
        f"modern: whole network on train, AdamW {plan.learning_rate:g}, layer-wise decay {plan.layer_decay:g}, "
        f"augmentation, {'best of val' if has_val else 'last'} of {plan.epochs} epochs, tested once{over}"
    )
