"""The table of a suite: figures of models by task and set, comparisons with the baseline, drawings, and its files."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled.items import LabelledItem, LabelledSet
from earthtone.encode.engine import FeatureOptions, extract_features, measured_square
from earthtone.errors import DataError, SignalError
from earthtone.evaluate.chance import against_chance
from earthtone.evaluate.classifiers import split_items
from earthtone.evaluate.explain import jpeg_uri
from earthtone.evaluate.plots import MAX_POINTS, confusion_svg, map_svg, nearest, project_2d
from earthtone.evaluate.results import Comparison, Estimate, TaskResult, compare_results, confusion_counts, holm
from earthtone.files import format_of
from earthtone.models.backbone import Backbone
from earthtone.pages import Page, PageTable, TableCell, csv_text, figure_text, interval_bar, interval_text
from earthtone.studies.study import DONE, FAILED, SKIPPED, WAITING


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
    """The group of each test item by id, where items of one group depend on each other."""
    features: "FeatureView | None" = None
    """What its features look like."""

    @property
    def name(self) -> "Name":
        """Return task, set and model: no other cell of a suite has all three."""
        return self.task, self.dataset, self.model

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
    comparison: Comparison | None
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
    compared: "Mapping[Name, Compared]"
    """Each model's comparison; none of the baseline and of cells that are not done."""

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
        return [self.compared[cell.name] for cell in self.cells if cell.name in self.compared]


Name = tuple[str, str, str]  # of a cell: task, set, model


def suite_table(
    cells: Sequence[Cell], baseline: str, *, resamples: int = 1000, known: dict[Name, Compared] | None = None
) -> SuiteTable:
    """Return the table of cells in the order of columns and rows, with all comparisons that can be made.

    p-values are corrected by Holm's method over all comparisons of the table, since any of them may be pointed at.
    `known` keeps comparisons from one call to the next, while cells are added.
    """
    known = {} if known is None else known
    columns: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        columns.setdefault((cell.task, cell.dataset), []).append(cell)
    for own in columns.values():
        first = next((cell for cell in own if cell.model == baseline), None)
        for cell in own:
            if cell.name not in known and (compared := _compared(cell, first, resamples)) is not None:
                known[cell.name] = compared
    p_holm = holm({"\0".join(name): c.comparison.p_value for name, c in known.items() if c.comparison})
    return SuiteTable(
        tuple(dict.fromkeys(cell.model for cell in cells)),
        baseline,
        tuple(Column(task, dataset, tuple(own)) for (task, dataset), own in columns.items()),
        {name: replace(compared, p_holm=p_holm.get("\0".join(name))) for name, compared in known.items()},
    )


def _compared(cell: Cell, baseline: Cell | None, resamples: int) -> Compared | None:
    if cell.result is None or baseline is None or baseline.result is None or cell.model == baseline.model:
        return None
    clusters = None
    if cell.groups:
        names = [cell.groups.get(name, f"\0{name}") for name in cell.result.ids]
        clusters = np.unique(np.asarray(names, np.str_), return_inverse=True)[1].astype(np.int64)
    try:
        found = compare_results(cell.result, baseline.result, clusters=clusters, resamples=resamples)
    except DataError as error:
        return Compared(*cell.name, None, why=str(error))
    return Compared(*cell.name, found)


def suite_page(table: SuiteTable, warnings: Sequence[str] = (), remarks: Sequence[str] = ()) -> Page:
    """Return what the page and the Markdown show: the table, the comparisons, how to read both, and drawings.

    `warnings` stand first; `remarks` are on what was not there, and where sets differ from what was published. Nothing
    depends on when or how fast the cells were measured.
    """
    head = [TableCell("model"), *map(_column_head, table.columns)]
    rows = [
        [TableCell(model, small="the baseline" if model == table.baseline else ""), *(
            _figure_cell(column.cells[at], best=model in column.best) for column in table.columns
        )]
        for at, model in enumerate(table.models)
    ]  # fmt: skip
    figures = PageTable(
        "The table", head, rows,
        lead="Rows are models, columns a task on a data set. ★ marks the highest figure of a column; whether it is "
        "higher than the baseline's by more than luck stands below.",
    )  # fmt: skip
    comparisons = PageTable(
        f"Compared with {table.baseline}",
        ["task", "model", "difference", "p", "Holm's p", "better / worse on"],
        list(map(_comparison_cells, table.comparisons)),
        lead="Each model minus the baseline, on the same test items.",
    )
    protocols = [
        f"{column.task} on {column.dataset}: {cell.result.protocol}"
        for column in table.columns for cell in column.cells if cell.result is not None
    ]  # fmt: skip
    return Page(
        "What the encoders learned",
        [*_state_notes(table), *warnings],
        [figures, comparisons] if comparisons.rows else [figures],
        {
            "How to read this": _reading(table),
            "What was fitted on what, and measured on what": list(dict.fromkeys(protocols)),
            "What was not there, and where sets differ from what was published": remarks,
        },
        "suite.html.j2",
        {"columns": [drawn for column in table.columns if (drawn := _drawings(column))["cells"]]},
    )


def _column_head(column: Column) -> TableCell:
    chance = next((cell.figure.chance for cell in column.cells if cell.figure and cell.figure.chance is not None), None)
    parts = [] if column.items is None else [f"{column.headline.replace('_', ' ')}, n = {column.items:,}"]
    parts += [] if chance is None else [f"chance {chance:.3f}"]
    return TableCell(f"{column.task} on {column.dataset}", small="; ".join(parts))


def _figure_cell(cell: Cell, *, best: bool) -> TableCell:
    figure = cell.figure
    if cell.state != DONE or figure is None:
        return TableCell(cell.state, below=cell.why, mark="state")
    return TableCell(
        f"{figure.value:.3f}", small=interval_text(figure.low, figure.high), mark="best" if best else "",
        drawing=interval_bar(figure.value, figure.low, figure.high, figure.chance),
    )  # fmt: skip


def _comparison_cells(compared: Compared) -> list[TableCell | str]:
    name: list[TableCell | str] = [f"{compared.task} on {compared.dataset}", compared.model]
    found = compared.comparison
    if found is None:
        return [*name, TableCell("not comparable", below=compared.why, folded=compared.why), "", "", ""]
    sure = compared.p_holm is not None and compared.p_holm < 0.05
    verdict = ("better" if found.difference.value > 0 else "worse") if sure else ""
    test = {"mcnemar": "McNemar", "sign_flip": "sign flips"}.get(found.test, found.test)
    gap, counts = found.difference, f"{found.first_better:,} / {found.second_better:,}"
    return [
        *name, TableCell(figure_text(gap.value, gap.low, gap.high, sign="+"), small=verdict),
        TableCell(_p_text(found.p_value), small=test), _p_text(compared.p_holm),
        TableCell(counts, small=f"of {gap.queries:,}"),
    ]  # fmt: skip


def _p_text(value: float | None) -> str:
    """Return a p-value with two digits."""
    return "" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _state_notes(table: SuiteTable) -> list[str]:
    """Return a line for what is not in the table - cells that wait, failed, were skipped - and for cautions."""
    lines = []
    if waiting := table.count(WAITING):
        lines.append(
            f"Not finished: {waiting} of {len(table.cells)} cells are still to be run, and Holm's p counts only the "
            "comparisons made so far. The same command goes on."
        )
    lines += [f"{c.task} on {c.dataset}: {c.model} failed: {c.why}" for c in table.cells if c.state == FAILED]
    for cell in table.cells:
        if cell.result is None or cell.figure is None:
            continue
        where = f"{cell.task} on {cell.dataset}"
        lines += [f"{where}: {line}" for line in cell.result.facts.get("cautions", ())]
        standing = against_chance(cell.figure.value, cell.figure.chance, cell.figure.low, cell.figure.high)
        lines += [f"{where}: {cell.model} is {standing}"] * standing.startswith("below")
    return list(dict.fromkeys([*lines, *(cell.why for cell in table.cells if cell.state == SKIPPED)]))


def _reading(table: SuiteTable) -> list[str]:
    """Return sentences on what n is, what intervals cover, and how models are compared."""
    made = sum(compared.comparison is not None for compared in table.comparisons)
    facts = [cell.result.facts for cell in table.cells if cell.result is not None]
    seeds = max((len(each["seeds"]) for each in facts if isinstance(each.get("seeds"), list)), default=0)
    again = (
        f"Where a network is trained, figures are means over {seeds} seeds: the intervals of finetune draw seeds and "
        "items, those of other tasks items alone (each seed's figure is in its result)."
        if seeds > 1
        else "It says nothing about training again with another seed: that takes --seeds."
    )
    lines = [
        "n is the number of test items (images, recordings, pairs or tiles), the same for every model in a column.",
        "Brackets hold a 95 % percentile bootstrap interval over the test items: how far the figure would move with "
        f"other items of the same kind. {again}",
        f"Differences are a model minus the baseline {table.baseline} on the same test items, with a paired bootstrap "
        "interval: each item is drawn with both models' scores. p is two-sided: McNemar's exact test where items are "
        "right or wrong, a sign-flip permutation test where they have scores between. Holm's p is corrected over the "
        f"{made} comparison{'' if made == 1 else 's'} of this table; below 0.05 a difference is hardly luck.",
    ]
    if any(column.task == "segment" and column.headline for column in table.columns):
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
        _row(cell, table.compared.get(cell.name), table.baseline, best=cell.model in column.best)
        for column in table.columns
        for cell in column.cells
    ]


def _row(cell: Cell, compared: Compared | None, baseline: str, *, best: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"task": cell.task, "dataset": cell.dataset, "model": cell.model, "state": cell.state}
    figure, result = cell.figure, cell.result
    if figure is not None and result is not None:
        row |= {
            "headline": result.headline, "protocol": result.protocol, "value": figure.value, "low": figure.low,
            "high": figure.high, "chance": figure.chance, "n": figure.queries, "best": int(best),
        }  # fmt: skip
    if compared is not None and (found := compared.comparison) is not None:
        gap = found.difference
        row |= {
            "difference": gap.value, "difference_low": gap.low, "difference_high": gap.high, "p": found.p_value,
            "p_holm": compared.p_holm, "test": found.test, "baseline": baseline, "better_on": found.first_better,
            "worse_on": found.second_better,
        }  # fmt: skip
    return row | {"note": cell.why or ("" if compared is None else compared.why)}


# What a probe's features look like: a map of test items, and the nearest training images of a few of them.


_QUERIES, _NEIGHBOURS = 6, 5
_THUMBNAIL_PIXELS = 80
_VIEW_FIELDS = {"method", "of", "positions", "labels", "ids", "neighbours"}

FeatureView = Mapping[str, Any]


def view_features(backbone: Backbone, data: LabelledSet, options: FeatureOptions) -> FeatureView:
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
    positions, method = project_2d(found.values[points])
    queries = _one_a_class(order, items)
    neighbours = nearest(found.values[queries], found.values[train], _NEIGHBOURS)
    return {
        "method": method,
        "of": len(test),
        "positions": np.round(positions, 4).tolist(),
        "labels": [items[at].label for at in points],
        "ids": [items[at].id for at in points],
        "neighbours": [
            {
                "query": _item(items[query], options),
                "found": [
                    {**_item(items[at], options), "right": items[at].label == items[query].label}
                    for at in train[near].tolist()
                ],
            }
            for query, near in zip(queries, neighbours, strict=True)
        ],
    }


def read_feature_view(path: Path) -> FeatureView | None:
    """Return what was kept of `view_features`; None where it is not there or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    format_of(found, "view of features", path)
    view = {name: value for name, value in found.items() if name != "format"}
    return view if view.keys() >= _VIEW_FIELDS else None


def _one_a_class(order: NDArray[np.int64], items: Sequence[LabelledItem]) -> list[int]:
    """The first items of the order, of different classes as far as there are."""
    first: dict[str, int] = {}
    for at in order.tolist():
        first.setdefault(items[at].label, at)
    others = [at for at in order.tolist() if first[items[at].label] != at]
    return [*first.values(), *others][:_QUERIES]


def _item(item: LabelledItem, options: FeatureOptions) -> dict[str, Any]:
    picture = ""
    if item.image is not None:
        with suppress(SignalError):  # the task has named it
            square = measured_square(item.image, _THUMBNAIL_PIXELS, options.bands, value_range=options.value_range)[0]
            picture = jpeg_uri(square, _THUMBNAIL_PIXELS)
    return {"id": item.id, "label": item.label, "picture": picture}


def _drawings(column: Column) -> dict[str, Any]:
    """What each model of a column confuses, and what it takes for alike; `cells` is empty where no cell has any."""
    cells = []
    for cell in column.cells:
        view, confusion = cell.features, _confusion(cell)
        drawn: dict[str, Any] = {"model": cell.model, "confusion": confusion, "map": None, "neighbours": []}
        if view is not None:
            positions = np.array(view["positions"], np.float64).reshape(-1, 2)
            drawn |= {key: view[key] for key in ("method", "of", "neighbours")} | {
                "map": map_svg(positions, view["labels"], view["ids"], view["method"]), "points": len(positions),
            }  # fmt: skip
        if view is not None or confusion:
            cells.append(drawn)
    return {"task": column.task, "dataset": column.dataset, "cells": cells}


def _confusion(cell: Cell) -> Any:
    if cell.result is None:
        return None
    if cell.result.truth:
        return confusion_svg(*confusion_counts(cell.result.truth, cell.result.predicted))
    facts = cell.result.facts
    if cell.task == "segment" and facts.get("confusion"):
        return confusion_svg(facts["classes"], np.array(facts["confusion"], np.int64))
    return None
