"""A suite from models and a folder of sets to pages: cell after cell, each kept, so that a stopped call goes on."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from earthtone.atomic import only_writer
from earthtone.data.labelled import LabelledSet
from earthtone.errors import ConfigError, DataError, EarthtoneError
from earthtone.evaluate.suite.closeup import read_close_up, write_close_up
from earthtone.evaluate.suite.found import Search, find_sets
from earthtone.evaluate.suite.models import SuiteModel, identify_models, same_weights
from earthtone.evaluate.suite.options import SuiteOptions
from earthtone.evaluate.suite.pages import write_pages
from earthtone.evaluate.suite.plan import PlannedCell, check_tasks, plan_cells
from earthtone.evaluate.suite.store import ResultStore
from earthtone.evaluate.suite.table import DONE, FAILED, SKIPPED, WAITING, Cell, Known, SuiteTable, suite_table
from earthtone.evaluate.suite.tasks import TASKS, Places
from earthtone.evaluate.suite.words import Notes
from earthtone.evaluate.task_result import TaskResult
from earthtone.progress import duration_text
from earthtone.wording import did_you_mean

Say = Callable[[str], None]
_log = logging.getLogger(__name__)


def run_suite(
    models: Sequence[str],
    data_root: str | Path,
    out: str | Path,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    datasets: Sequence[str] = (),
    baseline: str | None = None,
    options: SuiteOptions | None = None,
    say: Say = _log.info,
) -> SuiteTable:
    """Return the table of all models in all tasks on all sets below `data_root`; write it to `out` after every cell.

    `out` gets `suite.html`, `suite.csv`, `suite.md` and `results/`, one JSON a cell, named by the model's weights, the
    data's files and the settings: what is there is not run again, and nothing of other weights, files or settings is
    taken for it. A cell that fails is named in the table and run again by the next call. `baseline` (the first model)
    is whom all others are compared with. Raises ConfigError, DataError, ModelError for what concerns the whole suite.
    """
    options = options or SuiteOptions()
    check_tasks(tasks)
    _check_baseline(baseline, models)
    search = find_sets(Path(data_root), {TASKS[name].reads for name in tasks}, datasets)
    if not search.sets:
        raise DataError(f"no data set to run {', '.join(tasks)} on below {data_root}: {'; '.join(search.lines())}")
    for line in search.lines():
        say(line)
    heard = any(TASKS[name].hears and any(found.kind == TASKS[name].reads for found in search.sets) for name in tasks)
    identified = identify_models(models, sound=heard)
    planned = plan_cells(identified, search.sets, tasks, options)
    suite = _Suite(Path(out), planned, baseline or models[0], options, say, _notes(search, identified, options))
    with only_writer(suite.out, "measuring", "results", "why"):
        return suite.run()


@dataclass
class _Suite:
    """What is known of each cell while a suite runs."""

    out: Path
    planned: Sequence[PlannedCell]
    baseline: str
    options: SuiteOptions
    say: Say
    notes: Notes
    known: Known = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> SuiteTable:
        store = ResultStore(self.out / "results")
        cells = [self._before(planned, store) for planned in self.planned]
        for line in dict.fromkeys(cell.why for cell in cells if cell.state == SKIPPED):
            self.say(line)
        there = sum(cell.state == DONE for cell in cells)
        others = store.others({store.path(planned.key) for planned in self.planned})
        self.say(
            f"{len(cells)} cells, {there} of them done before"
            + (
                f"; {others} results of other models, data or settings lie beside them and are not shown"
                if others
                else ""
            )
        )
        table = self._write(cells)
        waiting = [at for at, cell in enumerate(cells) if cell.state == WAITING]
        for done, at in enumerate(waiting):
            self.say(f"[{done + 1}/{len(waiting)}] {self.planned[at].name}")
            start = time.monotonic()
            cells[at] = self._measure(self.planned[at], store)
            self.seconds.setdefault(self.planned[at].task, []).append(time.monotonic() - start)
            table = self._write(cells)
            self._tell(cells[at], waiting[done + 1 :])
        return table

    def _before(self, planned: PlannedCell, store: ResultStore) -> Cell:
        cell = Cell(planned.task, planned.found.name, planned.model.spec, WAITING, groups=_groups(planned))
        if planned.skipped is not None:
            return replace(cell, state=SKIPPED, why=planned.skipped)
        found = store.read(planned.key)
        if found is None:
            return cell
        seen = read_close_up(self._close_up_path(planned, store))
        return replace(cell, state=DONE, result=_named(found, planned), close_up=seen)

    def _measure(self, planned: PlannedCell, store: ResultStore) -> Cell:
        cell = Cell(planned.task, planned.found.name, planned.model.spec, DONE, groups=_groups(planned))
        if store.read(planned.key) is not None:  # of a model with the same weights, since the suite began
            return self._before(planned, store)
        places = Places(self.out / "work" / store.path(planned.key).stem, self.out / "features")
        task = TASKS[planned.task]
        given = (planned.model.spec, planned.found, planned.settings, self.options, places)
        try:
            result = task.run(*given)
            if task.close_up is not None:  # before the result: what is done has all its parts
                cell = replace(cell, close_up=task.close_up(*given))
                write_close_up(self._close_up_path(planned, store), cell.close_up or {})
        except EarthtoneError as error:
            return replace(cell, state=FAILED, why=str(error))
        except Exception as error:  # one cell in a night of many: told in the table, with its trace for --debug
            _log.info("%s", planned.name, exc_info=True)
            return replace(cell, state=FAILED, why=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        store.write(planned.key, _named(result, planned))
        return replace(cell, result=_named(result, planned))

    def _close_up_path(self, planned: PlannedCell, store: ResultStore) -> Path:
        return self.out / "why" / store.path(planned.key).name

    def _write(self, cells: Sequence[Cell]) -> SuiteTable:
        table = suite_table(cells, self.baseline, resamples=self.options.resamples, known=self.known)
        write_pages(self.out, table, self.notes)
        return table

    def _tell(self, cell: Cell, waiting: Sequence[int]) -> None:
        figure = cell.figure
        told = f"failed: {cell.why}" if figure is None else f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
        line = f"    {told}; {self.seconds[cell.task][-1]:.0f} s"
        if waiting:
            left = sum(self._expected(self.planned[at].task) for at in waiting)
            line += f"; about {duration_text(left)} left for {len(waiting)} more, next {self.planned[waiting[0]].name}"
        self.say(line)

    def _expected(self, task: str) -> float:
        """Seconds of a cell: the mean of those of its task, or of all."""
        known = self.seconds.get(task) or [second for every in self.seconds.values() for second in every]
        return sum(known) / len(known)


def _check_baseline(baseline: str | None, models: Sequence[str]) -> None:
    if baseline is not None and baseline not in models:
        raise ConfigError(f"--baseline {baseline}; {did_you_mean(baseline, models)}one of --models expected")


def _named(result: TaskResult, planned: PlannedCell) -> TaskResult:
    """The result under the names of the table: the same weights may have been measured under another."""
    return replace(result, model=planned.model.spec, dataset=planned.found.name)


def _groups(planned: PlannedCell) -> Mapping[str, str] | None:
    data = planned.found.data
    if not isinstance(data, LabelledSet):
        return None
    return {item.id: item.group for item in data.items if item.group is not None} or None


def _notes(search: Search, models: Sequence[SuiteModel], options: SuiteOptions) -> Notes:
    quick = ["--quick: few epochs and light heads. These figures show that everything runs; they are no results."]
    differences = [f"{found.name}: {warning}" for found in search.sets for warning in found.data.warnings]
    return Notes(
        urgent=(*(quick if options.quick else ()), *same_weights(models), *search.unusable),
        remarks=(*search.remarks(), *differences),
    )
