"""A table that is cut into many Parquet files, in a folder or on the hub: one row group in memory at a time."""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earthtone.data.cell import extra_text
from earthtone.data.hub import HubFolder, is_hub
from earthtone.data.manifest import listed
from earthtone.data.parquet_files import PARQUET, parquet_names
from earthtone.data.parquet_pages import Pages
from earthtone.data.read_parquet import is_scalar, refuse_long_texts, rows_at_a_time, rows_of
from earthtone.errors import DataError
from earthtone.files import regular_file
from earthtone.progress import progress

_LOG = logging.getLogger(__name__)
_SPLIT_WORDS = {
    "train": "train", "training": "train", "validation": "val", "valid": "val", "val": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})\b.*")
_ROWS = 4  # decoded at a time: a recording may have many megabytes
_BUFFER = 2**20  # read piecewise rather than a row group's column at once
_FOOTERS = 8  # read at a time: on the hub each one is a wait
_LFS = b"version https://git-lfs"

Skip = Callable[[int, str], bool]


@dataclass(frozen=True)
class Shard:
    """One file: its name below the folder, the split that its name tells, its rows and what its footer says."""

    name: str
    split: str | None
    rows: int
    footer: Any


@dataclass(frozen=True)
class ShardRow:
    """One row: where it stands, its cells, its file's split; `whole` unless the media were left unread."""

    place: str
    cells: dict[str, Any]
    split: str | None
    whole: bool


class ShardTable:
    """The rows of all Parquet files of a folder (three levels deep), of one file, or of an address on the hub.

    Files are read in the order of their names, and all footers when the table is opened: a broken or half file is
    told before any work. Raises DataError.
    """

    has_points = False

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._hub = HubFolder(str(path)) if is_hub(path) else None
        names = [name for name in self._names() if name.endswith(PARQUET)]
        if not names:
            raise DataError(
                f"{path} holds no Parquet files; a data set such as data/train-00000-of-00001.parquet was expected"
            )
        _tell_missing(path, names)
        with ThreadPoolExecutor(min(_FOOTERS, len(names))) as pool:
            footers = pool.map(self._footer, names)
            found = list(progress(zip(names, footers, strict=True), total=len(names), label="open", unit="file"))
        self._shards = [Shard(name, split_in_name(name), footer.num_rows, footer) for name, footer in found]
        schema = self._shards[0].footer.schema.to_arrow_schema()
        self.columns = tuple(name for name in schema.names if name)
        self.carried = tuple(name for name in self.columns if is_scalar(schema.field(name).type))
        self.schema = schema

    def __len__(self) -> int:
        return sum(shard.rows for shard in self._shards)

    @property
    def has_splits(self) -> bool:
        """Whether the files' names tell splits. Raises DataError when only some do."""
        silent = [shard.name for shard in self._shards if shard.split is None]
        if silent and len(silent) < len(self._shards):
            raise DataError(
                f"{self.path}: the name of {listed(silent, 3)} tells no split, others do; name it train-..., "
                "validation-... or test-..., or move it elsewhere"
            )
        return not silent

    def require(self, columns: Collection[str]) -> None:
        """Raise DataError unless every file has these columns, of the kind that the first file has."""
        for shard in self._shards:
            schema = shard.footer.schema.to_arrow_schema()
            for name in columns:
                if name not in schema.names:
                    raise DataError(f"{self._at(shard.name)} has no column {name!r}, as {self._shards[0].name} has")
                if is_scalar(schema.field(name).type) != is_scalar(self.schema.field(name).type):
                    raise DataError(
                        f"{self._at(shard.name)}: column {name!r} is of type {schema.field(name).type}, "
                        f"{self.schema.field(name).type} was expected as in {self._shards[0].name}"
                    )

    def read(self, light: Sequence[str], media: Sequence[str], id_column: str, skip: Skip | None) -> Iterator[ShardRow]:
        """Yield every row with the cells `light` and `media`, in the order of the files.

        `skip`, called with a row's number and id, tells the rows whose media are not wanted: a row group that has
        only such rows is read without them.
        """
        number = 0
        for shard in self._shards:
            in_file = 0
            at = self._at(shard.name)
            with self._open(shard.name, lambda: f", after row {in_file}", shard.footer) as (file, raw):  # noqa: B023
                pages = Pages(raw, first=self._hub is not None)
                for group in range(file.num_row_groups):
                    unwanted = None
                    if skip is not None:
                        rows = rows_at_a_time(at, pages.sizes(group, [id_column]), (), {})
                        ids = file.iter_batches(rows, row_groups=[group], columns=[id_column], use_threads=False)
                        names = (row[id_column] for batch in ids for row in rows_of(batch))
                        unwanted = [skip(number + i, extra_text(name)) for i, name in enumerate(names)]
                    read = [*light] if unwanted and all(unwanted) else [*light, *media]
                    rows = min(_ROWS, rows_at_a_time(at, pages.sizes(group, read), media, {}))
                    in_group = 0
                    leaves = [self._leaf(name) for name in read]
                    for batch in file.iter_batches(rows, row_groups=[group], columns=leaves, use_threads=False):
                        refuse_long_texts(at, batch)
                        for cells in rows_of(batch):
                            in_file += 1
                            whole = not (unwanted and unwanted[in_group])
                            yield ShardRow(f"{shard.name}, row {in_file}", cells, shard.split, whole)
                            in_group += 1
                    number += in_group

    def _leaf(self, name: str) -> str:
        """Return what is read of a column: of a struct its bytes alone, whatever else lies in it."""
        kind = self.schema.field(name).type
        return f"{name}.bytes" if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else name

    def _names(self) -> list[str]:
        if self._hub is not None:
            return self._hub.names
        path = Path(self.path)
        return [path.name] if path.is_file() else parquet_names(path)

    def _footer(self, name: str) -> Any:
        with self._open(name) as (file, _):
            return file.metadata

    def _at(self, name: str) -> str:
        return f"{self.path}" if self._hub is None and Path(self.path).is_file() else f"{self.path}/{name}"

    @contextmanager
    def _open(self, name: str, place: Callable[[], str] = str, footer: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield a file as Arrow reads it, and as bytes; its errors become one line that names it and the place."""
        try:
            with (
                regular_file(self._at(name)).open("rb") if self._hub is None else self._hub.open(name) as raw,
                # on the hub one file for both: what was fetched for one is there for the other
                pq.ParquetFile(
                    self._at(name) if self._hub is None else raw,
                    metadata=footer, pre_buffer=False, buffer_size=_BUFFER,
                ) as file,
            ):  # fmt: skip
                yield file, raw
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if self._hub is None and _is_pointer(Path(self._at(name))):
                raise DataError(
                    f"{self._at(name)} stands for a file that was not downloaded; type git lfs pull in {self.path}"
                ) from error
            reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{self._at(name)}{place()}: {reason}; a whole Parquet file was expected, download it again"
            ) from error


def split_in_name(name: str) -> str | None:
    """Return the split that a file's name tells, or that of its folder: `data/validation-00000-of-00001` is val."""
    for part in reversed(name.removesuffix(PARQUET).split("/")):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLIT_WORDS:
                return _SPLIT_WORDS[word]
    return None


def _tell_missing(path: Path | str, names: Sequence[str]) -> None:
    """Warn once when files of numbered series are not there: a part of a data set may be wanted, or be a mistake."""
    series: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name in names:
        if numbered := _NUMBERED.fullmatch(name):
            series[numbered[1], int(numbered[3])].add(int(numbered[2]))
    lacking = [
        f"{len(there)} of {total} {stem}" for (stem, total), there in sorted(series.items()) if len(there) < total
    ]
    if lacking:
        _LOG.warning("%s is a part of its data set: it has %s files", path, ", ".join(lacking))


def _is_pointer(path: Path) -> bool:
    try:
        with regular_file(path).open("rb") as file:
            return file.read(len(_LFS)) == _LFS
    except OSError:
        return False
