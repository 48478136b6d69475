"""Batches from a packed table by threads; each is a function of seed and step alone, so training resumes exactly."""

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthtone.data.table import Table
from earthtone.errors import ConfigError, DataError
from earthtone.signal.image import decode_tile
from earthtone.train.augment import random_sound, random_starts, random_view
from earthtone.train.precision import choose_device
from earthtone.train.recipe import Recipe
from earthtone.train.row_facts import table_facts

_log = logging.getLogger(__name__)
_AHEAD = 4  # batches prepared before they are asked for


class Batch(NamedTuple):
    """`image` uint8 (N, side, side, 3), `audio` uint8 (N, W, frames, mels), `rows` int64 (N,).

    `groups` int64 (N, 3): numbers of image, recording and place, equal for equal ones; given unless twins are ignored.
    `points` float64 (N, 3): unit vectors of the places, NaN where unknown; given when the loss or twins need them.
    """

    image: Tensor
    audio: Tensor
    rows: Tensor
    groups: Tensor | None = None
    points: Tensor | None = None


class TrainLoader:
    """Augmented batches of all epochs in a row, from step `first` on; what does not fill a batch waits an epoch."""

    def __init__(self, table: Table, rows: NDArray[np.int64], recipe: Recipe, first: int = 0) -> None:
        size = recipe.train.batch_size
        if len(rows) < size:
            raise ConfigError(
                f"{table.path}: {len(rows)} training pairs, fewer than one batch of {size}; "
                f"type --train.batch_size {max(2, len(rows) // 2)} or add pairs"
            )
        self._table = table
        self._rows = rows
        self._recipe = recipe
        self._frames = table.frames()
        if (self._frames[rows] < table.signal.audio.window_frames).any():
            raise DataError(f"{table.path}: recordings shorter than a window: a damaged table; pack it again")
        self._warn_of_repeats(rows)
        self._groups, self._points = table_facts(table, rows, recipe)
        if self._points is not None and choose_device(recipe.train.device) == "mps":
            self._points = self._points.astype(np.float32)  # mps has no float64
        self.steps_per_epoch = len(rows) // size
        self.first = first

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self._recipe.train.epochs

    def __len__(self) -> int:
        """Batches that are still to come."""
        return self.steps - self.first

    def __iter__(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(self._recipe.train.threads, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            waiting: deque[Future[Batch]] = deque()
            steps = iter(range(self.first, self.steps))
            try:
                for _ in range(self.first, self.steps):
                    while len(waiting) < _AHEAD and (step := next(steps, None)) is not None:
                        waiting.append(pool.submit(self._batch, step))
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _batch(self, step: int) -> Batch:
        recipe, signal = self._recipe, self._table.signal
        epoch, number = divmod(step, self.steps_per_epoch)
        size = recipe.train.batch_size
        rows = self._order(epoch)[number * size : (number + 1) * size]
        draws = [np.random.default_rng([recipe.train.seed, epoch, int(row)]) for row in rows]
        tiles = map(decode_tile, self._table.images(rows.tolist()))
        side = signal.image.pixels
        views = [random_view(tile, side, recipe.augment, draw) for tile, draw in zip(tiles, draws, strict=True)]
        return Batch(
            image=torch.from_numpy(np.stack(views)),
            audio=torch.from_numpy(self._sound(rows, draws)),
            rows=torch.from_numpy(rows),
            groups=None if self._groups is None else torch.from_numpy(self._groups[rows]),
            points=None if self._points is None else torch.from_numpy(self._points[rows]),
        )

    def _sound(self, rows: NDArray[np.int64], draws: list[np.random.Generator]) -> NDArray[np.uint8]:
        """Return changed windows (N, W, frames, mels) from random places of the rows' recordings."""
        audio, several = self._table.signal.audio, self._recipe.train.windows
        frames = audio.window_frames
        room = self._frames[rows] - frames  # recordings are at least one window long
        starts = [
            start for free, draw in zip(room, draws, strict=True) for start in random_starts(int(free), several, draw)
        ]
        sound = self._table.sound(np.repeat(rows, several).tolist(), starts, [frames] * len(starts))
        each = (draw for draw in draws for _ in range(several))
        heard = [
            random_sound(window, audio, self._recipe.augment, draw) for window, draw in zip(sound, each, strict=True)
        ]
        return np.stack(heard).reshape(len(rows), several, frames, audio.mels)

    def _warn_of_repeats(self, rows: NDArray[np.int64]) -> None:
        """Say how many recordings are too short for as many different windows as the recipe asks for."""
        audio, several = self._table.signal.audio, self._recipe.train.windows
        if few := int((self._frames[rows] - audio.window_frames + 1 < several).sum()):
            _log.warning(
                "%s: %d of %d training recordings have fewer than %d different windows of %g s: windows are repeated",
                self._table.path, few, len(rows), several, audio.window_seconds,
            )  # fmt: skip

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._recipe.train.seed, epoch]).permutation(self._rows)
