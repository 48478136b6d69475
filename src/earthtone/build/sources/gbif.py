"""GBIF (https://techdocs.gbif.org/en/openapi/): occurrences of species with sounds, which lie on other hosts.

GBIF indexes what others publish, xeno-canto and iNaturalist among them. The licence of a row is that of its medium, not
that of the record.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from earthtone.build.sources import gbif_download
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
from earthtone.build.sources.walk import Box, Found, listed, moment_of, place_of, rows_of, walk
from earthtone.build.web import Answer, Web
from earthtone.errors import ConfigError, DataError

_PAGE = 300  # the most
_WINDOW = 100_000  # rows that a search shows
_DOWNLOADED_PAGE = 1000  # occurrences of a download
_BULK = 20_000  # from so many on a download is what GBIF asks for
_SUFFIXES = {"audio/mpeg": ".mp3", "audio/mp3": ".mp3", "audio/x-wav": ".wav", "audio/wav": ".wav",
             "audio/vnd.wave": ".wav", "audio/mp4": ".m4a", "audio/x-m4a": ".m4a", "audio/ogg": ".ogg",
             "audio/flac": ".flac", "audio/x-flac": ".flac"}  # fmt: skip
_WITHHELD = re.compile(r"coordinat|locat|locality|georef|geoprivacy|place|position", re.IGNORECASE)
#: Data sets that have a source of their own here.
DATASETS = {
    "xeno-canto": "b1047888-ae52-4179-9dd5-5448ea342a24",
    "inaturalist": "50c9509d-22c7-4a22-a47d-8c48425ef4a7",
}


@dataclass(frozen=True)
class Gbif(RecordingSource):
    """Sounds of GBIF's occurrences, at most 100,000 occurrences a search."""

    name: ClassVar[str] = "gbif"
    per_second: ClassVar[float] = 1.0
    terms: ClassVar[str] = (
        "GBIF: one request at a time, by who tells a contact; bulk data for machine learning only by a download, which "
        "has a DOI to cite; media lie on the publishers' hosts, under the licence of each medium"
    )

    endpoint: str = "https://api.gbif.org"
    words: str = ""
    """words searched for in the records"""
    without: tuple[str, ...] = ()
    """data sets left out, by key, or by name: xeno-canto, inaturalist (for those asked elsewhere)"""
    generalised: bool = False
    """keep rows whose place the publisher has made coarser"""
    download: bool = False
    """take all occurrences as a download, for which GBIF_USER and GBIF_PASSWORD are needed; it has a DOI to cite"""

    def __post_init__(self) -> None:
        if self.download and self.words:
            raise ConfigError("gbif: words with download; a download is asked for by place and days: leave words out")

    def prepare(self, web: Web) -> None:
        super().prepare(web)
        if self.download:
            gbif_download.account()

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        if self.download:
            return self._downloaded(web, cursor)
        parts: list[Box | None] = [*self.filters.boxes()] or [None]
        return walk(parts, cursor, 0, lambda part, offset: self._asked(web, part, offset))

    def _asked(self, web: Web, part: Box | None, offset: int) -> Found:
        if offset >= _WINDOW:
            raise DataError(
                f"GBIF's search shows the first {_WINDOW:,} occurrences, and there are more; ask for a smaller box or "
                "fewer days, or take all of them as a download (download: true)"
            )
        query = self._query(part, offset)
        said = ask_json(web, f"{self.endpoint}/v1/occurrence/search?{urlencode(query)}", judge=_judge)
        rows = rows_of(said, "results", "GBIF")
        total = whole_of(said.get("count"))
        found = Found(None if said.get("endOfRecords") is True else offset + len(rows), total, len(rows))
        if not rows and found.more is not None:
            raise DataError(
                f"GBIF's page at {offset} comes empty before the end; type the same again to go on from there"
            )
        if offset == 0 and (total or 0) > _BULK:
            found.remarks = (
                f"GBIF has {total:,} occurrences for this; so many are to be taken as a download (download: true)",
            )
        for row in rows:
            self._add(row, listed(row.get("media")), found)
        return found

    def _query(self, part: Box | None, offset: int) -> dict[str, object]:
        filters = self.filters
        query: dict[str, object] = {"mediaType": "Sound", "hasGeospatialIssue": "false",
                                    "limit": min(_PAGE, _WINDOW - offset), "offset": offset}  # fmt: skip
        if filters.placed or part is not None:
            query["hasCoordinate"] = "true"
        if part is not None:
            query["geometry"] = outline(part)
        if filters.since or filters.until:
            query["eventDate"] = f"{filters.since or '*'},{filters.until or '*'}"
        return query | ({"q": self.words} if self.words else {})

    def _downloaded(self, web: Web, cursor: str | None) -> Iterator[Page]:
        """Yield the pages of a download; a cursor is `KEY:NUMBER`, of the last occurrence."""
        key, _, last = (cursor or "").partition(":")
        if cursor is None:
            key = gbif_download.request_download(web, self.endpoint, self._predicate())
            yield Page((), f"{key}:0", rows=0, remarks=(f"asked GBIF for the download {key}",))
        after = whole_of(last or "0")
        if after is None:
            raise DataError(f"{cursor!r:.60} is no place in this list; KEY:NUMBER expected, begin in another folder")
        made = gbif_download.wait_for(web, self.endpoint, key)
        found = Found(remarks=(f"cite https://doi.org/{made.doi}",) if made.doi else ())
        for number, row, media in gbif_download.occurrences(gbif_download.bring(web, made), after):
            if found.rows == _DOWNLOADED_PAGE:
                cursor = f"{key}:{number - 1}"
                yield Page(tuple(found.recordings), cursor, None, found.left_out, found.rows, found.remarks)
                found = Found()
            found.rows += 1
            self._add(row, media, found)
        yield Page(tuple(found.recordings), None, made.total, found.left_out, found.rows, found.remarks)

    def _predicate(self) -> dict[str, Any]:
        """Return what is asked for, as downloads have it."""
        both: list[dict[str, Any]] = [
            {"type": "equals", "key": "MEDIA_TYPE", "value": "Sound"},
            {"type": "equals", "key": "HAS_GEOSPATIAL_ISSUE", "value": "false"},
        ]
        boxes = [{"type": "within", "geometry": outline(box)} for box in self.filters.boxes()]
        if self.filters.placed or boxes:
            both.append({"type": "equals", "key": "HAS_COORDINATE", "value": "true"})
        both += boxes if len(boxes) < 2 else [{"type": "or", "predicates": boxes}]
        for kind, day in (("greaterThanOrEquals", self.filters.since), ("lessThanOrEquals", self.filters.until)):
            both += [{"type": kind, "key": "EVENT_DATE", "value": day}] if day else []
        return {"type": "and", "predicates": both}

    def _add(self, row: Mapping[str, Any], media: Sequence[Any], found: Found) -> None:
        """Add the sounds of an occurrence, or count why they are none."""
        key = whole_of(row.get("key"))
        if key is None:
            found.left_out["without a key"] += 1
            return
        dataset = text_of(row.get("datasetKey"))
        if dataset in {DATASETS.get(one, one) for one in self.without}:
            found.left_out["of a data set that is left out"] += 1
            return
        sounds = _sounds(media, found)
        coarser = _is_generalised(row)
        if sounds and coarser and not self.generalised:
            found.left_out["place made coarser by its publisher"] += len(sounds)
            return
        cells = _cells(row, key, dataset, coarser)
        for address, one in sounds.items():
            digest = hashlib.blake2b(address.encode(), digest_size=6).hexdigest()
            found.recordings.append(
                Recording(
                    self.name,
                    f"{key}-{digest}",
                    media_url=address,
                    license=text_of(one.get("license")),
                    author=text_of(one.get("creator")) or text_of(one.get("rightsHolder")),
                    title=text_of(one.get("title")) or text_of(row.get("scientificName")),
                    suffix=_SUFFIXES.get(text_of(one.get("format")).lower()) or suffix_of(address),
                    url=web_address(one.get("references")) or f"https://www.gbif.org/occurrence/{key}",
                    **cells,
                )
            )


def outline(box: Box) -> str:
    """Return a box as WKT, counter-clockwise, its corners rounded outwards to 4 decimals, as caches like them."""
    west, south = (math.floor(value * 1e4) / 1e4 for value in box[:2])
    east, north = (math.ceil(value * 1e4) / 1e4 for value in box[2:])
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return f"POLYGON(({','.join(f'{x:.10g} {y:.10g}' for x, y in corners)}))"


def _sounds(media: Sequence[Any], found: Found) -> dict[str, Mapping[str, Any]]:
    """Return the sounds among an occurrence's media by address; of one that is named twice, the one with a licence."""
    sounds: dict[str, Mapping[str, Any]] = {}
    for one in media:
        kind = text_of(one.get("format")).lower() if isinstance(one, dict) else ""
        if not isinstance(one, dict) or not (text_of(one.get("type")) == "Sound" or kind.startswith("audio/")):
            continue  # a picture of the same animal
        address = web_address(one.get("identifier"))
        if not address:
            found.left_out["without a file"] += 1
        elif kind and not kind.startswith(("audio/", "application/ogg", "application/octet-stream")):
            found.left_out["no sound: a web page"] += 1
        elif address not in sounds or (one.get("license") and not sounds[address].get("license")):
            sounds[address] = one
    return sounds


def _is_generalised(row: Mapping[str, Any]) -> bool:
    withheld = text_of(row.get("informationWithheld"))
    return bool(text_of(row.get("dataGeneralizations")) or _WITHHELD.search(withheld))


def _cells(row: Mapping[str, Any], key: int, dataset: str, coarser: bool) -> dict[str, Any]:
    """Return what all sounds of an occurrence share."""
    longitude, latitude = place_of(row.get("decimalLatitude"), row.get("decimalLongitude"))
    said = text_of(row.get("eventDate"))
    first, _, last = said.partition("/")
    time, zone_known = moment_of(first) if not last or first[:10] == last[:10] else ("", False)
    if time[11:] and not re.search("[1-9]", time[11:19]):  # midnight is how publishers write a day alone
        time, zone_known = time[:10], False
    issues = row.get("issues")
    more = {
        "occurrence": str(key), "dataset": dataset, "species": text_of(row.get("scientificName")),
        "issues": "; ".join(map(text_of, listed(issues)))[:500] or text_of(issues),
        "generalised": text_of(row.get("dataGeneralizations")), "withheld": text_of(row.get("informationWithheld")),
        "days": said if last else "", "basis": text_of(row.get("basisOfRecord")),
    }  # fmt: skip
    return {
        "longitude": longitude, "latitude": latitude,
        "coord_uncertainty_m": number_of(row.get("coordinateUncertaintyInMeters")),
        "coord_source": "" if latitude is None else "made coarser by its publisher" if coarser else "occurrence",
        "time": time, "time_zone_known": zone_known, "more": {name: value for name, value in more.items() if value},
    }  # fmt: skip


def _judge(answer: Answer) -> None:
    text = answer.body[:500].decode("utf-8", "replace")
    if answer.status == 400 and "offset" in text.lower():
        raise DataError(
            f"GBIF's search ends here{said_by_host(answer.body)}: it shows the first {_WINDOW:,} occurrences"
        )
