"""Is the memory of feature extraction flat in the number of images?

A small network takes features, into the cache on disk, of manifests that name the same few pictures again and again,
each size in a process of its own; what is printed is that process's peak.

    python benchmarks/feature_memory.py --images 2000 20000
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from earthtone.data.labelled.items import LabelledItem
from earthtone.encode.engine import FeatureOptions, extract_features
from earthtone.models.backbone import open_backbone

MODEL, PIXELS, PICTURES = "random:test_resnet", 32, 100


def child(folder: Path, count: int) -> None:
    """Take features of `count` pictures and print the peak in MB."""
    paths = sorted(folder.glob("*.jpg"))
    items = [LabelledItem(str(row), "none", paths[row % len(paths)]) for row in range(count)]
    found = extract_features(open_backbone(MODEL, pixels=PIXELS), items, FeatureOptions(cache=folder / str(count)))
    assert len(found.values) == count and not found.broken
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6:.0f}")


def main() -> None:
    """Print the peak of each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.folder, options.child)
        return
    with tempfile.TemporaryDirectory() as name:
        draw = np.random.default_rng(0)
        for number in range(PICTURES):
            cv2.imwrite(f"{name}/{number:03}.jpg", draw.integers(0, 256, (64, 64, 3), np.uint8))
        for count in options.images:
            words = [sys.executable, __file__, "--folder", name, "--child", str(count)]
            print(f"{count:>9,} pictures: peak {subprocess.check_output(words, text=True).strip()} MB")


if __name__ == "__main__":
    main()
