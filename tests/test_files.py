"""What is no plain file is refused in a line, whoever opens it, and nothing waits for a pipe."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from earthtone.cli import main
from earthtone.data.check import bytes_digest
from earthtone.data.labelled.masks import read_class_table
from earthtone.errors import DataError, SignalError
from earthtone.files import content_digest, refuse_full_system, refuse_undecodable, regular_file
from earthtone.signal.audio import read_audio
from earthtone.signal.image import read_picture

pytestmark = pytest.mark.timeout(60)
PROC = Path("/proc/self/environ")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # addresses of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(before)


def _folder(path: Path) -> None:
    path.mkdir()


def _of_the_system(path: Path) -> None:
    if not PROC.exists():
        pytest.skip("no /proc here")
    path.symlink_to(PROC)


KINDS = {
    "a pipe": _pipe, "a device": _device, "a socket": _socket, "a folder": _folder,
    "a file that the system makes up": _of_the_system,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_other_than_plain_files_are_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    KINDS[kind](path)
    with pytest.raises(OSError) as caught:
        regular_file(path)
    assert caught.value.strerror == f"{kind}, no plain file"
    with pytest.raises(SignalError, match=kind):
        read_picture(path)
    with pytest.raises(SignalError, match=kind):
        read_audio(path, 16_000)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a folder"])
@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("check X", "x.csv"),
        ("check X", "x.geojson"),
        ("check X", "x.parquet"),
        ("pack X --out t.lance", "x.tsv"),
        ("pretrain data.csv --out r --recipe X", "x.yaml"),
        ("sweep data.csv --out s --grid X", "x.yaml"),
        ("fetch esc50 --catalogue X", "x.yaml"),
        ("convert X out", "x.pt"),
        ("evaluate retrieval --model X --data data.csv", "x.safetensors"),
        ("evaluate retrieval --model X --data data.csv", "x.pt"),
        ("evaluate probe --model random:test_resnet --label k --data X", "x.csv"),
        ("evaluate segment --model random:test_resnet --data X", "x.csv"),
    ],
)
def test_a_verb_says_so_in_one_line(
    kind: str,
    words: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    KINDS[kind](tmp_path / name)
    assert main(words.replace("X", name).split()) == 2
    told = capsys.readouterr().err
    assert kind in told and name in told
    assert told.count("\n") == 1


def test_a_table_of_classes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "classes.yaml")
    with pytest.raises(DataError, match="a pipe"):
        read_class_table(tmp_path / "classes.yaml")


def test_a_link_to_a_plain_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert regular_file(tmp_path / "b") == tmp_path / "b"
    with pytest.raises(FileNotFoundError):
        regular_file(tmp_path / "c")


def test_the_systems_limit_is_not_blamed_on_a_file(tmp_path: Path) -> None:
    """Sixteen open files at most, all of them used: rows must not be skipped for it."""
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    code = (
        "import resource, os, sys\n"
        "from pathlib import Path\n"
        "from earthtone.signal.image import read_picture\n"
        "from earthtone.errors import DataError, SignalError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "try: read_picture(Path(sys.argv[1]))\n"
        "except SignalError: print('blamed')\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "ulimit -n" in done.stdout, done.stdout + done.stderr


def test_other_errors_pass(tmp_path: Path) -> None:
    refuse_full_system(FileNotFoundError(2, "No such file or directory", "a"))
    with pytest.raises(DataError, match=r"t\.lance: .*ulimit -n"):
        refuse_full_system(OSError("LanceError(IO): Too many open files (os error 24) at path"), "t.lance")


def test_names_that_are_no_text_are_refused_for_tables(tmp_path: Path) -> None:
    refuse_undecodable(tmp_path / "日本")
    with pytest.raises(DataError, match="no UTF-8"):
        refuse_undecodable(os.fsdecode(b"/caf\xe9"))


def test_equal_bytes_have_equal_hashes(tmp_path: Path) -> None:
    for name, data in (("a", b"x" * 5000), ("b", b"x" * 5000), ("c", b"x" * 4999 + b"y")):
        (tmp_path / name).write_bytes(data)
    first, same, other = (content_digest(tmp_path / name) for name in "abc")
    assert first == same == bytes_digest(b"x" * 5000) and other != first
    with pytest.raises(OSError, match="a folder"):
        content_digest(tmp_path)


@pytest.mark.slow
def test_thirty_gigabytes_cost_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sparse, so that they take no room: pictures and sounds with a sound beginning, and without any."""
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0")
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(tmp_path / name, np.sin(np.arange(16_000) / 9), 16_000)
    for name in ("a.png", "a.tif", "a.mp3", "a.wav", "b.wav", "c.wav"):
        with (tmp_path / name).open("ab") as file:
            try:
                file.truncate(30 * 2**30)
            except OSError:
                pytest.skip("no sparse files here")
    with (tmp_path / "c.wav").open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(b"another end")
    a, b, c = (content_digest(tmp_path / f"{name}.wav") for name in "abc")
    assert a == b != c
    (tmp_path / "m.csv").write_text("id,image,audio\n1,a.png,a.wav\n2,a.tif,b.wav\n3,a.png,a.mp3\n")
    for words in (["check"], ["check", "--headers_only"], ["pack", "--out", str(tmp_path / "t.lance")]):
        assert main([*words, str(tmp_path / "m.csv")]) in (1, 2)
        told = capsys.readouterr()
        assert "broken image" in told.out + told.err
