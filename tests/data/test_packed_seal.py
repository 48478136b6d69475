"""A table that is not all that was packed is refused, or found by `check`; tables of before are opened as they are."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lance
import pytest

from earthtone.cli import main
from earthtone.data.check_table import check_table
from earthtone.data.pack import open_table, pack, unfinished_marker
from earthtone.data.packed import Table, read_seal
from earthtone.data.source import SEAL_FILE
from earthtone.errors import DataError
from earthtone.signal.config import SignalConfig

WritePairs = Callable[[Path, int], Path]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, tiny_signal: SignalConfig, write_pairs: WritePairs) -> Path:
    """A table of 12 rows to which 6 were added."""
    folder = tmp_path_factory.mktemp("grown")
    manifest = write_pairs(folder / "pairs", 18)
    whole = manifest.read_text().splitlines()
    manifest.write_text("\n".join(whole[:13]) + "\n")
    pack(manifest, folder / "t.lance", signal=tiny_signal, threads=1)
    assert len(read_seal(folder / "t.lance").files) == 1  # type: ignore[union-attr]
    manifest.write_text("\n".join(whole) + "\n")
    pack(manifest, folder / "t.lance", signal=tiny_signal, threads=1)
    return folder / "t.lance"


@pytest.fixture
def table(grown: Path, tmp_path: Path) -> Path:
    shutil.copytree(grown, tmp_path / "copy.lance")
    return tmp_path / "copy.lance"


def newest(table: Path) -> Path:
    """The manifest of the newest version; Lance counts down in their names."""
    return min((table / "_versions").glob("*.manifest"), key=lambda path: path.name)


def data_files(table: Path) -> list[Path]:
    return sorted((table / "data").glob("*.lance"))


def lose_the_newest_version(table: Path) -> None:
    newest(table).unlink()


def lose_all_versions(table: Path) -> None:
    shutil.rmtree(table / "_versions")


def lose_the_end(table: Path) -> None:
    file = data_files(table)[0]
    file.write_bytes(file.read_bytes()[:-64])


def lose_the_middle(table: Path) -> None:
    file = data_files(table)[1]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2 - 64] + content[len(content) // 2 :])


def blank_64_bytes(table: Path) -> None:
    file = data_files(table)[1]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 3] + bytes(64) + content[len(content) // 3 + 64 :])


def lose_a_file(table: Path) -> None:
    data_files(table)[0].unlink()


def cut_the_seal(table: Path) -> None:
    (table / SEAL_FILE).write_text((table / SEAL_FILE).read_text()[:-30])


FAULTS = [
    lose_the_newest_version, lose_all_versions, lose_the_end, lose_the_middle, blank_64_bytes, lose_a_file, cut_the_seal
]  # fmt: skip


@pytest.mark.parametrize("harm", FAULTS)
def test_what_is_not_all_that_was_packed(
    table: Path, harm: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(Table(table)) == 18
    harm(table)
    with pytest.raises(DataError, match=r"copy\.lance: .*: an unfinished or damaged copy") as caught:
        Table(table)
    assert "\n" not in str(caught.value)
    code = main(["check", str(table)])
    shown = "".join(capsys.readouterr())
    assert code in (1, 2) and "Traceback" not in shown
    assert ("fault: " in shown) == (code == 1), shown
    assert main(["evaluate", "retrieval", "--model", "random:test_resnet", "--data", str(table)]) == 2


def test_a_whole_copy_is_whole(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check_table(table)
    assert found.ok and (found.rows, found.examined, found.files) == (18, 18, 2)
    assert found.splits == {"test": 3, "train": 12, "val": 3}
    assert main(["check", str(table), "--json", "--sample", "5"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["examined"], told["faults"]) == (True, 5, [])
    assert main(["check", str(table), "--headers_only"]) == 0
    assert main(["check", str(table), "--bands", "[1,2,3]"]) == 2
    assert "--bands has no effect" in capsys.readouterr().err


def test_pictures_smaller_than_a_stored_tile_are_whole(
    tmp_path: Path, tiny_signal: SignalConfig, write_pairs: WritePairs
) -> None:
    """They are kept as they are: nothing is made larger."""
    signal = replace(tiny_signal, image=replace(tiny_signal.image, stored_pixels=4000))
    found = check_table(pack(write_pairs(tmp_path, 2), tmp_path / "t.lance", signal=signal, threads=1).path)
    assert found.ok, found.faults


def test_tables_of_before_are_opened_and_checked(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table / SEAL_FILE).unlink()
    assert len(Table(table)) == 18
    assert main(["check", str(table)]) == 0
    assert "packed before tables told their files" in capsys.readouterr().out
    lose_the_newest_version(table)
    assert len(Table(table)) == 12  # nothing can tell


def test_hashes_tell_a_sound_that_is_not_the_one_that_was_packed(table: Path) -> None:
    (table / SEAL_FILE).unlink()
    rows = lance.dataset(str(table))
    rows.update({"audio_hash": "'0000'"}, where="id = 'pair-3'")
    rows.update({"audio_frames": "49"}, where="id = 'pair-5'")
    found = check_table(table)
    assert not found.ok
    assert [fault.split(":")[0].split(", ")[1] for fault in found.faults] == ["pair-3", "pair-5"] or sorted(
        fault.split(":")[0].split(", ")[1] for fault in found.faults
    ) == ["pair-3", "pair-5"]


def test_packing_goes_on_after_a_kill_between_two_commits(
    table: Path, tiny_signal: SignalConfig, write_pairs: WritePairs, tmp_path: Path, grown: Path
) -> None:
    """The newest commits are not written down yet: they are kept, and written down by the call that goes on."""
    before = (table / SEAL_FILE).read_text()
    manifest = write_pairs(tmp_path / "pairs", 24)
    assert pack(manifest, table, signal=tiny_signal, threads=1).added == 6
    whole = read_seal(table)
    (table / SEAL_FILE).write_text(before)
    unfinished_marker(table).touch()
    assert len(Table(table)) == 24
    with pytest.raises(DataError, match="its packing has not ended"), open_table(table, tiny_signal):
        pass
    assert not check_table(table).ok
    assert pack(manifest, table, signal=tiny_signal, threads=1).added == 0
    assert read_seal(table) == whole
    assert check_table(table).ok


def test_nothing_is_added_to_a_damaged_table(table: Path, tiny_signal: SignalConfig, grown: Path) -> None:
    lose_the_newest_version(table)
    with pytest.raises(DataError, match="12 rows are there, 18 were written"):
        pack(grown.parent / "pairs" / "manifest.csv", table, signal=tiny_signal, threads=1)
