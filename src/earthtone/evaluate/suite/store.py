"""Finished cells on disk: one JSON each, named by all that its figures depend on."""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from earthtone.errors import DataError
from earthtone.evaluate.task_result import TaskResult, read_task_result, write_task_result

KEY = "suite"
"""The fact that holds a result's key."""


class ResultStore:
    """The folder `results`: a cell is there whole, or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: Mapping[str, Any]) -> Path:
        """Return where the result of a key lies, whether it is there or not."""
        digest = hashlib.blake2b(_text(key).encode(), digest_size=12).hexdigest()
        return self.folder / f"{key['task']}-{file_name(str(key['dataset']))}-{digest}.json"

    def read(self, key: Mapping[str, Any]) -> TaskResult | None:
        """Return the result of a key; None where there is none, or a damaged one, which is then made again."""
        path = self.path(key)
        try:
            found = read_task_result(path)
        except DataError:
            return None
        return found if _text(found.facts.get(KEY)) == _text(key) else None

    def write(self, key: Mapping[str, Any], result: TaskResult) -> None:
        """Write a result with its key."""
        write_task_result(self.path(key), replace(result, facts={**result.facts, KEY: dict(key)}))

    def others(self, keys: Collection[Path]) -> int:
        """Return how many results in the folder are of other keys than those at these paths."""
        return sum(path not in keys for path in self.folder.glob("[!.]*.json"))


def file_name(text: str) -> str:
    """Return text with nothing but letters, digits, `-` and `_`, at most 60, for a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:60] or "_"


def _text(key: Any) -> str:
    return json.dumps(key, sort_keys=True)
