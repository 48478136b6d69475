"""What `earthtone publish` writes, opened as others open it; what licences and coarsened places keep out."""

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import earthtone
from earthtone.build import publish as publishing
from earthtone.build.publish import coarsened, flac_of
from earthtone.build.row_facts import tells_place
from earthtone.cli import main
from earthtone.data.pair import Pair
from earthtone.data.source import open_source
from earthtone.errors import DataError
from earthtone.geo import great_circle_km
from earthtone.signal.excerpt import Excerpt

LICENCES = ("CC BY 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", "CC0", "", "cc-by-nd-4.0")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture(scope="module")
def manifest(tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny pairs with licences, an author, a column of paths of this machine; the last row lacks its picture."""
    folder = shutil.copytree(tiny_pairs.parent, tmp_path_factory.mktemp("published") / "pairs")
    rows = list(csv.DictReader(tiny_pairs.open(newline="")))
    for n, row in enumerate(rows):
        row |= {
            "license": LICENCES[n % 5],
            "attribution": ("A", "=B()", "")[n % 3],
            "taken_from": str(folder / "x.csv"),
        }
        row |= {"longitude": f"{12.34567 + n / 50:.5f}", "latitude": f"{45.67891 - n / 50:.5f}", "west": f"{n}"}
    rows[23]["image"] = "lost.png"
    return write(folder / "manifest.csv", rows)


@pytest.fixture(scope="module")
def published(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "upload"
    result = earthtone.publish(manifest, out, title="Ponds: a --- test")
    assert result.refused == {"licence unknown, or without rights": 4} and result.problems == {"missing image": 1}
    assert result.whole is None and "no-derivatives" not in result.to_text() and result.rows == 19
    return out


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((folder / "data").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_rows_are_those_of_the_data_and_media_are_the_files(manifest: Path, published: Path) -> None:
    told = {row["id"]: row for row in csv.DictReader(manifest.open(newline=""))}
    rows = rows_of(published)
    assert len(rows) == 19 and {path.name for path in published.iterdir()} == {
        "data", "README.md", "croissant.json", "credits.txt", "describe.html", "metadata.geoparquet",
    }  # fmt: skip
    for row in rows:
        own = told[row["id"]]
        assert row["image"]["bytes"] == (manifest.parent / own["image"]).read_bytes()
        assert row["audio"]["bytes"] == (manifest.parent / own["audio"]).read_bytes()
        assert row["audio"]["path"] == f"{row['id']}.wav" and row["split"] == own["split"]
        assert (row["longitude"], row["latitude"]) == (float(own["longitude"]), float(own["latitude"]))
        assert row["taken_from"] == "x.csv" and row["license"] in row["credit"] and row["license_url"] in row["credit"]
    for path in published.rglob("*"):
        assert path.is_dir() or str(manifest.parent).encode() not in path.read_bytes()
    names = {path.name.partition("-")[0] for path in (published / "data").iterdir()}
    assert names <= {"train", "validation", "test"}


def test_what_others_look_for_is_there(published: Path) -> None:
    path = next((published / "data").glob("train-*"))
    said = json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]
    assert said["image"] == {"_type": "Image"} and said["audio"] == {"_type": "Audio"}
    assert said["longitude"] == {"dtype": "float64", "_type": "Value"}
    front = yaml.safe_load((published / "README.md").read_text().split("---\n")[1])
    assert front["license"] == "other" and front["pretty_name"] == "Ponds: a --- test"
    assert {"split": "validation", "path": "data/validation-*.parquet"} in front["configs"][0]["data_files"]
    places = pq.read_table(published / "metadata.geoparquet")
    geo = json.loads(places.schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["columns"]["geometry"]["geometry_types"] == ["Point"]
    assert np.frombuffer(places["geometry"][0].as_py()[5:], "<f8").tolist() == [
        places["longitude"][0].as_py(), places["latitude"][0].as_py(),
    ]  # fmt: skip
    assert "image" not in places.schema.names and len(places) == 19


def test_earthtone_reads_it_again(published: Path, manifest: Path) -> None:
    again = [item for item in open_source(published / "data") if isinstance(item, Pair)]
    before = {item.id: item for item in open_source(manifest) if isinstance(item, Pair)}
    assert len(again) == 19
    for pair in again:
        own = before[pair.id]
        assert (pair.split, pair.longitude, pair.datetime) == (own.split, own.longitude, own.datetime)
        assert isinstance(own.image, Path) and pair.image == own.image.read_bytes()


def test_parts_of_recordings_are_cut_but_not_without_derivatives(manifest: Path, tmp_path: Path) -> None:
    rows = [
        {"id": f"{n}", "audio": "0.wav", "license": ("CC0", "cc-by-nd-4.0")[n], "start_s": 0.5, "end_s": 0.9}
        for n in range(2)
    ]
    out = tmp_path / "parts"
    table = write(manifest.parent / "parts.csv", rows)
    result = earthtone.publish(table, out)
    assert result.refused == {"licence forbids what is cut or re-encoded": 1} and result.splits == {"train": 1}
    assert result.whole == "CC0-1.0"
    [row] = rows_of(out)
    heard, hz = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")
    whole, _ = soundfile.read(manifest.parent / "0.wav", dtype="int16")
    np.testing.assert_array_equal(heard, whole[round(0.5 * hz) : round(0.9 * hz)])
    assert row["audio"]["path"] == "0.flac" and row["seconds"] == pytest.approx(0.4)
    assert (
        row["source_start_s"] == "0.5"
        and yaml.safe_load((out / "README.md").read_text().split("---\n")[1])["license"] == "cc0-1.0"
    )


def test_coarsened_places_are_nowhere_to_be_read(manifest: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(manifest.open(newline="")))[:5]
    exif = Image.Exif()
    exif[270] = "12.34567"
    Image.open(manifest.parent / "0.png").convert("RGB").save(manifest.parent / "tagged.jpg", exif=exif)
    rows[0] |= {"image": "tagged.jpg"}
    rows[1] |= {"id": f"rec_{rows[1]['latitude']}"}
    rows[2] |= {"taken_from": f"near {rows[2]['longitude']}"}
    out = tmp_path / "coarse"
    result = earthtone.publish(write(manifest.parent / "coarse.csv", rows), out, coarsen_km=20)
    assert result.refused == {
        "its id tells its place": 1, "licence unknown, or without rights": 1,
        "licence forbids what is cut or re-encoded": 1,
    }  # fmt: skip
    assert result.remarks == ["columns left out, since they tell places: west"]
    there = {row["id"]: row for row in rows_of(out)}
    for row in rows:
        for path in out.rglob("*"):
            assert path.is_dir() or (row["longitude"].encode() not in path.read_bytes())
        if found := there.get(row["id"]):
            far = great_circle_km(
                found["longitude"], found["latitude"], float(row["longitude"]), float(row["latitude"])
            )
            assert 0 < far < 15
    assert there["pair-2"]["taken_from"] is None and there["pair-0"]["image"]["path"] == "pair-0.png"


@given(st.floats(-180, 180), st.floats(-90, 90), st.floats(0.1, 1000))
def test_cells_are_near_and_their_middle_is_its_own(longitude: float, latitude: float, km: float) -> None:
    east, north = coarsened(longitude, latitude, km)
    assert -180 <= east <= 180 and -90 <= north <= 90
    assert float(great_circle_km(longitude, latitude, east, north)) < km * 1.6 + 0.01
    assert coarsened(east, north, km) == pytest.approx((east, north), abs=2e-6)


def test_sounds_of_24_bits_stay_as_they_are(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**23), 2**23, (4000, 2)).astype(np.int32) << 8
    samples[:2] = (-(2**31), 2**31 - 256)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="PCM_24")
    heard, _ = soundfile.read(io.BytesIO(flac_of(Excerpt(tmp_path / "a.wav", 0.0, 0.2))), dtype="int32")
    np.testing.assert_array_equal(heard, samples[:3200])


@pytest.mark.slow
def test_a_table_publishes_no_other_file_of_the_machine(manifest: Path, tmp_path: Path) -> None:
    """A text that is called a picture, an absolute path, one with .. and a link: refused, and told."""
    folder = shutil.copytree(manifest.parent, tmp_path / "own")
    rows = [{"id": f"{n}", "image": f"{n}.png", "license": "CC0"} for n in range(5)]
    (folder / "1.png").write_text("key: secret")
    rows[2]["image"] = str(manifest.parent / "2.png")
    shutil.copy(folder / "3.png", tmp_path / "3.png")
    rows[3]["image"] = "../3.png"
    (folder / "4.png").unlink()
    (folder / "4.png").symlink_to(tmp_path / "3.png")
    table = write(folder / "foreign.csv", rows)
    result = earthtone.publish(table, tmp_path / "a")
    assert result.rows == 1 and result.refused == {publishing.UNREADABLE: 1, publishing.OUTSIDE: 3}
    assert earthtone.publish(table, tmp_path / "b", outside=True).refused == {publishing.UNREADABLE: 1}


@pytest.mark.parametrize("name", ["mgrs", "easting_m", "place_guess", "crs", "West", "cell"])
def test_columns_that_tell_places(name: str) -> None:
    assert tells_place(name)
    assert not tells_place("species")


def test_a_stopped_call_goes_on(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, made = tmp_path / "upload", list[str]()
    once = tmp_path / "once"
    monkeypatch.setattr(publishing, "_GROUP_ROWS", 2)
    small: dict[str, Any] = {"shard_mb": 1, "title": "t"}
    monkeypatch.setattr(publishing, "_MEGABYTE", 200_000)
    earthtone.publish(manifest, once, **small)
    real = publishing._Rows.row

    def row(self: Any, pair: Pair) -> Any:
        made.append(pair.id)
        if len(made) == 17:
            raise KeyboardInterrupt
        return real(self, pair)

    with monkeypatch.context() as patch:
        patch.setattr(publishing._Rows, "row", row)
        with pytest.raises(KeyboardInterrupt):
            earthtone.publish(manifest, out, **small)
        assert not out.exists()
        work = tmp_path / ".upload.publishing"
        whole = [path for path in (work / "data").iterdir() if path.suffix == ".parquet"]
        assert whole and all(pq.read_metadata(path).num_rows for path in whole)
        with pytest.raises(DataError, match="begun with other options"):
            earthtone.publish(manifest, out, **small, license="CC0")
        before = len(made)
        result = earthtone.publish(manifest, out, **small)
        assert len(made) - before < 23  # what was done is not done again
    assert rows_of(out) == rows_of(once) and not work.exists()
    assert result.refused == {"licence unknown, or without rights": 4}
    assert sorted(path.name for path in (out / "data").iterdir()) == sorted(p.name for p in (once / "data").iterdir())


def test_a_stopped_call_goes_on_past_a_row_that_lacks_its_recording(
    lacking_one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [file] = lacking_one.iterdir()
    rows = pq.read_table(file).to_pylist()
    splits = ("train", "val", "test", "val", None, "train", "val", "test")  # after one row of each it is stopped
    table = pa.Table.from_pylist([{**row, "split": split} for row, split in zip(rows, splits, strict=True)])
    pq.write_table(table, file, row_group_size=2)
    monkeypatch.setattr(publishing, "_MEGABYTE", 1)

    def stop(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publishing, "_finished", stop)
        earthtone.publish(lacking_one, tmp_path / "out")
    result = earthtone.publish(lacking_one, tmp_path / "out")
    assert result.rows == 7 and result.problems == {"missing audio": 1}


def test_changed_data_are_refused(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(manifest.parent, tmp_path / "pairs")
    monkeypatch.setattr(publishing, "_MEGABYTE", 200_000)

    def stop(*_: object) -> Iterator[None]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publishing, "_finished", stop)
        earthtone.publish(folder / "manifest.csv", tmp_path / "out")
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("pair-0,", "pair-zero,"))
    with pytest.raises(DataError, match=r"is not what .* was begun with"):
        earthtone.publish(folder / "manifest.csv", tmp_path / "out")


def test_wrong_input(manifest: Path, tiny_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ([str(tiny_table), "--out", str(tmp_path / "a")], "packed table"),
        ([str(manifest), "--out", str(manifest.parent)], "exists and is not empty"),
        ([str(manifest), "--out", str(tmp_path / "a"), "--license", "ask me"], "a licence such as CC-BY-4.0"),
        ([str(manifest), "--out", str(tmp_path / "a"), "--coarsen_km", "0"], "from 0.1 to 1000"),
    ):
        assert main(["publish", *words]) == 2 and said in capsys.readouterr().err
    unknown = write(manifest.parent / "unknown.csv", [{"id": "1", "audio": "0.wav", "image": "0.png"}])
    with pytest.raises(DataError, match=r"no row can be published \(1: licence unknown.*--license"):
        earthtone.publish(unknown, tmp_path / "b")
    assert main(["publish", str(unknown), "--out", str(tmp_path / "c"), "--license", "CC0"]) == 0
    assert "as a whole: CC0-1.0" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.extras
def test_datasets_duckdb_geopandas_and_croissant_open_it(published: Path, manifest: Path) -> None:
    datasets = pytest.importorskip("datasets")
    sets = datasets.load_dataset(str(published), cache_dir=str(published.parent / "cache"))
    rows = rows_of(published)
    assert sum(len(each) for each in sets.values()) == 19 and set(sets) <= {"train", "validation", "test"}
    train = sets["train"].cast_column("audio", datasets.Audio(decode=False))
    first = next(row for row in rows if row["id"] == train[0]["id"])
    assert isinstance(sets["train"].features["audio"], datasets.Audio)
    assert train[0]["image"].size == Image.open(io.BytesIO(first["image"]["bytes"])).size
    assert train[0]["audio"]["bytes"] == first["audio"]["bytes"] and train[0]["credit"] == first["credit"]
    duckdb = pytest.importorskip("duckdb")
    counted = duckdb.sql(f"SELECT count(*), min(longitude) FROM '{published}/data/*.parquet'").fetchone()  # noqa: S608
    assert counted == (19, min(row["longitude"] for row in rows))
    geopandas = pytest.importorskip("geopandas")
    places = geopandas.read_parquet(published / "metadata.geoparquet")
    assert places.crs.to_authority() == ("OGC", "CRS84") and (places.geometry.x == places.longitude).all()
    croissant = pytest.importorskip("mlcroissant")
    card = croissant.Dataset(jsonld=published / "croissant.json")
    assert not card.metadata.ctx.issues.errors
    assert sorted(record["rows/id"].decode() for record in card.records("rows")) == sorted(row["id"] for row in rows)
