"""torchgeo's own data sets, where torchgeo is installed; without it, what to type."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from earthtone.data.labelled import open_labelled
from earthtone.errors import ConfigError, DataError, MissingExtraError

Write = Callable[..., Path]
INSTALLED = importlib.util.find_spec("torchgeo") is not None
needs_torchgeo = pytest.mark.skipif(not INSTALLED, reason="needs torchgeo")


@pytest.mark.skipif(INSTALLED, reason="torchgeo is installed")
def test_without_torchgeo(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"earthtone\[torchgeo\]"):
        open_labelled(tmp_path, dataset="torchgeo:RESISC45")


@needs_torchgeo
def test_files_and_splits_are_torchgeos(tmp_path: Path, picture: Write) -> None:
    for split, numbers in (("train", (1, 2)), ("val", (3,)), ("test", (4,))):
        names = [f"{label}_{n:03}.jpg" for label in ("beach", "forest") for n in numbers]
        (tmp_path / f"resisc45-{split}.txt").write_text("\n".join(names))
        for name in names:
            picture(tmp_path / "NWPU-RESISC45" / name.split("_")[0] / name)
    found = open_labelled(tmp_path, dataset="torchgeo:RESISC45")
    assert {(item.id, item.label, item.split) for item in found.items if item.label == "beach"} == {
        (f"NWPU-RESISC45/beach/beach_{n:03}.jpg", "beach", split)
        for n, split in ((1, "train"), (2, "train"), (3, "val"), (4, "test"))
    }
    assert len(found.items) == 8


@needs_torchgeo
def test_a_folder_torchgeo_does_not_know_and_a_wrong_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="torchgeo cannot open RESISC45 there") as error:
        open_labelled(tmp_path, dataset="torchgeo:RESISC45")
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="torchgeo:RESISC54 is unknown; did you mean RESISC45"):
        open_labelled(tmp_path, dataset="torchgeo:RESISC54")
