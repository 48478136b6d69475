"""Our tables as data sets of torchgeo: what a sample holds, in batches and as a picture; the release's own folder."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import earthtone
from earthtone.errors import ConfigError, DataError
from earthtone.models.storage import RELEASE_SIGNAL
from earthtone.signal.config import SignalConfig

pytestmark = pytest.mark.extras
torchgeo = pytest.importorskip("torchgeo.datasets")

from earthtone.integrations.torchgeo import EarthtoneDataset, SoundingEarth  # noqa: E402


def test_a_table_and_its_manifest_give_the_same_samples(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    earthtone.pack(tiny_pairs, tmp_path / "t.lance", signal=tiny_signal)
    packed = EarthtoneDataset(tmp_path / "t.lance")
    files = EarthtoneDataset(tiny_pairs, signal=tiny_signal)
    assert isinstance(packed, torchgeo.NonGeoDataset) and "size: 24" in str(packed) and len(files) == 24
    by_id = {files[at]["id"]: files[at] for at in range(len(files))}
    for at in range(24):
        one = packed[at]
        other = by_id[one["id"]]
        for name in ("image", "audio", "coords"):
            assert torch.equal(one[name], other[name]) and one[name].isfinite().all()
    pixels, audio = tiny_signal.image.pixels, tiny_signal.audio
    assert packed[0]["image"].shape == (3, pixels, pixels) and 1 < packed[0]["image"].max() <= 255
    assert packed[0]["audio"].shape == (1, audio.mels, audio.window_frames)
    batch = next(iter(torch.utils.data.DataLoader(packed, batch_size=4)))
    assert batch["image"].shape[0] == 4 and len(batch["id"]) == 4
    assert sum(len(EarthtoneDataset(tmp_path / "t.lance", split)) for split in ("train", "val", "test")) == 24
    turned = EarthtoneDataset(tmp_path / "t.lance", transforms=lambda sample: {**sample, "image": -sample["image"]})
    assert torch.equal(turned[3]["image"], -packed[3]["image"]) and torch.equal(
        packed[-1]["audio"], packed[23]["audio"]
    )
    figure = packed.plot(packed[0], suptitle="a pond")
    figure.savefig(tmp_path / "plot.png")
    assert np.asarray(Image.open(tmp_path / "plot.png")).std() > 10
    with pytest.raises(IndexError):
        packed[24]


def test_soundingearth(tmp_path: Path) -> None:
    root = tmp_path / "release"
    for name in ("images", "spectrograms"):
        (root / name).mkdir(parents=True)
    with (root / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["key", "long_key", "latitude", "longitude", "title", "description", "mp3name", "mp3samplerate",
                        "date_recorded"])  # fmt: skip
        for key in (10, 12, 17):
            table.writerow([key, f"aporee_{key}", 50.5, 8.25, "t", "d", f"{key}.mp3", 44100, "2010-05-08"])
            Image.new("RGB", (512, 512), (0, 0, 200)).save(root / "images" / f"{key}.jpg")
            Image.new("L", (300, 128), 90).save(root / "spectrograms" / f"{key}.jpg")
    train = SoundingEarth(root)
    assert len(train) == 1 and train[0]["id"] == "10" and train[0]["coords"].tolist() == [8.25, 50.5]
    assert train[0]["image"].shape == (3, RELEASE_SIGNAL.image.pixels, RELEASE_SIGNAL.image.pixels)
    assert train[0]["audio"].shape == (1, 128, 128) and train[0]["audio"].unique().tolist() == [90.0]
    with pytest.raises(DataError, match="earthtone fetch soundingearth"):
        SoundingEarth(tmp_path)
    with pytest.raises(ConfigError, match="ready spectrograms"):
        EarthtoneDataset(root)
    with pytest.raises(ConfigError, match="train, val, test or None"):
        SoundingEarth(root, "validation")
