"""A map as one page that needs no network: pictures, values below the pointer, the sounds, what it was made from."""

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from earthtone.atlas.map_grid import NO_CLASS, MapGrid
from earthtone.atlas.map_pictures import FAINT, Layer, cell_size_m, length_text, png_bytes, scale_bar
from earthtone.atlas.map_queries import MapQuery
from earthtone.errors import SignalError
from earthtone.files import write_text_atomic
from earthtone.pages import render_page
from earthtone.signal.audio import read_audio, write_preview

_SCRIPT = Path(__file__).parents[1] / "templates" / "map.js"
MOST_VALUES = 4_000_000  # of all bands together, 4 bytes each; of larger maps the page shows means of several tiles
_PREVIEW_S, _PREVIEW_HZ = 10, 24_000
_MOST_SOUND_BYTES = 400_000  # of a file that is played as it is
_MOST_SOUNDS_BYTES = 8_000_000
_PLAYED = {
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".flac": "audio/flac",
}  # fmt: skip


def write_page(
    path: Path,
    *,
    title: str,
    lead: str,
    meaning: Sequence[str],
    notes: Sequence[str],
    grid: MapGrid,
    layers: Sequence[Layer],
    bands: Mapping[str, NDArray[Any]],
    small: Sequence[int | None],
    across: int,
    small_title: str,
    queries: Sequence[MapQuery],
    facts: Mapping[str, str],
    attribution: Sequence[str],
    ground: NDArray[np.uint8] | None,
) -> None:
    """Write the page.

    `bands` (height, width) by name are told of the tile below the pointer; `unlike`, `longitude` and `latitude` are
    among them. `small` are the layers shown beside each other, `across` in a
    line, null for none.
    """
    factor = 1
    while sum(band.size for band in bands.values()) / factor**2 > MOST_VALUES:
        factor += 1
    thin = {name: thinned(band, factor, pick=name in ("longitude", "latitude")) for name, band in bands.items()}
    names = list(thin)
    height, width = next(iter(thin.values())).shape
    classes = {each.key: list(each.classes) for each in layers if each.classes}
    data = {
        "width": width, "height": height, "faint": FAINT,
        **{name: names.index(name) for name in ("unlike", "longitude", "latitude")},
        "bands": [
            {"name": name.replace("_", " "), "values": _encoded(band), "classes": classes.get(name)}
            for name, band in thin.items()
        ],
        "layers": [
            {
                "title": each.title, "label": each.label, "low": each.low, "high": each.high,
                "band": names.index(each.key), "classes": list(each.classes), "colours": each.colours.ravel().tolist(),
                "faint": each.unlike is not None, "hover": [names.index(name) for name in each.told],
            }
            for each in layers
        ],
    }  # fmt: skip
    if factor > 1:
        notes = [*notes, f"This page shows means of {factor} x {factor} tiles; the GeoTIFFs have every tile."]
    script = _SCRIPT.read_text(encoding="utf-8")
    wide, high = cell_size_m(grid)
    aspect, metres = high / wide, wide * grid.width
    bar = scale_bar(metres)
    page = render_page(
        "map.html.j2", title=title, lead=lead, meaning=meaning, notes=notes, data=data, facts=facts,
        script=Markup(script),  # noqa: S704 - our own
        script_hash=Markup("sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),  # noqa: S704
        aspect=f"{width * factor} / {max(height * factor * aspect, 1e-3):.6g}", bar=length_text(bar),
        bar_share=100 * bar / metres * grid.width / (width * factor),
        ground_share=(100 * grid.width / (width * factor), 100 * grid.height / (height * factor)),
        small=[None if at is None else _small(layers[at], at, factor) for at in small], across=across,
        small_title=small_title, sounds=_sounds(queries), attribution=attribution,
        ground=None if ground is None else _ground_uri(ground),
    )  # fmt: skip
    write_text_atomic(path, page)


def thinned(band: NDArray[Any], factor: int, *, pick: bool = False) -> NDArray[np.float32]:
    """Return a band as floats, NaN where it has nothing: means of `factor` x `factor` tiles; of classes, and with
    `pick`, the one in the middle."""
    classes = band.dtype == np.uint8
    floats = np.where(band == NO_CLASS, np.nan, band).astype(np.float32) if classes else np.asarray(band, np.float32)
    if factor == 1:
        return floats
    floats = np.pad(floats, [(0, -size % factor) for size in floats.shape], constant_values=np.nan)
    if classes or pick:
        return floats[factor // 2 :: factor, factor // 2 :: factor]
    height, width = (size // factor for size in floats.shape)
    blocks = floats.reshape(height, factor, width, factor)
    there = ~np.isnan(blocks)
    count = there.sum(axis=(1, 3))
    total = np.where(there, blocks, 0.0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _encoded(band: NDArray[np.float32]) -> str:
    return base64.b64encode(np.ascontiguousarray(band, "<f4").tobytes()).decode()


def _small(layer: Layer, at: int, factor: int) -> dict[str, object]:
    step = max(1, factor, max(layer.values.shape) // 400)
    return {"layer": at, "title": layer.title, "uri": data_uri("image/png", png_bytes(layer.rgba()[::step, ::step]))}


def data_uri(kind: str, data: bytes) -> str:
    """Return bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _ground_uri(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a JPEG, or one that is transparent in parts as a PNG."""
    if picture.shape[2] == 4:
        return data_uri("image/png", png_bytes(picture))
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=80)
    return data_uri("image/jpeg", data.getvalue())


def _sounds(queries: Sequence[MapQuery]) -> list[dict[str, str]]:
    """Return each sound's title and address: small files as they are, of others the first ten seconds."""
    left, found = _MOST_SOUNDS_BYTES, []
    for query in queries:
        kind, data, about = _heard(query.file)
        entry = {
            "title": query.title,
            "about": f"{query.file.name}{about}",
            "uri": "",
            "note": "too large for this page",
        }
        if data is None:
            entry["note"] = about
        elif len(data) <= left:
            left -= len(data)
            entry["uri"] = data_uri(kind, data)
        found.append(entry)
    return found


def _heard(file: Path) -> tuple[str, bytes | None, str]:
    kind = _PLAYED.get(file.suffix.lower())
    try:
        if kind is not None and file.stat().st_size <= _MOST_SOUND_BYTES:
            return kind, file.read_bytes(), ""
        samples = read_audio(file, _PREVIEW_HZ)
        return "audio/ogg", write_preview(samples[: _PREVIEW_S * _PREVIEW_HZ], _PREVIEW_HZ), ", its first 10 s"
    except (OSError, SignalError):
        return "", None, "cannot be played here"
