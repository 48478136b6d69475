"""What a path is opened as, and the warnings and refusals of the whole set."""

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthtone.data.labelled import open_labelled
from earthtone.data.labelled.items import LABELLED
from earthtone.errors import ConfigError, DataError, SignalError
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import read_picture

Write = Callable[..., Path]
DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def test_a_folder_of_classes_is_divided(classes: Path) -> None:
    found = open_labelled(classes)
    assert found.name == "set" and found.classes == ("forest", "lake", "town") and found.warnings == ()
    assert [item.id for item in found.items] == [f"{label}/{n}.png" for label in found.classes for n in range(5)]
    assert Counter((item.label, item.split) for item in found.items) == {
        (label, split): count for label in found.classes for split, count in (("train", 3), ("val", 1), ("test", 1))
    }
    assert open_labelled(classes) == found


def test_the_division_does_not_depend_on_where_the_folder_lies(classes: Path, tmp_path: Path) -> None:
    before = {item.id: item.split for item in open_labelled(classes).items}
    moved = classes.rename(tmp_path / "elsewhere")
    assert {item.id: item.split for item in open_labelled(moved).items} == before


@pytest.mark.parametrize("folder", ["UCMerced_LandUse", "NWPU-RESISC45", "AID", "EuroSAT", "RSSCN7"])
def test_named_sets_are_recognised_and_compared_with_what_was_published(
    classes: Path, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = open_labelled(classes.rename(classes.parent / folder))
    published = LABELLED[found.name]
    line = f"{published.title} was published with {published.classes} classes and {published.items:,} images"
    assert found.warnings == (f"{line}, found 3 and 15",)
    with caplog.at_level(logging.WARNING):
        assert open_labelled(classes.parent / folder, dataset=found.name).warnings == found.warnings
    assert line in caplog.text


def test_a_set_as_it_was_published_brings_no_warning(tmp_path: Path) -> None:
    """Nothing is decoded: empty files will do."""
    for label in range(7):
        (tmp_path / "RSSCN7" / f"class{label}").mkdir(parents=True)
        for n in range(400):
            (tmp_path / "RSSCN7" / f"class{label}" / f"{n}.jpg").touch()
    found = open_labelled(tmp_path / "RSSCN7")
    assert found.warnings == () and Counter(item.split for item in found.items) == {
        "train": 1680, "val": 560, "test": 560,
    }  # fmt: skip


def test_copies_of_an_image_are_in_one_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("sea", "wood"):
        (tmp_path / "scenes" / label).mkdir(parents=True)
        for n in range(30):
            pixels = rng.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "scenes" / label / f"{n}.png")
            if n % 3 == 0:
                Image.fromarray(pixels).save(tmp_path / "scenes" / label / f"again {n}.png")
    found = open_labelled(tmp_path / "scenes")
    splits: dict[bytes, set[str | None]] = {}
    for item in found.items:
        assert item.image is not None
        splits.setdefault(item.image.read_bytes(), set()).add(item.split)
    assert len(splits) == 60 and all(len(inside) == 1 for inside in splits.values())
    assert found.warnings == ("40 items have the same image or sound as others; they are in one split each",)
    assert {item.split for item in found.items} == {"train", "val", "test"}


def test_a_manifest_in_the_folder_comes_first(classes: Path) -> None:
    (classes / "metadata.csv").write_text("file,label,split\nforest/0.png,wood,train\nlake/0.png,wood,test\n")
    assert open_labelled(classes).classes == ("wood",)
    assert open_labelled(classes / "metadata.csv").items == open_labelled(classes).items


def test_a_table_without_labels_beside_class_folders_is_passed_over(classes: Path) -> None:
    (classes / "metadata.csv").write_text("file,date\nforest/0.png,2020\n")
    assert len(open_labelled(classes).items) == 15
    with pytest.raises(DataError, match="no column 'species' for the label"):
        open_labelled(classes, label="species")


def test_folds_stand_for_splits(tmp_path: Path, sound: Write) -> None:
    rows = "".join(f"{sound(tmp_path / f'{n}.wav').name},dog,{n}\n" for n in (1, 2))
    (tmp_path / "manifest.csv").write_text("file,label,fold\n" + rows)
    assert [(item.fold, item.split) for item in open_labelled(tmp_path).items] == [(1, None), (2, None)]


def test_advance_and_esc50_are_recognised_by_their_layout(tmp_path: Path, picture: Write, sound: Write) -> None:
    for n in range(6):
        picture(tmp_path / "a/vision/forest" / f"{n:05}_1.jpg")
        sound(tmp_path / "a/sound/forest" / f"{n:05}_1.wav")
    found = open_labelled(tmp_path / "a")
    assert found.name == "advance" and {item.split for item in found.items} == {"train", "val", "test"}
    assert found.warnings == ("ADVANCE was published with 13 classes and 5,075 pairs, found 1 and 6",)


def test_the_folder_that_an_archive_brings_is_entered(tmp_path: Path, sound: Write) -> None:
    inside = tmp_path / "sounds" / "ESC-50-master"
    for fold in (1, 2):
        sound(inside / "audio" / f"{fold}-7-A-0.wav")
    (inside / "meta").mkdir()
    (inside / "meta/esc50.csv").write_text("filename,category\n1-7-A-0.wav,dog\n2-7-A-0.wav,dog\n")
    found = open_labelled(tmp_path / "sounds")
    assert found.name == "esc50" and [item.fold for item in found.items] == [1, 2]


def test_a_class_of_one_image_is_named(classes: Path, picture: Write) -> None:
    picture(classes / "desert/only.png")
    with pytest.raises(DataError, match="class 'desert' of one item alone cannot be in train, val and test"):
        open_labelled(classes)


def test_classes_of_two_images_miss_val(classes: Path, picture: Write) -> None:
    picture(classes / "desert/1.png")
    picture(classes / "desert/2.png")
    assert open_labelled(classes).warnings == ("classes of two items are in train and test, not in val: 'desert'",)


def test_classes_that_train_or_test_lack_are_named(tmp_path: Path, picture: Write) -> None:
    for place in ("train/lake", "train/wood", "val/lake", "test/lake", "test/town"):
        picture(tmp_path / place / "1.png")
    assert open_labelled(tmp_path).warnings == (
        "classes in test that train lacks, which no model can learn: 'town'",
        "classes in train that test lacks, which no figure covers: 'wood'",
    )


def test_classes_that_differ_by_case_are_refused(tmp_path: Path, picture: Write) -> None:
    rows = "".join(f"{picture(tmp_path / f'{n}.png').name},{'Forest' if n else 'forest'}\n" for n in range(6))
    (tmp_path / "manifest.csv").write_text("file,label\n" + rows)
    with pytest.raises(DataError, match="classes 'Forest', 'forest' differ by case or spaces alone"):
        open_labelled(tmp_path)


def test_twelve_bands_without_a_choice_are_one_line(tmp_path: Path, geotiff: Write) -> None:
    for n in range(3):
        geotiff(tmp_path / "lake" / f"{n}.tif", np.zeros((12, 4, 4), np.uint16))
    item = open_labelled(tmp_path).items[0]
    assert item.image is not None
    with pytest.raises(SignalError, match=r"0.tif: 12 bands; choose three, such as signal.image.bands: \[4, 3, 2\]"):
        read_picture(item.image)
    assert read_picture(item.image, ImageConfig(bands=(4, 3, 2))).pixels.shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset": "eurosta"}, ConfigError, "'eurosta' is unknown; did you mean eurosat"),
        ({"label": "x", "dataset": "torchgeo:RESISC45"}, ConfigError, "name columns of a manifest"),
        ({"dataset": "advance"}, DataError, "no vision/ and sound/; ADVANCE as"),
        ({"dataset": "esc50"}, DataError, "no meta/esc50.csv"),
        ({"dataset": "urbansound8k"}, DataError, "no metadata/UrbanSound8K.csv"),
    ],
)
def test_wrong_options(classes: Path, options: dict[str, str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_labelled(classes, **options)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist; a folder of classes or a manifest"):
        open_labelled(tmp_path / "none")
    with pytest.raises(DataError, match="AID as CLASS/"):
        open_labelled(tmp_path, dataset="aid")


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data beside the checkout")
@pytest.mark.parametrize(
    ("name", "label", "classes", "items"),
    [("ucmerced", None, 21, 2100), ("esc50", None, 50, 2000), ("eurosat", None, 10, 3000),
     ("concept_pairs", "scene", 21, 2100)],
)  # fmt: skip
def test_real_sets(name: str, label: str | None, classes: int, items: int) -> None:
    found = open_labelled(DATA / name, label=label)
    assert (len(found.classes), len(found.items)) == (classes, items)
    assert all(item.split or item.fold for item in found.items)
