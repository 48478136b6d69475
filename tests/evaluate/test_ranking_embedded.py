"""Pairs that fit together, and errors that say what does not."""

from typing import Any

import numpy as np
import pytest

from earthtone.errors import ConfigError, DataError, ModelError
from earthtone.evaluate.ranking import EmbeddedPairs


def parts(count: int = 4, **changes: Any) -> dict[str, Any]:
    unit = np.eye(count, dtype=np.float32)
    known: dict[str, Any] = {
        "ids": [f"p{i}" for i in range(count)], "image": unit, "audio": unit[::-1].copy(),
        "longitude": np.arange(count, dtype=np.float64), "latitude": -np.arange(count, dtype=np.float64),
        "image_group": np.arange(count), "audio_group": np.arange(count),
        "columns": {"habitat": [f"h{i}" for i in range(count)]},
    }  # fmt: skip
    return {**known, **changes}


def test_twin_clusters_follow_chains() -> None:
    pairs = EmbeddedPairs(
        **parts(6, image_group=np.array([7, 7, 1, 2, 3, 4]), audio_group=np.array([0, 5, 5, 1, 9, 9]))
    )
    cluster = pairs.twin_clusters()
    assert np.unique(cluster, return_inverse=True)[1].tolist() == [0, 0, 0, 1, 2, 2]  # numbered by their first pair
    assert (cluster[:, None] == cluster).tolist() == [
        [True, True, True, False, False, False],
        [True, True, True, False, False, False],
        [True, True, True, False, False, False],
        [False, False, False, True, False, False],
        [False, False, False, False, True, True],
        [False, False, False, False, True, True],
    ]


def test_raw_embeddings_are_compared_by_distance() -> None:
    raw = EmbeddedPairs(**parts(image=3 * np.eye(4, dtype=np.float32), similarity="l2"))
    assert raw.similarity == "l2" and raw.image[1].tolist() == [0, 3, 0, 0]


def test_unknown_places_are_allowed() -> None:
    nowhere = np.array([0.0, np.nan, 2.0, np.nan])
    assert EmbeddedPairs(**parts(longitude=nowhere, latitude=nowhere)).has_place.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"image": np.eye(3, 4, dtype=np.float32)}, DataError, r"image embeddings have shape \(3, 4\); \(4, D\)"),
        ({"image": np.eye(4)}, DataError, "float64; float32 expected"),
        ({"audio": np.eye(4, 5, dtype=np.float32)}, DataError, "4 dimensions and audio embeddings 5"),
        ({"audio": 2 * np.eye(4, dtype=np.float32)}, ModelError, "4 of 4 audio .* 'p0' has length 2"),
        ({"image": np.full((4, 4), np.nan, np.float32)}, ModelError, "length nan"),
        ({"image": np.full((4, 4), np.inf, np.float32)}, ModelError, "length inf"),
        ({"image_group": np.arange(3)}, DataError, "image_group has shape"),
        ({"columns": {"habitat": ["a"]}}, DataError, "'habitat' has 1 labels for 4 pairs"),
        ({"longitude": np.array([0, 181.0, 0, 0])}, DataError, "out of range for 1 pairs, the first of id 'p1'"),
        ({"latitude": np.array([0, 0, np.nan, 0])}, DataError, "only one coordinate .* 'p2'"),
        ({"latitude": np.array([0, 0, 0, np.inf])}, DataError, "out of range .* 'p3'"),
        ({"similarity": "dot"}, ConfigError, "similarity is 'dot'; cosine or l2 expected"),
        ({"similarity": "l2", "image": np.full((4, 4), np.nan, np.float32)}, ModelError, "4 of 4 image .* not finite"),
    ],
)
def test_says_what_does_not_fit(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        EmbeddedPairs(**parts(**changes))
