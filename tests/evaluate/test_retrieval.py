"""Evaluations on data as a user names it: packed or not, the figures are the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from earthtone.data.packed import Table
from earthtone.errors import ConfigError, DataError, ModelError
from earthtone.evaluate.retrieval import embedded_pairs, evaluate_retrieval, validation_figures
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig


def test_packed_and_unpacked_data_give_the_same_figures(
    tiny_model: TwoTower, tiny_pairs: Path, tiny_table: Path
) -> None:
    packed = evaluate_retrieval(tiny_model, tiny_table, split="all", match="label", resamples=50)
    unpacked = evaluate_retrieval(tiny_model, tiny_pairs, split="all", match="label", resamples=50)
    assert packed.to_dict() == unpacked.to_dict()


def test_embedded_pairs_carry_places_twins_and_labels(tiny_model: TwoTower, tiny_table: Path) -> None:
    table = Table(tiny_table)
    rows = table.rows_of("val")
    pairs = embedded_pairs(tiny_model, table, rows, ("label",))
    assert pairs.ids == [table.column("id")[row] for row in rows]
    assert pairs.columns["label"] == [table.column("label")[row] for row in rows]
    assert np.isfinite(pairs.longitude).all() and len(set(pairs.image_group)) == len(rows)


def test_validation_figures_are_reciprocal_ranks(tiny_model: TwoTower, tiny_table: Path) -> None:
    figures = validation_figures(tiny_model, Table(tiny_table), np.arange(8))
    parts = [value for name, value in figures.items() if name.startswith("mrr_")]
    assert len(parts) == 2 and figures["score"] == pytest.approx(np.mean(parts)) and 1 / 8 <= figures["score"] <= 1


def test_raw_models_are_compared_by_distance(tiny_table: Path, tiny_signal: SignalConfig) -> None:
    torch.manual_seed(0)
    raw = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16, unit=False), tiny_signal).eval()
    table = Table(tiny_table)
    pairs = embedded_pairs(raw, table, np.arange(24))
    assert pairs.similarity == "l2" and not np.allclose(np.linalg.norm(pairs.image, axis=1), 1)
    apart = np.linalg.norm(pairs.image[:, None].astype(float) - pairs.audio[None], axis=2)
    own = np.diag(apart)
    ranks = {
        "image_to_sound": (apart <= own[:, None]).sum(axis=1),
        "sound_to_image": (apart <= own).sum(axis=0),
    }
    figures = validation_figures(raw, table, np.arange(24))
    found = evaluate_retrieval(raw, tiny_table, split="all", twins="ignore", resamples=5)
    for direction, rank in ranks.items():
        np.testing.assert_array_equal(found.ranks[direction], rank)
        assert figures[f"mrr_{direction}"] == pytest.approx(np.mean(1 / rank))
    assert found.to_dict()["similarity"] == "l2" and "Euclidean" in found.to_dict()["protocol"]["similarity"]
    published = evaluate_retrieval(raw, tiny_table, split="all", protocol="soundingearth", resamples=5)
    np.testing.assert_array_equal(published.ranks["image_to_sound"], rank_of(apart))


def rank_of(apart: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([rankdata(row)[number] for number, row in enumerate(apart)])


def test_results_name_the_split(tiny_model: TwoTower, tiny_pairs: Path, tiny_table: Path) -> None:
    own = evaluate_retrieval(tiny_model, tiny_table, split="val", resamples=5)
    assert own.to_dict()["split"]["record"] == {"by": "manifest"}
    assert "split val by manifest: the data's own splits" in own.to_text()
    random = evaluate_retrieval(tiny_model, tiny_pairs, split="train", split_by="geoclap", resamples=5)
    assert random.gallery == 16 and random.to_dict()["split"]["record"]["seed"] == 42
    assert "split train by geoclap: a random 70/10/20" in random.to_text()


def test_the_table_stays_open_for_a_report(tiny_model: TwoTower, tiny_pairs: Path) -> None:
    seen = []
    evaluate_retrieval(
        tiny_model, tiny_pairs, split="test", resamples=10, then=lambda table, rows, _: seen.append(table.images(rows))
    )
    assert len(seen[0]) == 4


def test_unknown_labels_and_splits_list_what_there_is(tiny_model: TwoTower, tiny_pairs: Path, tiny_table: Path) -> None:
    with pytest.raises(DataError, match=r"'habitat'.*label"):
        evaluate_retrieval(tiny_model, tiny_table, match="habitat")
    with pytest.raises(ConfigError, match=r"--split tset; did you mean test\? train, val, test or all"):
        evaluate_retrieval(tiny_model, tiny_table, split="tset")  # type: ignore[arg-type]


def test_a_table_of_another_signal_config_is_refused(tiny_table: Path) -> None:
    model = TwoTower(ModelConfig("test_resnet", "test_resnet"), SignalConfig())
    with pytest.raises(ModelError, match=r"another signal config.*earthtone pack"):
        evaluate_retrieval(model, tiny_table)
