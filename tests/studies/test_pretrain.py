"""Two trainings into one folder: the second is refused, whatever becomes of the first."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earthtone.data.packed import Table
from earthtone.files import LOCK_FILE
from earthtone.models.config import ModelConfig
from earthtone.train.checkpoint import CHECKPOINT_FILE
from earthtone.train.recipe import Recipe, TrainConfig


@pytest.mark.slow
def test_two_into_one_folder(tiny_table: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        signal=Table(tiny_table).signal,
        model=ModelConfig(image_encoder="test_resnet", audio_encoder="test_resnet", dimensions=16),
        train=TrainConfig(epochs=100_000, batch_size=4, device="cpu", checkpoint_seconds=0.0),
    )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    run = tmp_path / "run"
    words = [sys.executable, "-m", "earthtone", "pretrain", str(tiny_table), "--out", str(run)]
    words += ["--recipe", str(tmp_path / "recipe.yaml")]
    first = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while not (run / CHECKPOINT_FILE).exists() and time.monotonic() < until and first.poll() is None:
            time.sleep(0.1)
        assert first.poll() is None
        second = subprocess.run([*words, "--resume"], capture_output=True, text=True, check=False, timeout=120)
        assert (second.returncode, second.stderr.count("\n")) == (2, 1), second.stderr
        assert "another process is training into it" in second.stderr
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    (run / ".checkpoint.0123abcd.safetensors").write_bytes(b"half")
    third = subprocess.Popen([*words, "--resume"], stderr=subprocess.PIPE, text=True)
    try:
        step = (run / CHECKPOINT_FILE).stat().st_mtime_ns
        until = time.monotonic() + 120
        while (run / CHECKPOINT_FILE).stat().st_mtime_ns == step and time.monotonic() < until and third.poll() is None:
            time.sleep(0.1)
        assert third.poll() is None, "a killed training must not hold its folder"
        third.send_signal(signal.SIGTERM)
        third.communicate(timeout=120)
        assert third.returncode == 0
    finally:
        third.kill()
    left = {path.name for path in run.iterdir() if path.name.startswith(".")}
    assert left <= {LOCK_FILE}
    assert (run / CHECKPOINT_FILE).stat().st_mode == (run / "run.json").stat().st_mode  # by the umask
