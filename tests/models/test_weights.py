"""Weights go to a file and back whole; whatever does not fit is refused before anything is loaded."""

import resource
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from earthtone.errors import DataError, ModelError
from earthtone.models.weights import fill, read_safetensors, write_safetensors


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights = module().to(memory_format=torch.channels_last).state_dict()
    write_safetensors(path, weights, {"who": "me"})
    found, header = read_safetensors(path)
    assert header == {"who": "me"} and found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) and found[name].dtype == weights[name].dtype for name in weights)
    other = module()
    nn.init.zeros_(other[0].weight)
    fill(other, found, path)
    assert all(torch.equal(value, weights[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("0.bias"), r"1 keys missing, 0 unexpected, 0 of another shape; first: 0\.bias"),
        (lambda weights: weights.update(head=torch.ones(1)), r"0 keys missing, 1 unexpected.*first: head"),
        (lambda weights: weights.update({"0.bias": torch.ones(5)}), r"1 of another shape; first: 0\.bias"),
    ],
)
def test_another_architecture_changes_nothing(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    target = module()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    weights = {name: value + 1 for name, value in before.items()}
    change(weights)
    with pytest.raises(ModelError, match=f"w.safetensors: weights of another architecture .*{message}"):
        fill(target, weights, Path("w.safetensors"))
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_a_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, module().state_dict(), {})
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"weights.safetensors: cannot be read as safetensors .*copy it again"):
            read_safetensors(path)


def test_a_header_that_claims_a_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        read_safetensors(path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.bin", "weights"])
def test_only_safetensors_are_read(tmp_path: Path, name: str) -> None:
    save_file(module().state_dict(), tmp_path / name)
    with pytest.raises(ModelError, match=r"a .safetensors file was expected \(pickles are not loaded\)"):
        read_safetensors(tmp_path / name)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none.safetensors: cannot be read"):
        read_safetensors(tmp_path / "none.safetensors")


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, module().state_dict(), {"age": "old"})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*weights.safetensors: .*File too large.*"):
            write_safetensors(path, {"large": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_safetensors(path)[1] == {"age": "old"}
    assert list(tmp_path.iterdir()) == [path]
