"""The verb map: from tiles with embeddings and sounds to files and a page that say where it would sound like them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform

from earthtone.atlas.embeddings import LOOK_COLUMN, TABLE, EmbeddingTable, open_embeddings
from earthtone.atlas.map_grid import Cells, MapGrid, grid_of, percentiles, similarity, spread
from earthtone.atlas.map_output import OWN_TILES, SimilarityMap, check_difference, write_map
from earthtone.atlas.map_queries import Heard, hear, read_queries
from earthtone.atlas.map_raster import STATE, VIEWS, embed_raster
from earthtone.atlas.options import MapOptions
from earthtone.build.tile_grid import read_crs
from earthtone.data.pack import open_table
from earthtone.encode.training_images import (
    FILE as TRAINING_FILE,
)
from earthtone.encode.training_images import (
    TrainingImages,
    looks_of_text,
    read_training_images,
    training_images_of,
    write_training_images,
)
from earthtone.errors import ConfigError, DataError, ModelError, one_line
from earthtone.files import only_writer
from earthtone.models.storage import model_fingerprint, model_name, opened_model
from earthtone.models.two_tower import Embeddings, TwoTower
from earthtone.value_types import takes

_BLOCK = 65_536
_SAID = 5  # lines of attribution


@dataclass(frozen=True)
class Tiles:
    """Tiles on one grid with their embeddings."""

    table: EmbeddingTable
    rows: NDArray[np.int64]
    """Of the table, (N)."""
    ids: list[str]
    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    grid: MapGrid
    cells: Cells
    looks: NDArray[np.float32] | None
    attribution: list[str]
    synthetic: bool
    media: str | None
    """The one file that all come from."""


@takes(MapOptions)
def map_similarity(options: MapOptions) -> SimilarityMap:
    """Return where tiles go together with sounds, after writing it as files into the folder `out`.

    Each sound has a GeoTIFF with the bands of `map_grid.BANDS`; several have more: the likeliest one, and differences.
    Raises DataError, ConfigError, ModelError; what was in `out` before stays whole.
    """
    out = Path(options.out)
    queries = read_queries(options.query)
    check_difference(queries, options.difference)
    if (out / TABLE).is_dir() and not (out / STATE).is_file():
        raise ConfigError(f"{out} holds embeddings that no map has made; choose another --out")
    with only_writer(out, "drawing a map"):
        table = None if options.tiles is None else open_embeddings(options.tiles)
        spec: Any = options.model if table is None or options.model is not None else table.card.model
        model, fingerprint = _model_of(spec, options, table)
        heard = [hear(model, query) for query in queries]
        values = [] if table is not None else embed_raster(options, model, fingerprint, out)
        folder = out if table is None else Path(str(options.tiles))
        tiles = open_tiles(folder)
        background = _background(options, tiles.table)
        training = _training_images(options, spec, model, fingerprint, out)
        bands, views = _bands(tiles, heard, background, training)
        if np.isnan(bands["score"]).all():
            raise DataError(f"{folder}: none of its {len(tiles.ids)} tiles has a vector; embed them again")
        found = SimilarityMap(
            grid=tiles.grid, cells=tiles.cells, ids=tiles.ids, longitude=tiles.longitude, latitude=tiles.latitude,
            queries=queries, bands=bands, views=views, unit=tiles.table.card.unit, synthetic=tiles.synthetic,
            attribution=tiles.attribution, notes=[*_notes(tiles, training, bands), *values],
            among=OWN_TILES if background is None else f"the images of {options.background}",
            facts={
                "model": model_name(spec), "model fingerprint": fingerprint, "embeddings": str(tiles.table.path),
                "training images": "unknown" if training is None else f"{len(training):,} of {training.data}",
            },
        )  # fmt: skip
        return write_map(
            out, found, show=options.show, difference=options.difference, media=tiles.media, bands_shown=options.bands,
            nodata=options.nodata,
        )  # fmt: skip


def open_tiles(folder: Path) -> Tiles:
    """Return the tiles of a table of embeddings, on their grid. Raises DataError."""
    table = open_embeddings(folder)
    looked = LOOK_COLUMN in table.names
    names = [
        "id", "modality", "longitude", "latitude", "west", "south", "east", "north", "crs", "source", "license",
        "attribution", "media", *([LOOK_COLUMN] if looked else []),
    ]  # fmt: skip
    columns = table.columns(names)
    bounds = {name: columns[name].to_numpy() for name in ("west", "south", "east", "north")}
    is_tile = np.array([kind == "image" for kind in columns["modality"].to_pylist()], bool)
    is_tile &= np.all([np.isfinite(values.astype(np.float64)) for values in bounds.values()], axis=0)
    rows = np.flatnonzero(is_tile)
    if not len(rows):
        raise DataError(
            f"{folder}: none of its {len(table)} rows is a tile with bounds, so there is no grid to map; make it with: "
            "earthtone tiles"
        )
    columns = columns.take(rows)
    crs = columns["crs"].to_pylist()
    named = next((text for text in crs if text), None)
    geographic = named is not None and bool(read_crs(named, str(folder)).is_geographic)
    west, south, east, north = (bounds[name][rows].astype(np.float64) for name in ("west", "south", "east", "north"))
    grid, cells = grid_of(west, south, east, north, crs, geographic, str(folder))
    media = set(columns["media"].to_pylist())
    lines = _attribution(columns)
    return Tiles(
        table, rows, columns["id"].to_pylist(), *_places(grid, cells), grid, cells,
        looks_of_text(columns[LOOK_COLUMN].to_pylist()) if looked else None, lines,
        any(map(says_synthetic, lines)) or any(in_toy_world(Path(path)) for path in sorted(map(str, media))[:3]),
        media.pop() if len(media) == 1 else None,
    )  # fmt: skip


def _places(grid: MapGrid, cells: Cells) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return longitude and latitude (N) of the tiles' centres."""
    x = grid.west + (cells.columns + 0.5) * grid.step_x
    y = grid.north - (cells.rows + 0.5) * grid.step_y
    longitude, latitude = transform(read_crs(grid.crs, "grid"), "EPSG:4326", x, y)
    return (np.asarray(longitude) + 180.0) % 360.0 - 180.0, np.asarray(latitude)


def _attribution(columns: Any) -> list[str]:
    """Return what is to be said of where the imagery comes from, each line once."""
    names = ("source", "attribution", "license")
    every = zip(*(columns[name].to_pylist() for name in names), strict=True)
    found = dict.fromkeys(", ".join(dict.fromkeys(part for part in row if part)) for row in every)
    lines = [one_line(line, 300) for line in found if line]
    more = [f"and {len(lines) - _SAID} more, in the column attribution of tiles.parquet"] * (len(lines) > _SAID)
    return [*lines[:_SAID], *more]


def says_synthetic(line: str) -> bool:
    return "toyworld" in line or "synthetic" in line.lower()


def in_toy_world(path: Path) -> bool:
    """Return whether a file lies in a folder that `earthtone toyworld` wrote."""
    return any((folder / "toyworld.json").is_file() for folder in list(path.parents)[:2])


def _model_of(spec: Any, options: MapOptions, table: EmbeddingTable | None) -> tuple[TwoTower, str]:
    """Return the model and its fingerprint. Raises ModelError unless the tiles were embedded by it."""
    try:
        model = opened_model(spec, device=options.device)
    except ModelError as error:
        if options.model is not None or table is None:
            raise
        raise ModelError(f"{table.path} was made by {spec}, which cannot be opened ({error}); give --model") from error
    fingerprint = model_fingerprint(model)
    if table is not None:
        _refuse_other_model(table, fingerprint, model_name(spec))
    return model, fingerprint


def _refuse_other_model(table: EmbeddingTable, fingerprint: str, name: str) -> None:
    if table.card.model_fingerprint != fingerprint:
        raise ModelError(
            f"{table.path} was embedded by another model ({table.card.model}, fingerprint "
            f"{table.card.model_fingerprint}) than {name} (fingerprint {fingerprint}): their vectors cannot be "
            "compared; embed again, or give that model"
        )


def _background(options: MapOptions, table: EmbeddingTable) -> EmbeddingTable | None:
    """Return the table among whose images percentiles are counted. Raises ModelError for one of another model."""
    if options.background is None:
        return None
    found = open_embeddings(options.background)
    if found.card.model_fingerprint != table.card.model_fingerprint:
        _refuse_other_model(found, table.card.model_fingerprint, f"{table.path}")
    return found


def _training_images(
    options: MapOptions, spec: Any, model: TwoTower, fingerprint: str, out: Path
) -> TrainingImages | None:
    """Return what the model's training images are like: of `--training`, else as kept beside the model or in `out`."""
    kept = out / TRAINING_FILE
    if options.training is not None:
        with open_table(options.training, model.signal) as packed:
            found = read_training_images(kept, fingerprint)
            if found is None or found.data != packed.name:
                found = training_images_of(model, packed)
                write_training_images(kept, found)
        return found
    beside = [] if isinstance(spec, TwoTower) else [_beside(Path(str(spec)))]
    for path in (*beside, kept):
        if (found := read_training_images(path, fingerprint)) is not None:
            return found
    return None


def _beside(model: Path) -> Path:
    return (model if model.is_dir() else model.parent) / TRAINING_FILE


# Numbers.


def _bands(
    tiles: Tiles, heard: Sequence[Heard], background: EmbeddingTable | None, training: TrainingImages | None
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32] | None]:
    """Return the bands of all tiles, and their scores by view (N, Q, V) where there are views.

    The vectors are read in blocks.
    """
    unit = tiles.table.card.unit
    queries = np.stack([each.vector for each in heard])
    count = (len(tiles.rows), len(heard))
    score, by_windows = np.empty(count, np.float32), np.empty(count, np.float32)
    unlike = np.full(count[0], np.nan, np.float32)
    for start, vectors in _blocks(tiles.table, tiles.rows):
        part = slice(start, start + len(vectors))
        score[part] = similarity(vectors, queries, unit=unit)
        for number, each in enumerate(heard):
            by_windows[part, number] = spread(similarity(vectors, each.windows, unit=unit))
        if training is not None:
            looks = None if tiles.looks is None else tiles.looks[part]
            unlike[part] = training.unlikeness(vectors, looks)
    if background is None:
        among = score
    else:
        images = np.array([kind == "image" for kind in background.columns(["modality"])["modality"].to_pylist()], bool)
        rows = np.flatnonzero(images)
        if not len(rows):
            raise DataError(f"{background.path}: no images, among which percentiles could be counted")
        among = np.concatenate([similarity(part, queries, unit=unit) for _, part in _blocks(background, rows)])
    views = _view_scores(tiles, score, queries)
    bands = {
        "score": score,
        "percentile": np.stack([percentiles(score[:, n], among[:, n]) for n in range(len(heard))], axis=1),
        "window_spread": by_windows,
        "view_spread": np.full(count, np.nan, np.float32)
        if views is None
        else np.stack([spread(views[:, number]) for number in range(len(heard))], axis=1),
        "unlike": unlike,
    }
    return bands, views


def _blocks(table: EmbeddingTable, rows: NDArray[np.int64]) -> Iterator[tuple[int, Embeddings]]:
    """Yield where each block begins, and its vectors."""
    whole = len(rows) == len(table)
    parts = (
        table.blocks(_BLOCK) if whole else (table.vectors(rows[at : at + _BLOCK]) for at in range(0, len(rows), _BLOCK))
    )
    start = 0
    for vectors in parts:
        yield start, vectors
        start += len(vectors)


def _view_scores(
    tiles: Tiles, score: NDArray[np.float32], queries: Embeddings
) -> NDArray[np.float32] | None:  # fmt: skip
    """Return scores (N, Q, V) of the tile as it is and of its further views, None where there are none."""
    path = tiles.table.path.with_name(VIEWS)
    if not path.is_dir():
        return None
    table = open_embeddings(path)
    if table.card.model_fingerprint != tiles.table.card.model_fingerprint:
        raise ModelError(f"{path}: views that another model embedded; delete the folder, or embed both again")
    place = {name: number for number, name in enumerate(tiles.ids)}
    columns = table.columns(["id", "view"])
    at = np.array([place.get(name, -1) for name in columns["id"].to_pylist()], np.int64)
    names = columns["view"].to_pylist()
    layers = {name: number for number, name in enumerate(dict.fromkeys(names), 1)}
    which = np.array([layers[name] for name in names], np.int64)
    found = np.full((*score.shape, len(layers) + 1), np.nan, np.float32)
    found[:, :, 0] = score
    for start, vectors in _blocks(table, np.arange(len(table))):
        rows, views = at[start : start + len(vectors)], which[start : start + len(vectors)]
        known = rows >= 0
        found[rows[known], :, views[known]] = similarity(vectors, queries, unit=table.card.unit)[known]
    return found


def _notes(tiles: Tiles, training: TrainingImages | None, found: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Return what a reader must know before believing the map."""
    notes = []
    if tiles.synthetic:
        notes.append("SYNTHETIC: this is the toy world, computed by earthtone toyworld. No place in it exists.")
    if training is None:
        notes.append(
            "Nothing is kept of what the model's training images are like, so tiles unlike all of them are not marked; "
            "for that type: --training TABLE, the packed table of its training."
        )
    else:
        share = float(np.mean(found["unlike"][~np.isnan(found["unlike"])] > 1)) if len(tiles.ids) else 0.0
        if share > 0:
            notes.append(
                f"{share:.0%} of the tiles are more unlike the training's images than 99 in 100 of these are from each "
                "other: what the model says there is a guess. They are shown faintly."
            )
        if tiles.looks is None:
            notes.append(
                "Of these tiles the embeddings alone are known, not what they look like: some that are unlike the "
                "training's images pass for known ones."
            )
        elif lacking := int(np.isnan(tiles.looks).all(axis=1).sum()):
            notes.append(
                f"Of {lacking:,} of the {len(tiles.ids):,} tiles the embeddings alone are known, not what they look "
                "like: some of these that are unlike the training's images pass for known ones."
            )
    if np.isnan(found["view_spread"]).all():
        notes.append("Each tile was embedded in one view, so the spread over views is unknown (no data in its band).")
    if np.isnan(found["window_spread"]).all(axis=0).any():
        notes.append("A sound of one window has no spread over windows (no data in its band).")
    return notes
