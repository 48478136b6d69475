"""Units on labelled data: every encoder by both protocols."""

from collections.abc import Iterator, Mapping
from functools import partial

from earthtone.verbs.reproduce import measures
from earthtone.verbs.reproduce.contenders import Contender
from earthtone.verbs.reproduce.options import Setup
from earthtone.verbs.reproduce.pair_units import TRAIN
from earthtone.verbs.reproduce.units import HONEST, PROTOCOLS, Source, Unit

#: Steps on labelled data -> the folder that holds it.
LABELLED: Mapping[str, str] = {
    "ucmerced": "ucmerced", "resisc45": "resisc45", "aid": "aid", "aid_few_shot": "aid", "deepglobe": "deepglobe",
}  # fmt: skip


def labelled_units(setup: Setup, step: str, source: Source, contender: Contender) -> Iterator[Unit]:
    """Yield one contender's measurements in one step."""
    options = setup.options
    epochs = {"deepglobe": options.segment_epochs, "aid_few_shot": None}.get(step, options.finetune_epochs)
    made = {
        **source.identity, **contender.identity, "epochs": epochs, "pixels": options.pixels, "seed": options.seed,
    }  # fmt: skip
    lacking = source.lacking or contender.lacking
    needs = (TRAIN,) if contender.name == "model" and setup.recipe else ()
    for protocol in PROTOCOLS:
        honest, parts = protocol == HONEST, options.out / "parts" / f"{step}-{contender.name}-{protocol}"
        if step == "deepglobe":
            run = partial(measures.land_cover, setup, contender.spec, source.folder, honest=honest)
        elif step == "aid_few_shot":
            run = partial(measures.few_shot, setup, contender.spec, source.folder, honest=honest)
        else:
            run = partial(
                measures.finetuned, setup, source.name, contender.spec, source.folder, honest=honest, parts=parts
            )
        yield Unit(
            step, contender.name, protocol, contender.title, source.name, made, run, lacking, needs,
            contender.unreachable,
        )  # fmt: skip
