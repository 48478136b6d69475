"""A sweep really runs: its numbers are the runs' own, a failure is a row, stops and kills lose nothing."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from earthtone.cli import main
from earthtone.data.pack import pack
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.on_data import evaluate_retrieval
from earthtone.evaluate.probe_on_data import evaluate_probe
from earthtone.models.storage import WEIGHTS_FILE
from earthtone.signal.config import SignalConfig
from earthtone.train.checkpoint import CHECKPOINT_FILE
from earthtone.train.history import last_step, read_history
from earthtone.train.recipe_file import load_recipe
from earthtone.verbs.pretraining import pretrain
from earthtone.verbs.sweep import Grid, Measure, sweep
from earthtone.verbs.sweep.one_run import one_run
from earthtone.verbs.sweep.run_settings import read_figures


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, write_pairs: Callable[[Path, int], Path]) -> Path:
    """The manifest of 72 pairs, 12 of them val: more than ten, so that R@10 is not all of them."""
    return write_pairs(tmp_path_factory.mktemp("pairs"), 72)


def val_score(run: Path) -> float:
    """The validation of the step whose weights were kept, by the run's own log and card."""
    step = json.loads((run / "card.json").read_text())["step"]
    return next(line["val_score"] for line in read_history(run) if "val_score" in line and line["step"] == step)


def test_figures_of_a_run_are_its_own_and_those_of_the_verbs(
    pairs: Path, tiny_signal: SignalConfig, recipe_file: Path, tmp_path: Path
) -> None:
    table = pack(pairs, tmp_path / "pairs.lance", signal=tiny_signal).path
    run, measure = tmp_path / "run", Measure(match="label", probe=str(pairs), probe_label="label")
    run.mkdir()
    (run / "recipe.yaml").write_text(load_recipe(recipe_file, {"train.seed": 3, "train.epochs": 1}).to_yaml())
    assert one_run(run, table, measure) is None
    told = json.loads((run / "sweep.json").read_text())
    assert told["figures"]["score"] == val_score(run) and told["kept_step"] == 12
    found = evaluate_retrieval(run, table, split="val", match="label")
    for direction, figures in found.figures.items():
        for name in ("R@10", "match_precision@10"):
            assert told["figures"][f"{name} {direction}"] == figures[name].value
    probe = evaluate_probe(str(run), pairs, label="label", split="val")
    assert told["figures"]["probe accuracy"] == probe.figures[probe.headline].value
    assert (run / "report.html").exists()
    assert read_figures(run, Measure().identity(told["measured"]["data"])) is None  # of other measures: measured again


def test_mistakes_come_before_the_first_run(tiny_table: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="16 training pairs, fewer than one batch of 99"):
        sweep(tiny_table, out, recipe=recipe_file, grid=Grid({"train.batch_size": [4, 99]}))
    with pytest.raises(ConfigError, match="packed with another signal config"):
        sweep(tiny_table, out, recipe=recipe_file, grid=Grid({"signal.audio.mels": [32, 16]}))
    with pytest.raises(DataError, match="no label column 'scene'"):
        sweep(tiny_table, out, recipe=recipe_file, measure=Measure(match="scene"))
    with pytest.raises(ConfigError, match="probe_label and probe_columns are for --probe"):
        sweep(tiny_table, out, recipe=recipe_file, measure=Measure(probe_label="label"))
    with pytest.raises(DataError):
        sweep(tiny_table, out, recipe=recipe_file, measure=Measure(probe=str(tmp_path / "none")))
    assert not list(out.glob("runs/*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to vary"),
        (["--set", "train.epochs=2", "--grid", "g.yaml"], "--set and --grid both"),
        (["--seeds", "a"], "--seeds a; whole numbers"),
        (["--grid", "none.yaml"], "grid none.yaml cannot be read"),
        (["--sett", "train.epochs=2"], "did you mean --set"),
    ],
)
def test_wrong_words(words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "data.csv", "--out", str(tmp_path / "out"), *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_a_failing_combination_is_a_row_and_the_table_equals_the_histories(
    tiny_pairs: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "variants:\n  plain: {}\n  siglip: {loss.name: siglip}\n"
        f"  broken: {{model.image_weights: {tmp_path / 'broken.safetensors'}}}\nseeds: [0, 1]\n"
    )
    out = tmp_path / "out"
    words = ["sweep", str(tiny_pairs), "--recipe", str(recipe_file), "--grid", str(grid), "--out", str(out)]
    assert main([*words, "--jobs", "2"]) == 1
    shown = capsys.readouterr()
    assert "2 runs failed" in shown.err and shown.out.strip() == f"{out}/sweep.html"
    runs = list(csv.DictReader((out / "runs.csv").open()))
    assert [run["state"] for run in runs] == ["done"] * 4 + ["failed"] * 2
    assert all("broken.safetensors" in run["note"] for run in runs[4:])
    scores = [val_score(out / run["folder"]) for run in runs[:4]]
    assert [float(run["score"]) for run in runs[:4]] == scores
    table = {row["variant"]: row for row in csv.DictReader((out / "sweep.csv").open()) if row["figure"] == "score"}
    assert float(table["plain"]["mean"]) == pytest.approx((scores[0] + scores[1]) / 2)
    gaps = (scores[2] - scores[0], scores[3] - scores[1])
    assert float(table["siglip"]["difference"]) == pytest.approx(sum(gaps) / 2) and table["broken"]["n"] == "0"
    assert "broken, seed 0: failed" in (out / "sweep.md").read_text()

    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/model.safetensors")}
    grid.write_text("variants:\n  plain: {}\n  siglip: {loss.name: siglip}\nseeds: [0, 1]\n")
    assert main(words) == 0  # nothing is run again, the failed variant is gone
    assert "4 of them done before" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/model.safetensors")} == before
    recipe_of = out / "runs" / "plain" / "seed-0"
    grid.write_text("variants:\n  plain: {train.epochs: 3}\nseeds: [0]\n")
    assert main(words) == 2 and "train.epochs: 2 -> 3" in capsys.readouterr().err
    assert recipe_of.exists()


def start(words: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "earthtone", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[str]") -> None:
    for _ in range(2400):
        if last_step(run) >= step or process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_stop_and_a_kill_lose_nothing(tiny_table: Path, recipe_file: Path, tmp_path: Path) -> None:
    changed = {"train.epochs": 150, "train.validate_every": 50}
    out = tmp_path / "out"
    run = out / "runs" / "train.epochs=150,train.validate_every=50" / "seed-0"
    words = ["sweep", str(tiny_table), "--recipe", str(recipe_file), "--out", str(out)]
    words += [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]

    stopped = start(words)
    wait_for_step(run, 30, stopped)
    stopped.send_signal(signal.SIGTERM)
    told = stopped.communicate(timeout=120)[1]
    assert stopped.returncode == 0, told
    assert "stopped by SIGTERM with 0 of 1 runs done; go on with: earthtone sweep" in told
    assert (run / CHECKPOINT_FILE).exists() and "1 of 1 runs are still to be run" in (out / "sweep.md").read_text()

    killed = start(words)
    wait_for_step(run, last_step(run) + 30, killed)
    killed.send_signal(signal.SIGKILL)  # its run notices, keeps where it was, and ends
    killed.communicate()
    again = start(words)
    told = again.communicate(timeout=240)[1]
    assert again.returncode == 0, told
    assert "stopped by SIGTERM" in (run / "output.log").read_text()

    whole = pretrain(tiny_table, tmp_path / "whole", recipe=load_recipe(recipe_file, changed), report=False)
    one, other = load_file(run / WEIGHTS_FILE), load_file(whole.folder / WEIGHTS_FILE)
    assert all(torch.equal(one[name], other[name]) for name in other) and one.keys() == other.keys()
    assert [val_score(run)] == [float(row["score"]) for row in csv.DictReader((out / "runs.csv").open())]
    assert [folder.name for folder in (out / "runs").iterdir()] == [run.parent.name]
