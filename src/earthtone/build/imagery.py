"""Imagery from files: GeoTIFFs, COGs and VRTs, read by windows and overviews, never a whole scene at once."""

import atexit
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from xml.etree import ElementTree

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from pyproj import Geod
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window
from shapely.affinity import translate

from earthtone.build.resampling import Layer, Mask, applied, resampled
from earthtone.build.tile_grid import (
    LONLAT,
    Tile,
    TileGrid,
    crs_name,
    is_metric,
    lonlat_grids,
    make_grid,
    projected,
    read_crs,
    to_lonlat,
)
from earthtone.errors import ConfigError, DataError, one_line
from earthtone.files import regular_file
from earthtone.progress import decoding_threads, ordered_map
from earthtone.signal.config import ValueRange, named_range
from earthtone.signal.raster import Bands, opaque

Pixels = NDArray[np.uint8]

#: What is read: not what GDAL would make of any text, such as an address or a database.
DRIVERS = ("GTiff", "VRT", "JP2OpenJPEG")
SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2")
_NOWHERE = "nowhere://nowhere"
#: A file can name anything; GDAL reads files only, also through its drivers of web services, and runs no code.
GDAL_SETTINGS = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "nowhere:",
    "GDAL_HTTP_PROXY": _NOWHERE,
    "GDAL_HTTPS_PROXY": _NOWHERE,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "VRT_SHARED_SOURCE": "0",  # a VRT's files are opened by each thread: shared ones give it another thread's pixels
}
_ELSEWHERE = re.compile(r"://|^\s*<|/vsi(?:curl|s3|gs|az|adls|oss|swift|hdfs|webhdfs)")
_MOST_VRT_BYTES = 64 * 2**20
_NAMING = ("OVERVIEW_FILE", "X_DATASET", "Y_DATASET")  # metadata that GDAL opens
_MOST_OPEN = 16  # rasters a thread
_ZEROS_TOLD = 0.01  # share of the pixels
_LOOKED_AT = 1024  # pixels along the longer side of a raster that percentiles and alpha are judged by


class TilePixels(NamedTuple):
    """What imagery shows of a tile, and where that comes from."""

    pixels: Pixels
    """(side, side, 3) RGB, black where there is no data."""
    valid: Mask
    """(side, side)"""
    source: str | None = None
    datetime: str | None = None
    license: str | None = None
    attribution: str | None = None
    marks: tuple[str, ...] = ()
    """The pictures of a server that it is made of, as HASH@Z/X/Y."""
    fault: bool = False
    """Whether the host failed at part of it, in a way that may pass: what is no data then may be there later."""

    @property
    def share(self) -> float:
        """Return which share of the pixels holds data."""
        return float(self.valid.mean())


class Imagery(Protocol):
    """What tiles are cut from."""

    def read_tile(self, tile: Tile, pixels: int) -> TilePixels:
        """Return a tile's pixels; from any thread."""


class RasterFile:
    """One GeoTIFF, COG, VRT or JPEG 2000 file: its layer, what its bands are, where it holds data."""

    def __init__(
        self,
        path: Path | str,
        bands: Bands | None = None,
        opener: Callable[..., Any] | None = None,
        nodata: float | None = None,
        shown: str | None = None,
    ) -> None:
        """`opener` opens what is no file here, such as an address, `shown` in messages; then only GeoTIFFs are read.
        `nodata` is the value that is no data, where the file names none.

        Raises DataError for what is no raster, or has no place on the globe.
        """
        self.path, self._opened_as, self._opener, self._nodata = shown or path, path, opener, nodata
        self._number = next(_NUMBERS)
        with rasterio_errors(self.path):
            file = self.dataset()
            self.crs, self.transform = self._place(file)
            self.width, self.height = int(file.width), int(file.height)
            self.dtype = np.dtype(file.dtypes[0])
            self._alpha = _alpha_band(file)
            self.bands = _chosen(file, self.path, bands, self._alpha)
            self._table = _colours(file) if file.colorinterp[self.bands[0] - 1].name == "palette" else None
            self._white_is_zero = self._table is None and "MINISWHITE" in file.tags(ns="IMAGE_STRUCTURE")
            self.bits = int(file.tags(self.bands[0], ns="IMAGE_STRUCTURE").get("NBITS", 8 * self.dtype.itemsize))
        self.layer = Layer(self.crs, self.transform, self.width, self.height, self._read, _columns_around(self))

    def dataset(self) -> Any:
        """Return the open dataset of this thread; each has its own, and at most 16 of all files open at once."""
        opened: OrderedDict[int, Any] = _THREAD.__dict__.setdefault("opened", OrderedDict())
        if self._number not in opened:
            while len(opened) >= _MOST_OPEN:
                opened.popitem(last=False)[1].close()
            if self._opener is None:
                file = _opened_file(Path(self._opened_as), self._nodata)
            else:
                with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
                    file = rasterio.open(self._opened_as, opener=self._opener, driver="GTiff")
            refuse_foreign_overviews(file, self.path)
            opened[self._number] = file
        opened.move_to_end(self._number)
        return opened[self._number]

    def _place(self, file: Any) -> tuple[str, Affine]:
        if file.crs is None:
            points = file.gcps[0] if file.gcps else []
            told = (
                f"no coordinate system, but {len(points)} ground control points" if points else "no coordinate system"
            )
            how = "gdalwarp" if points else "gdal_edit.py -a_srs EPSG:..."
            raise DataError(f"{self.path}: {told}; a raster that knows its place expected: give it one with {how}")
        if file.transform.is_identity or not file.transform.determinant:
            raise DataError(
                f"{self.path}: no place of its pixels (transform {tuple(file.transform)[:6]}); write it anew "
                "with gdal_translate -a_ullr"
            )
        return crs_name(file.crs.to_wkt()), file.transform

    def _read(self, window: Window, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with rasterio_errors(self.path):
            file = self.dataset()
            smaller = shape != (window.height, window.width)
            how = Resampling.average if smaller and self._table is None else Resampling.nearest
            bands = sorted(set(self.bands))
            found = file.read(bands, window=window, out_shape=(len(bands), *shape), resampling=how)
            values = np.moveaxis(found, 0, -1)[..., [bands.index(band) for band in self.bands]]
            data = self._data(file, window, shape)
        if self._table is not None:
            data = data & (self._table[values[..., 0], 3] > 0)
            values = self._table[values[..., 0], :3]
        if self._white_is_zero:
            values = np.iinfo(values.dtype).max - values
        floats = values.astype(np.float32)
        if values.dtype.kind == "f":
            finite = np.isfinite(floats).all(axis=2)
            data &= finite
            floats[~finite] = 0
        return floats, data.astype(np.float32)

    def _data(self, file: Any, window: Window, shape: tuple[int, int]) -> Mask:
        """Where any of the chosen bands holds data and nothing makes it transparent."""
        data: Mask | None = None
        for band in dict.fromkeys(self.bands):
            flags = {flag.name for flag in file.mask_flag_enums[band - 1]}
            if "all_valid" in flags or "alpha" in flags:
                data = None
                break
            here = file.read_masks(band, window=window, out_shape=shape) > 0
            data = here if data is None else data | here
        if self._alpha is not None:
            shown = file.read(self._alpha, window=window, out_shape=shape) > 0
            data = shown if data is None else data & shown
        return np.ones(shape, bool) if data is None else data

    @property
    def footprint(self) -> Any:
        """Return the raster's outline in its own coordinate system."""
        corners = [(0, 0), (self.width, 0), (self.width, self.height), (0, self.height)]
        return shapely.Polygon([applied(self.transform, *corner) for corner in corners])

    @property
    def deep(self) -> bool:
        """Return whether its values have more than 8 bits."""
        return bool(self.dtype != np.uint8 and self._table is None)

    @property
    def upright(self) -> bool:
        """Return whether rows go south and columns east."""
        return bool(self.transform.b == 0 == self.transform.d and self.transform.a > 0 > self.transform.e)

    @property
    def percentiles(self) -> tuple[float, float]:
        """Return the 2nd and 98th percentile of all that holds data, by at most about a million pixels.

        Raises DataError where nothing does.
        """
        if self._looked_at[0] is None:
            raise DataError(
                f"{self.path}: no data in any of its {self.width} x {self.height} pixels; some were expected"
            )
        return self._looked_at[0]

    @property
    def zero_share(self) -> float:
        """Return in which share of the pixels all chosen bands are 0, of a file that names no value as no data."""
        return self._looked_at[1]

    @cached_property
    def _looked_at(self) -> tuple[tuple[float, float] | None, float]:
        factor = max(1.0, max(self.width, self.height) / _LOOKED_AT)
        shape = max(1, round(self.height / factor)), max(1, round(self.width / factor))
        with rasterio_errors(self.path):
            file = self.dataset()
            found = np.moveaxis(file.read(list(self.bands), out_shape=(len(self.bands), *shape)), 0, -1)
            there = self._data(file, Window(0, 0, self.width, self.height), shape) & np.isfinite(found).all(axis=2)
        undeclared = file.nodata is None and self._table is None and bool(there.all())
        zero_share = float((found == 0).all(axis=2).mean()) if undeclared else 0.0
        if not there.any():
            return None, zero_share
        low, high = np.percentile(found[there].astype(np.float64), (2, 98)).tolist() if self.deep else (0.0, 255.0)
        return (low, high), zero_share


_THREAD = threading.local()
_NUMBERS = count()  # of files; Python gives the id of one that is gone to another


@atexit.register
def _close() -> None:
    """Close what the main thread has open while Python can still be called by GDAL."""
    for file in _THREAD.__dict__.pop("opened", {}).values():
        file.close()


@contextmanager
def rasterio_errors(path: object) -> Iterator[None]:
    """Have GDAL work by our settings, and turn what it says of a raster into a DataError."""
    try:
        with rasterio.Env(**GDAL_SETTINGS):
            yield
    except (RasterioError, OSError) as error:
        said = " ".join(str(error.__cause__ or error).split())[:200]
        raise DataError(f"{path}: cannot be read as a raster ({said}); a whole GeoTIFF, COG or VRT expected") from error


def _opened_file(path: Path, nodata: float | None) -> Any:
    driver = driver_of(path)
    if nodata is None:
        return rasterio.open(path, driver=driver)
    with rasterio.open(path, driver=driver) as file:
        if any(value is not None for value in file.nodatavals):
            raise ConfigError(f"--nodata {nodata:g}: {path} names its own, {file.nodatavals[0]:g}; leave it out")
    if "?" in str(path):
        raise ConfigError(f"--nodata: {path} has a ? in its name; rename it")
    return rasterio.open(f"vrt://{path.resolve()}?a_nodata={nodata!r}", driver="VRT")


def refuse_foreign_overviews(file: Any, path: object) -> None:
    """Raise DataError for a raster whose smaller copies lie in another file, or at an address, that its tags name."""
    if named := file.tags(ns="OVERVIEWS").get("OVERVIEW_FILE"):
        file.close()
        raise DataError(
            f"{path}: its overviews are to be read from {one_line(named, 120)}; overviews in the file itself, or in "
            "its .ovr, expected: write it anew with gdal_translate -of COG"
        )


def driver_of(path: Path) -> str:
    """Return the driver for a file by what is in it. Raises DataError, also for a VRT that names an address."""
    try:
        with regular_file(path).open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a GeoTIFF, COG or VRT expected") from error
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "GTiff"
    if head[4:8] == b"jP  ":
        return "JP2OpenJPEG"
    if head.lstrip().startswith((b"<VRTDataset", b"<?xml")) and path.suffix.lower() == ".vrt":
        _refuse_addresses(path)
        return "VRT"
    raise DataError(f"{path}: no GeoTIFF, COG, VRT or JPEG 2000; one of these expected")


def _refuse_addresses(path: Path) -> None:
    """Raise DataError for a VRT of anything but files."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_VRT_BYTES + 1)
        if len(data) > _MOST_VRT_BYTES:
            raise DataError(f"{path}: a VRT of more than {_MOST_VRT_BYTES:,} bytes; a smaller one expected")
        root = ElementTree.fromstring(data)  # noqa: S314 - entities of entities are refused by expat
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: no VRT ({one_line(str(error), 100)}); a whole one expected") from error
    waiting = [root]
    while waiting:
        element = waiting.pop()
        if element.tag in ("SRS", "Description") or element.get("domain", "").startswith("xml:"):
            continue
        waiting += element
        if element.tag == "MDI" and element.get("key") not in _NAMING:
            continue
        for text in (element.text or "", *element.attrib.values()):
            if _ELSEWHERE.search(text):
                raise DataError(
                    f"{path}: names {one_line(text.strip(), 120)!r}, which is no file here; a VRT of files expected: "
                    "fetch them first"
                )


def _alpha_band(file: Any) -> int | None:
    """Return the band that is transparency; one that is neither 0 nor full in most pixels is none (`opaque`)."""
    alphas = [number for number, meaning in enumerate(file.colorinterp, 1) if meaning.name == "alpha"]
    if not alphas:
        return None
    factor = max(1.0, max(file.width, file.height) / _LOOKED_AT)
    shape = max(1, round(file.height / factor)), max(1, round(file.width / factor))
    alpha = file.read(alphas[0], out_shape=shape)
    return alphas[0] if np.all(alpha != 0) or opaque(alpha) is not None else None


def _chosen(file: Any, path: object, bands: Bands | None, alpha: int | None) -> tuple[int, ...]:
    """Return the bands that are red, green and blue, or the one that is grey. Raises ConfigError, DataError."""
    if any("complex" in dtype for dtype in file.dtypes):
        raise DataError(f"{path}: complex numbers, as of radar; a raster of their amplitudes expected")
    if bands is not None:
        if min(bands) < 1 or max(bands) > file.count:
            raise ConfigError(f"--bands {','.join(map(str, bands))}: {path} has the bands 1 to {file.count}")
        return tuple(bands)
    meanings = [meaning.name for meaning in file.colorinterp]
    data = [number for number in range(1, file.count + 1) if number != alpha]
    colours = [[number for number in data if meanings[number - 1] == colour] for colour in ("red", "green", "blue")]
    if all(len(found) == 1 for found in colours):
        return tuple(found[0] for found in colours)
    if len(data) == 1:
        return (data[0],)
    if 3 <= len(data) <= 4 and {meanings[number - 1] for number in data} <= {"undefined", "gray", "alpha"}:
        return tuple(data[:3])
    raise ConfigError(
        f"{path}: {file.count} bands ({', '.join(meanings[:12])}); say which are red, green and blue, such "
        "as --bands 4,3,2"
    )


def _colours(file: Any) -> NDArray[np.uint8]:
    """Return red, green, blue and alpha of each number (256 or more, 4)."""
    table = file.colormap(1)
    found = np.zeros((max(256, max(table) + 1), 4), np.uint8)
    found[list(table)] = list(table.values())
    return found


def _columns_around(raster: RasterFile) -> float | None:
    """Return how many columns of a raster in degrees go once around the globe."""
    crs = read_crs(raster.crs, str(raster.path))
    degrees = raster.transform.a
    return 360.0 / abs(degrees) if crs.is_geographic and degrees and not raster.transform.b else None


def _some(files: Sequence[RasterFile]) -> Sequence[RasterFile]:
    """Return the files that values are looked at in."""
    return files[:: max(1, len(files) // 16)]


def _zeros_told(files: Sequence[RasterFile], *, stretched: bool) -> str | None:
    """Return what to type where so many pixels are 0 that they may be no data, as about a turned satellite scene.

    `stretched`: values of more than 8 bits get the range that is found in them.
    """
    file = max(files, key=lambda file: file.zero_share)
    if file.zero_share < _ZEROS_TOLD:
        return None
    also = ", also for the range of values" if file.deep and stretched else ""
    return (
        f"{Path(file.path).name}: {file.zero_share:.0%} of the pixels are 0, and no value is declared as no data, so "
        f"they count as imagery{also}; if nothing was seen there, type --nodata 0"
    )


class Rasters:
    """One raster, or several that together are a mosaic: of two that hold data at a place, the first by name counts."""

    def __init__(
        self,
        files: Sequence[RasterFile],
        value_range: ValueRange | None = None,
        *,
        license: str | None = None,
        attribution: str | None = None,
    ) -> None:
        self.files = tuple(files)
        self._trees: dict[str, Any] = {}
        self.license, self.attribution = license, attribution
        self.said: str | None = None
        """How values of more than 8 bits became 8, None where there are none."""
        self.doubt: str | None = _zeros_told(_some(files), stretched=value_range is None)
        """What looks like no data and is not declared as such."""
        deep = [file for file in files if file.deep]
        self._ranges: NDArray[np.float32] | None = None
        if deep:
            ranges = self._found_range(deep) if value_range is None else named_range(value_range, "--value_range")
            self._ranges = np.array(ranges, np.float32).reshape(-1, 2)
            how = "2nd and 98th percentile of all" if value_range is None else "--value_range"
            told = ", ".join(f"{low:g} to {high:g}" for low, high in self._ranges)
            self.said = f"{deep[0].dtype} values {told} ({how}) became 0 and 255"

    @property
    def fingerprint(self) -> list[object]:
        """Return what two calls must have in common to go on with each other."""
        stats = [Path(file.path).stat() for file in self.files]
        states = [
            [Path(file.path).name, stat.st_size, stat.st_mtime_ns, list(file.bands)]
            for file, stat in zip(self.files, stats, strict=True)
        ]
        return [states, None if self._ranges is None else self._ranges.tolist()]

    @staticmethod
    def _found_range(files: Sequence[RasterFile]) -> tuple[float, float]:
        found = [file.percentiles for file in _some(files)]
        low, high = min(low for low, _ in found), max(high for _, high in found)
        return (low, high) if high > low else (low, low + 1)

    def read_tile(self, tile: Tile, pixels: int) -> TilePixels:
        """Return a tile's pixels; from any thread. Raises DataError for a raster that is damaged."""
        shown, valid = np.zeros((pixels, pixels, 3), np.uint8), np.zeros((pixels, pixels), bool)
        sources = []
        for file in self._touched(tile):
            part = resampled(file.layer, tile, pixels)
            if part is None or not (fill := part[1] & ~valid).any():
                continue
            shown[fill] = eight_bits(part[0], file, self._ranges)[fill]
            valid |= fill
            sources.append(Path(file.path).name)
            if valid.all():
                break
        return TilePixels(shown, valid, ", ".join(sources) or None, None, self.license, self.attribution)

    def _touched(self, tile: Tile) -> Iterator[RasterFile]:
        """Yield the files that may show something of a tile, in order."""
        if len(self.files) == 1:
            yield self.files[0]
            return
        if tile.crs not in self._trees:  # two threads may make the same
            self._trees[tile.crs] = shapely.STRtree([_outline_in(file, tile.crs) for file in self.files])
        for number in sorted(self._trees[tile.crs].query(shapely.box(*tile.bounds)).tolist()):
            yield self.files[number]

    @property
    def gsd_m(self) -> float:
        """Return metres a pixel at the middle of the first raster, to three digits where its pixels are no squares."""
        file = self.files[0]
        middle = applied(file.transform, file.width / 2, file.height / 2)
        return _metres_a_pixel(file, middle)

    def grids(self, tile_m: float, stride_m: float, pixels: int, region: Any = None) -> list[TileGrid]:
        """Return the grids of tiles over a region (a polygon in degrees), or over all of the rasters.

        Raises ConfigError where the region lies outside them.
        """
        crs, snap = self.own_crs(), None
        if crs is not None:
            outline = shapely.union_all([file.footprint for file in self.files])
            shape = outline if region is None else _common(projected(region, LONLAT, crs), outline, self, region)
            first = self.files[0]
            if first.upright or (first.transform.b == 0 == first.transform.d):
                snap = first.transform
            return [make_grid(crs, shape, tile_m, stride_m, pixels, snap=snap, whole=region is None)]
        outline = shapely.union_all([lonlat_outline(file) for file in self.files])
        if region is None:
            return list(lonlat_grids(outline, tile_m, stride_m, pixels, whole=True))
        shape = _common(region, outline, self, region)
        return list(lonlat_grids(shape, tile_m, stride_m, pixels))

    def own_crs(self) -> str | None:
        """Return the coordinate system of all rasters, where they have one and its unit is a metre on the ground."""
        crs = self.files[0].crs
        same = all(file.crs == crs for file in self.files)
        return crs if same and all(is_metric(crs, file.footprint) for file in self.files) else None


def eight_bits(values: NDArray[np.float32], file: RasterFile, ranges: NDArray[np.float32] | None) -> Pixels:
    """Return values of a file (H, W, 1 or 3) as 8-bit RGB; `ranges` (1 or 3, 2) become 0 and 255."""
    if file.deep and ranges is not None:
        values = np.asarray((values - ranges[:, 0]) * (255 / (ranges[:, 1] - ranges[:, 0])), np.float32)
    elif file.bits < 8 and not file.deep:
        values = values * np.float32(255 / (2**file.bits - 1))
    three = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values
    return np.clip(np.rint(three), 0, 255).astype(np.uint8)


def _metres_a_pixel(file: RasterFile, at: tuple[float, float]) -> float:
    back = to_lonlat(file.crs)
    t = file.transform
    here = back.transform(*at)
    steps = [back.transform(at[0] + dx, at[1] + dy) for dx, dy in ((t.a, t.d), (t.b, t.e))]
    if is_metric(file.crs, file.footprint):
        sides = [math.hypot(t.a, t.d), math.hypot(t.b, t.e)]
    else:
        sides = [Geod(ellps="WGS84").inv(*here, *step)[2] for step in steps]
    if abs(sides[0] - sides[1]) < 1e-9 * sides[0]:
        return float(sides[0])
    return float(f"{math.sqrt(sides[0] * sides[1]):.3g}")


def _outline_in(file: RasterFile, crs: str) -> Any:
    """Return a raster's outline in another coordinate system; one of everything where it has none there."""
    everything = shapely.box(-1e12, -1e12, 1e12, 1e12)
    if file.layer.around:
        return everything
    moved = projected(file.footprint, file.crs, crs)
    return moved if np.isfinite(moved.bounds).all() else everything


def lonlat_outline(file: RasterFile) -> Any:
    """Return a raster's outline in degrees, its longitudes without a jump at 180."""
    outline = file.footprint
    west, south, east, north = outline.bounds
    dense = shapely.segmentize(outline, max(east - west, north - south) / 32)
    if file.layer.around:
        return dense
    longitude = to_lonlat(file.crs).transform((west + east) / 2, (south + north) / 2)[0]

    def turned(points: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.column_stack(to_lonlat(file.crs).transform(*points.T))
        found[:, 0] -= 360 * np.round((found[:, 0] - longitude) / 360)
        return found

    moved = shapely.transform(dense, turned)
    return moved if moved.is_valid else shapely.make_valid(moved)


def _common(shape: Any, outline: Any, rasters: "Rasters", region: Any) -> Any:
    """Return what a region and rasters have in common. Raises ConfigError where that is nothing."""
    if rasters.own_crs() is None:  # in degrees: the same place may have another longitude
        outline = shapely.union_all([translate(outline, turn) for turn in (-360.0, 0.0, 360.0)])
    both = shape.intersection(outline)
    if both.is_empty or not both.area:
        there = shapely.union_all([lonlat_outline(file) for file in rasters.files]).bounds
        name = rasters.files[0].path if len(rasters.files) == 1 else f"{len(rasters.files)} rasters"
        raise ConfigError(
            f"the region ({_told(region.bounds)}) lies outside {name} ({_told(there)}); "
            "west,south,east,north in degrees"
        )
    return both


def _told(bounds: Sequence[float]) -> str:
    return ",".join(f"{number:.6g}" for number in bounds)


def open_rasters(
    path: str | Path,
    bands: Bands | None = None,
    value_range: ValueRange | None = None,
    nodata: float | None = None,
    **told: str | None,
) -> Rasters:
    """Return a raster, or all of a folder. Raises DataError, ConfigError.

    Values of more than 8 bits become 0 to 255 by `value_range`, else by the 2nd and 98th percentile of all of them.
    """
    path = Path(path)
    if path.is_dir():
        names = sorted(name for name in path.iterdir() if name.suffix.lower() in SUFFIXES)
        if not names:
            raise DataError(
                f"{path}: no raster there ({', '.join(SUFFIXES)}); the path of one, or a folder of them expected"
            )
    else:
        names = [path]
    return Rasters([RasterFile(name, bands, nodata=nodata) for name in names], value_range, **told)


def iter_tiles(
    imagery: Imagery | str | Path, grid: Iterable[Tile], pixels: int | None = None, threads: int | None = None
) -> Iterator[tuple[Tile, Pixels, float]]:
    """Yield tiles in order, each with its pixels (side, side, 3) and which share of them holds data.

    `imagery` is a raster's path or what `open_rasters` returns; `grid` a TileGrid, or any tiles with `pixels`.
    """
    imagery = open_rasters(imagery) if isinstance(imagery, (str, Path)) else imagery
    if pixels is None:
        if not isinstance(grid, TileGrid):
            raise ConfigError("iter_tiles: pixels= are needed for tiles that are no TileGrid")
        pixels = grid.pixels
    side, shown = pixels, imagery

    def read(tile: Tile) -> tuple[Tile, Pixels, float]:
        found = shown.read_tile(tile, side)
        return tile, found.pixels, found.share

    yield from ordered_map(read, grid, threads or decoding_threads())
