"""The results of a reproduction on disk: one file a unit, whole or absent, each with what it was made from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.bootstrap import Estimate
from earthtone.verbs.reproduce.measures import Measured
from earthtone.verbs.reproduce.units import Unit
from earthtone.wording import changes

_FORMAT = 1
_SHOWN = 6


class Steps:
    """The folder `steps/` of a reproduction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def done(self, name: str) -> bool:
        """Return whether a unit has a result."""
        return self._path(name).exists()

    def names(self) -> list[str]:
        """Return the names of all units with a result."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.json"))

    def read(self, unit: Unit) -> tuple[Measured, str]:
        """Return a unit's result and its contender's title. Raises DataError for a broken file."""
        told = self._told(unit.name)
        return told["measured"], told["title"]

    def write(self, unit: Unit, found: Measured, seconds: float) -> None:
        """Keep a unit's result."""
        told = {
            "format": _FORMAT, "unit": unit.name, "title": unit.title, "made_from": dict(unit.identity),
            "seconds": round(seconds, 1), "result": asdict(found),
        }  # fmt: skip
        write_text_atomic(self._path(unit.name), json.dumps(told, indent=1, ensure_ascii=False) + "\n")

    def refuse_changes(self, units: Sequence[Unit]) -> None:
        """Raise ConfigError where a result was made from something else than the unit would be now."""
        for unit in units:
            if not self.done(unit.name):
                continue
            before, now = self._told(unit.name)["made_from"], _plain(unit.identity)
            changed = changes({key: before.get(key) for key in now}, now)
            if changed:
                raise ConfigError(
                    f"{self.folder.parent}: {unit.name} was made from something else ({_cut(changed)}); undo it, or "
                    "choose another --out"
                )

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _told(self, name: str) -> dict[str, Any]:
        path = self._path(name)
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told["format"] != _FORMAT:
                raise ValueError(f"format {told['format']}")
            result = dict(told["result"])
            figures = {key: Estimate(**value) for key, value in result["figures"].items()}
            measured = Measured(str(result["protocol"]), figures, dict(result["facts"]))
            return {"measured": measured, "title": str(told["title"]), "made_from": dict(told["made_from"])}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: no result of a step ({error}); delete it and run again") from error


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _cut(changed: str) -> str:
    parts = changed.split("; ")
    more = len(parts) - _SHOWN
    return "; ".join(parts[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
