"""A model made ready for many passes says the same, and the one it was made of stays as it is."""

import copy

import numpy as np
import pytest
import torch

from earthtone.encode.engine import for_many_passes
from earthtone.models.storage import model_fingerprint
from earthtone.models.two_tower import TwoTower


def test_in_float32_it_is_the_model_itself(tiny_model: TwoTower) -> None:
    assert for_many_passes(tiny_model, "32-true") is tiny_model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny_model", "scaled"])
def test_in_bfloat16_the_vectors_are_the_same_but_for_rounding(name: str, request: pytest.FixtureRequest) -> None:
    model: TwoTower = copy.deepcopy(request.getfixturevalue(name))
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
            norm.running_mean.normal_()  # type: ignore[union-attr]
    before, draw = model_fingerprint(model), np.random.default_rng(0)
    pixels = draw.integers(0, 256, (6, 32, 32, model.config.image_channels), np.uint8)
    sounds = draw.integers(0, 256, (6, 1, model.signal.audio.window_frames, 32), np.uint8)
    quick = for_many_passes(model, "bf16-mixed")
    for plain, fast in (
        (model.encoded_images(pixels), quick.encoded_images(pixels, precision="bf16-mixed")),
        (model.encoded_sounds(sounds), quick.encoded_sounds(sounds, precision="bf16-mixed")),
    ):
        expected, found = (np.stack([*rows])[:, -model.config.dimensions :] for rows in (plain, fast))
        assert found.dtype == np.float32 and (expected * found).sum(axis=1).min() > 0.995
    assert model_fingerprint(model) == before
    assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert any(value.dtype == torch.bfloat16 for value in quick.state_dict().values())
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in quick.image_tower.modules())
