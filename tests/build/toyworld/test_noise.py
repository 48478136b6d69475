import numpy as np
import pytest

from earthtone.build.toyworld.noise import CIRCUMFERENCE_M, cells_of, layered, value_noise


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
