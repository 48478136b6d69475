"""Land and countries at places that everybody knows; coarse places."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.curate.places import FARTHEST_KM, coarse, outlines
from earthtone.geo import great_circle_km


@pytest.mark.parametrize(
    ("longitude", "latitude", "country"),
    [
        (13.4, 52.5, "Germany"), (27.5, -29.5, "Lesotho"), (25.0, -30.0, "South Africa"), (12.45, 43.94, "San Marino"),
        (-175.0, 67.0, "Russia"), (100.0, 65.0, "Russia"), (178.0, -17.8, "Fiji"), (10.0, -89.0, "Antarctica"),
        (-179.0, -85.0, "Antarctica"), (-100.0, 40.0, "United States of America"), (-42.0, 75.0, "Greenland"),
        (-30.0, 30.0, None), (179.99, 0.0, None), (-180.0, 30.0, None), (0.0, 89.9, None), (51.0, 42.0, None),
    ],
)  # fmt: skip
def test_country_at(longitude: float, latitude: float, country: str | None) -> None:
    found = outlines().country_at(longitude, latitude)
    assert (None if found is None else outlines().names[found]) == country


def test_distances() -> None:
    land = outlines()
    germany, france = land.find("DE"), land.find("FRA")
    assert germany is not None and france is not None
    assert land.km_to(7.75, 48.58, germany) < 10  # Strasbourg
    assert 240 < land.km_to(3.5, 47.8, germany) < 340  # Auxerre
    assert land.km_to(-30.0, 30.0) == FARTHEST_KM
    assert 30 < land.km_to(1.2, 51.2, france) < 60  # Folkestone
    assert land.km_to(-179.9, 66.5) < 60 and land.km_to(179.9, 66.5) < 60  # Russia on both sides of 180


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("DE", "Germany"), ("deu", "Germany"), ("276", "Germany"), (" Germany ", "Germany"), ("Russia", "Russia"),
        ("Russian Federation", "Russia"), ("USA", "United States of America"), ("uk", "United Kingdom"),
        ("Tanzania", "Tanzania"), ("Viet Nam", "Vietnam"), ("Czech Republic", "Czechia"), ("Kosovo", "Kosovo"),
        ("Atlantis", None), ("XX", None), ("", None), ("\n\x1b", None),
    ],
)  # fmt: skip
def test_find(said: str, name: str | None) -> None:
    found = outlines().find(said)
    assert (None if found is None else outlines().names[found]) == name


@given(st.floats(-180, 180), st.floats(-90, 90), st.sampled_from([0.1, 1.0, 10.0, 100.0, 1000.0]))
def test_a_coarse_place_is_near_and_stays_what_it_is(longitude: float, latitude: float, km: float) -> None:
    east, north = coarse(longitude, latitude, km)
    assert -180 <= east <= 180 and -90 <= north <= 90
    assert float(great_circle_km(longitude, latitude, east, north)) <= km * math.sqrt(0.5) * 1.3 + 0.001
    again = coarse(east, north, km)
    assert again == pytest.approx((east, north), abs=2e-6)
