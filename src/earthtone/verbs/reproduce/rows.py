"""The rows of the table: a figure each, published, ours, and honest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from earthtone.evaluate.bootstrap import Estimate
from earthtone.verbs.reproduce.measures import Measured
from earthtone.verbs.reproduce.published import NOT_KNOWN, published
from earthtone.verbs.reproduce.steps import Steps
from earthtone.verbs.reproduce.units import HONEST, PUBLISHED, Unit

#: By the published protocol, by the honest one; None: that protocol has no such figure.
Figures = tuple[str | None, str | None]
_DIRECTIONS = ("image_to_sound", "sound_to_image")
_RETRIEVAL: tuple[Figures, ...] = (
    ("R@100", "R@100"), ("R@500", None), ("R@1000", None), ("median_rank", "median_rank"), ("D@10_km", "km_mean@10"),
    ("D@100_km", "km_mean@100"), ("D@1000_km", None), (None, "R@1"), (None, "R@10"), (None, "R@10%"),
)  # fmt: skip
_ACCURACY: tuple[Figures, ...] = (("accuracy", "accuracy"),)
FIGURES: Mapping[str, tuple[Figures, ...]] = {
    "retrieval": tuple(
        (theirs and f"{way} {theirs}", ours and f"{way} {ours}") for way in _DIRECTIONS for theirs, ours in _RETRIEVAL
    ),
    "ucmerced": _ACCURACY,
    "resisc45": _ACCURACY,
    "aid": _ACCURACY,
    "aid_few_shot": (
        ("centroid_accuracy", "centroid_accuracy@5"), ("centroid_weighted_precision", None),
        ("centroid_weighted_recall", None), ("centroid_weighted_f1", None),
    ),
    "advance": tuple(
        (f"{view} {figure}", f"{view} {figure}")
        for view in ("concat", "image", "sound", "mean")
        for figure in ("weighted_f1", "weighted_precision", "weighted_recall")
    ),
    "deepglobe": (("mIoU", "mIoU"), ("accuracy", "accuracy")),
}  # fmt: skip
_PLAIN = ("rank", "km")
NONE = "none"


@dataclass(frozen=True)
class Row:
    """One figure of one contender; empty where a protocol has no such figure."""

    step: str
    data: str
    model: str
    figure: str
    published: str
    source: str
    ours: str
    """With its interval; `none` where it was not measured."""
    protocol: str
    """How it was measured, or why it was not."""
    honest: str
    honest_protocol: str


COLUMNS = tuple(Row.__dataclass_fields__)


def rows(units: Sequence[Unit], steps: Steps, why_not: Mapping[str, str], backbone: str | None) -> list[Row]:
    """Return the table: for each step and contender its figures, or one row that says why there are none."""
    by_name = {(unit.step, unit.contender, unit.protocol): unit for unit in units}
    found: list[Row] = []
    for step, contender, protocol in by_name:
        if protocol == PUBLISHED:
            both = [by_name.get((step, contender, which)) for which in (PUBLISHED, HONEST)]
            found += _rows([unit for unit in both if unit], steps, why_not, backbone)
    return found


def _rows(units: Sequence[Unit], steps: Steps, why_not: Mapping[str, str], backbone: str | None) -> Iterator[Row]:
    first = units[0]
    done = {unit.protocol: steps.read(unit) for unit in units if steps.done(unit.name)}
    results = {protocol: measured for protocol, (measured, _) in done.items()}
    title = next((title for _, title in done.values()), first.title)
    reason = {HONEST: "not asked for"}
    reason |= {unit.protocol: "" if unit.protocol in done else why_not[unit.name] for unit in units}
    ours, honest = results.get(PUBLISHED), results.get(HONEST)
    of = backbone if first.contender == "model" else None
    for theirs_name, honest_name in _figures(first.step):
        name = theirs_name or str(honest_name)
        there = published(first.step, theirs_name, of) if theirs_name and first.contender == "model" else None
        cells = _value(ours, theirs_name), _value(honest, honest_name)
        if done and not any(cells):
            continue  # such as R@1000 in a small gallery
        if not done and there is None and name != _headline(first.step):
            continue
        yield Row(
            step=first.step,
            data=first.data,
            model=title,
            figure=name,
            published=_published_cell(first, theirs_name, there.cell if there else None),
            source=there.source if there else "",
            ours=cells[0] or (NONE if theirs_name and reason[PUBLISHED] else ""),
            protocol=ours.protocol if ours and cells[0] else reason[PUBLISHED] if theirs_name else "",
            honest=cells[1] or (NONE if honest_name and reason[HONEST] else ""),
            honest_protocol=honest.protocol if honest and cells[1] else reason[HONEST] if honest_name else "",
        )


def _published_cell(unit: Unit, name: str | None, known: str | None) -> str:
    if name is None:
        return ""  # a figure that only the honest protocol has
    return known or NOT_KNOWN


def _headline(step: str) -> str:
    return str(_figures(step)[0][0])


def _figures(step: str) -> tuple[Figures, ...]:
    return FIGURES["retrieval" if step in ("losses", "places") else step]


def _value(found: Measured | None, name: str | None) -> str:
    """A figure with its interval."""
    if found is None or name is None or name not in found.figures:
        return ""
    figure: Estimate = found.figures[name]
    digits = 1 if any(word in name for word in _PLAIN) else 3
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
