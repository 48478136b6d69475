"""Land-cover segmentation as a task: a backbone and a set of masks in, figures, pictures and class maps out."""

import re
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from earthtone.data.check import contents_of
from earthtone.data.labelled import open_masked
from earthtone.data.labelled.items import MaskedSet, Palette
from earthtone.data.labelled.masks import IGNORED, default_colours
from earthtone.device import autocast, choose_device, choose_precision
from earthtone.errors import DataError
from earthtone.evaluate.overlap import overlap_facts, overlap_of
from earthtone.evaluate.results import Estimate, TaskResult, interval, resample_weights, write_task_result
from earthtone.evaluate.segment_network import (
    SEGMENT_PLANS,
    THREADS,
    Segmenter,
    SegmentPlan,
    Tiles,
    class_map,
    segment_backbone,
    train_segmenter,
)
from earthtone.files import atomic_path, regular_file
from earthtone.models.backbone import Backbone
from earthtone.options import RESAMPLES, SegmentOptions
from earthtone.progress import ordered_map, progress
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import Pixels
from earthtone.signal.raster import TIFF_MAGIC, warnings_as
from earthtone.value_types import takes

Confusion = NDArray[np.int64]
Floats = NDArray[np.float64]
#: Classes (H, W) of pixels (H, W, 3).
ClassMap = Callable[[Pixels], NDArray[np.uint8]]


def confusion_matrix(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> Confusion:
    """Return (classes, classes) pixel counts, truth by prediction; pixels of an ignored truth are left out.

    By hand: scikit-learn's, made for any labels, takes nearly three times as long on a tile.
    """
    known = truth != IGNORED
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def intersection_over_union(confusion: Floats | Confusion) -> Floats:
    """Return (..., classes); NaN for a class that neither truth nor prediction has."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return _ratio(right, confusion.sum(-1) + confusion.sum(-2) - right)


def mean_iou(confusion: Floats | Confusion) -> Floats:
    """Return (...): the mean over the classes that occur; NaN where none does."""
    iou = intersection_over_union(confusion)
    return _ratio(np.nansum(iou, -1), (~np.isnan(iou)).sum(-1))


def overall_accuracy(confusion: Floats | Confusion) -> Floats:
    """Return (...): the share of right pixels."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Return the ratio; NaN for nothing of nothing."""
    with np.errstate(invalid="ignore"):
        ratio: Floats = part / whole
    return ratio


def segmentation_figures(
    tiles: Confusion, names: tuple[str, ...], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Return mIoU, overall accuracy and the IoU of each class, from (trainings, tiles, classes, classes).

    Counts are summed over all tiles first, as published protocols do, and figures are means over the trainings.
    Intervals are 95 % percentile bootstraps over tiles; chance is what naming the commonest class everywhere reaches.
    """
    runs, count = tiles.shape[:2]
    total = tiles.sum(1)  # (trainings, classes, classes)
    weights = np.concatenate(list(resample_weights(count, None, resamples, seed)))
    drawn = (weights @ tiles.reshape(runs, count, -1)).reshape(runs, resamples, *total.shape[1:])
    commonest = np.zeros_like(total[0])
    commonest[:, total[0].sum(1).argmax()] = total[0].sum(1)
    figures = {
        name: _estimate(figure(total), figure(drawn), float(figure(commonest)), count)
        for name, figure in (("mIoU", mean_iou), ("accuracy", overall_accuracy))
    }
    each, resampled = intersection_over_union(total), intersection_over_union(drawn)
    for number, name in enumerate(names):
        if not np.isnan(each[:, number]).all():
            figures[f"IoU {name}"] = _estimate(each[:, number], resampled[..., number], None, count)
    return figures


def _estimate(values: Floats, drawn: Floats, chance: float | None, count: int) -> Estimate:
    """Return the mean over trainings of a value each, with the interval of (trainings, resamples)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a resample in which no training has the class
        means = np.nanmean(drawn, axis=0)
    return Estimate(float(np.nanmean(values)), *interval(means), chance, count)


_SIDE = 256  # of each picture in a row
_GAP = 6


def coloured(classes: NDArray[np.uint8], palette: Palette) -> Pixels:
    """Return (H, W, 3): the palette's colour of each class, black where the truth is ignored."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette.names)] = class_colours(palette)
    return colours[classes]


def class_colours(palette: Palette) -> tuple[tuple[int, int, int], ...]:
    """Return one colour a class: the palette's own, or such as differ well."""
    return palette.shown or default_colours(len(palette.names))


def write_comparison(
    path: Path, image: Pixels, truth: NDArray[np.uint8] | None, predicted: NDArray[np.uint8], palette: Palette
) -> None:
    """Write image, truth (where known) and prediction side by side as PNG."""
    panels = [image, *([] if truth is None else [coloured(truth, palette)]), coloured(predicted, palette)]
    height, width = image.shape[:2]
    size = (max(1, round(width * _SIDE / max(height, width))), max(1, round(height * _SIDE / max(height, width))))
    smooth = [cv2.INTER_AREA, *[cv2.INTER_NEAREST] * (len(panels) - 1)]
    shown = [cv2.resize(panel, size, interpolation=how) for panel, how in zip(panels, smooth, strict=True)]
    gap = np.full((size[1], _GAP, 3), 255, np.uint8)
    _write_png(path, np.concatenate([part for panel in shown for part in (panel, gap)][:-1], axis=1))


def write_class_map(path: Path, source: Path, predicted: NDArray[np.uint8], palette: Palette) -> Path:
    """Write a class map as wide as its image: a GeoTIFF at the image's place, or a PNG in the palette's colours.

    The GeoTIFF's values are class numbers from 0 (names in its tags, colours in its colour table), 255 is no data.
    """
    with regular_file(source).open("rb") as file:
        is_tiff = file.read(4) in TIFF_MAGIC
    path = path.with_suffix(".tif" if is_tiff else ".png")
    if not is_tiff:
        _write_png(path, coloured(predicted, palette))
        return path
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    colours = {number: (*colour, 255) for number, colour in enumerate(class_colours(palette))}
    with warnings_as("ignore", NotGeoreferencedWarning):
        with rasterio.open(source, driver="GTiff") as opened:
            crs, transform = opened.crs, opened.transform
        with atomic_path(path, sync=False) as temporary, rasterio.open(
            temporary, "w", driver="GTiff", height=predicted.shape[0], width=predicted.shape[1], count=1,
            dtype="uint8", crs=crs, transform=transform, nodata=IGNORED, compress="deflate", tiled=True,
        ) as out:  # fmt: skip
            out.write(predicted, 1)
            out.write_colormap(1, colours)
            out.update_tags(**{f"class_{number}": name for number, name in enumerate(palette.names)})
    return path


def _write_png(path: Path, pixels: Pixels) -> None:
    with atomic_path(path, sync=False) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


_PICTURES = 12


def write_outputs(
    folder: Path, tiles: Tiles, test: Sequence[int], mapped: ClassMap, reached: NDArray[np.float64]
) -> None:
    """Write `pictures/` of some test tiles, by `reached` (test tiles,), and `maps/` of all and of those without a mask.

    Names begin with the tile's number in the set, so that no two ids can share a file.
    """
    order = np.argsort(-np.nan_to_num(reached, nan=-1.0), kind="stable")
    chosen = {test[i] for i in order[np.linspace(0, len(order) - 1, min(_PICTURES, len(order))).round().astype(int)]}
    for number in progress([*test, *tiles.without_mask()], total=None, label="class maps", unit="tile"):
        item = tiles.items[number]
        pixels, truth = tiles.read(number)
        predicted = mapped(pixels)
        name = f"{number:05d}-{re.sub(r'[^A-Za-z0-9_-]', '_', Path(item.id).stem)[:60]}"
        write_class_map(folder / "maps" / name, item.image, predicted, tiles.palette)
        if number in chosen:
            write_comparison(folder / "pictures" / f"{name}.png", pixels, truth, predicted, tiles.palette)


_WHOLE = 4096  # pixels a side that a protocol without tiles still sees at once


def segment(
    open_backbone: Callable[[int], Backbone], data: MaskedSet, plan: SegmentPlan, options: SegmentOptions
) -> TaskResult:
    """Return mIoU, overall accuracy and IoU a class on the test tiles; one training a seed, figures are their means.

    `open_backbone` gives a fresh backbone for a seed; `plan` is that of `options.protocol`, or another. `options.out`
    gets `pictures/` (image, truth, prediction) and `maps/` (GeoTIFFs where the images are; also of tiles without a
    mask) of the first seed. Raises DataError, ConfigError, ModelError.
    """
    tiles = Tiles(data, ImageConfig(bands=options.bands, value_range=options.value_range))
    train, val, test = _splits(tiles, data.name, plan)
    overlap = _overlap(tiles, train, test)
    names = data.palette.names
    tile = options.tile_pixels or (_WHOLE if plan.stride_pixels else 2 * plan.patch_pixels)
    class_maps: list[ClassMap] = []
    epochs, seconds, confusions = [], [], []
    for seed in options.seeds:
        torch.manual_seed(seed)
        backbone = open_backbone(seed)
        model = Segmenter(backbone, len(names), options.head, frozen=options.frozen)
        model.to(memory_format=torch.channels_last).to(backbone.device)
        numbers = choose_precision(options.precision, backbone.device.type)
        mapped = _class_map_of(model, len(names), tile, options.overlap, numbers)
        started = time.monotonic()
        score = partial(_score, tiles, val, mapped)
        epochs.append(train_segmenter(model, train, tiles.read, plan, seed=seed, numbers=numbers, score=score))
        seconds.append(round(time.monotonic() - started, 1))
        class_maps.append(mapped)
        confusions.append(_confusions(tiles, test, mapped, label="test"))
    if options.out is not None:
        write_outputs(Path(options.out), tiles, test, class_maps[0], mean_iou(confusions[0]))
    counted = np.stack(confusions)
    each = mean_iou(counted).mean(0)  # (tiles,): a tile of ignored pixels alone has none
    known = np.flatnonzero(~np.isnan(each))
    return TaskResult(
        task="segment",
        dataset=data.name,
        model=backbone.name,
        protocol=f"{options.head}{', backbone frozen' if options.frozen else ''}; {plan.sentence()}",
        headline="mIoU",
        figures=segmentation_figures(counted, names, resamples=options.resamples),
        ids=[tiles.items[test[i]].id for i in known],
        scores=[float(each[i]) for i in known],
        facts={
            "classes": list(names),
            "tiles": {"train": len(train), "val": len(val), "test": len(test)},
            "seeds": list(options.seeds),
            "mIoU_by_seed": [float(mean_iou(run.sum(0))) for run in counted],
            "epoch_kept": epochs,
            "training_seconds": seconds,
            "confusion": counted.sum((0, 1)).tolist(),
            "tile_pixels": tile,
            "overlap": options.overlap,
            "labelled_test_pixels": dict(zip(names, tiles.labelled(test).tolist(), strict=True)),
            "remarks": dict(tiles.remarks),
            "skipped": tiles.skipped,
            "unknown_mask_values": tiles.unknown,
            **overlap,
            "cautions": [*_cautions(names, tiles.labelled(test)), *overlap["cautions"]],
        },
    )


@takes(SegmentOptions)
def evaluate_segment(options: SegmentOptions) -> TaskResult:
    """Return how well a backbone with a head draws land cover: mIoU, overall accuracy, IoU a class.

    `model` is what `open_backbone` takes; `data` a folder of images and masks, a manifest, or a set that is open
    already. What is None is the protocol's. `out` gets `result.json`, `pictures/` and `maps/`. Raises ConfigError,
    DataError, ModelError.
    """
    names = ("epochs", "batch_size", "patch_pixels", "learning_rate")
    asked = {name: value for name in names if (value := getattr(options, name)) is not None}
    device, data = choose_device(options.device), options.data
    result = segment(
        lambda seed: segment_backbone(str(options.model), options.head, seed, device),
        data if isinstance(data, MaskedSet) else open_masked(data, dataset=options.dataset),
        replace(SEGMENT_PLANS[options.protocol], **asked),
        options,
    )
    write_task_result(None if options.out is None else Path(options.out) / "result.json", result)
    return result


def _splits(tiles: Tiles, name: str, plan: SegmentPlan) -> tuple[list[int], list[int], list[int]]:
    """Return the numbers of the training, validation and test tiles. Raises DataError when one lacks."""
    train, val, test = (tiles.of_split(split) for split in ("train", "val", "test"))
    if not train or not test:
        raise DataError(f"{name}: {len(train)} training and {len(test)} test tiles with a mask; both are needed")
    if plan.choose and not val:
        raise DataError(f"{name}: no tiles of split val to choose the epoch by; add some, or --protocol soundingearth")
    for split, numbers in {"train": train, "test": test, **({"val": val} if plan.choose else {})}.items():
        if not tiles.labelled(numbers).any():
            raise DataError(
                f"{name}: no pixel of the {len(numbers)} {split} tiles has a class, all are ignored; masks with "
                "labelled pixels were expected (see ignored values in classes.csv, and no data declared in the masks)"
            )
    known = np.flatnonzero(tiles.labelled(train))
    if len(known) < 2:
        only = tiles.palette.names[known[0]]
        raise DataError(f"{name}: all labelled pixels of train have the class {only!r}; two classes or more expected")
    return train, val, test


def _cautions(names: Sequence[str], labelled: NDArray[np.int64]) -> list[str]:
    """Return what must be known beside an mIoU whose test does not hold all classes."""
    held = [name for name, count in zip(names, labelled.tolist(), strict=True) if count]
    if len(held) == len(names):
        return []
    if len(held) == 1:
        return [
            f"all labelled test pixels have the class {held[0]!r}: mIoU is of this class alone, and whoever names it "
            "everywhere reaches 1"
        ]
    lacking = [name for name in names if name not in held]
    return [f"the test pixels hold {len(held)} of {len(names)} classes; not in them: {', '.join(lacking)}"]


def _overlap(tiles: Tiles, train: Sequence[int], test: Sequence[int]) -> dict[str, Any]:
    """Return the facts on images that are identical in train and test; one may hold enough to measure on."""
    rows = [*train, *test]
    images = np.unique([tiles.looked[row].digest for row in rows], return_inverse=True)[1].astype(np.int64)
    tested = np.arange(len(rows)) >= len(train)
    found = overlap_of([tiles.items[row].id for row in rows], {"image": images}, tested.astype(np.int64), tested)
    contents = {
        name: contents_of(images[at], None, None, int(at.sum())) for name, at in (("train", ~tested), ("test", tested))
    }
    return overlap_facts(found, contents, None, "test images")


def _class_map_of(model: Segmenter, classes: int, tile: int, overlap: float, numbers: str) -> ClassMap:
    """Return a function from pixels (H, W, 3) to classes (H, W)."""
    device = model.backbone.device

    @torch.inference_mode()
    def predict(pixels: Tensor) -> Tensor:
        model.eval()
        with autocast(numbers, device.type):
            scores: Tensor = model(pixels.to(device))
        return scores.float().softmax(1).cpu()

    return lambda pixels: class_map(pixels, predict, classes, tile=tile, overlap=overlap)


def _score(tiles: Tiles, numbers: Sequence[int], mapped: ClassMap) -> float:
    return float(mean_iou(_confusions(tiles, numbers, mapped).sum(0)))


def _confusions(tiles: Tiles, numbers: Sequence[int], mapped: ClassMap, label: str | None = None) -> Confusion:
    """Return (tiles, classes, classes) of the class maps of some tiles; with a bar when it has a label."""
    classes, pairs = len(tiles.palette.names), ordered_map(tiles.read, numbers, THREADS)
    shown = pairs if label is None else progress(pairs, total=len(numbers), label=label, unit="tile")
    return np.stack([confusion_matrix(mask, mapped(image), classes) for image, mask in shown])
