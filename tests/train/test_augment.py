"""Random views: bounded, reproducible, and nothing when everything is switched off."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.signal.config import AudioConfig
from earthtone.train.augment import colour_matrix, random_sound, random_starts, random_view
from earthtone.train.recipe import AugmentConfig

NOTHING = AugmentConfig(
    crop_area=(1.0, 1.0), rotation_degrees=0, mirror=False, brightness=0, contrast=0, saturation=0, colour_cast=0,
    gain_db=0, roll=False, time_mask=0, mel_mask=0,
)  # fmt: skip
TILE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
WINDOW = np.random.default_rng(1).integers(0, 256, (40, 16), np.uint8)


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_nothing_switched_on_changes_nothing() -> None:
    assert np.array_equal(random_view(TILE, 48, NOTHING, draw()), TILE)
    assert np.array_equal(random_sound(WINDOW, AudioConfig(), NOTHING, draw()), WINDOW)


def test_same_draw_same_view() -> None:
    config = AugmentConfig(roll=True)
    for make in (lambda d: random_view(TILE, 32, config, d), lambda d: random_sound(WINDOW, AudioConfig(), config, d)):
        assert np.array_equal(make(draw(3)), make(draw(3)))
        assert not np.array_equal(make(draw(3)), make(draw(4)))


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
