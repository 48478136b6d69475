"""Packing appends, resumes, skips and counts what is broken, and loses nothing that was written."""

import csv
import io
import os
import resource
import shutil
import signal as signals
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from filelock import FileLock
from PIL import Image

from earthtone.data.check import check
from earthtone.data.pack import open_table, pack, unfinished_marker
from earthtone.data.packed import Table
from earthtone.data.pair import Pair
from earthtone.data.source import open_source
from earthtone.data.splits import named_split
from earthtone.errors import ConfigError, DataError
from earthtone.signal.config import AudioConfig, SignalConfig

WritePairs = Callable[[Path, int], Path]
Row = dict[str, Any]
COMPARED = (
    "id", "longitude", "latitude", "datetime", "image", "image_gsd_m", "source", "license", "attribution", "split",
    "image_hash", "audio_hash", "audio_frames", "audio_seconds", "label",
)  # fmt: skip


def contents(path: Path) -> list[Row]:
    """All rows with their sound; without the previews, whose Ogg serial numbers are drawn anew by each encoder."""
    table = Table(path)
    rows = list(range(len(table)))
    records = table.records(rows, COMPARED)
    sounds = table.sound(rows, [0] * len(rows), table.frames().tolist())
    return [record | {"audio": sound.tobytes()} for record, sound in zip(records, sounds, strict=True)]


def head(manifest: Path, rows: int, name: str = "head.csv") -> Path:
    """The manifest's first rows, as another manifest beside it."""
    path = manifest.with_name(name)
    path.write_text("".join(manifest.read_text().splitlines(keepends=True)[: rows + 1]))
    return path


def named(path: Path | None) -> dict[str, tuple[str, str]]:
    assert path is not None
    with path.open() as file:
        return {row["id"]: (row["problem"], row["detail"]) for row in csv.DictReader(file)}


def test_everything_is_packed_and_nothing_twice(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "t.lance"
    result = pack(tiny_pairs, out, signal=tiny_signal)
    assert (result.path, result.added, result.already_there, result.rows) == (out, 24, 0, 24)
    assert result.problems == {} and result.problems_path is None
    first, second, *others = result.to_text().splitlines()
    assert others[0] == "  train in all: 16 rows of 16 images, 16 recordings, 16 places"
    assert first == f"{out}: 24 pairs added, 0 were there, 24 in all"
    assert second.startswith("  split by manifest: ") and second.endswith("; train 16, val 4, test 4")
    before = contents(out)
    again = pack(tiny_pairs, out, signal=tiny_signal)
    assert (again.added, again.already_there, again.rows) == (0, 24, 24)
    assert contents(out) == before
    assert not list(out.parent.glob("*.csv")) and not unfinished_marker(out).exists()


@pytest.mark.parametrize("by", ["blocks", "geoclap", "psm-cells"])
def test_rows_are_split_by_name_and_never_otherwise(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, by: str
) -> None:
    out = tmp_path / "named.lance"
    result = pack(tiny_pairs, out, signal=tiny_signal, split_by=by)
    source = open_source(tiny_pairs)
    split = named_split(by, source)
    expected = {pair.id: split.assign(pair) for pair in source if isinstance(pair, Pair)}
    table = Table(out)
    assert dict(zip(table.column("id"), table.column("split"), strict=True)) == expected
    assert table.split == split.record == result.split
    assert result.splits == {name: list(expected.values()).count(name) for name in ("train", "val", "test")}
    assert pack(tiny_pairs, out, signal=tiny_signal, split_by=by).already_there == 24  # a stopped call goes on
    before = contents(out)
    for other in ({}, {"split_by": "buffered-blocks"}):
        with pytest.raises(DataError, match=f"is split by {by}, the new rows by "):
            pack(tiny_pairs, out, signal=tiny_signal, **other)
    assert contents(out) == before


def test_rows_that_change_the_splits_of_others_are_refused(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    out, some = tmp_path / "some.lance", head(tiny_pairs, 5)
    for by, refused in (("geoclap", True), ("blocks", False)):
        pack(some, out, signal=tiny_signal, split_by=by)
        if refused:
            with pytest.raises(DataError, match=r"digest: .*; rows: 5 -> 24.*split both alike"):
                pack(tiny_pairs, out, signal=tiny_signal, split_by=by)
            assert len(Table(out)) == 5
        else:
            assert pack(tiny_pairs, out, signal=tiny_signal, split_by=by).added == 19
        shutil.rmtree(out)
    some.unlink()


def test_pairs_within_the_buffer_are_in_no_split_and_counted(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    out = tmp_path / "buffered.lance"
    result = pack(tiny_pairs, out, signal=tiny_signal, split_by="buffered-blocks", buffer_km=6.0)
    splits = Table(out).column("split")
    assert result.splits["none"] == splits.count(None) > 0 and sum(result.splits.values()) == 24
    assert f"none {splits.count(None)}" in result.to_text() and "within 6.0 km" in result.to_text()
    with pytest.raises(ConfigError, match="no effect"):
        pack(tiny_pairs, out, signal=tiny_signal, buffer_km=6.0)


def test_new_rows_are_appended(pairs: Path, tiny_signal: SignalConfig, tiny_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.lance"
    assert pack(head(pairs, 10), out, signal=tiny_signal).rows == 10
    begun = contents(out)
    result = pack(pairs, out, signal=tiny_signal)
    assert (result.added, result.already_there, result.rows) == (14, 10, 24)
    assert contents(out)[:10] == begun and contents(out) == contents(tiny_table)


@pytest.mark.parametrize("threads", [1, 5])
def test_threads_change_nothing(
    threads: int, tiny_pairs: Path, tiny_signal: SignalConfig, tiny_table: Path, tmp_path: Path
) -> None:
    out = pack(tiny_pairs, tmp_path / "t.lance", signal=tiny_signal, threads=threads).path
    assert contents(out) == contents(tiny_table)


CHILD = """
import json, sys
import earthtone.data.pack as module
from earthtone.data.pack import pack
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig

module.COMMIT_ROWS = 2  # many commits, many moments to be killed at
audio = AudioConfig(sample_rate_hz=16_000, window_seconds=1.0, mels=32, hop_seconds=0.02)
pack(sys.argv[1], sys.argv[2], signal=SignalConfig(audio, ImageConfig(pixels=32, stored_pixels=40)), threads=2)
"""


def count(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.slow
def test_a_killed_packing_goes_on_where_it_stopped(
    write_pairs: WritePairs, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    manifest = write_pairs(tmp_path / "pairs", 120)
    whole = contents(pack(manifest, tmp_path / "whole.lance", signal=tiny_signal).path)
    out = tmp_path / "killed.lance"
    # (commits since the start, then seconds): in the first commit, right after a later one, amid the next
    moments = [(0, 0.0), (7, 0.0), (5, 0.003)]
    killed = 0
    for commits, seconds in moments:
        before = count(out / "_versions")
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(manifest), str(out)], stderr=subprocess.PIPE)
        reached = "_versions" if commits else "data"
        while count(out / reached) < before + max(commits, 1) and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(seconds)
        process.send_signal(signals.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (0, -signals.SIGKILL), errors.decode()
        killed += process.returncode == -signals.SIGKILL
        if count(out / "_versions"):
            there = contents(out)
            assert there == whole[: len(there)]  # whole rows, none twice, in order
        if process.returncode and count(out / "_versions"):
            with pytest.raises(DataError, match="its packing has not ended"), open_table(out, tiny_signal):
                pass
    assert killed >= 2  # on a busy machine one may have ended before its moment was seen
    result = pack(manifest, out, signal=tiny_signal)
    assert result.rows == 120 and result.added + result.already_there == 120
    assert contents(out) == whole
    assert not unfinished_marker(out).exists()


def test_what_a_kill_amid_the_first_commit_leaves_behind(
    tiny_pairs: Path, tiny_signal: SignalConfig, tiny_table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.lance"
    for folder in ("data", "_transactions", "_versions"):
        (out / folder).mkdir(parents=True)
    (out / "data" / "half.lance").write_bytes(b"half a file")
    (out / "_versions" / "1.manifest#1").write_bytes(b"not yet renamed")
    assert pack(tiny_pairs, out, signal=tiny_signal).added == 24
    assert contents(out) == contents(tiny_table)


@pytest.fixture
def commits_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthtone.data.pack.COMMIT_ROWS", 4)


@pytest.mark.usefixtures("commits_of_four")
def test_rows_wait_for_few_commits_only(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    out = pack(tiny_pairs, tmp_path / "t.lance", signal=tiny_signal).path
    assert [fragment.count_rows() for fragment in lance.dataset(str(out)).get_fragments()] == [4] * 6


def test_large_rows_are_committed_by_their_bytes(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earthtone.data.pack.COMMIT_BYTES", 30_000)
    out = pack(tiny_pairs, tmp_path / "t.lance", signal=tiny_signal).path
    table = Table(out)
    rows = table.records(list(range(24)), ["image", "audio_preview", "audio_frames"])
    sizes = [len(row["image"]) + len(row["audio_preview"]) + 32 * row["audio_frames"] for row in rows]
    parts = [fragment.count_rows() for fragment in lance.dataset(str(out)).get_fragments()]
    ends = np.cumsum(parts)
    assert len(parts) > 3 and ends[-1] == 24
    for end, part in zip(ends, parts, strict=True):
        assert sum(sizes[end - part : end - 1]) < 30_000  # without its last row a commit was not full


def thin_manifest(folder: Path, rows: int) -> Path:
    """Many ids of one small picture and one short recording."""
    folder.mkdir()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "a.png")
    soundfile.write(folder / "a.wav", np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000)
    (folder / "manifest.csv").write_text("id,image,audio\n" + "".join(f"row {n},a.png,a.wav\n" for n in range(rows)))
    return folder / "manifest.csv"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(
    tiny_signal: SignalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earthtone.data.pack.COMMIT_ROWS", 50)
    peaks = []
    for rows in (100, 100, 800):  # the first one warms up
        manifest = thin_manifest(tmp_path / f"{len(peaks)}", rows)
        tracemalloc.start()
        assert pack(manifest, manifest.with_name("t.lance"), signal=tiny_signal, threads=2).rows == rows
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 700 * 1500  # what is kept of a row are its id's hashes, not its 5 kB


def bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b""))]
    chunks = [struct.pack(">I", len(body)) + k + body + struct.pack(">I", zlib.crc32(k + body)) for k, body in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def wav(samples: np.ndarray, hz: int = 16_000) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, hz, format="WAV", subtype="FLOAT")
    return out.getvalue()


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


BROKEN: dict[str, tuple[str, bytes, str, str]] = {
    "pair-1": ("1.png", jpeg()[:700], "broken image", "broken image"),
    "pair-2": ("2.png", b"", "broken image", "zero bytes"),
    "pair-3": ("3.png", bomb(), "broken image", "decompression bomb"),
    "pair-4": ("4.wav", b"", "broken audio", "zero bytes"),
    "pair-5": ("5.wav", b"a text, named .wav", "broken audio", "not a sound file"),
    "pair-6": ("6.wav", wav(np.array([0.1, np.nan] * 10_000)), "broken audio", "NaN"),
    "pair-7": ("7.wav", wav(np.full(1_600, 0.1)), "broken audio", "0.10 s of sound; at least 0.5 s expected"),
}


def break_pairs(manifest: Path) -> None:
    for name, content, _, _ in BROKEN.values():
        (manifest.parent / name).write_bytes(content)
    (manifest.parent / "8.png").unlink()
    (manifest.parent / "9.wav").unlink()
    manifest.write_text(manifest.read_text() + "pair-0,10.png,10.wav,1,1,train,twice\n")


def unusual_pairs(manifest: Path) -> None:
    """Files that are unusual, but not broken."""
    draw = np.random.default_rng(0)
    soundfile.write(manifest.parent / "11.wav", draw.normal(0, 0.1, (20_000, 8)), 16_000)
    Image.fromarray(draw.integers(0, 9000, (50, 50)).astype(np.uint16)).save(manifest.parent / "12.png")
    Image.fromarray(draw.integers(0, 256, (50, 50), np.uint8)).save(manifest.parent / "13.png")


def test_broken_rows_are_counted_and_named(
    pairs: Path, tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, tiny_table: Path
) -> None:
    break_pairs(pairs)
    unusual_pairs(pairs)
    out = tmp_path / "t.lance"
    result = pack(pairs, out, signal=tiny_signal)
    assert result.added == result.rows == 15
    assert result.problems == {
        "broken image": 3, "broken audio": 4, "missing image": 1, "missing audio": 1, "duplicate id": 1,
    }  # fmt: skip
    problems = named(result.problems_path)
    assert result.problems_path == tmp_path / "t.lance.problems.csv" and len(problems) == 11
    assert result.notes == {"stretched picture": 1} and problems["pair-12"][0] == "stretched picture"
    for name, (_, _, kind, detail) in BROKEN.items():
        assert problems[name][0] == kind and detail in problems[name][1] and "\n" not in problems[name][1]
    assert problems["pair-8"][0] == "missing image" and problems["pair-0"][0] == "duplicate id"
    text = result.to_text()
    assert "skipped, broken audio: 4" in text and f"named in {result.problems_path}" in text
    usual = [row for row in contents(out) if row["id"] not in ("pair-11", "pair-12", "pair-13")]
    assert usual == [row for row in contents(tiny_table) if row["id"] in {row["id"] for row in usual}]

    for name in [*(name for name, *_ in BROKEN.values()), "8.png", "9.wav"]:  # repaired: only these are added
        shutil.copy(tiny_pairs.parent / name, pairs.parent / name)
    pairs.write_text(tiny_pairs.read_text())
    again = pack(pairs, out, signal=tiny_signal)
    assert (again.added, again.already_there, again.rows, again.problems) == (9, 15, 24, {})
    assert not (tmp_path / "t.lance.problems.csv").exists()


def test_nothing_usable_is_an_error_and_leaves_nothing(
    write_pairs: WritePairs, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    manifest = write_pairs(tmp_path / "pairs", 3)
    for n in range(3):
        (manifest.parent / f"{n}.wav").write_bytes(b"")
    out = tmp_path / "out" / "t.lance"
    with pytest.raises(DataError, match=r"no usable pair \(broken audio: 3\); look closer with: earthtone check"):
        pack(manifest, out, signal=tiny_signal)
    assert [path.name for path in out.parent.iterdir() if not path.name.endswith(".lock")] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB; its content is lost at the end."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.usefixtures("commits_of_four")
def test_a_full_disk_keeps_what_was_written(
    small_disk: Path, tiny_pairs: Path, tiny_signal: SignalConfig, tiny_table: Path
) -> None:
    out = small_disk / "t.lance"
    with pytest.raises(DataError, match=rf"cannot write {out}: No space left on device; choose another --out") as error:
        pack(tiny_pairs, out, signal=tiny_signal)
    assert "\n" not in str(error.value)
    there = contents(out)
    assert 0 < len(there) < 24 and len(there) % 4 == 0
    assert there == contents(tiny_table)[: len(there)]
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)  # the disk was freed
    assert pack(tiny_pairs, out, signal=tiny_signal).already_there == len(there)
    assert contents(out) == contents(tiny_table)


def test_a_file_that_may_not_grow_keeps_what_was_written(
    pairs: Path, tiny_signal: SignalConfig, tiny_table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.lance"
    pack(head(pairs, 8), out, signal=tiny_signal)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(DataError, match=rf"cannot write {out}: File too large; choose another --out") as error:
            pack(pairs, out, signal=tiny_signal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert contents(out) == contents(tiny_table)[:8]
    assert pack(pairs, out, signal=tiny_signal).added == 16
    assert contents(out) == contents(tiny_table)


def test_a_folder_below_a_file(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("a file")
    for out in (tmp_path / "file.txt" / "t.lance", tmp_path / "file.txt"):
        with pytest.raises(DataError, match=rf"cannot write {out}: .*; choose another --out") as error:
            pack(tiny_pairs, out, signal=tiny_signal)
        assert "\n" not in str(error.value)
    assert (tmp_path / "file.txt").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(0o500)
    with pytest.raises(DataError, match=r"cannot write .*: Permission denied; choose another --out"):
        pack(tiny_pairs, folder / "t.lance", signal=tiny_signal)


def test_a_foreign_folder_is_left_alone(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"a folder with 'notes.txt' in it, no packed table; choose another --out"):
        pack(tiny_pairs, tmp_path, signal=tiny_signal)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_one_packer_a_table(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    out = tmp_path / "t.lance"
    with FileLock(f"{out}.lock"), pytest.raises(DataError, match="another process is packing into it; wait for it"):
        pack(tiny_pairs, out, signal=tiny_signal)
    assert not out.exists()


def test_tables_of_another_signal_or_other_columns_are_refused(
    pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    out = tmp_path / "t.lance"
    pack(head(pairs, 3), out, signal=tiny_signal)
    before = contents(out)
    other = replace(tiny_signal, audio=replace(tiny_signal.audio, mels=64))
    with pytest.raises(DataError, match=r"packed with another signal config \(audio.mels: 32 -> 64\)"):
        pack(pairs, out, signal=other)
    renamed = pairs.with_name("renamed.csv")
    renamed.write_text(pairs.read_text().replace(",label", ",scene", 1))
    with pytest.raises(DataError, match=r"has the free columns \['label'\], .*renamed.csv has \['scene'\]"):
        pack(renamed, out, signal=tiny_signal)
    assert contents(out) == before and not unfinished_marker(out).exists()


def test_ready_spectrograms_are_packed_as_they_are(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    for name in ("images", "spectrograms"):
        (folder / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w") as file:
        file.write("key,long_key,latitude,longitude,title,description,mp3name,mp3samplerate,date_recorded\n")
        for key, frames in ((10, 120), (12, 30)):  # the second one is shorter than a window
            file.write(f"{key},k{key},50.5,8.25,Sea,Waves,sea{key}.mp3,44100,2010-05-08\n")
            Image.fromarray(draw.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / "images" / f"{key}.jpg")
            Image.fromarray(np.full((32, frames), key, np.uint8)).save(folder / "spectrograms" / f"{key}.jpg")
    with pytest.raises(ConfigError, match="holds ready spectrograms, no recordings"):
        pack(folder, tmp_path / "t.lance", signal=tiny_signal)
    ready = replace(tiny_signal, audio=replace(tiny_signal.audio, input="spectrogram"))
    table = Table(pack(folder, tmp_path / "t.lance", signal=ready).path)
    assert table.frames().tolist() == [120, 50] and table.column("audio_seconds") == [None, None]
    long, short = table.sound([0, 1], [0, 0], [120, 50])
    assert (long == 10).all() and (short[:30] == 12).all() and not short[30:].any()


def test_recordings_for_a_config_of_spectrograms_are_refused(tiny_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds recordings; signal.audio.input: waveform expected"):
        pack(tiny_pairs, tmp_path / "t.lance", signal=SignalConfig(AudioConfig(input="spectrogram")))


def test_progress_shows_rate_and_time_left(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    pack(tiny_pairs, tmp_path / "t.lance", signal=tiny_signal)
    last = terminal.getvalue().split("\r")[-1]
    assert "pack: 100%" in last and "24/24" in last and "row/s" in last and "<00:00" in last


def linked_pairs(folder: Path, count: int = 24, seed: int = 0) -> list[dict[str, object]]:
    """Rows without places: recordings with several images, images with several recordings, a copy as BMP, a silence."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for number in range(count):
        image, sound = number % 17, number % 5 if number < 10 else number
        if not (folder / f"{image}.png").exists():
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / f"{image}.png")
        if not (folder / f"{sound}.wav").exists():
            soundfile.write(folder / f"{sound}.wav", 0.1 * rng.standard_normal(8000), 8000)
        rows.append({"id": f"r{number}", "image": f"{image}.png", "audio": f"{sound}.wav", "recording_id": ""})
    Image.open(folder / "16.png").save(folder / "copy.bmp")  # other bytes, the same pixels
    shutil.copy(folder / "3.wav", folder / "copy of 3.wav")
    soundfile.write(folder / "silence.wav", np.zeros(8000), 8000)
    soundfile.write(folder / "as flac.flac", soundfile.read(folder / "4.wav")[0], 8000)
    rows[18]["audio"] = "as flac.flac"
    rows[11]["image"], rows[12]["audio"] = "copy.bmp", "copy of 3.wav"
    rows[13]["audio"] = rows[14]["audio"] = rows[15]["audio"] = "silence.wav"
    rows[15]["recording_id"] = rows[16]["recording_id"] = "tape 1"
    return rows


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".parquet":
        whole = [
            {name: (path.parent / str(row[name])).read_bytes() for name in ("image", "audio")} | {"id": row["id"]}
            for row in rows
        ]
        pq.write_table(pa.Table.from_pylist(whole), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def torn(table: Table, *columns: str) -> dict[str, set[str]]:
    """Values of the columns that lie in several splits."""
    splits: dict[str, set[str]] = {}
    for column in columns:
        for value, split in zip(table.column(column), table.column("split"), strict=True):
            if value and split:
                splits.setdefault(value, set()).add(split)
    return {value: inside for value, inside in splits.items() if len(inside) > 1}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_check_tells_the_splits_of_packing_and_none_tears_what_is_linked(
    tiny_signal: SignalConfig, tmp_path: Path, suffix: str
) -> None:
    rows = linked_pairs(tmp_path)
    data = write_rows(tmp_path / f"linked.{suffix}", rows)
    result = pack(data, tmp_path / "t.lance", signal=tiny_signal)
    for by in ("blocks", "buffered-blocks", "geoclap"):
        named_ = pack(data, tmp_path / f"{by}.lance", signal=tiny_signal, split_by=by)
        assert check(data, split_by=by).splits == {name: count for name, count in named_.splits.items() if count}
    table = Table(tmp_path / "t.lance")
    columns = ["image_hash", "audio_hash", *(["recording_id"] if suffix == "csv" else [])]
    assert torn(table, *columns) == {} and result.added == 24
    assert "dealt out together: " in result.to_text()
    for decode in (True, False):
        found = check(data, headers_only=not decode)
        if decode:
            assert found.splits == {name: count for name, count in result.splits.items() if count}
        assert all(len(twins.splits) <= 1 for twins in found.duplicate_images + found.duplicate_audio)
    assert "0 of them across splits" in check(data).to_text()
    again = pack(write_rows(tmp_path / f"again.{suffix}", rows[::-1]), tmp_path / "u.lance", signal=tiny_signal)
    assert dict(again.splits) == dict(result.splits)  # the order of the rows does not matter


def test_published_splits_that_tear_a_recording_are_told(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "linked.csv", linked_pairs(tmp_path))
    torn_ = pack(data, tmp_path / "t.lance", signal=tiny_signal, split_by="geoclap")
    assert len(torn(Table(tmp_path / "t.lance"), "audio_hash")) == int(torn_.leaks[0].split(" and ")[1].split()[0]) > 0
    assert f"caution: {torn_.leaks[0]}" in torn_.to_text() and "in more than one split" in torn_.leaks[0]


def test_rows_that_are_added_go_with_what_is_there(tiny_signal: SignalConfig, tmp_path: Path) -> None:
    rows = linked_pairs(tmp_path)
    out = tmp_path / "t.lance"
    pack(write_rows(tmp_path / "first.csv", rows[10:18]), out, signal=tiny_signal)
    before = dict(zip(Table(out).column("id"), Table(out).column("split"), strict=True))
    pack(write_rows(tmp_path / "grown.csv", rows), out, signal=tiny_signal)  # the same rows and more
    both = {split: next(name for name, found in before.items() if found == split) for split in set(before.values())}
    one, two = list(both.values())[:2]
    bridge = {row["id"]: row for row in rows}
    other = [
        {"id": "bridge", "image": bridge[one]["image"], "audio": bridge[two]["audio"], "recording_id": ""},
        {"id": "follows", "image": bridge[two]["image"], "audio": "23.wav", "recording_id": ""},
    ]
    pack(write_rows(tmp_path / "other.csv", other), out, signal=tiny_signal)  # rows of which these files know nothing
    table = Table(out)
    after = dict(zip(table.column("id"), table.column("split"), strict=True))
    assert {name: after[name] for name in before} == before
    assert torn(table, "image_hash", "audio_hash", "recording_id") == {}
    assert after["bridge"] is None and len(table) == 26


def test_a_table_of_an_earlier_version_says_that_its_sound_may_be_made_up(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = pack(tiny_pairs, tmp_path / "t.lance", signal=tiny_signal).path
    assert not caplog.records
    (out / "earthtone.json").unlink()
    lance.dataset(str(out)).drop_columns(["packing_notes"])
    for _ in range(2):
        assert len(Table(out)) == 24
    [told] = [record.getMessage() for record in caplog.records]
    assert "earlier version" in told and "MP3" in told and "pack it again" in told
    assert Table(out).notes() == {}


def test_what_is_noticed_stays_with_the_row_and_is_named(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    folder = tiny_pairs.parent
    rows = [
        ("still", "0.png", "still.wav", "8", "50"),
        ("zero", "1.png", "1.wav", "0", "0"),
        ("good", "2.png", "2.wav", "8", "50"),
    ]
    soundfile.write(tmp_path / "still.wav", np.zeros(32_000), 16_000)
    manifest = tmp_path / "m.csv"
    lines = [
        ",".join((id, str(folder / image), audio if id == "still" else str(folder / audio), *place))
        for id, image, audio, *place in rows
    ]
    manifest.write_text("\n".join(["id,image,audio,longitude,latitude", *lines]) + "\n")
    result = pack(manifest, tmp_path / "t.lance", signal=tiny_signal)
    assert (result.added, result.problems) == (3, {})
    assert result.notes == {"silent recording": 1, "place is (0, 0)": 1} == Table(result.path).notes()
    assert "added, but note silent recording: 1" in result.to_text()
    with result.problems_path.open(newline="") as file:
        named = {row["id"]: (row["problem"], row["row"]) for row in csv.DictReader(file)}
    assert named == {"still": ("silent recording", "added"), "zero": ("place is (0, 0)", "added")}
    assert Table(result.path).column("audio_hash")[0] == ""  # no silence is another's twin
    assert set(Table(result.path).groups("audio_hash").tolist()) == {-1, 0, 1}
