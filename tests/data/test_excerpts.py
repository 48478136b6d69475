"""Rows that are excerpts of long recordings: everywhere they are what a file of these seconds alone would be."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import earthtone
from earthtone.atlas.embeddings import open_embeddings
from earthtone.data.check import check
from earthtone.data.labelled.classes import read_labelled_manifest
from earthtone.data.manifest import Manifest
from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.data.pair import Pair
from earthtone.data.splits import named_split
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.signal.config import SignalConfig
from earthtone.signal.excerpt import Excerpt

HZ = 16_000
CUTS = [(n * 3.0, n * 3.0 + 3.0) for n in range(12)]
EXACT = {"vectors": "float32", "precision": "32"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording of 36 s, its excerpts as rows (`rows.csv`) and as files (`files.csv`)."""
    folder = tmp_path_factory.mktemp("excerpts")
    samples = np.random.default_rng(0).normal(0, 0.1, 36 * HZ)
    soundfile.write(folder / "long.wav", samples, HZ, subtype="FLOAT")
    with (folder / "rows.csv").open("w") as rows, (folder / "files.csv").open("w") as files:
        rows.write("id,image,audio,start_s,end_s,longitude,latitude,label\n")
        files.write("id,image,audio,longitude,latitude,label\n")
        for n, (start, end) in enumerate(CUTS):
            # apart by more than the blocks that are dealt out
            rest = f"{n}.0,{n}.5,{'ab'[n % 2]}\n"
            soundfile.write(folder / f"{n}.wav", samples[int(start * HZ) : int(end * HZ)], HZ, subtype="FLOAT")
            Image.fromarray(np.full((40, 40, 3), 20 * n, np.uint8)).save(folder / f"{n}.png")
            rows.write(f"c{n},{n}.png,long.wav,{start},{end},{rest}")
            files.write(f"c{n},{n}.png,{n}.wav,{rest}")
    return folder


def test_what_a_row_is(folder: Path) -> None:
    pairs = [pair for pair in Manifest(folder / "rows.csv") if isinstance(pair, Pair)]
    assert [pair.audio for pair in pairs] == [Excerpt(folder / "long.wav", *cut) for cut in CUTS]
    assert pairs[1].extra == {"start_s": "3.0", "end_s": "6.0", "label": "b"}


@pytest.mark.parametrize("decode", [True, False])
def test_check_sees_recordings_of_three_seconds(folder: Path, decode: bool) -> None:
    found = check(folder / "rows.csv", headers_only=not decode)
    assert found.usable == 12 and found.seconds_min == found.seconds_max == 3.0
    assert found.problems == {} and found.duplicate_audio == []


def test_pack_keeps_the_same_as_of_files(folder: Path, tmp_path: Path, tiny_signal: SignalConfig) -> None:
    tables = []
    for name in ("rows", "files"):
        out = tmp_path / f"{name}.lance"
        tables.append(Table(pack(folder / f"{name}.csv", out, signal=tiny_signal, threads=2).path))
    one, other = (table.records(list(range(12)), ["id", "audio_hash", "audio_seconds"]) for table in tables)
    assert sorted(one, key=str) == sorted(other, key=str)
    assert tables[0].records([0], ["start_s"])[0]["start_s"] in {str(start) for start, _ in CUTS}


def test_excerpts_of_one_recording_are_never_divided(folder: Path) -> None:
    dealt = []
    for name in ("rows", "files"):
        split = named_split("blocks", Manifest(folder / f"{name}.csv"))
        dealt.append({split.assign(pair) for pair in Manifest(folder / f"{name}.csv") if isinstance(pair, Pair)})
    assert len(dealt[0]) == 1 and len(dealt[1]) > 1


@pytest.mark.parametrize("windows", [False, True])
def test_embed_says_where_each_begins(folder: Path, tmp_path: Path, tiny_model: TwoTower, windows: bool) -> None:
    save_model(tmp_path / "model", tiny_model, {})
    found = []
    for name in ("rows", "files"):
        earthtone.embed(
            tmp_path / "model", folder / f"{name}.csv", tmp_path / name, modality="audio", windows=windows, **EXACT
        )
        found.append(open_embeddings(tmp_path / name))
    one, other = (table.columns(["id", "start_s", "seconds", "media"]).to_pylist() for table in found)
    assert np.array_equal(*(table.vectors() for table in found))
    for row, file in zip(one, other, strict=True):
        begin = CUTS[int(row["id"][1:])][0]
        assert row["start_s"] == pytest.approx(begin + (file["start_s"] or 0.0)) and row["seconds"] == file["seconds"]
        assert row["media"] == str(folder / "long.wav")
    assert earthtone.embed(
        tmp_path / "model", folder / "rows.csv", tmp_path / "rows", modality="audio", windows=windows, **EXACT
    ).added == {"audio": 0}


def test_labelled_rows_are_excerpts_too(folder: Path) -> None:
    items = read_labelled_manifest(folder / "rows.csv", label="label").items
    assert {item.sound for item in items} == {Excerpt(folder / "long.wav", *cut) for cut in CUTS}


def test_seconds_that_cannot_be_read_leave_the_row_out(folder: Path, tmp_path: Path) -> None:
    cells = ["-1,3", "3,3", "x,3", "1,", ",2", "unknown,NA", "nan,inf", "1_0,20"]
    with (tmp_path / "m.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "audio", "start_s", "end_s"])
        rows.writerows([n, folder / "long.wav", *cell.split(",")] for n, cell in enumerate(cells))
    found = list(Manifest(tmp_path / "m.csv", need=("audio",)))
    long = folder / "long.wav"
    assert [item.audio if isinstance(item, Pair) else item.kind for item in found] == [
        "bad number", "bad number", "bad number", Excerpt(long, 1.0), Excerpt(long, 0.0, 2.0), long, "bad number",
        "bad number",
    ]  # fmt: skip
    unread = Manifest(tmp_path / "m.csv", need=("audio",), columns={"start_s": "", "end_s": ""})
    assert {item.audio for item in unread if isinstance(item, Pair)} == {long}
