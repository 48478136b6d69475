"""The table of a reproduction: published figures beside ours, as HTML, Markdown and CSV."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

import yaml

from earthtone.pages import NONE, Page, PageTable, TableCell, figure_text
from earthtone.studies.reproduce_units import HONEST, PUBLISHED, Setup, StepResult, Unit

#: What a figure is of, and how its cell in the table reads.
KINDS: Mapping[str, str] = {
    "paper": "{value}",
    "quoted": "{value} as quoted by others",
    "reimplementation": "not known ({value}: an independent re-implementation)",
}
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class PublishedFigure:
    """One published figure; the fields are explained in `published.yaml`."""

    step: str
    figure: str
    value: float
    of: str
    backbone: str | None
    read_in: str
    url: str
    note: str | None = None

    @property
    def cell(self) -> str:
        """Return how the table shows it."""
        return KINDS[self.of].format(value=f"{self.value:g}" if self.value >= 1 else f"{self.value:.3f}")

    @property
    def source(self) -> str:
        """Return where it was read, and what must be known before it is compared."""
        return f"{self.read_in}, {self.url}" + (f"; {self.note}" if self.note else "")


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Return all that are known."""
    return tuple(PublishedFigure(**values) for values in _published_yaml()["figures"])


def tables_not_read() -> Sequence[str]:
    """Return the paper's tables that could not be read."""
    return _published_yaml()["not_read"]


def published(step: str, figure: str, backbone: str | None) -> PublishedFigure | None:
    """Return the published counterpart of a figure of the paper's model with a backbone, or None."""
    known = (known for known in published_figures() if (known.step, known.figure) == (step, figure))
    return next((figure for figure in known if figure.backbone in (None, backbone)), None)


@cache
def _published_yaml() -> dict[str, list[Any]]:
    text = resources.files("earthtone.studies").joinpath("published.yaml").read_text(encoding="utf-8")
    values: dict[str, list[Any]] = yaml.safe_load(text)
    return values


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
TITLE = "Heidler et al., arXiv 2108.00688: published figures and ours"


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


def rows(
    units: Sequence[Unit], results: Mapping[str, StepResult], why_not: Mapping[str, str],
    backbone: str | None,
) -> list[Row]:  # fmt: skip
    """Return the table: for each step and contender its figures, or one row that says why there are none.

    `results` holds results of units by name, `why_not` a reason for each of the others.
    """
    by_contender: dict[tuple[str, str], dict[str, Unit]] = {}
    for unit in units:
        if unit.protocol in (PUBLISHED, HONEST):
            by_contender.setdefault((unit.step, unit.contender), {})[unit.protocol] = unit
    return [row for both in by_contender.values() for row in _rows(both, results, why_not, backbone)]


def _rows(
    both: Mapping[str, Unit], results: Mapping[str, StepResult], why_not: Mapping[str, str],
    backbone: str | None,
) -> Iterator[Row]:  # fmt: skip
    """Yield the rows of one contender in one step; `both` are its units by protocol."""
    unit = both[PUBLISHED]
    done = {protocol: results[each.name] for protocol, each in both.items() if each.name in results}
    title = next((result.title for result in done.values()), unit.title)

    def cell(protocol: str, figure: str | None) -> tuple[str, str]:
        """Return a figure and how it was measured, or `none` and why it was not."""
        if figure is None:
            return "", ""
        if protocol not in done:
            return NONE, why_not[both[protocol].name] if protocol in both else "not asked for"
        result = done[protocol]
        if figure not in result.figures:
            return "", ""
        found, digits = result.figures[figure], 1 if "rank" in figure or "km" in figure else 3
        return figure_text(found.value, found.low, found.high, digits), result.protocol

    figures = FIGURES["retrieval" if unit.step in ("losses", "places") else unit.step]
    for theirs, ours in figures:
        of_paper = unit.contender == "model" and theirs is not None
        known = published(unit.step, str(theirs), backbone) if of_paper else None
        cells = cell(PUBLISHED, theirs), cell(HONEST, ours)
        if done and all(text in ("", NONE) for text, _ in cells):
            continue  # such as R@1000 in a small gallery
        if not done and known is None and theirs != figures[0][0]:
            continue
        yield Row(
            unit.step, unit.data, title, theirs or str(ours),
            "" if theirs is None else known.cell if known else NOT_KNOWN, known.source if known else "",
            *cells[0], *cells[1],
        )  # fmt: skip


def make_page(setup: Setup, found: Sequence[Row], undone: Mapping[str, str]) -> Page:
    """Return what the page and the Markdown show; `undone` holds the units without a result, and why."""
    warning = "This is NOT the paper's schedule. Figures here do not say how well the paper's system does:"
    named = setup.options.recipe or f"soundingearth-paper-{setup.backbone}"
    facts = {
        "model": f"given: {setup.options.model}" if setup.recipe is None else f"by the recipe {named}",
        "image encoder": setup.encoder,
        "seed": str(setup.options.seed),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("earthtone", "torch", "timm")),
    }
    by_reason: dict[str, list[str]] = {}
    for name, reason in undone.items():
        by_reason.setdefault(reason, []).append(name)
    return Page(
        TITLE,
        [warning, *setup.deviations] if setup.deviations else [],
        [figures_table(found)],
        {
            "What was measured": [f"{name}: {value}" for name, value in facts.items()],
            "Not known, because the paper's table could not be read": tables_not_read(),
            "Left out": [f"{', '.join(units)}: {reason}" for reason, units in by_reason.items()],
        },
    )


def figures_table(found: Sequence[Row]) -> PageTable:
    """Return the table as it is shown: sources and protocols are folded away behind the figures."""
    return PageTable(
        "The table",
        ["step", "data", "model", "figure", "published", "ours, same protocol", "honest"],
        [
            [
                row.step, row.data, row.model, row.figure,
                TableCell(row.published, folded=row.source),
                TableCell(row.ours, folded=row.protocol),
                TableCell(row.honest, folded=row.honest_protocol),
            ]
            for row in found
        ],
        lead="Intervals: 95 %, bootstrap.",
    )  # fmt: skip
