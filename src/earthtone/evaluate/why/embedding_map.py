"""A plane on which items lie near those that a model takes for alike."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from earthtone.data.datasets.class_table import default_colours
from earthtone.evaluate.why.confusion import plain

MAX_POINTS = 1000
_WIDTH, _HEIGHT, _EDGE = 640, 420, 14
_NAMED = 30  # classes up to which names stand in the drawing
_NEIGHBOURS = 15

Points = NDArray[np.float64]


def plane(features: NDArray[np.floating[Any]], *, seed: int = 0) -> tuple[Points, str]:
    """Return positions (N, 2) of features (N, F), and the name of the method.

    UMAP (McInnes et al., arXiv 1802.03426; the extra `umap`) where it is installed and there are items enough, else
    the first two principal components, whose signs are fixed: the farthest item lies on the positive side. Features
    are taken at length 1.
    """
    rows = np.asarray(features, np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    if len(rows) > 2 * _NEIGHBOURS:
        try:
            from umap import UMAP
        except ImportError:
            pass
        else:
            made = UMAP(n_neighbors=_NEIGHBOURS, random_state=seed, n_jobs=1).fit_transform(rows)
            return np.asarray(made, np.float64), "UMAP"
    return principal_components(rows), "PCA"


def principal_components(rows: Points) -> Points:
    """Return the first two principal components (N, 2) of rows (N, F); zeros where there are fewer."""
    left, scale, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    scores = np.zeros((len(rows), 2))
    there = min(2, len(scale))
    scores[:, :there] = left[:, :there] * scale[:there]
    farthest = scores[np.abs(scores).argmax(axis=0), [0, 1]]
    return scores * np.where(farthest < 0, -1.0, 1.0)


def map_svg(positions: Points, labels: Sequence[str], ids: Sequence[str], method: str) -> Markup:
    """Return an SVG with a dot an item in its class's colour; each tells class and id where a pointer rests.

    Up to 30 classes are named where the middle of their items lies.
    """
    names = sorted(set(labels))
    colours = dict(zip(names, default_colours(len(names)), strict=True))
    low, high = positions.min(axis=0), positions.max(axis=0)
    room = np.array([_WIDTH, _HEIGHT]) - 2 * _EDGE
    at = _EDGE + (positions - low) / np.where(high > low, high - low, 1) * room
    at[:, 1] = _HEIGHT - at[:, 1]
    parts = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="rgb{colours[label]}" fill-opacity=".75">'
        f"<title>{escape(plain(label))}: {escape(plain(name))}</title></circle>"
        for (x, y), label, name in zip(at, labels, ids, strict=True)
    ]
    if len(names) <= _NAMED:
        own = np.asarray(labels, np.str_)
        for label in names:
            x, y = np.median(at[own == label], axis=0)
            parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(plain(label)[:30])}</text>')
    what = f"{method} map of {len(labels)} items of {len(names)} classes"
    return Markup(  # noqa: S704 - every text in the drawing is escaped
        f'<svg class="map" role="img" aria-label="{what}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
    )
