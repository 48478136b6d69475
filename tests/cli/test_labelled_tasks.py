"""`evaluate probe` and `evaluate finetune` on the command line: what they print, what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthtone.cli import main
from earthtone.evaluate.results import read_task_result


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of two classes."""
    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    for number, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for n in range(10):
            pixels = np.random.default_rng([number, n]).integers(
                100 * number, 100 * number + 100, (32, 32, 3), np.uint8
            )
            Image.fromarray(pixels).save(folder / name / f"{n}.png")
    return folder


def words(task: str, scenes: Path, *more: str) -> list[str]:
    known = ["--model", "random:test_resnet", "--data", str(scenes), "--pixels", "32", "--device", "cpu"]
    return ["evaluate", task, *known, *more]


def test_probe_prints_and_writes(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [
        "--method",
        "knn,logistic",
        "--shots",
        "1,2",
        "--draws",
        "2",
        "--stage",
        "1",
        "--cache",
        str(tmp_path / "c"),
    ]
    out = tmp_path / "found.json"
    assert main(words("probe", scenes, *more, "--out", str(out), "--json")) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["headline"] == "knn_accuracy" and "logistic_accuracy@2" in shown["figures"] and "ids" not in shown
    whole = read_task_result(out)
    assert whole.figures["knn_accuracy"].value == shown["figures"]["knn_accuracy"]["value"] and len(whole.ids) == 4
    assert main(words("probe", scenes, *more)) == 0
    assert "knn_accuracy@1" in capsys.readouterr().out and len(list((tmp_path / "c").iterdir())) == 2


def test_the_release_few_shot_protocol(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = words("probe", scenes)
    known = [*known[: known.index("--pixels")], "--protocol", "soundingearth"]
    assert main([*known, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["headline"] == "centroid_accuracy"
    assert main([*known, "--shots", "1"]) == 2
    assert "--shots has no effect" in capsys.readouterr().err


def test_finetune_prints_and_writes(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tuned"
    more = ["--epochs", "1", "--batch_size", "4", "--seeds", "0,1", "--out", str(out)]
    assert main(words("finetune", scenes, *more, "--json")) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["facts"]["seeds"] == [0, 1]
    assert sorted(file.name for file in out.iterdir()) == ["result.json", "seed-0.json", "seed-1.json"]
    assert main(words("finetune", scenes, *more)) == 0
    assert "finetune on scenes: random:test_resnet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "more", "expected"),
    [
        ("probe", ["--shots", "1,x"], "--shots [1, x]; [a whole number, ...] expected"),
        ("probe", ["--shots", "7"], "1 to 6 a class expected"),
        ("probe", ["--method", "svm"], "--method svm;"),
        ("probe", ["--protocol", "release"], "probe or soundingearth expected"),
        ("probe", ["--bands", "1,2"], "--bands [1, 2]; [a whole number, a whole number, a whole number]"),
        ("probe", ["--stage", "9"], "--stage 9"),
        ("probe", ["--label", "kind"], "--label and --columns name columns of a manifest"),
        ("finetune", ["--protocol", "release"], "modern or soundingearth expected"),
        ("finetune", ["--seeds", "0,0"], "different numbers"),
        ("finetune", ["--epoch", "3"], "did you mean --epochs?"),
    ],
)
def test_wrong_calls(
    task: str, more: list[str], expected: str, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(task, scenes, *more)) == 2
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("earthtone: ")]
    assert len(lines) == 1 and expected in lines[0] and shown.out == ""
