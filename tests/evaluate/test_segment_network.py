"""The segmenter: backbones with heads, training patches, class maps of pictures of any size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.errors import ConfigError
from earthtone.evaluate.segment_network import HEADS, Segmenter, class_map, epoch_of_patches, tile_starts
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
