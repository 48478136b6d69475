"""Tables of embedded tiles on a grid, and sounds, for tests of maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from earthtone.atlas.embeddings import LOOK_COLUMN, TABLE, EmbeddingCard, embedding_schema, write_embeddings
from earthtone.encode.training_images import look_text
from earthtone.models.storage import model_fingerprint, save_model
from earthtone.models.two_tower import TwoTower

HZ = 16_000


def keep_model(folder: Path, model: TwoTower) -> Path:
    """Write a model and return its folder."""
    save_model(folder, model, {})
    return folder


def card_of(model: TwoTower, path: Path | str = "nowhere", **other: Any) -> EmbeddingCard:
    """Return the card of a table that a model made."""
    values = {"model_fingerprint": model_fingerprint(model), "dimensions": model.config.dimensions}
    return EmbeddingCard(str(path), **{**values, "unit": model.config.unit, "data": "tiles", **other})


def unit_vectors(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Return random vectors of length 1."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_tiles(
    folder: Path,
    card: EmbeddingCard,
    places: Sequence[tuple[float, float]],
    vectors: np.ndarray,
    *,
    tile: tuple[float, float] = (100.0, 100.0),
    crs: Any = "EPSG:32721",
    looks: np.ndarray | None = None,
    **columns: Any,
) -> Path:
    """Write a table of tiles with these centres (x, y) and return its folder."""
    count = len(places)
    x, y = np.array(places, np.float64).T
    given: dict[str, Any] = {
        "id": [f"tile {number}" for number in range(count)], "modality": ["image"] * count,
        "crs": crs if isinstance(crs, list) else [crs] * count,
        "west": x - tile[0] / 2, "east": x + tile[0] / 2, "south": y - tile[1] / 2, "north": y + tile[1] / 2,
        "source": ["a made-up raster"] * count, "license": ["CC0-1.0"] * count, "attribution": ["nobody"] * count,
    }  # fmt: skip
    extra = [LOOK_COLUMN] if looks is not None else []
    if looks is not None:
        given[LOOK_COLUMN] = [look_text(look) for look in looks]
    write_embeddings(folder / TABLE, embedding_schema(card, "float32", extra), {**given, **columns}, vectors)
    return folder


def write_tone(path: Path, hz: float = 440.0, seconds: float = 3.5) -> Path:
    """Write a tone that gets louder, so that its windows differ."""
    time = np.arange(int(seconds * HZ)) / HZ
    noise = np.random.default_rng(int(hz)).normal(0, 0.01, len(time))
    soundfile.write(path, (0.3 * np.sin(2 * np.pi * hz * time) * time / seconds + noise).astype(np.float32), HZ)
    return path
