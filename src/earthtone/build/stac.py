"""Imagery of a STAC API: items are searched over a region, and tiles read from their assets by pieces.

A tile shows one day: the items of the day with the least cloud that covers enough of it, or of the day nearest to its
moment.
"""

import json
import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping
from shapely.geometry import shape as shape_of

from earthtone.build.imagery import RasterFile, TilePixels, eight_bits
from earthtone.build.ranged_file import NAME, RangedFile
from earthtone.build.regions import together
from earthtone.build.resampling import resampled
from earthtone.build.tile_grid import LONLAT, Tile, TileGrid, lonlat_grids, projected
from earthtone.build.tile_servers import refuse_forbidden, terms_of
from earthtone.build.web import Answer, HostError, Web, checked_url, shown_url, without_secrets
from earthtone.errors import ConfigError, DataError
from earthtone.progress import note
from earthtone.signal.config import ValueRange, named_range
from earthtone.signal.raster import Bands

_PAGE = 100  # items
_LEAST_PAGE = 10
MOST_ITEMS = 20_000
_MOST_PAGES = 2_000
_MOST_DAYS = 6  # looked at for one tile
_MOST_OPEN = 24  # assets
_MOST_CORNERS = 300  # of a region that is sent
_PAGE_BYTES = 32 * 2**20
_LEFT_SECONDS = 60.0  # of a token that is not used any more
#: Where tokens for assets come from, by the API's host.
SIGNS = {
    "planetarycomputer.microsoft.com": "https://planetarycomputer.microsoft.com/api/sas/v1/token/{collection}",
}
#: Where assets lie that a signer's tokens are for, by the signer's host: beside that host and the API's.
_SIGNED = {"planetarycomputer.microsoft.com": ".blob.core.windows.net"}


@dataclass(frozen=True)
class Item:
    """A scene: where it is, of when, and the address of its asset, which may expire."""

    id: str
    collection: str
    outline: Any
    """A polygon in degrees, its longitudes going on beyond 180."""
    datetime: str | None
    cloud: float
    created: str
    href: str
    said_by: str
    """The address whose answer named it."""


class StacImagery:
    """Tiles of the items that a search over a region finds."""

    def __init__(
        self,
        api: str,
        web: Web,
        *,
        collections: Sequence[str],
        asset: str = "visual",
        datetime: str | None = None,
        max_cloud: float | None = None,
        within_days: float | None = None,
        bands: Bands | None = None,
        value_range: ValueRange | None = None,
        nodata_share: float = 0.1,
        sign: str | None = None,
        license: str | None = None,
        attribution: str | None = None,
    ) -> None:
        """With `within_days` a tile shows the day nearest to its own moment, at most so many days away, not the
        clearest one."""
        self._within_days = within_days
        self._api, self._web = checked_url(api.rstrip("/")), web
        refuse_forbidden(api, license)
        self._collections, self._asset = tuple(collections), asset
        self._datetime, self._max_cloud = datetime, max_cloud
        self._bands, self._nodata_share = bands, nodata_share
        ranges = None if value_range is None else named_range(value_range, "--value_range")
        self._ranges = None if ranges is None else np.array(ranges, np.float32).reshape(-1, 2)
        self._sign = sign or SIGNS.get(str(urlsplit(api).hostname))
        self._tokens: dict[str, tuple[str, float]] = {}
        self.license, self.attribution = license, attribution
        self._items: list[Item] = []
        self._tree: Any = None
        self._lock = threading.Lock()
        self._signing = threading.Lock()
        self._told_unsigned = False
        self._open: OrderedDict[str, tuple[RasterFile, RangedFile]] = OrderedDict()
        self.faults: Counter[str] = Counter()

    @property
    def fingerprint(self) -> list[object]:
        """Return what two calls must have in common to go on with each other."""
        ranges = None if self._ranges is None else self._ranges.tolist()
        return [without_secrets(self._api), list(self._collections), self._asset, self._bands, ranges]

    def __len__(self) -> int:
        return len(self._items)

    def find(self, shapes: Sequence[Any]) -> None:
        """Search the items over polygons in degrees. Raises DataError where there are none."""
        found: dict[str, Item] = {}
        for shape in shapes:
            for item in self._search(shape):
                before = found.get(item.id)
                if before is None or item.created > before.created:
                    found[item.id] = item
        twins: dict[tuple[object, ...], Item] = {}  # one scene processed twice: the newer counts
        for item in found.values():
            key = (item.collection, item.datetime, tuple(round(edge, 3) for edge in item.outline.bounds))
            before = twins.get(key)
            if before is None or (item.created, item.id) > (before.created, before.id):
                twins[key] = item
        items = [item for item in twins.values() if self._max_cloud is None or item.cloud <= self._max_cloud]
        if not items:
            lacking = "; ".join(f"{count} {what}" for what, count in self.faults.items())
            raise DataError(
                f"{shown_url(self._api)} has no item of {', '.join(self._collections)} there"
                f"{f' in {self._datetime}' if self._datetime else ''}{lacking and f' ({lacking})'}; look at "
                "--collections, --datetime, --asset and --max_cloud"
            )
        self._items = sorted(items, key=lambda item: item.id)
        self._items.sort(key=lambda item: item.datetime or "", reverse=True)
        self._items.sort(key=lambda item: item.cloud)
        self._tree = shapely.STRtree([item.outline for item in self._items])
        self._tell_collection()

    # Searching.

    def _search(self, shape: Any) -> Iterator[Item]:
        """Yield the items over a polygon, each page once; a page too large for the host is asked for smaller."""
        size = _PAGE
        while True:
            try:
                yield from list(self._pages(shape, size))
                return
            except HostError:
                if size <= _LEAST_PAGE:
                    raise
                size = max(_LEAST_PAGE, size // 4)

    def _pages(self, shape: Any, size: int) -> Iterator[Item]:
        body: dict[str, Any] = {"collections": list(self._collections), "limit": size, "intersects": _geojson(shape)}
        if self._datetime:
            body["datetime"] = self._datetime
        if self._max_cloud is not None:
            body["query"] = {"eo:cloud_cover": {"lte": self._max_cloud}}
        url, method, seen, received, futile = f"{self._api}/search", "POST", set[str](), 0, 0
        asked: set[str] = set()
        for _ in range(_MOST_PAGES):
            key = json.dumps([method, url, body], sort_keys=True)
            if key in asked:  # a next page that is one before: all of it has come
                self.faults["pages that a search repeated"] += 1
                return
            asked.add(key)
            page = self._page(method, url, body)
            features = page.get("features")
            if not isinstance(features, list):
                raise DataError(f"{shown_url(url)} answers without features; a STAC API expected")
            new = 0
            for feature in features:
                received += 1
                item = self._item(feature, url)
                name = str(feature.get("id")) if isinstance(feature, dict) else ""
                if name in seen:
                    self.faults["items that came twice"] += 1
                    continue
                seen.add(name)
                new += 1
                if item is not None:
                    yield item
            if received > MOST_ITEMS:
                raise ConfigError(
                    f"{shown_url(url)} finds more than {MOST_ITEMS:,} items; choose a smaller --region, a "
                    "shorter --datetime or a smaller --max_cloud"
                )
            following = next(
                (
                    link
                    for link in _listed(page.get("links"))
                    if isinstance(link, dict) and link.get("rel") == "next" and link.get("href")
                ),
                None,
            )
            if following is None or (not features):
                context = page.get("context")
                matched = page.get("numberMatched", context.get("matched") if isinstance(context, dict) else None)
                if isinstance(matched, int) and received < matched and following is None:
                    raise DataError(
                        f"{shown_url(url)}: the list ends after {received} of {matched} items; type the same again"
                    )
                return
            futile = 0 if new else futile + 1
            if futile >= 3:
                self.faults["pages that a search repeated"] += 1
                return
            method = str(following.get("method", "GET")).upper()
            said = following.get("body")
            more: dict[str, Any] = said if isinstance(said, dict) else {}
            body = {**body, **more} if following.get("merge") else more
            url = checked_url(urljoin(url, str(following["href"])), self._api)
        raise DataError(f"{shown_url(self._api)}: more than {_MOST_PAGES:,} pages; a list that ends expected")

    def _page(self, method: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
        said_by = None if url.startswith(self._api) else self._api
        if method == "POST":
            answer = self._web.post(url, body, said_by=said_by, most_bytes=_PAGE_BYTES)
            if answer.status == 400 and "query" in body:  # without that extension; what is too cloudy is left out here
                answer = self._web.post(
                    url,
                    {name: value for name, value in body.items() if name != "query"},
                    said_by=said_by,
                    most_bytes=_PAGE_BYTES,
                )
            if answer.status in (404, 405) and "intersects" in body:
                bounds = shape_of(body["intersects"]).bounds
                asked = {
                    "collections": ",".join(self._collections),
                    "limit": body["limit"],
                    "bbox": ",".join(map(str, bounds)),
                }
                asked |= {"datetime": body["datetime"]} if "datetime" in body else {}
                answer = self._fresh(f"{url}?{urlencode(asked)}", said_by)
        else:
            answer = self._fresh(url, said_by)
        return _object(answer, url)

    def _fresh(self, url: str, said_by: str | None) -> Answer:
        headers = {"Accept": "application/geo+json, application/json"}
        return self._web.get(url, headers=headers, said_by=said_by, most_bytes=_PAGE_BYTES)

    def _item(self, feature: Any, url: str) -> Item | None:
        """Return an item that can be read; None, counted, for any other."""
        try:
            said = feature.get("properties") or {}
            assets = feature["assets"]
            if self._asset not in assets:
                self.faults[f"items without the asset {self._asset} (they have {', '.join(list(assets)[:12])})"] += 1
                return None
            links = feature.get("links") or []
            own = next((link["href"] for link in links if link.get("rel") == "self"), url)
            href = urljoin(str(own), str(assets[self._asset]["href"]))
            geometry = feature.get("geometry")
            outline = shape_of(geometry) if geometry else shapely.box(*_flat_box(feature["bbox"]))
            cloud = float(101 if said.get("eo:cloud_cover") is None else said["eo:cloud_cover"])
            when = said.get("datetime") or said.get("start_datetime")
            if not np.isfinite(outline.bounds).all():
                raise ValueError("no place")
            item = Item(
                str(feature["id"]), str(feature.get("collection") or self._collections[0]), together(outline),
                None if when is None else str(when), cloud if math.isfinite(cloud) else 101.0,
                str(said.get("created") or said.get("updated") or ""), href, self._api,
            )  # fmt: skip
        except (  # what strangers send: also numbers of hundreds of digits, lists in lists in lists
            KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError,
            shapely.errors.ShapelyError,
        ):  # fmt: skip
            self.faults["items that are none"] += 1
            return None
        try:
            checked_url(item.href, self._api)
        except DataError:
            scheme = urlsplit(item.href).scheme or "no scheme"
            self.faults[f"items whose asset has an address that is not opened ({scheme[:20]}:)"] += 1
            return None
        return replace(item, cloud=min(item.cloud, 101.0))

    def _tell_collection(self) -> None:
        """Learn licence and whom to name of the collection, where they are not given."""
        terms = terms_of(self._api)
        if self.attribution is None and terms is not None:
            self.attribution = terms.attribution
        try:
            answer = self._fresh(f"{self._api}/collections/{quote(self._collections[0], safe='')}", None)
            said = _object(answer, self._api)
        except DataError:
            return
        if self.license is None and isinstance(said.get("license"), str):
            self.license = str(said["license"])[:200]
        if self.attribution is None:
            names = [
                str(one["name"])
                for one in _listed(said.get("providers"))
                if isinstance(one, dict)
                and one.get("name")
                and any(role in ("producer", "licensor") for role in _listed(one.get("roles")))
            ]
            self.attribution = ", ".join(names)[:300] or None

    # Reading.

    def grids(self, tile_m: float, stride_m: float, pixels: int, region: object) -> list[TileGrid]:
        """Return the grids of tiles over a region, a polygon in degrees."""
        return list(lonlat_grids(region, tile_m, stride_m, pixels))

    def read_tile(self, tile: Tile, pixels: int) -> TilePixels:
        """Return a tile's pixels; from any thread. Raises DataError."""
        best: TilePixels | None = None
        for day in self._days(tile):
            found = self._of_day(day, tile, pixels)
            if best is None or found.share > best.share:
                best = found
            if found.share >= 1 - self._nodata_share:
                break
        if best is None:
            best = TilePixels(np.zeros((pixels, pixels, 3), np.uint8), np.zeros((pixels, pixels), bool))
        return best

    def _days(self, tile: Tile) -> list[list[Item]]:
        """Return the items that touch a tile by day, that of the least cloud first."""
        square = projected(shapely.box(*tile.bounds), tile.crs, LONLAT)
        west, _, east, _ = square.bounds
        if east - west > 180:  # its longitudes jump
            square = shapely.transform(square, _eastwards)
        turned = [shapely.transform(square, partial(_moved, turn=turn)) for turn in (0.0, 360.0, -360.0)]
        numbers = sorted({int(number) for one in turned for number in self._tree.query(one, predicate="intersects")})
        days: dict[str, list[Item]] = {}
        for number in numbers:
            item = self._items[number]
            if self._within_days is None or self._days_off(item, tile) <= self._within_days:
                days.setdefault((item.datetime or item.id)[:10], []).append(item)
        found = list(days.values())
        if self._within_days is not None:
            found.sort(key=lambda items: min(self._days_off(item, tile) for item in items))
        return found[:_MOST_DAYS]

    def _days_off(self, item: Item, tile: Tile) -> float:
        """Return how many days lie between a scene and a tile's moment; infinitely many where one is not known."""
        try:
            when = datetime.fromisoformat(str(item.datetime))
        except ValueError:
            return math.inf
        when = when.replace(tzinfo=when.tzinfo or UTC)
        return math.inf if tile.moment is None else abs((when - tile.moment).total_seconds()) / 86400

    def _of_day(self, items: Sequence[Item], tile: Tile, pixels: int) -> TilePixels:
        values = np.zeros((pixels, pixels, 3), np.uint8)
        valid = np.zeros((pixels, pixels), bool)
        used: list[Item] = []
        for item in items:
            part = self._sampled(item, tile, pixels)
            if part is None or not (fill := part[1] & ~valid).any():
                continue
            values[fill], valid = part[0][fill], valid | fill
            used.append(item)
            if valid.all():
                break
        source = ", ".join(f"{item.collection}/{item.id}" for item in used) or None
        when = used[0].datetime if used else None
        return TilePixels(values, valid, source, when, self.license, self.attribution)

    def _sampled(self, item: Item, tile: Tile, pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]] | None:
        raster, remote = self._raster(item)
        try:
            part = resampled(raster.layer, tile, pixels)
        except DataError as error:
            raise remote.fault or error from error
        return None if part is None else (eight_bits(part[0], raster, self._ranges), part[1])

    def _raster(self, item: Item) -> tuple[RasterFile, RangedFile]:
        with self._lock:
            if item.id in self._open:
                self._open.move_to_end(item.id)
                return self._open[item.id]
        remote = RangedFile(self._web, _Address(self, item), item.said_by)
        try:
            raster = RasterFile(NAME, self._bands, remote.opener, shown=shown_url(item.href))
        except DataError as error:
            raise remote.fault or error from error
        if raster.deep and self._ranges is None:
            raise ConfigError(
                f"{shown_url(item.href)} has {raster.dtype} values; type --value_range LOW,HIGH or a name, "
                "such as sentinel2, or choose an --asset of 8 bits"
            )
        with self._lock:
            self._open[item.id] = raster, remote
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return raster, remote

    def address(self, item: Item, renew: bool) -> str:
        """Return the address of an item's asset to ask now: searched again where it was refused, and signed."""
        href = item.href
        if renew:
            body = {"collections": [item.collection], "ids": [item.id], "limit": 1}
            page = self._page("POST", f"{self._api}/search", body)
            again = [self._item(feature, self._api) for feature in _listed(page.get("features"))]
            href = next((found.href for found in again if found is not None and found.id == item.id), href)
        if not self._is_signed(href):
            return href
        return f"{href}{'&' if urlsplit(href).query else '?'}{self._token(item.collection, renew)}"

    def _is_signed(self, href: str) -> bool:
        """Return whether an address gets a token: no other host learns one, whatever an item names."""
        if self._sign is None:
            return False
        host, signer = urlsplit(href).hostname or "", urlsplit(self._sign).hostname or ""
        ending = _SIGNED.get(signer)
        if host in (signer, urlsplit(self._api).hostname) or (ending is not None and host.endswith(ending)):
            return True
        with self._signing:
            told, self._told_unsigned = self._told_unsigned, True
        if not told:
            note(f"assets lie at {host[:80]}, which tokens of {signer} are not for: such hosts are asked without one")
        return False

    def _token(self, collection: str, renew: bool) -> str:
        with self._signing:
            token, until = self._tokens.get(collection, ("", 0.0))
            if not token or renew or time.time() > until - _LEFT_SECONDS:
                url = str(self._sign).replace("{collection}", quote(collection, safe=""))
                said = _object(self._fresh(url, None), url)
                token = str(said.get("token") or "").lstrip("?")
                if not token:
                    raise DataError(
                        f"{shown_url(url)} gives no token; an address that answers with one expected: --sign"
                    )
                self._tokens[collection] = token, _moment(said.get("msft:expiry") or said.get("expiry"))
            return token


class _Address:
    """The address of one item's asset, renewed where the host refuses it."""

    def __init__(self, imagery: StacImagery, item: Item) -> None:
        self._imagery, self._item = imagery, item
        self._current: str | None = None

    def __call__(self, renew: bool) -> str:
        if self._current is None or renew or self._imagery._sign is not None:
            self._current = self._imagery.address(self._item, renew)
        return self._current


def _object(answer: Answer, url: str) -> dict[str, Any]:
    """Return the JSON object that a host answers with. Raises DataError for anything else."""
    said: Any = None
    with suppress(ValueError, RecursionError):
        said = json.loads(answer.body)
    if answer.status in (401, 403):
        raise DataError(f"{shown_url(url)} refuses (status {answer.status}); it wants a log-in")
    if answer.status != 200 or not isinstance(said, dict):
        told = said.get("description") or said.get("detail") or said.get("message") if isinstance(said, dict) else None
        what = str(told)[:200] if told else "a page, or nothing" if said is None else type(said).__name__
        raise DataError(f"{shown_url(url)} answers {answer.status} ({what}); JSON of a STAC API expected")
    return said


def _listed(value: Any) -> list[Any]:
    """Return a list of JSON; an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def _flat_box(box: Sequence[float]) -> tuple[float, float, float, float]:
    west, south, east, north = (box[0], box[1], box[3], box[4]) if len(box) == 6 else box
    return west, south, east if east >= west else east + 360, north


def _geojson(shape: Any) -> dict[str, Any]:
    """Return a polygon as it is sent: of few corners, within -180 to 180."""
    if shapely.get_num_coordinates(shape) > _MOST_CORNERS:
        shape = shape.envelope
    west, _, east, _ = shape.bounds
    if east > 180 or west < -180:
        world, turn = shapely.box(-180, -90, 180, 90), -360.0 if east > 180 else 360.0
        other = shapely.transform(shape, partial(_moved, turn=turn))
        shape = shapely.union_all([shape.intersection(world), other.intersection(world)])
    return dict(mapping(shape))


def _moved(points: NDArray[np.float64], turn: float) -> NDArray[np.float64]:
    return np.asarray(points + np.array([turn, 0.0]))


def _eastwards(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([points[:, 0] % 360, points[:, 1]])


def _moment(text: object) -> float:
    """Return a time as seconds; an hour from now where it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return time.time() + 3600
