"""What is asked of a suite, apart from models and data."""

from collections.abc import Sequence
from dataclasses import dataclass

from earthtone.errors import ConfigError
from earthtone.signal.config import ValueRange


@dataclass(frozen=True)
class SuiteOptions:
    """How every task of a suite is run."""

    seeds: Sequence[int] = (0,)
    """One training each, where a task trains a network."""
    quick: bool = False
    """Few epochs and light heads: to see that everything runs, not to publish."""
    epochs: int | None = None
    """Of every task that trains a network; None: each task's own."""
    pixels: int | None = None
    """Side of the pictures that models see in probe and finetune; None: each model's own."""
    bands: tuple[int, int, int] | None = None
    """1-based bands of GeoTIFFs that image tasks take for red, green, blue."""
    value_range: ValueRange | None = None
    """Values of more than 8 bits that image tasks show as black and white; each picture's own percentiles when null."""
    resamples: int = 1000
    """Of every bootstrap."""
    device: str = "cpu"
    precision: str = "auto"
    """`auto`, `bf16` or `32`."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ConfigError(f"seeds {list(self.seeds)}; different numbers from 0 on expected, such as 0,1,2")
        for name in ("epochs", "pixels", "resamples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value}; 1 or more expected")
        if self.precision not in ("auto", "bf16", "32"):
            raise ConfigError(f"precision {self.precision!r}; auto, bf16 or 32 expected")
