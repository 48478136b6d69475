"""Lists of splits beside the images, as torchgeo's copies of UC Merced, RESISC45 and EuroSAT have them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled import open_labelled
from earthtone.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, picture: Write) -> Path:
    for label in ("lake", "wood"):
        for n in range(4):
            picture(tmp_path / "eurosat" / "EuroSAT_RGB" / label / f"{label}_{n}.png")
    for split, numbers in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        names = [f"{label}_{n}.jpg" for label in ("lake", "wood") for n in numbers]
        (tmp_path / "eurosat" / f"eurosat-{split}.txt").write_text("\n".join(names) + "\n")
    return tmp_path / "eurosat"


def test_lists_divide_the_set(folder: Path) -> None:
    found = open_labelled(folder)
    splits = ["train", "train", "val", "test"]
    assert [item.split for item in found.items] == splits * 2
    assert found.warnings[0] == "divided by the lists eurosat-train.txt and so on"


def test_one_of_several_kinds_counts_and_the_others_are_named(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / f"eurosat-spatial-{split}.txt").write_text("lake_0.jpg")
    found = open_labelled(folder)
    assert "eurosat-train.txt and so on, not by 'eurosat-spatial-train.txt'" in found.warnings[0]


def test_names_without_a_file_and_files_in_no_list(folder: Path) -> None:
    (folder / "eurosat-test.txt").write_text("lake_3.jpg\nlake_9.jpg\n")
    found = open_labelled(folder)
    assert "1 names in the lists have no file: 'lake_9'" in found.warnings
    assert "1 items have no split and are used in none" in found.warnings


def test_a_name_in_two_lists_is_refused(folder: Path) -> None:
    (folder / "eurosat-test.txt").write_text("lake_0.jpg\n")
    with pytest.raises(DataError, match="'lake_0' is in the lists of"):
        open_labelled(folder)


def test_lists_of_names_that_are_not_unique_are_not_used(folder: Path, picture: Write) -> None:
    picture(folder / "EuroSAT_RGB" / "wood" / "lake_0.png")
    found = open_labelled(folder)
    assert "lists of splits are not used: several files are called 'lake_0'" in found.warnings
    assert {item.split for item in found.items} == {"train", "val", "test"}


def test_other_text_files_are_no_lists(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / f"eurosat-{split}.txt").unlink()
    (folder / "notes-train.txt").write_text("nothing")
    assert not any("lists" in line for line in open_labelled(folder).warnings)
