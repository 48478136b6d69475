"""The verb's function: places, notes, checksums, and every way in which a run may end early."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from loopback import (
    QUICK,
    Stage,
    WriteCatalogue,
    altered,
    catalogue_entry,
    cut,
    noise,
    says,
    tree,
    whole_with_200,
    zipped,
)

from earthtone.build.fetch import Fetched, RetryPolicy, fetch, verify
from earthtone.errors import ConfigError, DataError

FILES = {f"images/{n}.jpg": noise(3_000, seed=n) for n in range(20)}
ARCHIVE = zipped(FILES)


def get(catalogue: Path, out: Path, *, patience: RetryPolicy = QUICK, **options: object) -> Fetched:
    return fetch("tiny", out, catalogue=catalogue, patience=patience, **options)  # type: ignore[arg-type]


def test_an_archive(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    catalogue = write_catalogue("a.zip", ARCHIVE, unpack="zip", sha256=hashlib.sha256(ARCHIVE).hexdigest())
    result = get(catalogue, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES
    assert (result.fetched, result.first_use) == (["a.zip"], [])
    assert result.next == f"earthtone check {tmp_path / 'out'}"
    note = json.loads((tmp_path / "out" / "checksums.json").read_text())["files"]["a.zip"]
    assert (note["confirmed"], note["unpacked_files"], note["complete"]) == ("sha256", 20, True)
    assert not list((tmp_path / "out" / ".fetch").glob("*.part*"))
    assert not (tmp_path / "out" / ".fetch" / "a.zip").exists()


def test_what_is_complete_is_not_asked_for_again(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    catalogue = write_catalogue("a.zip", ARCHIVE, unpack="zip")
    get(catalogue, tmp_path / "out")
    asked = len(stage.seen)
    assert get(catalogue, tmp_path / "out").already_there == ["a.zip"]
    assert len(stage.seen) == asked
    assert verify("tiny", tmp_path / "out", catalogue=catalogue).ok


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_wrong_bytes_are_discarded(
    write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path, algorithm: str
) -> None:
    right = hashlib.new(algorithm, b"other").hexdigest()
    catalogue = write_catalogue("f.csv", noise(1_000), **{algorithm: right})
    with pytest.raises(DataError, match=rf"its {algorithm} is [0-9a-f]+, {right} was expected"):
        get(catalogue, tmp_path / "out")
    assert tree(tmp_path / "out") == {}
    assert not list((tmp_path / "out" / ".fetch").glob("f.csv*"))


def test_pieces_that_do_not_fit_are_fetched_once_more(
    write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path
) -> None:
    """A server without ETags whose file changes between two attempts: the checksum tells, a fresh try mends."""
    old, new = noise(50_000, seed=1), noise(50_000, seed=2)
    catalogue = write_catalogue("f.bin", new, sha256=hashlib.sha256(new).hexdigest())

    def old_half(handler: object, request: object) -> None:
        handler.send("200 OK", {"Content-Length": "50000"}, old[:20_000])  # type: ignore[attr-defined]

    stage.script["/f.bin"] = [old_half]
    get(catalogue, tmp_path / "out")
    assert (tmp_path / "out" / "f.bin").read_bytes() == new
    assert stage.ranges() == [None, "bytes=20000-", None]


def test_first_use_is_recorded_and_held(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    catalogue = write_catalogue("f.csv", b"first\n" * 100)
    result = get(catalogue, out)
    assert result.first_use == ["f.csv"]
    assert "no checksum is known for f.csv" in result.remarks[-1]
    (out / "f.csv").unlink()
    stage.files["/f.csv"] = b"other\n" * 100
    with pytest.raises(DataError, match=r"as checksums\.json has it from the first use"):
        get(catalogue, out)
    assert not (out / "f.csv").exists()
    stage.files["/f.csv"] = b"first\n" * 100
    get(catalogue, out)
    assert (out / "f.csv").read_bytes() == b"first\n" * 100


def test_a_length_that_is_too_short_makes_a_broken_archive(
    write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path
) -> None:
    """Nothing known of the file, a server that lies: the archive itself tells; nothing of it is remembered."""
    catalogue = write_catalogue("a.zip", ARCHIVE, unpack="zip")
    stage.script["/a.zip"] = [altered(Content_Length="30000")]
    with pytest.raises(DataError, match="is no whole zip archive"):
        get(catalogue, tmp_path / "out")
    assert tree(tmp_path / "out") == {}
    get(catalogue, tmp_path / "out")
    assert len(tree(tmp_path / "out")) == 20


def test_a_hostile_archive_leaves_nothing(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    catalogue = write_catalogue("a.zip", zipped({"good": b"1", "../../evil": b"2"}), unpack="zip")
    with pytest.raises(DataError, match="could leave its folder"):
        get(catalogue, tmp_path / "out")
    assert tree(tmp_path / "out") == {}
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_into_a_folder(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    """An archive is put into its folder once, whether it brings that folder along or not."""
    get(write_catalogue("a.zip", ARCHIVE, unpack="zip", into="images"), tmp_path / "1")
    bare = zipped({name.removeprefix("images/"): data for name, data in FILES.items()})
    get(write_catalogue("a.zip", bare, unpack="zip", into="images"), tmp_path / "2")
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert len(list((tmp_path / "1" / "images").iterdir())) == 20


@pytest.mark.parametrize("keys", [{"unpack": "zip"}, {}])
def test_what_is_there_and_not_ours_is_kept(
    write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path, keys: dict[str, str]
) -> None:
    name = "a.zip" if keys else "f.csv"
    mine = tmp_path / "out" / ("images/3.jpg" if keys else "f.csv")
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    catalogue = write_catalogue(name, ARCHIVE, **keys)
    with pytest.raises(DataError, match="is there already"):
        get(catalogue, tmp_path / "out")
    assert tree(tmp_path / "out") == {str(mine.relative_to(tmp_path / "out")): hashlib.sha256(b"mine").hexdigest()}
    mine.unlink()
    get(catalogue, tmp_path / "out")


def test_damage_is_found_and_mended(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "out"
    catalogue = write_catalogue("a.zip", ARCHIVE, unpack="zip")
    get(catalogue, out)
    good = tree(out)
    (out / "images" / "3.jpg").write_bytes(bytes(3_000))
    (out / "images" / "4.jpg").unlink()
    found = verify("tiny", out, catalogue=catalogue)
    assert (found.damaged, found.missing, found.ok) == (("images/3.jpg",), ("images/4.jpg",), False)
    get(catalogue, out)
    assert tree(out) == good
    assert verify("tiny", out, catalogue=catalogue).ok


def test_another_set_in_the_folder(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    catalogue = write_catalogue("f.csv", b"1" * 10)
    get(catalogue, tmp_path / "out")
    entries = yaml.safe_load(catalogue.read_text())
    catalogue.write_text(yaml.safe_dump({"tiny2": entries["tiny"]}))
    with pytest.raises(DataError, match="holds the data set 'tiny', not 'tiny2'"):
        fetch("tiny2", tmp_path / "out", catalogue=catalogue)


def test_mirrors_in_turn(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    stage.always["/gone"] = says("404 x")
    stage.files["/f.csv"] = b"1" * 10
    urls = [stage.url("/gone"), stage.url("/f.csv")]
    catalogue = write_catalogue("f.csv", b"1" * 10, urls=urls)
    get(catalogue, tmp_path / "out")
    assert [request.path for request in stage.seen] == ["/gone", "/f.csv"]


def test_room_is_asked_for_first(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    catalogue = write_catalogue("a.zip", ARCHIVE, unpack="zip", bytes=len(ARCHIVE), unpacked_bytes=10**18)
    with pytest.raises(DataError, match=r"tiny \(download and unpacked\) needs .* has room for"):
        get(catalogue, tmp_path / "out")
    assert stage.seen == []


def test_parts(stage: Stage, tmp_path: Path) -> None:
    files = []
    for name, part in (("a.csv", "metadata"), ("b.bin", "images"), ("c.bin", "images")):
        stage.files[f"/{name}"] = name.encode() * 10
        files.append({"name": name, "urls": [stage.url(f"/{name}")], "bytes": None, "part": part})
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(yaml.safe_dump({"tiny": catalogue_entry(files)}))
    assert get(catalogue, tmp_path / "out", subset="metadata").fetched == ["a.csv"]
    result = get(catalogue, tmp_path / "out")
    assert (result.fetched, result.already_there) == (["b.bin", "c.bin"], ["a.csv"])
    with pytest.raises(ConfigError, match="no part 'image'; did you mean images"):
        get(catalogue, tmp_path / "out", subset="image")
    with pytest.raises(ConfigError, match="no Parquet files to count"):
        get(catalogue, tmp_path / "out", subset="2")


def test_by_hand(stage: Stage, tmp_path: Path) -> None:
    file = {"name": "a.zip", "urls": [], "bytes": None, "part": "all", "unpack": "zip",
            "md5": hashlib.md5(ARCHIVE, usedforsecurity=False).hexdigest()}  # fmt: skip
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text(yaml.safe_dump({"tiny": catalogue_entry([file], by_hand=["Ask them.", "Wait."])}))
    with pytest.raises(DataError, match=r"(?s)cannot be fetched by a program.*1\. Ask them.*2\. Wait"):
        get(catalogue, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=r"a\.zip is missing; save a\.zip there"):
        get(catalogue, tmp_path / "out", downloaded=tmp_path / "mine")
    (tmp_path / "mine" / "a.zip").write_bytes(ARCHIVE[:-1])
    with pytest.raises(DataError, match="its md5 is"):
        get(catalogue, tmp_path / "out", downloaded=tmp_path / "mine")
    (tmp_path / "mine" / "a.zip").write_bytes(ARCHIVE)
    get(catalogue, tmp_path / "out", downloaded=tmp_path / "mine")
    assert len(tree(tmp_path / "out")) == 20
    assert (tmp_path / "mine" / "a.zip").read_bytes() == ARCHIVE


def test_a_server_without_ranges_or_versions(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    catalogue = write_catalogue("f.bin", ARCHIVE)
    stage.always["/f.bin"] = whole_with_200()
    stage.script["/f.bin"] = [cut(100, ETag="")]
    get(catalogue, tmp_path / "out")
    assert (tmp_path / "out" / "f.bin").read_bytes() == ARCHIVE


@pytest.mark.slow
def test_stopped_before_every_rename(
    write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change of state is a rename: a stop before any of them is gone on from, without a second download."""
    few = zipped({name: FILES[name] for name in list(FILES)[:4]})
    catalogue = write_catalogue("a.zip", few, unpack="zip")
    get(catalogue, tmp_path / "good")
    rename, counted = Path.replace, 0

    class StopError(BaseException): ...

    def counting(path: Path, target: Path) -> Path:
        nonlocal counted
        counted -= 1
        if counted < 0:
            raise StopError
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", counting)
    finished, count = False, 0
    while not finished:
        out, stage.seen[:] = tmp_path / f"out{count}", []
        (out / "images").mkdir(parents=True)  # filled file by file
        counted = count
        try:
            get(catalogue, out)
            finished = True
        except StopError:
            counted = 10**6
            get(catalogue, out)
        assert tree(out) == tree(tmp_path / "good")
        assert verify("tiny", out, catalogue=catalogue).ok
        assert len([request for request in stage.seen if request.path == "/a.zip"]) <= 2
        count += 1
    assert count > 8


def test_notes_that_are_nonsense(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    catalogue = write_catalogue("f.bin", b"1" * 10)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checksums.json").write_text('{"set": "tiny", "files": {"f.bin": {"oops": 1}}}')
    with pytest.raises(DataError, match=r"checksums\.json cannot be read"):
        get(catalogue, tmp_path / "out")
    with pytest.raises(DataError, match="nothing was fetched there"):
        verify("tiny", tmp_path / "else", catalogue=catalogue)


def test_a_file_named_like_our_notes(write_catalogue: WriteCatalogue, stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="where our own notes are"):
        get(write_catalogue("checksums.json", b"{}"), tmp_path / "out")
