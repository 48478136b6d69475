"""What a reproduction is made of: recipe and encoders, measurements by both protocols, and the units that hold them."""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from earthtone.data.labelled.items import LABELLED, MASKED
from earthtone.data.pack import pack
from earthtone.data.releases import METADATA, looks_like_release
from earthtone.device import choose_device
from earthtone.errors import ConfigError, EarthtoneError, ModelError, changes, flat, shell_line
from earthtone.evaluate.audiovisual import evaluate_audiovisual
from earthtone.evaluate.finetune import evaluate_finetune
from earthtone.evaluate.probe import evaluate_probe
from earthtone.evaluate.results import Estimate, TaskResult
from earthtone.evaluate.retrieval import evaluate_retrieval
from earthtone.evaluate.segment import evaluate_segment
from earthtone.evaluate.segment_network import SEGMENT_PLANS
from earthtone.losses import loss_class
from earthtone.models.backbone import open_backbone
from earthtone.models.storage import WEIGHTS_FILE, load_model, open_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import ReproduceOptions
from earthtone.signal.config import SignalConfig
from earthtone.studies.pretrain import pretrain
from earthtone.studies.study import SkippedError, StoppedError, as_json, read_json, write_json
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import load_recipe

#: Encoders of the paper's recipes, and of which published backbone they are.
BACKBONES: Mapping[str, str] = {"release_resnet18": "resnet18", "release_resnet50": "resnet50"}
#: Values of a recipe that do not change what is learned, but for rounding.
_HOW_IT_RUNS = ("train.device", "train.threads", "train.checkpoint_seconds", "train.validate_every",
                "train.validation_rows", "train.seed")  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """The options of a reproduction with what follows from them: recipe, encoder, device, departures from the paper."""

    options: ReproduceOptions
    recipe: Recipe | None
    """None where a model was given."""
    encoder: str
    """Name of the image encoder, for its untrained twin."""
    backbone: str | None
    """Which of the published backbones it is; None: another one."""
    device: str
    deviations: tuple[str, ...]
    """How the schedule departs from the paper's."""
    identity: Mapping[str, Any]
    """What the model is made from, flat."""

    @property
    def out(self) -> Path:
        """Return the folder of all that is written."""
        return Path(self.options.out)

    @property
    def model(self) -> str:
        """Return where the model is, or will be once it is trained."""
        return self.options.model or str(self.out / "runs" / "paper")

    @property
    def signal(self) -> SignalConfig:
        """Return how the model sees and hears."""
        return self.recipe.signal if self.recipe else load_model(self.model).signal


def make_setup(options: ReproduceOptions) -> Setup:
    """Return what follows from the options. Raises ConfigError, ModelError."""
    for loss in options.losses:
        loss_class(loss)
    device = choose_device(options.device)
    recipe = None
    if options.model is None:
        recipe = _recipe(options)
        encoder, identity = recipe.model.image_encoder, flat({"recipe": recipe.decisive()})
        deviations = _deviations(options, recipe)
    else:
        encoder = open_model(options.model).config.image_encoder
        spec = Path(options.model)
        weights = spec / WEIGHTS_FILE if spec.is_dir() else spec
        if not weights.is_file():
            raise ModelError(f"model {spec}: no such file {weights}; a run's folder, .safetensors or .pt file expected")
        identity = {"model": _file_hash(weights)}
        deviations = [f"the model was not trained here but given: {options.model}"]
    backbone = BACKBONES.get(encoder)
    if options.backbone is not None and (options.recipe or options.model) and backbone != options.backbone:
        raise ConfigError(f"--backbone {options.backbone}, but the image encoder is {encoder}; leave --backbone out")
    for name in ("finetune_epochs", "segment_epochs", "pixels"):
        if (value := getattr(options, name)) is not None:
            deviations.append(f"--{name} {value}")
    return Setup(options, recipe, encoder, backbone, device, tuple(deviations), identity)


def _recipe(options: ReproduceOptions) -> Recipe:
    overrides: dict[str, Any] = {} if options.epochs is None else {"train.epochs": options.epochs}
    overrides |= {} if options.device == "auto" else {"train.device": options.device}
    overrides |= {"train.seed": options.seed} if options.seed or options.recipe is None else {}
    return load_recipe(options.recipe or _paper_recipe(options.backbone), overrides)


def _paper_recipe(backbone: str | None) -> str:
    return f"soundingearth-paper-{backbone or 'resnet18'}"


def _deviations(options: ReproduceOptions, recipe: Recipe) -> list[str]:
    paper = _paper_recipe(options.backbone or BACKBONES.get(recipe.model.image_encoder))
    both = (flat(each.decisive()) for each in (load_recipe(paper), recipe))
    changed = changes(*({key: each[key] for key in each if key not in _HOW_IT_RUNS} for each in both))
    return [f"the recipe is not {paper}: {changed}"] if changed else []


# What each unit measures, by the published protocol and by the honest one.


PAIRS = "soundingearth"
PUBLISHED, HONEST = "published", "honest"
#: Sides of the pictures as the release shows them to a network that is trained on.
PIXELS: Mapping[str, int] = {"ucmerced": 256, "resisc45": 256, "aid": 600}
PUBLISHED_PAIRS = 50_545
VALID_IDS = "valid_ids.txt"
_FEW_SHOT_PIXELS = 192
_KEPT_FACTS = (
    "notes", "tiles", "pairs", "classes", "train_rows", "test_rows", "train_images", "test_images", "broken_images",
    "recordings_on_both_sides", "concat_against_image",
)  # fmt: skip


@dataclass(frozen=True)
class StepResult:
    """What one unit measured."""

    protocol: str
    """One sentence: how it was measured."""
    figures: Mapping[str, Estimate] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Counts and warnings that belong to the figures."""
    title: str = ""
    """Of the model, as the table shows it."""


@dataclass(frozen=True)
class Source:
    """A folder of data, there or not."""

    name: str
    folder: Path
    identity: Mapping[str, Any]
    """Nothing where the folder is not there."""
    missing: str | None
    """Why it cannot be used, and what to type; None where it can."""


@dataclass(frozen=True)
class Contender:
    """One image encoder: the paper's, or one of the baselines of the paper."""

    name: str
    title: str
    """As the table shows it."""
    spec: str
    """As `open_backbone` takes it."""
    identity: Mapping[str, Any]
    missing: str | None = None
    """Why it cannot be measured, and what to type; None where it can."""


def pack_pairs(setup: Setup, pairs: Source, table: Path, split_by: str) -> StepResult:
    """Pack the release for the recipe, or for the given model, divided by a named split."""
    found = pack(pairs.folder, table, signal=setup.signal, split_by=split_by)
    skipped = found.skipped_text if found.problems else "none skipped"
    return StepResult(
        f"{found.rows} pairs; {skipped}; {split_by}",
        facts={"pairs": found.rows, "skipped": dict(found.problems), "notes": dict(found.notes)},
    )


def train(recipe: Recipe, table: Path, run: Path) -> StepResult:
    """Train, or go on with a training that was stopped. Raises StoppedError when it is asked to stop."""
    found = pretrain(table, run, recipe=recipe, resume=run.exists())
    if not found.finished:
        raise StoppedError(f"step {found.progress.step} of {found.steps}")
    spent = recipe.train
    return StepResult(
        f"{spent.epochs} epochs of batches of {spent.batch_size}, {recipe.loss.name}, {spent.optimizer} "
        f"{spent.learning_rate:g}; the {spent.keep} weights are kept",
        facts={"steps": found.steps, "training_seconds": round(found.progress.seconds, 1)},
    )


def retrieval(setup: Setup, model: str, table: Path, *, honest: bool) -> StepResult:
    """Measure retrieval on the release's test pairs; figures are named `DIRECTION FIGURE`."""
    protocol: Literal["honest", "soundingearth"] = "honest" if honest else "soundingearth"
    found = evaluate_retrieval(load_model(model, setup.device), table, protocol=protocol, seed=setup.options.seed)
    return StepResult(
        f"{protocol}, {found.gallery:,} test pairs (the release's {PUBLISHED_PAIRS:,} pairs have about a fifth), split "
        f"{found.facts['split']['dealt_out']}. {found.facts['protocol']['difference']}",
        {f"{way} {name}": figure for way, figures in found.figures.items() for name, figure in figures.items()},
        {"gallery": found.gallery, "twins": found.facts["twins"]},
    )


def finetuned(setup: Setup, contender: Contender, source: Source, *, honest: bool) -> StepResult:
    """Train all weights with a linear head on labelled images."""
    options = setup.options
    pixels = options.pixels or PIXELS[source.name]
    found = evaluate_finetune(
        contender.spec, source.folder, dataset=source.name, protocol="modern" if honest else "soundingearth",
        epochs=options.finetune_epochs, pixels=pixels, seeds=(options.seed,), precision="auto" if honest else "32",
        device=setup.device,
        out=setup.out / "parts" / f"{source.name}-{contender.name}-{HONEST if honest else PUBLISHED}",
    )  # fmt: skip
    return _of_task(found, pixels)


def few_shot(setup: Setup, contender: Contender, source: Source, *, honest: bool) -> StepResult:
    """Classify AID's images by the nearest centroid of five images a class."""
    measure = partial(evaluate_probe, contender.spec, source.folder, dataset="aid", device=setup.device)
    if not honest:
        return _of_task(measure(protocol="soundingearth", precision="32"))
    pixels = setup.options.pixels or _FEW_SHOT_PIXELS
    return _of_task(measure(method=("centroid",), shots=(5,), seed=setup.options.seed, pixels=pixels), pixels)


def land_cover(setup: Setup, contender: Contender, source: Source, *, honest: bool) -> StepResult:
    """Train a segmentation head and all weights on DeepGlobe."""
    options = setup.options
    name: Literal["modern", "soundingearth"] = "modern" if honest else "soundingearth"
    found = evaluate_segment(
        contender.spec, source.folder, dataset="deepglobe", head="deeplabv3plus", protocol=name,
        epochs=options.segment_epochs, patch_pixels=options.pixels, seeds=(options.seed,),
        precision="auto" if honest else "32", device=setup.device,
    )  # fmt: skip
    usual = (SEGMENT_PLANS[name].epochs, SEGMENT_PLANS[name].patch_pixels)
    epochs, pixels = options.segment_epochs or usual[0], options.pixels or usual[1]
    changed = "" if (epochs, pixels) == usual else f"; here {epochs} epochs of {pixels} px"
    listed = any((at / VALID_IDS).is_file() for at in (source.folder, source.folder.parent))
    split = f"by {VALID_IDS}" if listed else f"drawn by us: the release's {VALID_IDS} is not public"
    return _of_task(replace(found, protocol=f"{found.protocol}{changed}; test tiles {split}"))


def audiovisual_scenes(setup: Setup, contender: Contender, source: Source, *, honest: bool) -> StepResult:
    """Classify ADVANCE's scenes by frozen embeddings of the model, or of its untrained twin."""
    tower = load_model(setup.model, setup.device)
    if contender.name == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.options.seed)
            tower = TwoTower(tower.config, tower.signal).to(setup.device).eval()
    return _of_task(
        evaluate_audiovisual(
            tower, source.folder, dataset="advance", protocol="grouped" if honest else "soundingearth",
            features="embedding", precision="auto" if honest else "32", device=setup.device, seed=setup.options.seed,
        )
    )  # fmt: skip


def _of_task(found: TaskResult, pixels: int | None = None) -> StepResult:
    """Return a task's result, its sentence with the side of images and how the data differ from the published ones."""
    facts = found.facts
    counts = facts.get("tiles") or facts.get("pairs") or {
        split: facts.get(f"{split}_images", facts.get(f"{split}_rows", 0)) for split in ("train", "val", "test")
    }  # fmt: skip
    classes = facts["classes"] if isinstance(facts["classes"], int) else len(facts["classes"])
    sentences = [
        found.protocol,
        *([] if pixels is None else [f"images of {pixels} px"]),
        *{**LABELLED, **MASKED}[found.dataset].differences(classes, sum(counts.values())),
    ]
    kept = {name: facts[name] for name in _KEPT_FACTS if name in facts}
    return StepResult("; ".join(sentences), dict(found.figures), kept)


# Units, each one measurement or one training, with its result on disk.


_KIND = "result of a step"
_SHOWN_CHANGES = 6


@dataclass(frozen=True)
class Unit:
    """One measurement, one packing or one training; its result is one file."""

    step: str
    contender: str
    protocol: str
    """`published`, `honest`, or what else it is: `packing`, `training`."""
    title: str
    """Of the contender, as the table shows it."""
    data: str
    identity: Mapping[str, Any]
    """What it is made from, flat; what is not known now is left out."""
    measure: Callable[[], StepResult]
    """Raises SkippedError for weights that cannot be had now."""
    missing: str | None = None
    """Why it cannot be done, and what to type; None where it can."""
    needs: tuple[str, ...] = ()
    """Names of units that must be done before."""

    @property
    def name(self) -> str:
        """Return the name of its file."""
        return f"{self.step}-{self.contender}-{self.protocol}"


def write_step(folder: Path, unit: Unit, found: StepResult, seconds: float) -> None:
    """Keep a unit's result, with what it was made from."""
    figures = {name: asdict(figure) for name, figure in found.figures.items()}
    values = {
        "unit": unit.name, "title": unit.title, "made_from": dict(unit.identity),
        "seconds": round(seconds, 1),
        "result": {"protocol": found.protocol, "figures": figures, "facts": dict(found.facts)},
    }  # fmt: skip
    write_json(folder / f"{unit.name}.json", values, _KIND)


def read_step(folder: Path, unit: Unit) -> StepResult | None:
    """Return a unit's result; None where there is none.

    Raises ConfigError where it was made from something else than the unit would be now, DataError for a broken file.
    """
    read = read_json(folder / f"{unit.name}.json", _parse_step, _KIND)
    if read is None:
        return None
    before, found = read
    now = as_json(unit.identity)
    if changed := changes({key: before.get(key) for key in now}, now):
        parts = changed.split("; ")
        more = len(parts) - _SHOWN_CHANGES
        shown = "; ".join(parts[:_SHOWN_CHANGES]) + (f"; and {more} more" if more > 0 else "")
        raise ConfigError(
            f"{folder.parent}: {unit.name} was made from something else ({shown}); undo it, or choose another --out"
        )
    return found


def _parse_step(values: dict[str, Any]) -> tuple[dict[str, Any], StepResult]:
    """Return what a result was made from, and the result."""
    result = dict(values["result"])
    figures = {key: Estimate(**value) for key, value in result["figures"].items()}
    found = StepResult(str(result["protocol"]), figures, dict(result["facts"]), str(values["title"]))
    return dict(values["made_from"]), found


# Which files a unit was made from: cheap for folders, exact for weights.


_CHECKSUMS = "checksums.json"  # the downloader's, rewritten by each check of the same files


def find_source(data: Path, name: str) -> Source:
    """Return the folder of a set below `data`; for the pairs also `data` itself."""
    folder = data / name
    if name == PAIRS and not folder.is_dir() and data.is_dir() and looks_like_release(data):
        folder = data
    if folder.is_dir():
        return Source(name, folder, folder_identity(folder), None)
    fetch = shell_line("earthtone", "fetch", name, "--out", folder)
    return Source(name, folder, {}, f"{folder} is not there; type: {fetch}")


def folder_identity(folder: Path) -> dict[str, Any]:
    """Return how many files and bytes lie below a folder, and a hash of their names and sizes.

    Nothing is opened but the release's metadata: a file changed to another one of the same size is not noticed.
    Hidden files and folders are passed over.
    """
    digest, count, total = hashlib.blake2b(digest_size=12), 0, 0
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or name == _CHECKSUMS:
                continue
            path = Path(at) / name
            size = path.stat().st_size if path.exists() else -1  # a link to nowhere is reported when it is read
            digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\n".encode("utf-8", "surrogateescape"))
            count, total = count + 1, total + size
    if (folder / METADATA).is_file():
        digest.update((folder / METADATA).read_bytes())
    return {"data.files": count, "data.bytes": total, "data.hash": digest.hexdigest()}


def contenders(setup: Setup) -> list[Contender]:
    """Return the model and the baselines. Raises ModelError for a file of weights that is not there."""
    options = setup.options
    imagenet = options.imagenet or f"timm:{setup.backbone or 'resnet18'}"
    name, at, file = imagenet.partition("@")
    short = f"{name}{at}{Path(file).name}" if at else name if ":" in name else Path(name).name
    weights = Path(file or imagenet)
    known = {"imagenet": _file_hash(weights) if weights.is_file() else imagenet}  # by default whatever the hub has
    tile2vec = None if options.tile2vec is None else Path(options.tile2vec)
    if tile2vec is not None and not tile2vec.is_file():
        raise ModelError(f"--tile2vec {tile2vec}: no such file; the published weights of Tile2Vec expected")
    return [
        Contender("model", "given" if options.model else "ours", setup.model, setup.identity),
        Contender("random", f"random {setup.encoder}", f"random:{setup.encoder}", {"encoder": setup.encoder}),
        Contender("imagenet", f"ImageNet {short}", imagenet, known if options.imagenet else {}),
        Contender("tile2vec", "Tile2Vec", f"tile2vec:{tile2vec}", {"tile2vec": _file_hash(tile2vec)})
        if tile2vec is not None
        else Contender("tile2vec", "Tile2Vec", "", {}, "no weights of Tile2Vec; type: --tile2vec FILE"),
    ]


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]


# All units in order: on the pairs, pack them, train on them, search them; on labelled data every encoder.


KEYS, APART = "key-digit", "buffered-blocks"  # how the release divides its pairs, and how neighbours are kept apart
TRAIN = "pretrain-model-training"
#: Steps on labelled data -> the folder that holds it.
LABELLED_TASKS: Mapping[str, str] = {
    "ucmerced": "ucmerced", "resisc45": "resisc45", "aid": "aid", "aid_few_shot": "aid", "deepglobe": "deepglobe",
    "advance": "advance",
}  # fmt: skip
_MEASURES = {"aid_few_shot": few_shot, "deepglobe": land_cover, "advance": audiovisual_scenes}  # others: finetuned
_ARRAYS = "https://github.com/khdlr/SoundingEarth/issues/1"


def plan(setup: Setup, done: Sequence[str]) -> list[Unit]:
    """Return the units; `done` names those with results, so that losses and places of earlier calls stay in the table.

    Raises ModelError for files of weights that are not there.
    """
    options, recipe = setup.options, setup.recipe
    data = Path(options.data)
    sources = {name: find_source(data, name) for name in (PAIRS, *dict.fromkeys(LABELLED_TASKS.values()))}
    pairs, title = sources[PAIRS], "ours" if recipe else "given"
    packing, table = _packing(setup, "pack", pairs, setup.out / "pairs.lance", KEYS)
    units = [packing, *_on_pairs(setup, ("retrieval", "model", title), pairs, packing, table, recipe)]
    encoders = contenders(setup)
    for step, name in LABELLED_TASKS.items():
        for contender in encoders:
            units += _on_labelled(setup, step, sources[name], contender)
    if recipe is not None:
        if options.places or any(name.startswith("places-") for name in done):
            apart, apart_table = _packing(setup, "places", pairs, setup.out / "pairs-apart.lance", APART)
            names = ("places", "apart", "ours, places apart")
            units += [apart, *_on_pairs(setup, names, pairs, apart, apart_table, recipe)]
        trained = [name.split("-")[1] for name in done if name.startswith("losses-") and name.endswith("-training")]
        for loss in dict.fromkeys([*trained, *options.losses]):
            other = replace(recipe, loss=replace(recipe.loss, name=loss, options={}))  # its own default options
            units += _on_pairs(setup, ("losses", loss, loss), pairs, packing, table, other)
    return [unit for unit in units if not options.published_only or unit.protocol != HONEST or unit.name in done]


def _packing(setup: Setup, step: str, pairs: Source, table: Path, split_by: str) -> tuple[Unit, Path]:
    made = {**pairs.identity, "split_by": split_by, **flat({"signal": asdict(setup.signal)})}
    measure = partial(pack_pairs, setup, pairs, table, split_by)
    return Unit(step, "pairs", "packing", "", pairs.name, made, measure, pairs.missing), table


def _on_pairs(
    setup: Setup, names: tuple[str, str, str], pairs: Source, packing: Unit, table: Path, recipe: Recipe | None
) -> Iterator[Unit]:
    """Yield training with a recipe, where there is one, and retrieval; `names` are step, contender and title."""
    step, contender, title = names
    paper = step == "retrieval"
    run = setup.model if paper else str(setup.out / "runs" / f"{step}-{contender}")
    needs: tuple[str, ...] = (packing.name,)
    identity = setup.identity
    if recipe is not None:
        identity = flat({"recipe": recipe.decisive()})
        training = Unit(
            "pretrain" if paper else step, contender, "training", title, pairs.name, {**pairs.identity, **identity},
            partial(train, recipe, table, Path(run)), pairs.missing, needs,
        )  # fmt: skip
        yield training
        needs = (packing.name, training.name)
    made = {**pairs.identity, **identity, "seed": setup.options.seed}
    for protocol in (PUBLISHED, HONEST):
        measure = partial(retrieval, setup, run, table, honest=protocol == HONEST)
        yield Unit(step, contender, protocol, title, pairs.name, made, measure, pairs.missing, needs)


def _on_labelled(setup: Setup, step: str, source: Source, contender: Contender) -> Iterator[Unit]:
    """Yield one encoder's measurements in one step."""
    options, missing = setup.options, source.missing or contender.missing
    own = contender.name == "model"
    epochs = {"deepglobe": options.segment_epochs, "aid_few_shot": None}.get(step, options.finetune_epochs)
    made = {
        **source.identity, **contender.identity, "epochs": epochs, "pixels": options.pixels, "seed": options.seed,
    }  # fmt: skip
    if step == "advance":  # of the two-tower model and its untrained twin: the other encoders hear nothing
        if contender.name not in ("model", "random"):
            return
        own, missing = True, source.missing or _unheard(setup, source)
        made = {**source.identity, **setup.identity, "seed": options.seed}
    for protocol in (PUBLISHED, HONEST):
        measure = partial(_measured, setup, step, source, contender, honest=protocol == HONEST)
        needs = (TRAIN,) if own and setup.recipe else ()
        yield Unit(step, contender.name, protocol, contender.title, source.name, made, measure, missing, needs)


def _measured(setup: Setup, step: str, source: Source, contender: Contender, *, honest: bool) -> StepResult:
    """Return what one encoder gives. Raises SkippedError where the default ImageNet weights cannot be had."""
    if contender.name == "imagenet" and not contender.identity:
        try:
            open_backbone(contender.spec)
        except EarthtoneError as error:
            raise SkippedError(f"{error}; then type: --imagenet {contender.spec}@FILE.safetensors") from error
    return _MEASURES.get(step, finetuned)(setup, contender, source, honest=honest)


def _unheard(setup: Setup, source: Source) -> str | None:
    """Return why the model cannot hear the set: the paper's reads spectrograms, the public set has recordings."""
    ready = next(source.folder.rglob("*.npy"), None) is not None
    if ready or setup.signal.audio.input != "spectrogram":
        return None
    return (
        f"the model hears ready spectrograms and {source.folder} holds recordings; get the .npy arrays of the "
        f"SoundingEarth release ({_ARRAYS}) and put them into sound/CLASS/ in their place"
    )
