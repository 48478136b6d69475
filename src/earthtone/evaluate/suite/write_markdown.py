"""A suite as Markdown, for a paper's draft or a README."""

from earthtone.evaluate.markdown import markdown_table, markdown_text
from earthtone.evaluate.suite.table import Compared, SuiteTable
from earthtone.evaluate.suite.words import Notes, cell_text, interval_text, p_text, reading, state_notes


def suite_markdown(table: SuiteTable, notes: Notes | None = None) -> str:
    """Return the table, the comparisons and how to read both; the best figure of a column is bold."""
    notes = notes or Notes()
    head = ["model"] + [
        f"{markdown_text(column.task)} on {markdown_text(column.dataset)}"
        + (f": {markdown_text(column.headline)}, n {column.items:,}" if column.headline else "")
        for column in table.columns
    ]
    rows = []
    for at, model in enumerate(table.models):
        cells = [(column.cells[at], model in column.best) for column in table.columns]
        rows.append(
            [markdown_text(model), *(f"**{cell_text(cell)}**" if best else cell_text(cell) for cell, best in cells)]
        )
    parts = [markdown_table(head, rows)]
    if table.comparisons:
        head = ["compared with the baseline", "model", "difference", "p", "Holm's p", "better / worse on"]
        parts += [f"Baseline: {markdown_text(table.baseline)}", markdown_table(head, map(_compared, table.comparisons))]
    parts.append(
        "\n".join(
            f"- {markdown_text(line)}" for line in [*reading(table), *state_notes(table), *notes.urgent, *notes.remarks]
        )
    )
    return "\n\n".join(parts) + "\n"


def _compared(compared: Compared) -> list[str]:
    name = [f"{markdown_text(compared.task)} on {markdown_text(compared.dataset)}", markdown_text(compared.model)]
    found = compared.found
    if found is None:
        return [*name, markdown_text(compared.why), "", "", ""]
    difference = interval_text(found.difference, "+")
    worth = f"{found.first_better:,} / {found.second_better:,}"
    return [*name, difference, f"{p_text(found.p_value)} ({found.test})", p_text(compared.p_holm), worth]
