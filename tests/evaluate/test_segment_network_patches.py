"""Patches: image and mask stay together through every turn, everything depends on the seed alone."""

import numpy as np
import pytest
import torch

from earthtone.evaluate.segment_network import epoch_of_patches


def tile(number: int, height: int = 40, width: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """A tile whose mask repeats one colour channel, so that a patch tells whether both moved alike."""
    draw = np.random.default_rng(number)
    mask = draw.integers(0, 6, (height, width), dtype=np.uint8)
    return np.stack([mask * 20] * 3, axis=2), mask


def batches(**options: object) -> list[tuple[torch.Tensor, torch.Tensor]]:
    given = {"side": 16, "batch": 4, "stride": None, "seed": (0, 0)} | options
    return list(epoch_of_patches(range(5), tile, **given))  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", [None, 10])
def test_image_and_mask_move_together(stride: int | None) -> None:
    for image, mask in batches(stride=stride):
        assert image.shape[1:] == (16, 16, 3) and mask.shape[1:] == (16, 16) and mask.dtype == torch.int64
        for picture, classes in zip(image.float(), mask.float(), strict=True):
            bright = picture[..., 0].sum() / (classes.sum() * 20)
            assert torch.allclose(picture[..., 0], classes * 20 * bright, atol=2.0)


def test_one_seed_one_order() -> None:
    first, again, other = batches(), batches(), batches(seed=(0, 1))
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_a_grid_covers_every_pixel_of_every_tile() -> None:
    seen = sum(len(image) for image, _ in batches(stride=10))
    assert seen in (5 * 4 * 5, 5 * 4 * 5 - 1)  # 40 x 50 at steps of no more than 10; a last single patch is left out


def test_small_tiles_are_filled_up_and_the_fill_is_ignored() -> None:
    found = list(epoch_of_patches([1, 2], lambda n: tile(n, 10, 12), side=16, batch=2, stride=16, seed=(0, 0)))
    assert len(found) == 1
    mask = found[0].mask
    assert (mask[:, 10:] == 255).all() and (mask[:, :, 12:] == 255).all()
    assert (mask[:, :10, :12] != 255).all()


def test_a_single_last_patch_is_left_out() -> None:
    found = [len(image) for image, _ in epoch_of_patches([1, 2, 3], tile, side=40, batch=2, stride=40, seed=(0, 0))]
    assert found == [2, 2, 2]  # two patches a tile
    single = list(epoch_of_patches([1], lambda n: tile(n, 16, 16), side=16, batch=2, stride=16, seed=(0, 0)))
    assert single == []
