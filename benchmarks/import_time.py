"""How long is `import earthtone`, how long `earthtone --help`? At most 0.5 s; beside them Python and `import torch`."""

import statistics
import subprocess
import sys
import time

RUNS = 7
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import earthtone": ["-c", "import earthtone"],
    "earthtone --help": ["-m", "earthtone", "--help"],
    "import torch": ["-c", "import torch"],
}


def seconds(words: list[str]) -> float:
    """The median wall time of a fresh process."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    found = {name: seconds(words) for name, words in COMMANDS.items()}
    for name, taken in found.items():
        print(f"{name:<18} {taken:6.3f} s   {taken / found['import torch']:5.2f} of import torch")
    slow = [name for name in ("import earthtone", "earthtone --help") if found[name] > 0.5]
    sys.exit(f"over 0.5 s: {', '.join(slow)}" if slow else 0)
