"""A miniature of the SoundingEarth release, with ready spectrograms, goes through the same commands."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthtone import load_model
from earthtone.cli import main

COLUMNS = (
    "key",
    "long_key",
    "latitude",
    "longitude",
    "title",
    "description",
    "mp3name",
    "mp3samplerate",
    "date_recorded",
)
TINY = [
    "--model.image_encoder=test_resnet", "--model.audio_encoder=test_resnet", "--train.epochs=2",
    "--train.batch_size=8", "--signal.image.pixels=32", "--signal.image.stored_pixels=40",
]  # fmt: skip


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    for name in ("images", "spectrograms"):
        (folder / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for key in range(1000, 1040):
            rows.writerow([key, f"long-{key}", 50 + key / 1e4, 8 - key / 1e4, "a place", "", f"{key}.mp3", 44100, ""])
            Image.fromarray(draw.integers(0, 256, (64, 64, 3), np.uint8)).save(folder / f"images/{key}.jpg")
            frames = 100 + key % 7 * 60
            picture = draw.integers(0, 256, (128, frames), np.uint8)
            Image.fromarray(picture).save(folder / f"spectrograms/{key}.jpg")
    (folder / "images" / "1003.jpg").unlink()
    return folder


def test_the_three_commands(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["check", str(release)]) == 0
    assert "39 of 40 rows usable" in capsys.readouterr().out
    recipe = ["--recipe", "soundingearth-spectrograms"]
    assert main(["pretrain", str(release), "--out", str(run), *recipe, *TINY]) == 0
    assert main(["evaluate", "retrieval", "--model", str(run), "--data", str(release)]) == 0
    assert "8 images" in capsys.readouterr().out  # keys that end in 2 or 5
    model = load_model(run)
    sounds = model.embed_audio([release / "spectrograms" / "1000.jpg", release / "spectrograms" / "1006.jpg"])
    assert np.allclose(np.linalg.norm(sounds, axis=1), 1, atol=1e-5)


def test_a_recipe_for_recordings_is_refused(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(release), "--out", str(tmp_path / "t.lance"), "--recipe", "small"]) == 2
    assert "--recipe soundingearth-spectrograms" in capsys.readouterr().err
    assert not (tmp_path / "t.lance").exists()
