"""The table of a reproduction: published figures beside ours, as HTML, Markdown and CSV."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from earthtone.evaluate.results import Estimate
from earthtone.files import write_text_atomic
from earthtone.pages import csv_text, render_page
from earthtone.studies.reproduce_units import HONEST, PUBLISHED, Measured, Setup, Steps, Unit

# The published figures that are known, each with where it was read.


#: What a figure is of, and how its cell in the table reads.
KINDS: Mapping[str, str] = {
    "paper": "{value}",
    "quoted": "{value} as quoted by others",
    "reimplementation": "not known ({value}: an independent re-implementation)",
}
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class PublishedFigure:
    """One figure; the fields are explained in `published.yaml`."""

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
        """How the table shows it."""
        return KINDS[self.of].format(value=f"{self.value:g}" if self.value >= 1 else f"{self.value:.3f}")

    @property
    def source(self) -> str:
        """Where it was read, and what must be known before it is compared."""
        return f"{self.read_in}, {self.url}" + (f"; {self.note}" if self.note else "")


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """Return all that are known."""
    return tuple(PublishedFigure(**values) for values in _values()["figures"])


@cache
def tables_not_read() -> tuple[str, ...]:
    """Return the paper's tables that could not be read."""
    return tuple(_values()["not_read"])


def published(step: str, figure: str, backbone: str | None) -> PublishedFigure | None:
    """Return the published counterpart of a figure of the paper's model with a backbone, or None."""
    return next(
        (
            found
            for found in published_figures()
            if (found.step, found.figure) == (step, figure) and found.backbone in (None, backbone)
        ),
        None,
    )


def _values() -> dict[str, list[Any]]:
    text = resources.files("earthtone.studies").joinpath("published.yaml").read_text(encoding="utf-8")
    values: dict[str, list[Any]] = yaml.safe_load(text)
    return values


# The rows of the table: a figure each, published, ours, and honest.


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


# The table as Markdown, CSV and one HTML page.


TITLE = "Heidler et al., arXiv 2108.00688: published figures and ours"
STEM = "reproduction"
_TERSE = ("step", "data", "model", "figure", "published", "ours", "honest")  # the rest stands in notes below


@dataclass(frozen=True)
class Head:
    """What stands above the table."""

    warning: str
    deviations: tuple[str, ...]
    facts: Mapping[str, str]
    undone: Sequence[str]
    """A line for each reason why something was left out, with what to type."""


def make_head(setup: Setup, undone: Mapping[str, str]) -> Head:
    """Return what must be known before the figures are read."""
    recipe = setup.recipe
    warning = "This is NOT the paper's schedule. Figures here do not say how well the paper's system does:"
    named = setup.options.recipe or f"soundingearth-paper-{setup.backbone}"
    facts = {
        "model": f"given: {setup.options.model}" if recipe is None else f"by the recipe {named}",
        "image encoder": setup.encoder,
        "seed": str(setup.options.seed),
        "versions": ", ".join(f"{name} {version(name)}" for name in ("earthtone", "torch", "timm")),
    }
    return Head(warning if setup.deviations else "", setup.deviations, facts, by_reason(undone))


def by_reason(undone: Mapping[str, str]) -> list[str]:
    """Return a line for each reason, with the units that were left out for it."""
    names: dict[str, list[str]] = {}
    for name, reason in undone.items():
        names.setdefault(reason, []).append(name)
    return [f"{', '.join(units)}: {reason}" for reason, units in names.items()]


def write_outputs(out: Path, head: Head, found: Sequence[Row]) -> list[Path]:
    """Write `reproduction.md`, `.csv` and `.html` and return their paths."""
    texts = {"md": markdown(head, found), "csv": csv_text(COLUMNS, map(asdict, found)), "html": page(head, found)}
    paths = [out / f"{STEM}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text_atomic(path, text)
    return paths


def markdown(head: Head, found: Sequence[Row]) -> str:
    """Return the table with its protocols and sources as numbered notes."""
    notes: dict[str, int] = {}
    lines = [f"# {TITLE}", ""]
    lines += [f"**{head.warning}**", "", *(f"- {text}" for text in head.deviations), ""] if head.warning else []
    lines += [f"- {name}: {value}" for name, value in head.facts.items()]
    lines += [f"- not known, because the paper's table could not be read: {text}" for text in tables_not_read()]
    lines += ["", f"| {' | '.join(_TERSE)} |", f"|{'---|' * len(_TERSE)}"]
    for row in found:
        cells = {name: getattr(row, name) for name in _TERSE}
        for name, told in (("published", row.source), ("ours", row.protocol), ("honest", row.honest_protocol)):
            if told:
                cells[name] += f" ({notes.setdefault(told, len(notes) + 1)})"
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells.values())} |")
    lines += ["", "Intervals: 95 %, bootstrap. Notes, in brackets behind the figures:", ""]
    lines += [f"{number}. {told}" for told, number in notes.items()]
    if head.undone:
        lines += ["", "Left out:", "", *(f"- {line}" for line in head.undone)]
    return "\n".join(lines) + "\n"


def page(head: Head, found: Sequence[Row]) -> str:
    """Return one HTML page: escaped throughout, no script, nothing loaded from anywhere."""
    return render_page(
        "reproduction.html.j2", title=TITLE, head=head, rows=found, not_read=tables_not_read(), links=_links
    )


def _links(text: str) -> list[tuple[str, str | None]]:
    """A text in parts: (words, None) and (address, address)."""
    parts = re.split(r"(https://[^\s;,]+)", text)
    return [(part, part if part.startswith("https://") else None) for part in parts if part]
