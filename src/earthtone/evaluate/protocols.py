"""How retrieval is counted: honestly, or as a published work did, for figures to put beside its own."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError, DataError, did_you_mean, one_line_each
from earthtone.evaluate import chance
from earthtone.evaluate.label_match import LabelMatch, MatchedLabels, match_labels
from earthtone.evaluate.ranking import (
    AVERAGE_RANKS_MAX_BYTES,
    DIRECTIONS,
    MAX_BYTES,
    TOP,
    AverageRanks,
    DirectionRanks,
    EmbeddedPairs,
    Places,
    average_ranks,
    first_equal,
    rank_pairs,
)
from earthtone.evaluate.results import Estimate, PerQuery, estimates
from earthtone.geo import great_circle_km

# Retrieval: how well images find their recordings and recordings their images, stated so that it can be compared.


RECALL_DEPTHS = (1, 5, 10, 100)
KM_DEPTHS = (1, 10, 100)
MATCH_DEPTH = 10
_SHARES = ("R@", "match")

_PROTOCOL = {
    "name": "honest",
    "difference": "Unlike the published ones it counts ties against the model and rank k as within the first k, takes "
    "identical items for right, and does not look at the test set to scale a distance.",
    "rank": "1 + the number of wrong items that score at least as high as the best right item. R@k counts rank <= k; "
    "R@10% is R@k for a tenth of the gallery, rounded down, left out where that is none. Only k smaller than the "
    "gallery are reported.",
    "ties": "Scores are rounded, see similarity; of equal ones wrong items come first, so a model that gives all items "
    "the same score finds nothing. Otherwise equal items are in the order of their rows.",
    "median_rank": "The median over queries.",
    "km": "km@k: from the query's own place to the nearest of the first k places, the median over queries; km_mean@k: "
    "the mean. Great circles, radius 6371 km. Pairs without coordinates are passed over.",
    "intervals": "95 % percentile bootstrap over queries, the gallery fixed, the same resamples for all figures; twins "
    "are drawn together, since they are not independent.",
    "chance": "A random ranking, in closed form given each query's number of right items; km: simulated.",
}
_SIMILARITY = {
    "cosine": "The cosine of the embeddings, rounded to multiples of 2^-24.",
    "l2": "Minus the Euclidean distance of the embeddings; squared distances are rounded to multiples of 2^-26 of the "
    "largest squared distance from the mean embedding.",
}
_TWINS = {
    "merge": "An item whose image or recording is identical to that of the query's pair is right too.",
    "ignore": "Only the query's own partner is right; identical items tie with it, which counts against it.",
}
_WORDS = {"ties": "wrong items of an equal score first", "km": "the median, and the mean"}


@dataclass(frozen=True)
class RetrievalResult:
    """Figures of both directions, and what each query found; the arrays are by direction and by query."""

    figures: Mapping[str, Mapping[str, Estimate]]
    """Direction, then figure such as `R@10`."""
    ranks: Mapping[str, NDArray[np.int64] | NDArray[np.float64]]
    """(N,) rank of the first right item, from 1; with halves where the protocol gives ties their average rank."""
    top: Mapping[str, NDArray[np.int64]]
    """(N, 10) rows found first, best first; fewer columns in a smaller gallery."""
    scores_true: Mapping[str, NDArray[np.float64]]
    """(N,) score of the best right item; more is nearer, see `facts["similarity"]`."""
    gallery: int
    """Items searched by each query."""
    facts: Mapping[str, Any]
    """Everything else that `to_dict` tells: protocol, similarity, twins, ties, places."""
    words: Mapping[str, str] = field(default_factory=lambda: _WORDS)
    """How `to_text` puts `ties` and `km`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the protocol, ready for JSON."""
        directions = {
            direction: {
                "metrics": {name: estimate.to_dict() for name, estimate in figures.items()},
                "tied_queries": self.facts["tied_queries"][direction],
                "right_items": dict(self.facts.get("right_items", {}).get(direction, {})),
            }
            for direction, figures in self.figures.items()
        }
        others = {name: fact for name, fact in self.facts.items() if name not in ("tied_queries", "right_items")}
        return {"gallery": self.gallery, **others, "directions": directions}

    def to_text(self) -> str:
        """Return a table for the terminal: value, 95 % interval and chance of both directions."""
        names = list(dict.fromkeys(name for figures in self.figures.values() for name in figures))
        cells = [
            ["", *(cell for direction in self.figures for cell in (direction.replace("_", " "), "95 %", "chance"))]
        ]
        for name in names:
            cells.append([name.replace("_", " ")])
            for figures in self.figures.values():
                cells[-1] += _cells(name, figures[name])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
        return one_line_each([self._headline(), *(line.rstrip() for line in lines), *self._footnotes()])

    def _headline(self) -> str:
        twins = self.facts["twins"]
        return (
            f"{self.gallery:,} images and {self.gallery:,} recordings; twins {twins['handling']}: "
            f"{twins['pairs_with_identical_image']:,} pairs share an image, "
            f"{twins['pairs_with_identical_recording']:,} a recording"
        )

    def _footnotes(self) -> list[str]:
        tied = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.facts["tied_queries"].items())
        lines = [f"rank: from 1, {self.words['ties']}; queries with such ties: {tied}"]
        places = self.facts["places"]["pairs_with_coordinates"]
        if places:
            lines.append(f"km: to the nearest of the first k, {self.words['km']}; {places:,} pairs with coordinates")
        else:
            lines.append("km: left out, no pair has coordinates")
        if "match" in self.facts:
            lines.append(f"match: {self.facts['match']['rule']}")
        if "split" in self.facts:
            lines.append(f"split {self.facts['split']['name']} by {self.facts['split']['dealt_out']}")
        lines += [*self._below_chance(), *(f"caution: {line}" for line in self.facts.get("cautions", ()))]
        protocol = self.facts["protocol"]
        return [*lines, f"protocol {protocol['name']}: {protocol['difference']}"]

    def _below_chance(self) -> list[str]:
        """A line on the figures of both directions that are worse than a random ranking's."""
        names = [
            f"{name.replace('_', ' ')} ({direction.replace('_', ' ')})"
            for direction, figures in self.figures.items()
            for name, figure in figures.items()
            if standing(name, figure).startswith("below")
        ]
        return [f"below chance: {', '.join(names)}"] if names else []


def standing(name: str, figure: Estimate) -> str:
    """Return how a figure of retrieval stands to chance, in words; see `chance.against_chance`."""
    less = "rank" in name or name.startswith("km") or name.endswith("_km")
    return chance.against_chance(figure.value, figure.chance, figure.low, figure.high, less=less)


def honest(
    pairs: EmbeddedPairs,
    *,
    twins: str = "merge",
    match: LabelMatch | None = None,
    resamples: int = 1000,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> RetrievalResult:
    """Return R@k, median rank, MRR, nDCG@10, km@k and, with `match`, precision@10 by label, of both directions.

    This is the protocol `honest`; for others see `earthtone.evaluate.protocols`.

    Every query searches all N items of the other modality. `to_dict()["protocol"]` says what each figure means; see
    `rank_pairs` for ranks and `twins`, `bootstrap_intervals` for the intervals. `max_bytes` bounds the scores held at
    once. Raises DataError when there are no pairs or no labels, ConfigError for options that make no sense.
    """
    labels = match_labels(match, pairs.columns) if match and len(pairs) else None  # before the long part
    ranks = rank_pairs(pairs, twins=twins, depth=max(RECALL_DEPTHS), max_bytes=max_bytes)
    figures = {direction: _figures(pairs, found, labels, direction) for direction, found in ranks.items()}
    chances = {direction: _chances(pairs, found, labels, direction, seed) for direction, found in ranks.items()}
    joined = {f"{direction}/{name}": figure for direction in ranks for name, figure in figures[direction].items()}
    expected = {f"{direction}/{name}": value for direction in ranks for name, value in chances[direction].items()}
    found = estimates(joined, expected, pairs.twin_clusters(), resamples=resamples, seed=seed)
    return RetrievalResult(
        figures={direction: {name: found[f"{direction}/{name}"] for name in figures[direction]} for direction in ranks},
        ranks={direction: of.rank for direction, of in ranks.items()},
        top={direction: of.top[:, :10] for direction, of in ranks.items()},
        scores_true={direction: of.score for direction, of in ranks.items()},
        gallery=len(pairs),
        facts=_facts(pairs, ranks, twins, match, labels) | {"resamples": resamples, "seed": seed},
    )


def _recall_depths(gallery: int) -> dict[str, int]:
    """The k of each recall; one that the whole gallery fits into says nothing, and less than one item is none."""
    depths = {f"R@{k}": k for k in RECALL_DEPTHS} | {"R@10%": gallery // 10}
    return {name: k for name, k in depths.items() if 1 <= k < gallery}


def _km_depths(pairs: EmbeddedPairs) -> list[int]:
    return [k for k in KM_DEPTHS if k < len(pairs)] if pairs.has_place.any() else []


def _figures(
    pairs: EmbeddedPairs, found: DirectionRanks, labels: MatchedLabels | None, direction: str
) -> dict[str, PerQuery]:
    rank = found.rank.astype(np.float64)
    figures = {name: PerQuery((rank <= k).astype(np.float64)) for name, k in _recall_depths(len(pairs)).items()}
    figures |= {
        "median_rank": PerQuery(rank, median=True),
        "mrr": PerQuery(1 / rank),
        "ndcg@10": PerQuery(found.ndcg),
    }
    for k in _km_depths(pairs):
        figures |= _km_figures(k, _km_to_nearest(pairs, found.top[:, :k]))
    if labels is not None and len(pairs) > MATCH_DEPTH:
        figures[f"match_precision@{MATCH_DEPTH}"] = PerQuery(labels.precision(direction, found.top[:, :MATCH_DEPTH]))
    return {name: figure for name, figure in figures.items() if not np.isnan(figure.values).all()}


def _km_figures(k: int, km: NDArray[np.float64]) -> dict[str, PerQuery]:
    return {f"km@{k}": PerQuery(km, median=True), f"km_mean@{k}": PerQuery(km)}


def _km_to_nearest(pairs: EmbeddedPairs, top: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) km from each query's place to the nearest of the places found, NaN when it has none."""
    least = np.full(len(pairs), np.nan)
    for column in top.T:  # one by one: N x 100 distances at once are large
        km = great_circle_km(pairs.longitude, pairs.latitude, pairs.longitude[column], pairs.latitude[column])
        least = np.fmin(least, km)
    return least


def _chances(
    pairs: EmbeddedPairs, found: DirectionRanks, labels: MatchedLabels | None, direction: str, seed: int
) -> dict[str, float | None]:
    beyond = chance.beyond(len(pairs), found.relevant)
    chances = {name: float(1 - beyond[k]) for name, k in _recall_depths(len(pairs)).items()}
    chances |= {
        "median_rank": chance.median_rank(beyond),
        "mrr": chance.mean_reciprocal_rank(beyond),
        "ndcg@10": chance.ndcg(len(pairs), found.relevant),
    }
    depths = _km_depths(pairs)
    if depths:
        for k, km in chance.nearest_km(pairs.longitude, pairs.latitude, depths, seed).items():
            chances |= {name: figure.value() for name, figure in _km_figures(k, km).items()}
    if labels is not None:
        chances[f"match_precision@{MATCH_DEPTH}"] = labels.chance(direction)
    return {name: None if np.isnan(value) else value for name, value in chances.items()}


def _facts(
    pairs: EmbeddedPairs,
    ranks: Mapping[str, DirectionRanks],
    twins: str,
    match: LabelMatch | None,
    labels: MatchedLabels | None,
) -> dict[str, Any]:
    facts = common_facts(pairs, twins, {direction: found.tied for direction, found in ranks.items()})
    facts["twins"]["queries_with_several_right_items"] = int((ranks[DIRECTIONS[0]].relevant > 1).sum())
    facts["right_items"] = {direction: _right_items(found) for direction, found in ranks.items()}
    facts["recall_counts"] = "rank <= k"
    facts["similarity"] = pairs.similarity
    facts["protocol"] = {**_PROTOCOL, "similarity": _SIMILARITY[pairs.similarity], "twins": _TWINS[twins]}
    if match is not None and labels is not None:
        facts["match"] = {"rule": str(match), "fits_nothing": list(labels.unlisted)}
        facts["protocol"]["match"] = (
            f"match_precision@{MATCH_DEPTH}: the share of the first {MATCH_DEPTH} whose label fits the query's; the "
            "query's own partner is in the gallery; chance is the mean share of the gallery that fits."
        )
    return facts


def _right_items(found: DirectionRanks) -> dict[int, int]:
    """How many queries have so many right items: what a random ranking reaches follows from that."""
    numbers, counts = np.unique(found.relevant, return_counts=True)
    return {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}


def common_facts(pairs: EmbeddedPairs, twins: str, tied: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
    """Return what every protocol tells: how many queries, twins, places and ties there are."""
    return {
        "queries": len(pairs),
        "twins": {
            "handling": twins,
            "pairs_with_identical_image": _shared(pairs.image_group),
            "pairs_with_identical_recording": _shared(pairs.audio_group),
        },
        "places": {"pairs_with_coordinates": int(pairs.has_place.sum())},
        "tied_queries": {direction: int(found.sum()) for direction, found in tied.items()},
    }


def _shared(group: NDArray[np.int64]) -> int:
    """How many rows share their group with another."""
    sizes = np.unique(group, return_counts=True)[1]
    return int(sizes[sizes > 1].sum())


def _cells(name: str, estimate: Estimate) -> tuple[str, str, str]:
    chance = "" if estimate.chance is None else _shown(name, estimate.chance)
    low, high = _shown(name, estimate.low).removesuffix(" %"), _shown(name, estimate.high).removesuffix(" %")
    return _shown(name, estimate.value), f"[{low}, {high}]", chance


def _shown(name: str, value: float) -> str:
    if name.startswith(_SHARES):
        return f"{100 * value:.1f} %"
    if "rank" in name:
        return f"{value:,.1f}".removesuffix(".0")
    if name.startswith("km") or name.endswith("_km"):
        return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
    return f"{value:.3f}"


# What the published protocols share: figures from average ranks, `rank < k`, and what they tell.


_PUBLISHED_TOLD = {
    "rank": "1 + the number of nearer items + half the number of other items that are exactly as near. R@k counts "
    "rank < k. Only k smaller than the gallery are reported.",
    "km": "D@k: from the query's own place to the nearest of the first k places, the mean over queries. Great circles, "
    "radius 6371 km. Pairs without coordinates are passed over.",
    "windows": "Ours is deterministic: every recording is heard whole and no pair is dropped.",
    "intervals": "95 % percentile bootstrap over queries, not part of the protocol; twins are drawn together.",
    "chance": "A random ranking, in closed form; km: simulated.",
}
_PUBLISHED_WORDS = {"ties": "of equal items each has their average rank", "km": "the mean"}


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
    figures = {direction: _published_figures(found, recalls) for direction, found in ranks.items()}
    joined = {f"{direction}/{name}": figure for direction in ranks for name, figure in figures[direction].items()}
    expected = _published_chances(pairs, recalls, list(next(iter(ranks.values())).km), seed)
    chances = {f"{direction}/{name}": value for direction in ranks for name, value in expected.items()}
    found = estimates(joined, chances, pairs.twin_clusters(), resamples=resamples, seed=seed)
    facts: dict[str, Any] = {
        **common_facts(pairs, "ignore", {direction: of.tied for direction, of in ranks.items()}),
        "recall_counts": "rank < k",
        "similarity": similarity,
        "protocol": {**told, **_PUBLISHED_TOLD},
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
        words=_PUBLISHED_WORDS,
    )


def _published_figures(found: AverageRanks, recalls: Mapping[str, float]) -> dict[str, PerQuery]:
    figures = {name: PerQuery((found.rank < below).astype(np.float64)) for name, below in recalls.items()}
    figures["median_rank"] = PerQuery(found.rank, median=True)
    km = {f"D@{k}_km": PerQuery(distance) for k, distance in found.km.items()}
    return figures | {name: figure for name, figure in km.items() if not np.isnan(figure.values).all()}


def _published_chances(
    pairs: EmbeddedPairs, recalls: Mapping[str, float], depths: list[int], seed: int
) -> dict[str, float | None]:
    chances: dict[str, float | None] = {name: (math.ceil(below) - 1) / len(pairs) for name, below in recalls.items()}
    chances["median_rank"] = (len(pairs) + 1) / 2
    if depths and pairs.has_place.any():
        nearest = chance.nearest_km(pairs.longitude, pairs.latitude, depths, seed)
        chances |= {f"D@{k}_km": float(np.nanmean(km)) for k, km in nearest.items()}
    return chances


def cosine_ranks(pairs: EmbeddedPairs, *, max_bytes: int = AVERAGE_RANKS_MAX_BYTES) -> dict[str, AverageRanks]:
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


# The protocol of GeoCLAP (Khanal et al., BMVC 2023, arXiv 2309.10667).


_GEOCLAP_TOLD = {
    "name": "geoclap",
    "difference": "Unlike the honest one it gives ties their average rank, counts ranks below 100 as R@100, and takes "
    "identical items for wrong; what its code prints as image to sound is sound to image and the other way round, here "
    "each direction has its right name.",
    "similarity": "The cosine of the embeddings, also of raw ones.",
}


def geoclap(
    pairs: EmbeddedPairs, *, resamples: int = 1000, seed: int = 0, max_bytes: int = AVERAGE_RANKS_MAX_BYTES
) -> RetrievalResult:
    """Return R@100 (rank < 100) and the median rank by cosine, under the right names of the directions.

    Raises DataError when there are no pairs.
    """
    return published_result(
        pairs, cosine_ranks(pairs, max_bytes=max_bytes), recalls={"R@100": 100.0}, told=_GEOCLAP_TOLD,
        similarity="cosine", resamples=resamples, seed=seed,
    )  # fmt: skip


# The protocol of PSM and Sat2Sound (Khanal et al., ACM MM 2024, arXiv 2408.07050; arXiv 2505.13777).


_PSM_TOLD = {
    "name": "psm",
    "difference": "Unlike the honest one it gives ties their average rank, counts ranks below a tenth of the gallery "
    "as R@10%, and takes identical items for wrong; the cosine is that of the embeddings alone, without PSM's "
    "uncertainties and metadata.",
    "similarity": "The cosine of the embeddings, also of raw ones.",
}


def psm(
    pairs: EmbeddedPairs, *, resamples: int = 1000, seed: int = 0, max_bytes: int = AVERAGE_RANKS_MAX_BYTES
) -> RetrievalResult:
    """Return R@10% (rank < 0.1 N) and the median rank by cosine. Raises DataError when there are no pairs."""
    return published_result(
        pairs, cosine_ranks(pairs, max_bytes=max_bytes), recalls={"R@10%": 0.1 * len(pairs)}, told=_PSM_TOLD,
        similarity="cosine", resamples=resamples, seed=seed,
    )  # fmt: skip


# The protocol of the SoundingEarth release (Heidler et al. 2023, arXiv 2108.00688).


RECALLS = {f"R@{k}": float(k) for k in (100, 500, 1000)}
SOUNDINGEARTH_KM_DEPTHS = (10, 100, 1000)
_SOUNDINGEARTH_TOLD = {
    "name": "soundingearth",
    "difference": "Unlike the honest one it ranks by Euclidean distance, divides that by each image's mean over the "
    "test recordings, gives ties their average rank, counts rank < k as within the first k, and takes identical items "
    "for wrong.",
    "similarity": "Minus the Euclidean distance of the embeddings as the model gives them. To rank images for a "
    "recording, the distances to each image are divided by their mean over all recordings of the test set; to rank "
    "recordings for an image this changes nothing.",
}


def soundingearth(
    pairs: EmbeddedPairs, *, resamples: int = 1000, seed: int = 0, max_bytes: int = AVERAGE_RANKS_MAX_BYTES
) -> RetrievalResult:
    """Return R@100, R@500, R@1000, median rank, D@10, D@100 and D@1000 as the release counts them.

    Unlike the release's own code it is deterministic: recordings are heard whole, no row is dropped. Raises DataError
    when there are no pairs.
    """
    return published_result(
        pairs, soundingearth_ranks(pairs, max_bytes=max_bytes), recalls=RECALLS, told=_SOUNDINGEARTH_TOLD,
        similarity="l2", resamples=resamples, seed=seed,
    )  # fmt: skip


def soundingearth_ranks(pairs: EmbeddedPairs, *, max_bytes: int = AVERAGE_RANKS_MAX_BYTES) -> dict[str, AverageRanks]:
    """Return the ranks and the kilometres of both directions. Raises DataError when there are no pairs."""
    places = places_of(pairs)
    depths = tuple(k for k in SOUNDINGEARTH_KM_DEPTHS if k < len(pairs))
    to_sound = average_ranks(pairs.image, pairs.audio, places, depths=depths, max_bytes=max_bytes)
    mean = to_sound.mean_distance[first_equal(pairs.image)]  # so that identical images go on tying
    divisor = np.where(mean > 0, mean, 1.0)
    to_image = average_ranks(pairs.audio, pairs.image, places, depths=depths, divisor=divisor, max_bytes=max_bytes)
    return {"image_to_sound": to_sound, "sound_to_image": to_image}


# How retrieval is counted: honestly, or as a published work did, for figures that can be put beside its own.


HONEST = "honest"
PROTOCOLS: dict[str, Callable[..., RetrievalResult]] = {
    HONEST: honest,
    "soundingearth": soundingearth,
    "geoclap": geoclap,
    "psm": psm,
}


def check_protocol(protocol: str, twins: str | None, match: LabelMatch | str | None) -> None:
    """Raise ConfigError for an unknown protocol, and for options without effect under it."""
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise ConfigError(f"protocol {protocol!r}; {did_you_mean(protocol, PROTOCOLS)}one of {known} expected")
    if protocol == HONEST:
        return
    for option, value in (("twins", twins), ("match", match)):
        if value is not None:
            raise ConfigError(
                f"--{option} {value} has no effect with --protocol {protocol}; leave it out, or choose "
                f"--protocol {HONEST}"
            )


def evaluate_by(
    protocol: str,
    pairs: EmbeddedPairs,
    *,
    twins: str | None = None,
    match: LabelMatch | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> RetrievalResult:
    """Return what retrieval reaches by a protocol; `twins` (by default `merge`) and `match` are for the honest one.

    Raises ConfigError for an unknown protocol and for options without effect, DataError when there are no pairs.
    """
    check_protocol(protocol, twins, match)
    if protocol == HONEST:
        return honest(pairs, twins=twins or "merge", match=match, resamples=resamples, seed=seed)
    return PROTOCOLS[protocol](pairs, resamples=resamples, seed=seed)
