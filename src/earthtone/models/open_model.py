"""Models by what a user calls them: a file of ours or of the release, or an untrained one to compare with."""

from pathlib import Path

import torch

from earthtone.errors import ModelError
from earthtone.models.config import ModelConfig
from earthtone.models.storage import load_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig

#: What an untrained model hears and sees.
RANDOM_SIGNAL = SignalConfig(
    audio=AudioConfig(sample_rate_hz=16_000, window_seconds=5.0, mels=64),
    image=ImageConfig(pixels=192, stored_pixels=256),
)


def open_model(spec: str | Path, *, seed: int = 0, device: str | torch.device = "cpu") -> TwoTower:
    """Return the two-tower model that `spec` names, in evaluation mode.

    `spec` is a run's folder, a `.safetensors` file, a checkpoint of the SoundingEarth release, or `random:NAME`: both
    towers are NAME, untrained, drawn with `seed`. Raises ConfigError, ModelError.
    """
    kind, colon, name = str(spec).partition(":")
    if not colon or Path(spec).exists():
        return load_model(spec, device)
    if kind != "random":
        raise ModelError(
            f"model {str(spec)!r} has no sound tower; a run's folder, a .safetensors file, a checkpoint of the "
            "SoundingEarth release or random:NAME expected"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TwoTower(ModelConfig(image_encoder=name, audio_encoder=name), RANDOM_SIGNAL)
    model.card = {"untrained": {"encoder": name, "seed": seed}}
    return model.to(device).eval()
