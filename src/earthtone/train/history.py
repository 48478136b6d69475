"""The log of a run: one JSON object a line, the same figures for TensorBoard."""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from earthtone.atomic import write_text_atomic
from earthtone.errors import DataError
from earthtone.files import regular_file
from earthtone.value_types import fits

LOG_FILE = "log.jsonl"
_TAIL_BYTES = 4096


class History:
    """Writes `log.jsonl` and `tensorboard/`; lines after the step that a resume starts from are dropped."""

    def __init__(self, folder: Path, first_step: int) -> None:
        self._path = folder / LOG_FILE
        kept = [line for line in read_history(folder) if line["step"] <= first_step]
        write_text_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1 if kept else None)

    def add(self, step: int, figures: Mapping[str, float]) -> None:
        """Append the figures of a step. Raises DataError when the disk is full."""
        try:
            self._file.write(json.dumps({"step": step, **figures}) + "\n")
            self._file.flush()
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)
        except OSError as error:
            raise DataError(f"cannot write {self._path}: {error.strerror}; free the disk, then --resume") from error

    def __enter__(self) -> "History":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what could be written is written; an error before this one says more
            os.fsync(self._file)  # before the state says that the training has ended
            self._file.close()
            self._board.close()


def read_history(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a run's log; a last line that a kill cut off is left out, as are values that are no numbers.

    Raises DataError for a log that cannot be read.
    """
    path = folder / LOG_FILE
    if not path.exists():
        return []
    try:
        text = regular_file(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; copy the run again") from error
    lines = []
    for line in text.splitlines():
        try:
            figures = json.loads(line)
        except (ValueError, RecursionError):
            break
        if isinstance(figures, dict) and type(figures.get("step")) is int:
            lines.append({name: value for name, value in figures.items() if fits(value, float)})
    return [line for line in lines if line.get("step", -1) >= 0]


def last_step(folder: Path) -> int:
    """Return the last step in a run's log, 0 where there is none; reads the end of the file alone."""
    path = folder / LOG_FILE
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        found = re.findall(rb'^\{"step": (\d+),.*\}$', file.read(), re.MULTILINE)
    return int(found[-1]) if found else 0
