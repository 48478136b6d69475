"""How long does the page's server take for what a person waits for? A click on the map and a query by a sound of 30 s,
with an index of 100,000 rows and an untrained model of the recipe `small`, and all points of 1,000,000 rows.

Goals on two quiet cores: a click under 150 ms (95 of 100), a sound under 700 ms, sending, decoding and embedding it
with it. Beside each the same without a server: the function that it calls. Real requests on loopback, to a process
of its own; no two sounds are alike, so that none is remembered.

    python benchmarks/serve.py --rows 100000 --points 1000000
"""

import argparse
import contextlib
import http.client
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from earthtone.atlas.embeddings import EmbeddingCard, embedding_schema, write_embeddings
from earthtone.atlas.index import build_index
from earthtone.atlas.search import open_index
from earthtone.models.storage import model_fingerprint, save_model
from earthtone.models.two_tower import TwoTower
from earthtone.train.recipe_file import load_recipe

CLICK_MS, SOUND_MS = 150.0, 700.0
PART = 100_000
SIDE = 0.02  # degrees


def make_index(folder: Path, rows: int, model: TwoTower | None, plane: bool = True) -> Path:
    """Write E of drawn vectors: half are tiles on a grid of degrees, half are sounds; return it."""
    width = 128 if model is None else model.config.dimensions
    print_ = "0" * 32 if model is None else model_fingerprint(model)
    card = EmbeddingCard(str(folder / "model"), print_, width, unit=True, data="made")
    draw = np.random.default_rng(0)
    across = int(np.sqrt(rows)) + 1
    for start in range(0, rows, PART):
        number = np.arange(start, min(rows, start + PART))
        kind = np.where(number % 2 == 0, "image", "audio")
        east, north = 5 + number % across * SIDE / 2, 40 + number // across * SIDE / 2
        vectors = draw.standard_normal((len(number), width))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tile = [one == "image" for one in kind]
        sides = {"west": east - SIDE / 2, "south": north - SIDE / 2, "east": east + SIDE / 2, "north": north + SIDE / 2}
        columns: dict[str, list[Any]] = {
            "id": [f"{n * 7919 % 10_000_019:08}" for n in number], "modality": kind.tolist(),
            "longitude": east.tolist(), "latitude": north.tolist(),
            "crs": ["EPSG:4326" if one else None for one in tile],
            "license": ["CC0-1.0"] * len(number),
            **{name: [float(v) if one else None for v, one in zip(values, tile, strict=True)]
               for name, values in sides.items()},
        }  # fmt: skip
        write_embeddings(
            folder / "E" / "embeddings.lance",
            embedding_schema(card, "float16"),
            columns,
            vectors.astype(np.float32),
            append=start > 0,
        )
    if plane:
        build_index(folder / "E")
    return folder / "E"


@contextlib.contextmanager
def served(index: Path, *more: str) -> Iterator[tuple[int, int]]:
    """Yield the port and the process of `earthtone serve` once its model is there."""
    command = [sys.executable, "-m", "earthtone", "serve", str(index), "--port", "0", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if "http://" in line)
            port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
            while asked(port, "GET", "/readyz")[0] != 200:
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.terminate()


def asked(
    port: int, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
) -> tuple[int, bytes]:
    """Return status and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if body is not None else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def posted(port: int, path: str, body: Any) -> Any:
    """Return the JSON that is answered to JSON."""
    status, data = asked(port, "POST", path, json.dumps(body).encode())
    assert status == 200, (status, data[:300])
    return json.loads(data)


def timed(times: int, run: Callable[[int], object]) -> np.ndarray:
    """Return the milliseconds of each call."""
    found = []
    for number in range(times):
        start = time.perf_counter()
        run(number)
        found.append(1000 * (time.perf_counter() - start))
    return np.array(found)


def a_sound(seed: int, seconds: float = 30.0, hz: int = 44_100) -> bytes:
    """Return a WAV file of coloured noise."""
    samples = np.cumsum(np.random.default_rng(seed).normal(0, 0.01, int(seconds * hz)))
    samples -= np.convolve(samples, np.ones(400) / 400, "same")
    out = io.BytesIO()
    soundfile.write(out, 0.5 * samples / np.abs(samples).max(), hz, format="WAV", subtype="PCM_16")
    return out.getvalue()


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def line(name: str, times: np.ndarray, plain: np.ndarray | None = None, goal: float | None = None) -> None:
    """Print one row of figures."""
    beside = "" if plain is None else f"   without a server {np.median(plain):7.0f} ms"
    wanted = "" if goal is None else f"   goal {goal:.0f} ms: {'met' if np.percentile(times, 95) < goal else 'MISSED'}"
    print(f"{name:<34} median {np.median(times):7.0f} ms   p95 {np.percentile(times, 95):7.0f} ms{beside}{wanted}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--clicks", type=int, default=100)
    parser.add_argument("--sounds", type=int, default=12)
    args = parser.parse_args()
    recipe = load_recipe("small")
    torch.manual_seed(0)
    model = TwoTower(recipe.model, recipe.signal).eval()
    draw = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_model(folder / "model", model, {})
        index = make_index(folder, args.rows, model)
        across = (int(np.sqrt(args.rows)) + 1) * SIDE / 2
        places = draw.uniform([5, 40], [5 + across, 40 + across], (args.clicks + 1, 2)).tolist()
        sounds = [a_sound(seed) for seed in range(args.sounds + 1)]
        plain = open_index(index, model=model)
        plain.search([tuple(places[0])], k=10, find="audio")
        own = timed(
            min(20, args.clicks), lambda n: plain.search(f"near:{places[n][0]},{places[n][1]}", k=10, find="audio")
        )
        files = [folder / f"{n}.wav" for n in range(3)]
        for file, sound in zip(files, sounds, strict=False):
            file.write_bytes(sound)
        heard = timed(2, lambda n: plain.search(files[n + 1], k=20))
        with served(index, "--model", str(folder / "model")) as (port, pid):

            def click(number: int) -> None:
                east, north = places[number]
                posted(port, "/api/click", {"longitude": east, "latitude": north, "k": 10})

            def search(number: int) -> None:
                status, data = asked(port, "POST", "/api/uploads", sounds[number], "audio/wav")
                assert status == 200, data
                posted(port, "/api/search", {"like": [{"upload": json.loads(data)["upload"]}], "k": 20})

            start = time.perf_counter()
            click(args.clicks)
            first = 1000 * (time.perf_counter() - start)
            search(args.sounds)
            print(f"index of {args.rows:,} rows, model small; the first click {first:.0f} ms")
            line("a click", timed(args.clicks, click), own, CLICK_MS)
            line("a sound of 30 s, sent and searched", timed(args.sounds, search), heard, SOUND_MS)
            line(
                "scores of all rows",
                timed(10, lambda n: asked(port, "POST", "/api/scores", b'{"like":[{"row":%d}]}' % n)),
            )
            print(f"memory of the server at most {peak_mb(pid):,.0f} MB")
        if args.points:
            many = make_index(folder / "many", args.points, None, plane=False)
            with served(many) as (port, pid):
                before = peak_mb(pid)
                times = timed(2, lambda _: asked(port, "GET", "/api/points"))
                size = len(asked(port, "GET", "/api/points")[1])
                print(
                    f"all points of {args.points:,} rows: {size / 2**20:.0f} MB, first {times[0]:.0f} ms, then "
                    f"{times[1]:.0f} ms; memory {before:,.0f} MB before, at most {peak_mb(pid):,.0f} MB"
                )
    print(f"this program itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
