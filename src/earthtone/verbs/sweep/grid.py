"""What is varied: axes of values and named variants, multiplied."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from earthtone.errors import ConfigError
from earthtone.plain_yaml import read_yaml, read_yaml_file
from earthtone.wording import did_you_mean

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
        return list(self._variants(recipe))

    def _variants(self, recipe: str) -> Iterator[Variant]:
        for name in self.named or {"": {}}:
            for values in product(*self.axes.values()):
                changed = dict(zip(self.axes, values, strict=True))
                told = [f"{key}={value_text(value)}" for key, value in changed.items() if len(self.axes[key]) > 1]
                all_told = [f"{key}={value_text(value)}" for key, value in changed.items()]
                first = [name] if name else []
                yield Variant(
                    ", ".join(first + told) or recipe,
                    _folder_name(",".join(first + all_told) or "recipe"),
                    {**self.named.get(name, {}), **changed},
                )


def read_grid(path: Path) -> Grid:
    """Return the grid of a YAML file with `grid`, `variants` and `seeds`, all of which may be left out.

    Raises ConfigError for anything else.
    """
    try:
        values = read_yaml_file(path)
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no YAML
        raise ConfigError(f"grid {path} cannot be read: {error}") from error
    values = _mapping({} if values is None else values, f"{path}", f"a mapping of {', '.join(_SECTIONS)}")
    for key in values:
        if key not in _SECTIONS:
            raise ConfigError(
                f"{path}: unknown key {key}; {did_you_mean(str(key), _SECTIONS)}{', '.join(_SECTIONS)} expected"
            )
    axes = _mapping(values.get("grid", {}), f"{path}: grid", "such as train.batch_size: [64, 256]")
    for key, listed in axes.items():
        if not isinstance(listed, list):
            raise ConfigError(
                f"{path}: grid: {key} is {value_text(listed):.60}; a list of values expected: [{value_text(listed)}]"
            )
    named = _mapping(values.get("variants", {}), f"{path}: variants", "such as siglip: {loss.name: siglip}")
    seeds = values.get("seeds", [0])
    if not isinstance(seeds, list):
        raise ConfigError(f"{path}: seeds is {value_text(seeds):.60}; a list expected, such as [0, 1, 2]")
    told = {
        name: _mapping(changed, f"{path}: variant {name}", "such as {loss.name: siglip}")
        for name, changed in named.items()
    }
    return Grid(axes, told, seeds)


def read_axes(words: Sequence[str]) -> dict[str, list[Any]]:
    """Return the axes that words such as `loss.name=infonce,siglip` describe; values are YAML, lists in brackets.

    Raises ConfigError.
    """
    axes: dict[str, list[Any]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals or not text:
            raise ConfigError(f"--set {word}; KEY=VALUE,VALUE expected, such as loss.name=infonce,siglip")
        if key in axes:
            raise ConfigError(f"--set {key} is given twice; put its values into one, separated by commas")
        if not text.split(",")[-1].strip():
            raise ConfigError(
                f"--set {word}: its last value is empty; KEY=VALUE,VALUE expected, or null where it may be"
            )
        try:
            axes[key] = list(read_yaml(f"[{text}]"))
        except ValueError as error:
            raise ConfigError(f"--set {word}: no values of YAML ({error})") from error
    return axes


def _mapping(values: Any, what: str, expected: str) -> dict[str, Any]:
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{what} is {value_text(values):.60}; {expected} expected")
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
