"""Freesound (https://freesound.org/docs/api/): sounds of all kinds with a place; their previews, which need no log-in.

A box is asked for as circles around its parts, because the interface has told the corners of rectangles in either
order; which rows lie in the box is found out here.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

from earthtone.build.sources.source import (
    Page,
    Recording,
    RecordingSource,
    ask_json,
    key_refused,
    required_key,
    said_by_host,
    seconds_of,
    suffix_of,
    text_of,
    web_address,
    whole_of,
)  # fmt: skip
from earthtone.build.sources.walk import Box, Found, place_of, rows_of, walk
from earthtone.build.web import Answer, QuotaReachedError, TransientError, Web
from earthtone.errors import ConfigError
from earthtone.geo import great_circle_km

KEY = "FREESOUND_API_KEY"
WHERE = "https://freesound.org/apiv2/apply/"
_PAGE = 150  # the most; larger ones are cut without a word
_WIDEST = 60.0  # degrees of a part of a box: the farthest point of wider ones is no corner
_MOST_PARTS = 16
_LONGEST = 2.5  # times as long as high: one circle about it then asks for half as much again as several
_DAY_SECONDS = 86_400.0
_FIELDS = (
    "id", "name", "username", "url", "geotag", "created", "license", "gen_ai_preference", "type", "channels",
    "filesize", "samplerate", "duration", "md5", "category", "subcategory", "previews",
)  # fmt: skip
#: Further fields that are kept as they are, by our names.
_MORE = {"uploaded": "created", "category": "category", "subcategory": "subcategory", "original_type": "type",
         "original_bytes": "filesize", "original_md5": "md5", "channels": "channels", "hz": "samplerate"}  # fmt: skip
_RATE = re.compile(r"\(\s*\d+\s*/\s*(second|minute|hour|day)\s*\)")
_RATE_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}


class _PastTheEndError(Exception):
    """A page after the last one was asked for."""


@dataclass(frozen=True)
class Freesound(RecordingSource):
    """Sounds of Freesound by words and place. It tells when a sound was uploaded, not when it was recorded."""

    name: ClassVar[str] = "freesound"
    per_second: ClassVar[float] = 0.9  # 60 a minute, as the host's clock has it
    per_day: ClassVar[int | None] = 2000
    terms: ClassVar[str] = (
        "Freesound: its interface is free for non-commercial use, with one key a project; credit each author and link "
        "to the sound; gen_ai_preference is what authors want of generative models"
    )

    endpoint: str = "https://freesound.org"
    words: str = ""
    """words searched for in names, tags and descriptions"""
    preview: Literal["hq-ogg", "hq-mp3", "lq-ogg", "lq-mp3"] = "hq-ogg"
    """hq: about 192 (ogg) or 128 (mp3) kbit/s; lq: 80 or 64. Originals need a log-in and are not fetched"""

    def __post_init__(self) -> None:
        if self.filters.since or self.filters.until:
            raise ConfigError(
                "freesound tells when a sound was uploaded, not when it was recorded; leave out since and until"
            )

    def prepare(self, web: Web) -> None:
        super().prepare(web)
        required_key(KEY, WHERE)

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        boxes = self.filters.boxes()
        parts: list[Box | None] = [part for box in boxes for part in parts_of(box)] if boxes else [None]
        headers = {"Authorization": f"Token {required_key(KEY, WHERE)}"}
        return walk(parts, cursor, 1, lambda part, page: self._asked(web, headers, part, page, parts))

    def _asked(
        self, web: Web, headers: Mapping[str, str], part: Box | None, page: int, parts: list[Box | None]
    ) -> Found:
        query = {
            "query": self.words, "filter": self._filter(part), "fields": ",".join(_FIELDS), "sort": "created_asc",
            "page_size": _PAGE, "page": page,
        }  # fmt: skip
        url = f"{self.endpoint}/apiv2/search/?{urlencode(query)}"
        try:
            said = ask_json(web, url, headers=headers, judge=lambda answer: _judge(answer, page))
        except _PastTheEndError:  # the last row of the last page was withdrawn meanwhile
            return Found()
        rows = rows_of(said, "results", "Freesound")
        found = Found(_next_page(said.get("next"), page), whole_of(said.get("count")), len(rows))
        for row in rows:
            recording = self._recording(row)
            if isinstance(recording, str):
                found.left_out[recording] += 1
            elif _part_with(recording, parts) == part:  # circles overlap
                found.recordings.append(recording)
        found.rows = len(found.recordings) + found.left_out.total()
        return found

    def _filter(self, part: Box | None) -> str:
        filters, words = self.filters, []
        if part is not None:
            (latitude, longitude), km = _circle(part)
            words.append(f"{{!geofilt sfield=geotag pt={latitude:.5f},{longitude:.5f} d={km:.2f}}}")
        elif filters.placed:
            words.append("is_geotagged:true")
        # Sampling+ of old sounds gives no rights here.
        names = ["Attribution", "Creative Commons 0", *(["Attribution NonCommercial"] if "nc" in filters.allow else [])]
        quoted = " OR ".join(f'"{name}"' for name in names)
        words.append(f"license:({quoted})")
        if filters.least_seconds is not None or filters.most_seconds is not None:
            most = "*" if filters.most_seconds is None else f"{filters.most_seconds:g}"
            words.append(f"duration:[{filters.least_seconds or 0:g} TO {most}]")
        return " ".join(words)

    def _recording(self, row: Mapping[str, Any]) -> Recording | str:
        """Return a row as a recording, or why it is none."""
        number = whole_of(row.get("id"))
        if number is None:
            return "without an id"
        previews = row.get("previews")
        media = web_address(previews.get(f"preview-{self.preview}")) if isinstance(previews, dict) else ""
        if not media:
            return "without a preview"
        words = text_of(row.get("geotag")).split()  # such as `41.00823 28.97312`
        longitude, latitude = place_of(*words) if len(words) == 2 else (None, None)
        said = {ours: text_of(row.get(theirs)) for ours, theirs in _MORE.items()}
        return Recording(
            self.name,
            str(number),
            url=web_address(row.get("url")) or f"https://freesound.org/s/{number}/",
            media_url=media,
            longitude=longitude,
            latitude=latitude,
            coord_source="geotag" if latitude is not None else "",
            seconds=seconds_of(row.get("duration")),
            license=text_of(row.get("license")),
            ai_preference=text_of(row.get("gen_ai_preference")),
            author=text_of(row.get("username")),
            title=text_of(row.get("name")),
            suffix=suffix_of(media),
            more={name: value for name, value in said.items() if value},
        )


def parts_of(box: Box) -> list[Box]:
    """Return a box in parts whose circles hold little else: none three times as long as high, or the other way.

    There are 16 parts at most, none of them wider than 60 degrees.
    """
    west, south, east, north = box
    nearest = 0.0 if south <= 0 <= north else min(abs(south), abs(north))  # to the equator, where it is widest
    width, height = (east - west) * math.cos(math.radians(nearest)), north - south
    across = max(math.ceil((east - west) / _WIDEST), _pieces(width, height))
    up = 1 if across > 1 else _pieces(height, width)
    columns = [west + (east - west) * n / across for n in range(across)] + [east]
    rows = [south + (north - south) * n / up for n in range(up)] + [north]
    return [(w, s, e, n) for s, n in pairwise(rows) for w, e in pairwise(columns)]


def _pieces(long: float, short: float) -> int:
    times = long / max(short, 1e-9)
    return min(_MOST_PARTS, round(times)) if times >= _LONGEST else 1


def _part_with(row: Recording, parts: list[Box | None]) -> Box | None:
    """Return the part that a row is listed by: the first that it is in, else the first whose circle it is in."""
    if row.longitude is None or row.latitude is None or len(parts) == 1:
        return parts[0]
    boxes = [part for part in parts if part is not None]
    for west, south, east, north in boxes:
        if west <= row.longitude <= east and south <= row.latitude <= north:
            return west, south, east, north
    for box in boxes:
        (latitude, longitude), km = _circle(box)
        if great_circle_km(longitude, latitude, row.longitude, row.latitude) <= km:
            return box
    return parts[0]


def _circle(box: Box) -> tuple[tuple[float, float], float]:
    """Return centre (latitude, longitude) and kilometres of a circle about a box, with some room."""
    west, south, east, north = box
    latitude, longitude = (south + north) / 2, (west + east) / 2
    corners = great_circle_km(longitude, latitude, [west, west], [south, north])
    return (latitude, longitude), float(corners.max()) * 1.01 + 0.1


def _next_page(following: object, page: int) -> int | None:
    """Return the number of the next page, which an address tells; what else is in the address is ours already."""
    if not isinstance(following, str) or not following:
        return None
    numbers = parse_qs(urlsplit(following).query).get("page", []) if "://" in following else []
    return (whole_of(numbers[0]) if numbers else None) or page + 1


def _judge(answer: Answer, page: int) -> None:
    words = said_by_host(answer.body)
    if answer.status == 404 and page > 1:
        raise _PastTheEndError
    if answer.status == 401 or "suspended" in words.lower():
        raise key_refused(KEY, WHERE, words.strip(" ()"))
    if answer.status == 429:
        unit = found[1] if (found := _RATE.search(words)) else "minute"
        if unit == "day":
            left = _DAY_SECONDS - time.time() % _DAY_SECONDS
            raise QuotaReachedError(f"Freesound has been asked as often as it allows in a day{words}", left)
        raise TransientError(f"the server answers 429{words}", _RATE_SECONDS[unit])
