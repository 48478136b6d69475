"""What can be said to the verbs that use a trained model: one dataclass a verb, as in `earthtone.options`. Light."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from earthtone.errors import ConfigError
from earthtone.options import AnyModel, DeviceOptions

# Maps.


@dataclass(frozen=True)
class MapOptions(DeviceOptions):
    """Where would a region sound like this? Similarity of every tile to sounds: GeoTIFF, PNG, GeoParquet, PMTiles, and
    a page that needs no network."""

    usual = ("tiles", "model", "background", "difference", "show", "device")

    query: Sequence[str]
    """sound files, or one CSV of them with the columns file, name, month, hour"""
    out: str | Path
    """folder to write"""
    _: KW_ONLY
    tiles: str | Path | None = None
    """folder of embeddings of tiles that lie on one grid"""
    model: AnyModel | None = None
    """a run's folder, a .safetensors file or a SoundingEarth checkpoint; of --tiles, by default the one they were made
    with"""
    background: str | Path | None = None
    """folder of embeddings among which percentiles are counted; by default this map's own tiles"""
    training: str | Path | None = None
    """packed table that the model was trained on, where nothing is kept beside the model of what its images are like"""
    difference: Literal["first", "pairs", "none"] = "first"
    """first, pairs or none: also map each further sound minus the first, or every two"""
    show: Literal["percentile", "score"] = "percentile"
    """percentile or score: what pictures and web tiles show"""

    def check(self) -> None:
        if self.tiles is None:
            raise ConfigError("--tiles is missing; a folder of embeddings of tiles expected")
