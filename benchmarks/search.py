"""Exact search of 1,000,000 x 128: how long does a query take, alone and in batches, against faiss (SQfp16 flat),
USearch (exact) and PyTorch (matrix product and top-k) in the same run? Goals on two quiet cores: 20 ms alone, 2.5 ms
each of 16, 1.5 GB, open in 1 s, a fifth of the time where a filter keeps 1 %.

The table is made: sounds and images with a gap between them, rows that follow each other alike, float16. All ways get
the same numbers, take turns, and the best of their rounds counts. Queries are sounds that lie near images. A way that
is not installed is left out and named.

    python benchmarks/search.py --rows 1000000
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earthtone.atlas.approximate import approximate_top_k, write_clusters
from earthtone.atlas.embeddings import EmbeddingCard, embedding_schema, open_embeddings, write_embeddings
from earthtone.atlas.filters import filters_of, passing_rows
from earthtone.atlas.scan import _int8_is_exact, open_store, top_k, write_blocks

K, BLOCK, PART = 10, 65_536, 100_000
BATCHES = (1, 16, 64)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_table(folder: Path, rows: int, width: int) -> np.ndarray:
    """Write a table of embeddings and return 64 queries, sounds beside its images."""
    draw = np.random.default_rng(0)
    card = EmbeddingCard("/made", "0" * 32, width, unit=True, data="made")
    gap, spread = draw.standard_normal((2, width)) * 0.5, draw.standard_normal((24, width))
    queries = []
    for start in range(0, rows, PART):
        count = min(PART, rows - start)
        kind = "image" if start < 0.6 * rows else "audio"
        walk = np.cumsum(draw.standard_normal((count // 50 + 1, 24)), axis=0) * 0.1  # of one region, then the next
        vectors = np.repeat(walk + draw.standard_normal(24), 50, axis=0)[:count] @ spread / 24**0.5
        vectors += gap[int(kind == "audio")] + 0.7 * draw.standard_normal((count, width))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        if kind == "image":
            queries.append(vectors[draw.integers(0, count, 64)] + gap[1] - gap[0])
        columns = {
            "id": [f"{row * 7919 % 1_000_003:07}" for row in range(start, start + count)], "modality": [kind] * count,
            "longitude": draw.uniform(-180, 180, count), "latitude": draw.uniform(-90, 90, count),
        }  # fmt: skip
        write_embeddings(folder / "embeddings.lance", embedding_schema(card), columns, vectors, append=start > 0)
    found = draw.permutation(np.concatenate(queries))[:64]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


Search = Callable[[np.ndarray], np.ndarray]


def of_faiss(vectors: np.ndarray, threads: int) -> Search:
    """Flat, float16, inner product."""
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(threads)
    kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexScalarQuantizer(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    for start in range(0, len(vectors), PART):
        index.add(vectors[start : start + PART].astype(np.float32))
    return lambda queries: index.search(queries, K)[1]


def of_usearch(vectors: np.ndarray, threads: int) -> Search:
    """Exact, float16, inner product."""
    usearch = importlib.import_module("usearch.index")

    def search(queries: np.ndarray) -> np.ndarray:
        halves = queries.astype(np.float16)
        found = usearch.search(vectors, halves, K, usearch.MetricKind.IP, exact=True, threads=threads)
        return found.keys.reshape(len(queries), -1)

    return search


def of_torch(vectors: np.ndarray, threads: int) -> Search:
    """float32 product of all rows, then top-k."""
    rows = torch.from_numpy(vectors.astype(np.float32))
    return lambda queries: (torch.from_numpy(queries) @ rows.T).topk(K).indices.numpy()


def of_torch_blocks(vectors: np.ndarray, threads: int) -> Search:
    """bfloat16 in blocks with a running top-k: not exact."""
    rows = torch.from_numpy(vectors).bfloat16()

    def search(queries: np.ndarray) -> np.ndarray:
        wanted = torch.from_numpy(queries).bfloat16().T
        scores, places = torch.empty(0, len(queries), dtype=torch.bfloat16), torch.empty(0, len(queries)).long()
        for start in range(0, len(rows), BLOCK):
            part = (rows[start : start + BLOCK] @ wanted).topk(K, dim=0)
            scores, places = torch.cat([scores, part.values]), torch.cat([places, part.indices + start])
            scores, best = scores.topk(K, dim=0)
            places = places.gather(0, best)
        return places.T.numpy()

    return search


RIVALS: dict[str, Callable[[np.ndarray, int], Search]] = {
    "faiss SQfp16 flat": of_faiss,
    "USearch exact f16": of_usearch,
    "torch float32 + topk": of_torch,
    "torch bfloat16 blocks": of_torch_blocks,
}


def in_turns(ways: dict[str, Callable[[], Any]], options: argparse.Namespace) -> dict[str, float]:
    """The least milliseconds of each way."""
    clock = time.process_time if options.processor_time else time.perf_counter
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = clock()
            way()
            best[name] = min(best[name], 1e3 * (clock() - start))
    return best


def right(found: np.ndarray, vectors: np.ndarray, queries: np.ndarray) -> bool:
    """Whether the rows found score as much as the best ones of a plain product in float64."""
    for rows, query in zip(found, queries.astype(np.float64), strict=True):
        scores = np.concatenate(
            [vectors[s : s + PART].astype(np.float64) @ query for s in range(0, len(vectors), PART)]
        )
        if not np.allclose(np.sort(scores[rows]), np.sort(scores)[-K:], rtol=0, atol=1e-7):
            return False
    return True


def child(folder: Path) -> None:
    """Open and search in a process of its own: seconds to open, first and later query, and peak memory."""
    queries = np.load(folder / "queries.npy")
    begin = time.perf_counter()
    store, note = open_store(open_embeddings(folder))
    opened = time.perf_counter()
    assert note is None
    top_k(queries[:1], store, K)
    first = time.perf_counter()
    for size in BATCHES:
        top_k(queries[:size], store, K)
    print(json.dumps({"open": opened - begin, "first": first - opened, "peak": peak_gb()}))


def peak_gb() -> float:
    """The peak of this process alone; what `getrusage` tells on Linux is never less than that of its parent."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def slope(folder: Path, queries: np.ndarray, options: argparse.Namespace) -> dict[int, float]:
    """Our milliseconds by batch."""
    store, _ = open_store(open_embeddings(folder))
    ways: dict[str, Callable[[], Any]] = {str(size): partial(top_k, queries[:size], store, K) for size in BATCHES}
    return {int(size): found for size, found in in_turns(ways, options).items()}


def main() -> int:
    """Print times, ratios, memory; exit code 1 where our rows are not the best ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=CORES)
    parser.add_argument("--processor_time", action="store_true", help="of all threads: where others use the cores too")
    parser.add_argument("--without", nargs="*", default=[], help="rivals to leave out, by the beginning of their names")
    parser.add_argument("--approximate", action="store_true", help="also make an approximate index and ask it")
    parser.add_argument("--folder", type=Path, help="where to keep the table; default: a temporary folder")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        child(options.child)
        return 0
    with tempfile.TemporaryDirectory() as name:
        return compare(options.folder or Path(name), options)


def compare(top: Path, options: argparse.Namespace) -> int:
    """Make the tables, measure, print."""
    folder, quarter = top / "whole", top / "quarter"
    seconds = {}
    for place, rows in ((folder, options.rows), (quarter, options.rows // 4)):
        if not (place / "queries.npy").exists():
            queries = make_table(place, rows, options.dimensions)
            begin = time.perf_counter()
            write_blocks(open_embeddings(place), place / "index")
            seconds[place] = time.perf_counter() - begin
            np.save(place / "queries.npy", queries)
    queries = np.load(folder / "queries.npy")
    table = open_embeddings(folder)
    exact = all(_int8_is_exact(options.dimensions, size) for size in BATCHES)
    load = os.getloadavg()[0]
    print(f"{options.rows:,} x {options.dimensions} float16, k {K}, {options.threads} threads, load {load:.1f}")
    print("times: " + ("processor time of all threads" if options.processor_time else "wall clock"))
    print(f"int8 products of the processor: {'used' if exact else 'not exact here, float32 instead'}")
    if folder in seconds:
        print(f"writing the block file: {seconds[folder]:.1f} s, {options.rows / seconds[folder]:,.0f} rows a second")
    alone = json.loads(
        subprocess.check_output([sys.executable, __file__, "--child", str(folder), "--threads", str(options.threads)])
    )
    print(f"opening {alone['open']:.2f} s after imports; first query {alone['first'] * 1e3:.0f} ms (checks the codes)")
    print(f"peak memory {alone['peak']:.2f} GB, of which PyTorch and Lance take the most")
    store, _ = open_store(table)
    vectors = np.empty((len(table), options.dimensions), np.float16)
    for number, part in enumerate(table.blocks(PART)):
        vectors[number * PART : number * PART + len(part)] = part
    ways: dict[str, Search] = {"earthtone": lambda asked: top_k(asked, store, K)[1]}
    for name, make in RIVALS.items():
        if not any(name.lower().startswith(left.lower()) for left in options.without):
            try:
                ways[name] = make(vectors, options.threads)
            except ImportError as error:
                print(f"{name}: left out, {error}")
    faults = 0 if right(ways["earthtone"](queries[:16]), vectors, queries[:16]) else 1
    print(f"rows found are the best ones of float64: {'no' if faults else 'yes'}")
    for size in BATCHES:
        asked = {name: partial(way, queries[:size]) for name, way in ways.items()}
        found = in_turns(asked, options)
        print(f"{size:>3} queries")
        for name, ms in found.items():
            print(f"    {name:<22} {ms:8.1f} ms {ms / size:7.2f} each   {ms / found['earthtone']:6.2f} x")
    print_filtered(table, store, queries, options)
    print_slope(slope(quarter, queries, options), slope(folder, queries, options), options.rows)
    if options.approximate:
        print_approximate(table, store, queries, options)
    return faults


def print_approximate(table: Any, store: Any, queries: np.ndarray, options: argparse.Namespace) -> None:
    """Clusters: how long they take to make, what they find, how long one query takes."""
    begin = time.perf_counter()
    clusters = write_clusters(table, store, table.path.parent / "index")
    print(f"approximate index: {len(clusters.centres):,} clusters in {time.perf_counter() - begin:.0f} s")
    for recall in clusters.recalls:
        print(f"    {recall.sentence()}")
    rows = np.flatnonzero(np.array(table.columns(["modality"])["modality"].to_pylist()) == "image")
    ways: dict[str, Callable[[], Any]] = {
        "exact": partial(top_k, queries[:1], store, K, rows),
        "approximate": partial(approximate_top_k, queries[:1], clusters, store, K, modality="image"),
    }
    print("    images of a sound: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in in_turns(ways, options).items()))


def print_filtered(table: Any, store: Any, queries: np.ndarray, options: argparse.Namespace) -> None:
    """Scan with filters that keep 1 % and 10 % of the rows, scattered and of one modality, and what filtering takes."""
    draw, count = np.random.default_rng(1), len(table)
    kept = {
        "all": None,
        "1 %": np.sort(draw.choice(count, count // 100, replace=False)),
        "10 %": np.sort(draw.choice(count, count // 10, replace=False)),
        "one modality": passing_rows(table, filters_of({"modality": "image"})).rows,
    }
    for size in BATCHES[:2]:
        ways: dict[str, Callable[[], Any]] = {
            name: partial(top_k, queries[:size], store, K, rows) for name, rows in kept.items()
        }
        found = in_turns(ways, options)
        told = ", ".join(f"{name} {ms:.1f} ms ({ms / found['all']:.2f})" for name, ms in found.items())
        print(f"{size:>3} queries, rows that pass a filter: {told}")
    said = {"box": "0,0,36,18", "modality": "image", "where": "id>=500000"}
    found = in_turns({name: partial(passing_rows, table, filters_of({name: said[name]})) for name in said}, options)
    print("evaluating a filter: " + ", ".join(f"{name} {said[name]} {ms:.0f} ms" for name, ms in found.items()))


def print_slope(small: dict[int, float], large: dict[int, float], rows: int) -> None:
    """10,000,000 rows, projected from two sizes."""
    if rows >= 10_000_000:
        return
    for size in BATCHES:
        a_row = (large[size] - small[size]) / (rows - rows // 4)
        print(
            f"{size:>3} queries: {small[size]:.1f} ms of {rows // 4:,} rows, {large[size]:.1f} ms of {rows:,}; "
            f"projected by this slope: {large[size] + a_row * (10_000_000 - rows):.0f} ms of 10,000,000"
        )


if __name__ == "__main__":
    sys.exit(main())
