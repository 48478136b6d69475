"""Which part of the data a process has, by what its launcher says."""

from pathlib import Path

import pytest

from earthtone.atlas.options import EmbedOptions
from earthtone.atlas.shards import Part, launched_part
from earthtone.errors import ConfigError

ARRAY = "SLURM_ARRAY_TASK_"


def array(task: int, least: int, most: int, count: int) -> dict[str, str]:
    return {f"{ARRAY}{n}": str(v) for n, v in (("ID", task), ("MIN", least), ("MAX", most), ("COUNT", count))}


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({}, (0, 1)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"RANK": "3"}, (0, 1)),
        (array(0, 0, 15, 16), (0, 16)),
        (array(16, 1, 16, 16), (15, 16)),
        (array(8, 0, 12, 4), (2, 4)),  # --array=0-12:4
        (array(7, 7, 7, 1), (0, 1)),
        ({**array(2, 1, 4, 4), "RANK": "1", "WORLD_SIZE": "2"}, (3, 8)),
    ],
)
def test_the_launcher_says(said: dict[str, str], part: tuple[int, int]) -> None:
    *found, told = launched_part(said)
    assert tuple(found) == part and bool(told) == (part[1] > 1)
    assert ("RANK" in told) == (part[1] > 1 and "RANK" in said)


@pytest.mark.parametrize(
    "said",
    [
        {"RANK": "8", "WORLD_SIZE": "8"},
        {"RANK": "-1", "WORLD_SIZE": "8"},
        {"RANK": "one", "WORLD_SIZE": "8"},
        array(3, 1, 7, 3),  # --array=1,3,7
        array(9, 0, 7, 8),
    ],
)
def test_what_does_not_add_up_is_told(said: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"type --shard PART/PARTS, or --shard 0/1 for all"):
        launched_part(said)


def test_each_item_is_in_one_part() -> None:
    names = [f"item-{n}" for n in range(2000)]
    parts = [[name for name in names if Part(Path("E"), number, 7).has(name)] for number in range(7)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert all(200 < len(part) < 380 for part in parts)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("16/16", "parts count from 0: 0/16 to 15/16 expected"),
        ("3", "PART/PARTS expected"),
        ("a/b", "PART/PARTS expected"),
        ("1/0", "parts count from 0"),
    ],
)
def test_a_part_that_is_none_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"--shard .*{said}"):
        EmbedOptions("m", "d", "o", shard=text)  # type: ignore[arg-type]
    assert EmbedOptions("m", "d", "o", shard="3/16").shard == (3, 16)  # type: ignore[arg-type]
