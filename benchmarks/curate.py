"""What does curating cost beside packing? Rows of a 1024 px JPEG and 30 s of stereo: `pack` alone, and `curate` without
fingerprints before it. And what do fingerprints cost: hearing 200 recordings, comparing 10,000?"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from earthtone.build.curate.curate import curate
from earthtone.build.curate.duplicates import Seen, twins_of
from earthtone.build.curate.measure import HZ, Facts, SoundFacts, fingerprint
from earthtone.data.pack import pack
from files import write_files

ROWS = 200
COMPARED = 10_000
WORDS = 117  # of 30 s


def seconds_of(work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - start


def compared(count: int) -> float:
    """Seconds that comparing so many fingerprints of recordings of one length takes."""
    import base64

    draw = np.random.default_rng(0)
    seen = Seen(prints=True, pictures=False)
    for row in range(count):
        words = base64.b64encode(draw.integers(1, 2**32, WORDS, dtype=np.uint32).astype("<u4").tobytes()).decode()
        facts = SoundFacts(30.0, HZ, 1, -20.0, -20.0, 1.0, 0.0, 0.0, False, 0.1, f"{row:032x}", words)
        seen.add(row, Facts(facts), False)
    return seconds_of(lambda: twins_of(seen, 0.25, 32))


if __name__ == "__main__":
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_files(folder, rows)
        made: dict[str, Any] = {
            "any_licence": True,
            "off": ["clipped", "offset", "same-audio"],
        }  # the sounds are random walks
        curate(write_files(folder / "warm", 4), folder / "warm-out", **made)
        packed = seconds_of(lambda: pack(manifest, folder / "pairs.lance"))
        curated = seconds_of(lambda: curate(manifest, folder / "plain", **made))
        again = seconds_of(lambda: curate(manifest, folder / "plain", **made, min_seconds=2.0))
        heard = seconds_of(lambda: curate(manifest, folder / "prints", any_licence=True, off=made["off"][:2]))
    sound = np.random.default_rng(0).normal(0, 0.05, 30 * HZ).astype(np.float32)
    alone = seconds_of(lambda: [fingerprint(sound) for _ in range(10)]) / 10
    pairs = compared(COMPARED)
    print(f"{os.cpu_count()} cores, {rows} rows of a 1024 px JPEG and 30 s of stereo")
    print(f"pack alone                          {rows / packed:6.1f} rows/s")
    print(f"curate without fingerprints         {rows / curated:6.1f} rows/s")
    print(f"curate, then pack                   {rows / (curated + packed):6.1f} rows/s   ratio "
          f"{packed / (curated + packed):.2f} of pack alone")  # fmt: skip
    print(f"the same with another threshold     {rows / again:6.1f} rows/s")
    print(f"curate with fingerprints            {rows / heard:6.1f} rows/s   10,000: {heard / rows * 1e4 / 60:.1f} min")
    print(f"one fingerprint of 30 s             {1000 * alone:6.1f} ms")
    print(f"comparing {COMPARED:,} of one length    {pairs:6.1f} s")
