"""SimCLR is InfoNCE behind a projection that both modalities share."""

import pytest
import torch
import torch.nn.functional as F

from earthtone.losses.infonce import InfoNCE
from earthtone.losses.simclr import SimCLR


@pytest.mark.parametrize("directions", ["sum", "mean", "image_to_audio", "audio_to_image"])
def test_equals_infonce_of_projections(directions: str) -> None:
    image, audio = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    loss = SimCLR(0.3, directions, hidden=5, dimensions=8)
    first, last = loss.g[0], loss.g[2]
    projected = [
        F.linear(F.relu(F.linear(x, first.weight, first.bias)), last.weight, last.bias) for x in (image, audio)
    ]
    expected = InfoNCE(0.3, learnable_temperature=False, directions=directions)(*projected)
    torch.testing.assert_close(loss(image, audio), expected)
    assert loss.temperature == 0.3
