"""The whole way on real images and real sounds, where the development data lies beside the checkout."""

import json
from pathlib import Path

import pytest

from earthtone.cli import main

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "concept_pairs"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data/concept_pairs beside the checkout"),
]
SMALL = [
    "--model.image_encoder=test_resnet", "--model.audio_encoder=test_resnet", "--train.epochs=1",
    "--train.validation_rows=64", "--signal.image.pixels=32", "--signal.image.stored_pixels=40",
]  # fmt: skip


def test_concept_pairs_through_the_three_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["check", str(DATA), "--headers_only"]) == 0
    assert "2100 of 2100 rows usable" in capsys.readouterr().out
    assert main(["pretrain", str(DATA), "--recipe", "small", "--out", run, *SMALL]) == 0
    capsys.readouterr()
    match = f"scene=sound:{DATA / 'concepts.json'}"
    words = ["evaluate", "retrieval", "--model", run, "--data", f"{run}/table.lance", "--match", match, "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gallery"] == 420
    for direction in found["directions"].values():
        figure = direction["metrics"]["match_precision@10"]
        assert figure["chance"] == pytest.approx(0.133, abs=0.001)
        assert figure["low"] <= figure["value"] <= figure["high"]
    words = ["evaluate", "probe", "--model", run, "--data", str(DATA.parent / "ucmerced"), "--label", "label"]
    assert main([*words, "--columns", "id=file,image=file", "--json"]) == 0
    probe = json.loads(capsys.readouterr().out)
    assert 0.05 < probe["figures"]["logistic_accuracy"]["value"] < 1
