"""Ogg files: joined ones are heard whole, a missing end and damaged pages are told."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from earthtone.signal.audio import AudioFacts, probe_audio, read_audio, read_recording, survey_recording
from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING

CODECS = ("VORBIS", "OPUS")


def ogg(codec: str, hz: int = 48_000, seconds: float = 4.0, channels: int = 1, seed: int = 0) -> bytes:
    out = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, (round(hz * seconds), channels))
    soundfile.write(out, samples, hz, format="OGG", subtype=codec)
    return out.getvalue()


def starts_of_pages(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        found.append(at)
        segments = data[at + 26]
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    return found


def kinds(data: bytes) -> list[str]:
    return [remark.kind for remark in survey_recording(data)[1]]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_streams_are_heard(codec: str, count: int) -> None:
    parts = [ogg(codec, 48_000, 1.0 + number, seed=number) for number in range(count)]
    found = read_recording(b"".join(parts))
    expected: NDArray[np.float32] = np.concatenate([read_audio(part, 48_000) for part in parts])
    np.testing.assert_array_equal(found.samples, expected)
    assert found.remarks == () and probe_audio(b"".join(parts)) == found.facts
    assert found.facts.seconds == sum(1.0 + number for number in range(count))


@pytest.mark.parametrize(("one", "two"), [("VORBIS", "OPUS"), ("OPUS", "VORBIS")])
def test_streams_of_different_kinds(one: str, two: str) -> None:
    data = ogg(one, 48_000, 2.0, 2) + ogg(two, 24_000, 3.0)
    found = read_recording(data, 16_000)
    assert found.facts == AudioFacts(5.0, 48_000, 2) and len(found.samples) == pytest.approx(5 * 16_000, abs=2)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_cut_file(codec: str, share: float) -> None:
    data = ogg(codec, seconds=9.0)
    found = read_recording(data[: int(share * len(data))])
    assert [remark.kind for remark in found.remarks] == [SOUND_MISSING]
    assert found.remarks[0].detail.endswith(f"{found.facts.seconds:.2f} s are there")
    np.testing.assert_array_equal(found.samples, read_audio(data, 48_000)[: len(found.samples)])
    assert 0.1 < found.facts.seconds < 9 * share + 0.1


@pytest.mark.parametrize("codec", CODECS)
def test_a_cut_at_the_end_of_a_page(codec: str) -> None:
    data = ogg(codec, seconds=9.0)
    assert kinds(data[: starts_of_pages(data)[-1]]) == [SOUND_MISSING]


@pytest.mark.parametrize("codec", CODECS)
def test_a_second_stream_that_is_cut(codec: str) -> None:
    whole, cut = ogg(codec, seconds=3.0), ogg(codec, seconds=6.0, seed=1)
    facts, remarks = survey_recording(whole + cut[: len(cut) // 2])
    assert 3.5 < facts.seconds < 7 and [remark.kind for remark in remarks] == [SOUND_MISSING]
    assert "1 of 2 streams" in remarks[0].detail


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("how", ["bit", "page", "zeros"])
def test_damaged_pages_are_told(codec: str, how: str) -> None:
    data = bytearray(ogg(codec, seconds=12.0))
    start, end = starts_of_pages(bytes(data))[4:6]
    if how == "bit":
        data[(start + end) // 2] ^= 16
    elif how == "page":
        del data[start:end]
    else:
        data[start + 100 : start + 3_000] = bytes(2_900)
    found = read_recording(bytes(data))
    assert DAMAGED_SOUND in [remark.kind for remark in found.remarks]
    assert 6 < found.facts.seconds <= 12 and np.isfinite(found.samples).all()


@pytest.mark.parametrize("codec", CODECS)
def test_a_second_stream_without_its_first_page_is_told(codec: str) -> None:
    second = ogg(codec, seed=1)
    found = read_recording(ogg(codec, seconds=3.0) + second[starts_of_pages(second)[1] :])
    assert [remark.kind for remark in found.remarks] == [DAMAGED_SOUND] and found.facts.seconds == 3.0


@pytest.mark.parametrize("codec", CODECS)
def test_what_stands_behind_a_whole_stream_is_no_loss(codec: str) -> None:
    assert kinds(ogg(codec) + bytes(20_000)) == []


def test_a_stream_that_is_no_sound_beside_one() -> None:
    """As in a film: pages of another stream, of which both begin together."""
    sound = ogg("VORBIS")
    first, *rest = starts_of_pages(sound)
    assert first == 0

    def page(flags: int, sequence: int, body: bytes) -> bytes:
        head = struct.pack("<4sBBqIII", b"OggS", 0, flags, 0, 77, sequence, 0) + bytes([1, len(body)]) + body
        return head[:22] + struct.pack("<I", checksum(head)) + head[26:]

    other = [page(2, 0, b"\x80no sound"), page(4, 1, b"nor this")]
    data = sound[: rest[0]] + other[0] + sound[rest[0] : rest[2]] + other[1] + sound[rest[2] :]
    found = read_recording(data)
    np.testing.assert_array_equal(found.samples, read_audio(sound, 48_000))
    assert found.remarks == ()


def checksum(page: bytes) -> int:
    """Bit by bit, as RFC 3533 describes it."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x04C11DB7 if crc & 0x8000_0000 else crc << 1
        crc &= 0xFFFF_FFFF
    return crc


def ogg_flac(seconds: float = 4.0, seed: int = 0) -> tuple[bytes, NDArray[np.int16]]:
    out = io.BytesIO()
    samples = (np.random.default_rng(seed).normal(0, 0.1, round(44_100 * seconds)) * 32767).astype(np.int16)
    with av.open(out, "w", format="ogg") as file:
        stream = file.add_stream("flac", rate=44_100, layout="mono")
        for start in range(0, len(samples), 4096):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 4096], "s16", "mono")
            frame.sample_rate, frame.pts = 44_100, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue(), samples


def test_flac_in_ogg() -> None:
    (one, first), (two, second) = ogg_flac(), ogg_flac(2.5, 1)
    found = read_recording(one + two + ogg("VORBIS", 44_100, 1.0))
    both = np.concatenate([first, second])
    np.testing.assert_array_equal(np.round(found.samples[: len(both)] * 32768).astype(np.int16), both)
    assert found.facts.seconds == 7.5 and found.remarks == ()
    assert kinds(one[: len(one) // 2]) == [SOUND_MISSING]
