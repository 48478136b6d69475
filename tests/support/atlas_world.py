"""Small tables of embeddings: of real files by a model, and of drawn vectors."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.atlas.embeddings import TABLE, EmbeddingCard, VectorType, embedding_schema, write_embeddings
from earthtone.encode.store import content_fingerprint
from earthtone.models.storage import model_fingerprint, save_model
from earthtone.models.two_tower import TwoTower

DIMENSIONS = 8


def embedded_pairs(folder: Path, manifest: Path, model: TwoTower, *, fingerprints: bool = False) -> Path:
    """Write the model beside E, and E: an image and a whole recording of each pair of the manifest; return E.

    Only with `fingerprints` E knows its files again.
    """
    save_model(folder / "model", model, {})
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    images = [manifest.parent / row["image"] for row in rows]
    sounds = [manifest.parent / row["audio"] for row in rows]
    vectors = np.concatenate([model.embed_images(images), model.embed_audio(sounds)])
    twice: dict[str, list[Any]] = {
        "id": [row["id"] for row in rows],
        "longitude": [float(row["longitude"]) for row in rows],
        "latitude": [float(row["latitude"]) for row in rows],
        "license": [("CC-BY-4.0", "CC0-1.0", None)[n % 3] for n in range(len(rows))],
        "attribution": [f"recordist {n}" for n in range(len(rows))],
        "datetime": [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=15 * n) for n in range(len(rows))],
    }
    columns = {name: values * 2 for name, values in twice.items()}
    columns |= {
        "modality": ["image"] * len(rows) + ["audio"] * len(rows),
        "media": [str(path.resolve()) for path in (*images, *sounds)],
        "label": [row["label"] for row in rows] * 2,
    }
    if fingerprints:
        columns["file_fingerprint"] = [content_fingerprint(path) for path in (*images, *sounds)]
    card = EmbeddingCard(
        str((folder / "model").resolve()), model_fingerprint(model), model.config.dimensions, True, str(manifest)
    )
    write_embeddings(folder / "E" / TABLE, embedding_schema(card, extra=["label"]), columns, vectors)
    return folder / "E"


def drawn(
    folder: Path, columns: dict[str, list[Any]], vectors: NDArray[np.floating[Any]], *, unit: bool = True,
    windows: bool = False, kind: VectorType = "float32",
) -> Path:  # fmt: skip
    """Write E of vectors that no model made, and return it."""
    card = EmbeddingCard(str(folder / "no-such-model"), "f" * 32, vectors.shape[1], unit, "drawn", windows)
    values = np.asarray(vectors, np.float32)
    write_embeddings(folder / TABLE, embedding_schema(card, kind), columns, values)
    return folder


def unit_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return vectors (count, 8) of length 1, all over the sphere."""
    values = np.random.default_rng(seed).normal(size=(count, DIMENSIONS))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


def windows_and_tiles(folder: Path, *, unit: bool = True) -> Path:
    """Write E of 12 recordings of 1 to 6 windows, and 30 tiles, of drawn vectors; ids in no order; return it."""
    draw = np.random.default_rng(7)
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "modality", "start_s", "seconds")}
    for n in draw.permutation(12).tolist():
        for window in range(1 + n % 6):
            for name, value in zip(columns, (f"rec-{n:02d}", "audio", 2.5 * window, 5.0), strict=True):
                columns[name].append(value)
    for n in draw.permutation(30).tolist():
        for name, value in zip(columns, (f"tile-{n:02d}", "image", None, None), strict=True):
            columns[name].append(value)
    vectors = unit_vectors(len(columns["id"]), 3)
    vectors = vectors if unit else vectors * draw.uniform(0.5, 2, (len(vectors), 1)).astype(np.float32)
    tied = [at for at, name in enumerate(columns["id"]) if name in ("tile-03", "tile-21", "tile-11", "rec-05")]
    vectors[tied] = vectors[tied[0]]
    return drawn(folder, columns, vectors, unit=unit, windows=True)
