"""Does the loader's memory stay flat from 1,000 to 1,000,000 rows? It may grow by what is known of each row, no more.

Thin rows: a picture of 32 px and one window of sound, the same few for all, each row with an id, a place and hashes of
its own. Each size is loaded in a fresh process with the default recipe's loss and sampler, which look at twins and, in
the second column, at places; the peak counts after 200 batches. Writing the rows takes a process of its own.

    python benchmarks/loader_memory.py --rows 1000 1000000
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import lance
import numpy as np
import pyarrow as pa

from earthtone.data.packed import Table, table_schema
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import LossConfig, Recipe, TrainConfig

SIGNAL = SignalConfig(
    audio=AudioConfig(sample_rate_hz=16_000, window_seconds=0.16, mels=16, hop_seconds=0.01),
    image=ImageConfig(pixels=32, stored_pixels=32),
)
BATCHES = 200
BATCH = 128
AT_ONCE = 50_000  # rows written at a time
KINDS = 64  # different pictures and sounds
WAYS = {"twins": LossConfig(), "twins and places": LossConfig(twin_radius_m=200.0)}


def write_rows(path: Path, rows: int) -> None:
    """Write a packed table of so many thin rows."""
    schema = table_schema(SIGNAL, ())

    def batches() -> Iterator[pa.RecordBatch]:
        draw = np.random.default_rng(0)
        tiles = draw.integers(0, 256, (KINDS, 32, 32, 3), np.uint8)
        images = pa.array([cv2.imencode(".jpg", tile)[1].tobytes() for tile in tiles], pa.binary())
        sounds = pa.array([draw.bytes(16 * 16) for _ in range(KINDS)], pa.large_binary())
        for first in range(0, rows, AT_ONCE):
            count = min(AT_ONCE, rows - first)
            kinds = draw.integers(0, KINDS, count)
            names = pa.array([f"{row:032x}" for row in range(first, first + count)])
            known = {
                "id": names, "image_hash": names, "audio_hash": names,
                "image": images.take(kinds), "audio": sounds.take(kinds),
                "longitude": draw.uniform(-180, 180, count), "latitude": draw.uniform(-90, 90, count),
                "split": ["train"] * count, "audio_frames": np.full(count, 16, np.int32),
            }  # fmt: skip
            columns = [
                pa.array(known[field.name], field.type) if field.name in known else pa.nulls(count, field.type)
                for field in schema
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    lance.write_dataset(pa.RecordBatchReader.from_batches(schema, batches()), str(path))


def peak_mib() -> float:
    """The most that this process held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def load(path: Path, way: str) -> dict[str, float]:
    """Peaks after the loader was made and after the batches, in MiB, and seconds to make it."""
    table = Table(path)
    train = TrainConfig(batch_size=BATCH, epochs=1 + BATCHES * BATCH // len(table), threads=2, device="cpu")
    start = time.perf_counter()
    loader = TrainLoader(table, table.rows_of("train"), Recipe(signal=SIGNAL, loss=WAYS[way], train=train))
    made, seconds = peak_mib(), time.perf_counter() - start
    for _, _batch in zip(range(BATCHES), loader, strict=False):
        pass
    return {"made": made, "peak": peak_mib(), "seconds": seconds}


def main() -> None:
    """Print the peak of each size, and what a row costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 1_000_000])
    parser.add_argument("--child", choices=("write", *WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "write":
        write_rows(options.path, options.rows[0])
    elif options.child:
        print(json.dumps(load(options.path, options.child)))
    if options.child:
        return
    found: dict[tuple[int, str], dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            words = [sys.executable, __file__, "--path", f"{folder}/{rows}.lance", "--rows", str(rows), "--child"]
            start = time.perf_counter()
            subprocess.run([*words, "write"], check=True)
            print(f"{rows:>9,} rows written in {time.perf_counter() - start:.0f} s", flush=True)
            for way in WAYS:
                one = found[rows, way] = json.loads(subprocess.check_output([*words, way]))
                print(
                    f"{rows:>9,} rows, {way:<17} {one['made']:7,.0f} MiB with facts, made in {one['seconds']:.1f} s; "
                    f"{one['peak']:7,.0f} MiB after {BATCHES} batches of {BATCH}",
                    flush=True,
                )
    few, many = options.rows[0], options.rows[-1]
    for way in WAYS:
        ratio = found[many, way]["peak"] / found[few, way]["peak"]
        each = (found[many, way]["peak"] - found[few, way]["peak"]) * 2**20 / (many - few)
        print(f"{way:<17} ratio of peaks {ratio:.2f}, {each:.0f} bytes a row")


if __name__ == "__main__":
    main()
