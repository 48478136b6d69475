"""Pictures of data sets for their pages: maps of places, bars, distances; PNGs in the page's colours, no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from earthtone.build.outlines import CREDIT, LEAST_DEGREES, land_rings_in

_INK, _MUTED, _GRID, _CARD, _LAND = "#2a2320", "#6b5d51", "#e9e0d1", "#fffdf9", "#f0e9dc"
COLOURS = {"train": "#7d9b6e", "val": "#c19a4b", "test": "#a4482a", "none": "#b9ada0", "places": "#47683a"}
_DPI = 130
_PIXELS = (900, 450)  # of a map, in which one point each is drawn
Places = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class PagePicture:
    """A picture of a page: what it shows, how to read it, and the picture."""

    title: str
    caption: str
    png: bytes

    @property
    def address(self) -> Markup:
        """The picture itself as an address."""
        text = base64.b64encode(self.png).decode()
        return Markup(f"data:image/png;base64,{text}")  # noqa: S704 - letters and digits alone


def map_of_places(layers: Mapping[str, Places]) -> bytes:
    """Return a map of the layers' places (longitudes and latitudes in degrees), later ones above earlier ones.

    It shows the part of the globe where places are, across 180 where they lie there; places in one pixel are one dot.
    Land lies beneath where the map is wide enough for it. Degrees are equally long in both directions at its middle.
    """
    longitude = np.concatenate([places[0] for places in layers.values()] or [np.empty(0)])
    latitude = np.concatenate([places[1] for places in layers.values()] or [np.empty(0)])
    west, east, south, north = _window(longitude, latitude)
    figure, axes = _figure(8.6, 4.6)
    if max(east - west, north - south) >= LEAST_DEGREES:
        _draw_land(axes, west, south, east, north)
    for name, (longitudes, latitudes) in layers.items():
        turned = (longitudes - west) % 360 + west
        x = np.floor((turned - west) / (east - west) * _PIXELS[0]).astype(np.int64)
        y = np.floor((latitudes - south) / (north - south) * _PIXELS[1]).astype(np.int64)
        _, kept = np.unique(y * (_PIXELS[0] + 1) + x, return_index=True)
        axes.scatter(
            turned[kept], latitudes[kept], s=7 if len(kept) > 2000 else 14, color=COLOURS.get(name, _INK), alpha=0.85,
            linewidths=0, label=f"{name} ({len(longitudes):,})", rasterized=True,
        )  # fmt: skip
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    axes.set_aspect(1 / max(np.cos(np.radians((south + north) / 2)), 0.2), adjustable="box")
    axes.xaxis.set_major_formatter(lambda degrees, _: f"{(degrees + 180) % 360 - 180:g}°")
    axes.yaxis.set_major_formatter(lambda degrees, _: f"{degrees:g}°")
    axes.grid(color=_GRID, linewidth=0.8)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=4, frameon=False, fontsize=9)
    return _png(figure)


def _draw_land(axes: Any, west: float, south: float, east: float, north: float) -> None:
    """Draw land as one shape, in which rings of the other direction are holes, and say whose it is."""
    rings = land_rings_in(west, south, east, north)
    if rings:
        shape = Outline.make_compound_path(*(Outline(ring, closed=True) for ring in rings))
        axes.add_patch(PathPatch(shape, facecolor=_LAND, edgecolor=_MUTED, linewidth=0.3, zorder=0.5))
    axes.text(1.0, 1.01, CREDIT, transform=axes.transAxes, ha="right", va="bottom", fontsize=6, color=_MUTED)


def distance_curve(km_of: Mapping[str, NDArray[np.float64]]) -> bytes:
    """Return the share of rows (kilometres (N,) of each split) that is at most so far from the nearest training row."""
    figure, axes = _figure(8.6, 3.2)
    for name, km in km_of.items():
        far = np.sort(np.maximum(km, 1e-3))  # from a metre on: the axis is logarithmic
        at = np.unique(np.linspace(0, len(far) - 1, min(len(far), 500)).astype(np.int64))
        axes.step(far[at], (at + 1) / len(far), where="post", color=COLOURS[name], label=name, linewidth=2)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("km to the nearest training row (0.001: a metre or less)")
    axes.set_ylabel("share of rows")
    axes.grid(color=_GRID, linewidth=0.8)
    axes.legend(frameon=False, fontsize=9)
    return _png(figure)


def bars(names: Sequence[str], counts: Sequence[float], unit: str) -> bytes:
    """Return bars, one a name."""
    figure, axes = _figure(8.6, 2.8)
    axes.bar(range(len(names)), counts, color=COLOURS["places"], width=0.8)
    step = -(-len(names) // 24)
    axes.set_xticks(range(0, len(names), step), [name[:18] for name in names[::step]], fontsize=8,
                    rotation=0 if max(map(len, names), default=0) <= 4 else 30)  # fmt: skip
    axes.set_ylabel(unit)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    return _png(figure)


def histograms(panels: Mapping[str, tuple[Sequence[str], Sequence[int]]]) -> bytes:
    """Return histograms beside each other: title -> the upper edge of each bar, as it is written, and its count."""
    down = -(-len(panels) // 2)
    height = 2.3 * down
    figure = Figure(figsize=(8.6, height), dpi=_DPI, facecolor=_CARD)  # many labels: a layout by hand is fast
    figure.subplots_adjust(0.07, 0.45 / height, 0.99, 1 - 0.35 / height, wspace=0.16, hspace=0.6)
    for number, (title, (edges, counts)) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(down, 2, number, facecolor=_CARD)
        axes.bar(range(len(counts)), counts, color=COLOURS["places"], width=0.85)
        shown = range(0, len(edges), -(-len(edges) // 7))
        axes.set_xticks(shown, [edges[at] for at in shown], fontsize=7)
        axes.tick_params(colors=_MUTED, labelsize=7)
        axes.set_title(title, fontsize=9, color=_INK, loc="left")
        for side in axes.spines.values():
            side.set_color(_GRID)
    return _png(figure)


def _window(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return west, east, south and north of what a map shows: all places, and a margin; west may be beyond -180."""
    if not len(longitude):
        return -180.0, 180.0, -90.0, 90.0
    there = np.unique(np.floor((longitude + 180) % 360).astype(np.int64))
    gaps = np.diff(np.append(there, there[0] + 360))
    widest = int(gaps.argmax())
    west, east = -180.0, 180.0
    if gaps[widest] > 180:  # more than half of the globe is empty: it is left out
        west = float(there[(widest + 1) % len(there)] - 180)
        turned = (longitude - west) % 360 + west
        west, east = float(turned.min()), float(turned.max())
    south, north = float(latitude.min()), float(latitude.max())
    if east - west < 360:
        margin = max((east - west) * 0.05, 0.01)
        west, east = (west - margin, east + margin) if east - west + 2 * margin < 360 else (west, west + 360)
    margin = max((north - south) * 0.05, 0.01)
    return west, east, max(south - margin, -90.0), min(north + margin, 90.0)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor=_CARD)
    axes = figure.add_subplot(facecolor=_CARD)
    axes.tick_params(colors=_MUTED, labelsize=9)
    for side in axes.spines.values():
        side.set_color(_GRID)
    axes.set_axisbelow(True)
    return figure, axes


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
