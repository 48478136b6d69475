"""Training: it learns, it resumes bit for bit after a stop and after a kill, it never writes over a run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from earthtone.data.packed import Table
from earthtone.errors import ConfigError, ModelError
from earthtone.models.storage import WEIGHTS_FILE, load_model, save_model
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import read_safetensors, write_safetensors
from earthtone.train import callbacks
from earthtone.train.checkpoint import CHECKPOINT_FILE, read_history
from earthtone.train.fit import fit
from earthtone.train.recipe import Recipe


def score(model: TwoTower, table: Table, rows: np.ndarray) -> dict[str, float]:
    """A deterministic figure that changes with the weights."""
    tiles = [np.full((32, 32, 3), value, np.uint8) for value in (0, 90, 200)]
    return {"score": float(model.embed_tiles(tiles).sum())}


@pytest.mark.slow
def test_loss_falls_and_everything_is_written(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, epochs=12))
    result = fit(Table(tiny_table), recipe, tmp_path / "run", validate=score)
    assert result.finished and result.progress.step == result.steps
    log = [line for line in read_history(tmp_path / "run") if "loss" in line]
    assert log[-1]["loss"] < log[0]["loss"]
    assert {"lr", "temperature", "seconds"} <= log[0].keys()
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert torch.__version__.startswith(card["versions"]["torch"]) and card["data"]["fingerprint"]
    assert card["recipe"]["train"]["epochs"] == 12 and "score" in card["validation"]
    assert not (tmp_path / "run" / CHECKPOINT_FILE).exists()
    assert load_model(tmp_path / "run").embed_tiles([np.zeros((32, 32, 3), np.uint8)]).shape == (1, 16)


def test_the_time_left_is_said(
    tiny_table: Path,
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once, after the first steps, and again at once where a run goes on; a short training says nothing."""
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, epochs=3))
    fit(Table(tiny_table), recipe, tmp_path / "short")
    assert "steps to go" not in capsys.readouterr().err
    monkeypatch.setattr(callbacks, "_LONG_SECONDS", 0.0)
    monkeypatch.setattr(callbacks, "_SECONDS_TO_TELL", 0.0)
    result = fit(Table(tiny_table), recipe, tmp_path / "long")
    [line] = [line for line in capsys.readouterr().err.splitlines() if "steps to go" in line]
    assert f"{result.steps - 5} steps to go of {result.steps} (3 epochs), about " in line and "steps a second" in line


def final_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / WEIGHTS_FILE)


def assert_equal_runs(one: Path, other: Path) -> None:
    a, b = final_weights(one), final_weights(other)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    assert [{k: v for k, v in line.items() if k != "seconds"} for line in read_history(one)] == [
        {k: v for k, v in line.items() if k != "seconds"} for line in read_history(other)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "keep", "windows", "reducer"),
    [
        ("32", "best", 1, "mean"),
        ("bf16", "last", 1, "mean"),
        ("32", "last", 3, "mean"),
        ("bf16", "best", 2, "attention"),
    ],
)
def test_stop_in_mid_epoch_and_resume_equals_no_stop(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, precision: str, keep: str, windows: int, reducer: str
) -> None:
    train = replace(tiny_recipe.train, precision=precision, keep=keep, windows=windows)
    model = replace(tiny_recipe.model, drop_path=0.2, windows=reducer)  # drop_path uses torch's generator
    recipe = replace(tiny_recipe, train=train, model=model)
    table = Table(tiny_table)
    fit(table, recipe, tmp_path / "whole", validate=score)
    stops = iter([False, False, True, False, True])  # Ctrl-C in the 2nd and in a later epoch, whenever validated

    def interrupted(model: TwoTower, opened: Table, rows: np.ndarray) -> dict[str, float]:
        if next(stops, False):
            os.kill(os.getpid(), signal.SIGINT)
        return score(model, opened, rows)

    first = fit(table, recipe, tmp_path / "parts", validate=interrupted)
    assert first.finished or first.stopped_by == "SIGINT"
    result = first
    while not result.finished:
        result = fit(table, recipe, tmp_path / "parts", resume=True, validate=interrupted)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


_CHILD = """
import sys
from pathlib import Path
from earthtone.data.packed import Table
from earthtone.train.fit import fit
from earthtone.train.recipe_file import load_recipe
result = fit(Table(sys.argv[1]), load_recipe(sys.argv[2]), Path(sys.argv[3]), resume="resume" in sys.argv)
print("finished", result.finished, result.stopped_by)
"""


def child(table: Path, recipe: Path, run: Path, *more: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", _CHILD, str(table), str(recipe), str(run), *more]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_kill_and_resume_equals_no_kill(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    train = replace(tiny_recipe.train, epochs=16, checkpoint_seconds=0.5, validate_every=0, keep="last")
    recipe = replace(tiny_recipe, train=train)
    written = tmp_path / "recipe.yaml"
    written.write_text(recipe.to_yaml())
    fit(Table(tiny_table), recipe, tmp_path / "whole")
    killed = child(tiny_table, written, tmp_path / "parts")
    wait_for(tmp_path / "parts" / CHECKPOINT_FILE, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = child(tiny_table, written, tmp_path / "parts", "resume")
    wait_for(tmp_path / "parts" / "log.jsonl", resumed)
    out, err = resumed.communicate(timeout=120)
    assert "finished True None" in out, err
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_sigterm_saves_and_stops_politely(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, epochs=500, validate_every=0))
    written = tmp_path / "recipe.yaml"
    written.write_text(recipe.to_yaml())
    process = child(tiny_table, written, tmp_path / "run")
    for _ in range(3000):  # a busy machine takes long to import torch
        if len(read_history(tmp_path / "run")) > 1 or process.poll() is not None:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert "finished False SIGTERM" in out, err
    assert (tmp_path / "run" / CHECKPOINT_FILE).exists()


def stopped_run(table: Path, recipe: Recipe, run: Path) -> None:
    """A run with a checkpoint, stopped after its first epoch."""

    def stop(*_: object) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.0}

    assert fit(Table(table), recipe, run, validate=stop).stopped_by == "SIGTERM"


def test_a_run_is_never_written_over(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    stopped_run(tiny_table, tiny_recipe, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.safetensors")}
    with pytest.raises(ConfigError, match=r"holds a run already.*--resume"):
        fit(Table(tiny_table), tiny_recipe, tmp_path / "run")
    assert all(path.read_bytes() == data for path, data in before.items())


def test_resume_with_a_changed_recipe_is_refused(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    stopped_run(tiny_table, tiny_recipe, tmp_path / "run")
    resolved = (tmp_path / "run" / "recipe.yaml").read_text()
    changed = replace(tiny_recipe, train=replace(tiny_recipe.train, learning_rate=5e-4))
    with pytest.raises(ConfigError, match=r"train.learning_rate: 0.001 -> 0.0005"):
        fit(Table(tiny_table), changed, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.yaml").read_text() == resolved


def test_a_finished_run_resumes_to_nothing(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    fit(Table(tiny_table), tiny_recipe, tmp_path / "run", validate=score)
    before = final_weights(tmp_path / "run")
    again = fit(Table(tiny_table), tiny_recipe, tmp_path / "run", resume=True, validate=score)
    assert again.finished
    assert all(torch.equal(before[name], value) for name, value in final_weights(tmp_path / "run").items())


@pytest.mark.slow
@pytest.mark.parametrize("key", ["epochs", "learning_rate"])
def test_a_finished_run_is_not_resumed_with_another_recipe(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, key: str
) -> None:
    fit(Table(tiny_table), tiny_recipe, tmp_path / "run", validate=score)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    changed = replace(tiny_recipe, train=replace(tiny_recipe.train, **{key: getattr(tiny_recipe.train, key) * 2}))
    with pytest.raises(ConfigError, match=f"train.{key}"):
        fit(Table(tiny_table), changed, tmp_path / "run", resume=True, validate=score)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}


def test_a_kill_after_the_last_step_is_no_finished_run(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    fit(Table(tiny_table), tiny_recipe, tmp_path / "run", validate=score)
    whole = final_weights(tmp_path / "run")
    state = tmp_path / "run" / "run.json"
    state.write_text(state.read_text().replace('"finished": true', '"finished": false'))
    (tmp_path / "run" / WEIGHTS_FILE).unlink()  # as killed before they were kept
    assert fit(Table(tiny_table), tiny_recipe, tmp_path / "run", resume=True, validate=score).finished
    assert all(torch.equal(whole[name], value) for name, value in final_weights(tmp_path / "run").items())


def test_signals_are_given_back_after_an_error(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    def fail(*_: object) -> dict[str, float]:
        raise RuntimeError("broken validation")

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="broken validation"):
        fit(Table(tiny_table), tiny_recipe, tmp_path / "run", validate=fail)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_ctrl_c_stops_at_once(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    def impatient(*_: object) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        return {"score": 0.0}

    with pytest.raises(KeyboardInterrupt):
        fit(Table(tiny_table), tiny_recipe, tmp_path / "run", validate=impatient)


def test_broken_checkpoint_is_named(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    stopped_run(tiny_table, tiny_recipe, tmp_path / "run")
    path = tmp_path / "run" / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(Exception, match=r"checkpoint.safetensors: cannot be read") as caught:
        fit(Table(tiny_table), tiny_recipe, tmp_path / "run", resume=True)
    assert type(caught.value).__name__ == "ModelError"


def test_attention_over_windows_learns(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    train = replace(tiny_recipe.train, windows=2)
    recipe = replace(tiny_recipe, model=replace(tiny_recipe.model, windows="attention"), train=train)
    assert fit(Table(tiny_table), recipe, tmp_path / "run").finished
    assert final_weights(tmp_path / "run")["reducer.weight.weight"].abs().min() > 0  # it starts at zero


@pytest.mark.parametrize("name", ["infonce", "siglip", "batch_triplet"])
def test_every_loss_trains(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, name: str) -> None:
    recipe = replace(tiny_recipe, loss=replace(tiny_recipe.loss, name=name), train=replace(tiny_recipe.train, epochs=1))
    assert fit(Table(tiny_table), recipe, tmp_path / "run").finished


@pytest.mark.parametrize("how", ["shape", "missing", "groups", "step"])
def test_a_checkpoint_whose_moments_do_not_fit_is_refused(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, how: str
) -> None:
    stopped_run(tiny_table, tiny_recipe, tmp_path)
    path = tmp_path / CHECKPOINT_FILE
    tensors, metadata = read_safetensors(path)
    header = json.loads(metadata["earthtone_checkpoint"])
    name = next(name for name in tensors if name.endswith(".exp_avg"))
    if how == "shape":
        tensors[name] = torch.zeros(3, 5, 7)
    elif how == "missing":
        del tensors[name]
    elif how == "groups":
        header["groups"] = header["groups"][:1]
    else:
        header["progress"]["step"] = -1
    write_safetensors(path, tensors, {"earthtone_checkpoint": json.dumps(header)})
    before = path.read_bytes()
    with pytest.raises(ModelError, match="no checkpoint of this version"):
        fit(Table(tiny_table), tiny_recipe, tmp_path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_warm_start_is_told_and_a_resume_needs_no_file(
    tiny_table: Path, tiny_recipe: Recipe, tiny_model: TwoTower, tmp_path: Path
) -> None:
    save_model(tmp_path / "donor", tiny_model, {})
    warm = replace(tiny_recipe.model, image_weights=str(tmp_path / "donor"), audio_weights=str(tmp_path / "donor"))
    recipe = replace(tiny_recipe, model=warm, train=replace(tiny_recipe.train, keep="last"))
    fit(Table(tiny_table), recipe, tmp_path / "whole", validate=score)

    def killed(*_: object) -> dict[str, float]:  # before any checkpoint was due
        first = load_file(tmp_path / "parts" / CHECKPOINT_FILE)
        for name, value in tiny_model.state_dict().items():
            assert torch.equal(first[f"task.model.{name}"], value)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fit(Table(tiny_table), recipe, tmp_path / "parts", validate=killed)
    shutil.rmtree(tmp_path / "donor")
    fit(Table(tiny_table), recipe, tmp_path / "parts", resume=True, validate=score)
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    for run in (tmp_path / "whole", tmp_path / "parts"):
        started = json.loads((run / "card.json").read_text())["start"]
        assert started == json.loads((run / "run.json").read_text())["start"]
        assert started["image"]["architecture"] == "test_resnet" and len(started["image"]["sha256"]) == 64
