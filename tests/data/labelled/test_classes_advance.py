"""ADVANCE: pairs by name and never by position, recordings as groups, files without a partner by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled.classes import looks_like_advance, read_advance
from earthtone.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, picture: Write, sound: Write) -> Path:
    for name in ("forest/00123_1", "forest/00123_2", "sparse shrub land/00456"):
        picture(tmp_path / "vision" / f"{name}.jpg")
        sound(tmp_path / "sound" / f"{name}.wav")
    return tmp_path


def test_pairs_have_one_name_and_the_recording_as_group(folder: Path) -> None:
    assert looks_like_advance(folder)
    found = read_advance(folder)
    assert [(item.id, item.label, item.group) for item in found.items] == [
        ("forest/00123_1", "forest", "00123"),
        ("forest/00123_2", "forest", "00123"),
        ("sparse shrub land/00456", "sparse shrub land", "00456"),
    ]
    assert found.items[0].image == folder / "vision/forest/00123_1.jpg"
    assert found.items[0].audio == folder / "sound/forest/00123_1.wav"


def test_files_without_a_partner_do_not_shift_the_others(folder: Path, picture: Write, sound: Write) -> None:
    picture(folder / "vision/forest/00001.jpg")  # sorted lists zipped together would now be off by one
    sound(folder / "sound/forest/99999.wav")
    found = read_advance(folder)
    assert len(found.items) == 3
    assert all(item.image and item.audio and item.image.stem == item.audio.stem for item in found.items)
    assert found.notes == ["1 images without a sound: 'forest/00001'", "1 sounds without an image: 'forest/99999'"]


def test_the_same_name_in_another_class_is_no_partner(folder: Path, picture: Write) -> None:
    picture(folder / "vision/lake/00456.jpg")
    assert read_advance(folder).notes == ["1 images without a sound: 'lake/00456'"]


def test_spectrograms_serve_where_there_is_no_recording(folder: Path) -> None:
    for file in (folder / "sound").rglob("*.wav"):
        file.rename(file.with_suffix(".npy"))
    assert {item.audio.suffix for item in read_advance(folder).items if item.audio} == {".npy"}


def test_recordings_beside_spectrograms_count(folder: Path) -> None:
    (folder / "sound/forest/00123_1.npy").write_bytes(b"")
    found = read_advance(folder)
    assert {item.audio.suffix for item in found.items if item.audio} == {".wav"}
    assert found.notes == ["sound/ holds 3 recordings and 1 .npy spectrograms: the former count"]


def test_two_files_of_one_name_are_refused(folder: Path, picture: Write) -> None:
    picture(folder / "vision/forest/00123_1.png")
    with pytest.raises(DataError, match=r"00123_1.jpg and .*00123_1.png have one name"):
        read_advance(folder)


def test_a_folder_of_the_archives_own_name_is_entered(folder: Path) -> None:
    (folder / "ADVANCE_vision").mkdir()
    (folder / "vision").rename(folder / "ADVANCE_vision" / "vision")
    assert len(read_advance(folder).items) == 3


def test_a_missing_side_is_named(folder: Path) -> None:
    (folder / "sound").rename(folder / "noise")
    assert not looks_like_advance(folder)
    with pytest.raises(DataError, match=r"has no sound/; ADVANCE as vision/CLASS/NAME.jpg beside"):
        read_advance(folder)
