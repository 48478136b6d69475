"""Tables of embeddings made by numpy, with every column filled here and there."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.atlas.embeddings import (
    SHARDS,
    TABLE,
    EmbeddingCard,
    VectorType,
    embedding_schema,
    write_embeddings,
)

CARD = EmbeddingCard("/runs/first", "ab12" * 8, dimensions=12, unit=True, data="/data/places.csv")


def columns_of(rows: Sequence[int]) -> dict[str, list[Any]]:
    """Return the columns of some rows: a recording and an image of each place, a tile here and there.

    Rows by number are in the order of an index.
    """
    start = datetime(2024, 5, 1, tzinfo=UTC)
    sounds = [row % 2 == 0 for row in rows]
    tiles = [row % 10 == 1 for row in rows]
    return {
        "id": [f"place-{row // 2:05}" for row in rows],
        "modality": ["audio" if sound else "image" for sound in sounds],
        "longitude": [None if row % 7 == 6 else row % 360 - 179.5 for row in rows],
        "latitude": [None if row % 7 == 6 else row % 140 - 69.5 for row in rows],
        "datetime": [None if row % 5 == 4 else start + timedelta(hours=row) for row in rows],
        "source": ["toy" if row % 3 else None for row in rows],
        "license": ["CC-BY-4.0" for _ in rows],
        "attribution": [f"photographer {row % 4}" for row in rows],
        "media": [f"/media/{row // 2}.{'wav' if sound else 'png'}" for row, sound in zip(rows, sounds, strict=True)],
        "seconds": [10.0 + row if sound else None for row, sound in zip(rows, sounds, strict=True)],
        "west": [float(row) if tile else None for row, tile in zip(rows, tiles, strict=True)],
        "crs": ["EPSG:32621" if tile else None for tile in tiles],
        "file_fingerprint": [f"{row:032x}" for row in rows],
        "label": [f"kind {row % 4}" if row % 11 else None for row in rows],
    }


def vectors_of_rows(rows: Sequence[int], card: EmbeddingCard = CARD) -> NDArray[np.float32]:
    """Return vectors (N, D) that are the same for the same rows; images and sounds lie apart."""
    draw = np.stack([np.random.default_rng([7, row]).standard_normal(card.dimensions) for row in rows])
    draw[:, 0] += [-3.0 if row % 2 else 3.0 for row in rows]
    return (draw / np.linalg.norm(draw, axis=1, keepdims=True) if card.unit else draw).astype(np.float32)


def write_rows(
    table: Path, rows: Sequence[int], kind: VectorType = "float16", card: EmbeddingCard = CARD, **changed: Any
) -> Path:
    """Write a table of some rows; `changed` are columns in place of those of `columns_of`."""
    columns = {**columns_of(rows), **changed}
    vectors = vectors_of_rows(rows, card) if len(rows) else np.empty((0, card.dimensions), np.float32)
    write_embeddings(table, embedding_schema(card, kind, ["label"]), columns, vectors)
    return table


def write_embedded(folder: Path, rows: int = 60, kind: VectorType = "float16", **card: Any) -> Path:
    """Write a folder as `earthtone embed` leaves it."""
    write_rows(folder / TABLE, as_embedded(range(rows)), kind, replace(CARD, **card))
    return folder


def write_shards(folder: Path, rows: int = 60, shards: int = 4, kind: VectorType = "float16", **card: Any) -> Path:
    """Write a folder as several calls of `earthtone embed --shard I/N` leave it."""
    for number in range(shards):
        own = as_embedded(rows_of_part(range(rows), number, shards))
        write_rows(folder / SHARDS / f"{number}-of-{shards}.lance", own, kind, replace(CARD, **card))
    return folder


def rows_of_part(rows: Sequence[int], number: int, parts: int) -> list[int]:
    """Return those of some rows that are in a part: all rows of an id in one."""
    return [row for row in rows if row // 2 * 7919 % parts == number]


def as_embedded(rows: Sequence[int]) -> list[int]:
    """Return rows in another order than that of an index: images first, last places first."""
    return sorted(rows, key=lambda row: (row % 2 == 0, -row))
