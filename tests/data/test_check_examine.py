"""The facts of real small files, and one message for each broken one."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from earthtone.data.check import bytes_digest, examine
from earthtone.data.pair import FileOrBytes, Pair
from earthtone.signal.audio import AudioFacts
from earthtone.signal.config import ImageConfig, SignalConfig


def png(path: Path, mode: str = "RGB", value: int = 7) -> Path:
    Image.new(mode, (20, 10), value).save(path)
    return path


def wav(path: Path, hz: int = 8000, channels: int = 2, seconds: float = 1.5) -> Path:
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (int(seconds * hz), channels)), hz)
    return path


def problems(image: FileOrBytes | None, audio: FileOrBytes | None, decode: bool = True) -> list[tuple[str, str]]:
    return [(problem.kind, problem.detail) for problem in examine(Pair("a", image, audio), decode=decode).problems]


@pytest.mark.parametrize("decode", [True, False])
def test_facts(tmp_path: Path, decode: bool) -> None:
    found = examine(Pair("a", png(tmp_path / "a.png", "L"), wav(tmp_path / "a.wav")), decode=decode)
    assert found.problems == () and found.spectrogram is None
    assert found.image is not None and (found.image.width, found.image.height, found.image.mode) == (20, 10, "L")
    assert len(found.image.digest) == 16
    assert found.audio == AudioFacts(1.5, 8000, 2)
    assert found.audio_digest is not None and len(found.audio_digest) == 16
    assert (found.audio_digest == bytes_digest(tmp_path / "a.wav")) == (not decode)


@pytest.mark.parametrize("decode", [True, False])
def test_bytes_are_as_good_as_files(tmp_path: Path, decode: bool) -> None:
    image, audio = png(tmp_path / "a.png"), wav(tmp_path / "a.wav")
    from_files = examine(Pair("a", image, audio), decode=decode)
    assert examine(Pair("a", image.read_bytes(), audio.read_bytes()), decode=decode) == from_files


def test_decoded_images_are_compared_by_pixels(tmp_path: Path) -> None:
    one, two = png(tmp_path / "a.png"), tmp_path / "a.bmp"
    Image.open(one).save(two)
    decoded = [examine(Pair("a", path, None), decode=True).image for path in (one, two)]
    headers = [examine(Pair("a", path, None), decode=False).image for path in (one, two)]
    assert decoded[0] == decoded[1] and headers[0] != headers[1]


def test_a_spectrogram_picture_in_place_of_sound(tmp_path: Path) -> None:
    found = examine(Pair("a", None, png(tmp_path / "a.png", "L")), decode=True, spectrograms=True)
    assert found.audio is None and found.spectrogram is not None and found.spectrogram.height == 10
    broken = examine(Pair("a", None, b"text"), decode=True, spectrograms=True)
    assert [problem.kind for problem in broken.problems] == ["broken audio"]


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("decode", [True, False])
def test_a_tiff_with_many_bands(tmp_path: Path, decode: bool) -> None:
    import rasterio

    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", width=6, height=4, count=12, dtype="uint16") as file:
        file.write(np.arange(12 * 24, dtype=np.uint16).reshape(12, 4, 6))
    signal = SignalConfig(image=ImageConfig(bands=(4, 3, 2)))
    found = examine(Pair("a", path, None), decode=decode, signal=signal).image
    assert found is not None and (found.width, found.height, found.mode) == (6, 4, "12 bands uint16")
    kinds = [kind for kind, _ in problems(path, None, decode)]
    assert kinds == (["broken image"] if decode else [])  # which bands are colours is not guessed


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("data", [b"", b"a text", b"II*\0 no tiff", b"\xff\xd8\xff garbage", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_file_of_its_kind(tmp_path: Path, data: bytes, decode: bool) -> None:
    path = tmp_path / "named.jpg"
    path.write_bytes(data)
    for source in (path, data):
        found = problems(source, source, decode)
        assert [kind for kind, _ in found] == ["broken image", "broken audio"]
        assert not any("\n" in detail for _, detail in found)
    assert all("named.jpg" in detail for _, detail in problems(path, path, decode))


def test_files_that_break_off_are_found_by_decoding(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(picture, "JPEG")
    half = picture.getvalue()[: len(picture.getvalue()) // 2]
    nan = tmp_path / "nan.wav"
    soundfile.write(nan, np.full(8000, np.nan, np.float32), 8000, subtype="FLOAT")
    assert problems(half, nan, decode=False) == []
    assert [kind for kind, _ in problems(half, nan)] == ["broken image", "broken audio"]
    assert "NaN" in problems(half, nan)[1][1]


def test_a_file_that_vanished(tmp_path: Path) -> None:
    assert [kind for kind, _ in problems(tmp_path / "no.png", tmp_path / "no.wav")] == ["broken image", "broken audio"]
