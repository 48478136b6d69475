"""Parts of one data set: which part a process has, which items are in it, where its table lies.

An item belongs to a part by a hash of its id, so that rows that come later, anywhere, move no other row.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from earthtone.atlas.embeddings import SHARDS, TABLE
from earthtone.data.grouped_split import id_number
from earthtone.errors import ConfigError, DataError, shell_line

_NAME = re.compile(r"(\d+)-of-(\d+)\.lance")
_ARRAY = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class Part:
    """Part `number`, from 0, of `parts`, in the folder of embeddings `out`."""

    out: Path
    number: int = 0
    parts: int = 1

    @property
    def table(self) -> Path:
        """Return where its table lies."""
        return self.out / TABLE if self.parts == 1 else self.out / SHARDS / f"{self._name}.lance"

    @property
    def folder(self) -> Path:
        """Return the folder that its writer holds, alone."""
        return self.out if self.parts == 1 else self.out / SHARDS / self._name

    @property
    def problems(self) -> Path:
        """Return the file that names what cannot be embedded."""
        return self.folder / "problems.csv"

    @property
    def _name(self) -> str:
        return f"{self.number}-of-{self.parts}"

    def has(self, name: str) -> bool:
        """Return whether an item is in it."""
        return self.parts == 1 or id_number(name) % self.parts == self.number

    def refuse_others(self) -> None:
        """Raise DataError where the folder was divided otherwise: rows would be there twice."""
        there = self.out / SHARDS
        found = sorted(path.name for path in there.iterdir()) if there.is_dir() else []
        divided = {int(match[2]) for name in found if (match := _NAME.fullmatch(name))} - {self.parts}
        if divided:
            parts = min(divided)
            merge = shell_line("earthtone", "index", self.out)
            raise DataError(
                f"{there} holds parts of {parts}, this call has part {self.number} of {self.parts}: go on with "
                f"--shard PART/{parts}, or merge them first (all {parts} must be there): {merge}"
            )


def launched_part(environment: Mapping[str, str] = os.environ) -> tuple[int, int, str]:
    """Return which part of how many a launcher gives this process, and by which variables it says so.

    torchrun and others of its kind give RANK and WORLD_SIZE, a SLURM array its task's number; where both are, each task
    of the array has as many parts as it has processes. (0, 1, "") without any. Raises ConfigError for what does not
    add up.
    """
    rank, world = _numbers(environment, "RANK", "WORLD_SIZE") or (0, 1)
    if not 0 <= rank < world:
        raise ConfigError(f"RANK is {rank} and WORLD_SIZE {world}; type --shard PART/PARTS, or --shard 0/1 for all")
    told = "RANK and WORLD_SIZE" if world > 1 else ""
    task, tasks = _array_task(environment)
    if tasks > 1:
        told = f"{_ARRAY}ID, of {_ARRAY}COUNT{f', with {told}' if told else ''}"
    return task * world + rank, tasks * world, told


def _array_task(environment: Mapping[str, str]) -> tuple[int, int]:
    """Return which task of a SLURM array this is, from 0, and of how many."""
    found = _numbers(environment, *(f"{_ARRAY}{name}" for name in ("ID", "MIN", "MAX", "COUNT")))
    if found is None:
        return 0, 1
    task, least, most, count = found
    step = (most - least) // (count - 1) if count > 1 else 1
    if (
        count < 1
        or least + step * (count - 1) != most
        or step < 1
        or (task - least) % step
        or not least <= task <= most
    ):
        raise ConfigError(
            f"{_ARRAY}ID is {task} of {count} tasks from {least} to {most}, which are not evenly spaced; "
            "type --shard PART/PARTS, or --shard 0/1 for all"
        )
    return (task - least) // step, count


def _numbers(environment: Mapping[str, str], *names: str) -> tuple[int, ...] | None:
    """Return whole numbers of variables; None where one is not there. Raises ConfigError for what is none."""
    texts = [environment.get(name, "").strip() for name in names]
    if not all(texts):
        return None
    if odd := [f"{name} is {text!r:.40}" for name, text in zip(names, texts, strict=True) if not text.isdecimal()]:
        raise ConfigError(f"{odd[0]}; a whole number expected: type --shard PART/PARTS, or --shard 0/1 for all")
    return tuple(map(int, texts))
