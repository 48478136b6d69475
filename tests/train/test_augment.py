"""Random views: bounded, reproducible, and nothing when everything is switched off."""

import colorsys
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from earthtone.signal.config import AudioConfig
from earthtone.train.augment import colour_matrix, random_sound, random_starts, random_view
from earthtone.train.recipe import AugmentConfig

NOTHING = AugmentConfig(
    crop_area=(1.0, 1.0), rotation_degrees=0, mirror=False, brightness=0, contrast=0, saturation=0, colour_cast=0,
    gain_db=0, roll=False, time_mask=0, mel_mask=0,
)  # fmt: skip
PAPER = AugmentConfig(
    crop_area=(0.5, 1.0), crop_ratio=(0.75, 4 / 3), rotation_degrees=180, mirror=False, grid_distortion=0.3,
    blur_sigma=1.0, hue_degrees=20,
)  # fmt: skip
TILE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
WINDOW = np.random.default_rng(1).integers(0, 256, (40, 16), np.uint8)


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_switched_on_changes_nothing() -> None:
    assert np.array_equal(random_view(TILE, 48, NOTHING, draw()), TILE)
    assert np.array_equal(random_sound(WINDOW, AudioConfig(), NOTHING, draw()), WINDOW)


def test_same_draw_same_view() -> None:
    for make in (
        lambda d: random_view(TILE, 32, AugmentConfig(), d),
        lambda d: random_view(TILE, 32, PAPER, d),
        lambda d: random_sound(WINDOW, AudioConfig(), AugmentConfig(roll=True), d),
    ):
        assert np.array_equal(make(draw(3)), make(draw(3)))
        assert not np.array_equal(make(draw(3)), make(draw(4)))


@pytest.mark.parametrize(
    "tiny", [{"grid_distortion": 1e-9}, {"blur_sigma": 1e-9}, {"hue_degrees": 1e-9}, {"crop_ratio": (1.0, 1.0)}]
)
def test_next_to_nothing_changes_next_to_nothing(tiny: dict) -> None:
    found = random_view(TILE, 48, replace(NOTHING, **tiny), draw())
    assert np.abs(found.astype(int) - TILE).max() <= 1


def test_without_strength_the_view_is_the_crop() -> None:
    config = replace(NOTHING, crop_area=(0.25, 0.25))
    for seed in range(5):
        d = draw(seed)
        d.uniform()  # the area
        x, y = d.uniform(), d.uniform()
        left, top = 24 * x, 24 * y
        expected = cv2.getRectSubPix(TILE, (24, 24), (left + 11.5, top + 11.5))
        found = random_view(TILE, 24, config, draw(seed))
        assert np.abs(found.astype(int) - expected).max() <= 8  # places are rounded to 1/32 pixel


def test_unused_options_draw_nothing() -> None:
    """So views of recipes without them are what they were."""
    plain, d = AugmentConfig(), draw(1)
    random_view(TILE, 32, plain, d)
    expected = draw(1)
    expected.uniform(size=3), expected.uniform(), expected.random(), expected.uniform(size=6)
    assert d.random() == expected.random()


def test_blur_is_a_gaussian_of_a_width_up_to_sigma() -> None:
    config = replace(NOTHING, blur_sigma=2.0)
    widths = []
    for seed in range(200):
        found = random_view(TILE, 48, config, draw(seed)).astype(float)
        d = draw(seed)
        d.uniform(size=4)  # area, centre, rotation
        sigma = d.uniform(0, 2.0)
        widths.append(sigma)
        if seed < 20 and sigma > 0.2:
            expected = scipy.ndimage.gaussian_filter(TILE.astype(float), (sigma, sigma, 0), mode="mirror", truncate=3)
            assert np.abs(found - expected).max() < 12 and np.abs(found - expected).mean() < 2
    assert min(widths) < 0.1 and max(widths) > 1.9


def test_crops_have_the_area_and_the_ratio_asked_for() -> None:
    """Read off a tile whose colours are the places: the warp of a ramp has the crop's extent as its slope."""
    y, x = np.mgrid[0:200, 0:200]
    ramp = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    config = replace(NOTHING, crop_area=(0.4, 0.9), crop_ratio=(0.5, 2.0))
    areas, ratios = [], []
    for seed in range(300):
        view = random_view(ramp, 50, config, draw(seed)).astype(float)
        width, height = (view[:, 44, 0] - view[:, 5, 0]).mean(), (view[44, :, 1] - view[5, :, 1]).mean()
        areas.append(width * height / (39 * 4) ** 2)
        ratios.append(width / height)
    assert 0.37 < min(areas) < 0.45 and 0.85 < max(areas) < 0.93
    assert abs(np.mean(areas) - 0.65) < 0.03
    assert 0.47 < min(ratios) < 0.7 and 1.4 < max(ratios) < 2.1
    assert abs(np.log(ratios).mean()) < 0.06


def test_distortion_keeps_the_edges_and_the_order_and_moves_the_middle() -> None:
    x = np.tile(np.arange(250, dtype=np.uint8), (250, 1))
    ramp = np.stack([x, x.T, x], axis=-1)
    shifts = []
    for seed in range(100):
        view = random_view(ramp, 250, replace(NOTHING, grid_distortion=0.5), draw(seed)).astype(int)
        across, down = view[100, :, 0], view[:, 100, 1]
        for line in (across, down):
            assert line[0] <= 1 and line[-1] >= 248 and (np.diff(line) >= 0).all()
            shifts += [line[50] - 50, line[100] - 100, line[150] - 150]
        assert np.ptp(view[:, 77, 0]) <= 1  # columns stay straight
    assert abs(np.mean(shifts)) < 3 and min(shifts) < -15 and max(shifts) > 15


def test_hues_turn_on_the_colour_circle() -> None:
    config = replace(NOTHING, hue_degrees=60)
    found = []
    for seed in range(200):
        matrix = colour_matrix(config, draw(seed))
        assert np.allclose(matrix @ [90, 90, 90, 1], 90)  # greys stay
        y, i, q = colorsys.rgb_to_yiq(*(matrix @ [200, 80, 40, 1]) / 255)
        y_before, i_before, q_before = colorsys.rgb_to_yiq(200 / 255, 80 / 255, 40 / 255)
        assert y == pytest.approx(y_before, abs=0.01)
        assert np.hypot(i, q) == pytest.approx(np.hypot(i_before, q_before), rel=0.05)
        found.append(np.degrees(np.arctan2(q, i) - np.arctan2(q_before, i_before)))
    assert -63 < min(found) < -55 and 55 < max(found) < 63


def test_views_of_the_paper_are_bytes_of_the_right_shape() -> None:
    for seed in range(20):
        view = random_view(TILE, 40, PAPER, draw(seed))
        assert view.shape == (40, 40, 3) and view.dtype == np.uint8 and view.std() > 5


@pytest.mark.parametrize("seed", range(5))
def test_grey_stays_near_grey_without_a_cast(seed: int) -> None:
    grey = np.full((3, 1), 100.0)
    matrix = colour_matrix(AugmentConfig(colour_cast=0.0), draw(seed))
    out = matrix @ np.vstack([grey, [[1.0]]])
    assert np.ptp(out) < 1e-9


def test_contrast_turns_about_middle_grey() -> None:
    config = AugmentConfig(brightness=0.0, saturation=0.0, colour_cast=0.0, contrast=0.5)
    out = colour_matrix(config, draw(2)) @ np.array([127.5, 127.5, 127.5, 1.0])
    assert np.allclose(out, 127.5)


def test_gain_is_in_decibels() -> None:
    audio = AudioConfig(floor_db=-80, ceiling_db=40)
    config = AugmentConfig(gain_db=6, time_mask=0, mel_mask=0)
    middle = np.full((20, 8), 128, np.uint8)
    changes = [int(random_sound(middle, audio, config, draw(seed))[0, 0]) - 128 for seed in range(200)]
    limit = round(6 * 255 / 120)
    assert -limit <= min(changes) < -limit / 2 < limit / 2 < max(changes) <= limit


def test_masks_are_no_wider_than_allowed() -> None:
    config = AugmentConfig(gain_db=0, time_mask=0.25, mel_mask=0.25)
    for seed in range(50):
        out = random_sound(WINDOW, AudioConfig(), config, draw(seed))
        masked = out == int(WINDOW.mean())
        assert masked.all(axis=1).sum() <= 10 and masked.all(axis=0).sum() <= 4


@given(st.integers(0, 2000), st.integers(1, 12), st.integers(0, 2**32))
def test_starts_are_within_the_recording_spread_and_distinct(room: int, count: int, seed: int) -> None:
    starts = random_starts(room, count, draw(seed))
    assert len(starts) == count and starts[0] >= 0 and starts[-1] <= room
    assert starts == sorted(starts)
    if room + 1 >= count:
        assert len(set(starts)) == count
    widest = -(-(room + 1) // count)  # frames in a stratum
    assert all(b - a < 2 * widest for a, b in pairwise([-1, *starts, room + 1]))


def test_one_window_is_the_published_one() -> None:
    assert [random_starts(900, 1, draw(seed)) for seed in range(50)] == [
        [int(draw(seed).integers(901))] for seed in range(50)
    ]


def test_windows_start_anywhere_equally_often() -> None:
    found = np.concatenate([random_starts(99, 4, draw(seed)) for seed in range(5000)])
    counts = np.bincount(found, minlength=100)  # 200 expected of each, deviation 14
    assert counts.min() > 140 and counts.max() < 260


def test_no_frame_is_left_out_in_the_long_run() -> None:
    heard = np.zeros(1000, int)
    for seed in range(3000):
        for start in random_starts(900, 3, draw(seed)):
            heard[start : start + 100] += 1
    assert heard.min() >= 1
    inner = heard[100:-100]
    assert inner.min() > 0.8 * inner.mean()  # 1000 expected of each


@pytest.mark.parametrize("side_m", [51.2, 2000.0])
def test_a_view_carries_the_metres_that_the_warp_gave_it(side_m: float) -> None:
    """A quarter of the area is half of the side, whatever its ratio: side_m / 2 over 32 pixels of the view."""
    config = replace(PAPER, crop_area=(0.25, 0.25), crop_ratio=(0.5, 2.0))
    found = random_view(TILE, 32, config, draw(3), side_m)
    assert (found[..., 3] == round(16 * np.log2(side_m / 2 / 32)) + 96).all()
    np.testing.assert_array_equal(found[..., :3], random_view(TILE, 32, config, draw(3)))


def test_the_metres_follow_each_drawn_area() -> None:
    """The pitch of a ruler in the view tells its magnification; the plane tells the same."""
    ruler = np.repeat(np.tile(np.arange(240, dtype=np.uint8), (240, 1))[..., None], 3, axis=2)  # a grey step a pixel
    config = replace(NOTHING, crop_area=(0.1, 0.6))
    for seed in range(8):
        view = random_view(ruler, 60, config, draw(seed), side_m=240 * 5.0).astype(float)
        pitch = (view[30, 50, 0] - view[30, 10, 0]) / 40  # tile pixels a view pixel; 5 m each
        assert abs((view[0, 0, 3] - 96) / 16 - np.log2(5.0 * pitch)) < 0.1
