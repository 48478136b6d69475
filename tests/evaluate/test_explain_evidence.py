"""Evidence: shares that add up to the similarity, planted answers found in their corner, Grad-CAM where it must be."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from earthtone.errors import ModelError, SignalError
from earthtone.evaluate.explain import last_maps, pair_evidence
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def pair(model: TwoTower, windows: int = 3, seed: int = 0) -> Pair:
    draw = np.random.default_rng(seed)
    side, audio = model.signal.image.stored_pixels, model.signal.audio
    tile = draw.integers(0, 256, (side, side, 3), np.uint8)
    return tile, draw.integers(0, 256, (windows, audio.window_frames, audio.mels), np.uint8)


def made(signal: SignalConfig, **config: object) -> TwoTower:
    torch.manual_seed(1)
    known = {"image_encoder": "test_resnet", "audio_encoder": "test_resnet", "dimensions": 8}
    return TwoTower(ModelConfig(**{**known, **config}), signal).eval()  # type: ignore[arg-type]


def embedded(model: TwoTower, tile: NDArray[np.uint8], windows: NDArray[np.uint8]) -> float:
    return float(model.embed_tiles([tile])[0] @ model.embed_windows([windows])[0])


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["test_resnet", "release_resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize("windows", [1, 3])
def test_exact_shares_add_up_to_the_similarity(tiny_signal: SignalConfig, encoder: str, windows: int) -> None:
    model = made(tiny_signal, image_encoder=encoder, audio_encoder=encoder)
    tile, sound = pair(model, windows)
    found = pair_evidence(model, tile, sound)
    assert found.image.exact and found.sound.exact and found.sound.values.shape[0] == windows
    assert found.similarity == pytest.approx(embedded(model, tile, sound), abs=1e-5)
    for side in (found.image, found.sound):
        assert side.values.sum() == pytest.approx(found.similarity, abs=1e-5)


def test_they_add_up_with_learned_window_weights_and_raw_embeddings(tiny_signal: SignalConfig) -> None:
    for config in ({"windows": "attention"}, {"unit": False}, {"windows": "attention", "unit": False}):
        model = made(tiny_signal, **config)
        if "windows" in config:
            nn.init.normal_(model.reducer.weight.weight)  # type: ignore[union-attr,arg-type]
        tile, sound = pair(model, 40)  # more than are made at once
        found = pair_evidence(model, tile, sound)
        assert found.similarity == pytest.approx(embedded(model, tile, sound), rel=1e-4, abs=1e-5)
        assert found.image.values.sum() == pytest.approx(found.similarity, rel=1e-4, abs=1e-5)
        assert found.sound.values.sum() == pytest.approx(found.similarity, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("encoder", "projection"), [("test_resnet", "mlp"), ("test_convnext", "linear"), ("test_vit", "linear")]
)
def test_other_heads_get_grad_cam(tiny_signal: SignalConfig, encoder: str, projection: str) -> None:
    model = made(tiny_signal, image_encoder=encoder, audio_encoder=encoder, projection=projection)
    tile, sound = pair(model)
    found = pair_evidence(model, tile, sound)
    assert not found.image.exact and not found.sound.exact
    assert found.similarity == pytest.approx(embedded(model, tile, sound), abs=1e-5)
    assert found.image.values.ndim == 2 and found.sound.values.ndim == 3 and len(found.sound.values) == 3
    for side in (found.image, found.sound):
        assert np.isfinite(side.values).all() and (side.values >= 0).all()
    assert found.image.values.max() > 0 or found.sound.values.max() > 0


class Corner(nn.Module):
    """Features of brightness that only a corner has; everywhere else they are 0."""

    num_features = 2

    def __init__(self, row: int, column: int, *, squared: bool) -> None:
        super().__init__()
        self.at, self.squared = (row, column), squared

    def forward_intermediates(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        coarse = nn.functional.adaptive_avg_pool2d(inputs.mean(1, keepdim=True), 4)
        mask = torch.zeros_like(coarse)
        mask[..., self.at[0], self.at[1]] = 1
        maps = torch.cat([coarse.abs() + 1, 2 * coarse.abs()], dim=1) * mask
        return maps, [maps]

    def forward_head(self, maps: Tensor) -> Tensor:
        pooled = maps.mean(dim=(2, 3))
        return pooled**2 if self.squared else pooled

    def forward(self, inputs: Tensor) -> Tensor:
        return self.forward_head(self.forward_intermediates(inputs)[0])


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("corner", [(0, 3), (3, 0)])
def test_a_planted_answer_is_found_in_its_corner(
    tiny_signal: SignalConfig, corner: tuple[int, int], squared: bool
) -> None:
    # a cosine does not change when all features grow, so the gradient along a single place would be 0
    model = made(tiny_signal, unit=not squared)
    for tower in (model.image_tower, model.audio_tower):
        tower.encoder = Corner(*corner, squared=squared)
        projection = tower.projection = nn.Linear(2, 8)
        nn.init.constant_(projection.weight, 0.5)
        nn.init.zeros_(projection.bias)
    tile, sound = pair(model)
    found = pair_evidence(model, tile, sound)
    for side in (found.image, found.sound):
        assert side.exact is not squared
        for place in side.values.reshape(-1, 4, 4):
            assert np.argwhere(place > 1e-9).tolist() == [list(corner)]


def test_an_encoder_whose_features_come_from_elsewhere_is_refused() -> None:
    class Other(Corner):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) + inputs.std()

    with pytest.raises(ModelError, match="do not follow from its last map"):
        last_maps(Other(0, 0, squared=False), torch.rand(1, 3, 32, 32))
    with pytest.raises(ModelError, match="no map of places"):
        last_maps(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(1, 3, 2, 2))


def test_a_recording_without_windows_is_refused(tiny_model: TwoTower) -> None:
    tile, sound = pair(tiny_model)
    with pytest.raises(SignalError, match="without a window"):
        pair_evidence(tiny_model, tile, sound[:0])


def test_the_model_is_left_as_it_was(tiny_signal: SignalConfig) -> None:
    model = made(tiny_signal, projection="mlp").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pair_evidence(model, *pair(model))
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_model_that_is_told_metres_a_pixel(tiny_signal: SignalConfig) -> None:
    model = made(tiny_signal, scale_input=True)
    tile, sound = pair(model, 1)
    found = [pair_evidence(model, tile, sound, side_m).similarity for side_m in (3.0, 300.0)]
    heard = model.embed_windows([sound])[0]
    expected = [float(model.embed_tiles([tile], sides_m=[side_m])[0] @ heard) for side_m in (3.0, 300.0)]
    assert found == pytest.approx(expected, abs=1e-5) and abs(found[0] - found[1]) > 1e-3
