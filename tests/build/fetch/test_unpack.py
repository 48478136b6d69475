"""Archives: honest ones come out byte for byte, the others are refused as a whole."""

import bz2
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import noise, zipped

from earthtone.build.fetch.unpack import MAX_RATIO, BadArchiveError, unpack
from earthtone.errors import DataError

FILES = {"a/1.jpg": noise(5_000), "a/b/2.jpg": b"", "3.csv": b"x,y\n" * 50}


def tarred(files: dict[str, bytes], mode: str = "w:gz", extra: tarfile.TarInfo | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if extra is not None:
            archive.addfile(extra)
    return out.getvalue()


def run(tmp_path: Path, data: bytes, kind: str, **options: int) -> dict[str, tuple[int, str]]:
    archive, folder = tmp_path / "archive", tmp_path / "out"
    archive.write_bytes(data)
    folder.mkdir()
    return unpack(archive, kind, folder, **options).members


@pytest.mark.parametrize(
    ("kind", "data"),
    [("zip", zipped(FILES)), *(("tar", tarred(FILES, mode)) for mode in ("w", "w:gz", "w:bz2", "w:xz"))],
)
def test_what_was_packed_comes_out(tmp_path: Path, kind: str, data: bytes) -> None:
    members = run(tmp_path, data, kind)
    assert members == {name: (len(one), hashlib.sha256(one).hexdigest()) for name, one in FILES.items()}
    assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES


def test_a_leading_folder_is_dropped(tmp_path: Path) -> None:
    assert set(run(tmp_path, zipped({"top-1/a/x": b"1", "top-1/y": b"2"}), "zip", strip=1)) == {"a/x", "y"}


def test_nothing_may_lie_outside_the_folder_to_drop(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="outside a folder"):
        run(tmp_path, zipped({"top/a": b"1", "stray": b"2"}), "zip", strip=1)


def test_files_of_operating_systems_are_left_out_and_counted(tmp_path: Path) -> None:
    data = zipped({"a/1": b"1", "__MACOSX/a/._1": b"x", "a/.DS_Store": b"x"})
    (tmp_path / "z").write_bytes(data)
    (tmp_path / "o").mkdir()
    found = unpack(tmp_path / "z", "zip", tmp_path / "o")
    assert (set(found.members), found.junk) == ({"a/1"}, 2)


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "\\evil", "a/\x07", ".fetch/lock", "a\nb"]
)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_that_leave_the_folder(tmp_path: Path, name: str, make: Callable[[dict[str, bytes]], bytes]) -> None:
    with pytest.raises(DataError, match="could leave its folder"):
        run(tmp_path, make({"good": b"1", name: b"2"}), "zip" if make is zipped else "tar")
    assert [path.name for path in tmp_path.iterdir() if path.name == "evil"] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    odd = tarfile.TarInfo("odd")
    odd.type, odd.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="a link or device"):
        run(tmp_path, tarred(FILES, extra=odd), "tar")
    assert not (tmp_path / "out" / "odd").exists()


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o600, stat.S_IFIFO | 0o600])
def test_links_and_devices_in_a_zip(tmp_path: Path, mode: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        odd = zipfile.ZipInfo("odd")
        odd.create_system, odd.external_attr = 3, mode << 16
        archive.writestr(odd, "/etc/passwd")
    with pytest.raises(DataError, match="a link or device"):
        run(tmp_path, out.getvalue(), "zip")


@pytest.mark.parametrize(
    "pair", [("a/X", "a/x"), ("A/1", "a/2"), ("caf\u00e9", "cafe\u0301"), ("a", "a/b"), ("a/b", "a")]
)
def test_names_that_may_be_one_file(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="which may be one file here"):
        run(tmp_path, zipped(dict.fromkeys(pair, b"1")), "zip")


def test_the_same_name_twice(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(DataError, match="which may be one file here"):
        run(tmp_path, out.getvalue(), "zip")


@pytest.mark.parametrize("make", [zipped, tarred])
def test_bombs(tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]) -> None:
    data = make({"bomb": bytes(30_000_000)})
    assert len(data) * MAX_RATIO < 30_000_000
    with pytest.raises(DataError, match="unpacks to more than"):
        run(tmp_path, data, "zip" if make is zipped else "tar")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= len(data) * MAX_RATIO


def test_more_than_declared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unpacks to more than 1\.05 kB"):
        run(tmp_path, zipped({"a": noise(2_000)}), "zip", unpacked_bytes=1_000)


def test_a_header_that_would_fill_the_memory(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        long_name = tarfile.TarInfo("././@LongLink")
        long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 50_000_000
        archive.addfile(long_name, io.BytesIO(bytes(50_000_000)))
    with pytest.raises(DataError, match="has a header of 50000000 bytes"):
        run(tmp_path, out.getvalue(), "tar")


@pytest.mark.parametrize(
    ("kind", "data"),
    [("zip", zipped(FILES)), ("tar", tarred(FILES)), ("tar", tarred(FILES, "w:xz")), ("tar", tarred(FILES, "w"))],
)
@given(data_=st.data())
@settings(max_examples=15, deadline=None)
def test_cut_short(tmp_path_factory: pytest.TempPathFactory, kind: str, data: bytes, data_: st.DataObject) -> None:
    """Refused, or, where only the container's own last bytes are gone, whole."""
    folder = tmp_path_factory.mktemp("cut")
    try:
        run(folder, data[: data_.draw(st.integers(0, len(data) - 1))], kind)
    except DataError:
        return
    assert {name: (folder / "out" / name).read_bytes() for name in FILES} == FILES


def test_a_tar_that_is_cut_between_two_members(tmp_path: Path) -> None:
    data = tarred({"a": bytes(512), "b": bytes(512)}, "w")
    with pytest.raises(DataError, match="ends without the mark of an end"):
        run(tmp_path, data[:1024], "tar")


@pytest.mark.parametrize("cut", [1025, 1100, 1535])
def test_a_tar_that_is_cut_in_a_later_header(tmp_path: Path, cut: int) -> None:
    data = tarred({"a": bytes(512), "b": bytes(512)}, "w")
    with pytest.raises(DataError, match="breaks off in a header"):
        run(tmp_path, data[:cut], "tar")


def test_a_tar_with_a_damaged_later_header(tmp_path: Path) -> None:
    data = bytearray(tarred({"a": bytes(512), "b": bytes(512)}, "w"))
    data[1024:1034] = b"x" * 10
    with pytest.raises(DataError, match="breaks off in a header"):
        run(tmp_path, bytes(data), "tar")


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": noise(5_000)}))
    data[1_000] ^= 1
    with pytest.raises(DataError, match="is no whole zip archive"):
        run(tmp_path, bytes(data), "zip")


def test_an_encrypted_zip(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"1"}))
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        data[data.index(mark) + (6 if mark.endswith(b"\x04") else 8)] |= 1
    with pytest.raises(DataError, match="is encrypted"):
        run(tmp_path, bytes(data), "zip")


@pytest.mark.parametrize("data", [b"", b"<html>", b"PK\x03\x04", zipped({})])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    for number, kind in enumerate(("zip", "tar")):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(DataError):
            run(tmp_path / str(number), data, kind)


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(records: bytes) -> bytes:
    return header("p", len(records), tarfile.XHDTYPE) + records.ljust(-(-len(records) // 512) * 512, b"\0")


SPARSE = pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n20 GNU.sparse.name=f\n27 GNU.sparse.realsize=100\n")
LATE = bytes(1024)  # the mark of an end


@pytest.mark.parametrize(
    "data",
    [
        pax(b"11 path=ab\n") * 1500 + header("f") + LATE,  # headers of headers
        SPARSE + header("f", 512) + b"abc\n1\n".ljust(512, b"\0") + LATE,
        pax(b"9999999999999999999 path=a\n") + header("f") + LATE,
        header("p", -512, tarfile.XHDTYPE) + LATE,
    ],
    ids=["nested", "sparse", "lengths", "negative"],
)
def test_headers_that_tarfile_does_not_expect(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadArchiveError):
        run(tmp_path, data, "tar")


@pytest.mark.slow
@pytest.mark.parametrize(
    "beginning", [header("d", kind=tarfile.DIRTYPE) * 30_000, header("__MACOSX/x", 10**12)], ids=["folders", "junk"]
)
def test_a_bomb_of_what_is_left_out(tmp_path: Path, beginning: bytes) -> None:
    with pytest.raises(BadArchiveError, match="of headers and files"):
        run(tmp_path, bz2.compress(beginning + bytes(30_000_000)), "tar")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_whose_compression_has_no_bound(tmp_path: Path, method: int) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr("a.txt", b"a")
    with pytest.raises(BadArchiveError, match="stored or deflate"):
        run(tmp_path, data.getvalue(), "zip")


def test_a_zip_with_names_in_no_encoding(tmp_path: Path) -> None:
    with pytest.raises(BadArchiveError, match="no whole zip"):
        run(tmp_path, zipped({"é": b"a"}).replace("é".encode(), b"\xff\xff"), "zip")


def test_folders_too_deep(tmp_path: Path) -> None:
    with pytest.raises(BadArchiveError, match="1001 folders deep"):
        run(tmp_path, zipped({"a/" * 1000 + "f": b"a"}), "zip")
