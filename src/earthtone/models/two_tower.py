"""The model: an image tower and a sound tower into one space; what users feed it with is read in `inputs.py`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from operator import length_hint
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.device import autocast
from earthtone.errors import ConfigError, ModelError, did_you_mean
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
from earthtone.models.inputs import (
    SOUND_THREADS,
    Errors,
    Failures,
    GivenImage,
    ImageInput,
    Metres,
    OnError,
    SoundInput,
    begin_reading,
    checked_metres,
    given_image,
    given_sound,
    measured_tile,
    read_inputs,
    recording_windows,
    refuse_single,
    with_metres,
)
from earthtone.progress import decoding_threads, terminal_progress
from earthtone.signal.config import SignalConfig, check_signal_config
from earthtone.signal.image import Pixels, seen
from earthtone.signal.spectrogram import Spectrogram


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


def sound_scale(name: str) -> tuple[float, float]:
    """Return centre and width of spectrogram bytes: an encoder sees (byte - centre) / width."""
    return _SOUND_SCALES[name]


Embeddings = NDArray[np.float32]


class AbsentTowerError(ModelError, AttributeError):
    """What a model's lacking tower was asked for; `hasattr` takes it for an attribute that is not there."""


class AbsentTower(nn.Module):
    """Stands where a model that was trained with `model.only` has no tower: whatever it is asked for is an error."""

    def __init__(self, medium: str) -> None:
        super().__init__()
        self._medium = medium

    def forward(self, *_: Any) -> Tensor:
        """Raise ModelError."""
        raise self._error()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattr__(name)
        raise self._error()

    def _error(self) -> AbsentTowerError:
        other = "audio" if self._medium == "image" else "image"
        return AbsentTowerError(
            f"the model has no {self._medium} tower: it was trained on one medium alone (model.only {other}); choose a "
            "model of both, or ask for what needs one"
        )


class TwoTower(nn.Module):
    """Two encoders and their projections; `embed_images` and `embed_audio` turn files into vectors.

    The vectors have length 1, or are the projections as they are where `config.unit` is false. The weights of a new
    model are random; `start_towers` gives it those that `config` names (warm_start.py). With `config.only` one of them
    is an `AbsentTower`, which raises ModelError where it is needed.
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
        absent = {medium: cast(Tower, AbsentTower(medium)) for medium in ("image", "audio")}
        self.image_tower = absent["image"]
        self.audio_tower = absent["audio"]
        if "image" in config.media:
            self.image_tower = Tower(config.image_encoder, (config.image_channels, pixels, pixels), **heads)
        if "audio" in config.media:
            self.audio_tower = Tower(config.audio_encoder, sound, **heads)
        self.reducer = make_reducer("mean" if config.only == "image" else config.windows, config.dimensions)
        if config.scale_input:
            self.register_buffer("usual_side_m", torch.tensor(float(signal.image.pixels)))
        mean, std = byte_statistics(IMAGENET_MEAN, IMAGENET_STD, scale=config.scale_input)
        self.register_buffer("image_mean", mean, persistent=False)
        self.register_buffer("image_std", std, persistent=False)

    @property
    def towers(self) -> dict[str, Tower]:
        """The towers that it has, by medium."""
        return {medium: getattr(self, f"{medium}_tower") for medium in self.config.media}

    def keep_only_images(self) -> None:
        """Drop all that is for sounds; the image tower stays as it is."""
        self.config = replace(self.config, only="image")
        self.audio_tower = cast(Tower, AbsentTower("audio"))
        self.reducer = MeanWindows()

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
        centre, width = sound_scale(self.config.sound_scale)
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

    def forward(
        self, pixels: Tensor | None = None, spectrograms: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return both projections of a batch, None for what is not given."""
        image = None if pixels is None else self.project_images(pixels)
        return image, None if spectrograms is None else self.project_sound(spectrograms)

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

        for rows in self.encoded_windows(recordings, batch=batch, precision=precision):
            yield self.reduced(rows)

    def encoded_windows(
        self, recordings: Iterable[Spectrogram | None], *, batch: int | None = None, precision: str = "32"
    ) -> Iterator[Embeddings]:
        """Yield, for each recording, the rows (W, F + dimensions + 1) of its windows, none for None.

        A row is a window's pooled features, its embedding, and its score among the recording's windows.
        """

        def forward(spectrograms: Tensor) -> Tensor:
            with autocast(precision, self.device.type):
                features = self.audio_tower.encoder(self.sound_input(spectrograms))
                projected = self.audio_tower.projection(features)
            vectors = self.embedding(projected.float())
            return torch.cat([features.float(), vectors, self.reducer.score(vectors)[:, None]], dim=1)

        width = self.audio_tower.features + self.config.dimensions + 1
        return rows_by_item(recordings, forward, model=self, width=width, device=self.device, batch=batch)

    def reduced(self, rows: Embeddings) -> Embeddings:
        """Return features and embedding (F + dimensions,) of a recording of its windows' rows; NaN of none."""
        split = self.audio_tower.features
        out = np.full(split + self.config.dimensions, np.nan, np.float32)
        if len(rows):
            out[:split] = rows[:, :split].mean(axis=0, dtype=np.float64)
            out[split:] = weighted_mean(rows[:, split:-1], rows[:, -1])
            out[split:] = unit_rows(out[None, split:])[0] if self.config.unit else out[split:]
        return out

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
        self,
        images: Iterable[ImageInput],
        batch: int | None = None,
        *,
        gsd_m: Metres = None,
        on_error: OnError = "raise",
        errors: Errors | None = None,
    ) -> Embeddings:
        """Return vectors (N, dimensions), float32, of any iterable of image files, of arrays (height, width, 3) uint8,
        and of what else `ImageInput` names: bytes, open files, pictures of Pillow's, tensors, Hugging Face's dicts.

        The same image gives the same vector alone or in a batch, from its file or from a packed table. Images are asked
        for as they are needed, in the calling thread, and files are read a little ahead: a generator of a million takes
        no more memory than its vectors.
        `gsd_m`, the metres a pixel, one number or one for each image, is needed by models that were trained on a fixed
        `footprint_m`; those with `scale_input` take what was usual in training for unknown ones, with a warning.
        `batch` is how many a pass has; vectors of another `batch` differ in the last digits.
        `on_error` says what an image does that cannot be read: "raise" a SignalError, which names its position; "nan",
        its row is NaN; "skip", it has no row. With the last two a warning counts them, and `errors`, an empty dict, is
        filled with the reason by position: row n is that of the n-th position that is not in it.

        >>> model.embed_images(["tile.jpg", Path("scene.tif")]).shape  # doctest: +SKIP
        (2, 128)
        """
        refuse_single(images, "images")
        failures = Failures("images", on_error, errors)

        def view(given: GivenImage, gsd_m: float | None) -> Pixels:
            tile, side_m = measured_tile(given, self.signal.image, gsd_m)
            return self.views([tile], [side_m])[0]

        def begin(image: tuple[ImageInput, float | None]) -> Callable[[], Pixels]:
            return begin_reading(given_image(image[0]), partial(view, gsd_m=checked_metres(image[1])))

        measured = with_metres(images, gsd_m, self.signal.image)
        with closing(read_inputs(measured, begin, failures, decoding_threads())) as views:
            rows = self.encoded_images(views, batch=batch)
            shown = terminal_progress(rows, total=length_hint(images) or None, label="images", unit="image")
            return self._embeddings(shown, None, "image")

    def embed_audio(
        self,
        sounds: Iterable[SoundInput],
        batch: int | None = None,
        *,
        on_error: OnError = "raise",
        errors: Errors | None = None,
    ) -> Embeddings:
        """Return vectors (N, dimensions), float32, of any iterable of sound files, of pairs (samples, hz), and of what
        else `SoundInput` names: bytes, open files, Hugging Face's dicts and decoders.

        A whole recording is heard: windows that cover it, always the same ones, count as `model.windows` says. Windows
        of all recordings share passes of `batch`, and no recording changes the vector of another.
        How recordings are asked for and read, `on_error` and `errors`: as in `embed_images`.

        >>> model.embed_audio(["waves.mp3", (samples, 44_100)]).shape  # doctest: +SKIP
        (2, 128)
        """
        refuse_single(sounds, "sounds")
        failures = Failures("sounds", on_error, errors)
        hear = partial(recording_windows, config=self.signal.audio)

        def begin(sound: SoundInput) -> Callable[[], Spectrogram]:
            return begin_reading(given_sound(sound), hear)

        with closing(read_inputs(sounds, begin, failures, SOUND_THREADS, 2 * SOUND_THREADS)) as recordings:
            rows = self.encoded_sounds(recordings, batch=batch)
            shown = terminal_progress(rows, total=length_hint(sounds) or None, label="sounds", unit="sound")
            return self._embeddings(shown, None, "audio")

    def _embeddings(self, encoded: Iterable[Embeddings], count: int | None, medium: str) -> Embeddings:
        """Return the embeddings (N, dimensions) alone, of features and embeddings side by side."""
        start = (self.image_tower if medium == "image" else self.audio_tower).features
        return collected(encoded, count, slice(start, start + self.config.dimensions))


def unit_rows(values: Embeddings) -> Embeddings:
    """Return the rows scaled to length 1."""
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12), np.float32)
