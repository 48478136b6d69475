"""The model: an image tower and a sound tower into one space, fed with what tables, files and users hold."""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.device import autocast
from earthtone.errors import ConfigError, SignalError, did_you_mean
from earthtone.models.batches import collected, row_by_item, rows_by_item
from earthtone.models.config import REDUCERS, SOUND_SCALES, ModelConfig
from earthtone.models.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Tower,
    byte_statistics,
    warn_of_unknown_gsd,
    with_usual_scale,
)
from earthtone.signal.audio import LEAST_HZ, read_audio, recording_of
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig, check_signal_config
from earthtone.signal.image import (
    Picture,
    Pixels,
    cut_tile,
    decode_tile,
    encode_tile,
    read_picture,
    seen,
)
from earthtone.signal.spectrogram import Spectrogram, log_mel, ready_spectrogram, windows

# What a user may hand over as a sound: a file, its bytes, samples with their rate, or a dict of Hugging Face.


SoundInput = str | PathLike[str] | bytes | tuple[Any, int] | Mapping[str, Any]
"""A path, the bytes of a file, (samples, hz), or {"array": samples, "sampling_rate": hz} or {"bytes": .., "path": ..}.

Samples are floats with full scale 1: NumPy, torch or lists, (samples,), (samples, channels) or (channels, samples).
"""

_EXPECTED = 'a path, bytes, (samples, hz) or {"array": samples, "sampling_rate": hz} expected'
_MOST_CHANNELS = 64  # the longer side is time where the other is no longer than this
_MOST_HZ = 10_000_000


def given_sound(sound: object) -> Path | bytes | tuple[NDArray[np.floating[Any]], int]:
    """Return a file, its bytes, or samples (samples,) or (samples, channels) with their rate. Raises SignalError."""
    if isinstance(sound, (str, PathLike)):
        return Path(sound)
    if isinstance(sound, (bytes, bytearray, memoryview)):
        return bytes(sound)
    if isinstance(sound, Mapping):
        return _from_dict(sound)
    if isinstance(sound, tuple) and len(sound) == 2:
        samples, hz = sound
        if isinstance(samples, numbers.Real) and _has_axes(hz):
            raise SignalError(f"(hz, samples) given: {samples!r:.20} comes first; (samples, hz) expected")
        rate = checked_hz(hz)
        return _samples(samples), rate
    if _has_axes(sound):
        raise SignalError(f"{type(sound).__name__} without its rate; {_EXPECTED}")
    raise SignalError(f"a sound is {_shown(sound)}; {_EXPECTED}")


def checked_hz(hz: object) -> int:
    """Return the samples a second as a whole number. Raises SignalError for what cannot be a rate."""
    value = hz.item() if hasattr(hz, "item") and getattr(hz, "ndim", 0) == 0 else hz
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SignalError(f"hz is {_shown(hz)}; the samples a second expected, a number such as 48000")
    if not 0 < value < math.inf:  # also NaN
        raise SignalError(f"hz is {value!s:.40}; hz > 0 expected, such as 48000")
    if value < LEAST_HZ:
        kilo = f", such as {round(1000 * value)} if {value:g} kHz were meant" if 4 <= value <= 400 else ""
        raise SignalError(f"{value:g} samples a second; hertz expected, {LEAST_HZ} or more{kilo}")
    if value > _MOST_HZ or value != round(value):
        raise SignalError(f"hz is {value!s:.40}; a whole number of samples a second expected, {_MOST_HZ} at most")
    return round(value)


def _from_dict(sound: Mapping[str, Any]) -> Path | bytes | tuple[NDArray[np.floating[Any]], int]:
    """The two forms that Hugging Face's datasets has: decoded, and not."""
    if sound.get("array") is not None:
        if "sampling_rate" not in sound:
            raise SignalError('a dict with "array" but without "sampling_rate"; both expected')
        return given_sound((sound["array"], sound["sampling_rate"]))
    for key in ("bytes", "path"):
        if isinstance(sound.get(key), (str, PathLike, bytes)):
            return given_sound(sound[key])
    raise SignalError(f"a dict with the keys {sorted(map(str, sound))!r:.80}; {_EXPECTED}")


def _samples(given: object) -> NDArray[np.floating[Any]]:
    """Return an array of floats, time first. Raises SignalError."""
    tensor: Any = given
    if hasattr(tensor, "detach"):  # torch, perhaps on a GPU or in bfloat16, which NumPy does not know
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor
    try:
        samples = np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SignalError(f"samples are {_shown(given)}; an array of floats with full scale 1 expected") from error
    if samples.dtype.kind in "iu":
        raise SignalError(
            f"samples {samples.dtype} {samples.shape}; floats with full scale 1 expected: {_advice(samples)}"
        )
    if np.ma.is_masked(given):
        raise SignalError("samples are a masked array, whose hidden samples have no value; fill or leave them out")
    if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
        raise SignalError(
            f"samples {samples.dtype} {samples.shape}; floats with full scale 1, (samples,) or (samples, channels), "
            "expected"
        )
    if samples.ndim == 2 and min(samples.shape) > _MOST_CHANNELS:
        raise SignalError(
            f"samples of shape {samples.shape}; (samples, channels) or (channels, samples) expected, with at most "
            f"{_MOST_CHANNELS} channels"
        )
    if samples.ndim == 2 and samples.shape[0] <= _MOST_CHANNELS < samples.shape[1]:
        samples = samples.T
    elif samples.ndim == 2 and max(samples.shape) <= _MOST_CHANNELS:
        raise SignalError(f"samples of shape {samples.shape}; a recording was expected, which is longer on one side")
    return samples


def _advice(samples: NDArray[Any]) -> str:
    """How whole numbers become floats; wider types than 32 bits mostly hold narrower samples, as lists of int do."""
    bits = 8 * samples.dtype.itemsize - 1
    if samples.dtype.kind == "u":
        return f"subtract {2**bits} and divide by {2**bits}"
    if bits > 31:
        peak = max(-int(samples.min()), int(samples.max())) if samples.size else 0
        bits = next((bits for bits in (15, 23, 31) if peak <= 2**bits), bits)
    return f"divide by {2**bits}"


def _has_axes(value: object) -> bool:
    return getattr(value, "ndim", 0) > 0 or isinstance(value, list)


def _shown(value: object) -> str:
    """A value in an error: no more than a line of it."""
    return " ".join(f"{value!r:.60}".split()) if not _has_axes(value) else type(value).__name__


# What a user may hand to a model - files, bytes, arrays - to the uint8 that packed tables hold, by the same steps.


#: A file, its bytes, (height, width, 3) uint8, a picture of Pillow's, a tensor (3, height, width) or (height, width, 3)
#: uint8, or Hugging Face's {"bytes": ..., "path": ...}.
ImageInput = str | PathLike[str] | bytes | NDArray[np.uint8] | Image.Image | Tensor | Mapping[str, Any]


def measured_tile(image: ImageInput, config: ImageConfig, gsd_m: float | None = None) -> tuple[Pixels, float | None]:
    """Return the tile that packing would store, after its JPEG, and the metres along its side, None without `gsd_m`.

    So a file and its packed row embed alike. Raises SignalError.
    """
    tile, side_m, _ = cut_tile(_picture(image, config), config, gsd_m)
    return decode_tile(encode_tile(tile, config)), side_m


def _picture(image: Any, config: ImageConfig) -> Picture:
    """Return what a user handed over as a picture. Raises SignalError."""
    if isinstance(image, Mapping):
        data, path = image.get("bytes"), image.get("path")
        if data is None and path is None:
            raise SignalError(f"image dict with the keys {sorted(map(str, image))}; 'bytes' or 'path' expected")
        return _picture(path if data is None else data, config)
    if isinstance(image, Tensor):
        return Picture(_of_tensor(image))
    if isinstance(image, np.ndarray):
        return Picture(_checked("array", image))
    min_side = None if config.footprint_m is not None else config.stored_pixels
    if isinstance(image, (str, PathLike)):
        return read_picture(Path(image), config, min_side)
    if isinstance(image, Image.Image):
        return read_picture(image, config)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return read_picture(bytes(image), config, min_side)
    raise SignalError(
        f"image of type {type(image).__name__}; a path, bytes, an array (height, width, 3) of uint8, a tensor, a "
        "picture of Pillow's or a dict with 'bytes' or 'path' expected"
    )


def _of_tensor(image: Tensor) -> Pixels:
    """Return (height, width, 3) of a tensor; channels may come first, as is usual there."""
    shape = tuple(image.shape)
    if image.dtype != torch.uint8:
        hint = "; type (image * 255).round().to(torch.uint8) if it is 0 to 1" if image.is_floating_point() else ""
        raise SignalError(f"image tensor {image.dtype} {shape}; uint8 (3, height, width) expected{hint}")
    values = image.detach().cpu().numpy()
    first = len(shape) == 3 and shape[0] == 3 and shape[2] != 3
    return _checked("tensor", values.transpose(1, 2, 0) if first else values)


def _checked(kind: str, values: NDArray[Any]) -> Pixels:
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] != 3 or not values.size:
        hint = ""
        if values.dtype == np.uint8 and values.ndim == 3 and values.shape[0] == 3:
            hint = "; type image.transpose(1, 2, 0)"
        elif values.dtype == np.uint8 and values.ndim == 2:
            hint = "; type np.stack([image] * 3, axis=-1)"
        raise SignalError(f"image {kind} {values.dtype} {values.shape}; uint8 (height, width, 3) expected{hint}")
    return np.ascontiguousarray(values)


def recording_windows(sound: SoundInput, config: AudioConfig) -> Spectrogram:
    """Return all windows (windows, frames, mels) of a recording; samples by the same steps as a file.

    Raises SignalError for what is no sound.
    """
    given = given_sound(sound)
    if config.input == "spectrogram":
        if isinstance(given, tuple):
            raise SignalError(
                "samples given; this model was trained on ready spectrogram pictures and knows only those"
            )
        return windows(ready_spectrogram(given, config), config)
    rate, channel = config.sample_rate_hz, config.channel
    samples = (
        recording_of(*given, rate, channel).samples if isinstance(given, tuple) else read_audio(given, rate, channel)
    )
    return windows(log_mel(samples, config), config)


class Reducer(nn.Module, ABC):
    """A weighted mean over windows: the weights are the softmax of one score a window.

    The order of the windows plays no part, any number of them will do, and a single one comes out as it went in.
    """

    @abstractmethod
    def score(self, vectors: Tensor) -> Tensor:
        """Return one score a window (...) of its vector (..., dimensions); each depends on that window alone."""

    def forward(self, vectors: Tensor, heard: Tensor | None = None) -> Tensor:
        """Return (N, dimensions) of windows (N, W, dimensions).

        `heard` bool (N, W) is False where a recording has fewer than W windows and the rest is filling; each row
        needs one True.
        """
        if vectors.shape[1] == 1:
            return vectors[:, 0]
        if heard is not None:
            vectors = vectors.masked_fill(~heard[..., None], 0.0)  # filling may be no number
        scores = self.score(vectors)  # (N, W)
        if heard is not None:
            scores = scores.masked_fill(~heard, -torch.inf)
        return (scores.softmax(dim=1)[..., None] * vectors).sum(dim=1)


class MeanWindows(Reducer):
    """All windows count alike."""

    def score(self, vectors: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(vectors[..., 0])


class AttentionWindows(Reducer):
    """Windows count by a learned score, w . tanh(V x), of their vector x at unit variance.

    So a model can learn to pass over wind, silence and handling noise. It starts as the plain mean: w is zero.
    Source: Ilse et al., "Attention-based Deep Multiple Instance Learning", arXiv 1802.04712, equations 7 and 8.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.hidden = nn.Linear(dimensions, dimensions)
        self.weight = nn.Linear(dimensions, 1, bias=False)  # a bias would add the same to all scores
        nn.init.zeros_(self.weight.weight)

    def score(self, vectors: Tensor) -> Tensor:
        """Return w . tanh(V x) of each vector; its length plays no part."""
        scores: Tensor = self.weight(self.hidden(F.layer_norm(vectors, (self.dimensions,))).tanh())
        return scores.squeeze(-1)


def make_reducer(name: str, dimensions: int) -> Reducer:
    """Return the reducer called `name`. Raises ConfigError for an unknown name."""
    if name == "mean":
        return MeanWindows()
    if name == "attention":
        return AttentionWindows(dimensions)
    raise ConfigError(f"model.windows is {name!r}; {did_you_mean(name, REDUCERS)}one of {', '.join(REDUCERS)} expected")


def weighted_mean(vectors: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what a reducer gives for one recording of any length: vectors (W, dimensions), scores (W,).

    In double precision and one recording at a time, so that it is the same alone or in a batch.
    """
    weights = np.exp(scores - scores.max(), dtype=np.float64)  # 1 exactly for equal scores: so a plain mean
    return np.asarray((vectors * weights[:, None]).sum(axis=0) / weights.sum())


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
        heads: dict[str, Any] = {
            "dimensions": config.dimensions,
            "projection": config.projection,
            "drop_path": config.drop_path,
        }
        pixels, sound = signal.image.pixels, (1, signal.audio.mels, signal.audio.window_frames)
        self.image_tower = Tower(config.image_encoder, (config.image_channels, pixels, pixels), **heads)
        self.audio_tower = Tower(config.audio_encoder, sound, **heads)
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
            vectors = self.embedding(vectors.float())
        reduced: Tensor = self.reducer(vectors, heard)
        return reduced

    def forward(self, pixels: Tensor, spectrograms: Tensor) -> tuple[Tensor, Tensor]:
        """Return both projections of a batch."""
        return self.project_images(pixels), self.project_sound(spectrograms)

    def views(self, tiles: Sequence[Pixels], sides_m: Sequence[float | None] | None = None) -> list[Pixels]:
        """Return what the image encoder sees of stored tiles (side, side, 3), uint8 (pixels, pixels, C) each.

        `sides_m` are the metres along each tile's side, None or NaN where unknown; read with `config.scale_input`.
        """
        if not self.config.scale_input:
            return [seen(tile, self.signal.image) for tile in tiles]
        given = np.array([None] * len(tiles) if sides_m is None else sides_m, np.float64)  # None becomes NaN
        if np.isnan(given).any() and self.usual_gsd_m is not None:
            warn_of_unknown_gsd(self.usual_gsd_m)
        given = np.where(np.isnan(given), float(self.usual_side_m), given)
        return [seen(tile, self.signal.image, float(side_m)) for tile, side_m in zip(tiles, given, strict=True)]

    def encoded_images(
        self, pictures: Iterable[Pixels | None], *, batch: int | None = None, precision: str = "32"
    ) -> Iterator[Embeddings]:
        """Return, for each picture (side, side, C), pooled features and embedding side by side; NaN for None.

        The features (F,) are those before the projection, the embedding is (dimensions,). `precision` is what
        `choose_precision` returned, `batch` how many pictures a pass has (`constant_batch`).
        """

        def forward(pixels: Tensor) -> Tensor:
            with autocast(precision, self.device.type):
                features = self.image_tower.encoder(self.image_input(pixels))
                projected = self.image_tower.projection(features)
            return torch.cat([features.float(), self.embedding(projected.float())], dim=1)

        width = self.image_tower.features + self.config.dimensions
        return row_by_item(pictures, forward, model=self, width=width, device=self.device, batch=batch)

    def encoded_sounds(
        self, recordings: Iterable[Spectrogram | None], *, batch: int | None = None, precision: str = "32"
    ) -> Iterator[Embeddings]:
        """Yield, for each recording's windows (W, frames, mels), pooled features and embedding; NaN for None.

        The features (F,) are the mean over windows of those before the projection; the embedding is (dimensions,), of
        windows that count as `model.windows` says. `batch` is how many windows a pass has, of whatever recordings.
        """

        def forward(spectrograms: Tensor) -> Tensor:
            with autocast(precision, self.device.type):
                features = self.audio_tower.encoder(self.sound_input(spectrograms))
                projected = self.audio_tower.projection(features)
            vectors = self.embedding(projected.float())
            return torch.cat([features.float(), vectors, self.reducer.score(vectors)[:, None]], dim=1)

        split, width = self.audio_tower.features, self.audio_tower.features + self.config.dimensions
        for rows in rows_by_item(recordings, forward, model=self, width=width + 1, device=self.device, batch=batch):
            out = np.full(width, np.nan, np.float32)
            if len(rows):
                out[:split] = rows[:, :split].mean(axis=0, dtype=np.float64)
                out[split:] = weighted_mean(rows[:, split:-1], rows[:, -1])
                out[split:] = unit_rows(out[None, split:])[0] if self.config.unit else out[split:]
            yield out

    def embedding(self, projections: Tensor) -> Tensor:
        """Return projections (..., dimensions) at length 1, or as they are where `config.unit` is false."""
        return F.normalize(projections, dim=-1) if self.config.unit else projections

    def embed_tiles(
        self, tiles: Sequence[Pixels], batch: int | None = None, sides_m: Sequence[float | None] | None = None
    ) -> Embeddings:
        """Return vectors (N, dimensions) of stored tiles (side, side, 3) of any sides; `sides_m` as in `views`."""
        return self._embeddings(self.encoded_images(self.views(tiles, sides_m), batch=batch), len(tiles), "image")

    def embed_windows(self, windows: Sequence[Spectrogram], batch: int | None = None) -> Embeddings:
        """Return one vector a recording (N, dimensions) of its windows (windows, frames, mels), any number."""
        return self._embeddings(self.encoded_sounds(windows, batch=batch), len(windows), "audio")

    def embed_images(
        self, images: Sequence[ImageInput], batch: int | None = None, *, gsd_m: float | None = None
    ) -> Embeddings:
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
        tiles = (measured_tile(image, self.signal.image, gsd_m) for image in images)
        views = (self.views([tile], [side_m])[0] for tile, side_m in tiles)
        return self._embeddings(self.encoded_images(views, batch=batch), len(images), "image")

    def embed_audio(self, sounds: Sequence[SoundInput], batch: int | None = None) -> Embeddings:
        """Return vectors (N, dimensions), float32, of sound files, of pairs (samples, hz) or of Hugging Face's dicts.

        A whole recording is heard: windows that cover it, always the same ones, count as `model.windows` says.
        Raises SignalError for what cannot be decoded.

        >>> model.embed_audio(["waves.mp3", (samples, 44_100)]).shape  # doctest: +SKIP
        (2, 128)
        """
        _refuse_single(sounds)
        recordings = (recording_windows(sound, self.signal.audio) for sound in sounds)
        return self._embeddings(self.encoded_sounds(recordings, batch=batch), len(sounds), "audio")

    def _embeddings(self, encoded: Iterable[Embeddings], count: int, medium: str) -> Embeddings:
        """Return the embeddings (N, dimensions) alone, of features and embeddings side by side."""
        start = (self.image_tower if medium == "image" else self.audio_tower).features
        return collected(encoded, count, slice(start, start + self.config.dimensions))


def _refuse_single(inputs: object) -> None:
    """A path is a sequence too, of letters, and an array one of rows."""
    sound = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], int)
    picture = isinstance(inputs, (np.ndarray, Tensor)) and inputs.ndim < 4
    if sound or picture or isinstance(inputs, (str, bytes, Path, Mapping, Image.Image)):
        raise SignalError(f"{inputs!r:.60}: a list was expected; write [{inputs!r:.60}]")


def unit_rows(values: Embeddings) -> Embeddings:
    """Return the rows scaled to length 1."""
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)
