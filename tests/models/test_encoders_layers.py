"""Weights by depth, and the groups that an optimizer gets of them."""

from itertools import pairwise

import pytest
import timm
import torch
from torch import nn

from earthtone.errors import ConfigError
from earthtone.models.encoders import layer_groups, parameter_groups, shares_by_depth


def test_shares_fall_towards_the_input() -> None:
    encoder = timm.create_model("test_vit", num_classes=0)
    groups = layer_groups(encoder)
    shares = {id(value): share for layer, share in shares_by_depth(groups, 0.5) for value in layer}
    assert shares.keys() == {id(value) for value in encoder.parameters()}
    assert shares[id(encoder.norm.weight)] == 1.0  # the last group
    blocks = [shares[id(block.mlp.fc1.weight)] for block in encoder.blocks]
    assert all(deeper == 2 * block for block, deeper in pairwise(blocks))
    assert shares[id(encoder.patch_embed.proj.weight)] == 0.5 ** (len(groups) - 1) < blocks[0]


def test_groups_of_what_learns() -> None:
    linear, norm, still = nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(1, 1).requires_grad_(False)
    layers = [(linear.parameters(), 0.5), (norm.parameters(), 1.0), (still.parameters(), 1.0)]
    groups = parameter_groups(layers, weight_decay=0.1)
    assert [(len(group["params"]), group["weight_decay"], group["share"]) for group in groups] == [
        (1, 0.1, 0.5), (1, 0.0, 0.5), (2, 0.0, 1.0),
    ]  # fmt: skip
    assert groups[0]["params"][0] is linear.weight


def test_groups_with_equal_options_are_one() -> None:
    layers = [([nn.Parameter(torch.zeros(2, 2))], 1.0), ([nn.Parameter(torch.zeros(3, 3))], 1.0)]
    assert len(parameter_groups(layers, 0.1)) == 1


def test_without_decay_a_checkpoint_with_decay_s_groups_still_fits() -> None:
    linear = nn.Linear(2, 3)
    before = torch.optim.Adam([{"params": [linear.weight]}, {"params": [linear.bias]}])  # as versions before had them
    after = torch.optim.Adam(parameter_groups([(linear.parameters(), 1.0)], 0.0))
    after.load_state_dict(before.state_dict())
    assert [len(group["params"]) for group in after.param_groups] == [1, 1]


def test_unknown_blocks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Sequential does not tell its blocks.*layer_decay at 1"):
        layer_groups(nn.Sequential(nn.Linear(2, 2)))
