"""Quick keys and exact ones: the rounding stays within the tolerance, equal rows are known as equal."""

import numpy as np
import pytest

from earthtone.evaluate.ranking import ExactSearch, first_equal


@pytest.mark.slow
@pytest.mark.parametrize("dimensions", [1, 16, 128, 600])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_keys_are_within_the_tolerance_of_exact_distances(dimensions: int, offset: float) -> None:
    rng = np.random.default_rng(dimensions)
    queries, gallery = (rng.standard_normal((2, 400, dimensions)) * rng.lognormal(size=(2, 400, 1)) + offset).astype(
        np.float32
    )
    gallery[0] *= 1000  # one that lies far out
    search = ExactSearch(queries, gallery)
    exact = ((queries[:, None].astype(float) - gallery[None]) ** 2).sum(axis=2)
    for rows, keys in search.chunks(170):
        for row, error in zip(rows, np.abs(keys - exact[rows]), strict=True):
            nearest, farthest = exact[row].argsort()[[0, -1]]
            for item in (nearest, farthest, error.argmax(), 0, 1, 2):
                assert error[item] <= 0.5 * search.tolerance(row, exact[row, item])  # with room to spare


def test_equal_rows_have_the_first_ones_number() -> None:
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 5], [3, 4]], np.float32)
    assert first_equal(rows).tolist() == [0, 1, 0, 3, 1]
    assert first_equal(rows[:0]).tolist() == []
