"""What docs/search.md shows runs as it stands, on a small world."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from atlas_world import embedded_pairs

from earthtone.cli import main
from earthtone.models.two_tower import TwoTower

PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def test_its_commands_and_its_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_pairs: Path,
    tiny_model: TwoTower,
) -> None:  # fmt: skip
    embedded_pairs(tmp_path, tiny_pairs, tiny_model)
    shutil.copy(tiny_pairs.parent / "5.wav", tmp_path / "surf.wav")
    shutil.copy(tiny_pairs.parent / "7.png", tmp_path / "harbour.png")
    monkeypatch.chdir(tmp_path)
    ran = 0
    for kind, block in re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if kind == "python":
            exec(compile(block, str(PAGE), "exec"), {})  # noqa: S102 - our own page
            continue
        for line in block.splitlines():
            verb, *words = shlex.split(line, comments=True)
            assert verb == "earthtone" and main(words) == 0, (line, capsys.readouterr())
            ran += 1
    out = capsys.readouterr().out
    assert ran == 14 and "by classifiers that had not seen the mark" in out
    assert {"hits.csv", "credits.csv"} <= {path.name for path in (tmp_path / "hits").iterdir()}
