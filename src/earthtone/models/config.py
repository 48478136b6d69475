"""What a two-tower model is made of, a recipe's section `model`; without PyTorch, so that options are read fast."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from earthtone.value_types import PositiveInt, Share

Reducers = Literal["mean", "attention"]
SoundScales = Literal["standard", "soundingearth"]
REDUCERS: tuple[str, ...] = get_args(Reducers)
SOUND_SCALES: tuple[str, ...] = get_args(SoundScales)


@dataclass(frozen=True)
class ModelConfig:
    """Two encoders and the space they share."""

    image_encoder: str = "resnet18"
    """Any timm model name, or `release_resnet18`, `release_resnet34`, `release_resnet50` of SoundingEarth, or a
    plug-in's (docs/plugins.md)."""
    audio_encoder: str = "resnet18"
    """As `image_encoder`; it sees spectrograms as pictures of one channel."""
    dimensions: PositiveInt = 128
    """Size of the shared embedding."""
    projection: Literal["linear", "mlp", "mlp_norm"] = "linear"
    """Head on each encoder: `linear`, `mlp` (one hidden layer as wide as the encoder's features), or `mlp_norm` (with a
    batch norm in it, as SimCLR's)."""
    image_weights: str | None = None
    """What the image encoder begins with: null for random weights, `pretrained` (timm's own, downloaded), a run's
    folder (its image tower), a file, `timm:NAME`, ... (docs/models.md); it must be `image_encoder`'s architecture."""
    audio_weights: str | None = None
    """As `image_weights`, for the audio encoder; weights for colours are summed for its one channel."""
    drop_path: Share = 0.0
    """Stochastic depth rate of both encoders."""
    windows: Reducers = "mean"
    """How the windows of a recording become one vector: `mean`, or `attention` (learned weights; needs training on
    several windows, `train.windows`)."""
    unit: bool = True
    """Embeddings have length 1 and are compared by cosine; false: raw ones, compared by Euclidean distance."""
    sound_scale: SoundScales = "standard"
    """How spectrogram bytes become numbers: `standard` (about zero mean and unit variance), or `soundingearth` (from
    exp(-1.5) to exp(0.5), as the release does)."""
    scale_input: bool = False
    """Tell the image encoder each view's metres a pixel, as a fourth channel; needs `image_gsd_m` of the training
    images (docs/training.md)."""
    only: Literal["image", "audio"] | None = None
    """Train one tower alone, on the rows that have its medium: `image` or `audio`; null for both (docs/training.md)."""

    @property
    def media(self) -> tuple[str, ...]:
        """What the model has towers for."""
        return ("image", "audio") if self.only is None else (self.only,)

    @property
    def image_channels(self) -> int:
        """How many channels the image encoder sees."""
        return 4 if self.scale_input else 3


def model_to_dict(config: ModelConfig) -> dict[str, Any]:
    """Return plain values for headers and hashes; without what is off and came later, as before it was there."""
    values = asdict(config)
    for name in ("scale_input", "only"):
        if not values[name]:
            del values[name]
    return values
