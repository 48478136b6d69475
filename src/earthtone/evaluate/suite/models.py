"""The models of a suite: opened once to see that they are there, what they can, and which weights they have."""

from collections.abc import Sequence
from dataclasses import dataclass

from earthtone.errors import ConfigError, ModelError
from earthtone.models.backbone import open_backbone
from earthtone.models.fingerprint import model_fingerprint
from earthtone.models.open_model import open_model


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
