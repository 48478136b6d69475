"""Many models on many sets in many tasks: cells are planned, each is measured once and kept, pages show them all."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from earthtone import __version__
from earthtone.data.labelled.items import LabelledSet
from earthtone.device import choose_device, choose_precision
from earthtone.encode.engine import FeatureOptions
from earthtone.errors import ConfigError, DataError, ModelError, NewerFormatError, did_you_mean
from earthtone.evaluate.audio_probe import evaluate_audio
from earthtone.evaluate.audiovisual import evaluate_audiovisual
from earthtone.evaluate.finetune import evaluate_finetune
from earthtone.evaluate.probe import evaluate_probe
from earthtone.evaluate.results import TaskResult, read_task_result, write_task_result
from earthtone.evaluate.segment import evaluate_segment
from earthtone.files import FORMATS, only_writer, write_text_atomic
from earthtone.models.backbone import open_backbone
from earthtone.models.storage import model_fingerprint, open_model
from earthtone.options import SuiteOptions
from earthtone.pages import figure_text
from earthtone.progress import duration_text
from earthtone.studies.study import DONE, Study
from earthtone.studies.suite_page import (
    Cell,
    Compared,
    FeatureView,
    Name,
    SuiteTable,
    read_feature_view,
    suite_csv,
    suite_page,
    suite_table,
    view_features,
)
from earthtone.studies.suite_sets import IMAGES, MASKS, PAIRS, SOUNDS, FoundSet, find_sets
from earthtone.value_types import takes

# Models: opened once to see that they are there, what they can, and which weights they have.


@dataclass(frozen=True)
class SuiteModel:
    """One model, a row of the table."""

    spec: str
    """As the user named it."""
    image: str
    """Fingerprint of its image encoder."""
    both_towers: str | None = None
    """Fingerprint of image and sound encoder; None without a sound encoder."""


def identify_models(specs: Sequence[str], *, sound: bool) -> list[SuiteModel]:
    """Return the models in order. Raises ModelError for one that cannot be opened, ConfigError for one named twice.

    `sound` asks whether they have a sound encoder too. One model is held at a time.
    """
    if not specs:
        raise ConfigError("--models is empty; one model or more expected")
    if twice := sorted({spec for spec in specs if specs.count(spec) > 1}):
        raise ConfigError(f"--models names {twice[0]!r} twice; each model once")
    return [SuiteModel(spec, open_backbone(spec).fingerprint, _both_towers(spec) if sound else None) for spec in specs]


def _both_towers(spec: str) -> str | None:
    try:
        return model_fingerprint(open_model(spec))
    except ModelError:  # as a backbone it could be opened
        return None


def same_weights(models: Sequence[SuiteModel]) -> list[str]:
    """Return a line for each model whose image encoder is that of an earlier one."""
    first: dict[str, str] = {}
    others = [(model.spec, first.setdefault(model.image, model.spec)) for model in models]
    return [
        f"{spec} and {other} have the same image encoder, weight by weight" for spec, other in others if spec != other
    ]


# Tasks: what each needs, what its figures depend on, how it is run.


_QUICK_EPOCHS = 2


@dataclass(frozen=True)
class SuiteTask:
    """One task of a suite: what it reads, how it is run."""

    reads: str
    """The kind of sets it is for."""
    evaluate: Callable[..., TaskResult]
    hears: bool = False
    """Whether it needs a sound encoder."""
    trains: bool = False
    """Whether it trains a network, and goes on in the middle of it; else it keeps features of a frozen one."""


#: By the names that `earthtone evaluate` knows them by, cheap ones first.
TASKS: Mapping[str, SuiteTask] = {
    "probe": SuiteTask(IMAGES, evaluate_probe),
    "segment": SuiteTask(MASKS, evaluate_segment, trains=True),
    "audiovisual": SuiteTask(PAIRS, evaluate_audiovisual, hears=True),
    "audio": SuiteTask(SOUNDS, evaluate_audio, hears=True),
    "finetune": SuiteTask(IMAGES, evaluate_finetune, trains=True),
}


def _settings(task: str, options: SuiteOptions) -> dict[str, Any]:
    """Return what the figures of a task depend on beside model and data."""
    if TASKS[task].hears:
        return {"features": "encoder", "resamples": options.resamples}
    images = {"bands": options.bands, "value_range": options.value_range}
    settings: dict[str, Any] = {name: value for name, value in images.items() if value is not None}
    settings["resamples"] = options.resamples
    if task == "probe":
        return {**settings, "methods": ["logistic"] if options.quick else ["logistic", "knn"], "pixels": options.pixels}
    epochs = options.epochs or (_QUICK_EPOCHS if options.quick else None)
    settings |= {"protocol": "modern", "epochs": epochs, "seeds": list(options.seeds)}
    if task == "finetune":
        return {**settings, "pixels": options.pixels}
    head = "linear" if options.quick else "deeplabv3plus"
    return {**settings, "head": head, "frozen": options.quick, "patch_pixels": options.pixels}


# Cells: every fitting task on every set by every model, and why some are left out.


KEY = "suite"  # the fact of a kept result that holds its cell's key
_FORMAT = 1  # of what a key means


@dataclass(frozen=True)
class PlannedCell:
    """One task on one set by one model."""

    task: str
    found: FoundSet
    model: SuiteModel
    settings: Mapping[str, Any]
    key: Mapping[str, Any]
    """All that its figures depend on."""

    @property
    def name(self) -> str:
        """Return `TASK on SET: MODEL`."""
        return f"{self.task} on {self.found.name}: {self.model.spec}"

    @property
    def file(self) -> str:
        """Return the name of its result: letters, digits, `-` and `_`, a part of them a hash of the key."""
        digest = hashlib.blake2b(_key_text(self.key).encode(), digest_size=12).hexdigest()
        dataset = re.sub(r"[^A-Za-z0-9_-]+", "_", str(self.key["dataset"]))[:60] or "_"
        return f"{self.task}-{dataset}-{digest}.json"

    @property
    def skipped(self) -> str | None:
        """Return why it is not run; None where it is."""
        deaf = TASKS[self.task].hears and self.model.both_towers is None
        return f"model {self.model.spec} has no sound encoder: {self.task} skipped" if deaf else None

    def cell(self, state: str, why: str = "") -> Cell:
        """Return the cell of the table, without a result."""
        return Cell(self.task, self.found.name, self.model.spec, state, why=why, groups=self.found.groups)


def plan_cells(
    models: Sequence[SuiteModel], sets: Sequence[FoundSet], tasks: Sequence[str], options: SuiteOptions
) -> list[PlannedCell]:
    """Return all cells, column by column: so an unfinished table has complete columns."""
    cells = []
    for name, found, model in product(tasks, sets, models):
        task, settings = TASKS[name], _settings(name, options)
        if found.kind != task.reads:
            continue
        key = {
            "format": _FORMAT,
            "earthtone": __version__,
            "task": name,
            "dataset": found.name,
            "data": found.fingerprint,
            "model": model.both_towers if task.hears else model.image,
            "drawn": model.spec if model.spec.startswith("random:") else None,  # anew for each seed
            "settings": settings,
            "device": options.device,
            "precision": choose_precision(options.precision, options.device),
        }
        cells.append(PlannedCell(name, found, model, settings, key))
    return cells


def _key_text(key: Any) -> str:
    return json.dumps(key, sort_keys=True)


# A suite from models and a folder of sets to pages: cell after cell, each kept, so that a stopped call goes on.


@takes(SuiteOptions)
def run_suite(options: SuiteOptions) -> SuiteTable:
    """Return the table of all models in all tasks on all sets below `data_root`; write it to `out` after every cell.

    `out` gets `suite.html`, `suite.csv`, `suite.md` and `results/`, one JSON a cell, named by the model's weights, the
    data's files and the settings: what is there is not run again, and nothing of other weights, files or settings is
    taken for it. A cell that fails is named in the table and run again by the next call. All models are compared with
    `baseline` (the first). Raises ConfigError, DataError, ModelError for what concerns the whole suite.
    """
    options = replace(options, device=choose_device(options.device))
    models, tasks, root = options.models, [*(options.tasks or TASKS)], Path(options.data_root)
    if options.baseline is not None and options.baseline not in models:
        hint = did_you_mean(options.baseline, models)
        raise ConfigError(f"--baseline {options.baseline}; {hint}one of --models expected")
    search = find_sets(root, {TASKS[name].reads for name in tasks}, options.datasets)
    if not search.sets:
        raise DataError(f"no data set to run {', '.join(tasks)} on below {root}: {'; '.join(search.lines())}")
    for line in search.lines():
        options.say(line)
    kinds = {found.kind for found in search.sets}
    identified = identify_models(models, sound=any(TASKS[name].hears and TASKS[name].reads in kinds for name in tasks))
    planned = plan_cells(identified, search.sets, tasks, options)
    quick = ["--quick: few epochs and light heads. These figures show that everything runs; they are no results."]
    warnings = [*(quick if options.quick else []), *same_weights(identified), *search.unusable]
    differences = [f"{found.name}: {warning}" for found in search.sets for warning in found.data.warnings]
    with only_writer(Path(options.out), "measuring", "results", "why"):
        return _Suite(planned, options, warnings, [*search.remarks(), *differences]).run()


class _Suite:
    """One call: its cells, with what is known of each, and the pages after every one."""

    def __init__(
        self, planned: Sequence[PlannedCell], options: SuiteOptions, warnings: Sequence[str], remarks: Sequence[str]
    ) -> None:
        self.out, self.options, self.warnings, self.remarks = Path(options.out), options, warnings, remarks
        self.compared: dict[Name, Compared] = {}
        skipped = {cell.name: cell.skipped for cell in planned if cell.skipped is not None}
        self.study = Study(planned, self.read, skipped)

    def run(self) -> SuiteTable:
        study, say = self.study, self.options.say
        for line in dict.fromkeys(study.skipped.values()):
            say(line)
        files = {cell.file for cell in study.units}
        others = sum(path.name not in files for path in (self.out / "results").glob("[!.]*.json"))
        beside = f"; {others} results of other models, data or settings lie beside them and are not shown"
        say(f"{len(study.units)} cells, {len(study.results)} of them done before{beside if others else ''}")
        self.table = self.write()
        study.run(study.in_turn(study.waiting, self.measure, say), self.after)
        return self.table

    def read(self, planned: PlannedCell) -> Cell | None:
        """Return the kept cell; None where there is none, or a damaged one, which is then measured again."""
        try:
            found = read_task_result(self.out / "results" / planned.file)
        except NewerFormatError:
            raise
        except DataError:
            return None
        if _key_text(found.facts.get(KEY)) != _key_text(planned.key):
            return None
        view = read_feature_view(self.out / "why" / planned.file)
        return replace(planned.cell(DONE), result=_named(found, planned), features=view)

    def measure(self, planned: PlannedCell) -> Cell:
        task, options, features = TASKS[planned.task], self.options, self.out / "features"
        settings = {"method" if name == "methods" else name: value for name, value in planned.settings.items()}
        work = {"out": self.out / "work" / Path(planned.file).stem} if task.trains else {"cache": features}
        result = task.evaluate(
            planned.model.spec, planned.found.path, dataset=planned.found.known, device=options.device,
            precision=options.precision, **work, **settings,
        )  # fmt: skip
        view = self.view(planned, features) if planned.task == "probe" else None
        if view is not None:  # before the result: what is done has all its parts
            said = {"format": FORMATS["view of features"], **view}
            write_text_atomic(self.out / "why" / planned.file, json.dumps(said) + "\n")
        result = _named(result, planned)
        kept = replace(result, facts={**result.facts, KEY: dict(planned.key)})
        write_task_result(self.out / "results" / planned.file, kept)
        return replace(planned.cell(DONE), result=result, features=view)

    def view(self, planned: PlannedCell, cache: Path) -> FeatureView:
        """Return what the probe's features look like; who asks for the same features finds them in the cache."""
        options, data = self.options, planned.found.data
        assert isinstance(data, LabelledSet)  # noqa: S101 - the task reads classes alone
        features = FeatureOptions(
            bands=options.bands, value_range=options.value_range, precision=options.precision, cache=cache
        )
        backbone = open_backbone(planned.model.spec, pixels=options.pixels, device=options.device)
        return view_features(backbone, data, features)

    def write(self) -> SuiteTable:
        study, options = self.study, self.options
        cells = [study.results.get(cell.name) or cell.cell(study.state(cell), study.why(cell)) for cell in study.units]
        baseline = options.baseline or options.models[0]
        table = suite_table(cells, baseline, resamples=options.resamples, known=self.compared)
        suite_page(table, self.warnings, self.remarks).write(self.out, "suite", suite_csv(table))
        return table

    def after(self, planned: PlannedCell) -> None:
        self.table = self.write()
        study = self.study
        cell, outcome = study.results.get(planned.name), f"failed: {study.why(planned)}"
        if cell is not None and (figure := cell.figure) is not None:
            outcome = figure_text(figure.value, figure.low, figure.high)
        line = f"    {outcome}; {study.seconds[planned.name]:.0f} s"
        if waiting := study.waiting:
            left = duration_text(sum(self.expected_seconds(each.task) for each in waiting))
            line += f"; about {left} left for {len(waiting)} more, next {waiting[0].name}"
        self.options.say(line)

    def expected_seconds(self, task: str) -> float:
        """Return the mean of the cells of a task, or of all."""
        seconds = self.study.seconds
        known = [seconds[cell.name] for cell in self.study.units if cell.task == task and cell.name in seconds]
        known = known or list(seconds.values())
        return sum(known) / len(known)


def _named(result: TaskResult, planned: PlannedCell) -> TaskResult:
    """Return the result under the names of the table: the same weights may have been measured under another."""
    return replace(result, model=planned.model.spec, dataset=planned.found.name)
