"""What every source of recordings is: what is asked for, pages of recordings, and the address of each file.

A source is a frozen dataclass of what is asked for; it holds no connection and no key. `listing.py` walks through its
pages, `fetching.py` brings the files.
"""

import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from earthtone.build.licences import credit_line, is_admitted, licence_of
from earthtone.build.web import Answer, Judge, TransientError, Web, is_public, shown_url
from earthtone.errors import ConfigError, DataError, one_line


@dataclass(frozen=True)
class Recording:
    """One recording as a source tells it; null and empty: it does not tell. Nothing here is guessed."""

    source: str
    source_id: str
    """Of this sound; the same for ever."""
    url: str = ""
    """Its page, for people."""
    media_url: str = ""
    """Where its file is, without a key; see `RecordingSource.media_address`."""
    longitude: float | None = None
    latitude: float | None = None
    coord_uncertainty_m: float | None = None
    coord_source: str = ""
    """Who says the place: the field of the source, such as `geotag`."""
    time: str = ""
    """When it was recorded, as ISO 8601 tells a year, a month, a day, a local time, or with its offset a moment."""
    time_zone_known: bool = False
    """Whether `time` has an offset that is that of the place or UTC."""
    seconds: float | None = None
    license: str = ""
    """Of the sound itself, as the source says it."""
    ai_preference: str = ""
    """One of AI_PREFERENCES."""
    author: str = ""
    title: str = ""
    credit: str = ""
    """What the source wants to be printed; else made of title, author and licence."""
    bytes: int | None = None
    hash: str = ""
    hash_kind: str = ""
    """md5, sha1 or sha256."""
    suffix: str = ""
    """Of its file, such as `.mp3`."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Further words of the source, kept as they are."""

    def cells(self) -> dict[str, Any]:
        """Return the cells that a row of our tables of recordings has of it (build/recordings/recordings.py)."""
        licence = licence_of(self.license, self.ai_preference)
        return {
            "id": f"{self.source}:{self.source_id}", **_time_cells(self.time, self.time_zone_known),
            "longitude": self.longitude, "latitude": self.latitude, "coord_uncertainty_m": self.coord_uncertainty_m,
            "coord_source": self.coord_source or None, "seconds": self.seconds, "bytes": self.bytes,
            "source": self.source, "license": self.license or None, "url": self.url or None,
            "attribution": self.credit or credit_line(self.title or self.source_id, self.author, licence, self.url),
            "author": self.author or None, "title": self.title or None, "ai_preference": self.ai_preference or None,
            **{name: number_of(self.more[name]) for name in ("start_s", "end_s") if name in self.more},
        }  # fmt: skip


def _time_cells(time: str, zone_known: bool) -> dict[str, Any]:
    empty = {"datetime": None, "local_time": None, "day": None, "time_zone_known": False}
    if _is_day(time):
        return {**empty, "day": time}
    try:
        found = datetime.fromisoformat(time) if len(time) > 10 else None
    except ValueError:
        found = None
    if found is None:
        return empty
    if zone_known and found.tzinfo is not None:
        local = found.replace(tzinfo=None).isoformat(" ")
        return {**empty, "datetime": found.astimezone(UTC), "local_time": local, "time_zone_known": True}
    return {**empty, "local_time": found.replace(tzinfo=None).isoformat(" ")}


@dataclass(frozen=True)
class Page:
    """Some recordings of a source, in its own order."""

    recordings: tuple[Recording, ...]
    cursor: str | None = None
    """From where the next page is asked for; null: this is the last one. It holds no key."""
    total: int | None = None
    """How many rows the source says that the whole query has, from its beginning to its end; null: it says nothing."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows of the page that are no recordings here, by reason: `gone`, `without a file`."""
    rows: int | None = None
    """How many of the rows that `total` counts are on this page; null: recordings and what is left out."""
    remarks: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many of the rows that `total` counts are on this page."""
        return len(self.recordings) + sum(self.left_out.values()) if self.rows is None else self.rows


@dataclass(frozen=True)
class Filters:
    """Which recordings are wanted, whatever the source. Each row is looked at here, also where the source was asked so.

    Rows that do not tell what a filter asks for are left out, and counted apart.
    """

    box: tuple[float, float, float, float] | None = None
    """west, south, east, north in degrees; west greater than east crosses the 180th meridian"""
    since: str | None = None
    """first day of recording, such as 2015-01-01"""
    until: str | None = None
    """last day of recording"""
    allow: tuple[str, ...] = ()
    """licences beside CC0, public domain, BY and BY-SA: nc, nd"""
    least_seconds: float | None = None
    most_seconds: float | None = None
    most_uncertainty_m: float | None = None
    """how far the place may be off; where that is not known the row stays"""
    leave_out_ai: tuple[str, ...] = ()
    """what authors say of generative models, such as no-gen-ai, with which rows are left out"""
    placed: bool = True
    """leave out what has no place"""

    def __post_init__(self) -> None:
        if self.box is not None:
            west, south, east, north = self.box
            if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90 and west != east):
                raise ConfigError(f"box {self.box}; west, south, east, north in degrees expected, such as -10,40,5,45")
        for name, day in (("since", self.since), ("until", self.until)):
            if day is not None and not _is_day(day):
                raise ConfigError(f"{name} {day!r:.40}; a day such as 2015-01-31 expected")
        if self.since and self.until and self.since > self.until:
            raise ConfigError(f"since {self.since} is after until {self.until}")
        is_admitted(licence_of("CC0"), self.allow)

    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Return the box as one or two that do not cross the 180th meridian; none where there is no box."""
        if self.box is None:
            return []
        west, south, east, north = self.box
        if west < east:
            return [self.box]
        return [part for part in ((west, south, 180.0, north), (-180.0, south, east, north)) if part[0] < part[2]]

    def why_not_yet(self, row: Recording) -> str | None:
        """Return why a recording of which not all is known yet is left out, whatever the rest may be."""
        licence = licence_of(row.license)
        if row.license and not is_admitted(licence, self.allow):
            return f"licence not allowed: {licence.id}"
        placed = row.longitude is not None and row.latitude is not None
        return (self._place(row) if placed else None) or (self._day(row) if _is_day(row.time[:10]) else None)

    def why_not(self, row: Recording) -> str | None:
        """Return why a recording is left out; None where it stays."""
        licence = licence_of(row.license, row.ai_preference)
        if not is_admitted(licence, self.allow):
            return f"licence not allowed: {licence.id}"
        if row.ai_preference and row.ai_preference in self.leave_out_ai:
            return f"author's preference: {row.ai_preference}"
        return self._place(row) or self._day(row) or self._seconds(row)

    def _place(self, row: Recording) -> str | None:
        if row.longitude is None or row.latitude is None:
            return "without a place" if self.placed or self.box is not None else None
        if not (-180 <= row.longitude <= 180 and -90 <= row.latitude <= 90):
            return "a place that is none"
        if row.longitude == row.latitude == 0:
            return "at longitude 0, latitude 0"
        inside = (w <= row.longitude <= e and s <= row.latitude <= n for w, s, e, n in self.boxes())
        if self.box is not None and not any(inside):
            return "outside the box"
        far = row.coord_uncertainty_m is not None and self.most_uncertainty_m is not None
        if far and float(row.coord_uncertainty_m or 0) > float(self.most_uncertainty_m or 0):
            return "place not known well enough"
        return None

    def _day(self, row: Recording) -> str | None:
        if self.since is None and self.until is None:
            return None
        if not _is_day(row.time[:10]):
            return "without a day"
        day = row.time[:10]
        outside = (self.since is not None and day < self.since) or (self.until is not None and day > self.until)
        return "outside the days" if outside else None

    def _seconds(self, row: Recording) -> str | None:
        if self.least_seconds is None and self.most_seconds is None:
            return None
        if row.seconds is None:
            return "length not known"
        if self.least_seconds is not None and row.seconds < self.least_seconds:
            return "too short"
        return "too long" if self.most_seconds is not None and row.seconds > self.most_seconds else None


def _is_day(text: str) -> bool:
    try:
        return len(text) == 10 and bool(datetime.strptime(text, "%Y-%m-%d"))
    except ValueError:
        return False


@dataclass(frozen=True)
class RecordingSource(ABC):
    """What is asked of one source. A subclass adds fields for what it alone can be asked; `endpoint` gets its default.

    All fields but `endpoint` are the query: two sources with the same `query_id` list the same.
    """

    name: ClassVar[str]
    """As recipes name it and rows have it in `source`."""
    per_second: ClassVar[float] = 1.0
    per_day: ClassVar[int | None] = None
    terms: ClassVar[str]
    """One line on what the source asks of its users."""

    filters: Filters = field(default_factory=Filters)
    endpoint: str = ""

    @property
    def host(self) -> str:
        """The host that is asked for lists; empty for what lies on this machine."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def query_id(self) -> str:
        """A fingerprint of what is asked for; keys have no part in it."""
        return self.fingerprint()

    def fingerprint(self, more: str = "", *without: str) -> str:
        """Return a fingerprint of all fields but the endpoint and those of `without`, and of `more`."""
        asked = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("endpoint", *without)}
        text = json.dumps({"source": self.name, **asked, "more": more}, sort_keys=True, default=_plain)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def allows_private(self) -> bool:
        """Whether files may lie on this machine or in its network: where the source itself does."""
        return bool(self.host) and not is_public(self.host)

    def prepare(self, web: Web) -> None:
        """Tell `web` the source's pace, and raise ConfigError where a key is missing; called before all else."""
        if self.host:
            web.pace(self.host, self.per_second, self.per_day)

    @abstractmethod
    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        """Yield the pages from a cursor (null: the beginning) to the last one.

        Asked again with the cursor of a page, it yields what came after that page. Raises HostError, DataError,
        QuotaReachedError; ConfigError where a key is missing or refused.
        """

    def media_address(self, web: Web, recording: Recording) -> str | Path:
        """Return the address to fetch a file from, or its path here; signed and looked-up addresses are made now."""
        return recording.media_url


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Filters):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return str(value)


# Keys: from the environment alone, never shown, never in an address that is kept.


def required_key(variable: str, where: str) -> str:
    """Return a key from the environment. Raises ConfigError: a line with the variable and where to get a key."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{variable} is not set; get a key at {where} and type: export {variable}=YOUR_KEY")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{variable} holds spaces or letters that no key has; a key from {where} expected")
    return key


def key_refused(variable: str, where: str, said: str = "") -> ConfigError:
    """Return the error for a key that a host refuses; `said`, its words, are shown without the key."""
    key = os.environ.get(variable, "").strip()
    words = one_line(" ".join(said.replace(key, "***").split() if key else said.split()), 160)
    told = f" ({words})" if words else ""
    return ConfigError(f"{urlsplit(where).hostname} refuses the key of {variable}{told}; check it at {where}")


# Answers as JSON.

_HTML = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|\?xml)", re.IGNORECASE)


def ask_json(
    web: Web, url: str, *, headers: Mapping[str, str] | None = None, judge: Judge | None = None, values: Any = None
) -> Any:
    """Return what a host answers as JSON, whatever it is; never from the cache. Asked once more for a web page.

    Statuses of 400 and more that `judge` let pass are DataErrors with the host's words, without the address's query.
    `values` are posted as JSON. Raises HostError, DataError, QuotaReachedError.
    """

    odd = 0

    def judged(answer: Answer) -> None:
        nonlocal odd
        if answer.status < 400 and (_HTML.match(answer.body[:512]) or not answer.body.strip()):
            what = "a web page" if answer.body.strip() else "an empty answer"
            odd += 1
            if odd > 1:
                raise DataError(
                    f"{shown_url(url)}: {what} came in place of JSON, twice; a log-in page, or a fault of it"
                )
            raise TransientError(f"{what} came in place of JSON")
        if judge is not None:
            judge(answer)

    asked = {"Accept": "application/json", **(headers or {})}
    if values is None:
        answer = web.get(url, headers=asked, judge=judged)
    else:
        answer = web.post(url, values, headers=asked, judge=judged)
    if answer.status >= 400:
        raise DataError(f"{shown_url(url)} answers {answer.status}{said_by_host(answer.body)}")
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{shown_url(url)} answers with what is no JSON; an interface of its archive expected"
        ) from error


def said_by_host(body: bytes) -> str:
    """Return ` (words)` of an error's body in any of the shapes that archives have; empty where there are none.

    >>> said_by_host(b'{"error": {"original": {"message": "too many"}}}'), said_by_host(b"<html>")
    (' (too many)', '')
    """
    try:
        found = json.loads(body[:20_000])
    except (ValueError, RecursionError):
        return ""
    words: list[str] = []
    for key in ("error", "detail", "message"):
        inner = found.get(key) if isinstance(found, dict) else None
        for _ in range(2):
            if isinstance(inner, dict):
                inner = inner.get("message") or inner.get("original") or inner.get("code")
        if isinstance(inner, str) and inner.strip() and inner not in words:
            words.append(" ".join(inner.split()))
    return f" ({one_line(': '.join(words), 160)})" if words else ""


# Values as archives write them, numbers as strings and worse; null for what cannot be read.


def number_of(value: object) -> float | None:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 1e15 else None


def whole_of(value: object) -> int | None:
    """Return a number that is whole and not negative."""
    found = number_of(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def seconds_of(value: object) -> float | None:
    """Return seconds from a number, `183.04`, `MM:SS` or `H:MM:SS`.

    >>> seconds_of("1:02:03"), seconds_of("183.04"), seconds_of("?")
    (3723.0, 183.04, None)
    """
    if isinstance(value, str) and re.fullmatch(r"\s*(\d{1,4}:)?\d{1,4}:\d{1,2}(\.\d+)?\s*", value):
        total = 0.0
        for part in value.split(":"):
            total = 60 * total + float(part)
        return total
    found = number_of(value)
    return found if found is not None and found >= 0 else None


def text_of(value: object, longest: int = 500) -> str:
    """Return a text on one line; of a list its first text; markup and control characters taken out."""
    while isinstance(value, list):
        value = value[0] if value else ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = re.sub(r"<[^<>]{0,300}>", " ", str(value)[: 4 * longest])
    return one_line(" ".join(text.split()), longest)


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name or address in small letters, without what follows a `?`."""
    found = re.search(r"\.([A-Za-z0-9]{1,8})$", name.partition("?")[0].partition("#")[0])
    return f".{found[1].lower()}" if found else ""


def web_address(value: object) -> str:
    """Return an address of http or https, `//host/path` as https; empty for all else."""
    text = text_of(value, 2000)
    text = f"https:{text}" if text.startswith("//") else text
    try:
        split = urlsplit(text)
    except ValueError:
        return ""
    return text if split.scheme in ("http", "https") and split.hostname and "@" not in split.netloc else ""
