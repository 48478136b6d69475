"""Real processes with a part of the weights each: they train as with whole weights, and write the same files."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.test_processes import ended, start
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from earthtone.data.packed import Table
from earthtone.errors import ConfigError
from earthtone.models.storage import load_model, save_model
from earthtone.models.two_tower import TwoTower
from earthtone.train.checkpoint import read_history
from earthtone.train.distributed import local_part, shard_model
from earthtone.train.fit import fit
from earthtone.train.recipe import LossConfig, Recipe, SamplerConfig, WithinConfig
from earthtone.train.recipe_file import check_device, load_recipe

_SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook
from earthtone.data.packed import Table
from earthtone.encode.engine import embed_rows
from earthtone.models.two_tower import TwoTower
from earthtone.train.fit import fit
from earthtone.train.recipe_file import load_recipe
from earthtone.train.recipe_file import check_device
from earthtone.train.distributed import local_part

held = {}

def count(module, _):
    if isinstance(module, TwoTower):
        held["passes"] = held.get("passes", 0) + 1
        weights = list(module.parameters())
        held["weights"] = [sum(value.numel() for value in part) for part in (map(local_part, weights), weights)]
        if held["passes"] == 5 and stops and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

def count_moments(optimizer, *_):
    moments = [state["exp_avg"] for state in optimizer.state.values()]
    held["moments"] = [sum(how(value).numel() for value in moments) for how in (local_part, lambda v: v)]

def validate(model, table, rows):
    image, audio = embed_rows(model, table, rows)
    return {"score": float((image * audio).sum())}

register_module_forward_pre_hook(count)
register_optimizer_step_post_hook(count_moments)
for written in map(Path, sys.argv[2:]):
    recipe, run, stops = load_recipe(written), written.with_suffix(""), "stopped" in written.name
    held.clear()
    result = fit(Table(sys.argv[1]), recipe, run, validate=validate)
    if stops:
        held["stopped"] = [result.finished, result.progress.step]
        result = fit(Table(sys.argv[1]), recipe, run, validate=validate, resume=True)
    (run / f"held.{result.rank}.json").write_text(json.dumps(held))
"""


@pytest.fixture
def levers(tiny_recipe: Recipe, tmp_path: Path) -> Recipe:
    """Rates by depth, an encoder that joins later, views, windows, terms within; no batch norms."""
    names = {"image_encoder": "test_convnext", "audio_encoder": "test_vit", "windows": "attention"}
    torch.manual_seed(3)  # where a gradient is hardly more than rounding, Adam makes a step of it: rare, not here
    begun = TwoTower(replace(tiny_recipe.model, **names), tiny_recipe.signal)
    donor = str(save_model(tmp_path / "donor", begun, {}))
    train = replace(
        tiny_recipe.train, epochs=2, batch_size=8, precision="32", keep="last", weight_decay=0.5, clip_norm=0.5,
        freeze="image", unfreeze_step=2, layer_decay=0.8, views=2, windows=2, learning_rate=1e-4,
    )  # fmt: skip
    within = WithinConfig("simclr", projection=8)
    return replace(tiny_recipe, model=replace(begun.config, image_weights=donor), train=train, within=within)


@pytest.fixture
def queue(tiny_recipe: Recipe) -> Recipe:
    """A queue filled by momentum encoders, look-alikes, random draws, batch norms."""
    model = replace(tiny_recipe.model, image_encoder="test_nfnet", audio_encoder="test_resnet", drop_path=0.2)
    train = replace(
        tiny_recipe.train, epochs=3, batch_size=8, precision="32", keep="last", clip_norm=None, momentum=0.9
    )
    recipe = replace(tiny_recipe, model=model, train=train, loss=LossConfig("infonce_memory", {"batches": 2}))
    return replace(recipe, sampler=SamplerConfig(similar_share=0.25))


def figures(run: Path) -> list[float]:
    return [line[key] for line in read_history(run) for key in ("loss", "val_score") if key in line]


@pytest.mark.slow
def test_parts_train_as_whole_weights(tiny_table: Path, levers: Recipe, queue: Recipe, tmp_path: Path) -> None:
    """Both strategies give the same, and so does one process; a stop changes nothing; each process holds its half."""
    script, files = tmp_path / "script.py", []
    script.write_text(_SCRIPT)
    runs = [("levers", "ddp"), ("levers", "fsdp"), ("queue", "ddp"), ("queue", "fsdp"), ("stopped", "fsdp")]
    for name, strategy in runs:
        recipe = levers if name == "levers" else queue
        files.append(tmp_path / f"{name}-{strategy}.yaml")
        files[-1].write_text(replace(recipe, train=replace(recipe.train, devices=2, strategy=strategy)).to_yaml())
    done = ended(start(script, tiny_table, *files))
    assert [code for code, _, _ in done] == [0, 0], done[0][2][-3000:] + done[1][2][-3000:]
    assert "FSDP" not in done[0][2]  # warns of nothing
    fit(Table(tiny_table), levers, tmp_path / "levers-one")

    def kept(name: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / name / "model.safetensors")

    def apart(one: str, other: str) -> float:
        first, second = kept(one), kept(other)
        assert list(first) == list(second)
        return max(float((first[key] - second[key]).abs().max()) for key in first)

    assert apart("levers-ddp", "levers-fsdp") < 1e-6 and apart("queue-ddp", "queue-fsdp") < 1e-6
    assert apart("levers-one", "levers-fsdp") < 1e-6
    assert apart("donor", "levers-fsdp") > 1e-4  # it has learned
    assert all(torch.equal(value, kept("stopped-fsdp")[key]) for key, value in kept("queue-fsdp").items())
    for name in ("levers", "queue"):
        assert figures(tmp_path / f"{name}-ddp") == pytest.approx(figures(tmp_path / f"{name}-fsdp"), rel=1e-4)
    assert figures(tmp_path / "queue-fsdp") == figures(tmp_path / "stopped-fsdp")
    assert load_model(tmp_path / "levers-fsdp").card["recipe"]["train"]["strategy"] == "fsdp"

    held = [json.loads((tmp_path / f"levers-fsdp/held.{rank}.json").read_text()) for rank in range(2)]
    for what in ("weights", "moments"):
        own, whole = zip(*(process[what] for process in held), strict=True)
        assert max(own) < 0.51 * whole[0] and (what == "moments" or sum(own) == whole[0])
    stops = [json.loads((tmp_path / f"stopped-fsdp/held.{rank}.json").read_text())["stopped"] for rank in range(2)]
    assert stops[0] == stops[1] == [False, 3]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """Of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("scale_input", [False, True])
def test_a_model_in_parts_computes_as_before(tiny_recipe: Recipe, mesh: DeviceMesh, scale_input: bool) -> None:
    """Outputs, modes, running statistics and names; views in front of what changes them in place are none."""
    names = {"image_encoder": "test_convnext", "audio_encoder": "test_resnet", "scale_input": scale_input}
    model = TwoTower(replace(tiny_recipe.model, **names), tiny_recipe.signal)
    model.image_tower.freeze(True)
    model.to(memory_format=torch.channels_last)
    signal = tiny_recipe.signal
    pixels = torch.randint(
        256, (2, signal.image.pixels, signal.image.pixels, model.config.image_channels), dtype=torch.uint8
    )
    sound = torch.randint(256, (2, 1, signal.audio.window_frames, signal.audio.mels), dtype=torch.uint8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    with torch.no_grad():
        expected = model.eval()(pixels, sound)
    model.train()
    shard_model(model, mesh)
    assert modes == [part.training for part in model.modules()]
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(local_part(after[name]), value) for name, value in before.items())
    assert all(isinstance(value, DTensor) for value in model.parameters())
    outputs = model.eval()(pixels, sound)
    assert not any(output._is_view() for output in outputs)
    for output, right in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, right, rtol=1e-5, atol=1e-5)
    blocks = [name for name, part in model.named_modules() if hasattr(part, "unshard")]
    assert {"", "image_tower.encoder", "audio_tower.encoder"} < set(blocks)
    assert any(".layer4" in name for name in blocks) and any(".stages.3" in name for name in blocks), blocks


def test_a_single_number_has_no_parts(tiny_recipe: Recipe, mesh: DeviceMesh) -> None:
    model = TwoTower(tiny_recipe.model, tiny_recipe.signal)
    model.image_tower.encoder.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ConfigError, match="scale is a single number"):
        shard_model(model, mesh)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"train.devices": 1}, "train.strategy fsdp with one process .* type --train.devices"),
        ({"train.chunk_size": 2}, "train.strategy fsdp with train.chunk_size 2"),
        ({"train.compile": True}, "train.compile with 2 processes"),
        ({"train.strategy": "deepspeed"}, "train.strategy is deepspeed; ddp or fsdp expected"),
    ],
)
def test_what_cannot_be_in_parts_is_refused(wrong: dict[str, Any], told: str, tmp_path: Path) -> None:
    written = tmp_path / "recipe.yaml"
    written.write_text("train: {strategy: fsdp, devices: 2}\n")
    with pytest.raises(ConfigError, match=told):
        load_recipe(written, wrong)


def test_a_device_without_parts_is_refused() -> None:
    recipe = load_recipe("small", {"train.strategy": "fsdp", "train.devices": 2})
    check_device(recipe, "cuda")
    with pytest.raises(ConfigError, match="fsdp is for cpu and cuda, and the device is mps"):
        check_device(recipe, "mps")
