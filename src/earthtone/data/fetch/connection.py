"""One request for one file: redirects followed by our own rules, never a step down from https."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import httpx

from earthtone import __version__
from earthtone.data.fetch.catalogue import allowed_url, shown_url
from earthtone.errors import DataError

_REDIRECTS = 10
_LATER = (408, 425, 429, 500, 502, 503, 504)


class TryAgainError(Exception):
    """A fault that may pass; `wait` is how long the server asks to wait, in seconds."""

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait for a server. `retries` counts faults in a row without a new byte."""

    retries: int = 8
    backoff_seconds: float = 1.0
    longest_wait_seconds: float = 300.0
    connect_seconds: float = 20.0
    read_seconds: float = 60.0


def make_client(patience: Patience) -> httpx.Client:
    """Return a client without automatic redirects or decompression; this machine is asked without a proxy."""
    hosts = ("127.0.0.1", "localhost", "[::1]")
    return httpx.Client(
        follow_redirects=False,
        timeout=httpx.Timeout(patience.read_seconds, connect=patience.connect_seconds),
        headers={"Accept-Encoding": "identity", "User-Agent": f"earthtone/{__version__}"},
        mounts={f"all://{host}": httpx.HTTPTransport() for host in hosts},
    )


@contextmanager
def opened(
    client: httpx.Client, url: str, headers: Mapping[str, str], *, sha256_known: bool, patience: Patience
) -> Iterator[httpx.Response]:
    """Yield the response at the end of the redirects, its body unread; the status is 200, 206 or 416.

    Raises TryAgainError for what may pass, DataError for what will not.
    """
    asked = url
    for _ in range(_REDIRECTS + 1):
        try:
            with client.stream("GET", asked, headers=dict(headers)) as response:
                if response.is_redirect:
                    asked = _next_url(url, asked, response, sha256_known)
                    continue
                _check_status(url, response, patience)
                yield response
                return
        except (httpx.InvalidURL, UnicodeError) as error:  # the latter for hosts that are no names
            raise DataError(f"{url} leads to an address that is none: {error}") from error
        except httpx.HTTPError as error:
            raise TryAgainError(str(error) or type(error).__name__) from error
    raise DataError(f"{url} leads from one address to the next, more than {_REDIRECTS} times; try another mirror")


def _next_url(url: str, asked: str, response: httpx.Response, sha256_known: bool) -> str:
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


def _check_status(url: str, response: httpx.Response, patience: Patience) -> None:
    status = response.status_code
    if status in (200, 206, 416):
        return
    if status in _LATER:
        wait = _retry_after(response.headers.get("retry-after"))
        if wait > patience.longest_wait_seconds:
            raise DataError(f"{url} is busy (status {status}) and asks to wait {wait:.0f} s; type the same again then")
        raise TryAgainError(f"the server answers {status}", wait)
    if status in (401, 403):
        raise DataError(f"{url} is refused (status {status}): it needs a login or a consent, or has moved")
    raise DataError(f"{url} answers {status}; the file has moved or gone, look at the set's homepage")


def _retry_after(value: str | None) -> float:
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
