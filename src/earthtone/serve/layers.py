"""Maps of `earthtone map` as layers: value tiles of the web's grid, which the page colours, and their files.

A tile's pixel holds 24 bits, red the highest: value = number x scale + offset of its band; alpha 0 is no value. Values
are those of the map's nearest cell, and of its overviews where a tile shows much of it.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import rasterio
from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform, transform_bounds
from rasterio.windows import Window

from earthtone.build.tile_grid import read_crs
from earthtone.errors import DataError, one_line
from earthtone.files import regular_file
from earthtone.serve.answers import Band, Layer
from earthtone.serve.guard import refused
from earthtone.serve.items import ranged
from earthtone.serve.media import Kept
from earthtone.serve.served import Served

_SIDE = 256  # pixels of a tile
_MOST_ZOOM = 22
_CELL_PIXELS = 8
WEB = CRS.from_epsg(3857)
_WORLD = 20_037_508.342789244  # metres from the middle of Web Mercator to its edge
_LEVELS = 2**24 - 1
_MOST_BANDS = 16
_MOST_LAYERS = 200
_TILE_BYTES = 2**25
_BLOCK_PIXELS = 2**22
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_KINDS = {
    ".tif": "image/tiff", ".pmtiles": "application/vnd.pmtiles", ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json", ".png": "image/png",
}  # fmt: skip
_TITLES = {
    "score": "Score", "percentile": "Percentile", "window_spread": "Spread over the sound's windows",
    "view_spread": "Spread over views of the tile", "unlike": "Unlike the training's images",
}  # fmt: skip


@dataclass(frozen=True)
class _Raster:
    """One GeoTIFF of a map."""

    path: Path
    layer: Layer
    files: Mapping[str, Path]
    shifts: Sequence[float]
    """By how much of its unit it is shifted to be seen on both sides of the antimeridian."""


def open_layers(served: Served) -> dict[str, _Raster]:
    """Return the layers of all maps by name, and tell `served` of them. Raises DataError for damaged files."""
    found: dict[str, _Raster] = {}
    for number, (folder, facts) in enumerate(served.maps):
        files = _plain_files(folder, facts["files"])
        prefix = f"{number + 1}-" if len(served.maps) > 1 else ""
        for key, path in files.items():
            if path.suffix != ".tif":
                continue
            name = prefix + re.sub(r"[^a-z0-9-]+", "-", key.lower())[:80]
            found[name] = _opened(name, key, path, files, facts)
            if len(found) > _MOST_LAYERS:
                raise DataError(f"more than {_MOST_LAYERS} layers; give fewer maps")
    served.layers = [raster.layer for raster in found.values()]
    return found


def _plain_files(folder: Path, listed: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files that map.json lists and that are there, of kinds that may be shown; none out of its folder."""
    found = {}
    for key, name in listed.items():
        if isinstance(name, str) and _PLAIN.fullmatch(name) and Path(name).suffix in _KINDS:
            path = folder / name
            if path.is_file() and not path.is_symlink():
                found[str(key)] = path
    return found


def _opened(name: str, key: str, path: Path, files: Mapping[str, Path], facts: Mapping[str, Any]) -> _Raster:
    with _damaged(path), rasterio.open(regular_file(path)) as raster:
        classes = raster.dtypes[0] == "uint8"
        tags = raster.tags()
        sounds = [one_line(tags[f"CLASS_{at}"], 80) for at in range(255) if f"CLASS_{at}" in tags]
        bands = []
        for at in range(1, min(raster.count, _MOST_BANDS) + 1):
            low, high = _range(raster, at) or (None, None)
            called = raster.descriptions[at - 1] or f"band-{at}"
            title = _TITLES.get(called, called.replace("_", " ").capitalize())
            begin = 0.0 if classes or low is None else low
            # apart, so that a range which is no float64 has a step that is one
            step = 0.0 if low is None or high is None else high / _LEVELS - low / _LEVELS
            scale = 1.0 if classes else step or 1.0 / _LEVELS
            says = one_line(raster.tags(at).get("meaning", ""), 300)
            bands.append(
                Band(name=called, title=one_line(title, 80), min=low, max=high, scale=scale,
                     offset=begin, says=says)
            )  # fmt: skip
        crs = raster.crs or read_crs("", str(path))
        bounds = _bounds(raster, crs)
        own = {path.name: path} | {
            file.name: file
            for label, file in files.items()
            if label.removesuffix(" pmtiles") in (key, "facts", "tiles")
        }
        notes = [one_line(str(each), 400) for each in facts.get("notes", ())]
        notes = [one_line(str(facts[word]), 400) for word in ("score", "percentile") if facts.get(word)] + notes
        layer = Layer(
            name=name, title=_title(key, facts), bands=bands, bounds=bounds, minzoom=0, maxzoom=_finest(raster, crs),
            attribution=one_line("; ".join(map(str, facts.get("attribution", ()))), 500),
            synthetic=bool(facts.get("synthetic")), classes=sounds if classes else None, notes=notes, files=sorted(own),
        )  # fmt: skip
        around = 360.0 if crs.is_geographic else 2 * _WORLD if crs == WEB else None
        edges = (raster.bounds.left, raster.bounds.right)
        turns = [0.0]
        if around is not None:
            turns += [-around] if edges[1] > around / 2 else []
            turns += [around] if edges[0] < -around / 2 else []
        return _Raster(path, layer, own, turns)


def _title(key: str, facts: Mapping[str, Any]) -> str:
    names = {str(each.get("key")): one_line(str(each.get("name")), 80) for each in facts.get("sounds", ())}
    if key in names:
        return names[key]
    first, minus, second = key.partition("-minus-")
    if minus:
        return f"{names.get(first, first)} minus {names.get(second, second)}"
    return {"likeliest": "Likeliest sound", "margin": "Margin of the likeliest sound"}.get(key, one_line(key, 80))


def _range(raster: Any, band: int) -> tuple[float, float] | None:
    """Return the least and the greatest value of a band, None without any; all is looked at, a part at a time."""
    low, high = math.inf, -math.inf
    lines = max(1, _BLOCK_PIXELS // max(1, raster.width))
    for start in range(0, raster.height, lines):
        window = Window(0, start, raster.width, min(lines, raster.height - start))
        part = raster.read(band, window=window, masked=True)
        values = np.ma.masked_invalid(part).compressed()
        if len(values):
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    return (low, high) if low <= high else None


def _bounds(raster: Any, crs: CRS) -> list[float]:
    """Return west, south, east, north in degrees; east above 180 across the antimeridian."""
    if crs.is_geographic:
        found = [float(side) for side in raster.bounds]
    else:
        found = [float(side) for side in transform_bounds(crs, CRS.from_epsg(4326), *raster.bounds, densify_pts=21)]
    west, south, east, north = found
    east = east + 360 if east < west else east
    if not all(map(math.isfinite, found)):
        raise DataError(f"{raster.name}: lies nowhere on the globe; draw the map again")
    return [west, max(-90.0, south), east, min(90.0, north)]


def _finest(raster: Any, crs: CRS) -> int:
    """Return the level from which on a cell has 8 pixels of a tile at least, so that all look alike."""
    shares = np.array([0.1, 0.5, 0.9])
    x = raster.bounds.left + np.repeat(shares, 3) * (raster.bounds.right - raster.bounds.left)
    y = raster.bounds.bottom + np.tile(shares, 3) * (raster.bounds.top - raster.bounds.bottom)
    step = abs(raster.transform.a)
    here, there = (np.array(transform(crs, WEB, moved.tolist(), y.tolist())) for moved in (x, x + step))
    across = np.hypot(*(there - here))
    seen = np.isfinite(across) & (np.abs(here[1]) < _WORLD) & (across > 0) & (across < _WORLD)
    if not seen.any():
        return _MOST_ZOOM // 2
    finest = math.log2(_CELL_PIXELS * 2 * _WORLD / _SIDE / float(across[seen].min()))
    return int(min(_MOST_ZOOM, max(0, math.ceil(finest - 1e-6))))


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, OSError, ValueError) as error:
        why = one_line(" ".join(str(error).split()), 160)
        raise DataError(f"{path}: no readable GeoTIFF of a map ({why}); draw it again with earthtone map") from error


def value_tile(raster: _Raster, band: str, z: int, x: int, y: int) -> bytes:
    """Return a tile as PNG. Raises HTTPException 404 for a band or a tile that is not there, DataError."""
    layer = raster.layer
    numbers = {each.name: at for at, each in enumerate(layer.bands, 1)}
    if band not in numbers:
        raise refused(404, f"layer {layer.name} has no band {band!r:.60}; {', '.join(numbers)} expected")
    if not (0 <= z <= _MOST_ZOOM and 0 <= x < 2**z and 0 <= y < 2**z):
        raise refused(404, f"no tile {z}/{x}/{y}; levels 0 to {_MOST_ZOOM}, x and y from 0 to 2^level - 1 expected")
    told = layer.bands[numbers[band] - 1]
    values = _values(raster, numbers[band], z, x, y)
    there = ~np.ma.getmaskarray(values) & np.isfinite(values.data.astype(np.float64))
    plain = np.where(there, values.data.astype(np.float64), told.offset)
    number = np.clip(np.rint((plain - told.offset) / told.scale), 0, _LEVELS).astype(np.uint32)
    bgra = np.zeros((_SIDE, _SIDE, 4), np.uint8)
    for at, shift in enumerate((0, 8, 16)):
        bgra[..., at] = np.where(there, number >> shift & 255, 0)
    bgra[..., 3] = np.where(there, 255, 0)
    done, png = cv2.imencode(".png", bgra, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not done:
        raise DataError(f"{raster.path.name}: a tile cannot be drawn")
    return png.tobytes()


def _values(raster: _Raster, band: int, z: int, x: int, y: int) -> Any:
    """Return a tile's values (256, 256), masked where there is none."""
    side = 2 * _WORLD / 2**z
    west, north = -_WORLD + x * side, _WORLD - y * side
    target = from_bounds(west, north - side, west + side, north, _SIDE, _SIDE)
    whole: Any = None
    with _damaged(raster.path), rasterio.open(raster.path) as source:
        for shift in raster.shifts:
            moved = _shifted(source.transform, shift)
            with WarpedVRT(
                source, src_transform=moved, src_crs=source.crs, crs=WEB, transform=target, width=_SIDE,
                height=_SIDE, resampling=Resampling.nearest, tolerance=0.05, add_alpha=False,
            ) as warped:  # fmt: skip
                part = warped.read(band, masked=True)
            if whole is None:
                whole = part
            else:
                lacking = np.ma.getmaskarray(whole)
                whole[lacking] = part[lacking]
    return whole


def _shifted(where: Affine, shift: float) -> Affine:
    return Affine(where.a, where.b, where.c + shift, where.d, where.e, where.f)


def routes(served: Served) -> APIRouter:
    """Return what layers are asked for; the maps are opened now. Raises DataError."""
    router = APIRouter(prefix="/api/layers", tags=["layers"])
    layers = open_layers(served)
    kept: Kept[bytes] = Kept(_TILE_BYTES, len)
    Name = Annotated[str, InPath(max_length=200)]  # noqa: N806 - a type
    Number = Annotated[int, InPath(ge=0, le=2**_MOST_ZOOM)]  # noqa: N806

    def found(name: str) -> _Raster:
        if name not in layers:
            known = ", ".join(list(layers)[:10]) or "none; start the server with --map"
            raise refused(404, f"no layer {one_line(name, 80)!r}; there are: {known}")
        return layers[name]

    @router.get("/{name}/{z}/{x}/{y}.png", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    def tile(
        request: Request, name: Name, z: Number, x: Number, y: Number,
        band: Annotated[str | None, Query(max_length=80)] = None,
    ) -> Response:  # fmt: skip
        """Return 256 x 256 values: red, green, blue are 24 bits, x scale + offset of the band; alpha 0 is none."""
        raster = found(name)
        wanted = raster.layer.bands[0].name if band is None else band
        data = kept.get((name, wanted, z, x, y), lambda: value_tile(raster, wanted, z, x, y))
        tag = f'"{hashlib.blake2b(data, digest_size=8).hexdigest()}"'
        headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(data, media_type="image/png", headers=headers)

    @router.get("/{name}/files/{file}", response_class=Response, responses={206: {"description": "a part"}})
    def download(request: Request, name: Name, file: Annotated[str, InPath(max_length=200)]) -> Response:
        """Return a file of the map, whole or the range that is asked for: GeoTIFF, PMTiles, GeoParquet, map.json."""
        raster = found(name)
        path = raster.files.get(file)
        if path is None:
            raise refused(404, f"layer {name} has no file {one_line(file, 80)!r}; {', '.join(raster.files)} expected")
        if not path.is_file() or path.is_symlink():
            raise refused(404, f"{path.name} is not there any more; draw the map again")
        answer = ranged(request, path, _KINDS[path.suffix])
        answer.headers["Content-Disposition"] = f'attachment; filename="{path.name}"'
        return answer

    return router
