"""All units of a reproduction, in order."""

from collections.abc import Sequence

from earthtone.verbs.reproduce.contenders import contenders
from earthtone.verbs.reproduce.labelled_units import LABELLED, labelled_units
from earthtone.verbs.reproduce.options import ReproduceOptions, Setup
from earthtone.verbs.reproduce.pair_units import loss_units, paper_units, place_units
from earthtone.verbs.reproduce.units import HONEST, PAIRS, Unit, find_source


def plan(setup: Setup, done: Sequence[str]) -> list[Unit]:
    """Return the units; `done` names those with results, so that losses and places of earlier calls stay in the table.

    Raises ModelError for files of weights that are not there.
    """
    options = setup.options
    sources = {name: find_source(options.data, name) for name in (PAIRS, *dict.fromkeys(LABELLED.values()))}
    units = [*paper_units(setup, sources[PAIRS])]
    rivals = contenders(setup)
    for step, name in LABELLED.items():
        for contender in rivals:
            units += labelled_units(setup, step, sources[name], contender)
    if setup.recipe is not None:
        if options.places or any(name.startswith("places-") for name in done):
            units += place_units(setup, sources[PAIRS])
        for loss in _losses(options, done):
            units += loss_units(setup, loss, sources[PAIRS])
    return [unit for unit in units if options.honest or unit.protocol != HONEST or unit.name in done]


def _losses(options: ReproduceOptions, done: Sequence[str]) -> list[str]:
    """The losses asked for now, after those that have results already."""
    before = [name.split("-")[1] for name in done if name.startswith("losses-") and name.endswith("-training")]
    return list(dict.fromkeys([*before, *options.losses]))
