"""Files that an earlier version wrote open still: tables, runs, recipes, models, kept features, results of studies.

`tests/earlier` was written by version 0.1.0 when the package still had 340 modules: 12 pairs of `write_pairs`, packed
and trained on with `test_efficientnet` encoders; `stopped` ended with a signal after 2 of 4 steps; `vectors.json` has
the vectors of the first three pairs. `before_formats` was written by the last commit whose files did not all say their
format: the run is one of a sweep, beside it the results of a suite, a fine-tuning and a step of the paper.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from earthtone import fetch, load_model, load_recipe, open_backbone
from earthtone.cli import main
from earthtone.data.labelled.items import LabelledItem
from earthtone.data.packed import Table
from earthtone.encode.engine import embed_rows
from earthtone.encode.store import kept_features
from earthtone.errors import DataError
from earthtone.evaluate.results import read_task_result
from earthtone.studies.reproduce_units import StepResult, Unit, read_step
from earthtone.studies.suite_page import read_feature_view
from earthtone.train.fit import fit

EARLIER = Path(__file__).parent / "earlier"
BEFORE = EARLIER / "before_formats"


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


def test_a_run_from_before_formats_counts_as_done_in_its_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, run = tmp_path / "table.lance", tmp_path / "sweep" / "runs" / "plain" / "seed-0"
    shutil.copytree(BEFORE / "table.lance", table)
    shutil.copytree(BEFORE / "run", run)
    (tmp_path / "grid.yaml").write_text("seeds: [0]\nvariants:\n  plain: {}\n")
    words = ["sweep", str(table), "--recipe", str(EARLIER / "recipe.yaml"), "--grid", str(tmp_path / "grid.yaml")]
    assert main([*words, "--out", str(tmp_path / "sweep")]) == 0
    assert "1 runs, 1 of them done before" in capsys.readouterr().err


def test_a_model_from_before_formats_and_its_backbone_have_one_image_encoder() -> None:
    whole, alone = open_backbone(str(BEFORE / "run")), open_backbone(str(BEFORE / "backbone"))
    assert whole.fingerprint == alone.fingerprint
    assert (whole.pixels, whole.mean.tolist()) == (alone.pixels, alone.mean.tolist())
    assert len(Table(BEFORE / "table.lance")) == 12


def test_features_kept_before_formats_are_read_again() -> None:
    folder = BEFORE / "suite" / "features"
    key = json.loads(next(folder.glob("*.json")).read_text())["key"]

    def never(*_: object) -> Iterator[NDArray[np.float32]]:
        raise AssertionError("made again")

    items = [LabelledItem(f"{n}", "") for n in range(40)]
    values, notes, cached = kept_features(folder, key, items, never, 256, "image")
    assert (values.shape, notes, cached) == ((40, 256), {"broken": {}, "short": []}, True)


def test_results_of_before_formats_are_read() -> None:
    for file in (next((BEFORE / "suite" / "results").glob("*.json")), BEFORE / "finetune" / "result.json"):
        assert len(read_task_result(file).ids) == 8
    view = read_feature_view(next((BEFORE / "suite" / "why").glob("*.json")))
    assert view is not None and view["of"]
    unit = Unit("retrieval", "paper", "honest", "the paper's own", "pairs", {"seed": 0}, lambda: StepResult("", {}, {}))
    step = read_step(BEFORE / "steps", unit)
    assert step is not None and step.figures["R@1"].value == 0.5


def test_a_folder_that_was_fetched_before_formats_is_known(tmp_path: Path) -> None:
    shutil.copytree(BEFORE / "fetched", tmp_path / "fetched")
    with pytest.raises(DataError, match="holds the data set 'eurosat'"):
        fetch("ucmerced", tmp_path / "fetched")


def test_these_files_say_no_format_but_those_that_always_did() -> None:
    said = {path.name for path in BEFORE.rglob("*.json") if "format" in json.loads(path.read_text())}
    assert said == {"card.json", "earthtone.json", "retrieval-paper-honest.json"}
    assert "format" not in (BEFORE / "run" / "recipe.yaml").read_text()
