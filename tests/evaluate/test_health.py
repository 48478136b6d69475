"""The health of a model: figures against their definitions, states of made models, the verb and its page."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import earthtone
from earthtone.cli import main
from earthtone.data.packed import Table
from earthtone.evaluate.health import Health, health_of, modality_share, pair_distances, tower_health, uniformity
from earthtone.evaluate.ranking import EmbeddedPairs
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def pairs_of(image: np.ndarray, audio: np.ndarray, similarity: str = "cosine") -> EmbeddedPairs:
    count = len(image)
    unknown, own = np.full(count, np.nan), np.arange(count)
    ids = [f"pair-{number}" for number in range(count)]
    return EmbeddedPairs(
        ids, image.astype(np.float32), audio.astype(np.float32), unknown, unknown, own, own, similarity=similarity
    )


def health(image: np.ndarray, audio: np.ndarray) -> Health:
    return health_of(pairs_of(unit(image), unit(audio)), {})


@given(st.integers(2, 40), st.integers(2, 9), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_figures_are_their_definitions(count: int, size: int, seed: int) -> None:
    """By plain loops over all pairs of rows."""
    draw = np.random.default_rng(seed)
    image, audio = (unit(draw.normal(size=(count, size)) + draw.normal(size=size)) for _ in range(2))
    a, b = image.astype(np.float64), audio.astype(np.float64)
    different = [(i, j) for i in range(count) for j in range(count) if i != j]
    expected = np.log(np.mean([np.exp(-2 * np.sum((a[i] - a[j]) ** 2)) for i, j in different]))
    assert uniformity(image) == pytest.approx(expected, abs=1e-6)
    own, others = pair_distances(pairs_of(image, audio))
    assert own == pytest.approx(np.mean([np.sum((a[i] - b[i]) ** 2) for i in range(count)]), abs=1e-9)
    assert others == pytest.approx(np.mean([np.sum((a[i] - b[j]) ** 2) for i, j in different]), abs=1e-9)
    tower = tower_health(image)
    apart = np.mean([np.sum((a[i] - a[j]) ** 2) for i in range(count) for j in range(count)]) / 2
    assert tower.variance == pytest.approx(apart, abs=1e-6)  # of unit vectors: half the mean squared distance
    values = np.linalg.svd(a - a.mean(axis=0), compute_uv=False) ** 2
    shares = values[values > 1e-12] / values.sum()
    assert tower.effective_rank == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-5)


def test_known_shapes() -> None:
    """Evenly on a sphere: all dimensions, variance 1; on a line: one; two points apart: all is the gap."""
    draw = np.random.default_rng(0)
    even = tower_health(unit(draw.normal(size=(4_000, 16))))
    assert even.effective_rank == pytest.approx(16, rel=0.01) and even.variance == pytest.approx(1, abs=0.01)
    assert even.uniformity < -3
    line = tower_health(unit(np.outer(draw.normal(size=500), np.ones(16))))
    assert line.effective_rank == pytest.approx(1, abs=1e-6) and line.collapsed
    one, other = np.eye(8)[[0] * 60], np.eye(8)[[1] * 60]
    assert modality_share(pairs_of(one, other)) == pytest.approx(1)
    assert modality_share(pairs_of(one, one)) == 0.0
    assert tower_health(np.zeros((60, 8), np.float32)).collapsed


def test_states() -> None:
    """A good model is well throughout; a constant tower is ill; one item that everybody finds is a hub."""
    draw = np.random.default_rng(1)
    image = draw.normal(size=(400, 32))
    good = health(image, image + 0.5 * draw.normal(size=(400, 32)))
    assert good.ok and {finding.state for finding in good.findings} == {"well"}
    constant = health(image, np.ones((400, 32)) + 1e-5 * draw.normal(size=(400, 32)))
    assert not constant.ok and constant.towers["audio"].collapsed and not constant.towers["image"].collapsed
    assert constant.to_text().splitlines()[0].startswith("ill   audio variance")
    assert constant.to_text().endswith("collapsed: audio tower")
    strangers = {finding.name: finding.state for finding in health(image, draw.normal(size=(400, 32))).findings}
    assert strangers["alignment"] == "look"
    apart = image + 6
    apart[:] += 40 * np.eye(32)[0]
    gap = {finding.name: finding.state for finding in health(apart, -apart).findings}
    assert gap["modality gap"] == "look"
    sounds = image.copy()
    sounds[7] = unit(image).mean(axis=0) * 1e4 + image.mean(axis=0)
    hubs = health(image + 3, np.where(np.arange(400)[:, None] == 7, 3.0, image))
    assert hubs.hubs("image_to_sound")[0][0] == "pair-7" and hubs.hubs("image_to_sound")[0][1] == 400
    assert {finding.name: finding.state for finding in hubs.findings}["hubs image_to_sound"] == "look"


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
def test_found_by_counts_the_first_ten(similarity: str) -> None:
    draw = np.random.default_rng(2)
    image, audio = (unit(draw.normal(size=(80, 6))) for _ in range(2))
    found = health_of(pairs_of(image, audio, similarity), {})
    nearest = np.argsort(-(image.astype(np.float64) @ audio.T), axis=1, kind="stable")[:, :10]
    assert found.found_by["image_to_sound"].tolist() == np.bincount(nearest.ravel(), minlength=80).tolist()
    assert all(counts.sum() == 800 for counts in found.found_by.values())


def test_the_verb(tiny_model: TwoTower, tiny_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path / "run", tiny_model, {})
    rows = len(Table(tiny_table))
    words = ["doctor", "--model", str(tmp_path / "run"), "--data", str(tiny_table), "--split", "all"]
    if rows < 50:
        assert main(words) == 2
        assert f"{rows} pairs of split all; at least 50 expected" in capsys.readouterr().err


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    return earthtone.write_toyworld(folder, rows=56, pixels=32, seconds=1.0, workers=1)


@pytest.mark.slow
def test_a_collapsed_tower_is_exit_1(
    world: Path, tiny_model: TwoTower, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.no_grad():
        tiny_model.audio_tower.projection.weight.zero_()
        tiny_model.audio_tower.projection.bias.fill_(1.0)
    save_model(tmp_path / "run", tiny_model, {})
    words = ["doctor", "--model", str(tmp_path / "run"), "--data", str(world), "--split", "all"]
    page = tmp_path / "health.html"
    assert main([*words, "--out", str(page), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False and told["pairs"] == 56
    assert told["figures"]["audio variance"] == {"value": pytest.approx(0, abs=1e-9), "state": "ill"}
    html = page.read_text()
    assert html.count("<svg") >= 4 and "A tower is collapsed" in html and "<script" not in html
    assert earthtone.doctor(tmp_path / "run", world, split="all", rows=50).facts["pairs"] == 50
