"""Recordings that a table names: that of `earthtone recordings`, or any manifest with paths or addresses of sounds."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from earthtone.build.sources.source import Page, Recording, RecordingSource, suffix_of, text_of, web_address, whole_of
from earthtone.build.web import Web
from earthtone.data.manifest import manifest_table, nearest
from earthtone.data.pair import Row, UnreadableCell, checked_coordinates, is_unknown, number, utc_datetime
from earthtone.errors import ConfigError, DataError, did_you_mean
from earthtone.files import content_digest

#: What a recording has -> how tables call it; the first that a table has is taken.
NAMES: Mapping[str, tuple[str, ...]] = {
    "source_id": ("id", "source_id", "key"),
    "media_url": ("audio", "media_url", "audio_url", "file_url", "file_name"),
    "url": ("url", "page"),
    "longitude": ("longitude", "lon", "lng", "long", "decimalLongitude"),
    "latitude": ("latitude", "lat", "decimalLatitude"),
    "coord_uncertainty_m": ("coord_uncertainty_m", "coordinateUncertaintyInMeters"),
    "coord_source": ("coord_source",),
    "datetime": ("datetime",),
    "local_time": ("local_time",),
    "day": ("day", "date", "eventDate"),
    "seconds": ("seconds", "duration", "audio_seconds"),
    "license": ("license", "licence", "licenseurl", "licenceurl", "license_url"),
    "ai_preference": ("ai_preference",),
    "author": ("author", "recordist", "creator"),
    "title": ("title",),
    "credit": ("attribution", "credit", "credit_line"),
    "bytes": ("bytes",),
    "md5": ("md5",),
    "sha1": ("sha1",),
    "sha256": ("sha256",),
}
_NEEDED = ("source_id", "media_url")
_OF_IMAGES = ("image", "image_gsd_m")  # paths from the table's own folder, which a table elsewhere would misread
_ROWS = 1000  # a page
_PART_OF_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
INSIDE, UNREADABLE = "a sound inside the table", "a row that cannot be read"


@dataclass(frozen=True)
class RecordingTable(RecordingSource):
    """A table of recordings: CSV, TSV, GeoJSON, Parquet or GeoParquet. Its relative paths are from its own folder.

    Its other columns are kept as words of each recording.
    """

    name = "table"
    per_second = 4.0
    terms = "your own table: its licences are what it says"

    table: str = ""
    """the file"""
    columns: Mapping[str, str] = field(default_factory=dict)
    """other names of its columns, such as media_url: file"""
    label: str = ""
    """what rows have as their source; default: the file's name. Two tables in one build need two"""
    private: bool = False
    """fetch also from addresses of this machine and its network, which the table names"""

    def __post_init__(self) -> None:
        if not self.table:
            raise ConfigError("a source `table` needs table: the file with the recordings")
        for name in self.columns:
            if name not in NAMES:
                raise ConfigError(f"columns: {name}; {did_you_mean(name, NAMES)}known: {', '.join(NAMES)}")

    @property
    def query_id(self) -> str:
        """Of the table's content: one that has grown is listed anew."""
        try:
            digest = content_digest(self.table).hex()
        except OSError as error:
            raise DataError(f"{self.table}: {error.strerror or error}; a table of recordings expected") from error
        return self.fingerprint(digest, "table")

    @property
    def allows_private(self) -> bool:
        return self.private

    @property
    def source(self) -> str:
        """What rows have as their source."""
        return self.label or Path(self.table).stem

    def pages(self, web: Web, cursor: str | None) -> Iterator[Page]:
        table = manifest_table(Path(self.table))
        own = {name: column for name in NAMES if (column := self._column(name, table.columns))}
        for name in _NEEDED:
            if name not in own:
                raise DataError(
                    f"{self.table} has no column for {name} ({' or '.join(NAMES[name])});"
                    f"{nearest(NAMES[name][0], table.columns)}; name it with columns: {{{name}: NAME}}"
                )
        carried = [name for name in table.carried if name not in own.values() and name not in _OF_IMAGES]
        start, total = int(cursor or 0), len(table)
        rows: list[Recording] = []
        left_out: Counter[str] = Counter()
        for index, row in enumerate(table.rows({*own.values(), *carried})):
            if index < start:
                continue
            found = self._recording(row, own, carried)
            if isinstance(found, str):
                left_out[found] += 1
            else:
                rows.append(found)
            if index + 1 == total or (index + 1 - start) % _ROWS == 0:
                following = None if index + 1 == total else str(index + 1)
                yield Page(tuple(rows), following, total, dict(left_out))
                rows, left_out = [], Counter()
        if not total:
            yield Page(())

    def media_address(self, web: Web, recording: Recording) -> str | Path:
        said = recording.media_url
        return said if "://" in said else Path(self.table).parent / said

    def _column(self, name: str, columns: Iterable[str]) -> str | None:
        there = set(columns)
        if (said := self.columns.get(name)) is not None:
            if said and said not in there:
                raise DataError(f"{self.table} has no column {said!r} for {name};{nearest(said, there)}")
            return said or None
        return next((one for one in NAMES[name] if one in there), None)

    def _recording(self, row: Row, own: Mapping[str, str], carried: Iterable[str]) -> Recording | str:
        """Return a row as a recording, or why it is none."""
        if row.fault is not None:
            return UNREADABLE
        cells = {name: row.cells.get(column) for name, column in own.items()}
        if isinstance(cells["media_url"], bytes | bytearray | dict):
            return INSIDE
        point = row.point if row.point is not None else (cells.get("longitude"), cells.get("latitude"))
        more = {name: text_of(row.cells.get(name)) for name in carried if not is_unknown(row.cells.get(name))}
        return recording_of(self.source, {**cells, "longitude": point[0], "latitude": point[1]}, more)


def recording_of(source: str, cells: Mapping[str, Any], more: Mapping[str, str]) -> Recording | str:
    """Return a recording of cells named as in NAMES, or why it is none. A value that cannot be read is not guessed."""
    said = {name: "" if is_unknown(value) else value for name, value in cells.items()}
    id, media = text_of(said.get("source_id")), _media(said.get("media_url"))
    if not id:
        return "without an id"
    if not media:
        return "without a file"
    try:
        longitude, latitude = checked_coordinates(said.get("longitude"), said.get("latitude"))
    except UnreadableCell:
        return "a place that is none"
    time, zone_known = _time(said)
    hash_kind = next((kind for kind in ("sha256", "sha1", "md5") if said.get(kind)), "")
    return Recording(
        source, id, web_address(said.get("url")), media, longitude, latitude,
        coord_uncertainty_m=_number(said.get("coord_uncertainty_m")), coord_source=text_of(said.get("coord_source")),
        time=time, time_zone_known=zone_known, seconds=_number(said.get("seconds")),
        license=text_of(said.get("license")), ai_preference=text_of(said.get("ai_preference")),
        author=text_of(said.get("author")), title=text_of(said.get("title")), credit=text_of(said.get("credit"), 1000),
        bytes=whole_of(said.get("bytes")), hash=text_of(said.get(hash_kind)).lower() if hash_kind else "",
        hash_kind=hash_kind, suffix=suffix_of(media), more=dict(more),
    )  # fmt: skip


def _media(value: object) -> str:
    """Return an address, or a path as it is written."""
    if not isinstance(value, str) or "\0" in value or len(value) > 4000:
        return ""
    return web_address(value) if "://" in value or value.startswith("//") else value.strip()


def _number(value: object) -> float | None:
    try:
        found = number(value)
    except UnreadableCell:
        return None
    return found if found is not None and found >= 0 else None


def _time(said: Mapping[str, Any]) -> tuple[str, bool]:
    """Return a time as ISO 8601 and whether its zone is known: what a table has as `datetime` is UTC where it says no
    offset, as in every manifest."""
    try:
        if isinstance(said.get("day"), str) and not said.get("datetime") and not said.get("local_time"):
            day = said["day"].strip()
            if _PART_OF_DATE.fullmatch(day):
                return day, False
            return (datetime.fromisoformat(day).isoformat(), False) if len(day) > 10 else ("", False)
        moment = said.get("datetime")
        if isinstance(moment, str) and _PART_OF_DATE.fullmatch(moment.strip()):
            return moment.strip(), False
        if (moment := utc_datetime(said.get("datetime"))) is not None:
            return moment.isoformat(), True
        if said.get("local_time"):
            return datetime.fromisoformat(str(said["local_time"])).isoformat(), False
    except (UnreadableCell, ValueError):
        return "", False
    return (said["day"].isoformat()[:10], False) if hasattr(said.get("day"), "isoformat") else ("", False)
