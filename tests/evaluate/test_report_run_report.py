"""A run's report out of its folder and its table."""

import base64
import re
from pathlib import Path

import pytest

from earthtone.data.packed import Table
from earthtone.errors import DataError
from earthtone.evaluate.report import write_run_report
from earthtone.evaluate.retrieval import evaluate_retrieval
from earthtone.models.two_tower import TwoTower


def test_report_holds_the_tables_pictures_and_sounds(tiny_model: TwoTower, tiny_table: Path, tmp_path: Path) -> None:
    run = tmp_path / "my <run>"
    run.mkdir()
    (run / "log.jsonl").write_text('{"step": 10, "loss": 2.0}\n{"step": 20, "loss": 1.0}\n')
    (run / "recipe.yaml").write_text("train: {epochs: 3}\n")
    pictures: set[bytes] = set()

    def write(table, rows, result) -> None:  # type: ignore[no-untyped-def]
        pictures.update(table.images(rows))
        write_run_report(run, tiny_model, table, rows, result)

    evaluate_retrieval(tiny_model, tiny_table, split="test", resamples=10, then=write)
    page = (run / "report.html").read_text()
    shown = {base64.b64decode(data) for data in re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)}
    assert shown and shown <= pictures
    sounds = [base64.b64decode(data) for data in re.findall(r"data:audio/ogg;base64,([A-Za-z0-9+/=]+)", page)]
    assert sounds and all(sound.startswith(b"OggS") for sound in sounds)
    assert "my &lt;run&gt;" in page and "epochs: 3" in page and "<run>" not in page


def test_an_unwritable_place_is_a_plain_error(tiny_model: TwoTower, tiny_table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_run_report(tmp_path, tiny_model, Table(tiny_table), path=tmp_path / "file" / "report.html")


def test_report_without_anything_measured_says_so(tiny_model: TwoTower, tiny_table: Path, tmp_path: Path) -> None:
    path = write_run_report(tmp_path, tiny_model, Table(tiny_table), note="nothing was measured yet")
    assert path == tmp_path / "report.html" and "nothing was measured yet" in path.read_text()
