"""What the release's protocol shows its networks, beside torch by hand: halved images, whole sounds from 0 to 1."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_sounds import write_advance

from earthtone.data.labelled import open_labelled
from earthtone.data.labelled.items import LabelledItem
from earthtone.encode.engine import release_view, tower_features
from earthtone.errors import ConfigError
from earthtone.evaluate.audiovisual import evaluate_audiovisual
from earthtone.models.config import ModelConfig
from earthtone.models.storage import RELEASE_SIGNAL
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import read_picture

pytestmark = pytest.mark.slow

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def advance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings a class, as the release's decibels in arrays of 128 bands and different lengths."""
    folder = write_advance(tmp_path_factory.mktemp("release") / "advance", copies=1, recordings=10)
    for file in sorted((folder / "sound").rglob("*.wav")):
        draw = np.random.default_rng([5, int(file.stem[:5])])
        decibel = draw.normal(-8 + 4 * int(file.stem[0]), 6, (128, 140 + 10 * (int(file.stem[4]) % 3)))
        np.save(file.with_suffix(".npy"), decibel.astype(np.float32))
        file.unlink()
    return folder


@pytest.fixture(scope="module")
def items(advance: Path) -> tuple[LabelledItem, ...]:
    return open_labelled(advance, dataset="advance").items


@pytest.fixture(scope="module")
def model() -> TwoTower:
    """As a converted checkpoint, but untrained."""
    torch.manual_seed(0)
    config = ModelConfig("release_resnet18", "release_resnet18", dimensions=16, unit=False, sound_scale="soundingearth")
    return TwoTower(config, RELEASE_SIGNAL).eval()


def test_images_are_halved_by_averaging(model: TwoTower, items: tuple[LabelledItem, ...]) -> None:
    found = release_view(model, items[:2], "image")
    assert items[0].image is not None
    pixels = (read_picture(items[0].image, ImageConfig()).pixels.astype(np.float64) / 255 - MEAN) / STD
    halved = pixels.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    with torch.no_grad():
        expected = model.image_tower(torch.from_numpy(halved[None].astype(np.float32))).numpy()
    np.testing.assert_allclose(found.embedding[:1], expected, rtol=1e-4, atol=1e-5)


def test_sounds_are_heard_whole_on_the_scale_of_the_release(model: TwoTower, items: tuple[LabelledItem, ...]) -> None:
    found = release_view(model, items[:4], "audio")
    for row, item in enumerate(items[:4]):
        assert item.audio is not None
        low, high = np.exp(-1.5), np.exp(0.5)
        loud = np.clip((np.exp(np.load(item.audio) / 10) - low) / (high - low), 0, 1)
        with torch.no_grad():
            expected = model.audio_tower(torch.from_numpy(loud[None, None].astype(np.float32))).numpy()
        np.testing.assert_allclose(found.embedding[row : row + 1], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found.embedding, tower_features(model, items[:4], "audio", precision="32").embedding)


def test_other_models_hear_as_always(tiny_model: TwoTower, tmp_path: Path) -> None:
    own = open_labelled(write_advance(tmp_path, recordings=2, copies=1), dataset="advance").items
    found = release_view(tiny_model, own, "audio")
    expected = tower_features(tiny_model, own, "audio", precision="32")
    assert np.array_equal(found.embedding, expected.embedding) and found.width == 0
    unit = np.linalg.norm(release_view(tiny_model, own, "image").embedding, axis=1)
    np.testing.assert_allclose(unit, 1, rtol=1e-5)


def test_embeddings_are_kept(model: TwoTower, items: tuple[LabelledItem, ...], tmp_path: Path) -> None:
    first, again = (release_view(model, items[:2], "image", cache=tmp_path) for _ in range(2))
    assert not first.cached and again.cached and np.array_equal(first.values, again.values)


def test_encoders_of_one_size_are_told(tiny_model: TwoTower, items: tuple[LabelledItem, ...]) -> None:
    fixed = TwoTower(replace(tiny_model.config, image_encoder="resmlp_12_224"), tiny_model.signal).eval()
    with pytest.raises(ConfigError, match=r"shows an encoder 20 x 20 here, and this one cannot take that"):
        release_view(fixed, items[:1], "image")


def test_the_protocol_on_the_releases_own_arrays(model: TwoTower, advance: Path) -> None:
    found = evaluate_audiovisual(
        model, advance, dataset="advance", protocol="soundingearth", precision="32", resamples=20
    )
    assert found.facts["trainings"] == 5 and len(found.ids) == 6 and found.facts["features"] == "embedding"
    grouped = evaluate_audiovisual(model, advance, dataset="advance", precision="32", resamples=20)
    assert grouped.figures["sound accuracy"].value > 0.5
