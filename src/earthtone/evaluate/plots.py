"""Plots as inline SVG: their colours and fonts are the page's own, so they follow light, dark and print.

Of reports: losses, ranks, recall. Of tasks on labelled data: confusion matrices, maps of features. A report's plot is
drawn with stand-in colours that are replaced by CSS variables of the page. No global pyplot state.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeGuard

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter
from numpy.typing import NDArray

from earthtone.data.labelled.masks import default_colours
from earthtone.evaluate.ranking import normalised_rows

if TYPE_CHECKING:
    from earthtone.evaluate.health import Health

History = Sequence[Mapping[str, float]]
Ranks = Mapping[str, NDArray[Any]]
Intervals = Mapping[str, Mapping[int, tuple[float, float]]]

#: (gallery + 1,): at k, the share of queries with a right item among the first k of a random ranking; see `chance`.
Chance = NDArray[np.float64]

_INK, _MUTED, _GRID = "#010101", "#010102", "#010103"
_SERIES = ("#010104", "#010105", "#010106", "#010107")
_CSS = {
    _INK: "var(--ink)", _MUTED: "var(--muted)", _GRID: "var(--grid)",
    **dict(zip(_SERIES, ("var(--moss)", "var(--clay)", "var(--water)", "var(--ochre)"), strict=True)),
}  # fmt: skip
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
_MOST_POINTS = 400
_TEXT = 9.5
_NAMES = {"image_to_sound": "image → sound", "sound_to_image": "sound → image"}


def direction_name(direction: str) -> str:
    """Return a direction in words: `image → sound` for `image_to_sound`."""
    return _NAMES.get(direction, direction.replace("_", " "))


def series(history: History, key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and finite values of `key` in the rows of a training log; a row without `step` counts itself."""
    points = [
        (row["step"] if is_number(row.get("step")) else index, row[key])
        for index, row in enumerate(history)
        if is_number(row.get(key))
    ]
    steps, values = np.array(points, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def is_number(value: object) -> TypeGuard[float]:
    """Return whether `value` is a finite number; truth values are none."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class Plot:
    """One plot of the page: a drawing, what it shows, and how to read it."""

    svg: Markup
    title: str
    caption: str


def retrieval_plots(ranks: Ranks, gallery: int, intervals: Intervals, chance: Chance) -> list[Plot]:
    """Return the recall curve and the histogram of ranks; see `recall_curve`."""
    return [
        Plot(
            recall_curve(ranks, gallery, intervals, chance),
            "How far down one must look",
            "The share of queries with a right item among the first k results: the further above the dashed "
            "line, the better. Thick bars are the intervals of the table.",
        ),
        Plot(
            rank_histogram(ranks, gallery, chance),
            "Where the first right item ended up",
            "The share of queries by the rank of their first right item. A model that knows nothing fills each bar up "
            "to its dashes; a good one piles up on the left.",
        ),
    ]


def training_plots(history: History) -> list[Plot]:
    """Return every curve that the log has numbers for: loss, validation metrics, learning rate, temperature."""
    keys = [key for key in dict.fromkeys(key for row in history for key in row) if len(series(history, key)[1])]
    val = [key for key in keys if key.lower().startswith("val")]
    found = []
    if loss := next((key for key in keys if key in ("loss", "train_loss", "train/loss")), None):
        svg = loss_curve(history, loss, [key for key in val if "loss" in key.lower()])
        caption = "Lower is better; the faint line is what was logged, the strong one its running mean."
        found.append(Plot(svg, "The loss over training", caption))
    metrics = [key for key in val if "loss" not in key.lower()]
    if shares := [key for key in metrics if np.all(np.abs(series(history, key)[1] - 0.5) <= 0.5)]:
        svg = step_curves(history, shares, "validation", "Line plot of the validation metrics", share=True)
        caption = "Measured on pairs that were not trained on; higher is better. It should rise, then level off."
        found.append(Plot(svg, "Progress on unseen pairs", caption))
    for number, key in enumerate([key for key in metrics if key not in shares][:3]):  # each has its own axis
        svg = step_curves(history, [key], f"validation{number}", f"Line plot of {key} by training step")
        title = f"Progress on unseen pairs: {_key_name(key)}"
        found.append(Plot(svg, title, "Measured on pairs that were not trained on."))
    if rates := [key for key in keys if key.startswith(("lr", "learning_rate"))]:
        svg = step_curves(history, rates, "rate", "Line plot of the learning rate by training step")
        found.append(Plot(svg, "The learning rate", "How large the steps were: often a short rise, then a slow fall."))
    if "temperature" in keys:
        svg = step_curves(history, ["temperature"], "temperature", "Line plot of the temperature by training step")
        caption = "How sharply the loss tells near from far: it usually falls as the embeddings get better."
        found.append(Plot(svg, "The learned temperature", caption))
    return found


def _key_name(key: str) -> str:
    """Return a logged key as a person would say it: `R@10, image → sound` for `val_R@10_image_to_sound`."""
    for direction, name in _NAMES.items():
        key = re.sub(rf"[_/. ]*{direction}[_/. ]*", f", {name}, ", key)
    key = re.sub(r"^val(idation)?[_/.]", "validation " if "loss" in key else "", key)
    return key.replace("_", " ").strip(" ,")


def _plain(text: str) -> str:
    """Return untrusted text as a label: no formula between dollar signs, no lone surrogates, which no font measures."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")


def loss_curve(history: History, train_key: str, val_keys: Sequence[str] = ()) -> Markup:
    """Return the loss by step: raw and faint, smoothed and strong; losses on validation rows as marked lines."""
    figure, axes = _figure()
    steps, values = thinned(*series(history, train_key))
    if len(values) > 3:
        axes.plot(steps, values, color=_SERIES[0], alpha=0.35, linewidth=0.8)
        axes.plot(steps, smoothed(values), color=_SERIES[0], linewidth=2, label="training, smoothed")
    else:
        axes.plot(steps, values, color=_SERIES[0], marker="o", label="training")
    for number, key in enumerate(val_keys[:3], start=1):
        style = {"color": _SERIES[number], "marker": "o", "markersize": 3.5, "label": _plain(_key_name(key))}
        axes.plot(*thinned(*series(history, key)), **style)
    _legend(axes, columns=2)
    return _svg(figure, "loss", f"Line plot of the loss by training step{_ends(values)}")


def step_curves(history: History, keys: Sequence[str], name: str, label: str, *, share: bool = False) -> Markup:
    """Return any logged numbers by step, one line each (four at most); `share` shows 0 to 1 in per cent."""
    figure, axes = _figure()
    last: NDArray[np.float64] = np.empty(0)
    for number, key in enumerate(keys[: len(_SERIES)]):
        steps, last = thinned(*series(history, key))
        marker = "o" if len(last) <= 40 else None
        style = {"color": _SERIES[number], "linestyle": _DASHES[number], "marker": marker, "markersize": 3.5}
        axes.plot(steps, last, linewidth=1.8, label=_plain(_key_name(key)), **style)
    if len(keys) > 1:
        _legend(axes, columns=2)
    if share:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    return _svg(figure, name, label + (_ends(last) if len(keys) == 1 else ""))


def recall_curve(ranks: Ranks, gallery: int, intervals: Intervals, chance: Chance) -> Markup:
    """Return recall at every k up to the gallery's size, log axis, with the intervals of R@k as bars, chance dashed.

    `ranks` are 1-based, one array a direction; `intervals` maps a direction and k to (low, high) in 0 to 1.
    """
    figure, axes = _figure()
    k = np.unique(np.geomspace(1, gallery, 300).round()).astype(np.int64)
    for number, (direction, found) in enumerate(list(ranks.items())[: len(_SERIES)]):
        color, label = _SERIES[number], _plain(direction_name(direction))
        axes.plot(k, _share_within(found, k), color=color, linestyle=_DASHES[number], linewidth=2, label=label)
        for at, (low, high) in intervals.get(direction, {}).items():
            axes.plot([at * 1.03**number] * 2, [low, high], color=color, linewidth=3, alpha=0.45, solid_capstyle="butt")
    axes.plot(k, chance[k], color=_MUTED, linestyle=(0, (2, 2)), linewidth=1.3, label="chance")
    axes.set(xscale="log", xlim=(0.93, gallery * 1.04), ylim=(0, 1.02), xlabel="k, how many results are looked at")
    ticks = [tick for tick in (10**power for power in range(9)) if tick <= gallery / 2] + [gallery]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    _legend(axes, columns=3)
    return _svg(figure, "recall", f"Line plot of recall at k, for k from 1 to {gallery}, with chance as a dashed line")


def _share_within(ranks: NDArray[Any], k: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of ranks that are at most each k."""
    return np.searchsorted(np.sort(ranks), k, side="right") / len(ranks)


def rank_histogram(ranks: Ranks, gallery: int, chance: Chance) -> Markup:
    """Return the share of queries whose first right item has a rank of 1, 2 to 5, 6 to 10 and so on; chance dashed."""
    figure, axes = _figure()
    inner = (1, 5) if gallery <= 1000 else (1,)
    edges = [edge for power in range(9) for edge in (10**power * step for step in inner) if edge < gallery] + [gallery]
    if len(edges) > 2 and edges[-1] < 1.2 * edges[-2]:
        del edges[-2]  # a last bar of a few ranks says nothing
    limits = [0, *edges]
    names = [f"{low + 1:,}" if low + 1 == high else f"{low + 1:,}-{high:,}" for low, high in pairwise(limits)]
    place, shown = np.arange(len(edges)), list(ranks.items())[: len(_SERIES)]
    width = 0.8 / max(len(shown), 1)
    for number, (direction, found) in enumerate(shown):
        # bars are half open on the left: a rank of 10 belongs to "6-10"
        shares = np.diff(_share_within(found, limits))
        left = place - 0.4 + width * (number + 0.5)
        bars = {"color": _SERIES[number], "edgecolor": _SERIES[number], "fill": number % 2 == 0, "linewidth": 1.2}
        axes.bar(left, shares, width * 0.86, label=_plain(direction_name(direction)), **bars)
    dashes = {"color": _MUTED, "linestyle": (0, (2, 1)), "linewidth": 1.5}
    axes.hlines(np.diff(chance[limits]), place - 0.45, place + 0.45, label="chance", **dashes)
    axes.set_xticks(place, names)
    axes.set_xlabel("rank of the first right item")
    axes.tick_params(axis="x", length=0, labelsize=_TEXT if len(edges) < 6 else 8.5)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    axes.set_ylim(0, axes.get_yticks()[-1])  # a line of the grid above the highest dashes, too
    _legend(axes, columns=3)
    return _svg(figure, "ranks", "Bar chart of the share of queries in each range of ranks, with chance as dashes")


def health_plots(health: "Health") -> list[Plot]:
    """Return four pictures of a model's health: spectra, cosines of pairs and of strangers, a plane of both, hubs."""
    captions = (
        "Shares of each tower's variance by principal direction, added up. A curve that is at the top at once has one "
        "number to say; the dashes are directions that all count alike.",
        "The cosine of an image and its own recording, and of an image and another one's. Two hills apart are a model "
        "that knows something.",
        "All vectors on the first two principal directions of both kinds together. Two clouds apart are the modality "
        "gap; a dot is a collapsed tower.",
        "Items in the order of how many queries find them within the first 10. A steep left end are hubs, a long right "
        "end at 0 are items that nobody finds; the dashes are 10 for each.",
    )
    drawn = {
        "How many dimensions are used": _spectra(health),
        "Are pairs nearer than strangers?": _similarities(health),
        "Images and recordings on a plane": _plane(health),
        "Who is found, and by how many": _hubs(health),
    }
    return [Plot(svg, title, caption) for (title, svg), caption in zip(drawn.items(), captions, strict=True)]


def _spectra(health: "Health") -> Markup:
    figure, axes = _figure()
    for number, (name, tower) in enumerate(health.towers.items()):
        size = len(tower.spectrum)
        style = {"color": _SERIES[number], "linestyle": _DASHES[number], "linewidth": 2, "label": f"{name} tower"}
        axes.plot(np.arange(1, size + 1), np.cumsum(tower.spectrum), **style)
    axes.plot([1, size], [1 / size, 1], color=_MUTED, linestyle=(0, (2, 2)), linewidth=1.3, label="all alike")
    axes.set(xlabel="principal direction", ylim=(0, 1.03))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    _legend(axes, columns=3)
    return _svg(figure, "spectra", "Line plot of the variance that the first principal directions have, by tower")


def _similarities(health: "Health") -> Markup:
    image, audio = (normalised_rows(vectors) for vectors in (health.pairs.image, health.pairs.audio))
    own = np.einsum("nd,nd->n", image, audio)
    others = np.einsum("nd,nd->n", image, np.roll(audio, max(1, len(audio) // 2), axis=0))
    figure, axes = _figure()
    edges = np.linspace(min(own.min(), others.min()), max(own.max(), others.max(), own.min() + 1e-6), 41)
    for number, (name, values) in enumerate({"own recording": own, "another's": others}.items()):
        shares = np.histogram(values, edges)[0] / len(values)
        style = {"color": _SERIES[number], "linestyle": _DASHES[number], "linewidth": 2, "label": name}
        axes.stairs(shares, edges, **style)
    axes.set_xlabel("cosine of image and recording")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    _legend(axes, columns=2)
    return _svg(figure, "similarities", "Histogram of cosines within pairs and between pairs")


def _plane(health: "Health") -> Markup:
    both = np.concatenate([health.pairs.image, health.pairs.audio]).astype(np.float64)
    _, directions = np.linalg.eigh(np.cov(both, rowvar=False))
    places = (both - both.mean(axis=0)) @ directions[:, :-3:-1]
    count = len(health.pairs)
    chosen = np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(np.int64)
    figure, axes = _figure()
    for number, (name, start) in enumerate({"images": 0, "recordings": count}.items()):
        shown = places[start + chosen]
        style = {"s": 9, "linewidths": 0.8, "marker": "o^"[number], "label": name}
        fill = {"facecolors": _SERIES[number] if number == 0 else "none", "edgecolors": _SERIES[number]}
        axes.scatter(shown[:, 0], shown[:, 1], **style, **fill)
    axes.set_xlabel("first principal direction")
    axes.set_ylabel("second", color=_MUTED, fontsize=_TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    _legend(axes, columns=2)
    return _svg(figure, "plane", "Scatter plot of image and recording vectors on two principal directions")


def _hubs(health: "Health") -> Markup:
    figure, axes = _figure()
    for number, (direction, found) in enumerate(health.found_by.items()):
        order, counts = thinned(np.arange(1.0, len(found) + 1), np.sort(found)[::-1].astype(np.float64))
        style = {"color": _SERIES[number], "linestyle": _DASHES[number], "linewidth": 2}
        axes.plot(order, counts, label=direction_name(direction), **style)
    axes.axhline(10, color=_MUTED, linestyle=(0, (2, 2)), linewidth=1.3, label="chance")
    axes.set(xlabel="items, the most found first", ylim=(0, None))
    axes.set_ylabel("queries", color=_MUTED, fontsize=_TEXT)
    _legend(axes, columns=3)
    return _svg(figure, "hubs", "Line plot of by how many queries each item is found within the first 10, sorted")


def thinned(steps: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return at most `_MOST_POINTS` points: means of neighbours, so that a long run stays a small file."""
    size = math.ceil(len(values) / _MOST_POINTS)
    if size <= 1:
        return steps, values
    starts = np.arange(0, len(values), size)
    counts = np.diff(np.append(starts, len(values)))
    return np.add.reduceat(steps, starts) / counts, np.add.reduceat(values, starts) / counts


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centred mean over about a twentieth of the points, and over what there is of it at both ends."""
    window = np.ones(2 * max(1, len(values) // 40) + 1)
    sums, counts = (np.convolve(each, window, "same") for each in (values, np.ones(len(values))))
    return sums / counts


def _ends(values: NDArray[np.float64]) -> str:
    return f", from {values[0]:.4g} at the start to {values[-1]:.4g} at the end" if len(values) else ""


def _figure() -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.5, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_MUTED)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_MUTED, labelsize=_TEXT, length=3)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("training step", color=_MUTED, fontsize=_TEXT)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    return figure, axes


def _legend(axes: Any, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    columns = columns if sum(map(len, labels)) <= 36 else 1
    order = sorted(range(len(labels)), key=lambda at: labels[at] == "chance")
    layout = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": columns, "borderaxespad": 0.2}
    text = {"fontsize": _TEXT, "labelcolor": _INK, "handlelength": 1.5, "columnspacing": 1.0, "frameon": False}
    axes.legend([handles[at] for at in order], [labels[at] for at in order], **layout, **text)


def _svg(figure: Figure, name: str, label: str) -> Markup:
    """Return the drawing alone: no prolog, metadata, comments; text stays text; ids are unique to `name` and stable."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r": (#01010\d)", lambda found: ": " + _CSS.get(found[1], found[1]), svg)
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    short = {old: f"{name}-{number}" for number, old in enumerate(used)}
    svg = re.sub(r' id="([^"]*)"', lambda found: f' id="{short[found[1]]}"' if found[1] in short else "", svg)
    svg = re.sub(r'(url\(#|href="#)([^")]+)', lambda found: found[1] + short[found[2]], svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    body = svg[svg.index(">") + 1 :]
    return Markup(  # noqa: S704 - every text in the drawing is escaped
        f'<svg class="plot" role="img" aria-label="{escape(label)}" {view[0] if view else ""}>{body.strip()}'
    )


MAX_CLASSES = 80
_NUMBERS = 16  # classes up to which cells show their number
_LETTER = 5.6  # pixels of a letter
_LONGEST = 22  # letters of a name


def confusion_svg(names: Sequence[str], counts: NDArray[np.int64]) -> Markup:
    """Return an SVG of counts (classes, classes), truth by prediction: the darker, the larger the share of its row.

    Right answers lie on the diagonal in another colour. Each cell shows its count where a pointer rests. Of more than
    `MAX_CLASSES` classes those with the most items are drawn.
    """
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MAX_CLASSES])
    labels = [printable_text(names[at]) for at in shown]
    side = 30 if len(shown) <= _NUMBERS else 14
    shorter = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}" for name in labels]
    left = round(14 + _LETTER * max(map(len, shorter)))
    square = side * len(shown)
    parts = [f'<rect x="{left}" y="{left}" width="{square}" height="{square}" class="ground"/>']
    for row, label in enumerate(shorter):  # beside its row and, upright, above its column
        middle, text = left + side * (row + 0.7), escape(label)
        parts.append(f'<text x="{left - 5}" y="{middle:.0f}" text-anchor="end">{text}</text>')
        parts.append(f'<text transform="translate({middle - 1:.0f} {left - 5}) rotate(-90)">{text}</text>')
    own = counts[np.ix_(shown, shown)]
    share = own / np.maximum(counts[shown].sum(axis=1, keepdims=True), 1)
    for row, column in np.argwhere(own).tolist():
        x, y, part, count = left + side * column, left + side * row, share[row, column], own[row, column]
        colour = "var(--moss)" if labels[row] == labels[column] else "var(--clay)"
        title = escape(f"{labels[row]} called {labels[column]}: {count} ({100 * part:.0f} %)")
        number = (
            f'<text x="{x + side / 2:.0f}" y="{y + side * 0.64:.0f}" text-anchor="middle" '
            f'style="fill: {"var(--card)" if part > 0.5 else "var(--ink)"}">{count}</text>'
        )
        parts.append(
            f'<g><title>{title}</title><rect x="{x}" y="{y}" width="{side}" height="{side}" '
            f'style="fill: {colour}" fill-opacity="{0.12 + 0.88 * part:.2f}"/>{number if side > 20 else ""}</g>'
        )
    what = f"Confusion matrix of {len(shown)} of {len(names)} classes: rows are the truth, columns what was said"
    size = left + square + 4
    return Markup(  # noqa: S704 - every text in the drawing is escaped
        f'<svg class="confusion" role="img" aria-label="{what}" viewBox="0 0 {size} {size}" '
        f'style="max-width: {round(1.35 * size)}px">{"".join(parts)}</svg>'
    )


def printable_text(text: str) -> str:
    """Return text on one line that can be written as UTF-8 and stands in XML."""
    one_line = " ".join(text.encode("utf-8", "replace").decode().split())
    return "".join(letter if letter.isprintable() else "?" for letter in one_line)


def nearest(queries: NDArray[np.floating], gallery: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Return positions (Q, count) in the gallery (N, F), the nearest by cosine first; of equals the earlier first."""
    similarity = normalised_rows(queries) @ normalised_rows(gallery).T
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count].astype(np.int64)


MAX_POINTS = 1000
_WIDTH, _HEIGHT, _EDGE = 640, 420, 14
_NAMED = 30  # classes up to which names stand in the drawing
_NEIGHBOURS = 15

Points = NDArray[np.float64]


def project_2d(features: NDArray[np.floating[Any]], *, seed: int = 0) -> tuple[Points, str]:
    """Return positions (N, 2) of features (N, F), and the name of the method.

    UMAP (McInnes et al., arXiv 1802.03426; the extra `umap`) where it is installed and there are items enough, else
    the first two principal components, whose signs are fixed: the farthest item lies on the positive side. Features
    are taken at length 1.
    """
    rows = normalised_rows(features)
    if len(rows) > 2 * _NEIGHBOURS:
        try:
            from umap import UMAP
        except ImportError:
            pass
        else:
            made = UMAP(n_neighbors=_NEIGHBOURS, random_state=seed, n_jobs=1).fit_transform(rows)
            return np.asarray(made, np.float64), "UMAP"
    return principal_components(rows), "PCA"


def principal_components(rows: Points) -> Points:
    """Return the first two principal components (N, 2) of rows (N, F); zeros where there are fewer."""
    left, scale, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    scores = np.zeros((len(rows), 2))
    there = min(2, len(scale))
    scores[:, :there] = left[:, :there] * scale[:there]
    farthest = scores[np.abs(scores).argmax(axis=0), [0, 1]]
    return scores * np.where(farthest < 0, -1.0, 1.0)


def map_svg(positions: Points, labels: Sequence[str], ids: Sequence[str], method: str) -> Markup:
    """Return an SVG with a dot an item in its class's colour; each tells class and id where a pointer rests.

    Up to 30 classes are named where the middle of their items lies.
    """
    names = sorted(set(labels))
    colours = dict(zip(names, default_colours(len(names)), strict=True))
    low, high = positions.min(axis=0), positions.max(axis=0)
    room = np.array([_WIDTH, _HEIGHT]) - 2 * _EDGE
    at = _EDGE + (positions - low) / np.where(high > low, high - low, 1) * room
    at[:, 1] = _HEIGHT - at[:, 1]
    parts = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="rgb{colours[label]}" fill-opacity=".75">'
        f"<title>{escape(printable_text(label))}: {escape(printable_text(name))}</title></circle>"
        for (x, y), label, name in zip(at, labels, ids, strict=True)
    ]
    if len(names) <= _NAMED:
        own = np.asarray(labels, np.str_)
        for label in names:
            x, y = np.median(at[own == label], axis=0)
            parts.append(
                f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(printable_text(label)[:30])}</text>'
            )
    what = f"{method} map of {len(labels)} items of {len(names)} classes"
    return Markup(  # noqa: S704 - every text in the drawing is escaped
        f'<svg class="map" role="img" aria-label="{what}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{"".join(parts)}</svg>'
    )
