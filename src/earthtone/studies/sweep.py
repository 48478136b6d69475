"""A grid of trainings: each in a process of its own, each once, and one table of what they reached on val."""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import torch

from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.data.remote import refuse_remote
from earthtone.device import choose_device
from earthtone.errors import ConfigError, flat
from earthtone.evaluate.label_match import LabelMatch
from earthtone.files import only_writer, write_text_atomic
from earthtone.models.warm_start import check_start
from earthtone.options import SweepOptions
from earthtone.progress import duration_text, progress_bar
from earthtone.signal.config import SignalConfig, signal_to_dict
from earthtone.studies.processes import Ended, Job, run_jobs
from earthtone.studies.sweep_grid import (
    RECIPE_FILE,
    Grid,
    Measure,
    PlannedRun,
    RunFigures,
    check_probe,
    check_table,
    plan,
    read_axes,
    read_figures,
    read_grid,
    run_steps,
)
from earthtone.studies.sweep_page import DONE, FAILED, WAITING, RunRow, SweepTable, sweep_table, write_outputs
from earthtone.train.callbacks import Stopping
from earthtone.train.checkpoint import STATE_FILE, last_step, open_run
from earthtone.train.distributed import World
from earthtone.train.recipe import Recipe
from earthtone.value_types import takes

# How far a sweep is: one bar over the steps of all runs, read from their logs.


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


# What each of several runs at a time gets of a machine: threads, and a device.


_THREADS, _DEVICES = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"


def shares(jobs: int, recipes: Sequence[Recipe]) -> list[dict[str, str]]:
    """Return the environment variables of each of `jobs` places; nothing for a single one, which has the machine.

    Threads are divided, unless OMP_NUM_THREADS says how many; CUDA devices are dealt out in turn. Raises ConfigError
    where runs that take several devices each would run at once.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; 1 or more expected")
    if jobs == 1:
        return [{}]
    if most := max((recipe.train.devices for recipe in recipes), default=1) - 1:
        raise ConfigError(f"jobs is {jobs}, but runs with train.devices {most + 1} go one at a time; leave --jobs out")
    threads = {} if _THREADS in os.environ else {_THREADS: str(max(1, torch.get_num_threads() // jobs))}
    if not any(choose_device(recipe.train.device) == "cuda" for recipe in recipes):
        return [dict(threads) for _ in range(jobs)]
    named = [name for name in os.environ.get(_DEVICES, "").split(",") if name.strip()]
    devices = named or [str(number) for number in range(torch.cuda.device_count())]
    return [{**threads, _DEVICES: devices[place % len(devices)]} for place in range(jobs)]


# A grid of trainings: each in a process of its own, each once, and one table of what they reached on val.


OUTPUT_FILE = "output.log"
Say = Callable[[str], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Swept:
    """How a call ended."""

    out: Path
    table: SweepTable
    files: Sequence[Path] = ()
    stopped_by: str | None = None
    """The signal that stopped it before all runs were done."""

    def count(self, state: str) -> int:
        """Return how many runs are `done`, `failed` or `waiting`."""
        return sum(run.state == state for run in self.table.runs)


def asked_grid(options: SweepOptions) -> Grid:
    """Return what is varied: the grid of the file, or that of `set`, with the seeds. Raises ConfigError."""
    if isinstance(options.grid, Grid):
        return options.grid if options.seeds is None else replace(options.grid, seeds=tuple(options.seeds))
    if options.grid is not None:
        found = read_grid(Path(options.grid))
        return found if options.seeds is None else replace(found, seeds=tuple(options.seeds))
    return Grid(read_axes(options.set), seeds=(0,) if options.seeds is None else tuple(options.seeds))


@takes(SweepOptions)
def sweep(options: SweepOptions) -> Swept:
    """Train every combination of `grid` with every seed, `jobs` at a time, and return what each reached on val.

    `out` gets `sweep.csv`, `sweep.md`, `sweep.html`, `runs.csv` and a run's folder each. What is done is not done
    again; a run that was stopped goes on with its checkpoint, one that failed is named in the table and tried again by
    the next call. What is not packed yet is packed into `out` once, `split_by` and `buffer_km` as for `pack`.
    Raises ConfigError, before anything starts, for a combination that no training can have, and where `out` holds runs
    of something else or another process writes into it; DataError.
    """
    refuse_remote(options.out, "choose a folder on a disk, and copy the sweep when it has ended")
    out, data = Path(options.out), options.data
    columns, split_by, buffer_km = options.columns, options.split_by, options.buffer_km
    measure = Measure(options.match, options.probe, options.probe_label, options.probe_columns)
    runs = plan(options.recipe, asked_grid(options), out)
    environments = shares(options.jobs, [run.recipe for run in runs])
    match = None if measure.match is None else LabelMatch.parse(measure.match)
    check_probe(measure)
    for run in runs:
        if not (run.folder / STATE_FILE).exists():  # a run that was begun needs them no more
            check_start(run.recipe.model)
    with ExitStack() as stack:
        stack.enter_context(only_writer(out, "sweeping"))
        tables: dict[SignalConfig, Table] = {}
        for signals in dict.fromkeys(run.recipe.signal for run in runs):
            keep = out / f"pairs-{_short_hash(signals)}.lance"
            table = stack.enter_context(
                open_table(data, signals, columns=columns, split_by=split_by, buffer_km=buffer_km, keep=keep)
            )
            check_table(table, signals, match)
            tables[signals] = table
        going = _Sweep(out, runs, tables, measure, options.say)
        return going.go(environments)


@dataclass
class _Sweep:
    """What is known of each run while a sweep goes on."""

    out: Path
    runs: Sequence[PlannedRun]
    tables: Mapping[SignalConfig, Table]
    measure: Measure
    say: Say
    figures: dict[Path, RunFigures] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.identity = {key: self.measure.identity(table.fingerprint) for key, table in self.tables.items()}
        steps: dict[str, int] = {}
        for run in self.runs:
            if run.variant.label not in steps:  # the same for every seed
                steps[run.variant.label] = run_steps(run, self.tables[run.recipe.signal])
        self.steps = {run.folder: steps[run.variant.label] for run in self.runs}

    def go(self, environments: Sequence[Mapping[str, str]]) -> Swept:
        for run in self.runs:
            if self._trained(run):
                self._look(run)
        waiting = [run for run in self.runs if run.folder not in self.figures]
        self.say(f"{len(self.runs)} runs, {len(self.runs) - len(waiting)} of them done before")
        table, files = self._write()
        stopping, watch = Stopping(World()), Watch(self.steps)
        try:
            with stopping.signals():
                stopping.listen()
                jobs = (self._job(run) for run in waiting)
                for end in run_jobs(list(jobs), environments, stopping, started=self._starts(watch), tick=watch.look):
                    self._ended(end, watch, stopping.stopped_by)
                    table, files = self._write()
        finally:
            watch.close()
        left = len(self.figures) + len(self.failed) < len(self.runs)
        return Swept(self.out, table, files, stopping.stopped_by.name if stopping.stopped_by and left else None)

    def _trained(self, run: PlannedRun) -> bool:
        """Whether a run has ended. Raises ConfigError where its folder is of another recipe or other pairs."""
        data = self.identity[run.recipe.signal]["data"]
        return open_run(run.folder, {**flat(asdict(run.recipe)), "data": data}, resume=True)

    def _look(self, run: PlannedRun) -> None:
        if found := read_figures(run.folder, self.identity[run.recipe.signal]):
            self.figures[run.folder] = found

    def _job(self, run: PlannedRun) -> Job[PlannedRun]:
        asked = {
            "run": str(run.folder), "table": str(self.tables[run.recipe.signal].path), "measure": asdict(self.measure),
            "resume": (run.folder / STATE_FILE).exists(),  # of several processes the first writes it at once
        }  # fmt: skip
        write_text_atomic(run.folder / RECIPE_FILE, run.recipe.to_yaml())
        command = [sys.executable, "-m", "earthtone.studies.sweep_run", json.dumps(asked)]
        return Job(run, command, run.folder / OUTPUT_FILE)

    def _starts(self, watch: Watch) -> Callable[[PlannedRun], None]:
        def tell(run: PlannedRun) -> None:
            watch.clear()
            self.say(f"{run.name}: starts; its output: {run.folder / OUTPUT_FILE}")

        return tell

    def _ended(self, end: Ended[PlannedRun], watch: Watch, stopped_by: signal.Signals | None) -> None:
        run = end.of
        self._look(run)
        watch.clear()
        if found := self.figures.get(run.folder):
            told = f"score {found.figures['score']:.3f} on val; {duration_text(end.seconds)}"
        elif stopped_by is not None and end.stopped:
            self.say(f"{run.name}: {end.reason()}")
            return
        else:
            self.failed[run.folder] = end.reason()
            told = f"failed: {self.failed[run.folder]}"
            watch.drop(run.folder)
        done = len(self.figures) + len(self.failed)
        self.say(f"[{done}/{len(self.runs)}] {run.name}: {told}{watch.left_text()}")

    def _write(self) -> tuple[SweepTable, list[Path]]:
        table = sweep_table([self._row(run) for run in self.runs])
        return table, write_outputs(self.out, table, asdict(self.measure))

    def _row(self, run: PlannedRun) -> RunRow:
        found, why = self.figures.get(run.folder), self.failed.get(run.folder)
        state = DONE if found else WAITING if why is None else FAILED
        folder = run.folder.relative_to(self.out).as_posix()
        return RunRow(run.variant.label, run.seed, state, run.variant.changes, folder, found, why or "")


def _short_hash(signals: SignalConfig) -> str:
    return sha256(json.dumps(signal_to_dict(signals), sort_keys=True).encode()).hexdigest()[:8]
