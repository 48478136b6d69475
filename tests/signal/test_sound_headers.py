"""Headers against files: what is there is heard, whatever the header says, and the difference is told."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earthtone.errors import SignalError
from earthtone.signal.audio import probe_audio, read_audio, read_recording, survey_recording
from earthtone.signal.remarks import SOUND_MISSING, WRONG_HEADER

HZ = 22_050
FORMATS = [
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"),
    ("W64", "PCM_16"), ("AIFF", "PCM_24"), ("AU", "PCM_16"), ("CAF", "PCM_16"),
]  # fmt: skip


def written(format: str, subtype: str, seconds: float = 3.0, channels: int = 2, seed: int = 0) -> bytes:
    out = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, (round(HZ * seconds), channels))
    soundfile.write(out, samples, HZ, format=format, subtype=subtype)
    return out.getvalue()


def lengths(data: bytes, format: str) -> dict[int, str]:
    """Where the header tells the length of the data, and how the number is packed."""
    if format in ("WAV", "WAVEX"):
        return {data.find(b"data") + 4: "<I"}
    if format == "RF64":
        return {28: "<Q"}
    if format == "W64":
        return {data.find(b"data", 40) + 16: "<Q"}
    if format == "AU":
        return {8: ">I"}
    if format == "CAF":
        return {data.find(b"data") + 4: ">q"}
    return {data.find(b"SSND") + 4: ">I"}


def with_length(data: bytes, format: str, length: int) -> bytes:
    out = bytearray(data)
    for at, packing in lengths(data, format).items():
        struct.pack_into(packing, out, at, length)
    return bytes(out)


def kinds(data: bytes | Path) -> list[str]:
    return [remark.kind for remark in survey_recording(data)[1]]


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
@pytest.mark.parametrize("length", [0, 24, 40_000])
def test_a_length_that_was_never_brought_up_to_date(tmp_path: Path, format: str, subtype: str, length: int) -> None:
    data = written(format, subtype)
    path = tmp_path / "sound"
    path.write_bytes(with_length(data, format, length))
    found = read_recording(path)
    np.testing.assert_array_equal(found.samples, read_audio(data, HZ))
    assert [remark.kind for remark in found.remarks] == [WRONG_HEADER]
    assert found.remarks[0].detail.endswith("3 s are there and are heard")
    assert probe_audio(path) == found.facts == read_recording(path.read_bytes()).facts


def test_an_aiff_that_counts_no_frames() -> None:
    data = bytearray(written("AIFF", "PCM_16"))
    at = data.find(b"COMM") + 10
    whole = read_audio(bytes(data), HZ)
    for frames in (0, 1_000):
        struct.pack_into(">I", data, at, frames)
        np.testing.assert_array_equal(read_audio(bytes(data), HZ), whole)
        assert kinds(bytes(data)) == [WRONG_HEADER]


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_cut_file(format: str, subtype: str, share: float) -> None:
    data = written(format, subtype, seconds=6.0)
    found = read_recording(data[: int(share * len(data))])
    np.testing.assert_array_equal(found.samples, read_audio(data, HZ)[: len(found.samples)])
    assert found.facts.seconds == pytest.approx(6 * share, abs=0.2)
    assert [remark.kind for remark in found.remarks] == [SOUND_MISSING] and "of 6 s are there" in found.remarks[
        0
    ].detail


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_joined_files(format: str, subtype: str) -> None:
    parts = [written(format, subtype, 2.0 + number, seed=number) for number in range(3)]
    found = read_recording(b"".join(parts))
    np.testing.assert_array_equal(found.samples, np.concatenate([read_audio(part, HZ) for part in parts]))
    assert found.remarks == ()


@pytest.mark.parametrize(("format", "subtype"), FORMATS)
def test_room_for_sound_that_never_came_is_no_sound(format: str, subtype: str) -> None:
    data = written(format, subtype)
    found = read_recording(data + bytes(50_000))
    np.testing.assert_array_equal(found.samples, read_audio(data, HZ))
    assert found.remarks == ()


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F000, 0xFFFF_FFDB])
def test_a_file_from_a_pipe_promises_nothing(length: int) -> None:
    data = written("WAV", "PCM_16")
    found = read_recording(with_length(data, "WAV", length))
    np.testing.assert_array_equal(found.samples, read_audio(data, HZ))
    assert found.remarks == ()


@pytest.mark.parametrize(
    "chunks",
    [
        b"LIST" + struct.pack("<I", 4) + b"INFO",
        b"guan" + struct.pack("<I", 5_001) + b"GUANO|Version: 1.0\n".ljust(5_001),  # odd and unpadded
        b"guan" + struct.pack("<I", 9) + b"GUANO|Ver\0" + b"iXML" + struct.pack("<I", 6_000) + b"<".ljust(6_000),
        b"LIST" + struct.pack("<I", 90_000) + b"INFO".ljust(7_000, b"x"),  # longer than the file
        b"ID3\x03\0\0\0\0\x7f\x7f" + b"\1".ljust(20_000, b"\x55"),  # bare tags
        b"APETAGEX" + struct.pack("<IIII8s", 2_000, 9_032, 1, 0xA000_0000, b"") + b"\xaa" * 9_064,
        b'<?xml version="1.0"?>'.ljust(9_000),
    ],
)
def test_chunks_behind_the_samples_are_no_sound(chunks: bytes) -> None:
    data = written("WAV", "PCM_16")
    found = read_recording(data + chunks)
    np.testing.assert_array_equal(found.samples, read_audio(data, HZ))
    assert found.remarks == ()


def test_nothing_at_all_is_no_sound() -> None:
    empty = written("WAV", "PCM_16", 0.0)
    for data in (empty, empty + b"LIST" + struct.pack("<I", 8_000) + b"INFO".ljust(8_000, b"x")):
        with pytest.raises(SignalError, match="no samples"):
            read_audio(data, HZ)


def sparse_wav(path: Path, frame_bytes: int, hz: int, promised: int, size: int, behind: bytes = b"") -> Path:
    channels = frame_bytes // 4
    form = struct.pack("<HHIIHH", 1, channels, hz, hz * frame_bytes, frame_bytes, 32)
    head = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", promised)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", (promised + 36) & 0xFFFF_FFFF) + head)
        file.write(np.full(1_000, 2**28, "<i4").tobytes())
        file.seek(44 + size)
        file.write(behind)
        file.truncate(44 + size + len(behind))
    return path


@pytest.mark.parametrize("behind", [b"", b"LIST" + struct.pack("<I", 4) + b"INFO"])
def test_a_length_that_32_bits_cannot_tell(tmp_path: Path, behind: bytes) -> None:
    """64 channels at 384 kHz make 4.9 GB of 50 seconds; a sparse file takes no room."""
    size = 50 * 384_000 * 256
    path = sparse_wav(tmp_path / "a.wav", 256, 384_000, size % 2**32, size, behind)
    assert probe_audio(path).seconds == 50.0


def test_a_huge_file_is_refused_by_its_length(tmp_path: Path) -> None:
    path = sparse_wav(tmp_path / "a.wav", 4, 48_000, 30_000_000_000 % 2**32, 30_000_000_000)
    for read in (probe_audio, survey_recording, read_recording):
        with pytest.raises(SignalError, match=r"43\.4 h of sound, at most 6 h expected"):
            read(path)


@pytest.mark.parametrize("change", [lambda data: data[:44], lambda data: data[:30], lambda data: data[:12]])
def test_headers_that_are_cut(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(SignalError):
        read_audio(change(written("WAV", "PCM_16")), HZ)


@pytest.mark.slow
@pytest.mark.parametrize("hz", [11_025, 22_050, 44_100])
@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "NMS_ADPCM_32", "G721_32"])
def test_blocks_of_a_codec_are_counted_to_the_sample(subtype: str, hz: int) -> None:
    out = io.BytesIO()
    samples = np.tile(np.random.default_rng(0).normal(0, 0.1, hz), 40)
    soundfile.write(out, samples, hz, format="WAV", subtype=subtype)
    facts, remarks = survey_recording(out.getvalue())
    assert remarks == ()
    assert facts.seconds == pytest.approx(40, abs=0.1) == probe_audio(out.getvalue()).seconds


@pytest.mark.parametrize(("format", "subtype"), [("AU", "G721_32"), ("AU", "G723_24"), ("AIFF", "GSM610")])
def test_codecs_in_which_nobody_can_seek(format: str, subtype: str) -> None:
    found = read_recording(written(format, subtype, channels=1))
    assert len(found.samples) == pytest.approx(3 * HZ, abs=400) and found.remarks == ()


def test_a_cut_file_of_such_a_codec() -> None:
    data = written("AU", "G721_32", channels=1)
    assert kinds(data[: len(data) // 2]) == [SOUND_MISSING]


@pytest.mark.parametrize("length", [None, 0, 9_600])
@pytest.mark.parametrize("bits", [20, 24])
def test_values_that_stand_in_more_bytes_than_they_have(bits: int, length: int | None) -> None:
    expected = np.random.default_rng(0).normal(0, 0.1, (HZ, 2))
    values = (expected * 2**31).astype("<i4").tobytes()
    form = struct.pack("<HHIIHH", 1, 2, HZ, HZ * 8, 8, bits)
    size = len(values) if length is None else length
    data = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + form
    found = read_audio(data + b"data" + struct.pack("<I", size) + values, HZ)
    np.testing.assert_allclose(found, expected.mean(axis=1), atol=1e-6)
