"""How retrieval is counted: honestly, or as a published work did, for figures that can be put beside its own."""

from collections.abc import Callable

from earthtone.errors import ConfigError
from earthtone.evaluate.embedded import EmbeddedPairs
from earthtone.evaluate.label_match import LabelMatch
from earthtone.evaluate.protocols.geoclap import geoclap
from earthtone.evaluate.protocols.psm import psm
from earthtone.evaluate.protocols.soundingearth import soundingearth
from earthtone.evaluate.retrieval import RetrievalResult, evaluate_retrieval
from earthtone.wording import did_you_mean

HONEST = "honest"
PROTOCOLS: dict[str, Callable[..., RetrievalResult]] = {
    HONEST: evaluate_retrieval,
    "soundingearth": soundingearth,
    "geoclap": geoclap,
    "psm": psm,
}


def check_protocol(protocol: str, twins: str | None, match: LabelMatch | str | None) -> None:
    """Raise ConfigError for an unknown protocol, and for options without effect under it."""
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise ConfigError(f"protocol {protocol!r}; {did_you_mean(protocol, PROTOCOLS)}one of {known} expected")
    if protocol == HONEST:
        return
    for option, value in (("twins", twins), ("match", match)):
        if value is not None:
            raise ConfigError(
                f"--{option} {value} has no effect with --protocol {protocol}; leave it out, or choose "
                f"--protocol {HONEST}"
            )


def evaluate_by(
    protocol: str,
    pairs: EmbeddedPairs,
    *,
    twins: str | None = None,
    match: LabelMatch | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RetrievalResult:
    """Return what retrieval reaches by a protocol; `twins` (by default `merge`) and `match` are for the honest one.

    Raises ConfigError for an unknown protocol and for options without effect, DataError when there are no pairs.
    """
    check_protocol(protocol, twins, match)
    if protocol == HONEST:
        return evaluate_retrieval(pairs, twins=twins or "merge", match=match, resamples=resamples, seed=seed)
    return PROTOCOLS[protocol](pairs, resamples=resamples, seed=seed)
