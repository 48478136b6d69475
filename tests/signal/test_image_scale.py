"""Metres a pixel as a byte: the formula, its ends, what is refused; what views of known crops carry."""

import math

import numpy as np
import pytest

from earthtone.errors import SignalError
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import SCALE_CENTRE, SCALE_WIDTH, scale_byte, seen, with_scale


@pytest.mark.parametrize(("gsd_m", "byte"), [(1.0, 96), (2.0, 112), (0.5, 80), (16.0, 160), (1e-9, 0), (1e9, 255)])
def test_bytes_by_hand(gsd_m: float, byte: int) -> None:
    assert scale_byte(gsd_m) == byte


@pytest.mark.parametrize("gsd_m", np.geomspace(0.02, 900, 23))
def test_the_model_is_told_the_logarithm(gsd_m: float) -> None:
    told = (scale_byte(gsd_m) - SCALE_CENTRE) / SCALE_WIDTH
    assert abs(told - math.log2(gsd_m) / 4) <= 1 / 128 + 1e-9  # half a byte


@pytest.mark.parametrize("gsd_m", [0.0, -1.0, math.nan, math.inf])
def test_what_is_no_scale(gsd_m: float) -> None:
    with pytest.raises(SignalError, match="metres a pixel; more than 0 expected"):
        scale_byte(gsd_m)


def test_the_plane_is_constant_and_colours_stay() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    found = with_scale(tile, 4.0)
    assert found.shape == (5, 5, 4) and found.dtype == np.uint8
    assert np.array_equal(found[..., :3], tile) and (found[..., 3] == 128).all()


def test_what_is_seen_outside_training() -> None:
    """The middle 384 of 512 pixels of 102.4 m at 192 pixels: 76.8 m / 192 = 0.4 m a pixel; 16 log2(0.4) = -21.15."""
    tile = np.zeros((512, 512, 3), np.uint8)
    config = ImageConfig(pixels=192, stored_pixels=512, view=0.75)
    assert (seen(tile, config, 102.4)[..., 3] == 96 - 21).all()
    assert np.array_equal(seen(tile, config, 102.4)[..., :3], seen(tile, config))
