"""Sounds of the Internet Archive: a collection's items by the scrape interface, each item's record for its files.

https://archive.org/developers/, the interfaces `scrape` and `metadata`. Files are asked for at `/download/`, which
leads to the node that has them now.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode

from earthtone.build.sources.source import (
    Page,
    Recording,
    RecordingSource,
    ask_json,
    number_of,
    said_by_host,
    seconds_of,
    suffix_of,
    text_of,
    whole_of,
)
from earthtone.build.web import Answer, HostError, TransientError, Web, shown_url
from earthtone.errors import ConfigError, DataError

_FIELDS = "identifier,title,creator,date,licenseurl,latitude,longitude"
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")
_APOREE = re.compile(r"aporee_(\d+)_(\d+)")
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.\d+)?Z?)?")
_SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff")
_DERIVED = (".mp3", ".ogg")  # where there is no original, the first kind of these
_SILENT_ITEMS = 3  # records in a row that cannot be had: the Archive does not answer
GONE, NO_FILE, LOGIN, SILENT = "gone", "without a sound file", "needs a login", "its record cannot be had"


@dataclass(frozen=True)
class InternetArchive(RecordingSource):
    """A collection of the Internet Archive. Each item is asked for on its own: two a second."""

    name = "internet-archive"
    per_second = 2.0
    terms = "each item has its own licence; name its author, and ask slowly (archive.org/about/terms)"

    endpoint: str = "https://archive.org"
    collection: str = "radio-aporee-maps"
    """name of a collection, as in its address"""
    query: str = ""
    """further words of a search, in the Archive's own language, such as subject:rain"""

    def __post_init__(self) -> None:
        if not _IDENTIFIER.fullmatch(self.collection):
            raise ConfigError(f"collection {self.collection!r:.60}; a name such as radio-aporee-maps expected")

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        while True:
            said = self._scraped(web, cursor)
            following = text_of(said.get("cursor"), 4000) or None
            yield self._page(web, said["items"], following, whole_of(said.get("total")))
            if following is None:
                return
            cursor = following

    def asked(self) -> str:
        """Return what the Archive is asked for, in its language."""
        parts = [f"collection:{self.collection}"]
        if self.filters.since or self.filters.until:
            parts.append(f"date:[{self.filters.since or '0001-01-01'} TO {self.filters.until or '9999-12-31'}]")
        return " AND ".join([*parts, f"({self.query})"] if self.query else parts)

    def _scraped(self, web: Web, cursor: str | None) -> dict[str, Any]:
        values = {"q": self.asked(), "fields": _FIELDS, "sorts": "identifier", "count": "100"}
        if cursor:
            values["cursor"] = cursor
        url = f"{self.endpoint}/services/search/v1/scrape?{urlencode(values)}"
        said = ask_json(web, url, judge=_judge)
        if not isinstance(said, dict) or not isinstance(said.get("items"), list):
            raise DataError(f"{shown_url(url)} answers without `items`; the Archive's list of items expected")
        return said

    def _page(self, web: Web, items: list[Any], cursor: str | None, total: int | None) -> Page:
        rows: list[Recording] = []
        left_out: Counter[str] = Counter()
        silent = 0
        for item in items:
            id = text_of(item.get("identifier")) if isinstance(item, dict) else ""
            if not _IDENTIFIER.fullmatch(id):
                left_out["an odd name"] += 1
                continue
            if (reason := self.filters.why_not_yet(self._described(id, item))) is not None:
                left_out[reason] += 1
                continue
            try:
                record = ask_json(web, f"{self.endpoint}/metadata/{id}")
                silent = 0
            except HostError:
                silent += 1
                if silent >= _SILENT_ITEMS:
                    raise
                left_out[SILENT] += 1
                continue
            found = self._recordings(id, record)
            if isinstance(found, str):
                left_out[found] += 1
            else:
                rows += found
        return Page(tuple(rows), cursor, total, dict(left_out), rows=len(items))

    def _described(self, id: str, said: Mapping[str, Any]) -> Recording:
        """Return what an item's metadata say of all its sounds."""
        aporee = _APOREE.fullmatch(id)
        description = text_of(unescape(text_of(said.get("description"), 1000)), 1000)  # it is HTML
        more = {"tags": _texts(said.get("subject")), "description": description}
        if aporee:
            more["aporee_page"] = f"https://aporee.org/maps/?loc={aporee[1]}&snd={aporee[2]}"
        author, title, time = _texts(said.get("creator")), text_of(said.get("title")), _time(text_of(said.get("date")))
        license = _texts(said.get("licenseurl"))
        parts = [title or id, author or "author unknown", time[:10], license or "licence unknown"]
        ours = "Courtesy of radio aporee ::: maps" if aporee else "Internet Archive"
        return Recording(
            self.name, id, f"{self.endpoint}/details/{id}", "", number_of(_first(said.get("longitude"))),
            number_of(_first(said.get("latitude"))), coord_source="metadata", time=time, license=license, author=author,
            title=title, credit=", ".join(part for part in [*parts, ours] if part),
            more={name: text for name, text in more.items() if text},
        )  # fmt: skip

    def _recordings(self, id: str, record: Any) -> list[Recording] | str:
        """Return an item's sounds, or why it has none."""
        if not isinstance(record, dict) or not isinstance(record.get("metadata"), dict) or record.get("is_dark"):
            return GONE  # an item that is not there is `{}`
        files = [file for file in record.get("files") or [] if isinstance(file, dict)]
        sounds = [file for file in files if suffix_of(text_of(file.get("name"))) in _SOUNDS and _is_plain(file)]
        chosen = [file for file in sounds if file.get("source") == "original"]
        for suffix in _DERIVED:
            chosen = chosen or [file for file in sounds if suffix_of(text_of(file["name"])) == suffix][:1]
        if not chosen:
            return NO_FILE
        free = [file for file in chosen if text_of(file.get("private")).lower() != "true"]
        described = self._described(id, record["metadata"])
        return [self._recording(described, file) for file in free] or LOGIN

    def _recording(self, item: Recording, file: Mapping[str, Any]) -> Recording:
        name = text_of(file["name"], 1000)
        hash_kind = next((kind for kind in ("md5", "sha1") if text_of(file.get(kind))), "")
        return replace(
            item, source_id=f"{item.source_id}/{name}", seconds=seconds_of(_first(file.get("length"))),
            media_url=f"{self.endpoint}/download/{item.source_id}/{quote(name)}?cnt=0",  # not counted as a listener
            bytes=whole_of(_first(file.get("size"))), hash=text_of(file.get(hash_kind)).lower(), hash_kind=hash_kind,
            suffix=suffix_of(name),
        )  # fmt: skip


def _judge(answer: Answer) -> None:
    """Errors of the scrape interface come with status 200, too."""
    if answer.status == 200 and b'"items"' not in answer.body:
        if words := said_by_host(answer.body):
            raise DataError(f"the Archive lists nothing{words}; check the query")
        raise TransientError("an answer without a list of items")


def _is_plain(file: Mapping[str, Any]) -> bool:
    name = file.get("name")
    return isinstance(name, str) and len(name) < 1000 and ".." not in name.split("/") and text_of(name, 1000) == name


def _first(value: object) -> object:
    return value[0] if isinstance(value, list) and value else value


def _texts(value: object) -> str:
    """Return a value that is a text or a list of them as one text."""
    values = value if isinstance(value, list) else [value]
    return ", ".join(dict.fromkeys(filter(None, map(text_of, values[:20]))))


def _time(said: str) -> str:
    """Return a date as ISO 8601; midnight is what the Archive adds to a day."""
    found = _DATE.fullmatch(said)
    if found is None:
        return said if re.fullmatch(r"\d{4}(-\d{2})?", said) else ""
    day, clock = found.groups()
    return day if clock is None or clock.startswith("00:00") else f"{day}T{clock}"
