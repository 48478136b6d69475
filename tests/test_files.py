"""What is no plain file is refused in a line, whoever opens it, and nothing waits for a pipe."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from earthtone.cli import main
from earthtone.data.datasets.class_table import read_class_table
from earthtone.errors import DataError, SignalError
from earthtone.files import regular_file
from earthtone.signal.audio import read_audio
from earthtone.signal.image import read_image

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
        read_image(path)
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
        "from earthtone.signal.image import read_image\n"
        "from earthtone.errors import DataError, SignalError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "try: read_image(Path(sys.argv[1]))\n"
        "except SignalError: print('blamed')\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "ulimit -n" in done.stdout, done.stdout + done.stderr
