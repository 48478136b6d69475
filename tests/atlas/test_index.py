"""The index: shards become what one call would have made, rows come and go, and nothing is lost whatever happens."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from embedded import CARD, columns_of, rows_of_part, vectors_of_rows, write_embedded, write_rows, write_shards
from filelock import FileLock

from earthtone.atlas.blocks import BLOCK_FILE, Blocks
from earthtone.atlas.embed import embed
from earthtone.atlas.embeddings import (
    BLOCKS,
    LOOK_COLUMN,
    SHARDS,
    TABLE,
    VectorType,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.atlas.index import _of_the_disk, build_index
from earthtone.atlas.scan import open_store, top_k
from earthtone.cli import main
from earthtone.data.packed import SEAL_FILE, file_faults, read_seal, unfinished_marker
from earthtone.files import LOCK_FILE
from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower


def contents(folder: Path) -> list[dict[str, Any]]:
    """Return all rows with all columns; of a sound table, whose seal is of what is there."""
    table = open_embeddings(folder)
    seal = read_seal(table.path)
    assert seal is not None and seal.rows == len(table) and seal.version == table.dataset.version
    assert list(file_faults(table.path, seal, whole=True)) == []
    return list(table.dataset.to_table().to_pylist())


def ids(folder: Path) -> list[str]:
    return [row["id"] for row in contents(folder)]


@pytest.mark.parametrize("kind", ["float16", "float32"])
@pytest.mark.parametrize("shards", [1, 4, 7])
def test_shards_become_what_one_call_makes(tmp_path: Path, kind: VectorType, shards: int) -> None:
    """Row for row and bit for bit, places on the plane too, in the order of ids, modalities and starts."""
    build_index(write_embedded(tmp_path / "whole", kind=kind))
    result = build_index(write_shards(tmp_path / "parts", shards=shards, kind=kind))
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert (result.shards, result.rows, result.modalities) == (shards, 60, {"image": 30, "audio": 30})
    assert open_embeddings(tmp_path / "parts").card == CARD
    assert not (tmp_path / "parts" / SHARDS).exists()
    rows = columns_of(range(60))
    there = contents(tmp_path / "parts")
    assert all([row[name] for row in there] == rows[name] for name in rows)
    stored = np.array([row["vector"] for row in there], np.float32)
    np.testing.assert_array_equal(stored, vectors_of_rows(range(60)).astype(kind).astype(np.float32))


def test_shards_are_kept_where_that_is_wanted_and_not_merged_again(tmp_path: Path) -> None:
    folder = write_shards(tmp_path)
    build_index(folder, keep_shards=True)
    assert len(list((folder / SHARDS).iterdir())) == 4
    before = contents(folder)
    assert build_index(folder, keep_shards=True).shards == 0 and contents(folder) == before
    build_index(folder, remove=["place-00003"])  # what was taken out does not come back
    assert "place-00003" not in ids(folder) and not (folder / SHARDS).exists()


@pytest.mark.parametrize("keep", [False, True])
def test_shards_of_data_that_has_got_more_rows(keep: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Embedding leaves out what the index has, or goes on in the shards that were kept."""
    build_index(write_embedded(tmp_path / "whole"))
    folder = write_shards(tmp_path / "E", 40, 3)
    build_index(folder, keep_shards=keep)
    build_index(folder, keep_shards=keep, remove=["place-00007"])
    for number in range(3):
        shard, more = folder / SHARDS / f"{number}-of-3.lance", rows_of_part(range(40, 60), number, 3)
        schema = embedding_schema(CARD, extra=["label"])
        write_embeddings(shard, schema, columns_of(more), vectors_of_rows(more), append=keep)
        if number == 1 and not keep:
            refused(folder, "1 of 3 shards are missing: 2-of-3.lance", capsys=capsys)
    assert build_index(folder).shards == 3
    build_index(tmp_path / "whole", remove=["place-00007"])  # nor does it come back
    assert contents(folder) == contents(tmp_path / "whole") and not (folder / SHARDS).exists()


def test_what_embedding_left_beside_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Locks of shards are heeded, and go with them; what names problems stays."""
    folder = write_shards(tmp_path / "E", 20, 2)
    for number in range(2):
        (folder / SHARDS / f"{number}-of-2").mkdir()
    with FileLock(folder / SHARDS / "1-of-2" / LOCK_FILE):
        refused(folder, "shards/1-of-2: another process is writing into it", capsys=capsys)
    (folder / SHARDS / "0-of-2" / "problems.csv").write_text("id")
    build_index(folder)
    assert [path.name for path in (folder / SHARDS).rglob("*") if path.is_file()] == [LOCK_FILE, "problems.csv"]


def test_an_empty_shard_is_one(tmp_path: Path) -> None:
    for number, rows in enumerate([range(4), range(0), range(4, 6)]):
        write_rows(tmp_path / SHARDS / f"{number}-of-3.lance", rows)
    build_index(tmp_path)
    assert ids(tmp_path) == columns_of(range(6))["id"]


def refused(folder: Path, said: str, *words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb says one line and returns 2; what is there stays as it is."""

    def found() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != LOCK_FILE}

    before = found()
    capsys.readouterr()
    assert main(["index", str(folder), *words]) == 2
    out, errors = capsys.readouterr()
    assert out == "" and errors.count("\n") == 1 and "Traceback" not in errors
    for part in said.split("|"):
        assert part in errors, errors
    assert found() == before


def test_shards_that_lack_or_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_shards(tmp_path / "a")
    for name in ("1-of-4.lance", "2-of-4.lance"):
        (folder / SHARDS / name).rename(tmp_path / name)
    refused(folder, "2 of 4 shards are missing: 1-of-4.lance, 2-of-4.lance|--shard 1/4", capsys=capsys)
    shutil.copytree(tmp_path / "1-of-4.lance", folder / SHARDS / "1-of-4.lance")
    other, own = folder / SHARDS / "2-of-4.lance", rows_of_part(range(60), 2, 4)
    write_rows(other, own, card=replace(CARD, model="/runs/second", model_fingerprint="cd34" * 8))
    refused(folder, f"another model: /runs/second ({'cd34' * 8})|/runs/first ({'ab12' * 8})", capsys=capsys)
    shutil.rmtree(other)
    write_rows(other, own, card=replace(CARD, dimensions=10))
    refused(folder, "vectors of 10 numbers|of 12 numbers", capsys=capsys)
    shutil.rmtree(other)
    write_rows(other, own, card=replace(CARD, data="/data/others.csv"))
    refused(folder, "no parts of one call: data '/data/others.csv' and '/data/places.csv'", capsys=capsys)
    shutil.rmtree(other)
    write_rows(other, own, "float32")
    refused(folder, "differ in columns vector", capsys=capsys)
    shutil.rmtree(other)
    write_embeddings(other, embedding_schema(CARD), columns_of(own), vectors_of_rows(own))
    refused(folder, "differ in columns label", capsys=capsys)
    shutil.rmtree(other)
    write_rows(other, [*own, *rows_of_part(range(60), 3, 4)[:1]])
    refused(folder, "1 rows are there twice (ids place-00001; in 2-of-4.lance, 3-of-4.lance)", capsys=capsys)
    shutil.rmtree(other)
    shutil.copytree(tmp_path / "2-of-4.lance", folder / SHARDS / "2-of-5.lance")
    refused(folder, "several divisions (of 4, of 5)", capsys=capsys)


def test_a_damaged_or_half_written_shard_or_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_shards(tmp_path / "a")
    shard = folder / SHARDS / "1-of-4.lance"
    (shard / SEAL_FILE).rename(tmp_path / "seal")
    refused(folder, "1-of-4.lance is half-written", capsys=capsys)
    (tmp_path / "seal").rename(shard / SEAL_FILE)
    file = next((shard / "data").iterdir())
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    refused(folder, "1-of-4.lance: data/|bytes", capsys=capsys)
    file.write_bytes(whole)
    versions = shard / "_versions"
    versions.rename(tmp_path / "versions")
    refused(folder, "1-of-4.lance cannot be opened", capsys=capsys)
    (tmp_path / "versions").rename(versions)
    unfinished_marker(shard).touch()
    refused(folder, "1-of-4.lance: its embedding has not ended", capsys=capsys)
    unfinished_marker(shard).unlink()
    build_index(folder)
    unfinished_marker(folder / TABLE).touch()
    refused(folder, "embeddings.lance: its embedding has not ended", "--remove", "place-00001", capsys=capsys)
    unfinished_marker(folder / TABLE).unlink()
    file = next((folder / TABLE / "data").iterdir())
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    refused(folder, "embeddings.lance: data/|another content", "--remove", "place-00001", capsys=capsys)
    refused(tmp_path / "nowhere", "no embeddings.lance there; make it with: earthtone embed", capsys=capsys)
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "manifest.csv").touch()
    refused(tmp_path / "tiles", f"embed --model RUN --data {tmp_path}/tiles --out E\n", capsys=capsys)


def test_an_empty_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "a" / TABLE, [])
    refused(tmp_path / "a", "the index has no rows", capsys=capsys)
    for number in range(2):
        write_rows(tmp_path / "b" / SHARDS / f"{number}-of-2.lance", [])
    refused(tmp_path / "b", "the index has no rows", capsys=capsys)
    build_index(write_embedded(tmp_path / "c", 4))
    refused(
        tmp_path / "c", "no rows left: all 4 were to be removed", "--remove", "place-00000,place-00001", capsys=capsys
    )


def test_two_writers_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_embedded(tmp_path)
    with FileLock(folder / LOCK_FILE):
        refused(folder, "another process is writing into it; wait until it has ended", capsys=capsys)
    build_index(folder)


# Adding and removing.


def test_added_rows_come_behind_and_go_again(tmp_path: Path) -> None:
    folder = write_embedded(tmp_path / "a", 40)
    build_index(folder)
    before = contents(folder)
    other = tmp_path / "b" / TABLE
    write_rows(other, range(36, 60), card=replace(CARD, data="/data/more.csv", precision="bf16"))
    result = build_index(folder, add=str(other.parent))
    assert (result.added, result.already_there, result.rows) == (20, 4, 60)
    assert result.notes and "bf16" in result.notes[0]
    assert ids(folder) == columns_of(range(60))["id"] and open_embeddings(folder).card == CARD
    assert build_index(folder, add=[other.parent]).already_there == 24
    result = build_index(folder, remove=[f"place-{n:05}" for n in range(20, 30)])
    assert (result.removed, result.not_there) == (20, ())
    assert contents(folder) == before  # bit for bit: places depend on the rows alone


def test_an_index_of_what_was_added_is_that_of_all(tmp_path: Path) -> None:
    build_index(write_embedded(tmp_path / "whole"))
    build_index(write_embedded(tmp_path / "a", 40))
    write_rows(tmp_path / "b" / TABLE, range(40, 60))
    build_index(tmp_path / "a", add=tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


def test_rows_with_other_vectors_are_put_in_place_of_the_old_ones_on_request_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_embedded(tmp_path / "a", 10)
    build_index(folder)
    other = tmp_path / "b"
    write_embeddings(
        other / TABLE, embedding_schema(CARD), {"id": ["place-00001"], "modality": ["image"]}, vectors_of_rows([99])
    )
    refused(folder, "other vectors or files (ids place-00001)|--remove", "--add", str(other), capsys=capsys)
    result = build_index(folder, add=[other], remove=["place-00001"])
    assert (result.added, result.removed) == (1, 2)
    table = open_embeddings(folder)
    assert ids(folder).count("place-00001") == 1
    at = np.array([ids(folder).index("place-00001")])
    np.testing.assert_array_equal(table.vectors(at), vectors_of_rows([99]).astype(np.float16).astype(np.float32))


def test_columns_of_added_rows(tmp_path: Path) -> None:
    folder = write_embedded(tmp_path / "a", 4)
    schema = embedding_schema(replace(CARD, windows=False), "float32", ["habitat"])
    write_embeddings(
        tmp_path / "b" / TABLE,
        schema,
        {"id": ["q"], "modality": ["image"], "habitat": ["reef"]},
        vectors_of_rows([50]),
    )
    result = build_index(folder, add=[tmp_path / "b"])
    assert result.new_columns == ("habitat",)
    first, *_, last = contents(folder)
    assert (last["id"], last["habitat"], last["label"], first["habitat"]) == ("q", "reef", None, None)
    assert open_embeddings(folder).dataset.schema.field("vector").type == pa.list_(pa.float16(), 12)


def test_added_images_that_came_without_their_look_are_told(tmp_path: Path) -> None:
    """Maps know less of them than of the others."""
    folder, look = tmp_path / "a", [LOOK_COLUMN]
    write_embeddings(
        folder / TABLE, embedding_schema(CARD, extra=look), {"id": ["p"], "modality": ["image"]}, vectors_of_rows([1])
    )
    for name, medium in (("image", "image"), ("sound", "audio")):
        other = tmp_path / name / TABLE
        write_embeddings(other, embedding_schema(CARD), {"id": [name], "modality": [medium]}, vectors_of_rows([2]))
        result = build_index(folder, add=[other.parent])
        told = [note for note in result.notes if "of its 1 images nothing says what they look like" in note]
        assert len(told) == (medium == "image"), result.notes


def test_only_the_disk_is_called_full() -> None:
    """Lance tells both as errors of input and output."""
    cut = OSError("LanceError(IO): Generic LocalFileSystem error: Requested range 0-9 was invalid: start larger than 4")
    assert _of_the_disk(cut) is None
    full = OSError("LanceError(IO): Unable to copy data to file: No space left on device (os error 28), /rust/lance")
    assert _of_the_disk(full) == "No space left on device"
    assert _of_the_disk(OSError(28, "No space left on device")) == "No space left on device"


def test_what_cannot_be_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_embedded(tmp_path / "a", 10)
    build_index(folder)
    write_embedded(tmp_path / "other", 4, model="/runs/second", model_fingerprint="cd34" * 8)
    refused(folder, f"{'cd34' * 8}|{'ab12' * 8}|embed both with one model", "--add", f"{tmp_path}/other", capsys=capsys)
    write_embedded(tmp_path / "narrow", 4, dimensions=8)
    refused(folder, "vectors of 8 numbers|of 12 numbers", "--add", f"{tmp_path}/narrow", capsys=capsys)
    write_embedded(tmp_path / "long", 4, unit=False)
    refused(folder, "not of length 1", "--add", f"{tmp_path}/long", capsys=capsys)
    write_embedded(tmp_path / "windows", 4, windows=True)
    refused(folder, "sounds as windows", "--add", f"{tmp_path}/windows", capsys=capsys)
    write_shards(tmp_path / "parts")
    refused(folder, "4 shards wait to be merged", "--add", f"{tmp_path}/parts", capsys=capsys)
    refused(folder, "is the index itself", "--add", str(folder), capsys=capsys)
    refused(folder, "no embeddings.lance there", "--add", f"{tmp_path}/nothing", capsys=capsys)
    bad = vectors_of_rows([70, 71])
    bad[1, 3] = np.nan
    write_embeddings(
        tmp_path / "nan" / TABLE, embedding_schema(CARD), {"id": ["x", "y"], "modality": ["image"] * 2}, bad
    )
    refused(folder, "vector of 'y' is not finite", "--add", f"{tmp_path}/nan", capsys=capsys)


def test_ids_to_remove_come_from_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_embedded(tmp_path / "a", 20)
    build_index(folder)
    listed = tmp_path / "ids.txt"
    listed.write_text("\ufeffplace-00003\r\n\r\nplace, with a comma\nplace-00005\n", encoding="utf-8")
    result = build_index(folder, remove=listed)
    assert (result.removed, result.not_there) == (4, ("place, with a comma",))
    assert not {"place-00003", "place-00005"} & set(ids(folder))
    assert main(["index", str(folder), "--remove", str(listed)]) == 0  # as often as wanted
    assert (
        "0 rows removed\n  3 ids were not there: place-00003, place, with a comma, place-00005"
        in capsys.readouterr().out
    )
    listed.write_bytes(b"\xff\xfe")
    refused(folder, "a text file with an id a line expected", "--remove", str(listed), capsys=capsys)
    listed.write_text("\n")
    refused(folder, "an empty file", "--remove", str(listed), capsys=capsys)
    refused(folder, "a folder, no plain file", "--remove", str(tmp_path), capsys=capsys)


def test_what_was_removed_is_gone_from_the_disk(tmp_path: Path) -> None:
    folder = write_embedded(tmp_path, 20)
    build_index(folder)
    assert build_index(folder, remove="place-00007").removed == 2
    left = b"".join(file.read_bytes() for file in (folder / TABLE).rglob("*") if file.is_file())
    assert b"/media/7.wav" not in left and len(list((folder / TABLE / "data").iterdir())) == 1


def test_rows_that_were_embedded_since_get_their_place(tmp_path: Path) -> None:
    build_index(write_embedded(tmp_path / "whole"))
    folder = write_embedded(tmp_path / "a", 40)
    build_index(folder)
    more = range(40, 60)
    write_embeddings(
        folder / TABLE, embedding_schema(CARD, extra=["label"]), columns_of(more), vectors_of_rows(more), append=True
    )
    build_index(folder)
    assert contents(folder) == contents(tmp_path / "whole")


def test_nothing_to_do_writes_nothing(tmp_path: Path) -> None:
    folder = write_embedded(tmp_path)
    build_index(folder, parquet=True)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != LOCK_FILE}
    build_index(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != LOCK_FILE} == before


def test_the_blocks_of_the_scan_are_those_of_the_table(tmp_path: Path) -> None:
    """After each change, and where they were damaged or lost."""
    folder = write_shards(tmp_path / "E", 40, 2)
    write_rows(tmp_path / "more" / TABLE, range(40, 50))
    for change in ({}, {"add": tmp_path / "more"}, {"remove": "place-00003"}, "lost", "damaged"):
        if isinstance(change, dict):
            build_index(folder, **change)
        elif change == "lost":
            shutil.rmtree(folder / BLOCKS)
        else:
            (folder / BLOCKS / BLOCK_FILE).write_bytes(b"?" * 100)
        if isinstance(change, str):
            build_index(folder)
        table = open_embeddings(folder)
        store, line = open_store(table, folder / BLOCKS)
        assert isinstance(store, Blocks) and line is None
        scores, rows = top_k(table.vectors(np.array([5])), store, 3)
        expected = table.vectors() @ table.vectors()[5]
        np.testing.assert_array_equal(rows[0], np.argsort(-expected, kind="stable")[:3])
        np.testing.assert_allclose(scores[0], np.sort(expected)[::-1][:3], atol=1e-6)


@pytest.mark.slow
def test_parts_of_a_real_model(tmp_path: Path, tiny_table: Path, tiny_model: TwoTower) -> None:
    """What `earthtone embed` writes in parts is, indexed, what it writes at once."""
    save_model(tmp_path / "model", tiny_model, {})
    said = {"model": str(tmp_path / "model"), "data": str(tiny_table), "windows": True, "precision": "32"}
    embed(out=tmp_path / "whole", **said)
    for number in range(3):
        embed(out=tmp_path / "E", shard=(number, 3), **said)
    build_index(tmp_path / "whole")
    assert build_index(tmp_path / "E").shards == 3
    assert contents(tmp_path / "E") == contents(tmp_path / "whole")
    keys = [(row["id"], row["modality"], row["start_s"] or 0.0) for row in contents(tmp_path / "E")]
    assert keys == sorted(keys) and len({row["id"] for row in contents(tmp_path / "E")}) == 24
    embed(out=tmp_path / "E", **said)  # all is there
    assert contents(tmp_path / "E") == contents(tmp_path / "whole")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_shards(tmp_path / "E")
    assert main(["index", str(folder), "--parquet"]) == 0
    out = capsys.readouterr().out
    assert "60 rows (30 audio, 30 image), placed on a plane by pca\n  4 shards merged" in out
    assert f"next: earthtone search {folder}" in out
    assert main(["index", str(folder), "--remove", "place-00001,place-00002", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] == 4


def test_rows_have_a_cluster_unless_the_data_call_a_column_so(tmp_path: Path) -> None:
    folder = write_embedded(tmp_path / "E", 30)
    build_index(folder)
    table = open_embeddings(folder)
    first = table.columns(["cluster"])["cluster"].to_pylist()
    assert table.has_clusters and "cluster" not in table.free_names and 1 < len(set(first)) <= 12 and min(first) == 1
    build_index(folder, clusters=3)
    assert set(open_embeddings(folder).columns(["cluster"])["cluster"].to_pylist()) == {1, 2, 3}
    build_index(folder, clusters=0)
    assert "cluster" not in open_embeddings(folder).names
    build_index(folder, seed=7)
    assert "cluster" not in open_embeddings(folder).names, "as before"
    own = {**columns_of(range(30)), "cluster": ["reef"] * 30}
    schema = embedding_schema(CARD, "float16", ["cluster"])
    write_embeddings(tmp_path / "own" / TABLE, schema, own, vectors_of_rows(range(30)))
    result = build_index(tmp_path / "own", clusters=3)
    assert "of their own" in result.notes[0]
    assert set(open_embeddings(tmp_path / "own").columns(["cluster"])["cluster"].to_pylist()) == {"reef"}


@pytest.mark.parametrize("indexed", ["data's own", "of an index"])
def test_numbers_of_clusters_are_not_taken_for_a_column_of_the_data(indexed: str, tmp_path: Path) -> None:
    own = {**columns_of(range(30)), "cluster": ["reef"] * 30}
    schema = embedding_schema(CARD, "float16", ["cluster"])
    write_embeddings(tmp_path / "own" / TABLE, schema, own, vectors_of_rows(range(30)))
    write_rows(tmp_path / "index" / TABLE, range(30, 60))
    build_index(tmp_path / "index")
    assert open_embeddings(tmp_path / "index").has_clusters
    first, other = ("own", "index") if indexed == "data's own" else ("index", "own")
    build_index(tmp_path / first)
    result = build_index(tmp_path / first, add=[tmp_path / other])
    table = open_embeddings(tmp_path / first)
    said = table.columns(["id", "cluster"]).to_pylist()
    of_own = set(own["id"])
    assert len(said) == 60 and "cluster" in table.free_names and not table.has_clusters
    assert {(row["id"] in of_own, row["cluster"]) for row in said} == {(True, "reef"), (False, None)}
    assert result.added == 30
