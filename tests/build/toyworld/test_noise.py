import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.toyworld.noise import (
    CIRCUMFERENCE_M,
    SINE,
    SINE_STEPS,
    Stream,
    cells_of,
    cosine_of_latitude,
    from_world,
    key_of,
    layered,
    logarithm,
    mix,
    mix_array,
    sine,
    to_world,
    value_noise,
)


@pytest.mark.parametrize("wavelength_m", [3.0, 90.0, 1_000.0, 3e6])
def test_grid_scattered_points_and_warped_arrays_give_the_same_bits(wavelength_m):
    x, y = np.arange(100, 180)[None, :] * 7.5, -np.arange(60)[:, None] * 3.25
    on_grid = value_noise(5, x, y, wavelength_m)
    warped_x, warped_y = np.broadcast_to(x, (60, 80)).copy(), np.broadcast_to(y, (60, 80)).copy()
    np.testing.assert_array_equal(on_grid, value_noise(5, warped_x, warped_y, wavelength_m))
    # One point on the other side of the planet makes the lattice too large to keep: each point is worked out alone.
    far_x, far_y = np.append(warped_x.ravel(), 1.9e7), np.append(warped_y.ravel(), 7e6)
    np.testing.assert_array_equal(on_grid.ravel(), value_noise(5, far_x, far_y, wavelength_m)[:-1])
    layers = ((wavelength_m, 1.0), (wavelength_m * 3, 0.5))
    np.testing.assert_array_equal(layered(5, x, y, layers).ravel(), layered(5, far_x, far_y, layers)[:-1])


def test_noise_has_no_seam_at_longitude_180():
    y = np.linspace(0, 3e5, 50)[:, None][::-1]
    east = value_noise(1, np.array([[CIRCUMFERENCE_M / 2 - 0.001]]), y, 5_000.0)
    west = value_noise(1, np.array([[-CIRCUMFERENCE_M / 2 + 0.001]]), y, 5_000.0)
    np.testing.assert_allclose(east, west, atol=1e-5)
    assert east.std() > 0.2


def test_noise_is_smooth_and_fills_its_range():
    x, y = np.arange(4_000)[None, :] * 1.0, np.array([[12.0]])
    noise = value_noise(2, x, y, 100.0)
    assert np.abs(np.diff(noise)).max() < 0.04
    assert noise.min() < -0.5 < 0.5 < noise.max()


def test_cells_share_their_properties_and_differ():
    x, y = np.arange(0, 4_000.0, 10)[None, :], np.array([[5.0]])
    cells = cells_of(9, x, y, 1_000.0)
    drawn = np.broadcast_to(cells.draw(1), x.shape)
    assert 4 <= len(np.unique(drawn)) <= 5
    assert np.abs(cells.dx).max() <= 501


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


def test_mix_is_splitmix64():
    # The first outputs of SplitMix64 with seed 0, from its authors' C code: state advances by the same constant.
    step = 0x9E3779B97F4A7C15
    assert [mix(k * step % 2**64) for k in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8))
def test_arrays_mix_as_numbers_do(numbers):
    assert mix_array(np.array(numbers, dtype=np.uint64)).tolist() == [mix(number) for number in numbers]


def test_keys_depend_on_order_and_names():
    assert len({key_of(1, 2), key_of(2, 1), key_of("a", 1), key_of("b", 1), key_of("a"), key_of(1)}) == 6


def test_stream_is_uniform_and_repeats():
    units = Stream(7).units(20_000)
    assert abs(units.mean() - 0.5) < 0.01 and abs(units.std() - 12**-0.5) < 0.01
    white = Stream(7, "white").white(20_001)
    assert len(white) == 20_001 and abs(white.mean()) < 0.02 and white.min() >= -1 and white.max() < 1
    assert abs(np.corrcoef(white[1:], white[:-1])[0, 1]) < 0.03
    first, second = Stream(3, "x"), Stream(3, "x")
    assert [first.uniform() for _ in range(5)] == [second.uniform() for _ in range(5)]
