"""Heads on real backbones: any size in, one score a class and pixel out; frozen means frozen."""

import pytest
import torch

from earthtone.errors import ConfigError
from earthtone.evaluate.segment_network import HEADS, Segmenter
from earthtone.models.backbone import open_backbone


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize(
    ("spec", "stride"), [("random:test_resnet", 16), ("random:test_resnet", 32), ("random:test_vit", 32)]
)
@pytest.mark.parametrize("size", [(64, 64), (50, 70), (20, 33)])
def test_scores_are_as_large_as_the_picture(head: str, spec: str, stride: int, size: tuple[int, int]) -> None:
    if "vit" in spec and size != (64, 64):
        size = (64, 64)  # this family sees one size
    backbone = open_backbone(spec, pixels=64, output_stride=stride)
    model = Segmenter(backbone, 5, head).eval()
    scores = model(torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8))
    assert scores.shape == (2, 5, *size) and scores.dtype == torch.float32
    assert scores.isfinite().all()


def test_a_frozen_backbone_does_not_change_and_a_free_one_does() -> None:
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    for frozen in (True, False):
        model = Segmenter(open_backbone("random:test_resnet", pixels=32), 3, "linear", frozen=frozen).train()
        before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
        optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=1.0)
        model(pixels).square().mean().backward()
        optimizer.step()
        same = [torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items()]
        assert all(same) == frozen  # also the running statistics of its norms


def test_an_unknown_head_is_named() -> None:
    backbone = open_backbone("random:test_resnet", pixels=32)
    with pytest.raises(ConfigError, match="did you mean linear"):
        Segmenter(backbone, 3, "linaer")
