"""Sets with masks by name and layout, their divisions, and the comparison with what was published."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earthtone.data.labelled import open_masked
from earthtone.data.labelled.masked_sets import POTSDAM_TRAIN, VAIHINGEN_TRAIN
from earthtone.data.labelled.masks import PALETTES, UnknownValues, read_masked
from earthtone.errors import ConfigError, DataError

Write = Callable[..., Path]
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def pairs(folder: Path, picture: Write, count: int = 10) -> Path:
    for n in range(count):
        picture(folder / "images" / f"{n}.png")
        picture(folder / "masks" / f"{n}.png", np.array([[10, 30]], np.uint8))
    return folder


def test_two_folders_without_a_table_of_classes(tmp_path: Path, picture: Write) -> None:
    found = open_masked(pairs(tmp_path, picture))
    assert found.palette.names == ("10", "30") and found.palette.values == {10: 0, 30: 1}
    assert Counter(item.split for item in found.items) == {"train": 6, "val": 2, "test": 2}
    assert found.warnings == ("no classes.csv names the classes: the 2 values found in the masks are taken",)
    assert open_masked(tmp_path) == found


def test_a_table_of_classes(tmp_path: Path, picture: Write) -> None:
    (pairs(tmp_path, picture) / "classes.csv").write_text("value,name\n10,water\n30,wood\n")
    found = open_masked(tmp_path)
    assert found.palette.names == ("water", "wood") and found.warnings == ()


def test_a_manifest_comes_first(tmp_path: Path, picture: Write) -> None:
    (pairs(tmp_path, picture) / "metadata.csv").write_text("image,mask,split\nimages/1.png,masks/2.png,test\n")
    with pytest.raises(DataError, match="none in train"):
        open_masked(tmp_path)
    (tmp_path / "metadata.csv").write_text("image,mask\nimages/1.png,masks/2.png\n")
    (item,) = open_masked(tmp_path).items
    assert (item.mask, item.split) == (tmp_path / "masks/2.png", "test")  # one scene can only be looked at


def test_geotiff_pairs(tmp_path: Path, geotiff: Write) -> None:
    for n in range(3):
        geotiff(tmp_path / "images" / f"{n}.tif", np.ones((4, 5, 6), np.uint8), left=500_000.0 + 60 * n)
        geotiff(tmp_path / "masks" / f"{n}.tif", np.full((1, 5, 6), 10 * n, np.uint8))
    found = open_masked(tmp_path)
    assert found.palette.names == ("0", "10", "20") and {item.split for item in found.items} == {"train", "val", "test"}
    seen, classes, _ = read_masked(found.items[2], found.palette)
    assert seen.pixels.shape == (5, 6, 3) and classes is not None and (classes == 2).all()


def test_tiles_on_both_sides_of_a_split_that_overlap_are_told(tmp_path: Path, geotiff: Write) -> None:
    for n in range(3):
        geotiff(tmp_path / "images" / f"{n}.tif", np.zeros((3, 6, 6), np.uint8), left=500_000.0 + 30 * n)
        geotiff(tmp_path / "masks" / f"{n}.tif", np.full((1, 6, 6), n, np.uint8))
    (warning,) = (line for line in open_masked(tmp_path).warnings if "overlap" in line)
    assert warning.startswith("images of different splits overlap on the ground, which flatters every figure: ")
    assert "2 pairs" in warning


def deepglobe(folder: Path, picture: Write, count: int = 10) -> Path:
    for n in range(count):
        picture(folder / "train" / f"{n}_sat.jpg")
        picture(folder / "train" / f"{n}_mask.png", (0, 255, 255))
    picture(folder / "valid" / "900_sat.jpg")
    return folder


def test_deepglobe(tmp_path: Path, picture: Write) -> None:
    found = open_masked(deepglobe(tmp_path / "DeepGlobe", picture))
    assert found.name == "deepglobe" and found.palette is PALETTES["deepglobe"]
    assert Counter(item.split for item in found.items) == {"train": 6, "val": 2, "test": 2, None: 1}
    assert {item.id for item in found.items if item.mask is None} == {"900"}
    assert found.warnings == (
        "DeepGlobe land cover was published with 6 classes and 803 masks, found 6 and 10",
        "1 images have no mask and are in no split",
    )


def test_deepglobe_with_the_releases_list(tmp_path: Path, picture: Write) -> None:
    (deepglobe(tmp_path, picture) / "valid_ids.txt").write_text("3\n7\n77\n")
    found = open_masked(tmp_path, dataset="deepglobe")
    assert {item.id for item in found.items if item.split == "test"} == {"3", "7"}
    assert "1 ids in valid_ids.txt without an image: '77'" in found.warnings
    picture(tmp_path / "copy" / "3_sat.jpg")
    with pytest.raises(DataError, match=r"copy/3_sat.jpg and .*train/3_sat.jpg have one name"):
        open_masked(tmp_path, dataset="deepglobe")


def test_loveda(tmp_path: Path, picture: Write) -> None:
    for split, names in (("Train", range(10)), ("Val", range(10, 13)), ("Test", range(13, 15))):
        for n in names:
            picture(tmp_path / "LoveDA" / split / "Urban" / "images_png" / f"{n}.png")
            if split != "Test":
                mask = np.full((4, 6), n % 8, np.uint8)
                picture(tmp_path / "LoveDA" / split / "Urban" / "masks_png" / f"{n}.png", mask)
    found = open_masked(tmp_path / "LoveDA")
    assert {item.id: item.split for item in found.items if not item.id.startswith("Train")} == {
        "Val/Urban/10": "test", "Val/Urban/11": "test", "Val/Urban/12": "test",
        "Test/Urban/13": None, "Test/Urban/14": None,
    }  # fmt: skip
    assert Counter(item.split for item in found.items) == {"train": 8, "val": 2, "test": 3, None: 2}
    item = next(item for item in found.items if item.id == "Val/Urban/12")
    classes = read_masked(item, found.palette)[1]
    assert classes is not None and found.palette.names[classes[0, 0]] == "water"
    assert any("its val split is the test" in line for line in found.warnings)


def test_potsdam(tmp_path: Path, picture: Write) -> None:
    keys = [f"{row}_{column}" for row, column in ((2, 10), (2, 11), (6, 7), (7, 12), (3, 12), (2, 13), (7, 13))]
    for key in keys:
        picture(tmp_path / "2_Ortho_RGB" / f"top_potsdam_{key}_RGB.tif")
        picture(tmp_path / "4_Ortho_RGBIR" / f"top_potsdam_{key}_RGBIR.tif")
        picture(tmp_path / "5_Labels_all" / f"top_potsdam_{key}_label.tif", (255, 255, 0))
        picture(tmp_path / "5_Labels_all_noBoundary" / f"top_potsdam_{key}_label_noBoundary.tif", (0, 0, 0))
    found = open_masked(tmp_path, dataset="potsdam")
    assert {item.id for item in found.items if item.split == "test"} == {"2_13", "7_13"}
    assert len(found.items) == 7 and all("2_Ortho_RGB" in item.image.parts for item in found.items)
    classes = read_masked(found.items[0], found.palette)[1]
    assert classes is not None and found.palette.names[classes[0, 0]] == "car"
    assert len(POTSDAM_TRAIN) == 24  # and 14 for the test


def test_vaihingen(tmp_path: Path, picture: Write) -> None:
    for key in (1, 3, 5, 2, 4, 38):
        picture(tmp_path / "top" / f"top_mosaic_09cm_area{key}.tif")
        picture(tmp_path / "truth" / f"top_mosaic_09cm_area{key}_noBoundary.tif", (0, 255, 0))
    found = open_masked(tmp_path, dataset="vaihingen")
    assert {item.id for item in found.items if item.split == "test"} == {"2", "4", "38"}
    classes = read_masked(found.items[0], found.palette)[1]
    assert classes is not None and found.palette.names[classes[0, 0]] == "tree"
    assert len(VAIHINGEN_TRAIN) == 16  # and 17 for the test


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        ("deepglob", ConfigError, "'deepglob' is unknown; did you mean deepglobe"),
        ("deepglobe", DataError, "no ID_sat.jpg; DeepGlobe as"),
        ("loveda", DataError, "no Train/Urban/images_png; LoveDA as"),
        ("potsdam", DataError, "no top_potsdam_R_C_RGB.tif; ISPRS Potsdam as"),
        ("vaihingen", DataError, "no top/top_mosaic_09cm_areaN.tif; ISPRS Vaihingen as"),
        (None, DataError, "has the folders none; images/NAME.tif and masks/"),
    ],
)
def test_missing_layouts(tmp_path: Path, dataset: str | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_masked(tmp_path, dataset=dataset)


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "dataset", "items", "classes"),
    [("deepglobe256", "deepglobe", 300, 6), ("sentinel2_landcover", None, 12, 5)],
)
def test_real_sets(name: str, dataset: str | None, items: int, classes: int) -> None:
    found = open_masked(DATA / name, dataset=dataset)
    assert (len(found.items), len(found.palette.names)) == (items, classes)
    unknown = UnknownValues()
    for item in found.items[::25]:
        _, mask, strange = read_masked(item, found.palette)
        assert mask is not None
        unknown.add(strange, mask.size)
    assert unknown.warnings() == []
