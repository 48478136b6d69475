"""A row of a packed table embeds exactly as its files do."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earthtone.data.packed import Table
from earthtone.encode.engine import embed_rows, image_features
from earthtone.errors import ModelError
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig


def files(manifest: Path, column: str) -> list[Path]:
    with manifest.open() as file:
        return [manifest.parent / row[column] for row in csv.DictReader(file)]


def test_rows_equal_their_files(tiny_model: TwoTower, tiny_table: Path, tiny_pairs: Path) -> None:
    table = Table(tiny_table)
    image, audio = embed_rows(tiny_model, table, table.rows_of("all"))
    assert image.dtype == audio.dtype == np.float32 and image.shape == audio.shape == (24, 16)
    np.testing.assert_array_equal(image, tiny_model.embed_images(files(tiny_pairs, "image")))
    np.testing.assert_array_equal(audio, tiny_model.embed_audio(files(tiny_pairs, "audio")))


def test_rows_in_any_order_more_than_one_chunk(tiny_model: TwoTower, tiny_table: Path) -> None:
    table = Table(tiny_table)
    image, audio = embed_rows(tiny_model, table, table.rows_of("all"))
    rows = np.random.default_rng(0).integers(0, 24, 70)  # some several times
    some_image, some_audio = embed_rows(tiny_model, table, rows)
    np.testing.assert_array_equal(some_image, image[rows])
    np.testing.assert_array_equal(some_audio, audio[rows])


def test_no_rows(tiny_model: TwoTower, tiny_table: Path) -> None:
    image, audio = embed_rows(tiny_model, Table(tiny_table), np.zeros(0, np.int64))
    assert image.shape == audio.shape == (0, 16)


def test_features(tiny_model: TwoTower, tiny_table: Path) -> None:
    table = Table(tiny_table)
    found = image_features(tiny_model, table, table.rows_of("test"))
    assert found.shape == (4, tiny_model.image_tower.features)
    assert np.isfinite(found).all() and len(np.unique(found, axis=0)) == 4


def test_another_signal_is_refused(tiny_signal: SignalConfig, tiny_table: Path) -> None:
    signal = replace(tiny_signal, audio=replace(tiny_signal.audio, floor_db=-70.0))
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), signal)
    for embed in (embed_rows, image_features):
        with pytest.raises(ModelError, match=r"tiny.lance was packed with another signal config .*earthtone pack"):
            embed(model, Table(tiny_table), np.arange(3))
