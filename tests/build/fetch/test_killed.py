"""Real processes, really killed: the next call ends with what an undisturbed one gives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Stage, WriteCatalogue, noise, slow, tree, zipped

from earthtone.build.fetch import fetch

FILES = {f"images/{n:04d}.jpg": noise(600, seed=n) for n in range(1500)}
ARCHIVE = zipped(FILES)

pytestmark = pytest.mark.slow


def start(catalogue: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "earthtone", "fetch", "tiny", "--out", str(out), "--catalogue", str(catalogue)]
    return subprocess.Popen([*words, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    return stdout


def kill_when(process: "subprocess.Popen[str]", ready: Callable[[], bool]) -> None:
    """SIGKILL as soon as something is to be seen on the disk."""
    end = time.monotonic() + 60
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0)  # 0: a busy machine let it end before us


@pytest.fixture
def undisturbed(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """The catalogue, and what an undisturbed fetch gives."""
    catalogue = write_catalogue("a.zip", ARCHIVE, unpack="zip")
    fetch("tiny", tmp_path / "undisturbed", catalogue=catalogue)
    return catalogue, tree(tmp_path / "undisturbed")


def test_killed_while_downloading(undisturbed: tuple[Path, dict[str, str]], stage: Stage, tmp_path: Path) -> None:
    catalogue, expected = undisturbed
    assert len(expected) == len(FILES)
    out = tmp_path / "out"
    part = out / ".fetch" / "a.zip.part"
    for share in (0.3, 0.6):
        stage.script["/a.zip"] = [slow(20_000, 0.02)]
        process = start(catalogue, out)
        kill_when(process, lambda at=share: part.exists() and part.stat().st_size > at * len(ARCHIVE))  # type: ignore[misc]
        assert tree(out) == {}
    assert f"it lies in {out}\nnext: earthtone check {out}" in finish(start(catalogue, out))
    assert tree(out) == expected
    asked = stage.ranges()[-2:]
    assert asked[0] is not None, "each call went on where the one before was killed"
    assert asked[1] is not None
    assert int(asked[1].removeprefix("bytes=").rstrip("-")) > 0.6 * len(ARCHIVE)


def test_killed_while_unpacking(undisturbed: tuple[Path, dict[str, str]], stage: Stage, tmp_path: Path) -> None:
    catalogue, expected = undisturbed
    out = tmp_path / "out"
    bare = out / ".fetch" / "a.zip.bare" / "images"
    for count in (1, 700):
        process = start(catalogue, out)
        kill_when(process, lambda at=count: bare.exists() and len(list(bare.iterdir())) >= at)  # type: ignore[misc]
        assert tree(out) == {}, "nothing half-unpacked is where data is looked for"
    asked = len(stage.seen)
    finish(start(catalogue, out))
    assert tree(out) == expected
    assert len(stage.seen) == asked, "the whole archive was kept"


def test_killed_while_moving_in(undisturbed: tuple[Path, dict[str, str]], stage: Stage, tmp_path: Path) -> None:
    """A folder that has other files already is filled file by file; stopped there, it is gone on from."""
    catalogue, expected = undisturbed
    out = tmp_path / "out"
    mine = out / "images" / "mine.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    process = start(catalogue, out)
    kill_when(process, lambda: len(list(mine.parent.iterdir())) > 10)
    asked = len(stage.seen)
    finish(start(catalogue, out))
    assert len(stage.seen) == asked
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    assert tree(out) == expected


def test_two_processes_into_one_folder(undisturbed: tuple[Path, dict[str, str]], stage: Stage, tmp_path: Path) -> None:
    catalogue, expected = undisturbed
    stage.seen.clear()
    stage.always["/a.zip"] = slow(50_000, 0.01)
    both = [start(catalogue, tmp_path / "out") for _ in range(2)]
    printed = sorted(finish(process).splitlines()[0] for process in both)
    assert tree(tmp_path / "out") == expected
    assert [line.split(": ")[1] for line in printed] == [
        "0 files fetched, 1 were there already", "1 files fetched, 0 were there already",
    ]  # fmt: skip
    assert len(stage.seen) == 1


def test_a_disk_that_takes_no_more(undisturbed: tuple[Path, dict[str, str]], stage: Stage, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: told in one line, and gone on from when there is room."""
    catalogue, expected = undisturbed
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000));"
        "from earthtone.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["fetch", "tiny", "--out", str(tmp_path / "out"), "--catalogue", str(catalogue)]
    done = subprocess.run([sys.executable, "-c", limited, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "File too large; free the disk or choose another --out, and type the same again" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out" / ".fetch" / "a.zip.part").stat().st_size == 500_000
    finish(start(catalogue, tmp_path / "out"))
    assert stage.ranges()[-1] == "bytes=500000-"
    assert tree(tmp_path / "out") == expected
