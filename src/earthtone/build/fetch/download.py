"""Files from hosts: listings, one request for one file, resumed by ranges, checked, never half of one.

By hand: pooch cannot resume; huggingface_hub checks no hash, and asks for the rest of a file that may have changed.
"""

import fnmatch
import json
import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from earthtone.build.fetch.catalogue import (
    HuggingFace,
    PublicSet,
    RemoteFile,
    Zenodo,
    allowed_url,
    safe_relative,
)
from earthtone.build.web import (
    TRANSIENT_STATUSES,
    HostError,
    QuotaReachedError,
    RetryPolicy,
    TransientError,
    Web,
    make_client,
    retry_after,
    shown_url,
    stall_watch,
    without_secrets,
)
from earthtone.data.remote import hub_endpoint
from earthtone.errors import DataError
from earthtone.files import write_text_atomic
from earthtone.progress import progress_bar, size_text


class NoRoomError(DataError):
    """A disk that is full, or a folder that cannot be written: nothing else can be fetched there either."""


class RefusedFileError(DataError):
    """A file that will not come, however often it is asked for; `kind` says why in a word or two."""

    def __init__(self, what: str, kind: str) -> None:
        super().__init__(what)
        self.kind = kind


#: Never filled: other programs need some room.
RESERVE_BYTES = 128_000_000


def free_bytes(folder: Path) -> int:
    """Return the bytes that may be written below `folder` (which need not exist yet); never negative."""
    while not folder.exists():
        folder = folder.parent
    return max(0, shutil.disk_usage(folder).free - RESERVE_BYTES)


def require_free_space(folder: Path, needed: int, what: str) -> None:
    """Raise NoRoomError unless `needed` bytes fit on the disk of `folder`."""
    free = free_bytes(folder)
    if needed > free:
        raise NoRoomError(
            f"{what} needs {size_text(needed)}, and {folder} has room for {size_text(free)}; "
            "free the disk, choose another --out, or take less with --subset"
        )


_REDIRECTS = 10


@contextmanager
def _open_url(
    client: httpx2.Client | Web, url: str, headers: Mapping[str, str], *, sha256_known: bool, policy: RetryPolicy
) -> Iterator[httpx2.Response]:
    """Yield the response at the end of the redirects, its body unread; the status is 200, 206 or 416.

    Redirects never lead from https to http. Raises TransientError for what may pass, DataError for what will not.
    """
    if isinstance(client, Web):
        with client.stream(url, headers) as response:
            _check_status(shown_url(url), response, policy)
            yield response
        return
    asked = url
    for _ in range(_REDIRECTS + 1):
        try:
            with client.stream("GET", asked, headers=dict(headers)) as response:
                if response.is_redirect:
                    asked = _next_url(url, asked, response, sha256_known)
                    continue
                _check_status(url, response, policy)
                yield response
                return
        except (httpx2.InvalidURL, UnicodeError) as error:  # the latter for hosts that are no names
            raise DataError(f"{url} leads to an address that is none: {error}") from error
        except httpx2.HTTPError as error:
            raise TransientError(str(error) or type(error).__name__) from error
    raise DataError(f"{url} leads from one address to the next, more than {_REDIRECTS} times; try another mirror")


def _next_url(url: str, asked: str, response: httpx2.Response, sha256_known: bool) -> str:
    location = response.headers.get("location", "")
    try:
        target = urljoin(asked, location)
    except ValueError as error:
        raise DataError(f"{url} leads to {shown_url(location)}, an address that is none; try another mirror") from error
    downgrade = asked.startswith("https:") and not target.startswith("https:")
    if downgrade or not allowed_url(target, sha256_known):
        fault = "has a name or a password in it" if "@" in urlsplit(target).netloc else "is not https://"
        raise DataError(f"{url} leads to {shown_url(target)}, which {fault}; refused, try another mirror")
    return str(target)


def _check_status(url: str, response: httpx2.Response, policy: RetryPolicy) -> None:
    status = response.status_code
    if status in (200, 206, 416):
        return
    if status in TRANSIENT_STATUSES:
        wait = retry_after(response.headers.get("retry-after"))
        if wait > policy.longest_wait_seconds:
            raise QuotaReachedError(f"{url} is busy (status {status}) and asks to wait {wait:.0f} s", wait)
        raise TransientError(f"the server answers {status}", wait)
    if status in (401, 403):
        told = f"{url} is refused (status {status}): it needs a login or a consent, or has moved"
        raise RefusedFileError(told, "refused")
    raise RefusedFileError(f"{url} answers {status}; the file has moved or gone, look at the set's homepage", "gone")


# One file from one address: resumed by ranges, retried, bounded, never longer or shorter than it is. What has arrived
# lies in a `.part` file; beside it a note says from which address and version of the file it came. A part is continued
# only when the server confirms that version (If-Range) and sends exactly the range that was asked for; otherwise the
# download starts over. RFC 9110, sections 13 and 14.

_LOG = logging.getLogger(__name__)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20}|\*)")
_LENGTH = re.compile(r"[0-9]{1,20}")
_STEPS = 200  # of a file: what comes between two faults must be one, or it does not get on
_LOGGED_SECONDS = 2.0  # shorter waits pass without a word
_ROOM_EVERY_BYTES = 64_000_000
#: Kinds of a RefusedFileError: where a web page came in place of the file, where its length is not the one known.
PAGE, OTHER_SIZE = "a web page in its place", "another size than told"
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


def download(
    client: httpx2.Client | Web,
    url: str,
    file: RemoteFile,
    part: Path,
    policy: RetryPolicy,
    most_bytes: int | None = None,
    *,
    bar: bool = True,
) -> bool:
    """Fill `part` with the file at `url` and return whether its bytes came in one go.

    The length is right when this returns, and at most `most_bytes`; checksums are the caller's. A `Web` asks at each
    host's pace, and lets nothing public lead into this network. Raises RefusedFileError for what will not come,
    NoRoomError, QuotaReachedError, HostError; the part is kept where a repeated call can use it.
    """
    return _Download(client, url, file, part, policy, most_bytes, bar).run()


def discard(part: Path) -> None:
    """Remove a part and its note."""
    for path in (part, _note_path(part)):
        path.unlink(missing_ok=True)


class _Download:
    def __init__(
        self,
        client: httpx2.Client | Web,
        url: str,
        file: RemoteFile,
        part: Path,
        policy: RetryPolicy,
        most_bytes: int | None,
        bar: bool,
    ) -> None:
        self._client, self._url, self._file, self._part, self._policy = client, url, file, part, policy
        self._most_bytes = most_bytes
        self._version: _Version | None = None
        with suppress(OSError, ValueError, TypeError):
            self._version = _Version(**json.loads(_note_path(part).read_text(encoding="utf-8")))
        self._hashed = bool(file.sha256 or file.md5)
        self._one_go = True
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        if self._version is None or self._version.url != _noted(url):
            self._start_over()
        self._bar: Any = progress_bar(file.bytes, file.name, "B", done=self._have) if bar else None

    @property
    def _address(self) -> str:
        """For messages: what comes by a `Web` may have a key in it."""
        return shown_url(self._url) if isinstance(self._client, Web) else self._url

    @property
    def _whole(self) -> int | None:
        """How long the file is, where that is known."""
        return self._file.bytes if self._version is None or self._version.total is None else self._version.total

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
                except TransientError as fault:
                    step = (self._whole or 0) // _STEPS
                    if self._have > farthest + step:  # with less a host could drip for years
                        failures, farthest = 0, self._have
                    failures += 1
                    if failures > self._policy.retries:
                        kept = f"{self._have} bytes are kept, " if self._have else ""
                        raise HostError(
                            f"{self._address}: {fault}; tried {failures} times without getting on; {kept}type the same "
                            "again to go on"
                        ) from fault
                    wait = self._policy.wait_after(failures, fault.wait)
                    if wait >= _LOGGED_SECONDS:
                        _LOG.warning("%s: %s; trying again in %.0f s", self._file.name, fault, wait)
                    time.sleep(wait)
        except OSError as error:
            raise NoRoomError(
                f"cannot write {self._part}: {error.strerror or error}; free the disk or choose another --out, and "
                "type the same again: it goes on from here"
            ) from error
        finally:
            if self._bar is not None:
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
        with _open_url(self._client, self._url, headers, sha256_known=sha256_known, policy=self._policy) as response:
            encoding = response.headers.get("content-encoding", "identity").lower()
            if encoding not in ("", "identity"):
                raise RefusedFileError(
                    f"{self._address} comes as {encoding!r} though asked for as it is; refused, try another mirror",
                    "compressed by its host",
                )
            if response.status_code == 206 and headers and version:
                self._check_continues(response, have, version)
                self._one_go = False
            elif response.status_code == 200:
                version = self._begin(response)
            else:
                self._start_over()
                raise TransientError(f"the server answers {response.status_code} to a request for bytes {have}-")
            self._write_body(response, version.total)

    def _begin(self, response: httpx2.Response) -> _Version:
        """Begin a whole file: drop what was there of it, note its version, compare its size with the known one."""
        self._start_over()
        length = response.headers.get("content-length")
        total = int(length) if length is not None and _LENGTH.fullmatch(length) else None
        known = self._file.bytes
        if known is not None and total is not None and total != known:
            page = response.headers.get("content-type", "").lower().startswith("text/html")
            raise RefusedFileError(
                f"{self._address} is {total} bytes long by its server, {known} were expected; "
                "it is another file, or another version of it",
                PAGE if page else OTHER_SIZE,
            )
        chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
        if total is None and known is None and not chunked and not self._hashed:
            raise RefusedFileError(
                f"{self._address}: neither its server nor the catalogue tells its length or checksum, so that half of "
                "it could not be told from the whole; refused, give bytes or sha256 in a --catalogue of your own",
                "no length told",
            )
        total = known if known is not None else total
        if total is not None and self._most_bytes is not None and total > self._most_bytes:
            raise RefusedFileError(
                f"{self._address} is {size_text(total)} long; {size_text(self._most_bytes)} at most expected",
                "too large",
            )
        if total is not None:
            require_free_space(self._part.parent, total, self._file.name)
        etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
        self._version = version = _Version(self._url, etag, modified, total)
        kept = replace(version, url=_noted(self._url))
        write_text_atomic(_note_path(self._part), json.dumps(asdict(kept)))
        bar = self._bar  # its own reset() would print a line at once, also where nobody watches
        if bar is not None:
            bar.total, bar.n, bar.initial, bar.last_print_n = total, 0, 0, 0
        return version

    def _check_continues(self, response: httpx2.Response, have: int, version: _Version) -> None:
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
            raise TransientError(
                f"asked for bytes {have}- of {version.total}, the server sent "
                f"{response.headers.get('content-range', 'no Content-Range')!r} (etag {etag}); starting over"
            )

    def _write_body(self, response: httpx2.Response, total: int | None) -> None:
        have = start = self._have
        name = self._file.name
        sizes = [size for size in (total, self._most_bytes) if size is not None]
        ceiling = min(sizes, default=have + free_bytes(self._part.parent))
        why = "its size" if sizes else "the room on the disk"
        room_at = have + _ROOM_EVERY_BYTES
        stalled = stall_watch(self._policy.read_seconds)
        with self._part.open("ab") as out:
            for chunk in response.iter_raw():
                if have == 0 and _PAGE.match(chunk[:512]) and not name.lower().endswith((".html", ".htm")):
                    raise RefusedFileError(
                        f"{self._address} sends a web page in place of {name}: it wants a login or a consent, or has "
                        "moved; look at the set's homepage, or download it by hand and give its folder with "
                        "--downloaded",
                        PAGE,
                    )
                if have + len(chunk) > ceiling:
                    discard(self._part)
                    told = (
                        f"{self._address} sends more than {size_text(ceiling)}, which is {why}; stopped and discarded"
                    )
                    raise RefusedFileError(told, "too large") if sizes else NoRoomError(told)
                out.write(chunk)
                have += len(chunk)
                if self._bar is not None:
                    self._bar.update(len(chunk))
                stalled(len(chunk))
                if have > room_at:
                    require_free_space(
                        self._part.parent, min(_ROOM_EVERY_BYTES, (total or have) - have), self._file.name
                    )
                    room_at = have + _ROOM_EVERY_BYTES
        if total is not None and have < total:
            raise TransientError(f"the connection ended after {have - start} bytes, at {have} of {total}")

    def _start_over(self) -> None:
        self._part.write_bytes(b"")
        self._version = None
        _note_path(self._part).unlink(missing_ok=True)


def _noted(url: str) -> str:
    """Return an address for what is kept beside a part: values of its query may be keys."""
    return without_secrets(url)


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


# Lists of files that a host tells: Zenodo's records and Hugging Face's repositories.

_LONGEST_LIST = 20_000_000
_SPLIT = re.compile(r"(?:^|/)(train|validation|val|test)\b", re.IGNORECASE)


def listed_files(entry: PublicSet, saved: Path, policy: RetryPolicy) -> tuple[RemoteFile, ...]:
    """Return the files of a set; a host is asked once, then its answer in `saved` counts. Raises DataError.

    A saved list keeps a folder at one version of the data, and lets a finished set be recognised without network.
    """
    if entry.files:
        return entry.files
    if saved.exists():
        try:
            rows = json.loads(saved.read_text(encoding="utf-8"))
            return tuple(RemoteFile(**{**row, "urls": tuple(row["urls"])}) for row in rows)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{saved} cannot be read ({error}); delete it to ask the host again") from error
    files: tuple[RemoteFile, ...] = ()
    if entry.zenodo:
        files = _zenodo(entry, entry.zenodo, saved.with_suffix(".part"), policy)
    elif entry.huggingface:
        files = _hugging_face(entry.huggingface)
    if not files:
        raise DataError(f"{entry.homepage} lists no files for {entry.name}; look there whether they have moved")
    for file in files:
        safe_relative(file.name, f"the list of {entry.name}")
        for url in file.urls:
            if not allowed_url(url, file.sha256 is not None):
                raise DataError(f"the list of {entry.name} names {shown_url(url)}, which is not https://; refused")
    write_text_atomic(saved, json.dumps([asdict(file) for file in files], indent=1))
    return files


def _zenodo(entry: PublicSet, source: Zenodo, part: Path, policy: RetryPolicy) -> tuple[RemoteFile, ...]:
    """Ask Zenodo for a record: https://developers.zenodo.org/#records."""
    url = f"{source.endpoint}/api/records/{source.record}"
    discard(part)
    try:
        with make_client(policy) as client:
            download(client, url, RemoteFile(f"list of {entry.name}", (url,), None, ""), part, policy, _LONGEST_LIST)
        rows = json.loads(part.read_bytes())["files"]
        return tuple(_zenodo_file(entry, row) for row in rows)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{url} does not answer with a record ({error}); look at {entry.homepage}") from error
    finally:
        discard(part)


def _zenodo_file(entry: PublicSet, row: dict[str, Any]) -> RemoteFile:
    name = str(row["key"])
    algorithm, _, digest = str(row.get("checksum", "")).partition(":")
    matching = [key for key, part in entry.parts.items() if any(fnmatch.fnmatch(name, one) for one in part.files)]
    part = matching[0] if matching else "other"
    is_zip = name.lower().endswith(".zip")
    is_tar = name.lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))
    unpack = "zip" if is_zip else "tar" if is_tar else None
    return RemoteFile(
        name=name,
        urls=(str(row["links"]["self"]),),
        bytes=int(row["size"]),
        part=part,
        md5=digest if algorithm == "md5" else None,
        sha256=digest if algorithm == "sha256" else None,
        unpack=unpack,
        into=entry.parts[part].into if unpack and matching else None,
    )


def _hugging_face(source: HuggingFace) -> tuple[RemoteFile, ...]:
    """Ask the hub (HF_ENDPOINT where it is set) for a repository's Parquet files, at the commit it is at now."""
    from huggingface_hub import HfApi, hf_hub_url

    endpoint = hub_endpoint()
    api = HfApi(endpoint=endpoint, token=False)
    try:
        commit = api.dataset_info(source.repository, revision=source.revision).sha
        tree = api.list_repo_tree(source.repository, repo_type="dataset", revision=commit, recursive=True)
        found: list[Any] = [one for one in tree if one.path.endswith(".parquet")]
    except Exception as error:  # the hub's client has those of several libraries
        what = " ".join(str(error).split())[:200]
        raise DataError(f"{endpoint} does not list {source.repository}: {what}; check the network") from error
    return tuple(
        RemoteFile(
            name=one.path,
            urls=(hf_hub_url(source.repository, one.path, repo_type="dataset", revision=commit, endpoint=endpoint),),
            bytes=one.lfs.size if one.lfs else one.size,
            part=_split_name(one.path),
            sha256=one.lfs.sha256 if one.lfs else None,
        )
        for one in sorted(found, key=lambda one: one.path)
    )


def _split_name(path: str) -> str:
    """Return the split that a Parquet file's path names."""
    match = _SPLIT.search(path)
    if match is None:
        return "other"
    return "validation" if match.group(1).lower() == "val" else match.group(1).lower()
