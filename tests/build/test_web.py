"""How hosts are asked: at their rate, again, from the cache; which addresses never."""

import gzip
import multiprocessing
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from imagery_hosts import QUICK, Asked, Said, hosting

from earthtone.build.web import (
    Answer,
    HostError,
    HostLimiter,
    QuotaReachedError,
    TransientError,
    Web,
    checked_url,
    is_public,
    retry_after,
    shown_url,
    without_secrets,
)
from earthtone.errors import DataError


def web_of(tmp_path: Path, **more: object) -> Web:
    return Web(tmp_path / "cache", per_second=100.0, policy=QUICK, **more)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["seconds", "date", "text"])
def test_a_host_that_asks_to_wait_is_left_alone_for_so_long(tmp_path: Path, form: str) -> None:
    times: list[float] = []

    def speaks(_: Asked) -> Said:
        times.append(time.time())
        if len(times) > 1:
            return Said(b"fine")
        moment = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        told = {"seconds": {"Retry-After": "1"}, "date": {"Retry-After": moment}, "text": {}}[form]
        body = b'{"statusCode":429,"message":"Rate limit is exceeded. Try again in 1 seconds."}'
        return Said(body if form == "text" else b"", 429, told)

    with hosting(speaks) as host:
        web, other = web_of(tmp_path), web_of(tmp_path)
        assert web.get(f"{host.url}/a").body == b"fine"
        assert times[1] - times[0] >= 0.95
        other.get(f"{host.url}/b")


@pytest.mark.slow
def test_a_rest_holds_for_everybody(tmp_path: Path) -> None:
    limiter, other = HostLimiter(tmp_path, 1000.0), HostLimiter(tmp_path, 1000.0)
    start = time.time()
    limiter.rest("h", 1.5)
    other.wait("elsewhere")
    assert time.time() - start < 1.4
    other.wait("h")
    assert time.time() - start >= 1.49


def _asks(folder: Path, count: int) -> None:
    limiter = HostLimiter(folder, 20.0)
    for _ in range(count):
        limiter.wait("host")


@pytest.mark.slow
def test_processes_share_a_rate(tmp_path: Path) -> None:
    """Three processes of six requests each at 20 a second take 17 gaps at least."""
    context = multiprocessing.get_context("fork")
    start = time.time()
    workers = [context.Process(target=_asks, args=(tmp_path, 6)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert time.time() - start >= 17 / 20
    assert all(worker.exitcode == 0 for worker in workers)


def test_a_wait_beyond_patience_and_a_host_that_never_answers_are_one_line(tmp_path: Path) -> None:
    with (
        hosting(lambda _: Said(b"", 429, {"Retry-After": "3600"})) as host,
        pytest.raises(DataError, match=r"answers 429, and asks to wait 3600 s; type the same again after"),
    ):
        web_of(tmp_path).get(f"{host.url}/a")
    with hosting(lambda _: Said(b"", 503)) as host:
        with pytest.raises(DataError, match="answers 503; tried 4 times"):
            web_of(tmp_path).get(f"{host.url}/a")
        assert len(host.asked) == 4


def test_answers_are_kept_as_long_as_the_host_allows(tmp_path: Path) -> None:
    def speaks(asked: Asked) -> Said:
        if asked.path == "/secret":
            return Said(b"s", 200, {"Cache-Control": "no-store"})
        if asked.path == "/old":
            same = asked.headers.get("if-none-match") == '"v1"'
            return Said(b"" if same else b"old", 304 if same else 200, {"ETag": '"v1"', "Cache-Control": "max-age=0"})
        return Said(b"plain", 404 if asked.path == "/none" else 200)

    with hosting(speaks) as host:
        for path, requests in (("/plain", 1), ("/none", 1), ("/secret", 3), ("/old", 3)):
            bodies = [web_of(tmp_path).get(host.url + path).body for _ in range(3)]
            assert len(set(bodies)) == 1
            assert host.paths().count(path) == requests, path
        assert not any(
            "secret" in str(file) or file.read_bytes()[-2:] == b"\ns"
            for file in (tmp_path / "cache" / "answers").rglob("*")
            if file.is_file()
        )
        before = len(host.asked)
        web_of(tmp_path, cache=False).get(f"{host.url}/plain")
        assert len(host.asked) == before + 1


def test_a_damaged_answer_is_asked_for_again(tmp_path: Path) -> None:
    with hosting(lambda _: Said(b"whole")) as host:
        web = web_of(tmp_path)
        web.get(f"{host.url}/a")
        assert web.cache is not None
        kept = web.cache.path(f"{host.url}/a")
        kept.write_bytes(kept.read_bytes()[:-2])
        assert web.get(f"{host.url}/a").body == b"whole"
        assert len(host.asked) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [Said(b"half", declared=100), Said(b"x" * 40, drip=0.2), Said(b"", 503)],
    ids=["truncated", "dripping", "busy"],
)
def test_what_may_pass_is_asked_again(tmp_path: Path, said: Said) -> None:
    def speaks(_: Asked) -> Said:
        return said if len(host.asked) == 1 else Said(b"whole")

    with hosting(speaks) as host:
        assert web_of(tmp_path).get(f"{host.url}/a").body == b"whole"
        assert len(host.asked) == 2


def test_large_answers_are_refused(tmp_path: Path) -> None:
    with (
        hosting(lambda _: Said(b"", declared=10**12)) as host,
        pytest.raises(DataError, match="1 TB long; 1 kB at most"),
    ):
        web_of(tmp_path).get(f"{host.url}/a", most_bytes=1000)
    with hosting(lambda _: Said(b"x" * 5000)) as host, pytest.raises(DataError, match="1 kB at most"):
        web_of(tmp_path).get(f"{host.url}/a", most_bytes=1000)


def test_a_compressed_answer_is_whole_or_none(tmp_path: Path) -> None:
    """Several members are one answer; one that breaks off is no shorter answer."""
    bodies = {"/members": gzip.compress(b"A" * 1000) + gzip.compress(b"B" * 1000),
              "/half": gzip.compress(bytes(range(256)) * 50)[:60]}  # fmt: skip
    with hosting(lambda asked: Said(bodies[asked.path], 200, {"Content-Encoding": "gzip"})) as host:
        assert web_of(tmp_path).get(f"{host.url}/members").body == b"A" * 1000 + b"B" * 1000
        with pytest.raises(DataError, match="break off"):
            web_of(tmp_path).get(f"{host.url}/half")


@pytest.mark.parametrize("host", ["64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "::ffff:10.0.0.1"])
def test_addresses_that_stand_for_others_are_judged_by_these(host: str) -> None:
    assert not is_public(host) and is_public("8.8.8.8") and is_public("64:ff9b::808:808")


def test_keys_that_end_with_signs_of_base64_are_hidden() -> None:
    assert "abc" not in without_secrets("https://h.example/t?key=abc==&x=1")
    assert without_secrets(hidden := without_secrets("https://h.example/t?sig=QUJD/REVG=&a")) == hidden


def test_what_comes_compressed_is_unpacked_as_far_as_is_allowed(tmp_path: Path) -> None:
    bodies = {
        "/plain": (gzip.compress(b"whole" * 100), "gzip"), "/bomb": (gzip.compress(bytes(5_000_000)), "gzip"),
        "/twice": (gzip.compress(gzip.compress(bytes(5_000_000))), "gzip, gzip"), "/no": (b"no gzip", "gzip"),
    }  # fmt: skip
    with hosting(lambda asked: Said(bodies[asked.path][0], 200, {"Content-Encoding": bodies[asked.path][1]})) as host:
        web = web_of(tmp_path)
        assert web.get(f"{host.url}/plain").body == b"whole" * 100
        for path, told in (
            ("/bomb", "sends more than 100 kB"),
            ("/twice", "comes as 'gzip, gzip'"),
            ("/no", "cannot be"),
        ):
            with pytest.raises(DataError, match=told):
                web.get(host.url + path, most_bytes=100_000)


def test_hosts_are_told_who_asks(tmp_path: Path) -> None:
    with hosting(lambda _: Said(b"")) as host:
        web_of(tmp_path, contact="me@example.org").get(f"{host.url}/a")
        assert host.asked[0].headers["user-agent"].startswith("earthtone/")
        assert "me@example.org" in host.asked[0].headers["user-agent"]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "/vsicurl/http://x/a.tif", "/etc/passwd", "s3://bucket/a.tif", "ftp://host/a", "http://",
     "https://name:word@host/a", "gs://b/a", "vrt:///a.tif", "http://[bad/a"],
)  # fmt: skip
def test_only_plain_addresses_of_the_web_are_opened(url: str) -> None:
    with pytest.raises(DataError):
        checked_url(url)
    with pytest.raises(DataError):
        checked_url(url, "https://example.org/api")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"]
)
def test_an_answer_never_leads_into_this_network(host: str) -> None:
    assert not is_public(host)
    with pytest.raises(DataError, match="not on the internet; refused"):
        checked_url(f"https://{host}/latest/meta-data", "https://8.8.8.8/api")
    checked_url(f"http://{host}/tiles")  # the user's own
    checked_url(f"http://{host}/tiles", f"http://{host}/api")


def test_https_is_never_left() -> None:
    with pytest.raises(DataError, match="which is not https://"):
        checked_url("http://8.8.8.8/a", "https://8.8.8.8/b")


def test_redirects_follow_the_same_rules(tmp_path: Path) -> None:
    def speaks(asked: Asked) -> Said:
        targets = {"/a": "/b", "/file": "file:///etc/passwd", "/loop": "/loop", "/ftp": "ftp://127.0.0.1/a"}
        if target := targets.get(asked.path):
            return Said(b"", 302, {"Location": target})
        return Said(b"end")

    with hosting(speaks) as host:
        web = web_of(tmp_path)
        assert web.get(f"{host.url}/a").body == b"end"
        for path in ("/file", "/ftp"):
            with pytest.raises(DataError, match=r"http:// or https:// expected"):
                web.get(host.url + path)
        with pytest.raises(DataError, match="more than 10 times"):
            web.get(f"{host.url}/loop")


def test_messages_hold_no_secrets(tmp_path: Path) -> None:
    assert shown_url("https://n:p@host/a?key=secret#x") == "https://host/a"
    with hosting(lambda _: Said(b"", 500)) as host, pytest.raises(DataError) as caught:
        web_of(tmp_path).get(f"{host.url}/a?key=secret")
    assert "secret" not in str(caught.value)
    assert all(b"secret" not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_dates_and_seconds() -> None:
    assert retry_after("7") == 7.0 and retry_after(None) == retry_after("soon") == 0.0
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 55 < retry_after(later) <= 60


@pytest.mark.slow
def test_a_host_has_a_pace_and_a_day_of_its_own(tmp_path: Path) -> None:
    with hosting(lambda _: Said(b"{}")) as host:
        web, other = web_of(tmp_path), web_of(tmp_path)
        for one in (web, other):
            one.pace("127.0.0.1", 4.0, per_day=4)
        start = time.time()
        for one in (web, other, web, other):
            one.get(f"{host.url}/a", headers={})
        assert time.time() - start >= 3 / 4
        with pytest.raises(QuotaReachedError, match=r"127\.0\.0\.1 has been asked 4 times today, as often as"):
            web.get(f"{host.url}/a", headers={})
        assert len(host.asked) == 4
        (tmp_path / "cache" / "hosts" / "127.0.0.1.day").write_text("1 99")  # another day
        web.get(f"{host.url}/a", headers={})


def test_a_judge_reads_what_a_host_says_in_its_own_words(tmp_path: Path) -> None:
    """As Freesound does: 429 without a header, and words that mean a minute, a day, or never."""

    def judge(answer: Answer) -> None:
        if b"suspended" in answer.body:
            raise DataError("the key is suspended")
        if b"/day" in answer.body:
            raise QuotaReachedError("enough for today", 3600.0)
        if b"/minute" in answer.body:
            raise TransientError("too fast", 0.1)

    said = {"/minute": b"(60/minute)", "/day": b"(2000/day)", "/never": b"credential has been suspended"}

    def speaks(asked: Asked) -> Said:
        again = host.paths().count(asked.path) > 1
        return Said(b"fine") if asked.path == "/minute" and again else Said(said[asked.path], 429)

    with hosting(speaks) as host:
        web = web_of(tmp_path)
        assert web.get(f"{host.url}/minute", headers={}, judge=judge).body == b"fine"
        with pytest.raises(QuotaReachedError, match=r"enough for today; type the same again after 20.* UTC"):
            web.get(f"{host.url}/day", headers={}, judge=judge)
        with pytest.raises(DataError, match="suspended"):
            web.get(f"{host.url}/never", headers={}, judge=judge)
        assert host.paths() == ["/minute", "/minute", "/day", "/never"]


def test_a_key_in_an_address_is_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with hosting(lambda _: Said(b"", 503)) as host, caplog.at_level("DEBUG"), pytest.raises(HostError) as caught:
        web_of(tmp_path).get(f"{host.url}/a?key=s3cret", headers={"Authorization": "Token s3cret"})
    assert "s3cret" not in caplog.text and "s3cret" not in str(caught.value)
    assert not any(b"s3cret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
