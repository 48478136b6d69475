"""How far a sweep is, read from the logs of its runs; what each of several runs at a time gets of the machine."""

from pathlib import Path

import pytest

from earthtone.errors import ConfigError
from earthtone.studies import sweep as module
from earthtone.studies.sweep import StepProgress, job_environments
from earthtone.train.checkpoint import LOG_FILE
from earthtone.train.recipe_file import load_recipe


def write(run: Path, step: int) -> None:
    run.mkdir(exist_ok=True)
    (run / LOG_FILE).write_text(f'{{"step": {step}, "loss": 1.0}}\n')


def test_time_left_counts_this_calls_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    runs = [tmp_path / name for name in "abc"]
    write(runs[0], 100)  # done before
    progress = StepProgress(dict.fromkeys(runs, 100))
    assert progress.left_text() == ""
    now[0] = 30.0
    write(runs[1], 50)
    progress.look()
    assert progress.left_text() == "; about 2 min left"  # 150 steps, 50 took 30 s
    progress.drop(runs[2])
    assert progress.left_text() == "; about 30 s left"
    now[0] = 60.0
    write(runs[1], 100)
    progress.look()
    assert progress.left_text() == ""
    progress.bar.close()


def test_places_share_threads(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe(recipe_file)
    assert job_environments(1, [recipe]) == [{}]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [set(place) for place in job_environments(2, [recipe])] == [{"OMP_NUM_THREADS"}] * 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert job_environments(2, [recipe]) == [{}, {}]
    with pytest.raises(ConfigError, match=r"train\.devices 2 go one at a time"):
        job_environments(2, [load_recipe(recipe_file, {"train.devices": 2})])
