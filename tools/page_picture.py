"""Make the README's first picture: the page, with a toy region searched by the sound of surf.

    make demo && make test-browser
    python benchmarks/serve_world.py demo/page --model demo/run --rows 400 --tiles 20
    python tools/page_picture.py demo/page

It shows synthetic data and says so: the script fails where the page does not.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from earthtone.serve.options import ServeOptions
from earthtone.serve.server import PageServer

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tests" / "browser" / "picture.mjs"
COLOURS = 128


def main(folder: Path, out: Path) -> None:
    """Write the picture."""
    node, chromium = shutil.which("node"), os.environ.get("CHROMIUM") or shutil.which("chromium")
    if node is None or chromium is None or not (SCRIPT.parent / "node_modules").is_dir():
        raise SystemExit("node, chromium and the packages of `make test-browser` are needed")
    options = ServeOptions(folder / "E", map=(str(folder / "map"),), port=0, title="A toy region", device="cpu")
    server = PageServer(options).start()
    try:
        with tempfile.TemporaryDirectory() as name:
            told = {"PAGE_URL": server.url, "CHROMIUM": chromium, "OUT": name, "SOUND": str(folder / "region/surf.wav")}
            subprocess.run([node, str(SCRIPT)], env={**os.environ, **told}, check=True, timeout=180)
            picture = Image.open(Path(name) / "picture.png").convert("RGB").quantize(COLOURS)
            picture.save(out, optimize=True)
    finally:
        server.stop()
    print(f"{out}: {picture.width} x {picture.height}, {out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what benchmarks/serve_world.py wrote")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "page.png")
    said = parser.parse_args()
    main(said.folder, said.out)
