"""A sweep really runs: its numbers are the runs' own, a failure is a row, stops and kills lose nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from earthtone.cli import main
from earthtone.data.pack import pack
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.probe import evaluate_probe
from earthtone.evaluate.retrieval import evaluate_retrieval
from earthtone.models.storage import WEIGHTS_FILE
from earthtone.signal.config import SignalConfig
from earthtone.studies.pretrain import pretrain
from earthtone.studies.sweep import sweep
from earthtone.studies.sweep_grid import Grid, Measure, read_figures
from earthtone.studies.sweep_worker import one_run
from earthtone.train.checkpoint import CHECKPOINT_FILE, last_step, read_history
from earthtone.train.recipe_file import load_recipe


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, write_pairs: Callable[[Path, int], Path]) -> Path:
    """The manifest of 72 pairs, 12 of them val: more than ten, so that R@10 is not all of them."""
    return write_pairs(tmp_path_factory.mktemp("pairs"), 72)


def val_score(run: Path) -> float:
    """The validation of the step whose weights were kept, by the run's own log and card."""
    step = json.loads((run / "card.json").read_text())["step"]
    return next(line["val_score"] for line in read_history(run) if "val_score" in line and line["step"] == step)


def test_a_run_is_trained_measured_and_told(tiny_table: Path, recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(load_recipe(recipe_file, {"train.epochs": 1}).to_yaml())
    assert one_run(tmp_path, tiny_table, Measure(), resume=False) is None
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert told["figures"]["score"] == val_score(tmp_path) and told["kept_step"] == 4
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_figures_of_a_run_are_its_own_and_those_of_the_verbs(
    pairs: Path, tiny_signal: SignalConfig, recipe_file: Path, tmp_path: Path
) -> None:
    table = pack(pairs, tmp_path / "pairs.lance", signal=tiny_signal).path
    run, measure = tmp_path / "run", Measure(match="label", probe=str(pairs), probe_label="label")
    run.mkdir()
    (run / "recipe.yaml").write_text(load_recipe(recipe_file, {"train.seed": 3, "train.epochs": 1}).to_yaml())
    assert one_run(run, table, measure, resume=False) is None
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
    freeze = {"model.image_weights": [str(recipe_file)], "train.freeze": ["image"]}  # opened by the run alone
    with pytest.raises(ConfigError, match="unfreeze_step is 8, but the training has 8 steps"):
        sweep(tiny_table, out, recipe=recipe_file, grid=Grid({**freeze, "train.unfreeze_step": [8]}))
    with pytest.raises(ConfigError, match="packed with another signal config"):
        sweep(tiny_table, out, recipe=recipe_file, grid=Grid({"signal.audio.mels": [32, 16]}))
    with pytest.raises(DataError, match="no label column 'scene'"):
        sweep(tiny_table, out, recipe=recipe_file, match="scene", seeds=(0,))
    with pytest.raises(ConfigError, match="probe_label and probe_columns are for --probe"):
        sweep(tiny_table, out, recipe=recipe_file, probe_label="label", seeds=(0,))
    with pytest.raises(DataError):
        sweep(tiny_table, out, recipe=recipe_file, probe=str(tmp_path / "none"), seeds=(0,))
    assert not list(out.glob("runs/*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to vary"),
        (["--set", "train.epochs=2", "--grid", "g.yaml"], "--set and --grid both"),
        (["--seeds", "a"], "--seeds [a]; [a whole number, ...]"),
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


LONG = {"train.epochs": 30, "train.validate_every": 10}


@pytest.fixture(scope="module")
def whole(tiny_table: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `LONG` without a stop."""
    recipe = load_recipe(recipe_file, LONG)
    return pretrain(tiny_table, tmp_path_factory.mktemp("whole") / "run", recipe=recipe, report=False).folder


def long_sweep(table: Path, recipe: Path, out: Path) -> tuple[list[str], Path]:
    """The words of a sweep of one run, and the run's folder."""
    axes = [f"{key}={value}" for key, value in LONG.items()]
    words = ["sweep", str(table), "--recipe", str(recipe), "--out", str(out)]
    return [*words, *(word for axis in axes for word in ("--set", axis))], out / "runs" / ",".join(axes) / "seed-0"


def wait_for_step(run: Path, step: int) -> None:
    for _ in range(6000):
        if last_step(run) >= step:
            return
        time.sleep(0.05)
    raise AssertionError(f"{run} never came to step {step}")


def assert_same(run: Path, whole: Path) -> None:
    one, other = load_file(run / WEIGHTS_FILE), load_file(whole / WEIGHTS_FILE)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in other)
    runs = list(csv.DictReader((run.parents[2] / "runs.csv").open()))
    assert [float(row["score"]) for row in runs] == [val_score(run)] == [val_score(whole)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stop_loses_nothing(
    tiny_table: Path, recipe_file: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, run = long_sweep(tiny_table, recipe_file, tmp_path / "out")

    def stop_us() -> None:
        wait_for_step(run, 10)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_us)
    stopper.start()
    assert main(words) == 0
    stopper.join()
    told = capsys.readouterr().err
    assert "stopped by SIGTERM with 0 of 1 runs done; go on with: earthtone sweep" in told
    assert (run / CHECKPOINT_FILE).exists()
    assert "1 of 1 runs are still to be run" in (tmp_path / "out" / "sweep.md").read_text()
    assert main(words) == 0
    assert_same(run, whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_loses_nothing_and_leaves_no_run_behind(
    tiny_table: Path, recipe_file: Path, whole: Path, tmp_path: Path
) -> None:
    words, run = long_sweep(tiny_table, recipe_file, tmp_path / "out")
    killed = subprocess.Popen([sys.executable, "-m", "earthtone", *words], stderr=subprocess.DEVNULL)
    wait_for_step(run, 10)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert main(words) == 0  # the run that was left alone notices, keeps where it was, and ends before it goes on
    assert "stopped by SIGTERM after step" in (run / "output.log").read_text()
    assert_same(run, whole)


@pytest.mark.slow
def test_all_processes_of_a_run_know_that_it_is_new(tiny_table: Path, recipe_file: Path, tmp_path: Path) -> None:
    swept = sweep(tiny_table, tmp_path / "out", recipe=recipe_file, grid=Grid({"train.devices": [2]}))
    (run,) = swept.table.runs
    assert run.state == "done", run.why
    assert "holds no checkpoint yet" not in (tmp_path / "out" / run.folder / "output.log").read_text()
