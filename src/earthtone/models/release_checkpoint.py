"""Checkpoints of the SoundingEarth release (Heidler et al., arXiv 2108.00688) to models of ours."""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from earthtone.errors import ModelError
from earthtone.models.checkpoint_file import read_checkpoint
from earthtone.models.config import ModelConfig
from earthtone.models.release_resnet import RELEASE_PIXELS, ReleaseResNet
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig

IMAGE_PREFIX = "img_encoder.module_list.0."
SOUND_PREFIX = "snd_encoder.module_list.0."
LOSS_PREFIX = "loss_function."
_SHOWN = 3  # keys of each kind that a message names
_MOST_DIMENSIONS = 8192  # the release has 128; a small file can claim tensors of any size
_MOST_LOSS_VALUES = 2**24  # its largest projection head has 131,712

#: What the release's images and sounds are: 1,024 px at 0.2 m; the centre 512 px in training, 384 px in evaluation,
#: seen at 192; spectrograms of 128 mel rows, windows of 128 frames.
RELEASE_SIGNAL = SignalConfig(
    audio=AudioConfig(window_seconds=1.28, hop_seconds=0.01, mels=128, input="spectrogram"),
    image=ImageConfig(pixels=RELEASE_PIXELS, stored_pixels=512, footprint_m=102.4, view=0.75),
)


@dataclass(frozen=True)
class ReleaseModel:
    """A converted checkpoint."""

    model: TwoTower
    """Both towers with their heads; its card says where it comes from."""
    loss: Mapping[str, Tensor]
    """Learnt parts of the loss, such as the projection head `g.*` of SimCLR: without a part in the embeddings."""


def is_release(weights: Collection[str]) -> bool:
    """Return whether names of tensors are those of a whole model of the release."""
    return any(name.startswith((IMAGE_PREFIX, SOUND_PREFIX)) for name in weights)


def read_release(path: Path, *, unit: bool = False) -> ReleaseModel:
    """Return the model of a release checkpoint, in evaluation mode; nothing in the file is executed.

    A state dict does not tell by which loss it was trained: for the contrastive ones, which compare by cosine, say
    `unit`. Raises ModelError, naming missing and unexpected keys, for anything that is not such a checkpoint.
    """
    weights = read_checkpoint(path)
    if not is_release(weights):
        raise ModelError(
            f"{path}: no checkpoint of the SoundingEarth release ({len(weights)} tensors, the first is "
            f"{next(iter(weights))!r:.80}; {IMAGE_PREFIX}conv1.weight was expected)"
        )
    names = {prefix: _encoder_name(weights, prefix) for prefix in (IMAGE_PREFIX, SOUND_PREFIX)}
    ours = _our_names(weights, names, path)
    config = ModelConfig(
        image_encoder=names[IMAGE_PREFIX],
        audio_encoder=names[SOUND_PREFIX],
        dimensions=int(ours["image_tower.projection.weight"].shape[0]),
        unit=unit,
        sound_scale="soundingearth",
    )
    model = TwoTower(config, RELEASE_SIGNAL)
    model.load_state_dict(ours)
    loss = {name.removeprefix(LOSS_PREFIX): value for name, value in weights.items() if name.startswith(LOSS_PREFIX)}
    model.card = _card(path, loss)
    return ReleaseModel(model.eval(), loss)


def _encoder_name(weights: Mapping[str, Tensor], prefix: str) -> str:
    """Return which ResNet a tower is, by its keys: 50 has a third convolution a block, 34 more blocks than 18."""
    if f"{prefix}layer1.0.conv3.weight" in weights:
        return "release_resnet50"
    return "release_resnet34" if f"{prefix}layer3.5.conv1.weight" in weights else "release_resnet18"


def _our_names(weights: Mapping[str, Tensor], names: Mapping[str, str], path: Path) -> dict[str, Tensor]:
    """Return the tensors by our names. Raises ModelError unless each has its place and its shape."""
    found = {name: value for name, value in weights.items() if not name.startswith(LOSS_PREFIX)}
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}  # theirs -> ours, shape in the file
    heads = [found[f"{prefix}fc.bias"].shape for prefix in names if f"{prefix}fc.bias" in found]
    dimensions = int(heads[0][0]) if heads and len(heads[0]) == 1 else 128
    loss = sum(value.numel() for name, value in weights.items() if name.startswith(LOSS_PREFIX))
    if not 1 <= dimensions <= _MOST_DIMENSIONS or loss > _MOST_LOSS_VALUES:
        raise ModelError(
            f"{path}: embeddings of {dimensions} dimensions and {loss} values of the loss; the release has 128, and at "
            "most a small projection"
        )
    for prefix, tower, channels in ((IMAGE_PREFIX, "image_tower", 3), (SOUND_PREFIX, "audio_tower", 1)):
        encoder = ReleaseResNet(names[prefix], channels)
        for key, value in encoder.state_dict().items():
            expected[prefix + key] = (f"{tower}.encoder.{key}", tuple(value.shape))
        expected[f"{prefix}fc.weight"] = (f"{tower}.projection.weight", (dimensions, encoder.num_features, 1, 1))
        expected[f"{prefix}fc.bias"] = (f"{tower}.projection.bias", (dimensions,))
    problems = [
        ("missing", [key for key in expected if key not in found]),
        ("unexpected", [key for key in found if key not in expected]),
        ("of another shape", [key for key in expected if key in found and tuple(found[key].shape) != expected[key][1]]),
    ]
    if said := [f"{len(keys)} {kind} ({_some(keys)})" for kind, keys in problems if keys]:
        towers = " and ".join(f"{names[p].removeprefix('release_')} {p.split('_')[0]}_encoder" for p in names)
        raise ModelError(f"{path}: no whole checkpoint of the SoundingEarth release ({towers}): {', '.join(said)}")
    # the head is a 1x1 convolution there, a linear layer here
    return {
        name: found[key].flatten(1) if key.endswith("fc.weight") else found[key] for key, (name, _) in expected.items()
    }


def _some(keys: list[str]) -> str:
    shown = [re.sub(r"[^\w.\-]", "?", key)[:100] for key in sorted(keys)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(keys) > _SHOWN else "")


def _card(path: Path, loss: Mapping[str, Tensor]) -> dict[str, object]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "converted_from": {
            "file": path.name,
            "sha256": digest,
            "system": "SoundingEarth release (Heidler et al., arXiv 2108.00688)",
            "license": "none stated by its authors",
            "loss_parameters": sorted(loss),
        }
    }
