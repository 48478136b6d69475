"""Archives of recordings on loopback: routes that answer, and what they do first, once, in place of that."""

import hashlib
import io
import multiprocessing
import os
import re
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import numpy as np
import soundfile
from imagery_hosts import QUICK, Asked, Host, Said, hosting, json_said

from earthtone.build.sources.source import Page, Recording, RecordingSource, ask_json
from earthtone.build.web import Web

Route = Callable[[Asked], Said]


@dataclass
class Archive:
    """`routes` are patterns of whole paths, the first that fits answers; `first` are answers for a path, each once."""

    routes: dict[str, Route] = field(default_factory=dict)
    first: dict[str, list[Said]] = field(default_factory=lambda: defaultdict(list))
    always: dict[str, Said] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    host: Host | None = None

    @property
    def url(self) -> str:
        assert self.host is not None
        return self.host.url

    @property
    def asked(self) -> list[Asked]:
        assert self.host is not None
        return self.host.asked

    def paths(self) -> list[str]:
        return [unquote(one.path) for one in self.asked]

    def speak(self, asked: Asked) -> Said:
        path = unquote(asked.path)
        if self.first[path]:
            return self.first[path].pop(0)
        if path in self.always:
            return self.always[path]
        if path in self.files:
            return file_said(asked, self.files[path])
        for pattern, route in self.routes.items():
            if re.fullmatch(pattern, path):
                return route(asked)
        return Said(b"not here", 404)


@contextmanager
def archive() -> Iterator[Archive]:
    """An archive, running."""
    found = Archive()
    with hosting(found.speak) as host:
        found.host = host
        yield found


def web_for(folder: Path, per_second: float = 500.0) -> Web:
    """A client of little patience. Sources set their own pace: see `unhurried`."""
    return Web(folder / "web", per_second=per_second, policy=QUICK)


def unhurried(web: Web) -> Web:
    """Let sources set no pace."""
    web.pace = lambda *_: None  # type: ignore[method-assign]
    return web


def query(asked: Asked) -> dict[str, str]:
    """The query's values, the last of each name."""
    return {name: values[-1] for name, values in parse_qs(asked.query, keep_blank_values=True).items()}


def file_said(asked: Asked, data: bytes, kind: str = "audio/mpeg") -> Said:
    """A file, or the rest of it where that is asked for of this very file."""
    headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"', "Content-Type": kind, "Accept-Ranges": "bytes"}
    wanted = asked.headers.get("range")
    if not wanted or asked.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        return Said(data, 200, headers)
    start = int(wanted.removeprefix("bytes=").partition("-")[0])
    if start >= len(data):
        return Said(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
    return Said(data[start:], 206, {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"})


def sound(seed: int = 0, seconds: float = 0.5, form: str = "WAV") -> bytes:
    """A sound file of noise."""
    out = io.BytesIO()
    samples = np.random.default_rng(seed).uniform(-0.1, 0.1, int(8000 * seconds))
    soundfile.write(out, samples, 8000, format=form)
    return out.getvalue()


HTML = Said(b"<!DOCTYPE html><html><body>Please log in</body></html>", 200, {"Content-Type": "audio/mpeg"})


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Toy(RecordingSource):
    """A source whose archive tells recordings as they are: `/list?cursor=N` -> items, cursor, total."""

    name = "toy"
    per_second = 500.0
    terms = "a source for tests"

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        while True:
            said = ask_json(web, f"{self.endpoint}/list?cursor={cursor or 0}")
            rows = tuple(Recording(**{"source": "toy", "license": "CC0", **item}) for item in said["items"])
            cursor = said.get("cursor")
            yield Page(rows, cursor, said.get("total"))
            if cursor is None:
                return


def toy_items(archive: Archive, count: int, seconds: float = 0.1) -> list[dict[str, Any]]:
    """Recordings whose files the archive has."""
    items: list[dict[str, Any]] = []
    for number in range(count):
        data, path = sound(number, seconds), f"/files/{number}.wav"
        archive.files[path] = data
        items.append({
            "source_id": str(number), "media_url": f"{archive.url}{path}", "longitude": 10 + number / 100,
            "latitude": 50.0, "bytes": len(data), "hash": md5(data), "hash_kind": "md5", "suffix": ".wav",
        })  # fmt: skip
    return items


def toy_list(items: list[dict[str, Any]], size: int = 3) -> Route:
    """Pages of so many items."""

    def route(asked: Asked) -> Said:
        start = int(query(asked)["cursor"])
        page = {"items": items[start : start + size], "total": len(items)}
        following = {"cursor": str(start + size)} if start + size < len(items) else {}
        return json_said({**page, **following})

    return route


def killed_at(owner: object, name: str, count: int, before: bool, work: Callable[[], object]) -> None:
    """Do work in a process of its own that is killed (SIGKILL) before or after its so-manieth call of `owner.name`."""
    plain, calls = getattr(owner, name), 0

    def deadly(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = plain(*given, **named)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def run() -> None:
        setattr(owner, name, deadly)
        work()

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
