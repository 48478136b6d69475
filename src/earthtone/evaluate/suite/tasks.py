"""The tasks of a suite: what each needs, what its figures depend on, how it is run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from earthtone.data.labelled import LabelledSet, MaskedSet
from earthtone.evaluate.audio_task import evaluate_audio
from earthtone.evaluate.audiovisual_task import evaluate_audiovisual
from earthtone.evaluate.features import FeatureOptions
from earthtone.evaluate.finetune_task import evaluate_finetune
from earthtone.evaluate.probe_on_data import evaluate_probe
from earthtone.evaluate.probe_task import ProbeOptions
from earthtone.evaluate.segment.open import segment_backbone
from earthtone.evaluate.segment.task import segment
from earthtone.evaluate.segment.training import PROTOCOLS
from earthtone.evaluate.suite.closeup import CloseUp, close_up
from earthtone.evaluate.suite.found import IMAGES, MASKS, PAIRS, SOUNDS, FoundSet
from earthtone.evaluate.suite.options import SuiteOptions
from earthtone.evaluate.task_result import TaskResult
from earthtone.models.backbone import open_backbone
from earthtone.train.precision import choose_precision

_QUICK_EPOCHS = 2


@dataclass(frozen=True)
class Places:
    """Where a cell may keep what helps it to go on."""

    cell: Path
    """A folder of its own."""
    features: Path
    """The features of all cells, by model and data."""


Settings = Mapping[str, Any]


@dataclass(frozen=True)
class SuiteTask:
    """One task."""

    reads: str
    """The kind of sets it is for."""
    hears: bool
    """Whether it needs a sound encoder."""
    settings: Callable[[SuiteOptions], Settings]
    """What its figures depend on beside model and data."""
    run: Callable[[str, FoundSet, Settings, SuiteOptions, Places], TaskResult]
    close_up: Callable[[str, FoundSet, Settings, SuiteOptions, Places], CloseUp] | None = None
    """What the features look like, for the page."""


def _probe_settings(options: SuiteOptions) -> Settings:
    methods = ["logistic"] if options.quick else ["logistic", "knn"]
    return {"methods": methods, "pixels": options.pixels, "resamples": options.resamples, **_bands(options)}


def _bands(options: SuiteOptions) -> Settings:
    asked = {"bands": options.bands, "value_range": options.value_range}
    return {name: value for name, value in asked.items() if value is not None}


def _features(options: SuiteOptions, places: Places) -> FeatureOptions:
    """How the probe takes features: who asks for the same finds them in its cache."""
    return FeatureOptions(
        bands=options.bands, value_range=options.value_range, precision=options.precision, cache=places.features
    )


def _probe(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_probe(
        model, found.path, dataset=found.known, pixels=settings["pixels"], device=options.device,
        probe=ProbeOptions(methods=settings["methods"], resamples=settings["resamples"]),
        features=_features(options, places),
    )  # fmt: skip


def _probe_close_up(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> CloseUp:
    assert isinstance(found.data, LabelledSet)  # noqa: S101 - the task reads classes alone
    backbone = open_backbone(model, pixels=settings["pixels"], device=options.device)
    return close_up(backbone, found.data, _features(options, places))


def _finetune_settings(options: SuiteOptions) -> Settings:
    return {
        "protocol": "modern", "epochs": options.epochs or (_QUICK_EPOCHS if options.quick else None),
        "seeds": list(options.seeds), "pixels": options.pixels, "resamples": options.resamples, **_bands(options),
    }  # fmt: skip


def _finetune(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_finetune(
        model, found.path, dataset=found.known, precision=options.precision, device=options.device, out=places.cell,
        **settings,
    )  # fmt: skip


def _segment_settings(options: SuiteOptions) -> Settings:
    return {
        "protocol": "modern", "head": "linear" if options.quick else "deeplabv3plus", "frozen": options.quick,
        "epochs": options.epochs or (_QUICK_EPOCHS if options.quick else None), "patch_pixels": options.pixels,
        "seeds": list(options.seeds), "resamples": options.resamples, **_bands(options),
    }  # fmt: skip


def _segment(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    assert isinstance(found.data, MaskedSet)  # noqa: S101 - the task reads masks alone
    changed = {name: settings[name] for name in ("epochs", "patch_pixels") if settings[name] is not None}
    half = choose_precision(options.precision, options.device).startswith("bf16")
    return segment(
        lambda seed: segment_backbone(model, settings["head"], seed, options.device),
        found.data,
        protocol=replace(PROTOCOLS[settings["protocol"]], **changed),
        head=settings["head"],
        frozen=settings["frozen"],
        bands=options.bands,
        value_range=options.value_range,
        seeds=settings["seeds"],
        resamples=settings["resamples"],
        precision=torch.bfloat16 if half else torch.float32,
        out=places.cell,
    )


def _tower_settings(options: SuiteOptions) -> Settings:
    return {"features": "encoder", "resamples": options.resamples}


def _audiovisual(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_audiovisual(
        model, found.path, dataset=found.known, cache=places.features, precision=options.precision,
        device=options.device, **settings,
    )  # fmt: skip


def _audio(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_audio(
        model, found.path, dataset=found.known, cache=places.features, precision=options.precision,
        device=options.device, **settings,
    )  # fmt: skip


#: By the names that `earthtone evaluate` knows them by, cheap ones first.
TASKS: Mapping[str, SuiteTask] = {
    "probe": SuiteTask(IMAGES, hears=False, settings=_probe_settings, run=_probe, close_up=_probe_close_up),
    "segment": SuiteTask(MASKS, hears=False, settings=_segment_settings, run=_segment),
    "audiovisual": SuiteTask(PAIRS, hears=True, settings=_tower_settings, run=_audiovisual),
    "audio": SuiteTask(SOUNDS, hears=True, settings=_tower_settings, run=_audio),
    "finetune": SuiteTask(IMAGES, hears=False, settings=_finetune_settings, run=_finetune),
}
