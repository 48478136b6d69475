"""Batches from a packed table by threads; each is a function of seed and step alone, so training resumes exactly."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthtone.data.packed import Table
from earthtone.device import choose_device
from earthtone.errors import ConfigError, DataError
from earthtone.losses import loss_class
from earthtone.progress import ordered_map
from earthtone.signal.image import decode_tile
from earthtone.train.augment import Background, random_background, random_sound, random_starts, random_view
from earthtone.train.recipe import Recipe
from earthtone.train.sampler import Sampler, looks_at_twins, shuffled_sounds, table_groups

_log = logging.getLogger(__name__)
_AHEAD = 4  # batches prepared before they are asked for


class Batch(NamedTuple):
    """`image` uint8 (V n, side, side, C), `audio` uint8 (V n, W, frames, mels), `rows` int64 (N,).

    C is 3, or 4 with `model.scale_input`: red, green, blue, metres a pixel (`with_scale`). Where one tower learns alone
    (`Recipe.learns`) there is nothing for the other.

    The first views of all pairs come first, then all second ones, up to V = `train.views`. n = N where one process
    trains; of several each has n = N / processes pairs' pictures and recordings, but groups and points of all.

    `groups` int64 (V N, 3): numbers of image, recording and place, equal for equal ones; given when twins are looked
    at. `points` float64 (V N, 3): unit vectors of the places, NaN where unknown; given when the loss or twins need
    them. `pairs` int64 (V N,): the rows that the views show, also of an earlier step; given when there are several.
    """

    image: Tensor | None
    audio: Tensor | None
    rows: Tensor
    groups: Tensor | None = None
    points: Tensor | None = None
    pairs: Tensor | None = None


class TrainLoader:
    """Augmented batches of all epochs in a row, from step `first` on; the sampler chooses their rows.

    Of several processes each reads the rows `rank`, `rank + processes`, ... of a batch; the batch is the same for any
    number of them.
    """

    def __init__(
        self,
        table: Table,
        rows: NDArray[np.int64],
        recipe: Recipe,
        first: int = 0,
        *,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        size = recipe.train.batch_size
        if len(rows) < size:
            raise ConfigError(
                f"{table.path}: {len(rows)} training pairs, fewer than one batch of {size}; "
                f"type --train.batch_size {max(2, len(rows) // 2)} or add pairs"
            )
        self._table = table
        self._rows = rows
        self._recipe = recipe
        self._room = table.frames() - table.signal.audio.window_frames  # the last frame that a window may start at
        if "audio" in recipe.learns:
            if (self._room[rows] < 0).any():
                raise DataError(f"{table.path}: recordings shorter than a window: a damaged table; pack it again")
            self._warn_of_repeats(rows)
        self._sides_m = _tile_sides(table, rows) if recipe.model.scale_input else None
        shuffled = recipe.train.control == "shuffled_sounds"
        self._heard = shuffled_sounds(table, rows, recipe.train.seed) if shuffled else np.arange(len(table))
        """Of each row, the row whose sound it has."""
        known = table_groups(table, rows, recipe)
        self.sampler = Sampler(rows, size, recipe.sampler, recipe.train.seed, known, recipe.loss.twin_radius_m)
        self._groups = known.groups if looks_at_twins(recipe) else None
        if shuffled and self._groups is not None:  # the sampler's stay: its batches are those of the true training
            self._groups = np.stack([self._groups[:, 0], self._groups[self._heard, 1], self._groups[:, 2]], axis=1)
        needs_points = loss_class(recipe.loss.name).needs_points or recipe.loss.twin_radius_m
        self._points = known.points if needs_points else None
        if self._points is not None and choose_device(recipe.train.device) == "mps":
            self._points = self._points.astype(np.float32)  # mps has no float64
        self.refresh: Callable[[int], None] | None = None
        """Called before each step at which the sampler shall learn of the model (`Refresher`)."""
        self.steps_per_epoch = len(rows) // size
        self.first = first
        self._share = slice(rank, None, processes)

    @property
    def steps(self) -> int:
        """Return the steps of the whole training."""
        return self.steps_per_epoch * self._recipe.train.epochs

    def __len__(self) -> int:
        """Return how many batches are still to come."""
        return self.steps - self.first

    def __iter__(self) -> Iterator[Batch]:
        for start, stop in self._stretches():
            if self.refresh is not None:
                self.refresh(start)
            steps = range(max(start, self.first), stop)
            yield from ordered_map(
                self._batch, steps, self._recipe.train.threads, ahead=_AHEAD, begin=partial(cv2.setNumThreads, 1)
            )

    def _stretches(self) -> list[tuple[int, int]]:
        """Return the steps between which the sampler learns of the model: from its last refresh before `first` on."""
        epochs = self.sampler.refresh_epochs
        if epochs is None:
            return [(self.first, self.steps)]
        every = epochs * self.steps_per_epoch
        starts = range(self.first // every * every, self.steps, every)
        return [(start, min(start + every, self.steps)) for start in starts]

    def _batch(self, step: int) -> Batch:
        recipe, signal = self._recipe, self._table.signal
        rows = self.sampler.batch(step)
        own = rows[self._share]
        # a row that may come again in an epoch is varied anew
        clock = step // self.steps_per_epoch if self.sampler.once else self.steps + step
        views = recipe.train.views
        draws = [_draw(recipe.train.seed, clock, int(row), view) for view in range(views) for row in own]
        image = audio = None
        if "image" in recipe.learns:
            tiles = [decode_tile(data) for data in self._table.images(own.tolist())] * views
            side = signal.image.pixels
            metres = [None] * len(draws) if self._sides_m is None else self._sides_m[np.tile(own, views)].tolist()
            given = zip(tiles, draws, metres, strict=True)
            seen = [random_view(tile, side, recipe.augment, draw, side_m) for tile, draw, side_m in given]
            image = torch.from_numpy(np.stack(seen))
        if "audio" in recipe.learns:
            audio = torch.from_numpy(self._sound(self._heard[np.tile(own, views)], draws))
        repeated = np.tile(rows, views)
        return Batch(
            image=image,
            audio=audio,
            rows=torch.from_numpy(rows),
            groups=None if self._groups is None else torch.from_numpy(self._groups[repeated]),
            points=None if self._points is None else torch.from_numpy(self._points[repeated]),
            pairs=torch.from_numpy(repeated) if views > 1 else None,
        )

    def _sound(self, rows: NDArray[np.int64], draws: list[np.random.Generator]) -> NDArray[np.uint8]:
        """Return changed windows (n, W, frames, mels) from random places of the rows' recordings."""
        audio, several = self._table.signal.audio, self._recipe.train.windows
        frames = audio.window_frames
        rooms = self._room[rows].tolist()
        starts = [
            start for room, draw in zip(rooms, draws, strict=True) for start in random_starts(room, several, draw)
        ]
        repeated, each = np.repeat(rows, several), [draw for draw in draws for _ in range(several)]
        sound = self._table.sound(repeated.tolist(), starts, [frames] * len(starts))
        behind = self._backgrounds(repeated, each)
        heard = [
            random_sound(window, audio, self._recipe.augment, draw, background)
            for window, draw, background in zip(sound, each, behind, strict=True)
        ]
        return np.stack(heard).reshape(len(rows), several, frames, audio.mels)

    def _backgrounds(self, rows: NDArray[np.int64], draws: list[np.random.Generator]) -> list[Background | None]:
        """Return what is mixed into one window each of `rows`."""
        drawn = [
            random_background(int(row), self._rows, self._room, self._recipe.augment, draw)
            for row, draw in zip(rows, draws, strict=True)
        ]
        found = [background for background in drawn if background is not None]
        if not found:
            return [None] * len(drawn)
        others, starts, decibel = zip(*found, strict=True)
        sound = self._table.sound(others, starts, [self._table.signal.audio.window_frames] * len(found))
        read = map(Background, sound, decibel)
        return [None if background is None else next(read) for background in drawn]

    def _warn_of_repeats(self, rows: NDArray[np.int64]) -> None:
        """Warn of how many recordings are too short for as many different windows as the recipe asks for."""
        audio, several = self._table.signal.audio, self._recipe.train.windows
        if few := int((self._room[rows] + 1 < several).sum()):
            _log.warning(
                "%s: %d of %d training recordings have fewer than %d different windows of %g s: windows are repeated",
                self._table.path, few, len(rows), several, audio.window_seconds,
            )  # fmt: skip


def _tile_sides(table: Table, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the metres along a side of each row's tile; the median of `rows` stands for what is unknown."""
    sides_m = table.tile_sides_m
    unknown = int(np.isnan(sides_m[rows]).sum())
    if unknown:
        _log.warning(
            "%s: image_gsd_m of %d of %d training images is unknown; model.scale_input takes the median for them",
            table.path, unknown, len(rows),
        )  # fmt: skip
    return np.where(np.isnan(sides_m), training_side_m(table, rows), sides_m)


def training_side_m(table: Table, rows: NDArray[np.int64]) -> float:
    """Return what stands for unknown metres along a tile's side. Raises ConfigError where all of `rows` are."""
    if not table.has_column("tile_side_m"):
        raise ConfigError(
            f"{table.path} was packed before tables kept the metres along a tile; model.scale_input needs them: pack "
            "again with earthtone pack DATA --out NEW.lance"
        )
    sides_m = table.tile_sides_m[rows]
    known = sides_m[~np.isnan(sides_m)]
    if not len(known):
        raise ConfigError(
            f"{table.path}: image_gsd_m is known of no training image; model.scale_input needs it: give a column "
            "image_gsd_m (metres a pixel) and pack again, or leave model.scale_input out"
        )
    return float(np.float32(np.median(known)))  # as the weights hold it


def _draw(seed: int, clock: int, row: int, view: int) -> np.random.Generator:
    """Return what one view of a row draws from; a first view has what it had before there were others."""
    return np.random.default_rng([seed, clock, row, view] if view else [seed, clock, row])
