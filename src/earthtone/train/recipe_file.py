"""Recipes by name, from YAML files, with overrides; every mistake is named before training starts.

Without PyTorch, so that a wrong option is refused within a second. What needs it, such as whether an encoder can
be made, is asked in lightning_module.py.
"""

import dataclasses
import math
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from earthtone.errors import ConfigError, did_you_mean, flat
from earthtone.files import format_of, read_yaml, read_yaml_file
from earthtone.geo import SMALLEST_KM
from earthtone.losses import check_options, loss_entry, loss_options
from earthtone.signal.config import check_signal_config
from earthtone.train.recipe import MOST_HARD, Recipe, WithinConfig
from earthtone.value_types import current_names, is_empty, section_of, type_hints, wrong

#: What a section names -> the options that belong to that name alone.
_BELONGS = {
    "loss.name": ("options",),
    "within.name": ("options", "image_weight", "audio_weight", "projection"),
    "logger.name": ("options",),
}


def shipped_recipes() -> list[str]:
    """Return the names of the recipes inside the package."""
    folder = resources.files("earthtone") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return a shipped recipe by name or one from a YAML file; what it leaves out has the default.

    `overrides` maps dotted keys to values: `{"train.epochs": 3}`, or sections to some of theirs: `{"train": {"epochs":
    3}}`; with another `loss.name` or `within.name` the
    recipe's options of the former one are left out. Raises ConfigError, naming the nearest known key.
    """
    single = dict(_single(overrides or {}, set(_sections(Recipe))))
    return recipe_from_dict(overridden(read_recipe(name), single), str(name))


def _sections(kind: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of a dataclass's sections."""
    for name, hint in type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield prefix + name
            yield from _sections(hint, f"{prefix}{name}.")


def _single(values: Mapping[str, Any], sections: Collection[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield values by dotted keys; what a section does not name stays as the recipe has it."""
    for key, value in values.items():
        if isinstance(value, Mapping) and prefix + key in sections:
            yield from _single(value, sections, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def overridden(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested plain values, changed in place, with those of dotted keys set. Raises ConfigError."""
    overrides = {_current_key(key): value for key, value in overrides.items()}
    drop_options(values, overrides)
    for key, value in overrides.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"override {key}: {section} is a value, no section")
        place[last] = value
    return values


def drop_options(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Take from nested plain values the options of a loss that gets another name by `overrides`."""
    for key, options in _BELONGS.items():
        section, name = key.split(".")
        place = values.get(section)
        if key not in overrides or not isinstance(place, dict):
            continue
        if place.get(name, getattr(getattr(Recipe(), section), name)) != overrides[key]:
            for option in options:
                place.pop(option, None)


def recipe_from_dict(values: Mapping[str, Any], source: str, *, whole: bool = True) -> Recipe:
    """Return the recipe that nested plain values describe.

    Raises ConfigError for unknown keys and wrong types, and where it is `whole` for values that contradict each other.
    """
    if isinstance(values, Mapping):
        format_of(values, "recipe", source)
        values = {key: value for key, value in values.items() if key != "format"}
        values = _with_current_names(values, Recipe)
    recipe: Recipe = section_of(Recipe, values, source)
    if whole:
        check_recipe(recipe, source)
    return recipe


def read_recipe(name: str | Path) -> dict[str, Any]:
    """Return the plain values of a recipe by name or path. Raises ConfigError."""
    path = Path(name)
    known = ", ".join(shipped_recipes())
    try:
        if path.suffix in (".yaml", ".yml"):
            values = read_yaml_file(path)
        elif str(name) in shipped_recipes():
            values = read_yaml((resources.files("earthtone") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
        else:
            hint = did_you_mean(str(name), shipped_recipes())
            raise ConfigError(f"no recipe {str(name)!r}; {hint}shipped: {known}; or a path that ends in .yaml")
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read ({error}); shipped: {known}") from error
    except ValueError as error:  # also bytes that are no UTF-8
        raise ConfigError(f"recipe {name} is no YAML of plain values: {error}") from error
    if not isinstance(values, dict):
        found = "nothing" if is_empty(values) else type(values).__name__
        raise ConfigError(f"recipe {name}: {found} found, a mapping of sections expected; {{}} for all defaults")
    return _with_current_names(values, Recipe)


def _with_current_names(values: Mapping[str, Any], kind: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested values by the names that keys of earlier versions have now; see `current_names`."""
    found, hints = current_names(values, kind, prefix + "{}"), type_hints(kind)
    for key, value in found.items():
        if isinstance(value, Mapping) and dataclasses.is_dataclass(hints.get(key)):
            found[key] = _with_current_names(value, hints[key], f"{prefix}{key}.")
    return found


def _current_key(key: str) -> str:
    """Return the dotted key that one of an earlier version is now, with a warning."""
    kind: Any = Recipe
    *sections, last = key.split(".")
    for section in sections:
        kind = type_hints(kind).get(section) if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None
    [now] = current_names({last: None}, kind, ".".join([*sections, "{}"]))
    return ".".join([*sections, now])


# Whether a recipe can be trained; options without an effect are refused too.


def check_recipe(recipe: Recipe, source: str) -> None:
    """Raise ConfigError, which begins with `source`, for values that no training can have or that change nothing."""
    try:
        mistake = next(_mistakes(recipe), None)
    except ConfigError as error:
        mistake = str(error)
    if mistake is not None:
        raise ConfigError(f"{source}: {mistake}")


def check_device(recipe: Recipe, device: str) -> None:
    """Raise ConfigError for what the chosen device (`cpu`, `cuda` or `mps`) cannot do."""
    if recipe.train.strategy == "fsdp" and device == "mps":
        raise ConfigError("train.strategy fsdp is for cpu and cuda, and the device is mps; leave it out")
    if not recipe.train.compile:
        return
    if device == "mps":
        raise ConfigError("train.compile is for cpu and cuda; leave it out on mps")
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", usual).split()[0]
    if device == "cpu" and shutil.which(compiler) is None:
        raise ConfigError(
            f"train.compile needs a C++ compiler on a CPU, {compiler} is not there; install {usual}, "
            "set CXX to another, or leave train.compile out"
        )


def _mistakes(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong, from single options to what spans sections: what comes later relies on what came before."""
    for key, value, hint in _leaves(recipe, ""):
        if told := wrong(value, hint):
            yield f"{key} is {told}"
    for key, options in (("name", {}), ("options", recipe.loss.options)):
        try:
            check_options(recipe.loss.name, options)
        except ConfigError as error:
            yield f"loss.{key}: {error}"
    for key, number in flat(dataclasses.asdict(recipe)).items():
        if isinstance(number, float) and not math.isfinite(number):
            yield f"{key} is {number}; a finite number expected"
    if recipe.logger.name == "none" and recipe.logger.options:
        yield "logger.options does nothing while logger.name is none; leave it out"
    sections = (
        _train_mistakes, _sampler_mistakes, _freeze_mistakes, _within_mistakes, _loss_mistakes, _medium_mistakes
    )  # fmt: skip
    for section in sections:
        yield from section(recipe)
    check_signal_config(recipe.signal)


def loss_shape(recipe: Recipe) -> dict[str, tuple[int, str]]:
    """Return the options of the recipe's loss that follow from the rest of it, and from what."""
    train = recipe.train
    rows = "train.batch_size" if train.views == 1 else "train.batch_size x train.views"
    shape = {
        "batch_size": (train.batch_size * train.views, rows),
        "dimensions": (recipe.model.dimensions, "model.dimensions"),
    }
    return {key: value for key, value in shape.items() if key in loss_options(recipe.loss.name)}


def _loss_mistakes(recipe: Recipe) -> Iterator[str]:
    """Yield contradictions of the loss and the rest of the recipe."""
    loss, train, entry = recipe.loss, recipe.train, loss_entry(recipe.loss.name)
    if loss.twins != "ignore" and not entry.has_negatives:
        yield (
            f"loss.twins is {loss.twins}, but the loss {loss.name!r} has no negatives to keep twins out of; "
            "type --loss.twins ignore"
        )
    for option in ("place_column", "twin_radius_m"):
        if loss.twins == "ignore" and recipe.within.name != "simclr" and getattr(loss, option):
            yield f"loss.{option} tells twins, but loss.twins is ignore; leave one of them out"
    if train.momentum is not None and not entry.has_queue:
        yield (
            f"train.momentum fills a queue, but the loss {loss.name!r} has none; leave it out, or choose infonce_memory"
        )
    if train.views > 1 and not entry.has_negatives:
        yield f"train.views is {train.views}, but the loss {loss.name!r} takes one view of a pair; set train.views to 1"
    for key, (value, source) in loss_shape(recipe).items():
        if loss.options.get(key, value) != value:
            yield f"loss.options.{key} is {loss.options[key]}, but {source} is {value}; leave the option out"


def _train_mistakes(recipe: Recipe) -> Iterator[str]:
    """Yield what is wrong with optimisation and with how processes share its batches."""
    train = recipe.train
    rows, rest = divmod(train.batch_size, train.processes)
    if rest:
        yield (
            f"train.batch_size is {train.batch_size}; a multiple of train.devices x train.nodes = {train.processes} "
            "expected, so that each process has as many pairs"
        )
    if train.chunk_size is not None and not 1 <= train.chunk_size < rows:
        yield f"train.chunk_size is {train.chunk_size}; 1 to {rows - 1} expected (of {rows} pairs a process), or null"
    if train.optimizer == "adam" and train.weight_decay:
        yield f"train.weight_decay {train.weight_decay} would enter adam's moments; choose adamw or set it to 0"
    if recipe.model.windows == "attention" and train.windows < 2:
        yield (
            "model.windows attention learns nothing from one window a step; "
            "set train.windows to 2 or more, or model.windows to mean"
        )
    if train.compile and train.chunk_size is not None:
        yield (
            f"train.compile with train.chunk_size {train.chunk_size}: chunks are not compiled; leave one of them out"
        )
    if train.compile and train.processes > 1:
        yield (
            f"train.compile with {train.processes} processes (train.devices x train.nodes): "
            "it is for one process; leave it out"
        )
    if train.strategy == "fsdp" and train.processes == 1:
        yield (
            "train.strategy fsdp with one process has no effect; type --train.devices with 2 or more, or leave it out"
        )
    if train.strategy == "fsdp" and train.chunk_size is not None:
        yield (
            f"train.strategy fsdp with train.chunk_size {train.chunk_size}: chunks take whole weights; "
            "leave one of them out"
        )


def _sampler_mistakes(recipe: Recipe) -> Iterator[str]:
    """Yield shares that no batch can have, and options of sampler and augmentation that lack what they belong to."""
    sampler, augment, size = recipe.sampler, recipe.augment, recipe.train.batch_size
    for kind in ("ring", "similar"):
        share = getattr(sampler, f"{kind}_share")
        if share and not getattr(sampler.rows(size), kind):
            yield f"sampler.{kind}_share {share} of a batch of {size} is no row; {1 / size:.2g} is one"
    if sampler.ring_share + sampler.similar_share > MOST_HARD:
        yield (
            f"sampler.ring_share {sampler.ring_share} and similar_share {sampler.similar_share} are "
            f"more than {MOST_HARD} of a batch together; lower one"
        )
    needs = {
        "sampler.cell_km": (sampler.cell_km, sampler.batches != "random", "sampler.batches spread or clustered"),
        "sampler.ring_km": (sampler.ring_km, sampler.ring_share, "a sampler.ring_share"),
        "sampler.refresh_epochs": (sampler.refresh_epochs, sampler.similar_share, "a sampler.similar_share"),
        "augment.mix_db": (augment.mix_db, augment.mix_share, "an augment.mix_share"),
        "augment.noise_db": (augment.noise_db, augment.noise_share, "an augment.noise_share"),
    }
    for option, (value, has, need) in needs.items():
        if value is not None and not has:
            yield f"{option} does nothing without {need}; give both or neither"
    if not sampler.ring_share:
        return
    if sampler.ring_km is None:
        yield "sampler.ring_share needs sampler.ring_km, such as [1, 50]"
        return
    low, high = sampler.ring_km
    if not (0 <= low < high and high >= SMALLEST_KM):
        yield f"sampler.ring_km is {[low, high]}; 0 <= low < high, at least {SMALLEST_KM}, expected"
    if low * 1000 < recipe.loss.twin_radius_m:
        yield (
            f"sampler.ring_km begins at {low} km, inside loss.twin_radius_m {recipe.loss.twin_radius_m:g}: "
            "twins are no negatives; begin the ring outside"
        )


def _freeze_mistakes(recipe: Recipe) -> Iterator[str]:
    """Yield freezing without an effect, or of weights that are random."""
    train, model = recipe.train, recipe.model
    for name in train.frozen_encoders:
        if getattr(model, f"{name}_weights") is None:
            yield (
                f"train.freeze {train.freeze} would keep the {name} encoder's random weights; "
                f"set model.{name}_weights (docs/models.md)"
            )
    if train.unfreeze_step is not None and train.freeze is None:
        yield "train.unfreeze_step without train.freeze has no effect; leave it out"
    if train.freeze == "both" and train.unfreeze_step is None:
        for option, value, off in (
            ("train.layer_decay", train.layer_decay, 1.0), ("model.drop_path", model.drop_path, 0.0),
        ):  # fmt: skip
            if value != off:
                yield (
                    f"{option} {value} has no effect on encoders that are frozen for good; "
                    "leave it out, or set train.unfreeze_step"
                )


def _within_mistakes(recipe: Recipe) -> Iterator[str]:
    within = recipe.within
    if within.name == "none":
        default = WithinConfig()
        for entry in dataclasses.fields(within):
            if getattr(within, entry.name) != getattr(default, entry.name):
                yield f"within.{entry.name} does nothing while within.name is none; leave it out"
        return
    if recipe.train.views < 2:
        yield (
            f"within.name {within.name} compares views of a pair, and train.views is {recipe.train.views}; "
            "set train.views to 2 or more"
        )
    if not within.image_weight + within.audio_weight > 0:
        yield "within.image_weight and audio_weight are both 0; set within.name to none"
    try:
        check_options(within.name, within.options, between_views=True)
    except ConfigError as error:
        yield f"within.options: {error}"


def _medium_mistakes(recipe: Recipe) -> Iterator[str]:
    """Yield what a training of one tower, or a control, cannot have."""
    model, train, within = recipe.model, recipe.train, recipe.within
    if model.only is None and train.control == "none":
        return
    said = f"train.control {train.control}" if model.only is None else f"model.only {model.only}"
    if model.only is not None and train.control != "none":
        yield f"train.control {train.control} is compared with a training of both towers; leave model.only out"
    if recipe.sampler.similar_share:
        yield f"sampler.similar_share chooses batches by both towers, which {said} has not; set it to 0"
    if len(recipe.learns) == 1 and not (within.name != "none" and getattr(within, f"{recipe.learns[0]}_weight")):
        [medium] = recipe.learns
        what = "picture" if medium == "image" else "recording"
        yield (
            f"{said} learns from views of one {what} alone; set within.name to simclr or vicreg, "
            f"within.{medium}_weight above 0 and train.views to 2 or more"
        )
    if model.only is None:
        return
    other = "audio" if model.only == "image" else "image"
    idle = {
        f"model.{other}_weights": getattr(model, f"{other}_weights") is not None,
        "model.scale_input": other == "image" and model.scale_input,
        f"train.freeze {train.freeze}": other in train.frozen_encoders,
        "train.momentum": train.momentum is not None,
    }
    for option in (name for name, given in idle.items() if given):
        yield f"{option} has no effect with {said}; leave it out"


def _leaves(section: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key, value and type of every option of a dataclass and of those inside it."""
    hints = type_hints(type(section))
    for entry in dataclasses.fields(section):
        key, value, hint = f"{prefix}{entry.name}", getattr(section, entry.name), hints[entry.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, hint):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value, hint
