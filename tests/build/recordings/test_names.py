"""Names as makers of recorders write them (invented values), and any other text."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from earthtone.build.recordings.facts import iso6709, zone_of
from earthtone.build.recordings.names import name_facts

TEN = timezone(timedelta(hours=10))
SIX_THIRTY = datetime(2026, 4, 11, 6, 30)


@pytest.mark.parametrize(
    ("name", "time", "prefix"),
    [
        ("20260411_063000.WAV", SIX_THIRTY, None),
        ("24F31901603B1234_20260411_063000.WAV", SIX_THIRTY, "24F31901603B1234"),
        ("20260411_063000T.WAV", SIX_THIRTY, None),
        ("5AFCD4F4.WAV", datetime(2018, 5, 17, 1, 3, 48, tzinfo=UTC), None),
        ("S4A01234_20260411_063000.wav", SIX_THIRTY, "S4A01234"),
        ("SM304246_0+1_20260411_230001.wav", datetime(2026, 4, 11, 23, 0, 1), "SM304246"),
        ("SITE-A_20260411_044802_010.wav", datetime(2026, 4, 11, 4, 48, 2, 10_000), "SITE-A"),
        ("20260411T020000+1000_REC [-27.3866 152.8761].flac", datetime(2026, 4, 11, 2, tzinfo=TEN), None),
        ("202604 7T095935+1000_REC.flac", datetime(2026, 4, 7, 9, 59, 35, tzinfo=TEN), None),
        ("2026-04-11_12-08-00 (1).wav", datetime(2026, 4, 11, 12, 8), None),
        ("20260411T020000Z.wav", datetime(2026, 4, 11, 2, tzinfo=UTC), None),
        ("20260411.wav", None, None),
        ("20261341_063000.wav", None, None),
        ("recording 12345678_123.wav", None, None),
    ],
)
def test_times(name: str, time: datetime | None, prefix: str | None) -> None:
    found = name_facts(name)
    assert (found.time, found.prefix) == (time, prefix)
    assert found.time is None or time is None or found.time.tzinfo == time.tzinfo
    assert found.triggered is (True if "T.W" in name else None)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("20260411T020000+1000_REC [-27.3866 152.8761].flac", (152.8761, -27.3866)),
        ("20260411T020000+1000_REC_-27.3888+152.8808.flac", (152.8808, -27.3888)),
        ("20260411T020000+1000_Dawn _1.4647 116.9136_.wav", (116.9136, 1.4647)),
        ("dawn+40.20361-075.00417CRSWGS_84.wav", (-75.00417, 40.20361)),
        ("N40.20361E075.00417.wav", (75.00417, 40.20361)),
        ("S20240815T091156.982648+1000_E20240815T091251.967555+1000_-12.34567+78.98102.wav", (78.98102, -12.34567)),
        ("SM304246_0+1_20260411_230001.wav", None),
        ("x [95.5 10.5].wav", None),
        ("x [0.0 0.0].wav", None),
    ],
)
def test_places_are_longitude_and_latitude(name: str, place: tuple[float, float] | None) -> None:
    found = name_facts(name).place
    assert (None if found is None else (found.longitude, found.latitude)) == place


def test_both_ends_of_an_array() -> None:
    found = name_facts("S20240815T091156.982648+1000_E20240815T091251.967555+1000_-12.34567+78.98102.wav")
    assert found.time == datetime(2024, 8, 15, 9, 11, 56, 982_648, TEN)
    assert found.end == datetime(2024, 8, 15, 9, 12, 51, 967_555, TEN)


@pytest.mark.parametrize("name", ["260411_01.WAV", "260411_0744.wav"])
def test_two_digits_of_a_year_tell_a_day_alone(name: str) -> None:
    assert (name_facts(name).time, name_facts(name).day) == (None, date(2026, 4, 11))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("+54.5100+013.6400/", (13.64, 54.51)), ("+4012.22-07500.25/", (-75 - 0.25 / 60, 40 + 12.22 / 60)),
        ("-401213.1+0750015.1+2.79/", (75 + 15.1 / 3600, -40 - 12 / 60 - 13.1 / 3600)),
        ("+40-075CRSWGS_84/", (-75.0, 40.0)), ("+4075.0-07500.25/", None), ("+91.00+013.64/", None), ("", None),
        ("+00.0000+000.0000/", None),
    ],
)  # fmt: skip
def test_iso_6709(text: str, place: tuple[float, float] | None) -> None:
    found = iso6709(text)
    assert (None if found is None else (found.longitude, found.latitude)) == (
        None if place is None else pytest.approx(place)
    )


@pytest.mark.parametrize(
    ("text", "hours"),
    [("Z", 0), ("UTC", 0), ("+10:00", 10), ("-0330", -3.5), ("UTC+5:30", 5.5), ("UTC-8", -8), ("+15:00", None),
     ("../../etc/passwd", None), ("Nowhere/City", None), ("", None), ("+10:75", None)],
)  # fmt: skip
def test_zones(text: str, hours: float | None) -> None:
    zone = zone_of(text)
    assert (None if zone is None else zone.utcoffset(SIX_THIRTY)) == (None if hours is None else timedelta(hours=hours))


_LETTERS = st.text(alphabet="0123456789TZSEN_+-.[] ()aW:", max_size=60)


@given(st.one_of(st.text(max_size=60), _LETTERS))
@example("99999999T999999.999999+9999")
@example("00010101_000000+1400")
@settings(max_examples=300, deadline=None)
def test_any_name_is_read(name: str) -> None:
    found = name_facts(name)
    assert found.place is None or (abs(found.place.latitude) <= 90 and abs(found.place.longitude) <= 180)
    zone_of(name)
    iso6709(name)


@given(
    st.floats(-89.99, 89.99), st.floats(-179.99, 179.99),
    st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(lambda time: time.replace(microsecond=0)),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(latitude: float, longitude: float, time: datetime) -> None:
    name = f"{time:%Y%m%dT%H%M%S}-0330_{latitude:+09.5f}{longitude:+010.5f}.wav"
    found = name_facts(name)
    assert found.time is not None and found.time.replace(tzinfo=None) == time
    if abs(round(latitude, 5)) + abs(round(longitude, 5)) > 0:
        assert found.place is not None
        assert (found.place.latitude, found.place.longitude) == (round(latitude, 5), round(longitude, 5))
