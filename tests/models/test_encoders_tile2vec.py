"""Tile2Vec's checkpoint, in the layout it was published in, becomes a backbone of red, green and blue."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earthtone.errors import ConfigError, ModelError
from earthtone.models.backbone import open_backbone

_PLANES = (64, 128, 256, 512, 512)


def published_layout(third: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes; `third` adds the convolutions and the classifier that have no part in the features."""

    def norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield f"{name}.{part}", (width,)
        yield f"{name}.num_batches_tracked", ()

    yield "conv1.weight", (64, 4, 3, 3)
    yield from norm("bn1", 64)
    width = 64
    for stage, planes in enumerate(_PLANES, 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            yield f"{name}.conv1.weight", (planes, width if block == 0 else planes, 3, 3)
            yield from norm(f"{name}.bn1", planes)
            yield f"{name}.conv2.weight", (planes, planes, 3, 3)
            yield from norm(f"{name}.bn2", planes)
            if third:
                yield f"{name}.conv3.weight", (planes, planes, 3, 3)
                yield f"{name}.conv3.bias", (planes,)
                yield from norm(f"{name}.bn3", planes)
            if block == 0 and stage > 1:
                yield f"{name}.shortcut.0.weight", (planes, width, 1, 1)
                yield from norm(f"{name}.shortcut.1", planes)
        width = planes
    if third:
        yield "linear.weight", (10, 512)
        yield "linear.bias", (10,)


def checkpoint(third: bool) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in published_layout(third):
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
        elif len(shape) == 4:
            state[name] = torch.randn(shape, generator=draw) * (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        else:
            state[name] = 0.5 + torch.rand(shape, generator=draw)
    return state


def by_hand(state: dict[str, Tensor], inputs: Tensor) -> list[Tensor]:
    """The five maps, straight from the tensors."""

    def norm(values: Tensor, name: str) -> Tensor:
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(values, *parts)

    carried = F.relu(norm(F.conv2d(inputs, state["conv1.weight"][:, :3], padding=1), "bn1"))
    maps = []
    for stage in range(1, 6):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            hidden = F.conv2d(carried, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            hidden = F.conv2d(F.relu(norm(hidden, f"{name}.bn1")), state[f"{name}.conv2.weight"], padding=1)
            if f"{name}.shortcut.0.weight" in state:
                carried = F.conv2d(carried, state[f"{name}.shortcut.0.weight"], stride=stride)
                carried = norm(carried, f"{name}.shortcut.1")
            carried = F.relu(norm(hidden, f"{name}.bn2") + carried)
        maps.append(carried)
    return maps


@pytest.mark.slow
@pytest.mark.parametrize("third", [True, False])
def test_its_maps(third: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = checkpoint(third)
    torch.save(state, tmp_path / "naip.ckpt")
    backbone = open_backbone(f"tile2vec:{tmp_path}/naip.ckpt")
    assert "of 4 input channels the first three are used" in caplog.text
    assert backbone.strides == (1, 2, 4, 8, 16) and backbone.channels == _PLANES
    assert backbone.features == 512 and backbone.pixels == 50
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    inputs = backbone.prepare(pixels)
    torch.testing.assert_close(inputs, pixels.permute(0, 3, 1, 2) / 255)
    with torch.no_grad():
        expected = by_hand(state, inputs)
        for found, values in zip(backbone.stages(inputs), expected, strict=True):
            torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(backbone.pooled(inputs), expected[-1].mean(dim=(2, 3)), rtol=1e-4, atol=1e-4)
    assert sum(len(group) for group in backbone.layer_groups()) == len(list(backbone.parameters()))


def test_what_is_none(tmp_path: Path) -> None:
    state = checkpoint(False)
    torch.save({**state, "layer6.0.conv1.weight": torch.ones(1)}, tmp_path / "more.ckpt")
    with pytest.raises(ModelError, match=r"1 unexpected, .*layer6"):
        open_backbone(f"tile2vec:{tmp_path}/more.ckpt")
    torch.save(state, tmp_path / "whole.ckpt")
    with pytest.raises(ConfigError, match="output stride of 16; 8 asked for"):
        open_backbone(f"tile2vec:{tmp_path}/whole.ckpt", output_stride=8)
