"""Small real files, made where they are needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import soundfile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rasterio.transform import from_origin

Write = Callable[..., Path]


@pytest.fixture
def picture() -> Write:
    """A function (path, colour or pixels, (width, height)) that writes a picture by its suffix, none twice the same."""

    def write(path: Path, pixels: object = (10, 20, 30), size: tuple[int, int] = (6, 4)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", size, pixels) if isinstance(pixels, tuple) else Image.fromarray(np.asarray(pixels))
        told = PngInfo()
        told.add_text("name", str(path))
        image.save(path, pnginfo=told, comment=str(path), description=str(path))
        return path

    return write


@pytest.fixture
def sound() -> Write:
    """A function (path) that writes a tenth of a second of silence."""

    def write(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(800), 8000)
        return path

    return write


@pytest.fixture
def geotiff() -> Write:
    """A function (path, (bands, height, width) values, left, top) that writes 10 m pixels from a corner in UTM."""

    def write(path: Path, values: object, left: float = 500_000.0, top: float = 0.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        bands = np.asarray(values)
        options = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
        transform = from_origin(left, top, 10, 10)
        with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32632", transform=transform, **options) as file:
            file.write(bands)
        return path

    return write


@pytest.fixture
def classes(tmp_path: Path, picture: Write) -> Path:
    """A folder of three classes with five pictures each."""
    for label in ("forest", "lake", "town"):
        for n in range(5):
            picture(tmp_path / "set" / label / f"{n}.png")
    return tmp_path / "set"
