"""What the page is shown with in benchmarks, the browser's tests and the README's picture: places of the toy world, the
tiles of a toy region and its map, all synthetic, embedded by a model that is given or left untrained.

    python benchmarks/serve_world.py FOLDER --rows 120 --tiles 6
    earthtone serve FOLDER/E --model FOLDER/model --map FOLDER/map
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import torch

from earthtone.atlas.embed import embed
from earthtone.atlas.index import build_index
from earthtone.atlas.maps import map_similarity
from earthtone.build.toyworld.region import write_region, write_sounds
from earthtone.build.toyworld.write import write_toyworld
from earthtone.models.config import ModelConfig
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig
from earthtone.train.recipe_file import load_recipe

TILE_M = 256.0


@dataclass(frozen=True)
class PageWorld:
    """Where the parts lie."""

    index: Path
    """Images and sounds of the places, and the region's tiles, on a plane."""
    model: Path
    map: Path
    sounds: tuple[Path, ...]
    """Recordings of what a region can be asked for, to be dropped on the page."""


def tiny_model() -> TwoTower:
    """Return an untrained model that embeds in milliseconds, always the same."""
    audio = AudioConfig(sample_rate_hz=16_000, window_seconds=1.0, mels=32, hop_seconds=0.02)
    signal = SignalConfig(audio=audio, image=ImageConfig(pixels=32, stored_pixels=40))
    torch.manual_seed(0)
    return TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), signal).eval()


def small_model() -> TwoTower:
    """Return an untrained model of the recipe `small`: as fast as a trained one."""
    recipe = load_recipe("small")
    torch.manual_seed(0)
    return TwoTower(recipe.model, recipe.signal).eval()


def make_world(
    folder: Path, model: Path | None = None, *, rows: int = 120, tiles: int = 6, tiny: bool = True
) -> PageWorld:
    """Write everything below a folder and return where it lies."""
    if model is None:
        model = folder / "model"
        save_model(model, tiny_model() if tiny else small_model(), {})
    manifest = write_toyworld(folder / "world", rows=rows, pixels=96, seconds=3.0 if tiny else 10.0)
    embed(str(model), str(manifest), str(folder / "E"))
    region = write_region(folder / "region", side_m=tiles * TILE_M, pixels=tiles * 96)
    sounds = tuple(write_sounds(folder / "region").values())
    map_similarity(
        [str(path) for path in sounds], folder / "map", model=str(model), raster=str(region.raster), metres=TILE_M,
        views=1, attribution="synthetic, computed by earthtone toyworld", license="CC0-1.0",
    )  # fmt: skip
    build_index(folder / "map")
    build_index(folder / "E", add=[folder / "map"], plane="pca")
    return PageWorld(folder / "E", model, folder / "map", sounds)


@contextlib.contextmanager
def served(*options: str | Path) -> Iterator[str]:
    """The address of a server with a process of its own, for the while."""
    command = [sys.executable, "-m", "earthtone", "serve", *map(str, options), "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait(20)


def _address(process: "subprocess.Popen[bytes]", log: Any) -> str:
    end = time.monotonic() + 90
    while time.monotonic() < end and process.poll() is None:
        log.seek(0)
        if found := re.search(r"http://[\w.\[\]:]+\d", log.read()):
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"{found[0]}/readyz", timeout=5).is_success:
                    return f"{found[0]}/"
        time.sleep(0.1)
    log.seek(0)
    raise SystemExit(f"the server did not start: {log.read()[-2000:]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=None)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--tiles", type=int, default=6)
    parser.add_argument("--model", type=Path, help="a trained one; default: an untrained tiny one")
    parser.add_argument("--small", action="store_true", help="an untrained one of the recipe small")
    said = parser.parse_args()
    world = make_world(
        said.folder or Path(tempfile.mkdtemp()), said.model, rows=said.rows, tiles=said.tiles, tiny=not said.small
    )
    print(f"earthtone serve {world.index} --model {world.model} --map {world.map}")
