"""A region of the toy planet as one raster, and sounds from elsewhere: what a map is drawn from and judged by."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from earthtone.build.toyworld.land import BEACH, CITY, FOREST, LAND_COVER, ROAD, WATER, shore_between, survey
from earthtone.build.toyworld.noise import Stream, key_of, to_world
from earthtone.build.toyworld.pictures import PAD, render
from earthtone.build.toyworld.planet import Planet, spot
from earthtone.build.toyworld.sounds import FULL_SHARE
from earthtone.build.toyworld.write import write_wav
from earthtone.errors import ConfigError
from earthtone.files import atomic_path, write_text_atomic

# The sounds that a region can be asked for.
#: The scene in which each is recorded, and the classes that make it.
SOURCES: dict[str, tuple[str, tuple[int, ...]]] = {
    "surf": ("beach", (BEACH,)), "birds": ("forest", (FOREST,)), "traffic": ("city", (ROAD, CITY)),
}  # fmt: skip
_FAR_ROW = 120_000  # of a toy world: places that none of the usual size has
_TILE_M, _HOUR = 256.0, 8.0
#: What a region should have, as shares of its area.
_WANTED = {WATER: 0.15, BEACH: 0.03, FOREST: 0.15, ROAD: 0.01, CITY: 0.08}
_MOST = 0.35  # of one class
_LATITUDE = 5.0  # near the equator a metre of the map is one on the ground
_DRAWN, _LOOKED_AT = 6_000, 40
_BLOCK = 480  # pixels that are painted at once


@dataclass(frozen=True)
class Region:
    """A square of the map of the toy planet, EPSG:3857."""

    west: float
    """In metres of the map."""
    north: float
    step_m: float
    """Metres a pixel."""
    cover: npt.NDArray[np.uint8]
    """(pixels, pixels) class ids, row 0 is the north."""
    raster: Path

    def has(self, source: str, x: float, y: float, side_m: float) -> bool:
        """Return whether a square about a position, in metres of the map, has so much of what makes a sound that a
        listener there hears it fully (`sounds.FULL_SHARE`)."""
        left, right = (round((at - self.west) / self.step_m) for at in (x - side_m / 2, x + side_m / 2))
        top, bottom = (round((self.north - at) / self.step_m) for at in (y + side_m / 2, y - side_m / 2))
        part = self.cover[max(0, top) : bottom, max(0, left) : right]
        shares = ((part == number).mean() if part.size else 0.0 for number in SOURCES[source][1])
        return any(
            share >= FULL_SHARE[LAND_COVER[number]] for share, number in zip(shares, SOURCES[source][1], strict=True)
        )


def write_region(folder: Path, *, seed: int = 0, side_m: float = 5120.0, pixels: int = 1920) -> Region:
    """Write `region.tif` and `land_cover.tif` of a varied region near the equator, and return it.

    The same seed gives the same region; what is there already is read. It has coast, forest and a town where the planet
    has such a place.
    """
    import rasterio
    from rasterio.transform import from_origin

    if not 64 <= pixels <= 8192:
        raise ConfigError(f"pixels {pixels} is not in 64 to 8192; try 1920")
    said = {"synthetic": True, "seed": seed, "side_m": side_m, "pixels": pixels}
    marker = folder / "toyworld.json"
    step = side_m / pixels
    with suppress(OSError, ValueError, KeyError):
        there = json.loads(marker.read_text(encoding="utf-8"))
        if {name: there[name] for name in said} == said:
            with rasterio.open(folder / "land_cover.tif") as file:
                return Region(float(there["west"]), float(there["north"]), step, file.read(1), folder / "region.tif")
    x, y = _varied_place(Planet(seed), side_m)
    picture, cover = _painted(seed, x, y, side_m, pixels)
    west, north = x - side_m / 2, y + side_m / 2
    folder.mkdir(parents=True, exist_ok=True)
    for name, bands in (("region", np.moveaxis(picture, -1, 0)), ("land_cover", cover[None])):
        profile = {
            "driver": "GTiff", "width": pixels, "height": pixels, "count": len(bands), "dtype": "uint8",
            "crs": "EPSG:3857", "transform": from_origin(west, north, step, step), "tiled": True, "compress": "deflate",
            "photometric": "RGB" if len(bands) == 3 else "MINISBLACK",
        }  # fmt: skip
        with atomic_path(folder / f"{name}.tif") as temporary, rasterio.open(temporary, "w", **profile) as file:
            file.write(bands)
            file.update_tags(ATTRIBUTION="synthetic, computed by earthtone toyworld")
    write_text_atomic(marker, json.dumps({**said, "west": west, "north": north}, indent=1) + "\n")
    return Region(west, north, step, cover, folder / "region.tif")


def _painted(
    seed: int, x: float, y: float, side_m: float, pixels: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return picture (pixels, pixels, 3) and land cover of a square, in blocks, all in one light."""
    step = side_m / pixels
    all_x, all_y = _centres(x, y, side_m, pixels, PAD)
    picture, cover = np.empty((pixels, pixels, 3), np.uint8), np.empty((pixels, pixels), np.uint8)
    for top in range(0, pixels, _BLOCK):
        for left in range(0, pixels, _BLOCK):
            rows, columns = min(_BLOCK, pixels - top), min(_BLOCK, pixels - left)
            part = (slice(top, top + rows), slice(left, left + columns))
            ground = survey(seed, all_x[:, left : left + columns + 2 * PAD], all_y[top : top + rows + 2 * PAD])
            picture[part] = render(seed, ground, step, Stream(seed, "look", key_of(seed, "region")))
            cover[part] = ground.cover[PAD : PAD + rows, PAD : PAD + columns]
    return picture, cover


def write_sounds(folder: Path, *, seed: int = 0, seconds: float = 10.0, hz: int = 16_000) -> dict[str, Path]:
    """Write a recording for each of SOURCES, made in the morning elsewhere on the planet; return the files."""
    planet = Planet(seed)
    found = {}
    for name, (scene, _) in SOURCES.items():
        row = _FAR_ROW + LAND_COVER.index(scene)
        while (place := spot(planet, row, _TILE_M)).label != scene:
            row += len(LAND_COVER)
        samples = planet.soundscape(
            place.longitude, place.latitude, hour=_HOUR, seconds=seconds, hz=hz, seed=key_of(seed, "source", row)
        )
        found[name] = folder / f"{name}.wav"
        folder.mkdir(parents=True, exist_ok=True)
        write_wav(found[name], samples, hz)
    return found


def _centres(
    x: float, y: float, side_m: float, pixels: int, pad: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    offsets = (np.arange(-pad, pixels + pad, dtype=np.float64) - (pixels - 1) / 2) * (side_m / pixels)
    return (x + offsets)[None, :], (y - offsets)[:, None]


def _varied_place(planet: Planet, side_m: float) -> tuple[float, float]:
    """Return the middle, in metres of the map, of the most varied of some squares on the coast.

    Each is seen by 40 x 40 positions; what it has least of, of what it should have, decides, and that
    no class has more than its part.
    """
    stream = Stream(planet.seed, "varied region", 0)
    high = to_world(0.0, _LATITUDE)[1]
    units = stream.units(2 * _DRAWN).astype(np.float64)
    x, y = (units[:_DRAWN] - 0.5) * 3.8e7, (2 * units[_DRAWN:] - 1) * high
    x, y = shore_between(planet.seed, x, y, 60_000.0)
    best, found = (-1.0, -1.0), (0.0, 0.0)
    for shore in zip(x.tolist(), y.tolist(), strict=True):
        place = (round(shore[0] / side_m) * side_m, round(shore[1] / side_m) * side_m)
        cover = survey(planet.seed, *_centres(*place, side_m, _LOOKED_AT)).cover
        share = np.bincount(cover.ravel(), minlength=len(LAND_COVER)) / cover.size
        reached = [min(1.0, float(share[number]) / least) for number, least in _WANTED.items()]
        score = (min(reached) - max(0.0, float(share.max()) - _MOST), sum(reached))
        if score > best:
            best, found = score, place
    return found
