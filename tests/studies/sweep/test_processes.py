"""Processes that sweeps start: some at a time, named when they fail, stopped in peace, never left behind."""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from earthtone.studies.processes import STOPPED, Ended, Job, run_jobs
from earthtone.train.callbacks import Stopping
from earthtone.train.distributed import World

PATIENT = (  # as a training: SIGTERM lets it end well
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (sys.stderr.write('earthtone: kept\\n'), sys.exit(3)))\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)\n"
)


def job(folder: Path, name: str, code: str) -> Job[str]:
    return Job(name, [sys.executable, "-S", "-c", code], folder / name / "output.log")


def all_of(jobs: Sequence[Job[str]], environments: Sequence[Mapping[str, str]]) -> dict[str, Ended[str]]:
    return {end.unit: end for end in run_jobs(jobs, environments, Stopping(World()))}


def test_each_failure_is_one_line_and_not_the_end(tmp_path: Path) -> None:
    codes = {
        "good": "print('fine')",
        "told": "import sys; sys.stderr.write('noise\\nearthtone: no such encoder\\n'); sys.exit(2)",
        "killed": "import os; os.kill(os.getpid(), 9)",
        "odd": "raise MemoryError('too large')",
    }
    ends = all_of([job(tmp_path, name, code) for name, code in codes.items()], [{}, {}])
    assert ends["good"].status == 0 and "fine" in (tmp_path / "good" / "output.log").read_text()
    assert ends["told"].reason() == "no such encoder"
    assert ends["killed"].reason() == "killed by SIGKILL; where nobody killed it, memory ran out"
    assert ends["odd"].reason() == "exit status 1: MemoryError: too large"


def test_as_many_at_a_time_as_there_are_places_each_with_its_own(tmp_path: Path) -> None:
    code = f"import os, pathlib, time; p = pathlib.Path({str(tmp_path)!r}); n = os.environ['PLACE']; " + (
        "(p / n).mkdir(); time.sleep(0.2); (p / n).rmdir()"  # fails where another is in the same place
    )
    jobs = [job(tmp_path, f"job{n}", code) for n in range(4)]
    ends = all_of(jobs, [{"PLACE": "one"}, {"PLACE": "two"}])
    assert len(ends) == 4 and all(end.status == 0 for end in ends.values())


def test_only_what_this_process_wrote_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "output.log").write_text("earthtone: of yesterday\n")
    end = all_of([job(tmp_path, "again", "import sys; sys.exit(5)")], [{}])["again"]
    assert end.reason() == "exit status 5" and "yesterday" in (tmp_path / "again" / "output.log").read_text()


def wait_ready(log: Path) -> None:
    for _ in range(200):
        if log.exists() and "ready" in log.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{log} never got ready")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_all_end_and_starts_no_more(tmp_path: Path, number: signal.Signals) -> None:
    jobs = [job(tmp_path, f"job{n}", PATIENT) for n in range(3)]
    stopping, sent = Stopping(World()), []

    def stop_us() -> None:
        if not sent:
            for n in range(2):
                wait_ready(tmp_path / f"job{n}" / "output.log")
            sent.append(os.kill(os.getpid(), number))

    with stopping.signals():
        stopping.listen()
        ends = list(run_jobs(jobs, [{}, {}], stopping, tick=stop_us))
    assert stopping.stopped_by is number and {end.unit for end in ends} == {"job0", "job1"}
    assert all(end.status == STOPPED and end.stopped and end.reason() == "kept" for end in ends)


def test_an_error_of_ours_leaves_nothing_running(tmp_path: Path) -> None:
    code = f"import os, pathlib; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n{PATIENT}"

    def break_down() -> None:
        wait_ready(tmp_path / "job" / "output.log")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(run_jobs([job(tmp_path, "job", code)], [{}], Stopping(World()), tick=break_down))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
