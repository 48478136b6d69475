"""How fast, and in how much memory, rows of metadata are split: `python benchmarks/split.py --rows 1000000`.

The baseline is the reading of the same table alone. Each is a process of its own, so that peaks of memory are its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def write_rows(path: Path, rows: int) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    draw = np.random.default_rng(0)
    clusters = draw.uniform((-180, -60), (180, 70), (max(1, rows // 50), 2))
    at = clusters[draw.integers(0, len(clusters), rows)] + draw.normal(0, 0.05, (rows, 2))
    microseconds = (1.6e15 + draw.integers(0, 10**14, rows)).astype("int64")
    pq.write_table(
        pa.table({
            "id": [f"rec-{n:08d}" for n in range(rows)],
            "audio": [f"audio/{n}.wav" for n in range(rows)],
            "image": [f"tiles/{n}.png" for n in range(rows)],
            "longitude": (at[:, 0] + 180) % 360 - 180,
            "latitude": at[:, 1],
            "datetime": pa.array(microseconds, pa.timestamp("us", tz="UTC")),
            "attribution": [f"author {n}" for n in draw.integers(0, 5000, rows)],
            "recording_id": [f"r{n // 2}" for n in range(rows)],
        }),
        path,
    )  # fmt: skip


def measure(what: str, table: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", what, "--table", str(table)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured(what: str, table: Path) -> None:
    from earthtone.build.row_facts import read_rows
    from earthtone.build.split import split

    start = time.perf_counter()
    if what == "read":
        read_rows(table, metadata_only=True)
    else:
        out = table.with_name(f"split-{what}")
        split(table, out, by=what, metadata_only=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**20
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--measure")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    if options.measure:
        measured(options.measure, options.table)
        return
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        for rows in (options.rows // 4, options.rows):
            table = Path(folder) / str(rows) / "rows.parquet"
            table.parent.mkdir()
            write_rows(table, rows)
            plain = measure("read", table)
            print(f"{rows:,} rows; read alone: {plain['seconds']:.1f} s, peak {plain['peak_mib']:.0f} MiB")
            for by in ("random", "cells", "h3", "author"):
                found = measure(by, table)
                peaks[rows, by] = found["peak_mib"]
                print(
                    f"  {by:<7} {found['seconds']:.1f} s ({found['seconds'] / plain['seconds']:.2f} of reading alone), "
                    f"{rows / found['seconds']:,.0f} rows/s, peak {found['peak_mib']:.0f} MiB"
                )
        more = options.rows - options.rows // 4
        slope = (peaks[options.rows, "h3"] - peaks[options.rows // 4, "h3"]) * 2**20 / more
        print(f"slope of the peak with h3: {slope:.0f} bytes a row")


if __name__ == "__main__":
    main()
