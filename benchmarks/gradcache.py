"""What do chunks (GradCache) cost in time, and does their memory stay that of one chunk as the batch grows?

A step is a forward pass, InfoNCE and a backward pass of two ResNet-18 towers. Time: the processor's, of chunked steps
and plain ones of the same batch in turns, on one thread; the medians' ratio. At 64 px the forward passes that are made
again are most of the cost; at 16 px the sums of 22 million gradients a chunk weigh as much. Memory: the peak of a
process that makes one chunked step, for each batch a process of its own, beside a plain step of the first batch.

    python benchmarks/gradcache.py --batch 256 --chunk 64
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from earthtone.device import cpu_has_bfloat16
from earthtone.losses import make_loss
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.train.gradcache import embed_in_chunks

SMALL = 16  # px
STEPS = 3  # timed, after one that is not


def step_of(batch: int, chunk: int | None, pixels: int = SMALL) -> Callable[[], None]:
    """A training step without its optimizer, of inputs of about pixels x pixels; `chunk` None: a plain one."""
    torch.manual_seed(0)
    audio = AudioConfig(sample_rate_hz=16_000, window_seconds=0.03 * pixels, mels=pixels, hop_seconds=0.03)
    signal = SignalConfig(audio=audio, image=ImageConfig(pixels=pixels, stored_pixels=pixels))
    model = TwoTower(ModelConfig("resnet18", "resnet18"), signal).to(memory_format=torch.channels_last).train()
    loss = make_loss("infonce")
    images = torch.randint(0, 256, (batch, pixels, pixels, 3), dtype=torch.uint8)
    sounds = torch.randint(0, 256, (batch, 1, audio.window_frames, audio.mels), dtype=torch.uint8)

    def embedded() -> tuple[Tensor, Tensor]:
        if chunk is None:
            both: tuple[Tensor, Tensor] = model(images, sounds)
            return both
        return embed_in_chunks(model, images, sounds, chunk)

    def step() -> None:
        loss(*embedded()).backward()
        model.zero_grad()

    return step


def seconds(step: Callable[[], None]) -> float:
    """Of the processor in one step: other programs on the machine do not count."""
    start = time.process_time()
    step()
    return time.process_time() - start


def child(batch: int, chunk: int | None) -> dict[str, float]:
    """Peak MiB of this process: of one step, and before it."""
    step = step_of(batch, chunk)
    before = peak_mib()
    step()
    return {"before": before, "peak": peak_mib()}


def peak_mib() -> float:
    """The most this process ever held. Linux; `getrusage` would tell the parent's peak where that is higher."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    """Print the overhead, and the memory by batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--pixels", type=int, nargs="+", default=[SMALL, 64], help="of the time")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 1024, 4096], help="of the memory")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        batch, chunk = options.child
        print(json.dumps(child(batch, chunk or None)))
        return
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, bfloat16 {'yes' if cpu_has_bfloat16() else 'no'}, load {os.getloadavg()[0]:.1f}"
    )
    for pixels in options.pixels:
        plain, chunked = (step_of(options.batch, chunk, pixels) for chunk in (None, options.chunk))
        times = [(seconds(plain), seconds(chunked)) for _ in range(STEPS + 1)][1:]
        one, other = (statistics.median(side) for side in zip(*times, strict=True))
        print(
            f"{pixels} px, batch {options.batch}: plain {one:.2f} s, in chunks of {options.chunk} {other:.2f} s: "
            f"{other / one:.2f} times"
        )
    for batch, chunk in [(options.batches[0], 0), *((batch, options.chunk) for batch in options.batches)]:
        command = [sys.executable, __file__, "--child", str(batch), str(chunk)]
        found = json.loads(subprocess.check_output(command))
        kind = f"in chunks of {chunk}" if chunk else "plain"
        added = found["peak"] - found["before"]
        print(f"batch {batch:5,} {kind}: peak {found['peak']:,.0f} MiB, {added:,.0f} above the process before the step")


if __name__ == "__main__":
    main()
