"""YAML of strangers: plain values only, and no aliases, with which a few lines can stand for more than any memory."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from earthtone.files import regular_file

_MOST_BYTES = 2**20  # of a file: recipes and grids have a few thousand
_DEEPEST = 100  # mappings and lists in each other; parsers call themselves for each
_FAULTS = (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError)
# ValueError: a 13th month, 5,000 digits; the others: what the parser itself does not foresee


class _Plain(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in names:
                        at = key.start_mark.line + 1
                        raise yaml.YAMLError(f"line {at}: {key.value} is there twice; each key once expected")
                    names.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str) -> Any:
    """Return the plain values of a YAML text. Raises ValueError, on one line, for anything else."""
    try:
        _refuse_hostile(text)
        return yaml.load(text, _Plain)  # noqa: S506 - a safe loader
    except _FAULTS as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error


def read_yaml_file(path: Path) -> Any:
    """Return the plain values of a YAML file. Raises OSError; ValueError, on one line, for anything else."""
    with regular_file(path).open("rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES:,} bytes; a small text file expected")
    return read_yaml(text.decode("utf-8"))


@cache
def refuse_hostile_options() -> None:
    """Make jsonargparse, which reads options as YAML by itself, refuse what `read_yaml` does."""
    import jsonargparse

    known: Callable[[str], Any] = jsonargparse.get_loader("yaml")

    def load(text: str) -> Any:
        try:
            _refuse_hostile(text)
            return known(text)
        except _FAULTS as error:
            raise yaml.YAMLError(" ".join(str(error).split())[:300]) from error

    jsonargparse.set_loader("yaml", load, (yaml.YAMLError,))


def _refuse_hostile(text: str) -> None:
    """Raise YAMLError for aliases and for endless nesting, before anything is built."""
    depth = 0
    for event in yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {line}: an alias (*); write the value itself")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"line {line}: nested deeper than {_DEEPEST}")
