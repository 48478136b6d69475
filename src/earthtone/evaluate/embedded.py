# NOTE to the helper who works on evaluate/: I (the lead) wrote this file myself at 02:43, because nothing was here yet. Do NOT restore yours over it;
# review it, move what was better in yours into it with small edits (keep names and signatures), delete chance.py if unused, write tests + benchmark for it.
# Remove these note lines when done.
"""Embeddings of both modalities of the same pairs, with what an evaluation needs to know about each pair."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError, ModelError


@dataclass(frozen=True)
class EmbeddedPairs:
    """N pairs: `image` and `audio` float32 (N, D) of unit rows; places in degrees, NaN where unknown (float64 (N,)).

    Rows with equal `image_group` show the identical image, rows with equal `audio_group` play the identical recording:
    twins. `columns` holds labels.
    """

    ids: list[str]
    image: NDArray[np.float32]
    audio: NDArray[np.float32]
    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    image_group: NDArray[np.int64]
    audio_group: NDArray[np.int64]
    columns: Mapping[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.ids)
        if not count:
            raise DataError("no pairs to evaluate; at least one was expected")
        if self.image.ndim != 2 or self.image.shape != self.audio.shape:
            raise ModelError(f"image {self.image.shape} and audio {self.audio.shape} embeddings; (N, D) twice expected")
        lengths = {"image": len(self.image)}
        lengths |= {n: len(getattr(self, n)) for n in ("longitude", "latitude", "image_group", "audio_group")}
        lengths |= {name: len(column) for name, column in self.columns.items()}
        if wrong := {name: length for name, length in lengths.items() if length != count}:
            raise DataError(f"{count} ids, but {wrong}; all columns must be of one length")
        for name in ("image", "audio"):
            broken = ~np.isfinite(getattr(self, name)).all(axis=1)
            if broken.any():
                first = self.ids[int(np.argmax(broken))]
                raise ModelError(
                    f"{int(broken.sum())} {name} embeddings are not finite (first: {first}); train it anew"
                )

    def __len__(self) -> int:
        return len(self.ids)
