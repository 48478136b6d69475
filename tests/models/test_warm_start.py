"""Towers begin with exactly the weights that are named, or one line says why not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from earthtone.errors import ConfigError, ModelError
from earthtone.models.backbone import encoder_of_model, open_backbone, write_encoder
from earthtone.models.config import ModelConfig
from earthtone.models.encoders import untrained_encoder
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.models.warm_start import check_start, start_towers
from earthtone.signal.config import SignalConfig


def assert_same(one: nn.Module, other: nn.Module) -> None:
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def model_of(signal: SignalConfig, **config: object) -> TwoTower:
    return TwoTower(ModelConfig(**{"image_encoder": "test_resnet", "audio_encoder": "test_resnet", **config}), signal)  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path, tiny_model: TwoTower) -> Path:
    """The folder of a run whose model is the tiny one."""
    save_model(tmp_path / "run", tiny_model, {})
    return tmp_path / "run"


@pytest.mark.slow
def test_both_towers_of_a_run_with_their_projections(run: Path, tiny_model: TwoTower) -> None:
    model = model_of(tiny_model.signal, dimensions=16, image_weights=str(run), audio_weights=str(run))
    state = torch.get_rng_state()
    told = start_towers(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(model.image_tower, tiny_model.image_tower)
    assert_same(model.audio_tower, tiny_model.audio_tower)
    assert told["image"]["projection"] and told["image"]["weights"] == str(run)
    assert told["image"]["sha256"] == told["audio"]["sha256"] and len(told["image"]["sha256"]) == 64
    assert told["image"]["fingerprint"] != told["audio"]["fingerprint"]


def test_null_changes_nothing(tiny_signal: SignalConfig) -> None:
    torch.manual_seed(1)
    model = model_of(tiny_signal)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert start_towers(model) == {}
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_projection_of_another_shape_stays_behind(
    run: Path, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_of(tiny_model.signal, dimensions=8, audio_weights=str(run / "model.safetensors"))
    drawn = model.audio_tower.projection.weight.clone()
    assert not start_towers(model)["audio"]["projection"]
    assert "its projection has another shape" in caplog.text
    assert_same(model.audio_tower.encoder, tiny_model.audio_tower.encoder)
    assert torch.equal(model.audio_tower.projection.weight, drawn)


def test_another_signal_is_told(run: Path, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture) -> None:
    louder = replace(tiny_model.signal, audio=replace(tiny_model.signal.audio, hop_seconds=0.025))
    model = model_of(louder, dimensions=16, audio_weights=str(run), sound_scale="soundingearth")
    start_towers(model)
    assert "learned on something else (hop_seconds: 0.02 -> 0.025; sound_scale: 'standard'" in caplog.text


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_plain_file_with_a_classifier(suffix: str, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    whole = timm.create_model("test_resnet")
    path = tmp_path / f"weights.{suffix}"
    save_file(whole.state_dict(), path) if suffix == "safetensors" else torch.save(whole.state_dict(), path)
    model = model_of(tiny_signal, image_weights=str(path), audio_weights=str(path))
    start_towers(model)
    image, audio, donor = (
        module.state_dict() for module in (model.image_tower.encoder, model.audio_tower.encoder, whole)
    )
    assert all(torch.equal(value, donor[key]) for key, value in image.items())
    torch.testing.assert_close(audio.pop("conv1.0.weight"), donor["conv1.0.weight"].sum(dim=1, keepdim=True))
    assert all(torch.equal(value, donor[key]) for key, value in audio.items())


def test_a_file_of_a_sound_encoder(tiny_model: TwoTower, tmp_path: Path) -> None:
    weights = {name: value.contiguous() for name, value in tiny_model.audio_tower.encoder.state_dict().items()}
    save_file(weights, tmp_path / "sound.safetensors")
    model = model_of(tiny_model.signal, audio_weights=str(tmp_path / "sound.safetensors"))
    start_towers(model)
    assert_same(model.audio_tower.encoder, tiny_model.audio_tower.encoder)
    seeing = model_of(tiny_model.signal, image_weights=str(tmp_path / "sound.safetensors"))
    with pytest.raises(ModelError, match=r"1 of another shape; first: conv1.0.weight"):
        start_towers(seeing)


def test_position_embeddings_are_resampled(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    """As timm does, for tiles of 32 pixels and spectrograms of 32 x 50, padded to whole patches."""
    donor = timm.create_model("test_vit", num_classes=0)  # 160 x 160 pixels, 10 x 10 patches
    torch.save(donor.state_dict(), tmp_path / "vit.pth")
    spec = f"timm:test_vit@{tmp_path / 'vit.pth'}"
    names = {"image_encoder": "test_vit", "audio_encoder": "test_vit"}
    model = model_of(tiny_signal, **names, image_weights=spec, audio_weights=spec)
    told = start_towers(model)
    assert told["image"]["sha256"] is not None
    own = model.image_tower.encoder.state_dict()
    resampled = timm.create_model("test_vit", num_classes=0)
    resampled.load_state_dict(donor.state_dict())
    resampled.set_input_size(img_size=(32, 32))
    assert own["pos_embed"].shape != donor.state_dict()["pos_embed"].shape
    assert all(torch.equal(value, own[key]) for key, value in resampled.state_dict().items())
    sound = model.audio_tower.encoder.state_dict()
    assert torch.equal(sound["blocks.0.attn.qkv.weight"], own["blocks.0.attn.qkv.weight"])


@pytest.mark.slow
def test_a_backbone_file_and_a_release_checkpoint(
    tiny_signal: SignalConfig, release_file: Path, tmp_path: Path
) -> None:
    written = write_encoder(tmp_path / "backbone.safetensors", untrained_encoder("test_resnet", 64, 32), {})
    weights = {"image_weights": str(tmp_path), "audio_weights": str(release_file)}
    model = model_of(tiny_signal, audio_encoder="release_resnet18", **weights)
    told = start_towers(model)
    assert_same(model.image_tower.encoder, open_backbone(written).encoder)
    assert told["audio"]["projection"] and not told["image"]["projection"]
    released = torch.load(release_file, weights_only=True)
    sound = model.audio_tower.encoder.state_dict()
    assert torch.equal(sound["conv1.weight"], released["snd_encoder.module_list.0.conv1.weight"])


def test_published_weights_from_the_cache(
    tiny_signal: SignalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder, commit = tmp_path / "models--timm--test_resnet.r160_in1k", "0" * 40
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    donor = timm.create_model("test_resnet").state_dict()
    save_file(donor, folder / "snapshots" / commit / "model.safetensors")
    model = model_of(tiny_signal, image_weights="pretrained", audio_weights="timm:test_resnet.r160_in1k")
    start_towers(model)
    assert torch.equal(model.image_tower.encoder.state_dict()["conv1.0.weight"], donor["conv1.0.weight"])
    sound = model.audio_tower.encoder.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(sound, donor["conv1.0.weight"].sum(dim=1, keepdim=True))
    assert caplog.text.count("learned on something else (mean and std of colours ((0.5, 0.5, 0.5)") == 1  # not of sound


def test_colours_of_another_normalisation_are_told(
    tiny_signal: SignalConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = replace(untrained_encoder("test_resnet", 64, 32), mean=(0.5, 0.5, 0.5))
    path = write_encoder(tmp_path / "half.safetensors", source, {})
    start_towers(model_of(tiny_signal, image_weights=str(path)))
    assert "learned on something else (mean and std of colours ((0.5, 0.5, 0.5)" in caplog.text


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        (
            "timm:resnet50",
            ConfigError,
            r"holds a resnet50, but model.image_encoder is test_resnet; .*_encoder resnet50",
        ),
        ("nowhere/run", ModelError, r"model.image_weights 'nowhere/run': no such file; a run's folder"),
        ("tim:resnet50", ModelError, r"no such file; did you mean timm\?"),
        ("random:test_resnet", ConfigError, "null begins with random weights"),
        ("timm:test_resnet@nowhere.pth", ModelError, "nowhere.pth: nothing there"),
    ],
)
def test_what_cannot_be_found(spec: str, kind: type[Exception], message: str, tiny_signal: SignalConfig) -> None:
    with pytest.raises(kind, match=message):
        start_towers(model_of(tiny_signal, image_weights=spec))


def test_what_does_not_fit(run: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"model.audio_weights .*holds a test_resnet, but model.audio_encoder is test_vit"
    ):
        start_towers(model_of(tiny_signal, audio_encoder="test_vit", audio_weights=str(run)))
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="weights of another architecture"):
        start_towers(model_of(tiny_signal, image_encoder="test_vit", image_weights=str(tmp_path / "other.safetensors")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"neither model.safetensors nor backbone.safetensors there"):
        start_towers(model_of(tiny_signal, image_weights=str(tmp_path / "empty")))
    with pytest.raises(ConfigError, match=r"has no weights of its own to fetch"):
        start_towers(model_of(tiny_signal, image_encoder="release_resnet18", image_weights="pretrained"))


class _Planted:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path("planted").touch, ())


def test_nothing_in_a_pickle_is_run(tiny_signal: SignalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": _Planted()}, "weights.pth")
    with pytest.raises(ModelError, match="nothing of it was run"):
        start_towers(model_of(tiny_signal, image_weights="weights.pth"))
    assert not Path("planted").exists()


def test_checking_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    check_start(ModelConfig(image_weights=str(tmp_path / "broken.safetensors"), audio_weights="pretrained"))


def test_metres_a_pixel_count_nothing_at_first(run: Path, tiny_model: TwoTower) -> None:
    model = model_of(tiny_model.signal, dimensions=16, image_weights=str(run), scale_input=True)
    start_towers(model)
    pixels = torch.randint(0, 256, (3, 32, 32, 4), dtype=torch.uint8)
    found = model.eval().project_images(pixels)
    torch.testing.assert_close(found, tiny_model.project_images(pixels[..., :3]))
    first = model.image_tower.encoder.conv1[0].weight  # type: ignore[index,union-attr]
    assert first.shape[1] == 4 and not first[:, 3].any() and first.requires_grad


def test_metres_a_pixel_of_a_file_for_a_vision_transformer(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    donor = timm.create_model("test_vit", num_classes=0)
    torch.save(donor.state_dict(), tmp_path / "vit.pth")
    spec = f"timm:test_vit@{tmp_path / 'vit.pth'}"
    names = {"image_encoder": "test_vit", "image_weights": spec}
    plain, scaled = (model_of(tiny_signal, **names, scale_input=on).eval() for on in (False, True))
    for model in (plain, scaled):
        start_towers(model)
    pixels = torch.randint(0, 256, (2, 32, 32, 4), dtype=torch.uint8)
    one = plain.image_tower.encoder(plain.image_input(pixels[..., :3]))
    torch.testing.assert_close(scaled.image_tower.encoder(scaled.image_input(pixels)), one)


def test_a_scaled_tower_begins_with_a_scaled_one_alone(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    source = model_of(tiny_signal, dimensions=16, scale_input=True)
    save_model(tmp_path / "scaled", source, {})
    same = model_of(tiny_signal, dimensions=16, image_weights=str(tmp_path / "scaled"), scale_input=True)
    start_towers(same)
    assert_same(same.image_tower, source.image_tower)
    other = model_of(tiny_signal, dimensions=16, image_weights=str(tmp_path / "scaled"))
    with pytest.raises(ConfigError, match=r"model.image_weights .*told metres a pixel; type --model.scale_input true"):
        start_towers(other)


def test_sounds_begin_with_no_scaled_encoder(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "scaled.safetensors", encoder_of_model(model_of(tiny_signal, scale_input=True)), {})
    with pytest.raises(ConfigError, match=r"model.audio_weights .*scaled.safetensors: .*metres a pixel"):
        start_towers(model_of(tiny_signal, audio_weights=str(path), scale_input=True))
