"""What reports are written with: HTML from templates, Markdown, CSV that no spreadsheet runs, small charts."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from earthtone.errors import printable

# The pages that evaluations and verbs write: templates with one frame and one style, escaped throughout.


def render_page(template: str, **values: Any) -> str:
    """Return the HTML of a template in `templates`, by its name there; all values are escaped.

    It extends `page.html.j2`; `title` and `notes` are the frame's own.
    """
    environment = Environment(
        loader=PackageLoader("earthtone", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return shown(environment.get_template(template).render(**values))


def shown(page: str) -> str:
    """Return a page with control characters in names written out, and halves of characters, which no file can hold.

    Some turn the direction of writing, so that a reader sees another name than that of the file.
    """
    return "\t".join(map(printable, page.split("\t")))


# Tables and names as Markdown that shows them as they are.


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line: names come from folders and files."""
    one_line = " ".join(text.encode("utf-8", "replace").decode().split())
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", one_line).replace("&", "&amp;")


# Rows as CSV whose names no spreadsheet takes for formulas.


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as CSV, numbers with full precision; a row may lack columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8", "replace").decode()


def _inert(value: Any) -> Any:
    """Return text with a quote before what would begin a formula; numbers as they are, also those in texts."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


# A figure with its interval as a small bar from 0 to 1.


_WIDTH = 120


class Interval(Protocol):
    """A figure with its interval, and its chance level where it has one."""

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def chance(self) -> float | None: ...


def interval_bar(figure: Interval) -> Markup:
    """Return an SVG: the interval as a thick line, the figure as a dot, chance as a tick, on a line from 0 to 1."""
    low, high, value = (_place(number) for number in (figure.low, figure.high, figure.value))
    chance = ""
    if figure.chance is not None:
        at = _place(figure.chance)
        chance = f'<path d="M{at:.1f} 1V11" style="stroke: var(--muted)" stroke-width="1.2"/>'
    label = f"{figure.value:.3f}, interval {figure.low:.3f} to {figure.high:.3f}"
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="bar" role="img" aria-label="{label}" viewBox="-4 0 {_WIDTH + 8} 12">'
        f'<path d="M0 6H{_WIDTH}" style="stroke: var(--grid)" stroke-width="2"/>{chance}'
        f'<path d="M{low:.1f} 6H{high:.1f}" style="stroke: var(--moss)" stroke-width="4" stroke-opacity=".55"/>'
        f'<circle cx="{value:.1f}" cy="6" r="3.2" style="fill: var(--moss)"/></svg>'
    )


def _place(number: float) -> float:
    return _WIDTH * min(1.0, max(0.0, number if number == number else 0.0))
