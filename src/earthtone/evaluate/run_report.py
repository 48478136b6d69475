"""The report of a run: its log, its recipe, its retrieval, and pictures and sounds out of the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.table import Table
from earthtone.evaluate.probe import ProbeResult
from earthtone.evaluate.report import Item, Match, Report, write_report
from earthtone.evaluate.retrieval import RetrievalResult
from earthtone.models.two_tower import TwoTower
from earthtone.train.history import read_history

REPORT_FILE = "report.html"
_SHOWN = 3  # queries a direction in each of the two groups
_FOUND = 3  # what each of them found
_SYNTHETIC = "Toy world: images, sounds and places are made by a program. Nothing here says anything about real data."


def write_run_report(
    folder: Path,
    model: TwoTower,
    table: Table,
    rows: NDArray[np.int64],
    result: RetrievalResult,
    *,
    split: str,
    probes: Mapping[str, ProbeResult] | None = None,
) -> Path:
    """Write `report.html` for the run in `folder` and return its path."""
    card = model.card
    recipe = folder / "recipe.yaml"
    sources = set(table.column("source"))
    return write_report(
        Report(
            title=f"{folder.resolve().name}: {split} pairs of {table.path.name}",
            summary=_summary(card, table, split, len(rows)),
            history=read_history(folder),
            retrieval=result.to_dict(),
            ranks=result.ranks,
            matches=_matches(table, rows, result),
            probe={name: probe.to_dict() for name, probe in (probes or {}).items()} or None,
            config_yaml=recipe.read_text(encoding="utf-8") if recipe.exists() else "",
            notes=[_SYNTHETIC] if "toyworld" in sources else [],
        ),
        folder / REPORT_FILE,
    )


def _summary(card: Mapping[str, Any], table: Table, split: str, count: int) -> dict[str, str]:
    model, versions = card.get("model", {}), card.get("versions", {})
    return {
        "Pairs measured": f"{count:,} ({split})",
        "Pairs in the table": f"{len(table):,}",
        "Encoders": f"{model.get('image_encoder')}, {model.get('audio_encoder')}; {model.get('dimensions')} dimensions",
        "Training": f"{card.get('training_seconds', 0):,.0f} s, {card.get('step', 0):,} steps, {card.get('precision')}",
        "Device": str(card.get("device")),
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


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
    columns = ["id", "image", "audio_preview", "longitude", "latitude", *table.extra_columns]
    return [
        Item(
            id=record["id"],
            image_jpeg=record["image"],
            sound=record["audio_preview"],
            caption=", ".join(f"{name}: {record[name]}" for name in table.extra_columns if record[name])[:160],
            longitude=record["longitude"],
            latitude=record["latitude"],
        )
        for record in table.records([int(row) for row in rows], columns)
    ]
