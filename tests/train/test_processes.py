"""Real processes that train together: they equal one, they stop together, they notice a death, they resume exactly."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from earthtone.data.packed import Table
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.train.checkpoint import CHECKPOINT_FILE, read_history
from earthtone.train.fit import fit
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig

pytestmark = pytest.mark.slow

_SCRIPT = """
import sys
from pathlib import Path
from earthtone.data.packed import Table
from earthtone.errors import EarthtoneError
from earthtone.train.fit import fit
from earthtone.train.recipe_file import load_recipe
try:
    run = Path(sys.argv[3])
    result = fit(Table(sys.argv[1]), load_recipe(sys.argv[2]), run, resume="resume" in sys.argv)
    print("rank", result.rank, "finished", result.finished, result.stopped_by, result.progress.step, flush=True)
except EarthtoneError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
_PATIENCE = 150  # seconds; a busy machine starts slowly


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(script: Path, *words: object) -> "list[subprocess.Popen[str]]":
    """Two processes as torchrun starts them, but under our hands."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, words)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def ended(processes: "list[subprocess.Popen[str]]") -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    try:
        return [
            (process.wait(), out, err) for process in processes for out, err in [process.communicate(timeout=_PATIENCE)]
        ]
    finally:
        for process in processes:
            process.kill()


def wait_for_change(path: Path, processes: "list[subprocess.Popen[str]]") -> None:
    """Until the file is written anew."""
    before = path.stat().st_mtime_ns if path.exists() else None
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and all(process.poll() is None for process in processes):
        if path.exists() and path.stat().st_mtime_ns != before:
            return
        time.sleep(0.02)


def without_seconds(run: Path) -> list[dict[str, float]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_history(run)]


def test_stops_and_deaths_change_nothing(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    """A queue, momentum encoders, chunks, look-alikes and random draws; a stop and a death in mid-epoch.

    The run without a stop is started by Lightning from one process, those with stops as torchrun does it.
    """
    train = replace(
        tiny_recipe.train, epochs=12, batch_size=8, devices=2, chunk_size=3, momentum=0.9, keep="last",
        validate_every=0, checkpoint_seconds=0.0, precision="32",
    )  # fmt: skip
    model = replace(tiny_recipe.model, drop_path=0.3)
    recipe = replace(tiny_recipe, train=train, model=model, loss=LossConfig("infonce_memory", {"batches": 2}))
    recipe = replace(recipe, sampler=SamplerConfig(similar_share=0.25, refresh_epochs=3))
    script, written, parts = tmp_path / "script.py", tmp_path / "recipe.yaml", tmp_path / "parts"
    script.write_text(_SCRIPT)
    written.write_text(recipe.to_yaml())
    whole = subprocess.run(
        [sys.executable, str(script), str(tiny_table), str(written), str(tmp_path / "whole")],
        capture_output=True, text=True, timeout=_PATIENCE,
    )  # fmt: skip
    assert whole.returncode == 0 and "rank 0 finished True None 24" in whole.stdout, whole.stderr

    processes = start(script, tiny_table, written, parts)
    wait_for_change(parts / CHECKPOINT_FILE, processes)
    processes[1].send_signal(signal.SIGTERM)
    stopped = ended(processes)
    steps = [int(out.split()[-1]) for _, out, _ in stopped]
    assert [code for code, _, _ in stopped] == [0, 0] and steps[0] == steps[1] < 24, stopped
    assert all("finished False SIGTERM" in out for _, out, _ in stopped)
    kept = load_file(parts / CHECKPOINT_FILE)
    assert int(kept["task.loss.queue.pushed"]) == 8 * steps[0]

    processes = start(script, tiny_table, written, parts, "resume")
    wait_for_change(parts / CHECKPOINT_FILE, processes)
    killed = time.monotonic()
    processes[1].send_signal(signal.SIGKILL)
    (code, _, told), (other_code, _, _) = ended(processes)
    assert time.monotonic() - killed < 60
    assert other_code == -signal.SIGKILL and code == 1
    line = next(line for line in told.splitlines() if line.startswith("ProcessError"))
    assert "process 0 of 2 stops: another process" in line and "--resume" in line

    finished = ended(start(script, tiny_table, written, parts, "resume"))
    assert [code for code, _, _ in finished] == [0, 0], finished
    one, other = (load_file(run / "model.safetensors") for run in (tmp_path / "whole", parts))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert without_seconds(tmp_path / "whole") == without_seconds(parts)


def test_two_processes_under_torchrun_train_as_one(tiny_pairs: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    """The whole verb, packing included; encoders without batch norms, whose statistics would be those of a share."""
    model = replace(tiny_recipe.model, image_encoder="test_convnext", audio_encoder="test_convnext")
    train = replace(tiny_recipe.train, epochs=2, batch_size=8, precision="32", keep="last")
    recipe = replace(tiny_recipe, model=model, train=train)
    written, run = tmp_path / "recipe.yaml", tmp_path / "two"
    written.write_text(recipe.to_yaml())
    words = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port())]
    words += ["-m", "earthtone", "pretrain", str(tiny_pairs), "--out", str(run), "--recipe", str(written)]
    done = subprocess.run(
        [sys.executable, *words, "--train.devices", "2"], capture_output=True, text=True, timeout=_PATIENCE
    )
    assert done.returncode == 0 and done.stdout.count("4 steps") == 1, done.stderr
    assert (run / "report.html").exists() and json.loads((run / "run.json").read_text())["finished"]
    fit(Table(run / "table.lance"), recipe, tmp_path / "one")
    one, two = (load_file(folder / "model.safetensors") for folder in (tmp_path / "one", run))
    for key, value in one.items():
        assert torch.allclose(value, two[key], atol=1e-4), key
    losses = [[line["loss"] for line in read_history(folder) if "loss" in line] for folder in (tmp_path / "one", run)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_encoders_that_join_do_so_in_all_processes(tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path) -> None:
    """Two processes equal one; weights that stand still are neither decayed nor waited for."""
    names = {"image_encoder": "test_convnext", "audio_encoder": "test_convnext"}  # without batch norms
    begun = TwoTower(replace(tiny_recipe.model, **names), tiny_recipe.signal)
    donor = str(save_model(tmp_path, begun, {}))
    model = replace(begun.config, image_weights=donor, audio_weights=donor)
    train = replace(
        tiny_recipe.train, epochs=2, batch_size=8, precision="32", keep="last", validate_every=0, weight_decay=0.5,
        freeze="image", unfreeze_step=2, layer_decay=0.8,
    )  # fmt: skip
    recipe = replace(tiny_recipe, model=model, train=train)
    fit(Table(tiny_table), recipe, tmp_path / "one")
    script, written = tmp_path / "script.py", tmp_path / "recipe.yaml"
    script.write_text(_SCRIPT)
    written.write_text(replace(recipe, train=replace(train, devices=2)).to_yaml())
    done = ended(start(script, tiny_table, written, tmp_path / "two"))
    assert [code for code, _, _ in done] == [0, 0], done
    one, two = (load_file(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    for key, value in one.items():
        assert torch.allclose(value, two[key], atol=1e-4), key
    assert not torch.equal(
        one["image_tower.encoder.stem.0.weight"], begun.state_dict()["image_tower.encoder.stem.0.weight"]
    )
    losses = [[line["loss"] for line in read_history(tmp_path / run) if "loss" in line] for run in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
