"""The commands of docs/recordings.md, from the cards of three recorders to a map, in a folder of their own."""

import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyproj import Transformer
from rasterio.transform import from_origin
from rasters import noise_values, write_raster
from recorders import MOTH, PLACES, write_deployment

import earthtone
from earthtone.atlas.embeddings import open_embeddings
from earthtone.cli import main
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower

PAGE = Path(__file__).parents[3] / "docs" / "recordings.md"


@pytest.mark.slow
def test_from_cards_to_a_map(
    tmp_path: Path, tiny_model: TwoTower, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deployment(tmp_path)
    save_model(tmp_path / "model", tiny_model, {})
    east, north = Transformer.from_crs("OGC:CRS84", "EPSG:32633", always_xy=True).transform(*PLACES[MOTH])
    corner = from_origin(round(east) - 800, round(north) + 800, 10, 10)
    write_raster(tmp_path / "island.tif", noise_values(3, 160, 160), "EPSG:32633", corner)
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "cards").rglob("*") if path.is_file()}
    page = PAGE.read_text(encoding="utf-8").partition("## From cards to a map")[2]
    lines = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0].splitlines()
    assert len(lines) == 5
    for line in lines:
        said = main(shlex.split(line)[1:]), capsys.readouterr()
        assert said[0] == 0, (line, said[1].err)
    assert list((tmp_path / "map").glob("*.tif"))
    rows = {row["id"]: row for row in pq.read_table("recordings.parquet").to_pylist()}
    table = open_embeddings(tmp_path / "sounds")
    embedded = table.columns(["id", "start_s", "longitude", "seconds"]).to_pylist()
    # the clips of one file behind a header without a length are there, too
    assert {row["id"] for row in embedded} == set(rows) and np.isfinite(table.vectors()).all()
    assert {row["start_s"] for row in embedded if "070000" in row["id"]} == {0.0, 2.0, 4.0}
    assert all(row["longitude"] == rows[row["id"]]["longitude"] for row in embedded)
    assert {path: path.read_bytes() for path in (tmp_path / "cards").rglob("*") if path.is_file()} == before


def test_the_table_tells_places_of_tiles(tmp_path: Path) -> None:
    write_deployment(tmp_path)
    earthtone.recordings(tmp_path / "cards", tmp_path / "r.parquet", deployments=tmp_path / "deployments.csv")
    east, north = Transformer.from_crs("OGC:CRS84", "EPSG:32633", always_xy=True).transform(*PLACES[MOTH])
    corner = from_origin(round(east) - 400, round(north) + 400, 10, 10)
    write_raster(tmp_path / "island.tif", noise_values(3, 80, 80), "EPSG:32633", corner)
    result = earthtone.tiles(
        tmp_path / "tiles", raster=tmp_path / "island.tif", places=tmp_path / "r.parquet", metres=320, pixels=32
    )
    assert result.tiles == 6  # of the files whose header names the AudioMoth
