"""Which files are images and which are sounds, by their suffix; those that a plug-in reads (docs/plugins.md)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError, MissingExtraError, SignalError
from earthtone.files import regular_file
from earthtone.plugins import Plugin, find_plugin, plugins_of

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".gif")
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aac", ".m4a")
#: Read here too, or something else: spectrograms, tables, models.
_OTHERS = (
    ".mp2", ".mpga", ".mp4", ".webm", ".mka", ".avif", ".npy", ".csv", ".tsv", ".json", ".geojson", ".parquet",
    ".geoparquet", ".lance", ".yaml", ".yml", ".safetensors", ".pt", ".pth",
)  # fmt: skip
#: What no plug-in reads, whatever its package's metadata says.
_KNOWN = frozenset((*IMAGES, *SOUNDS, *_OTHERS))


def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of images, those of plug-ins too."""
    return (*IMAGES, *_plugins("image"))


def sound_suffixes() -> tuple[str, ...]:
    """Return the suffixes of sounds, those of plug-ins too."""
    return (*SOUNDS, *_plugins("audio"))


def _plugins(medium: str) -> dict[str, Plugin]:
    return {suffix: plugin for suffix, plugin in plugins_of(f"{medium} reader").items() if suffix not in _KNOWN}


def kind(path: Path) -> str | None:
    """Return "image" or "audio" by a file's suffix; None for others."""
    suffix = path.suffix.lower()
    if suffix in image_suffixes():
        return "image"
    return "audio" if suffix in sound_suffixes() else None


def plugin_reader(suffix: str, read: object) -> Callable[[Path], Any]:
    """Return a plug-in's reader. Raises ConfigError for a suffix that is known here, and for no function."""
    if suffix in _KNOWN:
        raise ConfigError("earthtone reads files of this suffix itself; choose another one")
    if not callable(read):
        raise ConfigError(f"it is {read!r:.80}; a function of a path expected")
    return read


def reader_source(path: Path | None, medium: str) -> str | None:
    """Return which plug-in reads a file, `my-package 1.2`; None where none does. Nothing is imported."""
    if path is None or path.suffix.lower() in _KNOWN:
        return None
    plugin = plugins_of(f"{medium} reader").get(path.suffix.lower())
    return None if plugin is None else plugin.source


def read_image_by_plugin(path: Path) -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3) that a plug-in reads. Raises SignalError for all that is none."""
    name, found = _read(path, "image")
    pixels = np.asarray(found) if isinstance(found, np.ndarray) else None
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise SignalError(f"{name} returned {_shown(found)}; uint8 (height, width, 3) expected")
    return np.array(pixels, order="C")  # its own: the plug-in may keep what it returned


def read_sound_by_plugin(path: Path) -> tuple[NDArray[np.float32], int]:
    """Return the samples (n, channels) that a plug-in reads, and how many a second. Raises SignalError."""
    name, found = _read(path, "audio")
    if not isinstance(found, tuple) or len(found) != 2:
        raise SignalError(f"{name} returned {_shown(found)}; (samples, hz) expected")
    samples, hz = found
    rate = hz.item() if isinstance(hz, np.number) else hz
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate % 1 != 0 or rate < 1:  # also NaN
        raise SignalError(f"{name} returned hz {rate!s:.40}; a whole number of samples a second expected")
    values = np.asarray(samples) if isinstance(samples, np.ndarray) else None
    if values is None or values.dtype.kind != "f" or values.ndim not in (1, 2) or not values.size:
        raise SignalError(f"{name} returned {_shown(samples)}; floats (n,) or (n, channels) expected")
    if values.ndim == 2 and values.shape[1] > values.shape[0]:
        raise SignalError(f"{name} returned samples of shape {values.shape}; (n, channels) expected")
    if not np.isfinite(values).all():
        raise SignalError(f"{name} returned samples that are NaN or infinite; finite sound was expected")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused with all loud sound
        return np.array(values if values.ndim == 2 else values[:, None], np.float32, order="C"), int(rate)


def _read(path: Path, medium: str) -> tuple[str, Any]:
    """Return what the reader is called in messages, and what it returned. Raises SignalError, whatever it raises."""
    suffix = path.suffix.lower()
    name = f"{path}: the reader of {suffix} ({reader_source(path, medium)})"
    try:
        regular_file(path)
    except OSError as error:
        raise SignalError(f"{path}: {error.strerror}; a file was expected") from error
    try:
        return name, find_plugin(f"{medium} reader", suffix)(path)
    except (MemoryError, MissingExtraError):
        raise
    except ConfigError as error:  # it cannot be loaded: a reader of many files counts this one and goes on
        raise SignalError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise SignalError(f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error


def _shown(found: object) -> str:
    return f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
