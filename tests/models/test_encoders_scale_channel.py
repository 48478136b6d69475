"""Models that are told metres a pixel: files embed like rows, unknown ones take what is usual, alone as backbones."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from earthtone.errors import ConfigError, ModelError
from earthtone.models.backbone import Backbone, encoder_of_model, open_backbone
from earthtone.models.convert import convert
from earthtone.models.encoders import IMAGENET_MEAN, IMAGENET_STD, byte_statistics, warn_of_unknown_gsd
from earthtone.models.storage import load_model, model_fingerprint, save_model
from earthtone.models.two_tower import TwoTower


def test_what_the_encoder_sees(scaled: TwoTower) -> None:
    """log2(metres a pixel) / 4 in the fourth channel; colours as without it."""
    pixels = torch.randint(0, 256, (2, 8, 8, 4), dtype=torch.uint8)
    pixels[..., 3] = 128  # 16 (log2(4) + 6)
    found = scaled.image_input(pixels)
    assert found.shape == (2, 4, 8, 8) and found.is_contiguous(memory_format=torch.channels_last)
    assert (found[:, 3] == 0.5).all()
    mean, std = byte_statistics(IMAGENET_MEAN, IMAGENET_STD, scale=False)
    assert torch.equal(found[:, :3], (pixels[..., :3].permute(0, 3, 1, 2).float() - mean) / std)


def test_files_of_known_and_unknown_scale(scaled: TwoTower, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_unknown_gsd.cache_clear()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    [known] = scaled.embed_images([tmp_path / "a.png"], gsd_m=1.5)  # 64 pixels of 1.5 m: 96 m
    assert not caplog.records
    [unknown] = scaled.embed_images([tmp_path / "a.png"])
    [other] = scaled.embed_images([pixels], gsd_m=30.0)
    np.testing.assert_array_equal(known, unknown)
    assert not np.allclose(known, other, atol=1e-4)
    assert scaled.embed_images([pixels, pixels]).shape == (2, 16)
    assert [record.getMessage() for record in caplog.records] == [
        "model.scale_input: metres a pixel of pictures are unknown; what was usual in training is taken: 3 m a pixel "
        "of what the encoder sees"
    ]


def test_its_card_and_its_backbone_keep_what_is_usual(scaled: TwoTower, tmp_path: Path) -> None:
    save_model(tmp_path / "run", scaled, {})
    model = load_model(tmp_path / "run")
    assert float(model.usual_side_m) == 96 and model.usual_gsd_m == 3
    convert(tmp_path / "run", tmp_path / "alone", backbone_only=True)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = scaled.image_tower.encoder(scaled.image_input(torch.from_numpy(pixels)))
    prints = set()
    for place in ("run", "alone"):
        backbone = open_backbone(tmp_path / place)
        assert backbone.usual_gsd_m == 3 and backbone.prepare(pixels).shape == (2, 4, 32, 32)
        torch.testing.assert_close(backbone.pooled(backbone.prepare(pixels)), expected)
        prints.add(backbone.fingerprint)
    assert len(prints) == 1
    model.usual_side_m.fill_(50.0)
    save_model(tmp_path / "other", model, {})
    assert open_backbone(tmp_path / "other").fingerprint not in prints


def test_models_without_it_are_what_they_were(tiny_model: TwoTower, scaled: TwoTower, tmp_path: Path) -> None:
    assert "usual_side_m" not in tiny_model.state_dict() and tiny_model.usual_gsd_m is None
    save_model(tmp_path, tiny_model, {})
    assert "scale_input" not in load_model(tmp_path).card["model"] and asdict(tiny_model.config)["scale_input"] is False
    assert model_fingerprint(tiny_model) != model_fingerprint(scaled)


@pytest.mark.parametrize("side_m", [0.0, -1.0, float("nan"), float("inf")])
def test_a_file_whose_usual_side_is_no_length(scaled: TwoTower, tmp_path: Path, side_m: float) -> None:
    scaled.usual_side_m.fill_(side_m)
    path = save_model(tmp_path, scaled, {})
    with pytest.raises(ModelError, match=rf"{path}: usual_side_m is {side_m:g}; .*more than 0, expected"):
        load_model(tmp_path)


def test_pictures_of_other_channels_are_none(scaled: TwoTower) -> None:
    backbone = Backbone(encoder_of_model(scaled), "scaled")
    with pytest.raises(ConfigError, match=r"uint8 \(N, height, width, 3 or 4\) expected"):
        backbone.prepare(np.zeros((1, 32, 32, 2), np.uint8))
