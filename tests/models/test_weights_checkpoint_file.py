"""Tensors come out of other people's checkpoints; nothing else does, and nothing in them runs."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from earthtone.errors import ModelError
from earthtone.models.weights import read_checkpoint

STATE = {"stem.weight": torch.arange(6.0).view(2, 3), "stem.count": torch.tensor(3)}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        OrderedDict(STATE),
        {"state_dict": STATE, "epoch": 3, "optimizer": {"lr": 0.1}},
        {"model": STATE},
        {"model_state_dict": STATE},
        {f"module.{name}": value for name, value in STATE.items()},
        {"state_dict": {f"module.module.{name}": value for name, value in STATE.items()}},
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappings(tmp_path: Path, wrapped: Any, zipped: bool) -> None:
    path = tmp_path / "any.name"
    torch.save(wrapped, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path)
    assert found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert read_checkpoint(tmp_path / "a.safetensors").keys() == STATE.keys()


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("place", ["itself", "value", "key beside"])
def test_code_is_not_run(tmp_path: Path, protocol: int, place: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "evil.pt"
    evil = Payload(trap)
    values: Any = {"itself": evil, "value": {"a": evil}, "key beside": {**STATE, "extra": evil}}[place]
    torch.save(values, path, pickle_protocol=protocol)
    with pytest.raises(ModelError, match=r"evil.pt: .*nothing of it was run") as error:
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(values if place == "itself" else evil, protocol=protocol))
    with pytest.raises(ModelError):
        read_checkpoint(path)
    assert not trap.exists() and "\n" not in str(error.value)


def test_a_checkpoint_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "cut.pt"
    torch.save({"a": torch.randn(500)}, path)
    whole = path.read_bytes()
    for size in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"cut.pt: ") as error:
            read_checkpoint(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_what_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    for values, message in (
        ([1, 2], "holds list"),
        ({}, "holds dict"),
        (torch.ones(3), "holds Tensor"),
        ({"a": torch.ones(2), "b": 7}, "1 entries are no tensors, the first is 'b'"),
        ({3: torch.ones(2)}, "1 entries are no tensors, the first is '3'"),
        ({"a": torch.ones(2).to_sparse()}, "no tensors, the first is 'a'"),
        ({"a": torch.ones(2, device="meta")}, "no tensors, the first is 'a'"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "no tensors, the first is 'a'"),
    ):
        torch.save(values, path)
        with pytest.raises(ModelError, match=message):
            read_checkpoint(path)
    path.write_text("no checkpoint at all")
    with pytest.raises(ModelError, match=r"no checkpoint of PyTorch|cannot be read"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "a zip file of something else")
    with pytest.raises(ModelError, match=r"cannot be read"):
        read_checkpoint(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a folder, .* a checkpoint file was expected"):
        read_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="nothing there; a checkpoint file was expected"):
        read_checkpoint(tmp_path / "none.pt")
