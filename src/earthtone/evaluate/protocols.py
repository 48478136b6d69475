"""Protocols of retrieval: the figures of embedded pairs, honestly or as a published work counts them, beside its own.

`RetrievalResult` holds the figures of both directions with intervals and chance; `evaluate_by` makes one by name.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
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
    normalised_rows,
    rank_pairs,
)
from earthtone.evaluate.results import Estimate, PerQuery, estimates
from earthtone.geo import great_circle_km
from earthtone.options import RESAMPLES

RECALL_DEPTHS = (1, 5, 10, 100)
KM_DEPTHS = (1, 10, 100)
SOUNDINGEARTH_KM_DEPTHS = (10, 100, 1000)
MATCH_DEPTH = 10
_SHARES = ("R@", "match")

#: Figures of one direction by name, each with what a random ranking reaches.
Figures = dict[str, tuple[PerQuery, float]]

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
_STRICT = "rank < k"
_PUBLISHED = {
    "rank": "1 + the number of nearer items + half the number of other items that are exactly as near. R@k counts "
    "rank < k. Only k smaller than the gallery are reported.",
    "km": "D@k: from the query's own place to the nearest of the first k places, the mean over queries. Great circles, "
    "radius 6371 km. Pairs without coordinates are passed over.",
    "windows": "Ours is deterministic: every recording is heard whole and no pair is dropped.",
    "intervals": "95 % percentile bootstrap over queries, not part of the protocol; twins are drawn together.",
    "chance": "A random ranking, in closed form; km: simulated.",
}


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
    """Everything else in `to_dict`: protocol, similarity, twins, ties, places."""

    def to_dict(self) -> dict[str, Any]:
        """Return the figures and the protocol, ready for JSON."""
        directions = {
            direction: {
                "metrics": {name: asdict(estimate) for name, estimate in figures.items()},
                "tied_queries": self.facts["tied_queries"][direction],
                "right_items": dict(self.facts.get("right_items", {}).get(direction, {})),
            }
            for direction, figures in self.figures.items()
        }
        others = {name: fact for name, fact in self.facts.items() if name not in ("tied_queries", "right_items")}
        return {"gallery": self.gallery, **others, "directions": directions}

    def to_text(self) -> str:
        """Return a table for the terminal: value, 95 % interval and chance of both directions."""
        cells = [["", *(cell for name in self.figures for cell in (name.replace("_", " "), "95 %", "chance"))]]
        for name in dict.fromkeys(name for figures in self.figures.values() for name in figures):
            cells.append([name.replace("_", " ")])
            for figures in self.figures.values():
                cells[-1] += _cells(name, figures[name]) if name in figures else ["", "", ""]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells]
        twins = self.facts["twins"]
        headline = (
            f"{self.gallery:,} images and {self.gallery:,} recordings; twins {twins['handling']}: "
            f"{twins['pairs_with_identical_image']:,} pairs share an image, "
            f"{twins['pairs_with_identical_recording']:,} a recording"
        )
        return one_line_each([headline, *(line.rstrip() for line in lines), *self._footnotes()])

    def _footnotes(self) -> list[str]:
        tied = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.facts["tied_queries"].items())
        ties, km = "wrong items of an equal score first", "the median, and the mean"
        if self.facts["recall_counts"] == _STRICT:
            ties, km = "of equal items each has their average rank", "the mean"
        lines = [f"rank: from 1, {ties}; queries with such ties: {tied}"]
        places = self.facts["places"]["pairs_with_coordinates"]
        known = f"to the nearest of the first k, {km}; {places:,} pairs with coordinates"
        lines.append(f"km: {known if places else 'left out, no pair has coordinates'}")
        if "match" in self.facts:
            lines.append(f"match: {self.facts['match']['rule']}")
        if "split" in self.facts:
            lines.append(f"split {self.facts['split']['name']} by {self.facts['split']['dealt_out']}")
        below = [
            f"{name.replace('_', ' ')} ({direction.replace('_', ' ')})"
            for direction, figures in self.figures.items()
            for name, figure in figures.items()
            if standing(name, figure).startswith("below")
        ]
        lines += [f"below chance: {', '.join(below)}"] if below else []
        lines += [f"caution: {line}" for line in self.facts.get("cautions", ())]
        protocol = self.facts["protocol"]
        return [*lines, f"protocol {protocol['name']}: {protocol['difference']}"]


def standing(name: str, figure: Estimate) -> str:
    """Return how a figure of retrieval stands to chance, in words; see `chance.against_chance`."""
    less = "rank" in name or name.startswith("km") or name.endswith("_km")
    return chance.against_chance(figure.value, figure.chance, figure.low, figure.high, less=less)


def honest(
    pairs: EmbeddedPairs,
    *,
    twins: str = "merge",
    match: LabelMatch | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    max_bytes: int = MAX_BYTES,
) -> RetrievalResult:
    """Return R@k, median rank, MRR, nDCG@10, km@k and, with `match`, precision@10 by label, of both directions.

    Every query searches all N items of the other modality. `to_dict()["protocol"]` says what each figure means; see
    `rank_pairs` for ranks and `twins`, `estimates` for the intervals. `max_bytes` bounds the scores held at
    once. Raises DataError when there are no pairs or no labels, ConfigError for options that make no sense.
    """
    labels = match_labels(match, pairs.columns) if match and len(pairs) else None  # before the long part
    ranks = rank_pairs(pairs, twins=twins, depth=max(RECALL_DEPTHS), max_bytes=max_bytes)
    depths = [k for k in KM_DEPTHS if k < len(pairs)]
    expected_km = chance.nearest_km(pairs.longitude, pairs.latitude, depths, seed)
    facts: dict[str, Any] = {
        "twins": {
            "handling": twins,
            "queries_with_several_right_items": int((ranks[DIRECTIONS[0]].relevant > 1).sum()),
        },
        "right_items": {  # how many queries have so many: what a random ranking reaches follows from that
            direction: dict(sorted(Counter(found.relevant.tolist()).items())) for direction, found in ranks.items()
        },
        "recall_counts": "rank <= k",
        "similarity": pairs.similarity,
        "protocol": {**_PROTOCOL, "similarity": _SIMILARITY[pairs.similarity], "twins": _TWINS[twins]},
        "resamples": resamples,
        "seed": seed,
    }
    if labels is not None:
        facts["match"] = {"rule": str(match), "fits_nothing": list(labels.unlisted)}
        facts["protocol"]["match"] = (
            f"match_precision@{MATCH_DEPTH}: the share of the first {MATCH_DEPTH} whose label fits the query's; the "
            "query's own partner is in the gallery; chance is the mean share of the gallery that fits."
        )
    figures = {direction: _figures(pairs, found, labels, direction, expected_km) for direction, found in ranks.items()}
    scores = {direction: found.score for direction, found in ranks.items()}
    return _result(pairs, ranks, figures, scores, facts)


def _result(
    pairs: EmbeddedPairs,
    ranks: Mapping[str, DirectionRanks | AverageRanks],
    figures: Mapping[str, Figures],
    scores: Mapping[str, NDArray[np.float64]],
    facts: Mapping[str, Any],
) -> RetrievalResult:
    """Return the result of both directions; all figures see the same resamples, in which twins are drawn together."""
    flat = {f"{direction}/{name}": figure for direction, named in figures.items() for name, figure in named.items()}
    values = {name: figure for name, (figure, _) in flat.items()}
    chances = {name: expected for name, (_, expected) in flat.items()}
    found = estimates(values, chances, pairs.twin_clusters(), resamples=facts["resamples"], seed=facts["seed"])
    sizes = [np.unique(group, return_counts=True)[1] for group in (pairs.image_group, pairs.audio_group)]
    shared = [int(counts[counts > 1].sum()) for counts in sizes]  # rows that share their group with another
    return RetrievalResult(
        figures={
            direction: {name: found[f"{direction}/{name}"] for name in named} for direction, named in figures.items()
        },
        ranks={direction: of.rank for direction, of in ranks.items()},
        top={direction: of.top[:, :TOP] for direction, of in ranks.items()},
        scores_true=scores,
        gallery=len(pairs),
        facts={
            "queries": len(pairs),
            "places": {"pairs_with_coordinates": int(pairs.has_place.sum())},
            "tied_queries": {direction: int(of.tied.sum()) for direction, of in ranks.items()},
            **facts,
            "twins": {
                "handling": facts["twins"]["handling"],
                "pairs_with_identical_image": shared[0],
                "pairs_with_identical_recording": shared[1],
                **facts["twins"],
            },
        },
    )


def _figures(
    pairs: EmbeddedPairs,
    found: DirectionRanks,
    labels: MatchedLabels | None,
    direction: str,
    expected_km: Mapping[int, NDArray[np.float64]],
) -> Figures:
    gallery, rank = len(pairs), found.rank.astype(np.float64)
    beyond = chance.beyond(gallery, found.relevant)
    figures = {
        name: (PerQuery((rank <= k).astype(np.float64)), float(1 - beyond[k]))
        for name, k in ({f"R@{k}": k for k in RECALL_DEPTHS} | {"R@10%": gallery // 10}).items()
        if 1 <= k < gallery  # one that the whole gallery fits into says nothing, less than one item is none
    }
    figures |= {
        "median_rank": (PerQuery(rank, median=True), chance.median_rank(beyond)),
        "mrr": (PerQuery(1 / rank), chance.mean_reciprocal_rank(beyond)),
        "ndcg@10": (PerQuery(found.ndcg), chance.ndcg(gallery, found.relevant)),
    }
    for k, expected in expected_km.items():
        km = _km_to_nearest(pairs, found.top[:, :k])
        figures[f"km@{k}"] = PerQuery(km, median=True), PerQuery(expected, median=True).value()
        figures[f"km_mean@{k}"] = PerQuery(km), PerQuery(expected).value()
    if labels is not None and gallery > MATCH_DEPTH:
        fitting = labels.precision(direction, found.top[:, :MATCH_DEPTH])
        figures[f"match_precision@{MATCH_DEPTH}"] = PerQuery(fitting), labels.chance(direction)
    return {name: figure for name, figure in figures.items() if not np.isnan(figure[0].values).all()}


def _km_to_nearest(pairs: EmbeddedPairs, top: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (N,) km from each query's place to the nearest of the places found, NaN when it has none."""
    least = np.full(len(pairs), np.nan)
    for column in top.T:  # one by one: N x 100 distances at once are large
        km = great_circle_km(pairs.longitude, pairs.latitude, pairs.longitude[column], pairs.latitude[column])
        least = np.fmin(least, km)
    return least


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


def cosine_ranks(pairs: EmbeddedPairs) -> dict[str, AverageRanks]:
    """Return the ranks of both directions by cosine, which orders unit vectors like their distance."""
    places = Places(pairs.longitude, pairs.latitude)
    image, audio = normalised_rows(pairs.image), normalised_rows(pairs.audio)
    sides = {"image_to_sound": (image, audio), "sound_to_image": (audio, image)}
    return {direction: average_ranks(*side, places) for direction, side in sides.items()}


def soundingearth_ranks(pairs: EmbeddedPairs, *, max_bytes: int = AVERAGE_RANKS_MAX_BYTES) -> dict[str, AverageRanks]:
    """Return the ranks and the kilometres of both directions by the distance that the SoundingEarth release takes."""
    places = Places(pairs.longitude, pairs.latitude)
    depths = tuple(k for k in SOUNDINGEARTH_KM_DEPTHS if k < len(pairs))
    to_sound = average_ranks(pairs.image, pairs.audio, places, depths=depths, max_bytes=max_bytes)
    mean = to_sound.mean_distance[first_equal(pairs.image)]  # so that identical images go on tying
    divisor = np.where(mean > 0, mean, 1.0)
    to_image = average_ranks(pairs.audio, pairs.image, places, depths=depths, divisor=divisor, max_bytes=max_bytes)
    return {"image_to_sound": to_sound, "sound_to_image": to_image}


@dataclass(frozen=True)
class Published:
    """A published protocol: average ranks for ties, `rank < k`; scores are cosines, or minus distances (`l2`)."""

    difference: str
    """One sentence: how it differs from the honest one."""
    similarity: str
    """What is compared, for the report."""
    ranks: Callable[[EmbeddedPairs], dict[str, AverageRanks]]
    recalls: Mapping[str, float]
    """Rank that each recall must stay below; below 1 a share of the gallery."""
    measure: str = "cosine"


PUBLISHED = {
    # The release of SoundingEarth (Heidler et al. 2023, arXiv 2108.00688), without its random parts: recordings are
    # heard whole, no row is dropped.
    "soundingearth": Published(
        "Unlike the honest one it ranks by Euclidean distance, divides that by each image's mean over the "
        "test recordings, gives ties their average rank, counts rank < k as within the first k, and takes identical "
        "items for wrong.",
        "Minus the Euclidean distance of the embeddings as the model gives them. To rank images for a "
        "recording, the distances to each image are divided by their mean over all recordings of the test set; to rank "
        "recordings for an image this changes nothing.",
        soundingearth_ranks,
        {f"R@{k}": float(k) for k in (100, 500, 1000)},
        "l2",
    ),
    # GeoCLAP (Khanal et al., BMVC 2023, arXiv 2309.10667).
    "geoclap": Published(
        "Unlike the honest one it gives ties their average rank, counts ranks below 100 as R@100, and takes "
        "identical items for wrong; what its code prints as image to sound is sound to image and the other way round, "
        "here each direction has its right name.",
        "The cosine of the embeddings, also of raw ones.",
        cosine_ranks,
        {"R@100": 100.0},
    ),
    # PSM and Sat2Sound (Khanal et al., ACM MM 2024, arXiv 2408.07050; arXiv 2505.13777).
    "psm": Published(
        "Unlike the honest one it gives ties their average rank, counts ranks below a tenth of the gallery "
        "as R@10%, and takes identical items for wrong; the cosine is that of the embeddings alone, without PSM's "
        "uncertainties and metadata.",
        "The cosine of the embeddings, also of raw ones.",
        cosine_ranks,
        {"R@10%": 0.1},
    ),
}
HONEST = "honest"
PROTOCOLS = (HONEST, *PUBLISHED)


def check_protocol(protocol: str, twins: str | None, match: LabelMatch | str | None) -> None:
    """Raise ConfigError for an unknown protocol, and for options without effect under it."""
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise ConfigError(f"protocol {protocol!r}; {did_you_mean(protocol, PROTOCOLS)}one of {known} expected")
    for option, value in (("twins", twins), ("match", match)):
        if value is not None and protocol != HONEST:
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
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RetrievalResult:
    """Return the figures of retrieval by a protocol; `twins` (by default `merge`) and `match` are for the honest one.

    Raises ConfigError for an unknown protocol and for options without effect, DataError when there are no pairs.
    """
    check_protocol(protocol, twins, match)
    if protocol == HONEST:
        return honest(pairs, twins=twins or "merge", match=match, resamples=resamples, seed=seed)
    if not len(pairs):
        raise DataError("there are no pairs to rank; choose a split that has some")
    published = PUBLISHED[protocol]
    ranks = published.ranks(pairs)
    below = {name: len(pairs) * at if at < 1 else at for name, at in published.recalls.items()}
    below = {name: at for name, at in below.items() if 1 < at < len(pairs)}  # no rank is below 1
    expected_km = chance.nearest_km(pairs.longitude, pairs.latitude, list(ranks[DIRECTIONS[0]].km), seed)
    scores: dict[str, NDArray[np.float64]] = {}
    figures: dict[str, Figures] = {}
    for direction, found in ranks.items():
        scores[direction] = 1 - found.distance**2 / 2 if published.measure == "cosine" else -found.distance
        figures[direction] = {
            name: (PerQuery((found.rank < at).astype(np.float64)), (math.ceil(at) - 1) / len(pairs))
            for name, at in below.items()
        }
        figures[direction]["median_rank"] = PerQuery(found.rank, median=True), (len(pairs) + 1) / 2
        for k, km in found.km.items():
            if not np.isnan(km).all():
                figures[direction][f"D@{k}_km"] = PerQuery(km), float(np.nanmean(expected_km[k]))
    described = {"name": protocol, "difference": published.difference, "similarity": published.similarity, **_PUBLISHED}
    facts = {
        "twins": {"handling": "ignore"},
        "recall_counts": _STRICT,
        "similarity": published.measure,
        "protocol": described,
        "resamples": resamples,
        "seed": seed,
    }
    return _result(pairs, ranks, figures, scores, facts)
