"""Does sound help to tell a scene: image, sound, their mean and both together, on frozen features of the two towers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.datasets import open_labelled
from earthtone.data.labelled import LabelledItem
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.audiovisual_splits import Division, given_division, random_division
from earthtone.evaluate.bootstrap import Estimate
from earthtone.evaluate.classification import accuracy_by_class, classification_figures
from earthtone.evaluate.clusters import group_numbers
from earthtone.evaluate.fusion import FusionPlan, fusion_answers
from earthtone.evaluate.logistic import fit_logistic, fit_strength
from earthtone.evaluate.paired import compare_results
from earthtone.evaluate.probe import warn_of_unknown
from earthtone.evaluate.readout import Readout, Rows, check_classes, checked_rows, standardised
from earthtone.evaluate.release_view import release_view
from earthtone.evaluate.shared import told_of_items
from earthtone.evaluate.task_result import TaskResult
from earthtone.evaluate.tower_features import TowerFeatures, tower_features
from earthtone.models.open_model import open_model
from earthtone.models.two_tower import TwoTower
from earthtone.wording import did_you_mean, one_line_each

FEATURES = ("encoder", "embedding")
PROTOCOLS = ("grouped", "soundingearth")
VIEWS = ("image", "sound", "mean", "concat")
_SHOWN = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1")
_RELEASE_STRENGTH = 1.0
_RELEASE_STEPS = 5000
_DIVISIBLE = 10

#: Predictions of a test, one list a training.
Answers = list[list[str]]


@dataclass(frozen=True)
class _Pairs:
    """What is known of the pairs that can be read: features by view, labels, groups, splits."""

    items: list[LabelledItem]
    values: Mapping[str, NDArray[np.float32]]
    facts: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        return [item.label for item in self.items]


def evaluate_audiovisual(
    model: TwoTower | str | Path,
    data: str | Path,
    *,
    dataset: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
    protocol: str = "grouped",
    features: str | None = None,
    fusion: FusionPlan | None = None,
    cache: Path | None = None,
    precision: str = "auto",
    device: str = "cpu",
    seed: int = 0,
    resamples: int = 1000,
) -> TaskResult:
    """Return how well scenes are told from images, sounds, the mean of both embeddings, and both side by side.

    `grouped` (default): the set's splits, which keep all pairs of one recording together; logistic regression, its
    strength chosen on val; the same on the release's random split stands beside it as `random ...`, so that what leaks
    is seen. `soundingearth`: the release's protocol alone (Heidler et al., arXiv 2108.00688): frozen embeddings, not
    standardised, C 1, 80/20 random split, five trainings. `features`: `encoder` (before the projection; the default of
    `grouped`) or `embedding`; the mean is always one of embeddings. With `fusion` both towers and a small head are
    trained end to end too. Raises DataError, ConfigError, ModelError.
    """
    features = _checked_options(protocol, features, fusion)
    start = time.perf_counter()
    labelled = open_labelled(data, dataset=dataset, label=label, columns=columns)
    tower = model if isinstance(model, TwoTower) else open_model(model, seed=seed, device=device)
    whole = _whole_pairs(labelled.name, labelled.items)
    pairs = _read(labelled.name, whole, tower, features, cache, precision, as_released=protocol == "soundingearth")
    name = "two-tower model" if isinstance(model, TwoTower) else str(model)
    figures: dict[str, Estimate] = {}
    notes = list(labelled.warnings)
    if protocol == "soundingearth":
        division = _read_division(whole, pairs)
        answers, strengths = _answered(pairs, division, lambda train, val: _release_fit(train))
    else:
        division = given_division([item.split for item in pairs.items])
        answers, strengths = _answered(pairs, division, lambda train, val: fit_logistic(train, val, seed), scaled=True)
        if fusion is not None:
            answers["fusion"] = [fusion_answers(tower, pairs.items, division, fusion, seed=seed, precision=precision)]
    tested = [pairs.items[row] for row in division.test]
    figures |= _figures(tested, answers, "", resamples)
    if protocol == "grouped" and _divisible(pairs.labels):
        random = _read_division(whole, pairs)
        random = Division(random.fits[:1], random.test)  # one training, as of the grouped split
        leaky, _ = _answered(pairs, random, lambda train, val: fit_logistic(train, val, seed), scaled=True)
        figures |= _figures([pairs.items[row] for row in random.test], leaky, "random split, ", resamples)
    elif protocol == "grouped":
        notes.append(f"a class has fewer than {_DIVISIBLE} pairs: no random split stands beside the grouped one")
    seconds = round(time.perf_counter() - start, 2)
    result = _result(labelled.name, name, protocol, features, tested, answers, figures)
    facts = {
        **result.facts, **pairs.facts, "without_partner": len(labelled.items) - len(whole), "notes": notes,
        "seconds": seconds, "seed": seed,
        "pairs": {"train": len(division.fits[0][0]), "val": len(division.fits[0][1]), "test": len(division.test)},
        "trainings": len(division.fits), "C": strengths, "recordings_on_both_sides": _leaks(pairs.items, division),
        "concat_against_image": _sound_helps(result, tested, answers, resamples),
        "fusion": None if fusion is None else fusion.to_dict(), **_told(pairs, division, tower),
    }  # fmt: skip
    return replace(result, facts=facts)


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


def _checked_options(protocol: str, features: str | None, fusion: FusionPlan | None) -> str:
    if protocol not in PROTOCOLS:
        hint = did_you_mean(protocol, PROTOCOLS)
        raise ConfigError(f"--protocol {protocol}; {hint}{' or '.join(PROTOCOLS)} expected")
    if protocol == "soundingearth" and (features == "encoder" or fusion is not None):
        raise ConfigError("--protocol soundingearth is about frozen embeddings; leave --features and --fusion out")
    chosen = features or ("embedding" if protocol == "soundingearth" else "encoder")
    if chosen not in FEATURES:
        raise ConfigError(f"--features {chosen}; {did_you_mean(chosen, FEATURES)}{' or '.join(FEATURES)} expected")
    return chosen


def _whole_pairs(name: str, items: Sequence[LabelledItem]) -> list[LabelledItem]:
    whole = [item for item in items if item.image is not None and item.audio is not None]
    if not whole:
        raise DataError(f"{name}: no item has both an image and a sound; pairs with a label each were expected")
    return whole


def _read(
    name: str, whole: Sequence[LabelledItem], tower: TwoTower, features: str, cache: Path | None, precision: str,
    *, as_released: bool,
) -> _Pairs:  # fmt: skip
    view = release_view if as_released else tower_features
    image = view(tower, whole, "image", cache=cache, precision=precision)
    sound = view(tower, whole, "audio", cache=cache, precision=precision)
    good = [i for i, item in enumerate(whole) if item.id not in image.broken and item.id not in sound.broken]
    if not good:
        raise DataError(f"{name}: no pair of which both image and sound can be read")
    chosen = {view: _of(found, features)[good] for view, found in (("image", image), ("sound", sound))}
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


def _of(found: TowerFeatures, features: str) -> NDArray[np.float32]:
    return found.encoder if features == "encoder" else found.embedding


def _answered(
    pairs: _Pairs,
    division: Division,
    fit: Callable[[Rows, Rows | None], Readout],
    *,
    scaled: bool = False,
) -> tuple[dict[str, Answers], dict[str, list[float]]]:
    """What is said of the test pairs, by view, one list a training, and each C; `scaled` by the training rows alone."""
    answers: dict[str, Answers] = {view: [] for view in VIEWS}
    strengths: dict[str, list[float]] = {view: [] for view in VIEWS}
    for view in VIEWS:
        rows = checked_rows(view, pairs.values[view], pairs.labels)
        for train_at, val_at in division.fits:
            train, val, test = (rows.take(at) for at in (train_at, val_at, division.test))
            check_classes(train)
            if scaled:
                train, val, test = standardised(train, val, test)
            fitted = fit(train, val if len(val) else None)
            answers[view].append(fitted.predict(test.values).tolist())
            strengths[view].append(float(fitted.chosen["C"]))
    warn_of_unknown(np.asarray(pairs.labels)[division.fits[0][0]], np.asarray(pairs.labels)[division.test])
    return answers, strengths


def _release_fit(train: Rows) -> Readout:
    return fit_strength(train, _RELEASE_STRENGTH, _RELEASE_STEPS)


def _figures(
    tested: Sequence[LabelledItem], answers: Mapping[str, Answers], prefix: str, resamples: int
) -> dict[str, Estimate]:
    truth, clusters = [item.label for item in tested], group_numbers(tested)
    figures: dict[str, Estimate] = {}
    for view, said in answers.items():
        found = classification_figures(truth, *said, clusters=clusters, resamples=resamples)
        figures |= {f"{prefix}{view} {name}": found[name] for name in _SHOWN}
    return figures


def _result(
    dataset: str, model: str, protocol: str, features: str, tested: Sequence[LabelledItem],
    answers: Mapping[str, Answers], figures: Mapping[str, Estimate],
) -> TaskResult:  # fmt: skip
    truth = [item.label for item in tested]
    first = answers["concat"][0]
    return TaskResult(
        task="audiovisual",
        dataset=dataset,
        model=model,
        protocol=_SENTENCES[protocol].format(features=features),
        headline="concat accuracy",
        figures=figures,
        ids=tuple(item.id for item in tested),
        scores=_scores(truth, answers["concat"]),
        truth=tuple(truth),
        predicted=tuple(first),
        facts={"classes": sorted(set(truth)), "accuracy_by_class": accuracy_by_class(truth, first)},
    )


_SENTENCES = {
    "grouped": "logistic regression on frozen {features} features, standardised on train, C chosen on val; all pairs "
    "of one recording are in one split; `random split`: the same, but divided at random as the release does",
    "soundingearth": "the release's: logistic regression (C 1) on frozen {features} features of images halved by "
    "averaging and of whole sounds, stratified random 80/20 split, mean of five trainings; copies of a recording are "
    "on both sides",
}


def _scores(truth: Sequence[str], said: Answers) -> tuple[float, ...]:
    """The share of the trainings that were right, an item each."""
    right = np.mean([[a == b for a, b in zip(truth, one, strict=True)] for one in said], axis=0)
    return tuple(right.tolist())


def _sound_helps(
    result: TaskResult, tested: Sequence[LabelledItem], answers: Mapping[str, Answers], resamples: int
) -> dict[str, Any]:
    """The paired comparison of image and sound side by side with the image alone."""
    image = replace(result, model="image", scores=_scores(result.truth, answers["image"]))
    both = replace(result, model="concat")
    return compare_results(both, image, clusters=group_numbers(tested), resamples=resamples).to_dict()


def _leaks(items: Sequence[LabelledItem], division: Division) -> int:
    """How many recordings are both trained on and tested."""
    group = group_numbers(items)
    return len(np.intersect1d(group[division.fits[0][0]], group[division.test]))


def _told(pairs: _Pairs, division: Division, tower: TwoTower) -> dict[str, Any]:
    """What is to be told of pairs that are identical in train and test, and of how little there is."""
    part: list[str | None] = [None] * len(pairs.items)
    for rows, name in ((division.fits[0][0], "train"), (division.test, "test")):
        for row in rows:
            part[row] = name
    images = pairs.values["image"]
    return told_of_items(
        pairs.items, part, "test", ["image", "recording"], bands=tower.signal.image.bands, alike=images
    )  # fmt: skip


def _read_division(whole: Sequence[LabelledItem], pairs: _Pairs) -> Division:
    """The release's division of all pairs, without those that cannot be read: these do not change the others' parts."""
    place = {item.id: row for row, item in enumerate(pairs.items)}
    divided = random_division([item.label for item in whole])

    def kept(rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([place[whole[row].id] for row in rows if whole[row].id in place], np.int64)

    return Division(tuple((kept(train), kept(val)) for train, val in divided.fits), kept(divided.test))


def _divisible(labels: Sequence[str]) -> bool:
    """Whether every class has pairs enough for the random split that stands beside the grouped one."""
    return int(np.unique(np.asarray(labels), return_counts=True)[1].min()) >= _DIVISIBLE
