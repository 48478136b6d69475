"""Evaluations on data as a user names it: packed or not, the figures are the same."""

from pathlib import Path

import numpy as np
import pytest

from earthtone.data.table import Table
from earthtone.errors import DataError, ModelError
from earthtone.evaluate.on_data import embedded_pairs, evaluate_retrieval, validation_figures
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


def test_the_table_stays_open_for_a_report(tiny_model: TwoTower, tiny_pairs: Path) -> None:
    seen = []
    evaluate_retrieval(
        tiny_model, tiny_pairs, split="test", resamples=10, then=lambda table, rows, _: seen.append(table.images(rows))
    )
    assert len(seen[0]) == 4


def test_unknown_labels_and_splits_list_what_there_is(tiny_model: TwoTower, tiny_pairs: Path, tiny_table: Path) -> None:
    with pytest.raises(DataError, match=r"'habitat'.*label"):
        evaluate_retrieval(tiny_model, tiny_table, match="habitat")
    with pytest.raises(DataError, match=r"no rows of split 'tset'.*train \(16\)"):
        evaluate_retrieval(tiny_model, tiny_table, split="tset")


def test_a_table_of_another_signal_config_is_refused(tiny_table: Path) -> None:
    model = TwoTower(ModelConfig("test_resnet", "test_resnet"), SignalConfig())
    with pytest.raises(ModelError, match=r"another signal config.*earthtone pack"):
        evaluate_retrieval(model, tiny_table)
