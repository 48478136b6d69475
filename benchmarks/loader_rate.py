"""Is the loader, with the paper's augmentation, at least 10 times a plain one, and does training wait for it less than
5 % of the time?

Plain: Pillow decodes the 1024 px JPEG, torchvision's transforms vary each picture, soundfile and soxr read a random
window and make it a log-mel spectrogram, in a DataLoader of two processes. It lacks the paper's grid distortion, which
torchvision does not have. Ours: a packed table of these files, two threads. The second pair of lines is of pictures
alone, with what the paper's recipe stores (the middle 512 px). A training that waits is one of ResNet-18 and ResNet-18
on all cores with the loader beside it.

    python benchmarks/loader_rate.py --rows 96 --epochs 30
"""

import argparse
import os
import random
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import soundfile
import soxr
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.signal.spectrogram import mel_filters
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import Recipe
from earthtone.train.recipe_file import load_recipe
from files import GSD_M, HZ, SECONDS, SIDE, write_files
from machine import bfloat16_features
from training import train

BATCH = 32
PAPER = load_recipe("soundingearth-paper-resnet18")
AUDIO = AudioConfig(mels=128, window_seconds=1.28)  # the paper's 128 x 128
WINDOW = round(AUDIO.window_seconds * HZ)
CONFIGS = {
    "256 px stored": SignalConfig(audio=AUDIO, image=ImageConfig(pixels=192, stored_pixels=256)),
    "512 px stored": SignalConfig(audio=AUDIO, image=PAPER.signal.image),
}


class PlainFiles(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The files as they are, decoded and varied one by one; of pictures the middle `side` pixels."""

    def __init__(self, folder: Path, rows: int, side: int, sound: bool) -> None:
        self.folder, self.rows, self.sound = folder, rows, sound
        self.filters = torch.from_numpy(mel_filters(AUDIO, 1024))
        varied = PAPER.augment
        self.see = transforms.Compose(
            [
                transforms.CenterCrop(side),
                transforms.RandomRotation(varied.rotation_degrees),
                transforms.RandomResizedCrop(192, varied.crop_area, varied.crop_ratio),
                transforms.GaussianBlur(5, (0.2, varied.blur_sigma)),
                transforms.ColorJitter(varied.brightness, 0, varied.saturation, varied.hue_degrees / 360),
                transforms.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        with Image.open(self.folder / f"images/{row}.jpg") as file:
            view = self.see(file.convert("RGB"))
        return view, self._spectrogram(row) if self.sound else torch.empty(0)

    def _spectrogram(self, row: int) -> torch.Tensor:
        start, hz = random.randint(0, SECONDS * HZ - WINDOW), AUDIO.sample_rate_hz
        path = self.folder / f"audio/{row}.flac"
        samples, _ = soundfile.read(path, start=start, frames=WINDOW, dtype="float32", always_2d=True)
        mono = torch.from_numpy(soxr.resample(samples.mean(axis=1), HZ, hz))
        spectrum = torch.stft(mono, 1024, 320, window=torch.hann_window(1024), return_complex=True)
        return torch.log10((self.filters @ spectrum.abs().square()).clamp_min(1e-10))


def plain_rate(folder: Path, rows: int, side: int, *, sound: bool) -> float:
    """Pairs a second from two worker processes; their start is not counted."""
    files = PlainFiles(folder, rows, side, sound)
    loader = DataLoader(files, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    for _ in loader:
        pass
    start = time.perf_counter()
    count = sum(len(image) for _ in range(2) for image, _ in loader)
    return count / (time.perf_counter() - start)


def recipe_of(signal: SignalConfig, epochs: int, windows: int = 1) -> Recipe:
    """The paper's augmentation and encoders, with defaults elsewhere."""
    train = replace(Recipe().train, batch_size=BATCH, epochs=epochs, threads=2, windows=windows, device="cpu")
    return Recipe(signal=signal, model=PAPER.model, augment=PAPER.augment, train=train)


def packed_rate(table: Table, epochs: int, windows: int = 1) -> float:
    """Pairs a second from two threads."""
    loader = TrainLoader(table, table.rows_of("train"), recipe_of(table.signal, epochs, windows))
    start = time.perf_counter()
    count = sum(len(batch.rows) for batch in loader)
    return count / (time.perf_counter() - start)


def waiting(table: Table, epochs: int) -> tuple[float, float]:
    """Share of the time that a training waits, and its pairs a second."""
    recipe = recipe_of(table.signal, epochs)
    steps, waits = train(recipe, TrainLoader(table, table.rows_of("train"), recipe))
    return sum(waits) / sum(steps), len(steps) * BATCH / sum(steps)


def main() -> None:
    """Print rates, ratios and the share of waiting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--epochs", type=int, default=12, help="of the packed loader")
    parser.add_argument("--training_epochs", type=int, default=8)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="lance is not fork-safe")  # the plain workers do not touch it
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_files(folder, options.rows)
        plain = plain_rate(folder, options.rows, SIDE, sound=True)
        middle = round(PAPER.signal.image.footprint_m / GSD_M)
        plain_pictures = plain_rate(folder, options.rows, middle, sound=False)
        tables = {
            text: Table(pack(manifest, folder / f"{text}.lance", signal=signal, preview_seconds=0).path)
            for text, signal in CONFIGS.items()
        }
        small, large = tables.values()
        packed = packed_rate(small, options.epochs)
        three = packed_rate(small, options.epochs, windows=3)
        packed_large = packed_rate(large, options.epochs)
        share, trained = waiting(small, options.training_epochs)
    print(f"{os.cpu_count()} cores, bfloat16 of the processor: {bfloat16_features()}; batches of {BATCH}, 192 px views")
    for text, rate, base in (
        ("plain, pictures and sound", plain, None),
        ("packed, 256 px stored", packed, plain),
        ("packed, 256 px stored, three windows", three, plain),
        ("plain, pictures alone, middle 512 px", plain_pictures, None),
        ("packed, pictures and sound, 512 px", packed_large, plain_pictures),
    ):
        print(f"{text:<38} {rate:8.1f} a second" + (f"   ratio {rate / base:.1f}" if base else ""))
    print(f"at least 10 times a plain loader: {'yes' if packed >= 10 * plain else 'no'}, {packed / plain:.1f}")
    print(f"training, {trained:.1f} pairs a second, waits for data {share:.1%} of the time (< 5 % wanted)")


if __name__ == "__main__":
    main()
