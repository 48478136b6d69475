"""Values of masks are read as they stand in the file, in every form that masks come in."""

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from earthtone.errors import SignalError
from earthtone.signal.image import read_stored_values


def stored(source: Path | bytes, colour: bool = False) -> np.ndarray:
    return read_stored_values(source, colour).values


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def tiff(path: Path, bands: np.ndarray, **options: object) -> Path:
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options) as file:
        file.write(bands)
    return path


VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_grey_values_are_untouched() -> None:
    assert np.array_equal(stored(png(Image.fromarray(VALUES))), VALUES)
    deep = VALUES.astype(np.uint16) * 1000
    assert np.array_equal(stored(png(Image.fromarray(deep))), deep)
    assert np.array_equal(stored(png(Image.fromarray(VALUES > 5))), VALUES > 5)


def test_a_colour_table_gives_numbers_or_colours() -> None:
    image = Image.fromarray(VALUES, "P")
    image.putpalette([value for n in range(12) for value in (n, 0, 255 - n)])
    assert np.array_equal(stored(png(image)), VALUES)
    found = stored(png(image), colour=True)
    assert found.shape == (3, 4, 3) and found[2, 3].tolist() == [11, 0, 244]


def test_transparency_is_dropped() -> None:
    image = Image.new("RGBA", (4, 3), (1, 2, 3, 0))
    assert stored(png(image))[0, 0].tolist() == [1, 2, 3]
    assert stored(png(Image.new("LA", (4, 3), (7, 0))))[0, 0] == 7


def test_geotiffs(tmp_path: Path) -> None:
    assert np.array_equal(stored(tiff(tmp_path / "1.tif", VALUES[None])), VALUES)
    signed = VALUES[None].astype(np.int16) - 3
    assert np.array_equal(stored(tiff(tmp_path / "2.tif", signed)), signed[0])
    colours = np.stack([VALUES, VALUES + 1, VALUES + 2])
    assert np.array_equal(stored(tiff(tmp_path / "3.tif", colours)), np.moveaxis(colours, 0, -1))


@pytest.mark.parametrize(
    ("bands", "message"),
    [(np.zeros((12, 3, 4), np.uint8), "12 bands; a mask of one band"), (np.zeros((3, 3, 4), np.uint16), "8 bits")],
)
def test_other_tiffs_are_refused(tmp_path: Path, bands: np.ndarray, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        stored(tiff(tmp_path / "a.tif", bands))


@pytest.mark.parametrize("content", [b"", b"no picture", b"II*\0 broken"])
def test_broken_files_are_one_line(content: bytes) -> None:
    with pytest.raises(SignalError) as error:
        stored(content)
    assert "\n" not in str(error.value)
