import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.toyworld import LAND_COVER, Planet
from earthtone.build.toyworld.planet import BLOCK_DEGREES, MARGIN_DEGREES, SCENE_SHARES, scene, split_of, spot
from earthtone.errors import ConfigError

PLANET = Planet(0)
#: A place of each class, found by the planet itself.
SPOTS = [spot(PLANET, row, 256.0) for row in range(36)]


def digest(array):
    little_endian = array.astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.tobytes()).hexdigest()[:24]


#: By row: place, land cover, picture, sound.
STORED = {
    0: [
        "154.376999 -3.692159 water",
        "4fe7b59af6de3b665b67788c",
        "c854eb1f1fbb43d539254ce4",
        "818851fa1d615bf71d49f26d",
    ],
    1: [
        "154.377461 -3.691317 water",
        "4fe7b59af6de3b665b67788c",
        "5ac52bd9c090858e114b7232",
        "aa6a8d3ac66adb091ca79301",
    ],
    2: [
        "141.036320 -18.635994 wetland",
        "557e0414c3308b407c134701",
        "7ed42da3bd6eb15095443ca0",
        "9147136009b44ade769a5bab",
    ],
    3: [
        "-61.935005 -22.381565 grassland",
        "891c566cbc5ae8cc5ab7b432",
        "19f603e25217554a841a2ffb",
        "3c1f348ab60d7ee9df641dae",
    ],
    4: [
        "-90.420375 -23.243968 forest",
        "fd6fc61af5a55ff8d8cc13f1",
        "150830c1c7541dad150badc6",
        "c945be6127375bb487ee5817",
    ],
    5: [
        "-43.243990 -9.844629 farmland",
        "ce39c5b209b0db5b75ad5e6b",
        "bc7b1247d72fb725b37d20ba",
        "f97a838b700e1a80eadd3015",
    ],
    6: [
        "42.046538 -40.180989 bare",
        "042068f0c04f47c65622a997",
        "26e8499b182f4de93aac9eef",
        "416c4ca05adc8771eae0ce3a",
    ],
    7: [
        "-53.958768 0.493690 village",
        "b2040833d24a5c24ad4506eb",
        "eda548ea472791f366295c82",
        "6931a6899823038579de7a08",
    ],
    8: ["-84.495983 1.794325 city", "e5e2f50d2bf58c000e5dea6a", "47a7180db83e92f0cccd8d4c", "75393f34c6b86aecf046d81d"],
    9: [
        "-21.822078 -33.971538 road",
        "43d1bb11a001beca57e8c2db",
        "4579e0e9b046006eacc0bd3c",
        "88c8cdac6c459959015a9543",
    ],
    10: [
        "92.512381 16.693084 rail",
        "4af2d01c9c21607135e0ce35",
        "ecc093847f5197a9ab7a325a",
        "9147708e7b2997a42863de55",
    ],
    11: [
        "-101.498372 26.493005 airfield",
        "117ae58baca1ff2fa73626eb",
        "1375ae00406e9bfa8b9cbb6c",
        "d9fb04281ca688ccc903fa36",
    ],
}


@pytest.mark.parametrize("row", range(12))
def test_bytes_are_those_of_every_other_machine(row):
    place = SPOTS[row]
    where = (place.longitude, place.latitude)
    found = [
        f"{place.longitude:.6f} {place.latitude:.6f} {place.label}",
        digest(PLANET.land_cover(*where)),
        digest(PLANET.tile(*where, variant_seed=row)),
        digest(PLANET.soundscape(*where, hour=2.0 * row, seconds=2.0, hz=16_000, seed=row)),
    ]
    assert found == STORED[row]


def test_shapes_and_types():
    cover = PLANET.land_cover(10.0, 20.0, pixels=40)
    assert cover.shape == (40, 40) and cover.dtype == np.uint8 and cover.max() < len(LAND_COVER)
    tile = PLANET.tile(10.0, 20.0, pixels=40)
    assert tile.shape == (40, 40, 3) and tile.dtype == np.uint8
    sound = PLANET.soundscape(10.0, 20.0, hour=8.0, seconds=0.5, hz=8_000)
    assert sound.shape == (4_000,) and sound.dtype == np.int16 and np.abs(sound.astype(int)).max() > 1_000


@pytest.mark.parametrize("row", range(0, 24))
def test_overlapping_tiles_show_the_same_ground(row):
    place = SPOTS[row]
    pixels, size_m, shift = 64, 256.0, 20
    # 20 pixels east on the map
    degrees = shift * size_m / pixels * 360 / 40_075_016.685578488 / np.cos(np.radians(place.latitude))
    here = PLANET.land_cover(place.longitude, place.latitude, size_m=size_m, pixels=pixels)
    east = PLANET.land_cover(place.longitude + degrees, place.latitude, size_m=size_m, pixels=pixels)
    assert (here[:, shift:] == east[:, :-shift]).mean() > 0.999


def test_north_is_row_0_and_tiles_meet():
    place = SPOTS[5]
    degrees = 64 * 2.0 * 360 / 40_075_016.685578488
    whole = PLANET.land_cover(place.longitude, place.latitude, size_m=256.0, pixels=128)
    north = PLANET.land_cover(place.longitude, place.latitude + degrees / 2, size_m=128.0, pixels=64)
    assert (whole[:64, 32:96] == north).mean() > 0.995


def test_longitude_180_has_no_seam():
    a = PLANET.land_cover(180.0, 10.0, size_m=50_000.0, pixels=64)
    b = PLANET.land_cover(-180.0, 10.0, size_m=50_000.0, pixels=64)
    np.testing.assert_array_equal(a, b)


def test_planets_differ_and_all_classes_exist():
    found = {place.label for place in SPOTS}
    assert found == set(LAND_COVER)
    other = Planet(1).land_cover(10.0, 20.0, size_m=1e6)
    assert (PLANET.land_cover(10.0, 20.0, size_m=1e6) != other).mean() > 0.1


@pytest.mark.parametrize("place", SPOTS)
def test_labels_match_the_mask(place):
    cover = PLANET.land_cover(place.longitude, place.latitude)
    share = np.bincount(cover.ravel(), minlength=12) / cover.size
    least = {LAND_COVER[number]: part for number, part in SCENE_SHARES}
    # The label looks at fewer pixels, so allow for a line near its threshold.
    assert share[LAND_COVER.index(place.label)] >= 0.7 * least.get(place.label, 0.15)


def test_scene_prefers_what_tells_most():
    cover = np.full((20, 20), LAND_COVER.index("forest"), dtype=np.uint8)
    assert scene(cover) == "forest"
    cover[0] = LAND_COVER.index("rail")
    assert scene(cover) == "rail"
    cover[1:4] = LAND_COVER.index("airfield")
    assert scene(cover) == "airfield"


def test_variants_change_the_picture_and_not_the_ground():
    place = SPOTS[5]
    first = PLANET.tile(place.longitude, place.latitude, variant_seed=1)
    second = PLANET.tile(place.longitude, place.latitude, variant_seed=2)
    assert np.abs(first.astype(int) - second).mean() > 4
    np.testing.assert_array_equal(first, PLANET.tile(place.longitude, place.latitude, variant_seed=1))


def test_hours_and_takes_differ():
    place = next(place for place in SPOTS if place.label == "forest")

    def sound(hour, seed=0):
        return PLANET.soundscape(place.longitude, place.latitude, hour=hour, seconds=2.0, hz=16_000, seed=seed)

    assert (sound(6.0) != sound(1.0)).any() and (sound(6.0) != sound(6.0, seed=1)).any()
    np.testing.assert_array_equal(sound(6.0), sound(6.0))


def test_birds_sing_at_dawn():
    """Over many takes, the birds' band carries more of the sound at dawn than at night."""
    place = next(place for place in SPOTS if place.label == "forest")

    def band(hour):
        shares = []
        for seed in range(30):
            sound = PLANET.soundscape(place.longitude, place.latitude, hour=hour, seconds=2.0, hz=16_000, seed=seed)
            power = np.abs(np.fft.rfft(sound.astype(float))) ** 2
            hz = np.fft.rfftfreq(len(sound), 1 / 16_000)
            shares.append(power[(hz > 2_000) & (hz < 7_000)].sum() / power.sum())
        return np.mean(shares)

    assert band(6.0) > 1.5 * band(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"longitude": 400.0, "latitude": 0.0}, "longitude 400"),
        ({"longitude": float("nan"), "latitude": 0.0}, "longitude nan"),
        ({"longitude": 0.0, "latitude": 85.1}, r"latitude 85\.1 is not in -85 to 85"),
        ({"longitude": 0.0, "latitude": float("nan")}, "latitude nan"),
        ({"longitude": 0.0, "latitude": 0.0, "size_m": 0.0}, "size_m 0"),
        ({"longitude": 0.0, "latitude": 0.0, "pixels": 0}, "pixels 0"),
    ],
)
def test_squares_off_the_map_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        PLANET.land_cover(**options)
    with pytest.raises(ConfigError, match=message):
        PLANET.tile(**options)


@pytest.mark.parametrize("options", [{"hour": 25.0}, {"hour": 8.0, "seconds": 0.0}, {"hour": 8.0, "hz": 10}])
def test_impossible_recordings_are_refused(options):
    with pytest.raises(ConfigError):
        PLANET.soundscape(0.0, 0.0, **options)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_some_places_are_visited_again():
    planet = Planet(0)
    spots = [spot(planet, row, 256.0) for row in range(60)]
    near = sum(
        any(abs(a.longitude - b.longitude) < 0.005 and abs(a.latitude - b.latitude) < 0.005 for b in spots[:k])
        for k, a in enumerate(spots)
    )
    assert 1 <= near <= 15
