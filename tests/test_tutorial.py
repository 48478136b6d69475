"""Every command of docs/tutorial.md runs, in its order, in an empty folder."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthtone.cli import main

pytestmark = pytest.mark.extras
pytest.importorskip("onnxruntime")  # of the extra `export`

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each block of code."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of ours in a block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["earthtone"]:
            yield words[1:]


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    ran = []
    for language, text in blocks(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), names)  # noqa: S102 - our own page
        for words in commands(text) if language == "sh" else ():
            assert main(words) == 0, (words, capsys.readouterr().err)
            ran.append(words[0])
    assert ran == [
        "toyworld", "pretrain", "embed", "index", "search", "search", "search", "map", "export", "evaluate",
    ]  # fmt: skip
    assert names["rows"].num_rows == 480
    for file in ("map/index.html", "map/surf.tif", "map/birds.pmtiles", "exported/audio.onnx", "exported/image.onnx"):
        assert (tmp_path / file).stat().st_size > 0
    check_hits(names)


def check_hits(names: dict[str, Any]) -> None:
    """The hits of the page are those of a plain product of the vectors that GeoParquet has."""
    table = names["rows"].to_pylist()
    summer = [row for row in table if row["modality"] == "image" and 4 <= row["datetime"].month <= 9]
    query = next(row for row in table if row["id"] == "toy-0-00000000" and row["modality"] == "audio")
    scores = np.array([row["vector"] for row in summer], np.float64) @ np.array(query["vector"], np.float64)
    found = names["found"].hits
    assert [hit.id for hit in found] == [summer[n]["id"] for n in np.argsort(-scores)[:5]]
    np.testing.assert_allclose([hit.score for hit in found], np.sort(scores)[::-1][:5], atol=2e-3)  # float16 is kept
