"""What is added to a window: as loud as asked for, another recording, and nothing where it is off."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earthtone.data.packed import Table
from earthtone.signal.config import AudioConfig
from earthtone.train.augment import Background, random_background, with_added
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import AugmentConfig, Recipe

AUDIO = AudioConfig(floor_db=-80, ceiling_db=40)
WINDOW, OTHER = np.random.default_rng(0).integers(60, 200, (2, 80, 32), np.uint8)
CLICK = np.zeros((2000, 32), np.uint8)  # then silence, in which a byte's rounding hides no noise
CLICK[:200] = 128
QUIET = AugmentConfig(gain_db=0, time_mask=0, mel_mask=0)


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def power(window: np.ndarray) -> np.ndarray:
    return 10 ** ((-80 + window.astype(float) * 120 / 255) / 10)


def test_a_background_adds_its_power() -> None:
    found = with_added(WINDOW, AUDIO, AugmentConfig(), Background(OTHER, -6.0), draw())
    own, other = power(WINDOW), power(OTHER)
    total = own + other / other.mean() * own.mean() * 10**-0.6
    expected = (10 * np.log10(total) + 80) * 255 / 120
    assert found.dtype == np.uint8 and np.abs(found - expected).max() <= 0.501
    assert (found >= WINDOW).all() and (found > WINDOW).any()


@pytest.mark.parametrize("level", [-20.0, 0.0])
def test_noise_has_the_level_asked_for_in_every_band(level: float) -> None:
    config = AugmentConfig(noise_share=1.0, noise_db=(level, level))
    added = power(with_added(CLICK, AUDIO, config, None, draw()))[200:] / power(CLICK).mean()
    assert added.mean() == pytest.approx(10 ** (level / 10), rel=0.05)
    assert added.mean(axis=0) == pytest.approx(10 ** (level / 10), rel=0.25)
    assert added.std() == pytest.approx(added.mean(), rel=0.1)  # exponential


def test_levels_and_shares_are_drawn() -> None:
    config = AugmentConfig(noise_share=0.25, noise_db=(-40.0, -10.0))
    click = CLICK[190:240]
    heard = [with_added(click, AUDIO, config, None, draw(seed)) for seed in range(400)]
    noisy = [10 * np.log10(power(one)[10:].mean() / power(click).mean()) for one in heard if one is not click]
    assert 70 < len(noisy) < 130
    assert -41 < min(noisy) < -37 and -13 < max(noisy) < -9


def test_nothing_is_added_and_drawn_where_it_is_off() -> None:
    d = draw(3)
    assert with_added(WINDOW, AUDIO, AugmentConfig(), None, d) is WINDOW
    assert random_background(1, np.arange(3), np.zeros(3, np.int32), AugmentConfig(), d) is None
    assert d.random() == draw(3).random()


def test_silence_behind_stays_silence() -> None:
    silence = np.zeros_like(WINDOW)
    assert np.array_equal(with_added(WINDOW, AUDIO, AugmentConfig(), Background(silence, 0.0), draw()), WINDOW)


def test_the_background_is_any_part_of_any_other_recording() -> None:
    rows, room = np.array([2, 3, 5, 9]), np.arange(10, dtype=np.int32)
    config = AugmentConfig(mix_share=0.5, mix_db=(-9.0, -3.0))
    for row in rows:
        drawn = [random_background(int(row), rows, room, config, draw(seed)) for seed in range(2000)]
        found = [background for background in drawn if background is not None]
        assert 900 < len(found) < 1100
        counts = np.bincount([other for other, _, _ in found], minlength=10)
        assert set(np.flatnonzero(counts)) == set(rows) - {row} and counts[counts > 0].min() > 270
        assert {start for other, start, _ in found if other == 5} == set(range(6)) or row == 5
        assert all(-9 <= decibel <= -3 for _, _, decibel in found)


@pytest.mark.parametrize("several", [1, 3])
def test_batches_hold_windows_of_two_training_recordings(tiny_table: Path, tiny_recipe: Recipe, several: int) -> None:
    table = Table(tiny_table)
    rows, size = table.rows_of("train"), table.signal.audio.window_frames
    train = replace(tiny_recipe.train, windows=several, batch_size=len(rows), epochs=1)
    plain = replace(tiny_recipe, train=train, augment=QUIET)
    mixed = replace(plain, augment=replace(QUIET, mix_share=0.6, mix_db=(-3.0, -3.0)))
    [before], [after] = TrainLoader(table, rows, plain), TrainLoader(table, rows, mixed)
    assert np.array_equal(before.image, after.image)
    frames = table.frames()
    whole = dict(zip(rows, table.sound(rows.tolist(), [0] * len(rows), frames[rows].tolist()), strict=True))
    known = [(row, w[i : i + size]) for row, w in whole.items() for i in range(len(w) - size + 1)]
    partners = []
    for row, own, heard in zip(after.rows.tolist(), before.audio.numpy(), after.audio.numpy(), strict=True):
        for window, changed in zip(own, heard, strict=True):
            if not np.array_equal(window, changed):
                made = (r for r, w in known if np.array_equal(changed, together(window, w, table.signal.audio)))
                partners.append((row, next(made)))
    assert 0.3 < len(partners) / (len(rows) * several) < 0.9
    assert all(row != partner for row, partner in partners)


def together(window: np.ndarray, other: np.ndarray, audio: AudioConfig) -> np.ndarray:
    return with_added(window, audio, QUIET, Background(other, -3.0), draw())
