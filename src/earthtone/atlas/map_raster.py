"""A raster's tiles and their embeddings, kept as a table beside the map drawn from it: a stopped call goes on."""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any

import numpy as np

from earthtone.atlas.embeddings import (
    LOOK_COLUMN,
    TABLE,
    EmbeddingCard,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.atlas.options import MapOptions
from earthtone.atlas.tiles import side_of_model
from earthtone.build.imagery import Rasters, open_rasters
from earthtone.build.regions import read_region
from earthtone.build.tile_grid import Tile, TileGrid
from earthtone.build.tiles import guessed_side
from earthtone.encode.store import file_state
from earthtone.encode.training_images import image_look, look_text
from earthtone.errors import ConfigError, DataError, changes
from earthtone.files import content_digest, write_text_atomic
from earthtone.models.inputs import measured_tile
from earthtone.models.storage import model_name
from earthtone.models.two_tower import Embeddings, TwoTower
from earthtone.progress import decoding_threads, ordered_map, progress_bar
from earthtone.signal.image import Pixels

VIEWS = "views.lance"
"""Beside `embeddings.lance`: embeddings of further views of the same tiles, their name in the column `view`."""
STATE = "tiles.json"
CHUNK = 512  # tiles that are written at once: what a stopped call loses at most
_CROP = 0.8
_HASHED_WHOLE = 4 * 2**30
_log = logging.getLogger(__name__)


def _cropped(tile: Pixels) -> Pixels:
    side = max(1, round(_CROP * tile.shape[0]))
    start = (tile.shape[0] - side) // 2
    return np.ascontiguousarray(tile[start : start + side, start : start + side])


#: Further views of a tile, in order: what it shows stays, how it lies does not.
FURTHER_VIEWS: Mapping[str, Callable[[Pixels], Pixels]] = {
    "mirrored": lambda tile: np.ascontiguousarray(tile[:, ::-1]),
    "a quarter turn": lambda tile: np.ascontiguousarray(np.rot90(tile)),
    "its middle": _cropped,
}


def embed_raster(options: MapOptions, model: TwoTower, fingerprint: str, out: Path) -> list[str]:
    """Write the embeddings of the tiles of `--raster` to the table in `out`, and return how its values were read.

    Tiles that are there stay.

    Raises DataError where no tile holds data, ConfigError where the region lies outside the raster, or where `out`
    holds the tiles of something else.
    """
    rasters = _opened(options, model)
    grid = _grid(options, rasters, model)
    state = _state(options, rasters, grid, fingerprint)
    said = _begun(out, state)
    told = [line for line in (rasters.said, rasters.doubt) if line]
    if said is not None and said.get("done"):
        return told
    write_text_atomic(out / STATE, json.dumps({**state, "done": False}, indent=1) + "\n")
    last = None
    if (out / TABLE).is_dir():
        there = open_embeddings(out)
        last = there.columns(["id"], np.array([len(there) - 1]))["id"][0].as_py()
    writer = _Writer(out, options, model, fingerprint)
    _embed(rasters, grid, model, options, last, writer)
    writer.flush()
    if not (out / TABLE).is_dir():
        raise DataError(
            f"{options.raster}: none of {len(grid):,} tiles of {grid.tile_m:g} m holds enough data (--nodata_share "
            f"{options.nodata_share:g}); another --region expected"
        )
    if left_out := len(grid) - len(open_embeddings(out)):
        _log.warning("%s: %d of %d tiles have too little data (--nodata_share %g) and were left out",
                     options.raster, left_out, len(grid), options.nodata_share)  # fmt: skip
    write_text_atomic(out / STATE, json.dumps({**state, "done": True, "left_out": left_out}, indent=1) + "\n")
    return told


def _opened(options: MapOptions, model: TwoTower) -> Rasters:
    """Return the raster; bands and range of values are those that the model was trained on unless others are said."""
    image = model.signal.image
    value_range = image.value_range if options.value_range is None else options.value_range
    found = open_rasters(
        str(options.raster), options.bands or image.bands, value_range, options.nodata, license=options.license,
        attribution=options.attribution,
    )  # fmt: skip
    if options.value_range is not None and found.said is None:
        raise ConfigError(f"--value_range has no effect on {options.raster}, of 8 bits; leave it out")
    return found


def _grid(options: MapOptions, rasters: Rasters, model: TwoTower) -> TileGrid:
    """Return the one grid over the region. Raises ConfigError."""
    image, gsd_m = model.signal.image, rasters.gsd_m
    tile_m = options.metres or side_of_model(model, options.model)
    if tile_m is None:
        tile_m = image.pixels * gsd_m
        _log.warning("%s", guessed_side(image.pixels, tile_m))
    stride_m = options.stride or tile_m
    own = max(2, round(tile_m / gsd_m))  # its own pixels, as a file of the tile would have, unless they are many
    pixels = own if own <= 2 * image.stored_pixels else image.stored_pixels
    if stride_m > tile_m:
        raise ConfigError(f"--stride {stride_m:g} is more than --metres {tile_m:g}: between tiles nothing is known")
    region = None if options.region is None else read_region(options.region)
    grids = rasters.grids(tile_m, stride_m, pixels, region)
    if len(grids) != 1:
        raise ConfigError(
            f"{options.raster}: its tiles need {len(grids)} grids, such as {grids[0].crs} and {grids[-1].crs}; a map "
            "has one: choose a smaller --region, or warp the raster to one projection in metres"
        )
    return grids[0]


def _state(options: MapOptions, rasters: Rasters, grid: TileGrid, fingerprint: str) -> dict[str, Any]:
    """Return what the tiles and their vectors depend on, ready for JSON."""
    return {
        "model_fingerprint": fingerprint, "files": _contents([Path(file.path) for file in rasters.files]),
        "bands": [list(file.bands) for file in rasters.files], "values": rasters.said, "nodata": options.nodata,
        "nodata_share": options.nodata_share, "views": options.views,
        "grid": [grid.crs, grid.west, grid.north, list(grid.shape), grid.tile_m, grid.stride_m, grid.pixels],
        "tiles": len(grid), "attribution": options.attribution, "license": options.license,
    }  # fmt: skip


def _contents(paths: Sequence[Path]) -> dict[str, object]:
    """Return what tells each file's content: a hash, of many large ones size, time and parts."""
    whole = sum(path.stat().st_size for path in paths) <= _HASHED_WHOLE
    return {str(path): content_digest(path).hex() if whole else list(file_state(path) or ()) for path in paths}


def _begun(out: Path, state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `out` says of these tiles, None where nothing was begun. Raises ConfigError for other ones."""
    try:
        said = json.loads((out / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{out / STATE} cannot be read; delete the folder, or choose another --out") from error
    if not isinstance(said, dict):
        raise DataError(f"{out / STATE} is damaged; delete the folder, or choose another --out")
    before = {key: said.get(key) for key in state}
    if changed := changes(before, state):
        raise ConfigError(f"{out} holds a map of other tiles ({changed[:300]}); choose another --out")
    return said


class _Writer:
    """Collects rows of a table of embeddings and of its views, and writes them in chunks, views first."""

    def __init__(self, out: Path, options: MapOptions, model: TwoTower, fingerprint: str) -> None:
        raster = Path(str(options.raster)).absolute()
        card = EmbeddingCard(
            model_name(options.model if options.model is not None else model), fingerprint, model.config.dimensions,
            model.config.unit, str(raster),
        )  # fmt: skip
        self._out, self._media = out, raster
        self._attribution, self._license = options.attribution, options.license
        self._schema = embedding_schema(card, "float32", [LOOK_COLUMN])
        self._view_schema = embedding_schema(card, "float32", ["view"])
        self._there = {name: (out / name).is_dir() for name in (TABLE, VIEWS)}
        self._tiles: list[tuple[Tile, str, Embeddings]] = []
        self._views: list[tuple[str, str, Embeddings]] = []

    def add(self, tile: Tile, look: str, views: Sequence[Embeddings]) -> None:
        """Take a tile's vectors, the first of it as it is."""
        self._tiles.append((tile, look, views[0]))
        self._views += [(tile.id, name, vector) for name, vector in zip(FURTHER_VIEWS, views[1:], strict=False)]
        if len(self._tiles) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write what there is. A view may come twice, where a call was stopped between both tables; it is the same."""
        if self._views:
            ids, names, vectors = zip(*self._views, strict=True)
            columns = {"id": ids, "modality": ["image"] * len(ids), "view": names}
            self._write(VIEWS, self._view_schema, columns, np.stack(vectors))
            self._views = []
        if self._tiles:
            tiles, looks, found = zip(*self._tiles, strict=True)
            count = len(tiles)
            columns = {
                "id": [tile.id for tile in tiles], "modality": ["image"] * count,
                "longitude": [tile.lonlat[0] for tile in tiles], "latitude": [tile.lonlat[1] for tile in tiles],
                "source": [self._media.name] * count, "attribution": [self._attribution] * count,
                "license": [self._license] * count,
                "media": [str(self._media)] * count, "crs": [tile.crs for tile in tiles], LOOK_COLUMN: looks,
                **{
                    side: [tile.bounds[number] for tile in tiles]
                    for number, side in enumerate(("west", "south", "east", "north"))
                },
            }  # fmt: skip
            self._write(TABLE, self._schema, columns, np.stack(found))
            self._tiles = []

    def _write(self, name: str, schema: Any, columns: Mapping[str, Any], vectors: Embeddings) -> None:
        write_embeddings(self._out / name, schema, columns, vectors, append=self._there[name])
        self._there[name] = True


def _embed(
    rasters: Rasters, grid: TileGrid, model: TwoTower, options: MapOptions, last: str | None, writer: "_Writer"
) -> None:
    """Embed the tiles that hold data, but those up to the one called `last`."""
    image, waiting = model.signal.image, deque[tuple[Tile, str]]()
    views, nodata_share = options.views, options.nodata_share
    names = [*FURTHER_VIEWS][: views - 1]
    todo: Iterable[Tile] = grid
    if last is not None:
        todo = islice(dropwhile(lambda tile: tile.id != last, grid), 1, None)

    def read(tile: Tile) -> tuple[Tile, str, list[Pixels]]:
        """A tile, its look and its views; no views where it holds too little data."""
        found = rasters.read_tile(tile, grid.pixels)
        if 1 - found.share > nodata_share:
            return tile, "", []
        kept, side_m = measured_tile(found.pixels, image, grid.gsd_m)
        tiles = [kept, *(FURTHER_VIEWS[name](kept) for name in names)]
        shares = [each.shape[0] / kept.shape[0] for each in tiles]
        shown = model.views(tiles, [None if side_m is None else side_m * share for share in shares])
        return tile, look_text(image_look(shown[0])), shown

    def pictures() -> Iterator[Pixels]:
        for tile, look, shown in ordered_map(read, todo, decoding_threads()):
            if not shown:
                bar.update()
                continue
            waiting.append((tile, look))
            yield from shown

    start, stop = model.image_tower.features, model.image_tower.features + model.config.dimensions
    with progress_bar(len(grid), "tiles", "tile") as bar:
        vectors: list[Embeddings] = []
        for row in model.encoded_images(pictures()):
            vectors.append(row[start:stop])
            if len(vectors) == views:
                writer.add(*waiting.popleft(), vectors)
                vectors = []
                bar.update()
