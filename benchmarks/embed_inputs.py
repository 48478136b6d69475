"""What do inputs cost beside the model: eight recordings beside their windows in one call, one picture beside a pass of
one, and files that are read ahead in threads beside files read one after another?

Vectors must be the same, bit for bit, but for those of a pass of one, which rounds otherwise. Both towers are random
ResNet-18s with the default signal; the best of some rounds counts.

    python benchmarks/embed_inputs.py --files 48 --rounds 3
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from earthtone.models.config import ModelConfig
from earthtone.models.inputs import measured_tile, recording_windows
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig
from files import write_files

HZ = 44_100


def best(work: Callable[[], np.ndarray], clock: Callable[[], float], rounds: int) -> tuple[float, np.ndarray]:
    """The fewest seconds on a clock that some work takes, and what it gives."""
    found, seconds = work(), []
    for _ in range(rounds):
        start = clock()
        found = work()
        seconds.append(clock() - start)
    return min(seconds), found


def main() -> None:
    """Print three comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the model; files are read in others")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = TwoTower(ModelConfig("resnet18", "resnet18"), SignalConfig()).eval()
    image, audio = model.signal.image, model.signal.audio

    def timed(work: Callable[[], np.ndarray], clock: Callable[[], float]) -> tuple[float, np.ndarray]:
        return best(work, clock, options.rounds)

    with tempfile.TemporaryDirectory() as name:
        folder, draw = Path(name), np.random.default_rng(0)
        write_files(folder, options.files)
        pictures = [folder / f"images/{n}.jpg" for n in range(options.files)]
        recordings = [folder / f"audio/{n}.flac" for n in range(options.files // 4)]
        short = [folder / f"{n}.wav" for n in range(8)]
        for path in short:
            soundfile.write(path, draw.normal(0, 0.1, 10 * HZ), HZ)

        together, whole = timed(lambda: model.embed_audio(short), time.process_time)
        reading, _ = timed(lambda: np.stack([recording_windows(path, audio) for path in short]), time.process_time)
        windows = [recording_windows(path, audio) for path in short]
        alone, expected = timed(lambda: model.embed_windows(windows), time.process_time)
        assert np.array_equal(whole, expected)
        print(f"eight recordings of 10 s: {together:.2f} s of processor time; their windows in one call {alone:.2f} s, "
              f"reading them {reading:.2f} s")  # fmt: skip

        one, _ = timed(lambda: model.embed_images(pictures[:1]), time.process_time)
        single, _ = timed(lambda: model.embed_images(pictures[:1], batch=1), time.process_time)
        print(f"one picture: {one:.3f} s of processor time, with batch=1 {single:.3f} s")

        def tiles() -> np.ndarray:
            return model.embed_tiles([measured_tile(path, image)[0] for path in pictures])

        def heard() -> np.ndarray:
            return model.embed_windows([recording_windows(path, audio) for path in recordings])

        for label, plain, ours in (
            (f"{len(pictures)} JPEGs of 1024 px", tiles, lambda: model.embed_images(pictures)),
            (f"{len(recordings)} FLACs of 30 s", heard, lambda: model.embed_audio(recordings)),
        ):
            before, expected = timed(plain, time.perf_counter)
            ahead, whole = timed(ours, time.perf_counter)
            assert np.array_equal(whole, expected)
            print(f"{label}: read one after another {before:.2f} s, ahead in threads {ahead:.2f} s; "
                  f"ratio {before / ahead:.2f}")  # fmt: skip
    print(f"{os.cpu_count()} processors, {options.threads} threads of the model, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
