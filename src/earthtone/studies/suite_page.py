"""The table of a suite and its pages: how each model compares with the baseline, close-ups, CSV and Markdown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled.items import LabelledItem, LabelledSet
from earthtone.embed.engine import FeatureOptions, extract_features, read_square
from earthtone.errors import DataError, SignalError
from earthtone.evaluate.chance import against_chance
from earthtone.evaluate.classifiers import split_items
from earthtone.evaluate.explain import MAX_POINTS, confusion_svg, jpeg_uri, map_svg, nearest, plane
from earthtone.evaluate.results import (
    Comparison,
    Estimate,
    TaskResult,
    compare_results,
    confusion_counts,
    holm,
)
from earthtone.files import write_text_atomic
from earthtone.models.backbone import Backbone
from earthtone.pages import csv_text, interval_bar, markdown_table, markdown_text, render_page

# The table of a suite: figures of models by task and set, and how each model compares with the baseline.


DONE, WAITING, FAILED, SKIPPED = "done", "waiting", "failed", "skipped"


@dataclass(frozen=True)
class Cell:
    """One task on one set by one model."""

    task: str
    dataset: str
    model: str
    state: str
    result: TaskResult | None = None
    why: str = ""
    """Why it failed or was skipped."""
    groups: Mapping[str, str] | None = None
    """The group of each test item by id, where items of one group stand or fall together."""
    close_up: Mapping[str, Any] | None = None
    """What its features look like; see `closeup.py`."""

    @property
    def figure(self) -> Estimate | None:
        """Return the headline's figure; None where there is no result."""
        return None if self.result is None else self.result.figures[self.result.headline]


@dataclass(frozen=True)
class Compared:
    """A model against the baseline in one column."""

    task: str
    dataset: str
    model: str
    found: Comparison | None
    p_holm: float | None = None
    """The p-value, corrected over all comparisons of the table."""
    why: str = ""
    """Why there is no comparison."""


@dataclass(frozen=True)
class Column:
    """One task on one set: a cell a model, in the order of the rows."""

    task: str
    dataset: str
    cells: tuple[Cell, ...]
    compared: tuple[Compared | None, ...]
    """A comparison a model; None for the baseline and for cells that are not done."""

    @property
    def headline(self) -> str:
        """Return the name of the figure; empty while no cell is done."""
        return next((cell.result.headline for cell in self.cells if cell.result is not None), "")

    @property
    def items(self) -> int | None:
        """Return how many test items the figures are from; None while no cell is done."""
        return next((cell.figure.queries for cell in self.cells if cell.figure is not None), None)

    @property
    def best(self) -> frozenset[str]:
        """Return the models with the highest figure; none where only one model has a figure."""
        values = {cell.model: cell.figure.value for cell in self.cells if cell.figure is not None}
        return frozenset(m for m, value in values.items() if value == max(values.values()) and len(values) > 1)


@dataclass(frozen=True)
class SuiteTable:
    """Everything that the pages of a suite show."""

    models: tuple[str, ...]
    baseline: str
    columns: tuple[Column, ...]

    @property
    def cells(self) -> list[Cell]:
        """Return all cells, column by column."""
        return [cell for column in self.columns for cell in column.cells]

    def count(self, state: str) -> int:
        """Return how many cells are in a state."""
        return sum(cell.state == state for cell in self.cells)

    @property
    def comparisons(self) -> list[Compared]:
        """Return all comparisons, column by column."""
        return [compared for column in self.columns for compared in column.compared if compared is not None]


Known = dict[tuple[str, str, str], Compared | None]


def suite_table(
    cells: Sequence[Cell], baseline: str, *, resamples: int = 1000, known: Known | None = None
) -> SuiteTable:
    """Return the table of cells in the order of columns and rows, with all comparisons that can be made.

    p-values are corrected by Holm's method over all comparisons of the table, since any of them may be pointed at.
    `known` keeps comparisons from one call to the next, while cells are added.
    """
    known = {} if known is None else known
    models = tuple(dict.fromkeys(cell.model for cell in cells))
    columns = []
    for task, dataset in dict.fromkeys((cell.task, cell.dataset) for cell in cells):
        own = tuple(cell for cell in cells if (cell.task, cell.dataset) == (task, dataset))
        first = next((cell for cell in own if cell.model == baseline), None)
        compared = []
        for cell in own:
            name = (task, dataset, cell.model)
            if known.get(name) is None:
                known[name] = _compared(cell, first, resamples)
            compared.append(known[name])
        columns.append(Column(task, dataset, own, tuple(compared)))
    return SuiteTable(models, baseline, tuple(_corrected(columns)))


def _compared(cell: Cell, baseline: Cell | None, resamples: int) -> Compared | None:
    if cell.result is None or baseline is None or baseline.result is None or cell.model == baseline.model:
        return None
    named = Compared(cell.task, cell.dataset, cell.model, None)
    try:
        found = compare_results(cell.result, baseline.result, clusters=_clusters(cell), resamples=resamples)
    except DataError as error:
        return replace(named, why=str(error))
    return replace(named, found=found)


def _clusters(cell: Cell) -> NDArray[np.int64] | None:
    if cell.result is None or not cell.groups:
        return None
    names = [cell.groups.get(name, f"\0{name}") for name in cell.result.ids]
    return np.unique(np.asarray(names, np.str_), return_inverse=True)[1].astype(np.int64)


def _corrected(columns: Sequence[Column]) -> list[Column]:
    made = {
        f"{at}/{row}": compared.found.p_value
        for at, column in enumerate(columns)
        for row, compared in enumerate(column.compared)
        if compared is not None and compared.found is not None
    }
    corrected = holm(made)
    return [
        replace(
            column,
            compared=tuple(
                None if compared is None else replace(compared, p_holm=corrected.get(f"{at}/{row}"))
                for row, compared in enumerate(column.compared)
            ),
        )
        for at, column in enumerate(columns)
    ]


# What a suite's figures mean, in words, and how they are written.


@dataclass(frozen=True)
class Notes:
    """What is to be said beside the figures."""

    urgent: Sequence[str] = ()
    """What a reader must know first."""
    remarks: Sequence[str] = ()
    """What was not there, and where sets differ from what was published."""


def reading(table: SuiteTable) -> list[str]:
    """Return sentences that tell what n is, what intervals cover, how models are compared, and what is missing."""
    lines = [
        "n is the number of test items (images, recordings, pairs or tiles), the same for every model in a column.",
        "Brackets hold a 95 % percentile bootstrap interval over the test items: how far the figure would move with "
        f"other items of the same kind. {_seeds(table)}",
        f"Differences are a model minus the baseline {table.baseline} on the same test items, with a paired bootstrap "
        "interval: each item is drawn with both models' scores. p is two-sided: McNemar's exact test where items are "
        "right or wrong, a sign-flip permutation test where they have scores between. Holm's p is corrected over the "
        f"{_counted(sum(compared.found is not None for compared in table.comparisons), 'comparison')} of this table; "
        "below 0.05 a difference is hardly luck.",
    ]
    tasks = {column.task for column in table.columns if column.headline}
    if "segment" in tasks:
        lines.append(
            "segment: the column shows the mIoU of all test pixels together; its differences are of the mean over "
            "tiles of each tile's mIoU, which is what can be paired."
        )
    if any(cell.groups for cell in table.cells):
        lines.append(
            "Where items have groups, such as parts of one recording, the interval of a difference draws whole groups; "
            "McNemar's test knows nothing of groups, so believe the interval where they disagree."
        )
    return lines


def _cautions(table: SuiteTable) -> list[str]:
    """Lines on what the results themselves warn of, each once, and on figures that are below chance."""
    lines = []
    for cell in table.cells:
        if cell.result is None or cell.figure is None:
            continue
        where = f"{cell.task} on {cell.dataset}"
        lines += [f"{where}: {line}" for line in cell.result.facts.get("cautions", ())]
        standing = against_chance(cell.figure.value, cell.figure.chance, cell.figure.low, cell.figure.high)
        lines += [f"{where}: {cell.model} is {standing}"] * standing.startswith("below")
    return list(dict.fromkeys(lines))


def state_notes(table: SuiteTable) -> list[str]:
    """Return a line for what is not in the table, cells that wait, that failed, that were skipped, and for cautions."""
    lines = []
    if waiting := table.count(WAITING):
        lines.append(
            f"Not finished: {waiting} of {len(table.cells)} cells are still to be run, and Holm's p counts only the "
            "comparisons made so far. The same command goes on."
        )
    lines += [
        f"{cell.task} on {cell.dataset}: {cell.model} failed: {cell.why}"
        for cell in table.cells
        if cell.state == FAILED
    ]
    lines += _cautions(table)
    return lines + list(dict.fromkeys(cell.why for cell in table.cells if cell.state == SKIPPED))


def cell_text(cell: Cell) -> str:
    """Return `0.912 [0.890, 0.930]`, or the cell's state."""
    return interval_text(cell.figure) if cell.state == DONE and cell.figure is not None else cell.state


def interval_text(figure: Estimate, sign: str = "") -> str:
    """Return a figure with its interval; `sign` `+` shows the sign of all three."""
    return f"{figure.value:{sign}.3f} [{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]"


def p_text(value: float | None) -> str:
    """Return a p-value with two digits."""
    return "" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _seeds(table: SuiteTable) -> str:
    counts = {
        len(cell.result.facts["seeds"])
        for cell in table.cells
        if cell.result is not None and isinstance(cell.result.facts.get("seeds"), list)
    }
    if counts and max(counts) > 1:
        return (
            f"Where a network is trained, figures are means over {max(counts)} seeds: the intervals of finetune draw "
            "seeds and items, those of other tasks items alone (each seed's figure is in its result)."
        )
    return "It says nothing about training again with another seed: that takes --seeds."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# What a probe's features look like: a map of test items, and the nearest training images of a few of them.


_QUERIES, _FOUND = 6, 5
_THUMBNAIL = 80

CloseUp = Mapping[str, Any]


def close_up(backbone: Backbone, data: LabelledSet, options: FeatureOptions) -> CloseUp:
    """Return positions of at most `MAX_POINTS` test items, and neighbours with small pictures; ready for JSON.

    The items shown are drawn, the same for every model; features come from the probe's cache.
    """
    parts = split_items(data)
    items = [item for part in parts.values() for item in part]
    found = extract_features(backbone, items, options)
    usable = np.array([item.id not in found.broken for item in items])
    split = np.array([name for name, part in parts.items() for _ in part])
    train, test = (np.flatnonzero(usable & (split == name)) for name in ("train", "test"))
    order = np.random.default_rng(0).permutation(test)
    points = np.sort(order[:MAX_POINTS])
    positions, method = plane(found.values[points])
    asked = _one_a_class(order, items)
    return {
        "method": method,
        "of": len(test),
        "positions": np.round(positions, 4).tolist(),
        "labels": [items[at].label for at in points],
        "ids": [items[at].id for at in points],
        "neighbours": _neighbours(found.values, items, asked, train, options),
    }


def read_close_up(path: Path) -> CloseUp | None:
    """Return what `write_close_up` wrote; None where it is not there or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(found, dict) and {"method", "of", "positions", "labels", "ids", "neighbours"} <= found.keys()
    return found if fits else None


def write_close_up(path: Path, found: CloseUp) -> None:
    """Write it as JSON, whole or not at all."""
    write_text_atomic(path, json.dumps(found, ensure_ascii=True) + "\n")


def _one_a_class(order: NDArray[np.int64], items: Sequence[LabelledItem]) -> list[int]:
    """The first items of the order, of different classes as far as there are."""
    first: dict[str, int] = {}
    for at in order.tolist():
        first.setdefault(items[at].label, at)
    others = [at for at in order.tolist() if first[items[at].label] != at]
    return [*first.values(), *others][:_QUERIES]


def _neighbours(
    values: NDArray[np.float32], items: Sequence[LabelledItem], asked: Sequence[int], train: NDArray[np.int64],
    options: FeatureOptions,
) -> list[dict[str, Any]]:  # fmt: skip
    rows = nearest(values[asked], values[train], _FOUND)
    return [
        {
            "query": _shown(items[query], options),
            "found": [
                {**_shown(items[at], options), "right": items[at].label == items[query].label}
                for at in train[found].tolist()
            ],
        }
        for query, found in zip(asked, rows, strict=True)
    ]


def _shown(item: LabelledItem, options: FeatureOptions) -> dict[str, Any]:
    picture = ""
    if item.image is not None:
        try:
            picture = jpeg_uri(read_square(item.image, _THUMBNAIL, options.bands, options.value_range), _THUMBNAIL)
        except SignalError:  # the task has named it
            picture = ""
    return {"id": item.id, "label": item.label, "picture": picture}


# The drawings that stand under the table: what each model confuses, and what it takes for alike.


def why_column(column: Column) -> dict[str, Any] | None:
    """Return the drawings of one column; None where no cell has any."""
    cells = [drawn for cell in column.cells if (drawn := _cell(cell)) is not None]
    return {"task": column.task, "dataset": column.dataset, "cells": cells} if cells else None


def _cell(cell: Cell) -> dict[str, Any] | None:
    drawn: dict[str, Any] = {"model": cell.model, "confusion": _confusion(cell), "map": None, "neighbours": []}
    seen = cell.close_up
    if seen is not None:
        positions = np.array(seen["positions"], np.float64).reshape(-1, 2)
        drawn["map"] = map_svg(positions, seen["labels"], seen["ids"], seen["method"])
        drawn |= {
            "method": seen["method"],
            "points": len(positions),
            "of": seen["of"],
            "neighbours": seen["neighbours"],
        }
    return drawn if drawn["confusion"] or drawn["map"] else None


def _confusion(cell: Cell) -> Any:
    if cell.result is None:
        return None
    if cell.result.truth:
        return confusion_svg(*confusion_counts(cell.result.truth, cell.result.predicted))
    facts = cell.result.facts
    if cell.task == "segment" and facts.get("confusion"):
        return confusion_svg(facts["classes"], np.array(facts["confusion"], np.int64))
    return None


# A suite as CSV: one row a cell, its comparison beside it.


COLUMNS = (
    "task", "dataset", "model", "state", "headline", "value", "low", "high", "chance", "n", "best", "baseline",
    "difference", "difference_low", "difference_high", "p", "p_holm", "test", "better_on", "worse_on", "protocol",
    "note",
)  # fmt: skip


def suite_csv(table: SuiteTable) -> str:
    """Return the table as CSV with full precision; cells without a figure have their state and its reason."""
    return csv_text(COLUMNS, suite_rows(table))


def suite_rows(table: SuiteTable) -> list[dict[str, Any]]:
    """Return one mapping a cell, with those of `COLUMNS` that are known of it."""
    return [
        dict(_values(column, cell, compared, table.baseline))
        for column in table.columns
        for cell, compared in zip(column.cells, column.compared, strict=True)
    ]


def _values(column: Column, cell: Cell, compared: Compared | None, baseline: str) -> Iterator[tuple[str, Any]]:
    yield from (("task", cell.task), ("dataset", cell.dataset), ("model", cell.model), ("state", cell.state))
    figure, result = cell.figure, cell.result
    if figure is not None and result is not None:
        yield from (("headline", result.headline), ("protocol", result.protocol))
        yield from (("value", figure.value), ("low", figure.low), ("high", figure.high), ("chance", figure.chance))
        yield from (("n", figure.queries), ("best", int(cell.model in column.best)))
    found = None if compared is None else compared.found
    if found is not None and compared is not None:
        gap = found.difference
        yield from (("difference", gap.value), ("difference_low", gap.low), ("difference_high", gap.high))
        yield from (("p", found.p_value), ("p_holm", compared.p_holm), ("test", found.test), ("baseline", baseline))
        yield from (("better_on", found.first_better), ("worse_on", found.second_better))
    yield "note", cell.why or ("" if compared is None else compared.why)


# A suite as Markdown, for a paper's draft or a README.


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
        parts += [
            f"Baseline: {markdown_text(table.baseline)}",
            markdown_table(head, map(_markdown_compared, table.comparisons)),
        ]
    parts.append(
        "\n".join(
            f"- {markdown_text(line)}" for line in [*reading(table), *state_notes(table), *notes.urgent, *notes.remarks]
        )
    )
    return "\n\n".join(parts) + "\n"


def _markdown_compared(compared: Compared) -> list[str]:
    name = [f"{markdown_text(compared.task)} on {markdown_text(compared.dataset)}", markdown_text(compared.model)]
    found = compared.found
    if found is None:
        return [*name, markdown_text(compared.why), "", "", ""]
    difference = interval_text(found.difference, "+")
    worth = f"{found.first_better:,} / {found.second_better:,}"
    return [*name, difference, f"{p_text(found.p_value)} ({found.test})", p_text(compared.p_holm), worth]


# The three files of a suite: `suite.html`, `suite.csv`, `suite.md`.


def write_pages(out: Path, table: SuiteTable, notes: Notes | None = None) -> None:
    """Write all three, each whole; nothing in them depends on when or how fast the cells were run."""
    write_text_atomic(out / "suite.csv", suite_csv(table))
    write_text_atomic(out / "suite.md", suite_markdown(table, notes))
    write_text_atomic(out / "suite.html", suite_html(table, notes))


def suite_html(table: SuiteTable, notes: Notes | None = None) -> str:
    """Return the page: the table, the comparisons, how to read them."""
    notes = notes or Notes()
    return render_page(
        "suite.html.j2",
        title="What the encoders learned",
        notes=[*state_notes(table), *notes.urgent],
        remarks=notes.remarks,
        columns=[_column(column) for column in table.columns],
        models=list(enumerate(table.models)),
        baseline=table.baseline,
        comparisons=[_page_compared(compared) for compared in table.comparisons],
        reading=reading(table),
        why=[drawn for column in table.columns if (drawn := why_column(column)) is not None],
    )


def _column(column: Column) -> dict[str, Any]:
    figures = [cell.figure for cell in column.cells if cell.figure is not None]
    return {
        "task": column.task,
        "dataset": column.dataset,
        "headline": column.headline.replace("_", " "),
        "test_items": column.items,
        "chance": next((figure.chance for figure in figures if figure.chance is not None), None),
        "protocols": list(dict.fromkeys(cell.result.protocol for cell in column.cells if cell.result is not None)),
        "cells": [
            {
                "state": cell.state,
                "text": cell_text(cell),
                "value": "" if cell.figure is None else f"{cell.figure.value:.3f}",
                "interval": "" if cell.figure is None else f"[{cell.figure.low:.3f}, {cell.figure.high:.3f}]",
                "bar": None if cell.figure is None else interval_bar(cell.figure),
                "best": cell.model in column.best,
                "why": cell.why,
            }
            for cell in column.cells
        ],
    }


def _page_compared(compared: Compared) -> dict[str, Any]:
    found = compared.found
    said: dict[str, Any] = {"task": compared.task, "dataset": compared.dataset, "model": compared.model}
    if found is None:
        return {**said, "why": compared.why, "difference": ""}
    sure = compared.p_holm is not None and compared.p_holm < 0.05
    return {
        **said,
        "why": "",
        "difference": interval_text(found.difference, "+"),
        "p": p_text(found.p_value),
        "test": {"mcnemar": "McNemar", "sign_flip": "sign flips"}.get(found.test, found.test),
        "p_holm": p_text(compared.p_holm),
        "better": found.first_better,
        "worse": found.second_better,
        "test_items": found.difference.queries,
        "verdict": ("better" if found.difference.value > 0 else "worse") if sure else "",
    }
