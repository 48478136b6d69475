"""A suite as Markdown, for a paper's draft or a README."""

import re
from collections.abc import Iterable, Sequence

from earthtone.evaluate.suite.table import Compared, SuiteTable
from earthtone.evaluate.suite.words import Notes, cell_text, interval_text, p_text, reading, state_notes


def suite_markdown(table: SuiteTable, notes: Notes | None = None) -> str:
    """Return the table, the comparisons and how to read both; the best figure of a column is bold."""
    notes = notes or Notes()
    head = ["model"] + [
        f"{_plain(column.task)} on {_plain(column.dataset)}"
        + (f": {_plain(column.headline)}, n {column.items:,}" if column.headline else "")
        for column in table.columns
    ]
    rows = []
    for at, model in enumerate(table.models):
        cells = [(column.cells[at], model in column.best) for column in table.columns]
        rows.append([_plain(model), *(f"**{cell_text(cell)}**" if best else cell_text(cell) for cell, best in cells)])
    parts = [_table(head, rows)]
    if table.comparisons:
        head = ["compared with the baseline", "model", "difference", "p", "Holm's p", "better / worse on"]
        parts += [f"Baseline: {_plain(table.baseline)}", _table(head, map(_compared, table.comparisons))]
    parts.append(
        "\n".join(f"- {_plain(line)}" for line in [*reading(table), *state_notes(table), *notes.urgent, *notes.remarks])
    )
    return "\n\n".join(parts) + "\n"


def _compared(compared: Compared) -> list[str]:
    name = [f"{_plain(compared.task)} on {_plain(compared.dataset)}", _plain(compared.model)]
    found = compared.found
    if found is None:
        return [*name, _plain(compared.why), "", "", ""]
    difference = interval_text(found.difference, "+")
    worth = f"{found.first_better:,} / {found.second_better:,}"
    return [*name, difference, f"{p_text(found.p_value)} ({found.test})", p_text(compared.p_holm), worth]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line: names come from folders and files."""
    one_line = " ".join(text.encode("utf-8", "replace").decode().split())
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", one_line).replace("&", "&amp;")
