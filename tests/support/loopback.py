"""A server on loopback that does what it is told, for once or for good, and what the tests of downloads share."""

import hashlib
import io
import socketserver
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from earthtone.build.web import RetryPolicy

#: Short enough for tests; long enough for a busy machine.
QUICK = RetryPolicy(retries=3, backoff_seconds=0.01, longest_wait_seconds=2.0, connect_seconds=5.0, read_seconds=5.0)


#: The fixture of that name: (name of a file, its content, more keys of its entry) -> path of a catalogue.
WriteCatalogue = Callable[..., Path]


@dataclass
class Request:
    """What was asked: the path and the headers in lower case."""

    path: str
    headers: dict[str, str]


Behaviour = Callable[["Handler", Request], None]


class Handler(socketserver.StreamRequestHandler):
    """One request a connection."""

    def handle(self) -> None:
        line = self.rfile.readline().decode("latin-1").split()
        headers = {}
        while (text := self.rfile.readline().decode("latin-1").strip()) != "":
            key, _, value = text.partition(":")
            headers[key.strip().lower()] = value.strip()
        if len(line) < 2:
            return
        request = Request(line[1], headers)
        stage: Stage = self.server.stage  # type: ignore[attr-defined]
        stage.seen.append(request)
        script = stage.script[request.path]
        behaviour = script.pop(0) if script else stage.always.get(request.path, honest())
        with suppress(OSError):  # the client may have gone
            behaviour(self, request)

    @property
    def stage(self) -> "Stage":
        found: Stage = self.server.stage  # type: ignore[attr-defined]
        return found

    def send(self, status: str, headers: dict[str, str], body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{key}: {value}" for key, value in headers.items()), "Connection: close"]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
        self.wfile.flush()


@dataclass
class Stage:
    """What the server has, what it does next for a path, what it does when that is used up, what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    script: dict[str, list[Behaviour]] = field(default_factory=lambda: defaultdict(list))
    always: dict[str, Behaviour] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def ranges(self) -> list[str | None]:
        return [request.headers.get("range") for request in self.seen]


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def _wanted(handler: Handler, request: Request) -> tuple[str, dict[str, str], bytes]:
    """The right answer to a request, with ranges and If-Range."""
    body = handler.stage.files.get(request.path)
    if body is None:
        return "404 Not Found", {"Content-Length": "0"}, b""
    headers = {"ETag": _etag(body), "Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    asked, same = request.headers.get("range"), request.headers.get("if-range", _etag(body)) == _etag(body)
    if asked and same:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            return "416 Range Not Satisfiable", {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, b""
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return "206 Partial Content", {**headers, "Content-Length": str(len(body) - start)}, body[start:]
    return "200 OK", {**headers, "Content-Length": str(len(body))}, body


def honest() -> Behaviour:
    return lambda handler, request: handler.send(*_wanted(handler, request))


def cut(count: int, **changed: str) -> Behaviour:
    """Honest headers, then `count` bytes, then nothing more."""

    def behave(handler: Handler, request: Request) -> None:
        status, headers, body = _wanted(handler, request)
        handler.send(status, {**headers, **changed}, body[:count])

    return behave


def altered(drop: tuple[str, ...] = (), **changed: str) -> Behaviour:
    """The right body under other headers (written Content_Length)."""

    def behave(handler: Handler, request: Request) -> None:
        status, headers, body = _wanted(handler, request)
        headers |= {key.replace("_", "-"): value for key, value in changed.items()}
        handler.send(status, {key: value for key, value in headers.items() if key not in drop}, body)

    return behave


def whole_with_200() -> Behaviour:
    """A server without ranges and without a version."""

    def behave(handler: Handler, request: Request) -> None:
        body = handler.stage.files[request.path]
        handler.send("200 OK", {"Content-Length": str(len(body))}, body)

    return behave


def says(status: str, body: bytes = b"", **headers: str) -> Behaviour:
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda handler, _: handler.send(status, {"Content-Length": str(len(body)), **names}, body)


def endless(chunked: bool) -> Behaviour:
    """Bytes without end."""

    def behave(handler: Handler, _: Request) -> None:
        handler.send("200 OK", {"Transfer-Encoding": "chunked"} if chunked else {})
        block = b"x" * 65536
        while True:
            handler.wfile.write(b"10000\r\n" + block + b"\r\n" if chunked else block)

    return behave


def stall(count: int, seconds: float) -> Behaviour:
    """`count` bytes, then silence."""

    def behave(handler: Handler, request: Request) -> None:
        status, headers, body = _wanted(handler, request)
        handler.send(status, headers, body[:count])
        time.sleep(seconds)

    return behave


def slow(block: int, pause: float) -> Behaviour:
    """The right bytes, a block at a time."""

    def behave(handler: Handler, request: Request) -> None:
        status, headers, body = _wanted(handler, request)
        handler.send(status, headers)
        for start in range(0, len(body), block):
            handler.wfile.write(body[start : start + block])
            handler.wfile.flush()
            time.sleep(pause)

    return behave


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    stage: Stage


@contextmanager
def serving() -> Iterator[Stage]:
    """A server on loopback, running."""
    with _Server(("127.0.0.1", 0), Handler) as server:
        server.stage = Stage(port=server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server.stage
        server.shutdown()


def noise(count: int, seed: int = 0) -> bytes:
    """Bytes that do not shrink."""
    return np.random.default_rng(seed).bytes(count)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def catalogue_entry(files: list[dict[str, object]], **more: object) -> dict[str, object]:
    """A whole entry around some files."""
    return {
        "title": "Tiny", "what": "nothing", "items": "few", "licence": None, "licence_note": None, "citation": "none",
        "homepage": "https://example.org", "next": "earthtone check {out}", "files": files, **more,
    }  # fmt: skip


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, but for the downloader's own, by hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".fetch" not in path.parts and path.name != "checksums.json"
    }
