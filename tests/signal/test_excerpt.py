"""Excerpts against the same seconds of the whole recording, decoded by soundfile and cut with numpy."""

import io
import resource
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earthtone.errors import SignalError
from earthtone.signal.audio import probe_audio, read_recording, survey_recording
from earthtone.signal.excerpt import Excerpt
from earthtone.signal.remarks import DAMAGED_SOUND, SOUND_MISSING
from earthtone.signal.sound_frames import flac_length, flac_streams

HZ = 8_000
SECONDS = 30


def sound(format: str, subtype: str, seconds: float = SECONDS) -> bytes:
    out = io.BytesIO()
    samples = np.random.default_rng(1).uniform(-0.4, 0.4, (round(HZ * seconds), 2))
    soundfile.write(out, samples, HZ, format=format, subtype=subtype)
    return out.getvalue()


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("AIFF", "PCM_24"), ("W64", "PCM_16"),
     ("RF64", "PCM_16"), ("CAF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)  # fmt: skip
def test_an_excerpt_is_the_same_seconds_of_the_whole(format: str, subtype: str) -> None:
    data = sound(format, subtype)
    whole = read_recording(data).samples
    for start, end in ((0.0, 1.0), (12.3, 17.7), (29.5, None)):
        heard = read_recording(Excerpt(data, start, end))
        first, last = round(start * HZ), len(whole) if end is None else round(end * HZ)
        assert np.array_equal(heard.samples, whole[first:last])
        assert heard.facts.seconds == pytest.approx((last - first) / HZ)
        assert heard.remarks == ()
        assert probe_audio(Excerpt(data, start, end)).seconds == pytest.approx((last - first) / HZ, abs=1e-6)


def test_excerpts_beside_each_other_lose_and_double_nothing() -> None:
    data = sound("WAV", "PCM_16")
    edges = [0.0, 3.33333, 7.1, 19.99999, 30.0]
    parts = [read_recording(Excerpt(data, *ends)).samples for ends in pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), read_recording(data).samples)


@pytest.mark.parametrize("length", [0, 1000])
def test_where_the_header_was_never_brought_up_to_date(tmp_path: Path, length: int) -> None:
    good = sound("WAV", "PCM_16")
    bad = bytearray(good)
    struct.pack_into("<I", bad, bad.find(b"data") + 4, length)
    path = tmp_path / "stale.wav"
    path.write_bytes(bad)
    heard = read_recording(Excerpt(path, 20.0, 25.0))
    assert np.array_equal(heard.samples, read_recording(good).samples[20 * HZ : 25 * HZ])


def test_joined_recordings_are_one() -> None:
    data = sound("WAV", "PCM_16", 3.0) + sound("WAV", "PCM_16", 4.0)
    whole = read_recording(data).samples
    for start, end in ((1.0, 2.0), (2.5, 5.0), (4.0, 6.5), (6.0, None)):
        heard = read_recording(Excerpt(data, start, end)).samples
        assert np.array_equal(heard, whole[round(start * HZ) : None if end is None else round(end * HZ)])
    with pytest.raises(SignalError, match=r"the recording ends at 7\.00 s"):
        read_recording(Excerpt(data, 7.5, 8.0))


def test_a_recording_that_ends_within_the_excerpt() -> None:
    _, remarks = survey_recording(Excerpt(sound("WAV", "PCM_16"), 28.0, 35.0))
    assert [(remark.kind, remark.detail[:18]) for remark in remarks] == [(SOUND_MISSING, "2 s of 7 s are the")]


def test_damage_before_an_excerpt_moves_nothing() -> None:
    data = bytearray(sound("FLAC", "PCM_16"))
    whole = read_recording(bytes(data)).samples
    middle = len(data) // 6
    data[middle : middle + 2000] = bytes(2000)
    _, remarks = survey_recording(bytes(data))
    assert DAMAGED_SOUND in {remark.kind for remark in remarks}
    heard = read_recording(Excerpt(bytes(data), 20.0, 22.0))
    assert np.array_equal(heard.samples, whole[20 * HZ : 22 * HZ]) and heard.remarks == ()


@pytest.mark.parametrize(
    ("ends", "said"),
    [((-1.0, 2.0), "start_s is -1"), ((2.0, 2.0), "an end after the start"), ((5.0, 4.0), "an end after the start"),
     ((float("nan"), None), "start_s is nan"), ((0.0, float("inf")), "end_s is inf")],
)  # fmt: skip
def test_what_is_no_stretch(ends: tuple[float, float | None], said: str) -> None:
    with pytest.raises(SignalError, match=said):
        Excerpt(b"", *ends)


def test_an_excerpt_beyond_the_end() -> None:
    for data in (sound("WAV", "PCM_16"), sound("OGG", "VORBIS")):
        with pytest.raises(SignalError, match=r"from 40 s to 50 s: the recording ends at 30\.00 s"):
            read_recording(Excerpt(data, 40.0, 50.0))


def test_a_day_of_sound_costs_no_more_than_its_excerpt(tmp_path: Path) -> None:
    path = tmp_path / "day.wav"  # 24 h, which as a whole are refused; a hole in the disk but for the last samples
    head, count = bytearray(sound("WAV", "PCM_16", 0.0)), 24 * 3600 * HZ * 4
    struct.pack_into("<I", head, head.find(b"data") + 4, count)
    struct.pack_into("<I", head, 4, len(head) - 8 + count)
    tail = np.random.default_rng(2).integers(-9000, 9000, (2 * HZ, 2)).astype("<i2")
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + count)
        file.seek(len(head) + count - tail.nbytes)
        file.write(tail.tobytes())
    with pytest.raises(SignalError, match=r"24 h of sound.*start_s, end_s"):
        probe_audio(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    heard = read_recording(Excerpt(path, 24 * 3600 - 2.0, 24 * 3600.0))
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert np.array_equal(heard.samples, (tail / 32768).astype(np.float32).mean(axis=1)) and grown_mb < 100


@pytest.mark.parametrize("promised", [2 * HZ, SECONDS * HZ - 1, SECONDS * HZ])
def test_a_flac_that_goes_on_behind_its_promise(promised: int) -> None:
    data = bytearray(sound("FLAC", "PCM_16"))
    whole = read_recording(bytes(data)).samples
    data[21] = data[21] & 0xF0 | promised >> 32  # 36 bits: how many samples it promises
    data[22:26] = struct.pack(">I", promised & 0xFFFF_FFFF)
    assert probe_audio(bytes(data)).seconds == SECONDS
    heard = read_recording(Excerpt(bytes(data), 20.0, 22.0))
    assert np.array_equal(heard.samples, whole[20 * HZ : 22 * HZ]) and heard.remarks == ()


@pytest.mark.parametrize("count", [1, 192, 4096, 4097, 12_345, 100_000])
def test_the_length_of_a_flac_by_its_last_frame(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(3).uniform(-0.4, 0.4, count), HZ, subtype="PCM_16")
    with path.open("rb") as file:
        (stream,) = flac_streams(file, 0, path.stat().st_size)
        assert flac_length(file, stream) == count


def test_a_file_that_was_changed_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for seconds in (5.0, 9.0):
        path.write_bytes(sound("WAV", "PCM_16", seconds))
        assert probe_audio(Excerpt(path, 1.0)).seconds == seconds - 1
