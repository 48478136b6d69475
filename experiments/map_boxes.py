"""Print how high a map's sounds rank in named boxes, beside another map of the same tiles, as Markdown.

    python experiments/map_boxes.py map controls --scene scene.tif \\
        --box forest=760000,-2832795,778000,-2827500 --box city=734000,-2831000,749000,-2819000

A box is west,south,east,north in the map's CRS; the tiles whose centres lie in it count. `--scene`: also the rank
correlation of each sound's percentiles with how dark the tiles are (mean of all bands, no data left out), since a model
that saw nothing but brightness would draw a map too.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import from_bounds
from scipy.stats import spearmanr

Floats = NDArray[np.float64]


def percentiles(folder: Path) -> tuple[Floats, Floats, Floats]:
    """Return the percentile band of each sound (S, H, W), and x (W,) and y (H,) of the tiles' centres."""
    told = json.loads((folder / "map.json").read_text())
    bands = []
    for sound in told["sounds"]:
        with rasterio.open(folder / told["files"][sound["key"]]) as raster:
            bands.append(raster.read(raster.descriptions.index("percentile") + 1))
            step = raster.transform
    height, width = bands[0].shape
    x = step.c + (np.arange(width) + 0.5) * step.a
    y = step.f + (np.arange(height) + 0.5) * step.e
    return np.array(bands, np.float64), x, y


def brightness(scene: Path, x: Floats, y: Floats, nodata: float) -> Floats:
    """Return the mean of all bands under each cell (H, W) of a scene in the map's CRS; NaN where there is no data."""
    half_x, half_y = abs(x[1] - x[0]) / 2, abs(y[1] - y[0]) / 2
    found = np.full((len(y), len(x)), np.nan)
    with rasterio.open(scene) as raster:
        for row, top in enumerate(y):
            for column, left in enumerate(x):
                box = (left - half_x, top - half_y, left + half_x, top + half_y)
                values = raster.read(window=from_bounds(*box, raster.transform), boundless=True, fill_value=nodata)
                if (values != nodata).any():
                    found[row, column] = values[values != nodata].mean()
    return found


def main() -> None:
    """Print a table: a row a box, a column a map."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("--box", action="append", required=True, metavar="NAME=W,S,E,N")
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--nodata", type=float, default=0.0)
    options = parser.parse_args()
    boxes = {name: tuple(map(float, box.split(","))) for name, _, box in (each.partition("=") for each in options.box)}
    read = [percentiles(folder) for folder in options.maps]
    _, x, y = read[0]
    print(f"| box | tiles | {' | '.join(folder.name for folder in options.maps)} |")
    print("|---|---|" + "---|" * len(read))
    for name, (west, south, east, north) in boxes.items():
        inside = ((y >= south) & (y <= north))[:, None] & ((x >= west) & (x <= east))[None]
        inside &= np.isfinite(read[0][0][0])
        if not inside.any():
            raise SystemExit(f"--box {name}: no tile's centre lies in it")
        cells = []
        for bands, _, _ in read:
            each = np.array([np.nanmean(band[inside]) for band in bands])
            cells.append(f"{each.mean():.0f} (sd of {len(each)} sounds {each.std(ddof=1):.0f})")
        print(f"| {name} | {int(inside.sum())} | {' | '.join(cells)} |")
    if options.scene:
        dark = -brightness(options.scene, x, y, options.nodata)
        for folder, (bands, _, _) in zip(options.maps, read, strict=True):
            there = np.isfinite(bands[0]) & np.isfinite(dark)
            found = [float(spearmanr(dark[there], band[there])[0]) for band in bands]
            print(f"{folder.name}: rank correlation with darkness {min(found):.2f} to {max(found):.2f}")
    if len(read) > 1:
        first, second = (np.array([np.mean(bands, axis=0)]) for bands, _, _ in read[:2])
        there = np.isfinite(first) & np.isfinite(second)
        print(f"rank correlation of the two mean maps: {spearmanr(first[there], second[there])[0]:.2f}")


if __name__ == "__main__":
    main()
