"""`earthtone fetch` as it is typed: the table, JSON, exit codes, options without effect, the page in step."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from loopback import Stage, catalogue_entry, serving

from earthtone.build.fetch import read_catalogue
from earthtone.build.fetch.catalogue import PublicSet, download_text
from earthtone.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "data-sets.md"


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch"]) == 0
    listed = capsys.readouterr().out
    assert main(["fetch", "--list"]) == 0
    assert capsys.readouterr().out == listed
    assert [line.split()[0] for line in listed.splitlines()[1:-2]] == list(read_catalogue())
    assert main(["fetch", "ucmerced", "--list"]) == 0
    told = capsys.readouterr().out
    assert "332468434 bytes, sha256 06c539ef" in told
    assert "uc_merced-val.txt (splits), size not found" in told


def test_the_table_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "--json"]) == 0
    values = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert values["loveda"]["bytes"] == 4021669263 + 2425958254 + 3126023212
    assert values["resisc45"]["licence"] is None


def markdown_table(sets: Mapping[str, PublicSet]) -> str:
    """Return the catalogue as a table of the documentation."""
    lines = ["| name | what | items | download | checksum | licence | cite |", "|---|---|---|---|---|---|---|"]
    for entry in sets.values():
        known = sum(1 for file in entry.files if file.sha256 or file.md5)
        checks = f"{known} of {len(entry.files)} files" if entry.files else "host tells"
        licence = f"{entry.licence or 'not found'}{'. ' + entry.licence_note if entry.licence_note else ''}"
        cells = (f"[`{entry.name}`]({entry.homepage})", entry.what, entry.items, download_text(entry), checks)
        lines.append(f"| {' | '.join((*cells, licence, entry.citation))} |")
    return "\n".join(lines)


def test_the_page_is_in_step() -> None:
    table = markdown_table(read_catalogue())
    assert table in PAGE.read_text(encoding="utf-8"), f"put this table into {PAGE.name}:\n{table}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eurosta"], "did you mean eurosat"),
        (["deepglobe"], "Sign in to Kaggle"),
        (["--out", "x"], "--out has no effect"),
        (["esc50", "--list", "--check"], "--check has no effect"),
        (["esc50", "--check", "--subset", "sounds"], "--subset has no effect"),
        (["esc50", "--retries", "-1"], "--retries -1; 0 or more expected"),
        (["esc50", "--catalogue", "nowhere.yaml"], "cannot be read as a catalogue"),
        (["esc50", "--check", "--out", "nowhere"], "nothing was fetched there"),
        (["esc50", "--subsets", "1"], "did you mean --subset"),
    ],
)
def test_wrong_use(words: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["fetch", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_fetch_check_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as stage:
        assert isinstance(stage, Stage)
        stage.files["/f.csv"] = b"1" * 1000
        file = {"name": "f.csv", "urls": [stage.url("/f.csv")], "bytes": 1000, "part": "all"}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({"tiny": catalogue_entry([file])}))
        where = ["--out", str(tmp_path / "out"), "--catalogue", str(tmp_path / "c.yaml")]
        assert main(["fetch", "tiny", *where, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["first_use"] == ["f.csv"]
        assert main(["fetch", "tiny", *where, "--check"]) == 0
        assert "all is as it was fetched" in capsys.readouterr().out
        (tmp_path / "out" / "f.csv").write_bytes(b"2" * 1000)
        assert main(["fetch", "tiny", *where, "--check"]) == 1
        assert "damaged: f.csv" in capsys.readouterr().out
        (tmp_path / "out" / "f.csv").unlink()
        stage.files["/f.csv"] = b"3" * 1000
        assert main(["fetch", "tiny", *where]) == 2
        assert "the download is discarded" in capsys.readouterr().err
