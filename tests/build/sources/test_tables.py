"""Tables of recordings as a source."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import archive, sound, web_for

from earthtone.build.recordings.recordings import recordings
from earthtone.build.sources.fetching import fetch_recordings, write_table
from earthtone.build.sources.listing import Listing, list_recordings
from earthtone.build.sources.source import Filters
from earthtone.build.sources.tables import RecordingTable
from earthtone.errors import ConfigError, DataError


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def listed(source: RecordingTable, tmp_path: Path) -> Listing:
    return list_recordings(source, tmp_path / f"list-{source.query_id}", web=web_for(tmp_path))


def test_what_the_verb_recordings_wrote_is_a_source(tmp_path: Path) -> None:
    folder = tmp_path / "card"
    folder.mkdir()
    for number in range(3):
        (folder / f"A_2026041{number}_063000.wav").write_bytes(sound(number))
    table = tmp_path / "recordings.parquet"
    recordings(folder, table, zone="+02:00", license="CC-BY-4.0", attribution="A. Recordist")
    source = RecordingTable(Filters(placed=False), table=str(table))
    found = listed(source, tmp_path)
    row = next(iter(found))
    assert (row.source, row.source_id, row.license) == ("recordings", "A_20260410_063000.wav", "CC-BY-4.0")
    assert row.time == "2026-04-10T04:30:00+00:00" and row.time_zone_known and row.seconds == 0.5
    files = fetch_recordings(source, found, tmp_path / "files", web=web_for(tmp_path))
    assert [one.path.resolve() for one in files.files] == sorted(path.resolve() for path in folder.iterdir())
    assert files.new == 3 and not fetch_recordings(source, found, tmp_path / "files", web=web_for(tmp_path)).new
    write_table(files.files, tmp_path / "out" / "table.parquet")
    again = pq.read_table(tmp_path / "out" / "table.parquet").to_pylist()[0]
    assert again["audio"] == "../card/A_20260410_063000.wav" and again["channels"] == "1"


def test_a_table_that_has_grown_is_another_query(tmp_path: Path) -> None:
    rows = [{"id": "1", "audio": "a.wav", "longitude": "1", "latitude": "2", "license": "CC0"}]
    source = RecordingTable(table=written(tmp_path / "t.csv", rows))
    before = source.query_id
    assert len(listed(source, tmp_path)) == 1
    written(tmp_path / "t.csv", [*rows, {**rows[0], "id": "2"}])
    assert source.query_id != before and len(listed(source, tmp_path)) == 2


def test_addresses_other_names_and_odd_cells(tmp_path: Path) -> None:
    plain = {
        "name": "a",
        "file": "/a.wav",
        "lon": "1.5",
        "lat": "2.5",
        "licence": "by",
        "date": "2014-05-03",
        "mic": "x",
    }
    rows = [
        plain,
        {**plain, "name": "b", "date": "2014-05-03T05:45", "lon": "NA", "lat": ""},
        {**plain, "name": "", "file": "/b.wav"},
        {**plain, "name": "c", "file": ""},
        {**plain, "name": "d", "lat": "95"},
        {**plain, "name": "e", "file": "gone.wav"},
    ]
    with archive() as host:
        host.files["/a.wav"] = sound()
        for row in rows:
            row["file"] = f"{host.url}/a.wav" if row["file"] == "/a.wav" else row["file"]
        source = RecordingTable(
            Filters(placed=False), table=written(tmp_path / "t.csv", rows),
            columns={"source_id": "name", "media_url": "file"}, label="mine", private=True,
        )  # fmt: skip
        found = listed(source, tmp_path)
        assert [row.source_id for row in found] == ["a", "b", "e"]
        assert found.left_out == {"without an id": 1, "without a file": 1, "a place that is none": 1}
        first, second, _ = found
        assert (first.longitude, first.latitude, first.time, first.more) == (1.5, 2.5, "2014-05-03", {"mic": "x"})
        assert (second.longitude, second.time, second.time_zone_known) == (None, "2014-05-03T05:45:00", False)
        files = fetch_recordings(source, found, tmp_path / "files", web=web_for(tmp_path))
        assert len(files.files) == 2 and list(files.failed) == ["gone"]
        shy = RecordingTable(Filters(placed=False), table=source.table, columns=source.columns, label="mine")
        assert (
            fetch_recordings(shy, found, tmp_path / "shy", web=web_for(tmp_path)).failed["refused address"].count == 2
        )


def test_two_tables_of_one_name_never_give_each_others_files(tmp_path: Path) -> None:
    row = {"id": "1", "audio": "a.wav", "longitude": "1", "latitude": "2", "license": "CC0", "image": "a.png"}
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.wav").write_bytes(sound(number))
        source = RecordingTable(table=written(tmp_path / name / "t.csv", [row]))
        found = list_recordings(source, tmp_path / f"list-{name}", web=web_for(tmp_path))
        files = fetch_recordings(source, found, tmp_path / "files", web=web_for(tmp_path)).files
        assert files[0].path.read_bytes() == sound(number) and "image" not in files[0].recording.more


def test_a_table_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", [{"id": "1", "wav": "a.wav"}])
    with pytest.raises(DataError, match=r"no column for media_url \(audio or .*; did|no column for media_url"):
        listed(RecordingTable(table=table), tmp_path)
    with pytest.raises(DataError, match="has no column 'nope' for media_url"):
        listed(RecordingTable(table=table, columns={"media_url": "nope"}), tmp_path)
    with pytest.raises(ConfigError, match="columns: longtude; did you mean longitude"):
        RecordingTable(table=table, columns={"longtude": "x"})
    with pytest.raises(DataError, match="a table of recordings expected"):
        listed(RecordingTable(table=str(tmp_path / "none.csv")), tmp_path)
    with pytest.raises(ConfigError, match="needs table"):
        RecordingTable()
    pq.write_table(pa.table({"id": ["1"], "audio": [b"RIFF"]}), tmp_path / "inside.parquet")
    found = listed(RecordingTable(table=str(tmp_path / "inside.parquet")), tmp_path)
    assert found.left_out == {"a sound inside the table": 1}
