"""Maps as programs of others read them."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from map_tiles import card_of, keep_model, unit_vectors, write_tiles, write_tone

from earthtone.atlas.map_queries import read_queries
from earthtone.atlas.maps import map_similarity
from earthtone.models.two_tower import TwoTower

pytestmark = pytest.mark.extras
SIDE = 70  # large enough for several overviews


def test_geotiffs_are_valid_and_the_table_opens(tmp_path: Path, tiny_model: TwoTower) -> None:
    """By rio-cogeo's validator, overviews against means of GDAL's kind, and by geopandas."""
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    geopandas = pytest.importorskip("geopandas")
    run = keep_model(tmp_path / "run", tiny_model)
    places = [(700_000.0 + 100 * column, 7_200_000.0 - 100 * row) for row in range(SIDE) for column in range(SIDE)]
    tiles = write_tiles(tmp_path / "tiles", card_of(tiny_model, run), places, unit_vectors(SIDE * SIDE, 16))
    sounds = [str(write_tone(tmp_path / f"{hz}.wav", hz)) for hz in (300, 2000)]
    found = map_similarity(sounds, tmp_path / "map", tiles=tiles)
    for name, path in found.files.items():
        if path.suffix != ".tif":
            continue
        valid, errors, warnings = cogeo.cog_validate(str(path), strict=True)
        assert valid and not errors and not warnings, (name, errors, warnings)
    with rasterio.open(found.files["300"]) as file:
        assert file.overviews(1) == [2, 4]
        half = file.read(1, out_shape=(SIDE // 2, SIDE // 2))
        whole = file.read(1)
    means = whole.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(half, means, atol=1e-5)
    table = geopandas.read_parquet(found.files["tiles"])
    assert table.crs.to_epsg() == 32721 and len(table) == SIDE * SIDE and (table.area == 100.0**2).all()
    lonlat = table.to_crs(4326).geometry.centroid
    np.testing.assert_allclose(lonlat.x, table.longitude, atol=1e-6)


def test_sounds_called_as_a_map_s_own_files_have_other_names() -> None:
    found = read_queries(["likeliest.wav", "page.wav", "surf.wav", "a/surf.wav", "../../etc/x.wav"])
    assert [each.slug for each in found] == ["likeliest-2", "page-2", "surf", "surf-2", "x"]
