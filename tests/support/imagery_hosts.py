"""A host on loopback that answers as it is told: tiles, a STAC API, files by ranges."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from earthtone.build.web import RetryPolicy

#: Short enough for tests.
QUICK = RetryPolicy(retries=3, backoff_seconds=0.01, longest_wait_seconds=3.0, connect_seconds=5.0, read_seconds=2.0)


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    values: Any = None


@dataclass
class Said:
    """An answer; `declared` is a length that may be wrong, `drip` seconds between bytes."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None
    drip: float = 0.0


Speaks = Callable[[Asked], Said]


@dataclass
class Host:
    """What it was asked, and how it answers."""

    speaks: Speaks
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: Host

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else b""
        split = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, split.path, split.query, headers, json.loads(body) if body else None)
        self.host.asked.append(asked)
        said = self.host.speaks(asked)
        with suppress(OSError):
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body) if said.declared is None else said.declared))
            self.send_header("Connection", "close")
            self.end_headers()
            if said.drip:
                for byte in said.body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    threading.Event().wait(said.drip)
            else:
                self.wfile.write(said.body)
        self.close_connection = True

    do_GET = do_POST = _answer  # noqa: N815


@contextmanager
def hosting(speaks: Speaks) -> Iterator[Host]:
    """Run a host."""
    host = Host(speaks)
    handler = type("Handler", (_Handler,), {"host": host})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        host.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield host
        server.shutdown()


def picture(colour: tuple[int, int, int] | np.ndarray, side: int = 256, kind: str = "PNG") -> bytes:
    """A picture file of one colour, or of pixels."""
    pixels = colour if isinstance(colour, np.ndarray) else np.full((side, side, 3), colour, np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def json_said(values: Any, status: int = 200) -> Said:
    return Said(json.dumps(values).encode(), status, {"Content-Type": "application/geo+json"})


def ranged(asked: Asked, data: bytes, etag: str = '"a"') -> Said:
    """Part of a file, or the whole."""
    wanted = asked.headers.get("range")
    if not wanted:
        return Said(data, 200, {"ETag": etag})
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last) + 1, len(data))
    if start >= len(data):
        return Said(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
    return Said(data[start:stop], 206, {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}", "ETag": etag})
