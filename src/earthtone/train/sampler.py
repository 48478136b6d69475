"""Which rows a batch holds: chance, place, neighbours, look-alikes; each batch is a function of seed and step."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.data.grouped_split import linked
from earthtone.data.packed import Table
from earthtone.encode.engine import embed_rows
from earthtone.errors import ConfigError, DataError, ModelError
from earthtone.geo import Ring, cell_keys
from earthtone.losses import loss_class
from earthtone.losses.twins import twins_between
from earthtone.models.two_tower import Embeddings, unit_rows
from earthtone.models.weights import read_safetensors, write_safetensors
from earthtone.train.distributed import FullWeights, World
from earthtone.train.recipe import Recipe, SamplerConfig

Rows = NDArray[np.int64]
CELL_KM = 50.0
POOL = 16_384  # rows that are searched for a batch; bounds its time whatever the data's size
_NEAREST = 32  # candidates of a row, nearest first
_ASKED = 1000  # rows whose rings are counted at the start

_log = logging.getLogger(__name__)


def unit_points(table: Table, rows: Rows) -> NDArray[np.float64]:
    """Return the unit position vectors (len(table), 3) of the rows' longitude and latitude; NaN where there are none.

    x points to 0 E on the equator, y to 90 E, z to the North pole; float64, since float32 resolves metres only.
    Raises DataError, naming ids, when one of `rows` has no coordinates.
    """
    longitude, latitude = (np.radians(table.numbers(name)) for name in ("longitude", "latitude"))
    level = np.cos(latitude)
    points = np.stack([level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)], axis=1)
    lost = rows[~np.isfinite(points[rows]).all(axis=1)]
    if len(lost):
        ids = ", ".join(record["id"] for record in table.records(lost[:5].tolist(), ["id"]))
        raise DataError(
            f"{table.path}: {len(lost)} of {len(rows)} training pairs have no coordinates ({ids}"
            f"{' ...' if len(lost) > 5 else ''}), and the loss compares places; give them longitude and latitude, "
            "leave them out, or choose another --loss.name"
        )
    return points


class TableGroups(NamedTuple):
    """What shows twins and neighbours, by row number of a table; None where nothing needs it.

    `groups` int64 (rows, 3), `points` float64 (rows, 3). Groups are numbers of image, recording and place, equal for
    equal ones, -1 for none (a missing place). They are numbered over the whole table, so that all processes that
    open it have the same numbers. Points are unit vectors, NaN where a row has no coordinates.
    """

    groups: Rows | None
    points: NDArray[np.float64] | None


def table_groups(table: Table, rows: Rows, recipe: Recipe) -> TableGroups:
    """Return the groups and points that the recipe needs; `rows` are those of the training.

    Raises DataError when the loss compares places and one of `rows` has none, ConfigError when none of them has what
    an option of the recipe looks at.
    """
    sampler = recipe.sampler
    needs_groups = looks_at_twins(recipe) or sampler.ring_share > 0 or sampler.similar_share > 0
    groups = _groups(table, rows, recipe.loss.place_column) if needs_groups else None
    compares = len(recipe.learns) > 1 and loss_class(recipe.loss.name).needs_points
    by_place = recipe.loss.twin_radius_m > 0 or sampler.ring_share > 0 or sampler.batches != "random"
    if not compares and not by_place:
        return TableGroups(groups, None)
    points = unit_points(table, rows if compares else rows[:0])
    if recipe.loss.twin_radius_m and not np.isfinite(points[rows]).all(axis=1).any():
        raise ConfigError(
            f"{table.path}: none of {len(rows)} training pairs has coordinates, so loss.twin_radius_m "
            f"{recipe.loss.twin_radius_m:g} would find nobody; leave it out, or give them longitude and latitude"
        )
    return TableGroups(groups, points)


def looks_at_twins(recipe: Recipe) -> bool:
    """Return whether the step needs to know twins: the loss unless it ignores them, SimCLR within always."""
    return recipe.loss.twins != "ignore" or recipe.within.name == "simclr"


def _groups(table: Table, rows: Rows, place_column: str | None) -> Rows:
    places = np.full(len(table), -1) if place_column is None else table.groups(place_column)
    if place_column is not None and (places[rows] < 0).all():
        raise ConfigError(
            f"{table.path}: column {place_column!r} (loss.place_column) is empty for all {len(rows)} training pairs"
        )
    return np.stack([table.groups("image_hash"), table.groups("audio_hash"), places], axis=1)


def shuffled_sounds(table: Table, rows: Rows, seed: int) -> Rows:
    """Return for each row of the table the row whose sound it has in the control `shuffled_sounds` (len(table),).

    The sounds of `rows` are dealt out among them, once for all by `seed`, so that none has a sound of a row with which
    it shares an image or a recording, be it through others; all other rows keep their sound. Where more than half of
    `rows` belong together this cannot be: as few as can be keep such a sound, and a warning tells how many.
    """
    together = linked([table.groups(name)[rows] for name in ("image_hash", "audio_hash")])
    together = np.where(together < 0, np.arange(len(rows)), together)
    others = strangers(together, np.random.default_rng([seed, 0, 3]))
    heard = np.arange(len(table))
    heard[rows] = rows[others]
    if kept := int((together[others] == together).sum()):
        _log.warning(
            "train.control shuffled_sounds: %d of %d training rows keep a sound of their own image or recording, since "
            "more than half of the rows belong together", kept, len(rows),
        )  # fmt: skip
    return heard


def strangers(groups: Rows, draw: np.random.Generator) -> Rows:
    """Return a permutation (N,) that gives each row one of another group, as far as that can be, and never itself.

    `groups` (N,) are numbers. Rows lie in a circle, groups and rows in an order by chance, those of a group side by
    side; each gets the row so many places on, by chance, that none of its own group is there. Of a group of more than
    half of the rows, M of N, 2 M - N rows get one of their own, which is the least.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count, most = len(groups), int(sizes.max())
    order = np.lexsort((draw.random(count), draw.permutation(len(sizes))[group]))
    apart = count // 2 if 2 * most > count else int(draw.integers(most, count - most + 1))
    found = np.empty(count, np.int64)
    found[order] = np.roll(order, -apart)
    return found


@dataclass(frozen=True)
class Similar:
    """The embeddings of the training rows as they were before a step, to search for rows that look or sound alike.

    Unit vectors are kept as whole numbers of 8 bits (a component of 4 / sqrt(D) is 127; beyond it is cut off), whose
    products add up exactly in float32: the order of the sums, and so the number of threads, changes nothing.
    Memory: 2 x D bytes a row.
    """

    image: NDArray[np.int8]
    audio: NDArray[np.int8]
    """(N, D) each, in the order of the training rows."""
    step: int
    """They are as before this step."""

    @classmethod
    def of(cls, image: Embeddings, audio: Embeddings, step: int) -> "Similar":
        """Return those of float embeddings (N, D) of any length."""
        return cls(_small(image), _small(audio), step)

    def nearest(self, positions: Rows, pool: Rows, *, sound_to_image: bool) -> Rows:
        """Return, for each of `positions` (A), the up to 32 of `pool` (P) nearest to it in the other modality.

        Positions count the training rows; the result (A, up to 32) holds such positions, nearest first.
        """
        own, other = (self.audio, self.image) if sound_to_image else (self.image, self.audio)
        scores = own[positions].astype(np.float32) @ other[pool].astype(np.float32).T  # (A, P), whole numbers
        count = min(_NEAREST, len(pool))
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        order = np.lexsort((best, -np.take_along_axis(scores, best, axis=1)), axis=1)
        return pool[np.take_along_axis(best, order, axis=1)]

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        write_safetensors(
            path,
            {"image": torch.from_numpy(self.image), "audio": torch.from_numpy(self.audio)},
            {"earthtone_similar": str(self.step)},
        )


def load_similar(path: Path, step: int, rows: int) -> Similar:
    """Return what `save` wrote. Raises ModelError when it is of another step or of other rows, or broken."""
    tensors, metadata = read_safetensors(path)
    try:
        image, audio = tensors["image"].numpy(), tensors["audio"].numpy()
        fits = image.shape == audio.shape and len(image) == rows and image.dtype == audio.dtype == np.int8
    except KeyError:
        fits = False
    if not fits or metadata.get("earthtone_similar") != str(step):
        raise ModelError(f"{path}: not the embeddings of step {step} of this run; train anew into another --out")
    return Similar(image, audio, step)


def _small(embeddings: Embeddings) -> NDArray[np.int8]:
    out = np.empty(embeddings.shape, np.int8)
    scale = 127 * np.sqrt(embeddings.shape[1]) / 4
    for start in range(0, len(out), POOL):
        part = unit_rows(embeddings[start : start + POOL])
        out[start : start + POOL] = np.clip(np.rint(part * scale), -127, 127)
    return out


class Sampler:
    """Chooses the rows of every batch among `rows`; safe to use from several threads.

    It has no state but `similar`, the embeddings that look-alikes are sought by, which belong to a step.

    The base rows of all steps in a row go through the training rows pass after pass, in an order of its own for each
    pass: no row comes twice before all others came once, but for fewer than a batch at a pass's end, which wait for
    the next. Without hard negatives a pass is an epoch. Hard negatives are further rows on top, that may come at any
    time, next to the base row they were chosen for: a step of N rows then takes fewer than N base rows, and a pass
    lasts longer than an epoch by that. No row is twice in a batch.
    """

    def __init__(
        self, rows: Rows, size: int, config: SamplerConfig, seed: int, known: TableGroups, twin_radius_m: float = 0.0
    ) -> None:
        self._rows, self._size, self._config, self._seed = rows, size, config, seed
        self._known, self._twin_radius_m = known, twin_radius_m
        self.counts = config.rows(size)
        self.once = self.counts.base == size
        self.similar: Similar | None = None
        self._ring = self._make_ring() if self.counts.ring else None
        if config.batches != "random":
            self._located(f"sampler.batches {config.batches}")
        self._order = lru_cache(maxsize=2)(self._make_order)  # two passes: batches are made ahead

    @property
    def refresh_epochs(self) -> int | None:
        """Return the epochs between two sets of embeddings; None when none are needed."""
        return (self._config.refresh_epochs or 1) if self.counts.similar else None

    def batch(self, step: int) -> Rows:
        """Return the row numbers (size) of a step's batch, no two of them equal."""
        own = self.base_rows(step)
        if self.once:
            return own
        draw = np.random.default_rng([self._seed, step, 1])
        batch = _Growing(own)
        if self._ring is not None:
            asked, ring = draw.permutation(own).tolist(), self._ring
            batch.add_around(asked, self.counts.ring, lambda row: self._strangers(row, ring.around(row, draw)))
        if self.counts.similar:
            alike = self._look_alikes(own, draw)
            batch.add_around(list(alike), self.counts.similar, alike.__getitem__)
        while len(batch.rows) < self._size:  # where neighbours are few
            batch.add(int(draw.choice(self._rows)), None)
        return batch.ordered()

    def base_rows(self, step: int) -> Rows:
        """Return the rows whose turn it is in a step, without hard negatives."""
        base = self.counts.base
        turn, number = divmod(step, len(self._rows) // base)
        found: Rows = self._order(turn)[number * base : (number + 1) * base]
        return found

    def _make_order(self, turn: int) -> Rows:
        """Return all rows in the order of a pass."""
        draw = np.random.default_rng([self._seed, turn])
        order: Rows = draw.permutation(self._rows)
        if self._config.batches == "random":
            return order
        assert self._known.points is not None  # noqa: S101 - for the type checker: the start saw to it
        shift = draw.random(3)  # no two places are always on two sides of a border
        keys = cell_keys(self._known.points[order], self._config.cell_km or CELL_KM, shift)
        _, cell, counts = np.unique(keys, return_inverse=True, return_counts=True)
        if self._config.batches == "spread":
            return order[np.argsort(_even_times(cell, counts, draw), kind="stable")]
        order = order[np.argsort(draw.permutation(len(counts))[cell], kind="stable")]
        whole = len(order) // self.counts.base * self.counts.base
        batches = draw.permutation(order[:whole].reshape(-1, self.counts.base))  # a city fills several: not in a row
        return np.concatenate([batches.ravel(), order[whole:]])

    def _look_alikes(self, own: Rows, draw: np.random.Generator) -> dict[int, Rows]:
        """Return rows like some of the base rows: like half of these by their images, the others by their sounds."""
        if self.similar is None:
            raise ConfigError("sampler.similar_share needs the model's embeddings before the first batch: none given")
        rows = len(self._rows)
        pool = np.arange(rows) if rows <= POOL else draw.choice(rows, POOL, replace=False, shuffle=False)
        asked = draw.permutation(np.searchsorted(self._rows, own))[: self.counts.similar]
        half = len(asked) // 2
        nearest = [
            *self.similar.nearest(asked[:half], pool, sound_to_image=False),
            *self.similar.nearest(asked[half:], pool, sound_to_image=True),
        ]
        found = zip(self._rows[asked].tolist(), nearest, strict=True)
        return {row: self._strangers(row, self._rows[near]) for row, near in found}

    def _strangers(self, row: int, candidates: Rows) -> Rows:
        """Return the candidates that are no twins of a row and not the row itself."""
        groups, points = self._known
        assert groups is not None  # noqa: S101 - for the type checker
        one = slice(row, row + 1)
        here, there = (None, None) if points is None else (torch.from_numpy(points[r]) for r in (one, candidates))
        twins = twins_between(
            torch.from_numpy(groups[one]), here, torch.from_numpy(groups[candidates]), there, self._twin_radius_m
        )
        kept: Rows = candidates[~twins[0].numpy() & (candidates != row)]
        return kept

    def _located(self, option: str) -> Rows:
        """Return the training rows with a place. Raises ConfigError when they are fewer than a batch."""
        points = self._known.points
        assert points is not None  # noqa: S101 - for the type checker: the facts follow the recipe
        located = self._rows[np.isfinite(points[self._rows]).all(axis=1)]
        if len(located) < self._size:
            raise ConfigError(
                f"{len(located)} of {len(self._rows)} training pairs have coordinates, fewer than a batch of "
                f"{self._size}, and {option} looks at places; leave it out, or give them longitude and latitude"
            )
        return located

    def _make_ring(self) -> Ring:
        """Return the search for neighbours. Raises ConfigError when no row has one, and warns when some have none."""
        config = self._config
        located = self._located("sampler.ring_share")
        assert config.ring_km is not None and self._known.points is not None  # noqa: S101 - for the type checker
        points = np.full_like(self._known.points, np.nan)
        points[located] = self._known.points[located]  # rows of other splits are no neighbours
        low, high = config.ring_km
        ring = Ring(points, low, high)
        draw = np.random.default_rng([self._seed, 0, 2])
        asked = self._rows if len(self._rows) <= _ASKED else draw.choice(self._rows, _ASKED, replace=False)
        have = float(np.mean([len(self._strangers(int(row), ring.around(int(row), draw))) > 0 for row in asked]))
        if have == 0:
            raise ConfigError(
                f"none of {len(asked)} training pairs has another one {low:g} to {high:g} km away (sampler.ring_km); "
                "widen the ring or leave out sampler.ring_share"
            )
        if have < 1:
            _log.warning(
                "%.0f %% of the training pairs have another one %g to %g km away (sampler.ring_km); where a batch has "
                "too few of them, pairs by chance take their place", 100 * have, low, high,
            )  # fmt: skip
        return ring


class _Growing:
    """A batch while it grows: base rows, then rows chosen for one of them or for none."""

    def __init__(self, own: Rows) -> None:
        self.own = own
        self.rows = own.tolist()
        self._places = {row: float(place) for place, row in enumerate(self.rows)}

    def add(self, row: int, chosen_for: int | None) -> bool:
        """Add a row unless it is there; return whether it was added."""
        if row in self._places:
            return False
        self.rows.append(row)
        self._places[row] = len(self.own) if chosen_for is None else self._places[chosen_for] + 0.5
        return True

    def add_around(self, asked: list[int], count: int, candidates: Callable[[int], Rows]) -> None:
        """Add `count` rows, each the first of another base row's candidates that is not there, while there are any."""
        while asked and count:
            answered = []
            for row in asked:
                if count and any(self.add(int(other), row) for other in candidates(row)):
                    answered.append(row)
                    count -= 1
            asked = answered  # those without another candidate are not asked again

    def ordered(self) -> Rows:
        """Return the rows, each base row before those chosen for it: some losses compare a row with the one before."""
        order = np.argsort([self._places[row] for row in self.rows], kind="stable")
        return np.array(self.rows, np.int64)[order]


def _even_times(cell: Rows, counts: Rows, draw: np.random.Generator) -> NDArray[np.float64]:
    """Return when, from 0 to 1, each row comes: those of one cell at even intervals (systematic sampling)."""
    by_cell = np.argsort(cell, kind="stable")
    rank = np.empty(len(cell), np.int64)
    rank[by_cell] = np.arange(len(cell)) - np.repeat(counts.cumsum() - counts, counts)
    return np.asarray((rank + draw.random(len(counts))[cell]) / counts[cell], np.float64)


@dataclass(frozen=True)
class Refresher:
    """Embeds all training rows between two epochs, for the sampler to seek look-alikes among them from then on.

    The embeddings are a file in the run's folder until the next ones. A checkpoint of a later step has other weights,
    so a resume reads them from that file. What goes before: the new file is written, `checkpoint` is called, and only
    then are the older files deleted, so that there always are a checkpoint and the embeddings it needs, whenever the
    run is killed.
    """

    folder: Path
    full: FullWeights
    table: Table
    rows: Rows
    sampler: Sampler
    resumed: int
    """The step that the run goes on from."""
    world: World
    """Of several processes, which call it at the same steps, the first embeds and writes; the others read."""
    checkpoint: Callable[[], None]
    """Saves a checkpoint of the step that was just done."""

    def __call__(self, step: int) -> None:
        """Give the sampler the embeddings of the model before `step`. Raises ModelError when they are lost."""
        path = self.folder / f"similar-{step}.safetensors"
        if step < self.resumed:
            if not path.exists():
                raise ModelError(
                    f"{path} is missing, without which the run cannot go on; train anew into another --out"
                )
            self.sampler.similar = load_similar(path, step, len(self.rows))
            return
        if not self.world.first:
            self.full.serve()
            self.world.wait()
            self.sampler.similar = load_similar(path, step, len(self.rows))
            return
        similar = Similar.of(*embed_rows(self.full.model(), self.table, self.rows), step)
        similar.save(path)
        if step > self.resumed:
            self.checkpoint()
        self.full.release()
        self.world.wait()
        self.sampler.similar = similar
        drop_embeddings(self.folder, but=path)


def drop_embeddings(folder: Path, but: Path | None = None) -> None:
    """Delete the files of embeddings in a run's folder, all but one."""
    for path in folder.glob("similar-*.safetensors"):
        if path != but:
            path.unlink()
