"""Imagery of a Web Map Service (OGC WMS 1.3.0 and 1.1.1): the pictures of ground that it is asked for, tile by tile.

Asked in Web Mercator where the service offers it, else in degrees. The order of a box's numbers goes with the version:
WMS 1.3.0 takes EPSG:4326 as latitude, longitude, and CRS:84 as longitude, latitude; 1.1.1 always x, y. An exception is
an answer with status 200, often under the type of a picture: bytes are looked at, never the type.
"""

import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from urllib.parse import parse_qsl, quote, urlencode
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.windows import Window

from earthtone.build.imagery import TilePixels
from earthtone.build.licences import licence_of
from earthtone.build.resampling import Layer, applied, resampled
from earthtone.build.tile_grid import LONLAT, Tile, TileGrid, lonlat_grids, metres_a_unit
from earthtone.build.tile_servers import refuse_forbidden, terms_of
from earthtone.build.web import Answer, Web, checked_url, shown_url, without_secrets
from earthtone.errors import ConfigError, DataError, SignalError, did_you_mean, one_line
from earthtone.signal.image import Picture, read_picture

_MOST_SIDE = 2048  # pixels of a picture that is asked for
_MOST_REQUESTS = 64  # for one tile
_FUTILE = 20  # answers that are no pictures, before the first that is one
_ANSWER_BYTES = 64 * 2**20
_CAPABILITIES_BYTES = 32 * 2**20
_MERCATOR, _HALF_WORLD = "EPSG:3857", 20037508.342789244
_NORTHMOST = 84.0  # of Web Mercator, which ends at 85.06
#: In which system a service is asked, the best first -> what it is for PROJ, with x before y.
_SYSTEMS = {"EPSG:3857": _MERCATOR, "CRS:84": LONLAT, "EPSG:4326": LONLAT}
#: Parameters of a request; of an address that a user typed they are left out.
_OURS = {"service", "version", "request", "layers", "styles", "crs", "srs", "bbox", "width", "height", "format",
         "transparent", "exceptions", "bgcolor"}  # fmt: skip


@dataclass(frozen=True)
class Capabilities:
    """What a service says of itself and of the layers that are wanted."""

    version: str
    systems: tuple[str, ...]
    """Those of `_SYSTEMS` that all layers have."""
    format: str
    most_side: int
    attribution: str | None
    license: str | None
    """Where its access constraints are a licence that is understood."""


#: Faults that are what the service has there.
_TRANSPARENT, _BLANK = "nothing but transparency", "a picture that is all white or all black"


class WmsServer:
    """Imagery of some layers of a service, the first lowest."""

    def __init__(
        self,
        address: str,
        web: Web,
        *,
        layers: Sequence[str],
        key: str | None = None,
        license: str | None = None,
        attribution: str | None = None,
    ) -> None:
        """`key` takes the place of {key} in the address. Nothing is asked before the first tile.

        Raises ConfigError for an address that is none, and where the host's terms forbid to store its pictures.
        """
        checked_url(address.replace("{key}", "0"))
        refuse_forbidden(address, license)
        if "{key}" in address.partition("?")[0]:
            raise ConfigError("--wms has {key} in front of its ?; give it as a parameter, such as ?key={key}")
        if "{key}" in address and not key:
            raise ConfigError("--wms has {key}; set the variable EARTHTONE_TILE_KEY to it")
        front, _, query = address.partition("?")
        kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name.lower() not in _OURS]
        words = urlencode(kept).replace("%7Bkey%7D", quote(key or "", safe=""))
        self._base = f"{front}?{words}&" if words else f"{front}?"
        self._address, self._web, self._layers = address, web, tuple(layers)
        self._license, self._attribution = license, attribution
        self.source = f"{shown_url(front)} {','.join(layers)}"
        self._lock = threading.Lock()
        self._seen = 0
        self._local = threading.local()
        self.faults: Counter[str] = Counter()
        """What answers were in place of imagery, counted."""

    @property
    def fingerprint(self) -> list[object]:
        """Return what two calls must have in common to go on with each other."""
        return [without_secrets(self._address), list(self._layers)]

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the service says of itself, asked once. Raises DataError, ConfigError."""
        url = f"{self._base}{urlencode({'SERVICE': 'WMS', 'REQUEST': 'GetCapabilities', 'VERSION': '1.3.0'})}"
        answer = self._web.get(url, most_bytes=_CAPABILITIES_BYTES)
        if answer.status in (401, 403):
            raise DataError(f"{shown_url(url)} refuses (status {answer.status}): it wants a key, or another one")
        return read_capabilities(answer.body, answer.status, shown_url(url), self._layers)

    def grids(self, tile_m: float, stride_m: float, pixels: int, region: object) -> list[TileGrid]:
        """Return the grids of tiles over a region, a polygon in degrees."""
        return list(lonlat_grids(region, tile_m, stride_m, pixels))

    def requests_of(self, tile: Tile, pixels: int) -> int:
        """Return about how many pictures one of our tiles needs; nothing is asked."""
        return math.ceil(pixels / _MOST_SIDE) ** 2

    def read_tile(self, tile: Tile, pixels: int) -> TilePixels:
        """Return a tile's pixels; from any thread. Raises DataError where the service refuses, or stays silent."""
        with self._lock:
            told = self.capabilities
        self._local.fault = False
        found = resampled(self._layer(told, tile, pixels), tile, pixels)
        if found is None:
            values, valid = np.zeros((pixels, pixels, 3), np.float32), np.zeros((pixels, pixels), bool)
        else:
            values, valid = found
        eight = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        terms = terms_of(self._address)
        license = self._license or told.license or (terms.license if terms else None)
        attribution = self._attribution or told.attribution or (terms.attribution if terms else None)
        return TilePixels(eight, valid, self.source, None, license, attribution, fault=self._local.fault)

    def _layer(self, told: Capabilities, tile: Tile, pixels: int) -> Layer:
        """Return a plane of pixels around the globe, as wide as those of a tile there."""
        polar = abs(tile.lonlat[1]) > _NORTHMOST
        system = next((name for name in told.systems if not (polar and name == _MERCATOR)), told.systems[0])
        crs = _SYSTEMS[system]
        west, north = (-_HALF_WORLD, _HALF_WORLD) if crs == _MERCATOR else (-180.0, 90.0)
        width = math.ceil(-2 * west * metres_a_unit(crs, *tile.lonlat) / (tile.side_m / pixels))
        cell = -2 * west / width
        height = round(2 * north / cell)
        transform = Affine(cell, 0.0, west, 0.0, -2 * north / height, north)
        return Layer(crs, transform, width, height, partial(self._read, told, system, transform), float(width))

    def _read(
        self, told: Capabilities, system: str, transform: Affine, window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what the service shows of a window, in pictures that are not larger than it allows."""
        rows, columns = (math.ceil(side / told.most_side) for side in shape)
        if rows * columns > _MOST_REQUESTS:
            raise ConfigError(f"a tile needs {rows * columns} pictures of {self.source}; choose fewer --pixels")
        values, data = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
        tops, lefts = (
            np.linspace(0, side, n + 1).round().astype(int) for side, n in zip(shape, (rows, columns), strict=True)
        )
        tall, wide = window.height / shape[0], window.width / shape[1]
        for top, bottom in pairwise(tops):
            for left, right in pairwise(lefts):
                west, north = applied(transform, window.col_off + left * wide, window.row_off + top * tall)
                east, south = applied(transform, window.col_off + right * wide, window.row_off + bottom * tall)
                picture = self._picture(
                    told, system, (west, south, east, north), (int(right - left), int(bottom - top))
                )
                if picture is not None:
                    here = np.s_[top:bottom, left:right]
                    values[here] = picture.pixels
                    data[here] = 1.0 if picture.empty is None else ~picture.empty
        return values, data

    def map_url(
        self, told: Capabilities, system: str, box: tuple[float, float, float, float], size: tuple[int, int]
    ) -> str:
        """Return the address of a picture of a box (west, south, east, north in `system`) of (width, height) pixels."""
        west, south, east, north = box
        swapped = system == "EPSG:4326" and told.version == "1.3.0"
        numbers = (south, west, north, east) if swapped else box
        asked = {
            "SERVICE": "WMS", "VERSION": told.version, "REQUEST": "GetMap", "LAYERS": ",".join(self._layers),
            "STYLES": ",".join("" for _ in self._layers), "CRS" if told.version == "1.3.0" else "SRS": system,
            "BBOX": ",".join(f"{number:.12g}" for number in numbers), "WIDTH": size[0], "HEIGHT": size[1],
            "FORMAT": told.format, "TRANSPARENT": "TRUE" if told.format == "image/png" else "FALSE",
        }  # fmt: skip
        return f"{self._base}{urlencode(asked)}"

    def _picture(
        self, told: Capabilities, system: str, box: tuple[float, float, float, float], size: tuple[int, int]
    ) -> Picture | None:
        url = self.map_url(told, system, box, size)
        answer, fault = self._web.get(url, most_bytes=_ANSWER_BYTES), ""
        for again in (True, False):
            if answer.status in (401, 403):
                raise DataError(f"{self.source} refuses (status {answer.status}): it wants a key, or another one")
            found = _decoded(answer, size)
            if not isinstance(found, str):
                self._seen += 1
                return found
            fault = found
            if again and answer.status == 200:  # cut off, or a page for once: what was kept of it is of no use
                answer = self._web.get(url, most_bytes=_ANSWER_BYTES, again=True)
        if self._web.cache is not None:
            self._web.cache.forget(url)
        if _may_pass(answer.status, fault):
            self._local.fault = True
        with self._lock:
            self.faults[fault] += 1
            futile = not self._seen and self.faults.total() >= _FUTILE
        if futile:
            said = exception_text(answer.body)
            raise DataError(
                f"{self.source} gave no picture {_FUTILE} times ({fault}{said and f': {said}'}); look at --layers and "
                "at the address in a browser"
            )
        return None


def _may_pass(status: int, fault: str) -> bool:
    """Return whether a service may show another time what it did not show now."""
    if status != 200:
        return status in (408, 429) or status >= 500
    return fault not in (_TRANSPARENT, _BLANK)


def _decoded(answer: Answer, size: tuple[int, int]) -> Picture | str:
    """Return a picture of a size, or what the answer is instead."""
    if answer.status != 200 or not answer.body:
        return f"an answer of status {answer.status} in place of a picture" if answer.status != 200 else "nothing"
    head = answer.body[:512].lstrip().lower()
    if head.startswith((b"<", b"{", b"\xef\xbb\xbf<")):
        return "a page or an exception in place of a picture"
    try:
        picture = read_picture(answer.body)
    except SignalError as error:
        return _TRANSPARENT if "no data" in str(error) else "a broken picture"
    height, width = picture.pixels.shape[:2]
    if (width, height) != size:
        return "a picture of another size than asked for"
    first = picture.pixels[0, 0]
    if first.min() == first.max() and int(first[0]) in (0, 255) and (picture.pixels == first).all():
        return _BLANK
    return picture


def exception_text(body: bytes) -> str:
    """Return the words of a ServiceException, on one line; empty where there are none."""
    try:
        root = ElementTree.fromstring(body[:100_000])  # noqa: S314 - entities of entities are refused by expat
    except (ElementTree.ParseError, ValueError, LookupError):
        return ""
    for element in root.iter():
        if _plain(element.tag) in ("ServiceException", "ExceptionText"):
            return one_line(" ".join(f"{element.get('code') or ''} {element.text or ''}".split()), 160)
    return ""


def read_capabilities(body: bytes, status: int, shown: str, layers: Sequence[str]) -> Capabilities:
    """Return what a service says of some layers; a layer has also the systems of those that hold it.

    Raises DataError for what is no capabilities document of WMS 1.1.1 or 1.3.0, ConfigError for an unknown layer.
    """
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - entities of entities are refused by expat
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{shown} answers {status} with no XML; the capabilities of a WMS expected: --wms") from error
    version = root.get("version", "")
    if status != 200 or _plain(root.tag) not in ("WMS_Capabilities", "WMT_MS_Capabilities"):
        said = exception_text(body)
        raise DataError(f"{shown} answers {status}{said and f' ({said})'}; the capabilities of a WMS expected: --wms")
    if not version.startswith(("1.3", "1.1")):
        raise DataError(f"{shown} speaks WMS {version[:20]!r}; 1.3.0 or 1.1.1 expected")
    version = "1.3.0" if version.startswith("1.3") else "1.1.1"
    known: dict[str, tuple[set[str], str]] = {}
    for top in _at(root, "Capability", "Layer"):
        _collect(top, set(), "", known)
    for name in layers:
        if name not in known:
            told = ", ".join(one_line(one, 60) for one in [*known][:20])
            raise ConfigError(f"--layers {name}: {shown} has no such layer; {did_you_mean(name, known)}it has {told}")
    usable = [name for name in _SYSTEMS if version == "1.3.0" or name != "CRS:84"]
    systems = tuple(name for name in usable if all(name in known[layer][0] for layer in layers))
    if not systems:
        offered = ", ".join(sorted(known[layers[0]][0])[:12])
        raise DataError(f"{shown}: {layers[0]} is offered in {offered}; one of {', '.join(usable)} expected")
    formats = [(one.text or "").strip() for one in _at(root, "Capability", "Request", "GetMap", "Format")]
    format = next((one for one in ("image/png", "image/jpeg") if one in formats), None)
    if format is None:
        raise DataError(f"{shown} gives {', '.join(formats[:12]) or 'no format'}; image/png or image/jpeg expected")
    most = [int(text) for name in ("MaxWidth", "MaxHeight") for one in _at(root, "Service", name)
            if (text := (one.text or "").strip()).isdecimal() and 16 <= int(text[:9]) <= 10**6]  # fmt: skip
    limits = " ".join((one.text or "") for one in _at(root, "Service", "AccessConstraints"))
    licence = licence_of(" ".join(limits.split()))
    credit = next((known[layer][1] for layer in layers if known[layer][1]), None)
    return Capabilities(
        version, systems, format, min([_MOST_SIDE, *most]), credit, licence.id if licence.known else None
    )


def _collect(
    element: ElementTree.Element, systems: set[str], credit: str, known: dict[str, tuple[set[str], str]]
) -> None:
    """Add the named layers below one to `known`: the systems in which each is offered, and whom to name.

    Without recursion, since a hostile document may be nested as deep as it likes.
    """
    waiting = [(element, systems, credit)]
    while waiting:
        layer, above, named = waiting.pop()
        said = {text for one in layer if _plain(one.tag) in ("CRS", "SRS") for text in (one.text or "").split()}
        own = above | {text for text in said if text in _SYSTEMS}
        own = own or {one_line(text, 20) for text in sorted(said)[:12]}  # for the message alone
        titles = [one_line(" ".join((one.text or "").split()), 200) for one in _at(layer, "Attribution", "Title")]
        credit = next(filter(None, titles), named)
        for one in layer:
            if _plain(one.tag) == "Name" and (one.text or "").strip():
                known.setdefault((one.text or "").strip(), (own, credit))
        waiting += [(one, own, credit) for one in reversed(layer) if _plain(one.tag) == "Layer"]


def _at(element: ElementTree.Element, *names: str) -> list[ElementTree.Element]:
    """Return the elements below one by their names, whatever their namespace."""
    found = [element]
    for name in names:
        found = [one for above in found for one in above if _plain(one.tag) == name]
    return found


def _plain(tag: str) -> str:
    return tag.rpartition("}")[2]
