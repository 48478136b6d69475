"""Which cells a suite has: every fitting task on every set by every model, and why some are left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earthtone import __version__
from earthtone.errors import ConfigError
from earthtone.evaluate.suite.found import FoundSet
from earthtone.evaluate.suite.models import SuiteModel
from earthtone.evaluate.suite.options import SuiteOptions
from earthtone.evaluate.suite.tasks import TASKS, Settings
from earthtone.train.precision import choose_precision
from earthtone.wording import did_you_mean

_FORMAT = 1  # of what a key means


@dataclass(frozen=True)
class PlannedCell:
    """One task on one set by one model."""

    task: str
    found: FoundSet
    model: SuiteModel
    settings: Settings
    key: Mapping[str, Any]
    """All that its figures depend on."""
    skipped: str | None = None
    """Why it is not run."""

    @property
    def name(self) -> str:
        """Return `TASK on SET: MODEL`."""
        return f"{self.task} on {self.found.name}: {self.model.spec}"


def check_tasks(tasks: Sequence[str]) -> None:
    """Raise ConfigError for an unknown task, or one that is named twice."""
    for name in tasks:
        if name not in TASKS:
            raise ConfigError(f"--tasks {name}; {did_you_mean(name, TASKS)}of {', '.join(TASKS)} expected")
    if not tasks or len(set(tasks)) != len(tasks):
        raise ConfigError(f"--tasks {','.join(tasks) or 'nothing'}; of {', '.join(TASKS)} expected, each once")


def plan_cells(
    models: Sequence[SuiteModel], sets: Sequence[FoundSet], tasks: Sequence[str], options: SuiteOptions
) -> list[PlannedCell]:
    """Return all cells, column by column: so a table that is not finished has whole columns."""
    cells = []
    for name in tasks:
        for found in sets:
            if found.kind == TASKS[name].reads:
                cells += [_cell(name, found, model, options) for model in models]
    return cells


def _cell(name: str, found: FoundSet, model: SuiteModel, options: SuiteOptions) -> PlannedCell:
    task = TASKS[name]
    settings = task.settings(options)
    key = {
        "format": _FORMAT,
        "earthtone": __version__,
        "task": name,
        "dataset": found.name,
        "data": found.fingerprint,
        "model": model.whole if task.hears else model.image,
        "drawn": model.drawn,
        "settings": dict(settings),
        "device": options.device,
        "precision": choose_precision(options.precision, options.device),
    }
    deaf = task.hears and model.whole is None
    return PlannedCell(
        name, found, model, settings, key, f"model {model.spec} has no sound encoder: {name} skipped" if deaf else None
    )
