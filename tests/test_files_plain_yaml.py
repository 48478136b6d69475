"""YAML of strangers."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earthtone.files import read_yaml, read_yaml_file

BOMB = "model: {image_encoder: [&a0 [x, x, x, x, x, x, x, x, x]" + "".join(
    f", &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
)
RECURSIVE = "epochs: 3\nseed: &a [*a]\n"


@pytest.mark.parametrize(
    "text",
    [
        BOMB + "]}", "&a [*a]", "a: 2020-13-45", "a: " + "9" * 5000, "[" * 5000, "[" * 100_000, "!!int ''",
        "a: 1\nb: 2\na: 3", "a: {b: 1, b: 1}", "- {a: {x: 1}, a: {y: 2}}", "!!python/name:os.system x",
    ],
)  # fmt: skip
def test_what_is_no_plain_value_is_one_line(text: str) -> None:
    with pytest.raises(ValueError) as told:
        read_yaml(text)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) <= 300


def test_plain_values_are_read() -> None:
    assert read_yaml("a: [1, 2.5, null, text]\nb: {c: true}") == {"a": [1, 2.5, None, "text"], "b": {"c": True}}


def test_files_of_a_size_that_no_recipe_has(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_text("a: 1\n")
    assert read_yaml_file(path) == {"a": 1}
    path.write_text("# " + "x" * 2**20 + "\na: 1\n")
    with pytest.raises(ValueError, match="1,048,576 bytes"):
        read_yaml_file(path)
    for other in (tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="no plain file"):
            read_yaml_file(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["pretrain", "pairs.csv", "--out", "run", "--train", "FILE"], RECURSIVE),
        (["pretrain", "pairs.csv", "--out", "run", "--model=FILE"], BOMB + "]}"),
        (["pack", "pairs.csv", "--out", "t.lance", "--signal.audio", "FILE"], BOMB + "]}"),
        (["pretrain", "pairs.csv", "--out", "run", "--augment", "{a: &a [x], b: *a}"], ""),
    ],
)
def test_bombs_given_as_options(words: list[str], text: str, tmp_path: Path) -> None:
    """In a process of its own, with little memory and time beyond what starting takes."""
    (tmp_path / "bomb.yaml").write_text(text)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "earthtone", *(word.replace("FILE", str(tmp_path / "bomb.yaml")) for word in words)],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30,) * 2),
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr[-2000:]
    assert "alias (*)" in done.stderr
    assert len(done.stderr) < 600
    assert time.monotonic() - started < 100


@pytest.mark.parametrize("text", ["a: 1:1:1.5", "a: 0x" + "f" * 5000, "a: 1" + ":1" * 9000])
def test_numbers_that_no_option_has_are_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1: .* is no plain number"):
        read_yaml(text)
