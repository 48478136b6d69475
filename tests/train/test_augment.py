"""Random views: bounded, reproducible, and nothing when everything is switched off."""

import numpy as np
import pytest

from earthtone.signal.config import AudioConfig
from earthtone.train.augment import colour_matrix, random_sound, random_view
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
