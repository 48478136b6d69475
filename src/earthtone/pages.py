"""What reports are written with: HTML from templates, tables as HTML, Markdown and harmless CSV, small bars."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from earthtone.errors import FORMULA, printable
from earthtone.files import write_text_atomic

NONE = "none"  # of a figure that was not measured
#: Of Markdown. An underscore within a word means nothing, and brackets only before these.
_MARKUP = re.compile(r"[\\`*<>|#~$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])")
_ADDRESS = re.compile(r"(https://[\w./#%?=&~+-]*[\w/])")


def render_page(template: str, **values: Any) -> str:
    """Return the HTML of a template in `templates`, by its name there; all values are escaped.

    It extends `page.html.j2`; `title` and `notes` are the frame's own. Control characters in names are written out,
    and halves of characters, which no file can hold: some turn the direction of writing, so that a reader sees another
    name than that of the file.
    """
    environment = Environment(
        loader=PackageLoader("earthtone", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_links"] = with_links
    page = environment.get_template(template).render(**values)
    return "\t".join(map(printable, page.split("\t")))


def with_links(text: str) -> Markup:
    """Return escaped text in which addresses are links."""
    link = Markup('<a href="{0}">{0}</a>')
    return Markup("").join(link.format(part) if at % 2 else part for at, part in enumerate(_ADDRESS.split(text)))


# A table once, for the page and for Markdown.


@dataclass(frozen=True)
class TableCell:
    """The text of one cell of a table, with what is shown beside it."""

    text: str
    small: str = ""
    """Behind it in small letters, such as an interval."""
    below: str = ""
    """On the page alone: why there is no figure."""
    folded: str = ""
    """A protocol or source: folded away on the page, a numbered note in Markdown."""
    mark: str = ""
    """A class of the page's style; `best` is bold in Markdown."""
    drawing: str = ""
    """SVG, on the page alone."""
    link: str = ""


Cells = Sequence[TableCell | str]


@dataclass(frozen=True)
class PageTable:
    """A table with its title; the first cell of each row names the row."""

    title: str
    head: Cells
    rows: Sequence[Cells]
    lead: str = ""
    """A sentence below the title, on the page alone."""
    only_html: bool = False


@dataclass(frozen=True)
class Page:
    """A page of a study: notes to read first, tables, titled lists below them; the same as HTML and as Markdown."""

    title: str
    notes: Sequence[str]
    tables: Sequence[PageTable]
    lists: Mapping[str, Sequence[str]]
    template: str = "study.html.j2"
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else the template shows."""

    def html(self) -> str:
        """Return one HTML page: escaped throughout, no script, nothing loaded from anywhere."""
        return render_page(
            self.template, title=self.title, notes=self.notes, tables=self.tables, lists=self.lists, **self.more
        )

    def markdown(self) -> str:
        """Return the page as Markdown, what is folded away there as numbered notes."""
        notes: dict[str, int] = {}
        parts = [f"# {markdown_text(self.title)}", _bullets(self.notes)]
        for number, table in enumerate(table for table in self.tables if not table.only_html):
            head = [_markdown_cell(cell, notes, ": ") for cell in table.head]
            rows = ([_markdown_cell(cell, notes) for cell in row] for row in table.rows)
            lines = (f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
            parts += [f"{markdown_text(table.title)}:"] * (number > 0) + ["\n".join(lines)]
        if notes:
            numbered = (f"{number}. {markdown_text(text)}" for text, number in notes.items())
            parts += ["Notes, in brackets behind the figures:", "\n".join(numbered)]
        for title, sentences in self.lists.items():
            parts += [f"{markdown_text(title)}:", _bullets(sentences)] if sentences else []
        return "\n\n".join(filter(None, parts)) + "\n"

    def write(self, out: Path, stem: str, csv: str) -> list[Path]:
        """Write STEM.html, STEM.md and, with the text `csv`, STEM.csv, each whole; return their paths."""
        texts = {out / f"{stem}.csv": csv, out / f"{stem}.md": self.markdown(), out / f"{stem}.html": self.html()}
        for path, text in texts.items():
            write_text_atomic(path, text)
        return list(texts)


def _markdown_cell(cell: TableCell | str, notes: dict[str, int], between: str = " ") -> str:
    if isinstance(cell, str):
        return markdown_text(cell)
    text = between.join(markdown_text(part) for part in (cell.text, cell.small) if part)
    text += f" ({notes.setdefault(cell.folded, len(notes) + 1)})" if cell.folded else ""
    return f"**{text}**" if cell.mark == "best" else text


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_text(line)}" for line in lines)


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line: names come from folders and files. Addresses stay."""
    one_line = " ".join(text.encode("utf-8", "replace").decode().split())
    parts = _ADDRESS.split(one_line)
    parts[::2] = [_MARKUP.sub(r"\\\g<0>", part).replace("&", "&amp;") for part in parts[::2]]
    return "".join(parts)


def interval_text(low: float, high: float, digits: int = 3, sign: str = "") -> str:
    """Return `[0.890, 0.930]`; `sign` `+` shows the sign of both."""
    return f"[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def figure_text(value: float, low: float, high: float, digits: int = 3, sign: str = "") -> str:
    """Return `0.912 [0.890, 0.930]`, a figure with its interval; `sign` `+` shows the sign of all three."""
    return f"{value:{sign}.{digits}f} {interval_text(low, high, digits, sign)}"


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as CSV, numbers with full precision, texts that no spreadsheet takes for formulas.

    A row may lack columns.
    """
    lines = _Lines()
    writer = csv.DictWriter(lines, columns)
    writer.writerow({name: _inert(name) for name in columns})
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return "".join(lines).encode("utf-8", "replace").decode()


class _Lines(list[str]):
    """Rows as csv writes them, each ended by a line feed; csv itself would then leave `\\r` in a name unquoted."""

    def write(self, row: str) -> None:
        self.append(row.removesuffix("\r\n") + "\n")


def _inert(value: Any) -> Any:
    """Return text with a quote before what would begin a formula; numbers as they are, also those in texts."""
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


_BAR_WIDTH = 120


def interval_bar(value: float, low: float, high: float, chance: float | None) -> Markup:
    """Return an SVG: the interval as a thick line, the figure as a dot, chance as a tick, on a line from 0 to 1."""
    label = f"{value:.3f}, interval {low:.3f} to {high:.3f}"
    value, low, high = map(_on_bar, (value, low, high))
    tick = ""
    if chance is not None:
        tick = f'<path d="M{_on_bar(chance):.1f} 1V11" style="stroke: var(--muted)" stroke-width="1.2"/>'
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="bar" role="img" aria-label="{label}" viewBox="-4 0 {_BAR_WIDTH + 8} 12">'
        f'<path d="M0 6H{_BAR_WIDTH}" style="stroke: var(--grid)" stroke-width="2"/>{tick}'
        f'<path d="M{low:.1f} 6H{high:.1f}" style="stroke: var(--moss)" stroke-width="4" stroke-opacity=".55"/>'
        f'<circle cx="{value:.1f}" cy="6" r="3.2" style="fill: var(--moss)"/></svg>'
    )


def _on_bar(number: float) -> float:
    return _BAR_WIDTH * min(1.0, max(0.0, number if number == number else 0.0))
