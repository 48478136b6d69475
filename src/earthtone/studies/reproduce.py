"""The paper's steps in order, each done once, and one table of what they gave."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earthtone.errors import DataError, EarthtoneError
from earthtone.files import only_writer
from earthtone.options import ReproduceOptions
from earthtone.studies.reproduce_page import make_page, rows, write_outputs
from earthtone.studies.reproduce_units import Setup, Steps, StoppedError, Unit, make_setup, plan
from earthtone.value_types import takes

_NEED_PAIRS = {"pretrain", "retrieval", "losses"}  # places pack their own


@dataclass(frozen=True)
class Reproduced:
    """How a call ended."""

    out: Path
    tables: Sequence[Path] = ()
    done: Sequence[str] = ()
    """Units that have a result, of this call or of one before."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Units without a result, and why."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Those of them that were tried and met an error."""
    stopped: str | None = None
    """Where training was when it was asked to stop."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "out": str(self.out), "tables": [str(path) for path in self.tables], "done": list(self.done),
            "left_out": dict(self.left_out), "failed": dict(self.failed), "stopped": self.stopped,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """Return lines for a terminal."""
        lines = [f"{len(self.done)} measurements and trainings done, {len(self.left_out)} left out"]
        lines += [f"  failed, {name}: {reason}" for name, reason in self.failed.items()]
        return [*lines, *(f"table: {path}" for path in self.tables)]


@takes(ReproduceOptions)
def reproduce_paper(options: ReproduceOptions) -> Reproduced:
    """Run the paper's steps that are not done yet and write `reproduction.md`, `.csv` and `.html` into `options.out`.

    What cannot be done is left out by name; a step that meets wrong data does not keep the others from being done.
    A stopped call goes on when it is repeated, also in the middle of a training. `say` gets a line a unit.
    Raises ConfigError where `options.out` was begun with another recipe, model or data, and while another process
    writes into it; ModelError, DataError.
    """
    setup, steps = make_setup(options), Steps(Path(options.out) / "steps")
    units = plan(setup, steps.names())
    steps.refuse_changes(units)
    if all(unit.lacking for unit in units) and not steps.names():
        raise DataError(f"{options.data} holds no data of the paper; first: {units[0].lacking}")
    todo = [unit for unit in units if _asked(unit, options) and not steps.done(unit.name)]
    with only_writer(Path(options.out), "reproducing", "steps"):
        run = _Run(setup, steps, units, options.say)
        for number, unit in enumerate(todo, 1):
            if not run.do(unit, f"{number}/{len(todo)}"):
                break
        return run.ended()


def _asked(unit: Unit, options: ReproduceOptions) -> bool:
    wanted = set(options.steps)
    return not wanted or unit.step in wanted or (unit.step == "pack" and bool(wanted & _NEED_PAIRS))


class _Run:
    """One call: what was left out, what failed, whether it was stopped."""

    def __init__(self, setup: Setup, steps: Steps, units: Sequence[Unit], say: Callable[[str], None]) -> None:
        self.setup, self.steps, self.units, self.say = setup, steps, units, say
        self.reasons: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.stopped: str | None = None

    def do(self, unit: Unit, count: str) -> bool:
        """Do one unit, or note why not; False when the call is to end."""
        undone = [name for name in unit.needs if not self.steps.done(name)]
        reason = unit.lacking or (f"needs {undone[0]}, which is not done" if undone else None) or unit.unreachable()
        if reason is not None:
            self._leave_out(unit, count, reason)
            return True
        self.say(f"{count} {unit.name}")
        started = time.monotonic()
        try:
            found = unit.measure()
        except StoppedError as stop:
            self.stopped = f"{unit.name}, {stop}"
            return False
        except EarthtoneError as error:
            self.failed[unit.name] = str(error)
            self._leave_out(unit, count, f"failed: {error}")
            return True
        self.steps.write(unit, found, time.monotonic() - started)
        self._write()  # what is there can be read before the last step is done
        return True

    def ended(self) -> Reproduced:
        tables = self._write()
        done = [unit.name for unit in self.units if self.steps.done(unit.name)]
        left_out = {unit.name: self._why(unit) for unit in self.units if unit.name not in done}
        return Reproduced(Path(self.setup.options.out), tables, done, left_out, self.failed, self.stopped)

    def _leave_out(self, unit: Unit, count: str, reason: str) -> None:
        self.reasons[unit.name] = reason
        known = [name for name, other in self.reasons.items() if other == reason and name != unit.name]
        self.say(f"{count} {unit.name}: left out, {f'as {known[0]}' if known else reason}")

    def _why(self, unit: Unit) -> str:
        return self.reasons.get(unit.name) or unit.lacking or "not run yet"

    def _write(self) -> list[Path]:
        undone = {unit.name: self._why(unit) for unit in self.units if not self.steps.done(unit.name)}
        results = {unit.name: self.steps.read(unit) for unit in self.units if unit.name not in undone}
        found = rows(self.units, results, undone, self.setup.backbone)
        return write_outputs(Path(self.setup.options.out), make_page(self.setup, found, undone), found)
