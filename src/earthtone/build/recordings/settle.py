"""What all sources say of a recording made into one row; where they contradict each other it is listed, not chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal

from earthtone.build.recordings.examine import CLOCK, Examined
from earthtone.build.recordings.facts import Facts, Place, distance_m, is_doubtful, zone_name
from earthtone.build.recordings.tables import Deployment, Deployments, SummaryLog

_SAME_TIME = timedelta(seconds=2)  # recorders name a file, then begin; some count whole seconds
_SAME_PLACE_M = 100.0  # beside what the places' few digits and stated uncertainties allow
_FIRST_YEAR = 2000  # clocks that were never set begin in 1970, 1980 or on the first of January 2000
APP_POSITION = "position of an app, rounded to about a kilometre"
_LEAST_KNOWN_M = 50.0  # a place rounded to less says nothing of how uncertain it is


@dataclass(frozen=True, slots=True)
class Settled:
    """The cells of a row; what contradicts, kinds and details; whether a position of an app was refused."""

    cells: dict[str, Any]
    start: datetime | None
    """In UTC where the zone is known, else local without one."""
    device: str
    disagreements: tuple[tuple[str, str], ...]
    faults: tuple[tuple[str, str], ...]
    app_refused: bool
    in_deployment: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What the user has said."""

    zone: tzinfo | None
    trust: Literal["neither", "name", "header"]
    app_positions: bool
    deployments: Deployments | None
    license: str | None
    attribution: str | None


def settle(found: Examined, logs: Sequence[SummaryLog], rules: Rules) -> Settled:
    """Return the row of a file that can be heard.

    A time that tells its zone counts before one that does not; a place is that of the deployment, else of the log, the
    name, a header.
    """
    name, headers = found.facts[0], found.facts[1:]
    faults = list(found.faults)
    device = next((said.device for said in headers if said.device), None)
    prefix = name.prefix or next((said.prefix for said in headers if said.prefix), None)
    told: list[tuple[str, str]] = []
    time = _time(name, headers, rules.trust, told)
    if time is not None and _never_set(time):
        faults.append((CLOCK, time.isoformat(" ")))
        time = None
    deployment = None
    if rules.deployments is not None:
        deployment = rules.deployments.of((device, prefix), found.folder, time)
    zone, zone_source = _zone(time, deployment, rules.zone)
    if time is not None and time.tzinfo is None and zone is not None and is_doubtful(time, zone):
        told.append(
            ("time", f"{time.isoformat(' ')} is twice or never there in {zone_name(zone, time)}: clocks changed")
        )
        zone = zone_source = None
    log = _log(logs, prefix, time)
    place, source, refused = _place(deployment, log, name, headers, rules.app_positions, told)
    said = (*headers, *([log] if log is not None else []), name)
    moment = None if time is None or (time.tzinfo is None and zone is None) else _utc(time, zone)
    cells = {
        "datetime": moment,
        "local_time": None if time is None else time.replace(tzinfo=None).isoformat(" "),
        "day": str(name.day) if time is None and name.day is not None else None,
        "zone": zone_name(zone, time) if zone is not None and time is not None else None,
        "zone_source": None if moment is None else zone_source,
        "time_zone_known": moment is not None,
        "longitude": None if place is None else place.longitude,
        "latitude": None if place is None else place.latitude,
        "coord_uncertainty_m": None if place is None else _uncertainty(place),
        "coord_source": source,
        "device": device or prefix,
        "deployment": (deployment.name if deployment is not None else None) or prefix,
        "model": _first(said, "model"),
        "gain": _first(said, "gain"),
        "battery_v": _first(said, "battery_v"),
        "temperature_c": _first(said, "temperature_c"),
        "triggered": name.triggered,
        "comment": _first(said, "comment"),
        "license": (deployment.license if deployment is not None else None) or rules.license,
        "attribution": (deployment.attribution if deployment is not None else None) or rules.attribution,
    }
    key = (device or prefix or "").upper() or f"folder {found.folder}"
    start = moment if moment is not None else None if time is None else time.replace(tzinfo=None)
    return Settled(cells, start, key, tuple(told), tuple(faults), refused, deployment is not None)


def _first(said: Sequence[Facts], name: str) -> Any:
    return next((value for facts in said if (value := getattr(facts, name)) is not None), None)


def _never_set(time: datetime) -> bool:
    return time.year < _FIRST_YEAR or (time.year, time.month, time.day) == (2000, 1, 1)


def _time(name: Facts, headers: Sequence[Facts], trust: str, told: list[tuple[str, str]]) -> datetime | None:
    """Return when a recording begins, or None where its name and headers contradict each other and none is trusted."""
    stamped = [said for said in headers if said.time is not None]
    header = next((said for said in stamped if said.time and said.time.tzinfo), next(iter(stamped), None))
    if header is None or header.time is None:
        return name.time
    others = [(said.source, said.time) for said in stamped if said.time and not _agree(header.time, said.time)]
    told += [("time", f"{header.source} tells {_shown(header.time)}, {who} {_shown(when)}") for who, when in others]
    if others and trust != "header":
        return name.time if trust == "name" else None
    if name.time is None:
        if name.day is not None and abs((header.time.date() - name.day).days) > 1:
            told.append(("time", f"the name tells {name.day}, {header.source} {_shown(header.time)}"))
            return {"name": None, "header": header.time}.get(trust)
        return header.time
    if _agree(name.time, header.time):
        return name.time if name.time.tzinfo is not None else header.time
    told.append(("time", f"the name tells {_shown(name.time)}, {header.source} {_shown(header.time)}"))
    return {"name": name.time, "header": header.time}.get(trust)


def _agree(one: datetime, other: datetime) -> bool:
    """Return whether two times may be one: as moments where both have a zone, else as what clocks on the wall show."""
    if one.tzinfo is not None and other.tzinfo is not None:
        return abs(one - other) <= _SAME_TIME
    return abs(one.replace(tzinfo=None) - other.replace(tzinfo=None)) <= _SAME_TIME


def _shown(time: datetime) -> str:
    return time.isoformat(" ")


def _zone(
    time: datetime | None, deployment: Deployment | None, usual: tzinfo | None
) -> tuple[tzinfo | None, str | None]:
    """Return the zone of a time and who told it."""
    if time is not None and time.tzinfo is not None:
        return time.tzinfo, "recorder"
    if deployment is not None and deployment.zone is not None:
        return deployment.zone, "option" if deployment.zone is usual else "deployment"
    return usual, None if usual is None else "option"


def _utc(time: datetime, zone: tzinfo | None) -> datetime:
    return (time if time.tzinfo is not None else time.replace(tzinfo=zone)).astimezone(UTC)


def _log(logs: Sequence[SummaryLog], prefix: str | None, time: datetime | None) -> Facts | None:
    """Return the line of the log that is nearest to a recording, of the log of its own recorder where names tell."""
    if time is None or prefix is None:
        return None
    named = [log for log in logs if log.prefix.upper() == prefix.upper()]
    return named[0].near(time) if named else None


def _place(
    deployment: Deployment | None, log: Facts | None, name: Facts, headers: Sequence[Facts], app_positions: bool,
    told: list[tuple[str, str]],
) -> tuple[Place | None, str | None, bool]:  # fmt: skip
    """Return the place, who told it, and whether one of an app was refused for want of another."""
    known: list[tuple[str, Place]] = []
    if deployment is not None and deployment.place is not None:
        known.append(("deployment", deployment.place))
    others = [log, name, *headers] if log is not None else [name, *headers]
    known += [(said.source, said.place) for said in others if said.place is not None]
    rough = [(source, place) for source, place in known if place.of_app]
    known = [(source, place) for source, place in known if not place.of_app]
    known += rough if app_positions else []
    if not known:
        return None, None, bool(rough)
    source, place = known[0]
    for other_source, other in known[1:]:
        room = sum(_uncertainty(each) or each.rounding_m for each in (place, other))
        if (apart := distance_m(place, other)) > _SAME_PLACE_M + room:
            told.append(("place", f"{source} and {other_source} are {apart:,.0f} m apart"))
    return place, source, False


def _uncertainty(place: Place) -> float | None:
    """Return metres, null where nothing is known: what is stated, but never less than what the digits allow."""
    if place.uncertainty_m is not None:
        return max(place.uncertainty_m, place.rounding_m)
    return place.rounding_m if place.rounding_m >= _LEAST_KNOWN_M or place.of_app else None
