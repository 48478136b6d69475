"""A split as a file of its own: which id is in train, val, test or none, and how it was made."""

import hashlib
import json
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.grouped_split import NONE, Codes, id_number, split_code
from earthtone.data.manifest import TABLES, manifest_table, own_columns
from earthtone.data.pair import SPLITS, Problem, RowReader
from earthtone.errors import DataError
from earthtone.files import FORMATS, atomic_path, format_of, regular_file

SPLIT_FILE = "split.parquet"
_CARD = b"earthtone"
_KIND = "split"
#: In the record of a split that keeps the rows of another one: that one's `root`.
ROOT = "root"


@dataclass(frozen=True)
class SplitFile:
    """Who is in which split; about 9 bytes a row."""

    path: Path
    record: Mapping[str, Any]
    """How it was made, as `split` writes it; empty for a table of others."""
    ids: NDArray[np.uint64]
    """(N,) `id_number` of each row, ascending."""
    codes: Codes
    """(N,) numbers of `SPLITS`, or NONE."""

    @property
    def root(self) -> str:
        """The digest of the split that this one goes on from, its own where it is the first."""
        return str(self.record.get(ROOT) or self.digest)

    @property
    def digest(self) -> str:
        """A hash of who is where, whatever the order of the rows."""
        return hashlib.blake2b(self.ids.tobytes() + self.codes.tobytes(), digest_size=8).hexdigest()

    def find(self, ids: NDArray[np.uint64]) -> tuple[Codes, NDArray[np.bool_]]:
        """Return the split of each of some rows (M,), NONE where it is in none, and whether the file has the row."""
        if not len(self.ids):
            return np.full(len(ids), NONE, np.uint8), np.zeros(len(ids), bool)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        there = self.ids[at] == ids
        return np.where(there, self.codes[at], NONE).astype(np.uint8), there


def is_split_file(text: str | Path) -> bool:
    """Return whether a text names a file of splits, or its folder, rather than a way to split."""
    path = Path(text)
    return path.suffix.lower() in TABLES or (path / SPLIT_FILE).is_file()


def read_split(path: str | Path) -> SplitFile:
    """Return the split in a file, or in the folder that `split` wrote: any table with the columns id and split.

    Raises DataError for a row without an id, an id that is there twice, and a split that is none of ours.
    """
    path = Path(path)
    path = path / SPLIT_FILE if path.is_dir() else path
    try:
        table = manifest_table(regular_file(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; a table with the columns id and split expected") from error
    own = own_columns(table, {}, ())
    if "split" not in own:
        raise DataError(f"{path}: no column split; a table with the columns id and split expected")
    own = {name: own[name] for name in ("id", "split")}
    reader = RowReader(path.parent, own, {}, ())
    ids, codes = array("Q"), array("B")
    for row in table.rows(set(own.values())):
        item = reader.read(row)
        if isinstance(item, Problem):
            raise DataError(f"{path}: {item.detail.removesuffix('; the row is left out')}; mend the row")
        ids.append(id_number(item.id))
        codes.append(split_code(item.split))
    order = np.argsort(numbers := np.array(ids, np.uint64), kind="stable")
    return SplitFile(path, _record(path), numbers[order], np.array(codes, np.uint8)[order])


def write_split(path: Path, ids: Iterable[Any], codes: Codes, record: Mapping[str, Any]) -> None:
    """Write a split as Parquet, whole or not at all: `ids` are Arrow arrays of texts, `codes` (N,) of all of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    card = json.dumps({"format": FORMATS[_KIND], "split": dict(record)}, sort_keys=True).encode()
    schema = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("split", pa.string())], {_CARD: card})
    names = pa.array([*SPLITS, None], pa.string())
    at = 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for part in ids:
            of_part = names.take(pa.array(codes[at : at + len(part)], pa.int64()))
            writer.write_table(pa.table([part, of_part], schema=schema))
            at += len(part)


def _record(path: Path) -> Mapping[str, Any]:
    """Return how a split was made. Raises DataError for what is no record, FormatError for one of a later version."""
    if path.suffix.lower() not in (".parquet", ".geoparquet"):
        return {}
    import pyarrow.parquet as pq

    text = (pq.read_schema(path).metadata or {}).get(_CARD)
    if text is None:
        return {}
    try:
        card = json.loads(text)
        format_of(card, _KIND, path)
        found = card.get("split", {})
        return dict(found)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: what it says of itself cannot be read; make it again with earthtone split") from error
