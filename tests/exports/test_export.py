"""Exported towers run in programs without earthtone and give its vectors; what cannot be exported is one clear line."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from snippets import run_snippets
from torch import nn

import earthtone
from earthtone.cli import main
from earthtone.errors import ConfigError, DataError, MissingExtraError, ModelError
from earthtone.exports.agreement import cost, recall
from earthtone.models.backbone import encoder_of_model, write_encoder
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

Make = Callable[..., TwoTower]
Inputs = tuple[list[Path], list[Path]]
NEAR = 1e-4


def compare(models: list[TwoTower], folders: list[Path], inputs: Inputs, out: Path) -> None:
    """The programs in the READMEs give the models' vectors."""
    for model, (image, audio) in zip(models, run_snippets(folders, *inputs, out), strict=True):
        assert np.abs(image - model.embed_images(inputs[0])).max() <= NEAR
        assert np.abs(audio - model.embed_audio(inputs[1])).max() <= NEAR


def exported(cases: list[tuple[str, TwoTower]], inputs: Inputs, out: Path) -> None:
    for number, (to, model) in enumerate(cases):
        result = earthtone.export(model, to, out / str(number))
        assert set(result.parity) == {"image", "audio"}
        assert max(each.difference for each in result.parity.values()) <= NEAR
    compare([model for _, model in cases], [out / str(number) for number in range(len(cases))], inputs, out)


@pytest.mark.extras  # a minute of other processes
def test_the_programs_in_the_readmes_give_the_same_vectors_without_earthtone(
    make: Make, inputs: Inputs, tmp_path: Path
) -> None:
    attentive = make("test_vit", windows="attention", projection="mlp_norm")
    exported(
        [
            ("timm", make()),
            ("hf", attentive),
            ("torchvision", make("resnet18", projection="mlp")),
            ("safetensors", make()),
            ("torch-export", make(windows="attention")),
        ],
        inputs,
        tmp_path,
    )


@pytest.mark.extras
def test_graphs_give_the_same_vectors_without_earthtone(make: Make, inputs: Inputs, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    attentive = make("test_resnet", windows="attention")
    exported([("torch-export", make("test_vit")), ("onnx", attentive), ("onnx", make("test_vit"))], inputs, tmp_path)


@pytest.mark.extras
@pytest.mark.parametrize("encoder", ["test_convnext", "multiscale_resnet10", "release_resnet18"])
def test_graphs_of_other_encoders(encoder: str, make: Make, inputs: Inputs, tmp_path: Path) -> None:
    """One that is general from two inputs on alone, and those that no other library builds."""
    pytest.importorskip("onnxruntime")
    model = make(encoder)
    exported([("torch-export", model), ("onnx", model)], inputs, tmp_path)


@pytest.mark.extras
def test_weights_of_other_encoders(make: Make, inputs: Inputs, tmp_path: Path) -> None:
    attentive = make("test_vit", windows="attention", projection="mlp_norm")
    cases = [("timm", make("test_convnext", projection="mlp")), ("timm", attentive), ("torchvision", make("resnet50"))]
    exported([*cases, ("safetensors", make("test_efficientnet")), ("hf", make())], inputs, tmp_path)


def test_timm_itself_loads_a_folder_and_its_output_is_the_projection(make: Make, tmp_path: Path) -> None:
    model = make()
    earthtone.export(model, "timm", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "audio" / "config.json").read_text())
    assert config["architecture"] == "test_resnet" and config["num_classes"] == 16
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    sound = torch.randint(0, 256, (2, 50, 32), dtype=torch.uint8)
    with torch.no_grad():
        for medium, inputs in (("image", model.image_input(pixels)), ("audio", model.sound_input(sound))):
            network = timm.create_model(f"local-dir:{tmp_path / 'out' / medium}", pretrained=True).eval()
            tower = model.image_tower if medium == "image" else model.audio_tower
            assert torch.allclose(network(inputs), tower(inputs), atol=1e-5)
            assert network.pretrained_cfg["input_size"] == tuple(inputs.shape[1:])


@pytest.mark.slow
def test_torchvision_loads_every_weight(make: Make, tmp_path: Path) -> None:
    model = make("resnet18")
    earthtone.export(model, "torchvision", tmp_path / "out")  # with a linear projection: `fc`
    network = torchvision.models.resnet18(num_classes=16)
    network.load_state_dict(load_file(tmp_path / "out" / "image.safetensors"), strict=True)
    inputs = model.image_input(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    with torch.no_grad():
        assert torch.allclose(network.eval()(inputs), model.image_tower(inputs), atol=1e-5)
    transforms = json.loads((tmp_path / "out" / "transforms.json").read_text())["transforms"]
    assert transforms[-1] == {
        "name": "Normalize", "mean": pytest.approx([0.485, 0.456, 0.406]), "std": pytest.approx([0.229, 0.224, 0.225]),
    }  # fmt: skip


@pytest.mark.extras
@pytest.mark.parametrize("to", ["onnx", "torch-export"])
def test_models_of_spectrograms_that_are_told_metres(
    to: str, make: Make, tiny_signal: SignalConfig, inputs: Inputs, tmp_path: Path
) -> None:
    """Ready spectrograms, raw embeddings, a fourth channel, a fixed footprint."""
    pytest.importorskip("onnxruntime")
    signal = replace(
        tiny_signal,
        audio=replace(tiny_signal.audio, input="spectrogram"),
        image=replace(tiny_signal.image, footprint_m=60.0, view=0.8),
    )
    model = make(signal=signal, unit=False, sound_scale="soundingearth", scale_input=True)
    model.usual_side_m.fill_(96.0)
    pictures = []
    for n, frames in enumerate((20, 50, 131)):
        pictures.append(tmp_path / f"{n}.png")
        grey = np.random.default_rng(n).integers(0, 256, (32, frames), np.uint8)
        Image.fromarray(grey).save(pictures[-1])
    earthtone.export(model, to, tmp_path / "out")
    [(image, audio)] = run_snippets([tmp_path / "out"], inputs[0], pictures, tmp_path, gsd_m=1.5)
    for found, expected in ((image, model.embed_images(inputs[0], gsd_m=1.5)), (audio, model.embed_audio(pictures))):
        assert np.abs(found - expected).max() <= NEAR * np.linalg.norm(expected, axis=1).max()


def test_a_backbone_goes_to_timm_with_its_own_normalisation(make: Make, tmp_path: Path) -> None:
    source = replace(encoder_of_model(make()), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    write_encoder(tmp_path / "backbone" / "backbone.safetensors", source, {})
    result = earthtone.export(tmp_path / "backbone", "timm", tmp_path / "out")
    assert set(result.parity) == {"image"} and not (tmp_path / "out" / "audio").exists()
    network = timm.create_model(f"local-dir:{tmp_path / 'out' / 'image'}", pretrained=True).eval()
    assert network.pretrained_cfg["mean"] == pytest.approx((0.1, 0.2, 0.3)) and network.num_classes == 0
    backbone = earthtone.open_backbone(tmp_path / "backbone")
    inputs = backbone.prepare(np.full((1, 32, 32, 3), 99, np.uint8))
    with torch.no_grad():
        assert torch.equal(network(inputs), backbone.pooled(inputs))


@pytest.mark.slow
def test_fewer_bits_tell_their_cost(make: Make, tiny_table: Path, tmp_path: Path) -> None:
    result = earthtone.export(make(), "safetensors", tmp_path / "out", precision="bf16", calibrate=tiny_table)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights["image.encoder.conv1.weight" if "image.encoder.conv1.weight" in weights else
                   "image.encoder.conv1.0.weight"].dtype == torch.bfloat16  # fmt: skip
    assert result.cost["image"].inputs == 8 and 0.99 < result.cost["image"].cosine_least < 1
    assert "bf16: cosine to float32" in result.to_text()
    assert json.loads((tmp_path / "out" / "preprocessing.json").read_text())["cost"]["audio"]["inputs"] == 8


def test_a_variant_that_lost_its_meaning_is_refused() -> None:
    """Vectors that lie close together have large cosines whatever they are: their spread is what counts."""
    plain = np.random.default_rng(0).normal([10.0, 0, 0, 0], 1.0, (50, 4)).astype(np.float32)
    mixed = np.roll(plain, 1, axis=0)
    given = np.arange(50)

    def run(of: Any) -> Any:
        return lambda batch: of[batch]

    fine = cost("m", "int8", run(plain + 0.01), run(plain), given)
    assert fine.inputs == 50 and fine.cosine_least > 0.999 and 0.005 < fine.error_share < 0.05
    with pytest.raises(
        ModelError, match=r"m in int8: vectors are off from float32 by .*\(cosine 0\.9.*nothing was written"
    ):
        cost("m", "int8", run(mixed), run(plain), given)


def test_recall_is_counted_as_by_hand() -> None:
    draw = np.random.default_rng(0)
    images, sounds = draw.normal(size=(2, 30, 4)).astype(np.float32)
    for unit, score in ((True, lambda a, b: a @ b), (False, lambda a, b: -float(np.linalg.norm(a - b)))):
        hits = [
            sum(score(images[n], sounds[m]) >= score(images[n], sounds[n]) for m in range(30)) <= 10 for n in range(30)
        ]
        back = [
            sum(score(images[m], sounds[n]) >= score(images[n], sounds[n]) for m in range(30)) <= 10 for n in range(30)
        ]
        found = recall(images, sounds, unit=unit)
        assert found == {"image_to_sound": pytest.approx(np.mean(hits)), "sound_to_image": pytest.approx(np.mean(back))}


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("release_resnet18", "timm", {}, "a stem of 32 channels and a stage of 182.*--to onnx and --to torch-exp"),
    ("multiscale_resnet10", "hf", {}, "no model of timm's.*--to onnx"),
    ("test_vit", "torchvision", {}, "test_vit, which torchvision cannot build.*--to timm and --to hf"),
    ("test_resnet", "onnx", {"precision": "bf16"}, "no convolutions in bf16.*32, fp16, int8 expected"),
    ("test_resnet", "timm", {"precision": "int8"}, "--to timm has no int8.*or --to onnx"),
    ("test_resnet", "onnx", {"precision": "int8"}, "needs --calibrate DATA: 100 or more pairs"),
    ("test_resnet", "timm", {"columns": {"id": "key"}}, "--columns has no effect without --calibrate"),
    ("test_resnet", "timm", {"license": "all rights"}, "a short name such as cc-by-4.0"),
    ("test_resnet", "timm", {"calibrate": "nothing.csv"}, "nothing.csv does not exist"),
]  # fmt: skip


@pytest.mark.parametrize(("encoder", "to", "options", "told"), REFUSED)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    encoder: str, to: str, options: dict[str, Any], told: str, make: Make, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, ModelError, DataError), match=told):
        earthtone.export(make(encoder), to, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_no_model_and_a_used_folder(
    make: Make, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--to", "timm", "--out", str(tmp_path / "out"), "--model"]
    assert main([*words, str(tiny_pairs.parent)]) == 2
    assert "no model.safetensors there" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert main([*words, "random:test_resnet"]) == 2
    assert "exists and is not empty; choose another --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_weights_that_are_no_numbers_are_refused(make: Make, tmp_path: Path) -> None:
    model = make()
    with torch.no_grad():
        model.audio_tower.projection.bias[0] = torch.nan  # type: ignore[union-attr, index]
    save_model(tmp_path / "run", model, {})
    with pytest.raises(ModelError, match=r"audio_tower\.projection\.bias holds values that are no numbers"):
        earthtone.export(tmp_path / "run", "timm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tower_that_says_something_else_is_not_left_there(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a library had changed a layer between two versions."""
    create = timm.create_model

    def other(name: str, **options: Any) -> nn.Module:
        network: nn.Module = create(name, **options)
        if name.startswith("local-dir:"):
            with torch.no_grad():
                next(network.parameters()).mul_(1.01)
        return network

    monkeypatch.setattr(timm, "create_model", other)
    with pytest.raises(ModelError, match=r"the image tower exported to timm is off by .* so nothing was written"):
        earthtone.export(make(), "timm", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_type(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"export needs onnx.*'earthtone\[export\]'"):
        earthtone.export(make(), "onnx", tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(make: Make, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write"):
        earthtone.export(make(), "timm", tmp_path / "out")


@pytest.mark.slow
def test_names_of_this_machine_are_not_in_what_is_exported(make: Make, tmp_path: Path) -> None:
    save_model(tmp_path / "secret-place" / "run", make(), {})
    earthtone.export(tmp_path / "secret-place" / "run", "hf", tmp_path / "out", license="cc-by-4.0")
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"secret-place" not in written and b"# run, as hf" in written
    assert b'license: "cc-by-4.0"' in written and b"- pytorch_model_hub_mixin" in written
