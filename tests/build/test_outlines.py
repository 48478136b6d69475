"""Outlines of land: what is land and what is sea, across 180 too; maps of places show it where it is fine enough."""

import io

import numpy as np
import pytest
import shapely
from PIL import Image

from earthtone.build import outlines
from earthtone.build.outlines import land_rings, land_rings_in
from earthtone.build.pictures import map_of_places
from earthtone.errors import DataError


def is_land(longitude: float, latitude: float) -> bool:
    """By counting rings around a point, as both outer rings and holes count once."""
    point = shapely.Point(longitude, latitude)
    around = land_rings_in(longitude, latitude, longitude, latitude)
    return sum(shapely.Polygon(ring).covers(point) for ring in around if len(ring) > 3) % 2 == 1


@pytest.mark.parametrize(
    ("place", "land"),
    [
        ((11.6, 48.1), True), ((-55.0, -10.0), True), ((134.0, -25.0), True), ((0.0, -85.0), True),
        ((-42.0, 72.0), True), ((-175.0, 66.7), True), ((185.0, 66.7), True), ((150.0, 66.0), True),
        ((-30.0, 40.0), False), ((51.0, 41.0), False), ((-150.0, 0.0), False), ((5.0, 56.0), False),
    ],
)  # fmt: skip
def test_land_is_land_and_sea_is_sea(place: tuple[float, float], land: bool) -> None:
    assert is_land(*place) == land  # (51, 41): the Caspian Sea, a hole


def test_rings_are_closed_and_of_the_earth() -> None:
    for ring in land_rings():
        np.testing.assert_allclose(ring[0], ring[-1], atol=1e-9)
        assert np.abs(np.diff(ring[:, 0])).max() < 180 or ring[:, 1].min() == -90  # no jump but at the pole
        assert np.abs(ring[:, 0]).max() <= 541 and np.abs(ring[:, 1]).max() <= 90.001


def test_a_box_beyond_180_has_both_sides() -> None:
    turned = land_rings_in(176, -20, 184, -15)  # Fiji
    assert turned and all(ring[:, 0].max() >= 176 and ring[:, 0].min() <= 184 for ring in turned)
    assert not land_rings_in(-30, -30, -29, -29)


def test_maps_of_places_show_land_but_for_small_ones() -> None:
    def brown(west: float, east: float) -> int:
        png = map_of_places({"places": (np.array([west, east]), np.array([0.0, 0.1 * (east - west)]))})
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        return int((pixels == (0xF0, 0xE9, 0xDC)).all(axis=2).sum())

    assert brown(12.0, 24.0) > 10_000 and brown(20.0, 20.1) == 0 and brown(-140.0, -130.0) == 0


def test_without_the_pages_land_it_is_told(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlines, "_FOLDER", tmp_path)
    land_rings.cache_clear()
    with pytest.raises(DataError, match="install earthtone again"):
        land_rings()
    land_rings.cache_clear()
