"""Ready spectrograms: arrays and pictures give the same bytes, and what is no array is told in one line."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earthtone.errors import SignalError
from earthtone.signal.config import AudioConfig
from earthtone.signal.spectrogram import HIGH, LOW, ready_spectrogram, spectrogram_from_array

CONFIG = AudioConfig()


def npy(values: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(values))
    return out.getvalue()


def test_an_array_is_on_the_scale_of_the_pictures() -> None:
    """The release: pictures stand for u (HIGH - LOW) / 255 + LOW, which for arrays is exp(decibel / 10)."""
    bytes_ = np.random.default_rng(0).integers(0, 256, (CONFIG.mels, 1200), dtype=np.uint8)
    decibel = 10 * np.log(bytes_.astype(np.float64) * (HIGH - LOW) / 255 + LOW)
    found = ready_spectrogram(npy(decibel.astype(np.float32)), CONFIG)
    assert found.dtype == np.uint8 and np.array_equal(found, bytes_.T)
    picture = io.BytesIO()
    Image.fromarray(bytes_).save(picture, "PNG")
    assert np.array_equal(ready_spectrogram(picture.getvalue(), CONFIG), found)


def test_what_is_louder_or_softer_is_cut() -> None:
    decibel = np.full((CONFIG.mels, 1200), -80.0)
    decibel[:, 300:] = 40.0
    found = ready_spectrogram(npy(decibel), CONFIG)
    assert not found[:300].any() and (found[300:] == 255).all()


def test_a_short_array_gets_silence(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(np.full((CONFIG.mels, 3), 5.0)))
    found = ready_spectrogram(tmp_path / "a.npy", CONFIG)
    assert found.shape == (CONFIG.window_frames, CONFIG.mels) and found.sum() == 3 * CONFIG.mels * 255


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.zeros((32, 600))), r"shape \(32, 600\); \(64 mel bands, frames\) expected"),
        (npy(np.zeros((64, 0))), r"shape \(64, 0\)"),
        (npy(np.zeros((1, 64, 600))), r"shape \(1, 64, 600\)"),
        (npy(np.full((64, 600), np.nan)), "no numbers"),
        (npy(np.full((64, 600), "a")), "values of <U1"),
        (npy(np.zeros((64, 600), complex)), "values of complex128"),
        (npy(np.zeros((64, 600)))[:900], "whole .npy array was expected"),
        (npy(np.zeros((64, 600))).replace(b"600", b"999999999999"), "whole .npy array was expected"),
        (b"PK\x03\x04", "whole .npy array was expected"),
    ],
)
def test_bad_arrays_are_one_line(content: bytes, message: str) -> None:
    with pytest.raises(SignalError, match=message) as error:
        spectrogram_from_array(content, CONFIG)
    assert "\n" not in str(error.value)


def test_pickles_are_never_opened() -> None:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SignalError, match="allow_pickle=False"):
        ready_spectrogram(out.getvalue(), CONFIG)
