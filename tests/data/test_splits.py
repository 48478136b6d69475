"""Splits: the same cell the same split, shares about as asked, and a buffer that really is one."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.data.pair import Pair
from earthtone.data.releases import key_digit_split
from earthtone.data.splits import BlockGrid, assign_split, block_split, hash_split
from earthtone.errors import ConfigError, DataError

LONGITUDE, LATITUDE = st.floats(-180, 180), st.floats(-90, 90)
BLOCK_KM = st.sampled_from([0.5, 10.0, 137.0, 2500.0, 9000.0])


def km_between(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Great-circle distance through unit vectors: another formula than the one under test."""
    a, b = (
        (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat))
        for lon, lat in ((math.radians(x), math.radians(y)) for x, y in (one, two))
    )
    return 2 * 6371.0088 * math.asin(min(1.0, math.dist(a, b) / 2))


def places(count: int, seed: int) -> list[tuple[float, float]]:
    """Places spread evenly over the sphere."""
    rng = random.Random(seed)
    return [(rng.uniform(-180, 180), math.degrees(math.asin(rng.uniform(-1, 1)))) for _ in range(count)]


def test_the_release_splits_by_the_last_digit() -> None:
    assert [key_digit_split(key) for key in range(10, 20)] == [
        "train", "train", "test", "train", "train", "test", "train", "val", "train", "train",
    ]  # fmt: skip


@given(LONGITUDE, LATITUDE, BLOCK_KM)
def test_every_place_has_one_cell_and_lies_in_it(longitude: float, latitude: float, block_km: float) -> None:
    cells = BlockGrid(block_km)
    band, bin_ = cells.cell(longitude, latitude)
    assert 0 <= band < cells.bands and 0 <= bin_ < cells.bins(band)
    assert cells.km_to(longitude, latitude, (band, bin_)) == pytest.approx(0, abs=1e-6)


@given(BLOCK_KM, st.data())
def test_all_places_of_a_cell_share_it(block_km: float, data: st.DataObject) -> None:
    cells = BlockGrid(block_km)
    band = data.draw(st.integers(0, cells.bands - 1))
    bin_ = data.draw(st.integers(0, cells.bins(band) - 1))
    inner = st.floats(0.001, 0.999)
    for _ in range(4):
        latitude = (band + data.draw(inner)) / cells.bands * 180 - 90
        longitude = (bin_ + data.draw(inner)) / cells.bins(band) * 360 - 180
        assert cells.cell(longitude, latitude) == (band, bin_)


@given(LATITUDE, BLOCK_KM)
def test_the_date_line_is_one_line(latitude: float, block_km: float) -> None:
    assert BlockGrid(block_km).cell(-180, latitude) == BlockGrid(block_km).cell(180, latitude)


@given(LONGITUDE, LONGITUDE, st.sampled_from([-90.0, 90.0]), BLOCK_KM)
def test_a_pole_is_one_place(one: float, two: float, latitude: float, block_km: float) -> None:
    assert BlockGrid(block_km).cell(one, latitude) == BlockGrid(block_km).cell(two, latitude)


def test_cells_have_about_the_same_area() -> None:
    cells = BlockGrid(100.0)
    for band in range(1, cells.bands - 1):
        south, north = (math.sin(math.pi * (edge / cells.bands - 0.5)) for edge in (band, band + 1))
        km2 = math.tau * 6371.0088**2 * (north - south) / cells.bins(band)
        assert 0.8 < km2 / 100**2 < 1.25


def test_cells_do_not_share_numbers() -> None:
    cells = BlockGrid(300.0)
    middles = {
        cells.cell((bin_ + 0.5) / cells.bins(band) * 360 - 180, (band + 0.5) / cells.bands * 180 - 90)
        for band in range(cells.bands)
        for bin_ in range(cells.bins(band))
    }
    assert len(middles) == sum(cells.bins(band) for band in range(cells.bands))


def test_shares_hold_about() -> None:
    blocks = Counter(block_split(*place) for place in places(5000, 1))
    ids = Counter(hash_split(f"recording {n}") for n in range(5000))
    for counts in (blocks, ids):
        for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
            assert abs(counts[split] / 5000 - share) <= 4 * math.sqrt(share * (1 - share) / 5000)


def test_splits_do_not_change_from_release_to_release() -> None:
    assert [block_split(lon, 50.0) for lon in (8.0, 9.0, 10.0, 11.0, 12.0, 13.0)] == [
        "train", "test", "test", "train", "train", "train",
    ]  # fmt: skip
    assert [hash_split(str(n)) for n in range(6)] == [
        "train", "val", "train", "train", "train", "train",
    ]  # fmt: skip


@given(LONGITUDE, LATITUDE, BLOCK_KM, st.floats(0.1, 1.0), st.floats(-1, 1), st.floats(-1, 1))
@settings(max_examples=300)
def test_no_cell_nearby_is_overlooked(
    longitude: float, latitude: float, block_km: float, share: float, right: float, up: float
) -> None:
    """Any place within the buffer lies in a cell that `around` lists and that is not farther than the place."""
    buffer_km = block_km * share
    degrees = math.degrees(buffer_km / 6371.0088)
    other_latitude = min(90.0, max(-90.0, latitude + up * degrees))
    stretch = max(math.cos(math.radians(max(abs(latitude), abs(other_latitude)))), 1e-3)
    other_longitude = (longitude + right * degrees / stretch + 540) % 360 - 180
    distance = km_between((longitude, latitude), (other_longitude, other_latitude))
    cells = BlockGrid(block_km)
    cell = cells.cell(other_longitude, other_latitude)
    assert cells.km_to(longitude, latitude, cell) <= distance + 1e-4
    if distance <= buffer_km * (1 - 1e-9):
        assert cell in cells.around(longitude, latitude, buffer_km)


@pytest.mark.parametrize(("block_km", "buffer_km"), [(500.0, 60.0), (800.0, 200.0), (3000.0, 400.0)])
def test_kept_places_of_different_splits_are_a_buffer_apart(block_km: float, buffer_km: float) -> None:
    world = places(700, 3)
    splits = [block_split(*place, block_km=block_km, buffer_km=buffer_km) for place in world]
    kept = [(place, split) for place, split in zip(world, splits, strict=True) if split is not None]
    assert 20 < len(kept) < len(world)
    assert all(split == block_split(*place, block_km=block_km) for place, split in kept)
    for number, (place, split) in enumerate(kept):
        for other, other_split in kept[:number]:
            assert split == other_split or km_between(place, other) > buffer_km


def test_the_distance_to_a_cell_is_that_to_its_nearest_point() -> None:
    cells = BlockGrid(700.0)
    for place in [*places(15, 4), (0.0, 89.0), (179.9, 0.0), (10.0, -89.9)]:
        for cell in cells.around(*place, 900.0)[:6]:
            band, bin_ = cell
            steps = [step / 60 for step in range(61)]
            nearest = min(
                km_between(place, ((bin_ + x) / cells.bins(band) * 360 - 180, (band + y) / cells.bands * 180 - 90))
                for x in steps
                for y in steps
            )
            assert cells.km_to(*place, cell) == pytest.approx(nearest, abs=15)
            assert cells.km_to(*place, cell) <= nearest + 1e-6


def pair(**known: object) -> Pair:
    return Pair("a", None, None, **known)  # type: ignore[arg-type]


def test_a_pair_keeps_its_own_split_then_its_block_then_its_id() -> None:
    assert assign_split(pair(split="val", longitude=8.0, latitude=50.0)) == "val"
    assert assign_split(pair(longitude=9.0, latitude=50.0)) == block_split(9.0, 50.0) != hash_split("a")
    assert assign_split(pair()) == hash_split("a")


def test_a_buffer_leaves_places_out_at_borders() -> None:
    splits = {block_split(lon / 100, 50.0, buffer_km=2.0) for lon in range(0, 2000, 7)}
    assert splits == {None, "train", "val", "test"}


@pytest.mark.parametrize("place", [(181.0, 0.0), (0.0, -90.5), (math.nan, 0.0), (0.0, math.inf)])
def test_places_off_the_globe_are_refused(place: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="-180 to 180"):
        block_split(*place)


def test_senseless_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="block_km"):
        block_split(0, 0, block_km=0)
    with pytest.raises(ConfigError, match="buffer_km"):
        block_split(0, 0, buffer_km=-1)
