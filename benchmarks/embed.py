"""How near does `earthtone embed` come to the bare network, and how far is it ahead of a plain loop over files?

Three ratios, each in one run. Stored tiles: `embed` over a packed table beside the network on ready batches of the
same size and precision. Stored sounds: likewise. Files: `embed` over a manifest beside the loop that one writes first:
fp32, batches of 32, Pillow and soundfile, one after another. At least 0.9, 0.9 and, where the processor multiplies
bfloat16, 3 are wanted. Both towers are random; the time of `embed` has all in it but the opening of the model.

    python benchmarks/embed.py --tiles 10000 --sounds 1000 --files 96 --encoder resnet50 --threads 2
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import soundfile
import torch

import earthtone
from earthtone.data.packed import Table
from earthtone.device import autocast, choose_precision
from earthtone.models.batches import constant_batch
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.signal.spectrogram import LogMel, window_starts
from files import HZ, SECONDS, write_files
from machine import bfloat16_features, matrix_gain

BATCH = 32
_FEW = 24  # files that are packed again and again under other ids: writing 10,000 takes longer than embedding them


def packed(folder: Path, rows: int, signal: SignalConfig, side: int, seconds: float) -> Path:
    """A packed table of so many rows, of few files, since every row costs the same whatever is in it."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for n in range(min(rows, _FEW)):
        coarse = draw.integers(0, 256, (24, 24, 3), np.uint8)
        cv2.imwrite(str(folder / f"{n}.jpg"), cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
        soundfile.write(folder / f"{n}.wav", draw.normal(0, 0.1, round(seconds * HZ)), HZ)
    lines = [f"{row},{row % _FEW}.jpg,{row % _FEW}.wav,train" for row in range(rows)]
    (folder / "manifest.csv").write_text("\n".join(["id,image,audio,split", *lines]) + "\n")
    return earthtone.pack(folder / "manifest.csv", folder / "table.lance", signal=signal, preview_seconds=0.0).path


def seconds_of(work: Callable[[], object]) -> float:
    """How long some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def bare_seconds(model: TwoTower, medium: str, inputs: int) -> float:
    """How long the network alone takes for so many ready inputs, in the batches and the precision of `embed`."""
    size, precision = constant_batch(model.device), choose_precision("auto", model.device.type)
    draw = np.random.default_rng(0)
    if medium == "image":
        shape = (size, model.signal.image.pixels, model.signal.image.pixels, 3)
        project: Callable[[torch.Tensor], torch.Tensor] = model.project_images
    else:
        shape = (size, model.signal.audio.window_frames, model.signal.audio.mels)
        project = model.project_windows
    batch = torch.from_numpy(draw.integers(0, 256, shape, np.uint8))

    def run() -> None:
        for _ in range(-(-inputs // size)):
            with torch.inference_mode(), autocast(precision, model.device.type):
                project(batch)

    with torch.inference_mode(), autocast(precision, model.device.type):
        project(batch)
    return seconds_of(run)


def plain_loop(model: TwoTower, images: list[Path], sounds: list[Path]) -> list[np.ndarray]:
    """The loop that one writes first: fp32, batches of 32, Pillow and soundfile."""
    import soxr
    from PIL import Image

    image, audio = model.signal.image, model.signal.audio
    shown = round(image.pixels / image.view)
    edge = (shown - image.pixels) // 2
    found = []
    for start in range(0, len(images), BATCH):
        pictures = []
        for path in images[start : start + BATCH]:
            with Image.open(path) as opened:
                picture = opened.convert("RGB").resize((shown, shown), Image.Resampling.BILINEAR)
            pictures.append(np.asarray(picture)[edge : edge + image.pixels, edge : edge + image.pixels])
        with torch.no_grad():
            found.append(model.project_images(torch.from_numpy(np.stack(pictures))).numpy())
    transform, frames = LogMel(audio), audio.window_frames
    for start in range(0, len(sounds), BATCH):
        for path in sounds[start : start + BATCH]:
            samples, hz = soundfile.read(path, dtype="float32")
            mono = soxr.resample(samples.mean(axis=1), hz, audio.sample_rate_hz)
            with torch.no_grad():
                edges = transform.n_fft // 2
                mels = transform(torch.from_numpy(np.pad(mono, (edges, edges)))).round().to(torch.uint8)
                heard = mels[: len(mels) // frames * frames].reshape(-1, frames, audio.mels)
                found += [model.project_windows(part).mean(0, keepdim=True).numpy() for part in heard.split(BATCH)]
    return found


def main() -> None:
    """Print the three ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--sounds", type=int, default=1_000)
    parser.add_argument("--files", type=int, default=96, help="images, and as many recordings")
    parser.add_argument("--encoder", default="resnet50", help="of images; of sounds resnet18")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    signal = SignalConfig(AudioConfig(sample_rate_hz=16_000, window_seconds=5.0, mels=64), ImageConfig())
    model = TwoTower(ModelConfig(options.encoder, "resnet18"), signal).eval()
    print(
        f"{options.encoder} at {signal.image.pixels} px, resnet18 on windows of {signal.audio.window_seconds:g} s, "
        f"batches of {constant_batch(model.device)}, {options.threads} threads; bfloat16 of the processor: "
        f"{bfloat16_features()}; a matrix product gains {matrix_gain():.1f}"
    )
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for medium, rows, side, seconds in (
            ("image", options.tiles, 320, signal.audio.min_seconds),
            ("audio", options.sounds, 64, SECONDS),
        ):
            table = packed(folder / medium, rows, signal, side, seconds)
            inputs = rows if medium == "image" else rows * len(window_starts(Table(table).frames()[0], signal.audio))
            bare = bare_seconds(model, medium, inputs)
            ours = seconds_of(partial(earthtone.embed, model, table, folder / f"E-{medium}", modality=medium))
            print(f"{rows} stored {medium}s: bare network {rows / bare:.1f} a second, embed {rows / ours:.1f}; "
                  f"ratio {bare / ours:.2f}", flush=True)  # fmt: skip
        files = write_files(folder / "files", options.files, seed=1)
        images = [files.parent / f"images/{n}.jpg" for n in range(options.files)]
        sounds = [files.parent / f"audio/{n}.flac" for n in range(options.files)]
        plain_loop(model, images[:2], sounds[:1])
        plain = seconds_of(partial(plain_loop, model, images, sounds))
        ours = seconds_of(partial(earthtone.embed, model, files, folder / "E-files"))
        print(f"{options.files} JPEGs of 1024 px and FLACs of 30 s at {HZ} Hz: plain loop {plain:.1f} s, "
              f"embed {ours:.1f} s; ratio {plain / ours:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
