"""The page on plug-ins: its modules, commands and entry points, as they stand there, each in a process of its own."""

import csv
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
RECIPE = """\
signal:
  audio: {sample_rate_hz: 16000, window_seconds: 1.0, mels: 32, hop_seconds: 0.02}
  image: {pixels: 32, stored_pixels: 40}
model: {image_encoder: test_resnet, audio_encoder: test_resnet, dimensions: 16}
train: {epochs: 1, batch_size: 8, threads: 1, device: cpu}
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def commands(begin: str) -> list[str]:
    """The page's lines for a shell that begin so; one at least."""
    found = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(begin)]
    assert found, begin
    return found


def write_modules(folder: Path) -> None:
    for block in blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None, block[:40]
        (folder / name[1]).write_text(block)


def run(line: str, folder: Path, *path: Path, ok: bool = True) -> str:
    """What a line of the page prints, run as it stands but for the name of our Python."""
    words = line.replace("earthtone ", f"{sys.executable} -m earthtone ", 1) if line.startswith("earthtone ") else line
    words = words.replace("python train", f"{sys.executable} train")
    found = os.environ.get("PYTHONPATH", "")
    known = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), *([found] if found else [])])}
    done = subprocess.run(words.split(), cwd=folder, env=known, capture_output=True, text=True, timeout=240)
    assert (done.returncode == 0) == ok, f"{line}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def field(
    tmp_path_factory: pytest.TempPathFactory,
    write_pairs: Callable[[Path, int], Path],
    write_classes: Callable[..., Path],
) -> Path:
    """A folder with what the page's commands name, and the page's modules."""
    folder = tmp_path_factory.mktemp("field")
    write_pairs(folder, 24).rename(folder / "pairs.csv")
    write_classes(folder / "scenes", 6)
    (folder / "my_recipe.yaml").write_text(RECIPE)
    draw = np.random.default_rng(0)
    with (folder / "fields.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "audio"])
        for n in range(3):
            draw.integers(0, 256, (48, 48, 3), np.uint8).tofile(folder / f"{n}.rgb")
            draw.normal(0, 0.1, 32_000).astype("<f4").tofile(folder / f"{n}.f32")
            rows.writerow([f"field-{n}", f"{n}.rgb", f"{n}.f32"])
    write_modules(folder)
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package as an installer leaves it: the modules, and metadata that names entry points."""
    folder = tmp_path_factory.mktemp("installed")
    write_modules(folder)
    project = tomllib.loads("".join(blocks("toml")))["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in one.items()) for group, one in groups]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return folder


def test_every_command_of_the_page_is_run_here() -> None:
    run_here = ("plugins", "pretrain", "evaluate probe", "evaluate neighbour", "check", "curate")
    for line in (line for block in blocks("sh") for line in block.splitlines()):
        assert line == "python train.py" or line.removeprefix("earthtone ").startswith(run_here), line


@pytest.mark.slow
def test_plugins_are_listed_with_what_brings_them(field: Path) -> None:
    [line] = commands("earthtone plugins")
    found = json.loads(run(f"{line} --json", field))
    assert found == [
        {"kind": "loss", "name": "cosine_gap", "source": "module my_losses", "state": "ok"},
        {"kind": "task", "name": "neighbour", "source": "module my_tasks", "state": "ok"},
    ]


@pytest.mark.slow
def test_a_loss_trains_and_a_task_measures_the_model(field: Path) -> None:
    [line] = [line for line in commands("earthtone pretrain") if "my_losses" in line]
    told = run(line, field)
    assert "next: earthtone --import my_losses evaluate retrieval" in told
    card = json.loads((field / "runs/gap/card.json").read_text())
    assert card["recipe"]["loss"] | {"twins": ""} == {
        "name": "cosine_gap", "options": {"margin": 0.1}, "place_column": None, "twin_radius_m": 0.0, "twins": "",
    }  # fmt: skip
    [line] = commands("earthtone evaluate neighbour")
    assert re.search(r"same class  \d\.\d{3}  \[", run(line, field))
    assert "neighbour    a plug-in's, from module my_tasks" in run("earthtone evaluate --help --import my_tasks", field)


@pytest.mark.slow
def test_an_encoder_trains_and_its_model_opens_where_the_plugin_is(field: Path) -> None:
    [line] = [line for line in commands("earthtone pretrain") if "my_encoders" in line]
    run(line, field)
    [line] = commands("earthtone evaluate probe")
    assert "accuracy" in run(line, field)
    told = run(line.replace(" --import my_encoders", ""), field, ok=False)
    assert "model.safetensors: encoder 'three_convs' is no timm model and no plug-in's here; install" in told
    assert "--import MODULE" in told


@pytest.mark.slow
def test_readers_read_files_of_their_suffix(field: Path) -> None:
    [line] = commands("earthtone check")
    told = run(line, field)
    assert "3 of 3 rows usable" in told and "48 x 48 (3)" in told and "16000 (3)" in told
    assert "0 of 3 rows usable" in run(line.replace(" --import my_readers", ""), field, ok=False)


@pytest.mark.slow
def test_a_tagger_hears_each_row(field: Path) -> None:
    [line] = commands("earthtone curate")
    assert "3 of 3 rows stay" in run(line, field)


@pytest.mark.slow
def test_callbacks_and_loggers_see_a_training(field: Path) -> None:
    assert re.search(r"step 2 of 2: \d", run("python train.py", field))
    [line] = [line for line in commands("earthtone pretrain") if "--logger" in line]
    run(line, field)
    for file in ("runs/told/figures/version_0/metrics.csv", "runs/csv/csv/version_0/metrics.csv"):
        assert "val_score" in (field / file).read_text(), file
    assert "train.batch_size: 8" in (field / "runs/csv/csv/version_0/hparams.yaml").read_text()


@pytest.mark.slow
def test_all_processes_of_a_sweep_have_the_plugins(field: Path) -> None:
    """Each run has two processes: the sweep starts one, and Lightning in that one the other."""
    told = run(
        "earthtone sweep pairs.csv --recipe my_recipe.yaml --import my_losses --set loss.name=cosine_gap "
        "--set train.devices=2 --out swept", field,
    )  # fmt: skip
    assert "[1/1]" in told and "failed" not in told


@pytest.mark.slow
def test_an_installed_package_needs_no_import(field: Path, package: Path, tmp_path: Path) -> None:
    """The folder has no modules: they come from the package."""
    for file in field.iterdir():
        if file.suffix != ".py" and (file.is_file() or file.name == "scenes"):
            (tmp_path / file.name).symlink_to(file)
    found = json.loads(run("earthtone plugins --json", tmp_path, package))
    assert [(one["kind"], one["name"], one["source"], one["state"]) for one in found] == [
        ("loss", "cosine_gap", "field-recipes 1.2", "ok"),
        ("encoder", "three_convs", "field-recipes 1.2", "ok"),
        ("image reader", ".rgb", "field-recipes 1.2", "ok"),
        ("audio reader", ".f32", "field-recipes 1.2", "ok"),
        ("tagger", "hum", "field-recipes 1.2", "ok"),
        ("task", "neighbour", "field-recipes 1.2", "ok"),
    ]
    assert "3 of 3 rows usable" in run("earthtone check fields.csv", tmp_path, package)
    run(
        "earthtone pretrain pairs.csv --recipe my_recipe.yaml --loss.name cosine_gap --out run "
        "--model.image_encoder three_convs", tmp_path, package,
    )  # fmt: skip
    assert "same class" in run("earthtone evaluate neighbour --model run --data scenes", tmp_path, package)
