"""What stands before every request: who may ask, how much, how slowly; what every answer carries.

Refused with a 4xx and one sentence: other hosts' names (DNS rebinding), requests that another site's page makes, wrong
tokens, long addresses, long, slow, deep and odd bodies. What does not end is cut.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import HTTPException

from earthtone.errors import EarthtoneError, one_line

log = logging.getLogger("earthtone.serve")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LONGEST_ADDRESS = 4096
JSON_BYTES = 2**18  # it is read where all requests wait
_DEEPEST = 32
_BODY_SECONDS, _BODY_BYTES_A_SECOND = 30.0, 20_000.0  # in all, and for each so many bytes a second more
HEAD_BYTES = 32_768  # of headers
_REQUESTS_AT_ONCE, _REQUESTS_OF_ONE = 256, 64  # of all, of one address
UPLOADS_AT_ONCE, _UPLOADS_OF_ONE = 16, 4
_WRONG_TOKENS, _WRONG_SECONDS = 10, 60.0  # of one address
_MOST_ADDRESSES = 4096  # that are remembered
_DRAINED_BYTES, _DRAINED_SECONDS = 2**26, 3.0  # of a refused body, so that its sender comes to read why
_OPEN_TO_ALL = ("/healthz", "/readyz")
UPLOADS = "/api/uploads"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~@%-]+)+")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), geolocation=(), camera=(), payment=(), usb=()",
    "cross-origin-resource-policy": "same-origin",
}


def refused(status: int, sentence: str, *, retry_after: int | None = None) -> HTTPException:
    """Return the error of a refusal; `sentence` says what was found, what was expected, what to do."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return HTTPException(status, one_line(sentence, 2000), headers)


def status_of(error: EarthtoneError) -> int:
    """Return the status of an error that is the request's fault."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return 400 if "ConfigError" in kinds else 409 if "ModelError" in kinds and "DataError" not in kinds else 422


@dataclass(frozen=True)
class Rules:
    """What is asked of requests."""

    token: str | None
    hosts: frozenset[str]
    """Names under which the page may be asked for; `*` for any."""
    proxied: bool
    """Whether a proxy stands before it, so that what it tells of the outside (X-Forwarded-Host, -Proto) is believed."""
    forwarded: bool
    """Whether the proxy tells who asks (the last address of X-Forwarded-For)."""
    apart: bool
    """Whether addresses tell visitors apart: not where all requests come from one proxy, or from this machine."""
    root_path: str
    upload_bytes: int
    patience: float
    """Seconds."""
    policy: str
    """The content security policy."""


def allowed_hosts(host: str, names: tuple[str, ...]) -> frozenset[str]:
    """Return the names that a request's Host may have: those given, and this machine's own."""
    own = set(_LOOPBACK) | {host_name(name) or name.lower() for name in names}
    if host not in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not listened at
        own.add(host.lower())
    return frozenset(own)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def content_policy(basemap: str | None, frames: tuple[str, ...]) -> str:
    """Return the content security policy: nothing but our own, the base map's host, no code or style in the page."""
    tiles = f" {urlsplit(basemap).scheme}://{urlsplit(basemap).netloc}" if basemap else ""
    return "; ".join([
        "default-src 'self'", "script-src 'self'", "style-src 'self'", f"img-src 'self' data: blob:{tiles}",
        "media-src 'self' blob:", f"connect-src 'self'{tiles}", "worker-src 'self' blob:", "object-src 'none'",
        "base-uri 'none'", "form-action 'self'", " ".join(["frame-ancestors 'self'", *frames]),
    ])  # fmt: skip


class Pace:
    """So many at once, and so many a second more: each address has its own."""

    def __init__(self, at_once: int, a_second: float) -> None:
        self._at_once, self._a_second = at_once, a_second
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, address: str) -> bool:
        """Return whether one more may be had, which is then counted."""
        now = time.monotonic()
        left, then = self._left.pop(address, (float(self._at_once), now))
        left = min(self._at_once, left + (now - then) * self._a_second)
        self._left[address] = (left - 1 if left >= 1 else left), now  # at the end: asked last, forgotten last
        if len(self._left) > _MOST_ADDRESSES:
            del self._left[next(iter(self._left))]
        return left >= 1


class Slots:
    """Places for what goes on at once: so many for all, of which one address has a share."""

    def __init__(self, most: int, of_one: int, what: str) -> None:
        self._most, self._of_one, self._what = most, of_one, what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, address: str | None) -> Iterator[None]:
        """Hold one; `address` is None where addresses tell nobody apart. Raises HTTPException 429, 503."""
        key = address or ""
        if self._taken.total() >= self._most:
            raise refused(503, f"more than {self._most} {self._what}; try again in a moment", retry_after=1)
        if address is not None and self._taken[key] >= self._of_one:
            raise refused(
                429,
                f"more than {self._of_one} {self._what} from one address; try again in a moment, or start the "
                "server with --hosts or --forwarded where a proxy asks for many",
                retry_after=1,
            )
        self._taken[key] += 1
        try:
            yield
        finally:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]


class Guard:
    """The outermost part of the server, an ASGI application about another one."""

    def __init__(self, app: App, rules: Rules, seen: Callable[[MutableMapping[str, Any], int, float], None]) -> None:
        """`seen` is told each answer: the request's scope, the status, seconds."""
        self._app, self._rules, self._seen = app, rules, seen
        self._requests = Slots(_REQUESTS_AT_ONCE, _REQUESTS_OF_ONE, "requests at once")
        self._uploads = Slots(UPLOADS_AT_ONCE, _UPLOADS_OF_ONE, "files sent at once")
        self._wrong = Pace(_WRONG_TOKENS, _WRONG_TOKENS / _WRONG_SECONDS)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, number = time.monotonic(), uuid.uuid4().hex[:12]
        answer = _Answer(send, self._headers(number))
        body = _Body(receive, self._rules.patience)
        try:
            self._outside(scope)
            if (location := self._let_in(scope)) is not None:
                await answer.redirect(*location)
                return
            await self._limited(scope, body)
            with self._slot(scope):  # neither slow bodies nor refusals hold one
                await self._app(scope, body.receive, answer.send)
        except HTTPException as error:
            if not body.ended:
                await body.drain()
            await answer.refuse(error.status_code, str(error.detail), error.headers)
        except Exception:
            log.exception("request %s failed", number)
            await answer.refuse(500, f"a fault of the server's own; its log tells more of the request {number}", None)
        finally:
            self._seen(scope, answer.status, time.monotonic() - started)

    @contextmanager
    def _slot(self, scope: MutableMapping[str, Any]) -> Iterator[None]:
        if scope["path"] in _OPEN_TO_ALL:
            yield
            return
        address = scope["address"] if self._rules.apart else None
        with self._requests.one(address):
            if scope["path"] != UPLOADS or scope["method"] != "POST":
                yield
                return
            with self._uploads.one(address):
                yield

    def _headers(self, number: str) -> dict[str, str]:
        return {**HEADERS, "content-security-policy": self._rules.policy, "x-request-id": number}

    def _outside(self, scope: MutableMapping[str, Any]) -> None:
        """Set what the request looks like from outside: `address` (who asks), `outside` (path), `outside_host`,
        `outside_scheme`; take away the path below which a proxy shows the page, where it has not done so itself.
        """
        rules = self._rules
        prefix = rules.root_path
        if prefix and (scope["path"] == prefix or scope["path"].startswith(f"{prefix}/")):
            scope["path"] = scope["path"][len(prefix) :]
            scope["raw_path"] = scope["path"].encode()
        told = _header(scope, b"x-forwarded-prefix").rstrip("/")
        scope["root_path"] = ""  # the routes lie at the top; what is told of the outside stands beside it
        scope["outside"] = told if len(told) < 200 and _PREFIX.fullmatch(told) else prefix
        forwarded = _header(scope, b"x-forwarded-host") if rules.proxied else ""
        scheme = _header(scope, b"x-forwarded-proto").lower() if rules.proxied else ""
        scope["outside_host"] = forwarded or _header(scope, b"host")
        scope["outside_scheme"] = scheme if scheme in ("http", "https") else scope["scheme"]
        peer = str((scope.get("client") or ("", 0))[0])
        last = [value for key, value in scope["headers"] if key == b"x-forwarded-for"][-1:] if rules.forwarded else []
        # others before the last one are what the visitor says himself
        scope["address"] = one_visitor(last[0].decode("latin-1").rpartition(",")[2] if last else peer, peer)

    def _let_in(self, scope: MutableMapping[str, Any]) -> tuple[str, str | None] | None:
        """Return where to go instead, with a cookie; None to go on. Raises HTTPException."""
        rules, path = self._rules, scope["path"]
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > LONGEST_ADDRESS:
            raise refused(414, f"an address of more than {LONGEST_ADDRESS:,} letters; send long queries as JSON")
        if sum(len(key) + len(value) + 4 for key, value in scope["headers"]) > HEAD_BYTES:
            raise refused(431, f"more than {HEAD_BYTES:,} bytes of headers; fewer expected")
        names = [key for key, _ in scope["headers"]]
        if b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] == "1.0"):
            raise refused(400, "a body of two lengths, Content-Length and Transfer-Encoding; one of them expected")
        if path == "":
            return f"{(scope['outside'] or '/').rpartition('/')[2]}/", None
        self._refuse_other_host(scope)
        if scope["method"] not in ("GET", "HEAD"):
            self._refuse_other_site(scope)
        if rules.token is None or path in _OPEN_TO_ALL:
            return None
        return self._token(scope)

    def _refuse_other_host(self, scope: MutableMapping[str, Any]) -> None:
        if self._rules.token is not None or "*" in self._rules.hosts:
            return  # a page of another name does not know the token
        name = host_name(_header(scope, b"host"))
        if name not in self._rules.hosts and not _is_number(name):  # who rebinds a name has one
            raise refused(
                421,
                f"the page was asked for as {name!r:.80}, and is {', '.join(sorted(self._rules.hosts))}; start it with "
                "--hosts NAME where a proxy shows it under that name",
            )

    def _refuse_other_site(self, scope: MutableMapping[str, Any]) -> None:
        """Refuse what another site's page sends from a visitor's browser."""
        site, origin = _header(scope, b"sec-fetch-site"), _header(scope, b"origin")
        if site in ("same-origin", "none") or (not site and not origin):
            return
        if site or not self._is_own(scope, origin):
            raise refused(403, "sent by another site's page; open this one itself")

    def _is_own(self, scope: MutableMapping[str, Any], origin: str) -> bool:
        """Whether an origin is the page's own: name and port as the browser asked for it, or a name of --hosts."""
        scheme, _, place = origin.partition("://")
        usual = {"http": "80", "https": "443"}.get(scheme)
        name, port = host_name(place), port_of(place) or usual
        if usual is None or not name:
            return False
        for host in (_header(scope, b"host"), scope["outside_host"]):
            if name == host_name(host) and port == (port_of(host) or usual):
                return True
        return self._rules.proxied and port == usual and name in self._rules.hosts - {*_LOOPBACK, "*"}

    def _token(self, scope: MutableMapping[str, Any]) -> tuple[str, str | None] | None:
        token = self._rules.token or ""
        given = _header(scope, b"authorization")
        if given[:7].lower() == "bearer " and _same(given[7:].strip(), token):
            return None
        name, value = cookie_of(token)
        if any(_same(part.strip(), f"{name}={value}") for part in _header(scope, b"cookie").split(";")):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=20).get("token", [""])[0]
        if scope["path"] == "/" and _same(asked, token):
            path = scope["outside"] or ""
            return "./", f"{name}={value}; Path={path}/; HttpOnly; SameSite=Lax; Max-Age=2592000"
        if (given or asked) and not self._wrong.take(scope["address"]):
            raise refused(429, "too many wrong tokens from this address; wait a minute", retry_after=60)
        what = "another token than the server's" if given or asked else "no token"
        raise refused(401, f"{what}; open the page once as ADDRESS/?token=TOKEN, or send Authorization: Bearer TOKEN")

    async def _limited(self, scope: MutableMapping[str, Any], body: "_Body") -> None:
        """Read a body of JSON, and see whether it is one; of uploads only the length that is told."""
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            body.most = 0 if scope["method"] in ("GET", "HEAD") else JSON_BYTES
            return
        upload = scope["path"] == UPLOADS
        body.most = self._rules.upload_bytes if upload else JSON_BYTES
        length = _header(scope, b"content-length")
        if length.isdigit() and int(length[:20]) > body.most:
            raise body.too_long()
        if upload:
            return
        kind = _header(scope, b"content-type").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise refused(415, f"Content-Type {kind or 'none'!r:.60}; application/json expected")
        check_json(await body.whole())


def check_json(data: bytes) -> None:
    """Raise HTTPException for JSON that is none, is deep, or holds what JSON has not: NaN, Infinity."""
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_int=_number, parse_float=_number)
    except RecursionError as error:
        raise refused(400, f"JSON nested deeper than {_DEEPEST}") from error
    except ValueError as error:
        raise refused(400, f'no JSON ({str(error)[:200]}); an object such as {{"like": []}} expected') from error
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            part
            for each in level
            if isinstance(each, (dict, list))
            for part in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise refused(400, f"JSON nested deeper than {_DEEPEST}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON's; null or a number expected")


def _number(text: str) -> float:
    found = float(text) if len(text) <= 40 else float("inf")
    if found in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:20]}... is no number that fits; one of at most 40 digits expected")
    return found


def cookie_of(token: str) -> tuple[str, str]:
    """Return name and value of the cookie that stands for a token; the token cannot be found from it."""
    digest = hashlib.sha256(f"earthtone cookie {token}".encode()).hexdigest()
    return f"earthtone_{digest[:8]}", digest[8:]


def host_name(host: str) -> str:
    """Return the name of a Host header, without its port.

    >>> host_name("[::1]:8080"), host_name("Localhost:80")
    ('::1', 'localhost')
    """
    found = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](:\d*)?|([^:/@\s]*)(:\d*)?", host)
    return ((found[1] or found[3] or "") if found else host).lower()


def port_of(host: str) -> str:
    """Return the port of a Host header, nothing where it tells none.

    >>> port_of("[::1]:8080"), port_of("localhost")
    ('8080', '')
    """
    found = re.search(r"(?<=[^:]):(\d{1,5})$", host)
    return str(int(found[1])) if found else ""


def one_visitor(told: str, otherwise: str) -> str:
    """Return an address as one visitor has it: of IPv6, of which each has very many, the network of 64 bits.

    >>> one_visitor("2001:db8::1", "")
    '2001:db8::'
    """
    try:
        address = ipaddress.ip_address(told.strip().strip("[]"))
    except ValueError:
        return otherwise
    if isinstance(address, ipaddress.IPv4Address) or address.ipv4_mapped is not None:
        return str(getattr(address, "ipv4_mapped", None) or address)
    return str(ipaddress.ip_network((int(address), 64), strict=False).network_address)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _header(scope: MutableMapping[str, Any], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


class _Body:
    """A request's body: how long it may be, how slowly it may come."""

    def __init__(self, receive: Receive, patience: float) -> None:
        self._receive, self._patience = receive, patience
        self._started, self._count = time.monotonic(), 0
        self._read: deque[Message] = deque()
        self.most = JSON_BYTES
        self.ended = False

    def too_long(self) -> HTTPException:
        if not self.most:
            return refused(400, "a request of this kind has no body; send none")
        unit = f"{self.most / 2**20:g} MB"
        return refused(
            413, f"more than {unit} were sent; at most {unit} expected: send a shorter sound or a smaller picture"
        )

    async def receive(self) -> Message:
        """Return the next part. Raises HTTPException for bodies that are too long or too slow."""
        if self._read:
            return self._read.popleft()
        if self.ended:
            return await self._receive()  # waits until the client goes
        due = self._started + _BODY_SECONDS + self._count / _BODY_BYTES_A_SECOND
        try:
            async with asyncio.timeout(max(0.0, min(self._patience, due - time.monotonic()))):
                message = await self._receive()
        except TimeoutError as error:
            raise refused(408, "the request's body came too slowly, or not at all; send it again") from error
        if message["type"] == "http.disconnect":
            self.ended = True
            return message
        self.ended = not message.get("more_body", False)
        self._count += len(message.get("body", b""))
        if self._count > self.most:
            raise self.too_long()
        return message

    async def whole(self) -> bytes:
        """Return all of it, and give it out once more."""
        parts = []
        while not self.ended:
            message = await self.receive()
            parts.append(message.get("body", b""))
        data = b"".join(parts)
        self._read.append({"type": "http.request", "body": data, "more_body": False})
        return data

    async def drain(self) -> None:
        """Read what is left of a refused body for a moment; one who sends does not read the answer."""
        read = 0
        try:
            async with asyncio.timeout(_DRAINED_SECONDS):
                while read < _DRAINED_BYTES:
                    message = await self._receive()
                    read += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        break
        except TimeoutError:
            pass


class _Answer:
    """An answer with the headers of all answers."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send, self._headers = send, headers
        self.status, self.begun = 0, False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            there = {key.lower() for key, _ in message.get("headers", [])}
            more = [(key.encode(), value.encode()) for key, value in self._headers.items() if key.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *more]}
        await self._send(message)

    async def refuse(self, status: int, sentence: str, headers: Any) -> None:
        """Answer with an error, after which the connection ends."""
        if self.begun:
            return  # too late for another answer: without its end the connection is closed
        data = json.dumps({"error": sentence}).encode()
        kept = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        kept += [(key.encode(), value.encode()) for key, value in (headers or {}).items()]
        kept += [(b"connection", b"close")] if status in (400, 408, 413, 415, 431, 500) else []
        await self.send({"type": "http.response.start", "status": status, "headers": kept})
        await self.send({"type": "http.response.body", "body": data})

    async def redirect(self, location: str, cookie: str | None) -> None:
        headers = [
            (b"location", location.encode("latin-1")),
            (b"content-length", b"0"),
            (b"cache-control", b"no-store"),
        ]
        headers += [(b"set-cookie", cookie.encode("latin-1"))] if cookie is not None else []
        await self.send({"type": "http.response.start", "status": 303, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})
