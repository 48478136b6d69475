"""Rows that a benchmark measures on are in no split, whatever deals the others out; and what was not found is told."""

import csv
import shutil
from pathlib import Path

import pytest
from PIL import Image

from earthtone.cli import main
from earthtone.data.check import check
from earthtone.data.exclude import picture_hash, read_exclusion
from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.data.splits import split_in_words
from earthtone.errors import ConfigError, DataError
from earthtone.signal.config import SignalConfig


def sites(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def twins(tiny_pairs: Path, tmp_path: Path) -> Path:
    """The manifest of 24 pairs, of which 3 has the recording of 2 under another name, and without splits of its own."""
    folder = shutil.copytree(tiny_pairs.parent, tmp_path / "pairs")
    shutil.copy(folder / "2.wav", folder / "3.wav")
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [{**row, "split": ""} for row in csv.DictReader(file)]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


@pytest.mark.parametrize("split_by", ["manifest", "blocks", "geoclap", "buffered-blocks", "psm-cells"])
def test_named_rows_and_their_twins_are_in_no_split(
    split_by: str, twins: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    image = picture_hash(twins.parent / "7.png")
    lines = ("entry,id,image_hash", "a,pair-2,", f"b,,{image}", "b,no-such,", "c,nowhere,")
    exclude = sites(tmp_path / "sites.csv", *lines)
    plain = pack(twins, tmp_path / "plain.lance", signal=tiny_signal, split_by=split_by)
    found = pack(twins, tmp_path / "without.lance", signal=tiny_signal, split_by=split_by, exclude=exclude)
    before, after = (
        dict(zip(*(Table(r.path).column(c) for c in ("id", "split")), strict=True)) for r in (plain, found)
    )
    gone = {"pair-2", "pair-3", "pair-7"}  # named by id, its recording's twin, named by its picture
    assert after == {id: None if id in gone else split for id, split in before.items()}
    assert found.excluded == (
        "sites.csv: 2 of 3 entries are in the data (1 by id, 1 by image_hash); 3 rows are in no split, 1 of them since "
        "they share an image or a recording",
        "sites.csv: not found: c",
    )
    assert all(line in found.to_text() for line in found.excluded)
    record = Table(found.path).split
    assert record["exclude"] == read_exclusion(exclude).record
    assert split_in_words(record).endswith("; without 3 entries of sites.csv")
    again = pack(twins, found.path, signal=tiny_signal, split_by=split_by, exclude=exclude)
    assert (again.added, again.already_there) == (0, 24)
    with pytest.raises(DataError, match=r"exclude\.file: 'sites\.csv' -> None"):
        pack(twins, found.path, signal=tiny_signal, split_by=split_by)


def test_a_picture_is_known_by_its_pixels_in_any_format(twins: Path, tmp_path: Path) -> None:
    Image.open(twins.parent / "5.png").save(tmp_path / "other.bmp")
    assert picture_hash(tmp_path / "other.bmp") == picture_hash((twins.parent / "5.png").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert picture_hash(tmp_path / "broken.png") is None


def test_check_tells_what_would_be_left_out(twins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = picture_hash(twins.parent / "9.png")
    exclude = sites(tmp_path / "sites.csv", "id,image_hash", f"pair-1,{other}", "pair-8,")
    found = check(twins, exclude=exclude, headers_only=True)
    assert found.splits["none"] == 3
    assert "2 of 2 entries are in the data (2 by id, 1 by image_hash); 3 rows are in no split" in found.excluded[0]
    assert "1 entries have an id of one row and the image of another (line 2)" in found.excluded[1]
    assert main(["check", str(twins), "--exclude", str(exclude), "--headers_only"]) == 0
    assert f"  left out: {found.excluded[0]}\n" in capsys.readouterr().out


def test_any_column_of_the_data_may_name_rows(twins: Path, tmp_path: Path) -> None:
    exclude = sites(tmp_path / "sites.csv", "label", "kind 1")  # six of 24
    assert check(twins, exclude=exclude, headers_only=True).splits["none"] == 6


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("id,image_hash", ","), "line 2: names nothing; an id, an image_hash or both expected"),
        (("id",), "no entry; a line for each row"),
        (("id,place", "pair-1,here"), "column 'place' is none of .*id, image_hash or one of its own columns .label."),
        (("id,image_hash", "pair-1"), "line 2: 1 cells where the header has 2"),
    ],
)
def test_files_that_say_nothing_are_refused(
    lines: tuple[str, ...], told: str, twins: Path, tiny_table: Path, tmp_path: Path
) -> None:
    exclude = sites(tmp_path / "sites.csv", *lines)
    with pytest.raises(DataError, match=told):
        check(twins, exclude=exclude, headers_only=True)
    with pytest.raises(DataError, match=r"missing\.csv: no such file; a CSV with a column id"):
        check(twins, exclude=tmp_path / "missing.csv")
    with pytest.raises(ConfigError, match="is packed: --exclude"):
        check(tiny_table, exclude=exclude)


@pytest.mark.parametrize("split_by", ["blocks", "geoclap", "psm-cells"])
def test_a_row_that_lacks_its_recording_shifts_no_other(
    split_by: str, lacking_one: Path, tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    """Whether a row has its media is seen later than that there is a row."""
    exclude = sites(tmp_path / "sites.csv", "image_hash", str(picture_hash(tiny_pairs.parent / "6.png")))
    found = pack(lacking_one, tmp_path / "t.lance", signal=tiny_signal, split_by=split_by, exclude=exclude)
    table = Table(found.path)
    splits = dict(zip(table.column("id"), table.column("split"), strict=True))
    assert found.problems == {"missing audio": 1} and len(splits) == 7
    assert splits["pair-6"] is None is splits["pair-7"]
    assert all(splits[f"pair-{n}"] is not None for n in (0, 1, 2, 4, 5)) or split_by == "psm-cells"
