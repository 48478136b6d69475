"""What is told of loudness: kinds that must be told, and good recordings that must not be accused."""

import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.audio import read_recording, recording_of
from earthtone.signal.remarks import CHANNELS_CANCEL, CLIPPED, DEAD_CHANNEL, OFFSET, SILENT

HZ = 16_000
NOISE = np.random.default_rng(0).normal(0, 0.1, (HZ * 2, 2)).astype(np.float32)
LEFT, OTHER = NOISE[:, 0], NOISE[:, 1]


def stereo(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([left, right], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (LEFT, []),
        (0.0005 * LEFT, []),  # quiet is not silent
        (stereo(LEFT, OTHER), []),
        (stereo(LEFT, LEFT), []),
        (stereo(LEFT, -0.5 * LEFT), []),
        (stereo(LEFT, 0.01 * OTHER), []),
        (LEFT + 0.02, []),
        (np.clip(2 * LEFT, -1, 1), []),
        (0 * LEFT, [SILENT]),
        (0 * LEFT + 0.25, [SILENT]),
        (stereo(0 * LEFT, 0 * LEFT), [SILENT]),
        (stereo(LEFT, -LEFT), [CHANNELS_CANCEL, SILENT]),
        (stereo(LEFT, -0.97 * LEFT + 0.001 * OTHER), [CHANNELS_CANCEL]),
        (stereo(LEFT, 0 * LEFT), [DEAD_CHANNEL]),
        (stereo(0 * LEFT + 0.1, LEFT), [DEAD_CHANNEL, OFFSET]),
        (stereo(LEFT, 1e-4 * OTHER), [DEAD_CHANNEL]),
        (np.clip(9 * LEFT, -1, 1), [CLIPPED]),
        (stereo(OTHER, np.clip(9 * LEFT, -1, 1)), [CLIPPED]),
        (LEFT + 0.3, [OFFSET]),
        (LEFT - 0.07, [OFFSET]),
    ],
)
@pytest.mark.parametrize("subtype", [None, "FLOAT", "PCM_16"])
def test_remarks(samples: NDArray[np.float32], expected: list[str], subtype: str | None) -> None:
    if subtype is None:
        found = recording_of(samples, HZ, 8_000)
    else:
        out = io.BytesIO()
        soundfile.write(out, samples, HZ, format="WAV", subtype=subtype)
        found = read_recording(out.getvalue(), 8_000)
    if not (subtype == "PCM_16" and np.ptp(samples) < 1e-3):
        assert [remark.kind for remark in found.remarks] == expected
    assert any(remark.kind == SILENT for remark in found.remarks) == (SILENT in expected)


@pytest.mark.parametrize(
    ("channel", "expected"), [("mean", [DEAD_CHANNEL]), ("left", []), ("loudest", []), ("right", [SILENT])]
)
def test_a_dead_channel_does_not_matter_where_another_is_chosen(channel: str, expected: list[str]) -> None:
    found = recording_of(stereo(LEFT, 0 * LEFT), HZ, HZ, channel)
    assert [remark.kind for remark in found.remarks] == expected


def test_coded_channels_that_cancel() -> None:
    out = io.BytesIO()
    soundfile.write(out, stereo(LEFT, -LEFT), HZ, format="MP3")
    assert CHANNELS_CANCEL in [remark.kind for remark in read_recording(out.getvalue()).remarks]


@pytest.mark.parametrize(
    ("gain", "advice"), [(2.0**15, "divide by 32768"), (2.0**23, "divide by 8388608"), (1e30, "scale them to")]
)
def test_another_scale_is_refused(gain: float, advice: str) -> None:
    samples = np.clip(LEFT, -1, 1) * np.float32(gain)
    out = io.BytesIO()
    soundfile.write(out, samples, HZ, format="WAV", subtype="FLOAT")
    for read in (lambda: read_recording(out.getvalue(), HZ), lambda: recording_of(samples, HZ, HZ)):
        with pytest.raises(SignalError, match=f"samples on another scale, .*full scale is 1; {advice}"):
            read()


def test_quiet_samples_on_the_scale_of_16_bits() -> None:
    with pytest.raises(SignalError, match="divide by 32768"):
        recording_of(np.round(LEFT * 60), HZ, HZ)


def test_what_single_precision_cannot_hold() -> None:
    with pytest.raises(SignalError, match="NaN or infinite"):
        recording_of(LEFT.astype(np.float64) * 1e300, HZ, HZ)


def test_a_few_loud_samples_are_no_scale() -> None:
    samples = LEFT.copy()
    samples[::5_000] = 6.0
    assert recording_of(samples, HZ, HZ).remarks == ()


def test_what_is_said_of_less_than_half_a_step_is_true() -> None:
    samples = 1e-6 * np.sin(np.arange(HZ, dtype=np.float32))
    (remark,) = recording_of(samples, HZ, HZ).remarks
    assert remark.kind == SILENT and remark.detail == "all samples lie between -1e-06 and 1e-06"
