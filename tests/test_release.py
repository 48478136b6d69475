"""A miniature of the SoundingEarth release, with ready spectrograms, goes through the same commands."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from earthtone import load_model
from earthtone.cli import main
from earthtone.models.encoders import ReleaseResNet

pytestmark = pytest.mark.slow

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


def test_half_the_images_missing(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for key in range(1000, 1040, 2):
        (release / f"images/{key}.jpg").unlink()
    assert main(["check", str(release), "--headers_only"]) == 0
    shown = capsys.readouterr().out
    assert "19 of 40 rows usable (47.5 %)" in shown and "missing image: 21" in shown
    table = tmp_path / "t.lance"
    recipe = ["--recipe", "soundingearth-spectrograms"]
    assert main(["pack", str(release), "--out", str(table), *recipe]) == 0
    assert "skipped, missing image: 21 of 40 (52.5 %)" in capsys.readouterr().out


def test_one_warning_for_all_that_is_missing(release: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for key in range(1000, 1040, 4):
        (release / f"images/{key}.jpg").unlink()
    words = ["--recipe", "soundingearth-spectrograms", *TINY, "--train.epochs=1"]
    assert main(["pretrain", str(release), "--out", str(tmp_path / "run"), *words]) == 0
    told = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert len(told) == 1 and told[0].startswith("11 of 40 rows skipped (27.5 %; missing image: 11)")


def test_nothing_usable(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (release / "images").iterdir():
        path.unlink()
    table = tmp_path / "t.lance"
    assert main(["pack", str(release), "--out", str(table), "--recipe", "soundingearth-spectrograms"]) == 2
    assert "no usable pair (missing image: 40)" in capsys.readouterr().err
    assert main(["check", str(release)]) == 1


@pytest.mark.parametrize(("old", "new", "nearest"), [("latitude", "lattitude", "'lattitude'"), (",title", "", "")])
def test_a_changed_column(
    release: Path, tmp_path: Path, old: str, new: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.lance"
    words = ["pack", str(release), "--out", str(table), "--recipe", "soundingearth-spectrograms"]
    assert main(words) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    capsys.readouterr()
    metadata = release / "metadata.csv"
    metadata.write_text(metadata.read_text().replace(old, new, 1))
    before[metadata] = metadata.read_bytes()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"lacks the SoundingEarth columns '{old.strip(',')}'" in error
    assert nearest in error
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path in before}


def test_a_converted_checkpoint_goes_through_the_same_commands(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    towers = {"img": ReleaseResNet("release_resnet18", 3), "snd": ReleaseResNet("release_resnet18", 1)}
    state = {
        f"{name}_encoder.module_list.0.{key}": value
        for name, encoder in towers.items()
        for key, value in {
            **encoder.state_dict(), "fc.weight": torch.randn(16, 512, 1, 1), "fc.bias": torch.randn(16),
        }.items()
    }  # fmt: skip
    torch.save(state, tmp_path / "latest.pt")
    assert main(["convert", str(tmp_path / "latest.pt"), str(tmp_path / "theirs")]) == 0
    assert "compared by Euclidean distance" in capsys.readouterr().out
    table = tmp_path / "release.lance"
    assert main(["pack", str(release), "--out", str(table), "--model", str(tmp_path / "theirs")]) == 0
    said = []
    for model, data in ((tmp_path / "theirs", table), (tmp_path / "latest.pt", release)):
        words = ["evaluate", "retrieval", "--model", str(model), "--data", str(data), "--resamples", "10", "--json"]
        capsys.readouterr()
        assert main(words) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1]
    vectors = load_model(tmp_path / "theirs").embed_audio([release / "spectrograms" / "1000.jpg"])
    assert vectors.shape == (1, 16) and abs(np.linalg.norm(vectors) - 1) > 0.1
