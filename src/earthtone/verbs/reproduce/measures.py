"""What each step measures, by the published protocol and by the honest one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from earthtone.data.datasets import open_masked
from earthtone.data.datasets.published import LABELLED, MASKED
from earthtone.data.pack import pack
from earthtone.evaluate.audiovisual_task import evaluate_audiovisual
from earthtone.evaluate.bootstrap import Estimate
from earthtone.evaluate.features import FeatureOptions
from earthtone.evaluate.few_shot_protocol import few_shot_probe
from earthtone.evaluate.finetune_task import evaluate_finetune
from earthtone.evaluate.on_data import evaluate_retrieval
from earthtone.evaluate.probe_on_data import evaluate_probe
from earthtone.evaluate.probe_task import ProbeOptions
from earthtone.evaluate.segment.open import segment_backbone
from earthtone.evaluate.segment.task import segment
from earthtone.evaluate.segment.training import PROTOCOLS
from earthtone.evaluate.task_result import TaskResult
from earthtone.models.storage import load_model
from earthtone.models.two_tower import TwoTower
from earthtone.train.precision import choose_precision
from earthtone.train.recipe import Recipe
from earthtone.verbs.pretraining import pretrain
from earthtone.verbs.reproduce.options import Setup

#: Sides of the pictures as the release shows them to a network that is trained on.
PIXELS: Mapping[str, int] = {"ucmerced": 256, "resisc45": 256, "aid": 600}
PUBLISHED_PAIRS = 50_545
_FEW_PIXELS = 192
_SHOTS = 5
HEAD = "deeplabv3plus"
VALID_IDS = "valid_ids.txt"
_KEPT = (
    "notes", "tiles", "pairs", "classes", "train_rows", "test_rows", "train_images", "test_images", "broken_images",
    "recordings_on_both_sides", "concat_against_image",
)  # fmt: skip


class StoppedError(Exception):
    """Training was asked to stop; what it did is safe."""


@dataclass(frozen=True)
class Measured:
    """What one unit gave."""

    protocol: str
    """One sentence."""
    figures: Mapping[str, Estimate] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Counts and warnings that belong to the figures."""


def pack_pairs(setup: Setup, folder: Path, table: Path, split_by: str) -> Measured:
    """Pack the release for the recipe, or for the given model, dealt out by a named split."""
    signal = setup.recipe.signal if setup.recipe else load_model(str(setup.options.model)).signal
    found = pack(folder, table, signal=signal, split_by=split_by)
    skipped = found.skipped_text if found.problems else "none skipped"
    return Measured(
        f"{found.rows} pairs; {skipped}; {split_by}",
        facts={"pairs": found.rows, "skipped": dict(found.problems), "notes": dict(found.notes)},
    )


def train(recipe: Recipe, table: Path, run: Path) -> Measured:
    """Train, going on where it stopped. Raises StoppedError when it is asked to stop."""
    found = pretrain(table, run, recipe=recipe, resume=run.exists())
    if not found.finished:
        raise StoppedError(f"step {found.progress.step} of {found.steps}")
    spent = recipe.train
    return Measured(
        f"{spent.epochs} epochs of batches of {spent.batch_size}, {recipe.loss.name}, {spent.optimizer} "
        f"{spent.learning_rate:g}; the {spent.keep} weights are kept",
        facts={"steps": found.steps, "training_seconds": round(found.progress.seconds, 1)},
    )


def retrieval(setup: Setup, model: str, table: Path, *, honest: bool) -> Measured:
    """Measure retrieval on the release's test pairs; figures are named `DIRECTION FIGURE`."""
    protocol = "honest" if honest else "soundingearth"
    found = evaluate_retrieval(load_model(model, setup.device), table, protocol=protocol, seed=setup.options.seed)
    told = found.facts["protocol"]["difference"]
    return Measured(
        f"{protocol}, {found.gallery:,} test pairs (the release's {PUBLISHED_PAIRS:,} pairs have about a fifth), split "
        f"{found.facts['split']['dealt_out']}. {told}",
        {f"{way} {name}": figure for way, figures in found.figures.items() for name, figure in figures.items()},
        {"gallery": found.gallery, "twins": found.facts["twins"]},
    )


def finetuned(setup: Setup, name: str, spec: str, folder: Path, *, honest: bool, parts: Path) -> Measured:
    """Train all weights with a linear head on the labelled images `name`."""
    options = setup.options
    found = evaluate_finetune(
        spec, folder, dataset=name, protocol="modern" if honest else "soundingearth", epochs=options.finetune_epochs,
        pixels=options.pixels or PIXELS[name], seeds=(options.seed,), precision="auto" if honest else "32",
        device=setup.device, out=parts,
    )  # fmt: skip
    return _of_task(found, pixels=options.pixels or PIXELS[name])


def few_shot(setup: Setup, spec: str, folder: Path, *, honest: bool) -> Measured:
    """Name AID's images by the nearest centroid of five a class."""
    options = setup.options
    if not honest:
        found = few_shot_probe(
            spec, folder, dataset="aid", features=FeatureOptions(precision="32"), device=setup.device
        )
        return _of_task(found)
    asked = ProbeOptions(methods=("centroid",), shots=(_SHOTS,), seed=options.seed)
    side = options.pixels or _FEW_PIXELS
    found = evaluate_probe(spec, folder, dataset="aid", probe=asked, pixels=side, device=setup.device)
    return _of_task(found, pixels=side)


def land_cover(setup: Setup, spec: str, folder: Path, *, honest: bool) -> Measured:
    """Train a segmentation head and all weights on DeepGlobe."""
    options = setup.options
    protocol = PROTOCOLS["modern" if honest else "soundingearth"]
    if options.segment_epochs is not None:
        protocol = replace(protocol, epochs=options.segment_epochs)
    if options.pixels is not None:
        protocol = replace(protocol, patch_pixels=options.pixels)
    half = honest and choose_precision("auto", setup.device).startswith("bf16")
    pictures = open_masked(folder, dataset="deepglobe")
    found = segment(
        lambda seed: segment_backbone(spec, HEAD, seed, setup.device),
        pictures,
        protocol=protocol, head=HEAD, seeds=(options.seed,), precision=torch.bfloat16 if half else torch.float32,
    )  # fmt: skip
    changed = "" if protocol in PROTOCOLS.values() else f"; here {protocol.epochs} epochs of {protocol.patch_pixels} px"
    listed = any((at / VALID_IDS).is_file() for at in (folder, folder.parent))
    split = (
        f"test tiles by {VALID_IDS}" if listed else f"test tiles drawn by us: the release's {VALID_IDS} is not public"
    )
    return _of_task(replace(found, protocol=f"{found.protocol}{changed}; {split}"))


def scenes_seen_and_heard(setup: Setup, model: str, folder: Path, *, honest: bool, untrained: bool) -> Measured:
    """Tell ADVANCE's scenes by frozen embeddings of `model`, or of its untrained twin."""
    tower = load_model(model, setup.device)
    if untrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.options.seed)
            tower = TwoTower(tower.config, tower.signal).to(setup.device).eval()
    found = evaluate_audiovisual(
        tower, folder, dataset="advance", protocol="grouped" if honest else "soundingearth",
        features="embedding", precision="auto" if honest else "32", device=setup.device, seed=setup.options.seed,
    )  # fmt: skip
    return _of_task(found)


def _of_task(found: TaskResult, pixels: int | None = None) -> Measured:
    """A task's result, its sentence with what else must be known: the side of the images, data that differ."""
    seen = [] if pixels is None else [f"images of {pixels} px"]
    facts = {name: found.facts[name] for name in _KEPT if name in found.facts}
    return Measured("; ".join([found.protocol, *seen, *_other_data(found)]), dict(found.figures), facts)


def _other_data(found: TaskResult) -> list[str]:
    """A line where the set is not as large as published."""
    published = {**LABELLED, **MASKED}[found.dataset]
    facts, splits = found.facts, ("train", "val", "test")
    counts = facts.get("tiles") or facts.get("pairs") or {
        split: facts.get(f"{split}_images", facts.get(f"{split}_rows", 0)) for split in splits
    }  # fmt: skip
    classes = facts["classes"] if isinstance(facts["classes"], int) else len(facts["classes"])
    return published.differences(classes, sum(counts.values()))
