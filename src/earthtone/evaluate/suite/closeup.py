"""What a probe's features look like: a map of test items, and the nearest training images of a few of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.atomic import write_text_atomic
from earthtone.data.labelled import LabelledItem, LabelledSet
from earthtone.errors import SignalError
from earthtone.evaluate.features import FeatureOptions, extract_features
from earthtone.evaluate.pictures import read_square
from earthtone.evaluate.splits import split_items
from earthtone.evaluate.why.embedding_map import MAX_POINTS, plane
from earthtone.evaluate.why.neighbours import nearest
from earthtone.evaluate.why.overlay import jpeg_uri
from earthtone.models.backbone import Backbone

_QUERIES, _FOUND = 6, 5
_THUMBNAIL = 80

CloseUp = Mapping[str, Any]


def close_up(backbone: Backbone, data: LabelledSet, options: FeatureOptions) -> CloseUp:
    """Return positions of at most `MAX_POINTS` test items, and neighbours with small pictures; ready for JSON.

    The items shown are drawn, the same for every model; features come from the probe's cache.
    """
    parts = split_items(data)
    items = [item for part in parts.values() for item in part]
    found = extract_features(backbone, items, options)
    usable = np.array([item.id not in found.broken for item in items])
    split = np.array([name for name, part in parts.items() for _ in part])
    train, test = (np.flatnonzero(usable & (split == name)) for name in ("train", "test"))
    order = np.random.default_rng(0).permutation(test)
    points = np.sort(order[:MAX_POINTS])
    positions, method = plane(found.values[points])
    asked = _one_a_class(order, items)
    return {
        "method": method,
        "of": len(test),
        "positions": np.round(positions, 4).tolist(),
        "labels": [items[at].label for at in points],
        "ids": [items[at].id for at in points],
        "neighbours": _neighbours(found.values, items, asked, train, options),
    }


def read_close_up(path: Path) -> CloseUp | None:
    """Return what `write_close_up` wrote; None where it is not there or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(found, dict) and {"method", "of", "positions", "labels", "ids", "neighbours"} <= found.keys()
    return found if fits else None


def write_close_up(path: Path, found: CloseUp) -> None:
    """Write it as JSON, whole or not at all."""
    write_text_atomic(path, json.dumps(found, ensure_ascii=True) + "\n")


def _one_a_class(order: NDArray[np.int64], items: Sequence[LabelledItem]) -> list[int]:
    """The first items of the order, of different classes as far as there are."""
    first: dict[str, int] = {}
    for at in order.tolist():
        first.setdefault(items[at].label, at)
    others = [at for at in order.tolist() if first[items[at].label] != at]
    return [*first.values(), *others][:_QUERIES]


def _neighbours(
    values: NDArray[np.float32], items: Sequence[LabelledItem], asked: Sequence[int], train: NDArray[np.int64],
    options: FeatureOptions,
) -> list[dict[str, Any]]:  # fmt: skip
    rows = nearest(values[asked], values[train], _FOUND)
    return [
        {
            "query": _shown(items[query], options),
            "found": [
                {**_shown(items[at], options), "right": items[at].label == items[query].label}
                for at in train[found].tolist()
            ],
        }
        for query, found in zip(asked, rows, strict=True)
    ]


def _shown(item: LabelledItem, options: FeatureOptions) -> dict[str, Any]:
    picture = ""
    if item.image is not None:
        try:
            picture = jpeg_uri(read_square(item.image, _THUMBNAIL, options.bands, options.value_range), _THUMBNAIL)
        except SignalError:  # the task has named it
            picture = ""
    return {"id": item.id, "label": item.label, "picture": picture}
