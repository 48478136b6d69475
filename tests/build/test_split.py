"""Splits that do not leak, counted again by plain loops; splits that grow; a look at splits that are there."""

import csv
import json
import math
import random
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from h3 import latlng_to_cell
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import earthtone
from earthtone.build.dealing import cell_numbers, deal_rows, nearest_km
from earthtone.build.options import SplitRowsOptions
from earthtone.build.row_facts import RowFacts, read_rows
from earthtone.cli import main
from earthtone.data.splits import BlockGrid
from earthtone.errors import ConfigError, DataError, NewerFormatError

COLUMNS = ["id", "image", "audio", "longitude", "latitude", "datetime", "recordist", "device", "recording_id", "split"]
Row = dict[str, str]


def made_rows(count: int, seed: int = 0) -> list[Row]:
    """Clusters of places, some across 180 and near a pole; some rows share images, recordings and authors."""
    draw = random.Random(seed)
    centres = [(draw.uniform(-180, 180), draw.uniform(-80, 85)) for _ in range(40)] + [(179.99, 10.0), (20.0, 89.9)]
    rows = []
    for n in range(count):
        east, north = draw.choice(centres)
        east, north = east + draw.gauss(0, 0.3), min(90.0, north + draw.gauss(0, 0.2))
        own = draw.randrange(12)
        rows.append({
            "id": str(1000 + n), "image": f"i/{draw.randrange(n + 1) if n % 25 == 0 else n}.png", "audio": f"a/{n}.wav",
            "longitude": f"{(east + 180) % 360 - 180:.6f}", "latitude": f"{north:.6f}",
            "datetime": f"2024-{1 + n % 12:02d}-{1 + n % 28:02d}T{n % 24:02d}:00:00Z",
            "recordist": f"author {draw.randrange(30)}", "device": f"AM{own}", "split": "",
            "recording_id": f"r{draw.randrange(n + 1)}" if n % 30 == 0 else f"r{n}",
        })  # fmt: skip
    return rows


def write(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return path


def splits_of(folder: Path) -> dict[str, str | None]:
    table = pq.read_table(folder / "split.parquet")
    return dict(zip(table["id"].to_pylist(), table["split"].to_pylist(), strict=True))


def km(a: Row, b: Row) -> float:
    """The haversine formula, as a plain function."""
    east_a, north_a, east_b, north_b = (
        math.radians(float(row[name])) for row in (a, b) for name in ("longitude", "latitude")
    )
    half = math.sin((north_b - north_a) / 2) ** 2
    half += math.cos(north_a) * math.cos(north_b) * math.sin((east_b - east_a) / 2) ** 2
    return 2 * 6371.0 * math.asin(min(1.0, math.sqrt(half)))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return made_rows(600)


@pytest.fixture(scope="module")
def table(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rows") / "rows.csv", rows)


def unit(row: Row, by: str) -> Any:
    east, north = float(row["longitude"]), float(row["latitude"])
    return {
        "random": row["id"], "cells": BlockGrid(10.0).cell(east, north), "h3": latlng_to_cell(north, east, 3),
        "degree": (math.floor(east), math.floor(north)), "author": row["recordist"], "recorder": row["device"],
    }[by]  # fmt: skip


@pytest.mark.parametrize("by", ["random", "cells", "degree", "h3", "author", "recorder"])
def test_units_and_linked_rows_are_never_divided(by: str, rows: list[Row], table: Path, tmp_path: Path) -> None:
    more = {"resolution": 3, "buffer_km": 0.0} if by == "h3" else {}
    if by == "recorder":  # shared recordings join the twelve to one unit, which is refused
        rows = [{**row, "image": f"i/{row['id']}.png", "recording_id": row["id"]} for row in rows]
        table = write(tmp_path / "rows.csv", rows)
    made = earthtone.split(table, tmp_path / "out", by=by, metadata_only=True, seed=3, **more)
    found = splits_of(tmp_path / "out")
    assert made.ok and list(found) == [row["id"] for row in rows] and None not in found.values()
    for key in (lambda row: unit(row, by), lambda row: row["image"], lambda row: row["recording_id"]):
        where = defaultdict(set)
        for row in rows:
            where[key(row)].add(found[row["id"]])
        assert all(len(splits) == 1 for splits in where.values())
    counts = {name: sum(split == name for split in found.values()) for name in ("train", "val", "test")}
    assert made.report.rows == counts
    if by not in ("author", "recorder"):  # few large units, which shared images join to fewer
        assert all(
            abs(counts[name] / 600 - share) < 0.1 for name, share in (("train", 0.7), ("val", 0.1), ("test", 0.2))
        )


def test_the_same_rows_in_another_order_have_the_same_split(rows: list[Row], table: Path, tmp_path: Path) -> None:
    shuffled = write(tmp_path / "other.csv", random.Random(1).sample(rows, len(rows)))
    for name, data, seed in (("a", table, 5), ("b", shuffled, 5), ("c", table, 6)):
        earthtone.split(data, tmp_path / name, by="degree", metadata_only=True, seed=seed)
    first, again, other = (splits_of(tmp_path / name) for name in "abc")
    assert first == again and first != other


@pytest.mark.parametrize("by", ["h3", "region", "cells"])
def test_no_two_rows_of_different_splits_are_within_the_buffer(
    by: str, rows: list[Row], table: Path, tmp_path: Path
) -> None:
    more = {"region": "-20,-40,120,60"} if by == "region" else {}
    made = earthtone.split(table, tmp_path / "out", by=by, metadata_only=True, buffer_km=25, **more)
    found = splits_of(tmp_path / "out")
    kept = [row for row in rows if found[row["id"]] is not None]
    assert 300 < len(kept) < 600 and made.ok
    for at, row in enumerate(kept):
        for other in kept[:at]:
            assert found[row["id"]] == found[other["id"]] or km(row, other) > 25
    if by == "region":
        assert all(
            (found[row["id"]] == "test")
            == (-20 <= float(row["longitude"]) <= 120 and -40 <= float(row["latitude"]) <= 60)
            for row in kept
        )


def test_by_time_train_is_before_val_is_before_test(rows: list[Row], table: Path, tmp_path: Path) -> None:
    made = earthtone.split(table, tmp_path / "shares", by="time", metadata_only=True)
    earthtone.split(
        table, tmp_path / "days", by="time", metadata_only=True, val_from="2024-06-01", test_from="2024-10-01"
    )
    for folder in ("shares", "days"):
        found = splits_of(tmp_path / folder)
        days = {
            name: [row["datetime"] for row in rows if found[row["id"]] == name] for name in ("train", "val", "test")
        }
        assert max(days["train"])[:10] < min(days["val"])[:10] <= max(days["val"])[:10] < min(days["test"])[:10]
    assert min(days["val"]) >= "2024-06-01" and min(days["test"]) >= "2024-10-01"
    assert abs(made.report.rows["train"] / 600 - 0.7) < 0.05


def test_key_digit_is_the_published_rule_but_for_linked_rows(rows: list[Row], table: Path, tmp_path: Path) -> None:
    earthtone.split(table, tmp_path / "out", by="key-digit", metadata_only=True)
    rule = {"2": "test", "5": "test", "7": "val"}
    for row in rows:
        assert splits_of(tmp_path / "out")[row["id"]] in (rule.get(row["id"][-1], "train"), None)
        break
    found = splits_of(tmp_path / "out")
    wrong = [row for row in rows if found[row["id"]] not in (rule.get(row["id"][-1], "train"), None)]
    assert not wrong and sum(split is None for split in found.values()) < 60


def test_cells_are_those_of_the_grid() -> None:
    draw = np.random.default_rng(0)
    east, north = draw.uniform(-180, 180, 500), draw.uniform(-90, 90, 500)
    east[:4], north[:4] = (-180, 180, 0, 0), (0, 0, -90, 90)
    grid = BlockGrid(10.0)
    told = [band * 2**32 + bin_ for band, bin_ in (grid.cell(*place) for place in zip(east, north, strict=True))]
    assert cell_numbers(east, north, 10.0).tolist() == told


def test_distances_are_those_of_a_plain_loop(rows: list[Row], table: Path, tmp_path: Path) -> None:
    made = earthtone.split(table, tmp_path / "out", by="random", metadata_only=True)
    found = splits_of(tmp_path / "out")
    train = [row for row in rows if found[row["id"]] == "train"]
    for told in made.report.distances:
        nearest = [min(km(row, other) for other in train) for row in rows if found[row["id"]] == told.split]
        quantiles = [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]
        assert list(told.km.values()) == pytest.approx(np.quantile(nearest, quantiles).tolist(), abs=1e-6)
        assert told.within["10"] == sum(one <= 10 for one in nearest)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=2, max_size=12))
def test_nearest_places_anywhere(tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, float]]) -> None:
    rows = [{"id": str(n), "longitude": repr(east), "latitude": repr(north)} for n, (east, north) in enumerate(places)]
    facts = read_rows(write(tmp_path_factory.mktemp("places") / "p.csv", rows), metadata_only=True)
    ones, others = np.arange(1), np.arange(1, len(rows))
    found, _ = nearest_km(facts, ones, others)
    assert found[0] == pytest.approx(min(km(rows[0], other) for other in rows[1:]), abs=1e-5)


def test_what_stood_is_not_moved(rows: list[Row], tmp_path: Path) -> None:
    old = write(tmp_path / "old.csv", rows[:500])
    earthtone.split(old, tmp_path / "first", by="h3", metadata_only=True)
    before = splits_of(tmp_path / "first")
    train, test = (next(id for id, split in before.items() if split == name) for name in ("train", "test"))
    of = {row["id"]: row for row in rows}
    linking = {**of["1550"], "id": "7", "image": of[train]["image"], "recording_id": of[test]["recording_id"]}
    follows = {**of["1551"], "id": "8", "longitude": "", "latitude": "", "recording_id": of[test]["recording_id"]}
    grown = write(tmp_path / "grown.csv", [*rows, linking, follows])
    made = earthtone.split(grown, tmp_path / "second", by="h3", metadata_only=True, keep=tmp_path / "first")
    after = splits_of(tmp_path / "second")
    assert {id: after[id] for id in before} == before and made.ok
    assert after["7"] is None  # it links rows of two splits
    assert after["8"] is None  # of no place: it may lie within the buffer
    assert {split for id, split in after.items() if id not in before} >= {"train", "test"}
    for row in rows[500:]:  # new rows too are beyond the buffer of all others
        for other in rows:
            one, two = after[row["id"]], after[other["id"]]
            assert one is None or two is None or one == two or km(row, other) > 1
    with pytest.raises(ConfigError, match=r"--seed 4: .* was made with 0"):
        earthtone.split(grown, tmp_path / "third", by="h3", metadata_only=True, keep=tmp_path / "first", seed=4)


def small_facts(keys: list[tuple[int, int, int]]) -> RowFacts:
    """Rows of (image, recording, author), -1 for none, at the places of a line."""
    image, recording, author = np.array(keys, np.int64).reshape(-1, 3).T
    count = len(keys)
    return RowFacts(
        path="t", ids=[], id_numbers=np.arange(count, dtype=np.uint64), digits=np.arange(count) % 10,
        longitude=np.arange(count) * 0.1, latitude=np.zeros(count), seconds_utc=np.arange(count) * 86_400,
        splits=np.full(count, 3, np.uint8), links={"image": image, "recording": recording}, who={"author": author},
        who_columns={"author": "author"}, problems={}, problem_examples=(), words={}, audio_seconds=np.empty(0),
    )  # fmt: skip


KEYS = st.lists(st.tuples(*[st.integers(-1, 6)] * 3), min_size=1, max_size=25)


@settings(max_examples=80, deadline=None)
@given(KEYS, st.sampled_from(["random", "author", "degree", "time", "key-digit"]), st.data())
def test_whatever_rows_share_new_ones_never_divide_it(keys: list[tuple[int, int, int]], by: Any, data: Any) -> None:
    if by == "author" and all(author < 0 for *_, author in keys):
        return
    facts = small_facts(keys)
    stood = np.array(data.draw(st.lists(st.booleans(), min_size=len(keys), max_size=len(keys))))
    fixed = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(keys), max_size=len(keys))), np.uint8)
    fixed = np.where(stood, fixed, 3).astype(np.uint8)
    options = SplitRowsOptions("t", by=by, buffer_km=data.draw(st.sampled_from([0.0, 30.0])))
    codes = deal_rows(facts, options, fixed, stood).codes
    assert (codes[stood] == fixed[stood]).all()
    for key in facts.links.values():
        for value in set(key[key >= 0].tolist()):
            rows = (key == value) & (codes != 3)
            old, new = set(codes[rows & stood].tolist()), set(codes[rows & ~stood].tolist())
            assert len(new) <= 1 and (not old or not new or new <= old)
            assert not new or len(old) <= 1  # what stood on both sides takes no new rows
    if options.buffer_km:
        for one in np.flatnonzero(~stood & (codes != 3)):
            near = np.abs(np.arange(len(keys)) - one) <= 2  # 11 km apart
            assert set(codes[near & (codes != 3)].tolist()) == {codes[one]}


def test_a_new_row_goes_with_what_it_shares(rows: list[Row], tmp_path: Path) -> None:
    old = write(tmp_path / "old.csv", rows[:300])
    earthtone.split(old, tmp_path / "first", by="author", metadata_only=True)
    grown = write(tmp_path / "grown.csv", rows[:420])
    made = earthtone.split(grown, tmp_path / "second", by="author", metadata_only=True, keep=tmp_path / "first")
    after = splits_of(tmp_path / "second")
    assert made.ok and {id: after[id] for id in splits_of(tmp_path / "first")} == splits_of(tmp_path / "first")
    assert after.keys() == {row["id"] for row in rows[:420]}


def test_identical_files_under_other_names_are_kept_together(tiny_pairs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_pairs.parent, tmp_path / "pairs")
    rows = list(csv.DictReader((folder / "manifest.csv").open(newline="")))
    for n in range(0, 12, 2):
        shutil.copy(folder / f"{n}.wav", folder / f"{n + 1}.wav")
    result = earthtone.split(folder / "manifest.csv", tmp_path / "out", by="random")
    found = splits_of(tmp_path / "out")
    assert all(found[f"pair-{n}"] == found[f"pair-{n + 1}"] for n in range(0, 12, 2))
    assert result.ok and any("12 rows share" in line for line in result.report.remarks)
    leaks = earthtone.check_split(folder / "manifest.csv")  # the splits of the data itself put copies apart
    places = [(row["split"], rows[at + 1]["split"]) for at, row in enumerate(rows[:12]) if at % 2 == 0]
    assert not leaks.ok
    [recording] = [one for one in leaks.shared if one.what == "recording"]
    assert recording.values == sum(one != two for one, two in places)


def test_pack_takes_the_split_and_the_table_can_be_looked_at(
    tiny_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, packed = tmp_path / "out", tmp_path / "t.lance"
    assert main(["split", str(tiny_pairs), "--by", "random", "--seed", "1", "--out", str(out)]) == 0
    assert f"--split_by {out}" in capsys.readouterr().out
    assert main(["pack", str(tiny_pairs), "--out", str(packed), "--split_by", str(out), "--recipe", "small"]) == 0
    from earthtone.data.packed import Table

    table = Table(packed)
    assert dict(zip(table.column("id"), table.column("split"), strict=True)) == splits_of(out)
    assert table.split["by"] == "file" and table.split["made"]["by"] == "random"
    looked = earthtone.check_split(packed, out=tmp_path / "report")
    assert looked.ok and looked.rows["train"] == len(table.rows_of("train"))
    page = (tmp_path / "report" / "split.html").read_text()
    assert (
        page.count("data:image/png;base64,") == 2 and "<script" not in page and "http" not in page.split("</style>")[1]
    )
    assert json.loads((tmp_path / "report" / "split.json").read_text())["ok"] is True


def test_a_packed_table_grows_with_its_split(
    tmp_path: Path, write_pairs: Any, tiny_signal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_pairs(tmp_path / "pairs", 12)
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:9]))
    first, second, other, packed = (tmp_path / name for name in ("split", "split-2", "other", "t.lance"))
    earthtone.split(manifest, first, by="random")
    earthtone.pack(manifest, packed, split_by=str(first), signal=tiny_signal)
    manifest.write_text("".join(lines))
    Image.open(manifest.parent / "0.png").save(manifest.parent / "11.bmp")  # the same pixels in other bytes
    manifest.write_text(manifest.read_text().replace("11.png", "11.bmp"))
    earthtone.split(manifest, second, by="random", keep=first)
    earthtone.split(manifest, other, by="random", seed=8)
    with pytest.raises(DataError, match="split both alike"):
        earthtone.pack(manifest, packed, split_by=str(other), signal=tiny_signal)
    result = earthtone.pack(manifest, packed, split_by=str(second), signal=tiny_signal)
    from earthtone.data.packed import Table

    table = Table(packed)
    told = dict(zip(table.column("id"), table.column("split"), strict=True))
    wanted = splits_of(second)
    assert result.added == 4 and {id: told[id] for id in told if id != "pair-11"} == {
        id: wanted[id] for id in wanted if id != "pair-11"
    }
    assert told["pair-11"] in (None, wanted["pair-0"]) and earthtone.check_split(packed).ok
    assert "as earthtone split dealt them out" in result.to_text()
    manifest.write_text(lines[0] + "".join(lines[10:]))
    with pytest.raises(DataError, match="none of its rows is in"):
        earthtone.split(manifest, tmp_path / "third", by="random", keep=first)


def test_check_finds_leaks_and_exits_with_1(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaking = [{**row, "split": ("train", "test")[n % 2]} for n, row in enumerate(rows[:40])]
    leaking[1]["recording_id"] = leaking[0]["recording_id"]
    table = write(tmp_path / "rows.csv", leaking)
    assert main(["split", str(table), "--check", "--metadata_only", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    shared = next(one for one in told["shared"] if one["what"] == "recording_id")
    known = defaultdict(set)
    for row in leaking:
        known[row["recording_id"]].add(row["split"])
    assert shared["values"] == sum(len(splits) == 2 for splits in known.values())
    assert shared["examples"][0] == f"{leaking[1]['id']} = {leaking[0]['id']}"
    authors = [{row["recordist"] for row in leaking if row["split"] == name} for name in ("train", "test")]
    assert next(one for one in told["shared"] if one["what"] == "author")["values"] == len(authors[0] & authors[1])
    text = main(["split", str(table), "--check", "--metadata_only"]), capsys.readouterr().out
    assert text[0] == 1 and "  leak: " in text[1] and "val has no row" in text[1]


def test_a_split_that_would_be_empty_is_an_error(rows: list[Row], tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", [{**row, "recordist": "A. Single"} for row in rows[:30]])
    with pytest.raises(DataError, match=r"no row is left for .* by author: there is 1 unit .* choose another --by"):
        earthtone.split(one, tmp_path / "out", by="author", metadata_only=True)
    assert not (tmp_path / "out").exists()
    alone = earthtone.split(one, tmp_path / "out", by="author", metadata_only=True, shares=(1.0, 0.0, 0.0))
    assert alone.report.rows == {"train": 30, "val": 0, "test": 0}
    few = [{**row, "recordist": f"author {min(n, 2)}", "recording_id": "", "image": f"{n}"}
           for n, row in enumerate(rows[:30])]  # fmt: skip
    three = earthtone.split(write(tmp_path / "few.csv", few), tmp_path / "few", by="author", metadata_only=True)
    assert sorted(three.report.rows.values()) == [1, 1, 28]


def test_the_verdict_says_what_was_judged_and_neighbours_are_told(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "rows.csv", rows[:80])
    assert main(["split", str(table), "--metadata_only", "--by", "random", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "judged: shared image, shared recording, shared recording_id)" in said
    assert f"next: earthtone pack {table} --split_by {tmp_path / 'out'}" in said
    beside = [{**row, "split": "train"} for row in rows[:20]]
    beside += [{**row, "id": f"9{row['id']}", "split": "test", "image": "", "audio": "", "recording_id": ""}
               for row in rows[:3]]  # fmt: skip
    looked = earthtone.check_split(write(tmp_path / "beside.csv", beside), metadata_only=True)
    assert any(line.startswith("3 of 3 rows of test with a place are within 1 km") for line in looked.remarks)
    sounds = tmp_path / "sounds.csv"
    sounds.write_text("id,audio,longitude,latitude\n" + "".join(f"{n},{n}.wav,{n},{n}\n" for n in range(30)))
    assert main(["split", str(sounds), "--metadata_only", "--out", str(tmp_path / "sounds")]) == 0
    assert "next:" not in capsys.readouterr().out  # pack takes pairs
    with pytest.raises(DataError, match=r"sounds alone is embedded: earthtone embed .*--places"):
        earthtone.pack(sounds, tmp_path / "t.lance")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "cells"], "--out is missing"),
        (["--by", "celsl", "--out", "o"], "celsl"),
        (["--by", "random", "--resolution", "5", "--out", "o"], "--resolution has no effect with --by random"),
        (["--by", "region", "--out", "o"], "needs --region"),
        (["--by", "region", "--region", "0,-90,0.001,-89.999", "--out", "o"], "no row lies in --region"),
        (["--by", "author", "--column", "recordits", "--out", "o"], "did you mean recordist"),
        (["--by", "time", "--val_from", "2024-02-30", "--test_from", "2024-03-01", "--out", "o"], "a day such as"),
        (["--by", "time", "--val_from", "2024-02-01", "--out", "o"], "go together"),
        (["--shares", "0.7,0.1,0.1", "--out", "o"], "that sum to 1"),
        (["--keep", "nowhere.parquet", "--out", "o"], "No such file"),
        (["--check", "--by", "h3"], "--by has no effect with --check"),
        (["--check"], "no row is in a split"),
        (["--by", "cells", "--cell_km", "-1", "--out", "o"], "a number above 0"),
        (["--by", "cells", "--cell_km", "1e9", "--out", "o"], "10000 expected"),
    ],
)
def test_wrong_options(
    words: list[str], said: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["split", str(table), "--metadata_only", *words]) == 2
    told = capsys.readouterr().err
    assert said in told.splitlines()[-1] and "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_strange_files_of_splits(rows: list[Row], table: Path, tmp_path: Path) -> None:
    def kept(text: str) -> str:
        (tmp_path / "kept.csv").write_text(text)
        with pytest.raises(DataError) as caught:
            earthtone.check_split(table, split=tmp_path / "kept.csv", metadata_only=True)
        return str(caught.value)

    assert "no column split" in kept("id,part\n1,a\n")
    assert "occurred before" in kept("id,split\n1000,train\n1000,test\n")
    assert "split 'maybe'" in kept("id,split\n1000,maybe\n")
    assert "none of its 1 ids" in kept("id,split\nother,train\n")
    earthtone.split(table, tmp_path / "out", by="random", metadata_only=True)
    file = tmp_path / "out" / "split.parquet"
    good = pq.read_table(file)
    for card, error in ((b'{"format": 99}', NewerFormatError), (b"[]", DataError), (b"{", DataError)):
        pq.write_table(good.replace_schema_metadata({b"earthtone": card}), file)
        with pytest.raises(error):
            earthtone.check_split(table, split=tmp_path / "out", metadata_only=True)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError):
        earthtone.check_split(table, split=tmp_path / "out", metadata_only=True)
    with pytest.raises(ConfigError, match="not empty"):
        earthtone.split(table, tmp_path / "out", by="random", metadata_only=True)


def test_a_row_that_lacks_its_recording_shifts_no_other(lacking_one: Path) -> None:
    facts = read_rows(lacking_one)
    assert len(facts) == 8 == len(facts.links["recording"]) == len(facts.links["image"])
    recording = facts.links["recording"]
    assert recording[3] < 0 and recording[6] == recording[7] >= 0
    earthtone.split(lacking_one, lacking_one.parent / "split", by="random", shares=(0.6, 0.4, 0.0))
    splits = splits_of(lacking_one.parent / "split")
    assert splits["pair-6"] == splits["pair-7"] and len(splits) == 8
