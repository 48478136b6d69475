"""A page that shows, pair by pair, which part of the tile and of the recording speaks for their match."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.atomic import write_text_atomic
from earthtone.data.open_table import open_table
from earthtone.data.table import Table
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.page import render_page
from earthtone.evaluate.why.evidence import Evidence, PairEvidence, pair_evidence
from earthtone.evaluate.why.overlay import jpeg_uri, spectrogram_picture, with_evidence
from earthtone.models.embed_rows import check_signal, stored_tiles, stored_windows, tile_sides_m
from earthtone.models.two_tower import TwoTower
from earthtone.progress import progress
from earthtone.signal.image import Pixels, seen
from earthtone.signal.mel import Spectrogram

MAX_PAIRS = 50
"""On one page: each is some 100 kB."""
_SHOWN_WINDOWS = 4
_SIDE = 320  # of a drawn tile


def why_pairs(
    model: TwoTower,
    data: str | Path,
    out: str | Path,
    *,
    name: str = "model",
    rows: int = 8,
    split: str = "test",
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Path:
    """Write the page of some pairs of a split to `out` and return its path.

    The pairs are drawn with `seed`, not picked: what is seen is not the best. `data` is a packed table of the model's
    signal, or what one can be packed from. Raises ConfigError, DataError, ModelError.
    """
    if not 1 <= rows <= MAX_PAIRS or seed < 0:
        raise ConfigError(f"--rows {rows}, --seed {seed}; 1 to {MAX_PAIRS} pairs and a seed from 0 on expected")
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise ConfigError(f"--out {out}; the name of a page expected, such as why.html")
    with open_table(data, model.signal, columns=columns) as table:
        check_signal(model, table)
        known = table.rows_of(split)
        if not len(known):
            raise DataError(f"{data}: no pairs in split {split!r}; --split train, val, test or all")
        drawn = np.sort(np.random.default_rng(seed).permutation(known)[:rows])
        pairs = [_pair(model, table, row) for row in progress(drawn, total=len(drawn), label="why", unit="pair")]
        facts = {
            "Model": name,
            "Pairs": f"{len(drawn)} of {len(known):,} ({split}), drawn with seed {seed}",
            "Data": table.name,
            "Encoders": f"{model.config.image_encoder}, {model.config.audio_encoder}",
        }
    page = render_page(
        "why/pairs.html.j2", title="Which part of the tile matches this recording", notes=[], facts=facts, pairs=pairs,
        measure="cosine similarity" if model.config.unit else "dot product of the raw embeddings",
        exact=_kinds(pairs, "exact"),
        cam=_kinds(pairs, "cam"),
    )  # fmt: skip
    write_text_atomic(out, page)
    return out


def _pair(model: TwoTower, table: Table, row: np.int64) -> dict[str, Any]:
    at: NDArray[np.int64] = np.array([row])
    [tile], [windows] = stored_tiles(table, at), stored_windows(table, at)
    sides_m = tile_sides_m(model, table, at)
    found = pair_evidence(model, tile, windows, None if sides_m is None else sides_m[0])
    [record] = table.records([int(row)], ["id", "audio_preview", *table.extra_columns])
    sides = {"tile": found.image, "recording": found.sound}
    return {
        "id": record["id"],
        "caption": ", ".join(f"{key}: {record[key]}" for key in table.extra_columns if record[key])[:160],
        "similarity": f"{found.similarity:.3f}",
        "exact": [kind for kind, evidence in sides.items() if evidence.exact],
        "cam": [kind for kind, evidence in sides.items() if not evidence.exact],
        "sound": _sound_uri(record["audio_preview"]),
        "tile": _tile(seen(tile, model.signal.image), found),
        "shares": _shares_text(found.image),
        "windows": _windows(windows, found.sound),
        "left_out": max(0, len(windows) - _SHOWN_WINDOWS),
    }


def _tile(view: Pixels, found: PairEvidence) -> dict[str, str]:
    import cv2

    large = np.asarray(cv2.resize(view, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    values = found.image.values
    return {"plain": jpeg_uri(large), "drawn": jpeg_uri(with_evidence(large, values, float(np.abs(values).max())))}


def _windows(windows: Spectrogram, evidence: Evidence) -> list[dict[str, str]]:
    """The windows that weigh most, in their order; colours are on one scale over all of them."""
    weight = np.abs(evidence.values).sum(axis=(1, 2))
    shown: Sequence[int] = sorted(np.argsort(-weight, kind="stable")[:_SHOWN_WINDOWS].tolist())
    largest = float(np.abs(evidence.values).max())
    told = []
    for number in shown:
        plain = spectrogram_picture(windows[number])
        drawn = with_evidence(plain, evidence.values[number][::-1], largest)  # low mel bands come first, and lie below
        share = f"share {evidence.values[number].sum():+.3f}" if evidence.exact else ""
        told.append({"number": str(number + 1), "plain": jpeg_uri(plain), "drawn": jpeg_uri(drawn), "share": share})
    return told


def _shares_text(evidence: Evidence) -> str:
    """How much speaks for and against, where that is known."""
    if not evidence.exact:
        return ""
    return f"{evidence.values.clip(min=0).sum():+.3f} for, {evidence.values.clip(max=0).sum():+.3f} against"


def _sound_uri(content: bytes | None) -> str:
    return f"data:audio/ogg;base64,{base64.b64encode(content).decode('ascii')}" if content else ""


def _kinds(pairs: Sequence[Mapping[str, Any]], how: str) -> list[str]:
    """Which sides are drawn in that way in any pair, the tile first."""
    return [side for side in ("tile", "recording") if any(side in pair[how] for pair in pairs)]
