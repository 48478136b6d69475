"""A miniature of everything the paper needs: the release and the labelled sets, in their published layouts."""

import csv
from pathlib import Path

import numpy as np
import pytest
from labelled_sounds import write_advance
from PIL import Image

from earthtone.data.releases import RELEASE_COLUMNS

RECIPE = """
signal:
  audio: {input: spectrogram, mels: 128, hop_seconds: 0.01, window_seconds: 1.28}
  image: {pixels: 32, stored_pixels: 40}
model: {image_encoder: test_resnet, audio_encoder: test_resnet, dimensions: 8, unit: false, sound_scale: soundingearth}
loss: {name: batch_triplet, options: {margin: 1.0}, twins: ignore}
train: {epochs: 8, batch_size: 8, precision: "32", validate_every: 0, keep: last, threads: 1, device: cpu}
"""
_COLOURS = np.array([(0, 255, 255), (255, 255, 0), (0, 255, 0)], np.uint8)  # urban, agriculture, forest


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of the paper's kind that trains in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as `earthtone fetch` brings them, tiny; RESISC45 was not fetched."""
    folder = tmp_path_factory.mktemp("world")
    write_release(folder / "soundingearth", 60)
    for name, classes in (("ucmerced/Images", 3), ("aid", 2)):
        write_classes(folder / name, classes, 12)
    write_deepglobe(folder / "deepglobe", 8)
    write_advance(folder / "advance", classes=2, recordings=8)
    for number, sound in enumerate(sorted((folder / "advance").rglob("*.wav"))):
        decibels = np.random.default_rng(number).uniform(-80, 0, (128, 140)).astype(np.float32)
        np.save(sound.with_suffix(".npy"), decibels)  # as the release has them
        sound.unlink()
    return folder


def write_release(folder: Path, count: int) -> None:
    for name in ("images", "spectrograms"):
        (folder / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(RELEASE_COLUMNS)
        for key in range(1000, 1000 + count):
            place = (round(50 + key % 6 / 2, 4), round(key % 1000 / 7, 4))
            rows.writerow([key, f"long-{key}", *place, "a place", "", f"{key}.mp3", 44100, ""])
            Image.fromarray(draw.integers(0, 256, (48, 48, 3), np.uint8)).save(folder / f"images/{key}.jpg")
            picture = draw.integers(0, 256, (128, 120 + key % 5 * 40), np.uint8)
            Image.fromarray(picture).save(folder / f"spectrograms/{key}.jpg")


def write_classes(folder: Path, classes: int, count: int) -> None:
    """Classes that differ in colour."""
    draw = np.random.default_rng(1)
    for label in range(classes):
        (folder / f"class {label}").mkdir(parents=True)
        for n in range(count):
            pixels = np.clip(draw.normal(60 + 60 * label, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class {label}" / f"{n:03d}.jpg")


def write_deepglobe(folder: Path, count: int) -> None:
    draw = np.random.default_rng(2)
    (folder / "train").mkdir(parents=True)
    for n in range(count):
        classes = np.kron(draw.integers(0, 3, (2, 2)), np.ones((32, 32), int))
        pixels = np.clip(_COLOURS[classes] * 0.7 + draw.normal(0, 12, (64, 64, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "train" / f"{n}_sat.jpg")
        Image.fromarray(_COLOURS[classes]).save(folder / "train" / f"{n}_mask.png")
