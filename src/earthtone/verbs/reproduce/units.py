"""The plan: every measurement of a reproduction, in order, with what it needs and what it is made from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from earthtone.data.soundingearth import looks_like_release
from earthtone.models.storage import load_model
from earthtone.verbs.reproduce import measures
from earthtone.verbs.reproduce.contenders import Contender, contenders, model_spec
from earthtone.verbs.reproduce.fingerprint import folder_identity
from earthtone.verbs.reproduce.measures import Measured
from earthtone.verbs.reproduce.options import Setup
from earthtone.wording import flat

PAIRS = "soundingearth"
PUBLISHED, HONEST = "published", "honest"
#: Steps on labelled data -> the folder that holds it.
LABELLED = {"ucmerced": "ucmerced", "resisc45": "resisc45", "aid": "aid", "aid_few_shot": "aid",
            "deepglobe": "deepglobe"}  # fmt: skip
PACK, TRAIN = "pack-pairs-once", "pretrain-model-training"


@dataclass(frozen=True)
class Unit:
    """One measurement, or one training; its result is one file."""

    step: str
    contender: str
    protocol: str
    """`published`, `honest`, or what else it is: `once`, `training`."""
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

    @property
    def name(self) -> str:
        """Of its file in `steps/`."""
        return f"{self.step}-{self.contender}-{self.protocol}"


def plan(setup: Setup, losses: Iterable[str]) -> list[Unit]:
    """Return all units in order; `losses` are those to train with besides the recipe's."""
    folders = {name: _folder(setup.options.data, name) for name in (PAIRS, *dict.fromkeys(LABELLED.values()))}
    units = [*_pairs(setup, folders[PAIRS])]
    for step, name in LABELLED.items():
        for contender in contenders(setup):
            units += _labelled(setup, step, name, folders[name], contender)
    for loss in losses:
        units += _loss(setup, loss, folders[PAIRS])
    kept = [unit for unit in units if setup.options.honest or unit.protocol != HONEST]
    return sorted(kept, key=lambda unit: unit.step == "losses")  # stable: the losses come last


def table_of(setup: Setup) -> Path:
    """Return where the packed pairs lie."""
    return setup.options.out / "pairs.lance"


def _folder(data: Path, name: str) -> Path | None:
    """The folder of a data set below DIR; for the pairs also DIR itself."""
    if (data / name).is_dir():
        return data / name
    return data if name == PAIRS and data.is_dir() and looks_like_release(data) else None


def _lacking(setup: Setup, folder: Path | None, name: str) -> str | None:
    where = setup.options.data / name
    return None if folder else f"{where} is not there; type: earthtone fetch {name} --out {where}"


def _data(folder: Path | None) -> dict[str, Any]:
    return {} if folder is None else folder_identity(folder)


def _pairs(setup: Setup, folder: Path | None) -> Iterator[Unit]:
    lacking, data, table = _lacking(setup, folder, PAIRS), _data(folder), table_of(setup)
    there, model = folder or Path(), model_spec(setup)
    recipe = setup.recipe
    signal = recipe.signal if recipe else load_model(model).signal
    packed = {**data, **{f"signal.{key}": value for key, value in flat(asdict(signal)).items()}}
    once = partial(measures.pack_pairs, setup, there, table)
    yield Unit("pack", "pairs", "once", "", PAIRS, packed, once, lacking)
    if recipe is not None:
        trained = partial(measures.train, recipe, table, Path(model))
        identity = {**data, **setup.identity}
        yield Unit("pretrain", "model", "training", "ours", PAIRS, identity, trained, lacking, (PACK,))
    title = "ours" if recipe else "given"
    needs = (PACK, TRAIN) if recipe else (PACK,)
    yield from _retrieval(setup, "retrieval", "model", title, model, {**data, **setup.identity}, lacking, needs)


def _retrieval(
    setup: Setup, step: str, contender: str, title: str, model: str, identity: Mapping[str, Any], lacking: str | None,
    needs: tuple[str, ...],
) -> Iterator[Unit]:  # fmt: skip
    for protocol in (PUBLISHED, HONEST):
        run = partial(measures.retrieval, setup, model, table_of(setup), honest=protocol == HONEST)
        made = {**identity, "seed": setup.options.seed}
        yield Unit(step, contender, protocol, title, PAIRS, made, run, lacking, needs)


def _loss(setup: Setup, loss: str, folder: Path | None) -> Iterator[Unit]:
    lacking, recipe = _lacking(setup, folder, PAIRS), setup.recipe_with(loss)
    run = setup.options.out / "runs" / f"loss-{loss}"
    identity = {**_data(folder), **{f"recipe.{key}": value for key, value in flat(asdict(recipe)).items()}}
    training = Unit(
        "losses", loss, "training", loss, PAIRS, identity, partial(measures.train, recipe, table_of(setup), run),
        lacking, (PACK,),
    )  # fmt: skip
    yield training
    yield from _retrieval(setup, "losses", loss, loss, str(run), identity, lacking, (PACK, training.name))


def _labelled(setup: Setup, step: str, name: str, folder: Path | None, contender: Contender) -> Iterator[Unit]:
    options = setup.options
    lacking = _lacking(setup, folder, name) or contender.lacking
    needs = (TRAIN,) if contender.name == "model" and setup.recipe else ()
    epochs = {"deepglobe": options.segment_epochs, "aid_few_shot": None}.get(step, options.finetune_epochs)
    identity = {
        **_data(folder), **contender.identity, "epochs": epochs, "pixels": options.pixels, "seed": options.seed,
    }  # fmt: skip
    for protocol in (PUBLISHED, HONEST):
        honest, there = protocol == HONEST, folder or Path()
        if step == "deepglobe":
            run = partial(measures.land_cover, setup, contender.spec, there, honest=honest)
        elif step == "aid_few_shot":
            run = partial(measures.few_shot, setup, contender.spec, there, honest=honest)
        else:
            parts = options.out / "parts" / f"{step}-{contender.name}-{protocol}"
            run = partial(measures.finetuned, setup, name, contender.spec, there, honest=honest, parts=parts)
        yield Unit(
            step, contender.name, protocol, contender.title, name, identity, run, lacking, needs, contender.unreachable
        )
