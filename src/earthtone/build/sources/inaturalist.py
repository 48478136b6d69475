"""iNaturalist (https://api.inaturalist.org/v1/docs/): observations of living things that have sounds.

Where a species or an observer is protected, the archive tells a random point within about 0.2 degrees; such rows are
left out unless they are asked for.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode

from earthtone.build.sources.source import (
    Page,
    Recording,
    RecordingSource,
    ask_json,
    number_of,
    said_by_host,
    suffix_of,
    text_of,
    web_address,
    whole_of,
)  # fmt: skip
from earthtone.build.sources.walk import Box, Found, day_of, listed, moment_of, place_of, rows_of, walk
from earthtone.build.web import Answer, TransientError, Web
from earthtone.errors import DataError

_PAGE = 200  # the most
_BUSY_SECONDS = 60.0  # 429 comes without a word on how long
_SUFFIXES = {"audio/x-wav": ".wav", "audio/wav": ".wav", "audio/mpeg": ".mp3", "audio/mp3": ".mp3", "audio/mp4": ".m4a",
             "audio/x-m4a": ".m4a", "audio/3gpp": ".3gp", "audio/ogg": ".ogg", "audio/flac": ".flac"}  # fmt: skip
_LICENCES = {"": ("cc0", "cc-by", "cc-by-sa"), "nc": ("cc-by-nc", "cc-by-nc-sa"), "nd": ("cc-by-nd",)}
_HIDDEN = ("obscured", "private")


@dataclass(frozen=True)
class INaturalist(RecordingSource):
    """Sounds of iNaturalist's observations; the licence is the sound's own, never the observation's."""

    name: ClassVar[str] = "inaturalist"
    per_second: ClassVar[float] = 1.0
    per_day: ClassVar[int | None] = 10_000
    terms: ClassVar[str] = (
        "iNaturalist: at most 60 requests a minute and 10,000 a day, a few GB of media an hour; it blocks without "
        "notice who takes more; credit each observer under the sound's own licence"
    )

    endpoint: str = "https://api.inaturalist.org"
    words: str = ""
    """words searched for, such as the name of a species"""
    quality: Literal["any", "research"] = "any"
    """research: others agree on the species"""
    obscured: bool = False
    """keep rows whose place is a random point within about 0.2 degrees of the true one"""

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        parts: list[Box | None] = [*self.filters.boxes()] or [None]
        return walk(parts, cursor, 0, lambda part, above: self._asked(web, part, above))

    def _asked(self, web: Web, part: Box | None, above: int) -> Found:
        said = ask_json(web, f"{self.endpoint}/v1/observations?{urlencode(self._query(part, above))}", judge=_judge)
        rows = rows_of(said, "results", "iNaturalist")
        # What is told later is how many there are above.
        found = Found(total=whole_of(said.get("total_results")) if above == 0 else None, rows=len(rows))
        numbers = [number for row in rows if (number := whole_of(row.get("id"))) is not None]
        if rows:
            found.more = max(numbers, default=above)
        for row in rows:
            self._sounds(row, found)
        return found

    def _query(self, part: Box | None, above: int) -> dict[str, object]:
        allow = self.filters.allow
        licences = [*_LICENCES[""], *(name for word in allow for name in _LICENCES[word])]
        licences += ["cc-by-nc-nd"] if {"nc", "nd"} <= set(allow) else []
        query: dict[str, object] = {
            "sounds": "true", "sound_license": ",".join(licences), "per_page": _PAGE, "order_by": "id", "order": "asc",
            "id_above": above,
        }  # fmt: skip
        if part is not None:
            query |= dict(zip(("swlng", "swlat", "nelng", "nelat"), part, strict=True))
        wanted = {"q": self.words, "d1": self.filters.since, "d2": self.filters.until,
                  "quality_grade": "" if self.quality == "any" else self.quality}  # fmt: skip
        return query | {name: value for name, value in wanted.items() if value}

    def _sounds(self, row: Mapping[str, Any], found: Found) -> None:
        """Add the sounds of an observation, or count why they are none."""
        number = whole_of(row.get("id"))
        sounds = [one for one in listed(row.get("sounds")) if isinstance(one, dict)] if number is not None else []
        if not sounds:
            found.left_out["without a sound"] += 1
            return
        hidden = row.get("obscured") is True or any(row.get(n) in _HIDDEN for n in ("geoprivacy", "taxon_geoprivacy"))
        cells = self._cells(row, hidden)
        for sound in sounds:
            id, media = whole_of(sound.get("id")), web_address(sound.get("file_url"))
            if sound.get("hidden") is True or any(_open(flag) for flag in listed(sound.get("flags"))):
                found.left_out["hidden or flagged by the archive"] += 1
            elif id is None or not media:
                found.left_out["without a file"] += 1
            elif hidden and not self.obscured:
                found.left_out["place obscured by the archive"] += 1
            else:
                kind = text_of(sound.get("file_content_type"))
                license = text_of(sound.get("license_code"))
                suffix = _SUFFIXES.get(kind.lower()) or suffix_of(media)
                found.recordings.append(
                    Recording(self.name, str(id), media_url=media, license=license, suffix=suffix, **cells)
                )

    def _cells(self, row: Mapping[str, Any], hidden: bool) -> dict[str, Any]:
        """Return what all sounds of an observation share."""
        user, taxon = (row[name] if isinstance(row.get(name), dict) else {} for name in ("user", "taxon"))
        longitude, latitude = _place(row)
        stated = number_of(row.get("public_positional_accuracy"))
        if stated is None and not hidden:  # of a hidden place it would be that of the true point
            stated = number_of(row.get("positional_accuracy"))
        time, zone_known = moment_of(text_of(row.get("time_observed_at")))
        species = text_of(taxon.get("name"))
        more = {
            "observation": text_of(row.get("id")), "species": species, "quality": text_of(row.get("quality_grade")),
            "obscured": "yes" if hidden else "", "captive": "yes" if row.get("captive") is True else "",
        }  # fmt: skip
        return {
            "longitude": longitude, "latitude": latitude, "coord_uncertainty_m": stated,
            "coord_source": "" if longitude is None else "obscured by the archive" if hidden else "observation",
            "time": time or day_of(text_of(row.get("observed_on"))), "time_zone_known": zone_known,
            "url": f"https://www.inaturalist.org/observations/{whole_of(row.get('id'))}", "title": species,
            "author": text_of(user.get("name")) or text_of(user.get("login")),
            "more": {name: value for name, value in more.items() if value},
        }  # fmt: skip


def _open(flag: object) -> bool:
    return not (isinstance(flag, dict) and flag.get("resolved") is True)


def _place(row: Mapping[str, Any]) -> tuple[float, float] | tuple[None, None]:
    """Return longitude and latitude: of `geojson`, else of `location`, which begins with the latitude."""
    point = row.get("geojson")
    pair = point.get("coordinates") if isinstance(point, dict) else None
    if isinstance(pair, list) and len(pair) == 2:
        return place_of(pair[1], pair[0])
    words = text_of(row.get("location")).split(",")
    return place_of(*words) if len(words) == 2 else (None, None)


def _judge(answer: Answer) -> None:
    words = said_by_host(answer.body)
    if answer.status == 429:
        raise TransientError(f"the server answers 429{words}", _BUSY_SECONDS)
    if answer.status == 403 and re.search("window is too large", words, re.IGNORECASE):
        raise DataError(f"iNaturalist does not go on{words}; this is no ban: type the same again, it goes on by ids")
    if answer.status in (401, 403):
        raise DataError(
            f"iNaturalist refuses (status {answer.status}{words}); it may have blocked this address: ask nothing for a "
            "day, then type the same again"
        )
