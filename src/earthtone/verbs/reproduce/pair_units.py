"""Units on the pairs: pack them, train on them, search them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from earthtone.models.storage import load_model
from earthtone.train.recipe import Recipe
from earthtone.verbs.reproduce import measures
from earthtone.verbs.reproduce.contenders import model_spec
from earthtone.verbs.reproduce.options import Setup, recipe_identity
from earthtone.verbs.reproduce.units import HONEST, PROTOCOLS, Source, Unit
from earthtone.wording import flat

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
    run = partial(measures.pack_pairs, setup, pairs.folder, _table(setup, step), split_by)
    return Unit(step, "pairs", "packing", "", pairs.name, made, run, pairs.lacking)


def _trained(setup: Setup, names: tuple[str, str, str], recipe: Recipe, pairs: Source, packing: str) -> Iterator[Unit]:
    training = _training(setup, names, recipe, pairs, packing)
    yield training
    run = str(_run(setup, names))
    yield from _retrieval(setup, names, run, pairs, recipe_identity(recipe), (packing, training.name))


def _training(setup: Setup, names: tuple[str, str, str], recipe: Recipe, pairs: Source, packing: str) -> Unit:
    step, contender, title = names
    made = {**pairs.identity, **recipe_identity(recipe)}
    run = partial(measures.train, recipe, _table(setup, step), _run(setup, names))
    return Unit(step, contender, "training", title, pairs.name, made, run, pairs.lacking, (packing,))


def _retrieval(
    setup: Setup, names: tuple[str, str, str], model: str, pairs: Source, identity: Mapping[str, Any],
    needs: tuple[str, ...],
) -> Iterator[Unit]:  # fmt: skip
    step, contender, title = names
    made = {**pairs.identity, **identity, "seed": setup.options.seed}
    for protocol in PROTOCOLS:
        run = partial(measures.retrieval, setup, model, _table(setup, step), honest=protocol == HONEST)
        yield Unit(step, contender, protocol, title, pairs.name, made, run, pairs.lacking, needs)


def _table(setup: Setup, step: str) -> Path:
    """Where the packed pairs of a step lie."""
    return setup.options.out / ("pairs-apart.lance" if step == "places" else "pairs.lance")


def _run(setup: Setup, names: tuple[str, str, str]) -> Path:
    step, contender, _ = names
    if step == "pretrain":
        return Path(model_spec(setup))
    return setup.options.out / "runs" / f"{step}-{contender}"
