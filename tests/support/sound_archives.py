"""Archives of sounds on loopback, with the shapes of the real interfaces: Freesound, iNaturalist, xeno-canto, GBIF."""

import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import shapely
from archives import file_said, query
from imagery_hosts import Asked, Host, Said, hosting

from earthtone.build.sources.source import Page, Recording, RecordingSource
from earthtone.build.web import Web

KEY = "s3cr3t-KEY+of/mine"
Row = dict[str, Any]


def said_json(values: Any, status: int = 200, **headers: str) -> Said:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(json.dumps(values).encode(), status, {"Content-Type": "application/json", **named})


@dataclass
class Collected:
    """All pages of a source."""

    recordings: list[Recording] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    pages: list[Page] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [one.source_id for one in self.recordings]


def collect(source: RecordingSource, web: Web, cursor: str | None = None) -> Collected:
    """Walk through a source; rows that its filters leave out are counted."""
    found = Collected()
    for page in source.pages(web, cursor):
        found.pages.append(page)
        found.left_out.update(page.left_out)
        for recording in page.recordings:
            if (why := source.filters.why_not(recording)) is None:
                found.recordings.append(recording)
            else:
                found.left_out[why] += 1
    return found


@dataclass
class Archive:
    """Rows of one archive; `next_answers` are given first, one a request, None meaning the right answer.

    `media` are files, or what comes in their place, by path.
    """

    rows: Sequence[Row]
    next_answers: list[Said | None] = field(default_factory=list)
    always: Said | None = None
    queries: list[dict[str, str]] = field(default_factory=list)
    media: dict[str, bytes | Said] = field(default_factory=dict)
    url: str = ""

    def __call__(self, asked: Asked) -> Said:
        if (found := self.media.get(asked.path)) is not None:
            return found if isinstance(found, Said) else file_said(asked, found)
        said_query = query(asked)
        self.queries.append(said_query)
        if self.always is not None:
            return self.always
        if self.next_answers and (said := self.next_answers.pop(0)) is not None:
            return said
        return self.answer(asked, said_query)

    def answer(self, asked: Asked, query: dict[str, str]) -> Said:
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[Host]:
        with hosting(self) as host:
            self.url = host.url
            yield host


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Between (latitude, longitude) and another."""
    a, b = math.radians(one[0]), math.radians(other[0])
    chord = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(other[1] - one[1]) / 2) ** 2
    return 2 * 6371.0 * math.asin(math.sqrt(min(1.0, chord)))


# Freesound.

_CC = "https://creativecommons.org/"
_FREESOUND_NAMES = {
    "Attribution": "licenses/by/4.0/", "Attribution NonCommercial": "licenses/by-nc/4.0/",
    "Creative Commons 0": "publicdomain/zero/1.0/",
}  # fmt: skip


def freesound_row(number: int, latitude: float, longitude: float, **changed: Any) -> Row:
    host = changed.pop("cdn", "https://cdn.freesound.org")
    preview = f"{host}/previews/{number // 1000}/{number}_777"
    return {
        "id": number, "name": f"harbour {number}.wav", "username": "someone",
        "url": f"https://freesound.org/people/someone/sounds/{number}/", "geotag": f"{latitude} {longitude}",
        "created": "2014-04-16T20:07:11", "license": f"{_CC}licenses/by/4.0/",
        "gen_ai_preference": "no-additional-preferences", "type": "wav", "channels": 2, "filesize": 9_000_000,
        "samplerate": 44100.0, "duration": 61.3, "md5": "0" * 32, "category": "Soundscapes",
        "previews": {f"preview-{end.replace('.', '-')}": f"{preview}-{end}" for end in ("hq.mp3", "lq.mp3", "hq.ogg")},
    } | changed  # fmt: skip


class Freesound(Archive):
    """GET /apiv2/search/: a token, filters of Solr, at most 150 a page, `next`."""

    def answer(self, asked: Asked, query: dict[str, str]) -> Said:
        if asked.path != "/apiv2/search/":
            return said_json({"detail": "Not found."}, 404)
        if asked.headers.get("authorization") != f"Token {KEY}":
            return said_json({"detail": "Authentication credentials were not provided."}, 401)
        found = [row for row in self.rows if self._passes(row, query.get("filter", ""))]
        size, page = min(int(query.get("page_size", 15)), 150), int(query.get("page", 1))
        pages = max(1, -(-len(found) // size))
        if not 1 <= page <= pages:
            return said_json({"detail": "Invalid page."}, 404)
        fields = query["fields"].split(",")
        shown = [{name: row[name] for name in fields if name in row} for row in found[(page - 1) * size : page * size]]
        others = "&".join(f"{name}={value}" for name, value in query.items() if name != "page")
        following = f"{self.url}/apiv2/search/?{others}&page={page + 1}" if page < pages else None
        return said_json({"count": len(found), "next": following, "previous": None, "results": shown})

    @staticmethod
    def _passes(row: Row, said: str) -> bool:
        if found := re.search(r"\{!geofilt sfield=geotag pt=([-\d.]+),([-\d.]+) d=([\d.]+)\}", said):
            latitude, longitude, radius = map(float, found.groups())
            if row["geotag"] is None:
                return False
            north, east = map(float, row["geotag"].split())
            if kilometres((latitude, longitude), (north, east)) > radius:
                return False
        elif "is_geotagged:true" in said and row["geotag"] is None:
            return False
        if found := re.search(r"license:\(([^)]*)\)", said):
            names = re.findall(r'"([^"]*)"', found[1])
            return row["license"] in [_CC + _FREESOUND_NAMES[name] for name in names]
        return True


# iNaturalist.


def inaturalist_sound(number: int, **changed: Any) -> Row:
    return {
        "id": number, "license_code": "cc-by", "attribution": "(c) quelqu'un, certains droits", "flags": [],
        "file_url": f"https://static.inaturalist.org/sounds/{number}.wav?1624793769", "hidden": False,
        "file_content_type": "audio/x-wav", "native_sound_id": None, "secret_token": None,
    } | changed  # fmt: skip


def inaturalist_row(number: int, latitude: float, longitude: float, *sounds: Row, **changed: Any) -> Row:
    return {
        "id": number, "uuid": f"u-{number}", "quality_grade": "research", "license_code": "cc0", "captive": False,
        "time_observed_at": "2021-06-25T22:18:43+02:00", "observed_on": "2021-06-25",
        "location": f"{latitude},{longitude}", "geojson": {"type": "Point", "coordinates": [longitude, latitude]},
        "positional_accuracy": 19, "public_positional_accuracy": 19, "obscured": False, "geoprivacy": None,
        "taxon_geoprivacy": "open", "user": {"login": "hearer", "name": "A. Hearer"},
        "taxon": {"name": "Turdus merula"}, "sounds": list(sounds) or [inaturalist_sound(number + 10_000)],
    } | changed  # fmt: skip


class INaturalist(Archive):
    """GET /v1/observations: ids above, a box, at most 200 a page, a window of 10,000."""

    def answer(self, asked: Asked, query: dict[str, str]) -> Said:
        if asked.path != "/v1/observations":
            return said_json({"error": "Not Found", "status": 404}, 404)
        size, page = min(int(query.get("per_page", 30)), 200), int(query.get("page", 1))
        if size * page > 10_000:
            return said_json(
                {"error": "Result window is too large, page * per_page must be <= 10000", "status": 403}, 403
            )
        box = [
            float(query.get(name, usual))
            for name, usual in (("swlng", -180), ("swlat", -90), ("nelng", 180), ("nelat", 90))
        ]
        licences = query["sound_license"].split(",") if "sound_license" in query else None
        found = []
        for row in sorted(self.rows, key=lambda row: row["id"]):
            inside = not row["geojson"] or shapely.intersects_xy(shapely.box(*box), *row["geojson"]["coordinates"])
            licensed = licences is None or any(sound["license_code"] in licences for sound in row["sounds"])
            if row["id"] > int(query.get("id_above", 0)) and inside and licensed:
                found.append(row)
        shown = found[(page - 1) * size : page * size]
        return said_json({"total_results": len(found), "page": page, "per_page": size, "results": shown})


# xeno-canto.


def xeno_canto_row(number: int, latitude: float | None, longitude: float | None, **changed: Any) -> Row:
    return {
        "id": str(number), "gen": "Turdus", "sp": "merula", "ssp": "", "grp": "birds", "en": "Common Blackbird",
        "rec": "A. Recordist", "cnt": "Spain", "loc": "Somewhere, Galicia",
        "lat": None if latitude is None else str(latitude), "lon": None if longitude is None else str(longitude),
        "alt": "120", "type": "song", "url": f"//xeno-canto.org/{number}",
        "file": f"https://xeno-canto.org/{number}/download", "file-name": f"XC{number}-blackbird.wav",
        "lic": "//creativecommons.org/licenses/by-sa/4.0/", "q": "A", "length": "1:23", "time": "05:45",
        "date": "2024-05-11", "uploaded": "2024-05-12", "also": ["Erithacus rubecula"], "rmk": "", "smp": "48000",
    } | changed  # fmt: skip


class XenoCanto(Archive):
    """GET /api/3/recordings: the key in the address, tags only, 50 to 500 a page."""

    def answer(self, asked: Asked, query: dict[str, str]) -> Said:
        if asked.path != "/api/3/recordings":
            return Said(b"", 404)
        if query.get("key") != KEY:
            told = {"error": "Unauthorized", "message": f"Missing or invalid 'key' parameter: {query.get('key')}"}
            return said_json(told, 401)
        said = query.get("query", "")
        if not said or not all(":" in word for word in re.findall(r'(?:[^\s"]|"[^"]*")+', said)):
            return said_json({"error": {"code": "client_error", "message": "only tags are allowed in the query"}}, 400)
        size = int(query.get("per_page", 100))
        if not 50 <= size <= 500:
            return said_json({"error": {"code": "client_error", "message": "per_page must be 50-500"}}, 400)
        found = [row for row in self.rows if self._passes(row, said)]
        page, pages = int(query.get("page", 1)), max(1, -(-len(found) // size))
        return said_json({
            "numRecordings": str(len(found)), "numSpecies": "1", "page": page, "numPages": pages,
            "recordings": found[(page - 1) * size : page * size],
        })  # fmt: skip

    @staticmethod
    def _passes(row: Row, said: str) -> bool:
        if not (found := re.search(r"box:([-\d.]+),([-\d.]+),([-\d.]+),([-\d.]+)", said)):
            return True
        south, west, north, east = map(float, found.groups())
        return row["lat"] is None or (south <= float(row["lat"]) <= north and west <= float(row["lon"]) <= east)


# GBIF.


def gbif_media(number: int, **changed: Any) -> Row:
    return {
        "type": "Sound", "format": "audio/mpeg", "identifier": f"https://media.example/sounds/{number}.mp3",
        "references": f"https://media.example/{number}", "title": "a song", "creator": "A. Recordist",
        "rightsHolder": "A. Recordist", "license": "http://creativecommons.org/licenses/by/4.0/", "publisher": "P",
    } | changed  # fmt: skip


def gbif_row(number: int, latitude: float, longitude: float, *media: Row, **changed: Any) -> Row:
    return {
        "key": number, "datasetKey": "b1047888-ae52-4179-9dd5-5448ea342a24", "scientificName": "Turdus merula L.",
        "decimalLongitude": longitude, "decimalLatitude": latitude, "coordinateUncertaintyInMeters": None,
        "eventDate": "2024-05-11", "license": "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
        "issues": [], "media": list(media) or [gbif_media(number)],
    } | changed  # fmt: skip


@dataclass
class Gbif(Archive):
    """GET /v1/occurrence/search; downloads: POST, then asked for until they are made."""

    statuses: list[str] = field(default_factory=lambda: ["PREPARING", "RUNNING", "SUCCEEDED"])
    requests: list[Any] = field(default_factory=list)
    pretended: int | None = None
    credentials: list[str | None] = field(default_factory=list)

    def answer(self, asked: Asked, query: dict[str, str]) -> Said:
        if asked.path == "/v1/occurrence/download/request" and asked.method == "POST":
            self.credentials.append(asked.headers.get("authorization"))
            self.requests.append(asked.values)
            return Said(b"0001234-261128000000000", 201, {"Content-Type": "text/plain"})
        if asked.path == "/v1/occurrence/download/0001234-261128000000000":
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            link = f"{self.url}/v1/occurrence/download/request/0001234-261128000000000.zip"
            archive = self.archive()
            told = {
                "key": "0001234-261128000000000",
                "status": status,
                "downloadLink": link,
                "doi": "10.15468/dl.abcdef",
            }
            return said_json(told | {"size": len(archive), "totalRecords": len(self.rows)})
        if asked.path == "/v1/occurrence/download/request/0001234-261128000000000.zip":
            return Said(self.archive(), 200, {"Content-Type": "application/octet-stream"})
        if asked.path != "/v1/occurrence/search":
            return said_json({"message": "not found"}, 404)
        limit, offset = min(int(query.get("limit", 20)), 300), int(query.get("offset", 0))
        if limit + offset > 100_000:
            return Said(b"Max offset of 100001 exceeded: 100001 + 300", 400, {"Content-Type": "text/plain"})
        shape = shapely.from_wkt(query["geometry"]) if "geometry" in query else None
        found = [
            row for row in self.rows
            if shape is None or shapely.intersects_xy(shape, row["decimalLongitude"], row["decimalLatitude"])
        ]  # fmt: skip
        shown = found[offset : offset + limit]
        count = self.pretended if self.pretended is not None else len(found)
        return said_json({"offset": offset, "limit": limit, "endOfRecords": offset + limit >= len(found),
                          "count": count, "results": shown, "facets": []})  # fmt: skip

    def archive(self) -> bytes:
        """A Darwin Core archive of all rows."""
        occurrences = ["gbifID\tlicense\tdatasetKey\tdecimalLatitude\tdecimalLongitude\tcoordinateUncertaintyInMeters"
                       "\teventDate\tscientificName\tissue"]  # fmt: skip
        media = ["gbifID\ttype\tformat\tidentifier\treferences\ttitle\tcreator\tlicense\trightsHolder"]
        for row in self.rows:
            same = ("datasetKey", "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters", "eventDate")
            cells = [row["key"], "CC_BY_NC_4_0", *(row[name] for name in same), row["scientificName"]]
            cells.append(";".join(row["issues"]))
            occurrences.append("\t".join("" if cell is None else str(cell) for cell in cells))
            for one in row["media"]:
                names = media[0].split("\t")[1:]
                media.append("\t".join([str(row["key"]), *(str(one.get(name) or "") for name in names)]))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("occurrence.txt", "\n".join(occurrences) + "\n")
            archive.writestr("multimedia.txt", "\n".join(media) + "\n")
        return out.getvalue()
