"""Times, places and devices in the names of recordings, as the makers of recorders write them.

A local time without a zone stays without; a date of two digits a year (Sony, Tascam, Zoom) tells the day alone.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import PurePosixPath

from earthtone.build.recordings.facts import Facts, Place, iso6709_in, place_of, zone_of

_ZONE = r"(?P<zone>Z|[+-][0-9]{4}|[+-][0-9]{2}:[0-9]{2})"
# A blank in place of the day's zero is a known fault of a maker's firmware.
_WITH_T = re.compile(
    r"(?<![0-9])(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[ 0-9][0-9])"
    r"T(?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,6}))?" + _ZONE + "?"
)
_WITH_MARK = re.compile(
    r"(?<![0-9])(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    r"[_$-](?P<hour>[0-9]{2})(?P<minute>[0-9]{2})(?P<second>[0-9]{2})(?:[_.](?P<fraction>[0-9]{3})(?![0-9]))?"
    r"(?P<trigger>T)?(?![0-9])(?:" + _ZONE + ")?"
)
_WITH_DASHES = re.compile(
    r"(?<![0-9])(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"[ _T](?P<hour>[0-9]{2})[-:.](?P<minute>[0-9]{2})[-:.](?P<second>[0-9]{2})(?![0-9])"
)
_WEAK = re.compile(r"(?P<year>[0-9]{2})(?P<month>[0-9]{2})(?P<day>[0-9]{2})_(?P<number>[0-9]{2,4})(?![0-9]).*")
_HEX = re.compile(r"[0-9A-F]{8}")
_FIRST_HEX, _LAST_HEX = 0x4B3D_3B80, 0x83AA_7E80  # 2010 and 2040: a plain date of eight digits is none of these
_BRACKETS = re.compile(r"\[\s*(-?[0-9]{1,3}\.[0-9]{1,12})[ ,]+(-?[0-9]{1,3}\.[0-9]{1,12})\s*\]")
_UNDERSCORES = re.compile(r"_(-?[0-9]{1,2}\.[0-9]{2,12})[ ,]+(-?[0-9]{1,3}\.[0-9]{2,12})(?:_|$)")
_CHANNELS = re.compile(r"_(?:0\+1|0|1)$")


def name_facts(name: str) -> Facts:
    """Return what the name of a file tells; the suffix does not count.

    >>> name_facts("20260411T020000+1000_REC [-27.3866 152.8761].flac").place.longitude
    152.8761
    """
    stem = PurePosixPath(name).stem if "." in name[-6:] else name
    unreadable: list[str] = []
    times = list(_times(stem, unreadable))
    rest, prefix, triggered = stem, None, None
    if times:
        first = times[0][1]
        prefix = _prefix(stem[: first.start()])
        triggered = True if first.groupdict().get("trigger") else None
        for _, found in reversed(times):
            rest = f"{rest[: found.start()]}\0{rest[found.end() :]}"
    time = times[0][0] if times else None
    pair = len(times) > 1 and stem[times[0][1].start() - 1 : times[0][1].start()] == "S"
    end = times[1][0] if pair and stem[times[1][1].start() - 1] == "E" else None
    day = None
    if not times and _HEX.fullmatch(stem) and _FIRST_HEX <= int(stem, 16) <= _LAST_HEX:
        time = datetime.fromtimestamp(int(stem, 16), UTC)
    elif not times and (weak := _WEAK.fullmatch(stem)) is not None:
        day = _date(weak)
    return Facts(
        "name", time, day, end, _place(rest, unreadable), prefix=None if pair else prefix, triggered=triggered,
        unreadable=tuple(unreadable),
    )  # fmt: skip


def _times(stem: str, unreadable: list[str]) -> Iterator[tuple[datetime, re.Match[str]]]:
    """Yield the times of the first form that a name has, each with where it stands."""
    for form in (_WITH_T, _WITH_MARK, _WITH_DASHES):
        found = [(_datetime(match), match) for match in form.finditer(stem)]
        unreadable += [f"{match[0]!r} in the name is no time" for time, match in found if time is None]
        known = [(time, match) for time, match in found if time is not None]
        if known:
            yield from known
            return


def _datetime(found: re.Match[str]) -> datetime | None:
    parts = found.groupdict()
    year, month, day, hour, minute, second = (
        int(parts[name]) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    zone = parts.get("zone")
    with suppress(ValueError, OverflowError):
        micros = int((parts.get("fraction") or "0").ljust(6, "0"))
        return datetime(year, month, day, hour, minute, second, micros, tzinfo=zone_of(zone) if zone else None)
    return None


def _date(found: re.Match[str]) -> date | None:
    with suppress(ValueError):
        return date(2000 + int(found["year"]), int(found["month"]), int(found["day"]))
    return None


def _prefix(text: str) -> str | None:
    """Return what stands before the time: a device or a deployment, without separators and tags of channels."""
    return _CHANNELS.sub("", text.rstrip("_- ")).strip("_- ") or None


def _place(rest: str, unreadable: list[str]) -> Place | None:
    for form in (_BRACKETS, _UNDERSCORES):
        found = form.search(rest)
        if found is not None:
            place = place_of(found[1], found[2])
            if place is None:
                unreadable.append(f"{found[0]!r} in the name is no place")
            return place
    place, looked = iso6709_in(rest)
    if place is None and looked:
        unreadable.append("what looks like a place in the name is none")
    return place
