"""Every shipped recipe trains on a tiny world of the data it is for, and its own encoders can be made."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from earthtone.data.packed import Table
from earthtone.data.releases import RELEASE_COLUMNS
from earthtone.models.storage import load_model
from earthtone.models.two_tower import TwoTower
from earthtone.studies.pretrain import pretrain
from earthtone.train.checkpoint import read_history
from earthtone.train.recipe_file import load_recipe, shipped_recipes

pytestmark = pytest.mark.slow

KEYS = range(1000, 1024)
#: The schedule shortened, images small; tiny encoders unless a recipe is about its own.
SHORT = {
    "train.epochs": 1, "train.batch_size": 4, "train.device": "cpu", "signal.image.pixels": 32,
    "signal.image.stored_pixels": 48,
}  # fmt: skip
TINY = {"model.image_encoder": "test_resnet", "model.audio_encoder": "test_resnet"}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature of the release: 24 tiles of 1024 pixels, ready spectrograms, and recordings in raw/."""
    folder, draw = tmp_path_factory.mktemp("release"), np.random.default_rng(0)
    for name in ("images", "spectrograms", "raw"):
        (folder / name).mkdir()
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(RELEASE_COLUMNS)
        for key in KEYS:
            rows.writerow([key, f"long-{key}", 50 + key / 1e4, 8 - key / 1e4, "a place", "", f"{key}.wav", 8000, ""])
            coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8))
            coarse.resize((1024, 1024)).save(folder / f"images/{key}.jpg")
            picture = draw.integers(0, 256, (128, 100 + key % 5 * 90), np.uint8)
            Image.fromarray(picture).save(folder / f"spectrograms/{key}.jpg")
            soundfile.write(folder / f"raw/{key}.wav", draw.normal(0, 0.1, 8000 * (4 + key % 9)), 8000)
    return folder


@pytest.fixture(scope="module")
def spectrograms(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same release without its recordings."""
    folder = tmp_path_factory.mktemp("ready")
    for name in ("metadata.csv", "images", "spectrograms"):
        (folder / name).symlink_to(release / name)
    return folder


@pytest.mark.parametrize("name", shipped_recipes())
def test_it_trains(name: str, release: Path, tmp_path: Path) -> None:
    own = {} if "paper" in name else TINY
    recipe = load_recipe(name, SHORT | own)
    result = pretrain(release, tmp_path / "run", recipe=recipe)
    assert result.finished and result.progress.step == 4  # 18 training pairs: keys that end in neither 2, 5 nor 7
    assert (tmp_path / "run" / "report.html").exists()
    losses = [line["loss"] for line in read_history(tmp_path / "run") if "loss" in line]
    assert losses and np.isfinite(losses).all()
    model, table = load_model(tmp_path / "run"), Table(tmp_path / "run" / "table.lance")
    assert model.config == recipe.model and len(table) == len(KEYS)
    if recipe.signal.audio.input == "spectrogram":  # the pictures are taken, though recordings lie beside them
        assert table.frames()[:5].tolist() == [128, 190, 280, 370, 460]


@pytest.mark.parametrize("name", shipped_recipes())
def test_its_own_model_can_be_made_without_a_download(name: str) -> None:
    recipe = load_recipe(name)
    torch.manual_seed(0)
    model = TwoTower(recipe.model, recipe.signal).eval()
    side, audio = recipe.signal.image.pixels, recipe.signal.audio
    several = recipe.train.windows
    with torch.inference_mode():
        image, sound = model(
            torch.zeros(1, side, side, 3, dtype=torch.uint8),
            torch.zeros(1, several, audio.window_frames, audio.mels, dtype=torch.uint8),
        )
    assert image.shape == sound.shape == (1, recipe.model.dimensions)


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if "paper" in name])
def test_the_papers_recipes_are_the_papers(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.train.batch_size, recipe.train.epochs, recipe.train.windows) == (256, 300, 1)
    assert (recipe.train.optimizer, recipe.train.learning_rate, recipe.train.schedule) == ("adam", 1e-3, "constant")
    assert recipe.train.warmup_share == recipe.train.weight_decay == 0 and recipe.train.clip_norm is None
    assert recipe.model.image_encoder == f"release_{name.rsplit('-', 1)[1]}"
    assert (recipe.model.audio_encoder, recipe.model.dimensions) == ("release_resnet18", 128)
    assert not recipe.model.unit and recipe.model.sound_scale == "soundingearth"
    assert (recipe.loss.name, recipe.loss.options, recipe.loss.twins) == ("batch_triplet", {"margin": 1.0}, "ignore")
    image, audio = recipe.signal.image, recipe.signal.audio
    assert (image.footprint_m, image.stored_pixels, image.pixels, image.view) == (102.4, 512, 192, 0.75)
    assert (audio.mels, audio.window_frames) == (128, 128)


def test_the_best_one_without_recordings(spectrograms: Path, tmp_path: Path) -> None:
    """As docs/recipes.md says."""
    ready = {
        "signal.audio.input": "spectrogram", "signal.audio.mels": 128, "signal.audio.window_seconds": 1.28,
        "train.windows": 6,
    }  # fmt: skip
    recipe = load_recipe("soundingearth-best", SHORT | TINY | ready)
    assert pretrain(spectrograms, tmp_path / "run", recipe=recipe, report=False).finished
