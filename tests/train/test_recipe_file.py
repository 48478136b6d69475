"""Recipes: shipped ones load, mistakes are named with what was meant, what was resolved reads back."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from earthtone.cli import main
from earthtone.errors import ConfigError
from earthtone.losses.queue import MemoryLoss
from earthtone.studies.pretrain import pretrain
from earthtone.train.lightning_module import recipe_loss
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig, TrainConfig, WithinConfig
from earthtone.train.recipe_file import check_recipe, load_recipe, recipe_from_dict, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_read_back(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "resolved.yaml"
    path.write_text(recipe.to_yaml())
    assert load_recipe(path) == recipe


def test_small_default_and_demo_are_shipped() -> None:
    assert {"small", "default", "demo"} <= set(shipped_recipes())


def test_nothing_said_is_the_default() -> None:
    assert recipe_from_dict({}, "test") == Recipe()


def test_overrides_win() -> None:
    recipe = load_recipe("small", {"train.epochs": 7, "model.image_encoder": "resnet50"})
    assert (recipe.train.epochs, recipe.model.image_encoder) == (7, "resnet50")


def test_options_go_with_the_name_of_their_loss(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "loss: {options: {temperature: 0.3}, twins: ignore}\ntrain: {views: 2}\n"
        "within: {name: simclr, options: {temperature: 0.2}, image_weight: 0.5}\n"
    )
    same = load_recipe(path, {"loss.name": "infonce", "within.name": "simclr"})
    assert (same.loss.options, same.within.options) == ({"temperature": 0.3}, {"temperature": 0.2})
    other = load_recipe(path, {"loss.name": "batch_triplet", "loss.options.margin": 0.5, "within.name": "none"})
    assert (other.loss.options, other.loss.twins, other.within) == ({"margin": 0.5}, "ignore", WithinConfig())


def test_a_number_that_is_the_name_of_a_choice_is_that_choice() -> None:
    assert recipe_from_dict({"train": {"precision": 32}}, "test").train.precision == "32"
    with pytest.raises(ConfigError, match=r"train\.precision is 16"):
        recipe_from_dict({"train": {"precision": 16}}, "test")


def test_yaml_numbers_become_floats() -> None:
    assert recipe_from_dict({"train": {"learning_rate": "1e-4"}}, "test").train.learning_rate == 1e-4
    assert recipe_from_dict({"augment": {"crop_area": [0.3, 1]}}, "test").augment.crop_area == (0.3, 1.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"train": {"epoch": 3}}, "unknown key train.epoch; did you mean train.epochs?"),
        ({"trian": {}}, "unknown key trian; did you mean train?"),
        ({"signal": {"audio": {"mel": 3}}}, "did you mean signal.audio.mels?"),
        ({"train": {"epochs": "many"}}, "many"),
        ({"train": 3}, "mapping"),
        ({"train": {"epochs": 0}}, "1 or more"),
        ({"train": {"batch_size": 1}}, "2 or more"),
        ({"train": {"seed": -1}}, "0 or more"),
        ({"train": {"chunk_size": 128}}, "1 to 127 expected"),
        ({"train": {"chunk_size": 0}}, "1 to 127 expected"),
        ({"train": {"momentum": 1.0}}, "0 to below 1"),
        ({"train": {"warmup_share": 5}}, "0 to 1"),
        ({"train": {"optimizer": "adam"}}, "weight_decay"),
        ({"signal": {"audio": {"floor_db": 50}}}, "ceiling_db"),
        ({"signal": {"image": {"jpeg_quality": 500}}}, "1 to 100"),
        ({"signal": {"image": {"pixels": 300}}}, "stored_pixels"),
        ({"train": {"schedule": "step"}}, "cosine or constant"),
        ({"loss": {"twins": "drop"}}, "mask, positive or ignore"),
        ({"augment": {"crop_ratio": [0, 1]}}, "0 < low <= high"),
        ({"augment": {"grid_distortion": 1.5}}, "0 to 1"),
        ({"augment": {"blur_sigma": -1}}, "0 or more"),
        ({"augment": {"hue_degrees": -1}}, "0 or more"),
        ({"train": {"windows": 0}}, "1 or more"),
        ({"model": {"windows": "max"}}, "mean or attention"),
        ({"model": {"sound_scale": "decibel"}}, "standard or soundingearth"),
        ({"model": {"windows": "attention"}}, "set train.windows to 2 or more"),
        ({"augment": {"crop_area": [1.0, 0.5]}}, "low <= high"),
        ({"augment": {"mix_share": 1.5}}, "0 to 1"),
        ({"augment": {"mix_db": [-20, -5]}}, "does nothing without an augment.mix_share"),
        ({"augment": {"mix_share": 0.5, "mix_db": [-5, 3]}}, "low <= high <= 0"),
        ({"augment": {"noise_db": [-20, -5]}}, "does nothing without an augment.noise_share"),
        ({"augment": {"noise_share": 0.5, "noise_db": [-5, -20]}}, "low <= high"),
        ({"augment": {"noise_share": 0.5, "noise_db": [float("nan"), -20]}}, "low <= high"),
    ],
)
def test_mistakes_are_named(values: dict, expected: str) -> None:
    with pytest.raises(ConfigError, match=r"my\.yaml") as caught:
        recipe_from_dict(values, "my.yaml")
    assert expected in str(caught.value) and str(caught.value).startswith("my.yaml: ")
    assert "\n" not in str(caught.value)


def test_unknown_recipe_lists_the_known_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'smal'; did you mean small\?.*default"):
        load_recipe("smal")


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "\t- x: ["])
def test_no_recipe_in_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_recipe(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_a_section_overrides_only_what_it_names() -> None:
    assert load_recipe("small", {"train": {"epochs": 3}}) == load_recipe("small", {"train.epochs": 3})
    nested = load_recipe("small", {"signal": {"image": {"view": 0.5}}, "loss": {"options": {"temperature": 0.5}}})
    assert nested == load_recipe("small", {"signal.image.view": 0.5, "loss.options": {"temperature": 0.5}})


def test_an_override_through_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="epochs is a value"):
        load_recipe("small", {"train.epochs": 3, "train.epochs.x": 3})


@pytest.mark.parametrize(
    "key", ["train.learning_rate", "train.clip_norm", "augment.hue_degrees", "augment.blur_sigma", "loss.twin_radius_m"]
)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_none_are_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        load_recipe("small", {key: value})


def leaves(section: type = Recipe, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and type of every option."""
    hints = get_type_hints(section)
    for entry in fields(section):
        key = f"{prefix}{entry.name}"
        if is_dataclass(hints[entry.name]):
            yield from leaves(hints[entry.name], f"{key}.")
        else:
            yield key, hints[entry.name]


def nested(key: str, value: Any) -> dict[str, Any]:
    *sections, last = key.split(".")
    values = {last: value}
    for section in reversed(sections):
        values = {section: values}
    return values


EVERY = dict(leaves())
NULLABLE = {key for key, hint in EVERY.items() if type(None) in get_args(hint)}


@pytest.mark.slow
def test_an_empty_value_is_null_or_refused() -> None:
    assert len(EVERY) > 85 and len(NULLABLE) > 15
    for key in EVERY:
        for empty in (None, "", " "):
            if key in NULLABLE:
                recipe: Any = recipe_from_dict(nested(key, empty), "my.yaml")
                for part in key.split("."):
                    recipe = getattr(recipe, part)
                assert recipe is None, key
                continue
            with pytest.raises(ConfigError) as caught:
                recipe_from_dict(nested(key, empty), "my.yaml")
            told = str(caught.value)
            assert told.startswith(f"my.yaml: {key} is empty; ") and told.endswith("leave it out for the default"), told


@pytest.mark.parametrize("value", [[None, None], {"a": None}, 10**400, [[1, 2], 3], b"x"])
def test_a_value_of_another_type_is_one_line(value: Any) -> None:
    for key in EVERY:
        if key in ("loss.options", "within.options") and isinstance(value, dict):
            continue
        with pytest.raises(ConfigError) as caught:
            recipe_from_dict(nested(key, value), "my.yaml")
        assert key in str(caught.value) and "\n" not in str(caught.value), (key, str(caught.value))


def test_python_gets_the_same_line() -> None:
    for key, value in (("batch_size", None), ("learning_rate", "x"), ("precision", ""), ("compile", 1)):
        recipe = Recipe(train=TrainConfig(**{key: value}))  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=rf"recipe: train\.{key} is (empty|'x'|1); .* expected"):
            check_recipe(recipe, "recipe")


@pytest.mark.parametrize("section", ["model", "signal", "train", "signal.audio", "within"])
def test_empty_sections_are_refused(section: str) -> None:
    for empty in (None, "", []):
        with pytest.raises(ConfigError, match=rf"my\.yaml: {section} is .*; a mapping of options expected, or leave"):
            recipe_from_dict(nested(section, empty), "my.yaml")
    assert recipe_from_dict(nested(section, {}), "my.yaml") == Recipe()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"name": "infonce", "options": {"temperature": None}},
            "loss.options: infonce: temperature is empty; 0.01 or more",
        ),
        ({"name": "siglip", "options": {"bias": ""}}, "loss.options: siglip: bias is empty; a finite number"),
        ({"options": {"learnable_temperature": 1}}, "is 1; true or false expected"),
        ({"options": {"robust_q": True}}, "is True; a number expected"),
        ({"options": {"tempreature": 1}}, "did you mean temperature?"),
        ({"name": "infonse"}, "my.yaml: loss.name: unknown loss: 'infonse'; did you mean infonce?"),
    ],
)
def test_options_of_a_loss(options: dict, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe_from_dict({"loss": options}, "my.yaml")
    assert expected in str(caught.value)
    recipe_from_dict({"loss": {"options": {"robust_lambda": None}}}, "my.yaml")  # may be null


@pytest.mark.parametrize("text", ["", "# nothing\n", "null", "[]", "false", "0", "''"])
def test_a_file_without_a_recipe_is_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "none.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"none\.yaml: .* found, a mapping of sections expected; {} for all defaults"):
        load_recipe(path)
    path.write_text("{}\n")
    assert load_recipe(path) == Recipe()


def test_recipes_are_read_and_checked_without_torch() -> None:
    """It is imported in seconds; a wrong option is refused at once."""
    script = """
import sys
sys.modules["torch"] = sys.modules["lance"] = None  # to import it is an error
from earthtone.errors import ConfigError
from earthtone.train.recipe_file import check_device, load_recipe, shipped_recipes
for name in shipped_recipes():
    check_device(load_recipe(name), "cpu")
load_recipe("default", {"within.name": "vicreg", "within.options.variance": 10.0, "train.views": 2})
for wrong in ({"train.epochs": 0}, {"loss.name": "infonse"}, {"loss.options.directions": 3}, {"sampler.ring_share": 2}):
    try:
        load_recipe("default", wrong)
    except ConfigError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert len(told) == 4 and all(line.startswith("default: ") for line in told), done.stdout


def with_loss(name: str, twins: str = "mask", **options: float) -> Recipe:
    recipe = Recipe(loss=LossConfig(name=name, options=dict(options), twins=twins))
    return replace(recipe, train=replace(recipe.train, batch_size=6), model=replace(recipe.model, dimensions=10))


def test_a_queue_gets_the_recipes_batch_size_and_dimensions() -> None:
    loss = recipe_loss(with_loss("SymmetricCLWithMemory", batches=3))
    assert isinstance(loss, MemoryLoss)
    assert loss.queue.image.shape == (18, 10)
    assert recipe_loss(with_loss("simclr")).g[0].weight.shape == (512, 10)  # type: ignore[index]


def test_the_recipe_keeps_the_name_that_was_written(tmp_path: Path) -> None:
    recipe = with_loss("TripletLoss")
    written = tmp_path / "recipe.yaml"
    written.write_text(recipe.to_yaml())
    assert "name: TripletLoss" in written.read_text()
    assert load_recipe(written).loss.name == "TripletLoss"


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss.options.batch_size is 7, but train.batch_size is 6"):
        check_recipe(with_loss("infonce_memory", batch_size=7), "r")
    with pytest.raises(ConfigError, match=r"loss.options.dimensions is 128, but model.dimensions is 10"):
        check_recipe(with_loss("simclr", dimensions=128), "r")
    with pytest.raises(ConfigError, match=r"'dimensions'; known are margin"):
        recipe_loss(with_loss("batch_triplet", dimensions=10))


def test_masking_twins_of_a_loss_without_negatives_is_refused() -> None:
    for name in ("BarlowTwins", "barlow_twins"):
        with pytest.raises(ConfigError, match=r"no negatives to keep twins out of; type --loss.twins ignore"):
            check_recipe(with_loss(name), "r")
        check_recipe(with_loss(name, twins="ignore"), "r")


def test_what_is_typed_mends_a_file_that_contradicts_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("loss: {name: barlow_twins}")
    line = ["pretrain", str(tmp_path / "none.csv"), "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path)]
    for typed, told in (([], "recipe.yaml: loss.twins"), (["--loss.twins", "ignore"], "none.csv does not exist")):
        assert main([*line, *typed]) == 2
        assert told in capsys.readouterr().err


def test_a_wrong_loss_is_told_before_anything_is_packed(tiny_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'SimCLRLos'; did you mean SimCLRLoss"):
        pretrain(tiny_pairs, tmp_path / "run", recipe=with_loss("SimCLRLos"))
    assert not (tmp_path / "run").exists()


def test_simclr_within_looks_for_twins_also_where_the_loss_ignores_them() -> None:
    near = LossConfig(twins="ignore", twin_radius_m=100.0)
    with pytest.raises(ConfigError, match=r"twin_radius_m tells twins, but loss.twins is ignore"):
        check_recipe(Recipe(loss=near), "r")
    recipe = Recipe(loss=near, within=WithinConfig("simclr"))
    loss = recipe_loss(replace(recipe, train=replace(recipe.train, views=2)))
    assert loss.twin_rule.radius_m == 0


RING = {"ring_share": 0.25, "ring_km": (1.0, 50.0)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batches": "spred"}, r"spred; did you mean spread\? random, spread or clustered"),
        ({"cell_km": 20.0}, r"cell_km does nothing without sampler.batches spread or clustered"),
        ({"ring_km": (1.0, 50.0)}, r"ring_km does nothing without a sampler.ring_share"),
        ({"refresh_epochs": 2}, r"refresh_epochs does nothing without a sampler.similar_share"),
        ({"refresh_epochs": 0, "similar_share": 0.5}, r"refresh_epochs is 0; 1 or more"),
        ({"batches": "spread", "cell_km": 0.0}, r"cell_km is 0.0; 0.1 or more"),
        ({"ring_share": 0.25}, r"ring_share needs sampler.ring_km, such as \[1, 50\]"),
        ({**RING, "ring_km": (50.0, 1.0)}, r"ring_km is \[50.0, 1.0\]; 0 <= low < high"),
        ({**RING, "ring_share": 1.5}, r"ring_share is 1.5; a share from 0 to 0.75"),
        ({**RING, "ring_share": 0.001}, r"0.001 of a batch of 128 is no row; 0.0078 is one"),
        ({**RING, "similar_share": 0.6}, r"more than 0.75 of a batch together"),
        ({**RING, "ring_share": float("nan")}, r"ring_share is nan"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_recipe(Recipe(sampler=SamplerConfig(**values)), "r.yaml")


def test_a_ring_begins_outside_the_twins() -> None:
    recipe = Recipe(sampler=SamplerConfig(**RING), loss=LossConfig(twin_radius_m=1500))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"begins at 1.0 km, inside loss.twin_radius_m 1500"):
        check_recipe(recipe, "r.yaml")
    check_recipe(replace(recipe, loss=LossConfig(twin_radius_m=1000)), "r.yaml")


def test_a_recipe_with_a_sampler_is_written_and_read(tmp_path: Path) -> None:
    recipe = load_recipe(
        "default", {"sampler.ring_share": 0.25, "sampler.ring_km": [1, 50], "sampler.batches": "spread"}
    )
    assert recipe.sampler == SamplerConfig(batches="spread", ring_share=0.25, ring_km=(1, 50))
    (tmp_path / "r.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "r.yaml") == recipe
    with pytest.raises(ConfigError, match=r"sampler.ring_shar; did you mean sampler.ring_share"):
        load_recipe("default", {"sampler.ring_shar": 0.25})
