"""Units on labelled data: every encoder by both protocols."""

from collections.abc import Iterator, Mapping
from functools import partial

from earthtone.models.storage import load_model
from earthtone.verbs.reproduce import measures
from earthtone.verbs.reproduce.contenders import Contender, model_spec
from earthtone.verbs.reproduce.options import Setup
from earthtone.verbs.reproduce.pair_units import TRAIN
from earthtone.verbs.reproduce.units import HONEST, PROTOCOLS, Source, Unit

#: Steps on labelled data -> the folder that holds it.
LABELLED: Mapping[str, str] = {
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


def _advance(setup: Setup, source: Source, contender: Contender) -> Iterator[Unit]:
    if contender.name not in HEARD:
        return
    made = {**source.identity, **setup.identity, "seed": setup.options.seed}
    for protocol in PROTOCOLS:
        run = partial(
            measures.scenes_seen_and_heard, setup, model_spec(setup), source.folder, honest=protocol == HONEST,
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
