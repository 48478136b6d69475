"""The model: an image tower and a sound tower into one space, fed with the bytes that tables and files hold."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.errors import ConfigError, SignalError
from earthtone.models.config import SOUND_SCALES, ModelConfig
from earthtone.models.encoders import make_tower
from earthtone.models.inputs import ImageInput, measured_tile, recording_windows
from earthtone.models.reducer import make_reducer, weighted_mean
from earthtone.models.scale_channel import byte_statistics, tell_of_usual, with_usual_scale
from earthtone.models.sound_input import SoundInput
from earthtone.models.trunk import IMAGENET_MEAN, IMAGENET_STD
from earthtone.signal.config import SignalConfig, check_signal_config
from earthtone.signal.image import seen

_BYTE_STEP = (math.exp(0.5) - math.exp(-1.5)) / 255.0  # the release's bytes stand for exp(-1.5) to exp(0.5)
#: Spectrogram bytes to numbers: (byte - centre) / width.
_SOUND_SCALES = {"standard": (110.0, 45.0), "soundingearth": (-math.exp(-1.5) / _BYTE_STEP, 1.0 / _BYTE_STEP)}

Embeddings = NDArray[np.float32]


class TwoTower(nn.Module):
    """Two encoders and their projections; `embed_images` and `embed_audio` turn files into vectors.

    The vectors have length 1, or are the projections as they are where `config.unit` is false. The weights of a new
    model are random; `start_towers` gives it those that `config` names (warm_start.py).
    `card` tells where the weights come from: recipe, data, versions, figures (Mitchell et al. 2019, model cards).
    """

    image_mean: Tensor
    image_std: Tensor
    usual_side_m: Tensor
    """With `config.scale_input`: metres along a side of a tile, the median in training; stands for unknown ones."""

    def __init__(self, config: ModelConfig, signal: SignalConfig) -> None:
        super().__init__()
        check_signal_config(signal)
        if config.sound_scale not in SOUND_SCALES:
            known = " or ".join(SOUND_SCALES)
            raise ConfigError(f"sound_scale {config.sound_scale!r}; {known} expected (model.sound_scale)")
        self.config = config
        self.signal = signal
        self.card: Mapping[str, Any] = {}
        self.image_tower = make_tower(
            config.image_encoder,
            channels=config.image_channels,
            height=signal.image.pixels,
            width=signal.image.pixels,
            dimensions=config.dimensions,
            projection=config.projection,
            drop_path=config.drop_path,
        )
        self.audio_tower = make_tower(
            config.audio_encoder,
            channels=1,
            height=signal.audio.mels,
            width=signal.audio.window_frames,
            dimensions=config.dimensions,
            projection=config.projection,
            drop_path=config.drop_path,
        )
        self.reducer = make_reducer(config.windows, config.dimensions)
        if config.scale_input:
            self.register_buffer("usual_side_m", torch.tensor(float(signal.image.pixels)))
        mean, std = byte_statistics(IMAGENET_MEAN, IMAGENET_STD, scale=config.scale_input)
        self.register_buffer("image_mean", mean, persistent=False)
        self.register_buffer("image_std", std, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.image_mean.device

    @property
    def usual_gsd_m(self) -> float | None:
        """Metres a pixel that stand for unknown ones of what the encoder sees; None where it is not told them."""
        if not self.config.scale_input:
            return None
        return float(self.usual_side_m) * self.signal.image.view / self.signal.image.pixels

    def image_input(self, pixels: Tensor) -> Tensor:
        """Return normalised (N, C, side, side), channels last in memory, of uint8 pixels (N, side, side, C).

        C is `config.image_channels`; where metres a pixel lack as fourth channel, `usual_gsd_m` is taken, with a
        warning.
        """
        if pixels.shape[3] == 3 and self.usual_gsd_m is not None:
            pixels = with_usual_scale(pixels, self.usual_gsd_m)
        return (pixels.permute(0, 3, 1, 2).float() - self.image_mean) / self.image_std

    def sound_input(self, spectrograms: Tensor) -> Tensor:
        """Return (N, 1, mels, frames) on the scale `config.sound_scale` of uint8 spectrograms (N, frames, mels)."""
        centre, width = _SOUND_SCALES[self.config.sound_scale]
        scaled = spectrograms.transpose(1, 2).unsqueeze(1).float().sub_(centre).div_(width)
        return scaled.contiguous(memory_format=torch.channels_last)

    def project_images(self, pixels: Tensor) -> Tensor:
        """Return projections (N, dimensions), not normalised, of uint8 pixels (N, side, side, C)."""
        projected: Tensor = self.image_tower(self.image_input(pixels))
        return projected

    def project_windows(self, spectrograms: Tensor) -> Tensor:
        """Return projections (N, dimensions), not normalised, of uint8 windows (N, frames, mels)."""
        projected: Tensor = self.audio_tower(self.sound_input(spectrograms))
        return projected

    def project_sound(self, spectrograms: Tensor, heard: Tensor | None = None) -> Tensor:
        """Return one vector a recording (N, dimensions) of uint8 windows (N, W, frames, mels).

        One window gives its projection as it is; several count as `model.windows` says, each at length 1 where the
        model's embeddings have it, as in `embed_windows`. `heard` bool (N, W) is False where a recording has fewer
        windows and the rest is filling.
        """
        count, several = spectrograms.shape[:2]
        vectors = self.project_windows(spectrograms.flatten(0, 1)).reshape(count, several, -1)  # (N, W, dimensions)
        if several > 1:
            vectors = self._window_vectors(vectors.float())
        reduced: Tensor = self.reducer(vectors, heard)
        return reduced

    def forward(self, pixels: Tensor, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """Return both projections of a batch."""
        return self.project_images(pixels), self.project_sound(spectrograms)

    def views(
        self, tiles: Sequence[NDArray[np.uint8]], sides_m: Sequence[float | None] | None = None
    ) -> list[NDArray[np.uint8]]:
        """Return what the image encoder sees of stored tiles (side, side, 3), uint8 (pixels, pixels, C) each.

        `sides_m` are the metres along each tile's side, None or NaN where unknown; read with `config.scale_input`.
        """
        if not self.config.scale_input:
            return [seen(tile, self.signal.image) for tile in tiles]
        given = np.array([None] * len(tiles) if sides_m is None else sides_m, np.float64)  # None becomes NaN
        if np.isnan(given).any() and self.usual_gsd_m is not None:
            tell_of_usual(self.usual_gsd_m)
        given = np.where(np.isnan(given), float(self.usual_side_m), given)
        return [seen(tile, self.signal.image, float(side_m)) for tile, side_m in zip(tiles, given, strict=True)]

    @torch.inference_mode()
    def embed_tiles(
        self,
        tiles: Sequence[NDArray[np.uint8]],
        batch: int = 32,
        sides_m: Sequence[float | None] | None = None,
    ) -> Embeddings:
        """Return vectors (N, dimensions) of stored tiles (side, side, 3) of any sides; `sides_m` as in `views`."""
        views = self.views(tiles, sides_m)
        return self._in_batches(views, self.project_images, batch, unit=self.config.unit)

    @torch.inference_mode()
    def embed_windows(self, windows: Sequence[NDArray[np.uint8]], batch: int = 32) -> Embeddings:
        """Return one vector a recording (N, dimensions) of its windows (windows, frames, mels), any number."""
        flat = [window for recording in windows for window in recording]
        width = self.config.dimensions + 1
        scored = self._in_batches(flat, self._scored_windows, batch, unit=False, width=width)
        reduced = [weighted_mean(part[:, :-1], part[:, -1]) for part in _by_recording(scored, windows)]
        vectors = np.array(reduced, np.float32).reshape(len(windows), self.config.dimensions)
        return unit_rows(vectors) if self.config.unit else vectors

    @torch.inference_mode()
    def sound_features(self, windows: Sequence[NDArray[np.uint8]], batch: int = 32) -> Embeddings:
        """Return the sound encoder's pooled features (N, features): a mean over each recording's windows.

        `windows` are (windows, frames, mels) a recording; the features are those before the projection.
        """
        flat = [window for recording in windows for window in recording]
        width = self.audio_tower.features
        rows = self._in_batches(
            flat, lambda s: self.audio_tower.encoder(self.sound_input(s)), batch, unit=False, width=width
        )
        means = [part.mean(axis=0, dtype=np.float64) for part in _by_recording(rows, windows)]
        return np.array(means, np.float32).reshape(len(windows), width)

    def _scored_windows(self, spectrograms: Tensor) -> Tensor:
        """Return vectors of windows (N, frames, mels) and, as last column, their scores: (N, dimensions + 1)."""
        vectors = self._window_vectors(self.project_windows(spectrograms).float())
        return torch.cat([vectors, self.reducer.score(vectors)[:, None]], dim=1)

    def _window_vectors(self, projections: Tensor) -> Tensor:
        """Return what is averaged over windows: projections (..., dimensions) at length 1, or as they are."""
        return F.normalize(projections, dim=-1) if self.config.unit else projections

    @torch.inference_mode()
    def image_features(
        self,
        tiles: Sequence[NDArray[np.uint8]],
        batch: int = 32,
        sides_m: Sequence[float | None] | None = None,
    ) -> Embeddings:
        """Return the image encoder's pooled features (N, features), those before the projection."""
        views = self.views(tiles, sides_m)
        width = self.image_tower.features
        return self._in_batches(
            views, lambda p: self.image_tower.encoder(self.image_input(p)), batch, unit=False, width=width
        )

    def embed_images(self, images: Sequence[ImageInput], batch: int = 32, *, gsd_m: float | None = None) -> Embeddings:
        """Return vectors (N, dimensions), float32, of image files, of arrays (height, width, 3) uint8, and of
        what else `ImageInput` names: pictures of Pillow's, tensors, Hugging Face's dicts.

        The same image gives the same vector alone or in a batch, from its file or from a packed table.
        `gsd_m`, the metres a pixel, is needed by models that were trained on a fixed `footprint_m`; those with
        `scale_input` take what was usual in training for unknown ones, with a warning.
        Raises SignalError for what cannot be decoded.

        >>> model.embed_images(["tile.jpg", Path("scene.tif")]).shape  # doctest: +SKIP
        (2, 128)
        """
        _refuse_single(images)
        out = np.empty((len(images), self.config.dimensions), np.float32)
        for start in range(0, len(images), batch):
            found = [measured_tile(image, self.signal.image, gsd_m) for image in images[start : start + batch]]
            tiles, sides_m = [tile for tile, _ in found], [side_m for _, side_m in found]
            out[start : start + batch] = self.embed_tiles(tiles, batch, sides_m)
        return out

    def embed_audio(self, sounds: Sequence[SoundInput], batch: int = 32) -> Embeddings:
        """Return vectors (N, dimensions), float32, of sound files, of pairs (samples, hz) or of Hugging Face's dicts.

        A whole recording is heard: windows that cover it, always the same ones, count as `model.windows` says.
        Raises SignalError for what cannot be decoded.

        >>> model.embed_audio(["waves.mp3", (samples, 44_100)]).shape  # doctest: +SKIP
        (2, 128)
        """
        _refuse_single(sounds)
        out = np.empty((len(sounds), self.config.dimensions), np.float32)
        for row, sound in enumerate(sounds):  # one at a time: a recording may be long
            out[row] = self.embed_windows([recording_windows(sound, self.signal.audio)], batch)[0]
        return out

    def _in_batches(
        self,
        inputs: Sequence[NDArray[np.uint8]],
        project: Any,
        batch: int,
        unit: bool = True,
        width: int | None = None,
    ) -> Embeddings:
        """Run a tower over inputs of equal shape in evaluation mode, in batches of one constant size.

        The last batch is filled up: kernels are chosen by shape, and another kernel rounds otherwise.
        """
        was_training = self.training
        self.eval()
        out = np.empty((len(inputs), width or self.config.dimensions), np.float32)
        for start in range(0, len(inputs), batch):
            chunk = np.stack(inputs[start : start + batch])
            count = len(chunk)
            if count < batch:
                chunk = np.concatenate([chunk, np.zeros((batch - count, *chunk.shape[1:]), np.uint8)])
            result = project(torch.from_numpy(chunk).to(self.device)).float()
            result = F.normalize(result, dim=1) if unit else result
            out[start : start + count] = result[:count].cpu().numpy()
        self.train(was_training)
        return out


def _by_recording(rows: Embeddings, windows: Sequence[NDArray[np.uint8]]) -> list[Embeddings]:
    """Return each recording's rows; `rows` are those of all windows, one recording after another."""
    ends = np.cumsum([len(recording) for recording in windows])
    return np.split(rows, ends[:-1]) if len(windows) else []


def _refuse_single(inputs: object) -> None:
    """A path is a sequence too, of letters, and an array one of rows."""
    sound = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], int)
    picture = isinstance(inputs, (np.ndarray, Tensor)) and inputs.ndim < 4
    if sound or picture or isinstance(inputs, (str, bytes, Path, Mapping, Image.Image)):
        raise SignalError(f"{inputs!r:.60}: a list was expected; write [{inputs!r:.60}]")


def unit_rows(values: Embeddings) -> Embeddings:
    """Return the rows scaled to length 1."""
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)
