"""An S3 server on loopback - moto's, a process of its own - and a relay before it that keeps a book of what is read."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

boto3 = pytest.importorskip("boto3")  # moto brings it, and the group `extras` moto

_PATIENCE = 60  # seconds; a busy machine starts slowly
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


def environment(port: int) -> dict[str, str]:
    """The variables by which a store at a port of this machine is found."""
    return {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def s3_server() -> Iterator[int]:
    """The port of an empty store."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _PATIENCE
        while not _listens(port):
            assert process.poll() is None, f"the S3 server ended with {process.returncode}"
            assert time.monotonic() < end, f"the S3 server did not start within {_PATIENCE} s"
            time.sleep(0.05)
        yield port
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def client(port: int) -> Any:
    """A client of another make than the one under test."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys)


def upload(port: int, folder: Path, bucket: str) -> str:
    """Copy a folder to a new bucket, and return its address there."""
    store = client(port)
    store.create_bucket(Bucket=bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            store.upload_file(str(path), bucket, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    return f"s3://{bucket}/{folder.name}"


class Read(NamedTuple):
    """One answered request: the object, and which of its bytes."""

    name: str
    start: int
    size: int


class Relay(ThreadingHTTPServer):
    """Hands every request on to the store at a port, and keeps a book of the bytes that come back."""

    daemon_threads = True

    def __init__(self, store: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relayed)
        self.store = store
        self.reads: list[Read] = []

    def of(self, ending: str) -> list[Read]:
        """What was read of the objects whose names end so."""
        return [read for read in self.reads if read.name.endswith(ending)]


class _Relayed(BaseHTTPRequestHandler):
    server: Relay
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        store = HTTPConnection("127.0.0.1", self.server.store, timeout=_PATIENCE)
        store.request(self.command, self.path, headers=dict(self.headers))
        answer = store.getresponse()
        body = answer.read()
        asked = re.match(r"bytes=(\d+)-", self.headers.get("range", ""))
        self.server.reads.append(Read(self.path.partition("?")[0], int(asked[1]) if asked else 0, len(body)))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        store.close()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def relay(store: int) -> Iterator[Relay]:
    """A relay to the store at a port, running."""
    with Relay(store) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
