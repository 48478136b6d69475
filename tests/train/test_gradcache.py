"""Chunks: the gradients of the whole batch, the same draws twice, running statistics once, one chunk in memory."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from earthtone.data.packed import Table
from earthtone.losses import LOSSES, loss_class, loss_options, make_loss
from earthtone.losses.base import Loss
from earthtone.models.config import ModelConfig
from earthtone.models.two_tower import TwoTower
from earthtone.models.weights import read_safetensors
from earthtone.signal.config import SignalConfig
from earthtone.train.checkpoint import read_history
from earthtone.train.fit import fit
from earthtone.train.gradcache import embed_in_chunks
from earthtone.train.recipe import LossConfig, Recipe

ROWS, DIMENSIONS = 14, 6


def two_tower(encoder: str, tiny_signal: SignalConfig, **options: object) -> TwoTower:
    """In double precision, from the bytes on."""
    torch.manual_seed(0)
    config = ModelConfig(encoder, encoder, dimensions=DIMENSIONS, **options)  # type: ignore[arg-type]
    model = TwoTower(config, tiny_signal).double()
    single = model.sound_input
    model.sound_input = lambda spectrograms: single(spectrograms).double()  # type: ignore[method-assign]
    return model.train()


def rows(tiny_signal: SignalConfig, count: int = ROWS, windows: int = 1) -> tuple[Tensor, Tensor]:
    draw = np.random.default_rng(0)
    side, audio = tiny_signal.image.pixels, tiny_signal.audio
    return (
        torch.from_numpy(draw.integers(0, 256, (count, side, side, 3), np.uint8)),
        torch.from_numpy(draw.integers(0, 256, (count, windows, audio.window_frames, audio.mels), np.uint8)),
    )


def loss_of(name: str) -> Loss:
    torch.manual_seed(1)
    shape = {"batches": 2, "batch_size": ROWS, "dimensions": DIMENSIONS}
    return make_loss(name, **{key: value for key, value in shape.items() if key in loss_options(name)}).double()


def facts(loss: Loss) -> dict[str, Tensor]:
    draw = np.random.default_rng(1)
    points = draw.standard_normal((ROWS, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    given = {"points": torch.from_numpy(points)} if loss.needs_points else {}
    if loss.has_negatives:
        groups = torch.arange(2 * ROWS).reshape(ROWS, 2)
        groups[5, 0] = groups[2, 0]
        given |= {"groups": groups, "twins": (groups[:, None] == groups[None]).any(dim=2)}
    return given


def gradients(model: nn.Module, loss: Loss, embedded: tuple[Tensor, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """The loss, and all gradients of model and loss; both are left without any."""
    value = loss(*embedded, **facts(loss))
    value.backward()
    both = nn.ModuleList([model, loss])
    found = {name: p.grad.clone() for name, p in both.named_parameters() if p.grad is not None}
    both.zero_grad()
    return value.item(), found


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys() and one
    for name, value in one.items():
        assert (value - other[name]).abs().max() <= tolerance * max(1.0, float(value.abs().max())), name


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_whole_batch(name: str, tiny_signal: SignalConfig) -> None:
    model, (image, audio) = two_tower("test_convnext", tiny_signal), rows(tiny_signal)
    whole_loss, chunked_loss = loss_of(name), loss_of(name)
    for _ in range(2):  # the second time with rows in the queue
        expected = gradients(model, whole_loss, model(image, audio))
        found = gradients(model, chunked_loss, embed_in_chunks(model, image, audio, 4))  # 4, 4, 3 and 3 rows
        assert math.isclose(expected[0], found[0], rel_tol=1e-12)
        assert_close(expected[1], found[1], 1e-10)
    for key, value in whole_loss.state_dict().items():  # a queue was filled once a step
        assert torch.allclose(value, chunked_loss.state_dict()[key], atol=1e-12), key


@pytest.mark.slow
def test_several_windows_under_attention(tiny_signal: SignalConfig) -> None:
    model = two_tower("test_convnext", tiny_signal, windows="attention")
    model.reducer.float()  # windows are averaged in single precision
    nn.init.normal_(model.reducer.weight.weight)
    image, audio = rows(tiny_signal, windows=3)
    expected = gradients(model, loss_of("infonce"), model(image, audio))
    found = gradients(model, loss_of("infonce"), embed_in_chunks(model, image, audio, 5))
    assert_close(expected[1], found[1], 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["test_vit", "test_resnet"])  # with layer norms, with batch norms
def test_a_chunk_is_made_again_with_the_same_draws(encoder: str, tiny_signal: SignalConfig) -> None:
    """The yardstick keeps the activations of all chunks."""
    model, (image, audio) = two_tower(encoder, tiny_signal, drop_path=0.5), rows(tiny_signal)
    loss = loss_of("infonce")
    torch.manual_seed(2)
    parts = [model(*part) for part in zip(image.tensor_split(4), audio.tensor_split(4), strict=True)]
    kept = tuple(torch.cat(side) for side in zip(*parts, strict=True))
    expected = gradients(model, loss, kept)  # type: ignore[arg-type]
    torch.manual_seed(2)
    found = gradients(model, loss, embed_in_chunks(model, image, audio, 4))
    assert found[0] == expected[0]
    assert_close(expected[1], found[1], 1e-10)


def test_the_last_chunk_is_embedded_once(tiny_signal: SignalConfig) -> None:
    model, (image, audio) = two_tower("test_convnext", tiny_signal), rows(tiny_signal)
    sizes: list[int] = []
    model.image_tower.register_forward_hook(lambda module, given, output: sizes.append(len(output)))
    embedded = embed_in_chunks(model, image, audio, 4)
    assert sizes == [4, 4, 3, 3]
    (embedded[0] * embedded[1]).sum().backward()
    assert sizes[4:] == [4, 4, 3]


def test_running_statistics_count_a_chunk_once(tiny_signal: SignalConfig) -> None:
    model, (image, audio) = two_tower("test_resnet", tiny_signal), rows(tiny_signal)
    start = {name: value.clone() for name, value in model.named_buffers()}
    with torch.no_grad():
        for part in zip(image.tensor_split(4), audio.tensor_split(4), strict=True):
            model(*part)
    once = {name: value.clone() for name, value in model.named_buffers()}
    for name, buffer in model.named_buffers():
        buffer.copy_(start[name])
    gradients(model, loss_of("infonce"), embed_in_chunks(model, image, audio, 4))
    counted = [name for name in once if name.endswith("num_batches_tracked")]
    assert counted and all(int(once[name]) == 4 for name in counted)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, once[name]), name


def test_frozen_batch_norms_have_the_whole_batch_s_gradients(tiny_signal: SignalConfig) -> None:
    model, (image, audio) = two_tower("test_resnet", tiny_signal), rows(tiny_signal)
    model.eval()  # running statistics: rows do not see each other
    expected = gradients(model, loss_of("siglip"), model(image, audio))
    assert_close(expected[1], gradients(model, loss_of("siglip"), embed_in_chunks(model, image, audio, 4))[1], 1e-10)


def test_a_weight_s_gradient_comes_once(tiny_signal: SignalConfig) -> None:
    """DDP counts: each weight's gradient is there when it was accumulated for the first time."""
    model, (image, audio) = two_tower("test_convnext", tiny_signal), rows(tiny_signal)
    times = dict.fromkeys(model.parameters(), 0)

    def count(weight: Tensor) -> None:
        times[weight] += 1  # type: ignore[index]

    for weight in times:
        weight.register_post_accumulate_grad_hook(count)
    gradients(model, loss_of("infonce"), embed_in_chunks(model, image, audio, 4))
    assert set(times.values()) == {1}


def test_a_frozen_tower_stays_without_gradients(tiny_signal: SignalConfig) -> None:
    model, (image, audio) = two_tower("test_convnext", tiny_signal), rows(tiny_signal)
    model.audio_tower.requires_grad_(False)
    expected = gradients(model, loss_of("siglip"), model(image, audio))
    found = gradients(model, loss_of("siglip"), embed_in_chunks(model, image, audio, 4))
    assert_close(expected[1], found[1], 1e-10)
    assert not any("audio_tower" in name for name in found[1])


def test_the_generator_goes_on_where_it_was(tiny_signal: SignalConfig) -> None:
    model, (image, audio) = two_tower("test_resnet", tiny_signal, drop_path=0.5), rows(tiny_signal)
    image_embedding, audio_embedding = embed_in_chunks(model, image, audio, 4)
    before = torch.get_rng_state()
    (image_embedding * audio_embedding).sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("backward_inside", [False, True])
def test_a_chunk_is_made_again_under_the_same_autocast(tiny_signal: SignalConfig, backward_inside: bool) -> None:
    """The yardstick keeps all chunks; both passes round to bfloat16, wherever the backward pass is called."""
    model, (image, audio) = two_tower("test_convnext", tiny_signal).float(), rows(tiny_signal)
    del model.sound_input  # the one of double precision
    loss = make_loss("infonce")

    def measured(embed: Callable[[], tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                model(image[:2], audio[:2])  # leaves weights without gradients in autocast's cache
            embedded = embed()
            value = (embedded[0].float() * loss(*embedded)).sum()
            if backward_inside:
                value.backward()
        if not backward_inside:
            value.backward()
        assert embedded[0].dtype == torch.bfloat16
        found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return found

    def kept() -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            parts = [model(*part) for part in zip(image.tensor_split(4), audio.tensor_split(4), strict=True)]
        images, sounds = zip(*parts, strict=True)
        return torch.cat(images), torch.cat(sounds)

    assert_close(measured(kept), measured(lambda: embed_in_chunks(model, image, audio, 4)), 2e-2)


def test_without_gradients_nothing_is_kept(tiny_signal: SignalConfig) -> None:
    model, (image, audio) = two_tower("test_convnext", tiny_signal), rows(tiny_signal)
    with torch.no_grad():
        found = embed_in_chunks(model, image, audio, 4)
        expected = model(image, audio)
    assert all(torch.allclose(a, b, atol=1e-12) and not a.requires_grad for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
def test_activations_of_one_chunk_are_in_memory(tiny_signal: SignalConfig) -> None:
    """Of all layers' outputs, no more are alive at once than those of one chunk of four."""
    model = two_tower("test_convnext", tiny_signal)
    image, audio = rows(tiny_signal, 16)
    made: list[tuple[StorageWeakRef, int]] = []
    most = 0

    def count(_: nn.Module, __: object, output: Tensor) -> None:
        nonlocal most
        made.append((StorageWeakRef(output.untyped_storage()), output.untyped_storage().nbytes()))
        most = max(most, sum(size for storage, size in made if not storage.expired()))

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(count)

    def measured(embed: Callable[[], tuple[Tensor, Tensor]]) -> int:
        nonlocal most
        made.clear()
        most = 0
        image, audio = embed()
        (image * audio).sum().backward()
        return most

    whole = measured(lambda: model(image, audio))
    assert measured(lambda: embed_in_chunks(model, image, audio, 4)) < whole / 3


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", ["infonce", "infonce_memory"])
def test_training_in_chunks_stays_near_training_without(
    tiny_table: Path, tiny_recipe: Recipe, tmp_path: Path, name: str, precision: str
) -> None:
    options = {"batches": 2} if loss_class(name).has_queue else {}
    model = replace(tiny_recipe.model, image_encoder="test_convnext", audio_encoder="test_convnext")
    train = replace(tiny_recipe.train, epochs=1, precision=precision, batch_size=8)
    recipe = replace(tiny_recipe, model=model, train=train, loss=LossConfig(name, options))
    fit(Table(tiny_table), recipe, tmp_path / "whole")
    fit(Table(tiny_table), replace(recipe, train=replace(train, chunk_size=3)), tmp_path / "chunks")
    one, other = (read_safetensors(tmp_path / run / "model.safetensors")[0] for run in ("whole", "chunks"))
    for key, value in one.items():
        assert torch.allclose(value, other[key], atol=4e-3 if precision == "bf16" else 1e-4), key
    first, second = (read_history(tmp_path / run)[-1]["loss"] for run in ("whole", "chunks"))
    assert first == pytest.approx(second, rel=0.02)
