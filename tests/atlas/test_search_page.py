"""What docs/search.md shows runs as it stands, from a model and pairs to hits in a folder."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest

from earthtone.cli import main
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower

PAGE = Path(__file__).parents[2] / "docs" / "search.md"


def with_licences_and_times(manifest: Path) -> None:
    """Give each pair a licence, and a time half a month after that of the one before."""
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "license", "datetime"])
        writer.writeheader()
        for n, row in enumerate(rows):
            time = f"2024-{1 + n // 2:02d}-{1 + 15 * (n % 2):02d}T06:00:00Z"
            writer.writerow({**row, "license": ("CC-BY-4.0", "CC0-1.0", "")[n % 3], "datetime": time})


@pytest.mark.slow
def test_its_commands_and_its_python_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_pairs: Path,
    tiny_model: TwoTower,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    save_model(Path("runs/first"), tiny_model, {})
    shutil.copytree(tiny_pairs.parent, "pairs")
    with_licences_and_times(Path("pairs/manifest.csv"))
    shutil.copy("pairs/5.wav", "surf.wav")
    shutil.copy("pairs/7.png", "harbour.png")
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
    assert ran == 15 and "by classifiers that had not seen the mark" in out
    assert {"hits.csv", "credits.csv"} <= {path.name for path in Path("hits").iterdir()}
