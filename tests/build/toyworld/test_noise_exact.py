import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.toyworld.noise import (
    SINE,
    SINE_STEPS,
    cosine_of_latitude,
    from_world,
    logarithm,
    sine,
    to_world,
)


@given(st.floats(-math.pi, math.pi))
def test_sine_agrees_with_the_c_library(angle):
    assert sine(angle) == pytest.approx(math.sin(angle), abs=2e-15)


@given(st.floats(1e-6, 1e6))
def test_logarithm_agrees_with_the_c_library(value):
    assert logarithm(value) == pytest.approx(math.log(value), abs=3e-15, rel=3e-15)


def test_table_is_one_turn():
    np.testing.assert_allclose(SINE, np.sin(np.arange(SINE_STEPS) * 2 * np.pi / SINE_STEPS), atol=1e-7)


@given(st.floats(-180, 180), st.floats(-85, 85))
def test_map_is_web_mercator_and_back(longitude, latitude):
    x, y = to_world(longitude, latitude)
    # EPSG:3857 by its textbook formula
    assert x == pytest.approx(6_378_137.0 * math.radians(longitude), abs=1e-6)
    assert y == pytest.approx(
        6_378_137.0 * math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2)), abs=1e-6, rel=1e-12
    )
    assert from_world(x, y) == pytest.approx((longitude, latitude), abs=1e-9)
    assert cosine_of_latitude(latitude) == pytest.approx(math.cos(math.radians(latitude)), abs=1e-15)
