"""A loss or a gradient that is no number any more: which pairs, which of them are to blame, and a list on disk."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from earthtone.atomic import write_text_atomic
from earthtone.data.table import Table
from earthtone.errors import DataError

NOT_FINITE_FILE = "not_finite.json"
_NAMED = 8  # ids in the message; all are in the file


class NotFiniteError(DataError):
    """`what` ("loss is nan") of `step`; `rows` of the table are its batch, `guilty` those without finite embeddings."""

    def __init__(self, what: str, step: int, rows: Sequence[int], guilty: Sequence[int] = ()) -> None:
        super().__init__(f"{what} at step {step}, table rows {_some(rows)}; {_ADVICE}")
        self.what = what
        self.step = step
        self.rows = list(rows)
        self.guilty = list(guilty)


_ADVICE = "nothing of it is in the last checkpoint; lower --train.learning_rate, or leave these pairs out"


def rows_without_embedding(rows: Tensor, image: Tensor, audio: Tensor) -> list[int]:
    """Return those of `rows` (N,) whose embeddings (N, D) hold a value that is no number; nothing when all do.

    A row that is there with several views is named once.
    """
    bad = ~(torch.isfinite(image).all(dim=1) & torch.isfinite(audio).all(dim=1))
    return [] if bool(bad.all()) else list(dict.fromkeys(rows[bad.to(rows.device)].tolist()))


def named(error: NotFiniteError, table: Table, out: Path) -> DataError:
    """Return the error with the ids of its pairs; all of them are written to `out`."""
    ids, guilty = ([record["id"] for record in table.records(rows, ["id"])] for rows in (error.rows, error.guilty))
    found = {"what": error.what, "step": error.step, "ids": ids, "ids_without_finite_embedding": guilty}
    write_text_atomic(out / NOT_FINITE_FILE, json.dumps(found, indent=1) + "\n")
    whose = f"embeddings of {_some(guilty)} of its {len(ids)} pairs" if guilty else f"pairs {_some(ids)}"
    return DataError(f"{error.what} at step {error.step}: {whose} (all: {out / NOT_FINITE_FILE}); {_ADVICE}")


def _some(names: Sequence[object]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(str, names[:_NAMED])) + more
