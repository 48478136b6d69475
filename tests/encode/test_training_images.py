"""What a model's training images are like: the numbers, the file, and what is unlike them."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from earthtone.data.packed import Table
from earthtone.encode.engine import stored_tiles
from earthtone.encode.training_images import (
    FILE,
    LOOK,
    TrainingImages,
    image_look,
    keep_training_images,
    look_text,
    looks_of_text,
    read_training_images,
    training_images_of,
    write_training_images,
)
from earthtone.errors import NewerFormatError
from earthtone.models.storage import model_fingerprint
from earthtone.models.two_tower import TwoTower


def plain_look(view: np.ndarray) -> list[float]:
    """The ten numbers by loops over blocks."""
    colours = view[..., :3].astype(np.float64)
    level = grey = colours.mean(axis=2)
    found = [float(colours[..., band].mean()) for band in range(3)]
    for _ in range(4):
        half = level.shape[0] // 2
        coarse = np.array(
            [[level[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(half)] for i in range(half)]
        )
        found.append(np.log1p((level - np.kron(coarse, np.ones((2, 2)))).std()))
        level = coarse
    found.append(np.log1p(level.std()))
    return [*found, *(np.log1p((colours[..., band] - grey).std()) for band in (0, 2))]


def test_a_look_is_its_ten_numbers(tmp_path: Path) -> None:
    view = np.random.default_rng(0).integers(0, 256, (32, 32, 4)).astype(np.uint8)
    look = image_look(view)
    np.testing.assert_allclose(look, plain_look(view), rtol=1e-4)
    np.testing.assert_allclose(looks_of_text([look_text(look), None, "no look"])[0], look, rtol=1e-4)  # type: ignore[index]
    assert looks_of_text([None, ""]) is None
    assert image_look(np.zeros((1, 1, 3), np.uint8)).tolist() == [0.0] * LOOK


def plain_tenth(rows: np.ndarray, known: np.ndarray, own: bool) -> list[float]:
    place = min(10, max(1, (len(known) - own) // 2)) - 1 + own
    return [sorted(float(np.linalg.norm(row - other)) for other in known)[place] for row in rows]


def test_unlikeness_is_the_distance_of_the_tenth_nearest_in_units_of_training(tiny_model: TwoTower) -> None:
    draw = np.random.default_rng(1)
    vectors, looks = draw.normal(size=(60, 4)).astype(np.float32), draw.normal(100, 9, (60, LOOK)).astype(np.float32)
    images = TrainingImages(vectors, looks, "", "")
    new, new_looks = draw.normal(size=(7, 4)).astype(np.float32) * 3, draw.normal(90, 20, (7, LOOK)).astype(np.float32)
    mean, deviation = looks.mean(axis=0), looks.std(axis=0)
    scaled, new_scaled = (looks - mean) / deviation, (new_looks - mean) / deviation
    by_vector = np.array(plain_tenth(new, vectors, False)) / np.quantile(plain_tenth(vectors, vectors, True), 0.99)
    by_look = np.array(plain_tenth(new_scaled, scaled, False)) / np.quantile(plain_tenth(scaled, scaled, True), 0.99)
    np.testing.assert_allclose(images.unlikeness(new), by_vector, rtol=1e-3)
    np.testing.assert_allclose(images.unlikeness(new, new_looks), np.maximum(by_vector, by_look), rtol=1e-3)
    new[2], new_looks[3] = np.nan, np.nan
    found = images.unlikeness(new, new_looks)
    assert np.isnan(found[2]) and found[3] == pytest.approx(by_vector[3], rel=1e-3)


def test_images_of_training_are_known_and_ice_is_not(tmp_path: Path, tiny_model: TwoTower, tiny_table: Path) -> None:
    table = Table(tiny_table)
    images = training_images_of(tiny_model, table)
    assert len(images) == 16 and images.data == "tiny.lance"
    tiles = stored_tiles(table, table.rows_of("train"))
    np.testing.assert_array_equal(images.vectors, tiny_model.embed_tiles(tiles))
    views = tiny_model.views(tiles)
    known = images.unlikeness(images.vectors, np.stack([image_look(view) for view in views]))
    ice = [np.full((32, 32, 3), 250, np.uint8), np.zeros((32, 32, 3), np.uint8)]
    unlike = images.unlikeness(tiny_model.embed_tiles(ice), np.stack([image_look(view) for view in ice]))
    assert (known > 1.0).sum() <= 1 and (unlike > 1.2).all()


def test_the_file_comes_back_and_is_of_one_model(
    tmp_path: Path, tiny_model: TwoTower, tiny_table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fingerprint = model_fingerprint(tiny_model)
    assert read_training_images(tmp_path / FILE, fingerprint) is None
    keep_training_images(tmp_path, tiny_model, Table(tiny_table))
    first = (tmp_path / FILE).read_bytes()
    found = read_training_images(tmp_path / FILE, fingerprint)
    assert found is not None and len(found) == 16
    keep_training_images(tmp_path, tiny_model, Table(tiny_table))
    assert (tmp_path / FILE).read_bytes() == first
    assert read_training_images(tmp_path / FILE, "another") is None and "other weights" in caplog.text
    (tmp_path / FILE).write_bytes(first[:-9])
    assert read_training_images(tmp_path / FILE, fingerprint) is None and "cannot be used" in caplog.text


def test_a_later_format_is_told(tmp_path: Path) -> None:
    images = TrainingImages(np.ones((2, 4), np.float32), np.ones((2, LOOK), np.float32), "f", "d")
    write_training_images(tmp_path / FILE, images)
    with safe_open(tmp_path / FILE, "pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no iterator there
        said = json.loads(opened.metadata()["earthtone_training_images"])
    save_file(tensors, tmp_path / FILE, {"earthtone_training_images": json.dumps({**said, "format": 99})})
    with pytest.raises(NewerFormatError, match="training images of format 99"):
        read_training_images(tmp_path / FILE, "f")
