"""How fast does each kind of sampler choose batches of 1,000,000 thin rows, beside a slice of a plain permutation?

Plain: what a training without a sampler does, one permutation an epoch and a slice of it a batch. Each kind runs in a
process of its own, so that its peak is its own, above that of making the rows' facts (48 bytes a row, 400 MiB in all).
A step of training at batch 128 takes a second on two cores: what counts is how far below that a batch stays.
"""

import multiprocessing
import os
import resource
import time

import numpy as np

from earthtone.train.recipe import SamplerConfig
from earthtone.train.sampler import Sampler, Similar, TableGroups

ROWS = 1_000_000
BATCH = 128
WIDTH = 128
STEPS = 100
KINDS = {
    "random": SamplerConfig(),
    "spread": SamplerConfig(batches="spread"),
    "clustered": SamplerConfig(batches="clustered"),
    "ring, a quarter": SamplerConfig(ring_share=0.25, ring_km=(1, 50)),
    "similar, a quarter": SamplerConfig(similar_share=0.25),
    "all of them": SamplerConfig(batches="clustered", ring_share=0.25, ring_km=(1, 50), similar_share=0.25),
}


def facts() -> TableGroups:
    """Places in 20,000 towns of some 20 km; every row its own image and recording."""
    draw = np.random.default_rng(0)
    towns = draw.normal(size=(20_000, 3))
    towns /= np.linalg.norm(towns, axis=1, keepdims=True)
    points = towns[draw.integers(len(towns), size=ROWS)] + draw.normal(0, 10 / 6371, (ROWS, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return TableGroups(np.repeat(np.arange(ROWS)[:, None], 3, axis=1), points)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(kind: str | None) -> tuple[float, float, float]:
    """Milliseconds a batch, seconds for the first one, and MiB above the facts; of the plain permutation for None."""
    known, rows = facts(), np.arange(ROWS)
    before = peak_mib()
    start = time.perf_counter()
    if kind is None:
        order = np.random.default_rng([0, 0]).permutation(rows)
        choose = lambda step: order[step * BATCH : (step + 1) * BATCH].copy()  # noqa: E731
    else:
        sampler = Sampler(rows, BATCH, KINDS[kind], 0, known)
        if sampler.refresh_epochs:
            draw = np.random.default_rng(0)
            vectors = (draw.integers(-127, 128, (ROWS, WIDTH), np.int8) for _ in range(2))
            sampler.similar = Similar(*vectors, step=0)
        choose = sampler.batch
    choose(0)
    first = time.perf_counter() - start
    start = time.perf_counter()
    for step in range(1, STEPS + 1):
        choose(step)
    return 1000 * (time.perf_counter() - start) / STEPS, first, peak_mib() - before


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        plain, first, memory = pool.apply(measured, (None,))
        found = {kind: pool.apply(measured, (kind,)) for kind in KINDS}
    epoch = ROWS // BATCH
    whole = 1000 * first / epoch + plain  # the permutation belongs to the epoch
    print(f"{os.cpu_count()} cores; {ROWS:,} rows, batches of {BATCH}; ms a batch, an epoch's beginning spread over it")
    print(f"{'plain permutation':20} {whole:8.3f} ms  begins in {first:6.2f} s  {memory:6.0f} MiB")
    for kind, (each, first, memory) in found.items():
        all_of_it = 1000 * first / epoch + each
        print(
            f"{kind:20} {all_of_it:8.3f} ms  begins in {first:6.2f} s  {memory:6.0f} MiB   "
            f"{1000 / all_of_it:9.0f} batches/s   plain to this, ratio {whole / all_of_it:.4f}"
        )
