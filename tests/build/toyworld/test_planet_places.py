from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.toyworld import LAND_COVER, Planet
from earthtone.build.toyworld.planet import BLOCK_DEGREES, MARGIN_DEGREES, split_of, spot

inside = st.floats(0, BLOCK_DEGREES, exclude_max=True)


@given(st.integers(-180, 179), st.integers(-85, 84), inside, inside, inside, inside)
def test_a_block_is_in_one_split(column, row, a, b, c, d):
    # Adding a tiny fraction to a whole number may round up to the next block.
    points = [(min(column + u, column + 0.999999), min(row + v, row + 0.999999)) for u, v in ((a, b), (c, d))]
    assert split_of(0, *points[0]) == split_of(0, *points[1])


def test_splits_are_70_10_20():
    counts = Counter(split_of(0, x + 0.5, y + 0.5) for x in range(-180, 180, 3) for y in range(-60, 60, 2))
    total = counts.total()
    assert abs(counts["train"] / total - 0.7) < 0.02
    assert abs(counts["val"] / total - 0.1) < 0.02
    assert abs(counts["test"] / total - 0.2) < 0.02


def test_places_are_balanced_spread_and_far_from_block_borders():
    planet = Planet(4)
    spots = [spot(planet, row, 256.0) for row in range(96)]
    counts = Counter(place.label for place in spots)
    assert set(counts) == set(LAND_COVER) and max(counts.values()) <= 24
    assert len({(place.longitude, place.latitude) for place in spots}) == 96
    assert len({place.longitude // 30 for place in spots}) == 12
    for place in spots:
        for degrees in (place.longitude, place.latitude):
            # A revisit is at most 0.4 of a tile away from its first visit.
            assert MARGIN_DEGREES - 0.003 <= degrees % BLOCK_DEGREES <= BLOCK_DEGREES - MARGIN_DEGREES + 0.003


def test_some_places_are_visited_again():
    planet = Planet(0)
    spots = [spot(planet, row, 256.0) for row in range(60)]
    near = sum(
        any(abs(a.longitude - b.longitude) < 0.005 and abs(a.latitude - b.latitude) < 0.005 for b in spots[:k])
        for k, a in enumerate(spots)
    )
    assert 1 <= near <= 15
