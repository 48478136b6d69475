"""A server of the command line, for tests that visit its page."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

ROOT = Path(__file__).parents[2]
#: (name of a scene, address, what it is told by the environment) -> what it printed.
Play = Callable[..., str]


class World(NamedTuple):
    """What `benchmarks/serve_world.py` wrote."""

    index: Path
    model: Path
    map: Path
    region: Path
    """With sounds to drop, and the region's raster."""
    places: Path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


@contextmanager
def serving(folder: Path, *options: str | Path) -> Iterator[str]:
    """The address of a server of the command line, which runs for the while."""
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "earthtone", "serve", *options, "--port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen([str(each) for each in command], stdout=out, stderr=out, env=environment())
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(20)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"http://[\w.\[\]:]+\d/?", log.read_text()):
            address = found[0].rstrip("/") + "/"
            if _is_ready(address):
                return address
        time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def _is_ready(address: str) -> bool:
    try:
        return httpx2.get(address + "readyz", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False
