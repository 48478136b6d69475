"""Real servers of the page on loopback, and a client that says exactly what it is told."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthtone.serve.options import ServeOptions
from earthtone.serve.server import PageServer


@dataclass
class Answer:
    """What a server answered."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of a refusal."""
        assert self.status >= 400, self
        assert self.headers["content-type"] == "application/json", self
        [(name, said)] = self.json.items()
        assert name == "error" and isinstance(said, str) and "\n" not in said and len(said) > 15
        return said


@contextmanager
def page_of(index: Path, **options: Any) -> Iterator[PageServer]:
    """Yield a server of an index that answers from a thread of this process."""
    server = PageServer(ServeOptions(index, port=0, device="cpu", **options)).start()
    try:
        yield server
    finally:
        server.stop()


def ask(
    page: PageServer | int, path: str, body: bytes | str | None = None, method: str | None = None, **headers: str
) -> Answer:
    """Return the answer of one request; in headers `_` stands for `-`."""
    port = page if isinstance(page, int) else page.port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, told)
        found = connection.getresponse()
        return Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
    finally:
        connection.close()


def said(page: PageServer, *parts: bytes, wait: float = 20.0) -> Answer:
    """Return what is answered to bytes as they are, until the connection ends."""
    with socket.create_connection(("127.0.0.1", page.port), timeout=wait) as connection:
        for part in parts:
            connection.sendall(part)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status.split()[1]) if status else 0, headers, body)
