"""Rows that the model finds alike: the nearest of the other modality, by embeddings of a while ago."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.errors import ModelError
from earthtone.models.two_tower import Embeddings, unit_rows
from earthtone.models.weights import read_safetensors, write_safetensors

POOL = 16_384  # rows that are searched for a batch; bounds its time whatever the data's size
_NEAREST = 32  # candidates of a row, nearest first


class Similar:
    """The embeddings of the training rows as they were at a step, and an exact search among some of them.

    Unit vectors are kept as whole numbers of 8 bits (a component of 4 / sqrt(D) is 127; beyond it is cut off), whose
    products add up exactly in float32: the order of the sums, and so the number of threads, changes nothing.
    Memory: 2 x D bytes a row.
    """

    def __init__(self, image: NDArray[np.int8], audio: NDArray[np.int8], step: int) -> None:
        """`image` and `audio` (N, D), in the order of the training rows, as they were before step `step`."""
        self.image, self.audio, self.step = image, audio, step

    @classmethod
    def of(cls, image: Embeddings, audio: Embeddings, step: int) -> "Similar":
        """Of float embeddings (N, D) of any length."""
        return cls(_small(image), _small(audio), step)

    def nearest(
        self, positions: NDArray[np.int64], pool: NDArray[np.int64], *, sound_to_image: bool
    ) -> NDArray[np.int64]:
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
