"""Models by what a user calls them."""

from pathlib import Path

import numpy as np
import pytest

from earthtone.errors import ConfigError, ModelError
from earthtone.models.storage import open_model, save_model
from earthtone.models.two_tower import TwoTower


@pytest.mark.slow
def test_files_of_ours_and_of_the_release(tiny_model: TwoTower, tmp_path: Path, release_file: Path) -> None:
    path = save_model(tmp_path / "run", tiny_model, {})
    for spec in (path, path.parent, str(path)):
        assert open_model(spec).config == tiny_model.config
    assert open_model(release_file).config.image_encoder == "release_resnet18"


def test_an_untrained_one() -> None:
    tile = np.zeros((200, 200, 3), np.uint8)
    one, same, other = (open_model("random:test_resnet", seed=seed) for seed in (1, 1, 2))
    assert not one.training and one.card == {"untrained": {"encoder": "test_resnet", "seed": 1}}
    assert one.signal.audio.window_frames == 500 and one.signal.image.pixels == 192
    vectors = [model.embed_tiles([tile], batch=1) for model in (one, same, other)]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])
    [sound] = one.encoded_sounds([np.zeros((2, 500, 64), np.uint8)], batch=2)
    assert sound.shape == (one.audio_tower.features + one.config.dimensions,)


def test_what_is_no_model() -> None:
    with pytest.raises(ModelError, match="'timm:resnet18' has no sound tower"):
        open_model("timm:resnet18")
    with pytest.raises(ConfigError, match="'resnet81' is no timm model"):
        open_model("random:resnet81")
    with pytest.raises(ModelError, match=r"nothing-there: no model\.safetensors there"):
        open_model("nothing-there")
