"""The published figures that are known, each with where it was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

#: What a figure is of, and how its cell in the table reads.
KINDS: Mapping[str, str] = {
    "paper": "{value}",
    "quoted": "{value} as quoted by others",
    "reimplementation": "not known ({value}: an independent re-implementation)",
}
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class PublishedFigure:
    """One figure; the fields are explained in `published.yaml`."""

    step: str
    figure: str
    value: float
    of: str
    backbone: str | None
    read_in: str
    url: str
    note: str | None = None

    @property
    def cell(self) -> str:
        """How the table shows it."""
        return KINDS[self.of].format(value=f"{self.value:g}" if self.value >= 1 else f"{self.value:.3f}")

    @property
    def source(self) -> str:
        """Where it was read, and what must be known before it is compared."""
        return f"{self.read_in}, {self.url}" + (f"; {self.note}" if self.note else "")


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Return all that are known."""
    return tuple(PublishedFigure(**values) for values in _values()["figures"])


@cache
def tables_not_read() -> tuple[str, ...]:
    """Return the paper's tables that could not be read."""
    return tuple(_values()["not_read"])


def published(step: str, figure: str, backbone: str | None) -> PublishedFigure | None:
    """Return the published counterpart of a figure of the paper's model with a backbone, or None."""
    return next(
        (
            found
            for found in published_figures()
            if (found.step, found.figure) == (step, figure) and found.backbone in (None, backbone)
        ),
        None,
    )


def _values() -> dict[str, list[Any]]:
    text = resources.files("earthtone.verbs.reproduce").joinpath("published.yaml").read_text(encoding="utf-8")
    values: dict[str, list[Any]] = yaml.safe_load(text)
    return values
