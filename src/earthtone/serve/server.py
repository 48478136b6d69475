"""The page's server as a process: its address, its start and its end."""

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from earthtone.errors import ConfigError, one_line
from earthtone.files import regular_file
from earthtone.progress import note
from earthtone.serve.app import make_app
from earthtone.serve.guard import HEAD_BYTES, is_loopback, one_visitor
from earthtone.serve.options import ServeOptions
from earthtone.serve.served import Served
from earthtone.value_types import takes

log = logging.getLogger("earthtone.serve")
_LEAST_TOKEN = 16
_STOP_SECONDS = 20  # that running requests have to end
_MOST_CONNECTIONS, _CONNECTIONS_OF_ONE = 1000, 250  # of all, of one address
_TOKEN_BYTES = 4096
_LINGER_SECONDS = 1.0
_READERS_PATIENCE = 4  # times that of a head, without taking anything


@dataclass(frozen=True)
class ServeResult:
    """A server that has ended."""

    url: str
    requests: int

    def to_text(self) -> str:
        """Return the line the command line prints."""
        return one_line(f"{self.url}: stopped after {self.requests:,} requests")

    def to_dict(self) -> dict[str, Any]:
        """Return the same, ready for JSON."""
        return {"url": self.url, "requests": self.requests}


class PageServer:
    """A server of one index: its address is taken when it is made, and answers once it is started."""

    def __init__(self, options: ServeOptions) -> None:
        """Raises EarthtoneError: no index, a map or a model that does not fit, an address that is in use."""
        self.options = options
        self.token = read_token(options)
        self._socket = listening(options.host, options.port)
        self._port = int(self._socket.getsockname()[1])
        try:
            self.app = make_app(options, self.token)
        except BaseException:
            self._socket.close()
            raise
        self.served: Served = self.app.state.served
        proxied = options.hosts or options.root_path or options.forwarded or is_loopback(options.host)
        self._server = _Uvicorn(self.app, options.patience, not proxied, self._started)
        self.tell_when_started = False
        """Whether `started` is called and the browser opened."""
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Return the port that is listened at."""
        return self._port

    @property
    def url(self) -> str:
        """Return the address at which this machine's browser finds the page."""
        host = self.options.host if self.options.host not in ("0.0.0.0", "::", "") else "127.0.0.1"  # noqa: S104
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.port}{(self.options.root_path or '').rstrip('/')}/"

    def run(self) -> ServeResult:
        """Answer until the process is asked to end (Ctrl-C, SIGTERM): running requests end, new ones are not taken."""
        self._prepare()
        return self._answer()

    def _prepare(self) -> None:
        """Open the model: one that was named and does not fit is told before anything is shown."""
        try:
            if self.options.model is not None:
                self.served.load_model()
        except BaseException:
            self._socket.close()
            raise
        threading.Thread(target=self.served.prepare, daemon=True).start()

    def _answer(self) -> ServeResult:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self.served.close()
        return ServeResult(self.url, self._server.server_state.total_requests)

    def _started(self) -> None:
        if not self.tell_when_started:
            return
        if self.options.started is not None:
            self.options.started(self.url)
        if self.options.open:
            threading.Thread(target=webbrowser.open, args=(self.url,), daemon=True).start()

    def start(self) -> "PageServer":
        """Answer from a thread of this process, as a notebook needs it; return once it does."""
        self._prepare()
        self._thread = threading.Thread(target=self._answer, daemon=True, name="earthtone serve")
        self._thread.start()
        while not self._server.answering.wait(0.05):
            if not self._thread.is_alive():
                raise ConfigError(f"the page's server at {self.url} did not start; its log tells more")
        return self

    def stop(self) -> None:
        """End it; running requests end first."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS + 5)


@takes(ServeOptions)
def serve_page(options: ServeOptions) -> ServeResult:
    """Show an index as a page in the browser until the process is asked to end; return how many requests there were.

    Listens on this machine alone unless `host` says otherwise; reads nothing from the network. Raises DataError where
    there is no index, ModelError for a model or a map of another one, ConfigError where the port is in use.
    """
    if not is_loopback(options.host) and read_token(options) is None:
        note(
            f"{options.host}: everybody who reaches this address sees all, and can mark; give a token (--token_env "
            "NAME) or listen on 127.0.0.1"
        )
    server = PageServer(options)
    server.tell_when_started = True
    return server.run()


def read_token(options: ServeOptions) -> str | None:
    """Return the token that visitors must know, None for none. Raises ConfigError for one that is missing or short."""
    if options.token_env is not None:
        token, where = os.environ.get(options.token_env, "").strip(), f"--token_env {options.token_env}"
        if not token:
            raise ConfigError(f"{where}: no such environment variable, or an empty one; set it to a token")
    elif options.token_file is not None:
        where = f"--token_file {options.token_file}"
        try:
            with regular_file(options.token_file).open("rb") as file:
                token = file.read(_TOKEN_BYTES).decode("ascii", "replace").strip()
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror or error}; a file with a token expected") from error
    else:
        return None
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{where}: {len(token)} letters, or odd ones; at least {_LEAST_TOKEN} letters and figures expected, such "
            "as of: openssl rand -hex 24"
        )
    return token


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address. Raises ConfigError where it is in use, or none of this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {host!r:.80} is no address of this machine; 127.0.0.1 or 0.0.0.0 expected"
        ) from error
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(256)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is in use by another program; choose another one (--port {port + 1}), or "
                "any that is free (--port 0)"
            ) from error
        why = error.strerror or error
        raise ConfigError(f"cannot listen at {host} port {port} ({why}); choose another --host or --port") from error
    found.set_inheritable(False)
    return found


class _Uvicorn(uvicorn.Server):
    """uvicorn, which tells when it answers, and ends without an error when it is asked to."""

    def __init__(self, app: Any, seconds: float, shared: bool, started: Callable[[], None]) -> None:
        class Protocol(_Patient):
            patience, of_one = seconds, _CONNECTIONS_OF_ONE if shared else _MOST_CONNECTIONS

        super().__init__(
            uvicorn.Config(
                app, http=Protocol, ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
                server_header=False, timeout_keep_alive=10, timeout_graceful_shutdown=_STOP_SECONDS,
                h11_max_incomplete_event_size=HEAD_BYTES, proxy_headers=False,
            )
        )  # fmt: skip
        self._started = started
        self.answering = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()
        self._started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End by SIGINT and SIGTERM, the second one at once; they are not raised again when all has ended."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._asked) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


class _Patient(H11Protocol):
    """uvicorn's protocol, with an end to heads of requests that never come, and errors that are JSON."""

    patience: float
    """Seconds that a head may take."""
    of_one: int
    """Connections that one address may have."""
    _head: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _refused = False
    _visitor = ""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self._visitor = one_visitor(address, address)
        of_this_one = sum(getattr(other, "_visitor", "") == self._visitor for other in self.connections)
        if len(self.connections) > _MOST_CONNECTIONS or of_this_one > self.of_one:
            transport.abort()
            return
        self._head = self.loop.call_later(self.patience, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_longer_waiting()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Give a client that does not take its answer some time, and cut it off then."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_READERS_PATIENCE * self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # what is still being sent; to close at once would take the answer from its reader
        before = self.scope
        super().data_received(data)
        if self.scope is not before:
            self._no_longer_waiting()
        elif self._head is None and self._is_idle():
            self._head = self.loop.call_later(self.patience, self._too_slow)

    def _is_idle(self) -> bool:
        """Whether the next request has begun, and its head has not ended."""
        return self.cycle is None or self.cycle.response_complete

    def _no_longer_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        self._head = None
        if not self.transport.is_closing() and self._is_idle():
            self._told(408, "the head of a request came too slowly, or not at all; send it at once")

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or has too long a head."""
        long = len(self.conn.trailing_data[0]) >= HEAD_BYTES
        told = f"more than {HEAD_BYTES:,} bytes of headers; fewer expected" if long else "no request of HTTP"
        self._told(431 if long else 400, told)

    def _told(self, status: int, sentence: str) -> None:
        data = json.dumps({"error": sentence}).encode()
        head = f"HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n"
        self.transport.write(head.encode() + b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n" + data)
        self._refused = True
        self._no_longer_waiting()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
