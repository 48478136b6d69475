"""Whether two checkouts train to the same weights, bit for bit: `same_weights.py OLD/src NEW/src`.

Makes one tiny toy world with the first checkout, then trains shortened forms of the shipped recipes with both, one
after the other, and compares every tensor. Not a test: processors of different kinds round differently, so both must
run on one machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file
from torch import equal

#: What shortens a recipe; all else is as it is shipped.
RECIPES = {
    "demo": ["--train.epochs", "2", "--train.batch_size", "16"],
    "small": ["--train.epochs", "1", "--train.batch_size", "16"],
}
ROWS = 96


def earthtone(src: Path, *words: str) -> None:
    """Run a verb of the command line of one checkout; end with its words when it fails."""
    environment = os.environ | {"PYTHONPATH": str(src), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-m", "earthtone", *words], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{src}: earthtone {' '.join(words)}\n{done.stdout}\n{done.stderr}")


def differences(first: Path, second: Path) -> list[str]:
    """Return a line for every tensor of two weights files that is not the same in both."""
    a, b = load_file(first), load_file(second)
    lines = [f"{name} is in one file alone" for name in sorted(a.keys() ^ b.keys())]
    both = sorted(a.keys() & b.keys())
    return lines + [f"{name} differs" for name in both if a[name].dtype != b[name].dtype or not equal(a[name], b[name])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path, help="the src folder of one checkout")
    parser.add_argument("new", type=Path, help="the src folder of the other")
    options = parser.parse_args()
    old, new = options.old.resolve(), options.new.resolve()
    told = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        earthtone(old, "toyworld", "--out", str(folder / "world"), "--rows", str(ROWS))
        for recipe, words in RECIPES.items():
            for side, src in (("old", old), ("new", new)):
                out = str(folder / f"{recipe}_{side}")
                data = str(folder / "world" / "manifest.csv")
                earthtone(src, "pretrain", data, "--recipe", recipe, "--out", out, *words)
            files = [folder / f"{recipe}_{side}" / "model.safetensors" for side in ("old", "new")]
            found = differences(*files)
            told += len(found)
            print(f"{recipe}: " + ("; ".join(found[:5]) or f"all {len(load_file(files[0]))} tensors are the same"))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
