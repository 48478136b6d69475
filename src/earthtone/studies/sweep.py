"""A grid of trainings: each in a process of its own, each once, and one table of what they reached on val."""

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import torch

from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.data.remote import refuse_remote
from earthtone.device import choose_device
from earthtone.errors import ConfigError, EarthtoneError, flat
from earthtone.evaluate.label_match import LabelMatch
from earthtone.files import only_writer, write_text_atomic
from earthtone.models.warm_start import check_start
from earthtone.options import SweepOptions
from earthtone.plugins import modules_for_processes
from earthtone.progress import duration_text, progress_bar
from earthtone.signal.config import SignalConfig, signal_to_dict
from earthtone.studies.processes import Ended, Job, run_jobs
from earthtone.studies.study import Attempt, StoppedError, Study
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
from earthtone.studies.sweep_page import RunRow, SweepTable, runs_csv, sweep_page, sweep_table, variants_csv
from earthtone.train.callbacks import Stopping
from earthtone.train.checkpoint import STATE_FILE, last_step, open_run
from earthtone.train.distributed import World
from earthtone.train.recipe import Recipe
from earthtone.value_types import takes

OUTPUT_FILE = "output.log"
_THREADS, _DEVICES = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
_LOOK_SECONDS = 1.0


class StepProgress:
    """One bar over the steps of all runs, read from their logs; `steps` is how many each run has, by its folder."""

    def __init__(self, steps: Mapping[Path, int]) -> None:
        self._steps = dict(steps)
        self._at = self._read()
        self._first, self._since = sum(self._at.values()), time.monotonic()
        self.bar = progress_bar(sum(steps.values()), "sweep", "step", done=self._first)
        self._next = 0.0

    def _read(self) -> dict[Path, int]:
        return {run: min(last_step(run), total) for run, total in self._steps.items()}

    def look(self) -> None:
        """Read the logs, once a second at most."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LOOK_SECONDS
        self._at = self._read()
        self.bar.update(sum(self._at.values()) - self.bar.n)

    def drop(self, run: Path) -> None:
        """Count a run no more: it failed."""
        del self._steps[run]
        self._first -= self._at.pop(run)
        self.bar.total = sum(self._steps.values())

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
            self.bar.clear()


def job_environments(jobs: int, recipes: Sequence[Recipe]) -> list[dict[str, str]]:
    """Return the environment variables for each of `jobs` runs at a time; none for a single one, which has the machine.

    Threads are divided, unless OMP_NUM_THREADS says how many; CUDA devices are dealt out in turn. Raises ConfigError
    where runs that take several devices each would run at once.
    """
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


@dataclass(frozen=True)
class Swept:
    """How a call ended."""

    out: Path
    table: SweepTable
    stopped_by: str | None = None
    """The signal that stopped it before all runs were done."""

    def count(self, state: str) -> int:
        """Return how many runs are `done`, `failed` or `waiting`."""
        return sum(run.state == state for run in self.table.runs)


def chosen_grid(options: SweepOptions) -> Grid:
    """Return what is varied: the grid of the file, or that of `set`, with the seeds. Raises ConfigError."""
    grid = Grid(read_axes(options.set)) if options.grid is None else options.grid
    grid = grid if isinstance(grid, Grid) else read_grid(Path(grid))
    return grid if options.seeds is None else replace(grid, seeds=tuple(options.seeds))


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
    out = Path(options.out)
    measure = Measure(options.match, options.probe, options.probe_label, options.probe_columns)
    runs = plan(options.recipe, chosen_grid(options), out)
    environments = job_environments(options.jobs, [run.recipe for run in runs])
    match = None if measure.match is None else LabelMatch.parse(measure.match)
    check_probe(measure)
    modules_for_processes(used_plugins(run.recipe for run in runs))  # refused before anything is packed
    for run in runs:
        if not (run.folder / STATE_FILE).exists():  # a run that was begun needs them no more
            check_start(run.recipe.model)
    with ExitStack() as stack:
        stack.enter_context(only_writer(out, "sweeping"))
        tables: dict[SignalConfig, Table] = {}
        for signals in dict.fromkeys(run.recipe.signal for run in runs):
            digest = sha256(json.dumps(signal_to_dict(signals), sort_keys=True).encode()).hexdigest()
            keep = out / f"pairs-{digest[:8]}.lance"
            table = stack.enter_context(
                open_table(
                    options.data, signals, columns=options.columns, split_by=options.split_by,
                    buffer_km=options.buffer_km, exclude=options.exclude, keep=keep,
                )
            )  # fmt: skip
            check_table(table, signals, match)
            tables[signals] = table
        return _Sweep(runs, tables, measure, options).go(environments)


def used_plugins(recipes: Iterable[Recipe]) -> list[tuple[str, str]]:
    """Return kinds and names of what recipes may have of plug-ins."""
    return [
        used
        for recipe in recipes
        for used in (
            ("loss", recipe.loss.name),
            ("encoder", recipe.model.image_encoder),
            ("encoder", recipe.model.audio_encoder),
        )
    ]


class _Sweep:
    """One call: its runs, with what is known of each, and the table after every one."""

    def __init__(
        self, runs: Sequence[PlannedRun], tables: Mapping[SignalConfig, Table], measure: Measure, options: SweepOptions
    ) -> None:
        self.out, self.tables, self.measure, self.say = Path(options.out), tables, measure, options.say
        self.identity = {key: measure.identity(table.fingerprint) for key, table in tables.items()}
        steps: dict[str, int] = {}
        for run in runs:
            if run.variant.label not in steps:  # the same for every seed
                steps[run.variant.label] = run_steps(run, tables[run.recipe.signal])
        self.study, self.stopping = Study(runs, self.read), Stopping(World())
        self.progress = StepProgress({run.folder: steps[run.variant.label] for run in runs})

    def go(self, environments: Sequence[Mapping[str, str]]) -> Swept:
        study, stopping = self.study, self.stopping
        self.say(f"{len(study.units)} runs, {len(study.results)} of them done before")
        self.table = self.write()
        try:
            with stopping.signals():
                stopping.listen()
                jobs = [self.job(run) for run in study.waiting]
                ends = run_jobs(jobs, environments, stopping, started=self.started, tick=self.progress.look)
                study.run(map(self.attempt, ends), self.after)
        finally:
            self.progress.bar.close()
        stopped_by = stopping.stopped_by if study.waiting else None
        return Swept(self.out, self.table, stopped_by.name if stopped_by else None)

    def read(self, run: PlannedRun) -> RunFigures | None:
        """Return the figures of a run; None where it has not ended, or something else was measured.

        Raises ConfigError where its folder is of another recipe or other pairs.
        """
        identity = self.identity[run.recipe.signal]
        ended = open_run(run.folder, {**flat(run.recipe.decisive()), "data": identity["data"]}, resume=True)
        return read_figures(run.folder, identity) if ended else None

    def job(self, run: PlannedRun) -> Job[PlannedRun]:
        order = {
            "run": str(run.folder), "table": str(self.tables[run.recipe.signal].path), "measure": asdict(self.measure),
            "resume": (run.folder / STATE_FILE).exists(),  # of several processes the first writes it at once
            "import": modules_for_processes(()),
        }  # fmt: skip
        write_text_atomic(run.folder / RECIPE_FILE, run.recipe.to_yaml())
        command = [sys.executable, "-m", "earthtone.studies.sweep_worker", json.dumps(order)]
        return Job(run, command, run.folder / OUTPUT_FILE)

    def started(self, run: PlannedRun) -> None:
        self.progress.clear()
        self.say(f"{run.name}: starts; its output: {run.folder / OUTPUT_FILE}")

    def attempt(self, end: Ended[PlannedRun]) -> Attempt[PlannedRun, RunFigures]:
        def figures() -> RunFigures:
            if found := self.read(end.unit):
                return found
            if end.stopped and self.stopping.stopped_by is not None:
                raise StoppedError(end.reason())
            raise EarthtoneError(end.reason())

        self.study.seconds[end.unit.name] = end.seconds
        return end.unit, figures

    def after(self, run: PlannedRun) -> None:
        study, progress = self.study, self.progress
        progress.clear()
        self.table = self.write()
        if found := study.results.get(run.name):
            outcome = f"score {found.figures['score']:.3f} on val; {duration_text(study.seconds[run.name])}"
        elif run.name in study.failed:
            outcome = f"failed: {study.failed[run.name]}"
            progress.drop(run.folder)
        else:
            self.say(str(study.stopped))
            return
        done = len(study.results) + len(study.failed)
        self.say(f"[{done}/{len(study.units)}] {run.name}: {outcome}{progress.left_text()}")

    def write(self) -> SweepTable:
        study = self.study
        rows = [
            RunRow(
                run.variant.label, run.seed, study.state(run), run.variant.changes,
                run.folder.relative_to(self.out).as_posix(), study.results.get(run.name), study.why(run),
            )
            for run in study.units
        ]  # fmt: skip
        table = sweep_table(rows)
        sweep_page(table, asdict(self.measure)).write(self.out, "sweep", variants_csv(table))
        write_text_atomic(self.out / "runs.csv", runs_csv(table))
        return table
