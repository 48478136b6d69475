"""How fast is a compiled training step against the plain one? Two small ResNet-18, forward, loss and backward.

Steps of both are made in turn, so that whatever else the machine does meets both; the ratio is of the medians.
The first compiled step writes and builds the kernels, unless a run before has left them in TORCHINDUCTOR_CACHE_DIR.

    TORCHINDUCTOR_COMPILE_THREADS=1 python benchmarks/compile_step.py
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch

from earthtone.device import autocast, choose_precision, cpu_has_bfloat16
from earthtone.losses import make_loss
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.train.lightning_module import EmbedBy, compiled_embed, embed


def stepper(embed_by: EmbedBy, options: argparse.Namespace) -> Callable[[], float]:
    """A function that makes one step and returns its seconds."""
    torch.manual_seed(0)
    signal = SignalConfig(
        audio=AudioConfig(sample_rate_hz=16_000, window_seconds=1.28, mels=64, hop_seconds=0.01),
        image=ImageConfig(pixels=options.pixels, stored_pixels=options.pixels),
    )
    model = TwoTower(ModelConfig("resnet18", "resnet18"), signal).to(memory_format=torch.channels_last)
    loss = make_loss("infonce")
    optimizer = torch.optim.AdamW([*model.parameters(), *loss.parameters()], lr=1e-4)
    frames = signal.audio.window_frames
    image = torch.randint(0, 256, (options.batch, options.pixels, options.pixels, 3), dtype=torch.uint8)
    audio = torch.randint(0, 256, (options.batch, 1, frames, 64), dtype=torch.uint8)
    precision = choose_precision(options.precision, "cpu")

    def step() -> float:
        start = time.perf_counter()
        with autocast(precision, "cpu"):
            value = loss(*embed_by(model, image, audio))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def main() -> None:
    """Print the machine, both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--precision", choices=("auto", "32", "bf16"), default="auto")
    options = parser.parse_args()
    plain, compiled = stepper(embed, options), stepper(compiled_embed(), options)
    plain()
    before, first = sum(os.times()[:4]), compiled()
    work = sum(os.times()[:4]) - before  # of this process and the compilers it started
    times = [(plain(), compiled()) for _ in range(options.steps)]
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    kernels, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    print(f"{platform.machine()}, {kernels}, bfloat16 in hardware: {cpu_has_bfloat16()}, torch {torch.__version__}")
    print(f"{threads} threads on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"precision {choose_precision(options.precision, 'cpu')}, batch {options.batch}, {options.pixels} px")
    print(f"plain {medians[0] * 1000:.0f} ms a step, compiled {medians[1] * 1000:.0f} ms")
    print(f"to compile: {first:.0f} s, in which the processor worked {work:.0f} s for it")
    print(f"compiled against plain: {medians[0] / medians[1]:.2f} times as fast")


if __name__ == "__main__":
    main()
