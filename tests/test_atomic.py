"""A file is whole or absent, whatever happens while it is written."""

import os
import resource
import threading
from pathlib import Path

import pytest

from earthtone.atomic import atomic_path, write_text_atomic
from earthtone.errors import DataError


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
