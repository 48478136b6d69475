"""A folder a class: what is an item, what is left out by name, and what is refused in one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled.classes import read_class_folders
from earthtone.errors import DataError

Write = Callable[..., Path]


def test_files_in_folders_of_classes(classes: Path) -> None:
    found = read_class_folders(classes)
    assert len(found.items) == 15 and found.notes == []
    first = min(found.items, key=lambda item: item.id)
    assert (first.id, first.label, first.image, first.audio) == (
        "forest/0.png", "forest", classes / "forest/0.png", None,
    )  # fmt: skip


def test_sounds(tmp_path: Path, sound: Write) -> None:
    sound(tmp_path / "dog/1.wav")
    found = read_class_folders(tmp_path)
    assert found.items[0].audio == tmp_path / "dog/1.wav" and found.items[0].image is None


def test_train_val_and_test_above_the_classes(tmp_path: Path, picture: Write) -> None:
    for split in ("train", "Validation", "test"):
        picture(tmp_path / split / "lake" / "1.jpg")
    found = read_class_folders(tmp_path)
    assert {(item.id, item.split) for item in found.items} == {
        ("train/lake/1.jpg", "train"), ("Validation/lake/1.jpg", "val"), ("test/lake/1.jpg", "test"),
    }  # fmt: skip


def test_a_folder_that_only_holds_another_is_entered(classes: Path, tmp_path: Path, picture: Write) -> None:
    (tmp_path / "UCMerced_LandUse").mkdir()
    shutil.move(classes, tmp_path / "UCMerced_LandUse" / "Images")
    (tmp_path / "UCMerced_LandUse/readme.txt").write_text("about")
    assert len(read_class_folders(tmp_path / "UCMerced_LandUse").items) == 15
    picture(tmp_path / "one" / "lake" / "1.png")  # but the one class of a set is a class
    assert read_class_folders(tmp_path / "one").items[0].label == "lake"


def test_other_files_and_empty_folders_are_named(classes: Path) -> None:
    (classes / "forest/notes.txt").write_text("x")
    (classes / "forest/.hidden.png").write_text("x")
    (classes / "__MACOSX").mkdir()
    (classes / "desert").mkdir()
    found = read_class_folders(classes)
    assert len(found.items) == 15
    assert found.notes == [
        "class folder 'desert' has no image or sound",
        "1 files are neither image nor sound and left out: 'forest/notes.txt'",
    ]


def test_a_folder_without_folders_is_refused(tmp_path: Path, picture: Write) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"no folder of a class, found 1 files of .png"):
        read_class_folders(tmp_path)


def test_folders_without_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "forest").mkdir()
    (tmp_path / "lake").mkdir()
    with pytest.raises(DataError, match="no image or sound in its folders 'forest', 'lake'"):
        read_class_folders(tmp_path)


def test_images_beside_sounds_are_refused(classes: Path, sound: Write) -> None:
    sound(classes / "forest/a.wav")
    with pytest.raises(DataError, match="15 images and 1 sounds"):
        read_class_folders(classes)
