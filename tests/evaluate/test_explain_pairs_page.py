"""The page of pairs: drawn pairs, their numbers and pictures, from a table or files; it loads nothing."""

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthtone.cli import main
from earthtone.data.pack import open_table
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.explain import AGAINST, FOR, jpeg_uri, spectrogram_picture, why_pairs, with_evidence
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower


def picture(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_the_page_shows_drawn_pairs_with_their_similarity(
    tiny_model: TwoTower, tiny_table: Path, tmp_path: Path
) -> None:
    page = why_pairs(tiny_model, tiny_table, tmp_path / "why.html", rows=3).read_text(encoding="utf-8")
    with open_table(tiny_table, tiny_model.signal) as table:
        ids = [table.column("id")[row] for row in table.rows_of("test")]
    assert sum(name in page for name in ids) == 3
    assert "3 of 4 (test), drawn with seed 0" in page and "Tile and recording: exact" in page and "Grad-CAM" not in page
    assert len(re.findall(r"Cosine similarity -?\d\.\d{3}", page)) == 3 and page.count("<audio") == 3
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources and all(re.match(r"data:(image/jpeg|audio/ogg);base64,", source) for source in sources)
    assert not re.search(r"https?:|<script|@import", page)
    assert page == why_pairs(tiny_model, tiny_table, tmp_path / "again.html", rows=3).read_text(encoding="utf-8")


def test_the_verb_takes_a_manifest_and_odd_names_do_nothing(
    tiny_model: TwoTower, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.reader(tiny_pairs.read_text().splitlines()))
    attack = '<script>alert("x")</script>{{ 7*7 }}'
    with (tiny_pairs.parent / "odd.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([rows[0], *([f"{attack}{row[0]}", *row[1:6], attack] for row in rows[1:])])
    save_model(tmp_path / "run", tiny_model, {})
    words = ["evaluate", "why", "--model", str(tmp_path / "run"), "--data", str(tiny_pairs.parent / "odd.csv")]
    out = tmp_path / "deep" / "why.html"
    assert main([*words, "--out", str(out), "--rows", "2", "--split=all", "--device=cpu"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    page = out.read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page and "{{ 7*7 }}" in page and "2 of 24" in page
    assert main([*words, "--out", str(tmp_path), "--rows", "2"]) == 2
    assert "such as why.html" in capsys.readouterr().err


def test_wrong_wishes_are_refused(tiny_model: TwoTower, tiny_table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--rows 0; 1 to 50"):
        why_pairs(tiny_model, tiny_table, tmp_path / "why.html", rows=0)
    with pytest.raises((ConfigError, DataError), match="split"):
        why_pairs(tiny_model, tiny_table, tmp_path / "why.html", split="tests")


def test_colours_say_for_and_against_where_the_evidence_lies() -> None:
    grey = np.full((40, 40, 3), 100, np.uint8)
    drawn = with_evidence(grey, np.array([[1.0, 0.0], [0.0, -1.0]]), 1.0).astype(int)
    expected = [np.array(colour) * 0.8 + 100 * 0.2 for colour in (FOR, AGAINST)]
    assert np.allclose(drawn[0, 0], expected[0], atol=1) and np.allclose(drawn[-1, -1], expected[1], atol=1)
    assert np.allclose(drawn[0, -1], 100, atol=1) and np.allclose(drawn[-1, 0], 100, atol=1)
    assert np.array_equal(with_evidence(grey, np.zeros((2, 2)), 0.0), grey)


def test_low_tones_lie_below_and_time_runs_to_the_right() -> None:
    window = np.zeros((50, 32), np.uint8)  # frames, mels
    window[:10, :8] = 255  # early and low
    shown = spectrogram_picture(window)
    height, width = shown.shape[:2]
    assert shown[height - 1, 0].tolist() == [255] * 3
    assert shown[0, 0].max() == 0 and shown[height - 1, width - 1].max() == 0


def test_pictures_are_jpegs_of_a_bounded_side() -> None:
    assert picture(jpeg_uri(np.zeros((30, 60, 3), np.uint8), 20)).shape == (10, 20, 3)
    red = np.zeros((30, 60, 3), np.uint8)
    red[..., 0] = 250
    assert picture(jpeg_uri(red))[5, 5].tolist() == pytest.approx([250, 0, 0], abs=4)
