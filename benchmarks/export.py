"""How fast are exported towers: ONNX Runtime against PyTorch, for both towers, in float32 and int8, one thread and two?

PyTorch runs the same program, front end and windows in it, with channels last. int8 is calibrated on noise here, which
decides ranges and not speed. What is printed as a ratio is PyTorch's time over ONNX Runtime's: above 1, the export is
faster. Alternating rounds, the least time of each.

    python benchmarks/export.py --encoder resnet50 --threads 1 2
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from earthtone.exports.agreement import Items
from earthtone.exports.graphs import run_onnx, traced, write_int8, write_onnx
from earthtone.exports.towers import Batch, Subject, open_subject
from machine import described

CALIBRATED_ON = 100


def inputs(subject: Subject, medium: str, batch: int, windows: int) -> Batch:
    """Noise: `batch` pictures, or recordings of so many windows."""
    draw = np.random.default_rng(0)
    if medium == "image":
        return draw.integers(0, 256, (batch, subject.pixels, subject.pixels, subject.channels), np.uint8)
    assert subject.model is not None
    audio = subject.model.signal.audio
    return draw.normal(0, 0.1, (batch, round(windows * audio.window_seconds * audio.sample_rate_hz))).astype(np.float32)


def in_torch(subject: Subject, medium: str) -> Callable[[Batch], object]:
    """The same tower in PyTorch."""
    program = subject.program(medium).to(memory_format=torch.channels_last)

    def run(given: Batch) -> object:
        with torch.inference_mode():
            return program(torch.from_numpy(given))

    return run


def least_seconds(runs: dict[str, Callable[[Batch], object]], given: Batch, rounds: int) -> dict[str, float]:
    """The least time of each, in turns, so that what else the machine does meets all alike."""
    for run in runs.values():
        run(given)
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(given)
            found[name] = min(found[name], time.perf_counter() - start)
    return found


def main() -> None:
    """Print a line for each tower and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--windows", type=int, default=2, help="of a recording")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calibrated", type=int, default=CALIBRATED_ON, help="inputs for int8")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    print(*described(), sep="\n")
    subject = open_subject(f"random:{options.encoder}")
    some = [inputs(subject, medium, options.calibrated, 1) for medium in subject.media]
    items = Items(some[0], list(some[1]), "noise", "noise", options.calibrated)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for medium in subject.media:
            plain = write_onnx(folder / f"{medium}.onnx", subject, medium, traced(subject, medium))
            write_int8(folder / f"{medium}-int8.onnx", plain, subject, medium, items)
        for threads in options.threads:
            torch.set_num_threads(threads)
            for medium in subject.media:
                given = inputs(subject, medium, options.batch, options.windows)
                runs = {
                    "PyTorch": in_torch(subject, medium),
                    "ONNX": run_onnx(folder / f"{medium}.onnx", threads),
                    "int8": run_onnx(folder / f"{medium}-int8.onnx", threads),
                }
                took = least_seconds(runs, given, options.rounds)
                each = {name: f"{1000 * seconds / options.batch:.1f}" for name, seconds in took.items()}
                print(
                    f"{options.encoder} {medium}, {threads} thread(s): PyTorch {each['PyTorch']} ms an input, ONNX "
                    f"Runtime {each['ONNX']} ({took['PyTorch'] / took['ONNX']:.2f} x), int8 {each['int8']} "
                    f"({took['PyTorch'] / took['int8']:.2f} x)"
                )


if __name__ == "__main__":
    main()
