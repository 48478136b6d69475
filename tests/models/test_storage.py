"""A model comes back from its file as it was; nothing else is taken for a model, and nothing is executed."""

import json
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import earthtone
from earthtone.device import choose_device
from earthtone.errors import ConfigError, DataError, EarthtoneError, ModelError
from earthtone.models.backbone import open_backbone
from earthtone.models.config import ModelConfig
from earthtone.models.storage import load_model, save_model
from earthtone.models.two_tower import TwoTower
from earthtone.models.warm_start import start_towers
from earthtone.models.weights import read_safetensors
from earthtone.signal.config import SignalConfig

Card = dict[str, Any]


def embeddings(model: TwoTower) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    images = list(draw.integers(0, 256, (3, 40, 44, 3), np.uint8))
    sounds = [(draw.normal(0, 0.1, 40_000).astype(np.float32), 16_000)]
    return [model.embed_images(images), model.embed_audio(sounds)]


@pytest.fixture
def saved(tiny_model: TwoTower, tmp_path: Path) -> Path:
    return save_model(tmp_path / "run", tiny_model, {"data": "tiny", "seed": 7})


def test_the_same_vectors_from_folder_and_from_file(tiny_model: TwoTower, saved: Path) -> None:
    assert saved.name == "model.safetensors"
    before = embeddings(tiny_model)
    for path in (saved, str(saved), saved.parent):
        model = earthtone.load_model(path)
        assert not model.training and model.config == tiny_model.config and model.signal == tiny_model.signal
        for one, other in zip(embeddings(model), before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_no_random_weights_are_drawn_for_those_of_a_file(saved: Path, tiny_model: TwoTower) -> None:
    """They would take longer than all else; and what a program draws does not depend on what it has loaded."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    loaded = load_model(saved)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one, loaded.state_dict()[name]) for name, one in tiny_model.state_dict().items())
    buffers = dict(loaded.named_buffers())
    assert all(torch.equal(one, buffers[name]) for name, one in tiny_model.named_buffers())  # also those of no file


def test_a_model_with_attention_over_windows(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", 8, windows="attention"), tiny_signal)
    torch.nn.init.normal_(model.reducer.get_parameter("weight.weight"))
    loaded = load_model(save_model(tmp_path, model, {}))
    recording = [np.random.default_rng(0).integers(0, 256, (5, 50, 32), np.uint8)]
    np.testing.assert_array_equal(loaded.embed_windows(recording), model.embed_windows(recording))


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["test_vit", "test_efficientnet"])
def test_after_training_steps_and_in_channels_last(encoder: str, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    model = TwoTower(ModelConfig(encoder, encoder, dimensions=8, projection="mlp", drop_path=0.1), tiny_signal)
    for _ in range(3):  # batch norms collect statistics
        model(torch.randint(0, 256, (4, 32, 32, 3)).byte(), torch.randint(0, 256, (4, 2, 50, 32)).byte())
    loaded = load_model(save_model(tmp_path, model, {}))
    for one, other in zip(embeddings(loaded), embeddings(model), strict=True):
        np.testing.assert_array_equal(one, other)
    save_model(tmp_path / "last", model.to(memory_format=torch.channels_last), {})
    last = load_model(tmp_path / "last")
    assert all(torch.equal(a, b) for a, b in zip(last.parameters(), model.parameters(), strict=True))


def test_the_card_is_in_the_file_and_beside_it(saved: Path) -> None:
    card = json.loads((saved.parent / "card.json").read_text())
    assert card["data"] == "tiny" and card["seed"] == 7 and card["format"] == 1
    assert card["model"]["image_encoder"] == "test_resnet" and card["signal"]["audio"]["mels"] == 32
    assert load_model(saved).card == card
    (saved.parent / "card.json").write_text("edited by hand")
    assert load_model(saved.parent).card == card


def test_cards_of_before_have_the_defaults(tiny_model: TwoTower, saved: Path) -> None:
    card = json.loads((saved.parent / "card.json").read_text())
    for key in ("unit", "sound_scale", "windows"):
        del card["model"][key]
    assert "view" not in card["signal"]["image"]
    old = saved.with_name("old.safetensors")
    save_file(load_file(saved), old, metadata={"earthtone": json.dumps(card)})
    assert load_model(old).config == tiny_model.config and load_model(old).signal == tiny_model.signal
    card["model"]["sound_scale"] = "louder"
    save_file(load_file(saved), old, metadata={"earthtone": json.dumps(card)})
    with pytest.raises(ModelError, match="sound_scale 'louder'; standard or soundingearth expected"):
        load_model(old)


def test_towers_that_began_with_weights_need_them_no_more(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    donor = TwoTower(ModelConfig("test_resnet", "test_resnet", 8), tiny_signal)
    start = tmp_path / "start.safetensors"
    save_file(donor.image_tower.encoder.state_dict(), start)
    model = TwoTower(ModelConfig("test_resnet", "test_vit", 8, image_weights=str(start)), tiny_signal)
    start_towers(model)
    path = save_model(tmp_path / "run", model, {})
    start.unlink()
    assert load_model(path).card["model"]["image_weights"] == str(start)


def test_saving_again_replaces_the_whole_file(saved: Path, tiny_model: TwoTower, tiny_signal: SignalConfig) -> None:
    other = TwoTower(ModelConfig("test_vit", "test_vit", 8), tiny_signal)
    save_model(saved.parent, other, {"data": "other"})
    assert load_model(saved).card["data"] == "other"
    assert sorted(path.name for path in saved.parent.iterdir()) == ["card.json", "model.safetensors"]


def rewrite(path: Path, change: Callable[[Card, dict[str, torch.Tensor]], None]) -> None:
    weights, header = read_safetensors(path)
    card = json.loads(header["earthtone"])
    change(card, weights)
    save_file(weights, path, metadata={"earthtone": json.dumps(card)})


def no_number(card: Card, weights: dict[str, torch.Tensor]) -> None:
    card["format"] = "1"


def unknown_option(card: Card, weights: dict[str, torch.Tensor]) -> None:
    card["model"]["attention"] = "sparse"


def unknown_signal(card: Card, weights: dict[str, torch.Tensor]) -> None:
    card["signal"]["audio"]["loudness"] = 1


def unknown_encoder(card: Card, weights: dict[str, torch.Tensor]) -> None:
    card["model"]["image_encoder"] = "resnet_of_tomorrow"


def other_encoder(card: Card, weights: dict[str, torch.Tensor]) -> None:
    card["model"]["image_encoder"] = "test_vit"


def giant_projection(card: Card, weights: dict[str, torch.Tensor]) -> None:
    card["model"]["dimensions"] = 10**12  # compared before any memory is taken


def other_size(card: Card, weights: dict[str, torch.Tensor]) -> None:
    card["model"]["dimensions"] = 32


def lost_weight(card: Card, weights: dict[str, torch.Tensor]) -> None:
    weights.popitem()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_number, r"its format is '1'; a model has a whole number: a damaged file"),
        (unknown_option, r"card does not describe a model of this version .*attention"),
        (unknown_signal, r"card does not describe a model of this version .*loudness"),
        (unknown_encoder, r"encoder 'resnet_of_tomorrow' is no timm model"),
        (other_encoder, r"weights of another architecture"),
        (giant_projection, r"weights of another architecture"),
        (other_size, r"weights of another architecture .*2 of another shape|weights of another architecture"),
        (lost_weight, r"weights of another architecture \(1 keys missing"),
    ],
)
def test_what_does_not_fit_is_explained_in_one_line(saved: Path, change: Any, message: str) -> None:
    rewrite(saved, change)
    with pytest.raises(EarthtoneError, match=message) as error:
        load_model(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "card", ["{", "[1, 2]", '"text"', "7", "null", "{}", '{"format": 1}', '{"format": 1, "model": 3}']
)
def test_a_broken_card(saved: Path, card: str) -> None:
    save_file(load_file(saved), saved, metadata={"earthtone": card})
    with pytest.raises(ModelError, match=r"model.safetensors: ") as error:
        load_model(saved)
    assert "\n" not in str(error.value)


def test_a_cut_file(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in (0, 7, 500, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"cannot be read as safetensors .*copy it again if it was cut off"):
            load_model(saved)


def test_safetensors_of_another_project(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(ModelError, match=r"other.safetensors: safetensors of another project"):
        load_model(path)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "executed")


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "model.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_is_never_executed(tmp_path: Path, name: str, zipped: bool) -> None:
    trap = tmp_path / "trap"
    if zipped:
        torch.save({"state_dict": Payload(trap)}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(ModelError, match=r"safetensors|nothing of it was run"):
        load_model(tmp_path / name)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["none", "none.safetensors", "."])
def test_nothing_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"no model.safetensors there; train one with: earthtone pretrain"):
        load_model(tmp_path / name)


def test_a_full_disk_keeps_the_model_that_was_there(saved: Path, tiny_model: TwoTower) -> None:
    whole = saved.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(
            DataError, match=r"cannot write .*model.safetensors: .*; choose another --out or free"
        ) as error:
            save_model(saved.parent, tiny_model, {"data": "new"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert saved.read_bytes() == whole
    assert sorted(path.name for path in saved.parent.iterdir()) == ["card.json", "model.safetensors"]


def test_a_folder_that_cannot_be_made(tiny_model: TwoTower, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"cannot write .*file.txt/run/model.safetensors: "):
        save_model(tmp_path / "file.txt" / "run", tiny_model, {})


@pytest.mark.parametrize("device", ["gpu", "CUDA", "cuda:banana", *(["cuda"] if not torch.cuda.is_available() else [])])
def test_a_device_that_is_not_there(device: str, saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"this machine has .*cpu"):
        load_model(saved, device)
    with pytest.raises(ConfigError, match=r"this machine has .*cpu"):
        open_backbone("random:test_resnet", device=device)


def test_the_best_device(saved: Path) -> None:
    assert next(load_model(saved, "auto").parameters()).device.type == choose_device("auto")
    assert next(load_model(saved, torch.device("cpu")).parameters()).device.type == "cpu"


def test_what_is_no_whole_model_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "backbone.safetensors").touch()
    for name, told in (
        ("random:resnet18", "open_backbone"), ("timm:resnet18", "open_backbone"), (tmp_path, "image encoder only"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=told):
            load_model(name)
