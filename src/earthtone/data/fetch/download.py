"""One file from one address: resumed by ranges, retried with patience, bounded, never longer or shorter than it is.

What has arrived lies in a `.part` file; beside it a note says from which address and version of the file it came. A
part is continued only when the server confirms that version (If-Range) and sends exactly the range that was asked
for; otherwise the download starts over. RFC 9110, sections 13 and 14.
"""

import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from earthtone.atomic import write_text_atomic
from earthtone.data.fetch.catalogue import RemoteFile
from earthtone.data.fetch.connection import Patience, TryAgainError, opened
from earthtone.data.fetch.disk import free_bytes, need_room, size_text
from earthtone.errors import DataError
from earthtone.progress import progress_bar

_LOG = logging.getLogger(__name__)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20}|\*)")
_LENGTH = re.compile(r"[0-9]{1,20}")
_LONGEST_BACKOFF_SECONDS = 60.0
_SAID_SECONDS = 2.0  # shorter waits pass without a word
_SLOWEST_BYTES = 1024  # less than this within the read timeout is a stall, however it is dripped
_ROOM_EVERY_BYTES = 64_000_000
_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head)\b", re.IGNORECASE)


@dataclass(frozen=True)
class _Version:
    """Where a part comes from: enough to ask the server for the rest of the same file."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None

    @property
    def validator(self) -> str | None:
        """What If-Range may carry: a strong ETag, or a date; nothing that cannot be sent back."""
        found = self.etag if self.etag and not self.etag.startswith("W/") else self.modified
        return found if found and found.isascii() else None


def download(client: httpx.Client, url: str, file: RemoteFile, part: Path, patience: Patience) -> bool:
    """Fill `part` with the file at `url` and return whether its bytes came in one go.

    The length is right when this returns; checksums are the caller's. Raises DataError; the part is kept where a
    repeated call can use it.
    """
    return _Download(client, url, file, part, patience).run()


def discard(part: Path) -> None:
    """Remove a part and its note."""
    for path in (part, _note_path(part)):
        path.unlink(missing_ok=True)


class _Download:
    def __init__(self, client: httpx.Client, url: str, file: RemoteFile, part: Path, patience: Patience) -> None:
        self._client, self._url, self._file, self._part, self._patience = client, url, file, part, patience
        self._version = _read_note(part)
        self._hashed = bool(file.sha256 or file.md5)
        self._one_go = True
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        if self._version is None or self._version.url != url:
            self._start_over()
        self._bar: Any = progress_bar(file.bytes, file.name, "B", done=self._have)

    @property
    def _have(self) -> int:
        return self._part.stat().st_size

    def run(self) -> bool:
        failures, farthest = 0, self._have
        try:
            while True:
                try:
                    self._attempt()
                    return self._one_go
                except TryAgainError as fault:
                    failures = 1 if self._have > farthest else failures + 1
                    farthest = max(farthest, self._have)
                    if failures > self._patience.retries:
                        raise self._gave_up(fault, failures) from fault
                    backoff = self._patience.backoff_seconds * 2 ** (failures - 1)
                    wait = max(fault.wait, min(backoff, _LONGEST_BACKOFF_SECONDS))
                    if wait >= _SAID_SECONDS:
                        _LOG.warning("%s: %s; trying again in %.0f s", self._file.name, fault, wait)
                    time.sleep(wait)
        except OSError as error:
            raise DataError(
                f"cannot write {self._part}: {error.strerror or error}; free the disk or choose another --out, and "
                "type the same again: it goes on from here"
            ) from error
        finally:
            self._bar.close()

    def _attempt(self) -> None:
        """Ask for what is missing and write it; return when the file is whole."""
        have, version = self._have, self._version
        if version and version.total is not None and have == version.total:
            return
        headers: dict[str, str] = {}
        if have and version and (version.validator or self._hashed):
            headers["Range"] = f"bytes={have}-"
            if version.validator:
                headers["If-Range"] = version.validator
        elif have:
            self._start_over()
        sha256_known = self._file.sha256 is not None
        with opened(self._client, self._url, headers, sha256_known=sha256_known, patience=self._patience) as response:
            _refuse_disguise(self._url, response)
            if response.status_code == 206 and headers and version:
                self._check_continues(response, have, version)
                self._one_go = False
            elif response.status_code == 200:
                version = self._begin(response)
            else:
                self._start_over()
                raise TryAgainError(f"the server answers {response.status_code} to a request for bytes {have}-")
            self._write_body(response, version.total)

    def _begin(self, response: httpx.Response) -> _Version:
        """Take a whole file: what was there of it is dropped, its version noted, its size held against the known."""
        self._start_over()
        length = response.headers.get("content-length")
        total = int(length) if length is not None and _LENGTH.fullmatch(length) else None
        known = self._file.bytes
        if known is not None and total is not None and total != known:
            raise DataError(
                f"{self._url} is {total} bytes long by its server, {known} were expected; "
                "it is another file, or another version of it"
            )
        chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
        if total is None and known is None and not chunked and not self._hashed:
            raise DataError(
                f"{self._url}: neither its server nor the catalogue tells its length or checksum, so that half of it "
                "could not be told from the whole; refused, give bytes or sha256 in a --catalogue of your own"
            )
        total = known if known is not None else total
        if total is not None:
            need_room(self._part.parent, total, self._file.name)
        etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
        self._version = version = _Version(self._url, etag, modified, total)
        write_text_atomic(_note_path(self._part), json.dumps(asdict(version)))
        bar = self._bar  # its own reset() would print a line at once, also where nobody watches
        bar.total, bar.n, bar.initial, bar.last_print_n = total, 0, 0, 0
        return version

    def _check_continues(self, response: httpx.Response, have: int, version: _Version) -> None:
        """Start over unless a 206 is the rest of the very file whose beginning is here."""
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        first, last, total = match.groups() if match else ("", "", "*")
        etag = response.headers.get("etag")
        length = response.headers.get("content-length", "")
        right = match is not None and int(first) == have and int(last) >= have
        right = right and (total == "*" or version.total in (None, int(total)))
        right = right and (etag is None or version.etag in (None, etag))
        right = right and (not _LENGTH.fullmatch(length) or int(length) == int(last) - int(first) + 1)
        if not right:
            self._start_over()
            raise TryAgainError(
                f"asked for bytes {have}- of {version.total}, the server sent "
                f"{response.headers.get('content-range', 'no Content-Range')!r} (etag {etag}); starting over"
            )

    def _write_body(self, response: httpx.Response, total: int | None) -> None:
        have = start = self._have
        ceiling = total if total is not None else have + free_bytes(self._part.parent)
        room_at = have + _ROOM_EVERY_BYTES
        stalled = stall_watch(self._patience.read_seconds)
        with self._part.open("ab") as out:
            for chunk in response.iter_raw():
                if have == 0:
                    _refuse_page(self._url, chunk, self._file.name)
                if have + len(chunk) > ceiling:
                    discard(self._part)
                    raise DataError(
                        f"{self._url} sends more than {size_text(ceiling)}, which is "
                        f"{'its size' if total is not None else 'the room on the disk'}; stopped and discarded"
                    )
                out.write(chunk)
                have += len(chunk)
                self._bar.update(len(chunk))
                stalled(len(chunk))
                if have > room_at:
                    need_room(self._part.parent, min(_ROOM_EVERY_BYTES, (total or have) - have), self._file.name)
                    room_at = have + _ROOM_EVERY_BYTES
        if total is not None and have < total:
            raise TryAgainError(f"the connection ended after {have - start} bytes, at {have} of {total}")

    def _start_over(self) -> None:
        with self._part.open("wb"):
            pass
        self._version = None
        _note_path(self._part).unlink(missing_ok=True)

    def _gave_up(self, fault: TryAgainError, failures: int) -> DataError:
        kept = f"{self._have} bytes are kept, " if self._have else ""
        return DataError(
            f"{self._url}: {fault}; tried {failures} times without a new byte; {kept}type the same again to go on"
        )


def _refuse_disguise(url: str, response: httpx.Response) -> None:
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise DataError(f"{url} comes as {encoding!r} though it was asked for as it is; refused, try another mirror")


def _refuse_page(url: str, beginning: bytes, name: str) -> None:
    if _PAGE.match(beginning[:512]) and not name.lower().endswith((".html", ".htm")):
        raise DataError(
            f"{url} sends a web page in place of {name}: it wants a login or a consent, or has moved; "
            "look at the set's homepage, or download it by hand and give its folder with --downloaded"
        )


def stall_watch(seconds: float) -> Callable[[int], None]:
    """Return a function that is told of arriving bytes and raises TryAgainError when they only drip."""
    since, arrived = time.monotonic(), 0

    def watch(count: int) -> None:
        nonlocal since, arrived
        arrived += count
        if time.monotonic() - since > seconds:
            if arrived < _SLOWEST_BYTES:
                raise TryAgainError(f"only {arrived} bytes came in {seconds:g} s")
            since, arrived = time.monotonic(), 0

    return watch


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> _Version | None:
    with suppress(OSError, ValueError, TypeError):
        return _Version(**json.loads(_note_path(part).read_text(encoding="utf-8")))
    return None
