"""Small labelled images: classes that differ in colour, a few of each, as files in folders of classes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthtone.data.labelled.items import LabelledItem

WriteClasses = Callable[..., Path]
COLOURS = {"desert": (220, 190, 120), "forest": (30, 90, 40), "lake": (40, 80, 160), "town": (150, 140, 140)}


@pytest.fixture(scope="session")
def write_classes() -> WriteClasses:
    """A function (folder, images a class, noise) that writes CLASS/n.png and returns the folder."""

    def write(folder: Path, a_class: int, noise: float = 25.0, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
        for number, name in enumerate(names):
            (folder / name).mkdir(parents=True)
            for n in range(a_class):
                draw = np.random.default_rng([number, n])
                pixels = np.array(COLOURS[name]) + draw.normal(0, noise, 3) + draw.normal(0, 10, (40, 40 + n % 3, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{n:02d}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory, write_classes: WriteClasses) -> Path:
    """Ten images of four classes: 6, 2 and 2 a class in train, val and test."""
    return write_classes(tmp_path_factory.mktemp("classes") / "scenes", 10)


@pytest.fixture(scope="session")
def class_items(class_folder: Path) -> list[LabelledItem]:
    """The forty images of `class_folder`, without splits."""
    files = sorted(class_folder.rglob("*.png"))
    return [LabelledItem(f"{file.parent.name}/{file.name}", file.parent.name, file) for file in files]
