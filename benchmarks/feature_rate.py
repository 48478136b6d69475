"""How fast are frozen ResNet-50 features, beside the plain loop: fp32, NCHW, Pillow in a DataLoader of two processes?

Both run in fresh processes on the same images: labelled tiles of a toy world, as JPEGs of 512 px. The weights are
random, the same for both. A linear probe on either's features must reach the same accuracy within its interval.

    python benchmarks/feature_rate.py --images 600 --threads 2
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from earthtone.build.toyworld import write_toyworld
from earthtone.data.labelled.items import LabelledItem
from earthtone.encode.engine import FeatureOptions, extract_features
from earthtone.evaluate.probe import FeaturePart, probe_features
from earthtone.models.backbone import open_backbone
from earthtone.options import ProbePlan
from earthtone.signal.image import read_picture
from machine import bfloat16_features

SIDE = 512
PIXELS = 224
BATCH = 32
MODEL = "random:resnet50"


def write_images(folder: Path, count: int) -> None:
    """Write `count` JPEGs and `labels.csv` of a toy world."""
    from PIL import Image

    manifest = write_toyworld(folder / "world", rows=count, pixels=SIDE, seconds=1.0, hz=8_000)
    with manifest.open() as file, (folder / "labels.csv").open("w", newline="") as labels:
        out = csv.writer(labels)
        for row in csv.DictReader(file):
            path = folder / f"{row['id']}.jpg"
            Image.fromarray(read_picture(manifest.parent / row["image"]).pixels).save(path, quality=90)
            out.writerow([row["id"], path, row["land_cover"]])


def items_of(folder: Path) -> list[LabelledItem]:
    """The images and labels that `write_images` wrote."""
    with (folder / "labels.csv").open() as file:
        return [LabelledItem(name, label, Path(path)) for name, path, label in csv.reader(file)]


def plain_features(items: list[LabelledItem]) -> np.ndarray:
    """The loop that one writes first."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    steps = [transforms.Resize(PIXELS), transforms.CenterCrop(PIXELS), transforms.ToTensor()]
    see = transforms.Compose([*steps, transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])

    class Images(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(items)

        def __getitem__(self, row: int) -> torch.Tensor:
            with Image.open(items[row].image or "") as image:
                return see(image.convert("RGB"))

    encoder = open_backbone(MODEL, pixels=PIXELS).encoder.to(memory_format=torch.contiguous_format).eval()
    with torch.no_grad():
        found = [encoder(batch).numpy() for batch in DataLoader(Images(), BATCH, num_workers=2)]
    return np.concatenate(found)


def child(way: str, folder: Path, threads: int) -> None:
    """Save the features of one way, print its seconds and peak memory."""
    torch.set_num_threads(threads)
    items = items_of(folder)
    start = time.perf_counter()
    if way == "plain":
        found = plain_features(items)
    else:
        backbone = open_backbone(MODEL, pixels=PIXELS)
        found = extract_features(backbone, items, FeatureOptions(cache=folder / "cache")).values
    seconds = time.perf_counter() - start
    np.save(folder / f"{way}.npy", found)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * unit
    print(json.dumps({"seconds": seconds, "peak_gb": peak / 1e9}))


def main() -> None:
    """Print both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder, options.threads)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, options.images)
        words = [sys.executable, __file__, "--threads", str(options.threads), "--folder", name, "--child"]
        found = {way: json.loads(subprocess.check_output([*words, way])) for way in ("plain", "ours")}
        labels = [item.label for item in items_of(folder)]
        half = options.images // 2
        probes = {}
        for way in found:
            values = np.load(folder / f"{way}.npy")
            cut = {"train": slice(None, half), "test": slice(half, None)}
            parts = {name: FeaturePart(labels[at], values[at], labels[at]) for name, at in cut.items()}
            result = probe_features(parts, ProbePlan(), dataset="images", model=way, facts={})
            probes[way] = result.figures["logistic_accuracy"]
    print(f"ResNet-50 at {PIXELS} px of {SIDE} px JPEGs, batches of {BATCH}, {options.threads} threads; "
          f"bfloat16 of the processor: {bfloat16_features()}")  # fmt: skip
    for way, text in (("plain", "fp32, NCHW, Pillow + DataLoader"), ("ours", "earthtone")):
        rate, probe = options.images / found[way]["seconds"], probes[way]
        print(f"{text:<32} {rate:7.1f} images/s   peak of one process {found[way]['peak_gb']:.2f} GB   "
              f"probe {probe.value:.3f} [{probe.low:.3f}, {probe.high:.3f}]")  # fmt: skip
    print(f"ratio {found['plain']['seconds'] / found['ours']['seconds']:.1f}")


if __name__ == "__main__":
    main()
