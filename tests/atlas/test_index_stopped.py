"""An index that is stopped at any moment is made good by the next call, and is whole in between."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lance
import pytest
from embedded import columns_of, write_embedded, write_rows, write_shards

from earthtone.atlas.blocks import open_blocks
from earthtone.atlas.embeddings import BLOCKS, SHARDS, TABLE, open_embeddings
from earthtone.atlas.index import PARQUET, build_index
from earthtone.cli import main
from earthtone.data.packed import file_faults, read_seal

#: Steps that a process takes on files, as Python tells them.
_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "os.chmod")


class Watch:
    """Copies of a folder as it is before each step that Python takes on the files in it: what a kill there leaves.

    A hook of the interpreter cannot be taken off again; it is switched.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._copies: Path | None = None
        sys.addaudithook(self._hook)

    def of(self, folder: Path, copies: Path, work: Callable[[], object]) -> list[Path]:
        self._folder, self._copies, self.taken = folder, copies, list[Path]()
        try:
            work()
        finally:
            self._folder = None
        return self.taken

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        folder, copies = self._folder, self._copies
        if folder is None or copies is None or event not in _EVENTS or not str(arguments[0]).startswith(f"{folder}/"):
            return
        if event == "open" and "r" in str(arguments[1]) and "+" not in str(arguments[1]):
            return  # it is read
        self._folder = None  # copying takes steps too
        copy = copies / f"{len(self.taken)}"
        shutil.copytree(folder, copy)
        self.taken.append(copy)
        self._folder = folder


@pytest.fixture(scope="session")
def watch() -> Watch:
    return Watch()


def contents(folder: Path) -> list[dict[str, Any]]:
    table = open_embeddings(folder)
    return list(table.dataset.to_table().to_pylist())


def tidy(folder: Path) -> None:
    """Nothing is left of stopped calls, and the seal is of what is there."""
    seal = read_seal(folder / TABLE)
    table = open_embeddings(folder)
    assert seal is not None and (seal.rows, seal.version) == (len(table), table.dataset.version)
    assert list(file_faults(table.path, seal, whole=True)) == []
    assert open_blocks(table, folder / BLOCKS) is not None
    assert [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != ".run.lock"] == []


def stages(folder: Path) -> Iterator[tuple[str, Callable[[Path], Path], dict[str, Any]]]:
    """Yield what is done to a fresh folder, each with how it is made."""
    write_rows(folder / "more" / TABLE, range(30, 40))

    def indexed(at: Path) -> Path:
        build_index(write_embedded(at, 30), parquet=True)
        return at

    yield "merge", lambda at: write_shards(at, 30, 3), {"parquet": True}
    yield "add", indexed, {"add": folder / "more"}
    yield "remove", indexed, {"remove": ["place-00001", "place-00002"]}


@pytest.mark.slow
def test_stopped_at_every_step(tmp_path: Path, watch: Watch) -> None:
    """Each state can be opened as it was or as it is to be, or waits for the merge; the same call makes it good."""
    for name, made, options in stages(tmp_path):
        done = made(tmp_path / name / "done")
        before = contents(done) if (done / TABLE).exists() else None
        copies = watch.of(done, tmp_path / name / "copies", lambda: build_index(done, **options))  # noqa: B023
        after = contents(done)
        assert len(copies) >= 8 and before != after
        for copy in copies:
            if (copy / TABLE).exists():
                assert contents(copy) in (before, after)
            else:
                assert len(list((copy / SHARDS).glob("[0-9]*.lance"))) == 3
            build_index(copy, **options)
            assert contents(copy) == after
            assert not (copy / SHARDS).exists() and (copy / PARQUET).is_file()
            tidy(copy)


_KILLED = """
import os, signal, sys
from earthtone.atlas import index
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def second(*arguments, **named):
    made = placed(*arguments, **named)
    yield next(made)
    kill()
placed = index._placed
setattr(index, {name!r}, second if {name!r} == "_placed" else kill)
index.build_index({folder!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize("at", ["_placed", "write_seal"])
def test_killed_for_good(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the system: in the middle of writing, and before the seal."""
    whole = write_embedded(tmp_path / "whole", 9000)
    build_index(whole)
    folder = write_shards(tmp_path / "E", 9000, 3)
    script = _KILLED.format(name=at, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert len(list((folder / SHARDS).glob("*.lance"))) == 3
    assert not (folder / TABLE).exists()
    build_index(folder)
    tidy(folder)
    assert contents(folder) == contents(whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB; its content is lost at the end."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit 2; all that was there is as it was, and is indexed when there is room."""
    folder = write_shards(small_disk / "E", 3000, 2)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["index", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"cannot write {folder}: No space left on device; free the disk" in said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name[0] != "."} == before
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)  # the disk was freed
    build_index(folder)
    assert [row["id"] for row in contents(folder)] == columns_of(range(3000))["id"]
    state, rest = contents(folder), shutil.disk_usage(small_disk).used // 1024 + 40
    subprocess.run(["mount", "-o", f"remount,size={rest}k", str(small_disk)], check=True)
    for words in (["--remove", "place-00001"], ["--parquet"]):
        assert main(["index", str(folder), *words]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "No space left on device" in said
        assert contents(folder) == state and not (folder / PARQUET).exists()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert build_index(folder, remove=["place-00001"], parquet=True).removed == 2
    tidy(folder)


def test_a_table_of_another_version_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a later earthtone wrote is not damaged."""
    folder = write_embedded(tmp_path, 6)
    build_index(folder)
    dataset = lance.dataset(str(folder / TABLE))
    text = dataset.schema.metadata[b"earthtone"].decode().replace('"format": 1', '"format": 9')
    dataset.update_schema_metadata({"earthtone": text})
    assert main(["index", str(folder), "--remove", "place-00001"]) == 2
    assert "install a newer earthtone" in capsys.readouterr().err
