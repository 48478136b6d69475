"""A finished map: its numbers, what is said of them, and all the files that show them."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import Resampling

from earthtone.atlas.geoparquet import write_tiles
from earthtone.atlas.map_files import write_cog
from earthtone.atlas.map_grid import BANDS, NO_CLASS, Cells, MapGrid, likeliest, spread, tile_bounds
from earthtone.atlas.map_page import write_page
from earthtone.atlas.map_pictures import Layer, class_colours, limits, write_pmtiles, write_png
from earthtone.atlas.map_queries import MapQuery
from earthtone.build.imagery import RasterFile, rasterio_errors
from earthtone.errors import ConfigError, EarthtoneError, needed_by, one_line, one_line_each
from earthtone.files import write_text_atomic
from earthtone.signal.raster import opaque

_MOST_PAIRS = 10  # sounds of which every two are compared
_GROUND = 900  # pixels along the longer side of the picture below a map
_MOST_PIXELS = 40_000_000  # of a raster without overviews that is read for it
_FIGURE_COLUMNS = 4
_log = logging.getLogger(__name__)
LIKELIEST, MARGIN = "likeliest", "margin"


@dataclass(frozen=True)
class SimilarityMap:
    """Scores of N tiles for Q sounds, and the files that show them."""

    grid: MapGrid
    cells: Cells
    """Row and column of each tile."""
    ids: Sequence[str]
    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    queries: Sequence[MapQuery]
    bands: Mapping[str, NDArray[np.float32]]
    """By the names of `map_grid.BANDS`: score, percentile, window_spread, view_spread (N, Q), unlike (N,)."""
    views: NDArray[np.float32] | None
    """(N, Q, V) scores of each view of a tile, the first as it is."""
    unit: bool
    among: str
    """Among which scores percentiles are counted."""
    synthetic: bool
    attribution: Sequence[str]
    notes: Sequence[str]
    facts: Mapping[str, str]
    files: Mapping[str, Path] = field(default_factory=dict)
    """What was written, by what it is."""

    @property
    def sentence(self) -> str:
        """Return what a score means."""
        how = (
            "the cosine of the sound's and the tile's vectors, -1 to 1: how well the two go together for this model"
            if self.unit
            else "minus the squared distance of the sound's and the tile's vectors: the nearer 0, the better they fit"
        )
        return f"Score: {how}. It is no probability, and says nothing of loudness."

    @property
    def chance(self) -> str:
        """Return what a percentile means, and what it is by chance."""
        own = self.among == OWN_TILES
        chance = (
            "Half of the tiles lie above 50 for every sound, also for one that is heard nowhere here: it says where, "
            "never whether."
            if own
            else "Of tiles drawn from these at random half lie above 50, and one in ten above 90."
        )
        return f"Percentile: the share of {self.among} with a lower score, equal ones counted half. {chance}"

    def image(self, band: str, query: int = 0) -> NDArray[np.float32]:
        """Return a band as it lies on the grid (height, width), NaN where no tile is."""
        values = self.bands[band]
        return self.grid.filled(values if values.ndim == 1 else values[:, query], self.cells)

    def show(self, index: Any = None, **options: Any) -> Any:
        """Return the map as a layer of the page in a notebook's frame, or its picture (`still=True`, outside IPython).

        `index` are the embeddings beneath it, by default those in its own folder; options are those of `Index.show`.
        """
        with needed_by("SimilarityMap.show"):
            from earthtone.serve.show import show_map
        return show_map(self, index, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return what the map is of, ready for JSON."""
        grid = {name: getattr(self.grid, name) for name in self.grid.__dataclass_fields__}
        return {
            "tiles": len(self.ids), "grid": grid, "synthetic": self.synthetic, "score": self.sentence,
            "percentile": self.chance, "notes": list(self.notes), "facts": dict(self.facts),
            "attribution": list(self.attribution),
            "sounds": [
                {"name": each.name, "file": str(each.file), "month": each.month, "hour": each.hour, "key": each.slug}
                for each in self.queries
            ],
            "files": {name: path.name for name, path in self.files.items()},
        }  # fmt: skip

    def to_text(self) -> str:
        """Return a line a sound with its best place, what is to be known of the map, and its page."""
        lines = []
        for number, query in enumerate(self.queries):
            scores = self.bands["score"][:, number]
            best = int(np.nanargmax(scores))
            place = f"{self.longitude[best]:.5f}, {self.latitude[best]:.5f}"
            lines.append(f"{query.title}: {np.nanmin(scores):.3f} to {scores[best]:.3f}, the highest at {place}")
        lines = [*lines, *self.notes, f"{len(self.ids):,} tiles, {len(self.files)} files; page: {self.files['page']}"]
        return one_line_each(lines)


OWN_TILES = "this map's own tiles"


def check_difference(queries: Sequence[MapQuery], difference: str) -> None:
    """Raise ConfigError where every two of too many sounds are to be compared."""
    if difference == "pairs" and len(queries) > _MOST_PAIRS:
        raise ConfigError(
            f"--difference pairs of {len(queries)} sounds; of at most {_MOST_PAIRS} expected: choose --difference first"
        )


def write_map(
    out: Path,
    found: SimilarityMap,
    *,
    show: str,
    difference: str,
    media: str | None,
    bands_shown: tuple[int, int, int] | None = None,
    nodata: float | None = None,
) -> SimilarityMap:
    """Return the map with its files, after writing them; the page comes last.

    `show` is the band that pictures show, `difference` which sounds are compared, `media` the raster below the map,
    `nodata` the value that is no data in it where it names none.
    """
    grid, cells = found.grid, found.cells
    tags = _tags(found)
    files: dict[str, Path] = {}
    bands = {"unlike": found.image("unlike")}
    faint = None if np.isnan(bands["unlike"]).all() else bands["unlike"] > 1
    sounds, others = _sounds(found, show, out, tags, files, bands, faint)
    compared = [
        *_likeliest(found, out, tags, files, bands, faint),
        *_differences(found, difference, out, tags, files, bands, faint),
    ]
    layers = [*sounds, *compared, *others]
    if faint is not None:
        label = "1: as unlike as 1 in 100 of the training's images"
        layers.append(
            Layer("unlike the training's images", bands["unlike"], label, 0.0, 2.0, "magma", key="unlike",
                  told=("unlike",))
        )  # fmt: skip
    longitude, latitude = (
        grid.filled(values.astype(np.float32), cells) for values in (found.longitude, found.latitude)
    )
    bands |= {"longitude": longitude, "latitude": latitude}
    ground = ground_picture(media, grid, bands_shown, nodata)
    sheet, across, heading = side_by_side(found.queries, [*sounds, *compared])
    title = _title(found)
    lines = [found.sentence, found.chance, *found.notes, *(f"Imagery: {line}" for line in found.attribution)]
    files["png"] = out / "map.png"
    whole = [*sheet, *others] if len(found.queries) == 1 else sheet
    write_png(files["png"], whole, grid, title, [part for line in lines for part in _wrapped(line)],
              columns=across if len(found.queries) > 1 else 2, ground=ground)  # fmt: skip
    for layer in [*sounds, *(layer for layer in compared if layer.classes)]:
        key = layer.key.partition(" ")[0]
        if write_pmtiles(out / f"{key}.pmtiles", layer, grid, _about(found, layer)):
            files[f"{key} pmtiles"] = out / f"{key}.pmtiles"
        else:
            _log.warning("%s: no web tiles of it, since the map of the web ends at 85 degrees", layer.title)
    files["tiles"] = out / "tiles.parquet"
    write_tiles(files["tiles"], _columns(found), tile_bounds(grid, cells), grid.crs)
    files |= {"facts": out / "map.json", "page": out / "index.html"}
    done = replace(found, files=files)
    write_text_atomic(files["facts"], json.dumps(done.to_dict(), indent=1, ensure_ascii=False) + "\n")
    keys = [layer.key for layer in layers]
    write_page(
        files["page"], title=title, lead=found.sentence, meaning=[found.chance], notes=found.notes, grid=grid,
        layers=layers, bands=bands, small=[None if each is None else keys.index(each.key) for each in sheet],
        across=across, small_title=heading, queries=found.queries, ground=ground,
        facts={"tiles": f"{len(found.ids):,}", "grid": _grid_text(grid), **found.facts},
        attribution=[f"Imagery: {line}" for line in found.attribution],
    )  # fmt: skip
    return done


def _tags(found: SimilarityMap) -> dict[str, str]:
    """Return what each GeoTIFF says of itself."""
    return {
        "SOFTWARE": "earthtone map", "DESCRIPTION": f"{found.sentence} {found.chance}",
        "ATTRIBUTION": "; ".join(found.attribution), **({"SYNTHETIC": "a toy world"} if found.synthetic else {}),
        **{name.upper().replace(" ", "_"): text for name, text in found.facts.items()},
    }  # fmt: skip


def _sounds(
    found: SimilarityMap, show: str, out: Path, tags: Mapping[str, str], files: dict[str, Path],
    bands: dict[str, NDArray[Any]], faint: NDArray[np.bool_] | None,
) -> tuple[list[Layer], list[Layer]]:  # fmt: skip
    """Return a layer a sound of the band that is shown, and those of the other one, after writing their GeoTIFFs."""
    shown, others = list[Layer](), list[Layer]()
    score_limits = limits([found.bands["score"]])
    for number, query in enumerate(found.queries):
        files[query.slug] = out / f"{query.slug}.tif"
        images = {name: found.image(name, number) for name in BANDS}
        write_cog(files[query.slug], np.stack([*images.values()]), found.grid, BANDS, {**tags, "SOUND": query.title})
        bands |= {f"{query.slug} {name}": image for name, image in images.items() if name != "unlike"}
        told = (*(f"{query.slug} {name}" for name in BANDS if name != "unlike"), "unlike")
        by = {
            "percentile": Layer(query.title, images["percentile"], "percentile", told=told),
            "score": Layer(query.title, images["score"], "score", *score_limits, told=told),
        }
        by = {name: replace(each, key=f"{query.slug} {name}", unlike=faint) for name, each in by.items()}
        shown.append(by.pop(show))
        others += [replace(each, title=f"{each.title}: {name}") for name, each in by.items()]
    return shown, others


def _title(found: SimilarityMap) -> str:
    what = found.queries[0].title if len(found.queries) == 1 else f"{len(found.queries)} sounds"
    return f"{'Synthetic: w' if found.synthetic else 'W'}here it would sound like {one_line(what, 80)}"


def _grid_text(grid: MapGrid) -> str:
    return (
        f"{grid.width} x {grid.height} cells of {grid.step_x:.6g} x {grid.step_y:.6g} in {grid.crs}, tiles of "
        f"{grid.tile_x:.6g} x {grid.tile_y:.6g}"
    )


def _wrapped(line: str, letters: int = 125) -> Iterator[str]:
    """Yield a line in parts of at most so many letters, broken between words."""
    part = ""
    for word in one_line(line).split(" "):
        if part and len(part) + len(word) >= letters:
            yield part
            part = "  "
        part = f"{part} {word}" if part.strip() else f"{part}{word}"
    yield part


def _about(found: SimilarityMap, layer: Layer) -> dict[str, Any]:
    """Return the metadata of web tiles."""
    legend: dict[str, object] = {"label": layer.label, "classes": list(layer.classes)}
    if not layer.classes:
        legend |= {"low": layer.low, "high": layer.high, "ramp": layer.ramp}
    return {
        "name": f"{'Synthetic: ' if found.synthetic else ''}{layer.title}", "type": "overlay", "version": "1",
        "description": f"{found.sentence} {found.chance}", "attribution": "; ".join(found.attribution),
        "legend": legend,
    }  # fmt: skip


# Several sounds.


def _likeliest(
    found: SimilarityMap, out: Path, tags: Mapping[str, str], files: dict[str, Path], bands: dict[str, NDArray[Any]],
    faint: NDArray[np.bool_] | None,
) -> list[Layer]:  # fmt: skip
    """Return layers of the sound with the highest score at each tile and of its lead, after writing their GeoTIFFs."""
    if len(found.queries) < 2:
        return []
    best, lead = likeliest(found.bands["score"])
    bands |= {LIKELIEST: found.grid.filled(best, found.cells, NO_CLASS), MARGIN: found.grid.filled(lead, found.cells)}
    names = tuple(query.title for query in found.queries)
    colours = {
        number: (int(colour[0]), int(colour[1]), int(colour[2]))
        for number, colour in enumerate(class_colours(len(names)))
    }
    classes = {f"CLASS_{number}": name for number, name in enumerate(names)}
    files |= {LIKELIEST: out / f"{LIKELIEST}.tif", MARGIN: out / f"{MARGIN}.tif"}
    write_cog(files[LIKELIEST], bands[LIKELIEST][None], found.grid,
              {LIKELIEST: "number of the sound with the highest score"}, {**tags, **classes}, colours)  # fmt: skip
    write_cog(files[MARGIN], bands[MARGIN][None], found.grid, {MARGIN: "its score minus that of the next"}, tags)
    told = (LIKELIEST, MARGIN, *(f"{query.slug} score" for query in found.queries), "unlike")
    _, high = limits([lead])
    return [
        Layer("the likeliest sound", bands[LIKELIEST], "", key=LIKELIEST, classes=names, told=told, unlike=faint),
        Layer("its lead over the next", bands[MARGIN], "difference of scores", 0.0, max(high, 1e-6), "cividis",
              key=MARGIN, told=told, unlike=faint),
    ]  # fmt: skip


def _differences(
    found: SimilarityMap, difference: str, out: Path, tags: Mapping[str, str], files: dict[str, Path],
    bands: dict[str, NDArray[Any]], faint: NDArray[np.bool_] | None,
) -> list[Layer]:  # fmt: skip
    """Return layers of one sound minus another, after writing their GeoTIFFs."""
    count = len(found.queries)
    pairs = {
        "none": [],
        "first": [(0, number) for number in range(1, count)],
        "pairs": [*combinations(range(count), 2)],
    }
    meanings = {
        "score": "difference of the scores", "percentile": "difference of the percentiles",
        "window_spread": "standard deviation of the difference over the sounds' windows, drawn independently",
        "view_spread": "standard deviation of the difference over views of the tile", "unlike": BANDS["unlike"],
    }  # fmt: skip
    layers = []
    for first, second in pairs[difference]:
        one, other = found.queries[first], found.queries[second]
        key = f"{other.slug}-minus-{one.slug}"
        values = _difference(found, first, second)
        images = {name: found.grid.filled(value, found.cells) for name, value in values.items()} | {
            "unlike": bands["unlike"]
        }
        files[key] = out / f"{key[:200]}.tif"
        title = f"{other.title} minus {one.title}"
        write_cog(files[key], np.stack([*images.values()]), found.grid, meanings, {**tags, "SOUND": title})
        bands |= {f"{key} {name}": image for name, image in images.items() if name != "unlike"}
        known = np.abs(values["score"][~np.isnan(values["score"])])
        reach = float(np.quantile(known, 0.98)) if len(known) else 0.0
        reach = reach if reach > 0 else 1.0
        told = (*(f"{key} {name}" for name in meanings if name != "unlike"), "unlike")
        layers.append(
            Layer(title, images["score"], "difference of scores", -reach, reach, "RdBu_r", key=f"{key} score",
                  told=told, unlike=faint)
        )  # fmt: skip
    return layers


def _difference(found: SimilarityMap, first: int, second: int) -> dict[str, NDArray[np.float32]]:
    """Return score, percentile and both spreads (N) of the second sound minus the first."""
    by_windows = found.bands["window_spread"]
    views = None if found.views is None else spread(found.views[:, second] - found.views[:, first])
    return {
        "score": found.bands["score"][:, second] - found.bands["score"][:, first],
        "percentile": found.bands["percentile"][:, second] - found.bands["percentile"][:, first],
        "window_spread": np.hypot(by_windows[:, first], by_windows[:, second]),
        "view_spread": np.full(len(found.ids), np.nan, np.float32) if views is None else views,
    }


def side_by_side(
    queries: Sequence[MapQuery], layers: Sequence[Layer]
) -> tuple[list[Layer | None], int, str]:  # fmt: skip
    """Return layers in the order in which they stand beside each other, how many in a line, and a heading.

    The first layers are those of the sounds. Where these have months or hours, a line is a name and a column a month or
    an hour, null where there is no such sound; what compares sounds follows.
    """
    sounds, others = list(layers[: len(queries)]), list(layers[len(queries) :])
    times = sorted({_time(query) for query in queries})
    if len(times) < 2 or len(times) * len({query.name for query in queries}) > 96:
        return [*sounds, *others], min(_FIGURE_COLUMNS, max(1, math.ceil(math.sqrt(len(layers))))), "Side by side"
    rows: list[list[Layer | None]] = []
    for name in dict.fromkeys(query.name for query in queries):
        mine = [(query, layer) for query, layer in zip(queries, sounds, strict=True) if query.name == name]
        while mine:  # two of one name and time: another line
            line: list[Layer | None] = []
            for time in times:
                at = next((n for n, (query, _) in enumerate(mine) if _time(query) == time), None)
                line.append(None if at is None else mine.pop(at)[1])
            rows.append(line)
    what = "Months" if any(query.month is not None for query in queries) else "Hours"
    filled = [layer for line in rows for layer in line]
    return [*filled, *others], len(times), f"{what} side by side"


def _time(query: MapQuery) -> tuple[float, float]:
    return (-1 if query.month is None else query.month, -1.0 if query.hour is None else query.hour)


# Tables, and what lies below a map.


def _columns(found: SimilarityMap) -> dict[str, Any]:
    """Return the columns of the table of tiles."""
    columns: dict[str, Any] = {
        "id": list(found.ids), "row": found.cells.rows, "column": found.cells.columns, "longitude": found.longitude,
        "latitude": found.latitude,
    }  # fmt: skip
    for number, query in enumerate(found.queries):
        columns |= {f"{query.slug} {name}": found.bands[name][:, number] for name in BANDS if name != "unlike"}
    columns["unlike"] = found.bands["unlike"]
    if len(found.queries) > 1:
        best, lead = likeliest(found.bands["score"])
        titles = [query.title for query in found.queries]
        columns |= {LIKELIEST: [None if at == NO_CLASS else titles[at] for at in best.tolist()], MARGIN: lead}
    columns["attribution"] = ["; ".join(found.attribution)] * len(found.ids)
    return columns


def ground_picture(
    media: str | None, grid: MapGrid, bands: tuple[int, int, int] | None = None, nodata: float | None = None
) -> NDArray[np.uint8] | None:
    """Return a picture of the raster below a grid, at most 900 pixels a side; None without one.

    uint8 (height, width, 3), or 4 where it holds no data everywhere: there it is transparent. It is for the eye:
    `bands`, or those that the file names, each from its 2nd to its 98th percentile unless they are bytes. A large
    raster without overviews is left out.
    """
    if media is None or not Path(media).is_file():
        return None
    scale = _GROUND / max(grid.width, grid.height)
    width, height = max(1, round(grid.width * scale)), max(1, round(grid.height * scale))
    try:
        raster = RasterFile(Path(media), bands, nodata=nodata)
        with rasterio_errors(media):
            file = raster.dataset()
            if not file.overviews(1) and file.width * file.height > _MOST_PIXELS:
                return None
            place = from_origin(
                grid.west, grid.north, grid.width * grid.step_x / width, grid.height * grid.step_y / height
            )
            meanings = [meaning.name for meaning in file.colorinterp]
            with WarpedVRT(
                file, crs=grid.crs, transform=place, width=width, height=height, resampling=Resampling.average,
                add_alpha="alpha" not in meanings,
            ) as warped:  # fmt: skip
                shown = raster.bands if len(raster.bands) == 3 else raster.bands * 3
                values = np.moveaxis(warped.read(list(shown)), 0, -1)
                alpha = warped.read(meanings.index("alpha") + 1 if "alpha" in meanings else file.count + 1)
    except (EarthtoneError, RasterioError, ValueError, OSError):
        return None
    there = opaque(alpha)
    there = np.ones(alpha.shape, bool) if there is None else there
    picture = values
    if values.dtype != np.uint8:
        floats = values.astype(np.float64)
        there &= np.isfinite(floats).all(axis=2)
        known = there & (floats != 0).any(axis=2)
        if not known.any():
            return None
        low, high = np.percentile(floats[known], (2, 98), axis=0)
        scaled = np.nan_to_num((floats - low) / np.maximum(high - low, 1e-9))
        picture = np.asarray(np.rint(255 * np.clip(scaled, 0, 1)), np.uint8)
    if there.all():
        return np.ascontiguousarray(picture)
    return np.dstack([picture, np.where(there, 255, 0).astype(np.uint8)])
