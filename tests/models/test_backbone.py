"""A backbone is the model it was made from, with its maps; the same in every process, whatever it is called by."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

import earthtone.models.backbone
from earthtone.errors import ConfigError, EarthtoneError, ModelError
from earthtone.models.backbone import open_backbone
from earthtone.models.config import ModelConfig
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("test_resnet", (2, 4, 8, 16, 32)),
        ("test_convnext", (4, 8, 16, 32)),
        ("test_efficientnet", (2, 4, 8, 16, 32)),
        ("test_vit", (16,) * 6),
        ("release_resnet18", (2, 4, 8, 16, 32)),
    ],
)
def test_maps_and_features(name: str, strides: tuple[int, ...]) -> None:
    backbone = open_backbone(f"random:{name}", pixels=64)
    assert not backbone.training and backbone.name == f"random:{name}" and backbone.pixels == 64
    assert backbone.strides == strides
    inputs = backbone.prepare(PICTURES)
    assert inputs.shape == (2, 3, 64, 64) and inputs.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        maps, pooled = backbone.stages(inputs), backbone.pooled(inputs)
        assert torch.equal(backbone(inputs), pooled)
    assert [tuple(values.shape) for values in maps] == [
        (2, channels, 64 // stride, 64 // stride)
        for channels, stride in zip(backbone.channels, backbone.strides, strict=True)
    ]
    assert pooled.shape == (2, backbone.features)


def test_pooled_is_the_mean_of_the_last_map_of_a_resnet() -> None:
    backbone = open_backbone("random:test_resnet", pixels=64)
    inputs = backbone.prepare(PICTURES)
    with torch.no_grad():
        torch.testing.assert_close(backbone.pooled(inputs), backbone.stages(inputs)[-1].mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "release_resnet18"])
def test_layer_groups_hold_each_weight_once_and_go_deeper(name: str) -> None:
    backbone = open_backbone(f"random:{name}", pixels=64)
    groups = backbone.layer_groups()
    found = [id(weight) for group in groups for weight in group]
    assert len(groups) > 3 and sorted(found) == sorted(id(weight) for weight in backbone.parameters())
    names = {id(weight): name for name, weight in backbone.named_parameters()}
    assert any(part in names[found[0]] for part in ("stem", "conv1", "patch_embed", "cls_token", "pos_embed"))
    assert not any("stem" in names[id(weight)] for weight in groups[-1])


def test_it_trains() -> None:
    backbone = open_backbone("random:test_resnet", pixels=64).train()
    before = backbone.fingerprint
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    inputs = backbone.prepare(PICTURES)
    (backbone.pooled(inputs).square().mean() + backbone.stages(inputs)[1].mean()).backward()
    assert all(weight.grad is not None for weight in backbone.parameters())
    optimizer.step()
    assert backbone.fingerprint != before


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "release_resnet18"])
def test_a_finer_output_stride_with_the_same_weights(name: str) -> None:
    coarse, fine = (open_backbone(f"random:{name}", pixels=64, output_stride=stride) for stride in (32, 16))
    assert coarse.strides[-1] == 32 and fine.strides[-1] == 16 and fine.strides[:-1] == coarse.strides[:-1]
    assert fine.encoder.state_dict().keys() == coarse.encoder.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(fine.parameters(), coarse.parameters(), strict=True))
    assert fine.fingerprint != coarse.fingerprint


@pytest.mark.parametrize("name", ["test_vit", "test_mambaout", "mobilenetv3_small_050"])
def test_families_without_an_output_stride_say_so(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' has no output_stride 16"):
        open_backbone(f"random:{name}", output_stride=16)


def test_seeds() -> None:
    one, same, other = (open_backbone("random:test_resnet", seed=seed).fingerprint for seed in (1, 1, 2))
    assert one == same != other
    before = torch.get_rng_state()
    open_backbone("random:test_resnet", seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from earthtone.models.backbone import open_backbone as o; print(o('random:test_resnet', seed=3).fingerprint)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert said == open_backbone("random:test_resnet", seed=3).fingerprint and len(said) == 32


def test_the_fingerprint_sees_normalisation_and_weights_not_names(tmp_path: Path) -> None:
    backbone = open_backbone("random:test_resnet")
    save_file(backbone.encoder.state_dict(), tmp_path / "a.safetensors")
    again = open_backbone(f"timm:test_resnet@{tmp_path}/a.safetensors")
    assert again.fingerprint == backbone.fingerprint and again.name != backbone.name
    again.mean += 1
    assert again.fingerprint != backbone.fingerprint


def test_normalisation_by_hand() -> None:
    backbone = open_backbone("random:test_resnet")
    config = timm.create_model("test_resnet").pretrained_cfg
    expected = (PICTURES / 255.0 - np.array(config["mean"])) / np.array(config["std"])
    for given in (PICTURES, torch.from_numpy(PICTURES)):
        np.testing.assert_allclose(backbone.prepare(given).numpy().transpose(0, 2, 3, 1), expected, atol=1e-5)
    for wrong in (PICTURES[0], PICTURES / 255.0, PICTURES.transpose(0, 3, 1, 2)):
        with pytest.raises(ConfigError, match=r"uint8 \(N, height, width, 3\) expected"):
            backbone.prepare(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit"])
def test_of_a_run(tiny_signal: SignalConfig, tmp_path: Path, encoder: str) -> None:
    torch.manual_seed(1)
    model = TwoTower(ModelConfig(encoder, "test_resnet", 16), tiny_signal).eval()
    path = save_model(tmp_path / "run", model, {})
    tiles = list(PICTURES[:, :32, :32])
    for spec in (path, path.parent, str(path.parent)):
        backbone = open_backbone(spec)
        assert backbone.pixels == 32 and backbone.features == model.image_tower.features
        with torch.inference_mode():
            found = backbone.pooled(backbone.prepare(np.stack(tiles)))
        encoded = np.stack(list(model.encoded_images(tiles)))
        np.testing.assert_allclose(found.numpy(), encoded[:, : backbone.features], rtol=1e-4, atol=1e-5)
    assert open_backbone(path, pixels=64).pixels == 64
    if encoder == "test_resnet":
        assert open_backbone(path, output_stride=16).strides[-1] == 16


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("none", ModelError, "model 'none': no such file; a run's folder, .* or tile2vec:FILE expected"),
        ("tim:resnet18", ModelError, "did you mean timm"),
        ("random:resnet81", ConfigError, "'resnet81' is no timm model; near it: resnet"),
        ("timm:resnet81", ConfigError, "'resnet81' is no timm model"),
        ("timm:resnet18.never", ConfigError, "cannot be made: Invalid pretrained tag"),
        ("timm:test_resnet@none.pt", ModelError, "none.pt: nothing there"),
        ("tile2vec:none.ckpt", ModelError, "none.ckpt: nothing there"),
        ("package:resnet18", ConfigError, "package:efficientnet_lite0 is the only one"),
        ("", ModelError, "holds no model|no such file|no model.safetensors"),
    ],
)
def test_what_is_no_backbone(
    spec: str, kind: type[EarthtoneError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message) as error:
        open_backbone(spec)
    assert "\n" not in str(error.value)


def test_a_size_that_a_family_cannot_take() -> None:
    with pytest.raises(ConfigError, match="'test_coatnet' cannot be used for inputs of 50 x 50"):
        open_backbone("random:test_coatnet", pixels=50)


@pytest.mark.slow
def test_the_examples_run(tiny_model: TwoTower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the docstring and those of the page, where a run and a toy world are."""
    save_model(tmp_path / "runs" / "first", tiny_model, {})
    earthtone.write_toyworld(tmp_path / "world", rows=2, pixels=32, seconds=1.0, hz=16_000, workers=1)
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(earthtone.models.backbone, extraglobs={"torch": torch}) == (0, 3)
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(example, {})  # noqa: S102 - our own page
