"""A figure with its interval as a small bar from 0 to 1."""

from markupsafe import Markup

from earthtone.evaluate.bootstrap import Estimate

_WIDTH = 120


def interval_bar(figure: Estimate) -> Markup:
    """Return an SVG: the interval as a thick line, the figure as a dot, chance as a tick, on a line from 0 to 1."""
    low, high, value = (_place(number) for number in (figure.low, figure.high, figure.value))
    chance = ""
    if figure.chance is not None:
        at = _place(figure.chance)
        chance = f'<path d="M{at:.1f} 1V11" style="stroke: var(--muted)" stroke-width="1.2"/>'
    label = f"{figure.value:.3f}, interval {figure.low:.3f} to {figure.high:.3f}"
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="bar" role="img" aria-label="{label}" viewBox="-4 0 {_WIDTH + 8} 12">'
        f'<path d="M0 6H{_WIDTH}" style="stroke: var(--grid)" stroke-width="2"/>{chance}'
        f'<path d="M{low:.1f} 6H{high:.1f}" style="stroke: var(--moss)" stroke-width="4" stroke-opacity=".55"/>'
        f'<circle cx="{value:.1f}" cy="6" r="3.2" style="fill: var(--moss)"/></svg>'
    )


def _place(number: float) -> float:
    return _WIDTH * min(1.0, max(0.0, number if number == number else 0.0))
