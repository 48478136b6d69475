"""What a search found: hits with what their scores mean, as text, JSON, CSV, GeoJSON, Raven table, folder of media."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earthtone.atlas.marks import MarkReport
from earthtone.errors import ConfigError, DataError, SignalError, did_you_mean, one_line, one_line_each
from earthtone.files import write_text_atomic
from earthtone.pages import csv_text
from earthtone.signal.audio import AudioFacts, probe_audio


@dataclass(frozen=True)
class Hit:
    """One row that was found."""

    rank: int
    score: float
    """What it is says `SearchResult.score_is`; more is better."""
    percentile: float
    """Of the other rows that were searched, how many per cent rank behind this one."""
    key: str
    """What it is called in marks: the id, with `image:` or `audio:` and `@START` where needed."""
    id: str
    modality: str
    row: int
    """In the table of embeddings."""
    longitude: float | None
    latitude: float | None
    datetime: str | None
    """ISO 8601, UTC."""
    source: str | None
    license: str | None
    attribution: str | None
    media: str | None
    start_s: float | None
    seconds: float | None
    file_fingerprint: str | None = None
    """Of the media when they were embedded."""
    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north of a tile in `crs`."""
    crs: str | None = None
    verdict: str | None = None
    """How it was marked, where marks were given."""
    more: Mapping[str, str | None] = field(default_factory=dict)
    """The table's free columns."""

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON; numbers that are none are null."""
        names = [name for name in self.__dataclass_fields__ if name not in ("bounds", "more")]
        plain = {name: _finite(getattr(self, name)) for name in names}
        west, south, east, north = self.bounds or (None,) * 4
        return {**plain, "west": west, "south": south, "east": east, "north": north, "more": dict(self.more)}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class SearchResult:
    """The hits of one search, best first, and what was searched."""

    query: str
    """As it is written in marks: `a.wav`, `+ a.wav + b.jpg - c.jpg`."""
    score_is: str
    """What a score means: cosine, minus the Euclidean distance, or the probability of being right."""
    found: str
    """What was searched: image, audio or all."""
    searched: int
    """Rows that were ranked."""
    rows: int
    """Rows of the index."""
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    """Sentences: fewer hits than asked for, what a filter kept, what was left out."""
    marks: MarkReport | None = None
    target: float | None = None
    """With borderline hits: the score that they are nearest to."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything ready for JSON."""
        return {
            "query": self.query, "score_is": self.score_is, "found": self.found, "searched": self.searched,
            "rows": self.rows, "target": self.target, "notes": list(self.notes),
            "marks": None if self.marks is None else self.marks.to_dict(), "hits": [hit.to_dict() for hit in self.hits],
        }  # fmt: skip

    def to_text(self) -> str:
        """Return a table of the hits and the sentences on them."""
        what = {"image": "images", "audio": "sounds"}.get(self.found, "images and sounds")
        head = f"{self.query}: {len(self.hits)} of {self.searched:,} {what} (of {self.rows:,} rows), "
        head += "best first" if self.target is None else f"nearest to a score of {self.target:g} first"
        lines = [head, f"score: {self.score_is}; percentile: per cent of the other searched rows that rank behind"]
        marked = any(hit.verdict for hit in self.hits)
        columns = ["", "place", "score", "percentile", "id", "time", "licence", *["mark"] * marked]
        table = [columns, *([*_cells(hit), *[hit.verdict or "-"] * marked] for hit in self.hits)]
        widths = [max(len(row[at]) for row in table) for at in range(len(columns))]
        right = (0, 2, 3)
        for row in table if self.hits else []:
            cells = [cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row)]
            lines.append("  ".join(cells).rstrip())
        return one_line_each([*lines, *(self.marks.lines() if self.marks else ()), *self.notes])


def _cells(hit: Hit) -> list[str]:
    place = "-" if hit.longitude is None or hit.latitude is None else f"{hit.longitude:.5f},{hit.latitude:.5f}"
    time = (hit.datetime or "-").replace("T", " ").removesuffix("Z")
    name = one_line(hit.key, 48)
    license_ = one_line(hit.license or "-", 24)
    return [str(hit.rank), place, f"{hit.score:.4f}", f"{hit.percentile:.2f}", name, time, license_]


# Files.


def json_of(result: SearchResult) -> str:
    """Return the result as JSON."""
    return json.dumps(result.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def csv_of(result: SearchResult, more: Mapping[int, Mapping[str, str]] | None = None) -> str:
    """Return one line a hit, line ends in texts written out; texts that begin like formulas have a quote before.

    `more`: further columns by rank.
    """
    rows = []
    for hit in result.hits:
        plain = hit.to_dict()
        free = {f"more.{name}" if name in plain else name: value for name, value in plain.pop("more").items()}
        rows.append({"query": result.query, **plain, **free, **(more or {}).get(hit.rank, {})})
    rows = [{_without_ends(name): _without_ends(value) for name, value in row.items()} for row in rows]
    names = dict.fromkeys(name for row in rows for name in row)
    return csv_text(list(names) or ["query", "rank", "score", "percentile", "id"], rows)


#: What ends lines, for any reader: written out, as `one_line` does; the rest of a text stays as it is.
_ENDS = {ord(sign): ascii(sign)[1:-1] for sign in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


def _without_ends(value: Any) -> Any:
    return value.translate(_ENDS) if isinstance(value, str) else value


def geojson_of(result: SearchResult) -> str:
    """Return one point a hit (RFC 7946: longitude, latitude, WGS 84); of a hit without a place the geometry is null."""
    features = []
    for hit in result.hits:
        plain = hit.to_dict()
        place = (plain.pop("longitude"), plain.pop("latitude"))
        point = None if None in place else {"type": "Point", "coordinates": list(place)}
        properties = {"query": result.query, **plain.pop("more"), **plain}
        features.append({"type": "Feature", "id": hit.key, "geometry": point, "properties": properties})
    whole = {"type": "FeatureCollection", "features": features}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


#: Of a selection table: those that Raven Pro 1.6 writes itself, then ours, which it shows as annotations.
RAVEN_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Begin Path",
    "File Offset (s)", "Begin File", "Rank", "Score", "Percentile", "Id", "Licence", "Media",
)  # fmt: skip


def raven_of(result: SearchResult) -> tuple[str, str | None]:
    """Return a selection table of the sounds among the hits, and a line on what it leaves out.

    Raven counts Begin Time through all files of a table one after another, in the order in which they first appear,
    and File Offset within each; so it opens the table together with its files. A file that is not there stands behind
    the others and takes the length that its rows tell; its selections have no frequencies, so they lie in the waveform
    view. Raises DataError where no hit is a sound.
    """
    sounds = [hit for hit in result.hits if hit.modality == "audio"]
    if not sounds:
        raise DataError(
            f"none of {len(result.hits)} hits is a sound, and a Raven selection table holds sounds alone; search with "
            "--find audio, or choose --out of .csv, .json or .geojson"
        )
    facts = {path: _facts(path) for path in dict.fromkeys(hit.media or hit.id for hit in sounds)}
    ends: dict[str, float] = {}
    for hit in sounds:
        path = hit.media or hit.id
        ends[path] = max(ends.get(path, 0.0), (hit.start_s or 0.0) + (hit.seconds or 0.0))
    begins, clock = {}, 0.0
    for path in sorted(facts, key=lambda path: facts[path] is None):  # stable: those that are there come first
        known = facts[path]
        begins[path] = clock
        clock += ends[path] if known is None else known.seconds
    lines = ["\t".join(RAVEN_COLUMNS)]
    for number, hit in enumerate(sorted(sounds, key=lambda hit: (begins[hit.media or hit.id], hit.rank)), 1):
        lines.append("\t".join(map(_raven_cell, _selection(number, hit, begins, facts))))
    left = len(result.hits) - len(sounds)
    missing = sum(known is None for known in facts.values())
    said = [f"{left} hits are images and not in the selection table"] if left else []
    said += [f"{missing} of {len(facts)} sound files are not there: listed, marked missing"] if missing else []
    return "\n".join(lines) + "\n", "; ".join(said) or None


def _selection(
    number: int, hit: Hit, begins: Mapping[str, float], facts: Mapping[str, AudioFacts | None]
) -> Sequence[object]:
    path = hit.media or hit.id
    known, start = facts[path], hit.start_s or 0.0
    length = hit.seconds if hit.seconds is not None else 0.0 if known is None else known.seconds - start
    begin = begins[path] + start
    high = "" if known is None else f"{known.hz / 2:.1f}"
    return (
        number, "Spectrogram 1" if known else "Waveform 1", 1, f"{begin:.6f}", f"{begin + length:.6f}",
        "0.0" if known else "", high, path, f"{start:.6f}", path.replace("\\", "/").rpartition("/")[2], hit.rank,
        f"{hit.score:.6f}", f"{hit.percentile:.4f}", hit.id, hit.license or "", "there" if known else "missing",
    )  # fmt: skip


def _raven_cell(value: object) -> str:
    """Return a cell without tabs or line ends, which would be further cells."""
    return one_line(str(value)).encode("utf-8", "replace").decode()


def _facts(path: str) -> AudioFacts | None:
    try:
        return probe_audio(Path(path)) if "://" not in path else None
    except SignalError:
        return None


_TEXTS: Mapping[str, Callable[[SearchResult], str]] = {".json": json_of, ".csv": csv_of, ".geojson": geojson_of}
#: What `--out` may end with; anything without a suffix is a folder.
SUFFIXES = (*_TEXTS, ".txt")


def check_out(out: str | Path | None) -> None:
    """Raise ConfigError, before the search, where nothing can be written to `out`."""
    if out is None:
        return
    path = Path(out)
    if is_folder(out):
        if path.is_dir() and any(path.iterdir()):
            raise ConfigError(f"--out {out} is a folder that holds files already; a new one, or an empty one, expected")
        if path.exists() and not path.is_dir():
            raise ConfigError(
                f"--out {out} is a file; a folder, or a name that ends with {', '.join(SUFFIXES)}, expected"
            )
    elif path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--out {out}; {did_you_mean(path.suffix.lower(), SUFFIXES)}a name that ends with {', '.join(SUFFIXES)} "
            "(a Raven selection table), or a folder for the media, expected"
        )


def is_folder(out: str | Path) -> bool:
    """Return whether `--out` means a folder: it is one, ends with a slash, or has no suffix."""
    return Path(out).is_dir() or str(out).endswith(("/", "\\")) or not Path(out).suffix


def write_hits(result: SearchResult, out: str | Path) -> Iterator[str]:
    """Write the hits as the name of `out` says, whole or not at all; yield sentences on what was written and what not.

    A folder gets the media cut out. Raises ConfigError, DataError.
    """
    check_out(out)
    path = Path(out)
    if is_folder(out):
        from earthtone.atlas.media import write_folder  # decodes, and reads rasters

        yield from write_folder(result, path)
        return
    if path.suffix.lower() == ".txt":
        text, said = raven_of(result)
        write_text_atomic(path, text)
        if said:
            yield said
    else:
        write_text_atomic(path, _TEXTS[path.suffix.lower()](result))
    yield f"{path}: {len(result.hits)} hits"
