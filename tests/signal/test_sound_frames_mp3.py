"""MP3s of every kind are heard whole: against FFmpeg, sample by sample, and against what was written."""

import io
import struct
from functools import cache
from itertools import pairwise

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone.errors import SignalError
from earthtone.signal.audio import probe_audio, read_audio, read_recording
from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING, WRONG_HEADER
from earthtone.signal.sound_frames import parse_header, scan_frames

Samples = NDArray[np.float32]
MODES = ("CONSTANT", "VARIABLE", "AVERAGE")
ID3V1 = b"TAG" + b"a title, an artist and so on".ljust(125)
ID3V2 = b"ID3\x04\0\0" + bytes([0, 0, 6, 0]) + b"\xff\xfb\x90\xc4".ljust(768, b"\0")  # with what looks like a frame
APE_FOOT = struct.pack("<8sIII8s", b"APETAGEX", 2000, 32 + 10, 1, bytes(8))
APE = b"\x01\0\0\0\0\0\0\0A\0".ljust(10, b"x") + APE_FOOT
LYRICS = b"LYRICSBEGIN" + b"IND0000200" + b"000021" + b"LYRICS200"


def sound(hz: int, seconds: float, channels: int = 1, seed: int = 0) -> Samples:
    """A sweep that comes and goes with noise, so that a variable bit rate varies."""
    time = np.arange(round(hz * seconds)) / hz
    noise = np.random.default_rng(seed).normal(0, 0.1, (len(time), channels))
    sweep = 0.2 * np.sin(2 * np.pi * (200 + 150 * seed + hz / 100 * time) * time)
    return (sweep[:, None] + noise * (np.sin(2 * np.pi * time / 1.7) > 0)[:, None]).astype(np.float32)


@cache
def mp3(hz: int = 44_100, seconds: float = 4.0, channels: int = 1, mode: str = "VARIABLE", seed: int = 0) -> bytes:
    """An MP3 that begins with LAME's Xing frame."""
    out = io.BytesIO()
    samples = sound(hz, seconds, channels, seed)
    soundfile.write(out, samples, hz, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode=mode, compression_level=0.4)
    return out.getvalue()


def sizes(data: bytes) -> list[int]:
    """Of each frame of a stream without tags."""
    found, at = [], 0
    while at < len(data):
        header = parse_header(data[at : at + 4])
        assert header is not None
        found.append(header.size)
        at += header.size
    return found


def without_xing(data: bytes) -> bytes:
    header = parse_header(data[:4])
    assert header is not None and (b"Xing" in data[:50] or b"Info" in data[:50])
    return data[header.size :]


def with_promise(data: bytes, frames: int) -> bytes:
    at = max(data[:50].find(b"Xing"), data[:50].find(b"Info")) + 8
    return data[:at] + struct.pack(">I", frames) + data[at + 4 :]


def by_ffmpeg(data: bytes, kind: str = "mp3") -> Samples:
    """The mean of the channels as FFmpeg decodes them: another decoder, and another counting of frames."""
    parts = []
    with av.open(io.BytesIO(data), format=kind) as container:
        for frame in container.decode(container.streams.audio[0]):
            planes = frame.to_ndarray().astype(np.float32)
            parts.append(planes.mean(axis=0) if kind == "mp3" else planes[0] / 32768)
    return np.concatenate(parts)


def kinds(data: bytes) -> list[str]:
    return [remark.kind for remark in read_recording(data).remarks]


@pytest.mark.parametrize("xing", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("hz", "channels"),
    [
        (44_100, 1),
        (44_100, 2),
        (48_000, 2),
        (32_000, 1),
        (22_050, 2),
        (24_000, 1),
        (16_000, 1),
        (11_025, 2),
        (8_000, 1),
    ],
)
def test_all_is_heard_and_no_more(hz: int, channels: int, mode: str, xing: bool) -> None:
    data = mp3(hz, 2.3, channels, mode)
    data = data if xing else without_xing(data)
    found, expected = read_recording(data), by_ffmpeg(data)
    assert len(found.samples) == len(expected) and found.remarks == ()
    np.testing.assert_allclose(found.samples, expected, atol=1e-5)
    assert probe_audio(data) == found.facts
    if xing:
        assert len(expected) == round(hz * 2.3)


@pytest.mark.parametrize("loud_first", [True, False])
def test_the_first_frame_does_not_tell_the_length(loud_first: bool) -> None:
    hz = 44_100
    noise, silence = sound(hz, 9.0), np.zeros((hz * 30, 1), np.float32)
    out = io.BytesIO()
    both = np.concatenate([noise, silence] if loud_first else [silence, noise])
    soundfile.write(out, both, hz, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3)
    data = without_xing(out.getvalue())
    assert len(read_audio(data, hz)) == len(by_ffmpeg(data)) == pytest.approx(39 * hz, abs=2304)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ID3V2, b""),
        (ID3V2 + bytes(700), b""),
        (b"", ID3V1),
        (b"", APE + ID3V1),
        (b"", LYRICS + ID3V1),
        (ID3V2 + ID3V2, APE),
        (b"", bytes(50_000)),
    ],
)
@pytest.mark.parametrize("xing", [True, False])
def test_tags_are_no_sound(before: bytes, after: bytes, xing: bool) -> None:
    data = mp3() if xing else without_xing(mp3())
    found = read_recording(before + data + after)
    np.testing.assert_array_equal(found.samples, read_audio(data, 44_100))
    assert [remark.kind for remark in found.remarks] in ([], [DAMAGED_SOUND] if len(after) > 9999 and not xing else [])


@pytest.mark.parametrize("between", [b"", ID3V1, ID3V1 + ID3V2, APE])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((44_100, 3.0, 1), (44_100, 2.0, 1)),
        ((44_100, 3.0, 1), (22_050, 2.0, 1)),
        ((48_000, 2.0, 2), (44_100, 2.0, 1)),
        ((16_000, 2.0, 1), (48_000, 2.0, 2)),
    ],
)
def test_joined_files(first: tuple[int, float, int], second: tuple[int, float, int], between: bytes) -> None:
    one, two = mp3(*first), mp3(*second, seed=3)
    found = read_recording(one + between + two, first[0])
    expected = np.concatenate([read_audio(one, first[0]), read_audio(two, first[0])])
    np.testing.assert_array_equal(found.samples, expected)
    assert found.remarks == () and found.facts.seconds == pytest.approx(first[1] + second[1])


def test_joined_files_without_xing_are_as_ffmpeg_hears_them() -> None:
    data = without_xing(mp3()) + without_xing(mp3(seed=5))
    np.testing.assert_allclose(read_audio(data, 44_100), by_ffmpeg(data), atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("xing", [True, False])
def test_cut_files_are_the_beginning_of_the_whole(mode: str, xing: bool) -> None:
    data = mp3(32_000, 3.0, 2, mode)
    data = data if xing else without_xing(data)
    whole = read_audio(data, 32_000)
    ends = np.cumsum(sizes(data))
    for share in np.linspace(0.1, 0.97, 20):
        cut = data[: int(share * len(data))]
        found = read_recording(cut)
        frames = int((ends <= len(cut)).sum()) - xing
        assert len(found.samples) == frames * 1152 - (len(whole) - len(whole[576 + 529 :]) if xing else 0)
        np.testing.assert_array_equal(found.samples, whole[: len(found.samples)])
        assert [remark.kind for remark in found.remarks] == [SOUND_MISSING]
        assert not xing or "of 3 s" in found.remarks[0].detail


def test_a_file_that_begins_amid_a_frame() -> None:
    """What the first frames refer to is not there: they are silent, not noise."""
    data = without_xing(mp3(mode="CONSTANT"))
    starts = np.cumsum([0, *sizes(data)])
    found, whole = read_audio(data[starts[9] + 55 :], 44_100), read_audio(data, 44_100)
    assert len(found) == len(whole) - 10 * 1152
    np.testing.assert_allclose(found[5 * 1152 :], whole[15 * 1152 :], atol=1e-5)
    assert np.abs(found[:576]).max() == 0


@pytest.mark.parametrize(
    ("frames", "kind"), [(10, WRONG_HEADER), (0, WRONG_HEADER), (5_000, SOUND_MISSING), (2**32 - 1, SOUND_MISSING)]
)
def test_a_xing_frame_that_tells_something_else(frames: int, kind: str) -> None:
    data = mp3()
    found = read_recording(with_promise(data, frames))
    assert [remark.kind for remark in found.remarks] == [kind]
    whole = read_audio(data, 44_100)
    assert 0 <= len(found.samples) - len(whole) < 1152  # the padding at the end cannot be told from sound
    np.testing.assert_array_equal(found.samples[: len(whole)], whole)


@pytest.mark.parametrize("frames", [0, 40, 154])
def test_vbri_frames_hold_no_sound(frames: int) -> None:
    data = without_xing(mp3())
    vbri = (data[:4] + bytes(32) + b"VBRI" + bytes(10) + struct.pack(">I", frames)).ljust(sizes(data)[0], b"\0")
    found = read_recording(vbri + data)
    np.testing.assert_array_equal(found.samples, read_audio(data, 44_100))
    assert [remark.kind for remark in found.remarks] == ([WRONG_HEADER] if frames == 40 else [])


@pytest.mark.parametrize("hole", [bytes(6_000), bytes(np.random.default_rng(1).integers(0, 256, 6_000, np.uint8))])
def test_a_hole_is_told(hole: bytes) -> None:
    data = without_xing(mp3(mode="CONSTANT"))
    start = int(np.cumsum(sizes(data))[60]) + 100
    found, whole = read_recording(data[:start] + hole + data[start + len(hole) :]), read_audio(data, 44_100)
    assert found.remarks[0].kind == DAMAGED_SOUND
    lost = len(whole) - len(found.samples)
    assert lost % 1152 == 0 and lost == pytest.approx(len(hole) / len(data) * len(whole), abs=3 * 1152)
    np.testing.assert_array_equal(found.samples[: 60 * 1152], whole[: 60 * 1152])
    np.testing.assert_allclose(found.samples[-20 * 1152 :], whole[-20 * 1152 :], atol=1e-5)


def test_mp3_in_joined_wav_files() -> None:
    stream = without_xing(mp3())
    head = struct.pack("<IHHIIHHHHIHHH", 30, 0x55, 1, 44_100, 16_000, 1, 0, 12, 1, 2, 417, 1, 1_393)
    chunks = b"WAVEfmt " + head + b"data" + struct.pack("<I", len(stream)) + stream.ljust(len(stream) + len(stream) % 2)
    wav = b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    one = read_audio(wav, 44_100)
    np.testing.assert_array_equal(read_audio(wav + wav, 44_100), np.concatenate([one, one]))


def test_a_wrong_bit_is_no_other_scale() -> None:
    """An MP3 has no checksum: a gain that is too high by one bit makes a sound of 10 000 times full scale."""
    data, number = without_xing(mp3(channels=1, mode="CONSTANT")), 60
    at = int(np.cumsum(sizes(data))[number])
    damaged = bytearray(data)
    for granule in (18, 18 + 59):  # the highest bits of both granules' global gain, by ISO/IEC 11172-3 2.4.1.7
        bit = 8 * (at + 4) + granule + 12 + 9
        damaged[bit // 8] |= 0x80 >> bit % 8
        bit += 1
        damaged[bit // 8] |= 0x80 >> bit % 8
    found, whole = read_recording(bytes(damaged)), read_audio(data, 44_100)
    assert [remark.kind for remark in found.remarks] == [DAMAGED_SOUND]
    assert "divide" not in found.remarks[0].detail and np.abs(found.samples).max() < 4
    assert 1152 <= len(whole) - len(found.samples) <= 5 * 1152
    np.testing.assert_array_equal(found.samples[: (number - 1) * 1152], whole[: (number - 1) * 1152])


def test_an_mp3_on_another_scale_is_refused() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=44_100, layout="mono")
        stream.codec_context.format = "fltp"
        frame = av.AudioFrame.from_ndarray(3_000 * sound(44_100, 3.0).T.copy(), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(SignalError, match="another scale"):
        read_audio(out.getvalue(), 44_100)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("xing", [True, False])
def test_a_beginning_that_was_never_written_is_told(share: float, xing: bool) -> None:
    data = mp3() if xing else without_xing(mp3())
    lost = int(share * len(data))
    found = read_recording(bytes(lost) + data[lost:])
    assert 0 < len(found.samples) < 4 * 44_100
    assert [remark.kind for remark in found.remarks] == [DAMAGED_SOUND]
    assert kinds(bytes(lost) + mp3()) == []  # all is there that the Xing frame promises


@pytest.mark.parametrize("rates", [(192_000, 48_000), (48_000, 192_000)])
def test_layer_2(rates: tuple[int, int]) -> None:
    """Two bit rates in one stream: libsndfile alone hears half of one of them."""
    data = b""
    for rate in rates:
        out = io.BytesIO()
        with av.open(out, "w", format="mp2") as file:
            stream = file.add_stream("mp2", rate=44_100, layout="mono")
            stream.bit_rate = rate
            samples = (sound(44_100, 3.0)[:, 0] * 32767).astype(np.int16)
            for start in range(0, len(samples), 1152):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1152], "s16", "mono")
                frame.sample_rate, frame.pts = 44_100, start
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        data += out.getvalue()
    found, expected = read_audio(data, 44_100), by_ffmpeg(data, "mp2")
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_free_format_is_refused() -> None:
    data = without_xing(mp3())
    frame = bytes([data[0], data[1], data[2] & 0x0F, data[3]]) + bytes(1_000)
    with pytest.raises(SignalError, match=r"free format .*; write it anew"):
        read_audio(frame * 60, 44_100)


def test_an_mp3_in_a_wav_file() -> None:
    data = without_xing(mp3(mode="CONSTANT"))
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 44_100, 16_000, 1, 0, 12, 1, 2, 417, 1, 1393)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    found = read_audio(b"RIFF" + struct.pack("<I", len(body)) + body, 44_100)
    np.testing.assert_array_equal(found, read_audio(data, 44_100))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3_000), st.integers(0, 3_000), st.integers(0, 3_000))
def test_scanning_ends_and_counts_no_frame_twice(junk: bytes, start: int, stop: int) -> None:
    data = mp3(8_000, 0.8)
    data = data[:start] + junk + data[stop:]
    frames = scan_frames(io.BytesIO(data), 0, len(data))
    stretches = [stretch for segment in frames.segments for stretch in segment.stretches]
    assert all(first < last for first, last in stretches)
    assert all(one[1] <= two[0] for one, two in pairwise(stretches))
    assert not stretches or stretches[-1][1] <= len(data)
