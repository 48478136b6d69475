"""Whose image encoders are measured: the paper's, and the baselines of the paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthtone.errors import EarthtoneError, ModelError
from earthtone.models.backbone import open_backbone
from earthtone.verbs.reproduce.fingerprint import file_hash
from earthtone.verbs.reproduce.options import Setup


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
    return setup.options.model or str(setup.options.out / "runs" / "paper")


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
            "tile2vec", "Tile2Vec", f"tile2vec:{options.tile2vec}", _tile2vec_identity(options.tile2vec), lacking
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
