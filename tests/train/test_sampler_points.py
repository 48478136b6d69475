"""Places as unit vectors: their products are cosines of angles on the globe; a lost place is named."""

from pathlib import Path

import numpy as np
import pytest

from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.errors import DataError
from earthtone.signal.config import SignalConfig
from earthtone.train.sampler import unit_points


def test_products_are_the_cosines_of_great_circles(tiny_table: Path) -> None:
    table = Table(tiny_table)
    points = unit_points(table, table.rows_of("all")).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-12)
    longitude, latitude = (np.radians(table.column(name)) for name in ("longitude", "latitude"))
    # spherical law of cosines
    expected = np.sin(latitude)[:, None] * np.sin(latitude) + np.cos(latitude)[:, None] * np.cos(latitude) * np.cos(
        longitude[:, None] - longitude
    )
    np.testing.assert_allclose(points @ points.T, expected, atol=1e-12)


def test_pairs_without_coordinates_are_counted_and_named(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    lines = tiny_pairs.read_text().splitlines()
    fields = lines[0].split(",")
    kept = [lines[0]]
    for number, line in enumerate(lines[1:7]):
        values = line.split(",")
        if number in (1, 3):
            values[fields.index("longitude")] = values[fields.index("latitude")] = ""
        for name in ("image", "audio"):
            values[fields.index(name)] = str(tiny_pairs.parent / values[fields.index(name)])
        kept.append(",".join(values))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(kept) + "\n")
    table = Table(pack(manifest, tmp_path / "t.lance", signal=tiny_signal, threads=1).path)
    with pytest.raises(DataError, match=r"2 of 6 training pairs have no coordinates \(pair-1, pair-3\).*loss.name"):
        unit_points(table, table.rows_of("all"))
    rows = np.array([0, 2])
    points = unit_points(table, rows)
    assert points.dtype == np.float64 and np.isfinite(points[rows]).all() and np.isnan(points[1]).all()
