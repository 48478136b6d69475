"""The verb embed: vectors are the model's own, and whatever stops a call, nothing is lost and nothing is doubled."""

import csv
import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rasterio.transform import from_origin
from rasters import noise_values, write_raster

import earthtone
from earthtone.atlas.embeddings import LOOK_COLUMN, EmbeddingTable, open_embeddings
from earthtone.cli import main
from earthtone.encode.training_images import image_look, look_text
from earthtone.errors import ConfigError, DataError
from earthtone.files import only_writer
from earthtone.models.inputs import measured_tile, recording_windows
from earthtone.models.storage import load_model, model_fingerprint, save_model
from earthtone.models.two_tower import TwoTower

EXACT: dict[str, Any] = {"vectors": "float32", "precision": "32"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_model: TwoTower) -> Path:
    folder = tmp_path_factory.mktemp("embed") / "model"
    save_model(folder, tiny_model, {})
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: Path, tiny_pairs: Path) -> EmbeddingTable:
    """What a call without a stop makes of the tiny pairs."""
    folder = tmp_path_factory.mktemp("whole")
    earthtone.embed(model, tiny_pairs, folder, **EXACT)
    return open_embeddings(folder)


def rows(table: EmbeddingTable) -> list[dict[str, Any]]:
    return table.columns(table.names).to_pylist()


def by_name(table: EmbeddingTable) -> dict[tuple[str, str], tuple[dict[str, Any], bytes]]:
    """Rows and vectors by what names them."""
    vectors = table.vectors()
    return {(r["id"], r["modality"]): (r, v.tobytes()) for r, v in zip(rows(table), vectors, strict=True)}


def same(one: EmbeddingTable, other: EmbeddingTable) -> bool:
    return rows(one) == rows(other) and np.array_equal(one.vectors(), other.vectors())


def files(manifest: Path, suffix: str) -> list[Path]:
    return [manifest.parent / f"{n}.{suffix}" for n in range(24)]


def test_the_vectors_are_those_of_embed_images_and_embed_audio(
    whole: EmbeddingTable, model: Path, tiny_pairs: Path, tiny_model: TwoTower
) -> None:
    images, sounds = files(tiny_pairs, "png"), files(tiny_pairs, "wav")
    np.testing.assert_array_equal(whole.vectors()[:24], tiny_model.embed_images(images))
    np.testing.assert_array_equal(whole.vectors()[24:], tiny_model.embed_audio(sounds))
    assert whole.card.model == str(model) and whole.card.model_fingerprint == model_fingerprint(tiny_model)
    first, last = rows(whole)[0], rows(whole)[-1]
    assert {name: first[name] for name in ("id", "modality", "longitude", "latitude", "media", "split", "label")} == {
        "id": "pair-0", "modality": "image", "longitude": 0.5, "latitude": 45.0, "media": str(images[0]),
        "split": "train", "label": "kind 0",
    }  # fmt: skip
    assert (last["id"], last["modality"], last["seconds"], last["start_s"]) == ("pair-23", "audio", 2.5, None)
    assert first["file_fingerprint"].startswith(f"{images[0].stat().st_size}-")


def test_a_packed_table_gives_the_same(whole: EmbeddingTable, model: Path, tiny_table: Path, tmp_path: Path) -> None:
    earthtone.embed(model, tiny_table, tmp_path / "E", **EXACT)
    found = open_embeddings(tmp_path / "E")
    np.testing.assert_array_equal(found.vectors(), whole.vectors())
    own = ("media", "file_fingerprint")
    for ours, theirs in zip(rows(found), rows(whole), strict=True):
        assert {k: v for k, v in ours.items() if k not in own} == {k: v for k, v in theirs.items() if k not in own}
    assert rows(found)[25]["media"] == f"{tiny_table}#row=1"
    assert earthtone.embed(model, tiny_table, tmp_path / "E", **EXACT).added == {"image": 0, "audio": 0}


def test_images_have_the_look_that_maps_judge_by(whole: EmbeddingTable, tiny_pairs: Path, tiny_model: TwoTower) -> None:
    """And it is no free column: results and other programs do not show it."""
    column = whole.columns([LOOK_COLUMN])[LOOK_COLUMN].to_pylist()
    tiles = [measured_tile(path, tiny_model.signal.image, None) for path in files(tiny_pairs, "png")]
    views = tiny_model.views(*map(list, zip(*tiles, strict=True)))
    assert column == [look_text(image_look(view)) for view in views] + [None] * 24
    assert LOOK_COLUMN not in whole.free_names


def test_windows_are_rows_of_their_own(model: Path, tiny_pairs: Path, tiny_model: TwoTower, tmp_path: Path) -> None:
    earthtone.embed(model, tiny_pairs, tmp_path, modality="audio", windows=True, **EXACT)
    table, at = open_embeddings(tmp_path), 0
    found, vectors = rows(table), table.vectors()
    for n, file in enumerate(files(tiny_pairs, "wav")):
        heard = recording_windows(file, tiny_model.signal.audio)
        part = found[at : at + len(heard)]
        assert {row["id"] for row in part} == {f"pair-{n}"}
        expected = np.concatenate([tiny_model.embed_windows([window[None]]) for window in heard])
        np.testing.assert_array_equal(vectors[at : at + len(heard)], expected)
        seconds = 1 + n % 5 / 2
        assert part[0]["start_s"] == 0 and all(row["seconds"] == 1.0 for row in part)
        assert part[-1]["start_s"] == pytest.approx(seconds - 1, abs=0.021)  # to a frame of 20 ms
        at += len(heard)
    assert at == len(found) and table.card.windows


def test_bfloat16_and_float16_are_near(whole: EmbeddingTable, model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    earthtone.embed(model, tiny_pairs, tmp_path, precision="bf16")
    table = open_embeddings(tmp_path)
    assert table.card.precision == "bf16" and table.dataset.schema.field("vector").type.value_type == pa.float16()
    assert (table.vectors() * whole.vectors()).sum(axis=1).min() > 0.99
    # goes on in the precision that is there, whatever `auto` is here
    assert earthtone.embed(model, tiny_pairs, tmp_path).precision == "bf16"


def test_rows_that_come_later_are_added(whole: EmbeddingTable, model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "pairs" / "manifest.csv"
    shutil.copytree(tiny_pairs.parent, manifest.parent, copy_function=os.link)
    lines = tiny_pairs.read_text().splitlines(keepends=True)
    for count, added in ((10, 10), (24, 14)):
        manifest.unlink(missing_ok=True)
        manifest.write_text("".join(lines[: count + 1]))
        result = earthtone.embed(model, manifest, tmp_path / "E", **EXACT)
        assert result.added == {"image": added, "audio": added}
    assert (result.already_there, result.rows) == (20, 48)
    table = open_embeddings(tmp_path / "E")
    key = [(row["id"], row["modality"]) for row in rows(table)]
    order = [key.index((row["id"], row["modality"])) for row in rows(whole)]
    np.testing.assert_array_equal(table.vectors()[order], whole.vectors())


def test_another_model_and_other_data_are_refused(
    model: Path, tiny_pairs: Path, tmp_path: Path, tiny_model: TwoTower, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "pairs" / "manifest.csv"
    shutil.copytree(tiny_pairs.parent, manifest.parent)
    out = tmp_path / "E"
    earthtone.embed(model, manifest, out, **EXACT)
    before = sorted(path for path in out.rglob("*") if path.is_file())
    ours = model_fingerprint(tiny_model)
    with pytest.raises(DataError, match=rf"fingerprint {ours}; random:test_resnet has [0-9a-f]{{32}}; choose another"):
        earthtone.embed("random:test_resnet", manifest, out, **EXACT)
    for options, said in (
        ({**EXACT, "precision": "bf16"}, "--precision 32, now bf16"),
        ({"precision": "32"}, "--vectors float32, now float16"),
        ({**EXACT, "windows": True}, "--windows false, now true"),
    ):
        with pytest.raises(DataError, match=f"was made with {said}; repeat that, or choose another --out"):
            earthtone.embed(model, manifest, out, **options)
    shutil.copy(manifest.parent / "3.png", manifest.parent / "2.png")
    prints = r"\(fingerprint of what was embedded [0-9a-f]{32}, now [0-9a-f]{32}\)"
    with pytest.raises(DataError, match=rf"other data: 1 have changed, such as 'pair-2' {prints}"):
        earthtone.embed(model, manifest, out, **EXACT)
    shutil.copy(tiny_pairs.parent / "2.png", manifest.parent / "2.png")  # as it was, at another time
    manifest.write_text("".join(tiny_pairs.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match=rf"2 of 48 are gone from .*manifest\.csv {prints}"):
        earthtone.embed(model, manifest, out, **EXACT)
    words = ["embed", "--model", str(model), "--data", str(manifest), "--out", str(out), "--vectors", "float32"]
    assert main([*words, "--precision", "32"]) == 2
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("earthtone: ")]) == 1
    assert sorted(path for path in out.rglob("*") if path.is_file()) == before
    shutil.copy(tiny_pairs, manifest)
    assert earthtone.embed(model, manifest, out, **EXACT).already_there == 48


def test_what_cannot_be_read_is_counted_and_named(
    model: Path, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    for n in range(3):
        shutil.copy(tiny_pairs.parent / f"{n}.png", folder / "deep")
        shutil.copy(tiny_pairs.parent / f"{n}.wav", folder)
    (folder / "=cut.wav").write_bytes((folder / "0.wav").read_bytes()[:50])
    (folder / "no\npicture.png").write_bytes(b"nothing")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    words = ["embed", "--model", str(model), "--data", str(folder), "--out", str(tmp_path / "E"), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["problems"]) == (6, {"broken audio": 1, "broken image": 2})
    with Path(told["problems_path"]).open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["id"], row["modality"]) for row in listed] == [
        ("gone.png", "image"), ("no\\npicture.png", "image"), ("'=cut.wav", "audio"),
    ]  # fmt: skip
    assert all(row["detail"] for row in listed)
    for name in ("=cut.wav", "no\npicture.png", "gone.png"):
        (folder / name).unlink()
    shutil.copy(tiny_pairs.parent / "5.wav", folder / "=cut.wav")  # repaired
    again = earthtone.embed(model, folder, tmp_path / "E")
    assert (again.added, again.problems, again.problems_path) == ({"image": 0, "audio": 1}, {}, None)
    assert not Path(told["problems_path"]).exists()


def test_nothing_at_all_is_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    for n in range(3):
        (tmp_path / "bad" / f"{n}.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"none of 3 items of .*bad can be embedded; the first, '0.png'"):
        earthtone.embed(model, tmp_path / "bad", tmp_path / "E")
    assert (tmp_path / "E" / "problems.csv").read_text().count("broken image") == 3
    with pytest.raises(DataError, match=r"no embeddings.lance there"):
        open_embeddings(tmp_path / "E")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no image and no audio to embed"):
        earthtone.embed(model, tmp_path / "empty", tmp_path / "F")
    assert not (tmp_path / "F").exists()


def test_parts_are_the_whole(whole: EmbeddingTable, model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    found = {}
    for part in range(3):
        result = earthtone.embed(model, tiny_pairs, tmp_path, shard=f"{part}/3", **EXACT)
        assert result.path == tmp_path / "shards" / f"{part}-of-3.lance" and result.part == (part, 3)
        table = open_embeddings(result.path)
        ids = {medium: {r["id"] for r in rows(table) if r["modality"] == medium} for medium in ("image", "audio")}
        assert ids["image"] == ids["audio"]  # what belongs together is in one part
        assert not found.keys() & by_name(table).keys()
        found |= by_name(table)
    assert found == by_name(whole)
    with pytest.raises(DataError, match="holds parts of 3, this call has part 0 of 4: go on with --shard PART/3, or"):
        earthtone.embed(model, tiny_pairs, tmp_path, shard=(0, 4), **EXACT)
    with pytest.raises(DataError, match=r"holds parts of 3, this call has part 0 of 1"):
        earthtone.embed(model, tiny_pairs, tmp_path, **EXACT)


def test_the_launcher_says_which_part(
    model: Path, tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    words = ["embed", "--model", str(model), "--data", str(tiny_pairs), "--out", str(tmp_path), "--modality", "image"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert "part 1 of 2, counted from 0, by RANK and WORLD_SIZE (--shard 0/1 for all)" in captured.err
    assert "1-of-2.lance" in captured.out and [p.name for p in tmp_path.glob("shards/*.lance")] == ["1-of-2.lance"]


def test_a_part_without_items_is_an_empty_table(model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    shutil.copy(tiny_pairs.parent / "0.png", folder)
    counts = [earthtone.embed(model, folder, tmp_path / "E", shard=(part, 3)).rows for part in range(3)]
    assert sorted(counts) == [0, 0, 1]
    assert sorted(len(open_embeddings(path)) for path in (tmp_path / "E" / "shards").glob("*.lance")) == [0, 0, 1]


def test_two_writers_are_one_line(model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    with (
        only_writer(tmp_path / "E", "embedding"),
        pytest.raises(ConfigError, match="E: another process is embedding into it; wait until it has ended"),
    ):
        earthtone.embed(model, tiny_pairs, tmp_path / "E")


def test_half_a_table_is_not_taken_for_a_whole_one(whole: EmbeddingTable, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "embeddings.lance")
    (tmp_path / "embeddings.lance.unfinished").touch()
    with pytest.raises(DataError, match=r"its embedding has not ended; .*delete embeddings\.lance\.unfinished"):
        open_embeddings(tmp_path)


@pytest.mark.parametrize("most", [700, 3_000])
def test_a_file_that_may_not_grow_keeps_what_was_written(
    most: int, whole: EmbeddingTable, model: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    """Lance alone commits a file whose end had no room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write .*: File too large; ") as error:
            earthtone.embed(model, tiny_pairs, tmp_path / "E", commit_rows=2, **EXACT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    earthtone.embed(model, tiny_pairs, tmp_path / "E", **EXACT)
    assert same(open_embeddings(tmp_path / "E"), whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 150 kB; its content is lost at the end."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_what_was_written(
    small_disk: Path, whole: EmbeddingTable, model: Path, tiny_pairs: Path
) -> None:
    out = small_disk / "E"
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device; ") as error:
        earthtone.embed(model, tiny_pairs, out, commit_rows=2, **EXACT)
    assert "\n" not in str(error.value)
    there = open_embeddings(out, finished=False)
    assert 0 < len(there) < 48 and rows(there) == rows(whole)[: len(there)]
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)  # the disk was freed
    assert earthtone.embed(model, tiny_pairs, out, **EXACT).already_there == len(there)
    assert same(open_embeddings(out), whole)


def _embed_slowly(model: Path, data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    earthtone.embed(model, data, out, commit_rows=2, **EXACT)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
def test_killed_at_any_moment_it_goes_on(whole: EmbeddingTable, model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    """Every call is killed (-9) after a random while, until one ends by itself."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["earthtone.atlas.embed"])
    draw = random.Random(0)

    def call(out: Path) -> Any:
        process = processes.Process(target=_embed_slowly, args=(model, tiny_pairs, out))
        process.start()
        return process

    call(tmp_path / "first").join()  # imports are done
    start = time.monotonic()
    call(tmp_path / "second").join()
    usual = time.monotonic() - start
    kills, grew = 0, set()
    while True:
        process = call(tmp_path / "E")
        if kills:
            process.join(None if kills >= 12 else draw.uniform(0.2, 1.0) * usual)
        else:  # the first one after its first rows, however fast this machine is just now
            while process.exitcode is None and not any((tmp_path / "E").glob("embeddings.lance/_versions/*.manifest")):
                process.join(0.01)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
        grew.add(len([*(tmp_path / "E").glob("embeddings.lance/_versions/*.manifest")]))
    assert process.exitcode == 0 and kills >= 1, (kills, grew)
    assert same(open_embeddings(tmp_path / "E"), whole)


def test_media_as_bytes_in_parquet(whole: EmbeddingTable, model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    shard = tmp_path / "set" / "data" / "train-00000-of-00001.parquet"
    told = {"id": [f"pair-{n}" for n in range(24)]}
    media = {"image": files(tiny_pairs, "png"), "audio": files(tiny_pairs, "wav")}
    cells = {name: [{"bytes": file.read_bytes(), "path": None} for file in found] for name, found in media.items()}
    pq.write_table(pa.table({**told, **cells}), shard)
    earthtone.embed(model, tmp_path / "set", tmp_path / "E", **EXACT)
    table = open_embeddings(tmp_path / "E")
    np.testing.assert_array_equal(table.vectors(), whole.vectors())
    assert rows(table)[3]["media"] == f"{tmp_path / 'set'}#pair-3" and rows(table)[3]["split"] == "train"
    assert earthtone.embed(model, tmp_path / "set", tmp_path / "E", **EXACT).already_there == 48
    cells["image"][3] = cells["image"][4]
    pq.write_table(pa.table({**told, **cells}), shard)
    with pytest.raises(DataError, match="1 have changed, such as 'pair-3'"):
        earthtone.embed(model, tmp_path / "set", tmp_path / "E", **EXACT)


def test_ctrl_c_says_how_to_go_on(
    model: Path, tiny_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(earthtone, "embed", stopped)
    words = ["embed", "--model", str(model), "--data", str(tiny_pairs), "--out", str(tmp_path / "E")]
    assert main(words) == 130
    assert "stopped; go on with: earthtone embed --model" in capsys.readouterr().err


def test_memory_does_not_grow_with_the_rows(model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    """The loader holds a few items however many there are: asked one by one, they are read a little ahead."""
    from earthtone.atlas.items import open_items
    from earthtone.atlas.reading import read_ahead, reader_of

    opened = load_model(model)
    items = open_items(tiny_pairs, opened)
    asked = 0

    def counted() -> Iterator[Any]:
        nonlocal asked
        for _ in range(50):
            for item in items.items("image", lambda _: False):
                asked += 1
                yield item

    read = read_ahead(counted(), reader_of(items, opened, "image"))
    for _ in range(10):
        next(read)
    assert asked <= 10 + 4 * max(2, min(8, os.cpu_count() or 2))
    read.close()


def test_the_verb_prints_what_it_did(
    model: Path, tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["embed", "--model", str(model), "--data", str(tiny_pairs), "--out", str(tmp_path), "--vectors", "float32"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/embeddings.lance: 24 image, 24 audio added, 0 rows were there, 48 in all" in out
    assert f"model {model_fingerprint(load_model(model))}, precision" in out
    assert main(words) == 0
    assert "nothing added, 48 rows were there, 48 in all" in capsys.readouterr().out


def test_bands_of_many_are_chosen_and_kept(model: Path, tiny_model: TwoTower, tmp_path: Path) -> None:
    values = noise_values(12, 60, 60)
    place = from_origin(500_000, 5_000_000, 10, 10)
    (tmp_path / "scenes").mkdir()
    for name in ("a", "b"):
        write_raster(tmp_path / "scenes" / f"{name}.tif", values, "EPSG:32633", place)
    write_raster(tmp_path / "three.tif", values[[3, 2, 1]], "EPSG:32633", place, photometric="RGB")
    with pytest.raises(DataError, match=r"earthtone embed or tiles with --bands 4,3,2"):
        earthtone.embed(model, tmp_path / "scenes", tmp_path / "none", **EXACT)
    result = earthtone.embed(model, tmp_path / "scenes", tmp_path / "E", bands=(4, 3, 2), **EXACT)
    table = open_embeddings(tmp_path / "E")
    assert result.rows == 2 and (table.card.bands, table.card.value_range) == ("4,3,2", "")
    np.testing.assert_array_equal(table.vectors()[0], tiny_model.embed_images([tmp_path / "three.tif"])[0])
    with pytest.raises(DataError, match=r"--bands 4,3,2, now 1,2,3; repeat that"):
        earthtone.embed(model, tmp_path / "scenes", tmp_path / "E", bands=(1, 2, 3), **EXACT)
    data = next((tmp_path / "E" / "embeddings.lance" / "data").glob("*"))
    data.write_bytes(data.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"embed the data again: earthtone embed --model .* --bands 4,3,2 --out NEW"):
        open_embeddings(tmp_path / "E")


def test_bands_of_sounds_alone_have_no_effect(model: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--bands has no effect on sounds alone"):
        earthtone.embed(model, tiny_pairs, tmp_path / "E", modality="audio", bands=(1, 2, 3))
