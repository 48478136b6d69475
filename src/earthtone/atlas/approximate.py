"""Approximate search, only where it is asked for: a query looks at the rows of the clusters that are nearest to it.

What it looks at is scored exactly, by `atlas/scan.py`: it may miss rows, and never misorders them. How many of the ten
best it finds is measured when it is made, with queries of the other modality: a sound lies beside the images' vectors,
not among them, and finds less there than an image would.

Lance has such indexes too. Of 250,000 x 128 its IVF_HNSW_SQ (pylance 14.0.2) found at most 0.69 of the ten best images
of a sound, and took more processor time than the exact scan.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from sklearn.cluster import MiniBatchKMeans

from earthtone.atlas.blocks import BLOCK_ROWS, table_state
from earthtone.atlas.embeddings import BLOCKS, EmbeddingTable
from earthtone.atlas.scan import Floats, Rows, Store, top_k
from earthtone.errors import ConfigError, DataError, shell_line
from earthtone.files import FORMATS, atomic_path, format_of

CLUSTER_FILE = "approximate.safetensors"
SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ENOUGH = 0.95  # recall@10 that a share of the rows must reach
_KIND = "clusters of a search"
_TRAINED_ROWS = 65_536  # of a modality
_MOST_CLUSTERS = 4_096
_QUERIES = 100  # of a modality, for the recall
_DEPTH = 10


@dataclass(frozen=True)
class Recall:
    """How many of the ten best rows of one modality are found by queries of another one."""

    queries: str
    found: str
    share: float
    """Of the rows of `found` that were looked at."""
    recall: float
    """Mean over queries of the share of the ten best that were found."""

    def sentence(self) -> str:
        """Return it in words."""
        return (
            f"recall@{_DEPTH} of {self.queries} queries among {self.found} rows: {self.recall:.3f}, looking at "
            f"{self.share:.1%} of them"
        )


class Clusters:
    """The rows of a table, by cluster; each cluster has rows of one modality."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], modalities: list[str], recalls: list[Recall]) -> None:
        self._arrays, self._modalities = arrays, modalities
        self.centres: Floats = arrays["centres"]
        """(C, D)"""
        self.starts: Rows = arrays["starts"]
        """(C + 1,) where the rows of each begin in `rows`."""
        self.rows: NDArray[np.int32] = arrays["rows"]
        """(N,)"""
        self.of: Rows = arrays["modality"]
        """(C,) the number of each one's modality."""
        self.recalls = recalls
        """What was measured when they were made."""

    @property
    def share(self) -> float:
        """Return the share of the rows that was enough."""
        return max((one.share for one in self.recalls), default=1.0)

    def near(self, query: Floats, share: float, k: int, rows: Rows | None, modality: str | None) -> Rows:
        """Return the rows (ascending) that a query (D,) looks at: a share of those of a modality, and k at least.

        `rows` (ascending) are the only ones that count.
        """
        own = np.arange(len(self.centres))
        if modality is not None:
            own = own[self.of == (self._modalities.index(modality) if modality in self._modalities else -2)]
        nearness = self.centres[own] @ query - np.square(self.centres[own]).sum(axis=1) / 2
        order = own[np.argsort(-nearness, kind="stable")]
        sizes = self.starts[order + 1] - self.starts[order]
        wanted, parts, looked, passed = share * sizes.sum(), [np.empty(0, np.int64)], 0, 0
        for cluster, size in zip(order.tolist(), sizes.tolist(), strict=True):
            if looked >= wanted and passed >= k:
                break
            found = self.rows[self.starts[cluster] : self.starts[cluster + 1]].astype(np.int64)
            if rows is not None and len(rows):
                found = found[rows[np.searchsorted(rows, found).clip(max=len(rows) - 1)] == found]
            elif rows is not None:
                found = found[:0]
            parts.append(found)
            looked, passed = looked + size, passed + len(found)
        return np.sort(np.concatenate(parts))


def approximate_top_k(
    queries: NDArray[np.floating[Any]], clusters: Clusters, store: Store, k: int, rows: Rows | None = None,
    modality: str | None = None, share: float | None = None,
) -> tuple[Floats, Rows]:  # fmt: skip
    """Return scores and row numbers as `top_k` does, of the rows near each query alone; some of the best may lack.

    Few `rows` are all looked at. `modality` says which rows are sought, where it is known; `share` of them is looked
    at, by default what was enough when the clusters were made.
    """
    share = clusters.share if share is None else share
    if rows is not None and len(rows) <= share * len(clusters.rows):  # to look at all of them costs no more
        return top_k(queries, store, k, rows)
    near = [clusters.near(query, share, k, rows, modality) for query in np.asarray(queries, np.float32)]
    found = [top_k(query[None], store, k, own) for query, own in zip(queries, near, strict=True)]
    width = min((scores.shape[1] for scores, _ in found), default=0)
    empty = np.empty((0, width))
    return (
        np.concatenate([scores[:, :width] for scores, _ in found] or [empty.astype(np.float32)]),
        np.concatenate([numbers[:, :width] for _, numbers in found] or [empty.astype(np.int64)]),
    )


def write_clusters(table: EmbeddingTable, store: Store, folder: Path, seed: int = 0) -> Clusters:
    """Cluster the rows of a table, measure the recall, write both into `folder`, and return them.

    About twice the square root of the rows of a modality are its clusters (k-means on 65,536 rows at most). The share
    of the rows that is looked at is the smallest of `SHARES` at which the mean recall@10 of queries of every other
    modality is `ENOUGH`. Raises DataError for a table without rows and a folder that cannot be written.
    """
    if not len(table):
        raise DataError(f"{table.path}: has no rows; embed something first: earthtone embed")
    modality = table.columns(["modality"])["modality"].combine_chunks().dictionary_encode()
    names = [str(name) for name in modality.dictionary.to_pylist()]
    number_of = np.asarray(modality.indices.fill_null(-1)).astype(np.int64)
    draw = np.random.default_rng(seed)
    centres: list[Floats] = []
    of: list[int] = []
    labels = np.zeros(len(table), np.int64)
    for number in range(-1, len(names)):
        own = np.flatnonzero(number_of == number)
        if len(own):
            begin = sum(len(part) for part in centres)
            made = _centres(table, own, draw)
            for rows, vectors in _parts(table, own):
                nearness = vectors @ made.T - np.square(made).sum(axis=1) / 2
                labels[rows] = begin + nearness.argmax(axis=1)
            centres.append(made)
            of += [number] * len(made)
    arrays = {
        "centres": np.concatenate(centres),
        "starts": np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(of)))]),
        "rows": np.argsort(labels, kind="stable").astype(np.int32),
        "modality": np.array(of, np.int64),
    }
    recalls = _measured(Clusters(arrays, names, []), table, store, number_of, names, draw)
    said = {
        "format": FORMATS[_KIND], "table": table_state(table), "modalities": names,
        "recalls": [vars(one) for one in recalls],
    }  # fmt: skip
    with atomic_path(Path(folder) / CLUSTER_FILE) as temporary:
        save_file(arrays, temporary, metadata={"earthtone": json.dumps(said)})
    return Clusters(arrays, names, recalls)


def open_clusters(table: EmbeddingTable, folder: Path | None = None) -> Clusters:
    """Return the clusters in `folder` (default: `E/index`).

    Raises ConfigError where there are none, or of another state of the table; DataError for a damaged file.
    """
    folder = table.path.parent / BLOCKS if folder is None else Path(folder)
    path, line = folder / CLUSTER_FILE, shell_line("earthtone", "index", folder.parent, "--approximate")
    if not path.exists():
        raise ConfigError(f"{path.parent}: holds no approximate index; make it with: {line}")
    try:
        with safe_open(path, "numpy") as file:
            said = json.loads(file.metadata()["earthtone"])
            format_of(said, _KIND, path)
            arrays = {name: file.get_tensor(name) for name in ("centres", "starts", "rows", "modality")}
        state, recalls = said["table"], [Recall(**one) for one in said["recalls"]]
        fits = bool(
            arrays["centres"].shape == (len(arrays["modality"]), table.card.dimensions)
            and np.isfinite(arrays["centres"]).all()
            and len(arrays["starts"]) == len(arrays["modality"]) + 1
            and arrays["starts"][-1] == len(arrays["rows"])
            and (np.bincount(arrays["rows"], minlength=len(arrays["rows"])) == 1).all()
        )
        if not fits:
            raise ValueError("its parts do not fit together")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path}: a damaged file ({reason}); make it again: {line}") from error
    if state != table_state(table):
        raise ConfigError(f"{path}: of an earlier state of the table; make it again: {line}")
    return Clusters(arrays, list(said["modalities"]), recalls)


def _centres(table: EmbeddingTable, rows: Rows, draw: np.random.Generator) -> Floats:
    """Return the centres (C, D) of clusters of some rows."""
    sample = np.sort(draw.choice(rows, min(len(rows), _TRAINED_ROWS), replace=False))
    count = min(_MOST_CLUSTERS, max(1, round(2 * len(rows) ** 0.5)), len(sample))
    means = MiniBatchKMeans(count, batch_size=4_096, n_init=1, max_iter=20, random_state=int(draw.integers(2**31)))
    found: Floats = means.fit(table.vectors(sample)).cluster_centers_.astype(np.float32)
    return found


def _parts(table: EmbeddingTable, rows: Rows) -> Iterator[tuple[Rows, Floats]]:
    """Yield some of the row numbers (ascending), and their vectors, a block at once."""
    start = 0
    for vectors in table.blocks(BLOCK_ROWS):
        end = start + len(vectors)
        own = rows[slice(*np.searchsorted(rows, [start, end]))]
        if len(own):
            yield own, vectors[own - start]
        start = end


def _measured(
    clusters: Clusters,
    table: EmbeddingTable,
    store: Store,
    number_of: Rows,
    names: list[str],
    draw: np.random.Generator,
) -> list[Recall]:
    """Return the recall of queries of each modality among the rows of each other one; of a single one among itself."""
    pairs = [
        (one, other) for one in range(len(names)) for other in range(len(names)) if one != other or len(names) == 1
    ]
    asked = []
    for one, other in pairs:
        queries = np.flatnonzero(number_of == one)
        queries = np.sort(draw.choice(queries, min(_QUERIES, len(queries)), replace=False))
        vectors, rows = table.vectors(queries), np.flatnonzero(number_of == other)
        asked.append((vectors, top_k(vectors, store, _DEPTH, rows)[1], names[other]))
    found: list[Recall] = []
    for share in SHARES:
        found = []
        for (one, other), (vectors, best, name) in zip(pairs, asked, strict=True):
            near = approximate_top_k(vectors, clusters, store, _DEPTH, modality=name, share=share)[1]
            hits = [len(np.intersect1d(*rows)) / best.shape[1] for rows in zip(near, best, strict=True)]
            found.append(Recall(names[one], names[other], share, float(np.mean(hits))))
        if all(one.recall >= ENOUGH for one in found):
            break
    return found
