"""Imagery of any kind cut into squares of so many metres, each a small file, with a manifest of all: what the verbs
tiles and build write."""

import csv
import hashlib
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
import shapely
from rasterio.transform import from_bounds

from earthtone.build.imagery import Rasters, TilePixels, open_rasters
from earthtone.build.options import TilesOptions
from earthtone.build.regions import Place, read_places, read_region
from earthtone.build.stac import StacImagery
from earthtone.build.tile_grid import LONLAT, Tile, TileGrid, is_metric_at, projected, tile_at
from earthtone.build.tile_servers import TileServer
from earthtone.build.web import RetryPolicy, Web, shown_url, without_secrets
from earthtone.build.wms import WmsServer
from earthtone.data.pair import Problem
from earthtone.errors import ConfigError, DataError, no_formula, one_line_each
from earthtone.files import FORMATS, atomic_path, format_of, only_writer, write_text_atomic
from earthtone.progress import decoding_threads, duration_text, note, ordered_map, progress
from earthtone.signal.config import ImageConfig, ValueRange

IMAGES = "images"
RECORD = "tiles.jsonl"
#: Of the manifest: a pair's own columns, then where the tile lies.
COLUMNS = (
    "id", "image", "longitude", "latitude", "datetime", "image_gsd_m", "source", "license", "attribution",
    "west", "south", "east", "north", "crs", "row", "column", "valid_share",
)  # fmt: skip
#: Options that earlier records do not have.
_LATER = ("wms", "layers", "within_days")
_USUAL_PIXELS = 256
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class TilesResult:
    """What was written, and what was not."""

    manifest: Path
    tiles: int
    left_out: int
    """Tiles of which too large a share is no data."""
    metres: float
    pixels: int
    grids: Mapping[str, int]
    """Coordinate system -> how many tiles lie in it."""
    faults: Mapping[str, int]
    """What was found in place of imagery, counted."""
    problems: tuple[Problem, ...]
    """Rows of the places that are none."""
    notes: tuple[str, ...]
    attribution: str | None
    unfinished: int = 0
    """Tiles at part of which the host failed in a way that may pass: the next call cuts them anew."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "manifest": str(self.manifest), "tiles": self.tiles, "left_out": self.left_out, "metres": self.metres,
            "pixels": self.pixels, "grids": dict(self.grids), "faults": dict(self.faults),
            "problems": [f"{problem.id}: {problem.detail}" for problem in self.problems], "notes": list(self.notes),
            "attribution": self.attribution, "unfinished": self.unfinished,
        }  # fmt: skip

    def to_text(self) -> str:
        """Return what was written in a few lines."""
        gsd = self.metres / self.pixels
        where = ", ".join(f"{count:,} in {crs}" for crs, count in self.grids.items())
        lines = [
            f"{self.manifest}: {self.tiles:,} tiles of {self.metres:g} m, {self.pixels} pixels of {gsd:.4g} m ({where})"
        ]
        if self.left_out:
            lines.append(f"{self.left_out:,} tiles are left out: too much of them is no data (--nodata_share)")
        lines += [f"{count:,} times {what}, taken as no data" for what, count in self.faults.items()]
        if self.unfinished:
            lines.append(f"the host failed at {self.unfinished:,} tiles: type the same again to ask for these alone")
        lines += [f"{problem.id}: {problem.detail}" for problem in self.problems[:10]]
        if len(self.problems) > 10:
            lines.append(f"... {len(self.problems)} rows in all that are no places")
        lines += list(self.notes)
        if self.attribution:
            lines.append(f"wherever they are shown: {self.attribution}")
        return one_line_each(lines)


@dataclass(frozen=True)
class _Plan:
    """What is cut from what."""

    imagery: Any
    tiles: Sequence[TileGrid | Tile]
    metres: float
    pixels: int
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(len(part) if isinstance(part, TileGrid) else 1 for part in self.tiles)

    def __iter__(self) -> Iterator[Tile]:
        several = len({part.crs for part in self.tiles}) < len(self.tiles)
        for number, part in enumerate(self.tiles):
            if not isinstance(part, TileGrid):
                yield part
                continue
            for tile in iter(part):  # two grids of one zone, such as both parts of a region: each has names of its own
                name = f"{tile.id}-{number}" if several else tile.id
                yield Tile(name, tile.bounds, tile.crs, tile.lonlat, tile.row, tile.column)


def cut_tiles(options: TilesOptions, config: ImageConfig | None = None, side_m: float | None = None) -> TilesResult:
    """Cut imagery into tiles of a size in metres and pixels, and write them with a manifest that all verbs read.

    `config` is what a model's image encoder sees, `side_m` the metres of ground along it where they are known: what
    `options` leave open is taken from them. Raises DataError, ConfigError.
    """
    out = Path(options.out)
    with only_writer(out, "writing tiles", IMAGES):
        web = None if options.raster is not None else _web(options)
        try:
            plan = _plan(options, web, config, side_m)
            record = _Record(out, _said(options, plan))
            _cut(options, plan, record, out)
            return _written(options, plan, record, out)
        finally:
            if web is not None:
                web.close()


def _web(options: TilesOptions) -> Web:
    policy = options.patience or RetryPolicy()
    return Web(
        cache_folder(options.cache),
        per_second=options.rate,
        policy=policy,
        contact=options.contact,
        cache=not options.no_store,
    )


def cache_folder(said: str | Path | None) -> Path:
    """Return the folder of hosts' answers and turns: the one that is said, else the user's."""
    if said is not None:
        return Path(said)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "earthtone"


# What is cut: imagery, size, places.


def _plan(options: TilesOptions, web: Web | None, config: ImageConfig | None, side_m: float | None) -> _Plan:
    bands = options.bands or (config.bands if config else None)
    value_range = options.value_range if options.value_range is not None else (config.value_range if config else None)
    region = None if options.region is None else read_region(options.region)
    places, problems = ([], []) if options.places is None else _places(options)
    imagery = _imagery(options, web, bands, value_range, [place.moment for place in places if place.moment])
    pixels = options.pixels or (round(config.pixels / config.view) if config else _USUAL_PIXELS)
    metres = options.metres or side_m
    if metres is None:
        if not isinstance(imagery, Rasters):
            raise ConfigError("how large is a tile on the ground? type --metres, such as --metres 500")
        metres = pixels * imagery.gsd_m
    guess = config is not None and options.metres is None and side_m is None
    stride = options.stride or metres
    if stride > metres:
        raise ConfigError(f"--stride {stride:g} is more than --metres {metres:g}; gaps between tiles are not wanted")
    notes = [told for told in (imagery.said, imagery.doubt) if told] if isinstance(imagery, Rasters) else []
    notes += [guessed_side(pixels, metres)] if guess else []
    cut: Sequence[TileGrid | Tile]
    if options.places is not None:
        cut = [_about(imagery, place, metres, pixels) for place in places]
    else:
        cut = imagery.grids(metres, stride, pixels, region)
    if isinstance(imagery, StacImagery):
        imagery.find([region] if options.places is None else _squares(cut))
        notes.append(f"{len(imagery):,} items of {shown_url(str(options.stac))}")
    return _Plan(imagery, cut, metres, pixels, tuple(problems), tuple(notes))


def _places(options: TilesOptions) -> tuple[list[Place], list[Problem]]:
    return read_places(str(options.places), options.columns, timed=options.within_days is not None)


def _imagery(
    options: TilesOptions, web: Web | None, bands: Any, value_range: ValueRange | None, moments: Sequence[datetime]
) -> Any:
    told = {"license": options.license, "attribution": options.attribution}
    if options.raster is not None:
        rasters = open_rasters(options.raster, bands, value_range, options.nodata, **told)
        if options.value_range is not None and rasters.said is None:
            raise ConfigError(f"--value_range has no effect on {options.raster}, of 8 bits; leave it out")
        return rasters
    if web is None:
        raise AssertionError("hosts are asked by a client")
    if options.template is not None:
        return TileServer(
            options.template, web, matrix_set=options.matrix_set, max_zoom=options.max_zoom,
            key=os.environ.get("EARTHTONE_TILE_KEY"), placeholders=not options.keep_repeated, **told,
        )  # fmt: skip
    if options.wms is not None:
        return WmsServer(
            options.wms, web, layers=options.layers, key=os.environ.get("EARTHTONE_TILE_KEY"), **told,
        )  # fmt: skip
    days = options.datetime
    if days is None and options.within_days is not None:
        first, last = (edge(moments) for edge in (min, max))
        around = timedelta(days=options.within_days)
        days = "/".join(f"{day.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for day in (first - around, last + around))
    return StacImagery(
        str(options.stac), web, collections=options.collections, asset=options.asset, datetime=days,
        max_cloud=options.max_cloud, within_days=options.within_days, bands=bands, value_range=value_range,
        nodata_share=options.nodata_share,
        sign=options.sign, **told,
    )  # fmt: skip


def guessed_side(pixels: int, metres: float) -> str:
    """Return what is to be known of a size that nothing said."""
    return (
        f"nothing says how many metres of ground the model's training images show: tiles have {pixels} of the raster's "
        f"pixels, {metres:g} m; --metres says otherwise"
    )


def _about(imagery: Any, place: Place, metres: float, pixels: int) -> Tile:
    """Return the tile about a place: in the raster's own coordinate system where its unit is a metre there."""
    tile = _tile_about(imagery, place.id, place.longitude, place.latitude, metres, pixels)
    return tile if place.moment is None else replace(tile, moment=place.moment)


def _tile_about(imagery: Any, id: str, longitude: float, latitude: float, metres: float, pixels: int) -> Tile:
    if isinstance(imagery, Rasters):
        first = imagery.files[0]
        if all(file.crs == first.crs for file in imagery.files) and is_metric_at(first.crs, longitude, latitude):
            straight = first.transform.b == 0 == first.transform.d
            wide = abs(first.transform.a)
            same = straight and abs(metres / pixels - wide) < 1e-6 * wide
            return tile_at(id, longitude, latitude, metres, pixels, first.crs, first.transform if same else None)
    return tile_at(id, longitude, latitude, metres, pixels)


def _squares(tiles: Sequence[Any]) -> list[Any]:
    """Return the boxes in degrees about tiles at places, one for all that lie in a degree's square."""
    boxes: dict[tuple[int, int], Any] = {}
    for tile in tiles:
        west, south, east, north = projected(shapely.box(*tile.bounds), tile.crs, LONLAT).bounds
        if east - west > 180:  # about the date line
            west, east = east, west + 360
        cell = (math.floor(tile.lonlat[0]), math.floor(tile.lonlat[1]))
        box = shapely.box(west, south, east, north)
        boxes[cell] = box if cell not in boxes else boxes[cell].union(box).envelope
    return list(boxes.values())


# What is done: a record of each tile, so that a stopped call goes on.


def _said(options: TilesOptions, plan: _Plan) -> dict[str, Any]:
    """Return all that decides about the tiles; a call with anything else must not go on in the same folder."""
    names = (
        "raster",
        "template",
        "wms",
        "layers",
        "stac",
        "region",
        "places",
        "stride",
        "nodata",
        "nodata_share",
        "format",
        "license",
        "attribution",
        "max_zoom",
        "matrix_set",
        "keep_repeated",
        "collections",
        "asset",
        "datetime",
        "max_cloud",
        "within_days",
    )
    said = {name: getattr(options, name) for name in names}
    said |= {name: without_secrets(said[name]) for name in ("template", "wms", "stac") if said[name]}
    said |= {"metres": plan.metres, "pixels": plan.pixels, "imagery": plan.imagery.fingerprint}
    if options.places is None:
        said["count"] = len(plan)  # a table of places may grow: each tile's line says where it is
    unsaid = [name for name in _LATER if said[name] in (None, ())]
    return {name: _plain(value) for name, value in said.items() if name not in unsaid}


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [*map(_plain, value)]
    return str(value) if isinstance(value, Path) else value


class _Record:
    """The tiles that are done, a line each behind a line that says what they are of."""

    def __init__(self, out: Path, said: Mapping[str, Any]) -> None:
        self._path = out / RECORD
        self.rows: dict[str, dict[str, Any]] = {}
        """Id -> what is known of a tile, `row` being that of the manifest where it is kept."""
        head = {"format": FORMATS["record of tiles"], "of": said}
        if self._path.exists():
            self._read(head)
        else:
            write_text_atomic(self._path, json.dumps(head) + "\n")
        self._file = self._path.open("a", encoding="utf-8")

    def _read(self, head: Mapping[str, Any]) -> None:
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")
            found = json.loads(lines[0])
            format_of(found, "record of tiles", self._path)
            before = dict(found["of"])
            for name in ("template", "stac", "imagery"):  # of a version that kept addresses as they were
                if isinstance(before.get(name), str):
                    before[name] = without_secrets(before[name])
            if before.get("places") is not None:
                before.pop("count", None)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{self._path} is damaged; delete it and {self._path.parent / IMAGES}, or choose another --out"
            ) from error
        if before != json.loads(json.dumps(head["of"])):
            names = [name for name in head["of"] if before.get(name) != head["of"][name]]
            raise ConfigError(
                f"{self._path.parent} holds tiles that were cut otherwise ({', '.join(names)}); choose another --out"
            )
        for line in lines[1:]:
            try:
                row = json.loads(line)
                if 0 <= row["share"] <= 1:
                    self.rows[row["id"]] = row
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # the last line of a process that was killed
        if lines[-1]:  # begin a line of its own
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def add(self, row: dict[str, Any]) -> None:
        self.rows[row["id"]] = row
        self._file.write(json.dumps(row, ensure_ascii=True) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _cut(options: TilesOptions, plan: _Plan, record: _Record, out: Path) -> None:
    imagery = plan.imagery
    (out / IMAGES).mkdir(exist_ok=True)
    for row in record.rows.values():
        if isinstance(imagery, TileServer):
            imagery.remember(row.get("marks", ()))
    left = [tile for tile in plan if not _is_done(record, tile, out)]
    threads = options.threads or decoding_threads()

    def cut(tile: Tile) -> dict[str, Any]:
        found, before = imagery.read_tile(tile, plan.pixels), record.rows.get(tile.id)
        if before is not None and found.fault and before["share"] > found.share and _is_cut(before, tile, out):
            return before  # the host fails at more of it than it did
        return _tile_file(options, tile, found, plan.pixels, out)

    if left and isinstance(imagery, TileServer | WmsServer):
        _tell_requests(options, imagery, left, plan.pixels)
    for row in progress(ordered_map(cut, left, threads), total=len(left), label="tiles", unit="tile"):
        record.add(row)
    if isinstance(imagery, TileServer):  # what shows itself to be a placeholder only after some tiles were made of it
        again = [
            tile
            for tile in plan
            if imagery.has_placeholder(record.rows[tile.id].get("marks", ())) and record.rows[tile.id].get("row")
        ]
        for row in ordered_map(cut, again, threads):
            record.add(row)
    record.close()


def _is_done(record: _Record, tile: Tile, out: Path) -> bool:
    """Return whether a tile was cut, without a fault of the host that may have passed."""
    line = record.rows.get(tile.id)
    return line is not None and not line.get("fault") and _is_cut(line, tile, out)


def _is_cut(line: Mapping[str, Any], tile: Tile, out: Path) -> bool:
    """Return whether a line is of the same ground and near the same time, since a tile's place may have changed."""
    row = line.get("row")
    before = [row[edge] for edge in ("west", "south", "east", "north", "crs")] if row else None
    if line.get("at", before and [*before, None]) != _at(tile):  # a line of an earlier version says it in its row alone
        return False
    return row is None or (out / row["image"]).is_file()


def _at(tile: Tile) -> list[Any]:
    """Return where a tile is, and when."""
    return [*tile.bounds, tile.crs, None if tile.moment is None else tile.moment.isoformat()]


def _tell_requests(options: TilesOptions, server: TileServer | WmsServer, left: Sequence[Tile], pixels: int) -> None:
    some = left[:: max(1, len(left) // 50)]
    requests = round(sum(server.requests_of(tile, pixels) for tile in some) / len(some) * len(left))
    note(
        f"about {requests:,} requests to {server.source}, {options.rate:g} a second at most: "
        f"{duration_text(requests / options.rate)} where none is kept from before"
    )


def _tile_file(options: TilesOptions, tile: Tile, found: TilePixels, pixels: int, out: Path) -> dict[str, Any]:
    """Write a tile, where enough of it holds data; return its line in the record."""
    name = f"{IMAGES}/{_file_name(tile.id)}.{options.format}"
    line: dict[str, Any] = {"id": tile.id, "share": round(found.share, 6), "at": _at(tile)}
    if found.marks:
        line["marks"] = found.marks
    if found.fault:
        line["fault"] = True
    if 1 - found.share > options.nodata_share + 1e-12 or not found.share:
        (out / name).unlink(missing_ok=True)
        return line
    data = _encoded(tile, found, options.format)
    with atomic_path(out / name, sync=False) as temporary:
        temporary.write_bytes(data)
    west, south, east, north = tile.bounds
    line["row"] = {
        "id": tile.id, "image": name, "longitude": round(tile.lonlat[0], 8), "latitude": round(tile.lonlat[1], 8),
        "datetime": found.datetime, "image_gsd_m": tile.side_m / pixels, "source": found.source,
        "license": found.license, "attribution": found.attribution,
        "west": west, "south": south, "east": east, "north": north, "crs": tile.crs, "row": tile.row,
        "column": tile.column, "valid_share": round(found.share, 6),
    }  # fmt: skip
    return line


_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,80}")


def _file_name(id: str) -> str:
    """Return a name for a tile's file: its id where that is a plain one, else what is plain of it and a hash."""
    if _PLAIN_NAME.fullmatch(id):
        return id
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9_-]+', '_', id)[:40]}-{digest}"


def _encoded(tile: Tile, found: TilePixels, kind: str) -> bytes:
    """Return a tile as a file's bytes; where part of it is no data it is transparent, in a JPEG black."""
    pixels = found.pixels
    if kind == "jpg":
        options = [
            cv2.IMWRITE_JPEG_QUALITY,
            _JPEG_QUALITY,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        ]
        return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1])
    if not found.valid.all():
        pixels = np.dstack([pixels, np.where(found.valid, 255, 0).astype(np.uint8)])
    if kind == "png":
        order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        return bytes(cv2.imencode(".png", cv2.cvtColor(pixels, order))[1])
    height, width, bands = pixels.shape
    profile: dict[str, Any] = {"driver": "GTiff", "photometric": "RGB", "compress": "deflate", "predictor": 2}
    if bands == 4:
        profile["alpha"] = "YES"
    place = {"crs": tile.crs, "transform": from_bounds(*tile.bounds, width, height)}
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile, **place, width=width, height=height, count=bands, dtype="uint8") as file:
            file.write(np.moveaxis(pixels, -1, 0))
        return bytes(memory.read())


# The manifest.


def _written(options: TilesOptions, plan: _Plan, record: _Record, out: Path) -> TilesResult:
    kept = [record.rows[tile.id]["row"] for tile in plan if "row" in record.rows[tile.id]]
    faults = dict(getattr(plan.imagery, "faults", {}))
    if not kept:
        best = max((row["share"] for row in record.rows.values()), default=0.0)
        found = "; ".join(f"{count:,} times {what}" for what, count in faults.items())
        raise DataError(
            f"none of {len(plan):,} tiles holds enough data: the best has {100 * best:.3g} %, "
            f"{100 * (1 - options.nodata_share):.3g} % expected{found and f' ({found})'}; choose another --region, or "
            "a larger --nodata_share"
        )
    manifest = out / ("manifest.parquet" if options.parquet else "manifest.csv")
    (out / ("manifest.csv" if options.parquet else "manifest.parquet")).unlink(missing_ok=True)
    if options.parquet:
        _write_parquet(manifest, kept)
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        texts = ("datetime", "source", "license", "attribution")  # may be a host's
        writer.writerows({**row, **{name: no_formula(row[name]) for name in texts if row[name]}} for row in kept)
        write_text_atomic(manifest, text.getvalue())
    return TilesResult(
        manifest, len(kept), len(plan) - len(kept), plan.metres, plan.pixels,
        dict(Counter(row["crs"] for row in kept)), faults, plan.problems, plan.notes,
        "; ".join(dict.fromkeys(row["attribution"] for row in kept if row["attribution"])) or None,
        sum("fault" in record.rows[tile.id] for tile in plan),
    )  # fmt: skip


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in COLUMNS}
    texts = ("id", "image", "datetime", "source", "license", "attribution", "crs")
    table = pa.table(
        {name: pa.array(values, pa.string()) if name in texts else pa.array(values) for name, values in columns.items()}
    )
    with atomic_path(path) as temporary:
        parquet.write_table(table, temporary)
