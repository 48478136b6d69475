"""A real server on a small toy world, and Chromium that scenes in JavaScript drive: see `make test-browser`."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served_page import Play, World, environment, serving

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """120 places of the toy world and 36 tiles with a map of three sounds, by an untrained model."""
    folder = tmp_path_factory.mktemp("page-world")
    made = [sys.executable, ROOT / "benchmarks" / "serve_world.py", folder, "--rows", "120", "--tiles", "6"]
    subprocess.run(made, check=True, env=environment(), stdout=subprocess.DEVNULL, timeout=120)
    return World(folder / "E", folder / "model", folder / "map", folder / "region", folder / "world")


@pytest.fixture(scope="session")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the page of the toy world keeps marks in."""
    return tmp_path_factory.mktemp("served") / "marks.csv"


@pytest.fixture(scope="session")
def page_url(world: World, marks: Path) -> Iterator[str]:
    """The page of the toy world, with a model and a map."""
    kept = ("--marks", marks, "--who", "tester")
    with serving(marks.parent, world.index, "--model", world.model, "--map", world.map, *kept) as address:
        yield address


@pytest.fixture(scope="session")
def node() -> str:
    """Where Node is, which drives Chromium."""
    found = shutil.which("node")
    if found is None or CHROMIUM is None:
        pytest.skip("the page's tests need node and chromium: apt-get install -y nodejs chromium")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("the page's tests need their packages: make test-browser, or npm ci in tests/browser")
    return found


@pytest.fixture
def play(node: str, tmp_path: Path) -> Play:
    """A function that runs a scene and returns what it printed; each screenshot is looked at for emptiness."""

    def run(name: str, url: str, **given: str | Path) -> str:
        out = Path(os.environ.get("SCREENSHOTS", tmp_path)) / name
        out.mkdir(parents=True, exist_ok=True)
        words = {key: str(value) for key, value in given.items()}
        told = {**os.environ, "PAGE_URL": url, "CHROMIUM": str(CHROMIUM), "OUT": str(out), **words}
        done = subprocess.run(
            [node, HERE / "scenes" / f"{name}.mjs"], env=told, capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, f"{name}, screenshots in {out}:\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
        for file in out.glob("*.png"):
            assert shown(file), f"{file} is empty"
        return done.stdout

    return run


def shown(file: Path) -> bool:
    """Return whether a picture shows something: more than a few colours, and not one on nearly all of its pixels."""
    pixels = np.asarray(Image.open(file).convert("RGB")).reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    return len(colours) >= 12 and float(counts.max()) / len(pixels) < 0.998
