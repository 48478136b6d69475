"""Walking through a source's pages into a folder: what was listed stays, whenever the walk is stopped.

`listing.jsonl` has a line for each recording that stays; `listing.json` says how many bytes of it count and from which
cursor to go on. Lines are on the disk before the state that counts them, so that a killed walk asks for one page again.
"""

import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

from earthtone.build.licences import licence_of
from earthtone.build.sources.source import Page, Recording, RecordingSource
from earthtone.build.web import HostError, Web
from earthtone.errors import ConfigError, DataError, one_line
from earthtone.files import FORMATS, format_of, only_writer, write_text_atomic
from earthtone.progress import progress_bar, size_text

_LOG = logging.getLogger(__name__)
_KIND = "list of recordings"
_ROWS, _STATE = "listing.jsonl", "listing.json"
_NAMES = {one.name for one in fields(Recording)}
_MOST_REMARKS = 50
_DAY = 86400.0
_STRAY_ROWS = 10_000  # beyond twice the total that a source tells
TWICE = "listed twice"


@dataclass
class Listing:
    """What a folder has of a source's list. Iterating yields its recordings in the source's order, `most` at most."""

    folder: Path
    source: str
    query_id: str
    terms: str = ""
    most: int | None = None
    cursor: str | None = None
    """From where the walk goes on."""
    rows: int = 0
    """Recordings that stay."""
    bytes: int = 0
    """Of the file of recordings."""
    seen: int = 0
    """Rows of the source that were looked at."""
    total: int | None = None
    """How many there are, as the source says."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason."""
    remarks: list[str] = field(default_factory=list)
    done: bool = False
    """Whether the last page was seen."""
    finished: float = 0.0
    """When it was, in seconds since 1970."""

    def __len__(self) -> int:
        return self.rows if self.most is None else min(self.rows, self.most)

    def __iter__(self) -> Iterator[Recording]:
        return islice(self._all(), len(self))

    def _all(self) -> Iterator[Recording]:
        path = self.folder / _ROWS
        left = self.bytes
        if not left:
            return
        with path.open("rb") as file:
            for line in file:
                if left <= 0:
                    return
                left -= len(line)
                try:
                    values: dict[str, Any] = json.loads(line)
                    yield Recording(**{name: value for name, value in values.items() if name in _NAMES})
                except (ValueError, TypeError, AttributeError) as error:
                    told = f"{path} has a line that is no recording ({error}); delete the folder to list anew"
                    raise DataError(told) from error

    def sizes(self) -> tuple[int, int, float, Counter[str]]:
        """Return bytes that are told, recordings that tell none, seconds that are told, recordings of each licence."""
        told = unknown = 0
        seconds, licences = 0.0, Counter[str]()
        for row in self:
            told += row.bytes or 0
            unknown += row.bytes is None
            seconds += row.seconds or 0.0
            licences[licence_of(row.license).id] += 1
        return told, unknown, seconds, licences

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        told, unknown, seconds, licences = self.sizes()
        return {
            "source": self.source, "recordings": len(self), "seen": self.seen, "total": self.total, "done": self.done,
            "left_out": dict(self.left_out), "remarks": self.remarks, "bytes_told": told, "bytes_unknown": unknown,
            "seconds_told": seconds, "licences": dict(licences), "terms": self.terms,
        }  # fmt: skip

    def to_text(self) -> str:
        """Return lines for a terminal."""
        told, unknown, seconds, licences = self.sizes()
        of = "" if self.total is None else f" of {self.total}"
        lines = [f"{self.source}: {len(self)} recordings, {self.seen}{of} rows seen; {self.terms}"]
        more = f", the size of {unknown} is not told" if unknown else ""
        lines.append(f"  {size_text(told)}{more}; {seconds / 3600:.2f} h told")
        lines += [f"  licence {name}: {count}" for name, count in licences.most_common()]
        lines += [f"  left out: {one_line(reason)}: {count}" for reason, count in self.left_out.most_common()]
        return "\n".join([*lines, *(f"  {one_line(remark)}" for remark in self.remarks)])

    @classmethod
    def open(cls, folder: Path, most: int | None = None) -> "Listing | None":
        """Return what a folder has; None where nothing was listed. Raises DataError for a damaged one."""
        path = folder / _STATE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            format_of(values, _KIND, path)
            known = {one.name for one in fields(cls)} - {"folder", "most", "left_out"}
            found = cls(folder, most=most, left_out=Counter(values["left_out"]), **{n: values[n] for n in known})
            size = (folder / _ROWS).stat().st_size if found.bytes else 0
        except FileNotFoundError:
            if path.exists():
                raise DataError(f"{folder / _ROWS} is missing; delete {folder} to list anew") from None
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete {folder} to list anew") from error
        if size < found.bytes:
            raise DataError(f"{folder / _ROWS} has {size} bytes of {found.bytes}; delete {folder} to list anew")
        return found

    def keep(self) -> None:
        """Write the state."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("folder", "most")}
        write_text_atomic(self.folder / _STATE, json.dumps({"format": FORMATS[_KIND], **values}, indent=1) + "\n")


def list_recordings(
    source: RecordingSource,
    folder: str | Path,
    *,
    web: Web,
    most: int | None = None,
    anew: bool = False,
    fresh_days: float | None = None,
) -> Listing:
    """List a source's recordings into a folder, which is of one query, and return the list; a stopped call goes on.

    `most` recordings are enough; asked for more of them later, it goes on. A list that is whole is not asked for again
    but with `anew`, which begins at once, or where it has been whole for more than `fresh_days`: what has come since is
    listed then, what has gone no more. What the source tells twice is kept once. Raises HostError, QuotaReachedError
    and DataError, with what was listed kept; ConfigError for a missing key, and for a folder of another query.

    >>> list_recordings(InternetArchive(), "lists/archive", web=web, most=100)  # doctest: +SKIP
    """
    folder = Path(folder)
    with only_writer(folder, "listing recordings"):
        listing = None if anew else Listing.open(folder, most)
        if listing is not None and listing.done and fresh_days is not None:
            anew = time.time() - listing.finished > fresh_days * _DAY
        if anew:
            listing = None
            for name in (_STATE, _ROWS):
                (folder / name).unlink(missing_ok=True)
        if listing is None:
            listing = Listing(folder, source.name, source.query_id, source.terms, most)
        if (listing.source, listing.query_id) != (source.name, source.query_id):
            raise ConfigError(
                f"{folder} holds a list of {listing.source} for another query; choose another folder, or delete it"
            )
        if not listing.done and not (most is not None and listing.rows >= most):
            _Walk(source, listing, web).run()
    return listing


class _Walk:
    def __init__(self, source: RecordingSource, listing: Listing, web: Web) -> None:
        self._source, self._listing, self._web = source, listing, web
        path = listing.folder / _ROWS
        if path.exists():
            os.truncate(path, listing.bytes)  # what a killed walk had written beyond its state
        self._ids = {_id(row) for row in listing._all()}
        self._cursors = {listing.cursor}

    def run(self) -> None:
        """Ask for pages until there is no more, or enough."""
        listing, faults = self._listing, 0
        self._source.prepare(self._web)
        with progress_bar(listing.total, f"list {self._source.name}", "row", done=listing.seen) as bar:
            while not listing.done:
                before, fault = listing.cursor, "the list ended before its last page"
                for page in self._source.pages(self._web, before):
                    fault = self._fault(page)
                    if fault and not (page.cursor is None and faults):
                        break
                    if fault:
                        self._remark(fault)
                    faults, fault = 0, ""
                    self._take(page)
                    bar.total = listing.total
                    bar.update(page.count)
                    if listing.done or (listing.most is not None and listing.rows >= listing.most):
                        return
                else:
                    fault = fault or "the list ended before its last page"
                faults += 1
                if faults > 1 and listing.cursor == before:
                    raise HostError(
                        f"{self._source.name}: {fault}, also when asked again; what was listed is kept, type the same "
                        "again to go on from here"
                    )
                _LOG.warning("%s: %s; asking again", self._source.name, fault)

    def _fault(self, page: Page) -> str:
        """Return what is wrong with a page in its place; nothing where it is right."""
        if page.cursor is not None and page.cursor in self._cursors:
            return "a cursor came that was there already"
        total = page.total if page.total is not None else self._listing.total
        seen = self._listing.seen + page.count
        if total is not None and seen > 2 * total + _STRAY_ROWS:
            return f"{seen} rows came of a list of {total}: it goes in a circle"
        if page.cursor is None and total is not None and seen < total:
            return f"the list ended after {seen} rows of {total}"
        return ""

    def _take(self, page: Page) -> None:
        """Keep a page: its recordings, then the state that counts them."""
        listing, lines = self._listing, []
        for row in page.recordings:
            number = _id(row)
            if number in self._ids:
                listing.left_out[TWICE] += 1
                continue
            if (reason := self._source.filters.why_not(row)) is not None:
                listing.left_out[reason] += 1
                continue
            self._ids.add(number)
            lines.append(json.dumps(_plain(row), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        listing.left_out.update(page.left_out)
        if lines:
            self._append(b"".join(lines))
        listing.rows += len(lines)
        listing.seen += page.count
        listing.total = page.total if page.total is not None else listing.total
        for remark in page.remarks:
            self._remark(remark)
        listing.cursor, listing.done = page.cursor, page.cursor is None
        listing.finished = time.time() if listing.done else 0.0
        self._cursors.add(page.cursor)
        if listing.done and listing.total is not None and listing.seen > listing.total:
            self._remark(f"the source told {listing.seen} rows, {listing.total} by its own count")
        listing.keep()

    def _append(self, data: bytes) -> None:
        path = self._listing.folder / _ROWS
        try:
            with path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            told = f"cannot write {path}: {error.strerror or error}; free the disk, and type the same again"
            raise DataError(told) from error
        self._listing.bytes += len(data)

    def _remark(self, text: str) -> None:
        if text not in self._listing.remarks and len(self._listing.remarks) < _MOST_REMARKS:
            self._listing.remarks.append(text)


def _plain(row: Recording) -> dict[str, Any]:
    """Return what a recording tells."""
    said = asdict(row)
    return {name: value for name, value in said.items() if not (value is None or value is False or value in ("", {}))}


def _id(row: Recording) -> int:
    digest = hashlib.blake2b(f"{row.source}\0{row.source_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
