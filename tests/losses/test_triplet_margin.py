"""The triplet with one negative against a plain loop."""

import numpy as np
import pytest
import torch

from earthtone.losses.triplet import TripletMargin


@pytest.mark.parametrize("margin", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("share_of_twins", [0.0, 0.4, 1.0])
def test_equals_a_plain_loop(margin: float, share_of_twins: float) -> None:
    rng = np.random.default_rng(6)
    image, audio = rng.normal(size=(2, 7, 4))
    upper = np.triu(rng.random((7, 7)) < share_of_twins, 1)
    twins = upper | upper.T
    hinges = [
        max(np.linalg.norm(image[i] - audio[i]) - np.linalg.norm(image[i] - audio[i - 1]) + margin, 0.0)
        for i in range(7)
        if not twins[i, i - 1]
    ]
    value = TripletMargin(margin)(torch.from_numpy(image), torch.from_numpy(audio), torch.from_numpy(twins))
    assert value.item() == pytest.approx(float(np.mean(hinges)) if hinges else 0.0, rel=1e-12)
    assert f"margin={margin}" in repr(TripletMargin(margin))
