"""What can be said to the verbs that use a trained model: one dataclass a verb, as in `earthtone.options`. Light."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Literal

from earthtone.errors import ConfigError
from earthtone.options import AnyModel, AnyRetryPolicy, ColumnOptions, Names, PixelRange
from earthtone.signal.config import named_range
from earthtone.value_types import NonNegativeInt, PositiveFloat, PositiveInt, PythonOnly, Rule, Share


@dataclass(frozen=True)
class TilesOptions(ColumnOptions):
    """Cut imagery into square tiles of so many metres, with a manifest. A stopped call goes on when it is repeated."""

    usual = ("raster", "template", "stac", "region", "places", "metres", "pixels", "stride", "model")

    out: str | Path
    """folder to write: manifest.csv and images/"""
    _: KW_ONLY
    raster: str | Path | None = None
    """imagery: a GeoTIFF, COG or VRT, or a folder of them"""
    template: str | None = None
    """imagery: a tile server's address, with {z}, {x} and {y}, or {TileMatrix}, {TileCol} and {TileRow}"""
    stac: str | None = None
    """imagery: the address of a STAC API"""
    region: str | Path | None = None
    """where: west,south,east,north in degrees, a polygon as WKT, or a file of one (GeoJSON, WKT); default: all of
    --raster"""
    places: str | Path | None = None
    """where: a table with id, longitude, latitude; a tile about each"""
    metres: PositiveFloat | None = None
    """side of a tile on the ground; default: what --model was trained on, else --pixels of the raster's own"""
    pixels: Annotated[int, Rule("16 to 8192", lambda pixels: 16 <= pixels <= 8192)] | None = None
    """side of a tile; default: what --model was trained on, else 256"""
    stride: PositiveFloat | None = None
    """metres from one tile to the next; default: --metres"""
    model: AnyModel | None = None
    """take metres, pixels, bands and value range from this model"""
    bands: (
        Annotated[tuple[int, int, int], Rule("three band numbers from 1 on", lambda bands: min(bands) > 0)] | None
    ) = None
    """bands of the imagery as red, green, blue: 4,3,2"""
    value_range: PixelRange | None = None
    """values of more than 8 bits that become 0 and 255: 0,3000, three of these, or a name such as sentinel2; default:
    2nd and 98th percentile of the whole raster"""
    nodata: float | None = None
    """the value that is no data, where the raster names none"""
    nodata_share: Share = 0.1
    """leave out tiles of which a larger share is no data"""
    format: Literal["tif", "png", "jpg"] = "tif"
    """of the tiles: GeoTIFF, PNG or JPEG (without a mask)"""
    parquet: bool = False
    """manifest.parquet in place of manifest.csv"""
    license: str | None = None
    """of the imagery, for the manifest; where a server's terms forbid to store its pictures: what you hold instead"""
    attribution: str | None = None
    """whom to name, for the manifest"""
    max_zoom: NonNegativeInt = 19
    """finest level of --template"""
    matrix_set: str = "WebMercatorQuad"
    """set of tile matrices of --template"""
    keep_repeated: bool = False
    """a picture that --template gives for many addresses is imagery, such as open sea, no placeholder"""
    collections: Names = ()
    """of --stac: sentinel-2-l2a"""
    asset: str = "visual"
    """of each item of --stac"""
    datetime: str | None = None
    """of the items: 2024-06-01/2024-08-31"""
    max_cloud: Annotated[float, Rule("0 to 100", lambda share: 0 <= share <= 100)] | None = None
    """per cent of cloud that an item may have"""
    sign: str | None = None
    """address that gives a token for the assets of --stac; of the Planetary Computer it is known"""
    rate: Annotated[float, Rule("above 0, at most 100", lambda rate: 0 < rate <= 100)] = 4.0
    """requests a second to one host, of all calls together"""
    contact: str | None = None
    """told to hosts beside the program's name: an address of yours"""
    cache: str | Path | None = None
    """folder of the hosts' answers and turns; default: ~/.cache/earthtone"""
    no_store: bool = False
    """keep no answers of hosts on the disk but the tiles themselves"""
    threads: PositiveInt | None = None
    """default: one a core"""
    patience: PythonOnly[AnyRetryPolicy] = None
    """how long to wait for hosts"""

    def check(self) -> None:
        given = [name for name in ("raster", "template", "stac") if getattr(self, name) is not None]
        if len(given) != 1:
            said = " and ".join(f"--{name}" for name in given) or "no imagery"
            raise ConfigError(f"{said}; one of --raster FILE, --template ADDRESS and --stac ADDRESS expected")
        if self.region is not None and self.places is not None:
            raise ConfigError("--region and --places both say where; leave one of them out")
        if self.region is None and self.places is None and self.raster is None:
            raise ConfigError(f"--{given[0]} needs a place: type --region or --places")
        if self.value_range is not None:
            named_range(self.value_range, "--value_range")
        of_template = ("max_zoom", "matrix_set", "keep_repeated")
        of_stac = ("collections", "asset", "datetime", "max_cloud", "sign")
        of_hosts = ("rate", "contact", "cache", "no_store")
        of_files = ("bands", "value_range", "nodata")
        idle = {
            "raster": (*of_template, *of_stac, *of_hosts),
            "template": (*of_stac, *of_files),
            "stac": of_template,
        }[given[0]]  # fmt: skip
        if wrong := self.changed(*idle):
            raise ConfigError(f"{wrong[0]} has no effect with --{given[0]}; leave it out")
        if self.places is not None and (wrong := self.changed("stride")):
            raise ConfigError(f"{wrong[0]} has no effect with --places; leave it out")
        if self.places is None and (wrong := self.changed("columns")):
            raise ConfigError(f"{wrong[0]} has no effect without --places; leave it out")
        if self.stac is not None and not self.collections:
            raise ConfigError("--stac needs --collections, such as sentinel-2-l2a")
