"""How much memory does a loss take, value and gradient, against distances by an N x N x D tensor of differences?

Each runs in a fresh process, which first does a small batch to load what has to be loaded; its peak above what it held
then counts. The plain way cannot be run at the losses' N: it runs at a smaller one and is scaled up by the square.
Losses with a queue have it full, of `--queue_batches` batches. Those that go tile by tile are then measured at
`--tiled_pairs`, twins masked, against themselves with whole matrices.

    python benchmarks/loss_memory.py --pairs 4096
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from earthtone.losses import LOSSES, loss_class, loss_options, make_loss
from earthtone.losses import twins as twins_module

PLAIN = "plain"
WHOLE = "whole"  # after a loss's name: not in tiles
_PAGE = 4096


def plain_triplet(image: Tensor, audio: Tensor) -> Tensor:
    """The batch triplet as one would write it first."""
    distances = (image[:, None] - audio[None]).square().sum(dim=2).sqrt()
    own = distances.diagonal()
    return ((own[None] - distances + 1).relu().mean() + (own[:, None] - distances + 1).relu().mean()) / 2


def ready(name: str, rows: int, dimensions: int, queue_batches: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The function of embeddings to measure; its queue is full."""
    if name == PLAIN:
        return plain_triplet
    name, _, whole = name.partition(":")
    if whole:
        twins_module.TILE = 10**9
    shape = {"batches": queue_batches, "batch_size": rows, "dimensions": dimensions}
    loss = make_loss(name, **{key: value for key, value in shape.items() if key in loss_options(name)})
    points = torch.nn.functional.normalize(torch.randn(rows, 3), dim=1) if loss.needs_points else None
    if loss.in_tiles:
        groups = torch.arange(3 * rows).reshape(rows, 3) // 2  # twins of two
        return lambda image, audio: loss(image, audio, groups=groups)
    if loss.has_queue:
        for _ in range(queue_batches):
            loss.queue.push(*embeddings(rows, dimensions), None, points)
    return lambda image, audio: loss(image, audio, points=points)


def embeddings(rows: int, dimensions: int) -> tuple[Tensor, Tensor]:
    """Random ones."""
    image = torch.randn(rows, dimensions)
    return image, image + torch.randn(rows, dimensions)


def resident() -> int:
    """Bytes this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


class Peak:
    """The most bytes the process held inside the block, above what it held at its start. Linux; looks each 2 ms."""

    def __enter__(self) -> "Peak":
        self.start = self.most = resident()
        self._running = True
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        self._watch.join()

    def _look(self) -> None:
        while self._running:
            self.most = max(self.most, resident())
            time.sleep(0.002)

    @property
    def bytes(self) -> int:
        """Above the start."""
        return self.most - self.start


def child(name: str, rows: int, dimensions: int, queue_batches: int) -> dict[str, float]:
    """Peak bytes and seconds of one value and gradient."""
    torch.manual_seed(0)
    small = [part.requires_grad_() for part in embeddings(16, dimensions)]
    ready(name, 16, dimensions, 1)(*small).backward()
    function = ready(name, rows, dimensions, queue_batches)
    image, audio = (part.requires_grad_() for part in embeddings(rows, dimensions))
    start = time.perf_counter()
    with Peak() as peak:
        function(image, audio).backward()
    return {"mib": peak.bytes / 2**20, "seconds": time.perf_counter() - start}


def main() -> None:
    """Print each loss and its ratio to the plain way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4096)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--queue_batches", type=int, default=4)
    parser.add_argument("--plain_pairs", type=int, default=1024)
    parser.add_argument("--tiled_pairs", type=int, default=8192)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        found = child(options.child, options.pairs, options.dimensions, options.queue_batches)
        print(json.dumps(found))
        return

    def measured(name: str, pairs: int) -> dict[str, float]:
        words = ["--pairs", pairs, "--dimensions", options.dimensions, "--queue_batches", options.queue_batches]
        command = [sys.executable, __file__, "--child", name, *map(str, words)]
        result: dict[str, float] = json.loads(subprocess.check_output(command))
        return result

    plain = measured(PLAIN, options.plain_pairs)["mib"]
    scaled = plain * (options.pairs / options.plain_pairs) ** 2
    print(f"N x N x D differences: {plain:,.0f} MiB at N = {options.plain_pairs:,}, ", end="")
    print(f"so {scaled:,.0f} MiB at N = {options.pairs:,}, D = {options.dimensions}")
    for name in LOSSES:
        found = measured(name, options.pairs)
        print(
            f"{name:18} {found['mib']:7,.0f} MiB {found['seconds']:6.2f} s, "
            f"plain to this: {scaled / max(found['mib'], 1):,.0f}"
        )
    print(f"in tiles at N = {options.tiled_pairs:,}, against whole matrices:")
    for name in (name for name in LOSSES if loss_class(name).in_tiles):
        found, whole = (measured(each, options.tiled_pairs) for each in (name, f"{name}:{WHOLE}"))
        print(
            f"{name:18} {found['mib']:7,.0f} MiB {found['seconds']:6.2f} s, whole {whole['mib']:7,.0f} MiB "
            f"{whole['seconds']:6.2f} s, whole to tiles: {whole['mib'] / max(found['mib'], 1):,.0f} in memory, "
            f"{whole['seconds'] / found['seconds']:.2f} in time"
        )


if __name__ == "__main__":
    main()
