"""Imagery of tile servers: addresses with {z}, {x} and {y} (XYZ), or {TileMatrix}, {TileRow} and {TileCol} (WMTS).

A server's tile is no fixed piece of ground: its metres a pixel go with the latitude. So the level is chosen for each of
our tiles, fine enough for its metres a pixel, and the pixels are looked up in it. Answers that are no picture, pictures
of one pixel and a picture that comes for many addresses are no imagery.
"""

import math
import re
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import cv2
import morecantile
import numpy as np
from morecantile import TileMatrixSet
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.windows import Window

from earthtone.build.imagery import Pixels, TilePixels
from earthtone.build.resampling import Layer, Mask, resampled
from earthtone.build.tile_grid import LONLAT, Tile, TileGrid, crs_name, lonlat_grids, metres_a_unit
from earthtone.build.web import Answer, Web, checked_url, shown_url, without_secrets
from earthtone.errors import ConfigError, DataError, SignalError, did_you_mean
from earthtone.signal.image import read_picture


class Terms(NamedTuple):
    """What a host's terms say, as far as they concern data sets."""

    whose: str
    may_store: bool
    license: str | None = None
    attribution: str | None = None


_GOOGLE = Terms("Google", False, None, "Imagery Google")
_BING = Terms("Microsoft Bing", False, None, "Microsoft Bing")
_ESRI = Terms("Esri", False, None, "Esri, Vantor, Earthstar Geographics, and the GIS User Community")
#: By the end of the host's name. Where a host is not named here, its terms are its user's to read.
TERMS: Mapping[str, Terms] = {
    "google.com": _GOOGLE, "googleapis.com": _GOOGLE, "gstatic.com": _GOOGLE,
    "virtualearth.net": _BING, "bing.com": _BING, "bing.net": _BING,
    "arcgisonline.com": _ESRI, "arcgis.com": _ESRI,
    "mapbox.com": Terms("Mapbox", False, None, "Mapbox, Maxar"),
    "apple-mapkit.com": Terms("Apple", False), "yandex.net": Terms("Yandex", False),
    "openstreetmap.org": Terms("OpenStreetMap (maps, no imagery; no bulk download)", False),
    "maps.eox.at": Terms(
        "EOX", True, "CC-BY-NC-SA-4.0",
        "EOxCloudless https://cloudless.eox.at by EOX IT Services GmbH (Contains modified Copernicus Sentinel data)",
    ),
    "nationalmap.gov": Terms("USGS", True, "public domain", "USDA/USGS The National Map"),
    "earth-search.aws.element84.com": Terms("Copernicus", True, None, "Contains modified Copernicus Sentinel data"),
}  # fmt: skip


def terms_of(url: str) -> Terms | None:
    """Return the terms of an address's host, None where they are not known."""
    host = (urlsplit(url).hostname or "").lower()
    return next((terms for end, terms in TERMS.items() if host == end or host.endswith(f".{end}")), None)


def refuse_forbidden(url: str, stated_license: str | None) -> None:
    """Raise ConfigError where the host's terms forbid that its pictures are stored, unless a licence is stated."""
    terms = terms_of(url)
    if terms is not None and not terms.may_store and stated_license is None:
        raise ConfigError(
            f"{urlsplit(url).hostname}: the terms of {terms.whose} forbid to store what it shows; choose other "
            "imagery, or state the licence that you hold for it: --license TEXT"
        )


_PLACE = re.compile(r"\{([^{}]*)\}")
_NAMES = {
    "z": "z", "x": "x", "y": "y", "-y": "-y", "quadkey": "quadkey", "s": "s", "r": "r", "key": "key",
    "TileMatrix": "z", "TileCol": "x", "TileRow": "y", "TileMatrixSet": "set",
}  # fmt: skip
_SERVERS = "abc"  # what {s} stands for
_MOST_PIXELS = 2048  # along the side of a server's picture
_LEAST_PIXELS = 16
_SAME = 4  # addresses with one picture: it says that there is none
_MOST_ANSWERS = 400  # for one of our tiles
_IN_MEMORY = 128  # decoded pictures
_FUTILE = 20  # answers that are no pictures, before the first that is one
_ANSWER_BYTES = 16 * 2**20


_PAGE, _BROKEN = _PASSING = ("a page or an exception in place of a picture", "a broken picture")


class TileServer:
    """Imagery by an address with places for level, column and row."""

    def __init__(
        self,
        template: str,
        web: Web,
        *,
        matrix_set: str = "WebMercatorQuad",
        max_zoom: int = 19,
        key: str | None = None,
        license: str | None = None,
        attribution: str | None = None,
        placeholders: bool = True,
    ) -> None:
        """With `placeholders` a picture that four addresses give alike is none. `key` takes the place of {key}.

        Raises ConfigError for an address that is none, and where the host's terms forbid to store its pictures.
        """
        self._template, self._web, self._key = template, web, key
        self._places = self._checked(template)
        refuse_forbidden(template, license)
        self._set = _matrix_set(matrix_set)
        self._max_zoom = min(max_zoom, int(self._set.maxzoom))
        terms = terms_of(template)
        self.license = license or (terms.license if terms else None)
        self.attribution = attribution or (terms.attribution if terms else None)
        self.source = shown_url(_PLACE.sub("", template)) if key else shown_url(template)
        self._lock = threading.Lock()
        self._pictures: OrderedDict[tuple[int, int, int], tuple[Pixels, Mask, str] | None] = OrderedDict()
        self._side = 0
        self._busy = [threading.Lock() for _ in range(64)]
        self._learning = threading.Lock()
        self._layers: dict[tuple[int, int], Layer] = {}
        self._where: defaultdict[str, set[tuple[int, int, int]]] = defaultdict(set)
        self._placeholders = placeholders
        self._local = threading.local()
        self._failed: set[tuple[int, int, int]] = set()
        """Where the server gave no picture, and may give one later."""
        self.faults: Counter[str] = Counter()
        """What answers were in place of imagery, counted."""

    def _checked(self, template: str) -> set[str]:
        checked_url(_PLACE.sub("0", template))
        named = _PLACE.findall(template)
        unknown = [name for name in named if name not in _NAMES]
        if unknown:
            raise ConfigError(
                f"--template has {{{unknown[0]}}}; {did_you_mean(unknown[0], _NAMES)}known: "
                f"{', '.join('{' + name + '}' for name in _NAMES)}; write the value of other dimensions, such as a time"
            )
        places = {_NAMES[name] for name in named}
        if not ({"z", "x"} <= places and places & {"y", "-y"}) and "quadkey" not in places:
            raise ConfigError(
                f"--template {shown_url(template)} lacks places for level, column and row; "
                "{z}, {x} and {y}, {quadkey}, or {TileMatrix}, {TileCol} and {TileRow} expected"
            )
        if "{" in urlsplit(template).netloc.replace("{s}", ""):
            raise ConfigError(f"--template: only {{s}} may stand in the host's name of {shown_url(template)}")
        if "{key}" in template.partition("?")[0]:
            raise ConfigError(
                "--template has {key} in front of its ?; there it would stand in messages: give it as a "
                "parameter, such as ?key={key}"
            )
        if "key" in places and not self._key:
            raise ConfigError("--template has {key}; set the variable EARTHTONE_TILE_KEY to it")
        return places

    def url(self, z: int, x: int, y: int) -> str:
        """Return the address of a server's tile."""

        def value(match: re.Match[str]) -> str:
            return values[_NAMES[match[1]]]

        values = {
            "z": str(z), "x": str(x), "y": str(y), "r": "", "quadkey": quadkey(z, x, y), "key": quote(self._key or ""),
            "-y": str(self._set.matrix(z).matrixHeight - 1 - y), "set": str(self._set.id),
            "s": _SERVERS[(x + y) % len(_SERVERS)],
        }  # fmt: skip
        return _PLACE.sub(value, self._template)

    def read_tile(self, tile: Tile, pixels: int) -> TilePixels:
        """Return a tile's pixels; from any thread. Raises DataError where the server refuses, or stays silent."""
        self._learn_side(tile, pixels)
        layer, known, self._local.answers = self._layer(self.zoom(tile, pixels)), self.placeholder_marks(), set()
        self._local.fault = False
        found = resampled(layer, tile, pixels)
        if self.has_placeholder(self._local.answers, besides=known):  # it has shown itself in between
            found = resampled(layer, tile, pixels)
        if found is None:
            values, valid = np.zeros((pixels, pixels, 3), np.float32), np.zeros((pixels, pixels), bool)
        else:
            values, valid = found
        eight = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        marks = tuple(sorted(self._local.answers))
        return TilePixels(eight, valid, self.source, None, self.license, self.attribution, marks, self._local.fault)

    def zoom(self, tile: Tile, pixels: int) -> int:
        """Return the level that is fine enough for a tile, or the finest."""
        gsd = tile.side_m / pixels
        unit = metres_a_unit(self._crs, *tile.lonlat)
        for z in range(int(self._set.minzoom), self._max_zoom + 1):
            matrix = self._set.matrix(z)
            if matrix.cellSize * unit * matrix.tileWidth / self._size(z)[0] <= gsd * 1.1:
                return z
        return self._max_zoom

    @cached_property
    def _crs(self) -> str:
        return crs_name(self._set.crs.to_wkt())

    def grids(self, tile_m: float, stride_m: float, pixels: int, region: object) -> list[TileGrid]:
        """Return the grids of tiles over a region, a polygon in degrees."""
        return list(lonlat_grids(region, tile_m, stride_m, pixels))

    def requests_of(self, tile: Tile, pixels: int) -> int:
        """Return about how many of the server's tiles one of ours needs."""
        matrix = self._set.matrix(self.zoom(tile, pixels))
        ground = matrix.cellSize * matrix.tileWidth * metres_a_unit(self._crs, *tile.lonlat)
        return (math.ceil(tile.side_m / ground) + 1) ** 2

    @property
    def fingerprint(self) -> str:
        """Return what two calls must have in common to go on with each other."""
        return without_secrets(self._template)

    def has_placeholder(self, marks: Iterable[str], besides: Container[str] = ()) -> bool:
        """Return whether one of these marks is of a placeholder, other than those whose hashes are in `besides`."""
        none = self.placeholder_marks()
        return any(digest in none and digest not in besides for digest, _ in map(_of_mark, marks))

    def placeholder_marks(self) -> set[str]:
        """Return the hashes of pictures that came for several addresses alike, where these are taken for none."""
        if not self._placeholders:
            return set()
        with self._lock:
            return {digest for digest, places in self._where.items() if len(places) >= _SAME}

    def remember(self, marks: Iterable[str]) -> None:
        """Know pictures that an earlier call met in one of its tiles, each once for an address however many saw it."""
        with self._lock:
            for digest, place in map(_of_mark, marks):
                if len(self._where[digest]) < _SAME:
                    self._where[digest].add(place)

    def _learn_side(self, tile: Tile, pixels: int) -> None:
        """Look at one picture: those of some servers have 512 pixels where the levels say 256."""
        with self._learning:
            if self._side:
                return
            self._local.answers = set()
            z = self.zoom(tile, pixels)
            at = self._set.tile(*tile.lonlat, z)
            matrix = self._set.matrix(z)
            if 0 <= at.x < matrix.matrixWidth and 0 <= at.y < matrix.matrixHeight:
                self._picture(z, at.x, at.y, (int(matrix.tileWidth), int(matrix.tileHeight)))
            with self._lock:
                self._pictures.clear()  # of a size that may be another

    def _size(self, z: int) -> tuple[int, int]:
        """Return how many pixels a picture of a level is wide and high."""
        matrix = self._set.matrix(z)
        wide = self._side or int(matrix.tileWidth)
        return wide, round(matrix.tileHeight * wide / matrix.tileWidth)

    def _layer(self, z: int) -> Layer:
        key = (z, self._size(z)[0])
        if key not in self._layers:
            self._layers[key] = self._make_layer(z)
        return self._layers[key]

    def _make_layer(self, z: int) -> Layer:
        matrix, (wide, tall) = self._set.matrix(z), self._size(z)
        west, _, _, north = self._set.xy_bounds(morecantile.Tile(0, 0, z))
        east = self._set.xy_bounds(morecantile.Tile(matrix.matrixWidth - 1, 0, z)).right
        width, height = matrix.matrixWidth * wide, matrix.matrixHeight * tall
        cell = matrix.cellSize * matrix.tileWidth / wide

        def read(window: Window, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            return self._read(z, (wide, tall), window, shape)

        around = float(width) if _covers_the_globe(self._crs, west, east) else None
        return Layer(self._crs, Affine(cell, 0.0, west, 0.0, -cell, north), width, height, read, around)

    def _read(
        self, z: int, size: tuple[int, int], window: Window, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        wide, tall = size
        left, top = int(window.col_off), int(window.row_off)
        right, bottom = left + int(window.width), top + int(window.height)
        columns, rows = range(left // wide, -(-right // wide)), range(top // tall, -(-bottom // tall))
        if len(columns) * len(rows) > _MOST_ANSWERS:
            raise ConfigError(
                f"a tile needs {len(columns) * len(rows)} pictures of {self.source}; {_MOST_ANSWERS} at "
                "most expected: choose smaller --metres"
            )
        values = np.zeros((bottom - top, right - left, 3), np.float32)
        data = np.zeros(values.shape[:2], np.float32)
        for row in rows:
            for column in columns:
                picture = self._picture(z, column, row, size)
                if picture is None:
                    continue
                y0, x0 = row * tall - top, column * wide - left
                to = np.s_[max(0, y0) : y0 + tall, max(0, x0) : x0 + wide]
                height, width = data[to].shape
                from_ = np.s_[max(0, -y0) : max(0, -y0) + height, max(0, -x0) : max(0, -x0) + width]
                values[to], data[to] = picture[0][from_], picture[1][from_]
        if values.shape[:2] != shape:
            smaller = shape[1], shape[0]
            values = cv2.resize(values, smaller, interpolation=cv2.INTER_AREA)
            data = (cv2.resize(data, smaller, interpolation=cv2.INTER_AREA) >= 0.5).astype(np.float32)
        return values, data

    def _picture(self, z: int, x: int, y: int, size: tuple[int, int]) -> tuple[Pixels, Mask] | None:
        """Return the colours of a server's tile and where it has any; None where it has none."""
        place = (z, x, y)
        with self._busy[hash(place) % len(self._busy)]:  # neighbours want the same: it is asked for once
            with self._lock:
                there, kept = place in self._pictures, self._pictures.get(place)
            if not there:
                kept = self._ask(place, size)
                with self._lock:
                    self._pictures[place] = kept
                    while len(self._pictures) > _IN_MEMORY:
                        self._pictures.popitem(last=False)
        if kept is None:
            if place in self._failed:
                self._local.fault = True
            return None
        values, data, digest = kept
        self._local.answers.add(f"{digest}@{z}/{x}/{y}")
        none = self._placeholders and len(self._where[digest]) >= _SAME
        return None if none else (values, data)

    def _ask(self, place: tuple[int, int, int], size: tuple[int, int]) -> tuple[Pixels, Mask, str] | None:
        url = self.url(*place)
        answer = self._web.get(url, most_bytes=_ANSWER_BYTES)
        fault = ""
        for again in (True, False):
            if answer.status in (401, 403):
                raise DataError(f"{self.source} refuses (status {answer.status}): it wants a key, or another one")
            if answer.status in (204, 304, 404, 410) or (answer.status == 200 and not answer.body):
                self.faults["no tile there"] += 1
                return None
            if answer.status != 200:
                raise DataError(
                    f"{self.source} answers {answer.status}; look at the address, and at its finest level "
                    f"(--max_zoom {self._max_zoom})"
                )
            picture = self._decoded(answer, size)
            if not isinstance(picture, str):
                self._failed.discard(place)
                with self._lock:
                    if len(self._where[answer.digest]) < _SAME:
                        self._where[answer.digest].add(place)
                return (*picture, answer.digest)
            fault = picture
            if again:  # cut off, or a page for once: what was kept of it is of no use
                answer = self._web.get(url, most_bytes=_ANSWER_BYTES, again=True)
        if self._web.cache is not None:
            self._web.cache.forget(url)
        self.faults[fault] += 1
        if fault in _PASSING:
            self._failed.add(place)
        if not self._where and self.faults[fault] >= _FUTILE:
            raise DataError(
                f"{self.source} gave {fault} {_FUTILE} times and no picture; look at one in a browser: it may want a "
                "key, or a log-in"
            )
        return None

    def _decoded(self, answer: Answer, size: tuple[int, int]) -> tuple[Pixels, Mask] | str:
        """Return the colours of a picture at the size that its level has, or what it is instead."""
        head = answer.body[:512].lstrip().lower()
        if head.startswith(b"<") or head.startswith(b"{"):
            return _PAGE
        try:
            picture = read_picture(answer.body)
        except SignalError as error:
            return "nothing but transparency" if "no data" in str(error) else _BROKEN
        height, width = picture.pixels.shape[:2]
        if min(height, width) < _LEAST_PIXELS:
            return "a picture of a few pixels"
        if max(height, width) > _MOST_PIXELS:
            return "a picture too large"
        with self._lock:
            self._side = self._side or width
        data = np.ones((height, width), np.float32)
        if picture.empty is not None:
            data = (~picture.empty).astype(np.float32)
        values = picture.pixels
        if (width, height) != size:
            values = cv2.resize(values, size, interpolation=cv2.INTER_AREA if width > size[0] else cv2.INTER_LINEAR)
            data = cv2.resize(data, size, interpolation=cv2.INTER_NEAREST)
        return np.asarray(values, np.uint8), data > 0


def _of_mark(mark: str) -> tuple[str, tuple[int, int, int]]:
    """Return the hash of a picture and its address of `HASH@Z/X/Y`; of an earlier version's `HASH` one that is none."""
    digest, _, place = mark.partition("@")
    found = [int(part) for part in place.split("/") if part.isdecimal()]
    return digest, (found[0], found[1], found[2]) if len(found) == 3 else (-1, -1, -1)


def quadkey(z: int, x: int, y: int) -> str:
    """Return the key of a tile in the order of Bing: a digit a level.

    >>> quadkey(3, 3, 5)
    '213'
    """
    return "".join(str((x >> bit & 1) + 2 * (y >> bit & 1)) for bit in range(z - 1, -1, -1))


def _matrix_set(name: str) -> TileMatrixSet:
    known = morecantile.tms.list()
    if name not in known:
        raise ConfigError(f"--matrix_set {name}; {did_you_mean(name, known)}one of {', '.join(known)} expected")
    return morecantile.tms.get(name)


def _covers_the_globe(crs: str, west: float, east: float) -> bool:
    if crs == "EPSG:3857":
        return east - west > 40_000_000
    return crs in ("EPSG:4326", LONLAT) and east - west >= 359.9
