"""What the published protocols share: figures from average ranks, `rank < k`, and what they tell."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import DataError
from earthtone.evaluate import chance
from earthtone.evaluate.average_ranks import MAX_BYTES, TOP, AverageRanks, Places, average_ranks
from earthtone.evaluate.bootstrap import PerQuery, estimates
from earthtone.evaluate.embedded import EmbeddedPairs
from earthtone.evaluate.retrieval import RetrievalResult, common_facts

_TOLD = {
    "rank": "1 + the number of nearer items + half the number of other items that are exactly as near. R@k counts "
    "rank < k. Only k smaller than the gallery are reported.",
    "km": "D@k: from the query's own place to the nearest of the first k places, the mean over queries. Great circles, "
    "radius 6371 km. Pairs without coordinates are passed over.",
    "windows": "Ours is deterministic: every recording is heard whole and no pair is dropped.",
    "intervals": "95 % percentile bootstrap over queries, not part of the protocol; twins are drawn together.",
    "chance": "A random ranking, in closed form; km: simulated.",
}
_WORDS = {"ties": "of equal items each has their average rank", "km": "the mean"}


def places_of(pairs: EmbeddedPairs) -> Places:
    """Return where the pairs are. Raises DataError when there are none to measure."""
    if not len(pairs):
        raise DataError("there are no pairs to rank; choose a split that has some")
    return Places(pairs.longitude, pairs.latitude)


def published_result(
    pairs: EmbeddedPairs,
    ranks: Mapping[str, AverageRanks],
    *,
    recalls: Mapping[str, float],
    told: Mapping[str, str],
    similarity: str,
    resamples: int,
    seed: int,
) -> RetrievalResult:
    """Return the figures of both directions.

    `recalls` maps a name such as `R@100` to the rank that it must stay below; `told` is `name`, `difference` and
    whatever else the protocol says of itself. Scores are minus the distances to the own partner, or the `cosine`.
    """
    recalls = {name: below for name, below in recalls.items() if 1 < below < len(pairs)}  # no rank is below 1
    figures = {direction: _figures(found, recalls) for direction, found in ranks.items()}
    joined = {f"{direction}/{name}": figure for direction in ranks for name, figure in figures[direction].items()}
    expected = _chances(pairs, recalls, list(next(iter(ranks.values())).km), seed)
    chances = {f"{direction}/{name}": value for direction in ranks for name, value in expected.items()}
    found = estimates(joined, chances, pairs.twin_clusters(), resamples=resamples, seed=seed)
    facts: dict[str, Any] = {
        **common_facts(pairs, "ignore", {direction: of.tied for direction, of in ranks.items()}),
        "recall_counts": "rank < k",
        "similarity": similarity,
        "protocol": {**told, **_TOLD},
        "resamples": resamples,
        "seed": seed,
    }
    return RetrievalResult(
        figures={direction: {name: found[f"{direction}/{name}"] for name in figures[direction]} for direction in ranks},
        ranks={direction: of.rank for direction, of in ranks.items()},
        top={direction: of.top[:, :TOP] for direction, of in ranks.items()},
        scores_true={
            direction: 1 - of.distance**2 / 2 if similarity == "cosine" else -of.distance
            for direction, of in ranks.items()
        },
        gallery=len(pairs),
        facts=facts,
        words=_WORDS,
    )


def _figures(found: AverageRanks, recalls: Mapping[str, float]) -> dict[str, PerQuery]:
    figures = {name: PerQuery((found.rank < below).astype(np.float64)) for name, below in recalls.items()}
    figures["median_rank"] = PerQuery(found.rank, median=True)
    km = {f"D@{k}_km": PerQuery(distance) for k, distance in found.km.items()}
    return figures | {name: figure for name, figure in km.items() if not np.isnan(figure.values).all()}


def _chances(
    pairs: EmbeddedPairs, recalls: Mapping[str, float], depths: list[int], seed: int
) -> dict[str, float | None]:
    chances: dict[str, float | None] = {name: (math.ceil(below) - 1) / len(pairs) for name, below in recalls.items()}
    chances["median_rank"] = (len(pairs) + 1) / 2
    if depths and pairs.has_place.any():
        nearest = chance.nearest_km(pairs.longitude, pairs.latitude, depths, seed)
        chances |= {f"D@{k}_km": float(np.nanmean(km)) for k, km in nearest.items()}
    return chances


def cosine_ranks(pairs: EmbeddedPairs, *, max_bytes: int = MAX_BYTES) -> dict[str, AverageRanks]:
    """Return the ranks of both directions by cosine, which orders unit vectors like their distance."""
    places = places_of(pairs)
    image, audio = _unit(pairs.image), _unit(pairs.audio)
    return {
        "image_to_sound": average_ranks(image, audio, places, max_bytes=max_bytes),
        "sound_to_image": average_ranks(audio, image, places, max_bytes=max_bytes),
    }


def _unit(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The rows at length 1, in float64; a row of zeros stays."""
    rows = values.astype(np.float64)
    lengths: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = rows / np.where(lengths > 0, lengths, 1.0)
    return unit
