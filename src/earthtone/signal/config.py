"""How sound and pixels become tensors: the numbers that a packed table and a model must agree on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from earthtone.errors import DataError


@dataclass(frozen=True)
class AudioConfig:
    """Mono log-mel spectrograms in 8 bits."""

    sample_rate_hz: int = 32_000
    """Recordings are mixed to mono and resampled to this rate."""
    window_seconds: float = 10.0
    """What the audio encoder sees at once; longer recordings are several windows."""
    mels: int = 64
    """Mel bands, usually 64 or 128."""
    fft_seconds: float = 0.032
    """Length of one analysis frame (Hann)."""
    hop_seconds: float = 0.010
    """Step from one spectrogram frame to the next."""
    min_hz: float = 50.0
    """Lower edge of the lowest mel band."""
    max_hz: float | None = None
    """Upper edge of the highest mel band; half the sample rate when null."""
    floor_db: float = -80.0
    """Power that is stored as 0."""
    ceiling_db: float = 40.0
    """Power that is stored as 255."""
    min_seconds: float = 0.5
    """Shorter recordings are refused, longer ones padded with silence to one window."""
    input: str = "waveform"
    """`waveform`, or `spectrogram` for tables made from ready 8-bit spectrogram pictures (rows are mel bands)."""

    @property
    def window_frames(self) -> int:
        """Spectrogram frames in one window."""
        return round(self.window_seconds / self.hop_seconds)


@dataclass(frozen=True)
class ImageConfig:
    """Square 8-bit RGB tiles."""

    pixels: int = 224
    """Side of what the image encoder sees."""
    stored_pixels: int = 288
    """Side of the centre square that a packed table keeps; room for random crops."""
    footprint_m: float | None = None
    """Keep only this many metres around the centre (needs `image_gsd_m`); the whole centre square when null."""
    bands: tuple[int, int, int] | None = None
    """1-based bands of a GeoTIFF used as red, green, blue; needed when it has neither 1, 3 nor 4 bands."""
    jpeg_quality: int = 95
    """Quality of the packed JPEGs."""


@dataclass(frozen=True)
class SignalConfig:
    """Both modalities; written into every packed table and every model card."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    image: ImageConfig = field(default_factory=ImageConfig)


def signal_from_dict(values: Mapping[str, Any]) -> SignalConfig:
    """Return the config that `asdict` and JSON made; unknown keys come from another version and are refused."""
    try:
        image = dict(values["image"])
        image["bands"] = None if image["bands"] is None else tuple(image["bands"])
        return SignalConfig(audio=AudioConfig(**values["audio"]), image=ImageConfig(**image))
    except (KeyError, TypeError) as error:
        raise DataError(f"signal config of another version of earthtone ({error}); install that version") from error
