"""Figures of class maps: intersection over union, overall accuracy, with intervals over tiles."""

import warnings

import numpy as np
from numpy.typing import NDArray

from earthtone.data.datasets.masks import IGNORED
from earthtone.evaluate.bootstrap import Estimate, resample_weights

Confusion = NDArray[np.int64]


def confusion_matrix(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> Confusion:
    """Return (classes, classes) pixel counts, truth by prediction; pixels of an ignored truth are left out."""
    known = truth != IGNORED
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def intersection_over_union(confusion: NDArray[np.float64] | Confusion) -> NDArray[np.float64]:
    """Return (..., classes); NaN for a class that neither truth nor prediction has."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(-1) + confusion.sum(-2) - right
    with np.errstate(invalid="ignore"):
        iou: NDArray[np.float64] = np.where(union > 0, right / union, np.nan)
    return iou


def mean_iou(confusion: NDArray[np.float64] | Confusion) -> NDArray[np.float64]:
    """Return (...): the mean over the classes that occur; NaN where none does."""
    iou = intersection_over_union(confusion)
    known = ~np.isnan(iou)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, iou, 0).sum(-1) / known.sum(-1)
    return mean


def overall_accuracy(confusion: NDArray[np.float64] | Confusion) -> NDArray[np.float64]:
    """Return (...): the share of right pixels."""
    with np.errstate(invalid="ignore"):
        share: NDArray[np.float64] = np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))
    return share


def segmentation_figures(
    tiles: Confusion, names: tuple[str, ...], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Estimate]:
    """Return mIoU, overall accuracy and the IoU of each class, from (trainings, tiles, classes, classes).

    Counts are summed over all tiles first, as published protocols do, and figures are means over the trainings.
    Intervals are 95 % percentile bootstraps over tiles; chance is what naming the commonest class everywhere reaches.
    """
    runs, count = tiles.shape[:2]
    total = tiles.sum(1)  # (trainings, classes, classes)
    weights = next(resample_weights(np.arange(count), resamples, resamples, seed))
    drawn = (weights @ tiles.reshape(runs, count, -1)).reshape(runs, resamples, *total.shape[1:])
    commonest = np.zeros_like(total[0])
    commonest[:, total[0].sum(1).argmax()] = total[0].sum(1)
    figures = {
        "mIoU": _estimate(mean_iou(total), mean_iou(drawn), float(mean_iou(commonest)), count),
        "accuracy": _estimate(
            overall_accuracy(total), overall_accuracy(drawn), float(overall_accuracy(commonest)), count
        ),
    }
    each, resampled = intersection_over_union(total), intersection_over_union(drawn)
    for number, name in enumerate(names):
        if not np.isnan(each[:, number]).all():
            figures[f"IoU {name}"] = _estimate(each[:, number], resampled[..., number], None, count)
    return figures


def _estimate(values: NDArray[np.float64], drawn: NDArray[np.float64], chance: float | None, count: int) -> Estimate:
    """From a value a training and (trainings, resamples)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a resample in which no training has the class
        means = np.nanmean(drawn, axis=0)
    known = means[~np.isnan(means)]
    low, high = np.percentile(known, (2.5, 97.5)) if len(known) else (np.nan, np.nan)
    return Estimate(float(np.nanmean(values)), float(low), float(high), chance, count)
