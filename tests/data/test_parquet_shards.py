"""What the names of Parquet files tell."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.data.parquet import parquet_names, split_in_name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00031.parquet", "train"),
        ("data/validation-00000-of-00001-8724f3ed891b958c.parquet", "val"),
        ("test-00000-of-00001.parquet", "test"),
        ("default/train/0000.parquet", "train"),
        ("val.parquet", "val"),
        ("GeoSound_dev_01.parquet", "val"),
        ("test/train.parquet", "train"),
        ("data/part-1.parquet", None),
        ("latest/contest-training1.parquet", "train"),
        ("data/latest.parquet", None),
    ],
)
def test_splits(name: str, split: str | None) -> None:
    assert split_in_name(name) == split


@given(st.sampled_from(["train", "validation", "test"]), st.integers(0, 99_999), st.integers(1, 99_999))
def test_every_number_of_a_series_has_its_split(word: str, number: int, total: int) -> None:
    name = f"data/{word}-{number:05d}-of-{total:05d}.parquet"
    assert split_in_name(name) == {"validation": "val"}.get(word, word)


def test_hidden_folders_are_left_out(tmp_path: Path) -> None:
    for name in (".git/lfs/a.parquet", ".cache/b.parquet", "deep/er/still/no.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert not any(parquet_names(tmp_path))
    for name in ("b.parquet", "data/a.parquet", "default/train/0000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(parquet_names(tmp_path)) == ["b.parquet", "data/a.parquet", "default/train/0000.parquet"]
