"""How much does the JPEG of a packed tile change vectors? Cosine between an image's vector with it and without it,
beside the cosine between two different images, and how often the nearest other image stays the same.

By default frozen ImageNet features of toy tiles; a run of yours on images of yours:
python benchmarks/jpeg_effect.py RUN FOLDER
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from earthtone import load_model, open_backbone, write_toyworld
from earthtone.models.two_tower import unit_rows
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import Pixels, cut_tile, decode_tile, encode_tile, read_picture, seen

IMAGES = 400


def tiles(folder: Path, config: ImageConfig) -> list[Pixels]:
    """Stored tiles of a folder's images, evenly spread, before their JPEG."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".tif"))
    chosen = files[:: max(1, len(files) // IMAGES)][:IMAGES]
    return [cut_tile(read_picture(path, config), config)[0] for path in chosen]


def main() -> None:
    if len(sys.argv) == 3:
        model = load_model(sys.argv[1])
        config = model.signal.image
        found = tiles(Path(sys.argv[2]), config)
        pair = [model.embed_tiles(each) for each in (found, [decode_tile(encode_tile(tile, config)) for tile in found])]
    else:
        backbone, config = open_backbone("package:efficientnet_lite0"), ImageConfig()
        with tempfile.TemporaryDirectory() as folder:
            write_toyworld(folder, rows=64, seconds=1.0)
            found = tiles(Path(folder), config)
        both = [np.stack([seen(tile, config) for tile in found])]
        both.append(np.stack([seen(decode_tile(encode_tile(tile, config)), config) for tile in found]))
        with torch.inference_mode():
            pair = [unit_rows(backbone.pooled(backbone.prepare(pixels)).numpy()) for pixels in both]
    plain, coded = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in pair)
    same, others = (plain * coded).sum(axis=1), plain @ plain.T
    near = [(each @ plain.T - 2 * np.eye(len(plain))).argmax(axis=1) for each in (plain, coded)]
    off = others[~np.eye(len(others), dtype=bool)]
    pixels = np.mean([np.abs(tile.astype(int) - decode_tile(encode_tile(tile, config))).mean() for tile in found])
    print(f"{len(found)} images; a tile's JPEG moves a number of its pixels by {pixels:.2f} of 255 on average")
    print(f"cosine with and without it: median {np.median(same):.5f}, least {same.min():.5f}")
    print(f"cosine of two different images: median {np.median(off):.3f}")
    print(f"nearest other image the same: {100 * np.mean(near[0] == near[1]):.1f} %")


if __name__ == "__main__":
    main()
