"""Any number of inputs of any kind: each gives the vector that it gives alone, and what cannot be read costs itself."""

import io
import itertools
import logging
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from earthtone.errors import ConfigError, SignalError
from earthtone.models.batches import collected
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig

HZ = (16_000, 22_050, 44_100)


class OwnError(Exception):
    """A user's own."""


class Column:
    """A sequence as `datasets` has them: neither a list nor registered as one; it makes what it gives."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, at: int) -> Any:
        return self._items[at]


class Table:
    """A data frame: it has columns, of which each is a list of inputs."""

    def __init__(self, values: np.ndarray) -> None:
        self.shape, self.columns, self._values = values.shape, ["image", "audio"], values

    def __array__(self) -> np.ndarray:
        return self._values


class Foreign:
    """An array of another library: its rows can be asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, at: int) -> Any:
        return self._values[at]

    def __array__(self, *given: Any, **options: Any) -> np.ndarray:
        return self._values


@dataclass
class Samples:
    """What torchcodec's decoder gives."""

    data: torch.Tensor
    sample_rate: int


class Decoder:
    """As torchcodec's AudioDecoder, which `datasets` gives since version 4."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get_all_samples(self) -> Samples:
        try:
            samples, hz = soundfile.read(io.BytesIO(self._data), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise RuntimeError("Could not open input") from error
        return Samples(torch.from_numpy(samples.T.copy()), hz)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def wav(samples: np.ndarray, hz: int) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, hz, format="WAV", subtype="FLOAT")
    return out.getvalue()


#: How a picture (height, width, 3) may be handed over.
PICTURE_FORMS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "path": lambda pixels, path: path,
    "text": lambda pixels, path: str(path),
    "bytes": lambda pixels, path: png(pixels),
    "memoryview": lambda pixels, path: memoryview(png(pixels)),
    "open file": lambda pixels, path: io.BytesIO(png(pixels)),
    "pillow": lambda pixels, path: Image.fromarray(pixels),
    "array": lambda pixels, path: pixels,
    "array of another library": lambda pixels, path: Foreign(pixels),
    "array, channels first": lambda pixels, path: pixels.transpose(2, 0, 1),
    "tensor": lambda pixels, path: torch.from_numpy(pixels.copy()),
    "tensor, channels first": lambda pixels, path: torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
    "dict of bytes": lambda pixels, path: {"bytes": png(pixels), "path": None},
    "dict of path": lambda pixels, path: {"bytes": None, "path": str(path)},
}
#: How samples (samples, channels) may be.
SOUND_FORMS: dict[str, Callable[[np.ndarray, int, Path], Any]] = {
    "path": lambda samples, hz, path: path,
    "bytes": lambda samples, hz, path: wav(samples, hz),
    "open file": lambda samples, hz, path: io.BytesIO(wav(samples, hz)),
    "pair": lambda samples, hz, path: (samples, hz),
    "tensor, channels first": lambda samples, hz, path: (torch.from_numpy(samples.T.copy()), hz),
    "dict": lambda samples, hz, path: {"array": samples.T, "sampling_rate": hz, "path": "x.wav"},
    "dict of bytes": lambda samples, hz, path: {"bytes": wav(samples, hz), "path": None},
    "decoder": lambda samples, hz, path: Decoder(wav(samples, hz)),
    "samples of a decoder": lambda samples, hz, path: Samples(torch.from_numpy(samples.T.copy()), hz),
}
BROKEN_PICTURES = [b"no picture", "missing.png", None, np.zeros((3, 3)), {"image": 1}, Image.new("RGBA", (9, 9))]
BROKEN_SOUNDS = [b"no sound", "missing.wav", None, (np.zeros(9, np.float32), 16_000), {"audio": 1}, Decoder(b"none")]


@dataclass(frozen=True)
class World:
    """Inputs and the vectors that each gives alone."""

    pictures: list[np.ndarray]
    sounds: list[tuple[np.ndarray, int]]
    picture_files: list[Path]
    sound_files: list[Path]
    images: np.ndarray
    audio: np.ndarray

    def picture(self, number: int, form: str) -> Any:
        return PICTURE_FORMS[form](self.pictures[number], self.picture_files[number])

    def sound(self, number: int, form: str) -> Any:
        return SOUND_FORMS[form](*self.sounds[number], self.sound_files[number])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model: TwoTower) -> World:
    """Nine pictures, and nine recordings of one to three windows at three rates."""
    folder, draw = tmp_path_factory.mktemp("inputs"), np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (40 + n, 44, 3), np.uint8) for n in range(9)]
    sounds = []
    for n in range(9):
        hz = HZ[n % 3]
        sounds.append((draw.normal(0, 0.1, (int(hz * (0.6 + 0.3 * n)), 1 + n % 2)).astype(np.float32), hz))
    picture_files = [folder / f"{n}.png" for n in range(9)]
    sound_files = [folder / f"{n}.wav" for n in range(9)]
    for n in range(9):
        picture_files[n].write_bytes(png(pictures[n]))
        sound_files[n].write_bytes(wav(*sounds[n]))
    images = np.concatenate([tiny_model.embed_images([file]) for file in picture_files])
    audio = np.concatenate([tiny_model.embed_audio([file]) for file in sound_files])
    return World(pictures, sounds, picture_files, sound_files, images, audio)


@pytest.mark.parametrize("form", PICTURE_FORMS)
def test_every_form_of_a_picture_gives_one_vector(form: str, world: World, tiny_model: TwoTower) -> None:
    found = tiny_model.embed_images(world.picture(n, form) for n in range(9))
    np.testing.assert_array_equal(found, world.images)


@pytest.mark.parametrize("form", SOUND_FORMS)
def test_every_form_of_a_sound_gives_one_vector(form: str, world: World, tiny_model: TwoTower) -> None:
    found = tiny_model.embed_audio(world.sound(n, form) for n in range(9))
    np.testing.assert_array_equal(found, world.audio)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), on_error=st.sampled_from(["nan", "skip"]), sound=st.booleans(), lazy=st.booleans())
def test_in_any_company_and_order_with_broken_ones_among_them(
    data: st.DataObject, on_error: Any, sound: bool, lazy: bool, world: World, tiny_model: TwoTower
) -> None:
    forms = st.sampled_from(list(SOUND_FORMS if sound else PICTURE_FORMS))
    chosen = data.draw(st.lists(st.tuples(st.integers(0, 8), forms) | st.none(), max_size=14))
    broken = itertools.cycle(BROKEN_SOUNDS if sound else BROKEN_PICTURES)
    make = world.sound if sound else world.picture
    inputs = [next(broken) if one is None else make(*one) for one in chosen]
    alone = world.audio if sound else world.images
    embed = tiny_model.embed_audio if sound else tiny_model.embed_images
    errors: dict[int, str] = {}
    found = embed(iter(inputs) if lazy else inputs, on_error=on_error, errors=errors)
    wrong = [at for at, one in enumerate(chosen) if one is None]
    assert list(errors) == wrong and all(errors.values())
    if on_error == "skip":
        expected = alone[[one[0] for one in chosen if one is not None]]
    else:
        expected = np.array([np.full(16, np.nan) if one is None else alone[one[0]] for one in chosen], np.float32)
    np.testing.assert_array_equal(found, expected.reshape(-1, 16))
    assert found.dtype == np.float32


def test_containers(world: World, tiny_model: TwoTower) -> None:
    files = world.picture_files
    for several in (tuple(files), np.array(list(map(str, files))), Column(files), dict.fromkeys(files).keys()):
        np.testing.assert_array_equal(tiny_model.embed_images(several), world.images)
    sounds = np.empty(9, object)
    sounds[:] = world.sound_files
    np.testing.assert_array_equal(tiny_model.embed_audio(sounds), world.audio)


def test_a_batchs_size_may_be_a_number_of_numpys(world: World, tiny_model: TwoTower) -> None:
    picture = world.picture(0, "array")
    assert np.array_equal(tiny_model.embed_images([picture], np.int64(2)), tiny_model.embed_images([picture], 2))


def test_a_batch_as_one_array(tiny_model: TwoTower) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (6, 40, 44, 3), np.uint8)
    expected = tiny_model.embed_images(list(batch))
    first = batch.transpose(0, 3, 1, 2)
    for several in (batch, first, torch.from_numpy(batch), torch.from_numpy(first.copy())):
        np.testing.assert_array_equal(tiny_model.embed_images(several), expected)


def test_nothing(tiny_model: TwoTower) -> None:
    for empty in ([], (), iter([]), np.zeros((0, 3, 9, 9), np.uint8), np.array([])):
        assert tiny_model.embed_images(empty).shape == (0, 16)
        assert tiny_model.embed_audio(empty, on_error="skip").shape == (0, 16)


# What cannot be read.


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("https://example.org/a.png", r"images\[0\]: https://example.org/a.png is an address; download it first"),
        ({"bytes": None, "path": None}, r"image dict with an empty bytes and path; 'bytes' or 'path' expected"),
    ],
)
def test_what_names_no_file_is_told_as_such(given: Any, told: str, tiny_model: TwoTower) -> None:
    with pytest.raises(SignalError, match=told):
        tiny_model.embed_images([given])


@pytest.mark.parametrize("on_error", ["raise", "nan", "skip"])
@pytest.mark.parametrize("bad", range(6))
def test_the_position_is_told_once(
    bad: int, on_error: Any, world: World, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[tuple[str, Any, list[Any]]] = [
        ("images", tiny_model.embed_images, [*world.picture_files[:3], BROKEN_PICTURES[bad], world.picture_files[3]]),
        ("sounds", tiny_model.embed_audio, [*world.sound_files[:3], BROKEN_SOUNDS[bad], world.sound_files[3]]),
    ]
    for name, embed, inputs in calls:
        caplog.clear()
        if on_error == "raise":
            with pytest.raises(SignalError, match=rf"^{name}\[3\]: ") as error:
                embed(inputs)
            said = str(error.value)
        else:
            embed(inputs, on_error=on_error)
            [record] = caplog.records
            said = record.getMessage()
            assert record.levelno == logging.WARNING and f"1 of 5 {name}" in said and "errors={}" in said
        assert said.count(f"{name}[3]") == 1 and "\n" not in said and len(said) < 600


@pytest.mark.parametrize(("on_error", "shape"), [("nan", (7, 16)), ("skip", (0, 16))])
def test_all_are_broken(on_error: Any, shape: Any, tiny_model: TwoTower, caplog: pytest.LogCaptureFixture) -> None:
    found = tiny_model.embed_images([b"bad\x1b[2J"] * 7, on_error=on_error)
    assert found.shape == shape and np.isnan(found).all()
    [record] = caplog.records
    assert "7 of 7 images cannot be read" in record.getMessage() and "images[4], ... (" in record.getMessage()


def test_a_terminal_gets_no_raw_names(tiny_model: TwoTower, caplog: pytest.LogCaptureFixture) -> None:
    tiny_model.embed_images(["missing\x1b[2J\n.png"], on_error="nan")
    assert "\x1b" not in caplog.text and r"missing\x1b[2J\n.png" in caplog.text


@pytest.mark.parametrize("on_error", ["raise", "nan", "skip"])
@pytest.mark.parametrize("raised", [OwnError, SignalError, KeyboardInterrupt, MemoryError, OSError])
def test_what_a_generator_raises_is_the_users_own(
    raised: type[BaseException], on_error: Any, world: World, tiny_model: TwoTower
) -> None:
    mine = raised("half-way")

    def inputs(files: list[Path]) -> Iterator[Path]:
        yield from files[:5]
        raise mine

    calls: list[tuple[Any, list[Path]]] = [
        (tiny_model.embed_images, world.picture_files), (tiny_model.embed_audio, world.sound_files)
    ]  # fmt: skip
    for embed, files in calls:
        with pytest.raises(raised, match=r"^half-way$") as error:
            embed(inputs(files), on_error=on_error)
        assert error.value is mine
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]
    np.testing.assert_array_equal(tiny_model.embed_images(world.picture_files), world.images)  # it goes on


def test_an_error_of_the_machine_in_a_thread_is_raised(
    world: World, tiny_model: TwoTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*given: Any) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr("earthtone.models.inputs.read_picture", out_of_memory)
    with pytest.raises(MemoryError, match="none left"):
        tiny_model.embed_images(world.picture_files, on_error="nan")


# A generator's inputs are used before it is asked for more, in its own thread, and few are held.


def test_a_generator_may_close_what_it_gave_and_use_it_again(
    world: World, tiny_model: TwoTower, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in [*world.picture_files, *world.sound_files]:
            archive.write(file, file.name)

    def members(ending: str) -> Iterator[Any]:
        with zipfile.ZipFile(tmp_path / "all.zip") as archive:
            for n in range(9):
                with archive.open(f"{n}.{ending}") as file:
                    yield file

    def opened() -> Iterator[Image.Image]:
        for path in world.picture_files:
            with Image.open(path) as image:
                yield image

    def buffers() -> Iterator[np.ndarray]:
        buffer = np.zeros((60, 44, 3), np.uint8)
        for pixels in world.pictures:
            view = buffer[: len(pixels)]
            view[:] = pixels
            yield view
            buffer[:] = 0

    for pictures in (members("png"), opened(), buffers()):
        np.testing.assert_array_equal(tiny_model.embed_images(pictures), world.images)
    np.testing.assert_array_equal(tiny_model.embed_audio(members("wav")), world.audio)


def test_a_generator_is_asked_in_one_thread_and_not_far_ahead(world: World, tiny_model: TwoTower) -> None:
    asked: list[int] = []
    alive = most = 0

    class Array:
        """Of another library; tells when it goes."""

        def __init__(self, values: np.ndarray) -> None:
            self.values = values

        def __array__(self, *given: Any, **options: Any) -> np.ndarray:
            return self.values

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def inputs() -> Iterator[Any]:
        nonlocal alive, most
        for n in range(300):
            asked.append(threading.get_ident())
            if n % 2:
                yield world.picture_files[n % 9]
            else:
                alive += 1
                yield Array(world.pictures[n % 9])
            most = max(most, alive)

    found = tiny_model.embed_images(inputs())
    np.testing.assert_array_equal(found, world.images[np.arange(300) % 9])
    assert set(asked) == {threading.get_ident()} and 1 <= most <= 3


def test_files_are_asked_for_while_others_are_embedded(
    world: World, tiny_model: TwoTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, far = 0, []
    project = TwoTower.image_input

    def watched(model: TwoTower, pixels: torch.Tensor) -> torch.Tensor:
        far.append(asked)
        return project(model, pixels)

    def inputs() -> Iterator[Path]:
        nonlocal asked
        for n in range(200):
            asked += 1
            yield world.picture_files[n % 9]

    monkeypatch.setattr(TwoTower, "image_input", watched)
    assert len(tiny_model.embed_images(inputs())) == 200
    assert len(far) == 50 and all(4 * (n + 1) <= ahead <= 4 * (n + 1) + 32 for n, ahead in enumerate(far))


def test_a_users_code_is_not_run_without_gradients(world: World, tiny_model: TwoTower) -> None:
    made = []

    def inputs() -> Iterator[torch.Tensor]:
        for pixels in world.pictures[:6]:
            made.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            yield torch.from_numpy(pixels)

    tiny_model.embed_images(inputs())
    assert made == [(True, False)] * 6


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 5000])
def test_rows_of_unknown_number(count: int) -> None:
    rows = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    for known in (None, count):
        found = collected(iter(rows), known, slice(1, 4))
        np.testing.assert_array_equal(found, rows[:, 1:4])
        assert found.flags.owndata and found.base is None


# Calls that cannot be meant.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error is 'ignore'; raise or nan or skip expected"),
        ({"on_error": "Skip"}, "did you mean skip"),
        ({"on_error": None}, "on_error is None"),
        ({"errors": {}}, 'errors= is filled with on_error="nan" or "skip" alone'),
        ({"on_error": "nan", "errors": {1: "before"}}, "an empty dict expected"),
        ({"on_error": "nan", "errors": []}, "an empty dict expected"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": 2.5}, "batch is 2.5"),
        ({"batch": True}, "batch is True"),
    ],
)
def test_options_are_refused_before_an_input_is_asked_for(options: Any, message: str, tiny_model: TwoTower) -> None:
    def inputs() -> Iterator[Path]:
        pytest.fail("asked for")
        yield Path()

    for embed in (tiny_model.embed_images, tiny_model.embed_audio):
        with pytest.raises(ConfigError, match=message):
            embed(inputs(), **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a.png", r"images is 'a.png'; a list was expected, also for a single one: type \[image\]"),
        (b"bytes", "a list was expected"),
        (bytearray(b"bytes"), "a list was expected"),
        (Path("a.png"), "a list was expected"),
        ({"bytes": b"", "path": None}, "a list was expected"),
        (Image.new("RGB", (9, 9)), "a list was expected"),
        (io.BytesIO(b"bytes"), "a list was expected"),
        (np.zeros((9, 9, 3), np.uint8), r"images is ndarray uint8 \(9, 9, 3\).*type \[image\]; several .* four axes"),
        (torch.zeros(3, 9, 9, dtype=torch.uint8), r"images is Tensor torch.uint8 \(3, 9, 9\)"),
        (np.zeros((9, 9), np.uint8), "several pictures have four axes"),
        (Foreign(np.zeros((9, 9, 3), np.uint8)), r"images is Foreign uint8 \(9, 9, 3\)"),
        ({"b.png", "a.png"}, "a set, which has no order; a list was expected: type sorted"),
        (Table(np.zeros((9, 2))), r"images is a table \(9, 2\); one of its columns was expected"),
        (None, "images is None; a list, a generator or another iterable expected"),
        (7, "images is 7"),
    ],
)
def test_one_picture_or_none_is_no_list(given: Any, message: str, tiny_model: TwoTower) -> None:
    with pytest.raises(SignalError, match=message) as error:
        tiny_model.embed_images(given, on_error="nan")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a.wav", r"type \[sound\]"),
        ((np.zeros(9), 16_000), "sounds is tuple; a list was expected"),
        ((np.zeros(9), np.int64(16_000)), "sounds is tuple"),
        ((torch.zeros(9), torch.tensor(16_000)), "sounds is tuple"),
        ({"array": np.zeros(9), "sampling_rate": 16_000}, "a list was expected"),
        (Decoder(b""), "a list was expected"),
        (np.zeros((2, 16_000)), r"samples need their rate: \[\(samples, hz\)\]"),
        (torch.zeros(16_000), "samples need their rate"),
        (np.zeros(16_000), "samples need their rate"),
    ],
)
def test_one_sound_is_no_list(given: Any, message: str, tiny_model: TwoTower) -> None:
    with pytest.raises(SignalError, match=message):
        tiny_model.embed_audio(given)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (io.StringIO("text"), 'gives str; one opened with "rb" expected'),
        (io.BytesIO(), "nothing left to read; type file.seek"),
    ],
)
def test_open_files_that_will_not_do(file: Any, message: str, tiny_model: TwoTower) -> None:
    for embed in (tiny_model.embed_images, tiny_model.embed_audio):
        with pytest.raises(SignalError, match=message):
            embed([file])
    file.close()
    with pytest.raises(SignalError, match="cannot be read"):
        tiny_model.embed_images([file])


# Metres a pixel.


def with_footprint(signal: SignalConfig) -> SignalConfig:
    return SignalConfig(signal.audio, replace(signal.image, footprint_m=20.0))


@pytest.fixture(scope="module")
def placed(tiny_model: TwoTower, tiny_signal: SignalConfig) -> TwoTower:
    """`tiny_model` that sees 20 m of ground."""
    model = TwoTower(tiny_model.config, with_footprint(tiny_signal)).eval()
    model.load_state_dict(tiny_model.state_dict())
    return model


def test_metres_for_each_image(world: World, placed: TwoTower) -> None:
    metres = [0.6, 1.0, 0.8, 2.0]
    alone = [
        placed.embed_images([file], gsd_m=gsd_m)[0] for file, gsd_m in zip(world.picture_files, metres, strict=False)
    ]
    assert len(np.unique(alone, axis=0)) == 4
    for each in (metres, iter(metres), np.array(metres), torch.tensor(metres, dtype=torch.float64)):
        np.testing.assert_array_equal(placed.embed_images(world.picture_files[:4], gsd_m=each), alone)
    one = placed.embed_images(world.picture_files[:2], gsd_m=np.float32(1.0))
    np.testing.assert_array_equal(one[1], alone[1])


def test_unknown_metres_cost_one_image(world: World, placed: TwoTower) -> None:
    errors: dict[int, str] = {}
    metres: list[Any] = [1.0, None, float("nan"), -1.0, "2", 1.0]
    found = placed.embed_images(world.picture_files[:6], gsd_m=metres, on_error="nan", errors=errors)
    assert list(errors) == [1, 2, 3, 4] and "gsd_m is '2'" in errors[4] and "unknown" in errors[1]
    assert np.isnan(found[:, 0]).tolist() == [False, True, True, True, True, False]


@pytest.mark.parametrize(
    ("gsd_m", "message"),
    [
        (None, "gsd_m is unknown; this model sees 20 m of ground .*type gsd_m="),
        (0.0, "metres a pixel expected"),
        (float("nan"), "metres a pixel expected"),
        ([1.0, 1.0], "gsd_m has 2 numbers, images are 3"),
        (iter([1.0, 1.0]), "gsd_m has 2 numbers, images are more"),
        (iter([1.0] * 4), "gsd_m has more numbers than the 3 images"),
        ("0.5", "gsd_m is '0.5'; the metres a pixel: one number, or one for each image, expected"),
        (True, "gsd_m is True"),
    ],
)
def test_metres_that_cannot_be_meant_end_the_call(gsd_m: Any, message: str, world: World, placed: TwoTower) -> None:
    with pytest.raises(SignalError, match=message):
        placed.embed_images(world.picture_files[:3], gsd_m=gsd_m, on_error="nan")
