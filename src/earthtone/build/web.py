"""One way to ask hosts on the web: slowly enough for each, again where a fault may pass, from a cache where it can be.

The HTTP client of the whole package, httpx2, is made here.
"""

import hashlib
import ipaddress
import json
import logging
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
from filelock import FileLock

from earthtone import __version__
from earthtone.errors import DataError, EarthtoneError, one_line
from earthtone.files import atomic_path
from earthtone.progress import size_text

_LOG = logging.getLogger(__name__)
TRANSIENT_STATUSES = (408, 425, 429, 500, 502, 503, 504)
_SLOWEST_BYTES = 1024  # less than this within the read timeout is a stall, however it is dripped
_LONGEST_BACKOFF_SECONDS = 60.0
_LOGGED_SECONDS = 2.0  # shorter waits pass without a word
_DAY = 86400.0


class HostError(DataError):
    """A host that could not be brought to answer, though it was asked again."""


class QuotaReachedError(DataError):
    """A host gives nothing more until some time; what there is is kept, and the same call goes on from it then."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later

    def __init__(self, what: str, seconds: float) -> None:
        """`seconds` from now the host can be asked again."""
        self.until = datetime.now(UTC) + timedelta(seconds=seconds)
        super().__init__(f"{what}; type the same again after {self.until:%Y-%m-%d %H:%M} UTC: it goes on from here")


class TransientError(Exception):
    """A fault that may pass; `wait` is how long the server asks to wait, in seconds."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to wait for a server. `retries` counts faults in a row without a new byte."""

    retries: int = 8
    backoff_seconds: float = 1.0
    longest_wait_seconds: float = 300.0
    connect_seconds: float = 20.0
    read_seconds: float = 60.0

    def wait_after(self, failures: int, asked: float) -> float:
        """Return how long to wait after so many faults in a row, at least as long as the server asks."""
        return max(asked, min(self.backoff_seconds * 2.0 ** (failures - 1), _LONGEST_BACKOFF_SECONDS))


def make_client(policy: RetryPolicy, contact: str | None = None) -> httpx2.Client:
    """Return a client without automatic redirects or decompression; this machine is asked without a proxy."""
    for name in ("httpx2", "httpcore2"):  # their lines hold whole addresses, and so keys
        logging.getLogger(name).setLevel(logging.WARNING)
    hosts, local = ("127.0.0.1", "localhost", "[::1]"), httpx2.HTTPTransport(verify=_certificates())
    whom = f" ({contact})" if contact else ""
    return httpx2.Client(
        follow_redirects=False,
        timeout=httpx2.Timeout(policy.read_seconds, connect=policy.connect_seconds),
        headers={"Accept-Encoding": "identity", "User-Agent": f"earthtone/{__version__}{whom}"},
        mounts={f"all://{host}": local for host in hosts},
        verify=_certificates(),
    )


@cache
def _certificates() -> Any:
    """Return what https is checked by; to read it takes longer than a request."""
    return httpx2.create_ssl_context()


def retry_after(value: str | None) -> float:
    """Return the seconds of a Retry-After header in either of its forms; 0 when there is none to be read."""
    if not value:
        return 0.0
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def stall_watch(seconds: float) -> Callable[[int], None]:
    """Return a function to call with the number of bytes that arrived; it raises TransientError when they only drip."""
    since, arrived = time.monotonic(), 0

    def watch(count: int) -> None:
        nonlocal since, arrived
        arrived += count
        if time.monotonic() - since > seconds:
            if arrived < _SLOWEST_BYTES:
                raise TransientError(f"only {arrived} bytes came in {seconds:g} s")
            since, arrived = time.monotonic(), 0

    return watch


# Which addresses may be asked.


def shown_url(url: str) -> str:
    """Return a URL for messages, without names, passwords and queries, which hold signatures."""
    try:
        split = urlsplit(url)
    except ValueError:
        return "an address that is none"
    return one_line(f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"[:200])


_HIDDEN = re.compile(r"~[0-9a-f]{16}|(?:\{[^{}]*\})*")


def without_secrets(url: str) -> str:
    """Return an address for what is kept: values of its query, which may be keys, as hashes; {x} and the like stay.

    What is hidden already stays as it is.

    >>> without_secrets("https://tiles.example/{z}/{x}/{y}?style={s}&key=secret")
    'https://tiles.example/{z}/{x}/{y}?style={s}&key=~0ffde1ae45a58146'
    """
    front, mark, query = url.partition("?")
    parts = []
    for part in query.split("&") if mark else ():
        name, equals, value = part.partition("=") if "=" in part else ("", "", part)
        if not _HIDDEN.fullmatch(value):
            value = f"~{hashlib.blake2b(value.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"
        parts.append(f"{name}{equals}{value}")
    return f"{front}{mark}{'&'.join(parts)}"


def is_public(host: str) -> bool:
    """Return whether a host is one on the internet: not this machine, not one of its network."""
    try:
        return _is_global(host.strip("[]"))
    except ValueError:
        pass
    try:
        return all(map(_is_global, _addresses(host)))
    except (OSError, UnicodeError):
        return True  # no address at all; asking it will tell


@lru_cache(maxsize=4096)
def _addresses(host: str) -> tuple[str, ...]:
    found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    return tuple(str(one[4][0]).partition("%")[0] for one in found)


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _is_global(address: str) -> bool:
    """Return whether an address is on the internet, also the IPv4 address that one of IPv6 stands for."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64:
            inner = ipaddress.IPv4Address(found.packed[-4:])
        found = inner or found
    return found.is_global and not found.is_multicast


def checked_url(url: str, said_by: str | None = None) -> str:
    """Return an address that may be asked. Raises DataError.

    http and https alone, without a name or a password in it. One that an answer of `said_by` names never leads from
    https to http, nor from a public host to this machine or its network.
    """
    try:
        split = urlsplit(url)
        host, _ = split.hostname, split.port
    except ValueError as error:
        shown = url.partition("?")[0][:200]
        raise DataError(f"{shown!r} is no address ({error}); https://... expected") from error
    told = "" if said_by is None else f"{shown_url(said_by)} leads to "
    if split.scheme not in ("http", "https") or not host:
        raise DataError(
            f"{told}{shown_url(url) if '://' in url else repr(url.partition('?')[0][:120])}; an address of http:// or "
            "https:// expected, nothing else is opened"
        )
    if "@" in split.netloc:
        raise DataError(f"{told}{shown_url(url)} with a name or a password in it; refused")
    if said_by is not None:
        first = urlsplit(said_by)
        if first.scheme == "https" and split.scheme == "http":
            raise DataError(f"{told}{shown_url(url)}, which is not https://; refused")
        if host != first.hostname and is_public(str(first.hostname)) and not is_public(host):
            raise DataError(f"{told}{shown_url(url)}, which is not on the internet; refused")
    return url


# A host is asked no faster than it likes, by all threads and processes of this user together.


class HostLimiter:
    """Lets requests to a host pass one by one; its file says when the next one may, and how long the host rests."""

    def __init__(self, folder: Path, per_second: float) -> None:
        self._folder, self._gap = folder, 1.0 / per_second
        self._paces: dict[str, tuple[float, int | None]] = {}

    def pace(self, host: str, per_second: float, per_day: int | None = None) -> None:
        """Ask one host at a pace of its own from now on, and no more than so often in a day of UTC."""
        self._paces[host.lower()] = 1.0 / per_second, per_day

    def wait(self, host: str) -> None:
        """Return when it is this request's turn. Raises QuotaReachedError where the day has none left."""
        gap, per_day = self._paces.get(host.lower(), (self._gap, None))
        if per_day is not None:
            self._count(host, per_day)
        turn = self._change(host, lambda now, free, rest: (max(now, free), max(now, free) + gap, rest))
        while (left := max(turn, self._change(host, lambda now, free, rest: (rest, free, rest))) - time.time()) > 0:
            time.sleep(min(left, 5.0))

    def rest(self, host: str, seconds: float) -> None:
        """Let nobody ask the host for so long: it said so."""
        self._change(host, lambda now, free, rest: (0.0, free, max(rest, now + seconds)))

    def _count(self, host: str, per_day: int) -> None:
        """Count a request of today."""
        name = _file_name(host)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{name}.day"
        with FileLock(self._folder / f"{name}.lock"):
            today, count = int(time.time() // _DAY), 0
            with suppress(OSError, ValueError):
                day, said = map(int, path.read_text().split())
                count = said if day == today else 0
            if count >= per_day:
                left = (today + 1) * _DAY - time.time()
                raise QuotaReachedError(f"{host} has been asked {count} times today, as often as it allows", left)
            path.write_text(f"{today} {count + 1}")

    def _change(self, host: str, how: Callable[[float, float, float], tuple[float, float, float]]) -> float:
        name = _file_name(host)
        path = self._folder / f"{name}.turn"
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / f"{name}.lock"):
            now = time.time()
            free = rest = 0.0
            with suppress(OSError, ValueError):
                free, rest = map(float, path.read_text().split())
            if max(free, rest) > now + 3600:  # of a clock that was wrong
                free = rest = 0.0
            answer, after, rests = how(now, free, rest)
            if (after, rests) != (free, rest):
                path.write_text(f"{after!r} {rests!r}")
        return answer


def _file_name(host: str) -> str:
    return re.sub(r"[^a-z0-9.-]", "_", host.lower())[:100]


# Answers, and those that are kept.


@dataclass(frozen=True)
class Answer:
    """What a host says at the end of its redirects."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """By their names in small letters."""
    kept: bool = False
    """Whether it comes from the cache."""

    @property
    def digest(self) -> str:
        """Return a hash of the body."""
        return hashlib.blake2b(self.body, digest_size=8).hexdigest()


_KEPT_SECONDS = 7 * 24 * 3600.0  # where the host says nothing
_KEPT_STATUSES = (200, 204, 404, 410)
_KEPT_HEADERS = ("etag", "last-modified", "content-type", "cache-control", "expires")


class AnswerCache:
    """Answers on disk by a hash of their address, as long as the host allows; nothing that forbids to be stored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, url: str) -> Path:
        name = hashlib.sha256(url.encode()).hexdigest()
        host = _file_name(urlsplit(url).hostname or "none")
        return self._folder / host / name[:2] / name[2:40]

    def find(self, url: str) -> tuple[Answer, bool] | None:
        """Return what is kept of an address, and whether it is still fresh; None where nothing whole is."""
        try:
            head, _, body = self.path(url).read_bytes().partition(b"\n")
            said = json.loads(head)
            answer = Answer(int(said["status"]), body, dict(said["headers"]), kept=True)
            fresh = time.time() < float(said["until"])
            whole = said["length"] == len(body) and said["digest"] == answer.digest
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return (answer, fresh) if whole else None

    def keep(self, url: str, answer: Answer) -> None:
        """Keep an answer; where the disk is full, go on without."""
        control = answer.headers.get("cache-control", "").lower()
        if answer.status not in _KEPT_STATUSES or "no-store" in control or "private" in control:
            return
        headers = {name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS}
        said = {"status": answer.status, "headers": headers, "until": time.time() + _fresh_seconds(answer),
                "length": len(answer.body), "digest": answer.digest}  # fmt: skip
        with suppress(EarthtoneError, OSError), atomic_path(self.path(url), sync=False) as temporary:
            temporary.write_bytes(json.dumps(said).encode() + b"\n" + answer.body)

    def forget(self, url: str) -> None:
        """Remove what is kept of an address."""
        with suppress(OSError):
            self.path(url).unlink(missing_ok=True)


def _fresh_seconds(answer: Answer) -> float:
    control = answer.headers.get("cache-control", "").lower()
    if "no-cache" in control:
        return 0.0
    if found := re.search(r"max-age=([0-9]{1,9})", control):
        return float(found[1])
    if expires := answer.headers.get("expires"):
        return retry_after(expires)  # a date in the same form
    return _KEPT_SECONDS


#: Looks at an answer before anybody else does, and raises what it means: TransientError, QuotaReachedError, DataError.
Judge = Callable[[Answer], None]
_REDIRECTS = 10
_CREDENTIALS = ("authorization", "cookie", "proxy-authorization", "x-api-key")
_TRY_AGAIN = re.compile(rb"[Tt]ry again in ([0-9]{1,6}) seconds")
#: Of one answer that is held in memory.
MOST_BYTES = 64 * 2**20


class Web:
    """Asks hosts, each at most `per_second` times a second, whoever asks."""

    def __init__(
        self,
        folder: Path,
        *,
        per_second: float = 4.0,
        policy: RetryPolicy | None = None,
        contact: str | None = None,
        cache: bool = True,
    ) -> None:
        """`folder` holds the turns of hosts and, with `cache`, their answers; `contact` is told to hosts."""
        self.policy = policy or RetryPolicy()
        self._client = make_client(self.policy, contact)
        self.folder = folder
        self._limiter = HostLimiter(folder / "hosts", per_second)
        self.cache = AnswerCache(folder / "answers") if cache else None
        self.asked = 0
        """How many requests hosts were sent."""

    def close(self) -> None:
        self._client.close()

    def pace(self, host: str, per_second: float, per_day: int | None = None) -> None:
        """Ask one host at a pace of its own from now on, and no more than so often in a day of UTC."""
        self._limiter.pace(host, per_second, per_day)

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        said_by: str | None = None,
        most_bytes: int = MOST_BYTES,
        again: bool = False,
        judge: Judge | None = None,
    ) -> Answer:
        """Return a host's answer, whatever its status but for those that may pass. Raises DataError.

        What is kept is not asked for while it is fresh, and only for a newer version after that; `again`: what was kept
        was of no use. Requests with `headers` of their own are not kept; what of these are credentials goes to no other
        host. `judge` reads answers that say in their own words what to do.
        """
        checked_url(url, said_by)
        cache = self.cache if headers is None else None
        found = None if cache is None or again else cache.find(url)
        if found is not None and found[1]:
            return found[0]
        asked = dict(headers or {})
        if found is not None:
            validators = (("etag", "If-None-Match"), ("last-modified", "If-Modified-Since"))
            asked |= {theirs: found[0].headers[ours] for ours, theirs in validators if ours in found[0].headers}
        answer = self._patiently("GET", url, asked, None, most_bytes, judge)
        if answer.status == 304 and found is not None:
            answer = Answer(found[0].status, found[0].body, {**found[0].headers, **answer.headers}, kept=True)
        if cache is not None:
            cache.keep(url, answer)
        return answer

    def post(
        self,
        url: str,
        values: Any,
        *,
        headers: Mapping[str, str] | None = None,
        said_by: str | None = None,
        most_bytes: int = MOST_BYTES,
        judge: Judge | None = None,
    ) -> Answer:
        """Return the answer to JSON that is sent. Raises DataError."""
        checked_url(url, said_by)
        sent = {"Content-Type": "application/json", "Accept": "application/geo+json, application/json"}
        return self._patiently("POST", url, sent | dict(headers or {}), json.dumps(values).encode(), most_bytes, judge)

    @contextmanager
    def stream(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Response]:
        """Yield a host's response, its body unread, whatever its status; asked once, at the host's pace.

        One that asks for patience lets its host rest for everybody. Raises TransientError, DataError.
        """
        with self._opened("GET", checked_url(url), headers or {}, None) as response:
            wait = retry_after(response.headers.get("retry-after"))
            if response.status_code in TRANSIENT_STATUSES and 0 < wait <= self.policy.longest_wait_seconds:
                for host in {urlsplit(url).hostname, response.url.host}:
                    self._limiter.rest(str(host), wait)
            yield response

    def _patiently(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        most_bytes: int,
        judge: Judge | None = None,
    ) -> Answer:
        failures = 0
        while True:
            try:
                return self._once(method, url, headers, content, most_bytes, judge)
            except TransientError as fault:
                failures += 1
                told = f"{shown_url(url)}: {fault}"
                if fault.wait > self.policy.longest_wait_seconds:
                    raise QuotaReachedError(f"{told}, and asks to wait {fault.wait:.0f} s", fault.wait) from fault
                if failures > self.policy.retries:
                    raise HostError(
                        f"{told}; tried {failures} times; type the same again to go on from here"
                    ) from fault
                wait = self.policy.wait_after(failures, fault.wait)
                if wait >= _LOGGED_SECONDS:
                    _LOG.warning("%s; trying again in %.0f s", told, wait)
                if fault.wait:
                    self._limiter.rest(str(urlsplit(url).hostname), fault.wait)
                time.sleep(wait)

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        most_bytes: int,
        judge: Judge | None,
    ) -> Answer:
        with self._opened(method, url, headers, content) as response:
            body = _body(response, url, most_bytes, self.policy.read_seconds)
            found = {name.lower(): value for name, value in response.headers.items()}
            status = response.status_code
        if judge is not None:
            judge(Answer(status, body, found))
        if status in TRANSIENT_STATUSES:
            wait = retry_after(found.get("retry-after"))
            if not wait and (asked := _TRY_AGAIN.search(body[:2000])):
                wait = float(asked[1])
            raise TransientError(f"the server answers {status}", wait)
        return Answer(status, body, found)

    @contextmanager
    def _opened(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> Iterator[httpx2.Response]:
        """Yield the response at the end of the redirects, its body unread."""
        asked, sent = url, dict(headers)
        for _ in range(_REDIRECTS + 1):
            self._limiter.wait(str(urlsplit(asked).hostname))
            self.asked += 1
            try:
                with self._client.stream(method, asked, headers=sent, content=content) as response:
                    if response.has_redirect_location:
                        target = checked_url(urljoin(asked, response.headers.get("location", "")), asked)
                        if urlsplit(target)[:2] != urlsplit(asked)[:2]:
                            sent = {name: value for name, value in sent.items() if name.lower() not in _CREDENTIALS}
                        asked = target
                        continue
                    yield response
                    return
            except (httpx2.InvalidURL, UnicodeError) as error:
                raise DataError(f"{shown_url(url)} leads to an address that is none: {error}") from error
            except ValueError as error:
                raise DataError(f"{shown_url(url)} leads to an address that is none") from error
            except httpx2.HTTPError as error:
                raise TransientError(one_line(str(error) or type(error).__name__, 200)) from error
        raise DataError(f"{shown_url(url)} leads from one address to the next, more than {_REDIRECTS} times")


def _body(response: httpx2.Response, url: str, most_bytes: int, seconds: float) -> bytes:
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > most_bytes:
        raise DataError(
            f"{shown_url(url)} is {size_text(int(declared))} long; {size_text(most_bytes)} at most expected"
        )
    watch, parts, have = stall_watch(seconds), [], 0
    unpack = _unpacker(response.headers.get("content-encoding", ""), url)
    for raw in response.iter_raw():
        part = unpack(raw, most_bytes - have + 1)
        have += len(part)
        if have > most_bytes:
            raise DataError(f"{shown_url(url)} sends more than {size_text(most_bytes)}; stopped")
        parts.append(part)
        watch(len(raw))
    unpack.end()
    return b"".join(parts)


def _unpacker(encoding: str, url: str) -> "_Plain | _Gzip":
    """Return what makes plain bytes, so many at most, of those that come; hosts compress though asked not to."""
    if encoding.strip().lower() in ("", "identity"):
        return _Plain()
    if encoding.strip().lower() not in ("gzip", "x-gzip"):  # also several, each of which makes a thousand of one byte
        raise DataError(f"{shown_url(url)} comes as {encoding!r:.40} though asked for as it is; refused")
    return _Gzip()


class _Plain:
    """Bytes as they come."""

    def __call__(self, raw: bytes, most: int) -> bytes:
        return raw

    def end(self) -> None:
        """Nothing is held back; how long the answer is the client has counted."""


class _Gzip:
    """Bytes of any number of gzip members, one after another (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(31)
        self._begun = False

    def __call__(self, raw: bytes, most: int) -> bytes:
        parts, left = [], most
        try:
            while raw and left > 0:
                if self._stream.eof:
                    self._stream = zlib.decompressobj(31)
                parts.append(self._stream.decompress(raw, left))
                left -= len(parts[-1])
                raw, self._begun = self._stream.unused_data, True
        except zlib.error as error:
            raise TransientError(f"compressed bytes that cannot be read ({error})") from error
        return b"".join(parts)

    def end(self) -> None:
        """Raise TransientError where the last member has no end."""
        if self._begun and not self._stream.eof:
            raise TransientError("compressed bytes that break off")
