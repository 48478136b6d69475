"""What is measured of every run on val, and the file in a run's folder that keeps it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.errors import DataError

FIGURES_FILE = "sweep.json"
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
    told = {"measured": dict(identity), **asdict(found)}
    write_text_atomic(run / FIGURES_FILE, json.dumps(told, indent=1) + "\n")


def read_figures(run: Path, identity: Mapping[str, Any]) -> RunFigures | None:
    """Return a run's figures; None where there are none, or others were asked for. Raises DataError."""
    path = run / FIGURES_FILE
    if not path.exists():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["measured"] != json.loads(json.dumps(identity)):
            return None
        figures = {str(name): float(value) for name, value in told["figures"].items()}
        return RunFigures(figures, int(told["kept_step"]), float(told["training_seconds"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no figures of a run ({error}); delete it and run again") from error
