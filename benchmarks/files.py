"""Files as users have them, for the benchmarks: 1024 px JPEG tiles and 30 s stereo recordings, made by a program."""

import csv
from pathlib import Path

import cv2
import numpy as np
import soundfile

SIDE = 1024
SECONDS = 30
HZ = 44_100
GSD_M = 0.2


def write_files(folder: Path, rows: int, seed: int = 0) -> Path:
    """Write `rows` pairs and their manifest; return the manifest's path."""
    draw = np.random.default_rng(seed)
    for name in ("images", "audio"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for row in range(rows):
        coarse = draw.integers(0, 256, (24, 24, 3), np.uint8)
        tile = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        noise = draw.integers(-12, 13, tile.shape, np.int16)
        cv2.imwrite(str(folder / f"images/{row}.jpg"), np.clip(tile + noise, 0, 255).astype(np.uint8))
        sound = 0.1 * draw.standard_normal((SECONDS * HZ, 2)).cumsum(axis=0) / 50
        soundfile.write(folder / f"audio/{row}.flac", np.clip(sound - sound.mean(axis=0), -1, 1), HZ)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "audio", "split", "image_gsd_m"])
        writer.writerows([row, f"images/{row}.jpg", f"audio/{row}.flac", "train", GSD_M] for row in range(rows))
    return manifest
