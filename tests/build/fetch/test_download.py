"""One file from servers that lie, drop, stall and change: whole and right, or refused; never half."""

import hashlib
from pathlib import Path

import httpx2
import pytest
from loopback import QUICK, Stage, altered, cut, endless, honest, noise, says, stall, whole_with_200

from earthtone.build.fetch.catalogue import RemoteFile
from earthtone.build.fetch.download import download
from earthtone.build.web import RetryPolicy, make_client
from earthtone.errors import DataError

BODY = noise(300_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


def run(stage: Stage, part: Path, *, patience: RetryPolicy = QUICK, path: str = "/f.bin", **known: object) -> bool:
    stage.files.setdefault("/f.bin", BODY)
    file = RemoteFile("f.bin", (), known.pop("bytes", None), "all", **known)  # type: ignore[arg-type]
    with make_client(patience) as client:
        return download(client, stage.url(path), file, part, patience)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "f.bin.part"


def test_a_plain_download(stage: Stage, part: Path) -> None:
    assert run(stage, part)
    assert part.read_bytes() == BODY


def test_dropped_again_and_again(stage: Stage, part: Path) -> None:
    """More drops than `retries`: each one brings new bytes, so none counts as a fault in a row."""
    stage.script["/f.bin"] = [cut(20_000) for _ in range(10)]
    assert not run(stage, part)
    assert part.read_bytes() == BODY
    assert stage.ranges() == [None, *(f"bytes={20_000 * n}-" for n in range(1, 11))]
    assert all("if-range" in request.headers for request in stage.seen[1:])


def test_a_host_that_drips_is_left_alone(stage: Stage, part: Path) -> None:
    """A byte with each fault is no progress: a file of gigabytes would hold the others up for years."""
    stage.script["/f.bin"] = [cut(100) for _ in range(50)]
    with pytest.raises(DataError, match=r"without getting on; [0-9]+ bytes are kept"):
        run(stage, part)
    assert len(stage.seen) < 10


def test_dropped_for_good_is_kept_and_continued(stage: Stage, part: Path) -> None:
    stage.script["/f.bin"] = [cut(50_000), *[cut(0)] * 4]
    with pytest.raises(DataError, match="50000 bytes are kept, type the same again"):
        run(stage, part)
    assert part.stat().st_size == 50_000
    run(stage, part)
    assert part.read_bytes() == BODY
    assert stage.ranges()[-1] == "bytes=50000-"


@pytest.mark.parametrize("known", [{}, {"sha256": SHA256}])
def test_ranges_ignored_starts_over(stage: Stage, part: Path, known: dict[str, object]) -> None:
    stage.script["/f.bin"] = [cut(100_000), whole_with_200()]
    assert run(stage, part, **known)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize(
    "answer",
    [
        "bytes 0-299999/300000",
        "bytes 99999-299999/300000",
        "bytes 100000-299999/300001",
        "bytes 100000-99999/300000",
        "bytes 100000-299998/300000",
        "nonsense",
        "",
    ],
)
def test_a_wrong_content_range_is_never_appended(stage: Stage, part: Path, answer: str) -> None:
    stage.script["/f.bin"] = [cut(100_000), altered(Content_Range=answer)]
    run(stage, part)
    assert part.read_bytes() == BODY
    assert stage.ranges() == [None, "bytes=100000-", None]


def test_a_changed_file_is_started_over(stage: Stage, part: Path) -> None:
    other = noise(300_000, seed=1)

    def change(handler: object, request: object) -> None:
        cut(100_000)(handler, request)  # type: ignore[arg-type]
        stage.files["/f.bin"] = other

    stage.script["/f.bin"] = [change]
    run(stage, part)
    assert part.read_bytes() == other


def test_a_changed_file_whose_server_ignores_if_range(stage: Stage, part: Path) -> None:
    stage.script["/f.bin"] = [cut(100_000), altered(ETag='"another"')]
    run(stage, part)
    assert part.read_bytes() == BODY
    assert stage.ranges() == [None, "bytes=100000-", None]


def test_without_a_version_or_checksum_nothing_is_continued(stage: Stage, part: Path) -> None:
    stage.script["/f.bin"] = [cut(100_000, ETag='W/"weak"'), honest()]
    run(stage, part)
    assert stage.ranges() == [None, None]
    assert part.read_bytes() == BODY


def test_a_part_of_another_address_is_dropped(stage: Stage, part: Path) -> None:
    stage.files["/other.bin"] = noise(300_000, seed=1)
    stage.script["/other.bin"] = [cut(100_000), *[cut(0)] * 4]
    with pytest.raises(DataError):
        run(stage, part, path="/other.bin")
    run(stage, part)
    assert part.read_bytes() == BODY


def test_length_too_long(stage: Stage, part: Path) -> None:
    stage.always["/f.bin"] = altered(Content_Length="300100")
    with pytest.raises(DataError, match="tried 4 times"):
        run(stage, part)
    with pytest.raises(DataError, match="is 300100 bytes long by its server, 300000 were expected"):
        run(stage, part.with_name("known.part"), bytes=300_000)


def test_length_too_short_is_seen_where_the_size_is_known(stage: Stage, part: Path) -> None:
    stage.always["/f.bin"] = altered(Content_Length="1000")
    with pytest.raises(DataError, match="is 1000 bytes long by its server, 300000 were expected"):
        run(stage, part, bytes=300_000)


def test_no_length(stage: Stage, part: Path) -> None:
    stage.always["/f.bin"] = altered(drop=("Content-Length",))
    with pytest.raises(DataError, match="half of it could not be told from the whole"):
        run(stage, part)
    assert run(stage, part, bytes=300_000)
    assert part.read_bytes() == BODY


def test_no_length_and_dropped(stage: Stage, part: Path) -> None:
    """The end of such a body says nothing: the size the catalogue knows decides."""

    def silent_cut(handler: object, request: object) -> None:
        handler.send("200 OK", {"ETag": '"v"'}, BODY[:70_000])  # type: ignore[attr-defined]

    stage.script["/f.bin"] = [silent_cut]
    run(stage, part, bytes=300_000)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_without_end_is_stopped_at_the_known_size(stage: Stage, part: Path, chunked: bool) -> None:
    stage.always["/f.bin"] = endless(chunked)
    with pytest.raises(DataError, match="sends more than 300 kB, which is its size"):
        run(stage, part, bytes=300_000)
    assert not part.exists()


def test_a_body_without_end_is_stopped_by_the_disk(stage: Stage, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthtone.build.fetch.download.free_bytes", lambda _: 1_000_000)
    stage.always["/f.bin"] = endless(True)
    with pytest.raises(DataError, match="sends more than 1 MB, which is the room on the disk"):
        run(stage, part)
    assert not part.exists()


def test_a_length_beyond_the_disk_is_refused_before_a_byte(stage: Stage, part: Path) -> None:
    stage.always["/f.bin"] = altered(Content_Length=str(10**18))
    with pytest.raises(DataError, match=r"needs 1e\+06 TB, and .* has room for"):
        run(stage, part)
    assert part.stat().st_size == 0


def test_silence_is_not_waited_out(stage: Stage, part: Path) -> None:
    stage.script["/f.bin"] = [stall(100_000, 3.0)]
    run(stage, part, patience=RetryPolicy(retries=1, backoff_seconds=0.01, read_seconds=0.3))
    assert part.read_bytes() == BODY
    assert stage.ranges() == [None, "bytes=100000-"]


def test_a_drip_is_a_stall(stage: Stage, part: Path) -> None:
    import time

    def drip(handler: object, request: object) -> None:
        handler.send("200 OK", {"Content-Length": "300000"})  # type: ignore[attr-defined]
        for byte in BODY[:100]:
            handler.wfile.write(bytes([byte]))  # type: ignore[attr-defined]
            time.sleep(0.05)

    stage.script["/f.bin"] = [drip]
    run(stage, part, patience=RetryPolicy(retries=1, backoff_seconds=0.01, read_seconds=0.3))
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "500 Oops", "502 Bad Gateway"])
def test_a_busy_server_is_waited_for(stage: Stage, part: Path, status: str) -> None:
    stage.script["/f.bin"] = [says(status, b"busy", Retry_After="0"), says(status)]
    run(stage, part)
    assert part.read_bytes() == BODY


def test_retry_after_is_obeyed_and_bounded(stage: Stage, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("earthtone.build.fetch.download.time.sleep", waits.append)
    date = "Wed, 01 Jan 2020 00:00:00 GMT"  # past: no wait beyond our own
    stage.script["/f.bin"] = [says("429 x", Retry_After="2"), says("503 x", Retry_After=date), says("503 x")]
    run(stage, part)
    assert waits == [2.0, 0.02, 0.04]
    stage.script["/f.bin"] = [says("429 x", Retry_After="3600")]
    with pytest.raises(DataError, match="asks to wait 3600 s"):
        run(stage, part.with_name("again.part"))


@pytest.mark.parametrize(
    ("status", "words"), [("403 x", "needs a login"), ("401 x", "needs a login"), ("404 x", "moved or gone")]
)
def test_a_refusal_is_told_once(stage: Stage, part: Path, status: str, words: str) -> None:
    stage.always["/f.bin"] = says(status)
    with pytest.raises(DataError, match=words):
        run(stage, part)
    assert len(stage.seen) == 1


def test_a_web_page_in_place_of_the_file(stage: Stage, part: Path) -> None:
    stage.always["/f.bin"] = says("200 OK", b"\n<!DOCTYPE html><title>Sign in</title>", Content_Type="text/html")
    with pytest.raises(DataError, match=r"sends a web page in place of f\.bin: it wants a login"):
        run(stage, part)
    assert part.stat().st_size == 0


def test_redirects(stage: Stage, part: Path) -> None:
    stage.always["/start"] = says("302 Found", Location=stage.url("/f.bin"))
    stage.script["/f.bin"] = [cut(100_000)]
    run(stage, part, path="/start")
    assert part.read_bytes() == BODY
    assert [request.path for request in stage.seen] == ["/start", "/f.bin"] * 2


def test_redirects_without_end(stage: Stage, part: Path) -> None:
    stage.always["/loop"] = says("302 Found", Location=stage.url("/loop"))
    with pytest.raises(DataError, match="more than 10 times"):
        run(stage, part, path="/loop")
    assert len(stage.seen) == 11


@pytest.mark.parametrize(
    "target", ["http://example.org/f.bin", "ftp://example.org/f.bin", "file:///etc/passwd", "http://[bad/"]
)
def test_redirects_to_the_open_web_in_the_clear_are_refused(stage: Stage, part: Path, target: str) -> None:
    stage.always["/away"] = says("302 Found", Location=target)
    with pytest.raises(DataError, match=r"not https://; refused|address that is none"):
        run(stage, part, path="/away")


def test_416_starts_over(stage: Stage, part: Path) -> None:
    stage.script["/f.bin"] = [cut(100_000), says("416 x", Content_Range="bytes */5")]
    run(stage, part)
    assert part.read_bytes() == BODY


def test_compressed_though_asked_plain(stage: Stage, part: Path) -> None:
    stage.always["/f.bin"] = altered(Content_Encoding="gzip")
    with pytest.raises(DataError, match="comes as 'gzip'"):
        run(stage, part)


def test_a_part_that_is_longer_than_the_file(stage: Stage, part: Path) -> None:
    stage.script["/f.bin"] = [cut(100_000), *[cut(0)] * 4]
    with pytest.raises(DataError):
        run(stage, part)
    part.write_bytes(BODY + b"more")
    run(stage, part)
    assert part.read_bytes() == BODY


def test_a_note_that_is_nonsense(stage: Stage, part: Path) -> None:
    part.write_bytes(b"half")
    part.with_name("f.bin.part.json").write_text('{"url": 3}')
    run(stage, part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 99999 x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"HTTP/1.1 302 Found\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:99999999/\r\n\r\n",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 429 x\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    ],
)
def test_nonsense_is_an_error_of_ours(stage: Stage, part: Path, answer: bytes) -> None:
    def behave(handler: object, _: object) -> None:
        handler.wfile.write(answer)  # type: ignore[attr-defined]

    stage.always["/f.bin"] = behave
    with pytest.raises(DataError):
        run(stage, part)
    assert not part.exists() or part.stat().st_size <= 4


@pytest.mark.parametrize("target", ["http://127.0.0.1/f", "http://example.org/f", "//[bad", "/b?x=1"])
def test_https_is_never_left(part: Path, target: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/a":
            return httpx2.Response(302, headers={"location": target})
        assert str(request.url) == "https://example.org/b?x=1"
        return httpx2.Response(200, headers={"content-length": str(len(BODY))}, stream=httpx2.ByteStream(BODY))

    file = RemoteFile("f.bin", (), None, "all", sha256=SHA256)
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        if target == "/b?x=1":
            assert download(client, "https://example.org/a", file, part, QUICK)
            assert part.read_bytes() == BODY
        else:
            with pytest.raises(DataError, match=r"not https://; refused|address that is none"):
                download(client, "https://example.org/a", file, part, QUICK)


@pytest.mark.parametrize("header", [{"ETag": '"\xe9"'}, {"Last_Modified": "\xe9"}])
def test_a_version_that_cannot_be_sent_back_starts_over(stage: Stage, part: Path, header: dict[str, str]) -> None:
    stage.files["/f.bin"] = BODY
    stage.script["/f.bin"] = [cut(1000, **header)]
    run(stage, part)
    assert part.read_bytes() == BODY


@pytest.mark.parametrize("host", ["a..b", "xn--", "a" * 300])
def test_a_redirect_to_no_host(stage: Stage, part: Path, host: str) -> None:
    stage.always["/f.bin"] = says("302 Found", Location=f"https://{host}/")
    with pytest.raises(DataError, match=r"an address that is none|tried 4 times"):
        run(stage, part)


@pytest.mark.parametrize("target", ["http://name:secret@127.0.0.1:PORT/b", "https://secret@example.org/b?key=secret"])
def test_a_redirect_to_an_address_with_a_password(stage: Stage, part: Path, target: str) -> None:
    stage.always["/away"] = says("302 Found", Location=target.replace("PORT", str(stage.port)))
    with pytest.raises(DataError) as caught:
        run(stage, part, path="/away")
    assert "has a name or a password" in str(caught.value) and "secret" not in str(caught.value)
    assert [request.path for request in stage.seen] == ["/away"]


def test_no_credentials_are_sent(stage: Stage, part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login name password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "secret")
    run(stage, part)
    assert stage.seen
    for request in stage.seen:
        assert {"authorization", "cookie"}.isdisjoint(request.headers) and "secret" not in str(request.headers)
