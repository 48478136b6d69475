"""What `earthtone describe` tells, counted again by plain loops; its data card read by another library."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

import earthtone
from earthtone.build.croissant import _distribution
from earthtone.build.licences import licence_of
from earthtone.cli import main

LICENCES = ("cc-by 4.0", "https://creativecommons.org/licenses/by-nc/3.0/", "CC0", "", "ask us")


@pytest.fixture(scope="module")
def manifest(tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pairs with licences, authors, times and sources; two rows are of one recording, one is broken."""
    folder = shutil.copytree(tiny_pairs.parent, tmp_path_factory.mktemp("described") / "pairs")
    rows = list(csv.DictReader(tiny_pairs.open(newline="")))
    for n, row in enumerate(rows):
        row |= {"license": LICENCES[n % 5], "attribution": ("A", "=B()", "")[n % 3], "source": ("one", "two")[n % 2]}
        row |= {"datetime": f"20{22 + n % 3}-{1 + n % 12:02d}-03T{n % 24:02d}:30:00+02:00" if n % 4 else ""}
        row |= {"longitude": "", "latitude": ""} if n == 5 else {}
    shutil.copy(folder / "1.wav", folder / "7.wav")
    rows[23]["image"] = "lost.png"
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return folder / "manifest.csv"


def test_counts_are_those_of_a_plain_loop(manifest: Path) -> None:
    found = earthtone.describe(manifest)
    rows = list(csv.DictReader(manifest.open(newline="")))[:23]
    seconds = [soundfile.info(manifest.parent / row["audio"]).duration for row in rows]
    assert found.rows == 23 and found.problems == {"missing image": 1}
    assert found.hours == pytest.approx(sum(seconds) / 3600) and found.without_length == 0
    assert found.splits == dict(Counter(row["split"] for row in rows))
    assert (found.images, found.recordings) == (23, 22)
    assert found.places == len({(row["longitude"], row["latitude"]) for row in rows if row["latitude"]})
    assert found.without_place == 1 and found.without_time == sum(not row["datetime"] for row in rows)
    hours = Counter((int(row["datetime"][11:13]) - 2) % 24 for row in rows if row["datetime"])
    assert found.by_hour_utc == [hours[hour] for hour in range(24)]
    assert found.by_year == dict(sorted(Counter(row["datetime"][:4] for row in rows if row["datetime"]).items()))
    assert sum(found.by_length.values()) == 23 and found.by_length["up to 3 s"] == sum(1 < s <= 3 for s in seconds)
    told = {one.name: (one.rows, one.hours) for one in found.licences}
    for id in {licence_of(row["license"]).id for row in rows}:
        own = [n for n, row in enumerate(rows) if licence_of(row["license"]).id == id]
        assert told[id] == (len(own), pytest.approx(sum(seconds[n] for n in own) / 3600))
    assert {one.name: one.rows for one in found.sources} == Counter(row["source"] for row in rows)
    assert found.whole is None and "unknown" in found.whole_why and found.authors == 2
    south, north = min(float(row["latitude"] or 99) for row in rows), max(float(row["latitude"] or -99) for row in rows)
    assert (found.box[1], found.box[3]) == (south, north)


def test_a_box_across_180(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,longitude,latitude\na,179,1\nb,-178,2\nc,179.5,3\n")
    found = earthtone.describe(tmp_path / "t.csv", metadata_only=True)
    assert found.box == [179.0, 1.0, -178.0, 3.0] and found.without_length == 3 and found.first is None


def test_what_is_written(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "card"
    assert main(["describe", str(manifest), "--out", str(out), "--title", "<b>Ponds</b>", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "describe.json").read_text())
    page = (out / "describe.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "<b>Ponds" not in page and "<script" not in page
    assert (out / "README.md").read_text().startswith("# \\<b\\>Ponds")
    credit = pq.read_table(out / "credits.parquet").to_pylist()
    rows = list(csv.DictReader(manifest.open(newline="")))[:23]
    assert [one["id"] for one in credit] == [row["id"] for row in rows]
    assert credit[0]["credit"] == "pair-0, A, CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/), one"
    assert [one["license"] for one in credit] == [licence_of(row["license"]).id for row in rows]
    counted = [int(line.split()[0]) for line in (out / "credits.txt").read_text().splitlines()]
    assert sum(counted) == 23 and len(counted) == len(
        {(r["license"] or "-", r["attribution"], r["source"]) for r in rows}
    )
    assert main(["describe", str(manifest), "--out", str(out)]) == 2  # nothing is overwritten
    assert "not empty" in capsys.readouterr().err


def test_a_packed_table_and_sounds_alone(tiny_table: Path, manifest: Path, tmp_path: Path) -> None:
    packed = earthtone.describe(tiny_table)
    assert packed.rows == 24 and packed.images == packed.recordings == 24 and packed.splits["train"] == 16
    alone = manifest.with_name("sounds.csv")
    alone.write_text(manifest.read_text().replace("image,", "picture,", 1))
    found = earthtone.describe(alone)
    assert found.rows == 24 and found.images is None and found.recordings == 23
    assert found.hours == pytest.approx(packed.hours, rel=0.2)


@pytest.mark.extras
def test_the_data_card_is_valid_and_its_records_can_be_read(manifest: Path, tiny_table: Path, tmp_path: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    earthtone.describe(manifest, tmp_path / "card", url="https://example.org/ponds")
    shutil.copy(manifest, tmp_path / "card")
    card = croissant.Dataset(jsonld=tmp_path / "card" / "croissant.json")
    assert not card.metadata.ctx.issues.errors
    ids = [f"pair-{n}".encode() for n in range(24)]
    assert [record["rows/id"] for record in card.records("rows")] == ids
    assert [record["credits/id"] for record in card.records("credits")] == ids[:23]
    earthtone.describe(tiny_table, tmp_path / "packed")
    assert not croissant.Dataset(jsonld=tmp_path / "packed" / "croissant.json").metadata.ctx.issues.errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "does not exist"), (["empty.csv", "--metadata_only"], "no row can be used"),
        (["empty.csv", "--url", "https://x.example"], "--url has no effect without --out"),
    ],
)  # fmt: skip
def test_wrong_input(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").write_text("id,image,audio\n")
    assert main(["describe", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_card_of_the_hub_names_its_repository() -> None:
    [repository, files], columns = _distribution("hf://datasets/owner/name@main/data")
    assert repository["contentUrl"] == "https://huggingface.co/datasets/owner/name" and columns == []
    assert files["containedIn"] == {"@id": "repository"}
