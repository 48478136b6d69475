"""Rows of a packed table to embeddings, in bounded memory."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from earthtone.data.ordered import ordered_map
from earthtone.data.table import Table
from earthtone.errors import ModelError
from earthtone.models.two_tower import Embeddings, TwoTower
from earthtone.progress import progress
from earthtone.signal.image import Pixels, decode_tile
from earthtone.signal.mel import Spectrogram, windows

Read = TypeVar("Read")

_ROWS = 64  # rows read and embedded at once ...
_SOUND_BYTES = 64 * 2**20  # ... fewer where recordings are long


def embed_rows(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> tuple[Embeddings, Embeddings]:
    """Return unit image and sound vectors, each (len(rows), dimensions), of whole tiles and whole recordings.

    Raises ModelError when the table was packed with another signal config than the model was trained on.
    """
    check_signal(model, table)
    image = np.empty((len(rows), model.config.dimensions), np.float32)
    audio = np.empty_like(image)

    sides_m = tile_sides_m(model, table, rows)

    def read(chunk: NDArray[np.int64]) -> tuple[list[Pixels], list[Spectrogram]]:
        return stored_tiles(table, chunk), stored_windows(table, chunk)

    for start, (tiles, recordings) in _chunks(read, _by_length(table, rows), "embed"):
        given = None if sides_m is None else sides_m[start : start + len(tiles)]
        image[start : start + len(tiles)] = model.embed_tiles(tiles, sides_m=given)
        audio[start : start + len(tiles)] = model.embed_windows(recordings)
    return image, audio


def image_features(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> Embeddings:
    """Return the image encoder's last-stage features (len(rows), features) of whole tiles, before the projection."""
    check_signal(model, table)
    out = np.empty((len(rows), model.image_tower.features), np.float32)
    sides_m = tile_sides_m(model, table, rows)
    chunks = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    for start, tiles in _chunks(lambda chunk: stored_tiles(table, chunk), chunks, "features"):
        given = None if sides_m is None else sides_m[start : start + len(tiles)]
        out[start : start + len(tiles)] = model.image_features(tiles, sides_m=given)
    return out


def tile_sides_m(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> list[float] | None:
    """Return the metres along a side of some rows' tiles, NaN where unknown; None where the model is not told them."""
    return table.tile_sides_m[rows].tolist() if model.config.scale_input else None


def check_signal(model: TwoTower, table: Table) -> None:
    """Raise ModelError unless model and table agree on how sound and images become tensors."""
    if model.signal != table.signal:
        raise ModelError(
            f"{table.path} was packed with another signal config than the model was trained on; "
            f"pack the data again with: earthtone pack DATA --out NEW.lance --model RUN"
        )


def _chunks(
    read: Callable[[NDArray[np.int64]], Read], chunks: list[NDArray[np.int64]], label: str
) -> Iterator[tuple[int, Read]]:
    """Yield (position, what `read` returned) for chunks of rows; reading goes on in a thread meanwhile."""
    start = 0
    results = progress(ordered_map(read, chunks, threads=1), total=len(chunks), label=label, unit="chunk")
    for chunk, result in zip(chunks, results, strict=True):
        yield start, result
        start += len(chunk)


def _by_length(table: Table, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return `rows` in chunks that are small in rows and in bytes of sound; a single recording may be larger."""
    sizes = table.frames()[rows].astype(np.int64) * table.signal.audio.mels
    chunks, start, held = [], 0, 0
    for position, size in enumerate(sizes):
        if position > start and (position - start == _ROWS or held + size > _SOUND_BYTES):
            chunks.append(rows[start:position])
            start, held = position, 0
        held += int(size)
    return [*chunks, rows[start:]] if len(rows) else []


def stored_tiles(table: Table, rows: NDArray[np.int64]) -> list[Pixels]:
    """Return the tiles of some rows as they are stored, uint8 (side, side, 3)."""
    return [decode_tile(data) for data in table.images(rows.tolist())]


def stored_windows(table: Table, rows: NDArray[np.int64]) -> list[Spectrogram]:
    """Return the windows (windows, frames, mels) that cover each row's recording."""
    frames = [record["audio_frames"] for record in table.records(rows.tolist(), ["audio_frames"])]
    whole = table.sound(rows.tolist(), [0] * len(rows), frames)
    return [windows(spectrogram, table.signal.audio) for spectrogram in whole]
