"""How sound and pixels become tensors: the numbers that a packed table and a model must agree on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, get_args

from earthtone.errors import ConfigError, DataError, did_you_mean
from earthtone.value_types import Rule, fits, type_hints, wrong

Range = tuple[float, float]
_LowHigh = Annotated[Range, Rule("low < high", lambda pair: -1e30 < pair[0] < pair[1] < 1e30)]
_NumberRange = _LowHigh | tuple[_LowHigh, _LowHigh, _LowHigh]
ValueRange = Range | tuple[Range, Range, Range] | str

#: Named ranges of stored values that become black and white.
VALUE_RANGES: dict[str, Range] = {
    "reflectance": (0, 10_000),  # all of 0 to 1, stored as reflectance x 10,000
    "sentinel2": (0, 3_000),  # 0 to 0.3 of the same: most land, and what encoders trained on reflectances see as white
    "sentinel2-offset": (1_000, 4_000),  # the same with the offset of processing baseline 04.00, from January 2022
    "landsat-c2-l2": (7_273, 18_182),  # 0 to 0.3, stored as (reflectance + 0.2) / 0.0000275 (USGS)
}

Channel = Literal["mean", "left", "right", "loudest"]
CHANNELS: tuple[str, ...] = get_args(Channel)


def _between(low: float, high: float) -> Rule:
    return Rule(f"{low:g} to {high:g}", lambda number: low <= number <= high)


Decibel = Annotated[float, _between(-300, 300)]
ThreeBands = Annotated[tuple[int, int, int], Rule("three band numbers from 1 on", lambda bands: min(bands) > 0)]


@dataclass(frozen=True)
class AudioConfig:
    """Mono log-mel spectrograms in 8 bits."""

    sample_rate_hz: Annotated[int, _between(1_000, 400_000)] = 32_000
    """Recordings are mixed to mono and resampled to this rate."""
    window_seconds: Annotated[float, _between(0.01, 3600)] = 10.0
    """What the audio encoder sees at once; longer recordings are several windows."""
    mels: Annotated[int, _between(8, 1024)] = 64
    """Mel bands, usually 64 or 128."""
    fft_seconds: Annotated[float, _between(0.0005, 2)] = 0.032
    """Length of one analysis frame (Hann)."""
    hop_seconds: Annotated[float, _between(0.0005, 2)] = 0.010
    """Step from one spectrogram frame to the next."""
    min_hz: Annotated[float, _between(0, 200_000)] = 50.0
    """Lower edge of the lowest mel band."""
    max_hz: Annotated[float, _between(1, 200_000)] | None = None
    """Upper edge of the highest mel band; half the sample rate when null."""
    floor_db: Decibel = -80.0
    """Power that is stored as 0."""
    ceiling_db: Decibel = 40.0
    """Power that is stored as 255."""
    min_seconds: Annotated[float, _between(0, 3600)] = 0.5
    """Shorter recordings are refused, longer ones padded with silence to one window."""
    input: Literal["waveform", "spectrogram"] = "waveform"
    """`waveform`, or `spectrogram` for tables made from ready 8-bit spectrogram pictures (rows are mel bands)."""
    channel: Channel = "mean"
    """What of a stereo recording is heard: `mean` of all channels, `left`, `right`, or the `loudest` of them."""

    @property
    def window_frames(self) -> int:
        """Spectrogram frames in one window."""
        return round(self.window_seconds / self.hop_seconds)


@dataclass(frozen=True)
class ImageConfig:
    """Square 8-bit RGB tiles."""

    pixels: Annotated[int, _between(16, 4096)] = 224
    """Side of what the image encoder sees."""
    stored_pixels: Annotated[int, _between(16, 8192)] = 288
    """Side of the centre square that a packed table keeps; room for random crops."""
    footprint_m: Annotated[float, _between(0.1, 1e7)] | None = None
    """Keep only this many metres around the centre (needs `image_gsd_m`); the whole centre square when null."""
    bands: ThreeBands | None = None
    """1-based bands of a GeoTIFF used as red, green, blue; when null those that it declares, else its first three."""
    value_range: ValueRange | None = None
    """Values of more than 8 bits that become 0 and 255: [low, high], three of these for red, green and blue, or a name,
    such as sentinel2; when null the 2nd and 98th percentile of each picture, so that equal ground differs in colour."""
    jpeg_quality: Annotated[int, _between(1, 100)] = 95
    """Quality of the packed JPEGs."""
    view: Annotated[float, _between(0.01, 1)] = 1.0
    """Share of the stored tile's side, about its centre, seen in evaluation; training crops from all of it."""


@dataclass(frozen=True)
class SignalConfig:
    """Both modalities; written into every packed table and every model card."""

    audio: AudioConfig = field(default_factory=AudioConfig)
    image: ImageConfig = field(default_factory=ImageConfig)


def signal_to_dict(config: SignalConfig) -> dict[str, Any]:
    """Return plain values for headers and hashes; what is as it was before there was that option is left out."""
    values = asdict(config)
    if config.audio.channel == "mean":
        del values["audio"]["channel"]
    if config.image.view == 1.0:
        del values["image"]["view"]
    if config.image.value_range is None:
        del values["image"]["value_range"]
    return values


def signal_from_dict(values: Mapping[str, Any]) -> SignalConfig:
    """Return the config that `signal_to_dict` and JSON made: a key that is absent means the default.

    Unknown keys come from another version and are refused with a DataError.
    """
    try:
        image = dict(values["image"])
        image["bands"] = None if image["bands"] is None else tuple(image["bands"])
        if image.get("value_range") is not None:
            image["value_range"] = _as_tuples(image["value_range"])
        config = SignalConfig(audio=AudioConfig(**values["audio"]), image=ImageConfig(**image))
        check_signal_config(config)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise DataError(f"signal config of another version of earthtone, or none ({error})") from error
    return config


def check_signal_config(config: SignalConfig) -> None:
    """Raise ConfigError for values that no sound and no image can have; configs also come out of files."""
    for section in fields(config):
        options = getattr(config, section.name)
        for name, hint in type_hints(type(options)).items():
            if name != "value_range" and (told := wrong(getattr(options, name), hint)):
                raise ConfigError(f"signal.{section.name}.{name} is {told}")
    audio, image = config.audio, config.image
    if audio.floor_db >= audio.ceiling_db:
        raise ConfigError(f"signal.audio.floor_db {audio.floor_db} must lie below ceiling_db {audio.ceiling_db}")
    if not audio.hop_seconds <= audio.fft_seconds or audio.hop_seconds > audio.window_seconds:
        raise ConfigError(
            f"signal.audio.hop_seconds is {audio.hop_seconds}; no more than fft_seconds and window_seconds"
        )
    if image.stored_pixels < image.pixels:
        raise ConfigError(
            f"signal.image.pixels {image.pixels} is more than stored_pixels {image.stored_pixels}; no more was expected"
        )
    if image.value_range is not None:
        named_range(image.value_range, "signal.image.value_range")


def named_range(value: Any, key: str) -> Range | tuple[Range, Range, Range]:
    """Return the numbers of a range or of a range's name. Raises ConfigError, which names `key`."""
    if isinstance(value, str) and value in VALUE_RANGES:
        return VALUE_RANGES[value]
    if not isinstance(value, tuple) or not fits(value, _NumberRange):
        hint = did_you_mean(value, VALUE_RANGES) if isinstance(value, str) else ""
        raise ConfigError(
            f"{key} is {value!r:.60}; {hint}[low, high] with low < high, three of these, or one of "
            f"{', '.join(VALUE_RANGES)} expected"
        )
    return value


def plain_range(value: ValueRange) -> Any:
    """Return a range as JSON has it, for keys of caches: names as the numbers they stand for now."""
    return [list(one) if isinstance(one, tuple) else one for one in named_range(value, "value_range")]


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(one) for one in value) if isinstance(value, list) else value
