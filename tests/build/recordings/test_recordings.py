"""A made deployment of three recorders with all faults that are known of them, from folder to rows."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from recorders import HZ, MOTH, flac, guano, moth, wav, write_deployment

import earthtone
from earthtone.build.recordings.recordings import RecordingsResult, clip_bounds
from earthtone.cli import main
from earthtone.data.manifest import Manifest
from earthtone.data.pair import Pair
from earthtone.errors import ConfigError, DataError, NewerFormatError
from earthtone.signal.audio import probe_audio
from earthtone.signal.excerpt import Excerpt


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_deployment(tmp_path_factory.mktemp("deployment"))


@pytest.fixture(scope="module")
def result(world: Path) -> RecordingsResult:
    return earthtone.recordings(world / "cards", world / "recordings.parquet", deployments=world / "deployments.csv")


@pytest.fixture(scope="module")
def rows(result: RecordingsResult) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(result.out).to_pylist()}


def write(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".wav").write_bytes(data)
    return folder


def only(folder: Path, **options: Any) -> dict[str, Any]:
    out = folder.parent / f"{folder.name}.parquet"
    earthtone.recordings(folder, out, **options)
    (row,) = pq.read_table(out).to_pylist()
    return dict(row)


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {what: named.count for what, named in found.items()}


def test_every_fault_is_counted(result: RecordingsResult) -> None:
    assert counts(result.left_out) == {
        "empty file": 1, "only NUL bytes": 2, "not a sound": 1, "partial file without a suffix": 1,
    }  # fmt: skip
    assert counts(result.faults) == {
        "length 0 in the header": 1, "stale length in the header": 1, "wrong duration": 1, "clock was not set": 1,
        "overlaps the next recording": 1,
    }  # fmt: skip
    assert counts(result.disagreements) == {"time": 1, "place": 3}
    assert result.files == result.rows == 15
    assert result.idle_deployments == ["line 4: S4A99999"]


def test_a_name_with_a_zone_in_the_header(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["moth/20260411_061000.WAV"]
    assert row["datetime"] == datetime(2026, 4, 11, 4, 10, tzinfo=UTC)
    assert (row["local_time"], row["zone"], row["zone_source"]) == ("2026-04-11 06:10:00", "+02:00", "recorder")
    assert (row["device"], row["gain"], row["battery_v"], row["temperature_c"]) == (MOTH, "medium gain", 4.2, 21.5)
    assert (row["longitude"], row["latitude"]) == (13.6412, 54.5123)  # the deployment's, not the app's
    assert (row["coord_source"], row["coord_uncertainty_m"]) == ("deployment", 10.0)
    assert (row["license"], row["seconds"], row["hz"], row["channels"]) == ("CC-BY-4.0", 6.0, HZ, 1)


def test_a_log_counts_before_a_header(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["meter/Data/S4A01234_20260411_060030.wav"]
    assert (row["longitude"], row["latitude"], row["coord_source"]) == (-71.38, 42.43, "log")
    assert (row["battery_v"], row["temperature_c"]) == (5.9, 12.25)
    assert row["datetime"] == datetime(2026, 4, 11, 10, 0, 30, tzinfo=UTC) and row["zone_source"] == "deployment"
    assert row["disagreements"].startswith("place: log and wamd are ")
    assert rows["meter/Data/S4A01234_20260411_060000.wav"]["faults"] == "overlaps the next recording"


def test_a_name_that_tells_all(rows: dict[str, dict[str, Any]]) -> None:
    row = rows["bar/202604 7T095935+1000_REC [-27.3866 152.8761].flac"]
    assert row["datetime"] == datetime(2026, 4, 6, 23, 59, 35, tzinfo=UTC)
    assert (row["longitude"], row["latitude"], row["coord_source"]) == (152.8761, -27.3866, "name")


def test_what_contradicts_is_left_out(rows: dict[str, dict[str, Any]], world: Path, tmp_path: Path) -> None:
    name = "moth/20260411_071000.WAV"
    assert rows[name]["datetime"] is None and "07:10:00" in rows[name]["disagreements"]
    for trust, hour in (("name", 5), ("header", 4)):
        out = tmp_path / f"{trust}.parquet"
        earthtone.recordings(world / "cards", out, trust=trust, zone="+02:00")
        found = {row["id"]: row["datetime"] for row in pq.read_table(out).to_pylist()}
        assert found[name] == datetime(2026, 4, 11, hour, 10, tzinfo=UTC)


def test_lengths_are_those_of_the_samples(rows: dict[str, dict[str, Any]], world: Path) -> None:
    stale = ("moth/20260411_070000.WAV", "meter/Data/S4A01234_20260411_061000.wav")
    for name in stale:
        assert rows[name]["seconds"] == probe_audio(world / "cards" / name).seconds == 6.0
    assert rows["bar/20260411T021000+1000_REC_-27.3866+152.8761.flac"]["seconds"] == 8.0
    assert rows["moth/19700101_000010.WAV"]["datetime"] is None
    assert rows["moth/5AFCD4F4.WAV"]["datetime"] == datetime(2018, 5, 17, 1, 3, 48, tzinfo=UTC)


def test_the_table_is_a_manifest(result: RecordingsResult, world: Path) -> None:
    pairs = list(Manifest(result.out, need=("audio",)))
    assert all(isinstance(pair, Pair) and isinstance(pair.audio, Path) for pair in pairs) and len(pairs) == 15
    assert Counter(pair.longitude for pair in pairs if isinstance(pair, Pair))[152.8761] == 3


def test_positions_of_an_app_are_refused(tmp_path: Path) -> None:
    app = guano(Loc_Position="54.51 13.64", OAD__Loc_Source="Configuration app", Timestamp="2026-04-11T06:30:00Z")
    folder = write(tmp_path / "in", a=wav(2, after=[app]))
    result = earthtone.recordings(folder, tmp_path / "out.parquet")
    assert result.app_positions.count == 1 and "--app_positions" in result.to_text()
    assert only(folder)["longitude"] is None
    taken = only(folder, app_positions=True)
    assert (taken["longitude"], taken["latitude"], taken["coord_source"]) == (13.64, 54.51, "guan")
    assert 550 < taken["coord_uncertainty_m"] < 800  # half of 0.01 degrees, both ways


def test_a_zone_a_data_set_or_a_row(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", **{"x__20260701_120000": wav(2)})
    unknown = only(folder)
    assert unknown["datetime"] is None and unknown["time_zone_known"] is False
    assert unknown["local_time"] == "2026-07-01 12:00:00"
    assert only(folder, zone="Europe/Berlin")["datetime"] == datetime(2026, 7, 1, 10, tzinfo=UTC)
    (tmp_path / "d.csv").write_text("folder,zone\nx,-03:30\n")
    row = only(folder, zone="Europe/Berlin", deployments=tmp_path / "d.csv")
    assert row["datetime"] == datetime(2026, 7, 1, 15, 30, tzinfo=UTC) and row["zone"] == "-03:30"
    with pytest.raises(ConfigError, match="Europe/Berlin"):
        only(folder, zone="Berlin")


def test_an_hour_that_is_there_twice_is_no_time(tmp_path: Path) -> None:
    row = only(write(tmp_path / "in", **{"20261025_023000": wav(2)}), zone="Europe/Berlin")
    assert row["datetime"] is None and "clocks changed" in row["disagreements"]


def test_a_device_that_was_moved(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", **{"S4A1_20260401_120000": wav(2), "S4A1_20260501_120000": wav(2)})
    table = tmp_path / "d.csv"
    table.write_text("device,lon,lat,from,to\ns4a1,1,2,2026-04-01,2026-04-30\nS4A1,3,4,2026-05-01,\n")
    earthtone.recordings(folder, tmp_path / "o.parquet", deployments=table, zone="UTC")
    assert [row["longitude"] for row in pq.read_table(tmp_path / "o.parquet").to_pylist()] == [1.0, 3.0]
    table.write_text("device,lon,lat,from,to\nS4A1,1,2,2026-04-01,2026-05-30\nS4A1,3,4,2026-05-01,\n")
    with pytest.raises(DataError, match="line 2 and line 3 both tell of 'S4A1'"):
        earthtone.recordings(folder, tmp_path / "o.parquet", deployments=table, zone="UTC")


def test_clips_are_rows_of_their_own(tmp_path: Path) -> None:
    header = moth(MOTH, "06:30:00 11/04/2026", "UTC+2")
    folder = write(tmp_path / "in", **{"20260411_063000": wav(22, [header])})
    earthtone.recordings(folder, tmp_path / "o.parquet", clip_s=5.0)
    rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0, 5), (5, 10), (10, 15), (15, 22)]
    assert rows[2]["datetime"] == datetime(2026, 4, 11, 4, 30, 10, tzinfo=UTC)
    assert rows[2]["local_time"] == "2026-04-11 06:30:10" and rows[2]["id"] == "20260411_063000.wav@10"
    pairs = [pair for pair in Manifest(tmp_path / "o.parquet", need=("audio",)) if isinstance(pair, Pair)]
    assert pairs[1].audio == Excerpt(tmp_path / "in" / "20260411_063000.wav", 5.0, 10.0)
    assert list(clip_bounds(2.0, 5.0)) == [(0.0, 2.0)] and list(clip_bounds(8.0, 5.0)) == [(0.0, 5.0), (5.0, 8.0)]


def test_overlaps_are_seen_across_folders_of_one_device(tmp_path: Path) -> None:
    seventeen = {
        "1__S4A1_20260411_235950": wav(27),
        "2__S4A1_20260412_000000": wav(5),
        "2__S4A2_20260412_000001": wav(5),
    }
    result = earthtone.recordings(write(tmp_path / "in", **seventeen), tmp_path / "o.parquet")
    (named,) = result.faults.values()
    ((name, detail),) = named.files
    assert name == "2/S4A1_20260412_000000.wav"
    assert detail == f"1/S4A1_20260411_235950.wav lasts 17.0 s into {name}, which begins at 2026-04-12 00:00:00"


def test_what_is_there_is_replaced_only_where_it_is_ours(tmp_path: Path) -> None:
    folder, out = write(tmp_path / "in", a=wav(2)), tmp_path / "o.parquet"
    earthtone.recordings(folder, out)
    write(folder, b=wav(3))
    assert earthtone.recordings(folder, out).rows == 2
    before = out.read_bytes()
    (folder / "a.wav").write_bytes(b"")
    (folder / "b.wav").write_bytes(b"")
    with pytest.raises(DataError, match="no recording that can be heard"):
        earthtone.recordings(folder, out)
    assert out.read_bytes() == before
    newer = pq.read_table(out).replace_schema_metadata({"earthtone.recordings.format": "9"})
    pq.write_table(newer, out)
    with pytest.raises(NewerFormatError):
        earthtone.recordings(folder, out)
    pq.write_table(newer.replace_schema_metadata(None), out)
    with pytest.raises(ConfigError, match="no table of recordings"):
        earthtone.recordings(folder, out)


@pytest.mark.parametrize(
    ("table", "said"),
    [("place,lon\na,1\n", "neither a column 'device' nor 'folder'"), ("device,zone\na,CEST+\n", "zone 'CEST[+]'"),
     ("device,lon,lat\na,200,1\n", "line 2: longitude 200"), ("device,folder\n,\n", "neither a device nor a folder"),
     ("device,from,to\na,2026-05-01,2026-04-01\n", "`to` lies before `from`"), ("device,lon,lat\na,x,1\n", "finite"),
     ("device,uncertainty_m,lon,lat\na,-5,1,1\n", "uncertainty_m -5")],
)  # fmt: skip
def test_a_table_of_deployments_that_cannot_be_used(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "d.csv").write_text(table)
    with pytest.raises(DataError, match=said):
        earthtone.recordings(write(tmp_path / "in", a=wav(2)), tmp_path / "o.parquet", deployments=tmp_path / "d.csv")


def test_on_the_command_line(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recordings", str(world / "cards"), "--out", str(tmp_path / "o.parquet"), "--zone", "+02:00"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "15 rows of 15 recordings" in said and "faults: length 0 in the header: 1 (read by" in said
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faults"]["wrong duration"]["count"] == 1
    for wrong, told in ((["--out", "o.csv"], ".parquet"), (["--zone", "Mars/Base"], "Europe/Berlin")):
        assert main(["recordings", str(world / "cards"), "--out", str(tmp_path / "o.parquet"), *wrong]) == 2
        assert told in capsys.readouterr().err
    assert main(["recordings", str(tmp_path / "no"), "--out", str(tmp_path / "p.parquet")]) == 2


def test_a_flac_whose_name_tells_its_end(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    name = "S20240815T091156.982648+1000_E20240815T091251.967555+1000_-12.34567+78.98102.flac"
    (tmp_path / "in" / name).write_bytes(flac(10))
    row = only(tmp_path / "in")
    assert row["faults"] == "wrong duration" and row["longitude"] == 78.98102
    assert row["datetime"] == datetime(2024, 8, 14, 23, 11, 56, 982648, tzinfo=UTC)


def test_what_is_no_plain_file_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", good=wav(2), short=wav(2, length=10**6), cut=wav(2)[:30])
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    (folder / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / ".hidden.wav").write_bytes(wav(2))
    Path(os.fsdecode(bytes(folder) + b"/\xff.wav")).write_bytes(wav(2))
    (folder / "\x1b[31mred.wav").write_bytes(b"")
    result = earthtone.recordings(folder, tmp_path / "o.parquet")
    assert {row["id"] for row in pq.read_table(result.out).to_pylist()} == {"good.wav", "short.wav"}
    assert counts(result.left_out) == {"not a sound": 3, "name is no UTF-8": 1, "empty file": 1}
    assert counts(result.faults) == {"shorter than the header says": 1}
    assert all(line.isprintable() for line in result.to_text().splitlines())


def test_a_file_that_grows_meanwhile_is_as_long_as_it_was_or_longer(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", a=wav(2, length=0))
    with (folder / "a.wav").open("ab") as file:
        file.write(wav(1)[44:])
        file.flush()
        assert only(folder)["seconds"] == 3.0


def test_a_killed_call_leaves_the_table_of_before(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", **{f"f{n:03d}": wav(0.5) for n in range(40)})
    out = tmp_path / "o.parquet"
    earthtone.recordings(folder, out)
    before = out.read_bytes()
    for after in (5, 30):
        code = f"""
import os, signal, earthtone
from earthtone.build.recordings import recordings
seen, settle = [], recordings.settle
def counted(*given):
    seen.append(1)
    if len(seen) == {after}:
        os.kill(os.getpid(), signal.SIGKILL)
    return settle(*given)
recordings.settle = counted
earthtone.recordings({str(folder)!r}, {str(out)!r})
"""
        assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
        assert out.read_bytes() == before
    write(folder, more=wav(1))
    assert earthtone.recordings(folder, out).rows == 41


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a file's size stands for the disk: what cannot be written is told, and nothing is left."""
    folder = write(tmp_path / "in", **{f"f{n:03d}": wav(0.5) for n in range(20)})
    code = f"""
import resource, signal, sys
from earthtone.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
sys.exit(main(["recordings", {str(folder)!r}, "--out", {str(tmp_path / "out" / "o.parquet")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "cannot write" in done.stderr
    assert not list((tmp_path / "out").iterdir())
