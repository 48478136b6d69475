"""Whether an exported tower says what Earthtone says: at other batch sizes and lengths, on noise and on natural inputs;
and what fewer bits cost: cosines, R@10, milliseconds.
"""

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from earthtone.errors import DataError, ModelError
from earthtone.exports.towers import Batch, Subject
from earthtone.models.two_tower import Embeddings

#: Runs an exported tower on a batch: vectors (N, D).
Run = Callable[[Batch], Embeddings]

TOLERANCE = 1e-4
"""Largest difference of a number of a vector, as a share of the vector's length."""
MOST_ERROR = 0.5
"""Error of a variant of fewer bits, as a share of how far vectors lie from their mean, above which it is refused."""
CALIBRATED_ON, MEASURED_ON = 256, 500  # at most
FEWEST = 100  # to calibrate on
_FEWEST_RANKED = 20
_DEPTH = 10
_TIMED = 5


@dataclass(frozen=True)
class Parity:
    """How near the vectors of an exported tower are to Earthtone's."""

    difference: float
    """The largest of all cases, as a share of a vector's length."""
    cases: tuple[str, ...]
    """What was compared."""


@dataclass(frozen=True)
class Cost:
    """What a variant of fewer bits costs and brings, on the same inputs as float32."""

    inputs: int
    cosine_median: float
    cosine_least: float
    error_share: float
    """Median distance from the vector in float32, as a share of the median distance of those from their mean: cosines
    alone say little where a model's vectors lie close together. Infinite where they are all the same."""
    milliseconds: float
    """An input, in the exported program."""
    milliseconds_float32: float
    """An input, in the same program of float32."""


@dataclass(frozen=True)
class Items:
    """Pairs of the user's data as exported towers take them."""

    pictures: Batch
    """(N, side, side, C) uint8."""
    sounds: Sequence[Batch]
    """Samples (n,) float32 or spectrograms (frames, mels) uint8, one a pair; none for an image encoder alone."""
    data: str
    said: str
    """What the sounds are, in words."""
    calibration: int = 0
    """So many come first that int8 is calibrated on; the others are measured on."""

    def part(self, *, calibration: bool) -> "Items":
        """Return what is for calibration, or what is to be measured on."""
        cut = slice(None, self.calibration) if calibration else slice(self.calibration, None)
        return Items(self.pictures[cut], self.sounds[cut], self.data, self.said)


@dataclass(frozen=True)
class Recall:
    """R@10 of pairs in both directions, in float32 and in fewer bits."""

    pairs: int
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)


def cases(subject: Subject, medium: str, seed: int, items: Items | None) -> list[tuple[str, Batch]]:
    """Return batches of other sizes and lengths than those an exporter traces: noise, natural ones, extremes."""
    draw = np.random.default_rng(seed)
    if medium == "image":
        shape = (subject.pixels, subject.pixels, subject.channels)
        found = [(f"{count} of noise", draw.integers(0, 256, (count, *shape), np.uint8)) for count in (1, 3, 5)]
        natural = [_natural(draw, shape[:2])[..., None] for _ in range(4)]
        grey = np.stack([(127.5 + 60 * each).clip(0, 255) for each in natural]).astype(np.uint8)
        found.append(("4 of 1/f noise", np.repeat(grey, shape[2], axis=3)))
        found.append(("black and white", np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])))
        if items is not None:
            found.append((f"{len(items.pictures[:7])} of {items.data}", items.pictures[:7]))
        return found
    assert subject.model is not None  # noqa: S101 - sounds have a model
    audio = subject.model.signal.audio
    size = audio.window_frames * (round(audio.hop_seconds * audio.sample_rate_hz) if subject.waveform else 1)
    shortest = min(1.0, max(0.6, audio.min_seconds / audio.window_seconds))
    found = []
    for count, share in ((1, 1.0), (3, 1.0), (1, shortest), (2, 2.0), (1, 3.37), (3, 1.42)):
        length = max(1, round(size * share)) + (11 if share % 1 else 0)
        found.append((f"{count} x {share:.2f} windows of noise", _noise(draw, subject, (count, length))))
    if subject.waveform:
        loud = np.stack([_natural(draw, (round(size * 1.73),)) for _ in range(2)]) * 0.1
        found.append(("2 x 1.73 windows of 1/f noise", loud.astype(np.float32)))
        found.append(("silence", np.zeros((1, size), np.float32)))
    if items is not None:
        found += [(f"a sound of {items.data}", sound[None]) for sound in items.sounds[:3]]
    return found


def _noise(draw: np.random.Generator, subject: Subject, shape: tuple[int, int]) -> Batch:
    if subject.waveform:
        return draw.normal(0, 0.1, shape).astype(np.float32)
    assert subject.model is not None  # noqa: S101 - sounds have a model
    return draw.integers(0, 256, (*shape, subject.model.signal.audio.mels), np.uint8)


def _natural(draw: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return noise of mean 0 and deviation 1 whose amplitude falls as 1 / f, as that of pictures and sounds does."""
    spectrum = np.fft.rfftn(draw.normal(size=shape))
    axes = [np.fft.fftfreq(length) for length in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    frequency = np.sqrt(sum(grid**2 for grid in np.meshgrid(*axes, indexing="ij")))
    frequency.flat[0] = np.inf
    noise = np.fft.irfftn(spectrum / frequency, shape, axes=tuple(range(len(shape))))
    return np.asarray(noise / noise.std())


def difference(found: Embeddings, expected: Embeddings) -> float:
    """Return the largest difference of a number, as a share of its vector's length; infinite for what is no number."""
    if found.shape != expected.shape:
        return float("inf")
    length = np.maximum(np.linalg.norm(expected.astype(np.float64), axis=1, keepdims=True), 1e-12)
    largest = float(np.max(np.abs(found - expected) / length, initial=0.0))
    return largest if np.isfinite(largest) else float("inf")


def check_parity(subject: Subject, medium: str, run: Run, given: Sequence[tuple[str, Batch]], to: str) -> Parity:
    """Return how near an exported tower is to Earthtone's. Raises ModelError where it is not within `TOLERANCE`."""
    worst, where = 0.0, ""
    for label, batch in given:
        far = difference(run(batch), subject.expected(medium, batch))
        if far > worst:
            worst, where = far, label
    if worst > TOLERANCE:
        raise ModelError(
            f"{subject.name}: the {medium} tower exported to {to} is off by {worst:.2g} of a vector's length "
            f"({where}); {TOLERANCE:g} at most expected, so nothing was written: choose another --to"
        )
    return Parity(worst, tuple(label for label, _ in given))


def read_items(subject: Subject, data: str | Path, columns: Mapping[str, str] | None, seed: int) -> Items:
    """Return pairs of `data` (packed table, manifest, release): first those to calibrate on, then those to measure on.

    Of recordings the stored preview is taken, at most ten seconds. Rows of `train` calibrate, rows of the other splits
    measure; where a table has one of them alone it is halved. Raises DataError.
    """
    from earthtone.data.pack import open_table
    from earthtone.signal.image import decode_tile, resized, seen

    if subject.model is None:
        raise DataError(
            f"--calibrate {data}: an image encoder alone has no sounds to pair; leave it out, or export a whole model"
        )
    model = subject.model
    with open_table(data, model.signal, columns=columns) as table:
        names, pairs = np.array(table.column("split"), object), table.rows_of("all")
        draw = np.random.default_rng(seed)
        ours = draw.permutation(pairs[names[pairs] == "train"])
        others = draw.permutation(pairs[names[pairs] != "train"])
        if not len(ours) or not len(others):
            every = draw.permutation(pairs)
            ours, others = every[: len(every) // 2], every[len(every) // 2 :]
        ours, others = ours[:CALIBRATED_ON], others[:MEASURED_ON]
        rows = np.concatenate([ours, others])
        sides = table.tile_sides_m[rows].tolist() if model.config.scale_input else None
        tiles = [decode_tile(jpeg) for jpeg in table.images(rows.tolist())]
        views = model.views(tiles, sides)
        if model.signal != table.signal:
            views = [resized(seen(tile, model.signal.image), subject.pixels) for tile in tiles]
        if not subject.waveform:
            frames = table.frames()[rows].tolist()
            sounds: list[Batch] = list(table.sound(rows.tolist(), [0] * len(rows), frames))
            return Items(np.stack(views), sounds, table.name, "whole spectrograms", len(ours))
        found = table.records(rows.tolist(), ["audio_preview"])
        previews = [soundfile.read(io.BytesIO(row["audio_preview"]), dtype="float32")[0] for row in found]
    least = round(model.signal.audio.min_seconds * model.signal.audio.sample_rate_hz)
    padded = [np.pad(each, (0, max(0, least - len(each)))) for each in previews]
    return Items(np.stack(views), padded, table.name, "previews of the recordings", len(ours))


def vectors(run: Run, given: Batch | Sequence[Batch]) -> Embeddings:
    """Return the vectors (N, D) of inputs, one at a time: sounds differ in length."""
    return np.concatenate([run(each[None]) for each in given])


def cost(name: str, precision: str, run: Run, plain: Run, given: Batch | Sequence[Batch]) -> Cost:
    """Return what fewer bits cost on some inputs. Raises ModelError where the vectors have lost their meaning."""
    found, expected = vectors(run, given).astype(np.float64), vectors(plain, given).astype(np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = (found * expected).sum(axis=1) / np.maximum(lengths, 1e-12)
    median, least = float(np.median(cosines)), float(cosines.min())
    apart = float(np.median(np.linalg.norm(expected - expected.mean(axis=0), axis=1)))
    error = float(np.median(np.linalg.norm(found - expected, axis=1)))
    share = error / apart if apart > 0 else float("inf")
    if not (share <= MOST_ERROR or (apart == 0 and error == 0)):  # also NaN
        raise ModelError(
            f"{name} in {precision}: vectors are off from float32 by {share:.2f} of how far they lie from their mean "
            f"(cosine {median:.4f}); {MOST_ERROR:g} at most expected, so nothing was written: calibrate on more data "
            "of the kind it will see, or choose another --precision"
        )
    return Cost(len(found), median, least, share, _milliseconds(run, given), _milliseconds(plain, given))


def _milliseconds(run: Run, given: Batch | Sequence[Batch]) -> float:
    one = given[0][None]
    run(one)
    took = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        run(one)
        took.append(1000 * (time.perf_counter() - start))
    return min(took)


def recall(images: Embeddings, sounds: Embeddings, *, unit: bool) -> dict[str, float]:
    """Return R@10 of pairs in both directions; ties count against the model."""
    one, other = images.astype(np.float64), sounds.astype(np.float64)
    scores = one @ other.T
    if not unit:  # minus the squared distance, up to what all items of a query share ... of both directions
        scores = 2 * scores - (one**2).sum(axis=1)[:, None] - (other**2).sum(axis=1)[None]
    own = np.diag(scores)
    ranks = {
        "image_to_sound": (scores >= own[:, None]).sum(axis=1),
        "sound_to_image": (scores >= own[None]).sum(axis=0),
    }
    return {name: float(np.mean(rank <= _DEPTH)) for name, rank in ranks.items()}


def compared_recall(runs: Mapping[str, Run], plain: Mapping[str, Run], items: Items, *, unit: bool) -> Recall | None:
    """Return R@10 before and after; None where there are too few pairs to rank, or one tower alone."""
    if len(runs) < 2 or len(items.pictures) < _FEWEST_RANKED:
        return None
    found = [
        recall(vectors(each["image"], items.pictures), vectors(each["audio"], items.sounds), unit=unit)
        for each in (plain, runs)
    ]
    return Recall(len(items.pictures), *found)
