"""What a curation leaves: the rows that stay as a manifest, the others with their rules, a page with histograms."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from earthtone.build.curate.measure import Facts
from earthtone.build.curate.places import coarse
from earthtone.build.curate.rules import Finding, plain, uncertainty_m
from earthtone.build.options import RULES, CurateOptions
from earthtone.build.pictures import PagePicture, histograms
from earthtone.build.row_facts import UNCERTAINTY, tells_place
from earthtone.data.pair import EXCERPT_COLUMNS, MEDIA, Pair
from earthtone.data.source import Source
from earthtone.errors import DataError
from earthtone.files import FORMATS, atomic_path, write_text_atomic
from earthtone.pages import Page, PageTable
from earthtone.signal.excerpt import Excerpt, source_of

_ROWS, _BYTES = 4096, 64 * 2**20  # written at once
_EXAMPLES = 5
NOTES, SPEECH, TAGS = "curation_notes", "speech_share", "sound_tags"
_TELLING = re.compile(r"\d{1,3}\.\d{3,}\D+\d{1,3}\.\d{3,}")  # two numbers in a name that may be degrees


@dataclass
class Held:
    """How much there is."""

    rows: int = 0
    kept: int = 0
    seconds: float = 0.0


@dataclass
class RuleCount:
    """What a rule has said of the rows, and the first rows that it dropped, or noted where it drops none."""

    dropped: int = 0
    alone: int = 0
    """Of these, rows that no other rule drops."""
    noted: int = 0
    not_judged: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, id: str, finding: Finding, alone: bool) -> None:
        """Add what the rule says of a row."""
        self.dropped += finding.verdict == "dropped"
        self.alone += alone
        self.noted += finding.verdict == "noted"
        self.not_judged += finding.verdict == "not judged"
        if finding.verdict in ("dropped", "noted") and len(self.examples) < _EXAMPLES:
            self.examples.append((id, finding.detail))


class CuratedRows:
    """Writes both tables, each whole or not at all; paths in the manifest are from its own folder."""

    def __init__(self, out: Path, source: Source, options: CurateOptions) -> None:
        self._out, self._options = out.resolve(), options
        self.telling_names = 0
        """Rows whose id or file has numbers in its name that may be a place, where places are made coarse."""
        own = {*EXCERPT_COLUMNS, NOTES, SPEECH, TAGS}
        extra = [name for name in source.extra_columns if name not in own]
        hidden = [name for name in extra if options.coarsen_km is not None and tells_place(name)]
        self.place_columns = tuple(name for name in hidden if plain(name) not in UNCERTAINTY)
        self._extra = [name for name in extra if name not in hidden]
        told = {*source.extra_columns, *(options.columns or {})}
        self._excerpts = any(name in told for name in EXCERPT_COLUMNS)
        self._stack = ExitStack()
        self._kept: list[dict[str, Any]] = []
        self._dropped: list[dict[str, Any]] = []
        self._size = 0
        self._media: Mapping[str, pa.DataType] | None = None

    def __enter__(self) -> "CuratedRows":
        self._path = self._stack.enter_context(atomic_path(self._out / "curated.parquet"))
        path = self._stack.enter_context(atomic_path(self._out / "dropped.parquet"))
        names = [("id", pa.string()), ("rule", pa.string()), ("detail", pa.string()), ("value", pa.float64())]
        self._drops = self._stack.enter_context(pq.ParquetWriter(path, pa.schema(names, metadata=_metadata())))
        self._keeps: pq.ParquetWriter | None = None
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self._flush()
        if self._keeps is not None:
            self._keeps.close()
        self._stack.__exit__(*error)

    def keep(self, pair: Pair, facts: Facts, findings: Mapping[str, Finding]) -> None:
        """Write a row that stays."""
        cells = {**{name: pair.extra.get(name, "") for name in self._extra}, **self._cells(pair)}
        cells["audio"], cells["image"] = (
            self._medium(None if medium is None else source_of(medium)) for medium in (pair.audio, pair.image)
        )
        if isinstance(pair.audio, Excerpt):
            cells["start_s"], cells["end_s"] = pair.audio.start_s, pair.audio.end_s
        noted = [f"{rule}: {finding.value}" for rule, finding in findings.items() if finding.verdict == "noted"]
        cells[NOTES] = "; ".join(noted) or None
        if facts.sound is not None:
            cells[SPEECH] = facts.sound.speech
            cells[TAGS] = None if facts.sound.tags is None else json.dumps(dict(facts.sound.tags))
        if self._media is None:
            self._media = {
                name: pa.binary() if isinstance(cells[name], bytes) else pa.string()
                for name in MEDIA
                if cells[name] is not None
            }
        for name in MEDIA:
            if isinstance(cells[name], bytes) != (self._media.get(name) == pa.binary()) and cells[name] is not None:
                raise DataError(f"{pair.id}: its {name} is a path where others are bytes, or the other way round")
            self._size += len(cells[name] or b"")
        self._kept.append(cells)
        if len(self._kept) >= _ROWS or self._size >= _BYTES:
            self._flush()

    def drop(self, id: str, findings: Mapping[str, Finding]) -> None:
        """Write a row that goes: a line for each rule that drops it."""
        for rule, finding in findings.items():
            self._dropped.append({"id": id, "rule": rule, "detail": finding.detail, "value": finding.figure})
        if len(self._dropped) >= _ROWS:
            self._flush()

    def _cells(self, pair: Pair) -> dict[str, Any]:
        cells: dict[str, Any] = {
            name: getattr(pair, name)
            for name in ("id", "longitude", "latitude", "datetime", "image_gsd_m", "source", "license", "attribution",
                         "split")
        }  # fmt: skip
        km = self._options.coarsen_km
        if km is not None:
            known = uncertainty_m(pair)
            if pair.longitude is not None and pair.latitude is not None:
                cells["longitude"], cells["latitude"] = coarse(pair.longitude, pair.latitude, km)
                cells["coord_uncertainty_m"] = round((known or 0.0) + 1000 * km * 0.5**0.5)
            media = [None if medium is None else source_of(medium) for medium in (pair.audio, pair.image)]
            names = [pair.id, *(medium.name for medium in media if isinstance(medium, Path))]
            self.telling_names += any(_TELLING.search(name) is not None for name in names)
        return cells

    def _medium(self, medium: Path | bytes | None) -> str | bytes | None:
        if not isinstance(medium, Path):
            return medium
        try:
            return Path(os.path.relpath(medium.resolve(), self._out)).as_posix()
        except ValueError:  # on another drive
            return str(medium.resolve())

    def _schema(self) -> pa.Schema:
        numbers = ["longitude", "latitude", "image_gsd_m"]
        columns: list[tuple[str, pa.DataType]] = [("id", pa.string()), *(self._media or {}).items()]
        columns += [(name, pa.float64()) for name in (EXCERPT_COLUMNS if self._excerpts else ())]
        columns += [("datetime", pa.timestamp("us", tz="UTC")), *((name, pa.float64()) for name in numbers)]
        columns += [(name, pa.string()) for name in ("source", "license", "attribution", "split", *self._extra, NOTES)]
        if self._options.coarsen_km is not None:
            columns.append(("coord_uncertainty_m", pa.float64()))
        columns += [(SPEECH, pa.float64())] * (self._options.speech != "off")
        columns += [(TAGS, pa.string())] * (self._options.tagger is not None)
        return pa.schema(columns, metadata=_metadata())

    def _flush(self) -> None:
        if self._kept:
            if self._keeps is None:
                self._keeps = pq.ParquetWriter(self._path, self._schema())
            self._keeps.write_table(pa.Table.from_pylist(self._kept, self._keeps.schema))
            self._kept, self._size = [], 0
        if self._dropped:
            self._drops.write_table(pa.Table.from_pylist(self._dropped, self._drops.schema))
            self._dropped = []


def _metadata() -> dict[bytes, bytes]:
    return {b"earthtone.curation.format": str(FORMATS["curation"]).encode()}


# The page.

#: Of each histogram: its title, upper edges of its bars.
_HISTOGRAMS: Mapping[str, tuple[str, Sequence[float]]] = {
    "short": ("Seconds of sound", (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 3600)),
    "silent": ("Level, dBFS", (-100, -90, -80, -70, -60, -50, -40, -30, -20, -10, 0)),
    "clipped": ("Share of samples at full scale", (0, 1e-5, 1e-4, 1e-3, 5e-3, 0.01, 0.05, 0.1, 1)),
    "offset": ("Mean of the samples, of full scale", (1e-4, 1e-3, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 1)),
    "wind": ("Share of power below 100 Hz", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1)),
    "speech": ("Share of speech", (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)),
    "uncertain": ("Uncertainty of the place, m", (1, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)),
}  # fmt: skip


@dataclass
class Histograms:
    """How many rows have which value, for the rules that measure one."""

    counts: dict[str, list[int]] = field(default_factory=dict)

    def add(self, findings: Mapping[str, Finding]) -> None:
        """Add a row."""
        for rule, (_, edges) in _HISTOGRAMS.items():
            found = findings.get(rule)
            if found is not None and found.figure is not None:
                bins = self.counts.setdefault(rule, [0] * (len(edges) + 1))
                bins[int(np.searchsorted(edges, found.figure, "left"))] += 1

    def pictures(self) -> list[PagePicture]:
        """Return a picture of what was measured; none where nothing was."""
        panels = {}
        for rule, (title, edges) in _HISTOGRAMS.items():
            counts = self.counts.get(rule, [])
            names = [*(f"{edge:g}" for edge in edges), f"> {edges[-1]:g}"]
            if counts:
                panels[title] = (names, counts) if counts[-1] else (names[:-1], counts[:-1])
        caption = "Rows by what was measured, before any is dropped. Each bar goes up to the edge below it."
        return [PagePicture("What was measured", caption, histograms(panels))] if panels else []


def write_page(
    out: Path,
    data: str,
    held: Held,
    counts: Mapping[str, RuleCount],
    options: CurateOptions,
    histograms: Histograms,
    notes: Sequence[str],
) -> None:
    """Write curation.html."""
    rows = [
        [rule, RULES[rule], f"{count.dropped:,}", f"{count.alone:,}", f"{count.noted:,}", f"{count.not_judged:,}"]
        for rule, count in counts.items()
        if rule == "row" or options.counts(rule)
    ]
    examples = [[rule, id, detail] for rule, count in counts.items() for id, detail in count.examples]
    off = [rule for rule in RULES if rule != "row" and not options.counts(rule)]
    page = Page(
        title=f"Curation of {Path(data).name}",
        notes=[
            f"{held.kept:,} of {held.rows:,} rows stay, {held.seconds / 3600:,.2f} h of sound.",
            *(f"{note[:1].upper()}{note[1:]}." for note in notes),
        ],
        tables=[
            PageTable("Rules", ["rule", "drops", "rows dropped", "by it alone", "noted", "not judged"], rows),
            PageTable("Examples", ["rule", "id", "found, and expected"], examples,
                      lead=f"The first {_EXAMPLES} rows of each rule; all are in dropped.parquet."),
        ],
        lists={"Rules that were off": off},
        template="dataset.html.j2",
        more={"pictures": histograms.pictures()},
    )  # fmt: skip
    write_text_atomic(out / "curation.html", page.html())
