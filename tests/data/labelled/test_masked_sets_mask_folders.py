"""images/ and masks/: partners by name, in every arrangement of splits."""

from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled.masked_sets import read_mask_folders
from earthtone.errors import DataError

Write = Callable[..., Path]


def test_partners_have_one_name(tmp_path: Path, picture: Write) -> None:
    for name in ("images/a.jpg", "images/b.jpg", "images/c.jpg", "masks/a.png", "masks/b_mask.png", "masks/z.png"):
        picture(tmp_path / name)
    found = read_mask_folders(tmp_path)
    assert {item.id: item.mask for item in found.items} == {
        "a": tmp_path / "masks/a.png", "b": tmp_path / "masks/b_mask.png", "c": None,
    }  # fmt: skip
    assert found.notes == ["1 masks without an image: 'z'"]


@pytest.mark.parametrize("form", ["{split}/{kind}/a.png", "{kind}/{split}/a.png"])
def test_splits_above_or_below(tmp_path: Path, picture: Write, form: str) -> None:
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            picture(tmp_path / form.format(split=split, kind=kind))
    found = read_mask_folders(tmp_path)
    assert {(item.id, item.split) for item in found.items} == {("train/a", "train"), ("val/a", "val")}
    assert all(item.mask is not None and item.split in item.mask.parts for item in found.items if item.split)


def test_two_images_of_one_name_are_refused(tmp_path: Path, picture: Write) -> None:
    for name in ("images/a.jpg", "images/a.png", "masks/a.png"):
        picture(tmp_path / name)
    with pytest.raises(DataError, match=r"a.jpg and .*a.png have one name; keep one of them"):
        read_mask_folders(tmp_path)


def test_other_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match=r"has the folders 'pictures'; images/NAME.tif and masks/NAME.png"):
        read_mask_folders(tmp_path)
