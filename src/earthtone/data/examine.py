"""What the files of one pair are: sizes, rates and hashes, or why they cannot be decoded."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from earthtone.data.pair import FileOrBytes, Pair, Problem
from earthtone.errors import SignalError
from earthtone.signal.audio import AudioFacts, probe_audio, read_audio
from earthtone.signal.config import AudioConfig
from earthtone.signal.image import TIFF_MAGIC, image_formats, image_hash, read_image, warnings_as

BROKEN_IMAGE = "broken image"
BROKEN_AUDIO = "broken audio"
_LEAST_SECONDS = AudioConfig().min_seconds


@dataclass(frozen=True, slots=True)
class Picture:
    """Of a picture: width and height in pixels, its mode ("RGB", "12 bands uint16") and a 16-byte hash."""

    width: int
    height: int
    mode: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Examined:
    """Of a pair: what its files hold, and a problem for each broken one. `spectrogram` stands in for `audio`."""

    image: Picture | None
    audio: AudioFacts | None
    spectrogram: Picture | None
    audio_digest: bytes | None
    problems: tuple[Problem, ...]


def examine(
    pair: Pair, *, decode: bool, bands: tuple[int, int, int] | None = None, spectrograms: bool = False
) -> Examined:
    """Return the facts of a pair's files; with `decode` each is decoded whole, else only its header is read.

    Images are hashed by their pixels when decoded, otherwise by their bytes; recordings always by their bytes.
    """
    image = audio = spectrogram = digest = None
    problems = []
    try:
        if pair.image is not None:
            image = _picture(pair.image, decode, bands)
    except SignalError as error:
        problems.append(Problem(pair.id, BROKEN_IMAGE, str(error)))
    try:
        if pair.audio is not None and spectrograms:
            spectrogram = _picture(pair.audio, decode, None)
        elif pair.audio is not None:
            audio = _recording(pair.audio, decode)
        digest = None if pair.audio is None else bytes_digest(pair.audio)
    except SignalError as error:
        problems.append(Problem(pair.id, BROKEN_AUDIO, str(error)))
    return Examined(image, audio, spectrogram, digest, tuple(problems))


def bytes_digest(source: FileOrBytes) -> bytes:
    """Return a 16-byte hash of a file's or a cell's bytes. Raises SignalError."""
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).digest()
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError as error:
        raise SignalError(f"{source}: {error.strerror}; a readable file was expected") from error


def _recording(source: FileOrBytes, decode: bool) -> AudioFacts:
    facts = probe_audio(source)
    if facts.seconds < _LEAST_SECONDS:
        raise SignalError(f"{facts.seconds:.2f} s of sound; packing expects at least {_LEAST_SECONDS} s")
    if decode:
        samples = read_audio(source, facts.hz)
        return AudioFacts(len(samples) / facts.hz, facts.hz, facts.channels)
    return facts


def _picture(source: FileOrBytes, decode: bool, bands: tuple[int, int, int] | None) -> Picture:
    if decode:
        pixels = read_image(source, bands)
        _, _, mode = _header(source)
        return Picture(pixels.shape[1], pixels.shape[0], mode, bytes.fromhex(image_hash(pixels)))
    return Picture(*_header(source), bytes_digest(source))


def _header(source: FileOrBytes) -> tuple[int, int, str]:
    """Return width, height and mode without decoding pixels. Raises SignalError."""
    name = f"{len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        if _start(source).startswith(TIFF_MAGIC):
            return _tiff_header(source)
        with warnings_as("ignore", Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=image_formats())
        with image:
            return image.width, image.height, image.mode
    except UnidentifiedImageError as error:
        raise SignalError(f"{name}: not an image; JPEG, PNG, WebP, GeoTIFF ... expected") from error
    except Exception as error:  # each format has its own errors for broken data
        raise SignalError(f"{name}: broken image ({error}); a whole file was expected") from error


def _start(source: FileOrBytes) -> bytes:
    if isinstance(source, bytes):
        return source[:4]
    with source.open("rb") as file:
        return file.read(4)


def _tiff_header(source: FileOrBytes) -> tuple[int, int, str]:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        with rasterio.MemoryFile(data) as memory, warnings_as("ignore", NotGeoreferencedWarning), memory.open() as file:
            bands = "1 band" if file.count == 1 else f"{file.count} bands"
            return int(file.width), int(file.height), f"{bands} {file.dtypes[0]}"
    except RasterioError as error:
        raise ValueError(str(error)) from error
