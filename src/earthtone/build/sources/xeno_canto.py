"""xeno-canto, version 3 (https://xeno-canto.org/explore/api): recordings of animals, and soundscapes.

Its key stands in the address of every request. So addresses are told without their query, and what the archive says is
told without the key.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from earthtone.build.sources.source import (
    Page,
    Recording,
    RecordingSource,
    ask_json,
    key_refused,
    required_key,
    seconds_of,
    suffix_of,
    text_of,
    web_address,
    whole_of,
)  # fmt: skip
from earthtone.build.sources.walk import Box, Found, day_of, moment_of, place_of, rows_of, walk, words_without
from earthtone.build.web import Answer, TransientError, Web
from earthtone.errors import ConfigError, DataError

KEY = "XENO_CANTO_API_KEY"
WHERE = "https://xeno-canto.org/account"
_PAGE = 500  # 50 to 500
_SLOWEST = 1 / 64  # requests a second
_TAG = re.compile(r'[a-z]+:(?:"[^"]{1,200}"|[^\s":]{1,200})')
_MORE = {"group": "grp", "english": "en", "type": "type", "quality": "q", "uploaded": "uploaded", "country": "cnt",
         "locality": "loc", "hz": "smp", "method": "method", "device": "dvc", "altitude_m": "alt"}  # fmt: skip


@dataclass(frozen=True)
class XenoCanto(RecordingSource):
    """Recordings of xeno-canto by tags and place. Its times are local, their zone is not told."""

    name: ClassVar[str] = "xeno-canto"
    per_second: ClassVar[float] = 1.0
    terms: ClassVar[str] = (
        "xeno-canto: no mass downloads without asking its team first; credit each recordist; most recordings are "
        "BY-NC-SA or BY-NC-ND (allow: nc, nd), and ND ones may not be cut and passed on"
    )

    endpoint: str = "https://xeno-canto.org"
    tags: str = ""
    """tags of its search, such as grp:soundscape q:A; other words are refused there"""

    def __post_init__(self) -> None:
        left = re.sub(_TAG, "", self.tags).split()
        if left:
            raise ConfigError(
                f'xeno-canto tags {left[0]!r:.60}; TAG:VALUE expected, such as grp:soundscape cnt:"spain"'
            )
        if not self.tags.strip() and self.filters.box is None:
            raise ConfigError("xeno-canto lists nothing without a box or tags; give one, such as tags: grp:soundscape")

    def prepare(self, web: Web) -> None:
        super().prepare(web)
        required_key(KEY, WHERE)

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        key = required_key(KEY, WHERE)
        parts: list[Box | None] = [*self.filters.boxes()] or [None]
        judge = _Judge(web, self.host, self.per_second, key)
        return walk(parts, cursor, 1, lambda part, page: self._asked(web, part, page, key, judge))

    def _asked(self, web: Web, part: Box | None, page: int, key: str, judge: "_Judge") -> Found:
        query = {"query": self._tags(part), "per_page": _PAGE, "page": page, "key": key}
        said = ask_json(web, f"{self.endpoint}/api/3/recordings?{urlencode(query)}", judge=judge)
        rows = rows_of(said, "recordings", "xeno-canto")
        there, pages = whole_of(said.get("page")), whole_of(said.get("numPages")) or 0
        if there not in (None, page):
            raise DataError(
                f"xeno-canto answers with page {there} where page {page} was asked for; type the same again"
            )
        if page < pages and not rows:
            raise DataError(f"xeno-canto's page {page} of {pages} comes empty; type the same again to go on from there")
        found = Found(page + 1 if page < pages else None, whole_of(said.get("numRecordings")), len(rows))
        for row in rows:
            recording = self._recording(row)
            if isinstance(recording, str):
                found.left_out[recording] += 1
            else:
                found.recordings.append(recording)
        return found

    def _tags(self, part: Box | None) -> str:
        tags, filters = [" ".join(self.tags.split())] if self.tags.strip() else [], self.filters
        if part is not None:
            west, south, east, north = part
            tags.append(f"box:{south:g},{west:g},{north:g},{east:g}")
        if filters.least_seconds is not None or filters.most_seconds is not None:
            # In whole seconds here, to the wider side.
            tags.append(f"len:{int(filters.least_seconds or 0)}-{int((filters.most_seconds or 99_998) + 1)}")
        return " ".join(tags)

    def _recording(self, row: Mapping[str, Any]) -> Recording | str:
        """Return a row as a recording, or why it is none."""
        number = text_of(row.get("id"))
        if not re.fullmatch(r"\d{1,12}", number):
            return "without an id"
        file = row.get("file")
        media = web_address(file.get("url") if isinstance(file, dict) else file)
        if not media:
            return "without a file: the species is protected"
        longitude, latitude = place_of(row.get("lat"), row.get("lon"))
        species = " ".join(filter(None, (text_of(row.get(name)) for name in ("gen", "sp", "ssp"))))
        said = {"species": species, **{ours: text_of(row.get(theirs)) for ours, theirs in _MORE.items()}}
        page = web_address(row.get("url")) or f"https://xeno-canto.org/{number}"
        return Recording(
            self.name,
            number,
            url=page,
            media_url=media,
            longitude=longitude,
            latitude=latitude,
            coord_source="recordist" if latitude is not None else "",
            time=_time(text_of(row.get("date")), text_of(row.get("time"))),
            seconds=seconds_of(row.get("length")),
            license=web_address(row.get("lic")) or text_of(row.get("lic")),
            author=text_of(row.get("rec")),
            title=f"XC{number} {text_of(row.get('en')) or species}".strip(),
            suffix=suffix_of(text_of(row.get("file-name"))),
            more={name: value for name, value in said.items() if value},
        )


def _time(day: str, time: str) -> str:
    """Return the local time of `2024-05-11` and `5:45`; less where one of them is not whole."""
    day = day_of(day)
    match = re.fullmatch(r"(\d{1,2}):(\d{2})(?::\d{2})?", time)
    return moment_of(f"{day}T{match[1]:0>2}:{match[2]}")[0] or day if match and len(day) == 10 else day


class _Judge:
    """Reads answers that are errors, which come in several shapes; 503 says that requests come too fast."""

    def __init__(self, web: Web, host: str, per_second: float, key: str) -> None:
        self._web, self._host, self._per_second, self._key = web, host, per_second, key

    def __call__(self, answer: Answer) -> None:
        words = words_without(answer.body, self._key)
        if answer.status == 503:
            self._per_second = max(self._per_second / 2, _SLOWEST)
            self._web.pace(self._host, self._per_second)
            raise TransientError("the server answers 503, asked too fast", 1 / self._per_second)
        if answer.status == 429:
            raise TransientError(f"the server answers 429{words}", 60.0)
        if answer.status in (401, 403) or (answer.status == 400 and re.search(r"\bkey\b", words)):
            raise key_refused(KEY, WHERE, words.strip(" ()"))
        if 400 <= answer.status < 500 and answer.status not in (408, 425):
            raise DataError(f"xeno-canto answers {answer.status}{words}; are the tags right? {WHERE} tells of them")
