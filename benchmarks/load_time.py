"""How long is `load_model` in a new process beyond `import torch`, and how much memory is resident then? At most 1 s
beyond `import timm`, which brings torchvision and PyTorch's compiler and takes the most of it.

Two ResNet-18s, as most recipes have them.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from earthtone.models.config import ModelConfig
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

RUNS = 5
LIMIT = 1.0
_RESIDENT = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmRSS")))
"""


def measured(code: str) -> tuple[float, float]:
    """The median wall time of a fresh process in seconds, and the megabytes resident at its end (Linux)."""
    seconds, resident = [], []
    for _ in range(RUNS):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code + _RESIDENT], check=True, stdout=subprocess.PIPE, text=True)
        seconds.append(time.perf_counter() - start)
        resident.append(int(done.stdout) * 1024 / 1e6)
    return statistics.median(seconds), statistics.median(resident)


def main() -> int:
    """Measure, print, and return the exit code: 1 where loading takes more than `LIMIT` beyond timm."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), TwoTower(ModelConfig(), SignalConfig()), {})
        load = f"import earthtone; earthtone.load_model({folder!r})"
        found = {name: measured(code) for name, code in {
            "import torch": "import torch", "import torch, timm": "import torch, timm", "load_model": load,
        }.items()}  # fmt: skip
    torch_seconds = found["import torch"][0]
    for name, (seconds, megabytes) in found.items():
        print(f"{name:<20} {seconds:5.2f} s, {seconds - torch_seconds:5.2f} s beyond torch   {megabytes:5.0f} MB")
    ours = found["load_model"][0] - found["import torch, timm"][0]
    print(f"load_model beyond timm: {ours:.2f} s")
    return int(ours > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
