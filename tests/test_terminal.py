"""What reaches a terminal: no control character of a stranger's, no letter that it lacks, no traceback for either."""

import io
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from loopback import catalogue_entry

from earthtone.cli import main
from earthtone.errors import one_line, printable
from earthtone.pages import render_page
from earthtone.progress import progress
from earthtone.terminal import GuardedStream, guarded_output, json_text, set_up_logging

EVIL = "a\x1b]0;owned\x07\u202ecod.\x9b31m\x7f\u2028"
WritePairs = Callable[[Path, int], Path]
ASCII = (
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


def typed(calls: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str]) -> list[bytes]:
    """What each of several calls prints to standard output, in a process of its own whose other output is empty."""
    code = (
        "import json, sys\n"
        "from earthtone.cli import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    main(words)\n"
        "    print('END', flush=True)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(calls)]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, env={**os.environ, **environment})
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    return done.stdout.split(b"END\n")[:-1]


def is_harmless(data: bytes) -> bool:
    """Whether bytes hold no control but line ends and nothing that turns the direction of writing."""
    text = data.decode("utf-8")
    return all(letter == "\n" or (letter not in "\u202e\u2028" and letter.isprintable()) for letter in text)


def test_printable_and_one_line() -> None:
    assert printable("a\nb\tc\r\x1b[0m") == "a\nb\\tc\\r\\x1b[0m"
    assert one_line("a\nb\u2066\udcff\U000e0041") == "a\\nb\\u2066\\udcff\\U000e0041"
    assert printable("日本é ß ,") == "日本é ß ,"


def test_a_guarded_stream_keeps_to_its_encoding() -> None:
    for encoding, expected in (("ascii", r"\xe9\u65e5\x1b"), ("latin-1", "é" r"\u65e5\x1b"), ("utf-8", r"é日\x1b")):
        below = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        print("é日\x1b", end="", file=GuardedStream(below))
        assert below.buffer.getvalue().decode(encoding) == expected  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, write_pairs: WritePairs) -> Path:
    """Six pairs in a folder of an evil name, with evil ids, cells, columns, names of files."""
    folder = tmp_path_factory.mktemp("hostile") / EVIL
    rows = write_pairs(folder, 8).read_text().splitlines()
    rows[0] = rows[0].replace("label", f"label{EVIL.replace('.', '')}")
    rows[1] = rows[1].replace("pair-0", f"{EVIL}0").replace("kind 0", EVIL)
    rows[2] = rows[2].replace("pair-1", f'"{EVIL}1\nearthtone: forged"').replace("1.png", f"{EVIL}.png")
    rows[3] = rows[3].replace("2.wav", f"{EVIL}.wav").replace(",45", f",{EVIL}")
    rows[4] = rows[4].replace("pair-3", "日本-é").replace("3.png", "none.png")
    (folder / f"{EVIL}4.png").write_bytes(b"no picture")
    rows[5] = rows[5].replace("4.png", f"{EVIL}4.png")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def test_check_prints_names_harmlessly(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(hostile / "manifest.csv")]) == 0
    told = capsys.readouterr().out
    assert is_harmless(told.encode())
    assert "\\x1b]0;owned\\x07\\u202ecod." in told
    assert "\nearthtone: forged" not in told
    assert main(["check", str(hostile), "--json"]) == 0
    told = capsys.readouterr().out
    assert is_harmless(told.encode())
    assert EVIL in json.loads(told)["path"]


@pytest.mark.slow
@pytest.mark.parametrize("environment", ASCII)
def test_an_ascii_terminal(hostile: Path, environment: dict[str, str], tmp_path: Path) -> None:
    calls = [["check", "manifest.csv"], ["check", "manifest.csv", "--json"]]
    calls += [["pack", "manifest.csv", "--out", str(tmp_path / "t.lance"), "--threads", "1"]]
    text, listed, packed = typed(calls, hostile, environment)
    assert text.isascii() and is_harmless(text) and b"\\u65e5\\u672c-\\xe9" in text
    assert listed.isascii() and is_harmless(listed)
    assert "日本-é" in {row["id"] for rows in json.loads(listed)["problems"].values() for row in rows}
    assert packed.isascii() and is_harmless(packed)
    found = (tmp_path / "t.lance.problems.csv").read_text(encoding="utf-8")
    assert "\\x1b" in found and "日本-é" in found and is_harmless(found.encode())


def test_names_that_are_no_text(tmp_path: Path, write_pairs: WritePairs, capsys: pytest.CaptureFixture[str]) -> None:
    folder, table = tmp_path / os.fsdecode(b"caf\xe9 \xff"), tmp_path / "t.lance"
    manifest = write_pairs(tmp_path / "text", 6)
    manifest.write_text(manifest.read_text().replace("1.png", "none.png"))
    try:
        manifest.parent.rename(folder)
    except OSError:
        pytest.skip("names are text on this file system")
    assert main(["check", str(folder)]) == 0
    assert "5 of 6 rows usable" in capsys.readouterr().out
    assert main(["check", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == str(folder / "manifest.csv")
    assert main(["pack", str(folder), "--out", str(table), "--threads", "1"]) == 0
    assert "5 pairs added" in capsys.readouterr().out
    assert "\\udcff" in (tmp_path / "t.lance.problems.csv").read_text(encoding="utf-8")
    for words in (["pack", str(folder), "--out", str(folder / "t.lance")], ["check", str(folder / "none")]):
        assert main(words) == 2
        told = capsys.readouterr().err
        assert told.startswith("earthtone: ") and told.count("\n") == 1 and "\\udcff" in told


def test_a_class_whose_name_is_no_text(tmp_path: Path, write_pairs: WritePairs) -> None:
    write_pairs(tmp_path / "source", 8)
    for n, name in enumerate((b"good", b"bad\xff")):
        folder = tmp_path / "set" / os.fsdecode(name)
        try:
            folder.mkdir(parents=True)
        except OSError:
            pytest.skip("names are text on this file system")
        for k in range(4):
            (tmp_path / "source" / f"{4 * n + k}.png").rename(folder / os.fsdecode(b"%d\xff.png" % k))
    words = ["evaluate", "probe", "--model", "random:test_resnet", "--data", str(tmp_path / "set"), "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "r.json")]) == 0
    assert os.fsdecode(b"bad\xff") in json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["truth"]


def test_a_catalogue_of_a_stranger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = catalogue_entry(
        [{"name": "f.csv", "urls": ["https://example.org/f.csv"], "bytes": 1, "part": EVIL}],
        title=EVIL, what=f"{EVIL}\nearthtone: forged", items=EVIL, citation=EVIL, licence=EVIL, notes=[EVIL],
    )  # fmt: skip
    hand = {**entry, "by_hand": [f"{EVIL}\nearthtone: forged"]}
    (tmp_path / "c.yaml").write_text(json.dumps({"tiny": entry, f"t{EVIL}": entry, "hand": hand}))
    out = ["--out", str(tmp_path / "out")]
    for words in ([], ["tiny", "--list"], ["hand"], ["tiny", "--subset", EVIL, *out], ["tinz"], ["--json"]):
        main(["fetch", *words, "--catalogue", str(tmp_path / "c.yaml")])
        shown = capsys.readouterr()
        told = shown.out + shown.err
        assert is_harmless(told.encode()), words
        assert "owned" in told or words == ["tinz"]
        assert "\nearthtone: forged" not in told
    assert {one["title"] for one in json.loads(shown.out)} == {EVIL}


@pytest.mark.parametrize(
    "words",
    [
        [EVIL], ["check", EVIL], ["check", f"--{EVIL}"], ["check", "x", EVIL], ["evaluate", EVIL], ["fetch", EVIL],
        ["pack", "x", "--out", "y", "--recipe", EVIL], ["pretrain", "x", "--out", "y", f"--{EVIL}=3"],
        ["pretrain", "x", "--out", "y", "--train.epochs", EVIL], ["check", "x", "--sample", EVIL],
        ["reproduce", EVIL], ["convert", EVIL, "out"],
    ],
)  # fmt: skip
def test_words_of_the_command_line_come_back_harmlessly(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert is_harmless((shown.out + shown.err).encode())
    assert "owned" in shown.err


def test_log_bars_and_warnings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import logging, sys, warnings\n"
        "from earthtone.terminal import guard_output, set_up_logging\n"
        "guard_output(); set_up_logging(logging.WARNING)\n"
        "logging.getLogger('x').warning('%s: odd', sys.argv[1] + '\\nforged')\n"
        "warnings.warn(sys.argv[1])\n"
        "raise SystemError(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, EVIL], capture_output=True, timeout=60)
    assert is_harmless(done.stderr)
    assert done.stderr.count(b"owned") == 3 and b"\nforged" not in done.stderr
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    list(progress(range(3), total=3, label=f"{EVIL}\nforged"))
    shown = capsys.readouterr().err
    assert "owned" in shown and "\x1b]" not in shown and "\u202e" not in shown and "\nforged" not in shown


def test_logging_goes_to_the_stream_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        set_up_logging(logging.WARNING)
        logging.getLogger("earthtone.x").warning("one\x1b")
        with guarded_output():
            logging.getLogger("earthtone.x").warning("two")
    finally:
        root.handlers = before
    assert capsys.readouterr().err == "one\\x1b\ntwo\n"


def test_json_of_evil_names_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    values = {EVIL: [EVIL, "日本", "\udcff", "\U000e0041"]}
    text = json_text(values)
    assert "日本" in text and is_harmless(text.encode())
    assert json.loads(text) == values


def test_pages_show_what_is_hidden(tmp_path: Path) -> None:
    page = render_page("page.html.j2", title=f"<b>{EVIL}", notes=[])
    assert "&lt;b&gt;a\\x1b]0;owned\\x07\\u202ecod.\\x9b31m\\x7f\\u2028" in page


def _shell(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = script.replace("EARTHTONE", f"{shlex.quote(sys.executable)} -m earthtone")
    return subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_closed_ends_are_no_error(tmp_path: Path) -> None:
    ends = (">&-", "2>&-", ">&- 2>&-", "<&-", "| true", "2>&1 | head -c 1")
    lines = [f"EARTHTONE {words} {end}" for words in ("--help", "nothing") for end in ends]
    done = _shell("; ".join([*lines, "EARTHTONE fetch --json | head -c 1"]), tmp_path)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_what_is_closed_is_not_printed_into(tmp_path: Path) -> None:
    words = "toyworld --out w --rows 2 --seconds 1 --hz 8000 --pixels 16"
    done = _shell(f"EARTHTONE {words} >&- 2>&-", tmp_path)
    assert done.returncode == 0
    assert main(["check", str(tmp_path / "w" / "manifest.csv"), "--headers_only"]) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_below_standard_output(tmp_path: Path) -> None:
    for words in ("fetch", "--help"):
        done = _shell(f"EARTHTONE {words} > /dev/full", tmp_path)
        assert done.returncode == 2
        assert done.stderr == "earthtone: No space left on device; free the disk, or choose another one\n"
