"""The report of a run: one HTML file with plots, pictures and sound, without network or script."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.check import Contents
from earthtone.data.packed import Table
from earthtone.data.splits import split_in_words
from earthtone.evaluate import plots
from earthtone.evaluate.chance import against_chance, share_found
from earthtone.evaluate.explain import data_uri
from earthtone.evaluate.protocols import RetrievalResult
from earthtone.evaluate.results import TaskResult
from earthtone.files import write_text_atomic
from earthtone.geo import great_circle_km
from earthtone.models.two_tower import TwoTower
from earthtone.pages import render_page
from earthtone.train.checkpoint import read_history

MAX_MATCHES = 12
"""Matches shown in each group."""
MAX_FOUND = 5
"""Found items shown with each match."""
MAX_MEDIA_BYTES = 24 * 2**20
"""Pictures and sounds in one report; a page much larger than this opens slowly."""

_SHARES = ("r@", "recall", "precision", "match_precision", "accuracy", "f1", "miou")
_MEANINGS = (
    ("r@", "queries with a right item among the first {k}"),
    ("median_rank", "half of the queries find a right item here or earlier"),
    ("mean_rank", "the mean rank of the first right item"),
    ("mrr", "mean of 1 / rank of the first right item"),
    ("ndcg", "like R@{k}, but an earlier hit counts more"),
    ("km@", "median distance from the true place to the nearest of the first {k}"),
    ("km_mean@", "mean distance from the true place to the nearest of the first {k}"),
    ("d@", "mean distance from the true place to the nearest of the first {k}"),
    ("match_precision", "share of the first {k} that count as a match"),
)
_BELOW = ("r@", "queries whose first right item's rank is below {k}")  # where a protocol counts `rank < k`
_FINDS = {
    "image_to_sound": "An image finds its own recording",
    "sound_to_image": "A recording finds its own image",
}
_STANDINGS = {
    "below chance": "which it is below",
    "below chance, though not clearly": "which it is below, though not clearly",
    "not clearly above chance": "which it does not clearly beat",
    "chance reaches it too": "so that this says nothing",
}
_GROUPS = {"best": "The best matches", "worst": "The worst matches"}


@dataclass(frozen=True)
class Item:
    """One pair as it is shown: an encoded JPEG, and the bytes of an Ogg file."""

    id: str
    image_jpeg: bytes | None = None
    sound: bytes | None = None
    caption: str = ""
    longitude: float | None = None
    latitude: float | None = None
    image_hash: str = ""
    """Equal for identical images; empty where unknown."""
    sound_hash: str = ""
    """Equal for identical recordings; empty where unknown, or silent."""


@dataclass(frozen=True)
class Match:
    """One query and what it found: `found` holds what came first, `rank` (1-based) is that of the first right one."""

    query: Item
    truth: Item
    found: Sequence[Item]
    rank: int
    direction: str


@dataclass(frozen=True)
class Report:
    """All that one report shows; everything but the title may be left out."""

    title: str
    summary: Mapping[str, str] = field(default_factory=dict)
    """Key facts: date, device, rows, seconds of training, model names."""
    history: Sequence[Mapping[str, float]] = ()
    """Rows of the training log: `step`, `loss`, `lr`, `temperature`, and `val...` where there was a validation."""
    retrieval: Mapping[str, Any] = field(default_factory=dict)
    """`gallery`, `twins`, `protocol`, `recall_counts` (`rank <= k` or `rank < k`), and `directions` with their
    `metrics` (value, low, high, chance) and `right_items` (how many queries have so many, by number)."""
    ranks: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """The 1-based rank of each query's first right item, one array a direction."""
    matches: Mapping[str, Sequence[Match]] = field(default_factory=dict)
    """`best` and `worst`."""
    probe: Mapping[str, Any] = field(default_factory=dict)
    """Results of probes, nested by name; leaves are numbers or (value, low, high, chance)."""
    config_yaml: str = ""
    notes: Sequence[str] = ()
    """Warnings, shown on top."""


def write_report(report: Report, path: Path) -> Path:
    """Write the report to `path`, whole or not at all, and return `path`; raises DataError when that fails."""
    write_text_atomic(path, render_report(report))
    return path


def render_report(report: Report) -> str:
    """Return the report as one HTML page: escaped throughout, no script, nothing loaded from anywhere."""
    media = _Media()
    return render_page(
        "report.html.j2",
        title=report.title,
        notes=report.notes,
        report=report,
        headlines=list(_headlines(report.retrieval)),
        metrics=_metric_table(report.retrieval),
        protocol=_leaves({key: report.retrieval.get(key) for key in ("gallery", "split", "protocol", "twins")}),
        retrieval_plots=_retrieval_plots(report),
        training_plots=plots.training_plots(report.history),
        unfinished=sum(
            isinstance(value, float) and not math.isfinite(value) for row in report.history for value in row.values()
        ),
        groups=[
            {
                "title": _GROUPS.get(name, name),
                "given": len(group),
                "matches": [_match(match, media) for match in group[:MAX_MATCHES]],
            }
            for name, group in report.matches.items()
            if group
        ],
        probe=_leaves(report.probe),
    )


def _number(name: str, value: object) -> str:
    """Return a number with the unit that its metric's name implies; a dash for anything that is not a number."""
    if not plots.is_number(value):
        return "\u2013"
    number, lowered = float(value), name.lower()
    if lowered.startswith(_SHARES):
        return f"{100 * number:.1f} %"
    if lowered.startswith("km") or lowered.endswith("_km"):
        return f"{number:,.1f} km" if number < 100 else f"{number:,.0f} km"
    if "rank" in lowered:
        return f"{number:,.1f}".removesuffix(".0")
    if isinstance(value, (int, np.integer)) or abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3f}" if abs(number) >= 0.001 or number == 0 else f"{number:.2e}"


def _percent(value: float) -> str:
    return f"{100 * value:.0f}" if value >= 0.0995 or value == 0 else f"{100 * value:.1f}"


def _cell(name: str, metric: object) -> dict[str, str]:
    """Return the texts of one measured number: value, interval and chance, the latter two empty when unknown."""
    known = _mapping(metric)
    low, high, chance = (known.get(key) for key in ("low", "high", "chance"))
    interval = f"[{_number(name, low)}, {_number(name, high)}]" if plots.is_number(low) else ""
    return {
        "value": _number(name, known.get("value")),
        "interval": interval.replace(" %,", ",").replace(" km,", ","),
        "chance": _number(name, chance) if plots.is_number(chance) else "",
    }


def _directions(retrieval: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = retrieval.get("directions") or {}
    return {direction: result.get("metrics") or {} for direction, result in found.items()}


def _metric_table(retrieval: Mapping[str, Any]) -> dict[str, Any]:
    directions = _directions(retrieval)
    names = list(dict.fromkeys(name for metrics in directions.values() for name in metrics))
    meanings = (_BELOW, *_MEANINGS) if _is_strict(retrieval) else _MEANINGS
    rows = [
        {
            "name": name.replace("_", " "),
            "meaning": next((text for start, text in meanings if name.lower().startswith(start)), "").replace(
                "{k}", name.partition("@")[2].removesuffix("_km") or "k"
            ),
            "cells": [_cell(name, metrics.get(name)) for metrics in directions.values()],
        }
        for name in names
    ]
    return {"directions": [plots.direction_name(direction) for direction in directions], "rows": rows}


def _is_strict(retrieval: Mapping[str, Any]) -> bool:
    """Return whether R@k counts the ranks below k, as published protocols do."""
    return retrieval.get("recall_counts") == "rank < k"


def _recalls(metrics: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    """Return the R@k of one direction by k, where there is a value."""
    named = {name: re.fullmatch(r"R@(\d+)", name) for name in metrics}
    recalls = {int(k[1]): _mapping(metrics[name]) for name, k in named.items() if k}
    return {k: metric for k, metric in recalls.items() if plots.is_number(metric.get("value"))}


def _mapping(metric: Any) -> Mapping[str, Any]:
    return metric if isinstance(metric, Mapping) else {"value": metric}


def _headlines(retrieval: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield one plain sentence a direction, from R@10 or the nearest R@k that there is."""
    gallery = retrieval.get("gallery")
    of = f" of {gallery:,}" if isinstance(gallery, int) else ""
    for direction, metrics in _directions(retrieval).items():
        recalls = _recalls(metrics)
        if not recalls:
            continue
        k = min(recalls, key=lambda known: abs(math.log(known / 10)))
        value, chance = float(recalls[k]["value"]), recalls[k].get("chance")
        low, high = recalls[k].get("low"), recalls[k].get("high")
        finds = _FINDS.get(direction, plots.direction_name(direction) + ": a query finds its own partner")
        finds += ", or that of a twin," if _has_twins(retrieval) else ""
        top = "as the first" if k == 1 else f"among the top {k - _is_strict(retrieval)}"
        text = f"{finds} {top}{of} in {_percent(value)}\N{NO-BREAK SPACE}% of cases"
        interval = (float(low), float(high)) if plots.is_number(low) and plots.is_number(high) else ()
        if interval:
            text += f" [{_percent(interval[0])},\N{NO-BREAK SPACE}{_percent(interval[1])}]"
        times = ""
        if plots.is_number(chance):
            text += f"; chance is {_percent(chance)}\N{NO-BREAK SPACE}%"
            times = against_chance(value, chance, *interval)
            text += f", {_STANDINGS[times]}" if times else ""
            times = times or (f"{value / chance:.1f} times chance" if chance > 0 else "")
        name = plots.direction_name(direction)
        text += _measured_on_little(retrieval)
        yield {"text": f"{text}.", "value": f"{_percent(value)} %", "name": f"R@{k}", "times": times, "direction": name}


def _measured_on_little(retrieval: Mapping[str, Any]) -> str:
    """Return what the headline adds where figures say next to nothing: how little they were measured on."""
    measured = _mapping(retrieval.get("contents")).get(str(_mapping(retrieval.get("split")).get("name")))
    contents = Contents(**measured) if isinstance(measured, Mapping) else None
    return f". That says next to nothing: it was measured on {contents}" if contents and contents.is_small else ""


def _has_twins(retrieval: Mapping[str, Any]) -> bool:
    """Return whether items that are identical to a query's pair count as right, and there are any."""
    twins = retrieval.get("twins") or {}
    shared = (twins.get("pairs_with_identical_image"), twins.get("pairs_with_identical_recording"))
    return twins.get("handling") == "merge" and any(plots.is_number(count) and count > 0 for count in shared)


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return a nested mapping as flat rows; a mapping with a `value` is one measured number."""
    rows: list[dict[str, Any]] = []
    for key, value in tree.items():
        here = (*path, str(key).replace("_", " "))
        if isinstance(value, Mapping) and "value" not in value:
            rows += _leaves(value, here)
        elif isinstance(value, Mapping) or plots.is_number(value):
            rows.append({"name": " · ".join(here), **_cell(str(key), value)})
        elif value is not None:
            rows.append({"name": " · ".join(here), "value": str(value)[:300], "interval": "", "chance": ""})
    return rows


def _retrieval_plots(report: Report) -> list[plots.Plot]:
    ranks = {direction: np.asarray(found) for direction, found in report.ranks.items() if len(found)}
    if not ranks:
        return []
    gallery = report.retrieval.get("gallery")
    if not isinstance(gallery, int):
        gallery = math.ceil(max(float(found.max()) for found in ranks.values()))
    intervals = {
        direction: {k: (m["low"], m["high"]) for k, m in _recalls(metrics).items() if plots.is_number(m.get("low"))}
        for direction, metrics in _directions(report.retrieval).items()
    }
    counts: Counter[int] = Counter()
    for result in (report.retrieval.get("directions") or {}).values():
        counts.update({int(number): int(count) for number, count in (result.get("right_items") or {}).items()})
    gallery = max(gallery, 2)
    # what a random ranking finds among the first k, as the table counts it: with twins right or wrong
    return plots.retrieval_plots(ranks, gallery, intervals, share_found(gallery, counts))


class _Media:
    """Turns bytes into data URIs until the report is full."""

    def __init__(self) -> None:
        self.left_bytes = MAX_MEDIA_BYTES

    def embed(self, content: bytes | None, kind: str, name: str) -> dict[str, str]:
        """Return the data URI, or a note that says why there is none."""
        if not content:
            return {"uri": "", "note": f"no {name}"}
        if len(content) > self.left_bytes:
            return {"uri": "", "note": f"{name} of {len(content) / 2**20:.1f} MiB left out: the report is full"}
        self.left_bytes -= len(content)
        return {"uri": data_uri(content, kind), "note": ""}


def _match(match: Match, media: _Media) -> dict[str, Any]:
    asked, _, wanted = match.direction.partition("_to_")
    found: list[tuple[float | None, Item]] = list(enumerate(match.found[:MAX_FOUND], start=1))
    before = any(_same(item, match.truth) for _, item in found)
    if all(item.id != match.truth.id for _, item in found):
        found.append((None if before else match.rank, match.truth))  # where a twin came first, its own rank is unknown
    return {
        "query": {
            **_card(match.query, match.truth),
            "place_text": _where(match.query),
            "picture": media.embed(match.query.image_jpeg, "image/jpeg", "picture") if asked == "image" else None,
            "sound": media.embed(match.query.sound, "audio/ogg", "sound") if asked == "sound" else None,
        },
        "cards": [
            {
                **_card(item, match.truth),
                "place": "later" if place is None else f"{place:,}",
                "picture": media.embed(item.image_jpeg, "image/jpeg", "picture"),
                "sound": media.embed(item.sound, "audio/ogg", "sound") if wanted == "sound" else None,
            }
            for place, item in found
        ],
        "rank": f"{match.rank:,}",
        "hears": wanted == "sound",
        "direction": plots.direction_name(match.direction),
    }


def _card(item: Item, truth: Item) -> dict[str, Any]:
    true = item.id == truth.id
    places = (item.longitude, item.latitude, truth.longitude, truth.latitude)
    place = ""
    if not true and None not in places:
        km = float(great_circle_km(*places))  # type: ignore[arg-type]  # none of them is None
        place = f"{km:,.0f} km away" if km >= 10 else f"{km:.1f} km away"
    same = "" if true else _same(item, truth)
    return {"id": item.id, "caption": item.caption, "true": true, "same": same, "place_text": place}


def _same(item: Item, truth: Item) -> str:
    """Return what an item shares with the query's pair: "same image", "same recording", both, or nothing."""
    if item.id == truth.id:
        return ""
    image = item.image_hash and item.image_hash == truth.image_hash
    sound = item.sound_hash and item.sound_hash == truth.sound_hash
    return "same " + " and ".join(["image"] * bool(image) + ["recording"] * bool(sound)) if image or sound else ""


def _where(item: Item) -> str:
    if item.longitude is None or item.latitude is None:
        return ""
    north, east = "N" if item.latitude >= 0 else "S", "E" if item.longitude >= 0 else "W"
    return f"{abs(item.latitude):.2f}°\N{NO-BREAK SPACE}{north} {abs(item.longitude):.2f}°\N{NO-BREAK SPACE}{east}"


REPORT_FILE = "report.html"
_SHOWN = 3  # queries a direction in each of the two groups
_FOUND = 3  # what each of them found
_SYNTHETIC = "Toy world: images, sounds and places are made by a program. Nothing here says anything about real data."


def write_run_report(
    folder: Path,
    model: TwoTower,
    table: Table,
    rows: NDArray[np.int64] | None = None,
    result: RetrievalResult | None = None,
    *,
    probes: Mapping[str, TaskResult] | None = None,
    note: str | None = None,
    path: Path | None = None,
) -> Path:
    """Write the report of the run in `folder` to `path`, by default its `report.html`, and return the path.

    `result` is what `evaluate_retrieval` measured on `rows` of the table.
    """
    recipe = folder / "recipe.yaml"
    notes = [_SYNTHETIC] if "toyworld" in set(table.column("source")) else []
    split = ""
    measured: dict[str, Any] = {}
    if result is not None and rows is not None:
        split = f"{result.facts['split']['name']} pairs of "
        if (protocol := result.facts["protocol"])["name"] != "honest":
            notes.append(f"Measured by the protocol {protocol['name']}. {protocol['difference']}")
        notes += [f"{line}." for line in result.facts.get("cautions", ())]
        matches = _matches(table, rows, result)
        measured = {"retrieval": result.to_dict(), "ranks": result.ranks, "matches": matches}
    if noted := table.notes(rows):
        kinds = ", ".join(f"{kind} ({count})" for kind, count in noted.items())
        notes.append(f"Noticed when {'these' if measured else 'the'} pairs were packed: {kinds}.")
    return write_report(
        Report(
            title=f"{folder.resolve().name}: {split}{table.name}",
            summary=_summary(model.card, table, measured.get("retrieval", {})),
            history=read_history(folder),
            probe={name: _probe(probe) for name, probe in (probes or {}).items()},
            config_yaml=recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else "",
            notes=[*notes, *([note] if note else [])],
            **measured,
        ),
        path or folder / REPORT_FILE,
    )


def _probe(result: TaskResult) -> dict[str, Any]:
    """Return the figures by their name without the classifier's, and how they came about."""
    figures = {name.removeprefix("logistic_"): asdict(figure) for name, figure in result.figures.items()}
    facts = {key: result.facts.get(key) for key in ("classes", "train_rows", "test_rows", "accuracy_by_class")}
    return {**figures, **facts, "protocol": result.protocol}


def _summary(card: Mapping[str, Any], table: Table, retrieval: Mapping[str, Any]) -> dict[str, str]:
    model, versions = (card[key] if isinstance(card.get(key), Mapping) else {} for key in ("model", "versions"))
    known = [card.get(key) for key in ("step", "training_seconds")]  # a card may hold anything
    step, seconds = (float(value) if plots.is_number(value) else 0.0 for value in known)
    facts = {}
    if retrieval:
        split = retrieval["split"]["name"]
        facts["Pairs measured"] = f"{retrieval['gallery']:,} ({split})"
        if contents := retrieval.get("contents", {}).get(split):
            facts["They hold"] = Contents(**contents).files_text
    return facts | {
        "Pairs in the table": f"{len(table):,}",
        "Split by": split_in_words(table.split),
        "Encoders": f"{model.get('image_encoder')}, {model.get('audio_encoder')}; {model.get('dimensions')} dimensions",
        "Weights kept": f"of step {step:,.0f}, after {seconds:,.0f} s of training",
        "Device": f"{card.get('device')}, {card.get('precision')}",
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def _matches(table: Table, rows: NDArray[np.int64], result: RetrievalResult) -> dict[str, list[Match]]:
    """Return the surest right ones and the most wrong ones of both directions."""
    groups: dict[str, list[Match]] = {"best": [], "worst": []}
    for direction, ranks in result.ranks.items():
        surest = np.lexsort((-result.scores_true[direction], ranks))
        for name, order in (("best", surest), ("worst", surest[::-1])):
            for query in order[:_SHOWN]:
                groups[name].append(_shown_match(table, rows, result, direction, int(query)))
    return groups


def _shown_match(table: Table, rows: NDArray[np.int64], result: RetrievalResult, direction: str, query: int) -> Match:
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
