"""The region that the demo maps, and what its map is judged by."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from earthtone.build.toyworld.land import BEACH, LAND_COVER
from earthtone.build.toyworld.planet import Planet
from earthtone.build.toyworld.region import SOURCES, write_region, write_sounds
from earthtone.studies.toy_map import area_under_curve


def test_the_area_is_that_of_all_pairs() -> None:
    draw = np.random.default_rng(0)
    scores = draw.integers(0, 6, (5, 6)).astype(np.float32)
    truth = draw.integers(0, 2, (5, 6)).astype(np.float32)
    scores[0, 0], truth[1, 1] = np.nan, np.nan
    there = ~np.isnan(scores) & ~np.isnan(truth)
    pairs = [(a > b) + (a == b) / 2 for a in scores[there & (truth == 1)] for b in scores[there & (truth == 0)]]
    assert area_under_curve(scores, truth) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_curve(scores, np.zeros_like(truth)))


@pytest.mark.slow
def test_the_region_is_that_of_the_planet(tmp_path: Path) -> None:
    """Its raster, its truth, and the same again without a new painting."""
    region = write_region(tmp_path, side_m=2048.0, pixels=256)
    with rasterio.open(tmp_path / "land_cover.tif") as file:
        assert file.crs.to_epsg() == 3857 and file.transform.a == 8.0
        np.testing.assert_array_equal(file.read(1), region.cover)
        x, y = file.xy(100, 30)
    longitude, latitude = rasterio.warp.transform("EPSG:3857", "EPSG:4326", [x], [y])
    here = Planet(0).land_cover(longitude[0], latitude[0], size_m=0.01, pixels=1)
    assert here[0, 0] == region.cover[100, 30]
    before = region.raster.stat().st_mtime_ns
    again = write_region(tmp_path, side_m=2048.0, pixels=256)
    assert (again.west, again.north) == (region.west, region.north) and region.raster.stat().st_mtime_ns == before
    rows, columns = np.nonzero(region.cover == BEACH)
    assert len(rows)
    at = region.west + (columns[0] + 0.5) * 8, region.north - (rows[0] + 0.5) * 8
    assert region.has("surf", *at, 8.0) and not region.has("birds", *at, 8.0)
    sounds = write_sounds(tmp_path / "sounds", seconds=1.0)
    assert [*sounds] == [*SOURCES] and all(path.stat().st_size > 30_000 for path in sounds.values())
    assert "beach" in LAND_COVER
