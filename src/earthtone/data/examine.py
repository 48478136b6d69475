"""What the files of one pair are: sizes, rates and hashes, or why they cannot be decoded."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from earthtone.data.pair import FileOrBytes, Note, Pair, Problem
from earthtone.errors import SignalError
from earthtone.files import content_digest
from earthtone.signal.audio import AudioFacts, probe_audio, survey_recording
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.signal.image import Picture, image_hash, kept_remarks, picture_header, read_grey, read_picture
from earthtone.signal.mel import check_bands, refuse_short
from earthtone.signal.remarks import SILENT, Remark

BROKEN_IMAGE = "broken image"
BROKEN_AUDIO = "broken audio"
BROKEN_PAIR = "broken pair"
#: What decoders raise beside SignalError, from faults of their own.
DECODER_FAULTS = (ArithmeticError, MemoryError, LookupError, RuntimeError, TypeError, ValueError)
_DEFAULT = SignalConfig()


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Of a picture: width and height in pixels, its mode ("RGB", "12 bands uint16") and a 16-byte hash."""

    width: int
    height: int
    mode: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Examined:
    """Of a pair: what its files hold, a problem for each broken one, a note for what was noticed about the others.

    `spectrogram` stands in for `audio`. `audio_digest` is None for silence, which no two recordings share.
    """

    image: PictureFacts | None
    audio: AudioFacts | None
    spectrogram: PictureFacts | None
    audio_digest: bytes | None
    problems: tuple[Problem, ...]
    notes: tuple[Note, ...] = ()


def broken_pair(pair: Pair, error: Exception) -> Problem:
    """Return the problem of a pair whose files brought a decoder down: one odd file must not stop hours of work."""
    return Problem(pair.id, BROKEN_PAIR, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def examine(pair: Pair, *, decode: bool, signal: SignalConfig = _DEFAULT, spectrograms: bool = False) -> Examined:
    """Return the facts of a pair's files as `signal` has them read; with `decode` each is decoded whole, else only its
    header is read.

    Images are hashed by their pixels, recordings by their samples when decoded, otherwise both by their bytes.
    """
    image = audio = spectrogram = digest = None
    problems: list[Problem] = []
    remarks = list(pair.remarks)
    try:
        if pair.image is not None:
            image, seen = _picture(pair.image, decode, signal.image, pair.image_gsd_m)
            remarks += seen
    except SignalError as error:
        problems.append(Problem(pair.id, BROKEN_IMAGE, str(error)))
    except DECODER_FAULTS as error:
        problems.append(broken_pair(pair, error))
    try:
        if pair.audio is not None and spectrograms:
            spectrogram = _spectrogram(pair.audio, decode, signal.audio)
        elif pair.audio is not None:
            audio, noticed, digest = _recording(pair.audio, decode, signal.audio)
            remarks += noticed
        if pair.audio is not None and digest is None:
            digest = bytes_digest(pair.audio)
        digest = None if tells_silence(remarks) else digest
    except SignalError as error:
        problems.append(Problem(pair.id, BROKEN_AUDIO, str(error)))
    except DECODER_FAULTS as error:
        problems.append(broken_pair(pair, error))
    notes = tuple(Note(pair.id, remark.kind, remark.detail) for remark in remarks)
    return Examined(image, audio, spectrogram, digest, tuple(problems), notes)


def tells_silence(remarks: Iterable[Remark]) -> bool:
    """Return whether a recording is silence once mixed: equal to any other silence, and no sign of the same place."""
    return any(remark.kind == SILENT for remark in remarks)


def bytes_digest(source: FileOrBytes) -> bytes:
    """Return a 16-byte hash of a file's (`content_digest`) or a cell's bytes. Raises SignalError."""
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).digest()
    try:
        return content_digest(source)
    except OSError as error:
        raise SignalError(f"{source}: {error.strerror}; a readable file was expected") from error


def _recording(
    source: FileOrBytes, decode: bool, config: AudioConfig
) -> tuple[AudioFacts, tuple[Remark, ...], bytes | None]:
    """Return facts, what was noticed and, when decoded, a hash of rate and samples: a FLAC of a WAV is the same."""
    digest = hashlib.blake2b(digest_size=16)
    if decode:
        facts, remarks = survey_recording(source, config.channel, each=lambda samples: digest.update(samples.data))
        digest.update(f"{facts.hz}".encode())
    else:
        facts, remarks = probe_audio(source), ()
    refuse_short(facts.seconds, config)
    return facts, remarks, digest.digest() if decode else None


def _picture(
    source: FileOrBytes, decode: bool, config: ImageConfig, gsd_m: float | None
) -> tuple[PictureFacts, list[Remark]]:
    if not decode:
        width, height, mode = picture_header(source)
        unseen = Picture(np.broadcast_to(np.uint8(0), (height, width, 3)))
        return PictureFacts(width, height, mode, bytes_digest(source)), kept_remarks(unseen, config, gsd_m)
    picture = read_picture(source, config)
    remarks = [*picture.remarks, *kept_remarks(picture, config, gsd_m)]
    _, _, mode = picture_header(source)
    height, width = picture.pixels.shape[:2]
    return PictureFacts(width, height, mode, bytes.fromhex(image_hash(picture.pixels))), remarks


def _spectrogram(source: FileOrBytes, decode: bool, config: AudioConfig) -> PictureFacts:
    if not decode:
        width, height, mode = picture_header(source)
        if config.input == "spectrogram":
            check_bands(height, config, source)
        return PictureFacts(width, height, mode, bytes_digest(source))
    values = read_grey(source)
    if config.input == "spectrogram":  # else nobody said how many there should be
        check_bands(values.shape[0], config, source)
    _, _, mode = picture_header(source)
    return PictureFacts(values.shape[1], values.shape[0], mode, bytes.fromhex(image_hash(values)))
