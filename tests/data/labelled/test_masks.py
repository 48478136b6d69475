"""Masks to class indices, against a plain loop; what no class is, is counted, named and ignored."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from earthtone.data.labelled.items import MaskedItem, Palette
from earthtone.data.labelled.masks import PALETTES, UnknownValues, found_values, read_mask, read_masked
from earthtone.errors import DataError

Write = Callable[..., Path]
VALUES = Palette(("water", "wood"), values={10: 0, 30: 1, 40: 1}, ignored=frozenset({0}))
COLOURS = Palette(("water", "wood"), colours={(0, 0, 255): 0, (0, 255, 0): 1}, ignored=frozenset({(0, 0, 0)}))


def test_values(tmp_path: Path, picture: Write) -> None:
    mask = picture(tmp_path / "m.png", np.array([[10, 30, 40], [0, 10, 7]], np.uint8))
    classes, unknown = read_mask(mask, VALUES)
    assert classes.dtype == np.uint8 and classes.tolist() == [[0, 1, 1], [255, 0, 255]] and unknown == {7: 1}


def test_colours(tmp_path: Path, picture: Write) -> None:
    pixels = np.array([[[0, 0, 255], [0, 255, 0]], [[0, 0, 0], [1, 2, 3]]], np.uint8)
    classes, unknown = read_mask(picture(tmp_path / "m.png", pixels), COLOURS)
    assert classes.tolist() == [[0, 1], [255, 255]] and unknown == {(1, 2, 3): 1}


@given(arrays(np.int32, (5, 7), elements=st.sampled_from([0, 10, 30, 40, 41, 65535, 65536, -1, 2**31 - 1])))
def test_any_whole_numbers(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> None:
    import rasterio

    path = tmp_path_factory.getbasetemp() / "any.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, height=5, width=7, dtype="int32") as file:
        file.write(pixels[None])
    classes, unknown = read_mask(path, VALUES)
    plain = [VALUES.values.get(value, 255) for value in pixels.ravel().tolist()]
    assert classes.ravel().tolist() == plain
    assert unknown == Counter(v for v in pixels.ravel().tolist() if v not in VALUES.values and v != 0)


def test_deepglobe_colours_are_binarised(tmp_path: Path, picture: Write) -> None:
    pixels = np.array([[[2, 250, 129], [127, 3, 128], [3, 3, 3], [255, 0, 0]]], np.uint8)
    classes, unknown = read_mask(picture(tmp_path / "m.png", pixels), PALETTES["deepglobe"])
    assert classes.tolist() == [[0, 4, 255, 255]] and unknown == {(255, 0, 0): 1}


@pytest.mark.parametrize(
    ("name", "key", "label"),
    [("loveda", 4, "water"), ("potsdam", (0, 255, 255), "low vegetation"), ("vaihingen", (255, 255, 0), "car"),
     ("deepglobe", (255, 0, 255), "rangeland")],
)  # fmt: skip
def test_published_palettes(name: str, key: object, label: str) -> None:
    palette = PALETTES[name]
    index = {**palette.values, **palette.colours}[key]  # type: ignore[index]
    assert palette.names[index] == label and len(palette.shown) == len(palette.names)
    assert palette.ignored in (frozenset({0}), frozenset({(0, 0, 0)}))


def test_a_mask_of_another_size_names_both(tmp_path: Path, picture: Write) -> None:
    item = MaskedItem("a", picture(tmp_path / "a.png", size=(6, 4)), picture(tmp_path / "m.png", (0, 0, 255), (3, 4)))
    with pytest.raises(DataError, match=r"m.png has 3 x 4 pixels, its image 6 x 4; a mask of the image's own size"):
        read_masked(item, COLOURS)


def test_an_image_with_its_mask_and_one_without(tmp_path: Path, picture: Write) -> None:
    image, mask = picture(tmp_path / "a.png"), picture(tmp_path / "m.png", (0, 0, 255))
    seen, classes, unknown = read_masked(MaskedItem("a", image, mask), COLOURS)
    assert seen.pixels.shape == (4, 6, 3) and classes is not None and not classes.any() and not unknown
    assert read_masked(MaskedItem("a", image, None), COLOURS)[1] is None


def test_masks_of_the_other_kind_are_refused(tmp_path: Path, picture: Write) -> None:
    grey, colour = picture(tmp_path / "g.png", np.zeros((2, 2), np.uint8)), picture(tmp_path / "c.png")
    with pytest.raises(DataError, match="one channel; a mask in colour was expected"):
        read_mask(grey, COLOURS)
    with pytest.raises(DataError, match=r"in colour; a mask of one channel with values \[10, 30, 40\]"):
        read_mask(colour, VALUES)


def test_fractions_are_refused(tmp_path: Path, geotiff: Write) -> None:
    with pytest.raises(DataError, match="holds fractions"):
        read_mask(geotiff(tmp_path / "m.tif", np.full((1, 2, 2), 0.5, np.float32)), VALUES)
    whole = geotiff(tmp_path / "w.tif", np.full((1, 2, 2), 30, np.float32))
    assert read_mask(whole, VALUES)[0].tolist() == [[1, 1], [1, 1]]


def test_unknown_values_are_told_in_one_line() -> None:
    unknown = UnknownValues()
    assert unknown.warnings() == []
    unknown.add(Counter({7: 10, (1, 2, 3): 30}), 500)
    unknown.add(Counter({7: 10}), 500)
    assert unknown.warnings() == [
        "masks hold what no class is (5.000% of the pixels, ignored): colour (1, 2, 3) (3.000% of all pixels, in 1 "
        "masks), value 7 (2.000% of all pixels, in 2 masks)"
    ]
    unknown.add(Counter(range(20)), 500)
    assert "and 15 more" in unknown.warnings()[0]


def test_found_values(tmp_path: Path, picture: Write) -> None:
    grey = picture(tmp_path / "g.png", np.array([[3, 200]], np.uint8))
    colour = picture(tmp_path / "c.png", (1, 2, 3))
    assert found_values([grey, colour]) == {3, 200, (1, 2, 3)}
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    with pytest.raises(DataError, match=r"masks hold 400 values, at most 254 classes"):
        found_values([picture(tmp_path / "n.png", noise)])


@pytest.mark.parametrize("nodata", [7, 2])
def test_declared_no_data_is_ignored_not_a_class(
    tmp_path: Path, geotiff: Write, nodata: int, caplog: pytest.LogCaptureFixture
) -> None:
    values = np.array([[[1, 2], [nodata, 1]]], np.uint8)
    file = geotiff(tmp_path / "m.tif", values)
    with rasterio.open(file, "r+") as opened:
        opened.nodata = nodata
    palette = Palette(("a", "b"), values={1: 0, 2: 1})
    classes, unknown = read_mask(file, palette)
    hidden = values[0] == nodata
    assert (classes[hidden] == 255).all() and classes[0, 0] == 0 and not unknown
    assert found_values([file]) == set(values[~hidden[None]].tolist())
    assert ("it is the class 'b'" in caplog.text) == (nodata == 2)


def test_image_and_mask_that_were_turned_differently_are_told(tmp_path: Path, picture: Write) -> None:
    image, turn = tmp_path / "a.jpg", Image.Exif()
    turn[274] = 6
    Image.new("RGB", (30, 20)).save(image, exif=turn)
    mask = picture(tmp_path / "m.png", np.ones((30, 20), np.uint8))
    assert read_masked(MaskedItem("a", image, mask), VALUES)[0].pixels.shape == (30, 20, 3)
    wide = picture(tmp_path / "wide.png", np.ones((20, 30), np.uint8))
    with pytest.raises(DataError, match=r"30 x 20 pixels, its image 20 x 30; .*turned as its EXIF says"):
        read_masked(MaskedItem("a", image, wide), VALUES)
    Image.fromarray(np.ones((20, 30), np.uint8)).save(wide, exif=turn)  # a mask with an EXIF block of its own
    assert read_masked(MaskedItem("a", image, wide), VALUES)[1] is not None
