"""What one source says of a recording - its name, a chunk, a log -, and the texts in which places and zones are told.

Latitude stands first in all of these texts (ISO 6709, GUANO, names); here it is (longitude, latitude) at once.
"""

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

METRES_A_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class Place:
    """A point in WGS 84 degrees. `rounding_m`: how far it may be off because of its few digits; `uncertainty_m`: as
    stated, null where nothing is; `of_app`: entered in a configuration app, which rounds to about a kilometre."""

    longitude: float
    latitude: float
    rounding_m: float
    uncertainty_m: float | None = None
    of_app: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What `source` says of a recording; null is nothing. `time` without a zone is local, `day` a date alone."""

    source: str
    time: datetime | None = None
    day: date | None = None
    end: datetime | None = None
    place: Place | None = None
    device: str | None = None
    prefix: str | None = None
    model: str | None = None
    gain: str | None = None
    battery_v: float | None = None
    temperature_c: float | None = None
    seconds: float | None = None
    hz: float | None = None
    triggered: bool | None = None
    comment: str | None = None
    unreadable: tuple[str, ...] = ()
    """What looked like a time or a place and is none."""


def place_of(
    latitude: str, longitude: str, uncertainty_m: float | None = None, *, of_app: bool = False
) -> Place | None:
    """Return the point of two decimal numbers as text; None where they are no point on Earth, or both 0."""
    with suppress(ValueError):
        north, east = float(latitude), float(longitude)
        if abs(north) <= 90 and abs(east) <= 180 and (north or east):
            digits = max(len(text.strip().partition(".")[2]) for text in (latitude, longitude))
            return Place(east, north, rounding_m(digits, north), uncertainty_m, of_app)
    return None


def rounding_m(digits: int, latitude: float) -> float:
    """Return how far in metres a place is from one written with so many decimal digits of degrees, at most."""
    half = 0.5 * 10.0 ** -min(digits, 15) * METRES_A_DEGREE
    return half * math.hypot(1.0, math.cos(math.radians(latitude)))


def distance_m(one: Place, other: Place) -> float:
    """Return metres between two places on a sphere."""
    a, b = math.radians(one.latitude), math.radians(other.latitude)
    across = math.radians(other.longitude - one.longitude)
    chord = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(across / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(math.sqrt(min(1.0, chord)))


# ±DD, ±DDMM or ±DDMMSS, each with decimals of its last part, and ±DDD... for the longitude; letters in place of signs.
_ISO = re.compile(
    r"(?P<ns>[+\-NS])(?P<lat>[0-9]{2}(?:[0-9]{2}){0,2}(?:\.[0-9]{1,12})?)"
    r"(?P<ew>[+\-EW])(?P<lon>[0-9]{3}(?:[0-9]{2}){0,2}(?:\.[0-9]{1,12})?)"
    r"(?P<alt>[+\-][0-9]{1,6}(?:\.[0-9]{1,6})?)?(?:CRS[A-Z0-9_:]{1,16})?/?"
)
# As recorders write it, without leading zeros; two fractions keep it apart from zones and channels.
_LOOSE = re.compile(r"(?P<lat>[+\-][0-9]{1,2}\.[0-9]{2,12})(?P<lon>[+\-][0-9]{1,3}\.[0-9]{2,12})(?![0-9.])")


def iso6709(text: str) -> Place | None:
    """Return the point of a whole text in ISO 6709, such as `+54.5100+013.6400/`; None for anything else."""
    found = _ISO.fullmatch(text.strip())
    if found is None:
        loose = _LOOSE.fullmatch(text.strip().rstrip("/"))
        return None if loose is None else place_of(loose["lat"], loose["lon"])
    return _of_iso(found)


def iso6709_in(text: str) -> tuple[Place | None, bool]:
    """Return a point in ISO 6709 with decimals anywhere in a text, and whether something looked like one."""
    looked = False
    for pattern in (_ISO, _LOOSE):
        for found in pattern.finditer(text):
            if "." not in found["lat"] or "." not in found["lon"]:
                continue
            looked = True
            place = _of_iso(found) if pattern is _ISO else place_of(found["lat"], found["lon"])
            if place is not None:
                return place, True
    return None, looked


def _of_iso(found: re.Match[str]) -> Place | None:
    north, north_digits = _degrees(found["lat"], 2)
    east, east_digits = _degrees(found["lon"], 3)
    if north is None or east is None or abs(north) > 90 or abs(east) > 180 or not (north or east):
        return None
    north = -north if found["ns"] in "-S" else north
    east = -east if found["ew"] in "-W" else east
    return Place(east, north, rounding_m(max(north_digits, east_digits), north))


def _degrees(text: str, whole: int) -> tuple[float | None, int]:
    """Return degrees of `DD.d`, `DDMM.m` or `DDMMSS.s`, `DD` having `whole` digits, and the decimals they are worth."""
    digits, _, fraction = text.partition(".")
    degrees, minutes, seconds = float(digits[:whole]), digits[whole : whole + 2], digits[whole + 2 :]
    decimals = f".{fraction}" if fraction else ""
    if not minutes:
        return float(f"{digits}{decimals}"), len(fraction)
    if not seconds:
        value = float(minutes + decimals)
        return (degrees + value / 60 if value < 60 else None), len(fraction) + 2
    value = float(seconds + decimals)
    if value >= 60 or float(minutes) >= 60:
        return None, 0
    return degrees + float(minutes) / 60 + value / 3600, len(fraction) + 4


_OFFSET = re.compile(r"(?:UTC|GMT)?(?P<sign>[+\-\u2212])(?P<hours>[0-9]{1,2})(?::?(?P<minutes>[0-9]{2}))?")


def zone_of(text: str) -> tzinfo | None:
    """Return the zone of `Z`, `UTC`, `+10:00`, `UTC-3:30` or a name such as Europe/Berlin; None for anything else."""
    text = text.strip()
    if text.upper() in ("Z", "UTC", "GMT", "UTC+0", "UTC0"):
        return timezone.utc  # noqa: UP017 - the type of the others
    found = _OFFSET.fullmatch(text)
    if found is not None:
        minutes = 60 * int(found["hours"]) + int(found["minutes"] or 0)
        if minutes > 14 * 60 or int(found["minutes"] or 0) > 59:
            return None
        return timezone(timedelta(minutes=minutes if found["sign"] == "+" else -minutes))
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+\-]{1,30}(?:/[A-Za-z0-9_+\-]{1,30}){0,2}", text):
        return None
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def zone_name(zone: tzinfo, at: datetime) -> str:
    """Return `Europe/Berlin`, `UTC` or `+10:00`."""
    if isinstance(zone, ZoneInfo):
        return zone.key
    offset = at.replace(tzinfo=zone).strftime("%z")
    return "UTC" if offset in ("+0000", "-0000") else f"{offset[:3]}:{offset[3:5]}"


def is_doubtful(local: datetime, zone: tzinfo) -> bool:
    """Return whether a local time occurs twice or never in a zone: where clocks are put back or forward."""
    one, other = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return one != other


def moment(text: str) -> datetime | None:
    """Return an ISO 8601 date with a time, as GUANO and logs write it; None for anything else."""
    with suppress(ValueError, OverflowError):
        text = text.strip()
        if re.match(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}[T ][0-9]", text):
            return datetime.fromisoformat(text)
    return None


def decimal(text: str) -> float | None:
    """Return the first number of a text such as `4.2V`, `> 4.9` or `-1.5 C`; None without one."""
    found = re.search(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?", text)
    return None if found is None else float(found[0])
