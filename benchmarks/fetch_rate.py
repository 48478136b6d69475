"""What does care cost: `fetch` (two checksums of every byte, an atomic unpack) beside urlretrieve and extractall, from
a server on this machine? Over a network both wait for it."""

import tempfile
import threading
import time
import urllib.request
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import yaml

from earthtone.build.fetch import fetch

FILES = 2_000
BYTES = 100_000


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def write_catalogue(path: Path, url: str) -> Path:
    file = {"name": "a.zip", "urls": [url], "bytes": None, "part": "all", "unpack": "zip"}
    entry = {"title": "Noise", "what": "noise", "items": "many", "licence": None, "licence_note": None, "files": [file]}
    more = {"citation": "none", "homepage": "https://example.org", "next": "earthtone check {out}"}
    path.write_text(yaml.safe_dump({"noise": {**entry, **more}}))
    return path


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "served").mkdir()
        draw = np.random.default_rng(0)
        with zipfile.ZipFile(folder / "served" / "a.zip", "w") as archive:
            for number in range(FILES):
                archive.writestr(f"images/{number}.jpg", draw.bytes(BYTES))
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder / "served")))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.zip"
        catalogue = write_catalogue(folder / "catalogue.yaml", url)

        start = time.perf_counter()
        urllib.request.urlretrieve(url, folder / "plain.zip")
        zipfile.ZipFile(folder / "plain.zip").extractall(folder / "plain")
        plain = time.perf_counter() - start
        start = time.perf_counter()
        fetch("noise", folder / "out", catalogue=catalogue)
        ours = time.perf_counter() - start
        start = time.perf_counter()
        fetch("noise", folder / "out", catalogue=catalogue)
        again = time.perf_counter() - start
        server.shutdown()

        megabytes = FILES * BYTES / 1e6
        print(f"plain: {megabytes / plain:.0f} MB/s; fetch: {megabytes / ours:.0f} MB/s; time ratio {ours / plain:.2f}")
        print(f"recognising the finished set: {again:.3f} s, ratio to fetching it {again / ours:.3f}")
