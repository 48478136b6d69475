"""Scenes told from images, from sounds and from both: frozen features, or both towers trained end to end."""

import copy
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled.items import LabelledItem
from earthtone.device import autocast, choose_precision
from earthtone.encode.engine import (
    measured_square,
    read_spectrogram,
    release_view,
    shown_square,
    tower_features,
)
from earthtone.errors import DataError, one_line_each
from earthtone.evaluate.classifiers import (
    SPLITS,
    check_classes,
    checked_rows,
    logistic,
    open_labelled_set,
    predicted_labels,
    warn_of_unknown,
)
from earthtone.evaluate.finetune import ROOM, keep_best, take_step, warmup_cosine
from earthtone.evaluate.overlap import item_facts
from earthtone.evaluate.results import (
    Estimate,
    TaskResult,
    accuracy_by_class,
    classification_figures,
    compare_results,
    group_numbers,
    right_shares,
    write_task_result,
)
from earthtone.models.storage import model_name, opened_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import AudiovisualOptions
from earthtone.progress import decoding_threads, ordered_map, progress_bar
from earthtone.signal.image import Pixels
from earthtone.signal.spectrogram import Spectrogram, windows
from earthtone.train.augment import random_sound, random_starts, random_view
from earthtone.train.recipe import AugmentConfig
from earthtone.value_types import takes

_TEST_SEED = 42
_RESPLITS = 5
_TEST_SHARE = 0.2
_VAL_SHARE = 0.1 / 0.8  # of the rest

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """Positions of the pairs to fit on, to choose on, and of the test; several trainings share one test."""

    fits: tuple[tuple[Positions, Positions], ...]
    """(train, val) of each training."""
    test: Positions


def given_division(splits: Sequence[str | None]) -> Division:
    """Return the set's own splits, which keep a recording on one side. Raises DataError without train or test."""
    train, val, test = (np.array([i for i, s in enumerate(splits) if s == name], np.int64) for name in SPLITS)
    if not len(train) or not len(test):
        raise DataError(f"{len(train)} pairs of split train and {len(test)} of test can be read; both are needed")
    return Division(((train, val),), test)


def random_division(labels: Sequence[str]) -> Division:
    """Return the release's division: a stratified fifth for the test (seed 42), then five divisions into train and val.

    Val is an eighth of the rest, the seeds are 0, 42, 84, 126, 168: for pairs in the order of their sorted files these
    are the release's own splits. Copies of one recording fall on both sides. Raises DataError when a class has too few
    pairs to be divided.
    """
    from sklearn.model_selection import train_test_split

    names = np.asarray(labels, np.str_)
    places = np.arange(len(names))
    try:
        rest, test = train_test_split(places, test_size=_TEST_SHARE, random_state=_TEST_SEED, stratify=names)
        fits = [
            train_test_split(rest, test_size=_VAL_SHARE, random_state=_TEST_SEED * number, stratify=names[rest])
            for number in range(_RESPLITS)
        ]
    except ValueError as error:
        raise DataError(
            f"{len(names)} pairs of {len(np.unique(names))} classes cannot be divided at random with every class in "
            f"each part ({' '.join(str(error).split())}); add pairs, or leave --protocol soundingearth out"
        ) from error
    return Division(tuple((np.sort(train), np.sort(val)) for train, val in fits), np.sort(test))


_HIDDEN = 256
_DROPOUT = 0.5
_WARMUP = 0.1
_WINDOWS_AT_ONCE = 32  # of a recording, which may be long


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
    model: TwoTower, items: Sequence[LabelledItem], division: Division, options: AudiovisualOptions
) -> list[str]:
    """Return the labels that a trained fusion of both towers gives the test pairs; `model` itself is not changed.

    Random views and windows in training; the epoch that is best on val is kept (the last one without val pairs), and
    the test is looked at once, on whole tiles and the mean of the scores over all windows. Raises ModelError when the
    loss is not finite, DataError when there are fewer than two training pairs.
    """
    train, val = division.fits[0]
    if len(train) < 2:
        raise DataError(f"{len(train)} training pairs; two or more expected")
    labels = sorted({items[row].label for row in train})
    device, rate = model.device, options.fusion_rate
    numbers = choose_precision(options.precision, device.type)
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        progress_bar(options.fusion_epochs * len(train), "fusion", "pair") as bar,
    ):
        torch.manual_seed(options.seed)
        network = FusionNet(copy.deepcopy(model), len(labels)).to(device)
        optimizer = torch.optim.AdamW(
            [
                {"params": list(network.head.parameters()), "share": rate},
                {"params": list(network.towers.parameters()), "share": rate * 0.1},
            ],
            lr=rate,
            weight_decay=0.05,
        )

        def train_epoch(epoch: int) -> None:
            network.train()
            seen = 0
            for rows, pixels, heard in _batches(model, items, train, options.fusion_batch, (options.seed, epoch)):
                done = (epoch + seen / len(train)) / options.fusion_epochs
                truth = torch.tensor([labels.index(items[row].label) for row in rows], device=device)
                with autocast(numbers, device.type):
                    scores = network(torch.from_numpy(pixels).to(device), torch.from_numpy(heard).to(device))
                loss = F.cross_entropy(scores.float(), truth, label_smoothing=0.1)
                where = f"epoch {epoch + 1}; lower --fusion_rate"
                take_step(network, optimizer, loss, max(warmup_cosine(done, _WARMUP), 1e-3), where, clip_norm=1.0)
                seen += len(rows)
                bar.update(len(rows))

        def score() -> tuple[float]:
            said = _predicted(network, items, val, labels, numbers)
            return (float(np.mean([items[row].label == name for row, name in zip(val, said, strict=True)])),)

        keep_best(network, options.fusion_epochs, train_epoch, score if len(val) else None)
        return _predicted(network, items, division.test, labels, numbers)


def _batches(
    model: TwoTower, items: Sequence[LabelledItem], train: NDArray[np.int64], size: int, seed: tuple[int, int]
) -> Iterator[tuple[list[int], Pixels, Spectrogram]]:
    """Yield rows, views (N, side, side, C) and windows (N, frames, mels); a last batch of one pair is left out."""
    audio, config = model.signal.audio, AugmentConfig()
    side = model.signal.image.pixels

    def read(row: int) -> tuple[int, Pixels, Spectrogram]:
        item, draw = items[row], np.random.default_rng([*seed, row])
        assert item.image is not None and item.sound is not None  # noqa: S101 - pairs are whole
        room = math.ceil(ROOM * side)
        square, side_m = measured_square(item.image, room, None, item.image_gsd_m, model.usual_gsd_m)
        view = random_view(square, side, config, draw, side_m)
        whole, _ = read_spectrogram(item.sound, audio)
        (start,) = random_starts(len(whole) - audio.window_frames, 1, draw)
        return row, view, random_sound(whole[start : start + audio.window_frames], audio, config, draw)

    order = np.random.default_rng(seed).permutation(train).tolist()
    pairs = ordered_map(read, order, decoding_threads())
    while len(batch := list(islice(pairs, size))) > 1:
        rows, views, heard = zip(*batch, strict=True)
        yield list(rows), np.stack(views), np.stack(heard)


@torch.inference_mode()
def _predicted(
    network: FusionNet, items: Sequence[LabelledItem], rows: NDArray[np.int64], labels: Sequence[str], numbers: str
) -> list[str]:
    """Return the likeliest class of each pair: its whole tile with each of its windows, the mean of their scores."""
    network.eval()
    model = network.towers
    side, device = model.signal.image.pixels, model.device

    def read(row: int) -> tuple[Pixels, Spectrogram]:
        item = items[row]
        assert item.image is not None and item.sound is not None  # noqa: S101 - pairs are whole
        whole, _ = read_spectrogram(item.sound, model.signal.audio)
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


VIEWS = ("image", "sound", "mean", "concat")
_SHOWN = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1")
_RELEASE_STRENGTH = 1.0
_RELEASE_STEPS = 5000
_DIVISIBLE = 10

#: Predictions of a test, one list a training.
Answers = list[list[str]]


@dataclass(frozen=True)
class _Pairs:
    """The pairs that can be read, their features by view, and facts on both."""

    items: list[LabelledItem]
    values: Mapping[str, NDArray[np.float32]]
    facts: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        return [item.label for item in self.items]


@takes(AudiovisualOptions)
def evaluate_audiovisual(options: AudiovisualOptions) -> TaskResult:
    """Return how well scenes are told from images, sounds, the mean of both embeddings, and both side by side.

    `grouped` (default): the set's splits, which keep all pairs of one recording together; logistic regression, its
    strength chosen on val; the same on the release's random split stands beside it as `random ...`, so that what leaks
    is seen. `soundingearth`: the release's protocol alone (Heidler et al., arXiv 2108.00688): frozen embeddings, not
    standardised, C 1, 80/20 random split, five trainings. `features`: `encoder` (before the projection; the default of
    `grouped`) or `embedding`; the mean is always one of embeddings. With `fusion` both towers and a small head are
    trained end to end too. Raises DataError, ConfigError, ModelError.
    """
    released, seed, resamples = options.protocol == "soundingearth", options.seed, options.resamples
    start, labelled = time.perf_counter(), open_labelled_set(options)
    tower = opened_model(options.model, seed=seed, device=options.device)
    whole = [item for item in labelled.items if item.image is not None and item.audio is not None]
    if not whole:
        raise DataError(
            f"{labelled.name}: no item has both an image and a sound; pairs with a label each were expected"
        )
    pairs, notes = _read(labelled.name, whole, tower, options), list(labelled.warnings)
    division = _release_division(whole, pairs) if released else given_division([item.split for item in pairs.items])
    answers, strengths = _answers(pairs, division, seed, as_released=released)
    if options.fusion:
        answers["fusion"] = [fusion_answers(tower, pairs.items, division, options)]
    tested = [pairs.items[row] for row in division.test]
    figures = _figures(tested, answers, "", resamples)
    if not released and min(Counter(pairs.labels).values()) >= _DIVISIBLE:
        random = _release_division(whole, pairs)
        random = Division(random.fits[:1], random.test)  # one training, as of the grouped split
        leaky, _ = _answers(pairs, random, seed)
        figures |= _figures([pairs.items[row] for row in random.test], leaky, "random split, ", resamples)
    elif not released:
        notes.append(f"a class has fewer than {_DIVISIBLE} pairs: no random split stands beside the grouped one")
    seconds = round(time.perf_counter() - start, 2)
    truth, first = [item.label for item in tested], answers["concat"][0]
    (train, val), group = division.fits[0], group_numbers(pairs.items)
    fusion = {
        "epochs": options.fusion_epochs, "batch_size": options.fusion_batch, "learning_rate": options.fusion_rate,
    }  # fmt: skip
    facts = {
        "classes": sorted(set(truth)), "accuracy_by_class": accuracy_by_class(truth, first),
        **pairs.facts, "without_partner": len(labelled.items) - len(whole), "notes": notes,
        "seconds": seconds, "seed": seed, "pairs": {"train": len(train), "val": len(val), "test": len(division.test)},
        "trainings": len(division.fits), "C": strengths,
        "recordings_on_both_sides": len(np.intersect1d(group[train], group[division.test])),
        "fusion": fusion if options.fusion else None, **_overlap(pairs, division, tower),
    }  # fmt: skip
    result = TaskResult(
        task="audiovisual",
        dataset=labelled.name,
        model=model_name(options.model),
        protocol=_SENTENCES[options.protocol].format(**pairs.facts),
        headline="concat accuracy",
        figures=figures,
        ids=tuple(item.id for item in tested),
        scores=right_shares(truth, *answers["concat"]),
        truth=tuple(truth),
        predicted=tuple(first),
        facts=facts,
    )
    image = replace(result, model="image", scores=right_shares(truth, *answers["image"]))
    gap = compare_results(replace(result, model="concat"), image, clusters=group_numbers(tested), resamples=resamples)
    result = replace(result, facts={**facts, "concat_against_image": asdict(gap)})
    write_task_result(options.out, result)
    return result


def audiovisual_lines(result: TaskResult) -> str:
    """Return the lines that follow a result on the terminal."""
    gap = result.facts["concat_against_image"]
    lines = [
        f"  sound adds {gap['difference']['value']:+.3f} [{gap['difference']['low']:+.3f}, "
        f"{gap['difference']['high']:+.3f}] to the image's accuracy, p {gap['p_value']:.2g} ({gap['test']})"
    ]
    if count := result.facts["recordings_on_both_sides"]:
        lines.append(f"  {count} recordings are both trained on and tested")
    return one_line_each(lines)


def _read(name: str, whole: Sequence[LabelledItem], tower: TwoTower, options: AudiovisualOptions) -> _Pairs:
    released, cache = options.protocol == "soundingearth", None if options.cache is None else Path(options.cache)
    features = options.features or ("embedding" if released else "encoder")
    view = release_view if released else tower_features
    image = view(tower, whole, "image", cache=cache, precision=options.precision)
    sound = view(tower, whole, "audio", cache=cache, precision=options.precision)
    good = [i for i, item in enumerate(whole) if item.id not in image.broken and item.id not in sound.broken]
    if not good:
        raise DataError(f"{name}: no pair of which both image and sound can be read")
    chosen = {view: getattr(found, features)[good] for view, found in (("image", image), ("sound", sound))}
    values = chosen | {
        "mean": (image.embedding[good] + sound.embedding[good]) / 2,
        "concat": np.concatenate([chosen["image"], chosen["sound"]], axis=1),
    }
    facts = {
        "features": features,
        "broken_images": dict(image.broken),
        "broken_sounds": dict(sound.broken),
        "short_sounds": list(sound.short),
        "features_from_cache": image.cached and sound.cached,
    }
    return _Pairs([whole[i] for i in good], values, facts)


def _answers(
    pairs: _Pairs, division: Division, seed: int, *, as_released: bool = False
) -> tuple[dict[str, Answers], dict[str, list[float]]]:
    """Return the labels of the test pairs, by view, one list a training, and each C."""
    answers: dict[str, Answers] = {view: [] for view in VIEWS}
    strengths: dict[str, list[float]] = {view: [] for view in VIEWS}
    for view in VIEWS:
        rows = checked_rows(view, pairs.values[view], pairs.labels)
        for train_at, val_at in division.fits:
            train, val, test = (rows.take(at) for at in (train_at, val_at, division.test))
            check_classes(train)
            if as_released:
                said = logistic(train, _RELEASE_STRENGTH, _RELEASE_STEPS).predict(test.values).tolist()
                chosen: dict[str, Any] = {"C": _RELEASE_STRENGTH}
            else:
                said, chosen = predicted_labels("logistic", {"train": train, "val": val, "test": test}, seed)
            answers[view].append(said)
            strengths[view].append(float(chosen["C"]))
    warn_of_unknown(np.asarray(pairs.labels)[division.fits[0][0]], np.asarray(pairs.labels)[division.test])
    return answers, strengths


def _figures(
    tested: Sequence[LabelledItem], answers: Mapping[str, Answers], prefix: str, resamples: int
) -> dict[str, Estimate]:
    truth, clusters = [item.label for item in tested], group_numbers(tested)
    figures: dict[str, Estimate] = {}
    for view, said in answers.items():
        found = classification_figures(truth, *said, clusters=clusters, resamples=resamples)
        figures |= {f"{prefix}{view} {name}": found[name] for name in _SHOWN}
    return figures


_SENTENCES = {
    "grouped": "logistic regression on frozen {features} features, standardised on train, C chosen on val; all pairs "
    "of one recording are in one split; `random split`: the same, but divided at random as the release does",
    "soundingearth": "the release's: logistic regression (C 1) on frozen {features} features of images halved by "
    "averaging and of whole sounds, stratified random 80/20 split, mean of five trainings; copies of a recording are "
    "on both sides",
}


def _overlap(pairs: _Pairs, division: Division, tower: TwoTower) -> dict[str, Any]:
    """Return the facts on pairs that are identical in train and test, and on how little there is."""
    part = dict.fromkeys(division.fits[0][0].tolist(), "train") | dict.fromkeys(division.test.tolist(), "test")
    parts = [part.get(row) for row in range(len(pairs.items))]
    bands, images = tower.signal.image.bands, pairs.values["image"]
    return item_facts(pairs.items, parts, "test", ["image", "recording"], bands=bands, alike=images)


def _release_division(whole: Sequence[LabelledItem], pairs: _Pairs) -> Division:
    """Return the release's division of all pairs; one that cannot be read is left out and moves no other."""
    place = {item.id: row for row, item in enumerate(pairs.items)}
    divided = random_division([item.label for item in whole])

    def kept(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([place[whole[row].id] for row in rows if whole[row].id in place], np.int64)

    return Division(tuple((kept(train), kept(val)) for train, val in divided.fits), kept(divided.test))
