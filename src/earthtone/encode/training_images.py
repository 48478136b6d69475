"""What the images were like that a model was trained on, so that it can be said of another one that it is like none.

A sound tower ranks any image, also one of ice where none was trained on. The embedding alone does not tell: towers map
what they do not know onto what they know. So two things of up to 1,024 training images are kept beside the model: their
embeddings, and what they look like in ten plain numbers. An image is as unlike as its tenth nearest of these is far, in
either, in units of the distance within which 99 in 100 training images have theirs
(Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors", arXiv 2204.06507, for the embeddings).
"""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.data.packed import Table
from earthtone.encode.engine import check_signal, stored_tiles, tile_sides_m
from earthtone.errors import DataError, FormatError, ModelError
from earthtone.files import FORMATS, format_of
from earthtone.models.storage import model_fingerprint
from earthtone.models.two_tower import Embeddings, TwoTower
from earthtone.models.weights import read_safetensors, write_safetensors
from earthtone.signal.image import Pixels

FILE = "training_images.safetensors"
LOOK = 10  # numbers that `image_look` gives
SAMPLE = 1024
_KIND = "training images"
_HEADER = "earthtone_training_images"
_NEIGHBOUR = 10
_WITHIN = 0.99
_BLOCK = 2048  # rows whose distances are held at once
_SCALES = 4
_TINY = 1e-6
_READ = 64  # rows of a table read at once

_log = logging.getLogger(__name__)


def image_look(view: Pixels) -> NDArray[np.float32]:
    """Return what a view, uint8 (side, side, 3 or more), looks like, (10,): its mean colour, and how much it varies.

    The mean of red, green and blue; log(1 + standard deviation) of its brightness from pixels of 1, 2, 4 and 8 to
    those twice as large, and of what is left; the same of red and of blue against brightness.
    """
    colours = np.ascontiguousarray(view[..., :3], np.float32)
    level = grey = cv2.transform(colours, np.full((1, 3), 1 / 3, np.float32))
    spread = []
    for _ in range(_SCALES):
        height, width = (size // 2 * 2 for size in level.shape)
        if not height or not width:
            spread.append(0.0)
            continue
        level = level[:height, :width]
        coarse = cv2.resize(level, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        spread.append(_deviation(level - cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)))
        level = np.atleast_2d(coarse)
    spread += [_deviation(level), *(_deviation(colours[..., band] - grey) for band in (0, 2))]
    return np.concatenate([cv2.mean(colours)[:3], np.log1p(spread)]).astype(np.float32)


def _deviation(values: Any) -> float:
    return float(cv2.meanStdDev(values)[1][0, 0])


def look_text(look: NDArray[np.float32]) -> str:
    """Return a look as the column `look` of a table of embeddings holds it."""
    return " ".join(f"{value:.5g}" for value in look)


def looks_of_text(column: Sequence[str | None]) -> NDArray[np.float32] | None:
    """Return looks (N, 10) of such a column, NaN where there is none; None where no row has one."""
    looks = np.full((len(column), LOOK), np.nan, np.float32)
    for row, text in enumerate(column):
        with suppress(ValueError):
            if text and len(values := [float(part) for part in text.split()]) == LOOK:
                looks[row] = values
    return None if np.isnan(looks).all() else looks


@dataclass(frozen=True)
class TrainingImages:
    """Up to 1,024 images of those that a model was trained on."""

    vectors: Embeddings
    """(N, D) their embeddings."""
    looks: NDArray[np.float32]
    """(N, 10) what they look like (`image_look`)."""
    model_fingerprint: str
    data: str
    """What they are of, as it was named."""

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each number of the looks; at least a hundredth of its size."""
        mean, deviation = self.looks.mean(axis=0, dtype=np.float64), self.looks.std(axis=0, dtype=np.float64)
        return mean, np.maximum(deviation, np.maximum(0.01 * np.abs(mean), 0.01))

    @cached_property
    def _parts(self) -> tuple[tuple[NDArray[np.float64], float], tuple[NDArray[np.float64], float]]:
        """Embeddings and scaled looks, each with the distance within which 99 in 100 have their tenth nearest."""
        return _with_reach(self.vectors.astype(np.float64)), _with_reach(self._scaled(self.looks))

    def _scaled(self, looks: NDArray[np.float32]) -> NDArray[np.float64]:
        mean, deviation = self._scale
        return (looks - mean) / deviation

    def unlikeness(self, vectors: Embeddings, looks: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return (M,) how unlike all training images others are, by vectors (M, D) and looks (M, 10) where known.

        Above 1: further from them than 99 in 100 training images are from each other, in the embedding or in what they
        look like. NaN where a vector is.
        """
        (known, reach), (known_looks, look_reach) = self._parts
        found = _nearest(vectors.astype(np.float64), known) / reach
        if looks is not None:
            by_look = _nearest(self._scaled(looks), known_looks) / look_reach
            found = np.where(np.isnan(found), found, np.fmax(found, by_look))
        return found.astype(np.float32)


def _with_reach(known: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return rows with the distance within which 99 in 100 of them have their tenth nearest other."""
    return known, max(float(np.quantile(_nearest(known, known, own=True), _WITHIN)), _TINY)


def _nearest(
    rows: NDArray[np.float64], known: NDArray[np.float64], *, own: bool = False
) -> NDArray[np.float64]:  # fmt: skip
    """Return (M,) the distance of rows to their tenth nearest of `known` (of a few to the middle one); NaN stays NaN.

    `own`: the rows are the known ones, and none is its own neighbour.
    """
    others = len(known) - own
    place = min(_NEIGHBOUR, max(1, others // 2)) - 1 + own
    squares = np.square(known).sum(axis=1)
    out = np.full(len(rows), np.nan)
    if others < 1:
        return out
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        distances = np.square(part).sum(axis=1)[:, None] + squares - 2 * part @ known.T
        whole = np.isfinite(part).all(axis=1)
        found = np.partition(distances[whole], place, axis=1)[:, place]
        out[start : start + _BLOCK][whole] = np.sqrt(np.maximum(found, 0.0))
    return out


# Of a table's train split, beside a model, and back.


def training_images_of(model: TwoTower, table: Table, seed: int = 0) -> TrainingImages:
    """Return what the images of the table's split `train` are like, at most 1,024 of them, drawn with `seed`.

    Raises ModelError where the table was packed with another signal config, DataError for fewer than two images.
    """
    check_signal(model, table)
    rows = table.rows_of("train", ["image"])
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:SAMPLE])
    if len(rows) < 2:
        raise DataError(f"{table.path}: {len(rows)} images of split train; two at least expected")
    looks: list[NDArray[np.float32]] = []

    def seen() -> Any:
        for part in np.split(rows, range(_READ, len(rows), _READ)):
            sides_m: Sequence[float | None] = tile_sides_m(model, table, part) or [None] * len(part)
            for view in model.views(stored_tiles(table, part), sides_m):
                looks.append(image_look(view))
                yield view

    start = model.image_tower.features
    vectors = np.stack([row[start : start + model.config.dimensions] for row in model.encoded_images(seen())])
    return TrainingImages(vectors, np.stack(looks), model_fingerprint(model), table.name)


def write_training_images(path: Path, images: TrainingImages) -> None:
    """Write them to a `.safetensors` file, whole or not at all."""
    said = {"format": FORMATS[_KIND], "model_fingerprint": images.model_fingerprint, "data": images.data}
    tensors = {"vectors": torch.from_numpy(images.vectors), "looks": torch.from_numpy(images.looks)}
    write_safetensors(path, tensors, {_HEADER: json.dumps(said, sort_keys=True)})


def read_training_images(path: Path, fingerprint: str) -> TrainingImages | None:
    """Return what `write_training_images` wrote for the model with this fingerprint, None where there is no file.

    One that is damaged, or of other weights, is told in a warning, and None: a map is drawn without it. Raises
    NewerFormatError.
    """
    if not path.exists():
        return None
    try:
        tensors, header = read_safetensors(path)
        said: Mapping[str, Any] = json.loads(header[_HEADER])
        format_of(said, _KIND, path)
        vectors, looks = tensors["vectors"].numpy(), tensors["looks"].numpy()
        found = TrainingImages(vectors, looks, str(said["model_fingerprint"]), str(said["data"]))
        if vectors.ndim != 2 or looks.shape != (len(vectors), LOOK) or len(vectors) < 2:
            raise ValueError(f"{vectors.shape} and {looks.shape}")
    except FormatError:
        raise
    except (ModelError, KeyError, ValueError, TypeError, RecursionError) as error:
        _log.warning("%s cannot be used (%s); delete it, and give --training TABLE once", path, str(error)[:120])
        return None
    if found.model_fingerprint != fingerprint:
        _log.warning("%s is of other weights than this model's; delete it, and give --training TABLE once", path)
        return None
    return found


def keep_training_images(run: Path, model: TwoTower, table: Table) -> None:
    """Write beside a run's model what its training images are like, unless that is there."""
    path = run / FILE
    if read_training_images(path, model_fingerprint(model)) is None and len(table.rows_of("train", ["image"])) >= 2:
        write_training_images(path, training_images_of(model, table))
