"""What the chunks of a WAV say: LIST/INFO (AudioMoth), `guan` (GUANO), `bext`, iXML, `wamd`; tags of other formats.

Recorders lose power: a length of 0 or of an earlier moment ends the walk, and the file's last 256 kB are searched for
a GUANO text. At most 1 MiB of a chunk is read, whatever it promises.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from earthtone.build.recordings.facts import Facts, Place, decimal, iso6709, moment, place_of, zone_of
from earthtone.errors import needed_by
from earthtone.signal.sound_headers import find, read_at

_MOST_BYTES = 1 << 20  # of a chunk
_MOST_CHUNKS = 4096  # in a file
_TAIL = 1 << 18
_APP = "configuration app"


def header_facts(path: Path, file: BinaryIO, size: int) -> list[Facts]:
    """Return what each chunk or tag of a recording says, the most telling first; nothing where it has none."""
    head = read_at(file, 0, 12)
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        chunks = wav_chunks(file, size)
        found = (read(chunks[name]) for name, read in _READERS.items() if name in chunks)
    else:
        found = (read(path, file, size) for read in (_tags, _mp4_place))
    return [facts for facts in found if facts != Facts(facts.source)]


def wav_chunks(file: BinaryIO, size: int) -> dict[str, bytes]:
    """Return the chunks of a WAV that tell something, by name: the first of each; LIST is its INFO alone."""
    found: dict[str, bytes] = {}
    at, long = 12, None
    for _ in range(_MOST_CHUNKS):
        head = read_at(file, at, 8)
        if len(head) < 8 or not all(0x20 <= byte < 0x7F for byte in head[:4]):
            break
        name, length = struct.unpack("<4sI", head)
        if name == b"ds64":
            long = int.from_bytes(read_at(file, at + 16, 8), "little")
        elif name == b"data" and length == 0xFFFF_FFFF:
            length = long or 0
        _take(found, name, read_at(file, at + 8, min(length, _MOST_BYTES)) if name in _WANTED else b"")
        at += 8 + length + length % 2
    if "guan" not in found and (at := find(file, b"guan", max(12, size - _TAIL), size)) >= 0:
        length = int.from_bytes(read_at(file, at + 4, 4), "little")
        text = read_at(file, at + 8, min(length, _MOST_BYTES))
        if text.startswith(b"GUANO|"):
            found["guan"] = text
    return found


def _take(found: dict[str, bytes], name: bytes, data: bytes) -> None:
    if name == b"LIST":
        if data[:4] == b"INFO":
            found.setdefault("INFO", data[4:])
    elif name in _WANTED:
        found.setdefault(name.decode(), data)


def text_of(data: bytes) -> str:
    """Return the text of a header: UTF-8, else Latin-1; up to its first null byte."""
    data = data.partition(b"\0")[0]
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


# GUANO 1.0: lines of `key: value` in UTF-8 (guano-md.org).


def guano_fields(data: bytes) -> dict[str, str]:
    """Return keys and values of a GUANO text; lines that are none are passed over."""
    pairs = (line.partition(":") for line in data.replace(b"\0", b"").decode("utf-8", "replace").splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon and key.strip()}


def _guano(data: bytes) -> Facts:
    fields = guano_fields(data)
    unreadable = []
    time = moment(stamp) if (stamp := fields.get("Timestamp")) else None
    if stamp and time is None:
        unreadable.append(f"GUANO Timestamp {stamp[:40]!r} is no time")
    of_app = fields.get("OAD|Loc Source", "").strip().lower() == _APP
    place = None
    if position := fields.get("Loc Position"):
        parts = position.replace(",", " ").split()
        accuracy = decimal(fields.get("Loc Accuracy", ""))
        place = place_of(parts[0], parts[1], accuracy, of_app=of_app) if len(parts) == 2 else None
        if place is None:
            unreadable.append(f"GUANO Loc Position {position[:40]!r} is no place")
    expansion, hz = decimal(fields.get("TE", "")), decimal(fields.get("Samplerate", ""))
    model = " ".join(fields[key] for key in ("Make", "Model") if fields.get(key)) or None
    return Facts(
        "guan", time, place=place, device=fields.get("Serial") or None, model=model,
        gain=_first(fields, "OAD|Recording Settings", "WA|Song Meter|Audio settings", "Gain"),
        battery_v=_of_first(fields, "OAD|Battery Voltage", "WA|Song Meter|Battery", "SB|Battery Voltage"),
        temperature_c=_of_first(fields, "Temperature Int", "Temperature Ext"),
        seconds=decimal(fields.get("Length", "")), hz=hz if expansion is None or expansion == 1 or hz else None,
        comment=fields.get("Note") or None, unreadable=tuple(unreadable),
    )  # fmt: skip


def _first(fields: Mapping[str, str], *names: str) -> str | None:
    return next((fields[name] for name in names if fields.get(name)), None)


def _of_first(fields: Mapping[str, str], *names: str) -> float | None:
    return next((value for name in names if (value := decimal(fields.get(name, ""))) is not None), None)


# LIST/INFO: four letters, a length, a text. AudioMoth tells all in one sentence.

_RECORDED = re.compile(
    r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,3}))? "
    r"(?P<day>[0-9]{2})/(?P<month>[0-9]{2})/(?P<year>[0-9]{4}) \((?P<zone>UTC[^)]{0,8})\)"
)
_DEVICE = re.compile(r"\bAudioMoth ([0-9A-F]{16})\b")
_DEPLOYMENT = re.compile(r"\b(?:during )?deployment ([0-9A-F]{16})\b")
_GAIN = re.compile(r"\bat ((?:low|low-medium|medium|medium-high|high) gain|gain setting [0-9])\b")
_BATTERY = re.compile(r"\bbattery (?:state )?was (?:less than |greater than |[<>] ?)?([0-9]{1,2}\.[0-9]{1,3}) ?V")
_TEMPERATURE = re.compile(r"\btemperature was (-?[0-9]{1,3}(?:\.[0-9]{1,2})?) ?C")


def info_fields(data: bytes) -> dict[str, str]:
    """Return the texts of an INFO list by their four letters."""
    found: dict[str, str] = {}
    at = 0
    while at + 8 <= len(data) and len(found) < _MOST_CHUNKS:
        name, length = struct.unpack("<4sI", data[at : at + 8])
        if not all(0x20 <= byte < 0x7F for byte in name):
            break
        found.setdefault(name.decode(), text_of(data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return found


def _info(data: bytes) -> Facts:
    fields = info_fields(data)
    artist, comment = fields.get("IART", ""), fields.get("ICMT", "")
    device, deployment = _DEVICE.search(f"{artist} {comment}"), _DEPLOYMENT.search(comment)
    time: datetime | None = None
    unreadable: tuple[str, ...] = ()
    if (recorded := _RECORDED.search(comment)) is not None:
        time = _moth_time(recorded)
        unreadable = () if time is not None else (f"INFO: {recorded[0]!r} is no time",)
    else:
        time = moment(fields.get("ICRD", ""))
    return Facts(
        "INFO", time, device=device[1] if device else None, prefix=deployment[1] if deployment else None,
        model="AudioMoth" if device or "AudioMoth" in artist else None,
        gain=_group(_GAIN, comment), battery_v=_number(_BATTERY, comment), temperature_c=_number(_TEMPERATURE, comment),
        comment=comment or None, unreadable=unreadable,
    )  # fmt: skip


def _moth_time(found: re.Match[str]) -> datetime | None:
    with suppress(ValueError):
        year, month, day, hour, minute, second = (
            int(found[name]) for name in ("year", "month", "day", "hour", "minute", "second")
        )
        micros = int((found["fraction"] or "0").ljust(6, "0"))
        return datetime(year, month, day, hour, minute, second, micros, tzinfo=zone_of(found["zone"]))
    return None


def _group(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return None if found is None else found[1]


def _number(pattern: re.Pattern[str], text: str) -> float | None:
    found = _group(pattern, text)
    return None if found is None else float(found)


# bext (EBU Tech 3285): fixed fields; date and time without a zone.


def _bext(data: bytes) -> Facts:
    originator, reference = text_of(data[256:288]).strip(), text_of(data[288:320]).strip()
    day, clock = text_of(data[320:330]), text_of(data[330:338])
    time: datetime | None = None
    unreadable: tuple[str, ...] = ()
    if any(letter.isdigit() and letter != "0" for letter in day):
        time = moment(f"{'-'.join(re.findall('[0-9]+', day))}T{':'.join(re.findall('[0-9]+', clock))}")
        unreadable = () if time is not None else (f"bext: {day!r} {clock!r} is no time",)
    place = iso6709(text_of(data[:256]))
    return Facts("bext", time, place=place, device=reference or None, model=originator or None, unreadable=unreadable)


# iXML (ixml.info): a document of strangers, so that what defines entities is not read.


def _ixml(data: bytes) -> Facts:
    nothing = Facts("iXML")
    if b"<!" in data.replace(b"<!--", b""):
        return replace(nothing, unreadable=("iXML: it defines entities; a plain document expected",))
    try:
        root = ElementTree.fromstring(data.strip(b"\0 \t\r\n"))  # noqa: S314 - without a DTD nothing expands
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError):
        return replace(nothing, unreadable=("iXML: no XML that can be read",))
    said = {element.tag: (element.text or "").strip() for element in root.iter() if isinstance(element.tag, str)}
    place: Place | None = None
    unreadable: tuple[str, ...] = ()
    if position := said.get("LOCATION_GPS"):
        parts = position.replace(",", " ").split()
        place = (place_of(parts[0], parts[1]) if len(parts) == 2 else None) or iso6709(position)
        unreadable = () if place is not None else (f"iXML LOCATION_GPS {position[:40]!r} is no place",)
    day, clock = said.get("BWF_ORIGINATION_DATE", ""), said.get("BWF_ORIGINATION_TIME", "")
    return Facts("iXML", moment(f"{day}T{clock}"), place=place, comment=said.get("NOTE") or None, unreadable=unreadable)


# wamd (Wildlife Acoustics): a number of 16 bits, a length of 32, a text.

_WAMD = {1: "model", 2: "serial", 5: "timestamp", 6: "gps", 10: "notes", 19: "sensitivity"}


def wamd_fields(data: bytes) -> dict[str, str]:
    """Return the texts of a `wamd` chunk that are known."""
    found: dict[str, str] = {}
    at = 0
    while at + 6 <= len(data):
        number, length = struct.unpack("<HI", data[at : at + 6])
        if number in _WAMD:
            found.setdefault(_WAMD[number], text_of(data[at + 6 : at + 6 + length]).strip())
        at += 6 + length
    return found


def _wamd(data: bytes) -> Facts:
    fields = wamd_fields(data)
    unreadable = []
    stamp, gps = fields.get("timestamp"), fields.get("gps")
    time = moment(stamp) if stamp else None
    if stamp and time is None:
        unreadable.append(f"wamd: {stamp[:40]!r} is no time")
    place = _wamd_place(gps) if gps else None
    if gps and place is None:
        unreadable.append(f"wamd: {gps[:60]!r} is no place")
    return Facts(
        "wamd", time, place=place, device=fields.get("serial") or None, model=fields.get("model") or None,
        gain=fields.get("sensitivity") or None, comment=fields.get("notes") or None, unreadable=tuple(unreadable),
    )  # fmt: skip


def _wamd_place(text: str) -> Place | None:
    """Return the point of `WGS84,42.43,N,71.38,W,30` or `WGS84, 42.43, -71.38`."""
    parts = [part.strip() for part in text.split(",")][1:]
    if len(parts) >= 4 and parts[1] in ("N", "S") and parts[3] in ("E", "W"):
        north, east = parts[0], parts[2]
        return place_of(f"-{north}" if parts[1] == "S" else north, f"-{east}" if parts[3] == "W" else east)
    return place_of(parts[0], parts[1]) if len(parts) >= 2 else None


_READERS: Mapping[str, Callable[[bytes], Facts]] = {
    "guan": _guano, "INFO": _info, "wamd": _wamd, "bext": _bext, "iXML": _ixml,
}  # fmt: skip
_WANTED = (b"LIST", b"guan", b"wamd", b"bext", b"iXML")


# Tags of FLAC, Ogg, MP3 and M4A: a place in ISO 6709 under any name, a start under the names that recorders use.

_STARTS = ("recordingstart", "recording_start", "originationdate")
_DEVICES = ("sensoruid", "sensor_uid", "serial")


def _tags(path: Path, file: BinaryIO, size: int) -> Facts:
    said = dict(_tag_texts(file))
    place = next((point for text in said.values() if (point := iso6709(text)) is not None), None)
    time = next((start for name in _STARTS if (start := moment(said.get(name, ""))) is not None), None)
    return Facts("tags", time, place=place, device=_first(said, *_DEVICES))


def _tag_texts(file: BinaryIO) -> Iterator[tuple[str, str]]:
    with needed_by("recordings"):
        from tinytag import TinyTag
    try:
        file.seek(0)
        tag = TinyTag.get(file_obj=file, duration=False)
    except Exception:  # a parser of strangers' bytes: what it cannot read says nothing of place and time
        return
    for name, value in tag.as_dict().items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield name.lower(), text[:1000]


def _mp4_place(path: Path, file: BinaryIO, size: int) -> Facts:
    """Return the place in the atom `©xyz` of phones: a length, a language, ISO 6709."""
    if read_at(file, 4, 4) != b"ftyp":
        return Facts("tags")
    for start in dict.fromkeys((0, max(0, size - _MOST_BYTES))):
        at = find(file, b"\xa9xyz", start, min(size, start + _MOST_BYTES))
        if at >= 0:
            length = int.from_bytes(read_at(file, at + 4, 2), "big")
            return Facts("tags", place=iso6709(text_of(read_at(file, at + 8, min(length, 80)))))
    return Facts("tags")
