"""The release's ResNets give the numbers that the release gives, by its own names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from earthtone.errors import ConfigError
from earthtone.models.config import ModelConfig
from earthtone.models.encoders import ReleaseResNet, make_encoder
from earthtone.models.storage import read_release
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.slow
@torch.inference_mode()
def test_the_numbers_of_the_release(release_file: Path, release_forward: dict[str, np.ndarray]) -> None:
    model = read_release(release_file).model
    image, windows = (torch.from_numpy(release_forward[name]) for name in ("image", "spectrogram"))
    assert relative(model.image_tower(image).numpy(), release_forward["image_embedding"]) < 1e-4
    features = model.image_tower.encoder(image).numpy()
    assert relative(features, release_forward["image_features_mean"]) < 1e-4
    heard = np.split(model.audio_tower(windows).numpy(), np.cumsum(release_forward["segments"])[:-1])
    means = np.stack([recording.mean(axis=0) for recording in heard])
    assert relative(means, release_forward["sound_embedding"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, 50])
def test_names_and_shapes(depth: int, release_shapes: Callable[[int], dict[str, tuple[int, ...]]]) -> None:
    for prefix, name, channels in (("img", f"release_resnet{depth}", 3), ("snd", "release_resnet18", 1)):
        trunk = f"{prefix}_encoder.module_list.0."
        listed = {
            key.removeprefix(trunk): shape
            for key, shape in release_shapes(depth).items()
            if key.startswith(trunk) and ".fc." not in key
        }
        found = {key: tuple(value.shape) for key, value in ReleaseResNet(name, channels).state_dict().items()}
        assert found == listed
    head = release_shapes(depth)["img_encoder.module_list.0.fc.weight"]
    assert head == (128, ReleaseResNet(f"release_resnet{depth}").num_features, 1, 1)


@pytest.mark.parametrize(
    ("name", "blocks", "channels"),
    [
        ("release_resnet18", 8, (32, 64, 182, 256, 512)),
        ("release_resnet34", 16, (32, 64, 182, 256, 512)),
        ("release_resnet50", 16, (32, 256, 728, 1024, 2048)),
    ],
)
def test_maps(name: str, blocks: int, channels: tuple[int, ...]) -> None:
    encoder = ReleaseResNet(name).eval()
    assert sum(type(module).__name__ in ("BasicBlock", "Bottleneck") for module in encoder.modules()) == blocks
    with torch.no_grad():
        last, maps = encoder.forward_intermediates(torch.randn(1, 3, 64, 64))
    assert [tuple(values.shape[1:]) for values in maps] == [
        (width, side, side) for width, side in zip(channels, (32, 16, 8, 4, 2), strict=True)
    ]
    assert torch.equal(last, maps[-1])
    assert [info["num_chs"] for info in encoder.feature_info] == list(channels)


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "sides"), [(16, (16, 8, 4, 4)), (8, (16, 8, 8, 8))])
@pytest.mark.parametrize("name", ["release_resnet18", "release_resnet50"])
def test_dilation_keeps_resolution_and_weights(name: str, stride: int, sides: tuple[int, ...]) -> None:
    plain, dilated = ReleaseResNet(name).eval(), ReleaseResNet(name, output_stride=stride).eval()
    dilated.load_state_dict(plain.state_dict())
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, whole = dilated.forward_intermediates(inputs)[1], plain.forward_intermediates(inputs)[1]
    assert tuple(values.shape[2] for values in maps[1:]) == sides
    assert torch.equal(maps[1], whole[1])
    assert dilated.feature_info[-1]["reduction"] == stride


def test_dilated_convolutions_sample_as_far_as_before() -> None:
    """A dilated stage sees, at every second place, what the strided one sees: true for its first convolution's maps."""
    plain, dilated = ReleaseResNet("release_resnet18"), ReleaseResNet("release_resnet18", output_stride=16)
    assert [c.dilation for c in dilated.get_submodule("layer4").modules() if isinstance(c, nn.Conv2d)] == [
        (1, 1), (1, 1), (1, 1), (2, 2), (2, 2),
    ]  # fmt: skip
    dilated.load_state_dict(plain.state_dict())
    inputs = torch.randn(1, 256, 8, 8)
    first, wide = (net.get_submodule("layer4.0.conv1")(inputs) for net in (plain, dilated))
    torch.testing.assert_close(wide[..., ::2, ::2], first)


def test_what_it_cannot_do() -> None:
    with pytest.raises(ConfigError, match="output_stride 4; 8, 16 or 32 expected"):
        ReleaseResNet("release_resnet18", output_stride=4)
    with pytest.raises(ConfigError, match="'release_resnet18' has no drop_path"):
        make_encoder("release_resnet18", (3, 64, 64), drop_path=0.1)
    with pytest.raises(ConfigError, match="'release_resnet50' has no weights of its own to fetch"):
        make_encoder("release_resnet50", (3, 64, 64), pretrained=True)


def test_as_both_encoders_it_learns(tiny_signal: SignalConfig) -> None:
    model = TwoTower(ModelConfig("release_resnet18", "release_resnet18", 8), tiny_signal)
    image, audio = model(torch.randint(0, 256, (2, 32, 32, 3)).byte(), torch.randint(0, 256, (2, 1, 50, 32)).byte())
    (image * audio).sum().backward()
    assert image.shape == audio.shape == (2, 8)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_raw_embeddings_and_the_scale_of_the_release(
    release_file: Path, release_forward: dict[str, np.ndarray]
) -> None:
    model = read_release(release_file).model
    draw = np.random.default_rng(0)
    recordings = [draw.integers(0, 256, (count, 128, 128), np.uint8) for count in (1, 3)]
    low, high = np.exp(-1.5), np.exp(0.5)
    expected = []
    with torch.inference_mode():
        for recording in recordings:  # time first in tables; mel bands are the rows that the encoder sees
            values = recording.transpose(0, 2, 1)[:, None].astype(np.float64) * (high - low) / 255 + low
            seen = model.sound_input(torch.from_numpy(recording))
            np.testing.assert_allclose(seen.numpy(), values, rtol=1e-5)
            outputs: Tensor = model.audio_tower(torch.from_numpy(values.astype(np.float32)))
            expected.append(outputs.numpy().mean(axis=0))
    found = model.embed_windows(recordings, batch=2)
    assert relative(found, np.stack(expected)) < 1e-5
    assert not np.allclose(np.linalg.norm(found, axis=1), 1, atol=0.1)
    features = np.stack(list(model.encoded_sounds(recordings, batch=2)))[:, :512]
    assert features.shape == (2, 512)
    head = model.audio_tower.projection
    projected = head(torch.from_numpy(features)).detach().numpy()  # averaging commutes with the head
    assert relative(projected, found) < 1e-5
