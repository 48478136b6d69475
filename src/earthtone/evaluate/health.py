"""Whether a model is healthy: how each tower spreads its vectors, how the two lie to each other, who finds whom.

Figures that a good score can hide and a bad one does not explain, each with a sentence and a picture.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earthtone.data.pack import open_table
from earthtone.errors import DataError, one_line, one_line_each
from earthtone.evaluate.ranking import DIRECTIONS, EmbeddedPairs, normalised_rows, rank_pairs
from earthtone.evaluate.retrieval import embedded_pairs
from earthtone.files import write_text_atomic
from earthtone.models.storage import model_name, opened_model
from earthtone.models.two_tower import Embeddings
from earthtone.options import DoctorOptions
from earthtone.value_types import takes

State = Literal["well", "look", "ill"]
FOUND_WITHIN = 10
_FEWEST = 50  # pairs; of fewer no figure says much
_COLLAPSED_VARIANCE, _COLLAPSED_RANK = 1e-3, 1.5
_BLOCK = 1024  # rows whose distances are held at once


@dataclass(frozen=True)
class Tower:
    """How N vectors (N, D) of one tower are spread."""

    variance: float
    """Mean squared distance from the mean vector, as a share of the mean squared length: 0 for a constant, about 1 for
    directions without a common part."""
    effective_rank: float
    """exp(entropy of the shares of variance by principal direction): 1 on a line, D in all directions alike (Roy and
    Vetterli 2007)."""
    uniformity: float
    """log of the mean of exp(-2 d^2) over pairs of vectors at length 1: 0 for a constant, about -4 when spread evenly
    over the sphere (Wang and Isola, arXiv 2005.10242)."""
    spectrum: NDArray[np.float64]
    """(D,) shares of variance by principal direction, largest first."""

    @property
    def collapsed(self) -> bool:
        """Return whether the tower says nearly the same of everything, or says one number only."""
        return self.variance < _COLLAPSED_VARIANCE or self.effective_rank < _COLLAPSED_RANK


@dataclass(frozen=True)
class Finding:
    """One figure with its sentence."""

    name: str
    value: float
    state: State
    sentence: str


@dataclass(frozen=True)
class Health:
    """What was found of a model on N pairs."""

    towers: Mapping[str, Tower]
    """`image` and `audio`."""
    findings: tuple[Finding, ...]
    found_by: Mapping[str, NDArray[np.int64]]
    """Direction -> (N,) by how many queries each item is found within the first 10."""
    pairs: EmbeddedPairs
    facts: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Return whether no tower is collapsed."""
        return not any(tower.collapsed for tower in self.towers.values())

    def to_dict(self) -> dict[str, Any]:
        """Return figures, states and sentences, ready for JSON."""
        figures = {finding.name: {"value": finding.value, "state": finding.state} for finding in self.findings}
        hubs = {direction: self.hubs(direction) for direction in self.found_by}
        return {**self.facts, "ok": self.ok, "figures": figures, "most_found": hubs}

    def to_text(self) -> str:
        """Return one line a figure, worst first, and a last line that sums up."""
        order = {"ill": 0, "look": 1, "well": 2}
        found = sorted(self.findings, key=lambda finding: order[finding.state])
        lines = [f"{each.state:<5} {each.name} {each.value:.3g}: {each.sentence}" for each in found]
        collapsed = [name for name, tower in self.towers.items() if tower.collapsed]
        end = f"collapsed: {' and '.join(collapsed)} tower" if collapsed else "no tower is collapsed"
        return one_line_each([*lines, end])

    def hubs(self, direction: str, count: int = 5) -> list[tuple[str, int]]:
        """Return ids of the items that most queries find, and how many do."""
        found = self.found_by[direction]
        return [(self.pairs.ids[at], int(found[at])) for at in np.argsort(-found, kind="stable")[:count]]


@takes(DoctorOptions)
def doctor(options: DoctorOptions) -> Health:
    """Return whether a model's towers are healthy on a split of `data`: spread, rank, gap, hubs, each in a sentence.

    At most `rows` pairs are looked at, drawn with `seed`. `out` is a page to write, with a picture of each.
    Raises DataError for too few pairs, ModelError for embeddings that are not finite.
    """
    model = opened_model(options.model, seed=options.seed, device=options.device)
    with open_table(
        options.data,
        model.signal,
        columns=options.columns,
        split_by=options.split_by,
        buffer_km=options.buffer_km,
        exclude=options.exclude,
    ) as table:
        rows = table.rows_of(options.split)
        if len(rows) < _FEWEST:
            raise DataError(
                f"{table.path}: {len(rows)} pairs of split {options.split}; at least {_FEWEST} expected: --split all?"
            )
        if len(rows) > options.rows:
            rows = np.sort(np.random.default_rng(options.seed).permutation(rows)[: options.rows])
        pairs = embedded_pairs(model, table, rows)
        facts = {"model": model_name(options.model), "data": table.name, "split": options.split, "pairs": len(rows)}
    health = health_of(pairs, facts)
    if options.out is not None:
        from earthtone.evaluate.plots import health_plots  # brings Matplotlib
        from earthtone.pages import render_page

        page = render_page(
            "health.html.j2", title=f"Health of {one_line(str(facts['model']))}", notes=[], health=health,
            plots=health_plots(health), hubs={name: health.hubs(name) for name in health.found_by},
        )  # fmt: skip
        write_text_atomic(Path(options.out), page)
    return health


def health_of(pairs: EmbeddedPairs, facts: Mapping[str, Any]) -> Health:
    """Return the figures of embedded pairs."""
    towers = {"image": tower_health(pairs.image), "audio": tower_health(pairs.audio)}
    found_by = {
        direction: np.bincount(ranks.top.ravel(), minlength=len(pairs))
        for direction, ranks in rank_pairs(pairs, depth=FOUND_WITHIN).items()
    }
    findings = [finding for name, tower in towers.items() for finding in _of_tower(name, tower)]
    findings += [*_of_both(pairs), *_of_hubs(pairs, found_by)]
    return Health(towers, tuple(findings), found_by, pairs, facts)


def tower_health(vectors: Embeddings) -> Tower:
    """Return how vectors (N, D) are spread."""
    values = vectors.astype(np.float64)
    centred = values - values.mean(axis=0)
    power = np.linalg.eigvalsh(centred.T @ centred / len(values))[::-1].clip(min=0)
    total = float(power.sum())
    length = float(np.square(values).sum(axis=1).mean())
    spectrum = power / total if total > 0 else np.eye(1, len(power))[0]
    entropy = -float(np.sum(spectrum * np.log(np.where(spectrum > 0, spectrum, 1.0))))
    return Tower(total / length if length > 0 else 0.0, math.exp(entropy), uniformity(vectors), spectrum)


def uniformity(vectors: Embeddings) -> float:
    """Return log mean exp(-2 d^2) over all pairs of different rows of vectors (N, D) at length 1."""
    unit = normalised_rows(vectors).astype(np.float64)
    count, total = len(unit), 0.0
    for start in range(0, count, _BLOCK):
        cosine = unit[start : start + _BLOCK] @ unit.T
        total += float(np.exp(4 * np.minimum(cosine, 1.0) - 4).sum())  # d^2 = 2 - 2 cos
    own = float(np.exp(4 * np.minimum(np.square(unit).sum(axis=1), 1.0) - 4).sum())
    return math.log((total - own) / (count * (count - 1)))


def tower_findings(name: str, vectors: Embeddings) -> list[Finding]:
    """Return what vectors (N, D) of one tower tell without the other: variance, effective rank, uniformity."""
    return list(_of_tower(name, tower_health(vectors)))


def _of_tower(name: str, tower: Tower) -> Iterator[Finding]:
    variance: State = "ill" if tower.variance < _COLLAPSED_VARIANCE else "look" if tower.variance < 0.05 else "well"
    said = {
        "ill": "it gives nearly the same vector for everything: the tower is collapsed",
        "look": "all vectors point nearly the same way; small differences must carry all there is",
        "well": f"{tower.variance:.0%} of the vectors' squared length is how they differ from their mean",
    }
    yield Finding(f"{name} variance", tower.variance, variance, said[variance])
    size = len(tower.spectrum)
    rank: State = "ill" if tower.effective_rank < _COLLAPSED_RANK else "look" if tower.effective_rank < 8 else "well"
    used = f"about {tower.effective_rank:.0f} of {size} dimensions are used"
    told = {"ill": f"{used}: one number for each item", "look": f"{used}; few things can be told apart", "well": used}
    yield Finding(f"{name} effective rank", tower.effective_rank, rank, told[rank])
    even: State = "look" if tower.uniformity > -1 else "well"
    crowded = "vectors crowd in a part of the sphere" if even == "look" else "vectors are spread over the sphere"
    yield Finding(f"{name} uniformity", tower.uniformity, even, f"{crowded} (0: all the same, -4: evenly)")


def _of_both(pairs: EmbeddedPairs) -> Iterator[Finding]:
    own, others = pair_distances(pairs)
    ratio = own / others if others > 0 else 1.0
    near: State = "look" if ratio > 0.9 else "well"
    told = "hardly nearer than" if near == "look" else "nearer than"
    yield Finding(
        "alignment", own, near,
        f"the squared distance within a pair, {told} that of image and recording of two pairs, {others:.3g}",
    )  # fmt: skip
    share = modality_share(pairs)
    apart: State = "look" if share > 0.5 else "well"
    yield Finding(
        "modality gap", share, apart,
        f"{share:.0%} of what tells vectors apart is only whether they are of an image or of a sound"
        + ("; compare within one kind with care" if apart == "look" else ""),
    )  # fmt: skip


def pair_distances(pairs: EmbeddedPairs) -> tuple[float, float]:
    """Return the mean squared distance of image and recording within a pair, and of two different pairs."""
    image, audio = pairs.image.astype(np.float64), pairs.audio.astype(np.float64)
    own = np.square(image - audio).sum(axis=1)
    count = len(image)
    squares = count * (np.square(image).sum() + np.square(audio).sum())
    everything = squares - 2 * float(image.sum(axis=0) @ audio.sum(axis=0))  # over all count x count
    return float(own.mean()), float((everything - own.sum()) / (count * (count - 1)))


def modality_share(pairs: EmbeddedPairs) -> float:
    """Return the share of the variance of all vectors that lies between the means of the two modalities.

    The gap of Liang et al. (arXiv 2203.02053) is the distance of these means; as a share it says how much it matters.
    """
    both = np.concatenate([pairs.image, pairs.audio]).astype(np.float64)
    total = float(both.var(axis=0).sum())
    gap = pairs.image.mean(axis=0, dtype=np.float64) - pairs.audio.mean(axis=0, dtype=np.float64)
    return float(gap @ gap) / 4 / total if total > 0 else 0.0


def _of_hubs(pairs: EmbeddedPairs, found_by: Mapping[str, NDArray[np.int64]]) -> Iterator[Finding]:
    count = len(pairs)
    for direction, found in found_by.items():
        kind = "recording" if direction == DIRECTIONS[0] else "image"
        most = int(found.max())
        hub: State = "look" if most > max(0.1 * count, 5 * FOUND_WITHIN) else "well"
        deviation = float(found.std())
        skewness = float(np.mean((found - found.mean()) ** 3)) / deviation**3 if deviation > 0 else 0.0
        yield Finding(
            f"hubs {direction}", skewness, hub,
            f"skewness of how often each {kind} is among the first {FOUND_WITHIN}; the most found one, "
            f"{one_line(pairs.ids[int(found.argmax())], 60)}, by {most} of {count} queries",
        )  # fmt: skip
        lost = float(np.mean(found == 0))
        unseen: State = "look" if lost > 0.5 else "well"
        yield Finding(
            f"never found {direction}", lost, unseen,
            f"{lost:.0%} of all {kind}s are among the first {FOUND_WITHIN} of no query",
        )  # fmt: skip
