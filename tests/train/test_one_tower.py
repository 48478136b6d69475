"""One tower alone: on rows of one medium, by views of it; exact, in several processes, and as a start of both."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import lance
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file

import earthtone
from earthtone.cli import main
from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.errors import ConfigError, ModelError
from earthtone.files import FORMATS
from earthtone.models.config import ModelConfig
from earthtone.models.storage import load_model, save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig
from earthtone.train.checkpoint import read_history
from earthtone.train.fit import fit
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig, WithinConfig
from earthtone.train.recipe_file import check_recipe, load_recipe

Medium = Literal["image", "audio"]
StopAt = Callable[[int], Callback]


@pytest.fixture(scope="module")
def mixed(
    write_pairs: Callable[[Path, int], Path], tiny_signal: SignalConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """24 rows, of which every fourth has no image and every fourth no sound."""
    folder = tmp_path_factory.mktemp("mixed")
    lines = write_pairs(folder, 24).read_text().splitlines()
    for number in range(24):
        if number % 4 in (0, 2):
            cell = f"{number}.png" if number % 4 == 0 else f"{number}.wav"
            lines[number + 1] = lines[number + 1].replace(cell, "")
    (folder / "mixed.csv").write_text("\n".join(lines) + "\n")
    return pack(folder / "mixed.csv", folder / "mixed.lance", signal=tiny_signal, need="either", threads=2).path


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    train = replace(tiny_recipe.train, keep="last", precision="32", epochs=2)
    model = replace(tiny_recipe.model, image_encoder="test_convnext", audio_encoder="test_convnext")
    return replace(tiny_recipe, train=train, model=model)


def test_the_short_option_says_what_it_means(recipe: Recipe) -> None:
    only = recipe.with_only("audio")
    assert (only.model.only, only.within.name, only.train.views, only.learns) == ("audio", "simclr", 2, ("audio",))
    default = load_recipe("default")
    assert (default.within.audio_weight, default.with_only("audio").within.audio_weight) == (0, 1)
    kept = replace(recipe, within=WithinConfig("vicreg", image_weight=0.3), train=replace(recipe.train, views=3))
    assert kept.with_only("image") == replace(kept, model=replace(kept.model, only="image"))
    check_recipe(only, "recipe")


@pytest.mark.parametrize("medium", ["image", "audio"])
def test_a_tower_learns_from_all_rows_that_have_its_medium(
    mixed: Path, recipe: Recipe, tmp_path: Path, medium: Medium
) -> None:
    table, only = Table(mixed), recipe.with_only(medium)
    rows = table.rows_of("train", [medium])
    batch = next(iter(TrainLoader(table, rows, only)))
    own, other = (batch.image, batch.audio) if medium == "image" else (batch.audio, batch.image)
    assert own is not None and len(own) == 8 and other is None
    assert fit(table, only, tmp_path / "run").steps == 2 * (len(rows) // 4) and len(rows) > len(table.rows_of("train"))
    model = load_model(tmp_path / "run")
    assert list(model.towers) == [medium] and json.loads((tmp_path / "run" / "card.json").read_text())["format"] == 2
    begun = TwoTower(only.model, only.signal)
    assert begun.state_dict().keys() == model.state_dict().keys()
    names = {"image": "within_image", "audio": "within_audio"}
    logged = [line for line in read_history(tmp_path / "run") if "loss" in line][-1]
    assert names[medium] in logged and not {"across", "temperature", *names.values()} - {names[medium]} & logged.keys()
    lacking = "audio" if medium == "image" else "image"
    samples, tile = (np.zeros(16_000, np.float32), 16_000), np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(ModelError, match=f"the model has no {lacking} tower: .*model.only {medium}"):
        _ = model.embed_audio([samples]) if lacking == "audio" else model.embed_tiles([tile])


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_stop_changes_nothing(
    mixed: Path, recipe: Recipe, tmp_path: Path, chunk: int | None, stop_at: StopAt
) -> None:

    only = recipe.with_only("audio")
    train, within = replace(only.train, chunk_size=chunk, windows=2), replace(only.within, projection=8)
    only = replace(
        only, train=train, within=within, model=replace(only.model, drop_path=0.3, windows="attention")
    )  # fmt: skip
    table = Table(mixed)
    assert fit(table, only, tmp_path / "whole").finished
    assert not fit(table, only, tmp_path / "parts", callbacks=[stop_at(3)]).finished
    assert fit(table, only, tmp_path / "parts", resume=True).finished
    one, other = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "parts"))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_chunks_give_the_gradient_of_the_whole_batch(mixed: Path, recipe: Recipe, tmp_path: Path) -> None:
    only, table = recipe.with_only("image"), Table(mixed)
    fit(table, only, tmp_path / "whole")
    fit(table, replace(only, train=replace(only.train, chunk_size=2)), tmp_path / "chunks")
    one, other = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "chunks"))
    assert all(torch.allclose(one[key], other[key], atol=1e-5) for key in one)


_SCRIPT = """
import sys
from pathlib import Path
from earthtone.data.packed import Table
from earthtone.train.fit import fit
from earthtone.train.recipe_file import load_recipe
fit(Table(sys.argv[1]), load_recipe(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["audio", "images_only"])
def test_two_processes_equal_one(mixed: Path, recipe: Recipe, tmp_path: Path, kind: str) -> None:
    if kind == "audio":
        recipe = recipe.with_only("audio")
    else:
        both = recipe.with_only("image")
        recipe = replace(both, model=recipe.model, train=replace(both.train, control="images_only"))
    fit(Table(mixed), recipe, tmp_path / "one")
    script, written = tmp_path / "script.py", tmp_path / "recipe.yaml"
    script.write_text(_SCRIPT)
    written.write_text(replace(recipe, train=replace(recipe.train, devices=2)).to_yaml())
    words = [sys.executable, str(script), str(mixed), str(written), str(tmp_path / "two")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.allclose(one[key], two[key], atol=1e-4) for key in one)


def test_both_towers_begin_with_those_that_were_trained_alone(mixed: Path, recipe: Recipe, tmp_path: Path) -> None:
    table = Table(mixed)
    towers: tuple[Medium, ...] = ("image", "audio")
    for medium in towers:
        fit(table, recipe.with_only(medium), tmp_path / medium)
    model = replace(recipe.model, image_weights=str(tmp_path / "image"), audio_weights=str(tmp_path / "audio"))
    joint = replace(recipe, model=model, train=replace(recipe.train, learning_rate=1e-30, weight_decay=0.0))
    fit(table, joint, tmp_path / "both")
    both = load_file(tmp_path / "both" / "model.safetensors")
    for medium in towers:
        alone = load_file(tmp_path / medium / "model.safetensors")
        assert all(torch.equal(both[key], value) for key, value in alone.items() if "tower" in key)
    start = json.loads((tmp_path / "both" / "run.json").read_text())["start"]
    assert start["image"]["projection"] and start["audio"]["projection"]
    wrong = replace(recipe, model=replace(recipe.model, audio_weights=str(tmp_path / "image")))
    with pytest.raises(ModelError, match="the model has no audio tower"):
        fit(table, wrong, tmp_path / "wrong")


def test_the_verb_from_a_manifest_of_sounds(
    write_pairs: Callable[[Path, int], Path], recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = write_pairs(tmp_path, 24).read_text().splitlines()
    sounds = tmp_path / "sounds.csv"
    sounds.write_text("\n".join(",".join(line.split(",")[:1] + line.split(",")[2:]) for line in lines) + "\n")
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    words = ["pretrain", str(sounds), "--recipe", str(tmp_path / "recipe.yaml"), "--only", "audio"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "One tower alone was trained, that of sounds" in page and "Audio effective rank" in page
    assert not (tmp_path / "run" / "training_images.safetensors").exists()
    assert Table(tmp_path / "run" / "table.lance").need == "audio"
    table = tmp_path / "run" / "table.lance"
    earthtone.pretrain(table, tmp_path / "python", recipe=recipe.with_only("audio"))
    one, other = (load_file(tmp_path / folder / "model.safetensors") for folder in ("run", "python"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe.with_only("audio")

    capsys.readouterr()
    out = tmp_path / "embeddings"
    assert main(["embed", "--model", str(tmp_path / "run"), "--data", str(sounds), "--out", str(out)]) == 0
    assert set(lance.dataset(str(out / "embeddings.lance")).to_table()["modality"].to_pylist()) == {"audio"}
    run, manifest, no = str(tmp_path / "run"), str(tmp_path / "manifest.csv"), str(tmp_path / "no")
    for words, match in (
        (["evaluate", "retrieval", "--model", run, "--data", manifest], "has no image tower"),
        (["embed", "--model", run, "--data", str(sounds), "--modality", "image", "--out", no], "has no image tower"),
        (["pretrain", str(sounds), "--only", "image", "--out", no], "no column 'image'"),
        (["pretrain", str(sounds), "--only", "sound", "--out", no], "image or audio expected"),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert match in said and "Traceback" not in said


def test_what_has_no_effect_is_refused(recipe: Recipe) -> None:
    only = recipe.with_only("image")
    train, model = only.train, only.model
    begun = replace(model, image_weights="pretrained")
    queue = LossConfig("infonce_memory")
    for changed, match in (
        (replace(only, within=WithinConfig()), "learns from views of one picture alone"),
        (replace(only, train=replace(train, views=1)), "set train.views to 2 or more"),
        (replace(only, model=replace(model, audio_weights="pretrained")), "model.audio_weights has no effect"),
        (replace(only, model=begun, train=replace(train, freeze="audio")), "train.freeze"),
        (replace(only, train=replace(train, momentum=0.9), loss=queue), "train.momentum has no effect"),
        (replace(only, sampler=SamplerConfig(similar_share=0.25)), "similar_share"),
    ):
        with pytest.raises(ConfigError, match=match):
            check_recipe(changed, "recipe")
    with pytest.raises(ConfigError, match=r"model\.scale_input has no effect"):
        check_recipe(replace(recipe, model=replace(recipe.model, scale_input=True)).with_only("audio"), "recipe")


def test_a_model_of_one_tower_on_disk(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16, windows="attention"), tiny_signal)
    torch.manual_seed(0)
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", 16, windows="attention", only="image"), tiny_signal)
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in model.state_dict().items())
    save_model(tmp_path, model, {})
    tiles = [np.full((32, 32, 3), 90, np.uint8)]
    assert np.array_equal(load_model(tmp_path).embed_tiles(tiles), model.eval().embed_tiles(tiles))
    assert earthtone.open_backbone(tmp_path).features == whole.image_tower.features
    assert FORMATS["model"] == 2 and not hasattr(model.audio_tower, "encoder")
    save_model(tmp_path / "whole", whole, {})
    assert json.loads((tmp_path / "whole" / "card.json").read_text())["format"] == 1
