"""A file is whole or absent, whatever happens while it is written."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from earthtone.errors import ConfigError, DataError
from earthtone.files import LOCK_FILE, atomic_path, only_writer, write_text_atomic
from earthtone.models.weights import write_safetensors


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".txt" and temporary.name.startswith(".")
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and names(path.parent) == ["a.txt"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "Straße am Øresund\n")
    assert (tmp_path / "a.txt").read_bytes() == "Straße am Øresund\n".encode()


def test_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*a.txt: File too large; choose another --out or free the"):
            write_text_atomic(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a file")
    with pytest.raises(DataError, match=r"cannot write .*file.txt/a.json: .*; choose another --out"):
        write_text_atomic(tmp_path / "file.txt" / "a.json", "{}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"cannot write .*Permission denied"):
        write_text_atomic(tmp_path / "a.json", "{}")
    tmp_path.chmod(0o700)


def test_errors_about_other_files_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "elsewhere").read_text()
    assert not list(tmp_path.iterdir())


def test_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(n) * 100_000 for n in range(8)]
    threads = [threading.Thread(target=write_text_atomic, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o027, 0o640), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_text_atomic(tmp_path / "a.txt", "text")
        write_safetensors(tmp_path / "model.safetensors", {"a": torch.zeros(3)}, {})
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == mode, path


def test_what_killed_calls_left_long_ago_goes(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.0123abcd.txt", tmp_path / ".a.0123abce.txt"
    others = [tmp_path / name for name in (".a.txt", ".b.0123abcd.txt", ".a.0123abcd.csv", "a.0123abcd.txt")]
    for path in (old, new, *others):
        path.write_text("half")
    for path in (old, *others):
        os.utime(path, (time.time() - 90_000,) * 2)
    write_text_atomic(tmp_path / "a.txt", "whole")
    assert not old.exists()
    assert new.exists() and all(path.exists() for path in others)  # another process may be writing the new one


HOLD = """
import sys, time
from pathlib import Path
from earthtone.files import only_writer
with only_writer(Path(sys.argv[1]), "training"):
    print("held", flush=True)
    time.sleep(100)
"""


def test_one_writer_a_folder_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        (folder / ".checkpoint.0123abcd.safetensors").write_bytes(b"half")
        (folder / ".tmpAbC123").write_bytes(b"what safetensors writes first")
        (folder / "kept.txt").write_text("kept")
        with pytest.raises(ConfigError, match=r"run: another process is training into it; wait .*--out$"):
            only_writer(folder, "training").__enter__()
        assert len(names(folder)) == 4
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert other.stdout is not None
        other.stdout.close()
    with only_writer(folder, "training"):
        assert set(names(folder)) == {LOCK_FILE, "kept.txt"}


def test_a_folder_that_nothing_was_written_to_goes(tmp_path: Path) -> None:
    with only_writer(tmp_path / "run", "training"):
        assert (tmp_path / "run").is_dir()
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("a file")
    with pytest.raises(DataError, match=r"cannot write .*file"), only_writer(tmp_path / "file", "training"):
        pass
