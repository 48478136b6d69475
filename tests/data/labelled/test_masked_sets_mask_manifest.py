"""Tables of images and masks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled.masked_sets import read_mask_manifest
from earthtone.errors import DataError

Write = Callable[..., Path]


def test_rows(tmp_path: Path, picture: Write) -> None:
    for name in ("a.png", "b.png", "m.png"):
        picture(tmp_path / name)
    text = "image,mask,split\na.png,m.png,train\nb.png,,\nno.png,m.png,val\n./a.png,no.png,val\n"
    (tmp_path / "metadata.csv").write_text(text)
    found = read_mask_manifest(tmp_path / "metadata.csv")
    assert [(item.id, item.image, item.mask, item.split) for item in found.items] == [
        ("a.png", tmp_path / "a.png", tmp_path / "m.png", "train"), ("b.png", tmp_path / "b.png", None, None),
    ]  # fmt: skip
    assert found.notes == [
        "1 rows left out, missing image: 'no.png'", "1 rows left out, missing mask: './a.png'",
    ]  # fmt: skip


def test_missing_columns(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,msk\n")
    with pytest.raises(DataError, match="no column 'mask'; image and mask were expected; did you mean 'msk'"):
        read_mask_manifest(tmp_path / "m.csv")
