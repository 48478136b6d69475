"""What users hand to a model - files, bytes, pictures, arrays, samples, one or a million - to what packed tables hold.

By the same steps: so a file, its array and its packed row give the same vector. Inputs are asked for one after another
and never counted before, files are read a little ahead in threads, and one that cannot be read costs only itself.
"""

import logging
import math
import numbers
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, MutableMapping, Sized
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from earthtone.errors import ConfigError, SignalError, did_you_mean, one_line
from earthtone.progress import ordered_map
from earthtone.signal.audio import LEAST_HZ, MOST_HZ, read_audio, recording_of
from earthtone.signal.config import AudioConfig, ImageConfig, named_range
from earthtone.signal.image import (
    Picture,
    Pixels,
    check_gsd_m,
    cut_tile,
    decode_tile,
    encode_tile,
    picture_of_array,
    read_picture,
)
from earthtone.signal.spectrogram import Spectrogram, log_mel, ready_spectrogram, windows

Input = TypeVar("Input")
Result = TypeVar("Result")
Bytes = (bytes, bytearray, memoryview)

_log = logging.getLogger(__name__)

# Sounds: a file, its bytes, samples with their rate, or what Hugging Face's data sets give.

SoundInput = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | tuple[Any, Any] | Mapping[str, Any] | Any
"""A path, the bytes of a file, an open file, (samples, hz), or a sound as Hugging Face's data sets give it.

Samples are floats with full scale 1: NumPy, torch or lists, (samples,), (samples, channels) or (channels, samples).
A data set gives {"array": samples, "sampling_rate": hz}, {"bytes": .., "path": ..}, or a decoder of torchcodec's.
"""

_SOUND_EXPECTED = 'a path, bytes, (samples, hz) or {"array": samples, "sampling_rate": hz} expected'
_MOST_CHANNELS = 64  # the longer side is time where the other is no longer than this

GivenSound = Path | bytes | tuple[NDArray[np.floating[Any]], int]


def given_sound(sound: object) -> GivenSound:
    """Return a file, its bytes, or samples (samples,) or (samples, channels) with their rate. Raises SignalError."""
    if isinstance(sound, (str, PathLike)):
        return _path(os.fsdecode(sound))
    if isinstance(sound, Bytes):
        return bytes(sound)
    if isinstance(sound, Mapping):
        return _from_dict(sound)
    if isinstance(sound, tuple) and len(sound) == 2:
        samples, hz = sound
        if isinstance(samples, numbers.Real) and _has_axes(hz):
            raise SignalError(f"(hz, samples) given: {samples!r:.20} comes first; (samples, hz) expected")
        rate = checked_hz(hz)
        return _samples(samples), rate
    if _is_decoder(sound):
        return _decoded(sound)
    if hasattr(sound, "data") and hasattr(sound, "sample_rate"):  # what such a decoder gives
        return given_sound((sound.data, sound.sample_rate))
    if _is_open_file(sound):
        return _contents(sound)
    if _has_axes(sound):
        raise SignalError(f"{type(sound).__name__} without its rate; {_SOUND_EXPECTED}")
    raise SignalError(f"a sound is {_shown(sound)}; {_SOUND_EXPECTED}")


def checked_hz(hz: object) -> int:
    """Return the samples a second as a whole number. Raises SignalError for what cannot be a rate."""
    value = _plain(hz)
    if not _is_number(value):
        raise SignalError(f"hz is {_shown(hz)}; the samples a second expected, a number such as 48000")
    if not 0 < value < math.inf:  # also NaN
        raise SignalError(f"hz is {value!s:.40}; hz > 0 expected, such as 48000")
    if value < LEAST_HZ:
        kilo = f", such as {round(1000 * value)} if {value:g} kHz were meant" if 4 <= value <= 400 else ""
        raise SignalError(f"{value:g} samples a second; hertz expected, {LEAST_HZ} or more{kilo}")
    if value > MOST_HZ or value != round(value):
        raise SignalError(f"hz is {value!s:.40}; a whole number of samples a second expected, {MOST_HZ} at most")
    whole: int = round(value)
    return whole


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


def _from_dict(sound: Mapping[str, Any]) -> GivenSound:
    """The two forms that Hugging Face's datasets has: decoded, and not."""
    if sound.get("array") is not None:
        if "sampling_rate" not in sound:
            raise SignalError('a dict with "array" but without "sampling_rate"; both expected')
        return given_sound((sound["array"], sound["sampling_rate"]))
    for key in ("bytes", "path"):
        if isinstance(sound.get(key), (str, PathLike, *Bytes)):
            return given_sound(sound[key])
    raise SignalError(f"a dict with the keys {_keys(sound)}; {_SOUND_EXPECTED}{_row_hint(sound, 'audio')}")


def _is_decoder(value: object) -> bool:
    return callable(getattr(value, "get_all_samples", None))


def _decoded(decoder: Any) -> GivenSound:
    """Return the samples of a decoder of torchcodec's, as `datasets` 4 gives for a sound; it has its own errors."""
    try:
        found = decoder.get_all_samples()
    except (RuntimeError, ValueError, OSError) as error:
        raise SignalError(
            f"{type(decoder).__name__} that cannot decode ({one_line(str(error), 120)}); a whole sound was expected"
        ) from error
    return given_sound((found.data, found.sample_rate))


def _samples(given: object) -> NDArray[np.floating[Any]]:
    """Return an array of floats, time first. Raises SignalError."""
    try:
        samples = np.asarray(_on_processor(given) if isinstance(given, Tensor) else given)
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


# Images: a file, its bytes, a picture that Pillow has opened, or numbers.

ImageInput = (
    str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any] | Tensor
    | Mapping[str, Any]
)  # fmt: skip
"""A path, the bytes of a file, an open file, a picture of Pillow's, numbers, or Hugging Face's dict of these.

Numbers are an array or a tensor: uint8 (height, width, 3), which are red, green and blue, or (height, width), grey, as
the same picture's file is. Other bands and more than 8 bits are taken where the model's `signal.image.bands` and
`value_range` say what they mean, as in a GeoTIFF. The channels may come first.
"""

Metres = float | Iterable[float | None] | None
"""Metres a pixel: one number for all images, or one for each, None or NaN where unknown."""

_IMAGE_EXPECTED = (
    "a path, bytes, an array (height, width, 3) of uint8, a tensor, a picture of Pillow's or a dict with 'bytes' or "
    "'path' expected"
)

_MOST_COLOURS = 4  # no grey picture is so narrow: it is a row of colours, of an array that was iterated over
GivenImage = Path | bytes | Image.Image | NDArray[Any] | Tensor


def given_image(image: Any) -> GivenImage:
    """Return a file, its bytes, a picture of Pillow's, or numbers as they are. Raises SignalError."""
    if isinstance(image, (str, PathLike)):
        return _path(os.fsdecode(image))
    if isinstance(image, Bytes):
        return bytes(image)
    if isinstance(image, Mapping):
        data, path = image.get("bytes"), image.get("path")
        if data is None and path is None:
            keys = (
                f"an empty {' and '.join(image)}" if image.keys() <= {"bytes", "path"} else f"the keys {_keys(image)}"
            )
            raise SignalError(f"image dict with {keys}; 'bytes' or 'path' expected{_row_hint(image, 'image')}")
        return given_image(path if data is None else data)
    if isinstance(image, (Image.Image, Tensor, np.ndarray)):
        return image
    if _is_open_file(image):
        return _contents(image)
    if hasattr(image, "__array__"):  # of other libraries
        return np.asarray(image)
    raise SignalError(f"image of type {type(image).__name__}; {_IMAGE_EXPECTED}")


def measured_tile(image: ImageInput, config: ImageConfig, gsd_m: float | None = None) -> tuple[Pixels, float | None]:
    """Return the tile that packing would store, after its JPEG, and the metres along its side, None without `gsd_m`.

    So a file and its packed row embed alike. Raises SignalError.
    """
    tile, side_m, _ = cut_tile(_picture(given_image(image), config), config, gsd_m)
    return decode_tile(encode_tile(tile, config)), side_m


def with_metres(
    images: Iterable[ImageInput], gsd_m: Metres, config: ImageConfig
) -> Iterator[tuple[ImageInput, float | None]]:
    """Return each image with its metres a pixel, None where unknown; what is wrong with one of many is found later.

    Raises SignalError: for one number that no image has, where a `footprint_m` cannot be cut without any, and for more
    or fewer numbers than images.
    """
    expected = "the metres a pixel: one number, or one for each image"
    if gsd_m is None or _is_number(_plain(gsd_m)):
        metres = None if gsd_m is None else _plain(gsd_m)
        check_gsd_m(metres)
        if metres is None and config.footprint_m is not None:
            raise SignalError(
                f"gsd_m is unknown; this model sees {config.footprint_m:g} m of ground (signal.image.footprint_m): "
                f"type gsd_m= and {expected}"
            )
        return ((image, metres) for image in images)
    if isinstance(gsd_m, (str, Mapping, *Bytes)) or not isinstance(gsd_m, Iterable):
        raise SignalError(f"gsd_m is {_shown(gsd_m)}; {expected}, expected")
    if isinstance(images, Sized) and isinstance(gsd_m, Sized) and len(images) != len(gsd_m):
        raise SignalError(f"gsd_m has {len(gsd_m)} numbers, images are {len(images)}; {expected}, expected")
    return _in_step(images, iter(gsd_m), expected)


def _in_step(
    images: Iterable[ImageInput], metres: Iterator[float | None], expected: str
) -> Iterator[tuple[ImageInput, float | None]]:
    missing: Any = object()
    count = 0
    for count, image in enumerate(images, 1):
        value = next(metres, missing)
        if value is missing:
            raise SignalError(f"gsd_m has {count - 1} numbers, images are more; {expected}, expected")
        yield image, value
    if next(metres, missing) is not missing:
        raise SignalError(f"gsd_m has more numbers than the {count} images; {expected}, expected")


def checked_metres(value: object) -> float | None:
    """Return metres a pixel, None for None and NaN. Raises SignalError for what is no number of metres."""
    number = _plain(value)
    if number is None or number != number:
        return None
    if not _is_number(number):
        raise SignalError(f"gsd_m is {_shown(value)}; the metres a pixel expected, a number such as 0.5")
    check_gsd_m(number)
    return float(number)


def _picture(given: GivenImage, config: ImageConfig) -> Picture:
    if isinstance(given, (np.ndarray, Tensor)):
        return _of_numbers(given, config)
    min_side = config.stored_pixels if config.footprint_m is None and not isinstance(given, Image.Image) else None
    return read_picture(given, config, min_side)


def _of_numbers(given: NDArray[Any] | Tensor, config: ImageConfig) -> Picture:
    """Return the picture of an array or a tensor; 8 bits of grey or of red, green and blue as a PNG of them would be
    read, all else as a GeoTIFF would, but nothing is guessed: its bands and range are the model's."""
    kind = "tensor" if isinstance(given, Tensor) else "array"
    found = f"image {kind} {given.dtype} {tuple(given.shape)}"
    try:
        values = _on_processor(given).numpy() if isinstance(given, Tensor) else given
    except (TypeError, RuntimeError) as error:  # sparse, quantised, or without data
        said = one_line(str(error).split("\n")[0], 120)
        raise SignalError(f"{found} is no array ({said}); uint8 (height, width, 3) expected") from error
    if values.ndim not in (2, 3) or not values.size:
        hint = "; a batch of pictures is given as it is, not in a list" if values.ndim == 4 else ""
        raise SignalError(f"{found}; uint8 (height, width, 3) expected{hint}")
    if np.ma.is_masked(values):
        raise SignalError(f"{found} with hidden pixels, which have no value; black them: type image.filled(0)")
    if values.ndim == 2 and min(values.shape) <= _MOST_COLOURS:
        raise SignalError(
            f"{found}, as of one row of a picture; uint8 (height, width, 3) or grey (height, width) expected"
        )
    values = values[..., None] if values.ndim == 2 else _channels_last(values, found)
    shallow = values.dtype == np.uint8
    if not shallow:
        _refuse_unscaled(values, found, kind, config)
    if not shallow or values.shape[2] not in (1, 3):
        values = _bands(values, found, config)
    return picture_of_array(np.asarray(values), config, kind)


def _channels_last(values: NDArray[Any], found: str) -> NDArray[Any]:
    """Return (height, width, channels); channels are the first or last axis: that of 3, else of 1, else of fewer."""
    first, last = values.shape[0], values.shape[2]
    channels = next((count for count in (3, 1) if count in (first, last)), min(first, last))
    if first == last and channels not in (3, 1):
        raise SignalError(f"{found}; (height, width, channels) expected, with fewer channels than pixels a side")
    return values if last == channels else values.transpose(1, 2, 0)


def _refuse_unscaled(values: NDArray[Any], found: str, kind: str, config: ImageConfig) -> None:
    """Raise SignalError for numbers of which nothing says what is black and white, or where that is said of others."""
    to_bytes = ".astype(np.uint8)" if kind == "array" else ".to(torch.uint8)"
    if values.dtype.kind not in "iuf":
        raise SignalError(f"{found}; uint8 (height, width, 3) expected")
    if config.value_range is None:
        hint = f": type (image * 255).round(){to_bytes} if it is 0 to 1" if values.dtype.kind == "f" else ""
        raise SignalError(
            f"{found}; uint8 (height, width, 3) expected, since this model has no signal.image.value_range, which says "
            f"what is black and white{hint}"
        )
    white = np.max(named_range(config.value_range, "signal.image.value_range"))
    if values.dtype.kind == "f" and white >= 256 and 0 < np.nanmax(values, initial=0.0) <= 1:
        raise SignalError(
            f"{found} of 0 to 1; this model's signal.image.value_range is up to {white:g}: scale them as its training "
            "images were, such as image * 10000 for reflectances"
        )


def _bands(values: NDArray[Any], found: str, config: ImageConfig) -> NDArray[Any]:
    """Return the bands that the model sees as red, green and blue."""
    count = values.shape[2]
    if config.bands is None:
        if count in (1, 3):
            return values
        raise SignalError(
            f"{found}; uint8 (height, width, 3) expected, since this model has no signal.image.bands, which says which "
            f"of {count} bands are red, green and blue: leave out the others"
        )
    if max(config.bands) > count:
        raise SignalError(
            f"{found} has {count} bands; this model sees the bands {list(config.bands)} of an image as red, green and "
            "blue (signal.image.bands): give all bands"
        )
    return values[..., [band - 1 for band in config.bands]]


# Any number of inputs, of which some cannot be read.

OnError = Literal["raise", "nan", "skip"]
"""What is done where an input cannot be read: the call ends, or it is a row of NaN, or it has no row."""
Errors = MutableMapping[int, str]
"""Why inputs cannot be read, by their position from 0 among all that were given."""

SOUND_THREADS = 2  # recordings may be long, and what is decoded ahead lies in memory
_ON_ERROR = ("raise", "nan", "skip")
_FLOATS = ("float16", "float32", "float64")
_NAMED = 5


def refuse_single(inputs: object, name: str) -> None:
    """Raise SignalError for what is no iterable of `name`, `images` or `sounds`: a path is one of letters."""
    sound = isinstance(inputs, tuple) and len(inputs) == 2 and _is_number(_plain(inputs[1]))
    one_file = isinstance(inputs, (str, PathLike, Mapping, Image.Image, *Bytes)) or _is_open_file(inputs)
    if one_file or sound or _is_decoder(inputs):
        raise SignalError(f"{name} is {_shown(inputs)}; a list was expected, also for a single one: type [{name[:-1]}]")
    shape = tuple(inputs.shape) if hasattr(inputs, "__array__") and hasattr(inputs, "shape") else ()
    paths = len(shape) == 1 and not isinstance(inputs, Tensor) and getattr(inputs, "dtype", None) not in _FLOATS
    if len(shape) == 2 and hasattr(inputs, "columns"):
        raise SignalError(f"{name} is a table {shape}; one of its columns was expected: type table[COLUMN]")
    if shape and 0 not in shape and not paths and (name == "sounds" or len(shape) != 4):
        what = "several pictures have four axes" if name == "images" else "samples need their rate: [(samples, hz)]"
        raise SignalError(
            f"{name} is {type(inputs).__name__} {getattr(inputs, 'dtype', '')} {shape}; a list was expected, also for "
            f"a single one: type [{name[:-1]}]; {what}"
        )
    if isinstance(inputs, (set, frozenset)):
        raise SignalError(f"{name} is a set, which has no order; a list was expected: type sorted({name})")
    if not _is_iterable(inputs):
        raise SignalError(f"{name} is {_shown(inputs)}; a list, a generator or another iterable expected")


class Failures:
    """What is done about inputs that cannot be read, and what is told of them; `errors` is filled."""

    def __init__(self, name: str, on_error: str, errors: Errors | None) -> None:
        if on_error not in _ON_ERROR:
            known = " or ".join(_ON_ERROR)
            raise ConfigError(f"on_error is {on_error!r:.40}; {did_you_mean(str(on_error), _ON_ERROR)}{known} expected")
        if errors is not None and on_error == "raise":
            raise ConfigError(
                'errors= is filled with on_error="nan" or "skip" alone; with "raise" the first one ends all'
            )
        if errors is not None and (not isinstance(errors, MutableMapping) or errors):
            raise ConfigError(f"errors is {errors!r:.60}; an empty dict expected, which will be filled")
        self.name = name
        self.on_error = on_error
        self.errors = errors
        self.positions: list[int] = []  # the first of them
        self.reason = ""  # of the first
        self.count = 0

    def add(self, position: int, error: SignalError) -> None:
        """Keep why an input cannot be read, or raise that with its position."""
        if self.on_error == "raise":
            error.args = (f"{self.name}[{position}]: {error}",)
            raise error
        if self.errors is not None:
            self.errors[position] = str(error)
        if self.count < _NAMED:
            self.positions.append(position)
        self.reason = self.reason or str(error)
        self.count += 1

    def warn(self, total: int) -> None:
        """Say, once, how many of `total` inputs cannot be read, and name a few."""
        if not self.count:
            return
        named = ", ".join(f"{self.name}[{position}]" for position in self.positions)
        done = "their rows are NaN" if self.on_error == "nan" else "they have no row, later ones move up"
        more = "" if self.errors is not None else "; for all of them and why: errors={}, a dict that is filled"
        _log.warning(
            "%d of %d %s cannot be read; %s: %s%s (%s)%s", self.count, total, self.name, done, named,
            ", ..." * (self.count > _NAMED), one_line(self.reason, 300), more,
        )  # fmt: skip


def read_inputs(
    inputs: Iterable[Input],
    begin: Callable[[Input], Callable[[], Result]],
    failures: Failures,
    threads: int,
    ahead: int | None = None,
) -> Generator[Result | None, None, None]:
    """Yield what is read of each input, in order: None, or nothing with `skip`, for those that cannot be read.

    `begin` (see `begin_reading`) is called for an input in the calling thread before the next one is asked for; what
    it returns is called in one of the `threads`, `ahead` inputs at most. Only a SignalError of these two counts as an
    input that cannot be read: whatever else is raised, by the inputs' own code too, is raised on.
    """

    def begun() -> Iterator[Callable[[], Result] | SignalError]:
        for one in inputs:
            work: Callable[[], Result] | SignalError
            try:
                work = begin(one)
            except SignalError as error:
                work = error
            yield work

    def finished(work: Callable[[], Result] | SignalError) -> Result | SignalError:
        if isinstance(work, SignalError):
            return work
        try:
            return work()
        except SignalError as error:
            return error

    position = -1
    with closing(ordered_map(finished, begun(), threads, ahead=ahead)) as results:
        for position, found in enumerate(results):
            if not isinstance(found, SignalError):
                yield found
                continue
            failures.add(position, found)
            if failures.on_error == "nan":
                yield None
    failures.warn(position + 1)


def begin_reading(given: Input, read: Callable[[Input], Result]) -> Callable[[], Result]:
    """Return how a file or its bytes are read; all else is read at once, since its owner may change or close it."""
    if isinstance(given, (Path, bytes)):
        return partial(read, given)
    result = read(given)
    return lambda: result


def _path(name: str) -> Path:
    """Return a name of a file as a path. Raises SignalError for an address, of which a path would lose a slash."""
    if "://" in name and not Path(name).exists():
        raise SignalError(f"{one_line(name, 200)} is an address; download it first, then give the path")
    return Path(name)


def _is_open_file(value: object) -> bool:
    return callable(getattr(value, "read", None))


def _contents(file: Any) -> bytes:
    """Return the rest of an open file. Raises SignalError."""
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise SignalError(f"an open file that cannot be read ({one_line(str(error), 120)})") from error
    if not isinstance(data, bytes):
        raise SignalError(f'an open file that gives {type(data).__name__}; one opened with "rb" expected')
    if not data:
        raise SignalError("an open file with nothing left to read; type file.seek(0) before, or give its path")
    return data


def _on_processor(tensor: Tensor) -> Tensor:
    """Return a tensor, perhaps on a GPU or of a type that NumPy lacks, as NumPy can read it."""
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor


def _plain(value: Any) -> Any:
    """Return a number of NumPy's or torch's as Python's, all else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_iterable(value: object) -> bool:
    """Whether it can be asked for items; it is not asked yet, since that may start processes, as of a DataLoader."""
    return hasattr(type(value), "__iter__") or hasattr(type(value), "__getitem__")


def _has_axes(value: object) -> bool:
    return getattr(value, "ndim", 0) > 0 or isinstance(value, list)


def _keys(given: Mapping[str, Any]) -> str:
    return f"{sorted(map(str, given))!r:.80}"


def _row_hint(given: Mapping[str, Any], column: str) -> str:
    return f'; of a row, give row["{column}"]' if column in given else ""


def _shown(value: object) -> str:
    """A value in an error: no more than a line of it."""
    return type(value).__name__ if _has_axes(value) or isinstance(value, tuple) else " ".join(f"{value!r:.60}".split())
