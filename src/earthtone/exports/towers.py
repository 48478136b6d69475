"""What is exported: each tower as a module from what a program has, samples or uint8 pixels, to its vectors."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.errors import ModelError
from earthtone.models.backbone import BACKBONE_HEADER, SOURCES, Backbone, open_backbone
from earthtone.models.storage import (
    BACKBONE_FILE,
    CHECKPOINT_SUFFIXES,
    model_fingerprint,
    model_name,
    open_model,
)
from earthtone.models.two_tower import Embeddings, Reducer, TwoTower, sound_scale
from earthtone.models.weights import read_header
from earthtone.signal.config import AudioConfig, signal_to_dict
from earthtone.signal.spectrogram import LogMel

#: Samples, spectrograms or pixels of a batch: float32 (N, samples), uint8 (N, frames, mels), uint8 (N, side, side, C).
Batch = np.ndarray[Any, Any]


class ConvLogMel(nn.Module):
    """The spectrogram of `signal.spectrogram.log_mel`, as convolutions: samples (N, n) to bytes as floats.

    The short-time Fourier transform is a convolution with windowed cosines and sines, the mel bands one of width 1: no
    complex numbers, so that it runs wherever convolutions do. Values are rounded as packed bytes are.
    """

    kernels: Tensor
    filters: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        plain = LogMel(config)
        self.hop, self.margin, self.bins = plain.hop, plain.n_fft // 2, plain.n_fft // 2 + 1
        self.least = config.window_frames
        self.low, self.high = config.floor_db, config.ceiling_db
        first = (plain.n_fft - plain.window_samples) // 2
        window = np.zeros(plain.n_fft)
        at = np.arange(plain.window_samples)
        window[first : first + plain.window_samples] = 0.5 - 0.5 * np.cos(2 * np.pi * at / plain.window_samples)
        turns = np.outer(np.arange(self.bins), np.arange(plain.n_fft)) % plain.n_fft / plain.n_fft  # exact in float64
        waves = np.concatenate([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)]) * window
        self.register_buffer("kernels", torch.from_numpy(waves[:, None]).float())  # (2 bins, 1, n_fft)
        self.register_buffer("filters", plain.filters[:, :, None].clone())  # (mels, bins, 1)

    def forward(self, samples: Tensor) -> Tensor:
        """Return (N, mels, frames), whole numbers from 0 to 255; silence fills a short recording up to one window."""
        lacking: Any = torch.sym_max(self.least * self.hop - samples.shape[1], 0)
        frames = (samples.shape[1] + lacking) // self.hop
        padded = F.pad(samples, [self.margin, self.margin + lacking])
        waves = F.conv1d(padded[:, None], self.kernels, stride=self.hop)[:, :, :frames]  # (N, 2 bins, frames)
        power = waves[:, : self.bins].square() + waves[:, self.bins :].square()
        decibel = 10.0 * torch.log10(F.conv1d(power, self.filters).clamp_min(1e-12))
        return ((decibel - self.low) * (255.0 / (self.high - self.low))).clamp(0.0, 255.0).round()


class Picture(nn.Module):
    """An image encoder with what stands before and behind it: uint8 (N, side, side, C) to vectors (N, D)."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, projection: nn.Module, mean: Tensor, std: Tensor, *, unit: bool) -> None:
        super().__init__()
        self.encoder, self.projection, self.unit = encoder, projection, unit
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.number = torch.float32
        self.spare = False

    def forward(self, pixels: Tensor) -> Tensor:
        """Return vectors (N, D), of length 1 where the model's are."""
        inputs = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        vectors = _rows(self, inputs)
        return F.normalize(vectors, dim=-1) if self.unit else vectors


class Sound(nn.Module):
    """A sound encoder with its front end, windows and what makes one vector of them.

    `front` is None for models of ready spectrograms, which come as uint8 (N, frames, mels); else samples (N, n) come.
    """

    def __init__(
        self, encoder: nn.Module, projection: nn.Module, reducer: Reducer, front: ConvLogMel | None,
        *, frames: int, scale: tuple[float, float], unit: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.projection, self.reducer, self.front = encoder, projection, reducer, front
        self.frames, self.scale, self.unit = frames, scale, unit
        self.number = torch.float32
        self.spare = False

    def forward(self, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return vectors of recordings (N, D), of their windows (N, W, D), and the windows' scores (N, W).

        A recording's vector is the mean of its windows' by the softmax of their scores. Windows lie evenly, as in
        `signal.spectrogram.window_starts`; their number is made of the length alone, so that it may change.
        """
        grey = self._ready(given) if self.front is None else self.front(given)  # (N, mels, frames)
        count, mels, size = grey.shape[0], grey.shape[1], self.frames
        several = (grey.shape[2] + size - 1) // size
        spread: Any = torch.arange(several, dtype=torch.float64) * (grey.shape[2] - size)
        starts: Tensor = spread / torch.sym_max(several - 1, 1)
        places = starts.round().long()[:, None] + torch.arange(size)  # (W, size); halves to even, as Python's round
        # windows first: no stride of what follows depends on their number, which keeps an exported program general
        cut = grey.permute(2, 0, 1).index_select(0, places.flatten()).reshape(several, size, count, mels)
        inputs = cut.permute(0, 2, 3, 1).reshape(several * count, 1, mels, size)
        vectors = _rows(self, (inputs - self.scale[0]) / self.scale[1])  # (W N, D)
        vectors = F.normalize(vectors, dim=-1) if self.unit else vectors
        scores = self.reducer.score(vectors).reshape(several, count)
        vectors = vectors.reshape(several, count, vectors.shape[1])
        whole = (scores.softmax(dim=0)[..., None] * vectors).sum(dim=0)  # (N, D)
        whole = F.normalize(whole, dim=-1) if self.unit else whole
        return whole, vectors.transpose(0, 1), scores.transpose(0, 1)

    def _ready(self, given: Tensor) -> Tensor:
        lacking: Any = torch.sym_max(self.frames - given.shape[1], 0)
        return F.pad(given.float().transpose(1, 2), (0, lacking))


def _rows(program: "Picture | Sound", inputs: Tensor) -> Tensor:
    """Return float32 projections (N, D) of inputs (N, C, height, width), computed in `program.number`.

    With `program.spare` a row of zeros goes along: some encoders are exported for two inputs or more alone.
    """
    inputs = inputs.to(program.number)
    if program.spare:
        inputs = torch.cat([inputs, torch.zeros_like(inputs[:1])])
    projected: Tensor = program.projection(program.encoder(inputs))
    return (projected[:-1] if program.spare else projected).float()


@dataclass(frozen=True)
class Subject:
    """A model to export, or an image encoder alone, and its towers as programs."""

    name: str
    """As the user named it."""
    fingerprint: str
    picture: Picture
    sound: Sound | None
    """None of an image encoder alone."""
    model: TwoTower | None
    backbone: Backbone | None
    card: Mapping[str, Any]
    architecture: Mapping[str, str]
    """`image` and `audio` -> the encoder's name."""
    projection: str
    """linear, mlp, mlp_norm, or none of an image encoder alone."""

    @property
    def media(self) -> tuple[str, ...]:
        """Return `image`, and `audio` where there is a sound tower."""
        return ("image",) if self.sound is None else ("image", "audio")

    @property
    def pixels(self) -> int:
        """Return the side of the pictures that the image encoder sees."""
        if self.model is not None:
            return self.model.signal.image.pixels
        assert self.backbone is not None  # noqa: S101 - one of them is there
        return self.backbone.pixels

    @property
    def channels(self) -> int:
        """Return 3, or 4 where metres a pixel are told."""
        return len(self.picture.mean)

    @property
    def waveform(self) -> bool:
        """Return whether sounds come as samples; else as ready spectrograms."""
        return self.sound is not None and self.sound.front is not None

    def program(self, medium: str) -> Picture | Sound:
        """Return a tower as a program."""
        if medium == "image":
            return self.picture
        assert self.sound is not None  # noqa: S101 - only asked for what is in `media`
        return self.sound

    def signal(self) -> dict[str, Any]:
        """Return the model's signal config as plain values; of an image encoder nothing."""
        return {} if self.model is None else signal_to_dict(self.model.signal)

    def expected(self, medium: str, given: Batch) -> Embeddings:
        """Return Earthtone's own vectors (N, D) of a batch, by the way that `embed_images` and `embed_audio` go."""
        if self.model is None:
            assert self.backbone is not None  # noqa: S101 - one of them is there
            with torch.inference_mode():
                return np.asarray(self.backbone.pooled(self.backbone.prepare(given)).float().numpy())
        if medium == "image":
            rows = list(self.model.encoded_images(list(given)))
            return np.stack(rows)[:, self.model.image_tower.features :]
        audio = self.model.signal.audio
        if self.waveform:
            return self.model.embed_audio([(row, audio.sample_rate_hz) for row in given])
        from earthtone.signal.spectrogram import windows

        return self.model.embed_windows([windows(row, audio) for row in given])


def open_subject(model: TwoTower | str | Path, seed: int = 0) -> Subject:
    """Return what a name, or an open model, is to be exported as. Raises ModelError, ConfigError."""
    if not isinstance(model, TwoTower) and _is_backbone(model):
        backbone = open_backbone(model, seed=seed)
        picture = Picture(backbone.encoder, nn.Identity(), backbone.mean, backbone.std, unit=False)
        return Subject(
            str(model), backbone.fingerprint, picture.eval(), None, None, backbone, {},
            {"image": backbone.architecture}, "none",
        )  # fmt: skip
    name = model_name(model)
    opened = copy.deepcopy(model).cpu().eval() if isinstance(model, TwoTower) else open_model(model, seed=seed)
    config, audio = opened.config, opened.signal.audio
    image, heard = opened.image_tower, opened.audio_tower
    picture = Picture(image.encoder, image.projection, opened.image_mean, opened.image_std, unit=config.unit)
    front = None if audio.input == "spectrogram" else ConvLogMel(audio)
    sound = Sound(
        heard.encoder, heard.projection, opened.reducer, front,
        frames=audio.window_frames, scale=sound_scale(config.sound_scale), unit=config.unit,
    )  # fmt: skip
    architecture = {"image": config.image_encoder, "audio": config.audio_encoder}
    _refuse_broken(opened, name)
    return Subject(
        name, model_fingerprint(opened), picture.eval(), sound.eval(), opened, None, opened.card, architecture,
        config.projection,
    )  # fmt: skip


def _is_backbone(model: str | Path) -> bool:
    """Return whether a name is that of an image encoder alone; `random:NAME` is a model of two towers."""
    kind, colon, _ = str(model).partition(":")
    path = Path(model)
    if colon and kind in SOURCES and not path.exists():
        return kind != "random"
    file = path / BACKBONE_FILE if path.is_dir() else path
    if not file.is_file() or file.suffix in CHECKPOINT_SUFFIXES or file.suffix != ".safetensors":
        return False
    return BACKBONE_HEADER in read_header(file)


def _refuse_broken(model: TwoTower, name: str) -> None:
    """Raise ModelError for weights that are not finite: whatever is exported of them gives no vectors."""
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ModelError(f"{name}: {key} holds values that are no numbers; export another checkpoint of the run")
