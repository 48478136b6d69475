"""Intersection over union against scikit-learn's Jaccard score, and its intervals against known cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, jaccard_score

from earthtone.evaluate.segment import (
    confusion_matrix,
    intersection_over_union,
    mean_iou,
    overall_accuracy,
    segmentation_figures,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_figures_equal_scikit_learns(seed: int, classes: int) -> None:
    draw = np.random.default_rng(seed)
    truth, predicted = draw.integers(0, classes, (2, 20, 20), dtype=np.uint8)
    truth[draw.random((20, 20)) < 0.2] = 255
    known = truth != 255
    confusion = confusion_matrix(truth, predicted, classes)
    assert confusion.sum() == known.sum()
    labels = np.union1d(truth[known], predicted[known])
    expected = jaccard_score(truth[known], predicted[known], labels=labels, average=None)
    iou = intersection_over_union(confusion)
    assert iou[labels] == pytest.approx(expected)
    assert np.isnan(np.delete(iou, labels)).all()
    assert mean_iou(confusion) == pytest.approx(expected.mean())
    assert overall_accuracy(confusion) == pytest.approx(accuracy_score(truth[known], predicted[known]))


def test_a_class_that_nowhere_occurs_is_left_out() -> None:
    tiles = np.zeros((1, 2, 3, 3), np.int64)
    tiles[0, :, 0, 0] = 8
    tiles[0, :, 1, 0] = 2
    figures = segmentation_figures(tiles, ("field", "water", "never"))
    assert "IoU never" not in figures
    assert figures["IoU field"].value == pytest.approx(0.8)
    assert figures["IoU water"].value == 0
    assert figures["mIoU"].value == pytest.approx(0.4)
    assert figures["mIoU"].chance == pytest.approx(0.4)
    assert figures["accuracy"].value == pytest.approx(0.8)
    assert figures["mIoU"].low == figures["mIoU"].high == pytest.approx(0.4)


def test_figures_are_means_over_trainings_and_intervals_cover_them() -> None:
    draw = np.random.default_rng(0)
    tiles = draw.integers(1, 100, (3, 40, 4, 4))
    figures = segmentation_figures(tiles, ("a", "b", "c", "d"), resamples=200)
    each = [mean_iou(run.sum(0)) for run in tiles]
    assert figures["mIoU"].value == pytest.approx(np.mean(each))
    assert figures["mIoU"].low < figures["mIoU"].value < figures["mIoU"].high
    assert figures["mIoU"].queries == 40


def test_counts_are_summed_before_the_ratio() -> None:
    """Not the mean of each tile's figure: a tile with few known pixels weighs little."""
    tiles = np.zeros((1, 2, 2, 2), np.int64)
    tiles[0, 0] = [[98, 0], [0, 2]]
    tiles[0, 1] = [[0, 1], [1, 0]]
    assert segmentation_figures(tiles, ("a", "b"))["IoU a"].value == pytest.approx(98 / 100)
