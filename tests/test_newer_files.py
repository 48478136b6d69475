"""Files of a later earthtone are refused in one line that says what they are and what to do, and stay as they are."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from earthtone.cli import main
from earthtone.data.pack import pack
from earthtone.errors import FormatError, NewerFormatError
from earthtone.files import FORMATS, format_of
from earthtone.signal.config import SignalConfig
from earthtone.studies.reproduce_units import StepResult, Unit, read_step
from earthtone.train.recipe_file import load_recipe

EARLIER = Path(__file__).parent / "earlier"
BEFORE = EARLIER / "before_formats"
RECIPE = str(EARLIER / "recipe.yaml")

Refused = Callable[[str, Path, list[str]], None]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """A function (kind, file, words) that holds that the command line refuses a newer file of that kind."""

    def check(kind: str, file: Path, words: list[str]) -> None:
        before = file.read_bytes() if file.is_file() else b""
        capsys.readouterr()
        assert main(words) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        said = re.sub(r"[^\n]*\r", "", lines[-1])
        assert re.search(rf"{kind} of format 99, but earthtone \S+ reads formats up to {FORMATS[kind]}; install", said)
        assert str(file.with_suffix("")) in said
        assert not file.is_file() or file.read_bytes() == before

    return check


def newer(file: Path) -> Path:
    """Let a JSON file say that it is of the future."""
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    return file


def newer_header(file: Path, name: str) -> Path:
    """The same of the header of a safetensors file."""
    with safe_open(file, "pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no iterator there
        header = opened.metadata()
    save_file(tensors, file, {**header, name: json.dumps({**json.loads(header[name]), "format": 99})})
    return file


def test_a_table(tmp_path: Path, tiny_pairs: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    with monkeypatch.context() as later:
        later.setitem(FORMATS, "packed table", 99)  # type: ignore[arg-type]
        pack(tiny_pairs, tmp_path / "new.lance", signal=SignalConfig(), need="either")
    refused("packed table", tmp_path / "new.lance", ["check", str(tmp_path / "new.lance")])


def test_a_seal_also_when_rows_are_added(tmp_path: Path, tiny_pairs: Path, refused: Refused) -> None:
    table = tmp_path / "table.lance"
    shutil.copytree(BEFORE / "table.lance", table)
    newer(table / "earthtone.json")
    said = (table / "earthtone.json").read_text()
    for words in (["check", str(table)], ["pack", str(tiny_pairs), "--out", str(table), "--recipe", RECIPE]):
        refused("seal of a packed table", table, words)
    assert (table / "earthtone.json").read_text() == said


def test_a_recipe(tmp_path: Path, refused: Refused) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("format: 99\ntrain: {a_later_option: 3}\n")
    refused("recipe", recipe, ["pretrain", "pairs.csv", "--recipe", str(recipe), "--out", str(tmp_path / "run")])
    recipe.write_text(load_recipe(RECIPE).to_yaml())
    assert recipe.read_text().startswith("format: 1\n") and load_recipe(recipe) == load_recipe(RECIPE)


def test_a_run_and_its_checkpoint(tmp_path: Path, refused: Refused) -> None:
    for file, kind in (("run.json", "run"), ("checkpoint.safetensors", "checkpoint")):
        run = tmp_path / kind
        shutil.copytree(EARLIER / "stopped", run)
        changed = newer(run / file) if kind == "run" else newer_header(run / file, "earthtone_checkpoint")
        words = ["pretrain", str(EARLIER / "table.lance"), "--recipe", str(run / "recipe.yaml"), "--out", str(run)]
        refused(kind, changed, [*words, "--resume"])


def test_a_model_and_a_backbone(tmp_path: Path, class_folder: Path, refused: Refused) -> None:
    shutil.copytree(BEFORE / "run", tmp_path / "run")
    shutil.copytree(BEFORE / "backbone", tmp_path / "backbone")
    model = newer_header(tmp_path / "run" / "model.safetensors", "earthtone")
    backbone = newer_header(tmp_path / "backbone" / "backbone.safetensors", "earthtone_backbone")
    table = str(BEFORE / "table.lance")
    refused("model", model, ["evaluate", "retrieval", "--model", str(tmp_path / "run"), "--data", table])
    refused("backbone", backbone, ["evaluate", "probe", "--model", str(backbone), "--data", str(class_folder)])


@pytest.mark.slow
def test_kept_features_and_results_of_a_suite(
    tmp_path: Path, write_classes: Callable[..., Path], capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    write_classes(tmp_path / "data" / "eurosat", 10)
    suite = tmp_path / "suite"
    words = ["evaluate", "suite", "--models", "random:test_efficientnet", "--data_root", str(tmp_path / "data")]
    words += ["--tasks", "probe", "--pixels", "32", "--out", str(suite)]
    assert main(words) == 0
    for kind, folder in (("result of a task", "results"), ("view of features", "why")):
        (file,) = (suite / folder).glob("*.json")
        said = file.read_text()
        assert json.loads(said)["format"] == FORMATS[kind]
        refused(kind, newer(file), words)
        file.write_text(said)
    (features,) = (suite / "features").glob("*.json")
    assert json.loads(features.read_text())["format"] == FORMATS["kept features"]
    newer(features)
    probe = ["evaluate", "probe", "--model", "random:test_efficientnet", "--data", str(tmp_path / "data" / "eurosat")]
    refused("kept features", features, [*probe, "--pixels", "32", "--cache", str(suite / "features")])


def test_a_seed_of_a_fine_tuning(tmp_path: Path, class_folder: Path, refused: Refused) -> None:
    words = ["evaluate", "finetune", "--model", "random:test_efficientnet", "--data", str(class_folder)]
    words += ["--epochs", "1", "--pixels", "32", "--out", str(tmp_path)]
    assert main(words) == 0
    refused("result of a seed", newer(tmp_path / "seed-0.json"), words)


def test_figures_of_a_sweep(tmp_path: Path, refused: Refused) -> None:
    run = tmp_path / "sweep" / "runs" / "plain" / "seed-0"
    shutil.copytree(BEFORE / "run", run)
    (tmp_path / "grid.yaml").write_text("seeds: [0]\nvariants:\n  plain: {}\n")
    words = ["sweep", str(BEFORE / "table.lance"), "--recipe", RECIPE, "--grid", str(tmp_path / "grid.yaml")]
    refused("figures of a run", newer(run / "sweep.json"), [*words, "--out", str(tmp_path / "sweep")])


def test_a_step_of_the_paper(tmp_path: Path) -> None:
    shutil.copytree(BEFORE / "steps", tmp_path / "steps")
    newer(tmp_path / "steps" / "retrieval-paper-honest.json")
    unit = Unit("retrieval", "paper", "honest", "the paper's own", "pairs", {"seed": 0}, lambda: StepResult("", {}, {}))
    with pytest.raises(NewerFormatError, match="result of a step of format 99"):
        read_step(tmp_path / "steps", unit)


def test_a_folder_that_was_fetched(tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(BEFORE / "fetched", tmp_path / "eurosat")
    record = newer(tmp_path / "eurosat" / "checksums.json")
    refused("record of downloads", record, ["fetch", "eurosat", "--out", str(tmp_path / "eurosat")])


def test_a_table_of_embeddings(
    tmp_path: Path, class_folder: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    words = ["embed", "--model", str(BEFORE / "run"), "--data", str(class_folder), "--out", str(tmp_path / "E")]
    with monkeypatch.context() as later:
        later.setitem(FORMATS, "embeddings", 99)  # type: ignore[arg-type]
        assert main(words) == 0
    table = tmp_path / "E" / "embeddings.lance"
    there = sorted((path, path.read_bytes()) for path in table.rglob("*") if path.is_file())
    refused("embeddings", table, words)
    assert sorted((path, path.read_bytes()) for path in table.rglob("*") if path.is_file()) == there


@pytest.mark.parametrize("odd", ["1", None, True, 1.0, -1, [1], {}])
def test_what_is_no_version_is_a_damaged_file(odd: object) -> None:
    with pytest.raises(FormatError, match="a whole number") as error:
        format_of({"format": odd}, "run", "run.json")
    assert not isinstance(error.value, NewerFormatError)


def test_a_huge_version_is_one_short_line() -> None:
    values: Mapping[str, Any] = {"format": 10**3000}
    with pytest.raises(NewerFormatError) as error:
        format_of(values, "run", "run.json")
    assert len(str(error.value)) < 150


def test_the_page_lists_every_format() -> None:
    page = (EARLIER.parents[1] / "docs" / "stability.md").read_text()
    said = dict(re.findall(r"^\| ([a-z ]+) \| (\d+) \|", page, re.MULTILINE))
    assert said == {kind: str(version) for kind, version in FORMATS.items()}
