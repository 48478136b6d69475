"""The verb tiles: what build/tiles.py cuts, as large as a model's training images where one is said."""

from pathlib import Path
from typing import Any

import numpy as np

from earthtone.build.options import TilesOptions
from earthtone.build.tiles import TilesResult, cut_tiles
from earthtone.value_types import takes


@takes(TilesOptions)
def tiles(options: TilesOptions) -> TilesResult:
    """Cut imagery into tiles of a size in metres and pixels, and write them with a manifest that all verbs read.

    Raises DataError, ConfigError, ModelError.
    """
    if options.model is None:
        return cut_tiles(options)
    from earthtone.models.storage import open_model  # slow to import, and mostly not wanted

    opened: Any = open_model(options.model) if isinstance(options.model, (str, Path)) else options.model
    return cut_tiles(options, opened.signal.image, side_of_model(opened, options.model))


def side_of_model(opened: Any, model: Any) -> float | None:
    """Return the metres of ground along a tile of an open model's training, by the model or the table of its run.

    `model` is what it was opened from. None where neither says.
    """
    if opened.signal.image.footprint_m is not None:
        return float(opened.signal.image.footprint_m)
    if opened.config.scale_input:
        return float(opened.usual_side_m)
    table = Path(model) / "table.lance" if isinstance(model, (str, Path)) else None
    if table is None or not table.is_dir():
        return None
    from earthtone.data.packed import Table

    sides = Table(table).tile_sides_m
    known = sides[np.isfinite(sides)]
    return float(f"{np.median(known):.4g}") if len(known) else None
