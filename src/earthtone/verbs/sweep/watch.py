"""How far a sweep is: one bar over the steps of all runs, read from their logs."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path

from earthtone.progress import duration_text, progress_bar
from earthtone.train.history import last_step

_LOOK_SECONDS = 1.0


class Watch:
    """Counts steps; `steps` is how many each run of the sweep has, by its folder."""

    def __init__(self, steps: Mapping[Path, int]) -> None:
        self._steps = steps
        self._at = {run: min(last_step(run), total) for run, total in steps.items()}
        self._first, self._since = sum(self._at.values()), time.monotonic()
        self._bar = progress_bar(sum(steps.values()), "sweep", "step", done=self._first)
        self._next = 0.0

    def look(self) -> None:
        """Read the logs, once a second at most."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK_SECONDS
        self._at = {run: min(last_step(run), total) for run, total in self._steps.items()}
        self._bar.update(sum(self._at.values()) - self._bar.n)

    def drop(self, run: Path) -> None:
        """Count a run no more: it failed."""
        self._steps = {folder: total for folder, total in self._steps.items() if folder != run}
        self._first -= self._at.pop(run)
        self._bar.total = sum(self._steps.values())

    def left_text(self) -> str:
        """Return `; about 12 min left`, or nothing while that is not known."""
        done = sum(self._at.values())
        made, total = done - self._first, sum(self._steps.values())
        if made <= 0 or done >= total:
            return ""
        return f"; about {duration_text((time.monotonic() - self._since) / made * (total - done))} left"

    def clear(self) -> None:
        """Make room for a line on a terminal; the bar comes back with its next step."""
        if sys.stderr.isatty():
            self._bar.clear()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
