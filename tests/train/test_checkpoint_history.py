"""The log survives kills and is cut at the step a resume starts from."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from earthtone.train.checkpoint import LOG_FILE, History, last_step, read_history


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
