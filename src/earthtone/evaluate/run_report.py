"""The report of a run: its log, its recipe, its retrieval, and pictures and sounds out of the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.contents import Contents
from earthtone.data.named_splits import split_in_words
from earthtone.data.table import Table
from earthtone.evaluate.report import Item, Match, Report, write_report
from earthtone.evaluate.retrieval import RetrievalResult
from earthtone.evaluate.task_result import TaskResult
from earthtone.models.two_tower import TwoTower
from earthtone.train.history import read_history
from earthtone.value_types import fits

REPORT_FILE = "report.html"
_SHOWN = 3  # queries a direction in each of the two groups
_FOUND = 3  # what each of them found
_SYNTHETIC = "Toy world: images, sounds and places are made by a program. Nothing here says anything about real data."


@dataclass(frozen=True)
class Measured:
    """Retrieval on the `rows` of a split."""

    split: str
    rows: NDArray[np.int64]
    result: RetrievalResult


def write_run_report(
    folder: Path,
    model: TwoTower,
    table: Table,
    *,
    measured: Measured | None = None,
    probes: Mapping[str, TaskResult] | None = None,
    note: str | None = None,
    path: Path | None = None,
) -> Path:
    """Write the report of the run in `folder` to `path`, by default its `report.html`, and return the path."""
    recipe = folder / "recipe.yaml"
    notes = [_SYNTHETIC] if "toyworld" in set(table.column("source")) else []
    if measured and (protocol := measured.result.facts["protocol"])["name"] != "honest":
        notes.append(f"Measured by the protocol {protocol['name']}. {protocol['difference']}")
    notes += [f"{line}." for line in measured.result.facts.get("cautions", ())] if measured else []
    if noted := table.notes(measured.rows if measured else None):
        kinds = ", ".join(f"{kind} ({count})" for kind, count in noted.items())
        notes.append(f"Noticed when {'these' if measured else 'the'} pairs were packed: {kinds}.")
    split = f"{measured.split} pairs of " if measured else ""
    return write_report(
        Report(
            title=f"{folder.resolve().name}: {split}{table.name}",
            summary=_summary(model.card, table, measured),
            history=read_history(folder),
            retrieval=measured.result.to_dict() if measured else None,
            ranks=measured.result.ranks if measured else {},
            matches=_matches(table, measured.rows, measured.result) if measured else {},
            probe={name: _probe(probe) for name, probe in (probes or {}).items()} or None,
            config_yaml=recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else "",
            notes=[*notes, *([note] if note else [])],
        ),
        path or folder / REPORT_FILE,
    )


def _probe(result: TaskResult) -> dict[str, Any]:
    """Figures by their name without the classifier's, and how they came about."""
    figures = {name.removeprefix("logistic_"): figure.to_dict() for name, figure in result.figures.items()}
    facts = {key: result.facts.get(key) for key in ("classes", "train_rows", "test_rows", "accuracy_by_class")}
    return {**figures, **facts, "protocol": result.protocol}


def _summary(card: Mapping[str, Any], table: Table, measured: Measured | None) -> dict[str, str]:
    model, versions = (card[key] if isinstance(card.get(key), Mapping) else {} for key in ("model", "versions"))
    step, seconds = (_number(card.get(key)) for key in ("step", "training_seconds"))
    facts = {"Pairs measured": f"{len(measured.rows):,} ({measured.split})"} if measured else {}
    if measured and (found := measured.result.facts.get("contents", {}).get(measured.split)):
        facts["They hold"] = Contents(**found).files_text
    return facts | {
        "Pairs in the table": f"{len(table):,}",
        "Split by": split_in_words(table.split),
        "Encoders": f"{model.get('image_encoder')}, {model.get('audio_encoder')}; {model.get('dimensions')} dimensions",
        "Weights kept": f"of step {step:,.0f}, after {seconds:,.0f} s of training",
        "Device": f"{card.get('device')}, {card.get('precision')}",
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def _number(value: Any) -> float:
    """Return a number of a card, which may hold anything; 0 for what is none."""
    return float(value) if fits(value, float) else 0.0


def _matches(table: Table, rows: NDArray[np.int64], result: RetrievalResult) -> dict[str, list[Match]]:
    """The surest right ones and the most wrong ones of both directions."""
    groups: dict[str, list[Match]] = {"best": [], "worst": []}
    for direction, ranks in result.ranks.items():
        surest = np.lexsort((-result.scores_true[direction], ranks))
        for name, order in (("best", surest), ("worst", surest[::-1])):
            for query in order[:_SHOWN]:
                groups[name].append(_match(table, rows, result, direction, int(query)))
    return groups


def _match(table: Table, rows: NDArray[np.int64], result: RetrievalResult, direction: str, query: int) -> Match:
    found = result.top[direction][query][:_FOUND]
    truth, *others = _items(table, [rows[query], *(rows[index] for index in found)])
    return Match(query=truth, truth=truth, found=others, rank=int(result.ranks[direction][query]), direction=direction)


def _items(table: Table, rows: Sequence[int]) -> list[Item]:
    known = ["id", "image", "audio_preview", "longitude", "latitude", "image_hash", "audio_hash"]
    return [
        Item(
            id=record["id"],
            image_jpeg=record["image"],
            sound=record["audio_preview"],
            caption=", ".join(f"{name}: {record[name]}" for name in table.extra_columns if record[name])[:160],
            longitude=record["longitude"],
            latitude=record["latitude"],
            image_hash=record["image_hash"] or "",
            sound_hash=record["audio_hash"] or "",
        )
        for record in table.records([int(row) for row in rows], [*known, *table.extra_columns])
    ]
