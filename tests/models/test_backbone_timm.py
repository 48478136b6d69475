"""timm's weights from files, from the cache, or, without a network, one clear line."""

import os
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from earthtone.errors import ModelError
from earthtone.models.backbone import open_backbone

REPOSITORY = "timm/test_resnet.r160_in1k"


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt", "bin"])
def test_weights_from_a_file(name: str, suffix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(5)
    whole = timm.create_model(name).eval()
    path = tmp_path / f"weights.{suffix}"
    save_file(whole.state_dict(), path) if suffix == "safetensors" else torch.save(
        {"state_dict": whole.state_dict()}, path
    )
    backbone = open_backbone(f"timm:{name}@{path}")
    assert "the classifier was left out" in caplog.text and ".bias" in caplog.text
    inputs = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        pooled = whole.forward_head(whole.forward_features(inputs), pre_logits=True)
        torch.testing.assert_close(backbone.pooled(inputs), pooled)
    if suffix == "pt":  # position embeddings are resized when pictures come in another size
        assert open_backbone(f"timm:{name}@{path}", pixels=64).pixels == 64


def test_a_file_without_a_classifier_drops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), tmp_path / "a.safetensors")
    open_backbone(f"timm:test_resnet@{tmp_path}/a.safetensors")
    assert caplog.text == ""


def test_everything_else_must_fit(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    torch.save({**state, "extra": torch.ones(1)}, tmp_path / "more.pt")
    with pytest.raises(ModelError, match=r"0 keys missing, 1 unexpected, .* first: extra"):
        open_backbone(f"timm:test_resnet@{tmp_path}/more.pt")
    torch.save({name: value for name, value in state.items() if name != "conv1.0.weight"}, tmp_path / "less.pt")
    with pytest.raises(ModelError, match=r"1 keys missing, .* first: conv1.0.weight"):
        open_backbone(f"timm:test_resnet@{tmp_path}/less.pt")


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(
        ModelError, match=r"not in the cache, and http://127.0.0.1:9 .*write timm:test_resnet@FILE.safetensors"
    ) as error:
        open_backbone("timm:test_resnet")
    assert "\n" not in str(error.value) and time.monotonic() - began < 30


def test_from_the_cache_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache's own layout: a reference to a commit, a snapshot with its files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    commit = "0" * 40
    folder = tmp_path / f"models--{REPOSITORY.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    torch.manual_seed(5)
    whole = timm.create_model("test_resnet").eval()
    save_file(whole.state_dict(), folder / "snapshots" / commit / "model.safetensors")
    backbone = open_backbone("timm:test_resnet")
    assert torch.equal(backbone.encoder.state_dict()["conv1.0.weight"], whole.state_dict()["conv1.0.weight"])
