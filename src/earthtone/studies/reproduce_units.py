"""What a reproduction is made of: options, contenders, measurements by both protocols, results kept on disk."""

import hashlib
import json
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
from earthtone.errors import ConfigError, DataError, EarthtoneError, ModelError, changes, flat, shell_line
from earthtone.evaluate.audiovisual import evaluate_audiovisual
from earthtone.evaluate.finetune import evaluate_finetune
from earthtone.evaluate.probe import evaluate_probe
from earthtone.evaluate.results import Estimate, TaskResult
from earthtone.evaluate.retrieval import evaluate_retrieval
from earthtone.evaluate.segment import evaluate_segment
from earthtone.evaluate.segment_network import SEGMENT_PLANS
from earthtone.files import write_text_atomic
from earthtone.losses import loss_class
from earthtone.models.backbone import open_backbone
from earthtone.models.storage import WEIGHTS_FILE, load_model, open_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import ReproduceOptions
from earthtone.studies.pretrain import pretrain
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import load_recipe

# What may be asked of a reproduction, and what follows from it: recipe, encoder, how it departs from the paper.


#: Encoders of the paper's recipes, and of which published backbone they are.
BACKBONES: Mapping[str, str] = {"release_resnet18": "resnet18", "release_resnet50": "resnet50"}
#: Values of a recipe that do not change what is learned, but for rounding.
_HOW_IT_RUNS = ("train.device", "train.threads", "train.checkpoint_seconds", "train.validate_every",
                "train.validation_rows", "train.seed")  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """Options with what follows from them."""

    options: ReproduceOptions
    recipe: Recipe | None
    """None where a model was given."""
    encoder: str
    """Name of the image encoder, for its untrained twin."""
    backbone: str | None
    """Which of the published backbones it is; None: another one."""
    device: str
    deviations: tuple[str, ...]
    """In what the schedule is not the paper's."""
    identity: Mapping[str, Any]
    """What the model is made from, flat."""

    def recipe_with(self, loss: str) -> Recipe:
        """Return the recipe with another loss under its own default options."""
        assert self.recipe is not None, "no losses are trained where a model was given"  # noqa: S101
        return replace(self.recipe, loss=replace(self.recipe.loss, name=loss, options={}))


def make_setup(options: ReproduceOptions) -> Setup:
    """Return what follows from the options. Raises ConfigError, ModelError."""
    for loss in options.losses:
        loss_class(loss)
    device = choose_device(options.device)
    if options.model is None:
        recipe: Recipe | None = _recipe(options)
        assert recipe is not None  # noqa: S101
        encoder, identity = recipe.model.image_encoder, recipe_identity(recipe)
        deviations = _deviations(options, recipe)
    else:
        recipe, encoder = None, open_model(options.model).config.image_encoder
        identity = {"model": file_hash(model_file(options.model))}
        deviations = [f"the model was not trained here but given: {options.model}"]
    backbone = BACKBONES.get(encoder)
    if options.backbone is not None and (options.recipe or options.model) and backbone != options.backbone:
        raise ConfigError(f"--backbone {options.backbone}, but the image encoder is {encoder}; leave --backbone out")
    deviations += [
        f"--{name} {getattr(options, name)}"
        for name in ("finetune_epochs", "segment_epochs", "pixels")
        if getattr(options, name) is not None
    ]
    return Setup(options, recipe, encoder, backbone, device, tuple(deviations), identity)


def recipe_identity(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe, flat."""
    return flat({"recipe": asdict(recipe)})


def _recipe(options: ReproduceOptions) -> Recipe:
    overrides: dict[str, Any] = {} if options.epochs is None else {"train.epochs": options.epochs}
    overrides |= {} if options.device == "auto" else {"train.device": options.device}
    overrides |= {"train.seed": options.seed} if options.seed or options.recipe is None else {}
    return load_recipe(options.recipe or _paper(options.backbone), overrides)


def _paper(backbone: str | None) -> str:
    return f"soundingearth-paper-{backbone or 'resnet18'}"


def _deviations(options: ReproduceOptions, recipe: Recipe) -> list[str]:
    backbone = options.backbone or BACKBONES.get(recipe.model.image_encoder)
    before, now = (flat(asdict(each)) for each in (load_recipe(_paper(backbone)), recipe))
    kept = [{key: value for key, value in each.items() if key not in _HOW_IT_RUNS} for each in (before, now)]
    changed = changes(*kept)
    return [f"the recipe is not {_paper(backbone)}: {changed}"] if changed else []


# Which files a reproduction was made from: cheap for folders, exact for weights.


_NOTES = "checksums.json"  # the downloader's, rewritten by each check of the same files


def folder_identity(folder: Path) -> dict[str, Any]:
    """Return how many files and bytes lie below a folder, and a hash of their names and sizes.

    Nothing is opened but the release's metadata: a file changed to another one of the same size is not noticed.
    Hidden files and folders are passed over.
    """
    digest, count, total = hashlib.blake2b(digest_size=12), 0, 0
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or name == _NOTES:
                continue
            path = Path(at) / name
            size = path.stat().st_size if path.exists() else -1  # a link to nowhere is told when it is read
            digest.update(f"{path.relative_to(folder).as_posix()}\0{size}\n".encode("utf-8", "surrogateescape"))
            count, total = count + 1, total + size
    if (folder / METADATA).is_file():
        digest.update((folder / METADATA).read_bytes())
    return {"data.files": count, "data.bytes": total, "data.hash": digest.hexdigest()}


def model_file(spec: str) -> Path:
    """Return the file of weights of a run's folder or of a file. Raises ModelError when it is not there."""
    path = Path(spec) / WEIGHTS_FILE if Path(spec).is_dir() else Path(spec)
    if not path.is_file():
        raise ModelError(f"model {spec}: no such file {path}; a run's folder, a .safetensors or a .pt file expected")
    return path


def file_hash(path: Path) -> str:
    """Return a hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]


# What each step measures, by the published protocol and by the honest one.


#: Sides of the pictures as the release shows them to a network that is trained on.
PIXELS: Mapping[str, int] = {"ucmerced": 256, "resisc45": 256, "aid": 600}
PUBLISHED_PAIRS = 50_545
_FEW_PIXELS = 192
_SHOTS = 5
HEAD: Literal["deeplabv3plus"] = "deeplabv3plus"
VALID_IDS = "valid_ids.txt"
_KEPT = (
    "notes", "tiles", "pairs", "classes", "train_rows", "test_rows", "train_images", "test_images", "broken_images",
    "recordings_on_both_sides", "concat_against_image",
)  # fmt: skip


class StoppedError(Exception):
    """Training was asked to stop; what it did is safe."""


@dataclass(frozen=True)
class Measured:
    """What one unit gave."""

    protocol: str
    """One sentence."""
    figures: Mapping[str, Estimate] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Counts and warnings that belong to the figures."""


def pack_pairs(setup: Setup, folder: Path, table: Path, split_by: str) -> Measured:
    """Pack the release for the recipe, or for the given model, dealt out by a named split."""
    signal = setup.recipe.signal if setup.recipe else load_model(str(setup.options.model)).signal
    found = pack(folder, table, signal=signal, split_by=split_by)
    skipped = found.skipped_text if found.problems else "none skipped"
    return Measured(
        f"{found.rows} pairs; {skipped}; {split_by}",
        facts={"pairs": found.rows, "skipped": dict(found.problems), "notes": dict(found.notes)},
    )


def train(recipe: Recipe, table: Path, run: Path) -> Measured:
    """Train, going on where it stopped. Raises StoppedError when it is asked to stop."""
    found = pretrain(table, run, recipe=recipe, resume=run.exists())
    if not found.finished:
        raise StoppedError(f"step {found.progress.step} of {found.steps}")
    spent = recipe.train
    return Measured(
        f"{spent.epochs} epochs of batches of {spent.batch_size}, {recipe.loss.name}, {spent.optimizer} "
        f"{spent.learning_rate:g}; the {spent.keep} weights are kept",
        facts={"steps": found.steps, "training_seconds": round(found.progress.seconds, 1)},
    )


def retrieval(setup: Setup, model: str, table: Path, *, honest: bool) -> Measured:
    """Measure retrieval on the release's test pairs; figures are named `DIRECTION FIGURE`."""
    protocol: Literal["honest", "soundingearth"] = "honest" if honest else "soundingearth"
    found = evaluate_retrieval(load_model(model, setup.device), table, protocol=protocol, seed=setup.options.seed)
    told = found.facts["protocol"]["difference"]
    return Measured(
        f"{protocol}, {found.gallery:,} test pairs (the release's {PUBLISHED_PAIRS:,} pairs have about a fifth), split "
        f"{found.facts['split']['dealt_out']}. {told}",
        {f"{way} {name}": figure for way, figures in found.figures.items() for name, figure in figures.items()},
        {"gallery": found.gallery, "twins": found.facts["twins"]},
    )


def finetuned(setup: Setup, name: str, spec: str, folder: Path, *, honest: bool, parts: Path) -> Measured:
    """Train all weights with a linear head on the labelled images `name`."""
    options = setup.options
    found = evaluate_finetune(
        spec, folder, dataset=name, protocol="modern" if honest else "soundingearth", epochs=options.finetune_epochs,
        pixels=options.pixels or PIXELS[name], seeds=(options.seed,), precision="auto" if honest else "32",
        device=setup.device, out=parts,
    )  # fmt: skip
    return _of_task(found, pixels=options.pixels or PIXELS[name])


def few_shot(setup: Setup, spec: str, folder: Path, *, honest: bool) -> Measured:
    """Name AID's images by the nearest centroid of five a class."""
    options = setup.options
    if not honest:
        released = evaluate_probe(
            spec, folder, dataset="aid", protocol="soundingearth", precision="32", device=setup.device
        )
        return _of_task(released)
    side = options.pixels or _FEW_PIXELS
    found = evaluate_probe(
        spec, folder, dataset="aid", method=("centroid",), shots=(_SHOTS,), seed=options.seed, pixels=side,
        device=setup.device,
    )  # fmt: skip
    return _of_task(found, pixels=side)


def land_cover(setup: Setup, spec: str, folder: Path, *, honest: bool) -> Measured:
    """Train a segmentation head and all weights on DeepGlobe."""
    options = setup.options
    name: Literal["modern", "soundingearth"] = "modern" if honest else "soundingearth"
    protocol = SEGMENT_PLANS[name]
    found = evaluate_segment(
        spec, folder, dataset="deepglobe", head=HEAD, protocol=name, epochs=options.segment_epochs,
        patch_pixels=options.pixels, seeds=(options.seed,), precision="auto" if honest else "32", device=setup.device,
    )  # fmt: skip
    epochs, pixels = options.segment_epochs or protocol.epochs, options.pixels or protocol.patch_pixels
    asked = (epochs, pixels) != (protocol.epochs, protocol.patch_pixels)
    changed = f"; here {epochs} epochs of {pixels} px" if asked else ""
    listed = any((at / VALID_IDS).is_file() for at in (folder, folder.parent))
    split = (
        f"test tiles by {VALID_IDS}" if listed else f"test tiles drawn by us: the release's {VALID_IDS} is not public"
    )
    return _of_task(replace(found, protocol=f"{found.protocol}{changed}; {split}"))


def scenes_seen_and_heard(setup: Setup, model: str, folder: Path, *, honest: bool, untrained: bool) -> Measured:
    """Tell ADVANCE's scenes by frozen embeddings of `model`, or of its untrained twin."""
    tower = load_model(model, setup.device)
    if untrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.options.seed)
            tower = TwoTower(tower.config, tower.signal).to(setup.device).eval()
    found = evaluate_audiovisual(
        tower, folder, dataset="advance", protocol="grouped" if honest else "soundingearth",
        features="embedding", precision="auto" if honest else "32", device=setup.device, seed=setup.options.seed,
    )  # fmt: skip
    return _of_task(found)


def _of_task(found: TaskResult, pixels: int | None = None) -> Measured:
    """A task's result, its sentence with what else must be known: the side of the images, data that differ."""
    seen = [] if pixels is None else [f"images of {pixels} px"]
    facts = {name: found.facts[name] for name in _KEPT if name in found.facts}
    return Measured("; ".join([found.protocol, *seen, *_other_data(found)]), dict(found.figures), facts)


def _other_data(found: TaskResult) -> list[str]:
    """A line where the set is not as large as published."""
    published = {**LABELLED, **MASKED}[found.dataset]
    facts, splits = found.facts, ("train", "val", "test")
    counts = facts.get("tiles") or facts.get("pairs") or {
        split: facts.get(f"{split}_images", facts.get(f"{split}_rows", 0)) for split in splits
    }  # fmt: skip
    classes = facts["classes"] if isinstance(facts["classes"], int) else len(facts["classes"])
    return published.differences(classes, sum(counts.values()))


# What a reproduction is made of: units, each one measurement or one training, and the folders of data they read.


PAIRS = "soundingearth"
PUBLISHED, HONEST = "published", "honest"
COUNTINGS = (PUBLISHED, HONEST)


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
    measure: Callable[[], Measured]
    lacking: str | None = None
    """Why it cannot be done, with what to type."""
    needs: tuple[str, ...] = ()
    """Names of units that must be done before."""
    unreachable: Callable[[], str | None] = lambda: None
    """Looks for weights at the moment they are needed: why there are none, or None."""

    @property
    def name(self) -> str:
        """Of its file in `steps/`."""
        return f"{self.step}-{self.contender}-{self.protocol}"


@dataclass(frozen=True)
class Source:
    """A folder of data, there or not."""

    name: str
    folder: Path
    identity: Mapping[str, Any]
    """Nothing where the folder is not there."""
    lacking: str | None


def find_source(data: Path, name: str) -> Source:
    """Return the folder of a set below `data`; for the pairs also `data` itself."""
    folder = data / name
    if name == PAIRS and not folder.is_dir() and data.is_dir() and looks_like_release(data):
        folder = data
    if folder.is_dir():
        return Source(name, folder, folder_identity(folder), None)
    return Source(
        name, folder, {}, f"{folder} is not there; type: {shell_line('earthtone', 'fetch', name, '--out', folder)}"
    )


# Whose image encoders are measured: the paper's, and the baselines of the paper.


@dataclass(frozen=True)
class Contender:
    """One image encoder."""

    name: str
    title: str
    """As the table shows it."""
    spec: str
    """As `open_backbone` takes it."""
    identity: Mapping[str, Any]
    lacking: str | None = None
    """Why it cannot be measured, with what to type."""

    def unreachable(self) -> str | None:
        """Return why its weights cannot be had, or None; only the default ImageNet weights may fail so."""
        if self.name != "imagenet" or self.identity:
            return None
        try:
            open_backbone(self.spec)
        except EarthtoneError as error:
            return f"{error}; then type: --imagenet {self.spec}@FILE.safetensors"
        return None


def model_spec(setup: Setup) -> str:
    """Return where the model is, or will be once it is trained."""
    return setup.options.model or str(Path(setup.options.out) / "runs" / "paper")


def contenders(setup: Setup) -> tuple[Contender, ...]:
    """Return the model and the baselines. Raises ModelError for a file of weights that is not there."""
    options = setup.options
    imagenet = options.imagenet or f"timm:{setup.backbone or 'resnet18'}"
    lacking = None if options.tile2vec else "no weights of Tile2Vec; type: --tile2vec FILE"
    return (
        Contender("model", "given" if options.model else "ours", model_spec(setup), setup.identity),
        Contender("random", f"random {setup.encoder}", f"random:{setup.encoder}", {"encoder": setup.encoder}),
        Contender("imagenet", f"ImageNet {_short(imagenet)}", imagenet, _imagenet_identity(options.imagenet)),
        Contender(
            "tile2vec",
            "Tile2Vec",
            f"tile2vec:{options.tile2vec}",
            _tile2vec_identity(None if options.tile2vec is None else Path(options.tile2vec)),
            lacking,
        ),
    )


def _imagenet_identity(spec: str | None) -> dict[str, Any]:
    """What tells weights apart that the user named; those by default are whatever the hub has."""
    if spec is None:
        return {}
    file = Path(spec.partition("@")[2] or spec)
    return {"imagenet": file_hash(file) if file.is_file() else spec}


def _tile2vec_identity(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    if not file.is_file():
        raise ModelError(f"--tile2vec {file}: no such file; the published weights of Tile2Vec expected")
    return {"tile2vec": file_hash(file)}


def _short(spec: str) -> str:
    """A spec without the folders of its file."""
    name, at, file = spec.partition("@")
    return f"{name}{at}{Path(file).name}" if at else name if ":" in name else Path(name).name


# The results of a reproduction on disk: one file a unit, whole or absent, each with what it was made from.


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


# Units on the pairs: pack them, train on them, search them.


KEYS, APART = "key-digit", "buffered-blocks"  # how the release divides its pairs, and how neighbours are kept apart
PACK, TRAIN = "pack-pairs-packing", "pretrain-model-training"


def paper_units(setup: Setup, pairs: Source) -> Iterator[Unit]:
    """Yield packing, training and retrieval of the paper's model, or retrieval of a given one."""
    yield _packing(setup, "pack", pairs, KEYS)
    needs: tuple[str, ...] = (PACK,)
    if setup.recipe is not None:
        training = _training(setup, ("pretrain", "model", "ours"), setup.recipe, pairs, PACK)
        yield training
        needs = (PACK, training.name)
    title = "ours" if setup.recipe else "given"
    yield from _retrieval(setup, ("retrieval", "model", title), model_spec(setup), pairs, setup.identity, needs)


def loss_units(setup: Setup, loss: str, pairs: Source) -> Iterator[Unit]:
    """Yield training with another loss and its retrieval."""
    yield from _trained(setup, ("losses", loss, loss), setup.recipe_with(loss), pairs, PACK)


def place_units(setup: Setup, pairs: Source) -> Iterator[Unit]:
    """Yield packing by places that lie apart, training and retrieval on them."""
    assert setup.recipe is not None, "nothing is trained where a model was given"  # noqa: S101
    packing = _packing(setup, "places", pairs, APART)
    yield packing
    yield from _trained(setup, ("places", "apart", "ours, places apart"), setup.recipe, pairs, packing.name)


def _packing(setup: Setup, step: str, pairs: Source, split_by: str) -> Unit:
    signal = setup.recipe.signal if setup.recipe else load_model(model_spec(setup)).signal
    made = {**pairs.identity, "split_by": split_by, **flat({"signal": asdict(signal)})}
    run = partial(pack_pairs, setup, pairs.folder, _table(setup, step), split_by)
    return Unit(step, "pairs", "packing", "", pairs.name, made, run, pairs.lacking)


def _trained(setup: Setup, names: tuple[str, str, str], recipe: Recipe, pairs: Source, packing: str) -> Iterator[Unit]:
    training = _training(setup, names, recipe, pairs, packing)
    yield training
    run = str(_run(setup, names))
    yield from _retrieval(setup, names, run, pairs, recipe_identity(recipe), (packing, training.name))


def _training(setup: Setup, names: tuple[str, str, str], recipe: Recipe, pairs: Source, packing: str) -> Unit:
    step, contender, title = names
    made = {**pairs.identity, **recipe_identity(recipe)}
    run = partial(train, recipe, _table(setup, step), _run(setup, names))
    return Unit(step, contender, "training", title, pairs.name, made, run, pairs.lacking, (packing,))


def _retrieval(
    setup: Setup, names: tuple[str, str, str], model: str, pairs: Source, identity: Mapping[str, Any],
    needs: tuple[str, ...],
) -> Iterator[Unit]:  # fmt: skip
    step, contender, title = names
    made = {**pairs.identity, **identity, "seed": setup.options.seed}
    for protocol in COUNTINGS:
        run = partial(retrieval, setup, model, _table(setup, step), honest=protocol == HONEST)
        yield Unit(step, contender, protocol, title, pairs.name, made, run, pairs.lacking, needs)


def _table(setup: Setup, step: str) -> Path:
    """Where the packed pairs of a step lie."""
    return Path(setup.options.out) / ("pairs-apart.lance" if step == "places" else "pairs.lance")


def _run(setup: Setup, names: tuple[str, str, str]) -> Path:
    step, contender, _ = names
    if step == "pretrain":
        return Path(model_spec(setup))
    return Path(setup.options.out) / "runs" / f"{step}-{contender}"


# Units on labelled data: every encoder by both protocols.


#: Steps on labelled data -> the folder that holds it.
LABELLED_TASKS: Mapping[str, str] = {
    "ucmerced": "ucmerced", "resisc45": "resisc45", "aid": "aid", "aid_few_shot": "aid", "deepglobe": "deepglobe",
    "advance": "advance",
}  # fmt: skip
_ARRAYS = "https://github.com/khdlr/SoundingEarth/issues/1"
#: Of the two-tower model and its untrained twin: the other encoders hear nothing.
HEARD = ("model", "random")


def labelled_units(setup: Setup, step: str, source: Source, contender: Contender) -> Iterator[Unit]:
    """Yield one contender's measurements in one step."""
    options = setup.options
    if step == "advance":
        yield from _advance(setup, source, contender)
        return
    epochs = {"deepglobe": options.segment_epochs, "aid_few_shot": None}.get(step, options.finetune_epochs)
    made = {
        **source.identity, **contender.identity, "epochs": epochs, "pixels": options.pixels, "seed": options.seed,
    }  # fmt: skip
    lacking = source.lacking or contender.lacking
    needs = (TRAIN,) if contender.name == "model" and setup.recipe else ()
    for protocol in COUNTINGS:
        honest, parts = protocol == HONEST, Path(options.out) / "parts" / f"{step}-{contender.name}-{protocol}"
        if step == "deepglobe":
            run = partial(land_cover, setup, contender.spec, source.folder, honest=honest)
        elif step == "aid_few_shot":
            run = partial(few_shot, setup, contender.spec, source.folder, honest=honest)
        else:
            run = partial(finetuned, setup, source.name, contender.spec, source.folder, honest=honest, parts=parts)
        yield Unit(
            step, contender.name, protocol, contender.title, source.name, made, run, lacking, needs,
            contender.unreachable,
        )  # fmt: skip


def _advance(setup: Setup, source: Source, contender: Contender) -> Iterator[Unit]:
    if contender.name not in HEARD:
        return
    made = {**source.identity, **setup.identity, "seed": setup.options.seed}
    for protocol in COUNTINGS:
        run = partial(
            scenes_seen_and_heard, setup, model_spec(setup), source.folder, honest=protocol == HONEST,
            untrained=contender.name == "random",
        )  # fmt: skip
        yield Unit(
            "advance", contender.name, protocol, contender.title, source.name, made, run,
            source.lacking or _unheard(setup, source), (TRAIN,) if setup.recipe else (),
        )  # fmt: skip


def _unheard(setup: Setup, source: Source) -> str | None:
    """Why the model cannot hear the set's sounds: the paper's reads spectrograms, the public set has recordings."""
    signal = setup.recipe.signal if setup.recipe else load_model(model_spec(setup)).signal
    ready = next(source.folder.rglob("*.npy"), None) is not None
    if signal.audio.input == "spectrogram" and not ready:
        return (
            f"the model hears ready spectrograms and {source.folder} holds recordings; get the .npy arrays of the "
            f"SoundingEarth release ({_ARRAYS}) and put them into sound/CLASS/ in their place"
        )
    return None


# All units of a reproduction, in order.


def plan(setup: Setup, done: Sequence[str]) -> list[Unit]:
    """Return the units; `done` names those with results, so that losses and places of earlier calls stay in the table.

    Raises ModelError for files of weights that are not there.
    """
    options = setup.options
    sources = {name: find_source(Path(options.data), name) for name in (PAIRS, *dict.fromkeys(LABELLED_TASKS.values()))}
    units = [*paper_units(setup, sources[PAIRS])]
    rivals = contenders(setup)
    for step, name in LABELLED_TASKS.items():
        for contender in rivals:
            units += labelled_units(setup, step, sources[name], contender)
    if setup.recipe is not None:
        if options.places or any(name.startswith("places-") for name in done):
            units += place_units(setup, sources[PAIRS])
        for loss in _losses(options, done):
            units += loss_units(setup, loss, sources[PAIRS])
    return [unit for unit in units if not options.published_only or unit.protocol != HONEST or unit.name in done]


def _losses(options: ReproduceOptions, done: Sequence[str]) -> list[str]:
    """The losses asked for now, after those that have results already."""
    before = [name.split("-")[1] for name in done if name.startswith("losses-") and name.endswith("-training")]
    return list(dict.fromkeys([*before, *options.losses]))
