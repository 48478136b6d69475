"""Who may ask the page's server, how much and how slowly: each refusal is a 4xx with a sentence that helps."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import HTTPException
from page_server import ask, page_of, said

from earthtone.errors import ConfigError
from earthtone.serve.guard import Slots, allowed_hosts, check_json, content_policy, host_name, is_loopback
from earthtone.serve.options import ServeOptions
from earthtone.serve.server import PageServer, read_token

LETTERS = "a-token-of-24-letters-abc"
BY_ENV = {"token_env": "PAGE_TOKEN"}
UPLOAD = {"content_type": "audio/wav"}


@pytest.fixture(scope="module")
def strict(tiny_index: Path) -> Iterator[PageServer]:
    """A server with a token, below a path, that waits half a second and takes uploads of 1 MB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAGE_TOKEN", LETTERS)
        with page_of(tiny_index, **BY_ENV, root_path="/sounds", patience=0.5, upload_mb=1) as server:
            yield server


@pytest.fixture(scope="module")
def quick(tiny_index: Path) -> Iterator[PageServer]:
    """A server without a token that waits half a second and takes uploads of 1 MB."""
    with page_of(tiny_index, patience=0.5, upload_mb=1) as server:
        yield server


# Who.


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "LOCALHOST:99", "[::1]:5", "192.0.2.7:80"])
def test_this_machine_and_plain_addresses_are_let_in(page: PageServer, host: str) -> None:
    assert ask(page, "/healthz", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "a b", "@"])
def test_another_name_is_refused(page: PageServer, host: str) -> None:
    """DNS rebinding: a page of that name would read ours."""
    answer = ask(page, "/api/about", host=host)
    assert answer.status == 421 and "--hosts" in answer.error


def test_a_proxys_name_is_let_in_when_it_is_told(tiny_index: Path) -> None:
    with page_of(tiny_index, hosts=["maps.example.org"]) as server:
        assert ask(server, "/healthz", host="maps.example.org").status == 200
        assert ask(server, "/healthz", host="other.example.org").status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:9"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_what_another_sites_page_sends_is_refused(page: PageServer, headers: dict[str, str]) -> None:
    answer = ask(page, "/api/marks", b"{}", content_type="application/json", **headers)
    assert answer.status == 403 and "another site" in answer.error


def test_nobody_else_may_read(page: PageServer) -> None:
    answer = ask(page, "/api/about", origin="https://evil.example")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert ask(page, "/api/about", method="OPTIONS", origin="https://evil.example").status in (403, 405)


def test_a_token_is_asked_for_once(strict: PageServer) -> None:
    assert ask(strict, "/healthz").status == 200  # for who looks whether it is alive
    assert "Bearer" in ask(strict, "/api/about").error
    assert ask(strict, "/api/about").status == 401 == ask(strict, "/metrics").status
    assert ask(strict, "/api/about", authorization=f"Bearer {LETTERS}").status == 200
    answer = ask(strict, f"/sounds/?token={LETTERS}")
    assert answer.status == 303 and answer.headers["location"] == "./"  # the token goes out of the address
    cookie = answer.headers["set-cookie"]
    assert LETTERS not in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/sounds/" in cookie
    assert ask(strict, "/sounds/api/about", cookie=f"a=b; {cookie.partition(';')[0]}").status == 200
    assert ask(strict, "/api/about", cookie=f"{cookie.partition('=')[0]}={LETTERS}").status == 401


def test_tokens_are_not_guessed(tiny_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_TOKEN", LETTERS)
    with page_of(tiny_index, **BY_ENV) as server:
        found = [ask(server, f"/?token=wrong-{n}").status for n in range(12)]
        assert found == [401] * 10 + [429] * 2
        assert int(ask(server, "/?token=wrong").headers["retry-after"]) == 60
        assert ask(server, "/").status == 401  # who gives none is told how to
        assert ask(server, "/", authorization=f"Bearer {LETTERS}").status == 200  # the others' guesses are not ours


def test_visitors_behind_a_proxy_are_told_apart_where_it_tells_them(
    tiny_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE_TOKEN", LETTERS)
    with page_of(tiny_index, **BY_ENV, forwarded=True) as server:

        def guess(told: str) -> int:
            return ask(server, "/?token=wrong", x_forwarded_for=told).status

        assert [guess("192.0.2.1") for _ in range(11)] == [401] * 10 + [429]
        assert guess("192.0.2.1, 198.51.100.7") == 401  # the last one is the proxy's word
        assert guess("198.51.100.7, 192.0.2.1") == 429
        assert [guess(f"2001:db8::{n}") for n in range(11)] == [401] * 10 + [429]  # one network is one visitor
    with page_of(tiny_index, **BY_ENV) as server:
        assert [guess(f"192.0.2.{n}") for n in range(11)] == [401] * 10 + [429]  # not believed unless told to


def test_tokens_that_are_none(tmp_path: Path, tiny_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "short")
    for options in ({"token_env": "NO_SUCH"}, {"token_env": "SHORT"}, {"token_file": tmp_path / "none"}):
        with pytest.raises(ConfigError, match="token"):
            read_token(ServeOptions(tiny_index, **options))
    (tmp_path / "token").write_text(f"{LETTERS}\n")
    assert read_token(ServeOptions(tiny_index, token_file=tmp_path / "token")) == LETTERS
    with pytest.raises(ConfigError, match="both"):
        ServeOptions(tiny_index, **BY_ENV, **{"token_file": "x"})


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:9", "127.0.0.1:8", 403),  # another program of this machine
        ("http://localhost:8", "127.0.0.1:8", 403),
        ("http://127.0.0.1:8", "127.0.0.1:8", 422),
        ("http://127.0.0.1", "127.0.0.1:80", 422),
        ("https://[::1]", "[::1]", 422),
        ("http://[::1", "[::1]", 403),
        ("file://127.0.0.1", "127.0.0.1", 403),
    ],
)
def test_an_origin_is_name_and_port(page: PageServer, origin: str, host: str, status: int) -> None:
    answer = ask(page, "/api/marks", b"{}", content_type="application/json", origin=origin, host=host)
    assert answer.status == status, answer.error


def test_what_a_proxy_tells_is_believed_where_there_is_one(page: PageServer, tiny_index: Path) -> None:
    told = {"x_forwarded_host": "maps.example.org", "x_forwarded_proto": "https", "content_type": "application/json"}
    body = json.dumps({"like": [{"row": 2}], "find": "audio"})

    def asked(server: PageServer) -> tuple[int, bytes]:
        said = ask(server, "/api/search", body, origin="https://maps.example.org", **told).status
        return said, ask(server, "/api/export?format=audio", body, **told).body

    status, listed = asked(page)
    assert status == 403 and b"maps.example.org" not in listed
    for options in ({"root_path": "/sounds"}, {"hosts": ["maps.example.org"]}, {"forwarded": True}):
        with page_of(tiny_index, **options) as server:
            status, listed = asked(server)
            assert status == 200 and b"https://maps.example.org/" in listed


# How much.


def test_long_addresses(page: PageServer) -> None:
    assert ask(page, f"/{'a' * 5000}").status == 414
    assert ask(page, f"/api/about?{'a' * 5000}").status == 414


def test_long_heads(page: PageServer) -> None:
    answer = said(page, b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n")
    assert answer.status == 431 and "headers" in answer.error
    many = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 100) for n in range(600))  # 60 kB that come at once
    answer = said(page, b"GET / HTTP/1.1\r\nhost: localhost\r\n" + many + b"\r\n")
    assert answer.status == 431 and "headers" in answer.error


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"content-length: 2\r\ntransfer-encoding: chunked", 400),
        (b"transfer-encoding: chunked\r\ncontent-length: 2", 400),
        (b"content-length: 2\r\ncontent-length: 3", 400),
        (b"content-length: 2, 3", 400),
        (b"content-length: +2", 400),
        (b"transfer-encoding: xchunked", 400),
        (b"transfer-encoding: chunked\r\ntransfer-encoding: identity", 400),
        (b"transfer-encoding: identity, chunked", 400),
        (b"transfer-encoding : chunked", 400),
    ],
)
def test_bodies_of_two_lengths(page: PageServer, head: bytes, status: int) -> None:
    """Request smuggling: a proxy and we would not agree where the next request begins."""
    line = b"POST /api/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    answer = said(page, line + head + b"\r\n\r\n0\r\n\r\nGET /api/about HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert answer.status == status and answer.error and answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"]
)
def test_what_is_no_request(page: PageServer, junk: bytes) -> None:
    answer = said(page, junk)
    assert answer.status == 400 and answer.error


def test_long_bodies(quick: PageServer) -> None:
    big = b"0" * (2**20 + 1)
    for path, headers in (("/api/search", {"content_type": "application/json"}), ("/api/uploads", UPLOAD)):
        answer = ask(quick, path, big, **headers)
        most = "1 MB" if path.endswith("uploads") else "0.25 MB"
        assert answer.status == 413 and f"at most {most}" in answer.error
    lines = [b"POST /api/uploads HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"]
    chunk = b"%x\r\n%s\r\n" % (2**16, b"0" * 2**16)
    answer = said(quick, *lines, *[chunk] * 17, b"0\r\n\r\n")  # its length is not told before
    assert answer.status == 413


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * 100_000, "nested"),
        (b"[" * 40 + b"]" * 40, "nested"),
        (b'{"k": NaN}', "NaN"),
        (b'{"k": -Infinity}', "Infinity"),
        (b'{"k": 1e999}', "number"),
        (b'{"k": ' + b"9" * 5000 + b"}", "number"),
        (b"\xff\xfe", "JSON"),
        (b"", "JSON"),
        (b"{'like': 1}", "JSON"),
    ],
)
def test_odd_json(page: PageServer, body: bytes, told: str) -> None:
    answer = ask(page, "/api/search", body, content_type="application/json")
    assert answer.status == 400 and told in answer.error


def test_json_of_another_type(page: PageServer) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert ask(page, "/api/search", b"{}", content_type=kind).status == 415  # what forms of other sites send


def test_json_as_deep_as_a_search_is_taken() -> None:
    check_json(json.dumps({"filters": {"polygon": {"coordinates": [[[1, 2], [3, 4]]]}}}).encode())


def test_a_body_where_none_belongs(page: PageServer) -> None:
    assert ask(page, "/api/about", b"0" * 100, method="GET").status in (200, 400)


# How slowly.


def test_a_head_that_does_not_end(quick: PageServer) -> None:
    before = time.monotonic()
    answer = said(quick, b"GET / HTTP/1.1\r\nhost: loc")
    assert answer.status == 408 and "slowly" in answer.error and time.monotonic() - before < 10
    assert said(quick).status == 408  # nothing at all


def test_a_second_head_that_does_not_end(quick: PageServer) -> None:
    with socket.create_connection(("127.0.0.1", quick.port), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(65_536)
        connection.sendall(b"GET /healthz HTT")
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    assert b"408" in answer


def test_a_body_that_does_not_come(quick: PageServer) -> None:
    head = (
        b"POST /api/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n"
    )
    answer = said(quick, head, b"{")
    assert answer.status == 408 and "slowly" in answer.error


def test_others_are_answered_beside_slow_ones(quick: PageServer) -> None:
    slow = [socket.create_connection(("127.0.0.1", quick.port)) for _ in range(50)]
    try:
        for each in slow:
            each.sendall(b"GET / HTTP/1.1\r\n")
        assert ask(quick, "/healthz").status == 200
    finally:
        for each in slow:
            each.close()


def unfinished(port: int, count: int) -> list[socket.socket]:
    """Begin so many requests whose bodies do not come."""
    found = []
    for _ in range(count):
        found.append(connection := socket.create_connection(("127.0.0.1", port)))
        connection.sendall(b"POST /api/marks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n")
        connection.sendall(b"content-length: 50\r\n\r\n{")
    return found


@pytest.mark.parametrize("token", [True, False])
def test_bodies_that_do_not_come_shut_nobody_out(
    tiny_index: Path, token: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGE_TOKEN", LETTERS)
    with page_of(tiny_index, **(BY_ENV if token else {}), patience=2.0) as server:
        waiting = unfinished(server.port, 300)
        try:
            time.sleep(0.3)
            assert ask(server, "/healthz").status == 200
            assert ask(server, "/readyz").json["state"] in ("loading", "ready")
            assert ask(server, "/api/about", authorization=f"Bearer {LETTERS}").status == 200
        finally:
            for each in waiting:
                each.close()


def test_slots_are_shared() -> None:
    slots = Slots(3, 2, "requests at once")

    def refusal(address: str | None) -> int:
        try:
            with slots.one(address):
                return 200
        except HTTPException as error:
            return error.status_code

    with slots.one("a"), slots.one("a"):
        assert refusal("a") == 429 and refusal("b") == 200
        with slots.one(None):
            assert refusal("b") == 503
    assert refusal("a") == 200
    with slots.one(None), slots.one(None):
        assert refusal(None) == 200  # a proxy's address has no share


def test_one_address_has_a_share_of_uploads_and_connections(tiny_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthtone.serve.server._CONNECTIONS_OF_ONE", 12)
    line = b"POST /api/uploads HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\nRIFF"
    with page_of(tiny_index, host="0.0.0.0", patience=3.0) as server:  # noqa: S104 - others' addresses can ask
        connections = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(5)]
        try:
            for each in connections:
                each.sendall(line)
                time.sleep(0.05)
            assert b" 429 " in connections[-1].recv(4096)
            connections += [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(8)]
            assert connections[-1].recv(10) == b""  # the newest is cut
        finally:
            for each in connections:
                each.close()
        time.sleep(0.2)
        assert ask(server, "/healthz").status == 200


def test_who_takes_nothing_is_cut_off(quick: PageServer) -> None:
    """A reader that stops holds no place for ever."""
    sounds = [n for n in range(48) if ask(quick, f"/api/items/{n}").json["sound"]][:1]
    with socket.create_connection(("127.0.0.1", quick.port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line = f"GET /api/items/{sounds[0]}/sound HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        connection.sendall(line * 200)  # a few MB of answers, none of which is read
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                connection.sendall(b"G")
            except OSError:
                break
        else:
            pytest.fail("the connection is still there")
    assert ask(quick, "/healthz").status == 200


# Where.


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml", "/..%2f..%2fetc/passwd", "/assets/../../options.py", "/%2e%2e/options.py", "/etc/passwd",
        "//etc/passwd", "/index.html%00.png", "/..\\options.py", "/api/items/../../options.py", "/page/%c0%ae%c0%ae/",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(page: PageServer, path: str) -> None:
    answer = ask(page, path)
    assert answer.status == 404 and b"dataclass" not in answer.body and b"root:" not in answer.body


def test_markup_in_an_address_is_no_markup(page: PageServer) -> None:
    answer = ask(page, "/%3Cscript%3Ealert(1)%3C/script%3E")
    assert answer.status == 404 and answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


# What every answer carries.


@pytest.mark.parametrize("path", ["/", "/api/about", "/no-such", "/api/items/0/picture"])
def test_every_answer_has_the_security_headers(page: PageServer, path: str) -> None:
    headers = ask(page, path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'" and policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'self'" and policy["object-src"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    assert "microphone=(self)" in headers["permissions-policy"]
    assert len(headers["x-request-id"]) == 12 and "server" not in headers


def test_a_base_map_and_a_notebook_are_let_in_by_name() -> None:
    policy = content_policy("https://tiles.example:8443/{z}/{x}/{y}.png?key=a;b", ("http://localhost:8888",))
    assert policy.count("https://tiles.example:8443") == 2 and "key" not in policy
    assert policy.endswith("frame-ancestors 'self' http://localhost:8888")
    for wrong in ("https://a b/{z}/{x}/{y}", "https://a;script-src */{z}/{x}/{y}", "file:///{z}/{x}/{y}", "https://a/"):
        with pytest.raises(ConfigError, match="--basemap"):
            ServeOptions("E", basemap=wrong, basemap_attribution="us")


def test_names_of_hosts() -> None:
    assert [host_name(name) for name in ("[::1]:80", "A.b:1", "a", "a:b:c", "")] == ["::1", "a.b", "a", "a:b:c", ""]
    everywhere = "0.0.0.0"  # noqa: S104 - not listened at
    assert everywhere not in allowed_hosts(everywhere, ()) and "maps" in allowed_hosts("maps", ())
    assert is_loopback("127.8.9.1") and is_loopback("::1") and not is_loopback(everywhere) and not is_loopback("maps")


def test_a_fault_of_the_servers_own_is_a_sentence(tiny_index: Path) -> None:
    with page_of(tiny_index) as server:

        def broken() -> None:
            raise ZeroDivisionError("/secret/path")

        server.served.about = broken  # type: ignore[method-assign, assignment]
        answer = ask(server, "/api/about")
        assert answer.status == 500 and "secret" not in answer.error and answer.headers["x-request-id"] in answer.error
        assert ask(server, "/healthz").status == 200
