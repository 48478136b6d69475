"""Segmentation as a task: a backbone and a set of masks in, figures, pictures and class maps out."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from earthtone.data.labelled import MaskedSet
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.segment.figures import Confusion, confusion_matrix, mean_iou, segmentation_figures
from earthtone.evaluate.segment.network import Segmenter
from earthtone.evaluate.segment.outputs import write_outputs
from earthtone.evaluate.segment.tiled import class_map
from earthtone.evaluate.segment.tiles import Tiles
from earthtone.evaluate.segment.training import SegmentProtocol, train_segmenter
from earthtone.evaluate.task_result import TaskResult
from earthtone.models.backbone import Backbone
from earthtone.progress import progress
from earthtone.signal.image import Pixels

_WHOLE = 4096  # pixels a side that a protocol without tiles still sees at once


def segment(
    open_backbone: Callable[[int], Backbone],
    data: MaskedSet,
    *,
    protocol: SegmentProtocol,
    head: str = "deeplabv3plus",
    frozen: bool = False,
    bands: tuple[int, int, int] | None = None,
    seeds: Sequence[int] = (0,),
    tile: int | None = None,
    overlap: float = 0.25,
    precision: torch.dtype = torch.float32,
    out: Path | None = None,
    resamples: int = 1000,
) -> TaskResult:
    """Return mIoU, overall accuracy and IoU a class on the test tiles; one training a seed, figures are their means.

    `open_backbone` gives a fresh backbone for a seed. `out` gets `pictures/` (image, truth, prediction) and `maps/`
    (GeoTIFFs where the images are; also of tiles without a mask) of the first seed. Raises DataError, ConfigError.
    """
    if not seeds:
        raise ConfigError("no seeds; at least one expected, such as --seeds 0")
    tiles = Tiles(data, bands)
    train, val, test = (tiles.of_split(name) for name in ("train", "val", "test"))
    if not train or not test:
        raise DataError(f"{data.name}: {len(train)} training and {len(test)} test tiles with a mask; both are needed")
    if protocol.choose and not val:
        raise DataError(f"{data.name}: no tiles of split val to choose the epoch by; add some or --protocol soundingearth")
    classes = len(data.palette.names)
    seen = tile or (_WHOLE if protocol.stride_pixels else 2 * protocol.patch_pixels)
    confusions, epochs, seconds = [], [], []
    name = ""
    for seed in seeds:
        started = time.monotonic()
        torch.manual_seed(seed)
        backbone = open_backbone(seed)
        name = backbone.name
        model = Segmenter(backbone, classes, head, frozen=frozen).to(next(backbone.parameters()).device)
        predict = _predictor(model, precision)

        def mapped(image: Pixels, predict: Callable[[torch.Tensor], torch.Tensor] = predict) -> NDArray[np.uint8]:
            return class_map(image, predict, classes, tile=seen, overlap=overlap)

        def score(_: Segmenter, mapped: Callable[[Pixels], NDArray[np.uint8]] = mapped) -> float:
            return float(mean_iou(_confusions(tiles, val, mapped, classes, None).sum(0)))

        epochs.append(
            train_segmenter(model, train, tiles.read, protocol, seed=seed, precision=precision, score=score)
        )
        seconds.append(time.monotonic() - started)
        confusions.append(_confusions(tiles, test, mapped, classes, "test"))
        if out is not None and seed == seeds[0]:
            write_outputs(out, tiles, test, mapped, mean_iou(confusions[0]))
    counted = np.stack(confusions)
    each = mean_iou(counted).mean(0)  # (tiles,): a tile of ignored pixels alone has none
    known = np.flatnonzero(~np.isnan(each))
    return TaskResult(
        task="segment",
        dataset=data.name,
        model=name,
        protocol=f"{head}{', backbone frozen' if frozen else ''}; {protocol.sentence}",
        headline="mIoU",
        figures=segmentation_figures(counted, data.palette.names, resamples=resamples),
        ids=[tiles.items[test[i]].id for i in known],
        scores=[float(each[i]) for i in known],
        facts={
            "classes": list(data.palette.names),
            "tiles": {"train": len(train), "val": len(val), "test": len(test)},
            "seeds": list(seeds),
            "mIoU_by_seed": [float(mean_iou(run.sum(0))) for run in counted],
            "epoch_kept": epochs,
            "training_seconds": [round(value, 1) for value in seconds],
            "confusion": counted.sum((0, 1)).tolist(),
            "tile_pixels": seen,
            "overlap": overlap,
            "skipped": tiles.skipped,
            "unknown_mask_values": tiles.unknown,
        },
    )


def _predictor(model: Segmenter, precision: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    device = next(model.parameters()).device

    @torch.inference_mode()
    def predict(pixels: torch.Tensor) -> torch.Tensor:
        model.eval()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            scores = model(pixels.to(device))
        return scores.float().softmax(1).cpu()

    return predict


def _confusions(
    tiles: Tiles, numbers: Sequence[int], mapped: Callable[[Pixels], NDArray[np.uint8]], classes: int, label: str | None
) -> Confusion:
    """(tiles, classes, classes) of what `mapped` says of some tiles; with a bar when it has a label."""
    found = []
    pairs = tiles.read_ahead(numbers)
    for image, mask in pairs if label is None else progress(pairs, total=len(numbers), label=label, unit="tile"):
        found.append(confusion_matrix(mask, mapped(image), classes))
    return np.stack(found)
