"""Segmentation as a task: a backbone and a set of masks in, figures, pictures and class maps out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthtone.data.contents import contents_of
from earthtone.data.labelled import MaskedSet
from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.segment.figures import Confusion, confusion_matrix, mean_iou, segmentation_figures
from earthtone.evaluate.segment.network import Segmenter
from earthtone.evaluate.segment.outputs import write_outputs
from earthtone.evaluate.segment.tiled import class_map
from earthtone.evaluate.segment.tiles import Tiles
from earthtone.evaluate.segment.training import SegmentProtocol, train_segmenter
from earthtone.evaluate.shared import shared, told
from earthtone.evaluate.task_result import TaskResult
from earthtone.models.backbone import Backbone
from earthtone.progress import progress
from earthtone.signal.config import ImageConfig, ValueRange
from earthtone.signal.image import Pixels

#: Classes (H, W) of pixels (H, W, 3).
Mapped = Callable[[Pixels], NDArray[np.uint8]]

_WHOLE = 4096  # pixels a side that a protocol without tiles still sees at once


@dataclass(frozen=True)
class _Trained:
    """A segmenter after its training: what it says of a picture, and how it came to be."""

    name: str
    class_map: Mapped
    epoch: int
    seconds: float


def segment(
    open_backbone: Callable[[int], Backbone],
    data: MaskedSet,
    *,
    protocol: SegmentProtocol,
    head: str = "deeplabv3plus",
    frozen: bool = False,
    bands: tuple[int, int, int] | None = None,
    value_range: ValueRange | None = None,
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
        raise ConfigError("no seeds; at least one expected, such as --seeds [0]")
    tiles = Tiles(data, ImageConfig(bands=bands, value_range=value_range))
    train, val, test = _splits(tiles, data.name, protocol)
    careful = _told(tiles, train, test)
    classes = len(data.palette.names)
    seen = tile or (_WHOLE if protocol.stride_pixels else 2 * protocol.patch_pixels)
    trained: list[_Trained] = []
    confusions: list[Confusion] = []
    for seed in seeds:
        torch.manual_seed(seed)
        model = Segmenter(open_backbone(seed), classes, head, frozen=frozen).to(memory_format=torch.channels_last)
        model.to(model.backbone.device)
        mapped = _mapper(model, classes, seen, overlap, precision)
        started = time.monotonic()
        epoch = train_segmenter(
            model, train, tiles.read, protocol, seed=seed, precision=precision,
            score=lambda mapped=mapped: float(mean_iou(_confusions(tiles, val, mapped, classes).sum(0))),  # type: ignore[misc]
        )  # fmt: skip
        trained.append(_Trained(model.backbone.name, mapped, epoch, time.monotonic() - started))
        confusions.append(_confusions(tiles, test, mapped, classes, label="test"))
    if out is not None:
        write_outputs(out, tiles, test, trained[0].class_map, mean_iou(confusions[0]))
    counted = np.stack(confusions)
    each = mean_iou(counted).mean(0)  # (tiles,): a tile of ignored pixels alone has none
    known = np.flatnonzero(~np.isnan(each))
    return TaskResult(
        task="segment",
        dataset=data.name,
        model=trained[0].name,
        protocol=f"{head}{', backbone frozen' if frozen else ''}; {protocol.sentence()}",
        headline="mIoU",
        figures=segmentation_figures(counted, data.palette.names, resamples=resamples),
        ids=[tiles.items[test[i]].id for i in known],
        scores=[float(each[i]) for i in known],
        facts={
            "classes": list(data.palette.names),
            "tiles": {"train": len(train), "val": len(val), "test": len(test)},
            "seeds": list(seeds),
            "mIoU_by_seed": [float(mean_iou(run.sum(0))) for run in counted],
            "epoch_kept": [run.epoch for run in trained],
            "training_seconds": [round(run.seconds, 1) for run in trained],
            "confusion": counted.sum((0, 1)).tolist(),
            "tile_pixels": seen,
            "overlap": overlap,
            "labelled_test_pixels": dict(zip(data.palette.names, tiles.labelled(test).tolist(), strict=True)),
            "remarks": dict(tiles.remarks),
            "skipped": tiles.skipped,
            "unknown_mask_values": tiles.unknown,
            **careful,
            "cautions": [*_cautions(data.palette.names, tiles.labelled(test)), *careful["cautions"]],
        },
    )


def _splits(tiles: Tiles, name: str, protocol: SegmentProtocol) -> tuple[list[int], list[int], list[int]]:
    """The numbers of the training, validation and test tiles. Raises DataError when one lacks."""
    train, val, test = (tiles.of_split(split) for split in ("train", "val", "test"))
    if not train or not test:
        raise DataError(f"{name}: {len(train)} training and {len(test)} test tiles with a mask; both are needed")
    if protocol.choose and not val:
        raise DataError(f"{name}: no tiles of split val to choose the epoch by; add some, or --protocol soundingearth")
    for split, numbers in {"train": train, "test": test, **({"val": val} if protocol.choose else {})}.items():
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
    """What has to be known beside an mIoU whose test does not hold all classes."""
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


def _told(tiles: Tiles, train: Sequence[int], test: Sequence[int]) -> dict[str, Any]:
    """What is to be told of images that are identical in train and test; one may hold enough to measure on."""
    rows = np.array([*train, *test], np.int64)
    images = np.unique(np.array(tiles.digests, np.str_)[rows], return_inverse=True)[1].astype(np.int64)
    tested = np.arange(len(rows)) >= len(train)
    found = shared([tiles.items[row].id for row in rows], {"image": images}, tested.astype(np.int64), tested)
    contents = {
        name: contents_of(images[at], None, None, int(at.sum())) for name, at in (("train", ~tested), ("test", tested))
    }
    return told(found, contents, None, "test images")


def _mapper(model: Segmenter, classes: int, tile: int, overlap: float, precision: torch.dtype) -> Mapped:
    """A function from pixels (H, W, 3) to classes (H, W)."""
    device = model.backbone.device

    @torch.inference_mode()
    def predict(pixels: Tensor) -> Tensor:
        model.eval()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            scores: Tensor = model(pixels.to(device))
        return scores.float().softmax(1).cpu()

    return lambda pixels: class_map(pixels, predict, classes, tile=tile, overlap=overlap)


def _confusions(
    tiles: Tiles, numbers: Sequence[int], mapped: Mapped, classes: int, label: str | None = None
) -> Confusion:
    """(tiles, classes, classes) of what `mapped` says of some tiles; with a bar when it has a label."""
    pairs = tiles.read_ahead(numbers)
    shown = pairs if label is None else progress(pairs, total=len(numbers), label=label, unit="tile")
    return np.stack([confusion_matrix(mask, mapped(image), classes) for image, mask in shown])
