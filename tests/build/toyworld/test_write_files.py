import io
import wave

import numpy as np
import pytest
from PIL import Image

from earthtone.build.toyworld.write import write_png, write_wav
from earthtone.errors import DataError


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (200, 180, 3), (1, 1)])
def test_png_reads_back(tmp_path, shape):
    pixels = (np.arange(np.prod(shape)) * 37 % 256).astype(np.uint8).reshape(shape)
    write_png(tmp_path / "a.png", pixels)
    with Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_wav_reads_back(tmp_path):
    samples = np.array([0, 1, -1, 32_767, -32_768], dtype=np.int16)
    write_wav(tmp_path / "a.wav", samples, 16_000)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(9), "<i2"), samples)


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(DataError, match="cannot write"):
        write_png(tmp_path / "images" / "a.png", np.zeros((2, 2), np.uint8))
