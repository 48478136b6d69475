"""Two dozen small pairs made by numpy, their packed table, and a model that embeds them in milliseconds."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image

from earthtone.data.labelled.items import LabelledItem
from earthtone.data.pack import pack
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig

WritePairs = Callable[[Path, int], Path]
WriteClasses = Callable[..., Path]
COLOURS = {"desert": (220, 190, 120), "forest": (30, 90, 40), "lake": (40, 80, 160), "town": (150, 140, 140)}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests run beside each other: threads that wait for each other on busy cores cost more than they give."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: threads also decide how sums round


@pytest.fixture(scope="session")
def tiny_signal() -> SignalConfig:
    """One-second windows of 50 frames x 32 mels; tiles of 40 pixels seen at 32."""
    return SignalConfig(
        audio=AudioConfig(sample_rate_hz=16_000, window_seconds=1.0, mels=32, hop_seconds=0.02),
        image=ImageConfig(pixels=32, stored_pixels=40),
    )


@pytest.fixture(scope="session")
def write_pairs() -> WritePairs:
    """A function (folder, count) that writes pairs, colour and pitch going together, and returns their manifest."""

    def write(folder: Path, count: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "manifest.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "image", "audio", "longitude", "latitude", "split", "label"])
            for n in range(count):
                split = ("train", "train", "val", "train", "train", "test")[n % 6]
                _write_picture(folder / f"{n}.png", n, count)
                _write_sound(folder / f"{n}.wav", n, count)
                rows.writerow([f"pair-{n}", f"{n}.png", f"{n}.wav", n % 60 + 0.5, 45 - n % 30, split, f"kind {n % 4}"])
        return folder / "manifest.csv"

    return write


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory: pytest.TempPathFactory, write_pairs: WritePairs) -> Path:
    """The manifest of 24 pairs: 16 train, 4 val, 4 test; a free column `label`."""
    return write_pairs(tmp_path_factory.mktemp("tiny-pairs"), 24)


@pytest.fixture
def lacking_one(tiny_pairs: Path, tmp_path: Path) -> Path:
    """A folder of one Parquet file: 8 pairs without splits, the fourth without recording; the last two share one."""
    rows = [
        {
            "id": f"pair-{n}",
            "image": (tiny_pairs.parent / f"{n}.png").read_bytes(),
            "audio": None if n == 3 else (tiny_pairs.parent / f"{min(n, 6)}.wav").read_bytes(),
            "longitude": n + 0.5,
            "latitude": 45.0 - n,
            "license": "CC0",
        }
        for n in range(8)
    ]
    folder = tmp_path / "lacking"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs.parquet", row_group_size=2)
    return folder


@pytest.fixture(scope="session")
def tiny_table(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Path, tiny_signal: SignalConfig) -> Path:
    """The packed table of `tiny_pairs`."""
    return pack(tiny_pairs, tmp_path_factory.mktemp("tiny-table") / "tiny.lance", signal=tiny_signal, threads=2).path


@pytest.fixture(scope="session")
def tiny_model(tiny_signal: SignalConfig) -> TwoTower:
    """An untrained model of 16 dimensions, the same in every run."""
    torch.manual_seed(0)
    return TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), tiny_signal).eval()


def _write_picture(path: Path, n: int, count: int) -> None:
    draw = np.random.default_rng([1, n])
    base = 255 * np.array([n / count, 1 - n / count, n % 4 / 4])
    pixels = base + draw.normal(0, 20, (48, 44 + n % 8, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def _write_sound(path: Path, n: int, count: int) -> None:
    draw = np.random.default_rng([2, n])
    hz = (16_000, 22_050, 44_100)[n % 3]
    time = np.arange(int(hz * (1 + n % 5 / 2))) / hz
    sound = 0.3 * np.sin(2 * np.pi * 200 * 2 ** (4 * n / count) * time) + draw.normal(0, 0.02, len(time))
    soundfile.write(path, np.stack([sound] * (1 + n % 2), axis=1), hz)


@pytest.fixture
def scaled(tiny_signal: SignalConfig) -> TwoTower:
    """Tiles of 96 m were usual: 3 m a pixel at 32 pixels."""
    torch.manual_seed(0)
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16, scale_input=True), tiny_signal)
    model.usual_side_m.fill_(96.0)
    return model.eval()


@pytest.fixture(scope="session")
def write_classes() -> WriteClasses:
    """A function (folder, images a class, noise) that writes CLASS/n.png and returns the folder."""

    def write(folder: Path, a_class: int, noise: float = 25.0, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
        for number, name in enumerate(names):
            (folder / name).mkdir(parents=True)
            for n in range(a_class):
                draw = np.random.default_rng([number, n])
                pixels = np.array(COLOURS[name]) + draw.normal(0, noise, 3) + draw.normal(0, 10, (40, 40 + n % 3, 3))
                Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{n:02d}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory, write_classes: WriteClasses) -> Path:
    """Ten images of four classes: 6, 2 and 2 a class in train, val and test."""
    return write_classes(tmp_path_factory.mktemp("classes") / "scenes", 10)


@pytest.fixture(scope="session")
def class_items(class_folder: Path) -> list[LabelledItem]:
    """The forty images of `class_folder`, without splits."""
    files = sorted(class_folder.rglob("*.png"))
    return [LabelledItem(f"{file.parent.name}/{file.name}", file.parent.name, file) for file in files]
