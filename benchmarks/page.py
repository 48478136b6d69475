"""How large is the page, how soon can it be used, and how smoothly are 100,000 and 1,000,000 points dragged, drawn by
the processor alone (SwiftShader)? Goals: 1.2 MB compressed, 2 s, 5 frames a second with 100,000.

Needs node, chromium and the packages of `make test-browser`. Points are made: places all over the world, vectors as in
benchmarks/search.py. Frames are those that Chromium draws while the pointer drags to and fro.

    python benchmarks/page.py --points 100000 1000000
"""

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import earthtone
from earthtone.atlas.index import build_index
from search import make_table
from serve_world import served

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "browser" / "speed.mjs"
PAGE = Path(earthtone.__file__).parent / "serve" / "page"
WIDTH = 16


def compressed() -> tuple[int, int]:
    """Return the bytes of the page's files with gzip: of what is loaded, and of all that is shipped."""
    sizes = {path: len(gzip.compress(path.read_bytes(), 9)) for path in PAGE.rglob("*") if path.is_file()}
    return sum(size for path, size in sizes.items() if path.name != "LICENSES.txt"), sum(sizes.values())


def measured(points: int, seconds: float, chromium: str) -> dict[str, object]:
    """Return what Chromium saw of a page with so many points."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_table(folder / "E", points, WIDTH)
        build_index(folder / "E", plane="pca")
        (folder / "out").mkdir()
        with served(folder / "E") as url:
            told = {"PAGE_URL": url, "CHROMIUM": chromium, "OUT": str(folder / "out"), "SECONDS": str(seconds)}
            command = [str(shutil.which("node")), str(SCRIPT)]
            done = subprocess.run(
                command, env={**os.environ, **told}, stdout=subprocess.PIPE, text=True, check=True, timeout=300
            )
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(said: argparse.Namespace) -> None:
    loaded, shipped = compressed()
    print(f"the page: {loaded / 1e6:.2f} MB compressed are loaded at most, {shipped / 1e6:.2f} MB with licences")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or shutil.which("node") is None or not (SCRIPT.parent / "node_modules").is_dir():
        print("frames are not measured: node, chromium or the packages of `make test-browser` are not here")
        return
    print(f"{'points':>9} {'to be used, first':>18} {'then':>7} {'map':>22} {'plane':>22}")
    for points in said.points:
        told = measured(points, said.seconds, chromium)
        times = told["interactive"]
        cells = [f"{told[name]['rate']:.1f} fps, worst {told[name]['longest']:.0f} ms" for name in ("map", "plane")]
        print(f"{points:>9,} {times[0]:>16.2f} s {statistics.median(times):>5.2f} s {cells[0]:>22} {cells[1]:>22}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=5.0, help="of dragging")
    main(parser.parse_args())
