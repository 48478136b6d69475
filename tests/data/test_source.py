"""The right reader for a path, and a helpful line where there is none; the real tables open as they are."""

from pathlib import Path

import pytest

from earthtone.data.manifest import Manifest
from earthtone.data.pair import Pair, Problem
from earthtone.data.releases import RELEASE_COLUMNS, SoundingEarth
from earthtone.data.source import open_source
from earthtone.errors import ConfigError, DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
HEADER = "id,image,audio\n"


def real(name: str) -> Path:
    if not (REAL / name).is_dir():
        pytest.skip(f"../shared/data/{name} is absent")
    return REAL / name


@pytest.mark.parametrize("name", ["manifest.csv", "metadata.csv", "manifest.tsv"])
def test_a_folder_with_one_manifest(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(HEADER.replace(",", "\t") if name.endswith("tsv") else HEADER)
    (tmp_path / "images").mkdir()
    (tmp_path / "other.csv").write_text("not a manifest")
    source = open_source(str(tmp_path))
    assert isinstance(source, Manifest)
    assert (source.path, len(source), source.ready_spectrograms) == (tmp_path / name, 0, False)


def test_a_release(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(",".join(RELEASE_COLUMNS) + "\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "spectrograms").mkdir()
    assert isinstance(open_source(tmp_path), SoundingEarth)
    assert isinstance(open_source(tmp_path, need=("image",)), SoundingEarth)
    (tmp_path / "manifest.csv").write_text(HEADER)
    with pytest.raises(DataError, match=r"'manifest.csv', 'a SoundingEarth release'; type the path"):
        open_source(tmp_path)


def test_a_release_with_own_columns_is_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(",".join(RELEASE_COLUMNS) + "\n")
    (tmp_path / "images").mkdir()
    assert isinstance(open_source(tmp_path, columns={"audio": "mp3name"}, need=("audio",)), Manifest)


def test_two_manifests_are_not_chosen_between(tmp_path: Path) -> None:
    for name in ("manifest.csv", "metadata.csv"):
        (tmp_path / name).write_text(HEADER)
    with pytest.raises(DataError, match=r"'manifest.csv', 'metadata.csv'; type the path of one"):
        open_source(tmp_path)


def test_nothing_to_open(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds 'photo.jpg'; a manifest .* was expected; type"):
        open_source(tmp_path)
    with pytest.raises(DataError, match=r"suffix '.jpg'; a manifest ends in .csv"):
        open_source(tmp_path / "photo.jpg")
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "nowhere")


def test_an_option_without_effect_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEADER)
    with pytest.raises(ConfigError, match="is for SoundingEarth releases"):
        open_source(tmp_path, prefer="raw")


def test_real_concept_pairs() -> None:
    source = open_source(real("concept_pairs"))
    items = list(source)
    assert len(source) == len(items) == 2100
    assert all(isinstance(item, Pair) for item in items)
    assert source.extra_columns == ("scene", "sound")


def test_real_sentinel_images() -> None:
    with pytest.raises(DataError, match="no column 'id', found 'image', 'lat', 'lon'; type --columns id=NAME"):
        open_source(real("sentinel2_geo"))
    items = list(open_source(real("sentinel2_geo"), columns={"id": "image"}, need=("image",)))
    assert len(items) == 10
    assert all(isinstance(item, Pair) and item.longitude is not None and item.audio is None for item in items)


def test_real_soundscapes() -> None:
    source = open_source(real("geo_soundscapes"), columns={"id": "file", "audio": "file"}, need=("audio",))
    items = list(source)
    assert len(source) == len(items) == 185
    # four rows know the year alone, which is no ISO 8601 time
    assert not [item for item in items if isinstance(item, Problem)]
    assert [item.remarks[0].kind for item in items if isinstance(item, Pair) and item.remarks] == [
        "unreadable cell"
    ] * 4
    assert all(item.datetime is None or item.datetime.tzinfo for item in items if isinstance(item, Pair))
    assert source.extra_columns == ("precision_m", "place", "habitat", "seconds")
