"""Training that is told metres a pixel: batches, weights, exact resume, and what is refused."""

import csv
import logging
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pytest
import torch

from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.encode.engine import embed_rows
from earthtone.errors import ConfigError
from earthtone.models.encoders import warn_of_unknown_gsd
from earthtone.models.storage import load_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig
from earthtone.train.fit import fit
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import Recipe


def told(manifest: Path, gsd_m: Callable[[int], object], out: Path, signal: SignalConfig) -> Path:
    """The table of a manifest with metres a pixel for each row."""
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    with (manifest.parent / f"{out.stem}.csv").open("w", newline="") as file:
        written = csv.DictWriter(file, [*rows[0], "image_gsd_m"])
        written.writeheader()
        written.writerows({**row, "image_gsd_m": gsd_m(n)} for n, row in enumerate(rows))
    return pack(manifest.parent / f"{out.stem}.csv", out, signal=signal).path


@pytest.fixture(scope="module")
def scaled_table(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of 0.25, 0.5, 1 and 2 m a pixel in turn; every eighth is unknown."""
    out = tmp_path_factory.mktemp("scaled") / "scaled.lance"
    return told(tiny_pairs, lambda n: "" if n % 8 == 7 else 0.25 * 2 ** (n % 4), out, tiny_signal)


@pytest.fixture
def scaled(tiny_recipe: Recipe) -> Recipe:
    return replace(tiny_recipe, model=replace(tiny_recipe.model, scale_input=True))


def test_batches_carry_each_rows_metres(scaled_table: Path, scaled: Recipe, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(scaled_table)
    rows = table.rows_of("train")
    whole = replace(scaled, augment=replace(scaled.augment, crop_area=(1.0, 1.0)))
    batch = next(iter(TrainLoader(table, rows, whole)))
    side = table.signal.image.pixels
    assert batch.image.shape == (4, side, side, 4)
    sides = np.array(table.column("tile_side_m"), float)
    sides[np.isnan(sides)] = np.nanmedian(sides[rows])
    expected = np.round(16 * np.log2(sides[batch.rows.numpy()] / side) + 96)
    np.testing.assert_array_equal(batch.image[:, 0, 0, 3], expected)
    assert (batch.image[..., 3] == batch.image[:, :1, :1, 3]).all()
    unknown = int(np.isnan(np.array(table.column("tile_side_m"), float)[rows]).sum())
    assert unknown and f"image_gsd_m of {unknown} of {len(rows)} training images is unknown" in caplog.text


def test_colours_are_those_of_before(scaled_table: Path, scaled: Recipe, tiny_recipe: Recipe) -> None:
    table = Table(scaled_table)
    rows = table.rows_of("train")
    for one, other in zip(TrainLoader(table, rows, scaled), TrainLoader(table, rows, tiny_recipe), strict=True):
        assert torch.equal(one.image[..., :3], other.image) and torch.equal(one.audio, other.audio)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_a_training_stops_and_goes_on_bit_for_bit(
    scaled_table: Path, scaled: Recipe, tmp_path: Path, chunk: int | None
) -> None:
    recipe = replace(scaled, train=replace(scaled.train, epochs=2, chunk_size=chunk, keep="last"))
    table = Table(scaled_table)
    calls = iter([True])

    def interrupted(model: TwoTower, opened: Table, rows: np.ndarray) -> dict[str, float]:
        if next(calls, False):
            os.kill(os.getpid(), signal.SIGINT)
        return {"score": 0.0}

    fit(table, recipe, tmp_path / "whole")
    first = fit(table, recipe, tmp_path / "parts", validate=interrupted)
    assert first.stopped_by == "SIGINT" and not first.finished
    assert fit(table, recipe, tmp_path / "parts", resume=True, validate=interrupted).finished
    one, other = (load_model(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert float(one.usual_side_m) == np.float32(np.nanmedian(table.tile_sides_m[table.rows_of("train")]))


def test_the_model_is_told(scaled_table: Path, scaled: Recipe, tmp_path: Path) -> None:
    table = Table(scaled_table)
    recipe = replace(scaled, train=replace(scaled.train, epochs=1))
    fit(table, recipe, tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert model.config.scale_input and model.image_tower.encoder.conv1[0].weight.shape[1] == 4  # type: ignore[index,union-attr]
    tile = np.full((40, 40, 3), 90, np.uint8)
    near, far, usual, unknown = model.embed_tiles([tile] * 4, sides_m=[4.0, 400.0, float(model.usual_side_m), None])
    assert not np.allclose(near, far, atol=1e-4)
    np.testing.assert_array_equal(usual, unknown)
    assert embed_rows(model, table, table.rows_of("test"))[0].shape == (4, 16)


def test_resume_on_other_metres_is_refused(
    scaled_table: Path, scaled: Recipe, tmp_path: Path, tiny_pairs: Path, tiny_signal: SignalConfig
) -> None:
    recipe = replace(scaled, train=replace(scaled.train, epochs=1))
    fit(Table(scaled_table), recipe, tmp_path / "run")
    other = Table(told(tiny_pairs, lambda n: 3.0, tmp_path / "other.lance", tiny_signal))
    assert other.fingerprint == Table(scaled_table).fingerprint
    with pytest.raises(ConfigError, match=r"--resume with something else .*data: "):
        fit(other, recipe, tmp_path / "run", resume=True)


def test_no_row_knows_its_metres(tiny_table: Path, scaled: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image_gsd_m is known of no training image; .*give a column image_gsd_m"):
        fit(Table(tiny_table), scaled, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_table_of_before_trains_and_embeds_but_without_scale(
    scaled_table: Path, scaled: Recipe, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = tmp_path / "old.lance"
    shutil.copytree(scaled_table, old)
    lance.dataset(str(old)).drop_columns(["tile_side_m"])
    table = Table(old)
    assert not table.has_column("tile_side_m") and np.isnan(table.tile_sides_m).all()
    assert table.fingerprint == Table(scaled_table).fingerprint and table.extra_columns == ("label",)
    with pytest.raises(ConfigError, match=r"packed before .* pack again with earthtone pack DATA --out NEW.lance"):
        fit(table, scaled, tmp_path / "run")
    assert fit(table, replace(tiny_recipe, train=replace(tiny_recipe.train, epochs=1)), tmp_path / "plain").finished
    warn_of_unknown_gsd.cache_clear()  # it is told once a process, and another test may have been first
    with caplog.at_level(logging.WARNING):
        assert np.isfinite(embed_rows(TwoTower(scaled.model, table.signal), table, table.rows_of("test"))[0]).all()
    assert "metres a pixel of pictures are unknown" in caplog.text
