"""Packing keeps the metres along a tile, where they are known."""

from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from tests.data.test_pack import head

from earthtone.data.check import check
from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.signal.config import SignalConfig


@pytest.mark.parametrize(
    ("size", "gsd_m", "footprint_m", "side_m"),
    [
        ((100, 80), 0.5, None, 40.0),  # the centre square of 80 pixels, stored at 40
        ((30, 30), 2.0, None, 60.0),  # smaller than what is stored
        ((1000, 640), 0.25, None, 160.0),  # decoded at a fraction of its size
        ((100, 80), 0.5, 20.0, 20.0),
        ((100, 80), 0.5, 90.0, 40.0),  # more than there is
        ((100, 80), 0.6, 20.0, 33 * 0.6),  # 20 / 0.6 in whole pixels
        ((100, 80), "", None, None),
    ],
)
def test_metres_along_a_tile(
    pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, size: tuple[int, int], gsd_m: float | str,
    footprint_m: float | None, side_m: float | None,
) -> None:  # fmt: skip
    Image.new("RGB", size, (9, 99, 9)).save(pairs.parent / "a.jpg")
    manifest = pairs.with_name("one.csv")
    manifest.write_text(f"id,image,audio,image_gsd_m\na,a.jpg,0.wav,{gsd_m}\n")
    signal = replace(tiny_signal, image=replace(tiny_signal.image, footprint_m=footprint_m))
    found = Table(pack(manifest, tmp_path / "t.lance", signal=signal).path).column("tile_side_m")
    assert found == [None if side_m is None else pytest.approx(side_m)]


def test_rows_are_added_to_a_table_of_before_it_kept_metres(
    pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = pack(head(pairs, 2), tmp_path / "t.lance", signal=tiny_signal).path
    lance.dataset(str(out)).drop_columns(["tile_side_m"])
    assert pack(head(pairs, 4), out, signal=tiny_signal).added == 2
    assert not caplog.records
    table = Table(out)
    assert len(table) == 4 and not table.has_column("tile_side_m") and np.isnan(table.tile_sides_m).all()


def test_metres_that_an_older_table_cannot_keep_are_told(
    pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = pairs.with_name("some.csv")
    rows = ["id,image,audio,image_gsd_m", "a,0.png,0.wav,", "b,1.png,1.wav,", "c,2.png,2.wav,0.5", "d,3.png,3.wav,2"]
    manifest.write_text("\n".join(rows[:2]) + "\n")
    out = pack(manifest, tmp_path / "t.lance", signal=tiny_signal).path
    lance.dataset(str(out)).drop_columns(["tile_side_m"])
    manifest.write_text("\n".join(rows) + "\n")
    assert pack(manifest, out, signal=tiny_signal).added == 3
    [told] = [record.getMessage() for record in caplog.records]
    assert "those of 2 added rows are lost; for model.scale_input pack all again" in told and str(out) in told


def deep_tiff(path: Path, values: NDArray[np.uint16], nodata: int | None = None) -> None:
    profile = {"count": 3, "height": values.shape[1], "width": values.shape[2], "dtype": "uint16", "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(values)


def test_check_and_pack_tell_the_same_of_pictures(pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    folder, rng, turn = pairs.parent, np.random.default_rng(0), Image.Exif()
    turn[274] = 8
    Image.fromarray(rng.integers(0, 256, (60, 50, 3), np.uint8)).save(folder / "small.png")
    Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)).save(folder / "turned.jpg", exif=turn)
    values = rng.integers(200, 3000, (3, 80, 80)).astype(np.uint16)
    values[:, :20] = 0
    deep_tiff(folder / "partly.tif", values, nodata=0)
    values[:, 20:60, 20:60] = 0  # all that is kept of it
    deep_tiff(folder / "hole.tif", values, nodata=0)
    rows = ["small.png,1", "turned.jpg,2", "partly.tif,3", "hole.tif,3"]
    manifest = pairs.with_name("some.csv")
    lines = [f"{row.split('.')[0]},{row[:-2]},0.wav,{row[-1]}" for row in rows]
    manifest.write_text("\n".join(["id,image,audio,image_gsd_m", *lines]) + "\n")
    image = replace(tiny_signal.image, footprint_m=120.0, value_range=(0, 3000))
    for stretched, config in enumerate((image, replace(image, value_range=None))):
        signal = replace(tiny_signal, image=config)
        checked = check(manifest, signal=signal)
        packed = pack(manifest, tmp_path / f"{stretched}.lance", signal=signal)
        expected = {"smaller than footprint": 1, "turned picture": 1, "partly empty picture": 1}
        expected |= {"stretched picture": 1} if stretched else {}
        assert packed.notes == expected == {kind: len(found) for kind, found in checked.notes.items()}
        assert packed.problems == {"broken image": 1} == {kind: len(found) for kind, found in checked.problems.items()}
    tables = [Table(tmp_path / f"{n}.lance") for n in (0, 1)]
    assert tables[0].signal.image.value_range == (0, 3000) and tables[1].signal.image.value_range is None
    assert tables[0].column("image_hash") != tables[1].column("image_hash")
