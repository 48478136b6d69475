"""A training as `earthtone pretrain` runs it, without its records, for the benchmarks: how long steps and waits are."""

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from lightning.pytorch import Callback

from earthtone.models.two_tower import TwoTower
from earthtone.train.distributed import World, make_trainer
from earthtone.train.lightning_module import PretrainTask, recipe_loss
from earthtone.train.loader import Batch
from earthtone.train.recipe import Recipe

WARM_UP = 2  # steps that are not counted


class Clock(Callback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.ends.append(time.perf_counter())


class Waited:
    """Batches, and how long the training waited for each."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.seconds: list[float] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.batches)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.seconds.append(time.perf_counter() - start)
            if batch is None:
                return
            yield batch


def train(recipe: Recipe, batches: Any) -> tuple[list[float], list[float]]:
    """Return the seconds of each step, and of the wait for its batch, after the first ones, on the CPU."""
    torch.manual_seed(0)
    model = TwoTower(recipe.model, recipe.signal).to(memory_format=torch.channels_last)
    task = PretrainTask(model, recipe_loss(recipe), recipe.train, len(batches))
    clock, waited = Clock(), Waited(batches)
    make_trainer(recipe, "cpu", World(), clock).fit(task, waited)
    return [end - start for start, end in pairwise(clock.ends)][WARM_UP - 1 :], waited.seconds[WARM_UP : len(batches)]


def random_batches(recipe: Recipe, count: int) -> Sequence[Batch]:
    """Batches of noise."""
    size, image, audio = recipe.train.batch_size, recipe.signal.image, recipe.signal.audio
    shape = (size, recipe.train.windows, audio.window_frames, audio.mels)
    return [
        Batch(
            torch.randint(0, 256, (size, image.pixels, image.pixels, 3), dtype=torch.uint8),
            torch.randint(0, 256, shape, dtype=torch.uint8),
            torch.arange(size),
        )
        for _ in range(count)
    ]
