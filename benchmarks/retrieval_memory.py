"""How much memory and time does retrieval over N x N pairs take, against a plain loop over queries?

Both run in fresh processes. The plain loop (one product, one full sort a query) is timed on a sample of the queries
and scaled up to all of them; it makes ranks of one direction only, so its time is doubled.

    python benchmarks/retrieval_memory.py --pairs 50000
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from earthtone.evaluate.protocols import honest
from earthtone.evaluate.ranking import EmbeddedPairs


def pairs_of(count: int, dimensions: int) -> EmbeddedPairs:
    """Random pairs with places, one in twenty with a twin."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((count, dimensions), dtype=np.float32)
    audio = image + 2 * rng.standard_normal((count, dimensions), dtype=np.float32)
    for values in (image, audio):
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    twin = np.where(rng.random(count) < 0.05, rng.integers(0, count, count), np.arange(count))
    return EmbeddedPairs(
        ids=[str(row) for row in range(count)], image=image, audio=audio[twin],
        longitude=rng.uniform(-180, 180, count), latitude=rng.uniform(-90, 90, count),
        image_group=np.arange(count), audio_group=twin,
    )  # fmt: skip


def plain_loop(pairs: EmbeddedPairs, sample: int) -> None:
    """Rank and first hundred of each query by a full sort."""
    for row in range(sample):
        order = np.argsort(-(pairs.audio @ pairs.image[row]))
        assert 1 + int(np.flatnonzero(order == row)[0]) <= len(pairs)


def child(what: str, count: int, dimensions: int, sample: int) -> dict[str, float]:
    """Seconds of one of the two ways, and the peak memory of this process."""
    pairs = pairs_of(count, dimensions)
    start = time.perf_counter()
    if what == "chunked":
        honest(pairs)
    else:
        plain_loop(pairs, sample)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds, "peak_gb": peak / 1e9}


def main() -> None:
    """Print both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--sample", type=int, default=1000, help="queries of the plain loop")
    parser.add_argument("--child", choices=("chunked", "plain"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    sample = min(options.sample, options.pairs)
    if options.child:
        print(json.dumps(child(options.child, options.pairs, options.dimensions, sample)))
        return
    sizes = ["--pairs", str(options.pairs), "--dimensions", str(options.dimensions), "--sample", str(sample)]
    found = {
        way: json.loads(subprocess.check_output([sys.executable, __file__, *sizes, "--child", way]))
        for way in ("plain", "chunked")
    }
    plain = 2 * found["plain"]["seconds"] * options.pairs / sample
    chunked = found["chunked"]
    print(f"{options.pairs:,} x {options.pairs:,}, {options.dimensions} dimensions, both directions")
    print(f"chunked, all figures and intervals: {chunked['seconds']:.1f} s, peak {chunked['peak_gb']:.2f} GB")
    print(f"plain loop, ranks alone, from {sample:,} queries: {plain:.1f} s, peak {found['plain']['peak_gb']:.2f} GB")
    print(f"ratio of time, chunked to plain: {chunked['seconds'] / plain:.2f}")


if __name__ == "__main__":
    main()
