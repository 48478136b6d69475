"""Does the page's server stand 50 people for 30 s, and how long does each wait? Of what they ask for, 70 % is value
tiles, pictures and sounds, 25 % clicks on the map, 5 % queries by a sound of 5 s that nobody sent before. Nobody
pauses: the waits are those of a server that is never idle, and of clients on the same cores; `--pause` says otherwise.

503 with Retry-After is an answer: the client comes back then. All else that is not 2xx is an error, and exit code 1.

    python benchmarks/serve_load.py                      # a toy world of 600 rows, untrained model of the recipe small
    python benchmarks/serve_load.py --url http://127.0.0.1:8765/
"""

import argparse
import asyncio
import io
import math
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import soundfile

from serve_world import make_world, served

SHARES = {"media": 0.70, "click": 0.25, "sound": 0.05}
COMES_BACK = 20  # times, before a client says that it was never served


@dataclass
class Place:
    """What the server says that there is to ask for."""

    base: str
    pictures: list[str]
    sounds: list[str]
    tiles: list[str]
    bounds: tuple[float, float, float, float]


@dataclass
class Told:
    """What the clients saw."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """From the first asking to the answer, waits after 503 with it."""
    come_back: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def to_text(self, took: float) -> str:
        """Return a line a kind of request."""
        lines = [f"{'':<8} {'requests':>9} {'a second':>9} {'median':>9} {'p95':>9} {'longest':>9}   told to come back"]
        for name in SHARES:
            times = 1000 * np.array(self.seconds[name] or [math.nan])
            lines.append(
                f"{name:<8} {len(self.seconds[name]):>9} {len(self.seconds[name]) / took:>9.1f} "
                f"{np.median(times):>6.0f} ms {np.percentile(times, 95):>6.0f} ms {times.max():>6.0f} ms"
                f"   {self.come_back[name]}"
            )
        lines.append(f"errors: {len(self.errors)}")
        return "\n".join([*lines, *(f"  {text}" for text in self.errors[:10])])


async def look(client: httpx2.AsyncClient) -> Place:
    """Return what there is: a hundred rows, the tiles of each layer's own levels."""
    about = (await client.get("api/about")).raise_for_status().json()
    draw = np.random.default_rng(0)
    rows = [int(row) for row in draw.permutation(about["rows"])[:100]]
    items = [(await client.get(f"api/items/{row}")).raise_for_status().json() for row in rows]
    tiles = [
        f"api/layers/{layer['name']}/{z}/{x}/{y}.png?band={layer['bands'][0]['name']}"
        for layer in about["layers"]
        for z, x, y in tiles_over(layer["bounds"], layer["minzoom"], layer["maxzoom"])
    ]
    sounds = [item["sound"] for item in items if item["sound"]]
    return Place(
        str(client.base_url),
        [f"api/items/{item['row']}/picture?size=256" for item in items if item["picture"]],
        [address for sound in sounds for address in (sound["url"], sound["peaks"], sound["spectrogram"])],
        tiles,
        tuple(about["bounds"] or (-180.0, -85.0, 180.0, 85.0)),
    )


def tiles_over(bounds: list[float], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield tiles of the web's grid (z, x, y) that touch a box of degrees, at most 16 a level."""
    west, south, east, north = bounds
    for z in range(first, last + 1):
        side = 2**z
        columns = [min(side - 1, int((lon + 180) / 360 * side)) for lon in (west, east)]
        heights = [math.asinh(math.tan(math.radians(max(-85.0, min(85.0, lat))))) for lat in (north, south)]
        lines = [min(side - 1, int((1 - height / math.pi) / 2 * side)) for height in heights]
        found = [(z, x, y) for x in range(columns[0], columns[1] + 1) for y in range(lines[0], lines[1] + 1)]
        yield from found[:16]


async def person(number: int, client: httpx2.AsyncClient, place: Place, told: Told, until: float, pause: float) -> None:
    """Ask without end, as the shares say."""
    draw = np.random.default_rng([1, number])
    media = [each for each in (place.pictures, place.sounds, place.tiles) if each]
    while time.monotonic() < until:
        kind = str(draw.choice(list(SHARES), p=list(SHARES.values())))
        start = time.monotonic()
        try:
            if kind == "media":
                group = media[int(draw.integers(len(media)))]
                address = group[int(draw.integers(len(group)))]
                headers = {"Range": "bytes=0-65535"} if address.endswith("/sound") else {}
                await answered(client, told, kind, "GET", address, headers=headers)
            elif kind == "click":
                west, south, east, north = place.bounds
                where = {"longitude": float(draw.uniform(west, east)), "latitude": float(draw.uniform(south, north))}
                await answered(client, told, kind, "POST", "api/click", json={**where, "k": 10})
            else:
                headers = {"Content-Type": "audio/wav", "X-Name": f"{number}.wav"}
                sent = await answered(client, told, kind, "POST", "api/uploads", content=a_sound(draw), headers=headers)
                query = {"like": [{"upload": sent.json()["upload"]}], "k": 20}
                await answered(client, told, kind, "POST", "api/search", json=query)
            told.seconds[kind].append(time.monotonic() - start)
        except (httpx2.HTTPError, AssertionError, KeyError, ValueError) as error:
            told.errors.append(f"{kind}: {type(error).__name__}: {error}")
        if pause:
            await asyncio.sleep(float(draw.exponential(pause)))


async def answered(
    client: httpx2.AsyncClient, told: Told, kind: str, method: str, address: str, **request: Any
) -> httpx2.Response:
    """Return the answer, after coming back where the server says so."""
    for _ in range(COMES_BACK):
        answer = await client.request(method, address, **request)
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            break
        told.come_back[kind] += 1
        await asyncio.sleep(float(answer.headers["retry-after"]))
    assert answer.is_success, f"{answer.status_code} {method} {address}: {answer.text[:200]}"
    return answer


def a_sound(draw: np.random.Generator, seconds: float = 5.0, hz: int = 16_000) -> bytes:
    """Return a WAV file of coloured noise that no other call returns."""
    samples = np.cumsum(draw.normal(0, 0.01, int(seconds * hz)))
    out = io.BytesIO()
    soundfile.write(out, 0.5 * samples / np.abs(samples).max(), hz, format="WAV", subtype="PCM_16")
    return out.getvalue()


async def load(url: str, clients: int, seconds: float, pause: float) -> tuple[Told, float]:
    """Return what so many clients saw, and how long it took."""
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60.0) as client:
        place = await look(client)
        told, start = Told(), time.monotonic()
        people = (person(number, client, place, told, start + seconds, pause) for number in range(clients))
        await asyncio.gather(*people)
        return told, time.monotonic() - start


def report(url: str, said: argparse.Namespace) -> int:
    told, took = asyncio.run(load(url, said.clients, said.seconds, said.pause))
    print(f"{said.clients} clients for {said.seconds:g} s, pause {said.pause:g} s, {os.cpu_count()} cores for all")
    print(told.to_text(took))
    return int(bool(told.errors) or not told.seconds["click"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a server that runs; default: one of a toy world")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--pause", type=float, default=0.0, help="mean seconds between an answer and the next request")
    parser.add_argument("--rows", type=int, default=600, help="places of the toy world")
    said = parser.parse_args()
    if said.url:
        sys.exit(report(said.url, said))
    with tempfile.TemporaryDirectory() as name:
        world = make_world(Path(name), rows=said.rows, tiles=12, tiny=False)
        with served(world.index, "--model", world.model, "--map", world.map) as address:
            sys.exit(report(address, said))
