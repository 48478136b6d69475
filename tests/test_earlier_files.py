"""Files that an earlier version wrote open still: a packed table, a finished run, a stopped one, a recipe.

`tests/earlier` was written by version 0.1.0 when the package still had 340 modules: 12 pairs of `write_pairs`, packed
and trained on with `test_efficientnet` encoders; `stopped` ended with a signal after 2 of 4 steps; `vectors.json` has
the vectors of the first three pairs.
"""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from earthtone import load_model, load_recipe
from earthtone.cli import main
from earthtone.data.packed import Table
from earthtone.embed.engine import embed_rows
from earthtone.train.fit import fit

EARLIER = Path(__file__).parent / "earlier"


def test_a_table_and_a_model_give_the_same_vectors() -> None:
    table = Table(EARLIER / "table.lance")
    expected = json.loads((EARLIER / "vectors.json").read_text())
    image, audio = embed_rows(load_model(EARLIER / "run"), table, np.arange(3))
    # processors round differently, so the last digits are not asked for
    np.testing.assert_allclose(image, expected["image"], atol=2e-3)
    np.testing.assert_allclose(audio, expected["audio"], atol=2e-3)


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(EARLIER / "stopped", run)
    recipe = load_recipe(str(run / "recipe.yaml"))
    done = fit(Table(EARLIER / "table.lance"), recipe, run, resume=True, validate=lambda *_: {"score": 0.0})
    assert done.finished
    assert done.progress.step == 4
    assert load_model(run).config == load_model(EARLIER / "run").config


def test_a_finished_run_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(EARLIER / "run", tmp_path / "run")
    words = ["evaluate", "retrieval", "--model", str(tmp_path / "run"), "--data", str(EARLIER / "table.lance")]
    assert main([*words, "--split", "train", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gallery"] == 8


def test_a_recipe_opens_with_every_section() -> None:
    recipe = load_recipe(str(EARLIER / "recipe.yaml"))
    stored = load_recipe(str(EARLIER / "run" / "recipe.yaml"))
    assert {field.name for field in fields(recipe)} == {field.name for field in fields(stored)}
    assert (recipe.train.epochs, recipe.train.learning_rate, recipe.augment.crop_area) == (2, 1e-3, (0.5, 1.0))
    assert stored.model.image_encoder == "test_efficientnet"
