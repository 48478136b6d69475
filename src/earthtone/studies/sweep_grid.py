"""What a sweep trains: axes and variants multiplied, every recipe checked before the first run starts."""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from earthtone.data.labelled import open_labelled
from earthtone.data.packed import Table
from earthtone.data.source import is_packed
from earthtone.device import choose_device
from earthtone.errors import ConfigError, EarthtoneError, changes, did_you_mean, flat
from earthtone.evaluate.classifiers import split_items
from earthtone.evaluate.label_match import LabelMatch
from earthtone.evaluate.retrieval import check_labels
from earthtone.files import read_yaml, read_yaml_file
from earthtone.signal.config import SignalConfig
from earthtone.studies.study import as_json, read_json, write_json
from earthtone.train.lightning_module import check_model, check_queue, check_unfreeze, recipe_loss
from earthtone.train.loader import TrainLoader
from earthtone.train.loggers import check_logger
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import overridden, read_recipe, recipe_from_dict

_SECTIONS = ("grid", "variants", "seeds")
_LONGEST_NAME = 120  # of a folder; file systems take 255 bytes
_SEED = "train.seed"


@dataclass(frozen=True)
class Variant:
    """One combination: what it changes in the recipe."""

    label: str
    """As the table shows it: what differs between the variants."""
    folder: str
    """All that it changes, as a name that every file system takes; more values of an axis leave it as it is."""
    changes: Mapping[str, Any]
    """Dotted key -> value."""


@dataclass(frozen=True)
class Grid:
    """Every value of every axis with every named variant, and each of those with every seed."""

    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Dotted key of the recipe -> its values."""
    named: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> what it changes: one more axis, whose values change several keys."""
    seeds: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        for key, values in self.axes.items():
            if not values:
                raise ConfigError(f"grid: {key} has no values; a list of one or more expected")
            _refuse_twice(key, [value_text(value) for value in values])
            if holder := next((name for name, changed in self.named.items() if key in changed), None):
                raise ConfigError(f"grid: {key} is in the grid and in the variant {holder!r}; leave it out of one")
        if any(_SEED in changed for changed in (self.axes, *self.named.values())):
            raise ConfigError(f"grid: {_SEED} is not an axis; give the seeds: --seeds 0,1,2")
        if not self.seeds or any(type(seed) is not int or seed < 0 for seed in self.seeds):
            raise ConfigError(f"seeds {list(self.seeds)}; whole numbers from 0 on expected, such as 0,1,2")
        _refuse_twice("seeds", [str(seed) for seed in self.seeds])

    def variants(self, recipe: str) -> list[Variant]:
        """Return all combinations, the last axis changing fastest; `recipe` is the label where nothing varies."""
        variants = []
        for name, values in product(self.named or {"": {}}, product(*self.axes.values())):
            changed = dict(zip(self.axes, values, strict=True))
            first = [name] if name else []
            texts = {key: f"{key}={value_text(value)}" for key, value in changed.items()}
            label = ", ".join([*first, *(text for key, text in texts.items() if len(self.axes[key]) > 1)])
            folder = _folder_name(",".join([*first, *texts.values()]) or "recipe")
            variants.append(Variant(label or recipe, folder, {**self.named.get(name, {}), **changed}))
        return variants


def read_grid(path: Path) -> Grid:
    """Return the grid of a YAML file with `grid`, `variants` and `seeds`, all of which may be left out.

    Raises ConfigError for anything else.
    """
    try:
        values = read_yaml_file(path)
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no YAML
        raise ConfigError(f"grid {path} cannot be read: {error}") from error
    values = _mapping({} if values is None else values, f"{path}", f"a mapping of {', '.join(_SECTIONS)}")
    if unknown := next((key for key in values if key not in _SECTIONS), None):
        hint = did_you_mean(unknown, _SECTIONS)
        raise ConfigError(f"{path}: unknown key {unknown}; {hint}{', '.join(_SECTIONS)} expected")
    axes = _mapping(values.get("grid", {}), f"{path}: grid", "such as train.batch_size: [64, 256]")
    for key, listed in axes.items():
        _list(listed, f"{path}: grid: {key}", f"a list of values expected: [{value_text(listed)}]")
    named = _mapping(values.get("variants", {}), f"{path}: variants", "such as siglip: {loss.name: siglip}")
    for name, changed in named.items():
        _mapping(changed, f"{path}: variant {name}", "such as {loss.name: siglip}")
    return Grid(axes, named, _list(values.get("seeds", [0]), f"{path}: seeds", "a list expected, such as [0, 1, 2]"))


def read_axes(axis_texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return the axes that texts such as `loss.name=infonce,siglip` describe; values are YAML, lists in brackets.

    Raises ConfigError.
    """
    axes: dict[str, list[Any]] = {}
    for axis in axis_texts:
        key, _, text = axis.partition("=")
        if not key or not text:
            raise ConfigError(f"--set {axis}; KEY=VALUE,VALUE expected, such as loss.name=infonce,siglip")
        if key in axes:
            raise ConfigError(f"--set {key} is given twice; put its values into one, separated by commas")
        if not text.split(",")[-1].strip():
            raise ConfigError(
                f"--set {axis}: its last value is empty; KEY=VALUE,VALUE expected, or null where it may be"
            )
        try:
            axes[key] = list(read_yaml(f"[{text}]"))
        except ValueError as error:
            raise ConfigError(f"--set {axis}: no values of YAML ({error})") from error
    return axes


def _mapping(values: Any, what: str, expected: str) -> dict[str, Any]:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{what} is {value_text(values):.60}; {expected} expected")
    return values


def _list(values: Any, what: str, expected: str) -> list[Any]:
    if not isinstance(values, list):
        raise ConfigError(f"{what} is {value_text(values):.60}; {expected}")
    return values


def _refuse_twice(key: str, texts: Sequence[str]) -> None:
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise ConfigError(f"grid: {key} has {twice} twice; each value once expected")


def value_text(value: Any) -> str:
    """Return a value as labels and tables show it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _folder_name(text: str) -> str:
    """A readable name; a hash makes it unique where something was replaced or cut."""
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", text).lstrip(".")
    if safe == text and len(text) <= _LONGEST_NAME:
        return text
    return f"{safe[:_LONGEST_NAME]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


# What is measured of every run on val, and the file in a run's folder that keeps it.


FIGURES_FILE = "sweep.json"
_KIND = "figures of a run"
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class Measure:
    """What else is measured on val; the choice metric and R@10 always are."""

    match: str | None = None
    """Also hits by label, as for `evaluate retrieval`: scene=sound:concepts.json."""
    probe: str | None = None
    """Also a linear probe on this labelled set, fitted on its train and measured on its val."""
    probe_label: str | None = None
    """A manifest's label column."""
    probe_columns: Mapping[str, str] | None = None
    """Other names of a manifest's columns."""

    def identity(self, fingerprint: str) -> dict[str, Any]:
        """Return what figures depend on beside the run: this, and the pairs' fingerprint."""
        return {"data": fingerprint, **asdict(self)}


@dataclass(frozen=True)
class RunFigures:
    """What one run reached on val."""

    figures: Mapping[str, float]
    kept_step: int
    training_seconds: float


def write_figures(run: Path, identity: Mapping[str, Any], found: RunFigures) -> None:
    """Write the figures of a run, whole or not at all."""
    write_json(run / FIGURES_FILE, {"measured": dict(identity), **asdict(found)}, _KIND)


def read_figures(run: Path, identity: Mapping[str, Any]) -> RunFigures | None:
    """Return a run's figures; None where there are none, or others were asked for. Raises DataError."""
    read = read_json(run / FIGURES_FILE, _parse_figures, _KIND)
    return read[1] if read is not None and read[0] == as_json(identity) else None


def _parse_figures(values: dict[str, Any]) -> tuple[Any, RunFigures]:
    """What was measured, and the figures."""
    figures = {str(name): float(value) for name, value in values["figures"].items()}
    found = RunFigures(figures, int(values["kept_step"]), float(values["training_seconds"]))
    return values["measured"], found


_SHOWN = 3  # of the mistakes


@dataclass(frozen=True)
class PlannedRun:
    """One training: a variant with a seed."""

    variant: Variant
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def name(self) -> str:
        """Return a name for messages."""
        return f"{self.variant.label}, seed {self.seed}"


def plan(recipe: Recipe | str | Path, grid: Grid, out: Path) -> list[PlannedRun]:
    """Return the runs, variant after variant. Raises ConfigError that names every kind of mistake in them."""
    label = "the recipe" if isinstance(recipe, Recipe) else Path(recipe).stem
    variants = grid.variants(label)
    base = read_yaml(recipe.to_yaml()) if isinstance(recipe, Recipe) else read_recipe(recipe)
    mistakes: dict[str, list[str]] = {}
    recipes: dict[str, Recipe] = {}
    for variant in variants:
        try:
            recipes[variant.label] = recipe_from_dict(overridden(deepcopy(base), variant.changes), label)
            _check_recipe(recipes[variant.label])
        except EarthtoneError as error:
            mistakes.setdefault(str(error), []).append(variant.label)
    if mistakes:
        raise ConfigError(_mistakes_text(mistakes, len(variants)))
    known: dict[str, str] = {}
    for variant in variants:
        other = known.setdefault(repr(recipes[variant.label].decisive()), variant.label)
        if other != variant.label:
            raise ConfigError(f"the variants {other!r} and {variant.label!r} are the same training; leave one out")
    runs = []
    for variant, seed in product(variants, grid.seeds):
        seeded = replace(recipes[variant.label], train=replace(recipes[variant.label].train, seed=seed))
        runs.append(PlannedRun(variant, seed, seeded, out / "runs" / variant.folder / f"seed-{seed}"))
    return runs


def _check_recipe(recipe: Recipe) -> None:
    """Raise EarthtoneError for what no run of a sweep can have; its loss is made and its model tried."""
    if recipe.train.nodes > 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError(
            "a sweep starts the processes of its runs itself, on one machine: start it without torchrun, with "
            "train.nodes 1"
        )
    if not recipe.train.validate_every:
        raise ConfigError("train.validate_every is 0, but a sweep compares by validation; 1 or more expected")
    choose_device(recipe.train.device)
    recipe_loss(recipe)
    check_model(recipe)
    check_logger(recipe.logger)


def _mistakes_text(mistakes: dict[str, list[str]], variants: int) -> str:
    lines = []
    for error, labels in list(mistakes.items())[:_SHOWN]:
        more = f" (and {len(labels) - 1} more)" if len(labels) > 1 else ""
        lines.append(error if len(labels) == variants else f"{labels[0]}{more}: {error}")
    left = len(mistakes) - len(lines)
    return "; ".join(lines) + (f"; and {left} more mistakes" if left else "")


def check_probe(measure: Measure) -> None:
    """Raise ConfigError or DataError where the labelled set cannot be opened or lacks val."""
    if measure.probe is None:
        if measure.probe_label is not None or measure.probe_columns is not None:
            raise ConfigError("probe_label and probe_columns are for --probe; name a labelled set with it")
        return
    if is_packed(measure.probe):
        raise ConfigError(f"--probe {measure.probe} is a packed table; a folder of classes or a manifest expected")
    labelled = open_labelled(measure.probe, label=measure.probe_label, columns=measure.probe_columns)
    split_items(labelled, measured="val")


def run_steps(run: PlannedRun, table: Table) -> int:
    """Return how many steps a run takes.

    Raises ConfigError where there are too few pairs for its batch or queue, or too few steps for its encoders to join.
    """
    if len(run.recipe.learns) == 1:
        raise ConfigError(
            "a sweep compares runs by retrieval, which one tower has not (model.only, train.control images_only); "
            "train it with earthtone pretrain"
        )
    rows = table.rows_of("train")
    steps = TrainLoader(table, rows, run.recipe).steps
    check_queue(recipe_loss(run.recipe), len(rows), run.recipe)
    check_unfreeze(run.recipe.train, steps)
    return steps


def check_table(table: Table, signals: SignalConfig, match: LabelMatch | None) -> None:
    """Raise ConfigError or DataError before the first run where none could be trained or measured."""
    if changed := changes(flat(asdict(table.signal)), flat(asdict(signals))):
        raise ConfigError(
            f"{table.path} was packed with another signal config than a variant has ({changed}); name the data that it "
            "was packed from, and the sweep packs it for each"
        )
    for split in ("train", "val"):
        table.rows_of(split)
    check_labels(table, match.columns if match else ())
