"""A recipe that trains in a second on the tiny table."""

from pathlib import Path

import pytest

RECIPE = """
signal:
  audio: {sample_rate_hz: 16000, window_seconds: 1.0, mels: 32, hop_seconds: 0.02}
  image: {pixels: 32, stored_pixels: 40}
model: {image_encoder: test_resnet, audio_encoder: test_resnet, dimensions: 16}
train: {epochs: 2, batch_size: 4, threads: 1, device: cpu, precision: "32"}
"""


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path
