"""What tables beside recordings say: the log of a Song Meter (`*_Summary.txt`), and a table of deployments."""

import bisect
import csv
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path, PurePosixPath

from earthtone.build.recordings.facts import Facts, Place, decimal, place_of, zone_of
from earthtone.data.manifest import manifest_table, nearest
from earthtone.data.pair import Row, UnreadableCell, checked_coordinates, known_text, number, utc_datetime
from earthtone.errors import DataError
from earthtone.files import regular_file

_MOST_LOG_BYTES = 1 << 26
_NEAR = timedelta(hours=24)  # a log has a line a minute; older ones say nothing of a recording
_MONTHS = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)  # noqa: SIM905
}


@dataclass
class SummaryLog:
    """Lines of a log by their local times, in order."""

    path: Path
    prefix: str
    times: list[datetime] = field(default_factory=list)
    lines: list[Facts] = field(default_factory=list)

    def near(self, time: datetime) -> Facts | None:
        """Return the line that was written last before a local time or soonest after it, within a day."""
        time = time.replace(tzinfo=None)
        at = bisect.bisect_right(self.times, time)
        around = [index for index in (at - 1, at) if 0 <= index < len(self.times)]
        best = min(around, key=lambda index: abs(self.times[index] - time), default=None)
        return self.lines[best] if best is not None and abs(self.times[best] - time) <= _NEAR else None


def read_summary(path: Path) -> SummaryLog | None:
    """Return the log in a file, None where it is none. Its columns are found by their names, whatever their order.

    Raises OSError.
    """
    with regular_file(path).open("rb") as file:
        text = file.read(_MOST_LOG_BYTES).decode("utf-8", "replace")
    rows = csv.reader(text.replace("\0", "").splitlines())
    found: list[tuple[datetime, Facts]] = []
    columns: dict[str, int] = {}
    with suppress(csv.Error):
        for cells in rows:
            names = [re.sub(r"[^a-z]", "", cell.lower()) for cell in cells]
            if "date" in names and "time" in names:
                columns = {name: names.index(name) for name in names if name}
            elif columns and (line := _log_line(cells, columns)) is not None:
                found.append(line)
    if not found:
        return None
    found.sort(key=lambda line: line[0])
    prefix = re.sub(r"_Summary$", "", path.stem, flags=re.IGNORECASE)
    return SummaryLog(path, prefix, [time for time, _ in found], [facts for _, facts in found])


def _log_line(cells: Sequence[str], columns: Mapping[str, int]) -> tuple[datetime, Facts] | None:
    def cell(*names: str, after: int = 0) -> str:
        at = next((columns[name] + after for name in names if name in columns), len(cells))
        return cells[at].strip() if at < len(cells) else ""

    time = _log_time(cell("date"), cell("time"))
    if time is None:
        return None
    north, east = cell("lat", "latitude"), cell("lon", "long", "longitude")
    south, west = (cell(*names, after=1).upper() for names in (("lat", "latitude"), ("lon", "long", "longitude")))
    place = place_of(f"-{north}" if south == "S" else north, f"-{east}" if west == "W" else east)
    power, warmth = decimal(cell("powerv", "power", "batteryv")), decimal(cell("tempc", "temperaturec", "temp"))
    return time, Facts("log", place=place, battery_v=power, temperature_c=warmth)


def _log_time(day: str, clock: str) -> datetime | None:
    found = re.fullmatch(r"([0-9]{4})-([A-Za-z]{3}|[0-9]{1,2})-([0-9]{1,2})", day)
    if found is None:
        return None
    month = _MONTHS.get(found[2].lower()) or (int(found[2]) if found[2].isdigit() else 0)
    with suppress(ValueError):
        hour, minute, second = (int(part) for part in f"{clock}:0".split(":")[:3])
        return datetime(int(found[1]), month, int(found[3]), hour, minute, second)
    return None


# Deployments: which recorder lay where, and when.

_COLUMNS = (
    "device", "folder", "longitude", "latitude", "uncertainty_m", "zone", "from", "to", "license", "attribution",
    "deployment",
)  # fmt: skip
_ALIASES = {
    "lon": "longitude",
    "lng": "longitude",
    "lat": "latitude",
    "start": "from",
    "end": "to",
    "licence": "license",
}


@dataclass
class Deployment:
    """A row of the table: what is known of a device, or of the recordings below a folder, while it lasted."""

    where: str
    device: str | None
    folder: str | None
    name: str | None
    place: Place | None
    zone: tzinfo | None
    begin: datetime | None
    end: datetime | None
    license: str | None
    attribution: str | None
    used: int = 0

    def lasts(self, time: datetime | None) -> bool:
        """Return whether a time, taken as UTC where its zone is unknown, lies within; unknown ones do not."""
        if self.begin is None and self.end is None:
            return True
        if time is None:
            return False
        moment = time.replace(tzinfo=self.zone or UTC) if time.tzinfo is None else time
        return (self.begin is None or moment >= self.begin) and (self.end is None or moment <= self.end)


class Deployments:
    """The rows of a table of deployments, by device and by folder. Raises DataError where they contradict."""

    def __init__(self, path: Path, zone: tzinfo | None = None) -> None:
        """`zone` is that of rows which tell none."""
        self.path = path
        table = manifest_table(path)
        names = {name: _ALIASES.get(name.strip().lower(), name.strip().lower()) for name in table.columns}
        unknown = [name for name, own in names.items() if own not in _COLUMNS]
        if not {"device", "folder"} & set(names.values()):
            hint = f"; {unknown[0]!r}: {nearest(unknown[0], _COLUMNS)}" if unknown else ""
            raise DataError(f"{path} has neither a column 'device' nor 'folder'{hint}; one of them expected")
        self.rows = [_deployment(path, row, names, zone) for row in table.rows(table.columns)]
        self.unread = tuple(unknown)
        self._by_device: dict[str, list[Deployment]] = {}
        self._by_folder: dict[str, list[Deployment]] = {}
        for row in self.rows:
            if row.device is not None:
                self._by_device.setdefault(row.device.upper(), []).append(row)
            elif row.folder is not None:
                self._by_folder.setdefault(row.folder, []).append(row)
        for key, rows in (*self._by_device.items(), *self._by_folder.items()):
            _refuse_both(path, key, rows)

    def of(self, devices: Sequence[str | None], folder: str, time: datetime | None) -> Deployment | None:
        """Return the deployment of the first of its devices that has one, else of the nearest folder above."""
        keys = [self._by_device.get(device.upper(), []) for device in devices if device]
        above = PurePosixPath(folder)
        keys += [self._by_folder.get(str(part), []) for part in (above, *above.parents)]
        for rows in keys:
            for row in rows:
                if row.lasts(time) and (row.device is None or row.folder is None or _is_below(folder, row.folder)):
                    row.used += 1
                    return row
        return None

    @property
    def idle(self) -> list[str]:
        """Rows that no recording belongs to, by what names them: a wrong name, mostly."""
        return [f"{row.where}: {row.device or row.folder}" for row in self.rows if not row.used]


def _is_below(folder: str, top: str) -> bool:
    return top == "." or folder == top or folder.startswith(f"{top}/")


def _refuse_both(path: Path, key: str, rows: Sequence[Deployment]) -> None:
    """Raise DataError where two rows may be meant at one time."""
    for at, one in enumerate(rows):
        for other in rows[at + 1 :]:
            apart = (one.end is not None and other.begin is not None and one.end < other.begin) or (
                other.end is not None and one.begin is not None and other.end < one.begin
            )
            if not apart and (one.folder == other.folder or None in (one.folder, other.folder)):
                raise DataError(
                    f"{path}: {one.where} and {other.where} both tell of {key!r} at the same time; give them `from` "
                    "and `to` that do not meet, or leave one out"
                )


def _deployment(path: Path, row: Row, names: Mapping[str, str], usual: tzinfo | None) -> Deployment:
    if row.fault is not None:
        raise DataError(f"{path}, {row.where}: {row.fault[1]}")
    cells = {own: row.cells.get(name) for name, own in names.items()}
    try:
        texts = {
            name: known_text(cells.get(name)) for name in ("device", "folder", "deployment", "license", "attribution")
        }
        longitude, latitude = checked_coordinates(*(row.point or (cells.get("longitude"), cells.get("latitude"))))
        uncertainty = number(cells.get("uncertainty_m"))
        if uncertainty is not None and uncertainty < 0:
            raise UnreadableCell(f"uncertainty_m {uncertainty:g}; metres, 0 or more expected")
        named = known_text(cells.get("zone"))
        zone = usual if named is None else zone_of(named)
        if named is not None and zone is None:
            raise UnreadableCell(f"zone {named[:40]!r}; UTC, +10:00 or a name such as Europe/Berlin expected")
        begin, end = (_bound(cells.get(name), zone, last=name == "to") for name in ("from", "to"))
    except UnreadableCell as why:
        raise DataError(f"{path}, {row.where}: {why}") from why
    if begin is not None and end is not None and end < begin:
        raise DataError(f"{path}, {row.where}: `to` lies before `from`; a time after it expected")
    folder = texts["folder"]
    if texts["device"] is None and folder is None:
        raise DataError(f"{path}, {row.where}: neither a device nor a folder; one of them expected")
    place = None if longitude is None or latitude is None else Place(longitude, latitude, 0.0, uncertainty)
    folder = None if folder is None else str(PurePosixPath(folder.strip().replace("\\", "/").strip("/") or "."))
    device = None if texts["device"] is None else texts["device"].strip()
    name, licence, credit = (texts[key] for key in ("deployment", "license", "attribution"))
    return Deployment(row.where, device, folder, name, place, zone, begin, end, licence, credit)


def _bound(cell: object, zone: tzinfo | None, *, last: bool) -> datetime | None:
    """Return a time with its zone, that of the deployment where it has none; a day alone lasts until its end."""
    text = known_text(cell)
    if text is None:
        return None
    text = text.strip()
    time = utc_datetime(text)
    assert time is not None  # noqa: S101 - the text is known
    with suppress(ValueError):
        plain = datetime.fromisoformat(text)
        time = plain.replace(tzinfo=zone or UTC) if plain.tzinfo is None else plain
    whole = len(text) <= 10 and last
    return time + timedelta(days=1) - timedelta(microseconds=1) if whole else time
