"""Batches: each row once an epoch, the same whatever the threads or the starting step, twins marked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.losses.twins import twins_between
from earthtone.train.loader import Batch, TrainLoader
from earthtone.train.recipe import LossConfig, Recipe
from earthtone.train.sampler import unit_points


def equal(one: Batch, other: Batch) -> bool:
    return all((a is b is None) or torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_epoch_shows_each_row_at_most_once(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    loader = TrainLoader(table, table.rows_of("all"), tiny_recipe)
    batches = list(loader)
    assert len(batches) == len(loader) == loader.steps == 3 * (len(table) // 4)
    per_epoch = loader.steps_per_epoch
    orders = [torch.cat([b.rows for b in batches[i : i + per_epoch]]) for i in range(0, len(batches), per_epoch)]
    for order in orders:
        assert len(set(order.tolist())) == len(order)
    assert not torch.equal(orders[0], orders[1])


def test_shapes_and_types(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    batch = next(iter(TrainLoader(table, table.rows_of("all"), tiny_recipe)))
    signal = table.signal
    assert batch.image.shape == (4, signal.image.pixels, signal.image.pixels, 3)
    assert batch.audio.shape == (4, 1, signal.audio.window_frames, signal.audio.mels)
    assert batch.image.dtype == batch.audio.dtype == torch.uint8


def windows_of(recipe: Recipe, windows: int) -> Recipe:
    """The recipe with several windows, and sounds as they are."""
    quiet = replace(recipe.augment, gain_db=0, time_mask=0, mel_mask=0)
    return replace(recipe, train=replace(recipe.train, windows=windows), augment=quiet)


@pytest.mark.parametrize("several", [1, 3])
def test_windows_come_from_their_recordings_in_order(tiny_table: Path, tiny_recipe: Recipe, several: int) -> None:
    table = Table(tiny_table)
    size, frames = table.signal.audio.window_frames, table.frames()
    for batch in TrainLoader(table, table.rows_of("all"), windows_of(tiny_recipe, several)):
        assert batch.audio.shape == (4, several, size, 32) and batch.audio.is_contiguous()
        for row, windows in zip(batch.rows.tolist(), batch.audio.numpy(), strict=True):
            [whole] = table.sound([row], [0], [int(frames[row])])
            starts = [
                next(s for s in range(len(whole) - size + 1) if np.array_equal(whole[s : s + size], window))
                for window in windows
            ]
            assert starts == sorted(starts)
            assert len(set(starts)) == min(several, len(whole) - size + 1)


def test_recordings_without_room_for_the_windows_are_counted(
    tiny_table: Path, tiny_recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    table = Table(tiny_table)
    short = int((table.frames() == table.signal.audio.window_frames).sum())
    assert 0 < short < 24
    TrainLoader(table, table.rows_of("all"), windows_of(tiny_recipe, 2))
    assert f"{short} of 24 training recordings have fewer than 2 different windows of 1 s" in caplog.text
    caplog.clear()
    TrainLoader(table, table.rows_of("all"), windows_of(tiny_recipe, 1))
    assert not caplog.text


@pytest.mark.parametrize("several", [1, 3])
def test_batches_depend_on_seed_and_step_alone(tiny_table: Path, tiny_recipe: Recipe, several: int) -> None:
    everything = replace(
        tiny_recipe.augment, crop_ratio=(0.75, 1.33), grid_distortion=0.3, blur_sigma=1.0, hue_degrees=20, roll=True
    )
    augment = everything if several > 1 else tiny_recipe.augment
    tiny_recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, windows=several), augment=augment)
    table = Table(tiny_table)
    rows = table.rows_of("all")
    whole = list(TrainLoader(table, rows, tiny_recipe))
    one_thread = replace(tiny_recipe, train=replace(tiny_recipe.train, threads=1))
    late = list(TrainLoader(table, rows, one_thread, first=5))
    assert len(late) == len(whole) - 5
    assert all(equal(a, b) for a, b in zip(whole[5:], late, strict=True))
    other = replace(tiny_recipe, train=replace(tiny_recipe.train, seed=1))
    assert not equal(next(iter(TrainLoader(table, rows, other))), whole[0])


def test_twins_are_rows_of_one_image_or_one_recording(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    images, sounds = table.column("image_hash"), table.column("audio_hash")
    for batch in TrainLoader(table, table.rows_of("all"), tiny_recipe):
        assert batch.groups is not None
        twins = twins_between(batch.groups, None, batch.groups, None)
        for i, a in enumerate(batch.rows.tolist()):
            for j, b in enumerate(batch.rows.tolist()):
                assert bool(twins[i, j]) == (images[a] == images[b] or sounds[a] == sounds[b])


def test_twins_can_be_ignored(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    recipe = replace(tiny_recipe, loss=replace(tiny_recipe.loss, twins="ignore"))
    batch = next(iter(TrainLoader(table, table.rows_of("all"), recipe)))
    assert batch.groups is None


def test_groups_tell_the_twins_also_across_batches(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    images, sounds = table.column("image_hash"), table.column("audio_hash")
    groups_of: dict[int, tuple[str, str]] = {}
    for batch in TrainLoader(table, table.rows_of("all"), tiny_recipe):
        assert batch.groups is not None and batch.groups.dtype == torch.int64
        for row, (image, audio, place) in zip(batch.rows.tolist(), batch.groups.tolist(), strict=True):
            assert place == -1  # no column of places
            assert groups_of.setdefault(row, (image, audio)) == (image, audio)
    for a, (image, audio) in groups_of.items():
        for b, (other_image, other_audio) in groups_of.items():
            assert (image == other_image) == (images[a] == images[b])
            assert (audio == other_audio) == (sounds[a] == sounds[b])


def test_points_come_with_a_loss_that_compares_places(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    rows = table.rows_of("all")
    assert next(iter(TrainLoader(table, rows, tiny_recipe))).points is None
    loss = LossConfig(name="SymmetricCLWithMemoryAndDistillation")
    batch = next(iter(TrainLoader(table, rows, replace(tiny_recipe, loss=loss))))
    assert batch.points is not None
    assert torch.equal(batch.points, torch.from_numpy(unit_points(table, rows)[batch.rows]))


def test_too_few_pairs_for_one_batch(tiny_table: Path, tiny_recipe: Recipe) -> None:
    table = Table(tiny_table)
    with pytest.raises(ConfigError, match=r"3 training pairs, fewer than one batch of 4; type --train.batch_size 2"):
        TrainLoader(table, np.arange(3), tiny_recipe)


def test_stopping_early_leaves_no_thread_behind(tiny_table: Path, tiny_recipe: Recipe) -> None:
    import threading

    table = Table(tiny_table)
    before = threading.active_count()
    batches = iter(TrainLoader(table, table.rows_of("all"), tiny_recipe))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before
