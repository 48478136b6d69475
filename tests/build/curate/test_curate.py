"""Each rule on sounds and pictures that are made with what it looks for, on both sides of its threshold."""

import csv
import errno
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

import earthtone
from earthtone import plugins
from earthtone.build.curate import measure
from earthtone.build.curate.curate import CurateResult, curate, explain_curation
from earthtone.cli import main
from earthtone.data.pack import pack
from earthtone.errors import ConfigError, DataError, NewerFormatError, SignalError
from earthtone.signal.config import SignalConfig

HZ = 16_000
Sound = NDArray[np.floating[Any]]


def noise(seed: int, seconds: float = 3.0, level: float = 0.05) -> Sound:
    return np.random.default_rng(seed).normal(0, level, round(seconds * HZ))


def write_rows(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows(rows)
    return folder / "rows.csv"


def of_sounds(folder: Path, sounds: Mapping[str, Sound], **cells: Mapping[str, object]) -> Path:
    """Rows of one sound each, in floats; `cells` of some by id."""
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, HZ, subtype="FLOAT")
    return write_rows(folder, [{"id": name, "audio": f"{name}.wav", **cells.get(name, {})} for name in sounds])


def of_cells(folder: Path, cells: Mapping[str, Mapping[str, object]]) -> Path:
    """Rows of good sounds, each other than the others."""
    return of_sounds(folder, {name: noise(at) for at, name in enumerate(cells)}, **cells)


def rules_of(result: CurateResult) -> dict[str, set[str]]:
    """The rules that dropped each id."""
    found: dict[str, set[str]] = {}
    for row in pq.read_table(result.out / "dropped.parquet").to_pylist():
        found.setdefault(row["id"], set()).add(row["rule"])
    return found


def kept_of(result: CurateResult) -> list[str]:
    found: list[str] = pq.read_table(result.table)["id"].to_pylist()
    return found


def run(data: Path, out: Path, **options: Any) -> CurateResult:
    return curate(data, out, **{"any_licence": True, "threads": 2, **options})


def clipped(share: float) -> Sound:
    sound = noise(1)
    count = round(share * len(sound))
    sound[:count] = np.resize([1.0, -1.0], count)
    return sound


def below_100_hz(share: float) -> Sound:
    time = np.arange(10 * HZ) / HZ
    found: Sound = 0.1 * (
        np.sqrt(share) * np.sin(2 * np.pi * 60 * time) + np.sqrt(1 - share) * np.sin(2 * np.pi * 700 * time)
    )
    return found


def tone(level_db: float) -> Sound:
    found: Sound = np.sqrt(2) * 10 ** (level_db / 20) * np.sin(2 * np.pi * 440 * np.arange(3 * HZ) / HZ)
    return found


@pytest.mark.parametrize(
    ("rule", "inside", "outside", "options"),
    [
        ("short", noise(1, 1.0), noise(1, 0.99), {}),
        ("silent", tone(-79.9), tone(-80.1), {}),
        ("clipped", clipped(0.0099), clipped(0.0101), {}),
        ("offset", noise(1) + 0.099, noise(1) - 0.102, {}),
        ("wind", below_100_hz(0.94), below_100_hz(0.96), {"wind": "drop"}),
        ("constant", noise(1, level=1e-3), np.full(3 * HZ, 0.05), {}),
        ("min_level_db", tone(-49.9), tone(-50.1), {"min_level_db": -50.0}),
    ],
)
def test_a_sound_is_dropped_beyond_the_threshold(
    rule: str, inside: Sound, outside: Sound, options: dict[str, Any], tmp_path: Path
) -> None:
    rule = {"min_level_db": "silent"}.get(rule, rule)
    data = of_sounds(tmp_path, {"inside": inside, "outside": outside})
    result = run(data, tmp_path / "out", **options)
    assert kept_of(result) == ["inside"]
    assert rule in rules_of(result)["outside"]
    assert result.rules[rule].dropped == 1 and result.rules[rule].examples[0][0] == "outside"
    again = run(data, tmp_path / "out", **options, off=[*rules_of(result)["outside"], "same-audio"])
    assert kept_of(again) == ["inside", "outside"]


def test_what_cannot_be_decoded_goes_with_the_reason(tmp_path: Path) -> None:
    data = of_sounds(tmp_path, {"good": noise(1), "bad": noise(2)})
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    write_rows(tmp_path, [*({"id": n, "audio": f"{n}.wav"} for n in ("good", "bad", "gone", "good"))])
    result = run(data, tmp_path / "out")
    assert rules_of(result) == {"bad": {"unreadable"}, "gone": {"row"}, "good": {"row"}} and result.rows == 4
    assert kept_of(result) == ["good"]


def test_channels_that_cancel_stay_and_a_channel_is_advised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_signal: SignalConfig
) -> None:
    data = of_sounds(
        tmp_path, {"cancels": np.stack([noise(1), -noise(1)], 1), "stereo": np.stack([noise(2), noise(3)], 1)}
    )
    assert main(["curate", str(data), "--out", str(tmp_path / "out"), "--any_licence"]) == 0
    said = capsys.readouterr().out
    assert "pack " in said and "--signal.audio.channel loudest" in said
    table = pq.read_table(tmp_path / "out" / "curated.parquet").to_pylist()
    assert [(row["id"], (row["curation_notes"] or "").partition(":")[0]) for row in table] == [
        ("cancels", "cancel"), ("stereo", ""),
    ]  # fmt: skip


def encoded(path: Path, sound: Sound, **how: Any) -> None:
    with soundfile.SoundFile(path, "w", HZ, 1, **how) as file:
        for start in range(0, len(sound), HZ):
            file.write(sound[start : start + HZ])


def test_the_same_sound_is_found_in_other_files(tmp_path: Path) -> None:
    """The same samples in FLAC; MP3, Vorbis, another level and a delay of 40 ms; never another noise of that kind."""
    sound = np.round(noise(1, 6) * 32768) / 32768
    encoded(tmp_path / "first.wav", sound, format="WAV", subtype="PCM_16")
    encoded(tmp_path / "flac.flac", sound, format="FLAC", subtype="PCM_16")
    encoded(tmp_path / "mp3.mp3", sound, format="MP3", bitrate_mode="CONSTANT", compression_level=0.6)
    encoded(tmp_path / "ogg.ogg", sound, format="OGG", subtype="VORBIS", compression_level=0.8)
    encoded(tmp_path / "soft.wav", 0.3 * sound, format="WAV", subtype="PCM_16")
    encoded(tmp_path / "late.wav", np.concatenate([np.zeros(640), sound]), format="WAV", subtype="PCM_16")
    encoded(tmp_path / "other.wav", noise(2, 6), format="WAV", subtype="PCM_16")
    names = ["first.wav", "flac.flac", "mp3.mp3", "ogg.ogg", "soft.wav", "late.wav", "other.wav"]
    data = write_rows(tmp_path, [{"id": name, "audio": name} for name in names])
    result = run(data, tmp_path / "out")
    assert kept_of(result) == ["first.wav", "other.wav"]
    details = {row["id"]: row["detail"] for row in pq.read_table(result.out / "dropped.parquet").to_pylist()}
    assert details["flac.flac"].startswith("the samples of first.wav") and "first.wav" in details["late.wav"]
    exact = run(data, tmp_path / "out", max_distance=0.0)
    assert set(rules_of(exact)) == {"flac.flac"}


def picture(seed: int) -> NDArray[np.uint8]:
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8))
    return np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC))


def test_the_same_picture_is_found_in_another_size_and_file(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "first.png")
    Image.fromarray(picture(1)).resize((150, 150)).save(tmp_path / "small.jpg", quality=50)
    Image.fromarray(picture(2)).save(tmp_path / "other.png")
    Image.fromarray(np.full((64, 64, 3), 7, np.uint8)).save(tmp_path / "blank.png")
    names = ["first.png", "small.jpg", "other.png", "blank.png"]
    data = write_rows(tmp_path, [{"id": name, "image": name} for name in names])
    result = run(data, tmp_path / "out")
    assert rules_of(result) == {"small.jpg": {"same-image"}, "blank.png": {"constant"}}
    for at in range(len(names)):
        soundfile.write(tmp_path / f"{at}.wav", noise(at), HZ)
    data = write_rows(tmp_path, [{"id": n, "image": n, "audio": f"{at}.wav"} for at, n in enumerate(names)])
    assert rules_of(run(data, tmp_path / "pairs")) == {"blank.png": {"constant"}}
    assert "small.jpg" in rules_of(run(data, tmp_path / "pairs", same_images="always"))


def test_a_row_that_goes_takes_none_with_it(tmp_path: Path) -> None:
    """A copy stays where its first row was dropped by another rule."""
    data = of_sounds(
        tmp_path, {"first": noise(1), "copy": noise(1)}, first={"license": "by-nc"}, copy={"license": "CC0"}
    )
    result = run(data, tmp_path / "out", any_licence=False)
    assert kept_of(result) == ["copy"] and rules_of(result) == {"first": {"licence"}}


def test_of_a_sound_a_copy_stays_though_pictures_count_too(tmp_path: Path) -> None:
    """The second row goes for its picture; the third has its sound, and nobody else's."""
    for at in (1, 2):
        Image.fromarray(picture(at)).save(tmp_path / f"{at}.png")
        soundfile.write(tmp_path / f"{at}.wav", noise(at), HZ)
    files = {"a": (1, 1), "its picture": (1, 2), "that sound": (2, 2)}
    data = write_rows(tmp_path, [{"id": n, "image": f"{i}.png", "audio": f"{a}.wav"} for n, (i, a) in files.items()])
    result = run(data, tmp_path / "out", same_images="always")
    assert rules_of(result) == {"its picture": {"same-image"}} and kept_of(result) == ["a", "that sound"]


@pytest.mark.slow
def test_places(tmp_path: Path) -> None:
    berlin = {"longitude": 13.4, "latitude": 52.5}
    data = of_cells(tmp_path, {
        "good": {**berlin, "country": "DE", "coord_uncertainty_m": 500},
        "coarse": {**berlin, "coord_uncertainty_m": 501},
        "silent on it": {**berlin},
        "null": {"longitude": 0, "latitude": 0.000001},
        "no place": {"country": "DE"},
        "elsewhere": {**berlin, "country": "France"},
        "near the border": {"longitude": 7.75, "latitude": 48.58, "country": "DEU"},
        "at sea": {"longitude": -30, "latitude": 30, "country": "Spain"},
        "at sea, says nothing": {"longitude": -30, "latitude": 31},
        "unknown country": {**berlin, "country": "Atlantis"},
    })  # fmt: skip
    result = run(data, tmp_path / "out", tile_m=1000)
    assert rules_of(result) == {"coarse": {"uncertain"}, "null": {"null-island"}, "elsewhere": {"country"}}
    noted = {row["id"]: row["curation_notes"] for row in pq.read_table(result.table).to_pylist()}
    assert {id for id, note in noted.items() if note} == {"at sea"} and "sea" in noted["at sea"]
    strict = run(data, tmp_path / "out", tile_m=1000, uncertainty_known=True, sea="drop", on_land=True)
    assert rules_of(strict)["at sea, says nothing"] == {"sea", "uncertain"}
    assert kept_of(strict) == ["good"]


@pytest.mark.slow
def test_licences_and_preferences(tmp_path: Path) -> None:
    data = of_cells(tmp_path, {
        "zero": {"license": "CC0", "gen_ai_preference": "no-gen-ai"},
        "by": {"license": "https://creativecommons.org/licenses/by/4.0/"},
        "nc": {"license": "cc-by-nc"},
        "nothing": {},
        "reserved": {"license": "All rights reserved"},
    })  # fmt: skip
    assert kept_of(run(data, tmp_path / "out", any_licence=False)) == ["zero", "by"]
    assert kept_of(run(data, tmp_path / "out", any_licence=False, allow=["nc"])) == ["zero", "by", "nc"]
    assert kept_of(run(data, tmp_path / "out", any_licence=False, refuse_ai=["no-gen-ai"])) == ["by"]
    assert len(kept_of(run(data, tmp_path / "out"))) == 5


def test_where_no_row_stays_it_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = of_cells(tmp_path, {"a": {}, "b": {}})
    assert main(["curate", str(data), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "--any_licence takes your own recordings" in said and "licence: 2" in said
    assert not (tmp_path / "out" / "curated.parquet").exists()


def test_places_are_coarse_for_publication(tmp_path: Path) -> None:
    data = of_cells(tmp_path, {
        "a": {"longitude": 13.404954, "latitude": 52.520008, "decimalLatitude": 52.52, "locality": "M", "note": "x"},
        "rec 13.4049 52.5200": {"longitude": 13.41, "latitude": 52.521},
    })  # fmt: skip
    result = run(data, tmp_path / "out", coarsen_km=10)
    first, second = pq.read_table(result.table).to_pylist()
    assert (first["longitude"], first["latitude"]) == (second["longitude"], second["latitude"])
    assert 0 < abs(first["latitude"] - 52.52) < 0.05 and first["coord_uncertainty_m"] == 7071
    assert "decimalLatitude" not in first and "locality" not in first and first["note"] == "x"
    assert any("1 rows have numbers in their names" in note for note in result.notes)
    written = b"".join(path.read_bytes() for path in result.out.iterdir() if path.suffix != ".parquet")
    assert b"52.52" not in written.replace(b"52.5200", b"")


def test_the_table_is_a_manifest_with_excerpts_and_packs(tmp_path: Path, tiny_signal: SignalConfig) -> None:
    soundfile.write(tmp_path / "long.wav", noise(1, 9), HZ)
    Image.fromarray(picture(1)).save(tmp_path / "tile.png")
    cells = {
        "audio": "long.wav",
        "image": "tile.png",
        "habitat": "fen",
        "datetime": "2024-05-06T07:08:09Z",
        "split": "val",
    }
    data = write_rows(tmp_path, [{"id": f"{at}", **cells, "start_s": at, "end_s": at + 3} for at in (0, 3, 6)])
    result = run(data, tmp_path / "deep" / "out")
    row = pq.read_table(result.table).to_pylist()[1]
    assert (row["audio"], row["start_s"], row["end_s"], row["habitat"]) == ("../../long.wav", 3.0, 6.0, "fen")
    packed = pack(result.table, tmp_path / "t.lance", signal=tiny_signal, threads=1)
    assert packed.added == 3 and packed.splits["val"] == 3
    again = run(result.table, tmp_path / "again")
    assert again.kept == 3


@pytest.mark.slow
def test_nothing_is_measured_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = of_sounds(tmp_path, {"a": noise(1), "b": noise(2), "loud": clipped(0.5)})
    measured: list[str] = []
    real = measure.measure

    def counted(pair: Any, wanted: Any) -> Any:
        measured.append(pair.id)
        return real(pair, wanted)

    monkeypatch.setattr(measure, "measure", counted)
    one = run(data, tmp_path / "out", off=["same-audio"])
    assert sorted(measured) == ["a", "b", "loud"] and one.kept == 2
    assert run(data, tmp_path / "out", off=["same-audio"], max_clipped=0.6).kept == 3
    assert len(measured) == 3
    soundfile.write(tmp_path / "b.wav", noise(3, 4), HZ)  # another file under its name
    assert run(data, tmp_path / "out", off=["same-audio"]).kept == 2
    assert measured[3:] == ["b"]
    run(data, tmp_path / "out")  # fingerprints are asked for now
    assert sorted(measured[4:]) == ["a", "b", "loud"]


@pytest.mark.parametrize("of", ["disk", "memory", "picture"])
def test_a_fault_of_the_machine_holds_for_one_call(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is measured anew by the next call and not by --explain; a broken file is not."""
    for at in range(3):
        soundfile.write(tmp_path / f"{at}.wav", noise(at), HZ)
        Image.fromarray(picture(at)).save(tmp_path / f"{at}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:900])
    data = write_rows(tmp_path, [{"id": f"{at}", "audio": f"{at}.wav", "image": f"{at}.png"} for at in range(3)])
    measured: list[str] = []
    real = measure.measure

    def failing(source: Any, *others: Any, **options: Any) -> Any:
        if of == "memory":
            raise MemoryError
        try:
            raise MemoryError if of == "picture" else OSError(errno.ESTALE, "Stale file handle")
        except (MemoryError, OSError) as error:
            raise SignalError(f"{source}: Stale file handle; a file was expected") from error

    def counted(pair: Any, wanted: Any) -> Any:
        measured.append(pair.id)
        with pytest.MonkeyPatch.context() as patch:
            if pair.id == "0" and len(measured) <= 3:
                patch.setattr(measure, "read_picture" if of == "picture" else "measure_recording", failing)
            return real(pair, wanted)

    monkeypatch.setattr(measure, "measure", counted)
    assert set(rules_of(run(data, tmp_path / "out", threads=1))) == {"0", "2"}
    assert explain_curation(tmp_path / "out", "0").verdict == "dropped: unreadable"
    assert sorted(measured) == ["0", "1", "2"]
    for _ in range(2):
        assert set(rules_of(run(data, tmp_path / "out", threads=1))) == {"2"}
        assert measured[3:] == ["0"]


KILLED = """
import os, signal, sys
from earthtone.build.curate import measure
from earthtone.build.curate.curate import curate
real, count = measure.measure, [0]
def fatal(pair, wanted):
    count[0] += 1
    if count[0] == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(pair, wanted)
measure.measure = fatal
curate(sys.argv[1], sys.argv[2], any_licence=True, threads=1)
"""


@pytest.mark.slow
def test_a_killed_call_goes_on_and_ends_alike(tmp_path: Path) -> None:
    data = of_sounds(tmp_path, {f"{at}": noise(at, 2) for at in range(12)})
    whole = run(data, tmp_path / "whole")
    out = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", KILLED, str(data), str(out)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = len((out / "facts.jsonl").read_bytes().splitlines()) - 1
    assert before >= 2 and not (out / "curated.parquet").exists()
    with (out / "facts.jsonl").open("ab") as file:
        file.write(b'{"key": "half a li')  # what a kill within a write leaves
    result = run(data, out)
    assert len((out / "facts.jsonl").read_bytes().splitlines()) == 13
    for name in ("curated.parquet", "dropped.parquet"):
        assert pq.read_table(result.out / name).equals(pq.read_table(whole.out / name))


def test_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    data = of_sounds(tmp_path, {"good": noise(1), "copy": noise(1), "loud": clipped(0.5)})
    run(data, tmp_path / "out", max_clipped=0.25, off=["wind"])
    monkeypatch.chdir(tmp_path / "out")
    assert main(["curate", "--out", ".", "--explain", "loud"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("loud: dropped: clipped\n")
    assert "clipped      dropped: 50 % of the samples at full scale; at most 25 % expected" in told
    assert "wind         off\n" in told and "licence      off\n" in told and "short        stays: 3 s of sound" in told
    copy = explain_curation(tmp_path / "out", "copy")
    assert copy.verdict == "dropped: same-audio" and "good" in copy.findings["same-audio"].value
    assert explain_curation(tmp_path / "out", "good").verdict == "stays"
    with pytest.raises(DataError, match="has no row 'nobody'"):
        explain_curation(tmp_path / "out", "nobody")
    with pytest.raises(DataError, match="a folder that earthtone curate has written"):
        explain_curation(tmp_path, "good")


@pytest.mark.slow
def test_speech(tmp_path: Path) -> None:
    pytest.importorskip("silero_vad")
    data = of_sounds(tmp_path, {"noise": noise(1)})
    result = run(data, tmp_path / "out", speech="note")
    assert pq.read_table(result.table)["speech_share"].to_pylist() == [0.0]


def test_a_tagger_of_a_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_registered", {})
    heard: list[int] = []

    @earthtone.register_tagger("loudness")
    def loudness(samples: Sound, hz: int) -> dict[str, float]:
        heard.append(len(samples))
        return {"loud": float(np.sqrt(np.square(samples).mean()) > 0.1), "any": 0.25}

    data = of_sounds(tmp_path, {"soft": noise(1, 25, 0.02), "loud": noise(2, 3, 0.3)})
    result = run(data, tmp_path / "out", tagger="loudness", drop_tags=["loud"])
    assert rules_of(result) == {"loud": {"tags"}} and sorted(heard) == [48_000, 80_000, 160_000, 160_000]
    assert json.loads(pq.read_table(result.table)["sound_tags"][0].as_py()) == {"any": 0.25, "loud": 0.0}
    with pytest.raises(ConfigError, match="--tagger nobody: no plug-in has this name; known: loudness"):
        run(data, tmp_path / "other", tagger="nobody")
    earthtone.register_tagger("wrong")(lambda samples, hz: {"a": 2.0})
    with pytest.raises(ConfigError, match=r"the tagger 'wrong' returned .*; numbers from 0 to 1"):
        run(data, tmp_path / "wrong", tagger="wrong")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"off": ["winds"]}, "--off winds; did you mean wind?"),
        ({"off": ["unreadable"]}, "what cannot be read cannot stay"),
        ({"allow": ["nc"]}, "--allow has an effect only without --any_licence"),
        ({"drop_tags": ["music"]}, "--drop_tags has no effect without --tagger"),
        ({"max_speech": 0.1}, "--max_speech has an effect only with --speech"),
        ({"uncertainty_known": True}, "--uncertainty_known has an effect only with --tile_m"),
        ({"refuse_ai": ["none"]}, "--refuse_ai none"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        run(tmp_path / "rows.csv", tmp_path / "out", **options)


def test_folders_of_others_are_left_alone(tmp_path: Path, tiny_table: Path) -> None:
    data = of_sounds(tmp_path, {"a": noise(1)})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "facts.jsonl").write_text("my own notes")
    with pytest.raises(DataError, match="no file that earthtone curate has written"):
        run(data, tmp_path / "mine")
    assert (tmp_path / "mine" / "facts.jsonl").read_text() == "my own notes"
    with pytest.raises(ConfigError, match="no folder of a curation"):
        run(data, tmp_path)
    with pytest.raises(ConfigError, match="packed already"):
        run(tiny_table, tmp_path / "out")
    (tmp_path / "mine" / "facts.jsonl").write_text('{"format": 99, "measured": 1}\n')
    with pytest.raises(NewerFormatError, match="install a newer earthtone"):
        run(data, tmp_path / "mine")


def test_names_cannot_write_markup_or_lines(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(HZ), HZ)
    soundfile.write(tmp_path / "b.wav", noise(1), HZ)
    data = write_rows(tmp_path, [{"id": "<script>\n", "audio": "a.wav"}, {"id": "b", "audio": "b.wav"}])
    result = run(data, tmp_path / "out")
    page = (result.out / "curation.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert all(line.isprintable() for line in result.to_text().split("\n"))


def test_a_thread_more_changes_nothing(tmp_path: Path) -> None:
    data = of_sounds(tmp_path, {f"{at}": noise(at % 5, 2) for at in range(9)})
    tables = [run(data, tmp_path / f"out{threads}", threads=threads).table for threads in (1, 3)]
    assert pq.read_table(tables[0]).equals(pq.read_table(tables[1])) and len(pq.read_table(tables[0])) == 5
