"""A map's grid and numbers, each against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.atlas.map_grid import NO_CLASS, grid_of, likeliest, percentiles, similarity, spread
from earthtone.errors import DataError


def bounds(centres: list[tuple[float, float]], side: float) -> tuple[np.ndarray, ...]:
    x, y = np.array(centres, np.float64).T
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 7), st.sampled_from([30.0, 100.0, 0.01]), st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_every_tile_has_its_cell(width: int, height: int, side: float, share: float, seed: int) -> None:
    """Whatever is missing, and however the tiles overlap."""
    draw, step = np.random.default_rng(seed), side * share
    west, north = 500_000.0 + seed * 0.3, 7_000_000.0 - seed * 0.7
    places = [(row, column) for row in range(height) for column in range(width)]
    draw.shuffle(places)
    kept = {(0, 0), (0, width - 1), (height - 1, 0), *places[: max(1, len(places) * 2 // 3)]}
    neighbours = {(0, min(1, width - 1)), (min(1, height - 1), 0)}  # the step is seen somewhere
    order = [place for place in places if place in kept | neighbours]
    centres = [(west + (column + 0.5) * step, north - (row + 0.5) * step) for row, column in order]
    grid, cells = grid_of(*bounds(centres, side), ["EPSG:32721"] * len(order), False, "E")
    found = list(zip(cells.rows.tolist(), cells.columns.tolist(), strict=True))
    assert found == order
    assert (grid.width, grid.height) == (width, height)
    if width > 1 and height > 1:
        np.testing.assert_allclose(
            [grid.west, grid.north, grid.step_x, grid.step_y], [west, north, step, step], rtol=1e-6
        )


def test_a_step_that_no_two_neighbours_show_is_found() -> None:
    grid, cells = grid_of(*bounds([(0, 0), (200, 0), (500, 0)], 400.0), ["EPSG:32721"] * 3, False, "E")
    assert (grid.step_x, grid.width) == (100.0, 6) and cells.columns.tolist() == [0, 2, 5]


def test_tiles_on_both_sides_of_the_antimeridian_are_neighbours() -> None:
    centres = [(179.85, 1.0), (179.95, 1.0), (-179.95, 1.0), (-179.85, 1.0)]
    grid, cells = grid_of(*bounds(centres, 0.1), ["EPSG:4326"] * 4, True, "E")
    assert cells.columns.tolist() == [0, 1, 2, 3]
    assert (grid.west, grid.east) == (pytest.approx(179.8), pytest.approx(180.2))
    west, south, east, north = bounds([(180.0, 1.0)], 0.1)  # a tile that lies on it, its east as other programs say it
    grid, _ = grid_of(west, south, east - 360.0, north, ["EPSG:4326"], True, "E")
    assert (grid.west, grid.east) in [
        (pytest.approx(179.95), pytest.approx(180.05)),
        (pytest.approx(-180.05), pytest.approx(-179.95)),
    ]


def test_all_around_the_globe_nothing_is_moved() -> None:
    centres = [(-175.0 + 10 * n, 0.0) for n in range(36)]
    grid, cells = grid_of(*bounds(centres, 10.0), ["EPSG:4326"] * 36, True, "E")
    assert (grid.west, grid.width) == (-180.0, 36) and cells.columns.tolist() == [*range(36)]


@pytest.mark.parametrize(
    ("centres", "crs", "told"),
    [
        ([(0, 0), (100, 0)], [None, None], "no CRS"),
        ([(0, 0), (100, 0)], ["EPSG:32721", "EPSG:32722"], "2 CRSs"),
        ([(0, 0), (100, 0), (237, 0)], ["EPSG:32721"] * 3, "no regular grid"),
        ([(0, 0), (0, 0)], ["EPSG:32721"] * 2, "more than one tile"),
        ([(0, 0), (100, 100), (9_000_000, 0), (0, 9_000_000)], ["EPSG:32721"] * 4, "scattered"),
        ([(0, 0), (np.nan, 0)], ["EPSG:32721"] * 2, "no numbers"),
    ],
)
def test_what_is_no_grid_is_told(centres: list[tuple[float, float]], crs: list[str | None], told: str) -> None:
    with pytest.raises(DataError, match=told):
        grid_of(*bounds(centres, 100.0), crs, False, "E")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0, np.nan]), max_size=30),
    st.lists(st.sampled_from([-1.0, 0.25, 0.3, np.nan]), min_size=1),
)
def test_percentiles_count_equal_ones_half(among: list[float], scores: list[float]) -> None:
    known = [value for value in among if value == value]
    found = percentiles(np.array(scores, np.float32), np.array(among, np.float32))
    for score, got in zip(np.array(scores, np.float32), found, strict=True):
        if np.isnan(score) or not known:
            assert np.isnan(got)
            continue
        below = sum(np.float32(value) < score for value in known)
        same = sum(np.float32(value) == score for value in known)
        assert got == pytest.approx(100 * (below + same / 2) / len(known))


def test_the_mean_percentile_of_all_is_50() -> None:
    scores = np.random.default_rng(0).integers(0, 5, 1000).astype(np.float32)
    assert percentiles(scores, scores).mean() == pytest.approx(50.0, abs=1e-4)


def test_scores_spreads_and_the_likeliest_are_those_of_a_loop() -> None:
    draw = np.random.default_rng(0)
    vectors, queries = draw.normal(size=(6, 5)).astype(np.float32), draw.normal(size=(3, 5)).astype(np.float32)
    cosine, euclid = similarity(vectors, queries, unit=True), similarity(vectors, queries, unit=False)
    for n, vector in enumerate(vectors):
        for q, query in enumerate(queries):
            assert cosine[n, q] == pytest.approx(
                sum(float(a) * float(b) for a, b in zip(vector, query, strict=True)), abs=1e-5
            )
            assert euclid[n, q] == pytest.approx(
                -sum((float(a) - float(b)) ** 2 for a, b in zip(vector, query, strict=True)), abs=1e-5
            )
        mean = sum(map(float, cosine[n])) / 3
        assert spread(cosine)[n] == pytest.approx((sum((float(s) - mean) ** 2 for s in cosine[n]) / 2) ** 0.5, rel=1e-4)
    assert np.isnan(spread(cosine[:, :1])).all()
    cosine[4] = 0.5  # all equal: the first
    cosine[5, 1] = np.nan
    best, lead = likeliest(cosine)
    for n in range(4):
        ordered = sorted(map(float, cosine[n]))
        assert (best[n], lead[n]) == (int(np.argmax(cosine[n])), pytest.approx(ordered[-1] - ordered[-2], abs=1e-6))
    assert (best[4], lead[4], best[5]) == (0, 0.0, NO_CLASS) and np.isnan(lead[5])
