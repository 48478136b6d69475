"""Names of earlier versions work for one minor version and say the new name; what is no more says what to type."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import earthtone
from earthtone.cli import main
from earthtone.errors import ConfigError, RenamedWarning
from earthtone.train.recipe import TrainConfig
from earthtone.train.recipe_file import load_recipe, recipe_from_dict
from earthtone.value_types import Removed, Renamed


@pytest.fixture(autouse=True)
def nothing_else_warns() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def older_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the next version had renamed a key of the recipe, and dropped one."""
    section = {"lr": Renamed("learning_rate", "0.9.0"), "steps": Removed("set train.epochs")}
    monkeypatch.setattr(TrainConfig, "former", section, raising=False)


def test_arguments_that_were_renamed_work_and_point_at_the_call(tiny_pairs: Path) -> None:
    with pytest.warns(RenamedWarning, match=r"check\(source_path=\) is check\(data=\) now; .* 0\.3\.0") as told:
        found = earthtone.check(source_path=tiny_pairs)  # type: ignore[call-arg]
    assert found.ok and told[0].filename == __file__
    with pytest.warns(RenamedWarning, match="headers_only="):
        earthtone.check(tiny_pairs, decode=False)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="both are given"):
        earthtone.check(tiny_pairs, decode=False, headers_only=True)  # type: ignore[call-arg]


def test_arguments_that_are_no_more_say_what_to_give() -> None:
    with pytest.raises(ConfigError, match=r"evaluate_probe\(probe=\) is no option any more; .* method=, shots="):
        earthtone.evaluate_probe("random:resnet18", "scenes", probe=None)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="probe_label="):
        earthtone.sweep("pairs.csv", "out", measure=None)  # type: ignore[call-arg]


def test_a_function_that_was_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(earthtone._RENAMED, "look_at", ("check", "0.9.0"))
    with pytest.warns(RenamedWarning, match=r"earthtone\.look_at is earthtone\.check now; .* 0\.9\.0") as told:
        found = earthtone.look_at
    assert found is earthtone.check and told[0].filename == __file__
    assert "look_at" not in dir(earthtone)


RENAMING = """
import sys
from earthtone.cli import main
from earthtone.options import ToyworldOptions
from earthtone.value_types import Removed, Renamed
ToyworldOptions.former = {"places": Renamed("rows", "0.9.0"), "planet": Removed("choose --seed")}
sys.exit(main())
"""


def test_an_option_on_the_command_line(tmp_path: Path) -> None:
    def run(*words: str) -> tuple[int, list[str]]:
        always = ["toyworld", "--out", str(tmp_path / "world"), "--seconds", "1", "--pixels", "16"]
        ended = subprocess.run([sys.executable, "-c", RENAMING, *always, *words], capture_output=True, text=True)
        return ended.returncode, [line for line in ended.stderr.splitlines() if "--p" in line]

    assert run("--places", "1") == (0, ["--places is --rows now; the old name goes in earthtone 0.9.0"])
    assert len((tmp_path / "world" / "manifest.csv").read_text().splitlines()) == 2
    assert run("--places=1", "--quiet") == (0, [])
    assert run("--planet", "3") == (2, ["earthtone: --planet is no option any more; choose --seed"])


@pytest.mark.usefixtures("older_names")
def test_a_key_of_a_recipe_in_python(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {lr: 0.002}\n")
    with pytest.warns(RenamedWarning, match=r"train\.lr is train\.learning_rate now"):
        assert load_recipe(recipe).train.learning_rate == 0.002
    with pytest.warns(RenamedWarning):
        assert load_recipe(recipe, {"train.lr": 0.003}).train.learning_rate == 0.003
    with pytest.warns(RenamedWarning):
        assert recipe_from_dict({"train": {"lr": 0.004}}, "here").train.learning_rate == 0.004
    with pytest.raises(ConfigError, match=r"train\.steps is no option any more; set train\.epochs"):
        load_recipe("default", {"train.steps": 3})


@pytest.mark.usefixtures("older_names")
def test_a_key_of_a_recipe_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train: {lr: 0.002}\n")
    words = ["pretrain", str(tmp_path / "none.csv"), "--recipe", str(recipe), "--out", str(tmp_path / "run")]
    assert main([*words, "--train.lr", "0.003"]) == 2
    assert caplog.messages == [
        "train.lr is train.learning_rate now; the old name goes in earthtone 0.9.0",
        "--train.lr is --train.learning_rate now; the old name goes in earthtone 0.9.0",
    ]
    assert main([*words, "--train.steps", "3"]) == 2
    assert "--train.steps is no option any more; set train.epochs" in capsys.readouterr().err
