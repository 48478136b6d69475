"""Fine-tuning as a task: a whole network with a linear head on labelled images, over several seeds."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from earthtone.atomic import write_text_atomic
from earthtone.data.datasets import open_labelled
from earthtone.data.labelled import LabelledItem
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.classification import accuracy_by_class, classification_figures
from earthtone.evaluate.feature_cache import data_fingerprint
from earthtone.evaluate.finetune_loop import Finetuned, TrainingData, finetune
from earthtone.evaluate.finetune_plan import FinetunePlan, finetune_plan
from earthtone.evaluate.pictures import Bands, tell_of_broken
from earthtone.evaluate.probe import warn_of_unknown
from earthtone.evaluate.shared import told_of_items
from earthtone.evaluate.splits import even_odd, split_items
from earthtone.evaluate.task_result import TaskResult, write_task_result
from earthtone.models.backbone import Backbone, open_backbone
from earthtone.progress import progress_bar
from earthtone.signal.config import ValueRange, plain_range
from earthtone.train.precision import choose_precision
from earthtone.wording import changes

RESULT_FILE = "result.json"
_log = logging.getLogger(__name__)


def evaluate_finetune(
    model: str | Path,
    data: str | Path,
    *,
    dataset: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    protocol: str = "modern",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    pixels: int | None = None,
    bands: Bands | None = None,
    value_range: ValueRange | None = None,
    seeds: Sequence[int] = (0,),
    precision: str = "auto",
    device: str = "cpu",
    out: str | Path | None = None,
    resamples: int = 1000,
) -> TaskResult:
    """Return how well the whole network with a linear head, trained on `train`, names the images of `test`.

    `protocol` is `modern` (chosen on `val`) or `soundingearth` (the release's); what is not None changes it. Each seed
    trains from the model's own weights, `random:NAME` from weights of that seed. The test images are named once, at
    the end. With `out`, every finished seed is kept there and a stopped call goes on with the others; `result.json` is
    the result. Raises DataError, ConfigError, ModelError.
    """
    labelled = open_labelled(data, dataset=dataset, label=label, columns=columns)
    plan = finetune_plan(protocol, labelled.name, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ConfigError(f"--seeds {','.join(map(str, seeds))}; different numbers from 0 on expected, such as 0,1,2")
    parts = even_odd(labelled) if protocol == "soundingearth" else split_items(labelled)
    task = _Task(parts, plan, bands, value_range, precision, device, None if out is None else Path(out))
    start = time.perf_counter()
    items = [(item, name) for name in ("train", "test") for item in parts[name]]
    told = told_of_items([item for item, _ in items], [name for _, name in items], "test", ["image"], bands=bands)
    found = task.run(lambda seed: open_backbone(model, pixels=pixels, seed=seed, device=device), seeds)
    if not parts["val"] and plan.choose_epoch:
        _log.warning("%s has no images of split val; the last epoch of each seed was tested", labelled.name)
    by_seed = dict(zip(seeds, found, strict=True))
    result = _result(labelled.name, str(model), task, by_seed, resamples, round(time.perf_counter() - start, 1))
    result = replace(result, facts={**result.facts, **told})
    if out is not None:
        write_task_result(Path(out) / RESULT_FILE, result)
    return result


class _Task:
    """Seed after seed, those that `out` holds already read from there."""

    def __init__(
        self, parts: Mapping[str, list[LabelledItem]], plan: FinetunePlan, bands: Bands | None,
        value_range: ValueRange | None, precision: str, device: str, out: Path | None,
    ) -> None:  # fmt: skip
        self.parts = parts
        self.plan = plan
        self.precision = choose_precision(precision, device)
        self.asked = precision
        self.out = out
        classes = sorted({item.label for item in parts["train"]})
        if len(classes) < 2:
            raise DataError(f"all training images have the class {classes[0]!r}; two classes or more expected")
        known, truth = (np.array([item.label for item in parts[name]], np.str_) for name in ("train", "test"))
        self.unknown = warn_of_unknown(known, truth)
        self.data = TrainingData(parts["train"], parts["val"], parts["test"], classes, bands, value_range=value_range)

    def run(self, fresh: Callable[[int], Backbone], seeds: Sequence[int]) -> list[Finetuned]:
        val = len(self.data.val) if self.plan.choose_epoch else 0
        each = self.plan.epochs * (len(self.data.train) + val) + len(self.data.test)
        found = []
        with progress_bar(each * len(seeds), "finetune", "image") as bar:
            for at, seed in enumerate(seeds):
                bar.set_postfix({"seed": seed})
                found.append(self._seed(fresh(seed), seed, bar.update))
                bar.update(each * (at + 1) - bar.n)
        told = tell_of_broken(self.data.broken, sum(map(len, self.parts.values())))
        if told:
            _log.warning("%s", told)
        if any(one.ids != found[0].ids for one in found) or not found[0].ids:
            raise DataError("the test images that can be read changed between seeds; run again with another --out")
        return found

    def _seed(self, backbone: Backbone, seed: int, tick: Callable[[int], object]) -> Finetuned:
        identity = self._identity(backbone, seed)
        path = None if self.out is None else self.out / f"seed-{seed}.json"
        if path is not None and path.exists():
            return _read_seed(path, identity, self.data)
        done = finetune(backbone, self.data, self.plan, seed=seed, precision=self.asked, tick=tick)
        if path is not None:
            told = {"identity": identity, "result": asdict(done), "broken": dict(self.data.broken)}
            write_text_atomic(path, json.dumps(told, ensure_ascii=False) + "\n")
        return done

    def _identity(self, backbone: Backbone, seed: int) -> dict[str, Any]:
        prints = {name: data_fingerprint(items) for name, items in self.parts.items()}
        labels = data_fingerprint(
            [LabelledItem(f"{i.id}={i.label}", "") for items in self.parts.values() for i in items]
        )
        ranges = {} if self.data.value_range is None else {"value_range": plain_range(self.data.value_range)}
        return {
            "seed": seed, "model": backbone.fingerprint, "pixels": backbone.pixels, "precision": self.precision,
            "bands": self.data.bands and list(self.data.bands), "labels": labels, **prints, **asdict(self.plan),
            **ranges,
        }  # fmt: skip


def _read_seed(path: Path, identity: Mapping[str, Any], data: TrainingData) -> Finetuned:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        before, values = dict(told["identity"]), told["result"]
        found = Finetuned(
            tuple(values["ids"]), tuple(values["predicted"]), int(values["epoch"]), tuple(values["val_accuracy"])
        )
        broken = dict(told["broken"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no result of a seed ({error}); delete it and run again") from error
    if before != identity:
        raise ConfigError(f"{path} is of another fine-tuning ({changes(before, identity)}); choose another --out")
    data.broken.update(broken)
    return found


def _result(
    dataset: str, model: str, task: _Task, found: Mapping[int, Finetuned], resamples: int, seconds: float
) -> TaskResult:
    first = next(iter(found.values()))
    label = {item.id: item.label for item in task.data.test}
    truth = [label[name] for name in first.ids]
    said = [list(one.predicted) for one in found.values()]
    right = np.array([[a == b for a, b in zip(one, truth, strict=True)] for one in said], np.float64)
    figures = classification_figures(truth, *said, resamples=resamples)
    each = right.mean(axis=1).tolist()
    return TaskResult(
        task="finetune",
        dataset=dataset,
        model=model,
        protocol=_protocol(task, len(found)),
        headline="accuracy",
        figures={name: figures[name] for name in ("accuracy", "macro_f1")},
        ids=first.ids,
        scores=tuple(right.mean(axis=0).tolist()),
        truth=tuple(truth),
        predicted=first.predicted,
        facts={
            "classes": len(task.data.classes),
            **{f"{name}_images": len(items) for name, items in task.parts.items()},
            "plan": asdict(task.plan),
            "precision": task.precision,
            "seeds": list(found),
            "accuracy_by_seed": each,
            "deviation_over_seeds": float(np.std(each, ddof=1)) if len(each) > 1 else None,
            "epoch_by_seed": [one.epoch for one in found.values()],
            "val_accuracy_by_epoch": [list(one.val_accuracy) for one in found.values()],
            "accuracy_by_class": accuracy_by_class(truth, list(first.predicted)),
            "predicted_is_of_seed": next(iter(found)),
            "labels_that_train_lacks": list(task.unknown),
            "broken_images": dict(task.data.broken),
            "seconds": seconds,
        },
    )


def _protocol(task: _Task, seeds: int) -> str:
    plan, over = task.plan, "" if seeds == 1 else f", mean of {seeds} seeds"
    if plan.protocol == "soundingearth":
        how = f"Adam {plan.learning_rate:g}, {plan.epochs} epochs, batch {plan.batch_size}, no augmentation"
        return f"soundingearth: sorted files, even ones train, odd ones test; {how}; tested once at the end{over}"
    chosen = "best of val" if len(task.data.val) else "last"
    return (
        f"modern: whole network on train, AdamW {plan.learning_rate:g}, layer-wise decay {plan.layer_decay:g}, "
        f"augmentation, {chosen} of {plan.epochs} epochs, tested once{over}"
    )
