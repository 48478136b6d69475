"""The machine that the benchmarks run on, in words."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path


def bfloat16_features() -> str:
    """What the processor has for bfloat16, as Linux names it."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return "unknown"
    return ", ".join(sorted(flags & {"amx_bf16", "avx512_bf16", "amx_tile", "bf16"})) or "none"


def matrix_gain() -> float:
    """How many times faster than in fp32 a matrix product of 2,048 x 2,048 is in bfloat16: more is not to be had."""
    import torch

    best = {}
    for kind in (torch.float32, torch.bfloat16):
        one, other = (torch.randn(2048, 2048).to(kind) for _ in range(2))
        seconds = []
        for _ in range(6):
            start = time.perf_counter()
            one @ other
            seconds.append(time.perf_counter() - start)
        best[kind] = min(seconds)
    return best[torch.float32] / best[torch.bfloat16]


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def described() -> list[str]:
    """Lines on processor, memory and versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = ("earthtone", "torch", "numpy", "pylance", "opencv-python-headless", "lightning", "timm")
    return [
        f"{processor()}, {os.cpu_count()} cores; bfloat16 of the processor: {bfloat16_features()}; {memory:.0f} GiB",
        f"{platform.system()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names),
    ]
