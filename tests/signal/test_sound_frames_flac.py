"""FLAC: lengths that the header does not tell or tells wrongly, joined, cut and damaged files."""

import io
import struct

import numpy as np
import pytest
import soundfile

from earthtone.signal.audio import probe_audio, read_audio, read_recording
from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING, WRONG_HEADER


def flac(hz: int = 44_100, seconds: float = 6.0, channels: int = 1, seed: int = 0, subtype: str = "PCM_16") -> bytes:
    out = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.1, (round(hz * seconds), channels))
    soundfile.write(out, samples, hz, format="FLAC", subtype=subtype)
    return out.getvalue()


def with_length(data: bytes, samples: int) -> bytes:
    facts = int.from_bytes(data[18:26], "big") >> 36 << 36 | samples
    return data[:18] + struct.pack(">Q", facts) + data[26:]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("length", "kind"),
    [(0, None), (4_000, WRONG_HEADER), (44_100 * 60, SOUND_MISSING), (2**36 - 1, SOUND_MISSING)],
)
def test_the_frames_tell_the_length(length: int, kind: str | None, channels: int) -> None:
    data = flac(channels=channels)
    found = read_recording(with_length(data, length))
    np.testing.assert_array_equal(found.samples, read_audio(data, 44_100))
    assert [remark.kind for remark in found.remarks] == ([] if kind is None else [kind])
    assert found.facts.seconds == 6.0
    if length == 0:
        assert probe_audio(with_length(data, 0)).seconds == 6.0


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_cut_file(share: float) -> None:
    data = flac(subtype="PCM_24")
    found = read_recording(data[: int(share * len(data))])
    np.testing.assert_array_equal(found.samples, read_audio(data, 44_100)[: len(found.samples)])
    assert found.facts.seconds == pytest.approx(6 * share, abs=0.1)
    assert [remark.kind for remark in found.remarks] == [SOUND_MISSING] and "of 6 s" in found.remarks[0].detail


@pytest.mark.parametrize("hole", [1, 900, 40_000])
def test_a_damaged_file_goes_on(hole: int) -> None:
    data = bytearray(flac(seconds=9.0))
    start = len(data) // 3
    data[start : start + hole] = bytes(byte ^ 0xA5 for byte in data[start : start + hole])
    found, whole = read_recording(bytes(data)), read_audio(flac(seconds=9.0), 44_100)
    lost = len(whole) - len(found.samples)
    assert lost % 4096 == 0 and 0 < lost <= hole / len(data) * len(whole) + 2 * 4096
    assert [remark.kind for remark in found.remarks] == [DAMAGED_SOUND]
    assert f"{lost / 44_100:.2f}".rstrip("0") in found.remarks[0].detail
    np.testing.assert_array_equal(found.samples[:100_000], whole[:100_000])
    np.testing.assert_array_equal(found.samples[-100_000:], whole[-100_000:])


def test_two_holes_and_a_cut() -> None:
    data = bytearray(flac(seconds=9.0))
    for share in (0.2, 0.6):
        data[int(share * len(data))] ^= 0x3C
    found = read_recording(bytes(data[: int(0.8 * len(data))]))
    assert {remark.kind for remark in found.remarks} == {DAMAGED_SOUND, SOUND_MISSING}
    assert found.facts.seconds == pytest.approx(9 * 0.8, abs=0.4)


@pytest.mark.parametrize(("hz", "channels"), [(44_100, 1), (22_050, 2)])
@pytest.mark.parametrize("known", [True, False])
def test_joined_files(hz: int, channels: int, known: bool) -> None:
    one, two = flac(seconds=3.0), flac(hz, 2.0, channels, seed=1)
    shown = one if known else with_length(one, 0)
    found = read_recording(shown + two, 32_000)
    np.testing.assert_array_equal(found.samples, np.concatenate([read_audio(one, 32_000), read_audio(two, 32_000)]))
    assert found.remarks == () and found.facts.seconds == 5.0


@pytest.mark.parametrize(("before", "after"), [(b"ID3\3\0\0\0\0\0\x64" + bytes(100), b""), (b"", b"TAG" + bytes(125))])
def test_tags_are_no_sound(before: bytes, after: bytes) -> None:
    found = read_recording(before + flac() + after)
    np.testing.assert_array_equal(found.samples, read_audio(flac(), 44_100))
    assert found.remarks == ()
