"""Recipes by name, from YAML files, with overrides; every mistake is named before training starts."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

import jsonargparse
import torch

from earthtone.errors import ConfigError, did_you_mean, flat
from earthtone.files import read_yaml, read_yaml_file, refuse_hostile_options
from earthtone.geo import SMALLEST_KM
from earthtone.losses import Loss, check_options, loss_class, loss_options, make_loss
from earthtone.losses.twins import TwinRule
from earthtone.models.encoders import layer_groups
from earthtone.models.two_tower import REDUCERS, SOUND_SCALES, TwoTower
from earthtone.signal.config import check_signal_config
from earthtone.train.recipe import AugmentConfig, Recipe
from earthtone.train.sampler import shares
from earthtone.train.task import check_compile, check_freeze, check_within, frozen_names
from earthtone.value_types import is_empty, is_huge, may_be_null, wrong

# Whether a recipe's augmentation can do what it says; options without an effect are refused.


def check_augment(augment: AugmentConfig, source: str) -> None:
    """Raise ConfigError for ranges of the section `augment` that cannot be drawn from, or that would change nothing."""
    low, high = augment.crop_ratio
    if not 0 < low <= high < math.inf:
        raise ConfigError(f"{source}: augment.crop_ratio is {augment.crop_ratio}; 0 < low <= high expected")
    low, high = augment.crop_area
    if not 0 < low <= high <= 1:
        raise ConfigError(f"{source}: augment.crop_area is {augment.crop_area}; 0 < low <= high <= 1 expected")
    for kind, loudest in (("mix", 0), ("noise", 60)):
        levels = getattr(augment, f"{kind}_db")
        if levels is None:
            continue
        if not getattr(augment, f"{kind}_share"):
            raise ConfigError(
                f"{source}: augment.{kind}_db does nothing without an augment.{kind}_share; give both or neither"
            )
        if not -200 <= levels[0] <= levels[1] <= loudest:
            raise ConfigError(f"{source}: augment.{kind}_db is {levels}; -200 <= low <= high <= {loudest} expected")


# The loss that a recipe asks for.


def recipe_loss(recipe: Recipe) -> Loss:
    """Return the recipe's loss; a queue and a projection get the recipe's batch size and dimensions.

    Raises ConfigError for an unknown name or option, and for one that contradicts the rest of the recipe.
    """
    name, options = recipe.loss.name, dict(recipe.loss.options)
    twins = recipe.loss.twins
    if twins != "ignore" and not loss_class(name).uses_twins:
        raise ConfigError(
            f"loss.twins is {twins}, but the loss {name!r} has no negatives to keep twins out of; "
            "type --loss.twins ignore"
        )
    for option in ("place_column", "twin_radius_m"):
        if twins == "ignore" and recipe.within.name != "simclr" and getattr(recipe.loss, option):
            raise ConfigError(f"loss.{option} tells twins, but loss.twins is ignore; leave one of them out")
    if recipe.train.momentum is not None and not loss_class(name).has_queue:
        raise ConfigError(
            f"train.momentum fills a queue, but the loss {name!r} has none; leave it out, or choose infonce_memory"
        )
    if recipe.train.views > 1 and not loss_class(name).takes_views:
        raise ConfigError(
            f"train.views is {recipe.train.views}, but the loss {name!r} takes one view of a pair; set train.views to 1"
        )
    shape = {"batch_size": recipe.train.batch_size * recipe.train.views, "dimensions": recipe.model.dimensions}
    rows = "train.batch_size" if recipe.train.views == 1 else "train.batch_size x train.views"
    named = {"batch_size": rows, "dimensions": "model.dimensions"}
    for key, value in shape.items():
        if key in loss_options(name) and options.setdefault(key, value) != value:
            raise ConfigError(
                f"loss.options.{key} is {options[key]}, but {named[key]} is {value}; leave the option out"
            )
    loss = make_loss(name, **options)
    if twins != "ignore":
        loss.twin_rule = TwinRule(twins, recipe.loss.twin_radius_m)
    return loss


def check_queue(loss: Loss, rows: int, recipe: Recipe) -> None:
    """Raise ConfigError when a loss keeps more rows of earlier batches than there are training pairs."""
    if loss.queue_rows > rows * recipe.train.views:
        size = recipe.train.batch_size
        batches = loss.queue_rows // (size * recipe.train.views)
        raise ConfigError(
            f"the loss {recipe.loss.name!r} keeps a queue of {batches} batches of {size}, more than "
            f"the {rows} training pairs: rows would meet themselves; type --loss.options.batches "
            f"{max(1, rows // size)} or less"
        )


# The model that a recipe asks for, tried without its weights.


def check_model(recipe: Recipe) -> None:
    """Raise ConfigError for encoders that cannot be made, and where the rate is to decay with blocks they do not tell.

    Takes neither memory for weights nor random numbers.
    """
    with torch.device("meta"):
        model = TwoTower(recipe.model, recipe.signal)
    if recipe.train.layer_decay == 1:
        return
    still = frozen_names(recipe.train) if recipe.train.unfreeze_step is None else ()
    for name in ("image", "audio"):
        if name not in still:
            layer_groups(getattr(model, f"{name}_tower").encoder)


# Whether a recipe's sampler can do what it says; options without an effect are refused.


BATCHES = ("random", "spread", "clustered")
_MOST = 0.75  # of a batch: hard negatives need rows to be hard for


def check_sampler(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for values of the section `sampler` that no training can have, or that would change nothing."""
    sampler = recipe.sampler
    if sampler.batches not in BATCHES:
        raise ConfigError(f"{source}: sampler.batches is {sampler.batches!r}; one of {', '.join(BATCHES)} expected")
    for option in ("ring_share", "similar_share"):
        if not 0 <= getattr(sampler, option) <= _MOST:
            value = getattr(sampler, option)
            raise ConfigError(f"{source}: sampler.{option} is {value}; a share from 0 to {_MOST} expected")
    needs = {
        "cell_km": (sampler.batches != "random", "sampler.batches spread or clustered"),
        "ring_km": (sampler.ring_share > 0, "a sampler.ring_share"),
        "refresh_epochs": (sampler.similar_share > 0, "a sampler.similar_share"),
    }
    for option, (has, need) in needs.items():
        if getattr(sampler, option) is not None and not has:
            raise ConfigError(f"{source}: sampler.{option} does nothing without {need}; give both or neither")
    if sampler.cell_km is not None and not sampler.cell_km >= SMALLEST_KM:
        raise ConfigError(f"{source}: sampler.cell_km is {sampler.cell_km}; at least {SMALLEST_KM} expected")
    if sampler.refresh_epochs is not None and sampler.refresh_epochs < 1:
        raise ConfigError(f"{source}: sampler.refresh_epochs is {sampler.refresh_epochs}; at least 1 expected")
    _check_shares(recipe, source)
    if sampler.ring_share > 0:
        _check_ring(recipe, source)


def _check_shares(recipe: Recipe, source: str) -> None:
    sampler, size = recipe.sampler, recipe.train.batch_size
    for option, rows in (("ring_share", shares(size, sampler).ring), ("similar_share", shares(size, sampler).similar)):
        share = getattr(sampler, option)
        if share and not rows:
            raise ConfigError(
                f"{source}: sampler.{option} {share} of a batch of {size} is no row; {1 / size:.2g} is one"
            )
    if sampler.ring_share + sampler.similar_share > _MOST:
        raise ConfigError(
            f"{source}: sampler.ring_share {sampler.ring_share} and similar_share {sampler.similar_share} are "
            f"more than {_MOST} of a batch together; lower one"
        )


def _check_ring(recipe: Recipe, source: str) -> None:
    if recipe.sampler.ring_km is None:
        raise ConfigError(f"{source}: sampler.ring_share needs sampler.ring_km, such as [1, 50]")
    low, high = recipe.sampler.ring_km
    if not (0 <= low < high and high >= SMALLEST_KM):
        raise ConfigError(
            f"{source}: sampler.ring_km is {[low, high]}; 0 <= low < high, at least {SMALLEST_KM}, expected"
        )
    if low * 1000 < recipe.loss.twin_radius_m:
        raise ConfigError(
            f"{source}: sampler.ring_km begins at {low} km, inside loss.twin_radius_m {recipe.loss.twin_radius_m:g}: "
            "twins are no negatives; begin the ring outside"
        )


# What several processes may hold of a model, as a recipe asks for it.


def check_strategy_device(recipe: Recipe, device: str) -> None:
    """Raise ConfigError where weights in parts cannot lie on the chosen device."""
    if recipe.train.strategy == "fsdp" and device == "mps":
        raise ConfigError("train.strategy fsdp is for cpu and cuda, and the device is mps; leave it out")


def check_strategy(recipe: Recipe, source: str) -> None:
    """Raise ConfigError where weights in parts have no effect, or meet what takes them whole."""
    train = recipe.train
    if train.strategy != "fsdp":
        return
    if train.devices * train.nodes == 1:
        raise ConfigError(
            f"{source}: train.strategy fsdp with one process has no effect; type --train.devices with 2 or more, "
            "or leave it out"
        )
    if train.chunk_size is not None:
        raise ConfigError(
            f"{source}: train.strategy fsdp with train.chunk_size {train.chunk_size}: chunks take whole weights; "
            "leave one of them out"
        )


# Recipes by name, from YAML files, with overrides; every mistake is named.


_CHOICES = {
    "loss.twins": ("mask", "positive", "ignore"),
    "model.projection": ("linear", "mlp", "mlp_norm"),
    "model.windows": REDUCERS,
    "model.sound_scale": SOUND_SCALES,
    "train.optimizer": ("adamw", "adam"),
    "train.schedule": ("cosine", "constant"),
    "train.precision": ("auto", "32", "bf16"),
    "train.device": ("auto", "cpu", "cuda", "mps"),
    "train.strategy": ("ddp", "fsdp"),
    "train.keep": ("best", "last"),
}
_AT_LEAST = {
    "model.dimensions": 1, "train.epochs": 1, "train.batch_size": 2, "train.windows": 1, "train.views": 1,
    "train.threads": 1, "train.seed": 0, "train.weight_decay": 0, "train.validate_every": 0, "train.validation_rows": 1,
    "train.checkpoint_seconds": 0, "train.devices": 1, "train.nodes": 1, "train.learning_rate": 1e-12,
    "augment.gain_db": 0, "augment.blur_sigma": 0, "augment.hue_degrees": 0, "loss.twin_radius_m": 0,
}  # fmt: skip
_SHARES = (
    "augment.brightness", "augment.contrast", "augment.saturation", "augment.colour_cast", "augment.time_mask",
    "augment.mel_mask", "augment.grid_distortion", "augment.mix_share", "augment.noise_share",
    "train.warmup_share", "model.drop_path",
)  # fmt: skip


#: What a section names -> the options that belong to that name alone.
_BELONGS = {"loss.name": ("options",), "within.name": ("options", "image_weight", "audio_weight", "projection")}


def shipped_recipes() -> list[str]:
    """Return the names of the recipes inside the package."""
    folder = resources.files("earthtone") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(name: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return a shipped recipe by name or one from a YAML file; what it leaves out has the default.

    `overrides` maps dotted keys to values: `{"train.epochs": 3}`; with another `loss.name` or `within.name` the
    recipe's options of the former one are left out. Raises ConfigError, naming the nearest known key.
    """
    return recipe_from_dict(overridden(read_recipe(name), overrides or {}), str(name))


def overridden(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested plain values, changed in place, with those of dotted keys set. Raises ConfigError."""
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
        if place.get(name, _value(Recipe(), key)) != overrides[key]:
            for option in options:
                place.pop(option, None)


def recipe_from_dict(values: Mapping[str, Any], source: str) -> Recipe:
    """Return the recipe that nested plain values describe. Raises ConfigError for unknown keys and wrong types."""
    values = _known_values(Recipe, values, source, "")
    parser = _parser()
    try:
        sections = parser.instantiate(parser.parse_object(values))
    except (jsonargparse.ArgumentError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{source}: {' '.join(str(error).split())}") from error
    recipe = Recipe(**{entry.name: sections[entry.name] for entry in dataclasses.fields(Recipe)})
    check_recipe(recipe, source)
    return recipe


@cache
def _parser() -> jsonargparse.ArgumentParser:
    refuse_hostile_options()
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    return parser


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
    return values


def check_recipe(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for values that no training can have."""
    for key, value, hint in _leaves(recipe, ""):
        if told := wrong(value, hint):
            raise ConfigError(f"{source}: {key} is {told}")
    for key, check in (("name", loss_class), ("options", partial(check_options, options=recipe.loss.options))):
        try:
            check(recipe.loss.name)
        except ConfigError as error:
            raise ConfigError(f"{source}: loss.{key}: {error}") from error
    for key, known in _CHOICES.items():
        value = _value(recipe, key)
        if value not in known:
            raise ConfigError(f"{source}: {key} is {value!r}; one of {', '.join(known)} expected")
    for key, least in _AT_LEAST.items():
        if not _value(recipe, key) >= least:
            raise ConfigError(f"{source}: {key} is {_value(recipe, key)}; at least {least} expected")
    for key, number in flat(dataclasses.asdict(recipe)).items():
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{source}: {key} is {number}; a finite number expected")
    for key in _SHARES:
        if not 0 <= _value(recipe, key) <= 1:
            raise ConfigError(f"{source}: {key} is {_value(recipe, key)}; a share from 0 to 1 expected")
    train = recipe.train
    if train.clip_norm is not None and train.clip_norm <= 0:
        raise ConfigError(f"{source}: train.clip_norm is {train.clip_norm}; more than 0 expected, or null")
    _check_chunks(recipe, source)
    if train.momentum is not None and not 0 <= train.momentum < 1:
        raise ConfigError(f"{source}: train.momentum is {train.momentum}; 0 to below 1 expected, or null")
    if train.optimizer == "adam" and train.weight_decay:
        raise ConfigError(
            f"{source}: train.weight_decay {train.weight_decay} would enter adam's moments; choose adamw or set it to 0"
        )
    if recipe.model.windows == "attention" and train.windows < 2:
        raise ConfigError(
            f"{source}: model.windows attention learns nothing from one window a step; "
            "set train.windows to 2 or more, or model.windows to mean"
        )
    check_sampler(recipe, source)
    check_freeze(recipe, source)
    check_within(recipe, source)
    check_compile(recipe, source)
    check_strategy(recipe, source)
    try:
        check_signal_config(recipe.signal)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    check_augment(recipe.augment, source)


def _check_chunks(recipe: Recipe, source: str) -> None:
    """Raise ConfigError for batches that processes cannot share, and for chunks that cannot divide a share."""
    chunk, processes = recipe.train.chunk_size, recipe.train.devices * recipe.train.nodes
    rows, rest = divmod(recipe.train.batch_size, processes)
    if rest:
        raise ConfigError(
            f"{source}: train.batch_size is {recipe.train.batch_size}; a multiple of train.devices x train.nodes = "
            f"{processes} expected, so that each process has as many pairs"
        )
    if chunk is not None and not 1 <= chunk < rows:
        raise ConfigError(
            f"{source}: train.chunk_size is {chunk}; 1 to {rows - 1} expected (of {rows} pairs a process), or null"
        )


def _value(recipe: Recipe, dotted: str) -> Any:
    value: Any = recipe
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def _leaves(section: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key, value and type of every option of a dataclass and of those inside it."""
    hints = get_type_hints(type(section))
    for entry in dataclasses.fields(section):
        key, value, hint = f"{prefix}{entry.name}", getattr(section, entry.name), hints[entry.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, hint):
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value, hint


def _known_values(section: Any, values: Any, source: str, prefix: str) -> dict[str, Any]:
    """Return the plain values of the dataclass `section`, empty ones as null.

    Raises ConfigError for a key that it lacks, naming the nearest one, and for an empty value that may not be null.
    """
    if not isinstance(values, Mapping):
        found = "empty" if is_empty(values) else f"{values!r:.60}"
        raise ConfigError(f"{source}: {prefix.rstrip('.')} is {found}; a mapping of options expected, or leave it out")
    hints = get_type_hints(section)
    known = [entry.name for entry in dataclasses.fields(section)]
    clean: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            hint = did_you_mean(f"{prefix}{key}", [prefix + name for name in known])
            raise ConfigError(f"{source}: unknown key {prefix}{key}; {hint}known: {', '.join(known)}")
        if dataclasses.is_dataclass(hints[key]):
            clean[key] = _known_values(hints[key], value, source, f"{prefix}{key}.")
        elif is_empty(value) and not may_be_null(hints[key]):
            told = wrong(None, hints[key])
            raise ConfigError(f"{source}: {prefix}{key} is {told}; leave it out for the default")
        elif any(is_huge(part) for part in (value if isinstance(value, list) else [value])):
            raise ConfigError(f"{source}: {prefix}{key} is {wrong(value, hints[key])}")
        else:
            clean[key] = None if is_empty(value) else value
    return clean
