"""Where each row of a table of embeddings lies on a plane, for pictures: by principal components, or by UMAP.

The mean vector of its modality is taken from each vector first. Images and recordings of one place lie in cones apart
(the modality gap, which `earthtone doctor` measures); on a plane of the raw vectors the first axis would say little
more than which of the two a row is, a column that every row has anyway, and no sound would lie beside its like.
Clusters (k-means) are found among the same vectors.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from earthtone.errors import needed_by

Method = Literal["pca", "umap"]
METHODS: Mapping[str, Method] = {"pca": "pca", "umap": "umap"}
#: At most so many rows are looked at to lay the plane; all are placed on it.
MOST_ROWS = 50_000
_BLOCK = 4096  # rows that are multiplied at once: sums round alike whatever else is in the table
_STARTS = 3  # of k-means: the best of them counts
_NEIGHBOURS = 15  # UMAP's own default

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """A plane laid through vectors of D numbers."""

    means: Mapping[str, Numbers]
    """Modality -> (D,) its mean vector."""
    axes: Numbers
    """(2, D); zeros where there is nothing to tell rows apart by."""
    shares: tuple[float, float]
    """Of all variance, the two axes' parts; 0 by UMAP."""
    umap: Any = None
    """Places instead of the axes, where it is there."""
    laid: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Numbers, ascending, of the rows that UMAP has placed already."""
    centres: Numbers = field(default_factory=lambda: np.empty((0, 0)))
    """(K, D) of the clusters, the largest first; none where none were asked for."""

    def place(self, rows: NDArray[np.int64], vectors: NDArray[Any], modalities: Sequence[str]) -> NDArray[np.float32]:
        """Return x and y (N, 2) of the rows with these numbers, vectors (N, D) and modalities."""
        centred = _centred(vectors, modalities, self.means)
        if self.umap is None:
            return (centred @ self.axes.T).astype(np.float32)
        found = np.empty((len(rows), 2), np.float32)
        at = np.minimum(np.searchsorted(self.laid, rows), len(self.laid) - 1)
        known = self.laid[at] == rows
        found[known] = self.umap.embedding_[at[known]]
        if not known.all():
            with _threads_of_torch():
                found[~known] = self.umap.transform(centred[~known].astype(np.float32))
        return found

    def clusters(self, vectors: NDArray[Any], modalities: Sequence[str]) -> NDArray[np.int16]:
        """Return of each vector (N, D) the number of the cluster (N,) whose centre is nearest, from 1 on."""
        centred = _centred(vectors, modalities, self.means)
        nearness = centred @ self.centres.T - 0.5 * (self.centres**2).sum(axis=1)
        numbers: NDArray[np.int16] = (1 + nearness.argmax(axis=1)).astype(np.int16)
        return numbers


def sampled_rows(modalities: NDArray[np.int8], seed: int, most: int = MOST_ROWS) -> NDArray[np.int64]:
    """Return the numbers, ascending, of at most `most` rows to lay a plane by: as many of each modality, if there.

    So a few thousand recordings count beside a million tiles.
    """
    draw, taken, left = np.random.default_rng(seed), [], most
    kinds, counts = np.unique(modalities, return_counts=True)
    order = np.argsort(counts, kind="stable")
    for place, kind in enumerate(kinds[order]):
        rows = np.flatnonzero(modalities == kind)
        count = min(len(rows), left // (len(kinds) - place))
        taken.append(rows if count == len(rows) else draw.permutation(rows)[:count])
        left -= count
    return np.sort(np.concatenate(taken)).astype(np.int64)


def lay_plane(
    read: Callable[[NDArray[np.int64]], tuple[NDArray[Any], Sequence[str]]],
    rows: NDArray[np.int64],
    method: Method,
    *,
    cosine: bool,
    seed: int = 0,
    clusters: int = 0,
) -> Plane:
    """Return the plane of some rows, the same for the same rows; `read` gives their vectors (N, D) and modalities.

    They are told apart in so many `clusters` (fewer where fewer vectors differ) by k-means on their centred vectors.
    With method `umap` neighbours are those by `cosine`, or by Euclidean distance. Raises MissingExtraError.
    """
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    sums: dict[str, Numbers] = {}
    counts: dict[str, int] = {}
    for block in blocks:
        vectors, modalities = read(block)
        for name in sorted(set(modalities)):
            own = np.asarray(vectors, np.float64)[np.array(modalities) == name]
            sums[name] = sums.get(name, 0.0) + own.sum(axis=0)
            counts[name] = counts.get(name, 0) + len(own)
    means = {name: total / counts[name] for name, total in sums.items()}
    centres = np.empty((0, 0))
    if clusters:
        centres = _centres(np.concatenate([_centred(*read(block), means) for block in blocks]), clusters, seed)
    if method == "umap":
        with needed_by("--plane umap"):
            import umap
        sample = np.concatenate([_centred(*read(block), means) for block in blocks]).astype(np.float32)
        if len(sample) > _NEIGHBOURS:
            metric = "cosine" if cosine else "euclidean"
            # one thread: only so the same rows come to the same places
            made = umap.UMAP(n_neighbors=_NEIGHBOURS, metric=metric, random_state=seed, n_jobs=1)
            with _threads_of_torch():
                fitted = made.fit(sample)
            return Plane(means, np.zeros((2, sample.shape[1])), (0.0, 0.0), fitted, rows, centres)
    covariance = sum((centred.T @ centred for centred in (_centred(*read(block), means) for block in blocks)), 0.0)
    return Plane(means, *_principal(np.asarray(covariance)), centres=centres)


@contextmanager
def _threads_of_torch() -> Iterator[None]:
    """Keep how many threads PyTorch has, which UMAP changes: by another number a model may give other last digits."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _centres(sample: Numbers, count: int, seed: int) -> Numbers:
    """Return the centres (K, D) of k-means, those of the largest clusters first; K is `count` at most."""
    count = min(count, len(np.unique(sample.astype(np.float32), axis=0)))
    labels = KMeans(count, n_init=_STARTS, random_state=seed).fit(sample.astype(np.float32)).labels_
    sizes = np.bincount(labels, minlength=count)
    # reckoned anew: its own sums depend on how many threads there were
    means = np.stack([sample[labels == label].mean(axis=0) for label in np.flatnonzero(sizes)])
    return means[np.argsort(-sizes[sizes > 0], kind="stable")]


def _principal(covariance: Numbers) -> tuple[Numbers, tuple[float, float]]:
    """Return the two principal axes (2, D) and their shares; the largest number of an axis is positive."""
    values, vectors = np.linalg.eigh(covariance)
    values = np.clip(values, 0, None)
    total, axes = float(values.sum()), np.zeros((2, len(values)))
    shares = [0.0, 0.0]
    for place in range(min(2, len(values))):
        value = float(values[-1 - place])
        if total > 0 and value > total * len(values) * np.finfo(np.float64).eps:
            axis = vectors[:, -1 - place]
            axes[place] = axis * np.sign(axis[np.argmax(np.abs(axis))])
            shares[place] = value / total
    return axes, (shares[0], shares[1])


def _centred(vectors: NDArray[Any], modalities: Sequence[str], means: Mapping[str, Numbers]) -> Numbers:
    names = sorted(means)
    table = np.stack([means[name] for name in names])
    return np.asarray(vectors, np.float64) - table[np.searchsorted(names, list(modalities))]
