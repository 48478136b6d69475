"""The segmenter: a backbone with a head, its training patches, its training, whole tiles predicted in strips."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from earthtone.data.labelled.items import MaskedItem, MaskedSet
from earthtone.data.labelled.masks import IGNORED, Classes, UnknownValues, Value, read_masked
from earthtone.device import autocast
from earthtone.errors import ConfigError, DataError, SignalError, did_you_mean
from earthtone.evaluate.finetune import keep_best, take_step, warmup_cosine
from earthtone.models.backbone import Backbone, open_backbone
from earthtone.progress import ordered_map, progress, progress_bar
from earthtone.signal.config import ImageConfig
from earthtone.signal.image import Pixels, image_hash

_FINE, _COARSE = 4, 16  # strides that DeepLabV3+ joins
_WIDTH = 256


class Segmenter(nn.Module):
    """Class scores (N, classes, H, W) for uint8 pixels (N, H, W, 3) of any size."""

    def __init__(self, backbone: Backbone, classes: int, head: str, *, frozen: bool = False) -> None:
        super().__init__()
        if head not in HEADS:
            raise ConfigError(f"head {head!r}; {did_you_mean(head, HEADS)}one of {', '.join(HEADS)} expected")
        if not backbone.channels:
            raise ConfigError(
                f"{backbone.name} gives no maps of its stages; an encoder with `forward_intermediates` expected"
            )
        self.backbone = backbone
        self.frozen = frozen
        self.head = HEADS[head](backbone, classes)
        backbone.requires_grad_(not frozen)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the scores; sides are filled up to the deepest stride by reflection and cut off again."""
        height, width = pixels.shape[1:3]
        unit = max(*self.backbone.strides, 2 * _COARSE)
        padded = _filled_up(self.backbone.prepare(pixels), unit)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.backbone.stages(padded)
        scores = F.interpolate(self.head(maps, padded.shape[2:]), padded.shape[2:], mode="bilinear")
        return scores[:, :, :height, :width].float()

    def train(self, mode: bool = True) -> "Segmenter":
        """Set the mode; a frozen backbone keeps the statistics of its norms."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self


class DeepLabV3Plus(nn.Module):
    """Atrous spatial pyramid over the last stage, joined with the first one.

    Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation",
    arXiv 1802.02611; the decoder is that of segmentation-models-pytorch. A backbone whose maps have other strides
    than 4 and 16 (vision transformers, families without dilation) has them resized to these.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

        self.fine = next((i for i, stride in enumerate(backbone.strides) if stride >= _FINE), 0)
        channels = backbone.channels
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=(3, 0, channels[self.fine], 0, 0, channels[-1]),
            encoder_depth=5,
            out_channels=_WIDTH,
            atrous_rates=(6, 12, 18),  # the paper's at output stride 16
            output_stride=_COARSE,
            aspp_separable=True,
            aspp_dropout=0.5,
        )
        self.classify = nn.Conv2d(_WIDTH, classes, 1)

    def forward(self, maps: list[Tensor], size: torch.Size) -> Tensor:
        """Return scores at a quarter of the input's `size`."""
        fine = _at(maps[self.fine], size, _FINE)
        coarse = _at(maps[-1], size, _COARSE)
        scores: Tensor = self.classify(self.decoder([fine, fine, fine, coarse]))
        return scores


class LinearHead(nn.Module):
    """One linear layer a pixel on the last stage, behind a batch norm: a probe of what the maps say."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(backbone.channels[-1], affine=False)
        self.classify = nn.Conv2d(backbone.channels[-1], classes, 1)

    def forward(self, maps: list[Tensor], size: torch.Size) -> Tensor:
        """Return scores at the resolution of the last stage."""
        scores: Tensor = self.classify(self.norm(maps[-1]))
        return scores


HEADS: dict[str, Callable[[Backbone, int], nn.Module]] = {"deeplabv3plus": DeepLabV3Plus, "linear": LinearHead}


def _at(maps: Tensor, size: torch.Size, stride: int) -> Tensor:
    wanted = (size[0] // stride, size[1] // stride)
    return maps if maps.shape[2:] == wanted else F.interpolate(maps, wanted, mode="bilinear")


def _filled_up(inputs: Tensor, unit: int) -> Tensor:
    """Return inputs with sides that are multiples of `unit`: mirrored where large enough, else the border repeated."""
    down, right = -inputs.shape[2] % unit, -inputs.shape[3] % unit
    if not (down or right):
        return inputs
    mirror = down < inputs.shape[2] and right < inputs.shape[3]
    return F.pad(inputs, (0, right, 0, down), mode="reflect" if mirror else "replicate")


_log = logging.getLogger(__name__)


def segment_backbone(spec: str, head: str, seed: int, device: str) -> Backbone:
    """Return a backbone with a last stage at stride 16 where the head wants that and the family can."""
    if head == "deeplabv3plus":
        try:
            return open_backbone(spec, output_stride=16, seed=seed, device=device)
        except ConfigError as error:
            _log.warning("%s; its last maps are resized to stride 16 instead", error)
    return open_backbone(spec, seed=seed, device=device)


THREADS = 2
_NAMED = 5


@dataclass(frozen=True)
class _Looked:
    """What a look at one item found: values without a class, pixels, pixels of each class, kinds of remarks, a hash."""

    unknown: Counter[Value]
    pixels: int
    classes: NDArray[np.int64]
    remarks: tuple[str, ...]
    digest: str


class Tiles:
    """The usable items of a masked set, by number; broken images are left out, counted and named.

    Raises DataError for a mask of another size than its image: pairs that were put together wrongly.
    """

    def __init__(self, data: MaskedSet, config: ImageConfig | None = None) -> None:
        self.palette = data.palette
        self._config = config or ImageConfig()
        self.looked: list[_Looked] = []
        self.remarks: Counter[str] = Counter()
        self.items: list[MaskedItem] = []
        self.skipped: dict[str, str] = {}
        unknown = UnknownValues()
        looked = ordered_map(self._look, data.items, THREADS)
        for item, found in zip(data.items, progress(looked, total=len(data.items), label="masks"), strict=True):
            if isinstance(found, str):
                self.skipped[item.id] = found
                continue
            self.items.append(item)
            self.looked.append(found)
            self.remarks.update(found.remarks)
            unknown.add(found.unknown, found.pixels)
        self.unknown = unknown.warnings()
        for line in self.unknown:
            _log.warning("%s: %s", data.name, line)
        if self.remarks:
            counts = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.remarks.items()))
            _log.warning("%s: of %d tiles some need a look (%s)", data.name, len(data.items), counts)
        if self.skipped:
            named = "; ".join(list(self.skipped.values())[:_NAMED])
            _log.warning("%s: %d of %d tiles left out: %s", data.name, len(self.skipped), len(data.items), named)
        if not self.items:
            first = next(iter(self.skipped.values()), "it has no items")
            raise DataError(f"{data.name}: no usable tile; {first}")

    def of_split(self, split: str) -> list[int]:
        """Return the numbers of the tiles with a mask in a split."""
        return [i for i, item in enumerate(self.items) if item.split == split and item.mask is not None]

    def without_mask(self) -> list[int]:
        """Return the numbers of the tiles that are there to be predicted only."""
        return [i for i, item in enumerate(self.items) if item.mask is None]

    def labelled(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Return how many pixels of each class some tiles have."""
        return np.asarray(np.sum([self.looked[number].classes for number in numbers], axis=0), np.int64)

    def read(self, number: int) -> tuple[Pixels, Classes]:
        """Return pixels (H, W, 3) and classes (H, W), 255 where ignored, everywhere so without a mask."""
        picture, classes, _ = read_masked(self.items[number], self.palette, self._config)
        if classes is None:
            classes = np.full(picture.pixels.shape[:2], IGNORED, np.uint8)
        return picture.pixels, classes

    def _look(self, item: MaskedItem) -> _Looked | str:
        try:
            picture, classes, unknown = read_masked(item, self.palette, self._config)
        except SignalError as error:
            return str(error)
        counts = np.zeros(256, np.int64) if classes is None else np.bincount(classes.ravel(), minlength=256)
        height, width = picture.pixels.shape[:2]
        kinds = tuple(remark.kind for remark in picture.remarks)
        return _Looked(unknown, height * width, counts[: len(self.palette.names)], kinds, image_hash(picture.pixels))


#: An image (H, W, 3) and its classes (H, W), by the number of the item.
ReadTile = Callable[[int], tuple[Pixels, Classes]]

_POOL = 16  # images whose patches are mixed; bounds the memory


class Patches(NamedTuple):
    """`image` uint8 (N, side, side, 3), `mask` int64 (N, side, side)."""

    image: Tensor
    mask: Tensor


def epoch_of_patches(
    items: Sequence[int],
    read: ReadTile,
    *,
    side: int,
    batch: int,
    stride: int | None,
    seed: tuple[int, int],
) -> Iterator[Patches]:
    """Yield the batches of one epoch over `items` in an order that `seed` (seed, epoch) decides.

    With a `stride` patches lie on a regular grid, as they are; without one as many as cover an image lie at random
    places, turned and mirrored at random. A last batch of a single patch is left out: a batch norm needs two.
    """
    order = np.random.default_rng(seed).permutation(np.asarray(items))
    draws = {int(item): np.random.default_rng([*seed, int(item)]) for item in order}

    def cut(item: int) -> list[tuple[Pixels, Classes]]:
        image, mask = (_at_least(values, side, fill) for values, fill in zip(read(item), (None, IGNORED), strict=True))
        if stride is not None:
            return _grid(image, mask, side, stride)
        return _random(image, mask, side, draws[item])

    held: list[tuple[Pixels, Classes]] = []
    mix = np.random.default_rng([*seed, 1])
    images = ordered_map(cut, map(int, order), THREADS)
    while group := list(islice(images, _POOL)):
        held += [patch for patches in group for patch in patches]
        held = [held[i] for i in mix.permutation(len(held))]
        while len(held) >= batch:
            yield _joined(held[:batch])
            held = held[batch:]
    if len(held) > 1:
        yield _joined(held)


def _grid(image: Pixels, mask: Classes, side: int, stride: int) -> list[tuple[Pixels, Classes]]:
    """Return patches at multiples of `stride`, the last ones at the borders."""
    overlap = 1 - min(stride, side) / side
    return [
        (image[y : y + side, x : x + side], mask[y : y + side, x : x + side])
        for y in tile_starts(image.shape[0], side, overlap)
        for x in tile_starts(image.shape[1], side, overlap)
    ]


def _random(image: Pixels, mask: Classes, side: int, draw: Generator) -> list[tuple[Pixels, Classes]]:
    height, width = mask.shape
    patches = []
    for _ in range(max(1, round(height * width / side**2))):
        y, x = int(draw.integers(height - side + 1)), int(draw.integers(width - side + 1))
        turns, mirrored = int(draw.integers(4)), bool(draw.integers(2))
        views = [np.rot90(values[y : y + side, x : x + side], turns) for values in (image, mask)]
        views = [np.flip(view, 1) if mirrored else view for view in views]
        bright = draw.uniform(0.8, 1.2)
        jittered = np.clip(views[0].astype(np.float32) * bright, 0, 255).astype(np.uint8)
        patches.append((jittered, np.ascontiguousarray(views[1])))
    return patches


def _at_least(values: NDArray[np.uint8], side: int, fill: int | None) -> NDArray[np.uint8]:
    """Fill a small picture up to `side`: an image by its mirror, a mask by `fill`."""
    lacking = [(0, max(0, side - length)) for length in values.shape[:2]]
    if not any(after for _, after in lacking):
        return values
    widths = [*lacking, *[(0, 0)] * (values.ndim - 2)]
    return np.pad(values, widths, "symmetric") if fill is None else np.pad(values, widths, constant_values=fill)


def _joined(patches: Sequence[tuple[Pixels, Classes]]) -> Patches:
    images, masks = zip(*patches, strict=True)
    return Patches(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)).long())


#: Class probabilities (N, classes, H, W) of pixels (N, H, W, 3).
Predict = Callable[[Tensor], Tensor]

_BATCH = 4


def class_map(pixels: Pixels, predict: Predict, classes: int, *, tile: int, overlap: float = 0.25) -> NDArray[np.uint8]:
    """Return (H, W): the likeliest class of each pixel of (H, W, 3).

    Tiles overlap by at least the share `overlap` of their side; where they do, probabilities are averaged with weights
    that fall towards a tile's border, since a network knows least there. What is held at once is one strip of tiles:
    classes x tile x W numbers. A picture no larger than a tile is seen whole. Raises ConfigError.
    """
    if not 0 <= overlap < 1 or tile < 1:
        raise ConfigError(f"overlap is {overlap}, tile {tile}; a share from 0 to below 1 and at least 1 expected")
    height, width = pixels.shape[:2]
    out = np.empty((height, width), np.uint8)
    tall, wide = min(tile, height), min(tile, width)
    tops, lefts = tile_starts(height, tall, overlap), tile_starts(width, wide, overlap)
    weight = np.outer(_taper(tall), _taper(wide))
    held = np.zeros((classes, tall, width), np.float32)  # rows from `top` on
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        for first in range(0, len(lefts), _BATCH):
            at = lefts[first : first + _BATCH]
            views = np.stack([pixels[top : top + tall, left : left + wide] for left in at])
            for left, shares in zip(at, predict(torch.from_numpy(views)).numpy(), strict=True):
                held[:, :, left : left + wide] += shares * weight
        done = following - top  # rows that no later tile touches
        out[top:following] = held[:, :done].argmax(0)
        held = np.concatenate([held[:, done:], np.zeros((classes, done, width), np.float32)], axis=1)
    return out


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return where the tiles along one side begin: evenly spaced, the last one ends at the end.

    >>> tile_starts(2448, 1024, 0.25)
    [0, 712, 1424]
    """
    if length <= tile:
        return [0]
    step = max(1, int(tile * (1 - overlap)))
    count = -(-(length - tile) // step) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _taper(side: int) -> NDArray[np.float32]:
    """Return half a wave over a tile's side, nowhere zero."""
    return np.asarray(np.sin(np.pi * (np.arange(side) + 0.5) / side) + 1e-3, np.float32)


_WARMUP = 0.05


@dataclass(frozen=True)
class SegmentPlan:
    """How a segmenter is trained and chosen."""

    name: str
    epochs: int
    batch_size: int
    patch_pixels: int
    stride_pixels: int | None
    """Of patches on a grid; None: random places, turned and mirrored."""
    learning_rate: float
    adamw: bool
    backbone_rate: float
    """The backbone's learning rate as a share of the head's."""
    choose: bool
    """Keep the epoch that is best on the validation tiles."""

    def sentence(self) -> str:
        """Return what is trained how, with the numbers in force."""
        random = "at random places, turned and mirrored"
        places = random if self.stride_pixels is None else f"at stride {self.stride_pixels}, no augmentation"
        rate = f"AdamW {self.learning_rate:g}, warm-up and cosine" if self.adamw else f"Adam {self.learning_rate:g}"
        return (
            f"{self.name}: patches of {self.patch_pixels} px {places}, batches of {self.batch_size}, {rate}, "
            f"{self.epochs} epochs, {'the best on val kept' if self.choose else 'the last weights'}; test once"
        )


SEGMENT_PLANS = {
    "modern": SegmentPlan(
        name="modern", epochs=20, batch_size=16, patch_pixels=256, stride_pixels=None, learning_rate=1e-3, adamw=True,
        backbone_rate=0.3, choose=True,
    ),
    "soundingearth": SegmentPlan(
        name="soundingearth (the release's)", epochs=5, batch_size=16, patch_pixels=512, stride_pixels=347,
        learning_rate=1e-3, adamw=False, backbone_rate=1.0, choose=False,
    ),
}  # fmt: skip


def train_segmenter(
    model: Segmenter,
    items: Sequence[int],
    read: ReadTile,
    plan: SegmentPlan,
    *,
    seed: int,
    numbers: str,
    score: Callable[[], float],
) -> int:
    """Train `model` in place and return the number of the epoch whose weights it has, from 1.

    `score` measures it on the validation tiles after each epoch; the best epoch is kept. `numbers` are those of
    `choose_precision`. Raises ModelError when the loss is not finite, DataError when there is nothing to learn from.
    """
    device = next(model.parameters()).device
    groups: list[dict[str, object]] = [{"params": list(model.head.parameters()), "share": 1.0}]
    if not model.frozen:
        groups.append({"params": list(model.backbone.parameters()), "share": plan.backbone_rate})
    optimizer = (torch.optim.AdamW if plan.adamw else torch.optim.Adam)(groups, lr=plan.learning_rate)

    def train(epoch: int) -> None:
        model.train()
        batches = epoch_of_patches(
            items, read, side=plan.patch_pixels, batch=plan.batch_size, stride=plan.stride_pixels, seed=(seed, epoch)
        )
        seen = 0
        for seen, batch in enumerate(batches, 1):
            # the number of batches is known only at the epoch's end, the schedule goes by epochs and what is seen
            done = (epoch + min(1.0, seen * plan.batch_size / max(1, len(items)))) / plan.epochs
            rate = warmup_cosine(done, _WARMUP, plan.learning_rate) if plan.adamw else plan.learning_rate
            with autocast(numbers, device.type):
                scores = model(batch.image.to(device))
            mask = batch.mask.to(device)
            # the mean over the known pixels; 0 with a gradient of 0 where a batch has none
            total = F.cross_entropy(scores, mask, ignore_index=IGNORED, reduction="sum")
            loss = total / (mask != IGNORED).sum().clamp_min(1)
            take_step(model, optimizer, loss, rate, f"epoch {epoch + 1}; lower --learning_rate")
            bar.set_postfix({"loss": f"{loss.item():.3f}"}, refresh=False)
        if not seen:
            raise DataError(f"{len(items)} training tiles give no batch of two patches; add tiles")
        bar.update(len(items))

    with progress_bar(plan.epochs * len(items), "segment", "tile") as bar:
        return keep_best(model, plan.epochs, train, (lambda: (score(),)) if plan.choose else None)
