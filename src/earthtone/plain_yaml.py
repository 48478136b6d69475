"""YAML of strangers: plain values only, and no aliases, with which a few lines can stand for more than any memory."""

from typing import Any

import yaml


class _Plain(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(
                f"line {parent.start_mark.line + 1 if parent else 1}: an alias (*); write the value itself"
            )
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """Return the plain values of a YAML text. Raises ValueError, on one line, for anything else."""
    try:
        return yaml.load(text, _Plain)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        # ValueError: a 13th month, 5,000 digits; the others: what the parser itself does not foresee
        raise ValueError(" ".join(str(error).split())[:300]) from error
