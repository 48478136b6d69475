"""Packing keeps the metres along a tile, where they are known."""

from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest
from PIL import Image
from tests.data.test_pack import head

from earthtone.data.pack import pack
from earthtone.data.table import Table
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
    assert len(table) == 4 and not table.tells_scale and np.isnan(table.tile_sides_m).all()


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
