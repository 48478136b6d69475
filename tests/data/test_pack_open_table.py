"""Whatever data is, it is opened as a packed table."""

from pathlib import Path

import pytest

from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.data.source import is_packed
from earthtone.errors import ConfigError, DataError
from earthtone.signal.config import SignalConfig


def test_a_packed_table_is_opened_in_place(tiny_table: Path, tiny_signal: SignalConfig) -> None:
    assert is_packed(tiny_table) and is_packed(str(tiny_table))
    with open_table(tiny_table, tiny_signal) as table:
        assert table.path == tiny_table


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_manifest_is_packed_for_once(
    tiny_pairs: Path, tiny_table: Path, tiny_signal: SignalConfig, as_folder: bool
) -> None:
    data = tiny_pairs.parent if as_folder else tiny_pairs
    assert not is_packed(data)
    before = sorted(tiny_pairs.parent.iterdir())
    with open_table(data, tiny_signal) as table:
        assert table.fingerprint == Table(tiny_table).fingerprint
        once = table.path
    assert not once.parent.exists()
    assert sorted(tiny_pairs.parent.iterdir()) == before  # nothing is left beside the data


def test_a_manifest_is_packed_to_be_kept(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    keep = tmp_path / "kept.lance"
    for _ in range(2):  # the second time nothing is left to do
        with open_table(tiny_pairs, tiny_signal, keep=keep) as table:
            assert table.path == keep and len(table) == 24
    assert len(Table(keep)) == 24


def test_splits_by_name_are_for_what_is_packed_now(
    tiny_pairs: Path, tiny_table: Path, tiny_signal: SignalConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with open_table(tiny_pairs, tiny_signal, split_by="geoclap") as table:
        assert table.split["by"] == "geoclap" and table.column("split").count("train") == 16
    with open_table(tiny_pairs, tiny_signal, split_by="buffered-blocks", buffer_km=6.0) as table:
        assert None in table.column("split")
    assert "without pairs within 6.0 km" in caplog.text and "those are not used" in caplog.text
    for options in ({"split_by": "geoclap"}, {"split_by": "buffered-blocks", "buffer_km": 1.0}):
        with (
            pytest.raises(ConfigError, match="is packed: --split_by has no effect"),
            open_table(tiny_table, tiny_signal, **options),  # type: ignore[arg-type]
        ):
            pass
    with pytest.raises(ConfigError, match="did you mean blocks"), open_table(tiny_pairs, tiny_signal, split_by="block"):
        pass


def test_columns_of_other_names(tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path) -> None:
    renamed = tiny_pairs.parent / "renamed.csv"
    renamed.write_text(tiny_pairs.read_text().replace("id,image,", "name,file,", 1))
    with open_table(renamed, tiny_signal, columns={"id": "name", "image": "file"}) as table:
        assert table.column("id")[0] == "pair-0"
    renamed.unlink()


def test_the_folder_for_once_goes_also_after_an_error(tiny_pairs: Path, tiny_signal: SignalConfig) -> None:
    with pytest.raises(ZeroDivisionError), open_table(tiny_pairs, tiny_signal) as table:
        once = table.path
        raise ZeroDivisionError
    assert not once.parent.exists()


def test_nothing_to_open(tmp_path: Path, tiny_signal: SignalConfig) -> None:
    with pytest.raises(DataError, match="none does not exist"), open_table(tmp_path / "none", tiny_signal):
        pass
    with pytest.raises(DataError, match=r"a manifest .* was expected"), open_table(tmp_path, tiny_signal):
        pass
