"""Fine-tuning as a task: splits by protocol, several seeds, going on after a stop."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate import finetune as finetune_task
from earthtone.evaluate.finetune import evaluate_finetune
from earthtone.evaluate.results import TaskResult, read_task_result

MODEL = "random:test_resnet"


def tuned(data: Path, **options: Any) -> TaskResult:
    return evaluate_finetune(MODEL, data, **{"pixels": 32, "epochs": 1, "batch_size": 8, "resamples": 50, **options})


def test_modern_over_seeds(class_folder: Path) -> None:
    found = tuned(class_folder, seeds=(0, 1))
    assert found.facts["train_images"] == 24 and found.facts["val_images"] == 8 and len(found.ids) == 8
    assert len(found.facts["accuracy_by_seed"]) == 2 and found.facts["deviation_over_seeds"] is not None
    assert found.figures["accuracy"].value == pytest.approx(np.mean(found.facts["accuracy_by_seed"]))
    assert np.mean(found.scores) == pytest.approx(found.figures["accuracy"].value)
    assert "best of val of 1 epochs" in found.protocol and found.task == "finetune"
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_release_trains_on_even_files(class_folder: Path) -> None:
    found = tuned(class_folder, protocol="soundingearth")
    files = [f"{file.parent.name}/{file.name}" for file in sorted(class_folder.rglob("*.png"))]
    assert list(found.ids) == files[1::2]
    assert found.facts["plan"]["learning_rate"] == 1e-3 and not found.facts["plan"]["augment"]


def test_goes_on_with_the_seeds_that_are_missing(
    class_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = finetune_task.finetune
    trained: list[int] = []

    def stopped(*words: Any, seed: int, **options: Any) -> Any:
        trained.append(seed)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return whole(*words, seed=seed, **options)

    monkeypatch.setattr(finetune_task, "finetune", stopped)
    with pytest.raises(KeyboardInterrupt):
        tuned(class_folder, seeds=(0, 1, 2), out=out)
    assert [file.name for file in out.iterdir()] == ["seed-0.json"]
    found = tuned(class_folder, seeds=(0, 1, 2), out=out)
    assert trained == [0, 1, 1, 2]
    assert read_task_result(out / "result.json").figures == found.figures
    assert found.figures == tuned(class_folder, seeds=(0, 1, 2)).figures
    with pytest.raises(ConfigError, match=r"seed-0.json is of another fine-tuning \(epochs: 1 -> 2.*--out"):
        tuned(class_folder, seeds=(0,), out=out, epochs=2)
    (out / "seed-0.json").write_text("{")
    with pytest.raises(DataError, match="no result of a seed"):
        tuned(class_folder, seeds=(0,), out=out)


def test_broken_images_are_named(write_classes: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_classes(tmp_path / "scenes", 6)
    for name in ("lake/00.png", "lake/03.png"):
        (folder / name).write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        found = tuned(folder)
    assert set(found.facts["broken_images"]) == {"lake/00.png", "lake/03.png"}
    assert "2 of 24 images cannot be read and were left out" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seeds": ()}, ConfigError, "--seeds"),
        ({"seeds": (1, 1)}, ConfigError, "--seeds 1,1; different numbers"),
        ({"protocol": "classic"}, ConfigError, "--protocol classic; modern or soundingearth"),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception], message: str, class_folder: Path) -> None:
    with pytest.raises(error, match=message):
        tuned(class_folder, **options)


def test_one_class_is_none(write_classes: Any, tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "scenes", 6, names=("lake",))
    with pytest.raises(DataError, match="all training images have the class 'lake'"):
        tuned(folder)
