"""A checkpoint of the release becomes a model like any other; what is none leaves everything as it was."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import earthtone
from earthtone.cli import main
from earthtone.errors import ConfigError, ModelError
from earthtone.models.backbone import open_backbone
from earthtone.models.convert import convert
from earthtone.models.storage import read_release

State = dict[str, Tensor]
TILE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)


def embedded(model: Any) -> np.ndarray:
    return np.asarray(model.embed_tiles([TILE], batch=1))


@pytest.mark.slow
def test_it_embeds_like_the_checkpoint(release_file: Path, tmp_path: Path) -> None:
    result = convert(release_file, tmp_path / "out")
    assert result.path == tmp_path / "out" / "model.safetensors" and result.loss_path is None
    model = earthtone.load_model(tmp_path / "out")
    assert (model.config.image_encoder, model.config.audio_encoder) == ("release_resnet18", "release_resnet18")
    assert not model.config.unit and model.config.sound_scale == "soundingearth" and model.config.dimensions == 128
    assert model.signal.audio.window_frames == 128 and model.signal.image.view == 0.75
    direct = earthtone.load_model(release_file)
    np.testing.assert_array_equal(embedded(model), embedded(direct))
    made_from = model.card["converted_from"]
    assert made_from["file"] == "latest.pt" and "none stated" in made_from["license"]
    assert made_from["sha256"] == hashlib.sha256(release_file.read_bytes()).hexdigest()
    assert made_from["loss_parameters"] == []


@pytest.mark.slow
def test_unit_embeddings_where_the_loss_compared_by_cosine(release_file: Path, tmp_path: Path) -> None:
    convert(release_file, tmp_path / "out", unit=True)
    raw, unit = embedded(earthtone.load_model(release_file)), embedded(earthtone.load_model(tmp_path / "out"))
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw), rtol=1e-5, atol=1e-7)


def wrapped_in_parallel(state: State) -> Any:
    return {f"module.{name}": value for name, value in state.items()}


def nested(state: State) -> Any:
    return {"state_dict": wrapped_in_parallel(state), "epoch": 300}


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [dict, wrapped_in_parallel, nested])
def test_with_a_projection_of_the_loss_and_in_wrappings(
    flat_release: Callable[[int], State], tmp_path: Path, wrap: Callable[[State], Any]
) -> None:
    head = {"loss_function.g.0.weight": torch.randn(512, 128), "loss_function.g.2.bias": torch.randn(128)}
    torch.save(wrap({**flat_release(18), **head}), tmp_path / "their.pt")
    result = convert(tmp_path / "their.pt", tmp_path / "out")
    assert result.loss_path == tmp_path / "out" / "loss.safetensors"
    kept = load_file(result.loss_path)
    assert {f"loss_function.{name}" for name in kept} == head.keys()
    assert torch.equal(kept["g.0.weight"], head["loss_function.g.0.weight"])
    assert earthtone.load_model(tmp_path / "out").card["converted_from"]["loss_parameters"] == [
        "g.0.weight",
        "g.2.bias",
    ]


def as_34(state: State) -> State:
    """The ResNet-18 image encoder with the blocks that a ResNet-34 has more."""
    trunk = "img_encoder.module_list.0.layer"
    more = {1: (2,), 2: (2, 3), 3: (2, 3, 4, 5), 4: (2,)}
    added = {
        name.replace(f"{trunk}{stage}.1.", f"{trunk}{stage}.{block}."): value
        for stage, blocks in more.items()
        for block in blocks
        for name, value in state.items()
        if name.startswith(f"{trunk}{stage}.1.")
    }
    return {**state, **added}


@pytest.mark.slow
def test_all_depths_are_told_by_their_keys(flat_release: Callable[[int], State], tmp_path: Path) -> None:
    for name, state in (("resnet34", as_34(flat_release(18))), ("resnet50", flat_release(50))):
        torch.save(state, tmp_path / f"{name}.pt")
        model = read_release(tmp_path / f"{name}.pt").model
        assert model.config.image_encoder == f"release_{name}" and model.config.audio_encoder == "release_resnet18"


@pytest.mark.slow
def test_the_image_encoder_alone(release_file: Path, tmp_path: Path) -> None:
    path = convert(release_file, tmp_path / "out", backbone_only=True).path
    assert path.name == "backbone.safetensors" and "conv1.weight" in load_file(path)
    whole, alone = open_backbone(release_file), open_backbone(tmp_path / "out")
    assert alone.fingerprint == whole.fingerprint == open_backbone(path).fingerprint
    assert alone.channels == (32, 64, 182, 256, 512) and alone.strides == (2, 4, 8, 16, 32)
    assert alone.pixels == 192 and alone.features == 512
    inputs = alone.prepare(TILE[None])
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(alone.stages(inputs), whole.stages(inputs), strict=True))
    with pytest.raises(ModelError, match="holds an image encoder only"):
        earthtone.load_model(path)
    with pytest.raises(ConfigError, match="unit has no effect on a backbone"):
        convert(release_file, tmp_path / "other", backbone_only=True, unit=True)


@pytest.mark.parametrize(
    "card",
    [
        "7", "{}", "not json", '{"format": 1}',
        '{"format": 1, "encoder": "hf-hub:a/b", "pixels": 64, "mean": [0, 0, 0], "std": [1, 1, 1]}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, 0, 0], "std": [1, 1, 0]}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, NaN, 0], "std": [1, 1, 1]}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, 0, 0], "std": [1, Infinity, 1]}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "gsd_m": 0}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, 0, 0], "std": [1, 1, 1], "gsd_m": 1e10}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, 0, 1e300], "std": [1, 1, 1]}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, 0, 0], "std": [1, 1, 1e-300]}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 64, "mean": [0, 0, 0], "std": [1e300, 1, 1]}',
        '{"format": 1, "encoder": "test_resnet", "pixels": 1000000, "mean": [0, 0, 0], "std": [1, 1, 1]}',
    ],
)  # fmt: skip
def test_a_backbone_file_of_nonsense(tmp_path: Path, card: str) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors", metadata={"earthtone_backbone": card})
    with pytest.raises(ModelError, match=r"does not describe a backbone of this version|no timm model and no plug-in"):
        open_backbone(tmp_path / "b.safetensors")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.path, "ran")


def truncated(path: Path, state: State) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-2000])


def with_code(path: Path, state: State) -> None:
    torch.save({**state, "extra": Payload(path.with_name("ran"))}, path)


def wrong_shapes(path: Path, state: State) -> None:
    torch.save({**state, "img_encoder.module_list.0.layer2.0.conv1.weight": torch.ones(128, 64, 3, 3)}, path)


def keys_missing(path: Path, state: State) -> None:
    torch.save({name: value for name, value in state.items() if ".layer4.1.bn2" not in name}, path)


def keys_unexpected(path: Path, state: State) -> None:
    torch.save({**state, "img_encoder.module_list.0.layer5.weight": torch.ones(3), "txt\x1b[2J.w": torch.ones(1)}, path)


def a_head_of_a_terabyte(path: Path, state: State) -> None:
    head = {"weight": torch.ones(()).expand(10**9, 512, 1, 1), "bias": torch.ones(()).expand(10**9)}
    torch.save(
        {**state, **{f"{p}_encoder.module_list.0.fc.{k}": v for p in ("img", "snd") for k, v in head.items()}}, path
    )


def a_loss_of_a_terabyte(path: Path, state: State) -> None:
    torch.save({**state, "loss_function.g.0.weight": torch.ones(()).expand(10**12)}, path)


def no_sound(path: Path, state: State) -> None:
    torch.save({name: value for name, value in state.items() if name.startswith("img")}, path)


def another_project(path: Path, state: State) -> None:
    torch.save({"backbone.conv1.weight": torch.ones(64, 3, 7, 7), "fc.weight": torch.ones(10, 512)}, path)


def a_folder(path: Path, state: State) -> None:
    path.mkdir()


def nothing(path: Path, state: State) -> None: ...


def text(path: Path, state: State) -> None:
    path.write_text("<html>404</html>")


BAD: dict[Callable[[Path, State], None], str] = {
    truncated: "cannot be read",
    with_code: "holds Python objects.*nothing of it was run",
    wrong_shapes: r"1 of another shape \(img_encoder.module_list.0.layer2.0.conv1.weight\)",
    keys_missing: r"10 missing \(img_encoder.module_list.0.layer4.1.bn2.bias, .*, \.\.\.\)",
    keys_unexpected: r"2 unexpected \(img_encoder.module_list.0.layer5.weight, txt\?\?2J.w\)",
    a_head_of_a_terabyte: "embeddings of 1000000000 dimensions",
    a_loss_of_a_terabyte: "1000000000000 values of the loss",
    no_sound: r"missing \(snd_encoder.module_list.0.bn1.bias",
    another_project: r"no checkpoint of the SoundingEarth release \(2 tensors, the first is 'backbone.conv1.weight'",
    a_folder: "a folder, .* a checkpoint file was expected",
    nothing: "nothing there; a checkpoint file was expected",
    text: "no checkpoint of PyTorch",
}


@pytest.mark.slow
@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_one_line_and_writes_nothing(
    spoil: Callable[[Path, State], None],
    flat_release: Callable[[int], State],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "their.pt"
    spoil(path, flat_release(18))
    assert main(["convert", str(path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith(f"earthtone: {path}: ")
    assert len(said.err) < 500 + len(str(path)) and "\x1b" not in said.err
    with pytest.raises(ModelError, match=BAD[spoil]):
        earthtone.load_model(path) if spoil is not a_folder else read_release(path)
    assert not (tmp_path / "out").exists() and not (tmp_path / "ran").exists()


def test_what_exists_is_not_written_over(
    release_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "model.safetensors").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out in ("full", "file", "full/model.safetensors"):
        for more in ([], ["--backbone_only"]):
            assert main(["convert", str(release_file), str(tmp_path / out), *more]) == 2
            assert "exists and is not empty; choose another OUT" in capsys.readouterr().err
    assert (tmp_path / "full" / "model.safetensors").read_text() == (tmp_path / "file").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.slow
def test_the_command_line(release_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["convert", str(release_file), str(tmp_path / "empty"), "--unit"]) == 0
    assert "compared by cosine\nnext: earthtone evaluate retrieval" in capsys.readouterr().out
    assert main(["convert", str(release_file), str(tmp_path / "trunk"), "--backbone_only", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["path"].endswith("backbone.safetensors") and printed["card"]["converted_from"]["file"] == "latest.pt"
    assert main(["convert", str(tmp_path / "empty"), str(tmp_path / "of-a-run"), "--backbone_only"]) == 0
    assert open_backbone(tmp_path / "of-a-run").fingerprint == open_backbone(tmp_path / "trunk").fingerprint
