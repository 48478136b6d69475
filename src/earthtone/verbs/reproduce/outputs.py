"""The table as Markdown, CSV and one HTML page."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from earthtone.atomic import write_text_atomic
from earthtone.evaluate.page import shown
from earthtone.verbs.reproduce.options import Setup
from earthtone.verbs.reproduce.published import tables_not_read
from earthtone.verbs.reproduce.rows import COLUMNS, Row

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
    texts = {"md": markdown(head, found), "csv": comma_separated(found), "html": page(head, found)}
    paths = [out / f"{STEM}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text_atomic(path, text)
    return paths


def comma_separated(found: Sequence[Row]) -> str:
    """Return all columns as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(astuple(row) for row in found)
    return text.getvalue()


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
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("earthtone.verbs.reproduce").joinpath("reproduction.html.j2").read_text(encoding="utf-8")
    return shown(
        environment.from_string(source).render(
            title=TITLE, head=head, rows=found, not_read=tables_not_read(), links=_links
        )
    )


def _links(text: str) -> list[tuple[str, str | None]]:
    """A text in parts: (words, None) and (address, address)."""
    parts = re.split(r"(https://[^\s;,]+)", text)
    return [(part, part if part.startswith("https://") else None) for part in parts if part]
