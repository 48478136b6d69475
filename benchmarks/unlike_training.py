"""Which pictures does a map mark as unlike the training's? Of held-out ones of the same world, and of made-up ice.

    python benchmarks/unlike_training.py RUN TABLE

RUN is a run's folder, TABLE the packed table that it was trained on; by default those of `make demo`.
"""

import sys

import numpy as np

from earthtone import load_model
from earthtone.data.pack import open_table
from earthtone.encode.engine import stored_tiles
from earthtone.encode.training_images import image_look, training_images_of
from earthtone.signal.image import Pixels


def ice(count: int, side: int) -> list[Pixels]:
    """Bright pictures nearly without texture."""
    draw = np.random.default_rng(0)
    grey = draw.uniform(215, 240, (count, 1, 1, 1)) + draw.normal(0, 2, (count, side, side, 3))
    return list(grey.clip(0, 255).astype(np.uint8))


def main() -> None:
    run, path = sys.argv[1:] if len(sys.argv) == 3 else ("demo/run", "demo/world-1500.lance")
    model = load_model(run)
    with open_table(path, model.signal) as table:
        known = training_images_of(model, table)
        test = table.rows_of("test")
        pictures = {f"split test, {len(test)} pictures": stored_tiles(table, test)}
    pictures["made-up ice, 100 pictures"] = ice(100, model.signal.image.stored_pixels)
    print(f"{len(known)} training images; share above 1, by the embedding alone and by both")
    for name, tiles in pictures.items():
        vectors = model.embed_tiles(tiles)
        looks = np.stack([image_look(view) for view in model.views(tiles)])
        alone, both = (float((known.unlikeness(vectors, each) > 1).mean()) for each in (None, looks))
        print(f"{name:<28} {alone:7.1%} {both:7.1%}")


if __name__ == "__main__":
    main()
