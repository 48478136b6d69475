"""The same file gives the same unit vector, alone or in any batch, from a file or from memory."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch.nn.functional import normalize

from earthtone.errors import ConfigError, SignalError
from earthtone.models.config import ModelConfig
from earthtone.models.inputs import recording_windows
from earthtone.models.two_tower import TwoTower, unit_rows
from earthtone.signal.config import ImageConfig, SignalConfig

Files = list[Path]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """70 pictures: two whole batches and a part of a third."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / f"{n}.png" for n in range(70)]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (36 + draw.integers(20), 44, 3), np.uint8)).save(path)
    return paths


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Recordings of 0.6 to 40 s: one to 40 windows."""
    folder, draw = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    lengths = (0.6, 1.0, 2.7, 5.0, 40.0, 1.5, 3.0)
    paths = [folder / f"{n}.wav" for n in range(len(lengths))]
    for path, seconds in zip(paths, lengths, strict=True):
        soundfile.write(path, draw.normal(0, draw.uniform(0.01, 0.2), int(seconds * 16_000)), 16_000)
    return paths


def assert_unit(vectors: np.ndarray, count: int, dimensions: int = 16) -> None:
    assert vectors.dtype == np.float32 and vectors.shape == (count, dimensions)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=1e-6)


def test_pictures_alone_in_batches_and_in_another_order(tiny_model: TwoTower, pictures: Files) -> None:
    whole = tiny_model.embed_images(pictures)
    assert_unit(whole, 70)
    assert len(np.unique(whole, axis=0)) == 70
    for n in (0, 31, 32, 64, 69):
        np.testing.assert_array_equal(tiny_model.embed_images([pictures[n]])[0], whole[n])
    order = np.random.default_rng(1).permutation(70)
    np.testing.assert_array_equal(tiny_model.embed_images([pictures[n] for n in order]), whole[order])
    np.testing.assert_array_equal(tiny_model.embed_images(pictures[10:53]), whole[10:53])


def test_several_threads_do_not_change_that(tiny_model: TwoTower, pictures: Files, recordings: Files) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        whole = tiny_model.embed_images(pictures[:33])
        for n in (0, 17, 32):
            np.testing.assert_array_equal(tiny_model.embed_images([pictures[n]])[0], whole[n])
        samples = [soundfile.read(path, dtype="float32") for path in recordings]  # heard here, files in threads
        np.testing.assert_array_equal(tiny_model.embed_audio(samples), tiny_model.embed_audio(recordings))
    finally:
        torch.set_num_threads(before)


def test_recordings_alone_in_batches_and_in_another_order(tiny_model: TwoTower, recordings: Files) -> None:
    whole = tiny_model.embed_audio(recordings)
    assert_unit(whole, len(recordings))
    for n, path in enumerate(recordings):
        np.testing.assert_array_equal(tiny_model.embed_audio([path])[0], whole[n])
    np.testing.assert_array_equal(tiny_model.embed_audio(recordings[::-1]), whole[::-1])


def test_windows_of_recordings_share_batches(
    tiny_model: TwoTower, tiny_signal: SignalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings of 1, 31, 2, 4 and 3 windows are 41: eleven batches of four, the last with three of filling."""
    draw = np.random.default_rng(0)
    lengths = (1, 31, 2, 4, 3)
    windows = [draw.integers(0, 256, (count, 50, 32), np.uint8) for count in lengths]
    sizes: list[int] = []
    sound_input = TwoTower.sound_input
    monkeypatch.setattr(TwoTower, "sound_input", lambda model, s: (sizes.append(len(s)), sound_input(model, s))[1])
    whole = tiny_model.embed_windows(windows)
    assert sizes == [4] * 11
    for order in ([4, 1, 0, 3, 2], [1], [3, 2], [2, 0]):
        np.testing.assert_array_equal(tiny_model.embed_windows([windows[n] for n in order]), whole[order])


def test_windows_of_many_recordings_at_once(tiny_model: TwoTower, recordings: Files, tiny_signal: SignalConfig) -> None:
    windows = [recording_windows(path, tiny_signal.audio) for path in recordings]
    np.testing.assert_array_equal(tiny_model.embed_windows(windows), tiny_model.embed_audio(recordings))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet"])
def test_other_encoders_too(name: str, tiny_signal: SignalConfig, pictures: Files, recordings: Files) -> None:
    torch.manual_seed(0)
    model = TwoTower(ModelConfig(name, name, dimensions=24, projection="mlp"), tiny_signal)
    whole = model.embed_images(pictures[:40])
    assert_unit(whole, 40, 24)
    for n in (0, 13, 39):
        np.testing.assert_array_equal(model.embed_images([pictures[n]])[0], whole[n])
    np.testing.assert_array_equal(model.embed_images(pictures[:40][::-1]), whole[::-1])
    sound = model.embed_audio(recordings)
    np.testing.assert_array_equal(model.embed_audio(recordings[2:3])[0], sound[2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "convnext_tiny", "vit_small_patch16_224"])
def test_the_usual_encoders_embed(name: str, tiny_signal: SignalConfig, pictures: Files, recordings: Files) -> None:
    torch.manual_seed(0)
    model = TwoTower(ModelConfig(name, name, dimensions=32), tiny_signal)
    whole = model.embed_images(pictures[:10], batch=8)
    assert_unit(whole, 10, 32)
    np.testing.assert_array_equal(model.embed_images(pictures[9:10], batch=8)[0], whole[9])
    np.testing.assert_array_equal(model.embed_images(pictures[5:6], batch=8)[0], whole[5])
    sound = model.embed_audio(recordings[:3], batch=8)
    assert_unit(sound, 3, 32)
    np.testing.assert_array_equal(model.embed_audio(recordings[2:3], batch=8)[0], sound[2])


def test_arrays_are_as_good_as_files(tiny_model: TwoTower, pictures: Files, recordings: Files) -> None:
    arrays = [np.asarray(Image.open(path)) for path in pictures[:5]]
    np.testing.assert_array_equal(tiny_model.embed_images(arrays), tiny_model.embed_images(pictures[:5]))
    np.testing.assert_array_equal(
        tiny_model.embed_images([pictures[0].read_bytes(), str(pictures[1])]), tiny_model.embed_images(pictures[:2])
    )
    sounds = [soundfile.read(path, dtype="float32") for path in recordings[:4]]
    np.testing.assert_array_equal(tiny_model.embed_audio(sounds), tiny_model.embed_audio(recordings[:4]))


def test_a_recording_is_the_mean_of_its_windows(
    tiny_model: TwoTower, recordings: Files, tiny_signal: SignalConfig
) -> None:
    windows = recording_windows(recordings[2], tiny_signal.audio)
    each = tiny_model.embed_windows([window[None] for window in windows])
    mean = each.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(tiny_model.embed_audio([recordings[2]])[0], mean / np.linalg.norm(mean), atol=1e-6)


def with_attention(signal: SignalConfig) -> TwoTower:
    """A model whose attention prefers some windows clearly."""
    torch.manual_seed(0)
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16, windows="attention"), signal).eval()
    torch.nn.init.normal_(model.reducer.get_parameter("weight.weight"), std=3.0)
    return model


def test_a_mean_is_the_plain_mean_bit_for_bit(
    tiny_model: TwoTower, recordings: Files, tiny_signal: SignalConfig
) -> None:
    windows = [recording_windows(path, tiny_signal.audio) for path in recordings]
    flat = np.concatenate(windows)
    filled = np.concatenate([flat, np.zeros((-len(flat) % 4, *flat.shape[1:]), np.uint8)])  # batches of four
    with torch.inference_mode():
        batches = torch.from_numpy(filled).split(4)
        each = torch.cat([normalize(tiny_model.project_windows(batch)) for batch in batches]).numpy()[: len(flat)]
    parts = np.split(each, np.cumsum([len(one) for one in windows])[:-1])
    means = np.array([part.mean(axis=0, dtype=np.float64) for part in parts], np.float32)
    np.testing.assert_array_equal(tiny_model.embed_windows(windows), unit_rows(means))


def test_attention_alone_in_batches_and_in_another_order(tiny_signal: SignalConfig, recordings: Files) -> None:
    model = with_attention(tiny_signal)
    whole = model.embed_audio(recordings)
    assert_unit(whole, len(recordings))
    windows = [recording_windows(path, tiny_signal.audio) for path in recordings]
    np.testing.assert_array_equal(model.embed_windows(windows), whole)
    np.testing.assert_array_equal(model.embed_windows(windows[::-1])[::-1], whole)
    shuffled = [np.random.default_rng(0).permutation(one) for one in windows]
    np.testing.assert_allclose(model.embed_windows(shuffled), whole, atol=1e-6)
    plain = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), tiny_signal).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("reducer.")})
    found = plain.embed_windows(windows)
    single = [len(one) == 1 for one in windows]
    np.testing.assert_array_equal(found[single], whole[single])  # one window: nothing to weigh
    assert np.abs(found[4] - whole[4]).max() > 1e-4


@pytest.mark.slow
def test_a_long_recording_in_bounded_memory(tiny_signal: SignalConfig) -> None:
    model = with_attention(tiny_signal)
    long = np.random.default_rng(0).integers(0, 256, (1500, 50, 32), np.uint8)
    tracemalloc.start()
    try:
        model.embed_windows([long])
        assert tracemalloc.get_traced_memory()[1] < long.nbytes / 2  # of NumPy: vectors, never a copy of the sound
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_training_hears_what_embedding_hears(kind: str, tiny_signal: SignalConfig) -> None:
    model = with_attention(tiny_signal)
    if kind == "mean":
        torch.nn.init.zeros_(model.reducer.get_parameter("weight.weight"))
    windows = np.random.default_rng(0).integers(0, 256, (3, 4, 50, 32), np.uint8)
    windows[1, 2:] = 0  # filling: the second recording has two windows
    heard = torch.tensor([[True] * 4, [True, True, False, False], [True] * 4])
    with torch.inference_mode():
        projected = model.project_sound(torch.from_numpy(windows), heard).numpy()
    whole = model.embed_windows([windows[0], windows[1, :2], windows[2]])
    np.testing.assert_allclose(unit_rows(projected), whole, atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "attention"])
def test_one_window_is_projected_as_it_is(kind: str, tiny_signal: SignalConfig) -> None:
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16, windows=kind), tiny_signal).eval()
    windows = torch.randint(0, 256, (3, 1, 50, 32)).byte()
    with torch.inference_mode():
        assert torch.equal(model.project_sound(windows), model.project_windows(windows[:, 0]))


def test_an_unknown_reducer(tiny_signal: SignalConfig) -> None:
    with pytest.raises(ConfigError, match=r"model\.windows is 'atention'; did you mean attention"):
        TwoTower(ModelConfig("test_resnet", "test_resnet", windows="atention"), tiny_signal)


def test_nothing_in_nothing_out(tiny_model: TwoTower) -> None:
    assert tiny_model.embed_images([]).shape == tiny_model.embed_audio([]).shape == (0, 16)
    assert tiny_model.embed_tiles([]).shape == tiny_model.embed_windows([]).shape == (0, 16)


def test_embedding_leaves_the_mode_and_the_weights_alone(tiny_signal: SignalConfig, pictures: Files) -> None:
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), tiny_signal)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for training in (True, False):
        model.train(training)
        first = model.embed_images(pictures[:3])
        assert model.training is training and model.image_tower.encoder.training is training
        np.testing.assert_array_equal(model.embed_images(pictures[:3]), first)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_in_training_is_in_evaluation_until_the_last_of_several_calls_ends(
    tiny_signal: SignalConfig, pictures: Files
) -> None:
    """As threads have it: in training, batch norms would see the pictures, and would learn from them."""
    torch.manual_seed(0)
    model = TwoTower(ModelConfig("test_resnet", "test_resnet", dimensions=16), tiny_signal)
    views = model.views(list(np.random.default_rng(0).integers(0, 256, (12, 40, 40, 3), np.uint8)))
    expected = list(model.encoded_images(views))
    first, second = model.encoded_images(views), model.encoded_images(views)
    found = [next(first), next(second), *second]
    assert len(list(first)) == 11 and model.training
    assert np.array_equal(found[1:], expected) and np.array_equal(found[0], expected[0])
    first, second = model.encoded_images(views), model.encoded_images(views)
    found = [next(first), next(second)]
    assert len(list(first)) == 11 and not model.training
    assert np.array_equal([found[1], *second], expected) and model.training


def test_features_come_before_the_projection(tiny_model: TwoTower, tiny_signal: SignalConfig) -> None:
    tiles = list(np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), np.uint8))
    encoded = np.stack(list(tiny_model.encoded_images(tiny_model.views(tiles))))
    features = encoded[:, : tiny_model.image_tower.features]
    with torch.inference_mode():
        projected = tiny_model.image_tower.projection(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(unit_rows(projected), tiny_model.embed_tiles(tiles), atol=1e-5)


def test_inputs_are_normalised(tiny_model: TwoTower) -> None:
    pixels = torch.full((2, 32, 32, 3), 128, dtype=torch.uint8)
    found = tiny_model.image_input(pixels)
    assert found.shape == (2, 3, 32, 32)
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found[0, :, 0, 0], expected, rtol=1e-5)
    sound = torch.arange(50, dtype=torch.uint8)[None, :, None].expand(2, 50, 32)
    heard = tiny_model.sound_input(sound)
    assert heard.shape == (2, 1, 32, 50)
    assert (heard[0, 0, 0].diff() > 0).all() and torch.equal(heard[0, 0, 0], heard[0, 0, 31])


def test_both_towers_learn(tiny_signal: SignalConfig) -> None:
    model = TwoTower(ModelConfig("test_resnet", "test_vit", dimensions=16), tiny_signal)
    images, sounds = model(torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.ones(2, 1, 50, 32, dtype=torch.uint8))
    (images.sum() + sounds.sum()).backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("bad", [b"", b"text"])
def test_what_cannot_be_decoded_is_named(tiny_model: TwoTower, bad: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(bad)
    with pytest.raises(SignalError, match="bad: "):
        tiny_model.embed_images([path])
    with pytest.raises(SignalError, match="bad: "):
        tiny_model.embed_audio([path])


def test_impossible_sizes(tiny_signal: SignalConfig) -> None:
    signal = SignalConfig(tiny_signal.audio, ImageConfig(pixels=64, stored_pixels=40))
    with pytest.raises(ConfigError, match="is more than stored_pixels"):
        TwoTower(ModelConfig(), signal)


def test_unit_rows() -> None:
    found = unit_rows(np.array([[3, 4], [0, 0], [0, -2]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0, -1]], atol=1e-7)


def test_raw_embeddings_are_the_projections(tiny_model: TwoTower) -> None:
    raw = TwoTower(replace(tiny_model.config, unit=False), tiny_model.signal).eval()
    raw.load_state_dict(tiny_model.state_dict())
    draw = np.random.default_rng(0)
    tiles = list(draw.integers(0, 256, (2, 32, 32, 3), np.uint8))
    recordings = [draw.integers(0, 256, (count, 50, 32), np.uint8) for count in (1, 3)]
    with torch.inference_mode():
        projected = raw.project_images(torch.from_numpy(np.stack(tiles))).numpy()
        heard = [raw.project_windows(torch.from_numpy(recording)).numpy() for recording in recordings]
        together = raw.project_sound(torch.from_numpy(recordings[1])[None]).numpy()
    np.testing.assert_allclose(raw.embed_tiles(tiles), projected, rtol=1e-4, atol=1e-5)
    means = np.stack([windows.mean(axis=0) for windows in heard])
    np.testing.assert_allclose(raw.embed_windows(recordings), means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together[0], means[1], rtol=1e-4, atol=1e-5)
    unit = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(tiny_model.embed_tiles(tiles), unit, rtol=1e-4, atol=1e-5)
