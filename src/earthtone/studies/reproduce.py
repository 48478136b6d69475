"""The paper's steps in order, each done once, and one table of what they gave."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from earthtone.errors import DataError
from earthtone.files import only_writer
from earthtone.options import ReproduceOptions
from earthtone.pages import csv_text
from earthtone.studies.reproduce_page import COLUMNS, make_page, rows
from earthtone.studies.reproduce_units import StepResult, Unit, make_setup, plan, read_step, write_step
from earthtone.studies.study import SkippedError, Study
from earthtone.value_types import takes

_NEED_PAIRS = {"pretrain", "retrieval", "losses"}  # places pack their own


@dataclass(frozen=True)
class Reproduced:
    """What a reproduction has done so far: its tables, its units with and without a result."""

    out: Path
    tables: Sequence[Path] = ()
    done: Sequence[str] = ()
    """Units that have a result, of this call or of one before."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Units without a result, and why."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Those of them that were tried and failed."""
    stopped: str | None = None
    """Where training was when it was asked to stop."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "out": str(self.out), "tables": [str(path) for path in self.tables]}

    def lines(self) -> list[str]:
        """Return lines for a terminal."""
        lines = [f"{len(self.done)} measurements and trainings done, {len(self.left_out)} left out"]
        lines += [f"  failed, {name}: {reason}" for name, reason in self.failed.items()]
        return [*lines, *(f"table: {path}" for path in self.tables)]


@takes(ReproduceOptions)
def reproduce_paper(options: ReproduceOptions) -> Reproduced:
    """Run the paper's steps that are not done yet and write `reproduction.md`, `.csv` and `.html` into `options.out`.

    What cannot be done is left out by name; a step that fails on wrong data does not keep the others from being done.
    A stopped call goes on when it is repeated, also in the middle of a training. `say` gets a line a unit.
    Raises ConfigError where `options.out` was begun with another recipe, model or data, and while another process
    writes into it; ModelError, DataError.
    """
    setup = make_setup(options)
    folder = setup.out / "steps"
    before = sorted(path.stem for path in folder.glob("[!.]*.json"))
    study = Study(plan(setup, before), partial(read_step, folder))
    if not study.results and all(unit.missing for unit in study.units):
        raise DataError(f"{options.data} holds no data of the paper; first: {study.units[0].missing}")

    def measure(unit: Unit) -> StepResult:
        undone = next((f"needs {name}, which is not done" for name in unit.needs if name not in study.results), None)
        if reason := unit.missing or undone:
            raise SkippedError(reason)
        started = time.monotonic()
        found = replace(unit.measure(), title=unit.title)
        write_step(folder, unit, found, time.monotonic() - started)
        return found

    def write() -> list[Path]:
        found = rows(study.units, study.results, _left_out(study), setup.backbone)
        page = make_page(setup, found, _left_out(study))
        return page.write(setup.out, "reproduction", csv_text(COLUMNS, map(asdict, found)))

    reasons: dict[str, str] = {}

    def after(unit: Unit) -> None:
        if unit.name in study.results:
            write()  # what is there can be read before the last step is done
        elif study.why(unit):
            reason = _left_out(study)[unit.name]
            first = reasons.setdefault(reason, unit.name)
            options.say(f"    left out, {reason if first == unit.name else f'as {first}'}")

    with only_writer(setup.out, "reproducing", "steps"):
        todo = [unit for unit in study.waiting if _asked(unit, options)]
        study.run(study.in_turn(todo, measure, options.say), after)
        done = [unit.name for unit in study.units if unit.name in study.results]
        return Reproduced(setup.out, write(), done, _left_out(study), study.failed, study.stopped)


def _asked(unit: Unit, options: ReproduceOptions) -> bool:
    wanted = set(options.steps)
    return not wanted or unit.step in wanted or (unit.step == "pack" and bool(wanted & _NEED_PAIRS))


def _left_out(study: Study[Unit, StepResult]) -> dict[str, str]:
    """Return the units without a result, and why."""
    reasons = {name: f"failed: {error}" for name, error in study.failed.items()} | study.skipped
    undone = [unit for unit in study.units if unit.name not in study.results]
    return {unit.name: reasons.get(unit.name) or unit.missing or "not run yet" for unit in undone}
