"""What a run keeps on disk: its log survives kills, and it goes on only as what it was begun as."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from earthtone.cli import main
from earthtone.errors import ConfigError, DataError, flat
from earthtone.train.checkpoint import (
    LOG_FILE,
    STATE_FILE,
    History,
    last_step,
    open_run,
    read_history,
    read_start,
    write_state,
)
from earthtone.train.recipe import Recipe


def test_lines_read_back(tmp_path: Path) -> None:
    with History(tmp_path, 0) as history:
        history.add(10, {"loss": 2.0})
        history.add(20, {"loss": 1.0, "lr": 0.1})
    assert read_history(tmp_path) == [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0, "lr": 0.1}]
    assert any((tmp_path / "tensorboard").iterdir())


def test_resume_drops_what_will_be_done_again(tmp_path: Path) -> None:
    with History(tmp_path, 0) as history:
        for step in (10, 20, 30):
            history.add(step, {"loss": 1.0})
    with History(tmp_path, 20) as history:
        history.add(25, {"loss": 0.5})
    assert [line["step"] for line in read_history(tmp_path)] == [10, 20, 25]


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_text(json.dumps({"step": 10, "loss": 1.0}) + '\n{"step": 20, "lo')
    assert read_history(tmp_path) == [{"step": 10, "loss": 1.0}]
    assert read_history(tmp_path / "nowhere") == []


_FULL = """
import resource, sys
from pathlib import Path
from earthtone.errors import DataError
from earthtone.train.checkpoint import History
with History(Path(sys.argv[1]), 0) as history:
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
    try:
        for step in range(100):
            history.add(step, {"loss": 1.0})
    except DataError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert "cannot write" in done.stdout and "free the disk, then --resume" in done.stdout, done.stderr
    assert "Traceback" not in done.stdout and len(read_history(tmp_path)) >= 1


def test_last_step_reads_whole_lines_at_the_end_of_the_file(tmp_path: Path) -> None:
    assert last_step(tmp_path) == 0
    lines = [json.dumps({"step": step, "loss": 0.5, "note": "x" * 50}) for step in range(0, 2000, 10)]
    (tmp_path / LOG_FILE).write_text("\n".join(lines) + '\n{"step": 2000, "lo')
    assert last_step(tmp_path) == 1990 == read_history(tmp_path)[-1]["step"]
    (tmp_path / LOG_FILE).write_text("")
    assert last_step(tmp_path) == 0


IDENTITY = {**flat(asdict(Recipe())), "data": "abc"}
LATER = ("model.unit", "model.sound_scale", "model.scale_input", "signal.image.view", "train.strategy")


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """A run that was begun before these options were."""
    write_state(tmp_path, {key: value for key, value in IDENTITY.items() if key not in LATER}, finished=False)
    return tmp_path


def test_a_run_of_before_goes_on(old_run: Path) -> None:
    assert open_run(old_run, IDENTITY, resume=True) is False


@pytest.mark.parametrize(("key", "value"), [("model.unit", False), ("signal.image.view", 0.75), ("data", "xyz")])
def test_but_not_as_something_else(old_run: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"--resume with something else .*{key}: .* -> {value!r}"):
        open_run(old_run, {**IDENTITY, key: value}, resume=True)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "3", "null", '"text"', "{}", '{"finished": true}', '{"identity": {}}', '{"finished": 1, "identity": {}}',
        '{"finished": true, "identity": []}', '{"finished": true, "identity": {}, "start": 3}', "", "{", "[" * 100_000,
        '{"finished": "no", "identity": {}}',
    ],
)  # fmt: skip
def test_a_state_of_another_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    for read in (lambda: open_run(tmp_path, IDENTITY, resume=True), lambda: read_start(tmp_path)):
        with pytest.raises(DataError, match=r"run\.json cannot be read \(.*; choose another --out") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_finished_run_without_its_log(
    tiny_table: Path, tmp_path: Path, tiny_recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    from earthtone.studies.pretrain import pretrain

    run = tmp_path / "run"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(tiny_recipe.to_yaml())
    assert pretrain(tiny_table, run, recipe=tiny_recipe).finished
    words = ["pretrain", str(tiny_table), "--out", str(run), "--recipe", str(recipe), "--resume"]
    log = (run / "log.jsonl").read_text()
    for odd in ('{"step": "x"}\n', "", '[1]\n{"step": true}\n', '{"step": -3}\n', None):
        if odd is None:
            (run / "log.jsonl").unlink()
        else:
            (run / "log.jsonl").write_text(odd)
        assert main(words) == 2
        told = capsys.readouterr().err
        assert "says that its training has ended, but log.jsonl has no step" in told and told.count("\n") == 1
    (run / "log.jsonl").write_text('{"step": 1, "seconds": "long", "loss": null, "lr": [1]}\n' + log)
    assert read_history(run)[0] == {"step": 1}
    assert main(words) == 0
    evaluate = ["evaluate", "retrieval", "--model", str(run), "--data", str(tiny_table), "--resamples", "2"]
    assert main(evaluate) == 0  # its report draws the log
    (run / "log.jsonl").unlink()
    (run / "log.jsonl").mkdir()
    assert last_step(run) == 0
    capsys.readouterr()
    for again in (words, evaluate):
        assert main(again) == 2
        assert "log.jsonl cannot be read" in capsys.readouterr().err
    (run / STATE_FILE).write_text(json.dumps([json.loads((run / STATE_FILE).read_text())]))
    assert main(words) == 2
    assert "run.json cannot be read (list, a mapping expected)" in capsys.readouterr().err
