"""Data sets read from a hub on the loopback: the part of its interface that the hub's own client uses."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from earthtone.cli import main
from earthtone.data import remote as hub_module
from earthtone.data.packed import Table
from earthtone.data.pair import Pair
from earthtone.data.remote import BlockFile, HubFolder
from earthtone.data.source import items_skipping, open_source
from earthtone.errors import ConfigError, DataError
from earthtone.models.encoders import make_encoder

ADDRESS = "hf://datasets/MVRL/SoundingEarth"
TINY = [
    "--signal.audio.sample_rate_hz=16000", "--signal.audio.window_seconds=0.8", "--signal.audio.mels=32",
    "--signal.audio.hop_seconds=0.02", "--signal.image.pixels=32", "--signal.image.stored_pixels=40",
]  # fmt: skip


class Hub(ThreadingHTTPServer):
    """One public data set under two revisions, one gated; faults on request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.secrets: list[str] = []  # headers in which a token could be
        self.drop = self.cut = 0  # answers that end in the middle; that are whole but too short
        self.hang_tree = self.gated = self.no_ranges = False
        self.gone: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{path} {self.headers.get('range', '')}".strip())
        self.server.secrets += [str(value) for value in self.headers.values() if "secret" in value]
        api = re.fullmatch(
            r"/api/datasets/MVRL/SoundingEarth(/revision/(?P<info>.+)|/tree/(?P<tree>[^/]+)(?P<below>/.*)?)?", path
        )
        file = re.fullmatch(r"/datasets/MVRL/SoundingEarth/resolve/(main|v1)/(?P<name>.+)", path)
        if self.server.hang_tree and "/tree/" in path:
            time.sleep(5)
        elif file:
            self._file(file["name"])
        elif not api:
            self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        elif (api["info"] or api["tree"] or "main") not in ("main", "v1"):
            self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif api["tree"]:
            self._json(self._tree((api["below"] or "").strip("/")))
        else:
            self._json({"id": "MVRL/SoundingEarth", "sha": "0" * 40, "private": False, "tags": [], "siblings": []})

    def _tree(self, below: str) -> list[dict[str, Any]]:
        folder = self.server.folder
        return [
            {
                "type": "directory" if path.is_dir() else "file", "oid": "0" * 40,
                "size": path.stat().st_size, "path": path.relative_to(folder).as_posix(),
            }
            for path in sorted((folder / below).rglob("*"))
        ]  # fmt: skip

    def _file(self, name: str) -> None:
        if self.server.gated:
            self._json({"error": "Access restricted"}, 403, {"X-Error-Code": "GatedRepo"})
        elif name in self.server.gone:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            data = (self.server.folder / name).read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
            ranged = asked is not None and not self.server.no_ranges
            self._send(data[int(asked[1]) : int(asked[2]) + 1] if asked and ranged else data, 206 if ranged else 200)

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, body: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        if status == 206 and self.server.cut:
            self.server.cut -= 1
            body = body[:-1]
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status == 206 and self.server.drop:
            self.server.drop -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(soundingearth: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(soundingearth)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def same_pairs(address: str, folder: Path) -> None:
    def facts(pair: object) -> tuple[Pair, list[str]]:
        assert isinstance(pair, Pair)
        return replace(pair, remarks=()), [kind for kind, _ in pair.remarks]  # their details name the file

    assert [facts(item) for item in open_source(address)] == [facts(item) for item in open_source(folder)]


@pytest.mark.parametrize("address", [ADDRESS, f"{ADDRESS}/", f"{ADDRESS}@v1", f"{ADDRESS}@main/data"])
def test_the_same_pairs_as_from_a_folder(hub: Hub, soundingearth: Path, address: str) -> None:
    same_pairs(address, soundingearth)
    source = open_source(address)
    assert str(source.path) == address and source.name and not source.ready_spectrograms


@pytest.mark.slow
def test_what_is_not_wanted_is_not_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "BLOCK_BYTES", 8192)
    source = open_source(ADDRESS)

    def fetched(skip_all: bool) -> int:
        hub.requests.clear()
        assert len(list(items_skipping(source, lambda number, name: skip_all))) == 18
        ranges = [re.fullmatch(r".* bytes=(\d+)-(\d+)", request) for request in hub.requests]
        return sum(int(found[2]) + 1 - int(found[1]) for found in ranges if found)

    assert fetched(True) < fetched(False) / 2


@pytest.mark.slow
def test_a_dropped_connection_is_taken_up_again(hub: Hub, soundingearth: Path) -> None:
    hub.drop = 1
    same_pairs(ADDRESS, soundingearth)
    assert hub.drop == 0


@pytest.mark.slow
def test_packing_goes_on_after_a_file_was_gone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third file disappears while the second is read: one line, and the next call packs the rest alone."""
    table = tmp_path / "t.lance"
    words = ["pack", ADDRESS, "--out", str(table), "--recipe", "small", "--threads", "1", *TINY]
    monkeypatch.setattr("earthtone.data.pack.COMMIT_ROWS", 1)
    monkeypatch.setattr(hub_module, "BLOCK_BYTES", 4096)
    opened = HubFolder.open

    def vanishing(self: HubFolder, name: str) -> Any:
        names.append(name)
        if len(names) == 6:  # the four footers, the first file, now the second one
            hub.gone.add("data/train-00001-of-00002.parquet")
        return opened(self, name)

    names: list[str] = []
    monkeypatch.setattr(HubFolder, "open", vanishing)
    assert main(words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("earthtone: ")]
    assert len(error) == 1 and "data/train-00001-of-00002.parquet: cannot be read (404" in error[0]
    monkeypatch.undo()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    hub.gone.clear()
    assert main(words) == 0
    shown = capsys.readouterr().out
    there = int(re.search(r"(\d+) were there", shown)[1])  # type: ignore[index]
    assert there > 0 and f"{18 - there} pairs added" in shown and len(Table(table)) == 18


@pytest.mark.slow
def test_check_and_pretrain(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", ADDRESS]) == 0
    assert f"{ADDRESS}: 18 of 18 rows usable" in capsys.readouterr().out
    words = ["--model.image_encoder=test_resnet", "--model.audio_encoder=test_resnet", "--train.batch_size=8"]
    words += ["--train.epochs=1", "--train.device=cpu", "--recipe", "small", "--out", str(tmp_path / "run"), *TINY]
    assert main(["pretrain", ADDRESS, *words]) == 0
    assert (tmp_path / "run" / "table.lance.source").read_text() == f"{ADDRESS}\n"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hf://datasets/MVRL/SoundingMars", "no such data set or revision on the hub, or it is private"),
        (f"{ADDRESS}@v9", "no such data set or revision on the hub"),
        (f"{ADDRESS}/nowhere", "holds no Parquet files"),
        ("hf://MVRL/SoundingEarth", "no data set's address; hf://datasets/OWNER/NAME was expected"),
        ("hf://datasets/SoundingEarth", "no data set's address"),
        ("hf://datasets/../SoundingEarth/../../api", "no data set's address"),
        ("https://huggingface.co/datasets/MVRL/SoundingEarth", "only hf://datasets/OWNER/NAME is read"),
        ("s3://bucket/SoundingEarth", "of object stores packed tables alone are read"),
    ],
)
def test_wrong_addresses(hub: Hub, tmp_path: Path, address: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", address], ["pack", address, "--out", str(tmp_path / "t.lance"), "--recipe", "small"]):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1
    assert not list(tmp_path.glob("*.lance"))


def test_faults_of_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated = True
    with pytest.raises(DataError, match=r"data/\S+.parquet: the hub refuses it \(403\).* hf auth login"):
        open_source(ADDRESS)
    hub.gated, hub.cut = False, 1
    with pytest.raises(DataError, match=r"\d+ bytes came where \d+ were asked for"):
        open_source(ADDRESS)
    hub.cut, hub.no_ranges = 0, True
    monkeypatch.setattr(hub_module, "BLOCK_BYTES", 1024)
    with pytest.raises(DataError, match="bytes came where 1024 were asked for"):
        open_source(ADDRESS)
    hub.no_ranges, hub.hang_tree = False, True
    monkeypatch.setattr(hub_module, "LISTING_SECONDS", 0.3)
    with pytest.raises(DataError, match=r"no answer within 0.3 s; check the network"):
        open_source(ADDRESS)


@pytest.mark.slow
def test_no_network_is_one_line_at_once(soundingearth: Path, tmp_path: Path) -> None:
    """A process of its own, with a hub at a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "earthtone", "check", ADDRESS],
        env=os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2 and ended.stdout == ""
    assert re.fullmatch(rf"earthtone: {ADDRESS}: cannot be read \(.*\); check the network, .*\n", ended.stderr)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
def test_blocks_are_the_file(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "BLOCK_BYTES", block)
    data = np.random.default_rng(0).bytes(1000)
    file = BlockFile("x", len(data), lambda start, size: data[start : start + size])
    draw = np.random.default_rng(1)
    for _ in range(50):
        start, size = int(draw.integers(0, 1100)), int(draw.integers(0, 300))
        assert file.seek(start) == start
        assert file.read(size) == data[start : start + size] and file.tell() == max(start, min(1000, start + size))
    assert file.seek(-5, 2) == 995 and file.read() == data[-5:]


@pytest.mark.slow
def test_retries_of_the_client_are_not_told(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    hub.drop = 1
    with caplog.at_level(logging.WARNING):
        open_source(ADDRESS)
    assert not caplog.records


def test_a_token_is_not_sent_over_plain_http(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from huggingface_hub import constants

    from earthtone.data.remote import refuse_token_over_http

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    refuse_token_over_http()  # there is none
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    folder = HubFolder(ADDRESS)
    with folder.open(next(name for name in folder.names if name.endswith(".parquet"))) as file:
        assert file.read(4) == b"PAR1"
    assert "the token is not sent" in caplog.text and "hf_secret" not in caplog.text
    assert hub.requests and hub.secrets == []
    with pytest.raises(ConfigError, match="never sent over plain http"):
        refuse_token_over_http()
    for name in ("hf-hub:somebody/model", "resnet18"):
        with pytest.raises(ConfigError, match="never sent over plain http"):
            make_encoder(name, (3, 64, 64), pretrained=True)
    assert hub.secrets == []
    monkeypatch.setenv("HF_ENDPOINT", "https://example.org")
    refuse_token_over_http()
