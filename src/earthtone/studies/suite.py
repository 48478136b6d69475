"""Many models on many sets in many tasks: found, planned, each cell measured once and kept."""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from earthtone import __version__
from earthtone.data.labelled import open_labelled, open_masked
from earthtone.data.labelled.classes import LAYOUTS, labelled_manifest
from earthtone.data.labelled.items import (
    LABELLED,
    MASKED,
    LabelledItem,
    LabelledSet,
    MaskedItem,
    MaskedSet,
    Published,
    folders,
    known_set,
    recognised,
)
from earthtone.data.labelled.masked_sets import masked_manifest
from earthtone.device import choose_device, choose_precision
from earthtone.embed.engine import FeatureOptions
from earthtone.embed.store import file_state
from earthtone.errors import ConfigError, DataError, EarthtoneError, ModelError, did_you_mean
from earthtone.evaluate.audiovisual import evaluate_audiovisual
from earthtone.evaluate.finetune import evaluate_finetune
from earthtone.evaluate.probe import evaluate_probe
from earthtone.evaluate.results import TaskResult, read_task_result, write_task_result
from earthtone.evaluate.segment import evaluate_segment
from earthtone.evaluate.sounds import evaluate_audio
from earthtone.files import only_writer
from earthtone.models.backbone import open_backbone
from earthtone.models.storage import model_fingerprint, open_model
from earthtone.options import SuiteOptions
from earthtone.progress import duration_text
from earthtone.studies.suite_page import (
    DONE,
    FAILED,
    SKIPPED,
    WAITING,
    Cell,
    Compared,
    FeatureView,
    Name,
    Notes,
    SuiteTable,
    read_feature_view,
    suite_table,
    view_features,
    write_feature_view,
    write_pages,
)
from earthtone.value_types import takes

# What is asked of a suite, apart from models and data.


# The models of a suite: opened once to see that they are there, what they can, and which weights they have.


@dataclass(frozen=True)
class SuiteModel:
    """One row of the table."""

    spec: str
    """As the user named it."""
    image: str
    """Fingerprint of its image encoder."""
    whole: str | None = None
    """Fingerprint of both towers; None without a sound encoder."""

    @property
    def drawn(self) -> str | None:
        """The spec of weights that are drawn anew for each seed, which no fingerprint tells; None for others."""
        return self.spec if self.spec.startswith("random:") else None


def identify_models(specs: Sequence[str], *, sound: bool) -> list[SuiteModel]:
    """Return the models in order. Raises ModelError for one that cannot be opened, ConfigError for one named twice.

    `sound` asks whether they have a sound encoder too. One model is held at a time.
    """
    if not specs:
        raise ConfigError("--models is empty; one model or more expected")
    twice = sorted({spec for spec in specs if specs.count(spec) > 1})
    if twice:
        raise ConfigError(f"--models names {twice[0]!r} twice; each model once")
    return [SuiteModel(spec, open_backbone(spec).fingerprint, _whole(spec) if sound else None) for spec in specs]


def same_weights(models: Sequence[SuiteModel]) -> list[str]:
    """Return a line for each model whose image encoder is that of an earlier one."""
    first: dict[str, str] = {}
    lines = []
    for model in models:
        other = first.setdefault(model.image, model.spec)
        if other != model.spec:
            lines.append(f"{model.spec} and {other} have the same image encoder, weight by weight")
    return lines


def _whole(spec: str) -> str | None:
    try:
        return model_fingerprint(open_model(spec))
    except ModelError:  # as a backbone it could be opened
        return None


# Which data sets lie below a folder, and for which kind of task each is.


IMAGES, SOUNDS, PAIRS, MASKS = "images", "sounds", "pairs", "masks"
#: Of the named sets, those that are not images with a class each.
_KINDS = {"advance": PAIRS, "esc50": SOUNDS, "urbansound8k": SOUNDS, **dict.fromkeys(MASKED, MASKS)}


@dataclass(frozen=True)
class FoundSet:
    """One data set in its folder."""

    name: str
    """As the table shows it: its published name, or its folder's."""
    path: Path
    known: str | None
    """Its published name."""
    kind: str
    """`images`, `sounds`, `pairs` of both, or `masks`."""
    data: LabelledSet | MaskedSet
    fingerprint: str
    """Of ids, labels, splits and files; not of where they lie."""


@dataclass(frozen=True)
class Search:
    """What was found below a folder, and lines on all that was not."""

    sets: tuple[FoundSet, ...]
    missing: tuple[str, ...]
    """Named sets of the wanted kinds that are not there."""
    unusable: tuple[str, ...]
    """Sets that are there and cannot be opened, with the reason."""
    others: tuple[str, ...]
    """Folders that hold no labelled set."""

    root: Path
    """Where it was looked for."""

    def remarks(self) -> list[str]:
        """Return a line on the sets that are not there, and one on the folders that hold none."""
        missing = [f"not found under {self.root}: {', '.join(self.missing)}"]
        aside = [f"left aside, neither a named set nor a manifest with labels or masks: {', '.join(self.others)}"]
        return [*(missing if self.missing else []), *(aside if self.others else [])]

    def lines(self) -> list[str]:
        """Return all that is to be said, a line a set."""
        missing = [f"{name}: not found under {self.root}" for name in self.missing]
        return [*missing, *self.unusable, *self.remarks()[bool(missing) :]]


def find_sets(root: Path, kinds: Iterable[str], names: Sequence[str] = ()) -> Search:
    """Return the sets of these kinds in the folders directly below `root`, by name.

    A set is known by its folder's name (`UCMerced_LandUse`, also with a size behind it: `deepglobe256`) or layout; a
    folder with a manifest that has labels or masks is one too. `names` chooses some. Nothing is decoded. Raises
    DataError without a folder, ConfigError for a name that is neither known nor there.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder; one with a folder a data set was expected: --data_root FOLDER")
    wanted = [_checked_name(root, name) for name in names]
    kinds = set(kinds)
    sets: list[FoundSet] = []
    unusable, others = [], []
    for folder in folders(root):
        known, masked = _recognise(folder)
        if wanted and not {folder.name, known} & set(wanted):
            continue
        if masked is None:
            others.append(folder.name)
            continue
        if known is not None and _KINDS.get(known, IMAGES) not in kinds:
            continue  # as large sets are not to be listed for nothing
        try:
            found = _opened(folder, known, masked)
        except DataError as error:
            unusable.append(f"{known or folder.name}: cannot be opened: {error}")
            continue
        if found.kind in kinds:
            sets.append(found)
    there = {found.known for found in sets} | {line.split(":")[0] for line in unusable}
    missing = [
        name
        for name in (*LABELLED, *MASKED)
        if name not in there and _KINDS.get(name, IMAGES) in kinds and (not wanted or name in wanted)
    ]
    return Search(tuple(_own_names(sets)), tuple(missing), tuple(unusable), tuple(others), root)


def set_fingerprint(data: LabelledSet | MaskedSet) -> str:
    """Return a hash of ids, labels, splits, folds, groups, colours, and of what all files are."""
    digest = hashlib.blake2b(digest_size=16)
    for item in data.items:
        digest.update(repr(_said(item)).encode("utf-8", "surrogateescape"))
    if isinstance(data, MaskedSet):
        palette = data.palette
        said = (palette.names, sorted(palette.values.items()), sorted(palette.colours.items()), palette.binarised)
        digest.update(repr((said, sorted(map(str, palette.ignored)))).encode())
    return digest.hexdigest()


def _said(item: LabelledItem | MaskedItem) -> tuple[object, ...]:
    if isinstance(item, MaskedItem):
        return (item.id, item.split, file_state(item.image), file_state(item.mask))
    told = () if item.image_gsd_m is None else (item.image_gsd_m,)
    states = file_state(item.image), file_state(item.audio)
    return (item.id, item.label, item.split, item.fold, item.group, *states, *told)


def _checked_name(root: Path, name: str) -> str:
    if (root / name).is_dir() and Path(name).name == name:
        return name
    try:
        return known_set(name, {**LABELLED, **MASKED})
    except ConfigError:
        there = [folder.name for folder in folders(root)]
        hint = did_you_mean(name, [*LABELLED, *MASKED, *there])
        raise ConfigError(
            f"--datasets {name}; {hint}a folder below {root} or one of {', '.join((*LABELLED, *MASKED))} expected"
        ) from None


def _recognise(folder: Path) -> tuple[str | None, bool | None]:
    """The published name if there is one, and whether it has masks; (None, None) for a folder of something else."""
    name = _by_name(folder, MASKED)
    if name is not None:
        return name, True
    layout = next((known for known, (fits, _) in LAYOUTS.items() if fits(folder)), None)
    name = layout or _by_name(folder, LABELLED)
    if name is not None:
        return name, False
    try:
        if masked_manifest(folder) is not None or {"images", "masks"} <= {inside.name for inside in folders(folder)}:
            return None, True
        return None, False if labelled_manifest(folder, None, None) is not None else None
    except DataError:
        return None, False  # its own error is told when it is opened


def _by_name(folder: Path, sets: dict[str, Published]) -> str | None:
    whole = folder.resolve()
    shorter = whole.name.rstrip("0123456789")
    return recognised(whole, sets) or (recognised(whole.with_name(shorter), sets) if shorter.strip("._- ") else None)


def _opened(folder: Path, known: str | None, masked: bool) -> FoundSet:
    data: LabelledSet | MaskedSet
    data = open_masked(folder, dataset=known) if masked else open_labelled(folder, dataset=known)
    return FoundSet(known or folder.name, folder, known, _kind(data), data, set_fingerprint(data))


def _kind(data: LabelledSet | MaskedSet) -> str:
    if isinstance(data, MaskedSet):
        return MASKS
    images, sounds = (any(getattr(item, name) is not None for item in data.items) for name in ("image", "audio"))
    return PAIRS if images and sounds else SOUNDS if sounds else IMAGES


def _own_names(sets: list[FoundSet]) -> list[FoundSet]:
    """The sets by name; those of one name get their folder's behind it."""
    from dataclasses import replace

    names = [found.name for found in sets]
    own = [
        replace(found, name=f"{found.name} ({found.path.name})") if names.count(found.name) > 1 else found
        for found in sets
    ]
    return sorted(own, key=lambda found: found.name)


# Finished cells on disk: one JSON each, named by all that its figures depend on.


KEY = "suite"
"""The fact that holds a result's key."""


class ResultStore:
    """The folder `results`: a cell is there whole, or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: Mapping[str, Any]) -> Path:
        """Return where the result of a key lies, whether it is there or not."""
        digest = hashlib.blake2b(_text(key).encode(), digest_size=12).hexdigest()
        return self.folder / f"{key['task']}-{file_name(str(key['dataset']))}-{digest}.json"

    def read(self, key: Mapping[str, Any]) -> TaskResult | None:
        """Return the result of a key; None where there is none, or a damaged one, which is then made again."""
        path = self.path(key)
        try:
            found = read_task_result(path)
        except DataError:
            return None
        return found if _text(found.facts.get(KEY)) == _text(key) else None

    def write(self, key: Mapping[str, Any], result: TaskResult) -> None:
        """Write a result with its key."""
        write_task_result(self.path(key), replace(result, facts={**result.facts, KEY: dict(key)}))

    def others(self, keys: Collection[Path]) -> int:
        """Return how many results in the folder are of other keys than those at these paths."""
        return sum(path not in keys for path in self.folder.glob("[!.]*.json"))


def file_name(text: str) -> str:
    """Return text with nothing but letters, digits, `-` and `_`, at most 60, for a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:60] or "_"


def _text(key: Any) -> str:
    return json.dumps(key, sort_keys=True)


# The tasks of a suite: what each needs, what its figures depend on, how it is run.


_QUICK_EPOCHS = 2


@dataclass(frozen=True)
class Places:
    """Where a cell may keep what helps it to go on."""

    cell: Path
    """A folder of its own."""
    features: Path
    """The features of all cells, by model and data."""


Settings = Mapping[str, Any]


@dataclass(frozen=True)
class SuiteTask:
    """One task."""

    reads: str
    """The kind of sets it is for."""
    hears: bool
    """Whether it needs a sound encoder."""
    settings: Callable[[SuiteOptions], Settings]
    """What its figures depend on beside model and data."""
    run: Callable[[str, FoundSet, Settings, SuiteOptions, Places], TaskResult]
    view: Callable[[str, FoundSet, Settings, SuiteOptions, Places], FeatureView] | None = None
    """What the features look like, for the page."""


def _probe_settings(options: SuiteOptions) -> Settings:
    methods = ["logistic"] if options.quick else ["logistic", "knn"]
    return {"methods": methods, "pixels": options.pixels, "resamples": options.resamples, **_bands(options)}


def _bands(options: SuiteOptions) -> Settings:
    asked = {"bands": options.bands, "value_range": options.value_range}
    return {name: value for name, value in asked.items() if value is not None}


def _features(options: SuiteOptions, places: Places) -> FeatureOptions:
    """How the probe takes features: who asks for the same finds them in its cache."""
    return FeatureOptions(
        bands=options.bands, value_range=options.value_range, precision=options.precision, cache=places.features
    )


def _probe(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_probe(
        model, found.path, dataset=found.known, pixels=settings["pixels"], device=options.device,
        method=settings["methods"], resamples=settings["resamples"], bands=options.bands,
        value_range=options.value_range, precision=options.precision, cache=places.features,
    )  # fmt: skip


def _probe_view(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> FeatureView:
    assert isinstance(found.data, LabelledSet)  # noqa: S101 - the task reads classes alone
    backbone = open_backbone(model, pixels=settings["pixels"], device=options.device)
    return view_features(backbone, found.data, _features(options, places))


def _finetune_settings(options: SuiteOptions) -> Settings:
    return {
        "protocol": "modern", "epochs": options.epochs or (_QUICK_EPOCHS if options.quick else None),
        "seeds": list(options.seeds), "pixels": options.pixels, "resamples": options.resamples, **_bands(options),
    }  # fmt: skip


def _finetune(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_finetune(
        model, found.path, dataset=found.known, precision=options.precision, device=options.device, out=places.cell,
        **settings,
    )  # fmt: skip


def _segment_settings(options: SuiteOptions) -> Settings:
    return {
        "protocol": "modern", "head": "linear" if options.quick else "deeplabv3plus", "frozen": options.quick,
        "epochs": options.epochs or (_QUICK_EPOCHS if options.quick else None), "patch_pixels": options.pixels,
        "seeds": list(options.seeds), "resamples": options.resamples, **_bands(options),
    }  # fmt: skip


def _segment(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    assert isinstance(found.data, MaskedSet)  # noqa: S101 - the task reads masks alone
    return evaluate_segment(
        model, found.data, precision=options.precision, device=options.device, out=places.cell, **settings
    )


def _tower_settings(options: SuiteOptions) -> Settings:
    return {"features": "encoder", "resamples": options.resamples}


def _audiovisual(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_audiovisual(
        model, found.path, dataset=found.known, cache=places.features, precision=options.precision,
        device=options.device, **settings,
    )  # fmt: skip


def _audio(model: str, found: FoundSet, settings: Settings, options: SuiteOptions, places: Places) -> TaskResult:
    return evaluate_audio(
        model, found.path, dataset=found.known, cache=places.features, precision=options.precision,
        device=options.device, **settings,
    )  # fmt: skip


#: By the names that `earthtone evaluate` knows them by, cheap ones first.
TASKS: Mapping[str, SuiteTask] = {
    "probe": SuiteTask(IMAGES, hears=False, settings=_probe_settings, run=_probe, view=_probe_view),
    "segment": SuiteTask(MASKS, hears=False, settings=_segment_settings, run=_segment),
    "audiovisual": SuiteTask(PAIRS, hears=True, settings=_tower_settings, run=_audiovisual),
    "audio": SuiteTask(SOUNDS, hears=True, settings=_tower_settings, run=_audio),
    "finetune": SuiteTask(IMAGES, hears=False, settings=_finetune_settings, run=_finetune),
}


# Which cells a suite has: every fitting task on every set by every model, and why some are left out.


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


# A suite from models and a folder of sets to pages: cell after cell, each kept, so that a stopped call goes on.


Say = Callable[[str], None]
_log = logging.getLogger(__name__)


@takes(SuiteOptions)
def run_suite(options: SuiteOptions) -> SuiteTable:
    """Return the table of all models in all tasks on all sets below `data_root`; write it to `out` after every cell.

    `out` gets `suite.html`, `suite.csv`, `suite.md` and `results/`, one JSON a cell, named by the model's weights, the
    data's files and the settings: what is there is not run again, and nothing of other weights, files or settings is
    taken for it. A cell that fails is named in the table and run again by the next call. `baseline` (the first model)
    is whom all others are compared with. Raises ConfigError, DataError, ModelError for what concerns the whole suite.
    """
    options = replace(options, device=choose_device(options.device))
    models, tasks, say = options.models, [*(options.tasks or TASKS)], options.say
    _check_baseline(options.baseline, models)
    search = find_sets(Path(options.data_root), {TASKS[name].reads for name in tasks}, options.datasets)
    if not search.sets:
        raise DataError(
            f"no data set to run {', '.join(tasks)} on below {options.data_root}: {'; '.join(search.lines())}"
        )
    for line in search.lines():
        say(line)
    heard = any(TASKS[name].hears and any(found.kind == TASKS[name].reads for found in search.sets) for name in tasks)
    identified = identify_models(models, sound=heard)
    planned = plan_cells(identified, search.sets, tasks, options)
    notes = _notes(search, identified, options)
    suite = _Suite(Path(options.out), planned, options.baseline or models[0], options, say, notes)
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
    known: dict[Name, Compared] = field(default_factory=dict)
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
        seen = read_feature_view(self._view_path(planned, store))
        return replace(cell, state=DONE, result=_named(found, planned), features=seen)

    def _measure(self, planned: PlannedCell, store: ResultStore) -> Cell:
        cell = Cell(planned.task, planned.found.name, planned.model.spec, DONE, groups=_groups(planned))
        if store.read(planned.key) is not None:  # of a model with the same weights, since the suite began
            return self._before(planned, store)
        places = Places(self.out / "work" / store.path(planned.key).stem, self.out / "features")
        task = TASKS[planned.task]
        given = (planned.model.spec, planned.found, planned.settings, self.options, places)
        try:
            result = task.run(*given)
            if task.view is not None:  # before the result: what is done has all its parts
                cell = replace(cell, features=task.view(*given))
                write_feature_view(self._view_path(planned, store), cell.features or {})
        except EarthtoneError as error:
            return replace(cell, state=FAILED, why=str(error))
        except Exception as error:  # one cell in a night of many: told in the table, with its trace for --debug
            _log.info("%s", planned.name, exc_info=True)
            return replace(cell, state=FAILED, why=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        store.write(planned.key, _named(result, planned))
        return replace(cell, result=_named(result, planned))

    def _view_path(self, planned: PlannedCell, store: ResultStore) -> Path:
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
