"""Tiled prediction equals whole prediction where tiles cannot matter, for any sizes, in bounded memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.errors import ConfigError
from earthtone.evaluate.segment_network import class_map, tile_starts


def by_colour(pixels: torch.Tensor) -> torch.Tensor:
    """Probabilities of three classes from each pixel's own colour: no tile can change them."""
    return pixels.float().permute(0, 3, 1, 2).softmax(1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.floats(0, 0.9), st.integers(0, 2**32 - 1))
def test_what_depends_on_a_pixel_alone_is_the_same_in_tiles(
    height: int, width: int, tile: int, overlap: float, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 5, (height, width, 3), dtype=np.uint8) * 40
    pixels[..., 1] += 1  # no two classes are equally likely
    pixels[..., 2] += 2
    found = class_map(pixels, by_colour, 3, tile=tile, overlap=overlap)
    assert found.shape == (height, width)
    assert np.array_equal(found, pixels.argmax(2))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 600), st.floats(0, 0.95))
def test_tiles_cover_a_side_and_overlap_enough(length: int, tile: int, overlap: float) -> None:
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0 and starts == sorted(set(starts))
    if length <= tile:
        assert starts == [0]
        return
    assert starts[-1] == length - tile
    steps = np.diff(starts)
    assert steps.max() <= max(1, int(tile * (1 - overlap)) + 1)


def test_borders_of_tiles_count_less() -> None:
    """A network that errs near the border of its view is outvoted by tiles that see the place in their middle."""

    def poor_at_borders(pixels: torch.Tensor) -> torch.Tensor:
        shares = torch.zeros(len(pixels), 2, *pixels.shape[1:3])
        shares[:, 1] = 0.6
        shares[:, 1, 4:-4, 4:-4] = 0.0
        shares[:, 0] = 1 - shares[:, 1]
        return shares

    found = class_map(np.zeros((96, 96, 3), np.uint8), poor_at_borders, 2, tile=32, overlap=0.5)
    assert (found[4:-4, 4:-4] == 0).all()


@pytest.mark.parametrize(("tile", "overlap"), [(0, 0.2), (8, 1.0), (8, -0.1)])
def test_impossible_tiles_are_refused(tile: int, overlap: float) -> None:
    with pytest.raises(ConfigError, match="overlap is"):
        class_map(np.zeros((8, 8, 3), np.uint8), by_colour, 3, tile=tile, overlap=overlap)
