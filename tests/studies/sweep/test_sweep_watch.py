"""How far a sweep is, read from the logs of its runs."""

from pathlib import Path

import pytest

from earthtone.studies import sweep as module
from earthtone.studies.sweep import Watch
from earthtone.train.checkpoint import LOG_FILE


def write(run: Path, step: int) -> None:
    run.mkdir(exist_ok=True)
    (run / LOG_FILE).write_text(f'{{"step": {step}, "loss": 1.0}}\n')


def test_time_left_counts_this_calls_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    runs = [tmp_path / name for name in "abc"]
    write(runs[0], 100)  # done before
    watch = Watch(dict.fromkeys(runs, 100))
    assert watch.left_text() == ""
    now[0] = 30.0
    write(runs[1], 50)
    watch.look()
    assert watch.left_text() == "; about 2 min left"  # 150 steps, 50 took 30 s
    watch.drop(runs[2])
    assert watch.left_text() == "; about 30 s left"
    now[0] = 60.0
    write(runs[1], 100)
    watch.look()
    assert watch.left_text() == ""
    watch.close()
