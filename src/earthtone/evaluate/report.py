"""The report of a run: one HTML file with plots, pictures and sound, without network or script."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.check import Contents
from earthtone.data.packed import Table
from earthtone.data.splits import split_in_words
from earthtone.evaluate import plots
from earthtone.evaluate.chance import against_chance, share_found
from earthtone.evaluate.explain import caption, data_uri
from earthtone.evaluate.protocols import RetrievalResult
from earthtone.evaluate.results import Estimate, TaskResult
from earthtone.files import write_text_atomic
from earthtone.geo import great_circle_km
from earthtone.models.two_tower import TwoTower
from earthtone.pages import render_page
from earthtone.train.checkpoint import read_history

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
_UNKNOWN = Estimate(math.nan, math.nan, math.nan, None, 0)
_STANDINGS = {
    "below chance": "which it is below",
    "below chance, though not clearly": "which it is below, though not clearly",
    "not clearly above chance": "which it does not clearly beat",
    "chance reaches it too": "so that this says nothing",
}


@dataclass(frozen=True)
class Item:
    """One pair as it is shown: columns of a packed table, an encoded JPEG, the bytes of an Ogg file."""

    id: str
    image: bytes | None = None
    audio_preview: bytes | None = None
    longitude: float | None = None
    latitude: float | None = None
    image_hash: str | None = None
    """Equal for identical images; empty where unknown."""
    audio_hash: str | None = None
    """Equal for identical recordings; empty where unknown, or silent."""
    caption: str = ""


@dataclass(frozen=True)
class Match:
    """One pair as query and what it found: what came first, and the 1-based `rank` of the first right one."""

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
    retrieval: RetrievalResult | None = None
    matches: Mapping[str, Sequence[Match]] = field(default_factory=dict)
    """By the title of the group."""
    probe: Mapping[str, Any] = field(default_factory=dict)
    """Results of probes, nested by name; leaves are estimates, numbers and texts."""
    config_yaml: str = ""
    notes: Sequence[str] = ()
    """Warnings, shown on top."""


def render_report(report: Report) -> str:
    """Return the report as one HTML page: escaped throughout, no script, nothing loaded from anywhere."""
    media, result = _Media(), report.retrieval
    facts = {} if result is None else {"gallery": result.gallery, **result.facts}
    return render_page(
        "report.html.j2",
        title=report.title,
        notes=report.notes,
        report=report,
        headlines=[] if result is None else list(_headlines(result)),
        metrics={} if result is None else _metric_table(result),
        protocol=_leaves({key: facts.get(key) for key in ("gallery", "split", "protocol", "twins")}),
        retrieval_plots=[] if result is None else _retrieval_plots(result),
        training_plots=plots.training_plots(report.history),
        unfinished=sum(
            isinstance(value, float) and not math.isfinite(value) for row in report.history for value in row.values()
        ),
        groups=[
            {"title": title, "matches": [_match(match, media) for match in group]}
            for title, group in report.matches.items()
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


def _cell(name: str, figure: Estimate) -> dict[str, str]:
    """Return the texts of one measured number: value, interval and chance, the latter two empty when unknown."""
    known = plots.is_number(figure.low)
    interval = f"[{_number(name, figure.low)}, {_number(name, figure.high)}]" if known else ""
    return {
        "value": _number(name, figure.value),
        "interval": interval.replace(" %,", ",").replace(" km,", ","),
        "chance": "" if figure.chance is None else _number(name, figure.chance),
    }


def _metric_table(result: RetrievalResult) -> dict[str, Any]:
    meanings = (_BELOW, *_MEANINGS) if _is_strict(result) else _MEANINGS
    rows = [
        {
            "name": name.replace("_", " "),
            "meaning": next((text for start, text in meanings if name.lower().startswith(start)), "").replace(
                "{k}", name.partition("@")[2].removesuffix("_km") or "k"
            ),
            "cells": [_cell(name, figures.get(name, _UNKNOWN)) for figures in result.figures.values()],
        }
        for name in dict.fromkeys(name for figures in result.figures.values() for name in figures)
    ]
    return {"directions": [plots.direction_name(direction) for direction in result.figures], "rows": rows}


def _is_strict(result: RetrievalResult) -> bool:
    """Return whether R@k counts the ranks below k, as published protocols do."""
    return bool(result.facts["recall_counts"] == "rank < k")


def _recalls(figures: Mapping[str, Estimate]) -> dict[int, Estimate]:
    """Return the R@k of one direction by k."""
    named = {name: re.fullmatch(r"R@(\d+)", name) for name in figures}
    return {int(k[1]): figures[name] for name, k in named.items() if k}


def _headlines(result: RetrievalResult) -> Iterator[dict[str, str]]:
    """Yield one plain sentence a direction, from R@10 or the nearest R@k that there is."""
    twins = result.facts["twins"]
    has_twins = twins["pairs_with_identical_image"] or twins["pairs_with_identical_recording"]
    for direction, figures in result.figures.items():
        recalls = _recalls(figures)
        if not recalls:
            continue
        k = min(recalls, key=lambda known: abs(math.log(known / 10)))
        figure, chance = recalls[k], recalls[k].chance or 0.0
        finds = _FINDS[direction] + (", or that of a twin," if has_twins and twins["handling"] == "merge" else "")
        top = "as the first" if k == 1 else f"among the top {k - _is_strict(result)}"
        standing = against_chance(figure.value, chance, figure.low, figure.high)
        text = (
            f"{finds} {top} of {result.gallery:,} in {_percent(figure.value)}\N{NO-BREAK SPACE}% of cases "
            f"[{_percent(figure.low)},\N{NO-BREAK SPACE}{_percent(figure.high)}]; chance is "
            f"{_percent(chance)}\N{NO-BREAK SPACE}%{f', {_STANDINGS[standing]}' if standing else ''}"
        )
        yield {
            "text": f"{text}{_measured_on_little(result)}.",
            "value": f"{_percent(figure.value)} %",
            "name": f"R@{k}",
            "times": standing or f"{figure.value / chance:.1f} times chance",
            "direction": plots.direction_name(direction),
        }


def _measured_on_little(result: RetrievalResult) -> str:
    """Return what the headline adds where figures say next to nothing: how little they were measured on."""
    measured = result.facts["contents"].get(result.facts["split"]["name"])
    contents = Contents(**measured) if measured else None
    return f". That says next to nothing: it was measured on {contents}" if contents and contents.is_small else ""


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return a nested mapping as flat rows."""
    rows: list[dict[str, Any]] = []
    for key, value in tree.items():
        here = (*path, str(key).replace("_", " "))
        if isinstance(value, Mapping):
            rows += _leaves(value, here)
        elif isinstance(value, Estimate):
            rows.append({"name": " · ".join(here), **_cell(str(key), value)})
        elif value is not None:
            text = _number(str(key), value) if plots.is_number(value) else str(value)[:300]
            rows.append({"name": " · ".join(here), "value": text, "interval": "", "chance": ""})
    return rows


def _retrieval_plots(result: RetrievalResult) -> list[plots.Plot]:
    intervals = {
        direction: {k: (figure.low, figure.high) for k, figure in _recalls(figures).items()}
        for direction, figures in result.figures.items()
    }
    counts: Counter[int] = Counter()
    for right_items in result.facts.get("right_items", {}).values():
        counts.update(right_items)
    gallery = max(result.gallery, 2)
    # what a random ranking finds among the first k, as the table counts it: with twins right or wrong
    return plots.retrieval_plots(result.ranks, gallery, intervals, share_found(gallery, counts))


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
    found: list[tuple[float | None, Item]] = list(enumerate(match.found, start=1))
    before = any(_same(item, match.truth) for _, item in found)
    if all(item.id != match.truth.id for _, item in found):
        found.append((None if before else match.rank, match.truth))  # where a twin came first, its own rank is unknown
    return {
        "query": {
            **_card(match.truth, match.truth),
            "place_text": _where(match.truth),
            "picture": media.embed(match.truth.image, "image/jpeg", "picture") if asked == "image" else None,
            "sound": media.embed(match.truth.audio_preview, "audio/ogg", "sound") if asked == "sound" else None,
        },
        "cards": [
            {
                **_card(item, match.truth),
                "place": "later" if place is None else f"{place:,}",
                "picture": media.embed(item.image, "image/jpeg", "picture"),
                "sound": media.embed(item.audio_preview, "audio/ogg", "sound") if wanted == "sound" else None,
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
    sound = item.audio_hash and item.audio_hash == truth.audio_hash
    return "same " + " and ".join(["image"] * bool(image) + ["recording"] * bool(sound)) if image or sound else ""


def _where(item: Item) -> str:
    if item.longitude is None or item.latitude is None:
        return ""
    north, east = "N" if item.latitude >= 0 else "S", "E" if item.longitude >= 0 else "W"
    return f"{abs(item.latitude):.2f}°\N{NO-BREAK SPACE}{north} {abs(item.longitude):.2f}°\N{NO-BREAK SPACE}{east}"


REPORT_FILE = "report.html"
_SHOWN = 3  # queries a direction in each of the two groups
_FOUND = 3  # what each of them found
_COLUMNS = ("id", "image", "audio_preview", "longitude", "latitude", "image_hash", "audio_hash")  # as in `Item`
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
    health: Mapping[str, str] | None = None,
    path: Path | None = None,
) -> Path:
    """Write the report of the run in `folder` to `path`, by default its `report.html`, and return the path.

    `result` is what `evaluate_retrieval` measured on `rows` of the table; `health`, in words, is for a model of one
    tower, which has no retrieval.
    """
    recipe = folder / "recipe.yaml"
    notes = [_SYNTHETIC] if "toyworld" in set(table.column("source")) else []
    if model.config.only is not None:
        notes.append(f"One tower alone was trained, that of {_MEDIA[model.config.only]}: there is no retrieval.")
    if (control := _control(model.card)) in _CONTROLS:
        notes.insert(0, f"This is a control, train.control {control}: {_CONTROLS[control]}")
    split = ""
    measured: dict[str, Any] = {}
    if result is not None and rows is not None:
        split = f"{result.facts['split']['name']} pairs of "
        if (protocol := result.facts["protocol"])["name"] != "honest":
            notes.append(f"Measured by the protocol {protocol['name']}. {protocol['difference']}")
        notes += [f"{line}." for line in result.facts.get("cautions", ())]
        measured = {"retrieval": result, "matches": _matches(table, rows, result)}
    if noted := table.notes(rows):
        kinds = ", ".join(f"{kind} ({count})" for kind, count in noted.items())
        notes.append(f"Noticed when {'these' if measured else 'the'} pairs were packed: {kinds}.")
    report = Report(
        title=f"{folder.resolve().name}: {split}{table.name}",
        summary={**_summary(model.card, table, result if measured else None), **(health or {})},
        history=read_history(folder),
        probe={name: _probe(probe) for name, probe in (probes or {}).items()},
        config_yaml=recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else "",
        notes=[*notes, *([note] if note else [])],
        **measured,
    )
    path = path or folder / REPORT_FILE
    write_text_atomic(path, render_report(report))
    return path


_MEDIA = {"image": "images", "audio": "sounds"}
_CONTROLS = {
    "images_only": "the image tower learned from images alone, nothing was heard. Compare it with the same training "
    "without a control.",
    "shuffled_sounds": "each training image had the sound of another row, by one order for the whole training. What it "
    "reaches is not from what was heard at a place; figures of retrieval near chance are as they should be.",
}


def _control(card: Mapping[str, Any]) -> str:
    """Return which control a card says that a training was; a card may hold anything."""
    recipe = card.get("recipe")
    train = recipe.get("train") if isinstance(recipe, Mapping) else None
    return str(train.get("control")) if isinstance(train, Mapping) else "none"


def _probe(result: TaskResult) -> dict[str, Any]:
    """Return the figures by their name without the classifier's, and how they came about."""
    figures = {name.removeprefix("logistic_"): figure for name, figure in result.figures.items()}
    facts = {key: result.facts.get(key) for key in ("classes", "train_rows", "test_rows", "accuracy_by_class")}
    return {**figures, **facts, "protocol": result.protocol}


def _summary(card: Mapping[str, Any], table: Table, result: RetrievalResult | None) -> dict[str, str]:
    model, versions = (card[key] if isinstance(card.get(key), Mapping) else {} for key in ("model", "versions"))
    known = [card.get(key) for key in ("step", "training_seconds")]  # a card may hold anything
    step, seconds = (float(value) if plots.is_number(value) else 0.0 for value in known)
    media = [model["only"]] if model.get("only") else ["image", "audio"]
    encoders = ", ".join(str(model.get(f"{medium}_encoder")) for medium in media)
    facts = {}
    if result is not None:
        split = result.facts["split"]["name"]
        facts["Pairs measured"] = f"{result.gallery:,} ({split})"
        if contents := result.facts["contents"].get(split):
            facts["They hold"] = Contents(**contents).files_text
    return facts | {
        "Pairs in the table": f"{len(table):,}",
        "Split by": split_in_words(table.split),
        "Encoders": f"{encoders}; {model.get('dimensions')} dimensions",
        "Weights kept": f"of step {step:,.0f}, after {seconds:,.0f} s of training",
        "Device": f"{card.get('device')}, {card.get('precision')}",
        "Versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def _matches(table: Table, rows: NDArray[np.int64], result: RetrievalResult) -> dict[str, list[Match]]:
    """Return the surest right ones and the most wrong ones of both directions."""
    groups: dict[str, list[Match]] = {"The best matches": [], "The worst matches": []}
    for direction, ranks in result.ranks.items():
        surest = np.lexsort((-result.scores_true[direction], ranks))
        for group, order in zip(groups.values(), (surest, surest[::-1]), strict=True):
            for query in order[:_SHOWN]:
                shown = rows[[query, *result.top[direction][query][:_FOUND]]].tolist()
                records = table.records(shown, [*_COLUMNS, *table.extra_columns])
                truth, *found = (
                    Item(**{name: one[name] for name in _COLUMNS}, caption=caption(table, one)) for one in records
                )
                group.append(Match(truth, found, int(ranks[query]), direction))
    return groups
