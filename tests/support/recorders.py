"""Files as field recorders leave them: real layouts of chunks, with the faults that are known of them.

Laid out here by the specifications; `test_chunks.py` holds them against packages of others. Values are invented.
"""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

HZ = 8_000
Chunks = Sequence[tuple[bytes, bytes]]


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def samples(seconds: float, seed: int = 0, hz: int = HZ) -> bytes:
    return np.random.default_rng(seed).integers(-3000, 3000, round(seconds * hz)).astype("<i2").tobytes()


def wav(
    seconds: float, before: Chunks = (), after: Chunks = (), *, length: int | None = None, seed: int = 0, hz: int = HZ
) -> bytes:
    """A mono WAV with chunks before and behind its samples; `length` is what the header says of these."""
    data = samples(seconds, seed, hz)
    form = struct.pack("<HHIIHH", 1, 1, hz, 2 * hz, 2, 16)
    told = len(data) if length is None else length
    body = chunk(b"fmt ", form) + b"".join(chunk(*each) for each in before)
    body += b"data" + struct.pack("<I", told) + data + b"".join(chunk(*each) for each in after)
    size = 4 + len(body) if length is None else 36 + told
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + body


def info(**fields: str) -> tuple[bytes, bytes]:
    return b"LIST", b"INFO" + b"".join(chunk(name.encode(), text.encode() + b"\0") for name, text in fields.items())


def guan(text: str) -> tuple[bytes, bytes]:
    return b"guan", text.encode()


def guano(**fields: str) -> tuple[bytes, bytes]:
    """A GUANO text; `__` in a name is `|`, `_` a blank."""
    lines = ["GUANO|Version: 1.0"]
    lines += [f"{name.replace('__', '|').replace('_', ' ')}: {value}" for name, value in fields.items()]
    return guan("\n".join(lines))


def wamd(**fields: str) -> tuple[bytes, bytes]:
    numbers = {"model": 1, "serial": 2, "timestamp": 5, "gps": 6, "notes": 10, "sensitivity": 19}
    parts = [(0, struct.pack("<H", 1)), *((numbers[name], text.encode()) for name, text in fields.items())]
    return b"wamd", b"".join(struct.pack("<HI", number, len(data)) + data for number, data in parts)


def bext(day: str, clock: str, originator: str = "", description: str = "") -> tuple[bytes, bytes]:
    fixed = description.encode().ljust(256, b"\0") + originator.encode().ljust(32, b"\0") + b"\0" * 32
    return b"bext", fixed + day.encode().ljust(10, b"\0") + clock.encode().ljust(8, b"\0") + b"\0" * 264


def moth(device: str, stamp: str, zone: str = "UTC", **more: str) -> tuple[bytes, bytes]:
    """The INFO list of an AudioMoth: `stamp` as 06:30:00 11/04/2026."""
    said = f"Recorded at {stamp} ({zone}) by AudioMoth {device} at medium gain while battery was 4.2V and "
    said += f"temperature was {more.get('warmth', '21.5')}C.{more.get('why', '')}"
    return info(ICMT=said, IART=f"AudioMoth {device}")


def flac(seconds: float, seed: int = 0) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.frombuffer(samples(seconds, seed), "<i2"), HZ, format="FLAC")
    return out.getvalue()


def flac_of_length(data: bytes, promised: int) -> bytes:
    """A FLAC whose header tells another number of samples: 36 bits from the lower half of byte 21 on."""
    out = bytearray(data)
    out[21] = out[21] & 0xF0 | promised >> 32
    out[22:26] = struct.pack(">I", promised & 0xFFFF_FFFF)
    return bytes(out)


MOTH = "24F31901603B1234"
#: Positions of the three recorders, (longitude, latitude).
PLACES = {MOTH: (13.6412, 54.5123), "S4A01234": (-71.38, 42.43), "BAR": (152.8761, -27.3866)}


def write_deployment(folder: Path) -> Path:
    """Write the cards of three recorders, each with the faults of its make, and a table of deployments beside them."""
    cards = folder / "cards"
    files: dict[str, bytes] = {}
    for number in range(4):  # an AudioMoth: local time of UTC+2 in names and comments, a position by its app
        clock = f"06:{10 * number:02d}:00"
        stamp, name = f"{clock} 11/04/2026", f"20260411_{clock.replace(':', '')}.WAV"
        app = guano(
            Make="Open Acoustic Devices", Model="AudioMoth", Serial=MOTH, Timestamp=f"2026-04-11T{clock}+02:00",
            Loc_Position="54.51 13.64", OAD__Loc_Source="Configuration app",
        )  # fmt: skip
        files[f"moth/{name}"] = wav(6, [moth(MOTH, stamp, "UTC+2")], [app], seed=number)
    files["moth/20260411_070000.WAV"] = wav(6, [moth(MOTH, "07:00:00 11/04/2026", "UTC+2")], length=0, seed=10)
    # a firmware whose header is an hour off the name
    files["moth/20260411_071000.WAV"] = wav(6, [moth(MOTH, "06:10:00 11/04/2026", "UTC+2")], seed=11)
    files["moth/20260411_072000.WAV"] = b""
    files["moth/20260411_073000.WAV"] = bytes(20_000)
    files["moth/19700101_000010.WAV"] = wav(6, seed=12)
    files["moth/5AFCD4F4.WAV"] = wav(6, seed=13)
    wamd_of = {"model": "SM4", "serial": "S4A01234", "gps": "WGS84,10.00000,N,20.00000,E"}  # wrong; the log is right
    for number in range(3):  # a Song Meter: local time without a zone; the second begins before the first has ended
        second = (0, 3, 30)[number]
        stamp = f"2026-04-11 06:00:{second:02d}"
        chunks = [wamd(timestamp=stamp, **wamd_of)]
        files[f"meter/Data/S4A01234_20260411_0600{second:02d}.wav"] = wav(
            20 if number == 0 else 6, chunks, seed=20 + number
        )
    files["meter/Data/S4A01234_20260411_061000.wav"] = wav(6, length=4000, seed=23)
    files["meter/Data/S4A01234_20260411_062000.wav"] = np.random.default_rng(3).bytes(30_000)  # rubbish
    files["meter/Data/S4A01234_20260411_063000.wav"] = bytes(128_000)
    files["meter/Data/data"] = samples(1, 24)
    files["meter/S4A01234_Summary.txt"] = (
        b"DATE,TIME,LAT,,LON,,POWER(V),TEMP(C),#FILES,MIC0 TYPE,MIC1 TYPE\r\n"
        b"2026-Apr-11,06:00:00,42.43000,N,71.38000,W,5.9,12.25,1,U1,U1\r\n"
        b"2026-Apr-11,06:30:00,42.43000,N,71.38000,W,5.8,12.75,2,U1,U1\r\n"
    )
    long = flac(8, 30)  # a Frontier Labs: all in the name; one FLAC that promises a minute
    files["bar/20260411T020000+1000_REC [-27.3866 152.8761].flac"] = long
    files["bar/20260411T021000+1000_REC_-27.3866+152.8761.flac"] = flac_of_length(long, 60 * HZ)
    files["bar/202604 7T095935+1000_REC [-27.3866 152.8761].flac"] = flac(6, 31)
    for name, data in files.items():
        path = cards / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "deployments.csv").write_text(
        "device,folder,longitude,latitude,uncertainty_m,zone,license,attribution\n"
        f"{MOTH},,13.6412,54.5123,10,,CC-BY-4.0,A. Recordist\n"
        ",meter,,,,-04:00,CC-BY-4.0,A. Recordist\n"
        "S4A99999,,1,2,,,,\n"
    )
    return folder
