"""The page within a notebook: a server of an index on loopback, shown in a frame; or a still picture of its points.

A frame is shown where IPython displays what a cell ends with. Where a notebook hub's proxy stands before the machine
(JUPYTERHUB_SERVICE_PREFIX), the frame's address is the proxy's, and a token keeps out others on that machine.
"""

import base64
import html
import io
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from earthtone.atlas.embeddings import TABLE
from earthtone.atlas.map_output import SimilarityMap
from earthtone.atlas.search import Index
from earthtone.errors import ConfigError, one_line, shell_line
from earthtone.files import atomic_path
from earthtone.serve.options import ServeOptions
from earthtone.serve.points import places
from earthtone.serve.served import Served
from earthtone.serve.server import PageServer

_HEIGHT = 720
_TOKEN = "EARTHTONE_NOTEBOOK_TOKEN"  # noqa: S105 - the name of a variable, not a token
#: Who may frame the page where no hub stands between: notebooks of this machine, on any port, and editors.
_FRAMES = ("http://localhost:*", "http://127.0.0.1:*", "vscode-webview:")
_MOST_POINTS = 200_000
_DRAWN = {"image": "#2a6f97", "audio": "#d1495b"}
_WORDS = {"image": "images", "audio": "sounds"}


@dataclass(frozen=True)
class Still:
    """A picture; notebooks show it."""

    png: bytes
    title: str

    def save(self, path: str | Path) -> Path:
        """Write it as PNG; return where it lies."""
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(self.png)
        return Path(path)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"image/png": base64.b64encode(self.png).decode(), "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<{one_line(self.title, 120)}: a picture of {len(self.png):,} bytes; .save(PATH) writes it>"


@dataclass(frozen=True)
class Shown:
    """A page that is served until `stop`, or until the process ends; notebooks show it in a frame."""

    server: PageServer
    address: str
    """What the frame shows."""
    height: int

    @property
    def url(self) -> str:
        """Return the address on this machine."""
        return self.server.url

    def stop(self) -> None:
        """End its server."""
        self.server.stop()
        for key, shown in list(_running.items()):
            if shown is self:
                del _running[key]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        title = html.escape(self.server.served.title, quote=True)
        frame = (
            f'<iframe src="{html.escape(self.address, quote=True)}" title="{title}" width="100%" '
            f'height="{self.height}" style="border:0" allow="microphone; fullscreen"></iframe>'
        )
        return {"text/html": frame, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<{one_line(self.server.served.title, 120)}: {self.url}; .stop() ends it>"


_running: dict[tuple[object, ...], Shown] = {}


def show_index(
    index: Index, *, maps: Sequence[str | Path] = (), still: bool = False, height: int = _HEIGHT, **options: Any
) -> Shown | Still:
    """Return an index as a page in a frame, or as a picture: where `still` says so, and outside IPython.

    `maps` are folders of `earthtone map`, `options` those of `serve_page`. The same call shows the same server.
    Raises EarthtoneError as `serve_page`.
    """
    if not 100 <= height <= 10_000:
        raise ConfigError(f"height={height}; 100 to 10,000 pixels expected")
    given = {"model": index.given_model, "device": index.device} | options
    wanted = ServeOptions(index.folder, map=tuple(maps), port=0, **given)
    if still or not in_notebook():
        return Still(points_picture(wanted), index.folder.resolve().name)
    key = (index.folder.resolve(), tuple(map(str, maps)), *(f"{name}={id(value)}" for name, value in options.items()))
    shown = _running.get(key)
    if shown is None:
        shown = _running[key] = _started(wanted, height)
    return replace(shown, height=height) if shown.height != height else shown


def show_map(
    found: SimilarityMap, index: Index | str | Path | None = None, *, still: bool = False, height: int = _HEIGHT,
    **options: Any,
) -> Shown | Still:  # fmt: skip
    """Return a map as a layer of the page, or as its picture: where `still` says so, and outside IPython.

    `index` are the embeddings that lie beneath it; by default those that the map's own folder keeps.
    """
    folder = found.files["facts"].parent
    if still or not in_notebook():
        picture = found.files.get("png")
        if picture is None or not picture.is_file():
            raise ConfigError(f"{folder}: no picture of the map there; draw it again with earthtone map")
        return Still(picture.read_bytes(), folder.resolve().name)
    if index is None and not (folder / TABLE).is_dir():
        line = shell_line("earthtone", "serve", "E", "--map", folder)
        raise ConfigError(f"{folder} keeps no embeddings; say which lie beneath it: .show(E), or type: {line}")
    beneath = folder if index is None else index
    opened = beneath if isinstance(beneath, Index) else _opened(beneath, options)
    return show_index(opened, maps=[folder], height=height, **options)


def _opened(folder: str | Path, options: dict[str, Any]) -> Index:
    from earthtone.atlas.search import open_index

    return open_index(folder, model=options.get("model"))


def in_notebook() -> bool:
    """Return whether IPython runs this, so that what is returned is displayed."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _started(options: ServeOptions, height: int) -> Shown:
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "")
    if not prefix.startswith("/"):
        server = PageServer(replace(options, frames=(*options.frames, *_FRAMES))).start()
        return Shown(server, server.url, height)
    if options.token_env is None and options.token_file is None:
        os.environ[_TOKEN] = secrets.token_urlsafe(24)
        options = replace(options, token_env=_TOKEN)
    options = replace(options, hosts=(*options.hosts, "*"))  # the hub's proxy tells how the page looks from outside
    try:
        server = PageServer(options).start()
    finally:
        os.environ.pop(_TOKEN, None)  # what the kernel starts need not know it
    return Shown(server, f"{prefix.rstrip('/')}/proxy/{server.port}/?token={server.token}", height)


def points_picture(options: ServeOptions) -> bytes:
    """Return all points of an index as PNG: on the map, and on the plane, where they have places there."""
    served = Served(options)
    table, count = served.table, len(served.table)
    east, north = places(table)
    views = []
    if not np.isnan(east).all():
        views.append(("Map", (east + 180) % 360 - 180, north))
    if served.has_plane:
        plane = table.columns(["x", "y"])
        views.append(("Plane", *(plane[name].to_numpy().astype(np.float64) for name in ("x", "y"))))
    figure = Figure(figsize=(5.5 * max(1, len(views)), 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    note = " - SYNTHETIC: the toy world" if served.synthetic else ""
    figure.suptitle(f"{served.title}: {count:,} rows{note}".replace("$", r"\$"))
    some = np.random.default_rng(0).permutation(count)[:_MOST_POINTS]
    kind = np.full(count, "image", object)
    for name, rows in served.index.catalogue.media.items():
        kind[rows] = name
    for number, (title, x, y) in enumerate(views, 1):
        axes = figure.add_subplot(1, len(views), number)
        axes.set_title(title)
        for name, colour in _DRAWN.items():
            at = some[kind[some] == name]
            if len(at):
                axes.scatter(x[at], y[at], s=4, c=colour, label=_WORDS[name], linewidths=0, alpha=0.6)
        axes.legend(loc="best", markerscale=3)
        if title == "Map":
            axes.set_xlabel("longitude")
            axes.set_ylabel("latitude")
    if not views:
        figure.text(
            0.5, 0.5, "no row has a place, on the map or on the plane:\nearthtone index places them", ha="center"
        )
    out = io.BytesIO()
    figure.savefig(out, format="png")
    served.close()
    return out.getvalue()
