"""Whatever a user hands over as a sound: taken when it can only mean one thing, else refused in one line."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earthtone.errors import SignalError
from earthtone.models.inputs import given_sound, recording_windows
from earthtone.signal.config import SignalConfig

HZ = 16_000
MONO = np.random.default_rng(0).normal(0, 0.1, HZ).astype(np.float32)
STEREO = np.stack([MONO, 0.5 * MONO[::-1]], axis=1)
OUT = io.BytesIO()
soundfile.write(OUT, STEREO, HZ, format="WAV", subtype="FLOAT")
FILE = OUT.getvalue()


@pytest.mark.parametrize(
    "given",
    [
        (STEREO, HZ),
        (STEREO.T, HZ),  # torchaudio's order
        (torch.from_numpy(STEREO.T.copy()), HZ),
        (torch.from_numpy(STEREO.copy()).requires_grad_(), torch.tensor(HZ)),
        (STEREO.astype(np.float64), np.int64(HZ)),
        (STEREO.tolist(), float(HZ)),
        {"array": STEREO, "sampling_rate": HZ},
        {"array": STEREO.T, "sampling_rate": HZ, "path": "somewhere/else.wav"},
        {"bytes": FILE, "path": None},
        bytearray(FILE),
    ],
)
def test_what_means_one_thing(given: Any, tiny_signal: SignalConfig) -> None:
    np.testing.assert_array_equal(
        recording_windows(given, tiny_signal.audio), recording_windows(FILE, tiny_signal.audio)
    )


def test_paths(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    assert given_sound(str(path)) == given_sound({"bytes": None, "path": str(path)}) == path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((MONO, float("nan")), "hz is nan; hz > 0 expected"),
        ((MONO, float("inf")), "hz is inf; hz > 0 expected"),
        ((MONO, -HZ), "hz is -16000; hz > 0 expected"),
        ((MONO, 44.1), "44.1 samples a second; hertz expected, 1000 or more, such as 44100 if 44.1 kHz were meant"),
        ((MONO, 16), "such as 16000 if 16 kHz were meant"),
        ((MONO, 44_100.5), "a whole number of samples a second expected"),
        ((MONO, 10**12), "10000000 at most"),
        ((MONO, "48000"), "hz is '48000'; the samples a second expected"),
        ((MONO, None), "hz is None"),
        ((MONO, True), "hz is True"),
        ((MONO, [HZ]), "hz is "),
        ((HZ, MONO), r"\(hz, samples\) given: 16000 comes first"),
        (((MONO * 32767).astype(np.int16), HZ), "samples int16 .*divide by 32768"),
        (((MONO * 127 + 128).astype(np.uint8), HZ), "samples uint8 .*subtract 128 and divide by 128"),
        (((MONO * 32767).astype(np.int64), HZ), "samples int64 .*divide by 32768"),
        ((np.ma.masked_greater(MONO, 0.0), HZ), "samples are a masked array"),
        ((MONO, 10**400), "10000000 at most"),
        ((MONO.astype(complex), HZ), "samples complex128"),
        (("a.wav", HZ), "samples <U5"),
        (([MONO, MONO[:9]], HZ), "samples are .*; an array of floats"),
        ((np.zeros((300, 400), np.float32), HZ), "at most 64 channels"),
        ((np.zeros((2, 3), np.float32), HZ), "longer on one side"),
        (MONO, "ndarray without its rate"),
        (torch.from_numpy(MONO.copy()), "Tensor without its rate"),
        (MONO.tolist(), "list without its rate"),
        (None, "a sound is None; a path, bytes"),
        (7, "a sound is 7"),
        ((MONO, HZ, "more"), "a sound is "),
        ({"array": MONO}, 'without "sampling_rate"'),
        ({"audio": MONO}, r"a dict with the keys \['audio'\]"),
        ({"bytes": None, "path": None}, r"a dict with the keys \['bytes', 'path'\]"),
        ({"array": MONO, "sampling_rate": "16000"}, "hz is '16000'"),
    ],
)
def test_what_does_not(given: Any, message: str, tiny_signal: SignalConfig) -> None:
    with pytest.raises(SignalError, match=message) as error:
        recording_windows(given, tiny_signal.audio)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300
