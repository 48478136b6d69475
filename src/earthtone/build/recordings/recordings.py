"""The verb recordings: a folder of field recordings to a table that is a manifest, faults and contradictions counted.

Folder after folder: memory holds the rows of one folder, the end of each device's last recording, and what is told.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earthtone.build.options import RecordingsOptions
from earthtone.build.recordings.examine import (
    BAD_NAME,
    FAULTS,
    LEFT_OUT,
    OVERLAP,
    TWICE,
    Examined,
    examine,
)  # fmt: skip
from earthtone.build.recordings.facts import zone_of
from earthtone.build.recordings.settle import APP_POSITION, Rules, Settled, settle
from earthtone.build.recordings.tables import Deployments, SummaryLog, read_summary
from earthtone.data.pair import is_file
from earthtone.errors import ConfigError, DataError, one_line
from earthtone.files import FORMATS, atomic_path, format_of, refuse_undecodable
from earthtone.progress import ordered_map, progress
from earthtone.signal.readers import kind
from earthtone.value_types import takes

_KIND = "recordings"
_KEY = b"earthtone.recordings.format"
_OVERLAP_S = 1.0  # of two recordings of one device, that is no fault: names count whole seconds
_ROWS = 16_384  # written at once
_NAMED = 1000  # files of each kind that the result names
_SHOWN = 3
_LEAST_SHARE = 0.5  # of a clip: a rest of less is joined to the clip before it

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # the path below the folder; of a clip with `@` and its start in seconds
        ("audio", pa.string()),  # the path from the table's own folder
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("datetime", pa.timestamp("us", tz="UTC")),  # null unless the zone is known
        ("local_time", pa.string()),
        ("day", pa.string()),  # where a name tells no more than that
        ("zone", pa.string()),
        ("zone_source", pa.string()),  # recorder, deployment, option
        ("time_zone_known", pa.bool_()),
        ("longitude", pa.float64()),
        ("latitude", pa.float64()),
        ("coord_uncertainty_m", pa.float64()),
        ("coord_source", pa.string()),  # deployment, log, name, guan, wamd, bext, iXML, tags
        ("device", pa.string()),
        ("deployment", pa.string()),
        ("model", pa.string()),
        ("gain", pa.string()),
        ("battery_v", pa.float64()),
        ("temperature_c", pa.float64()),
        ("triggered", pa.bool_()),
        ("seconds", pa.float64()),
        ("hz", pa.int64()),
        ("channels", pa.int64()),
        ("bytes", pa.int64()),
        ("comment", pa.string()),
        ("faults", pa.string()),  # kinds, separated by `; `
        ("disagreements", pa.string()),
        ("source", pa.string()),
        ("license", pa.string()),
        ("attribution", pa.string()),
    ],
    metadata={_KEY: str(FORMATS[_KIND]).encode()},
)


@dataclass
class Named:
    """How many files something is told of, and the first thousand of them, each with its detail."""

    count: int = 0
    files: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, detail: str) -> None:
        self.count += 1
        if len(self.files) < _NAMED:
            self.files.append((name, detail))


@dataclass
class RecordingsResult:
    """What was found in a folder, and what was wrong. `out` is the table."""

    out: Path
    files: int = 0
    rows: int = 0
    seconds: float = 0.0
    with_time: int = 0
    with_zone: int = 0
    with_place: int = 0
    devices: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, Named] = field(default_factory=dict)
    faults: dict[str, Named] = field(default_factory=dict)
    disagreements: dict[str, Named] = field(default_factory=dict)
    app_positions: Named = field(default_factory=Named)
    idle_deployments: list[str] = field(default_factory=list)
    without_deployment: int | None = None
    unread_columns: tuple[str, ...] = ()
    unread_logs: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "out": str(self.out)}

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        hours = self.seconds / 3600
        lines = [f"{self.out}: {self.rows} rows of {self.files} recordings, {hours:.2f} h"]
        lines.append(
            f"  start known: {self.with_time}, with a zone: {self.with_zone}, place known: {self.with_place} "
            f"of {self.files}"
        )
        if self.with_zone < self.with_time:
            lines.append(
                "  times without a zone are no `datetime`; type --zone ZONE, or a column `zone` in --deployments"
            )
        for title, found, advice in (
            ("left out", self.left_out, LEFT_OUT),
            ("faults", self.faults, FAULTS),
            ("contradictions", self.disagreements, {"time": "--trust name or header takes one"}),
        ):
            for what, named in found.items():
                said = f" ({advice[what]})" if what in advice else ""
                lines.append(f"  {title}: {what}: {named.count}{said}")
                lines += _examples(named)
        if self.app_positions.count:
            lines.append(f"  refused: {APP_POSITION}: {self.app_positions.count}; type --app_positions to take them")
            lines += _examples(self.app_positions)
        if self.without_deployment:
            lines.append(f"  in no deployment: {self.without_deployment}")
        lines += [f"  deployment without a recording: {one_line(name)}" for name in self.idle_deployments[:20]]
        if self.unread_columns:
            lines.append(f"  columns of --deployments that are not read: {one_line(', '.join(self.unread_columns))}")
        lines += [f"  no log that can be read: {one_line(name)}" for name in self.unread_logs[:20]]
        return "\n".join(lines)


def _examples(named: Named) -> list[str]:
    lines = [f"    {one_line(name)}: {one_line(detail, 200)}" for name, detail in named.files[:_SHOWN]]
    return [*lines, *(["    ..."] if named.count > _SHOWN else [])]


@takes(RecordingsOptions)
def recordings(options: RecordingsOptions) -> RecordingsResult:
    """Write a table of all recordings below a folder, and return what was found and what was wrong.

    The table is a manifest for `pack`, `embed` and the others. It is whole or not there; one that is there is replaced
    where `recordings` has written it. Raises DataError, ConfigError.

    >>> recordings("CARDS", "recordings.parquet", zone="+10:00").rows  # doctest: +SKIP
    1440
    """
    folder, out = Path(options.folder), Path(options.out)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; one of recordings was expected")
    refuse_undecodable(out)
    _refuse_other(out)
    zone = None if options.zone is None else zone_of(options.zone)
    deployments = None if options.deployments is None else Deployments(Path(options.deployments), zone)
    rules = Rules(zone, options.trust, options.app_positions, deployments, options.license, options.attribution)
    result = RecordingsResult(out)
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        rows: list[dict[str, Any]] = []
        for row in _rows(folder, rules, options, result):
            rows.append(row)
            if len(rows) >= _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
        if not result.rows:
            raise DataError(
                f"{folder}: no recording that can be heard{_why_none(result)}; {', '.join(_SOUNDS)} expected"
            )
    if deployments is not None:
        result.idle_deployments, result.unread_columns = deployments.idle, deployments.unread
    return result


_SOUNDS = ("WAV", "FLAC", "Ogg", "MP3", "M4A")


def _why_none(result: RecordingsResult) -> str:
    counts = [f"{what}: {named.count}" for what, named in result.left_out.items()]
    return f" ({'; '.join(counts)})" if counts else ""


def _refuse_other(out: Path) -> None:
    """Raise ConfigError where something is at `out` that this verb has not written."""
    if not out.exists() and not out.is_symlink():
        return
    try:
        found = (pq.read_schema(out).metadata or {}).get(_KEY)
    except (pa.ArrowException, OSError, ValueError):
        found = None
    if found is None:
        raise ConfigError(f"{out} exists and is no table of recordings; choose another --out")
    format_of({"format": int(found) if found.isdigit() else 0}, _KIND, out)


def _rows(folder: Path, rules: Rules, options: RecordingsOptions, result: RecordingsResult) -> Iterator[dict[str, Any]]:
    """Yield the rows, folder by folder in the order of names."""
    logs = _Logs(folder, result)
    looked = ordered_map(lambda task: examine(*task), _tasks(folder, result, options.out), options.threads)
    last: dict[str, tuple[datetime, float, str]] = {}
    for place, group in groupby(progress(looked, total=None, label="recordings", unit="file"), lambda e: e.folder):
        settled: list[tuple[Examined, Settled]] = []
        for found in group:
            name = _name(found.path, folder)
            if found.left_out is not None:
                result.left_out.setdefault(found.left_out[0], Named()).add(name, found.left_out[1])
            else:
                settled.append((found, settle(found, logs.of(place), rules)))
        for found, row in _overlaps(settled, last, folder):
            _count(found, row, folder, rules, result)
            for cells in _clips(found, row, folder, options):
                result.rows += 1
                yield cells


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _tasks(folder: Path, result: RecordingsResult, out: str | Path) -> Iterator[tuple[Path, str]]:
    """Yield each file that is, or should be, a sound, with its folder below the top; links to folders stay out."""
    for here, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        inside = Path(here).relative_to(folder).as_posix()
        for name in sorted(names):
            path = Path(here, name)
            if name.startswith((".", "__")) or not (_is_sound(path.suffix) or _is_partial(path)):
                continue
            try:
                f"{inside}/{name}".encode()
            except UnicodeEncodeError:
                shown = f"{inside}/{name}".encode("utf-8", "backslashreplace").decode()
                result.left_out.setdefault(BAD_NAME, Named()).add(shown, LEFT_OUT[BAD_NAME])
                continue
            yield path, inside


@cache
def _is_sound(suffix: str) -> bool:
    return kind(Path(f"x{suffix}")) == "audio"


def _refuse_unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: {error.strerror or error}; a readable folder was expected") from error


def _is_partial(path: Path) -> bool:
    """Return whether a file is what recorders leave that lose power: one named `data`, without a suffix."""
    return path.name.lower() == "data" and is_file(path)


class _Logs:
    """The logs of Song Meters in a folder or above it: cards hold them beside the folder of recordings."""

    def __init__(self, top: Path, result: RecordingsResult) -> None:
        self._top, self._result = top, result
        self._known: dict[str, list[SummaryLog]] = {}

    def of(self, folder: str) -> list[SummaryLog]:
        if folder not in self._known:
            above = [] if folder == "." else self.of(str(Path(folder).parent.as_posix()))
            self._known[folder] = [*self._in(folder), *above]
        return self._known[folder]

    def _in(self, folder: str) -> Iterator[SummaryLog]:
        for path in sorted((self._top / folder).glob("*_[Ss]ummary.[Tt][Xx][Tt]")):
            found = None
            with suppress(OSError):
                found = read_summary(path)
            if found is None:
                self._result.unread_logs.append(_name(path, self._top))
            else:
                yield found


def _overlaps(
    settled: list[tuple[Examined, Settled]], last: dict[str, tuple[datetime, float, str]], folder: Path
) -> Iterator[tuple[Examined, Settled]]:
    """Yield files with their rows in the order of their names, those that overlap the next one of their device marked.

    `last` is when each device's last recording began in the folders before, its seconds and its name.
    """
    order: dict[str, list[int]] = {}
    for index, (_, row) in enumerate(settled):
        if row.start is not None:
            aware = "" if row.start.tzinfo is None else " UTC"
            order.setdefault(f"{row.device}{aware}", []).append(index)
    for device, indices in order.items():
        indices.sort(key=lambda index: (settled[index][1].start or datetime.min, index))
        before: tuple[datetime, float, str, int | None] | None = None
        if device in last:
            before = (*last[device], None)
        for index in indices:
            found, row = settled[index]
            start = row.start
            if start is None:
                continue
            name = _name(found.path, folder)
            if before is not None and (fault := _overlap(before[:3], start, name)) is not None:
                marked = index if before[3] is None or fault[0] == TWICE else before[3]
                settled[marked] = settled[marked][0], _with_fault(settled[marked][1], fault)
            before = (start, found.seconds, name, index)
        if before is not None:
            last[device] = before[:3]
    yield from settled


def _overlap(before: tuple[datetime, float, str], following: datetime, name: str) -> tuple[str, str] | None:
    """Return the fault of a recording - its start, seconds and name - and the one that follows; None without any."""
    start, seconds, own = before
    if following == start:
        return TWICE, f"begins at {start.isoformat(' ')}, as {own} does"
    over = (start + timedelta(seconds=seconds) - following).total_seconds()
    if following > start and over > _OVERLAP_S:
        return OVERLAP, f"{own} lasts {over:.1f} s into {name}, which begins at {following.isoformat(' ')}"
    return None


def _with_fault(row: Settled, fault: tuple[str, str]) -> Settled:
    return replace(row, faults=(*row.faults, fault))


def _count(found: Examined, row: Settled, folder: Path, rules: Rules, result: RecordingsResult) -> None:
    name = _name(found.path, folder)
    result.files += 1
    result.seconds += found.seconds
    result.with_time += row.start is not None
    result.with_zone += row.cells["datetime"] is not None
    result.with_place += row.cells["longitude"] is not None
    result.devices[row.device] = result.devices.get(row.device, 0) + 1
    if rules.deployments is not None:
        result.without_deployment = (result.without_deployment or 0) + (not row.in_deployment)
    for what, detail in row.faults:
        result.faults.setdefault(what, Named()).add(name, detail)
    for what, detail in row.disagreements:
        result.disagreements.setdefault(what, Named()).add(name, detail)
    if row.app_refused:
        result.app_positions.add(name, "Loc Source: Configuration app")


def _clips(found: Examined, row: Settled, folder: Path, options: RecordingsOptions) -> Iterator[dict[str, Any]]:
    """Yield the row of a recording, or one for each of its clips."""
    name = _name(found.path, folder)
    cells: Mapping[str, Any] = {
        **row.cells,
        "audio": _relative(found.path, Path(options.out).parent),
        "seconds": found.seconds, "hz": found.hz, "channels": found.channels, "bytes": found.size,
        "faults": "; ".join(dict.fromkeys(what for what, _ in row.faults)) or None,
        "disagreements": "; ".join(f"{what}: {detail}" for what, detail in row.disagreements) or None,
        "source": "recordings",
    }  # fmt: skip
    if options.clip_s is None:
        yield {**cells, "id": name}
        return
    for start, end in clip_bounds(found.seconds, options.clip_s):
        own = {"id": f"{name}@{start:g}", "start_s": start, "end_s": end, "seconds": end - start}
        yield {**cells, **own, **_later(cells, timedelta(seconds=start))}


def _later(cells: Mapping[str, Any], time: timedelta) -> dict[str, Any]:
    """Return the cells that tell when a row begins, so much later than `cells` do."""
    moment, zone = cells["datetime"], zone_of(cells["zone"] or "")
    if moment is not None and zone is not None:
        local = (moment + time).astimezone(zone).replace(tzinfo=None)
        return {"datetime": moment + time, "local_time": local.isoformat(" ")}
    if cells["local_time"] is not None:
        return {"local_time": (datetime.fromisoformat(cells["local_time"]) + time).isoformat(" ")}
    return {}


def clip_bounds(seconds: float, clip_s: float) -> Iterator[tuple[float, float]]:
    """Yield where the clips of a recording begin and end; a rest of less than half a clip belongs to the last one."""
    count = max(1, int(seconds // clip_s) + (seconds % clip_s >= _LEAST_SHARE * clip_s))
    for number in range(count):
        yield number * clip_s, seconds if number == count - 1 else (number + 1) * clip_s


def _relative(path: Path, base: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), base.resolve())).as_posix()
    except ValueError:  # on another drive
        return str(path.resolve())
