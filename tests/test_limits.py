"""Few open files, little memory, small disks, Ctrl-C: work is done or a line says why not; nothing hangs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from earthtone.progress import ordered_map

resource = pytest.importorskip("resource")
pytestmark = [pytest.mark.timeout(240), pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")]
WritePairs = Callable[[Path, int], Path]


def limited(limits: dict[str, int], calls: Sequence[Sequence[str]], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run calls of the command line, one after the other, in a process with limits; it ends with the last code."""
    code = (
        "import resource, sys\n"
        f"for name, most in {limits!r}.items(): resource.setrlimit(getattr(resource, name), (most, most))\n"
        "from earthtone.cli import main\n"
        f"codes = [main(words) for words in {[list(words) for words in calls]!r}]\n"
        "sys.exit(codes[-1])\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, env=environment)


def the_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a failed call."""
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("earthtone: "))


@pytest.mark.slow
def test_sixteen_open_files_are_enough(tmp_path: Path, write_pairs: WritePairs) -> None:
    write_pairs(tmp_path, 24)
    pack = ["pack", "manifest.csv", "--out", "t.lance", "--threads", "6"]
    done = limited({"RLIMIT_NOFILE": 16}, [["check", "manifest.csv"], pack], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "24 of 24 rows usable" in done.stdout and "24 pairs added" in done.stdout


@pytest.mark.slow
def test_too_few_open_files(tmp_path: Path, write_pairs: WritePairs) -> None:
    write_pairs(tmp_path, 6)
    done = limited({"RLIMIT_NOFILE": 8}, [["pack", "manifest.csv", "--out", "t.lance"]], tmp_path)
    assert "ulimit -n 1024" in the_line(done)


@pytest.mark.parametrize("megabytes", [300, 1500])
def test_little_memory(megabytes: int, tmp_path: Path, write_pairs: WritePairs) -> None:
    write_pairs(tmp_path, 6)
    words = ["pack", "manifest.csv", "--out", "t.lance", "--threads", "1"]
    done = limited({"RLIMIT_AS": megabytes * 2**20}, [words], tmp_path)
    assert done.returncode not in (1, -signal.SIGSEGV) and "Traceback" not in done.stderr
    if done.returncode == 2:
        assert "not enough memory" in the_line(done)


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, write_pairs: WritePairs) -> None:
    write_pairs(tmp_path, 12)
    done = limited({"RLIMIT_FSIZE": 8192}, [["pack", "manifest.csv", "--out", "t.lance"]], tmp_path)
    assert "cannot write" in the_line(done) and "File too large" in the_line(done)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 4.0])
def test_ctrl_c(seconds: float, tmp_path: Path, write_pairs: WritePairs) -> None:
    write_pairs(tmp_path, 60)
    command = [sys.executable, "-m", "earthtone", "check", "manifest.csv"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGINT), told
    if process.returncode == 130:
        assert told.endswith("earthtone: stopped\n") and "Traceback" not in told


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit])
def test_threads_that_fail_do_not_hang(error: type[BaseException]) -> None:
    def work(item: int) -> int:
        if item == 5:
            raise error
        return item

    with pytest.raises(error):
        list(ordered_map(work, range(50), 3))


def test_threads_that_cannot_be_started_do_not_hang() -> None:
    code = (
        "import resource, threading\n"
        "from earthtone.progress import ordered_map\n"
        "threading.stack_size(2**28)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29))\n"
        "try: print(sum(ordered_map(lambda item: item, range(1000), 64)))\n"
        "except RuntimeError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() in ("can't start new thread", str(sum(range(1000)))), done.stderr
