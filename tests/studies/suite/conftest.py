"""Tiny sets in the layouts of published ones, and a quick suite on them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLASSES = {"forest": (40, 90, 40), "sea": (20, 50, 120), "town & <b>|*": (120, 120, 120)}
QUICK: dict[str, Any] = {"quick": True, "pixels": 32, "resamples": 50, "precision": "32"}


def write_scenes(folder: Path, count: int = 10) -> None:
    """UC Merced's layout: classes that differ a little in colour."""
    draw = np.random.default_rng(0)
    for label, colour in CLASSES.items():
        for n in range(count):
            path = folder / "Images" / label / f"{n:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.array(colour) + draw.normal(0, 30, 3) + draw.normal(0, 60, (32, 32, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def write_land_cover(folder: Path, count: int = 15) -> None:
    """DeepGlobe's colours, in a folder of development data with a manifest."""
    draw = np.random.default_rng(1)
    colours = np.array([[0, 255, 0], [0, 0, 255]], np.uint8)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for n in range(count):
        classes = np.kron(draw.integers(0, 2, (2, 2)), np.ones((16, 16), int))
        Image.fromarray(colours[classes]).save(folder / "masks" / f"{n}.png")
        pixels = colours[classes] * 0.5 + draw.normal(60, 20, (32, 32, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "images" / f"{n}.png")
    rows = "".join(f"images/{n}.png,masks/{n}.png\n" for n in range(count))
    (folder / "metadata.csv").write_text("image,mask\n" + rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """UC Merced and a shrunken DeepGlobe, an empty folder and a file."""
    folder = tmp_path / "data"
    write_scenes(folder / "UCMerced_LandUse")
    write_land_cover(folder / "deepglobe256")
    (folder / "thesis").mkdir()
    (folder / "notes.txt").write_text("not a set")
    return folder


@pytest.fixture
def quick() -> dict[str, Any]:
    """Seconds a cell: few epochs, 32 px, few resamples."""
    return QUICK
