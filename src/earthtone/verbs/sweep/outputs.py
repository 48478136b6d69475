"""The files of a sweep: `sweep.csv`, `sweep.md`, `sweep.html`, and `runs.csv` with every run."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.evaluate.csv_text import csv_text
from earthtone.evaluate.page import render_page
from earthtone.verbs.sweep.grid import value_text
from earthtone.verbs.sweep.table import DONE, SweepTable
from earthtone.verbs.sweep.words import (
    SELECTION,
    column_text,
    difference_text,
    markdown,
    reading,
    seeds_text,
    spread_text,
    state_notes,
)

_COLUMNS = (
    "figure", "mean", "deviation", "n", "difference", "difference_low", "difference_high", "difference_n",
    "training_seconds",
)  # fmt: skip


def write_outputs(out: Path, table: SweepTable, settings: Mapping[str, Any]) -> list[Path]:
    """Write all four files, each whole, and return the paths of the first three; `settings` say what was measured."""
    texts = {"csv": variants_csv(table), "md": markdown(table, settings), "html": page(table, settings)}
    for suffix, text in texts.items():
        write_text_atomic(out / f"sweep.{suffix}", text)
    write_text_atomic(out / "runs.csv", runs_csv(table))
    return [out / f"sweep.{suffix}" for suffix in texts]


def variants_csv(table: SweepTable) -> str:
    """Return a row for each variant and figure, with full precision; what a variant changes has its own columns."""
    keys = _keys(table)
    return csv_text(["variant", *keys, *_COLUMNS], _variant_rows(table, keys))


def _variant_rows(table: SweepTable, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    for row in table.variants:
        changed = {key: value_text(row.changes[key]) for key in keys if key in row.changes}
        seconds = {} if row.seconds is None else {"training_seconds": row.seconds.mean}
        for name in table.figures:
            found, gap = row.figures.get(name), row.differences.get(name)
            yield {
                "variant": row.label, **changed, "figure": name, **seconds, "n": 0,
                **({} if found is None else {"mean": found.mean, "deviation": found.deviation, "n": found.n}),
                **({} if gap is None else {"difference": gap.mean, "difference_low": gap.low,
                                           "difference_high": gap.high, "difference_n": gap.n}),
            }  # fmt: skip


def runs_csv(table: SweepTable) -> str:
    """Return a row for each run, with full precision."""
    keys = _keys(table)
    head = ["variant", "seed", "state", *keys, *table.figures, "kept_step", "training_seconds", "folder", "note"]
    rows = (
        {
            "variant": run.variant, "seed": run.seed, "state": run.state, "folder": run.folder, "note": run.why,
            **{key: value_text(run.changes[key]) for key in keys if key in run.changes},
            **({} if run.found is None else {**run.found.figures, "kept_step": run.found.kept_step,
                                             "training_seconds": run.found.training_seconds}),
        }
        for run in table.runs
    )  # fmt: skip
    return csv_text(head, rows)


def page(table: SweepTable, settings: Mapping[str, Any]) -> str:
    """Return the HTML page."""
    return render_page(
        "sweep.html.j2",
        package="earthtone.verbs.sweep",
        title="A sweep, measured on val",
        notes=[SELECTION, *state_notes(table)],
        names=[column_text(name) for name in table.figures],
        variants=[
            {
                "label": row.label,
                "seeds": seeds_text(row),
                "figures": [spread_text(row.figures.get(name)) for name in table.figures],
                "seconds": spread_text(row.seconds, 0),
                "differences": [difference_text(row.differences.get(name)) for name in table.figures],
            }
            for row in table.variants
        ],
        runs=[
            {
                "name": f"{run.variant}, seed {run.seed}",
                "state": run.state,
                "why": run.why,
                "report": f"{run.folder}/report.html" if run.state == DONE else "",
                "figures": [
                    f"{run.found.figures[name]:.3f}" if run.found and name in run.found.figures else ""
                    for name in table.figures
                ],
            }
            for run in table.runs
        ],
        reading=reading(table, settings),
    )


def _keys(table: SweepTable) -> list[str]:
    return list(dict.fromkeys(key for row in table.variants for key in row.changes))
