"""The nearest training items of some test items, by the cosine of their features."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating[Any]]


def nearest(queries: Rows, gallery: Rows, count: int) -> NDArray[np.int64]:
    """Return positions (Q, count) in the gallery (N, F), the nearest first; of equals the earlier first."""
    similarity = _unit(queries) @ _unit(gallery).T
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count].astype(np.int64)


def _unit(rows: Rows) -> NDArray[np.float64]:
    values = np.asarray(rows, np.float64)
    unit: NDArray[np.float64] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit
