"""The lines `next:` and `go on with:` are copied into a shell: run as they are printed, they do what was meant."""

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import catalogue_entry, serving

import earthtone
from earthtone.cli import main
from earthtone.cli.parsing import typed_options
from earthtone.errors import shell_line

WritePairs = Callable[[Path, int], Path]
ODD = 'it\'s $HOME; `x` "y" & é *'
TINY = [
    "--model.image_encoder=test_resnet", "--model.audio_encoder", "test_resnet", "--model.dimensions", "16",
    "--train.batch_size", "8", "--train.epochs=1", "--train.device", "cpu", "--train.threads", "1",
]  # fmt: skip
SIGNAL = [
    "--signal.audio.sample_rate_hz", "16000", "--signal.audio.window_seconds=1", "--signal.audio.mels", "32",
    "--signal.audio.hop_seconds", "0.02", "--signal.image.pixels", "32", "--signal.image.stored_pixels", "40",
]  # fmt: skip


def words_of(told: str, begin: str = "next: ") -> list[str]:
    """The words after `earthtone` of the line that begins so, as a real shell splits them."""
    line = next(line for line in told.splitlines() if begin in line).partition(begin)[2]
    script = f'earthtone() {{ printf "%s\\0" "$@"; }}; {line}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=30)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.parametrize("word", [ODD, "", "a b", "\x1b[1m\n'", "\\", os.fsdecode(b"caf\xe9"), "日本", "\u202e\\'x"])
def test_a_shell_reads_the_words_back(word: str) -> None:
    line = shell_line("earthtone", "check", word)
    assert "".join(line).isprintable()
    assert words_of(f"next: {line}") == ["check", word]


def test_typed_options_keep_their_values() -> None:
    words = ["x", "--signal.a", "1", "--signal.b=2", "--other", "3", "--signal.c", "[4,3,2]"]
    assert typed_options(words, "--signal") == ["--signal.a", "1", "--signal.b=2", "--signal.c", "[4,3,2]"]


@pytest.mark.slow
def test_pack_pretrain_evaluate_by_copying(
    tmp_path: Path, write_pairs: WritePairs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = write_pairs(tmp_path / ODD, 24)
    (tmp_path / "my recipe.yaml").write_text("train: {epochs: 1}\n")
    words = ["pack", str(manifest), "--out", f"{ODD}/t.lance", "--recipe", "my recipe.yaml", *SIGNAL, "--threads", "1"]
    assert main(words) == 0
    following = words_of(capsys.readouterr().out)
    assert following[:2] == ["pretrain", str(tmp_path / ODD / "t.lance")]
    assert following[following.index("--recipe") + 1] == "my recipe.yaml"
    assert [word for word in SIGNAL if word not in following] == []
    following[following.index("--out") + 1] = f"{ODD}/run"
    assert main([*following, *TINY]) == 0
    following = words_of(capsys.readouterr().out)
    assert following[:2] == ["evaluate", "retrieval"]
    assert main([*following, "--resamples", "10"]) == 0
    capsys.readouterr()
    assert main(["pack", str(manifest), "--out", f"{ODD}/again.lance", "--model", f"{ODD}/run", "--threads", "1"]) == 0
    following = words_of(capsys.readouterr().out)
    assert main([*following, "--resamples", "10", "--split", "all"]) == 0


def test_toyworld_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / ODD
    assert (
        main(["toyworld", "--out", str(out), *["--rows", "2", "--seconds", "1", "--hz", "8000", "--pixels", "16"]]) == 0
    )
    following = words_of(capsys.readouterr().out)
    assert following == ["check", str(out / "manifest.csv")]
    assert main([*following, "--headers_only"]) == 0


def test_fetch_and_its_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with serving() as stage:
        stage.files["/f.csv"] = b"id,image,audio\na,a.png,a.wav\n"
        file = {"name": "f.csv", "urls": [stage.url("/f.csv")], "bytes": None, "part": "all"}
        Path("my c.yaml").write_text(json.dumps({"tiny": catalogue_entry([file])}))
        assert main(["fetch", "tiny", "--out", ODD, "--catalogue", "my c.yaml"]) == 0
        assert words_of(capsys.readouterr().out) == ["check", ODD]
        Path(ODD, "f.csv").unlink()
        assert main(["fetch", "tiny", "--out", ODD, "--catalogue", "my c.yaml", "--check"]) == 1
        following = words_of(capsys.readouterr().out, "type: ")
        assert main(following) == 0
        assert Path(ODD, "f.csv").exists()


@pytest.mark.parametrize(
    "command", ["rm -rf {out}", "earthtone check {out}; x", "earthtone check $(x)", "earthtone a\nb"]
)
def test_a_catalogue_says_no_other_command(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = {"name": "f", "urls": ["https://example.org/f"], "bytes": 1, "part": "all"}
    (tmp_path / "c.yaml").write_text(json.dumps({"tiny": {**catalogue_entry([file]), "next": command}}))
    assert main(["fetch", "--catalogue", str(tmp_path / "c.yaml")]) == 2
    assert "a command of earthtone was expected" in capsys.readouterr().err


def test_errors_quote_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / ODD / "m.csv"
    manifest.parent.mkdir()
    manifest.write_text("id,image,audio\na,a.png,a.wav\n")
    assert main(["pack", str(manifest), "--out", str(tmp_path / "t.lance")]) == 2
    assert words_of(capsys.readouterr().err, "look closer with: ") == ["check", str(manifest)]


def test_a_stopped_demo_says_all_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(earthtone, "demo", lambda _: None)
    words = ["demo", "--out", ODD, "--rows", "200", "--seed=3"]
    assert main(words) == 130
    told = capsys.readouterr().err
    assert words_of(told, "go on with: ") == words
    assert shlex.join(words) in told
