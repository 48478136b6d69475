"""What suite, sweep and reproduction share: units of work, each done once and kept in a JSON file, failures by name."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from earthtone.errors import DataError, EarthtoneError
from earthtone.files import FORMATS, format_of, write_text_atomic

DONE, WAITING, FAILED, SKIPPED = "done", "waiting", "failed", "skipped"

_log = logging.getLogger(__name__)


class Unit(Protocol):
    """One measurement or one training of a study."""

    @property
    def name(self) -> str:
        """For messages; no other unit of the study has it."""


U = TypeVar("U", bound=Unit)
R = TypeVar("R")
Attempt = tuple[U, Callable[[], R]]


class StoppedError(Exception):
    """Training was asked to stop; what it did is safe."""


class SkippedError(Exception):
    """A unit cannot be done now; the message says why."""


class Study(Generic[U, R]):
    """The units of a study, each with its result or with the reason why it has none.

    What has a result, of this call or of one before, is not done again; a failure is not kept, so that the next call
    tries again. `read` returns the kept result of a unit, None where there is none of the unit's identity.
    """

    def __init__(
        self, units: Sequence[U], read: Callable[[U], R | None], skipped: Mapping[str, str] | None = None
    ) -> None:
        self.units = units
        self.read = read
        self.skipped = dict(skipped or {})
        self.failed: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.stopped: str | None = None
        """Which unit was asked to stop, and where it was."""
        self.results: dict[str, R] = {}
        for unit in units:
            if unit.name not in self.skipped and (found := read(unit)) is not None:
                self.results[unit.name] = found

    def state(self, unit: U) -> str:
        """Return `done`, `failed`, `skipped` or `waiting`."""
        if unit.name in self.results:
            return DONE
        return FAILED if unit.name in self.failed else SKIPPED if unit.name in self.skipped else WAITING

    def why(self, unit: U) -> str:
        """Return why a unit failed or was skipped; nothing for others."""
        return self.failed.get(unit.name) or self.skipped.get(unit.name, "")

    @property
    def waiting(self) -> list[U]:
        """Return the units that are still to be done, in order."""
        return [unit for unit in self.units if self.state(unit) == WAITING]

    def run(self, attempts: Iterable[Attempt[U, R]], after: Callable[[U], None]) -> None:
        """Take the result of each attempt, or the reason why there is none; call `after` behind each.

        An attempt is a unit and a function that returns its result. Whatever error it raises is this unit's alone.
        """
        for unit, attempt in attempts:
            start = time.monotonic()
            try:
                self.results[unit.name] = attempt()
            except StoppedError as stop:
                self.stopped = f"{unit.name}, {stop}"
            except SkippedError as reason:
                self.skipped[unit.name] = str(reason)
            except Exception as error:
                self.failed[unit.name] = error_line(error)
                if not isinstance(error, EarthtoneError):
                    _log.info("%s", unit.name, exc_info=True)  # the trace is shown with --debug
            self.seconds.setdefault(unit.name, time.monotonic() - start)
            after(unit)

    def in_turn(
        self, units: Sequence[U], measure: Callable[[U], R], say: Callable[[str], None]
    ) -> Iterator[Attempt[U, R]]:
        """Yield attempts one after the other, until one is asked to stop; `say` gets a line before each."""
        for number, unit in enumerate(units, 1):
            say(f"[{number}/{len(units)}] {unit.name}")
            yield unit, partial(self._measured_once, unit, measure)
            if self.stopped is not None:
                return

    def _measured_once(self, unit: U, measure: Callable[[U], R]) -> R:
        found = self.read(unit)  # of another unit with the same identity, since the study began
        return measure(unit) if found is None else found


def error_line(error: Exception) -> str:
    """Return an error as one line: ours as it is, others with their kind."""
    if isinstance(error, EarthtoneError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def write_json(path: Path, values: Mapping[str, Any], kind: str) -> None:
    """Write the result of a unit, of a kind in `FORMATS`, whole or not at all."""
    write_text_atomic(path, json.dumps({"format": FORMATS[kind], **values}, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path, parse: Callable[[Any], R], kind: str) -> R | None:
    """Return what `parse` makes of a JSON file of a kind in `FORMATS`; None where there is no file.

    Raises DataError that names what was expected, for a damaged file, NewerFormatError for one of a later earthtone.
    """
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        format_of(values, kind, path)
        return parse(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no {kind} ({error}); delete it and run again") from error


def as_json(values: Any) -> Any:
    """Return values as JSON gives them back: tuples as lists, keys as text."""
    return json.loads(json.dumps(values))
