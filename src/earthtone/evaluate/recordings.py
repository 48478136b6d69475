"""Sounds of labelled items to spectrograms: short ones too, since a published set's figures are over all its clips."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from earthtone.data.datasets.media import kind
from earthtone.data.labelled import LabelledItem
from earthtone.errors import DataError
from earthtone.models.two_tower import TwoTower
from earthtone.signal.audio import read_audio
from earthtone.signal.config import AudioConfig
from earthtone.signal.mel import Spectrogram, log_mel
from earthtone.signal.spectrogram_file import ready_spectrogram

DECODING_THREADS = 2  # recordings may be long, and what is decoded ahead lies in memory


def check_sounds(model: TwoTower, items: Sequence[LabelledItem]) -> None:
    """Raise DataError where the sounds are recordings and the model reads spectrograms, or the reverse."""
    recordings = [item.audio for item in items if item.audio is not None and kind(item.audio) == "audio"]
    ready = [item.audio for item in items if item.audio is not None and kind(item.audio) != "audio"]
    if model.signal.audio.input == "spectrogram" and recordings:
        raise DataError(
            f"{len(recordings)} recordings, such as {recordings[0]}, but this model reads ready spectrograms alone: "
            f"pictures or .npy arrays of {model.signal.audio.mels} mel bands; give those, or a model of recordings"
        )
    if model.signal.audio.input == "waveform" and ready:
        raise DataError(
            f"{len(ready)} ready spectrograms, such as {ready[0]}, but this model reads recordings alone (WAV, FLAC, "
            "Ogg, MP3 ...); give those, or a model of spectrograms, such as a converted checkpoint of the release"
        )


def read_spectrogram(path: Path, config: AudioConfig) -> tuple[Spectrogram, bool]:
    """Return the whole spectrogram (frames, mels) of a file, and whether it was shorter than `min_seconds`.

    A published set's short clips are part of its figures: silence fills them up here. Raises SignalError.
    """
    if config.input == "spectrogram":
        return ready_spectrogram(path, config), False
    samples = read_audio(path, config.sample_rate_hz, config.channel)
    short = len(samples) < config.min_seconds * config.sample_rate_hz
    return log_mel(samples, replace(config, min_seconds=0.0)), short
