"""Manifests with labels: columns, folds, groups, and rows that are left out by name."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earthtone.data.labelled.classes import read_labelled_manifest
from earthtone.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, picture: Write, sound: Write) -> Path:
    for n in range(4):
        picture(tmp_path / f"{n}.png")
        sound(tmp_path / f"{n}.wav")
    return tmp_path


def table(folder: Path, text: str, name: str = "metadata.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_file_label_and_split(folder: Path) -> None:
    found = read_labelled_manifest(table(folder, "file,label,split\n0.png,lake,train\n1.png,forest,validation\n"))
    first, second = found.items
    assert (first.id, first.label, first.image, first.audio, first.split) == (
        "0.png", "lake", folder / "0.png", None, "train",
    )  # fmt: skip
    assert second.split == "val" and found.notes == []


def test_a_word_for_unknown_is_no_group(folder: Path) -> None:
    found = read_labelled_manifest(table(folder, "file,label,group\n0.wav,dog,NA\n1.wav,cat,a\n"))
    assert [item.group for item in found.items] == [None, "a"]


def test_the_file_may_be_a_sound_with_fold_and_group(folder: Path) -> None:
    found = read_labelled_manifest(table(folder, "file,label,fold,group\n0.wav,dog,0,a\n1.wav,cat,1,\n"))
    assert [(item.audio, item.image, item.fold, item.group) for item in found.items] == [
        (folder / "0.wav", None, 1, "a"), (folder / "1.wav", None, 2, None),
    ]  # fmt: skip


def test_image_and_audio_and_a_named_label(folder: Path) -> None:
    found = read_labelled_manifest(table(folder, "key,image,audio,scene,sound\n7,0.png,0.wav,lake,dog\n"), "scene")
    (item,) = found.items
    assert (item.id, item.label, item.image, item.audio) == ("7", "lake", folder / "0.png", folder / "0.wav")


def test_columns_may_have_any_name(folder: Path) -> None:
    path = table(folder, "bild,art,teil,ort\n0.png,lake,test,a\n")
    columns = {"image": "bild", "label": "art", "split": "teil", "group": "ort"}
    (item,) = read_labelled_manifest(path, columns=columns).items
    assert (item.image, item.label, item.split, item.group) == (folder / "0.png", "lake", "test", "a")


def test_parquet(folder: Path) -> None:
    pq.write_table(pa.table({"file": ["0.png", "1.png"], "label": ["lake", "town"]}), folder / "m.parquet")
    assert [item.label for item in read_labelled_manifest(folder / "m.parquet").items] == ["lake", "town"]


def test_rows_that_cannot_be_used_are_counted_and_named(folder: Path) -> None:
    path = table(folder, "file,label,fold\n0.png,lake,1\nno.png,lake,1\n1.png,,1\n2.png,lake,x\n3.png,lake,2\n")
    found = read_labelled_manifest(path)
    assert [item.id for item in found.items] == ["0.png", "3.png"]
    assert found.notes == [
        "1 rows left out, fold is no whole number: '2.png'",
        "1 rows left out, missing image: 'no.png'",
        "1 rows left out, no label: '1.png'",
    ]


def test_values_that_cannot_be_read_are_counted_and_the_rows_stay(folder: Path) -> None:
    text = "file,label,image_gsd_m,lon,lat\n0.png,a,0.5,8,50\n1.png,a,0.5 m,8,500\n2.png,b,NA,0,0\n3.png,b,x,,\n"
    found = read_labelled_manifest(table(folder, text))
    assert [item.image_gsd_m for item in found.items] == [0.5, None, None, None]
    assert found.notes == [
        "1 rows stay without a value, coordinates out of range: '1.png'",
        "2 rows stay without a value, unreadable cell: '1.png', '3.png'",
    ]


def test_a_labels_column_may_have_a_name_that_packing_changes(folder: Path) -> None:
    found = read_labelled_manifest(table(folder, "file,class.name\n0.png,lake\n1.png,sea\n"), label="class.name")
    assert [item.label for item in found.items] == ["lake", "sea"]


def test_images_inside_the_table_are_counted(folder: Path) -> None:
    content = (folder / "0.png").read_bytes()
    pq.write_table(pa.table({"id": ["a"], "image": [content], "label": ["lake"]}), folder / "m.parquet")
    found = read_labelled_manifest(folder / "m.parquet")
    assert found.items == [] and found.notes == [
        "1 rows left out, media as bytes in the table; write them to files: 'a'"
    ]


def test_folds_of_some_rows_are_not_used(folder: Path) -> None:
    found = read_labelled_manifest(table(folder, "file,label,fold\n0.png,lake,1\n1.png,lake,\n"))
    assert {item.fold for item in found.items} == {None}
    assert found.notes == ["1 rows have no fold: folds are not used"]


@pytest.mark.parametrize(
    ("text", "label", "columns", "message"),
    [
        ("file,class\n0.png,lake\n", None, None, "no column 'label' for the label"),
        ("file,label\n0.png,lake\n", "labl", None, "no column 'labl' for the label; did you mean 'label'"),
        ("file,label\n0.png,lake\n", None, {"fold": "part"}, "no column 'part' for the fold"),
        ("what,label\n0.png,lake\n", None, None, "image, audio or file expected"),
        ("file,label\nnotes.txt,lake\n", None, None, "names 'notes.txt'; an image or a sound was expected"),
    ],
)
def test_missing_columns(
    folder: Path, text: str, label: str | None, columns: dict[str, str] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_labelled_manifest(table(folder, text), label, columns)


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([1.0, float("nan"), 2.0, None], pa.float64(), from_pandas=False),
        pa.array([1.5, float("nan"), 2.5, float("nan")], pa.float32(), from_pandas=False),
        pa.array(["sea", None, "wood", ""]),
        pa.array(["sea", None, "wood", None]).dictionary_encode(),
    ],
)
def test_a_label_that_is_no_value_is_missing(folder: Path, labels: pa.Array) -> None:
    columns = {"image": [f"{n}.png" for n in range(4)], "label": labels, "group": pa.array([1.0, 2.0, float("nan"), 3])}
    pq.write_table(pa.table(columns), folder / "m.parquet")
    found = read_labelled_manifest(folder / "m.parquet")
    assert [item.id for item in found.items] == ["0.png", "2.png"]
    assert [item.group for item in found.items] == ["1.0", None]
    assert found.notes == ["2 rows left out, no label: '1.png', '3.png'"]
