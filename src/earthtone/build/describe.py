"""`earthtone describe`: what a data set is, as text, page, data card and credits."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from earthtone.build.croissant import data_card
from earthtone.build.licences import Licence, WholeLicence, credit_line, licence_of, strictest
from earthtone.build.options import DescribeOptions
from earthtone.build.pictures import PagePicture, bars, map_of_places
from earthtone.build.row_facts import NO_TIME, RowFacts, Words, read_rows
from earthtone.data.check import place_numbers
from earthtone.data.grouped_split import NONE
from earthtone.data.pair import SPLITS
from earthtone.errors import one_line_each
from earthtone.files import atomic_folder, atomic_path, refuse_used, write_text_atomic
from earthtone.pages import Page, PageTable
from earthtone.terminal import json_text
from earthtone.value_types import takes

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Upper edges of lengths of recordings, in seconds.
_LENGTHS = (1, 3, 10, 30, 60, 180, 600, 1800, 3600)
_SHOWN = 20  # sources and licences of a page
_PART = 65_536  # rows of credits written at once


@dataclass(frozen=True)
class Holding:
    """What rows of a source or a licence hold."""

    name: str
    rows: int
    hours: float
    """Of the rows whose length is known."""
    flags: Sequence[str] = ()
    """What a licence asks for."""
    said: Sequence[str] = ()
    """How the data write it, where it is not understood."""


@dataclass(frozen=True)
class Description:
    """What a data set is. Counts are of rows that can be read."""

    data: str
    title: str
    rows: int
    problems: Mapping[str, int]
    splits: Mapping[str, int]
    images: int | None
    """Distinct ones; None where files were not looked at."""
    recordings: int | None
    hours: float
    """Of sound, over the rows whose length is known."""
    without_length: int
    places: int
    """Distinct to about 100 m."""
    without_place: int
    box: Sequence[float]
    """West, south, east, north of all places in degrees; empty without any. West is more than east across 180."""
    first: str | None
    """The first and the last time (UTC), None without any."""
    last: str | None
    without_time: int
    by_hour_utc: Sequence[int]
    """Rows of each hour of the day, from 0 to 23."""
    by_month: Sequence[int]
    by_year: Mapping[str, int]
    by_length: Mapping[str, int]
    """Rows by length of their recording: `up to 10 s`."""
    sources: Sequence[Holding]
    licences: Sequence[Holding]
    whole: str | None
    """The licence that the set would carry as a whole; None: each row has its own."""
    whole_why: str
    authors: int
    """Different texts of the column attribution."""
    out: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        lines = [f"{self.title}: {self.rows:,} rows, {self._hours_text()}"]
        lines += [f"  {count:,} rows left out: {kind}" for kind, count in self.problems.items()]
        lines.append("  splits: " + ", ".join(f"{name} {count:,}" for name, count in self.splits.items()))
        lines.append(f"  {self._contents_text()}")
        if self.first is not None:
            lines.append(f"  from {self.first} to {self.last}; {self.without_time:,} rows without a time")
        for what, found in (("source", self.sources), ("licence", self.licences)):
            for one in found[:_SHOWN]:
                asks = f" ({', '.join(one.flags)})" if one.flags else ""
                said = f", written {'; '.join(map(repr, one.said[:3]))}" if one.said else ""
                lines.append(f"  {what} {one.name}{asks}: {one.rows:,} rows, {one.hours:.2f} h{said}")
            lines += [f"  ... {len(found) - _SHOWN:,} more"] * (len(found) > _SHOWN)
        lines.append(f"  as a whole: {self.whole or 'no licence'}: {self.whole_why}")
        lines += [f"{self.out}/describe.html"] * (self.out is not None)
        return one_line_each(lines)

    def _hours_text(self) -> str:
        unknown = f" ({self.without_length:,} rows of unknown length)" if self.without_length else ""
        return f"{self.hours:,.2f} hours of sound{unknown}"

    def _contents_text(self) -> str:
        parts = [f"{self.places:,} places ({self.without_place:,} rows without one)"]
        for count, name in ((self.images, "images"), (self.recordings, "recordings")):
            parts.append(f"{name} not compared" if count is None else f"{count:,} different {name}")
        return ", ".join([*parts, f"{self.authors:,} attributions"])


@takes(DescribeOptions)
def describe(options: DescribeOptions) -> Description:
    """Return what a manifest, a release or a packed table is; with `out`, write pages, data card and credits.

    Lengths are read from the files' headers, or with `metadata_only` from a column `seconds`. Raises DataError.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        refuse_used(out)
    facts = read_rows(
        options.data, columns=options.columns, metadata_only=options.metadata_only, need=options.need, words=True
    )
    found = description_of(facts, options.title, None if out is None else str(out))
    if out is not None:
        with atomic_folder(out) as folder:
            write_description(folder, found, facts, options)
    return found


def description_of(facts: RowFacts, title: str | None = None, out: str | None = None) -> Description:
    """Return what rows are."""
    known = facts.seconds_utc != NO_TIME
    times = facts.seconds_utc[known]
    months = times.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    years = Counter((months // 12 + 1970).tolist())
    placed = facts.placed
    seconds = facts.audio_seconds
    has_length = np.isfinite(seconds)
    counts = np.bincount(facts.splits, minlength=NONE + 1).tolist()
    whole = strictest(_licence_of_each(facts)[0])
    distinct = {name: _distinct(key) for name, key in facts.links.items() if name in ("image", "recording")}
    lengths = np.searchsorted(_LENGTHS, seconds[has_length], "left")
    edges = [*(f"up to {edge:,} s" for edge in _LENGTHS), f"over {_LENGTHS[-1]:,} s"]
    return Description(
        data=facts.path,
        title=title or Path(facts.path).stem,
        rows=len(facts),
        problems=facts.problems,
        splits={name: int(count) for name, count in zip([*SPLITS, "none"], counts, strict=True) if count},
        images=distinct.get("image"),
        recordings=distinct.get("recording"),
        hours=float(seconds[has_length].sum() / 3600),
        without_length=int((~has_length).sum()),
        places=len(np.unique(place_numbers(facts.longitude[placed], facts.latitude[placed]))),
        without_place=int((~placed).sum()),
        box=_box(facts.longitude[placed], facts.latitude[placed]),
        first=_utc(int(times.min())) if len(times) else None,
        last=_utc(int(times.max())) if len(times) else None,
        without_time=int((~known).sum()),
        by_hour_utc=np.bincount(times // 3600 % 24, minlength=24).tolist(),
        by_month=np.bincount(months % 12, minlength=12).tolist(),
        by_year={str(year): count for year, count in sorted(years.items())},
        by_length={name: int((lengths == at).sum()) for at, name in enumerate(edges)},
        sources=_holdings(facts.words["source"], seconds),
        licences=_by_licence(facts),
        whole=None if whole.licence is None else whole.licence.id,
        whole_why=whole.why,
        authors=len(facts.words["attribution"].texts),
        out=out,
    )


def _distinct(key: NDArray[np.int64]) -> int:
    return len(np.unique(key[key >= 0]))


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _box(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> list[float]:
    """Return west, south, east, north of places; the widest empty range of longitudes lies outside."""
    if not len(longitude):
        return []
    ordered = np.unique(longitude)
    gaps = np.append(np.diff(ordered), ordered[0] + 360 - ordered[-1])
    widest = int(gaps.argmax())
    west = ordered[(widest + 1) % len(ordered)]
    return [float(west), float(latitude.min()), float(ordered[widest]), float(latitude.max())]


def _licence_of_each(facts: RowFacts) -> tuple[list[Licence], NDArray[np.int64]]:
    """Return the licences of the data, one for each text and one for none, and the number of each row's (N,)."""
    words = facts.words["license"]
    licences = [*(licence_of(text) for text in words.texts), licence_of(None)]
    rows = np.where(words.numbers < 0, len(words.texts), words.numbers).astype(np.int64)
    used = set(rows.tolist())
    return [licence for at, licence in enumerate(licences) if at in used or at < len(words.texts)], rows


def _by_licence(facts: RowFacts) -> list[Holding]:
    licences, rows = _licence_of_each(facts)
    texts = [*facts.words["license"].texts, ""]
    seconds = np.nan_to_num(facts.audio_seconds)
    counts = np.bincount(rows, minlength=len(texts))
    sums = np.bincount(rows, seconds, minlength=len(texts))
    number, hours, said = Counter[str](), defaultdict[str, float](float), defaultdict[str, list[str]](list)
    flags: dict[str, Sequence[str]] = {}
    for at, licence in enumerate(licences):
        number[licence.id] += int(counts[at])
        hours[licence.id] += float(sums[at]) / 3600
        flags[licence.id] = licence.flags
        if not licence.known:
            said[licence.id].append(texts[at][:80] or "nothing")
    return [Holding(id, count, hours[id], flags[id], said[id]) for id, count in number.most_common()]


def _holdings(words: Words, seconds: NDArray[np.float64]) -> list[Holding]:
    counts = np.bincount(words.numbers + 1, minlength=len(words.texts) + 1)
    sums = np.bincount(words.numbers + 1, np.nan_to_num(seconds), minlength=len(words.texts) + 1)
    names = ["not told", *words.texts]
    found = [Holding(name, int(counts[at]), float(sums[at]) / 3600) for at, name in enumerate(names) if counts[at]]
    return sorted(found, key=lambda one: -one.rows)


# What is written.


def write_description(folder: Path, found: Description, facts: RowFacts, options: DescribeOptions) -> None:
    """Write describe.html, describe.json, README.md, croissant.json, credits.parquet and credits.txt into a folder."""
    page = description_page(found, facts)
    write_text_atomic(folder / "describe.html", page.html())
    write_text_atomic(folder / "README.md", page.markdown())
    write_text_atomic(folder / "describe.json", json_text(found.to_dict()) + "\n")
    _write_credits(folder, facts)
    card = data_card(
        found.title, " ".join(_notes(found)), options.data, _whole(facts), _licence_of_each(facts)[0],
        folder / "credits.parquet", found, options.url,
    )  # fmt: skip
    write_text_atomic(folder / "croissant.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def description_page(found: Description, facts: RowFacts) -> Page:
    """Return the page of a data set, with its pictures."""
    return Page(
        title=found.title, notes=_notes(found), tables=_tables(found), lists={}, template="dataset.html.j2",
        more={"pictures": _pictures(found, facts)},
    )  # fmt: skip


def _whole(facts: RowFacts) -> WholeLicence:
    return strictest(_licence_of_each(facts)[0])


def _notes(found: Description) -> list[str]:
    lines = [f"{found.rows:,} rows, {found._hours_text()}, {found._contents_text()}."]
    if found.first is not None:
        lines.append(f"From {found.first} to {found.last}.")
    lines.append(f"As a whole: {found.whole or 'no licence'}: {found.whole_why}.")
    lines += [f"{count:,} rows were left out: {kind}." for kind, count in found.problems.items()]
    return lines


def _tables(found: Description) -> list[PageTable]:
    def held(holdings: Sequence[Holding]) -> Iterator[list[str]]:
        for one in holdings[:_SHOWN]:
            yield [one.name, f"{one.rows:,}", f"{one.hours:,.2f}"]

    asks = [", ".join(one.flags) for one in found.licences[:_SHOWN]]
    said = ["; ".join(one.said[:3]) for one in found.licences[:_SHOWN]]
    licences = [[*row, *more] for row, *more in zip(held(found.licences), asks, said, strict=True)]
    return [
        PageTable("Licences", ["licence", "rows", "hours", "asks for", "written as"], licences,
                  lead="What is not understood is unknown. Hours are those of rows whose length is known."),
        PageTable("Sources", ["source", "rows", "hours"], list(held(found.sources))),
        PageTable("Splits", ["split", "rows"], [[name, f"{count:,}"] for name, count in found.splits.items()]),
        PageTable("Years", ["year", "rows"], [[year, f"{count:,}"] for year, count in found.by_year.items()]),
    ]  # fmt: skip


def _pictures(found: Description, facts: RowFacts) -> list[PagePicture]:
    pictures = []
    placed = facts.placed
    if placed.any():
        drawn = map_of_places({"places": (facts.longitude[placed], facts.latitude[placed])})
        pictures.append(PagePicture("Coverage", "One dot for all rows in one pixel.", drawn))
    if found.first is not None:
        hours = bars([str(hour) for hour in range(24)], found.by_hour_utc, "rows")
        pictures.append(PagePicture("Hours", "Rows by hour of the day, UTC.", hours))
        pictures.append(PagePicture("Months", "Rows by month, UTC.", bars(_MONTHS, found.by_month, "rows")))
    if any(found.by_length.values()):
        drawn = bars(list(found.by_length), list(found.by_length.values()), "rows")
        pictures.append(PagePicture("Lengths", "Rows by length of their recording.", drawn))
    return pictures


def _write_credits(folder: Path, facts: RowFacts) -> None:
    """Write a credit line a row, and the different ones without the rows' ids."""
    licences, of_row = _licence_of_each(facts)
    authors, sources = ([*facts.words[name].texts, None] for name in ("attribution", "source"))
    author_of, source_of = (facts.words[name].numbers for name in ("attribution", "source"))
    schema = pa.schema([(name, pa.string()) for name in ("id", "credit", "license", "license_url", "asks_for")])
    counts: Counter[tuple[int, int, int]] = Counter()
    row = 0
    with atomic_path(folder / "credits.parquet") as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in facts.ids:
            lines: list[list[str]] = []
            for id in part.to_pylist():
                key = (int(author_of[row]), int(of_row[row]), int(source_of[row]))
                licence = licences[key[1]]
                counts[key] += 1
                line = credit_line(id, authors[key[0]], licence, sources[key[2]])
                lines.append([id, line, licence.id, licence.url, ", ".join(licence.flags)])
                row += 1
            columns = list(zip(*lines, strict=True)) or [()] * len(schema)
            writer.write_table(pa.table([pa.array(column, pa.string()) for column in columns], schema=schema))
    told = [
        f"{count:,} rows: {credit_line('', authors[author], licences[licence], sources[source])}"
        for (author, licence, source), count in counts.most_common()
    ]
    write_text_atomic(folder / "credits.txt", one_line_each(told) + "\n")
