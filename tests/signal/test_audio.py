"""Every kind of recording reads back as what was written, mono, at the rate asked for; every broken one is named."""

import io
import re
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.audio import (
    AudioFacts,
    probe_audio,
    read_audio,
    read_recording,
    recording_of,
    resample,
    survey_recording,
    write_preview,
)
from earthtone.signal.remarks import DAMAGED_SOUND, SILENT, SOUND_MISSING

Samples = NDArray[np.float32]


def sound(hz: int, seconds: float = 1.5, channels: int = 2) -> Samples:
    """Two tones and a little noise, different on each channel; (samples, channels)."""
    draw = np.random.default_rng(0)
    time = np.arange(round(hz * seconds)) / hz
    parts = [
        0.2 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * (700 + 200 * channel) * time)
        for channel in range(channels)
    ]
    return (np.stack(parts, axis=1) + draw.normal(0, 1e-3, (len(time), channels))).astype(np.float32)


def encoded(samples: Samples, hz: int, format: str, subtype: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, hz, format=format, subtype=subtype)
    return out.getvalue()


def write_aac(path: Path, samples: Samples, hz: int, layout: str, container: str = "ipod") -> Path:
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("aac", rate=hz, layout=layout)
        stream.bit_rate = 192_000
        for start in range(0, len(samples), 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[start : start + 1024].T), "fltp", layout)
            frame.sample_rate, frame.pts = hz, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 1e-7),
        ("WAV", "DOUBLE", 1e-7),
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "ULAW", 3e-2),
        ("RF64", "PCM_16", 1e-4),
        ("W64", "PCM_16", 1e-4),
        ("FLAC", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
        ("AIFF", "PCM_16", 1e-4),
        ("AU", "PCM_16", 1e-4),
        ("CAF", "PCM_16", 1e-4),
        ("CAF", "ALAC_16", 1e-4),
    ],
)
def test_formats_that_keep_the_samples(tmp_path: Path, format: str, subtype: str, tolerance: float) -> None:
    samples = sound(44_100)
    path = tmp_path / f"sound.{format.lower()}"
    path.write_bytes(encoded(samples, 44_100, format, subtype))
    found = read_audio(path, 44_100)
    assert found.dtype == np.float32 and found.shape == (len(samples),)
    np.testing.assert_allclose(found, samples.mean(axis=1), atol=tolerance)
    np.testing.assert_array_equal(read_audio(path.read_bytes(), 44_100), found)
    assert probe_audio(path) == AudioFacts(1.5, 44_100, 2)


@pytest.mark.parametrize(
    ("format", "subtype", "hz"),
    [("OGG", "VORBIS", 44_100), ("OGG", "OPUS", 48_000), ("MP3", "MPEG_LAYER_III", 44_100)],
)
def test_formats_that_lose_a_little(format: str, subtype: str, hz: int) -> None:
    samples = sound(hz)
    found = read_audio(encoded(samples, hz, format, subtype), hz)
    assert len(found) == pytest.approx(len(samples), abs=0.06 * hz)
    assert likeness(found, samples.mean(axis=1)) > 0.99
    assert found.std() == pytest.approx(samples.mean(axis=1).std(), rel=0.1)


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize(("container", "suffix"), [("ipod", ".m4a"), ("adts", ".aac")])
def test_aac_is_as_loud_as_what_was_written(tmp_path: Path, layout: str, container: str, suffix: str) -> None:
    hz = 44_100
    samples = sound(hz, channels=1 if layout == "mono" else 2)
    path = write_aac(tmp_path / f"sound{suffix}", samples, hz, layout, container)
    found = read_audio(path, hz)
    assert len(found) == pytest.approx(len(samples), abs=0.06 * hz)
    assert likeness(found, samples.mean(axis=1)) > 0.98
    assert found.std() == pytest.approx(samples.mean(axis=1).std(), rel=0.1)
    facts = probe_audio(path)
    assert (facts.hz, facts.channels) == (hz, samples.shape[1]) and facts.seconds == pytest.approx(1.5, abs=0.06)
    if suffix == ".m4a":  # bytes have no suffix; MP4 is known by its first box
        np.testing.assert_array_equal(read_audio(path.read_bytes(), hz), found)


def likeness(one: Samples, other: Samples) -> float:
    """The correlation of two recordings, at the shift (of a codec's delay) where it is largest."""
    size = 2 ** int(np.ceil(np.log2(len(one) + len(other))))
    crossed = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)))
    return float(crossed.max() / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_channels_are_averaged(channels: int) -> None:
    samples = sound(16_000, 0.5, channels)
    found = read_audio(encoded(samples, 16_000, "WAV", "FLOAT"), 16_000)
    np.testing.assert_allclose(found, samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_blocks_of_a_long_recording_are_one_decoding(format: str, subtype: str) -> None:
    data = encoded(sound(22_050, 30.7), 22_050, format, subtype)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    np.testing.assert_allclose(read_audio(data, 22_050), whole.mean(axis=1), atol=1e-6)


def test_blocks_are_resampled_as_one_recording() -> None:
    data = encoded(sound(44_100, 30.7, 1), 44_100, "WAV", "PCM_16")
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    expected = soxr.resample(whole, 44_100, 32_000, quality="HQ")
    np.testing.assert_array_equal(read_audio(data, 32_000), expected)
    np.testing.assert_array_equal(resample(whole, 44_100, 32_000), expected)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(100, 30_000),
    from_hz=st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000]),
    to_hz=st.sampled_from([8_000, 16_000, 32_000]),
)
def test_resampling_keeps_the_length(samples: int, from_hz: int, to_hz: int) -> None:
    found = resample(np.ones(samples, np.float32) / 2, from_hz, to_hz)
    assert found.dtype == np.float32 and abs(len(found) - samples * to_hz / from_hz) < 1
    streamed = read_audio(encoded(np.ones((samples, 1), np.float32) / 2, from_hz, "WAV", "FLOAT"), to_hz)
    np.testing.assert_array_equal(streamed, found)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 32_000), (8_000, 32_000), (96_000, 16_000)])
def test_resampling_keeps_a_tone_where_it_is(from_hz: int, to_hz: int) -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(from_hz) / from_hz).astype(np.float32)
    found = resample(tone, from_hz, to_hz)
    spectrum = np.abs(np.fft.rfft(found[: to_hz // 2]))
    assert np.argmax(spectrum) * 2 == 1000
    assert found[to_hz // 4 : to_hz // 2].std() == pytest.approx(0.5**0.5, rel=1e-3)


def with_value(value: float) -> bytes:
    samples = sound(16_000)
    samples[100, 1] = value
    return encoded(samples, 16_000, "WAV", "FLOAT")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "zero bytes"),
        ("empty.m4a", b"", "zero bytes"),
        ("text.wav", b"this is a text, named as if it were a recording\n" * 9, "not a sound file"),
        ("text.mp3", b"this is a text, named as if it were a recording\n" * 9, "not a sound file"),
        ("text.m4a", b"this is a text, named as if it were a recording\n" * 9, "not a sound file"),
        ("no_suffix", b"\0" * 500, "not a sound file"),
        ("headless.raw", b"\1\2" * 500, "not a sound file"),
        ("nan.wav", with_value(np.nan), "NaN or infinite"),
        ("infinite.wav", with_value(-np.inf), "NaN or infinite"),
        ("header.wav", encoded(np.zeros((0, 1), np.float32), 16_000, "WAV", "PCM_16"), "no samples"),
        (
            "days.wav",
            encoded(np.zeros((25_200_000, 1), np.float32), 1_000, "WAV", "PCM_U8"),
            "7 h of sound, at most 6 h",
        ),
        (
            "slow.wav",
            encoded(np.zeros((90_000, 1), np.float32), 1, "WAV", "PCM_U8"),
            "1 samples a second; at least 1000",
        ),
    ],
)
@pytest.mark.parametrize("hz", [16_000, 32_000])
def test_broken_recordings_are_named_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str, hz: int
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SignalError, match=f"{re.escape(str(path))}: .*{message}.*;") as error:
        read_audio(path, hz)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["none.wav", "none.m4a"])
def test_a_missing_recording(tmp_path: Path, name: str) -> None:
    for read in (lambda path: read_audio(path, 8000), probe_audio):
        with pytest.raises(SignalError, match=rf"{name}: No such file or directory; a recording was expected"):
            read(tmp_path / name)


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="a folder, no plain file"):
        read_audio(tmp_path, 8000)


WHOLE = {
    kind: encoded(sound(44_100, 0.2), 44_100, *kind)
    for kind in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"))
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    data=st.sampled_from(list(WHOLE.values())),
    cut=st.floats(0.01, 1),
    changes=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=6),
)
def test_whatever_is_broken_is_a_signal_error(data: bytes, cut: float, changes: list[tuple[int, int]]) -> None:
    broken = bytearray(data)
    for place, value in changes:
        broken[place] = value
    try:
        found = read_audio(bytes(broken[: int(cut * len(broken))]), 44_100)
    except SignalError as error:
        assert "\n" not in str(error)
    else:
        assert np.isfinite(found).all() and found.ndim == 1


def test_a_preview_can_be_listened_to() -> None:
    samples = 4 * sound(16_000, 25.0, 1)[:, 0]  # too loud and longer than one block
    data = write_preview(samples, 16_000)
    assert data[:4] == b"OggS" and len(data) < 400_000
    assert probe_audio(data) == AudioFacts(25.0, 16_000, 1)
    assert likeness(read_audio(data, 16_000), np.clip(samples, -1, 1)) > 0.95


@pytest.mark.parametrize(
    ("channel", "weights"),
    [("mean", [1 / 3, 1 / 3, 1 / 3]), ("left", [1, 0, 0]), ("right", [0, 1, 0]), ("loudest", [0, 0, 1])],
)
def test_a_channel_may_be_chosen(channel: str, weights: list[float]) -> None:
    samples = sound(16_000, channels=3) * np.array([1, 0.5, 1.5], np.float32)
    expected = samples @ np.array(weights, np.float32)
    found = read_recording(encoded(samples, 16_000, "WAV", "FLOAT"), channel=channel)
    np.testing.assert_allclose(found.samples, expected, atol=1e-6)
    np.testing.assert_array_equal(recording_of(samples, 16_000, 16_000, channel).samples, found.samples)
    mono = encoded(samples[:, :1], 16_000, "WAV", "FLOAT")
    np.testing.assert_array_equal(read_audio(mono, 16_000, channel), samples[:, 0])


def test_a_channel_that_is_none() -> None:
    with pytest.raises(SignalError, match="channel is 'centre'; mean, left, right, loudest expected"):
        read_audio(encoded(sound(16_000), 16_000, "WAV", "PCM_16"), 16_000, "centre")


def test_a_survey_tells_what_reading_tells() -> None:
    data = encoded(sound(22_050, 25.0), 22_050, "FLAC", "PCM_16")
    data = data[: len(data) * 2 // 3]
    facts, remarks = survey_recording(data)
    recording = read_recording(data, 16_000)
    assert (recording.facts, recording.remarks) == (facts, remarks)
    assert [remark.kind for remark in remarks] == [SOUND_MISSING] and "s of 25 s" in remarks[0].detail
    assert facts.seconds == pytest.approx(25 * 2 / 3, abs=0.3)
    assert SILENT not in {remark.kind for remark in recording.remarks}


@pytest.mark.parametrize(("format", "subtype"), [("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_no_sound_of_another_file_is_heard(format: str, subtype: str) -> None:
    first, second = (encoded(sound(44_100, 4.0, 1) * gain, 44_100, format, subtype) for gain in (1.0, 0.3))
    cut = [data[: len(data) * 3 // 5] for data in (first, second)]
    found = [read_audio(data, 44_100) for data in (cut[0], cut[1], cut[0], first, cut[0])]
    for other in (found[2], found[4]):
        np.testing.assert_array_equal(found[0], other)
    np.testing.assert_array_equal(found[0], found[3][: len(found[0])])  # and the beginning is that of the whole


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_cut_aac_file(tmp_path: Path, share: float) -> None:
    path = write_aac(tmp_path / "a.aac", sound(44_100, 5.0), 44_100, "stereo", "adts")
    whole = read_audio(path, 44_100)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found = read_recording(path, 44_100)
    assert len(found.samples) / len(whole) == pytest.approx(share, abs=0.05)
    np.testing.assert_array_equal(found.samples[:-2048], whole[: len(found.samples) - 2048])


@pytest.mark.parametrize(("container", "suffix"), [("ipod", ".m4a"), ("adts", ".aac")])
def test_a_damaged_aac_file_goes_on(tmp_path: Path, container: str, suffix: str) -> None:
    path = write_aac(tmp_path / f"a{suffix}", sound(44_100, 8.0), 44_100, "stereo", container)
    data, whole = bytearray(path.read_bytes()), read_audio(path, 44_100)
    middle = len(data) // 3
    data[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(data)
    found = read_recording(path, 44_100)
    assert [remark.kind for remark in found.remarks] in ([DAMAGED_SOUND], [SOUND_MISSING])
    assert 0.9 * len(whole) < len(found.samples) <= len(whole)


@pytest.mark.parametrize(("container", "suffix", "heard"), [("ipod", ".m4a", 1), ("adts", ".aac", 2)])
def test_joined_aac_files(tmp_path: Path, container: str, suffix: str, heard: int) -> None:
    path = write_aac(tmp_path / f"a{suffix}", sound(44_100, 3.0), 44_100, "stereo", container)
    path.write_bytes(path.read_bytes() * 2)
    facts, remarks = survey_recording(path)
    assert facts.seconds == pytest.approx(3 * heard, abs=0.1)
    assert [remark.kind for remark in remarks] == ([SOUND_MISSING] if heard == 1 else [])


@pytest.mark.slow
def test_memory_is_that_of_the_samples(tmp_path: Path) -> None:
    """Twenty minutes of next to nothing: a survey keeps none of it, reading keeps it once."""
    path = tmp_path / "minutes.flac"
    with soundfile.SoundFile(path, "w", 24_000, 2, format="FLAC", subtype="PCM_16") as file:
        for _ in range(20):
            file.write(np.zeros((24_000 * 60, 2), np.int16))
    assert path.stat().st_size < 500_000
    peaks = []
    for read in (survey_recording, lambda path: read_recording(path, 8_000)):
        tracemalloc.start()
        read(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 40e6 and peaks[1] < 1200 * 8_000 * 4 + 40e6
