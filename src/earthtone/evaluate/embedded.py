"""Pairs as vectors, with what an evaluation must know about them: how to compare, places, twins, labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError, DataError, ModelError

SIMILARITIES = ("cosine", "l2")
_NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class EmbeddedPairs:
    """N pairs: row i of `image` and row i of `audio` belong together.

    Raises DataError for arrays that do not fit together and for impossible coordinates, ModelError for embeddings
    that are not finite, or no unit vectors where the cosine compares them.
    """

    ids: Sequence[str]
    """The N ids of the pairs."""
    image: NDArray[np.float32]
    """(N, D); rows of length 1 for `cosine`."""
    audio: NDArray[np.float32]
    """(N, D); rows of length 1 for `cosine`."""
    longitude: NDArray[np.float64]
    """(N,) degrees, NaN when unknown."""
    latitude: NDArray[np.float64]
    """(N,) degrees, NaN when unknown."""
    image_group: NDArray[np.int64]
    """(N,) equal numbers: the identical image."""
    audio_group: NDArray[np.int64]
    """(N,) equal numbers: the identical recording."""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Labels by column, N each; an empty text is no label."""
    similarity: str = "cosine"
    """How image and audio are compared: `cosine` of unit vectors, or `l2`, the Euclidean distance of any vectors."""

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise ConfigError(f"similarity is {self.similarity!r}; {' or '.join(SIMILARITIES)} expected")
        for name in ("image", "audio"):
            self._check_embeddings(name)
        if self.image.shape[1] != self.audio.shape[1]:
            raise DataError(
                f"image embeddings have {self.image.shape[1]} dimensions and audio embeddings {self.audio.shape[1]}; "
                "both must come from one model"
            )
        for name in ("longitude", "latitude", "image_group", "audio_group"):
            found = np.shape(getattr(self, name))
            if found != (len(self),):
                raise DataError(f"{name} has shape {found}; ({len(self)},) expected, one number a pair")
        for name, labels in self.columns.items():
            if len(labels) != len(self):
                raise DataError(f"column {name!r} has {len(labels)} labels for {len(self)} pairs; give one a pair")
        self._check_places()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_place(self) -> NDArray[np.bool_]:
        """Return (N,), true where the coordinates are known."""
        return np.isfinite(self.longitude)

    def take(self, indices: NDArray[np.int64] | Sequence[int]) -> "EmbeddedPairs":
        """Return the pairs at `indices`, in that order."""
        at = np.asarray(indices, dtype=np.int64)
        return EmbeddedPairs(
            ids=[self.ids[i] for i in at],
            image=self.image[at],
            audio=self.audio[at],
            longitude=self.longitude[at],
            latitude=self.latitude[at],
            image_group=self.image_group[at],
            audio_group=self.audio_group[at],
            columns={name: [labels[i] for i in at] for name, labels in self.columns.items()},
            similarity=self.similarity,
        )

    def twin_clusters(self) -> NDArray[np.int64]:
        """Return (N,) numbers that are equal for pairs linked by a shared image or recording, also through others."""
        cluster = np.arange(len(self), dtype=np.int64)
        groups = [np.unique(group, return_inverse=True)[1] for group in (self.image_group, self.audio_group)]
        while True:
            before = cluster
            for group in groups:
                least = np.full(len(self), len(self), dtype=np.int64)
                np.minimum.at(least, group, cluster)
                cluster = least[group]
            if np.array_equal(before, cluster):
                return cluster

    def _check_embeddings(self, name: str) -> None:
        values = getattr(self, name)
        if values.ndim != 2 or len(values) != len(self):
            raise DataError(f"{name} embeddings have shape {values.shape}; ({len(self)}, D) expected, one row a pair")
        if values.dtype != np.float32:
            raise DataError(f"{name} embeddings are {values.dtype}; float32 expected: .astype(numpy.float32)")
        lengths = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
        if self.similarity == "l2":
            self._check_finite(name, lengths)
            return
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _NORM_TOLERANCE))  # in this form NaN is wrong too
        if len(wrong):
            first = int(wrong[0])
            raise ModelError(
                f"{len(wrong)} of {len(self)} {name} embeddings are not unit vectors, the first of id "
                f"{self.ids[first]!r} has length {lengths[first]:.4g}; a length of nan or inf means that the model's "
                "training diverged, any other that the rows were not divided by their length"
            )

    def _check_finite(self, name: str, lengths: NDArray[np.float64]) -> None:
        wrong = np.flatnonzero(~np.isfinite(lengths))
        if len(wrong):
            raise ModelError(
                f"{len(wrong)} of {len(self)} {name} embeddings are not finite, the first of id "
                f"{self.ids[int(wrong[0])]!r}: the model's training diverged"
            )

    def _check_places(self) -> None:
        half = np.isnan(self.longitude) != np.isnan(self.latitude)
        outside = (np.abs(self.longitude) > 180) | (np.abs(self.latitude) > 90)
        for rows, problem in ((half, "only one coordinate is known"), (outside, "coordinates are out of range")):
            if rows.any():
                first = int(np.flatnonzero(rows)[0])
                raise DataError(
                    f"{problem} for {int(rows.sum())} pairs, the first of id {self.ids[first]!r}: longitude "
                    f"{self.longitude[first]:g}, latitude {self.latitude[first]:g}; degrees within 180 and 90 expected,"
                    " NaN for both when unknown"
                )
