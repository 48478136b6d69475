"""All runs of a sweep, each with its recipe checked before anything starts."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from earthtone.errors import ConfigError, EarthtoneError
from earthtone.plain_yaml import read_yaml
from earthtone.train.precision import choose_device
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import overridden, read_recipe, recipe_from_dict
from earthtone.train.recipe_loss import recipe_loss
from earthtone.train.recipe_model import check_model
from earthtone.verbs.sweep.grid import Grid, Variant

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
        """For messages."""
        return f"{self.variant.label}, seed {self.seed}"


def plan(recipe: Recipe | str | Path, grid: Grid, out: Path) -> list[PlannedRun]:
    """Return the runs, variant after variant. Raises ConfigError that names every kind of mistake in them."""
    label = "the recipe" if isinstance(recipe, Recipe) else Path(recipe).stem
    variants = grid.variants(label)
    mistakes: dict[str, list[str]] = {}
    recipes: dict[str, Recipe] = {}
    for variant in variants:
        try:
            recipes[variant.label] = _checked(_recipe(recipe, variant, label))
        except EarthtoneError as error:
            mistakes.setdefault(str(error), []).append(variant.label)
    if mistakes:
        raise ConfigError(_told(mistakes, len(variants)))
    _refuse_equal(recipes)
    return [
        PlannedRun(variant, seed, _seeded(recipes[variant.label], seed), out / "runs" / variant.folder / f"seed-{seed}")
        for variant in variants
        for seed in grid.seeds
    ]


def _recipe(base: Recipe | str | Path, variant: Variant, source: str) -> Recipe:
    values: dict[str, Any] = read_yaml(base.to_yaml()) if isinstance(base, Recipe) else read_recipe(base)
    return recipe_from_dict(overridden(values, variant.changes), source)


def _checked(recipe: Recipe) -> Recipe:
    """The recipe, after its loss was made and its model was tried."""
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
    return recipe


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    return replace(recipe, train=replace(recipe.train, seed=seed))


def _refuse_equal(recipes: dict[str, Recipe]) -> None:
    known: dict[str, str] = {}
    for label, recipe in recipes.items():
        other = known.setdefault(repr(asdict(recipe)), label)
        if other != label:
            raise ConfigError(f"the variants {other!r} and {label!r} are the same training; leave one out")


def _told(mistakes: dict[str, list[str]], variants: int) -> str:
    lines = [
        error if len(labels) == variants else f"{labels[0]}{_more(labels)}: {error}"
        for error, labels in list(mistakes.items())[:_SHOWN]
    ]
    more = len(mistakes) - len(lines)
    return "; ".join(lines) + (f"; and {more} more mistakes" if more else "")


def _more(labels: Sequence[str]) -> str:
    return f" (and {len(labels) - 1} more)" if len(labels) > 1 else ""
