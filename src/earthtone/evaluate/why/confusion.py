"""A confusion matrix as a drawing: which class was called what."""

from collections.abc import Sequence
from html import escape

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

MAX_CLASSES = 80
_NUMBERS = 16  # classes up to which cells bear their number
_LETTER = 5.6  # pixels of a letter
_LONGEST = 22  # letters of a name


def confusion_svg(names: Sequence[str], counts: NDArray[np.int64]) -> Markup:
    """Return an SVG of counts (classes, classes), truth by prediction: the darker, the larger the share of its row.

    Right answers lie on the diagonal in another colour. Each cell tells its count where a pointer rests. Of more than
    `MAX_CLASSES` classes those with the most items are drawn.
    """
    shown = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MAX_CLASSES])
    labels = [plain(names[at]) for at in shown]
    side = 30 if len(shown) <= _NUMBERS else 14
    left = round(14 + _LETTER * max(len(_short(label)) for label in labels))
    square = side * len(shown)
    parts = [f'<rect x="{left}" y="{left}" width="{square}" height="{square}" class="ground"/>']
    for row, label in enumerate(labels):
        parts.append(_names(left, left + side * row + 0.7 * side, _short(label)))
    own = counts[np.ix_(shown, shown)]
    share = own / np.maximum(counts[shown].sum(axis=1, keepdims=True), 1)
    for row, column in np.argwhere(own).tolist():
        at = (left + side * column, left + side * row)
        said = (labels[row], labels[column])
        parts.append(_cell(at, side, float(share[row, column]), int(own[row, column]), said))
    what = f"Confusion matrix of {len(shown)} of {len(names)} classes: rows are the truth, columns what was said"
    size = left + square + 4
    return Markup(  # noqa: S704 - every text in the drawing is escaped
        f'<svg class="confusion" role="img" aria-label="{what}" viewBox="0 0 {size} {size}" '
        f'style="max-width: {round(1.35 * size)}px">{"".join(parts)}</svg>'
    )


def counted(truth: Sequence[str], predicted: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the sorted names of all classes, and counts (classes, classes), truth by prediction."""
    names = sorted({*truth, *predicted})
    at = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, ([at[name] for name in truth], [at[name] for name in predicted]), 1)
    return names, counts


def plain(text: str) -> str:
    """Return text on one line that can be written as UTF-8 and stands in XML."""
    one_line = " ".join(text.encode("utf-8", "replace").decode().split())
    return "".join(letter if letter.isprintable() else "?" for letter in one_line)


def _names(left: int, middle: float, label: str) -> str:
    """A class's name beside its row and, upright, above its column."""
    text = escape(label)
    return (
        f'<text x="{left - 5}" y="{middle:.0f}" text-anchor="end">{text}</text>'
        f'<text transform="translate({middle - 1:.0f} {left - 5}) rotate(-90)">{text}</text>'
    )


def _cell(at: tuple[int, int], side: int, share: float, count: int, said: tuple[str, str]) -> str:
    """One square; `said` is the truth and what was said."""
    colour = "var(--moss)" if said[0] == said[1] else "var(--clay)"
    title = escape(f"{said[0]} called {said[1]}: {count} ({100 * share:.0f} %)")
    number = ""
    if side > 20:
        ink = "var(--card)" if share > 0.5 else "var(--ink)"
        x, y = at[0] + side / 2, at[1] + side * 0.64
        number = f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle" style="fill: {ink}">{count}</text>'
    return (
        f'<g><title>{title}</title><rect x="{at[0]}" y="{at[1]}" width="{side}" height="{side}" '
        f'style="fill: {colour}" fill-opacity="{0.12 + 0.88 * share:.2f}"/>{number}</g>'
    )


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else label[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
