"""Chunks held against packages of others: `guano` and `wavinfo` read and write what is read here."""

import io
import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from recorders import HZ, MOTH, bext, chunk, flac, guan, guano, info, moth, wamd, wav

from earthtone.build.recordings.chunks import guano_fields, header_facts, info_fields, wamd_fields, wav_chunks
from earthtone.build.recordings.facts import Facts
from earthtone.build.recordings.tables import read_summary

TWO = timezone(timedelta(hours=2))


def facts(data: bytes, name: str = "a.wav") -> dict[str, Facts]:
    return {said.source: said for said in header_facts(Path(name), io.BytesIO(data), len(data))}


def place(said: Facts) -> tuple[float, float] | None:
    return None if said.place is None else (said.place.longitude, said.place.latitude)


def test_an_audiomoth() -> None:
    said = facts(wav(1, [moth(MOTH, "06:30:00 11/04/2026", "UTC+2", warmth="-1.5")]))["INFO"]
    assert said.time == datetime(2026, 4, 11, 6, 30, tzinfo=TWO)
    assert (said.device, said.gain, said.battery_v, said.temperature_c) == (MOTH, "medium gain", 4.2, -1.5)


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("Recorded at 19:17:30 19/02/2026 (UTC-5:30) during deployment 0123456789ABCDEF at low-medium gain while "
         "battery was less than 2.5V and temperature was 9.0C. Recording stopped due to low voltage.",
         ("2026-02-19T19:17:30-05:30", "0123456789ABCDEF", "low-medium gain", 2.5, 9.0)),
        (f"Recorded at 19:17:30 19/02/2026 (UTC) by AudioMoth {MOTH} at gain setting 2 while battery state was 4.7V.",
         ("2026-02-19T19:17:30+00:00", None, "gain setting 2", 4.7, None)),
        ("Recorded at 19:17:30.250 19/02/2026 (UTC) by AudioMoth.", ("2026-02-19T19:17:30.250000+00:00", *[None] * 4)),
        ("Recorded at 29:17:30 19/02/2026 (UTC)", (None, *[None] * 4)),
    ],
)  # fmt: skip
def test_sentences_of_audiomoths(comment: str, expected: tuple[Any, ...]) -> None:
    said = facts(wav(1, [info(ICMT=comment)]))["INFO"]
    found = (said.time.isoformat() if said.time else None, said.prefix, said.gain, said.battery_v, said.temperature_c)
    assert found == expected and bool(said.unreadable) == (expected[0] is None)


@pytest.mark.extras
def test_guano_as_the_package_of_its_authors_writes_it(tmp_path: Path) -> None:
    package = pytest.importorskip("guano")
    path = tmp_path / "g.wav"
    path.write_bytes(wav(1))
    file = package.GuanoFile(str(path))
    file["Timestamp"] = datetime(2026, 4, 11, 6, 30, tzinfo=TWO)
    file["Loc Position"] = (-27.38661, 152.87612)
    file["Loc Accuracy"] = 12
    file["Serial"], file["Make"], file["Model"] = "S4A01234", "Wildlife Acoustics", "SM4"
    file["Temperature Int"], file["Length"] = 21.75, 1.0
    file.write(make_backup=False)
    said = facts(path.read_bytes())["guan"]
    assert said.time == datetime(2026, 4, 11, 6, 30, tzinfo=TWO) and place(said) == (152.87612, -27.38661)
    assert said.place is not None and said.place.uncertainty_m == 12 and not said.place.of_app
    assert (said.device, said.model, said.temperature_c, said.seconds) == (
        "S4A01234",
        "Wildlife Acoustics SM4",
        21.75,
        1,
    )


@pytest.mark.extras
def test_what_we_lay_out_others_read(tmp_path: Path) -> None:
    package = pytest.importorskip("wavinfo")
    path = tmp_path / "w.wav"
    xml = b"<BWFXML><SCENE>dawn</SCENE><NOTE>quay</NOTE></BWFXML>"
    path.write_bytes(wav(1, [bext("2026-04-11", "06:30:00", "Zoom"), info(IART="A", ICMT="said")], [(b"iXML", xml)]))
    read = package.WavInfoReader(str(path))
    chunks = wav_chunks(io.BytesIO(path.read_bytes()), path.stat().st_size)
    assert read.info.to_dict()["comment"] == info_fields(chunks["INFO"])["ICMT"] == "said"
    said = facts(path.read_bytes())
    assert f"{said['bext'].time:%Y-%m-%d}" == read.bext.to_dict()["originator_date"]
    assert said["bext"].model == read.bext.to_dict()["originator"] == "Zoom"
    assert read.ixml.scene == "dawn" and said["iXML"].comment == "quay"


def test_a_song_meter_of_before() -> None:
    said = facts(wav(1, [wamd(model="SM4", serial="S4A1", timestamp="2014-04-02 22:59:14-05:00",
                              gps="WGS84,42.43000,N,71.38000,W,30")]))["wamd"]  # fmt: skip
    assert said.time == datetime(2014, 4, 3, 3, 59, 14, tzinfo=UTC)
    assert (place(said), said.device, said.model) == ((-71.38, 42.43), "S4A1", "SM4")
    other = facts(wav(1, [wamd(gps="WGS84, 42.43, -71.38", timestamp="2014-04-02 22:59:14.000")]))["wamd"]
    assert place(other) == (-71.38, 42.43) and other.time == datetime(2014, 4, 2, 22, 59, 14)


def test_ixml_tells_a_place_and_defines_nothing() -> None:
    xml = b"<BWFXML><LOCATION><LOCATION_GPS>47.756787, -123.729977</LOCATION_GPS></LOCATION></BWFXML>"
    assert place(facts(wav(1, [(b"iXML", xml)]))["iXML"]) == (-123.729977, 47.756787)
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
    assert facts(wav(1, [(b"iXML", bomb)]))["iXML"].unreadable == (
        "iXML: it defines entities; a plain document expected",
    )


@pytest.mark.parametrize("length", [0, 36, 4000])
def test_a_guano_text_behind_a_header_that_was_never_brought_up_to_date(length: int) -> None:
    said = facts(wav(2, after=[guano(Loc_Position="1.5 2.5", Timestamp="2026-04-11T06:30:00Z")], length=length))
    assert place(said["guan"]) == (2.5, 1.5)


def test_chunks_behind_rf64_and_odd_lengths() -> None:
    data = wav(1, [(b"junk", b"odd")], [guano(Serial="X")])
    ds64 = struct.pack("<QQQI", len(data) + 28, 2 * HZ, HZ, 0)
    at = data.index(b"data")
    long = data[:at] + b"data\xff\xff\xff\xff" + data[at + 8 :]
    long = b"RF64\xff\xff\xff\xffWAVE" + chunk(b"ds64", ds64) + long[12:]
    assert facts(data)["guan"].device == facts(long)["guan"].device == "X"


def test_unreadable_values_are_told() -> None:
    said = facts(wav(1, [guano(Timestamp="yesterday", Loc_Position="north 5")]))["guan"]
    assert said.time is None and said.place is None and len(said.unreadable) == 2


def test_tags_of_other_formats(tmp_path: Path) -> None:
    comment = b"RECORDINGSTART=2026-04-11T06:30:00+02:00", b"SENSORLOCATION=-27.3866+152.8761", b"SENSORUID=000123"
    body = struct.pack("<I", 4) + b"test" + struct.pack("<I", len(comment))
    body += b"".join(struct.pack("<I", len(each)) + each for each in comment)
    data = flac(1)
    data = data[:42] + bytes([4]) + len(body).to_bytes(3, "big") + body + data[42:]
    assert data[4] & 0x80 == 0, "its stream info is not the last block"
    path = tmp_path / "f.flac"
    path.write_bytes(data)
    assert soundfile.info(path).frames == HZ
    said = facts(data, "f.flac")["tags"]
    assert (place(said), said.device) == ((152.8761, -27.3866), "000123")
    assert said.time == datetime(2026, 4, 11, 6, 30, tzinfo=TWO)
    text = b"+54.5100+013.6400/"
    atom = b"\xa9xyz" + struct.pack(">HH", len(text), 0x15C7) + text
    phone = struct.pack(">I", 16) + b"ftypM4A \0\0\0\0" + b"\0" * 20 + struct.pack(">I", len(atom) + 4) + atom
    assert place(facts(phone, "p.m4a")["tags"]) == (13.64, 54.51)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DATE,TIME,LAT,,LON,,POWER(V),TEMP(C),#FILES\n2026-Apr-11,06:00:00,42.43,S,71.38,W,5.9,12.25,1\n",
         ((-71.38, -42.43), 5.9, 12.25)),
        ("\ufeffDate,Time,Latitude,NS,Longitude,EW,Power(V),Temp(C)\n2026-04-11,06:00:00,1.5,N,2.5,E,3.9,-2\n",
         ((2.5, 1.5), 3.9, -2.0)),
        ("DATE,TIME,POWER(V)\n2026-Apr-11,06:00:00,5.9\n", (None, 5.9, None)),
    ],
)  # fmt: skip
def test_logs(tmp_path: Path, text: str, expected: tuple[Any, ...]) -> None:
    path = tmp_path / "S4A1_Summary.txt"
    path.write_text(text, encoding="utf-8")
    log = read_summary(path)
    assert log is not None and log.prefix == "S4A1"
    line = log.near(datetime(2026, 4, 11, 6, 20))
    assert line is not None and (place(line), line.battery_v, line.temperature_c) == expected
    assert log.near(datetime(2026, 4, 13)) is None


@given(st.binary(max_size=300), st.sampled_from([b"LIST", b"guan", b"wamd", b"bext", b"iXML"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_in_a_chunk_are_read(data: bytes, name: bytes) -> None:
    data = b"INFO" + data if name == b"LIST" else data
    facts(wav(0.01, [(name, data)]))
    guano_fields(data)
    wamd_fields(data)


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"ID3\4", b"\0\0\0\x10ftyp"])
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_in_a_file_are_read(data: bytes, magic: bytes) -> None:
    facts(magic + data)


@given(st.text(alphabet="GUANO|:Loc Position\n0123456789.+-TZ WAME", max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_guano_text_is_read(text: str) -> None:
    found = facts(wav(0.01, [guan(f"GUANO|Version: 1.0\n{text}")])).get("guan")
    assert found is None or found.place is None or abs(found.place.latitude) <= 90


@given(st.text(alphabet='DATETIMELATON,2026-Apr1:0NSEW\n\r"', max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_log_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "x_Summary.txt"
    path.write_text(f"DATE,TIME,LAT,,LON,\n{text}")
    read_summary(path)
