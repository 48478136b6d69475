"""How fast are augmented batches from a packed table, beside Pillow + DataLoader with two processes on the files?

Both crop at random, rotate, mirror, jitter colours, and take one random 10 s window as a log-mel spectrogram. The last
line has three windows of each recording.
"""

import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from PIL import Image, ImageEnhance
from torch.utils.data import DataLoader, Dataset

from earthtone.data.pack import pack
from earthtone.data.table import Table
from earthtone.signal.config import ImageConfig, SignalConfig
from earthtone.signal.mel import mel_filters
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import Recipe, TrainConfig
from files import HZ, SECONDS, write_files

ROWS = 96
BATCH = 32
SIGNAL = SignalConfig(image=ImageConfig(pixels=192, stored_pixels=256))


class PlainFiles(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The files as they are, decoded and varied one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.filters = torch.from_numpy(mel_filters(SIGNAL.audio, 1024))

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        tile = Image.open(self.folder / f"images/{row}.jpg").convert("RGB").rotate(random.uniform(-180, 180))
        side = int(tile.width * random.uniform(0.5, 1.0) ** 0.5)
        left, top = random.randint(0, tile.width - side), random.randint(0, tile.height - side)
        tile = tile.crop((left, top, left + side, top + side)).resize((192, 192), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            tile = tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            tile = kind(tile).enhance(random.uniform(0.8, 1.2))
        samples, _ = soundfile.read(self.folder / f"audio/{row}.flac", dtype="float32", always_2d=True)
        start = random.randint(0, (SECONDS - 10) * HZ)
        mono = soxr.resample(samples[start : start + 10 * HZ].mean(axis=1), HZ, 32_000)
        spectrum = torch.stft(torch.from_numpy(mono), 1024, 320, window=torch.hann_window(1024), return_complex=True)
        return torch.from_numpy(np.array(tile)), torch.log10((self.filters @ spectrum.abs().square()).clamp_min(1e-10))


def plain_rate(folder: Path, epochs: int) -> float:
    """Pairs a second from two worker processes; their start is not counted."""
    loader = DataLoader(PlainFiles(folder), BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    for _ in loader:
        pass
    start = time.perf_counter()
    count = sum(len(image) for _ in range(epochs) for image, _ in loader)
    return count / (time.perf_counter() - start)


def packed_rate(table: Table, epochs: int, windows: int = 1) -> float:
    """Pairs a second from two threads."""
    recipe = Recipe(signal=SIGNAL, train=TrainConfig(batch_size=BATCH, epochs=epochs, threads=2, windows=windows))
    loader = TrainLoader(table, table.rows_of("train"), recipe)
    start = time.perf_counter()
    count = sum(len(batch.rows) for batch in loader)
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_files(folder, ROWS)
        pack(manifest, folder / "pairs.lance", signal=SIGNAL)
        plain = plain_rate(folder, epochs=2)
        packed = packed_rate(Table(folder / "pairs.lance"), epochs=30)
        three = packed_rate(Table(folder / "pairs.lance"), epochs=30, windows=3)
    print(f"{os.cpu_count()} cores; pairs of a 192 px view and a 10 s window of 64 mel bands, batches of {BATCH}")
    print(f"Pillow + DataLoader on the files, 2 processes {plain:8.1f} pairs/s")
    print(f"packed table, 2 threads                       {packed:8.1f} pairs/s   ratio {packed / plain:.1f}")
    print(f"packed table, 2 threads, three windows        {three:8.1f} pairs/s   ratio {three / plain:.1f}")
