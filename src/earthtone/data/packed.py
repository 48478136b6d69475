"""The packed table: one row a pair, as a Lance dataset with a seal; images and windows of sound by row number."""

import errno
import hashlib
import json
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import write_fragments
from numpy.typing import NDArray

from earthtone.data.grouped_split import id_number
from earthtone.data.manifest import needed
from earthtone.data.pair import MEDIA
from earthtone.data.remote import is_remote, last_part, open_remote, unreadable
from earthtone.data.source import SEAL_FILE
from earthtone.errors import DataError, NewerFormatError, shell_line
from earthtone.files import FORMATS, format_of, refuse_full_system, refuse_undecodable, wait_for_disk, write_text_atomic
from earthtone.options import Need
from earthtone.signal.config import SignalConfig, signal_from_dict, signal_to_dict
from earthtone.signal.spectrogram import Spectrogram

# What a packed table holds when its packing has ended: rows, version, size and hash of its files; a file inside it.
#
# Lance opens what is there: a copy that lacks the newest version, or the end of a file, is a smaller or another table.
# The file travels with the folder, also into object stores; tables of before there was one are opened as they are.

_CHEAP_BYTES = 256 * 2**20  # of data files, hashed whole whenever a table is opened: a quarter of a second
_SEAL = "seal of a packed table"
_FILE_ROWS = 2**20  # as Lance has it
CommitMode = Literal["create", "append", "overwrite"]
LOST = "an unfinished or damaged copy; copy the whole folder again, or pack it again"


@dataclass(frozen=True)
class Seal:
    """A whole table: its rows, its version, and what each of its data files is."""

    rows: int
    version: int
    files: Mapping[str, tuple[int, str]]
    """Path in the table -> bytes and BLAKE2b."""


def write_seal(table: Path, dataset: Any) -> None:
    """Write down what the Lance dataset in the folder `table` is now; files that were written down before are kept."""
    try:
        before = read_seal(table)
    except NewerFormatError:
        raise
    except DataError:
        before = None  # a broken one is made again
    known = before.files if before is not None else {}
    files = {}
    for file in (file for fragment in dataset.get_fragments() for file in fragment.data_files()):
        name = f"data/{file.path}"
        size = (table / name).stat().st_size
        if name in known and known[name][0] == size:
            files[name] = known[name]
        else:
            files[name] = size, _digest(table / name)
            wait_for_disk(table / name)
    seal = Seal(dataset.count_rows(), dataset.version, files)
    if seal != before:
        versions = table / "_versions"
        data = [table / "data"] if files else []  # a table without rows has no such folder
        wait_for_disk(*versions.glob("*.manifest"), versions, *data, table)
        write_text_atomic(table / SEAL_FILE, json.dumps({"format": FORMATS[_SEAL], **asdict(seal)}, indent=1) + "\n")


def is_begun(out: Path, kind: str = "packed table") -> bool:
    """Return whether a first commit was made; a folder without one is what a kill during it left, or not ours.

    Raises DataError for one that is not ours.
    """
    if not out.exists() or any(out.glob("_versions/*.manifest")):
        return out.exists()
    if foreign := sorted(
        entry.name for entry in out.iterdir() if entry.name not in ("data", "_transactions", "_versions")
    ):
        raise DataError(f"{out}: a folder with {foreign[0]!r} in it, no {kind}; choose another --out")
    return False


def commit_rows(
    table: Path, rows: pa.Table | pa.RecordBatchReader, mode: CommitMode, *, file_rows: int = _FILE_ROWS
) -> Any:
    """Create a Lance dataset of rows, append them to it, or put them in place of all it has; return the dataset.

    One commit, whole and on the disk or not at all; files hold at most `file_rows` rows. Lance alone also commits a
    file whose end found no room on the disk. Raises OSError, and whatever reading the rows raises, and leaves no file
    behind then.
    """
    before = set() if mode == "create" else set((table / "data").glob("*"))
    dataset = lance.dataset(str(table)) if mode == "append" else None
    try:
        written = write_fragments(
            rows, str(table) if dataset is None else dataset, schema=rows.schema, mode=mode,
            max_rows_per_file=file_rows,
            data_storage_version=None if dataset is None else dataset.data_storage_version, return_transaction=True,
        )  # fmt: skip
        for file in (file for fragment in written.operation.fragments for file in fragment.files):
            path = table / "data" / file.path
            if (lacking := file.file_size_bytes - path.stat().st_size) > 0:
                with path.open("ab") as end:
                    end.write(bytes(lacking))  # the system says why there is no room
                raise OSError(errno.EIO, "the end of a file was not written", str(path))
            wait_for_disk(path)
    except BaseException:
        for path in set((table / "data").glob("*")) - before:
            with suppress(OSError):
                path.unlink()
        raise
    return lance.LanceDataset.commit(str(table) if dataset is None else dataset, written)


def unfinished_marker(out: Path) -> Path:
    """Return the file that stands beside a table while it is being written, and after a stop until it is finished."""
    return out.with_name(f"{out.name}.unfinished")


def read_seal(table: Path | str, advice: str = LOST) -> Seal | None:
    """Return the seal of a table on a disk or in an object store, None where there is none. Raises DataError."""
    try:
        text = _seal_text(table)
        if text is None:
            return None
        values = json.loads(text)
        format_of(values, _SEAL, f"{table}: {SEAL_FILE}")
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in values["files"].items()}
        return Seal(int(values["rows"]), int(values["version"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{table}: {SEAL_FILE} cannot be read ({reason}): {advice}") from error


def check_opened(table: Path | str, dataset: Any, advice: str = LOST) -> None:
    """Raise DataError where an opened table is not what was written, as far as that is cheap to tell.

    Rows and version always, on a disk sizes of all files and the content of small tables too.
    """
    seal = read_seal(table, advice)
    if seal is None:
        return
    if dataset.version < seal.version or (dataset.version == seal.version and dataset.count_rows() != seal.rows):
        raise DataError(f"{table}: {dataset.count_rows():,} rows are there, {seal.rows:,} were written: {advice}")
    if isinstance(table, Path):
        cheap = sum(size for size, _ in seal.files.values()) <= _CHEAP_BYTES
        if fault := next(file_faults(table, seal, whole=cheap), None):
            raise DataError(f"{table}: {fault}: {advice}")


def file_faults(table: Path, seal: Seal, *, whole: bool) -> Iterator[str]:
    """Yield what is wrong with each data file: missing, another size, with `whole` another content."""
    for name, (size, digest) in seal.files.items():
        path = table / name
        try:
            state = path.stat()
            if state.st_size != size:
                yield f"{name} has {state.st_size:,} bytes, {size:,} were written"
            elif whole and _known_digest(path, size, state.st_mtime_ns) != digest:
                yield f"{name} has another content than was written"
        except OSError as error:
            yield f"{name} cannot be read ({error.strerror})"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@lru_cache(maxsize=4096)
def _known_digest(path: Path, size: int, changed_ns: int) -> str:
    """Return the hash of a file, of one that has not changed since without reading it again."""
    return _digest(path)


def _seal_text(table: Path | str) -> str | None:
    if isinstance(table, Path):
        path = table / SEAL_FILE
        return path.read_text(encoding="utf-8") if path.exists() else None
    from lance.file import LanceFileSession

    session = LanceFileSession(table)
    if not session.contains(SEAL_FILE):
        return None
    with tempfile.TemporaryDirectory(prefix="earthtone-") as folder:
        path = Path(folder) / SEAL_FILE
        session.download_file(SEAL_FILE, str(path))
        return path.read_text(encoding="utf-8")


# The table itself, in a folder or an object store (`s3://bucket/pairs.lance`). A spectrogram is one blob, time first:
# a window is one contiguous slice, read without the rest.

_LOG = logging.getLogger(__name__)
_KIND = "packed table"
_CARD = b"earthtone"
_OWN_SPLITS = {"by": "manifest"}  # also of tables that tell nothing
_PAIRS_FORMAT = 1  # of tables in which every row has both media: earlier versions open them
_BLOB = {b"lance-encoding:blob": b"true"}

_NO_VALUE = np.zeros(1, np.uint64)
_FLOAT32 = np.finfo(np.float32)

#: The metres along a side of the tile, null where `image_gsd_m` is; older tables lack it.
TILE_SIDE = "tile_side_m"
#: What was noticed when the row was packed, a line `kind: detail` each, null where nothing was; older tables lack it.
NOTES = "packing_notes"
#: Columns that tables of earlier versions lack.
LATER_COLUMNS = (TILE_SIDE, NOTES)


def table_schema(
    signal: SignalConfig, extra_columns: Sequence[str], split: Mapping[str, Any] | None = None, need: Need = "both"
) -> pa.Schema:
    """Return the Arrow schema of a packed table; the signal config and how rows are split lie in its metadata.

    A row without an image has null there and an empty `image_hash`, one without a recording null and no `audio_frames`.
    """
    optional = needed(need)[1]
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("longitude", pa.float64()),
        pa.field("latitude", pa.float64()),
        pa.field("datetime", pa.timestamp("us", tz="UTC")),
        pa.field("image", pa.binary(), nullable="image" in optional),
        pa.field("audio", pa.large_binary(), nullable="audio" in optional, metadata=_BLOB),
        pa.field("image_gsd_m", pa.float64()),
        *(pa.field(name, pa.string()) for name in ("source", "license", "attribution", "split")),
        pa.field("image_hash", pa.string(), nullable=False),
        pa.field("audio_hash", pa.string(), nullable=False),
        pa.field("audio_frames", pa.int32(), nullable=False),
        pa.field("audio_seconds", pa.float64()),
        pa.field("audio_preview", pa.binary()),
        pa.field(TILE_SIDE, pa.float64()),
        pa.field(NOTES, pa.string()),
    ]
    if odd := [name for name in extra_columns if "." in name or name.startswith("_row")]:
        raise DataError(f"columns {odd} of the manifest: a packed table takes no dots and no _row...; rename them")
    taken = {field.name for field in fields}
    if clash := sorted(taken.intersection(extra_columns)):
        raise DataError(f"columns {clash} of the manifest have names that the packed table uses itself; rename them")
    fields += [pa.field(name, pa.string()) for name in extra_columns]
    card: dict[str, Any] = {"format": FORMATS[_KIND] if optional else _PAIRS_FORMAT}
    card |= {"signal": signal_to_dict(signal), "split": dict(split or _OWN_SPLITS)}
    card |= {"need": need} if optional else {}
    return pa.schema(fields, metadata={_CARD: json.dumps(card, sort_keys=True).encode()})


class Table:
    """A packed table opened for reading; safe to use from several threads."""

    def __init__(self, path: str | Path, *, check: bool = True) -> None:
        """Open it; `check` refuses, with a DataError, a table that is not all that was packed; see `Seal`."""
        self.path: Path | str = str(path).rstrip("/") if is_remote(path) else Path(path)
        refuse_undecodable(self.path)
        try:
            self._dataset = open_remote(self.path) if isinstance(self.path, str) else lance.dataset(str(path))
            card = dict(json.loads(self._dataset.schema.metadata[_CARD]))
            format_of(card, _KIND, path)
            signal = card["signal"]
            self.split: Mapping[str, Any] = dict(card.get("split", _OWN_SPLITS))
            """How rows are dealt out to train, val and test, as `NamedSplit.record` tells."""
            self.need: Need = card.get("need", "both")
            """Which media its rows must have; see `has`."""
            if self.need not in get_args(Need):
                raise ValueError(f"need is {self.need!r}")
        except (ValueError, OSError, KeyError, TypeError, RecursionError) as error:
            refuse_full_system(error, path)
            if isinstance(self.path, Path) and (self.path / SEAL_FILE).is_file():
                raise DataError(f"{path}: none of its versions can be read: {LOST}") from error
            raise DataError(
                f"{path}: not a packed table; make one with: earthtone pack DATA --out {shell_line(path)}"
            ) from error
        self.signal = signal_from_dict(signal)
        own = table_schema(self.signal, ())
        kinds = {field.name: field.type for field in own if field.name != "audio"}  # Lance shows a blob as it lies
        for name in LATER_COLUMNS:
            if not self.has_column(name):
                del kinds[name]
        if lost := [name for name, kind in kinds.items() if self._type_of(name) != kind]:
            raise DataError(f"{path}: columns {lost} are missing or of another type: a damaged table; pack it again")
        if check:
            check_opened(self.path, self._dataset)
        self.extra_columns = tuple(name for name in self._dataset.schema.names if name not in own.names)
        if not self.has_column(NOTES) and self.signal.audio.input == "waveform":
            _warn_once_of_old_sound(str(self.path))

    def notes(self, rows: NDArray[np.int64] | None = None) -> dict[str, int]:
        """Return how many of the rows (of all by default) packing noticed something about, by its kind."""
        if not self.has_column(NOTES):  # of an earlier version
            return {}
        column = self.column(NOTES)
        noted = column if rows is None else [column[row] for row in rows]
        kinds = Counter(line.partition(": ")[0] for text in noted if text for line in text.splitlines())
        return dict(sorted(kinds.items()))

    def has_column(self, name: str) -> bool:
        """Return whether there is a column of that name."""
        return self._type_of(name) is not None

    def _type_of(self, name: str) -> Any:
        schema = self._dataset.schema
        return schema.field(name).type if name in schema.names else None

    @property
    def version(self) -> int:
        """How often rows were added."""
        return int(self._dataset.version)

    @property
    def name(self) -> str:
        """The last part of the path, for reports."""
        return last_part(self.path)

    def __len__(self) -> int:
        return int(self._dataset.count_rows())

    @property
    def fingerprint(self) -> str:
        """A short hash of the rows' identities, splits and contents; equal tables have equal fingerprints."""
        digest = hashlib.blake2b(json.dumps(signal_to_dict(self.signal), sort_keys=True).encode(), digest_size=8)
        for batch in self._batches(["id", "split", "image_hash", "audio_hash"]):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                digest.update("\0".join(str(value) for value in row).encode())
        return digest.hexdigest()

    def column(self, name: str) -> list[Any]:
        """Return one column of all rows. Raises DataError for an unknown name."""
        return [value for part in self._parts(name) for value in part.to_pylist()]

    def groups(self, name: str) -> NDArray[np.int64]:
        """Return for each row a number that equals another row's exactly when the column's values are equal.

        A row without a value has -1, and so has an empty text.
        """
        hashes = [np.fromiter(map(_value_hash, part.to_pylist()), np.uint64, len(part)) for part in self._parts(name)]
        values, first, numbers = np.unique(np.concatenate([_NO_VALUE, *hashes]), return_index=True, return_inverse=True)
        group = np.empty(len(values), np.int64)
        group[np.argsort(first)] = np.arange(-1, len(values) - 1)  # in the order of appearance, no value before all
        return np.asarray(group[numbers[1:]], np.int64)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of numbers of all rows; NaN where there is none."""
        values = [np.asarray(part.to_numpy(zero_copy_only=False), np.float64) for part in self._parts(name)]
        return np.concatenate([np.empty(0), *values])

    @cached_property
    def tile_sides_m(self) -> NDArray[np.float64]:
        """The metres along a side of every row's tile; NaN where unknown, as in all of an older table.

        Raises DataError for what float32 cannot hold as a length.
        """
        if not self.has_column(TILE_SIDE):
            return np.full(len(self), np.nan)
        sides_m = self.numbers(TILE_SIDE)
        odd = sides_m[~np.isnan(sides_m) & ~((sides_m >= _FLOAT32.tiny) & (sides_m <= _FLOAT32.max))]
        if len(odd):
            raise DataError(
                f"{self.path}: {TILE_SIDE} is {odd[0]:g}; metres, finite and more than 0, expected: a damaged table; "
                "pack it again"
            )
        return sides_m

    def has(self, *media: str) -> NDArray[np.bool_]:
        """Return whether each row has all these media, `image` or `audio` (N,)."""
        found = np.ones(len(self), bool)
        if self.need == "both":
            return found
        if "image" in media:
            hashes = [np.array([bool(value) for value in part.to_pylist()], bool) for part in self._parts("image_hash")]
            found &= np.concatenate([np.empty(0, bool), *hashes])
        return found & (self.frames() > 0) if "audio" in media else found

    def rows_of(self, split: str | None, media: Sequence[str] = MEDIA) -> NDArray[np.int64]:
        """Return the row numbers of a split that have all these media, ascending; `split` None or `all`: of all rows.

        Rows that lack a medium are counted in a warning, once a table. Raises DataError where no row is left of a
        split, or of a table in which rows may lack one.
        """
        if split in (None, "all"):
            return self._with_media(np.arange(len(self), dtype=np.int64), media, "rows")
        parts = [np.array([value == split for value in part.to_pylist()], bool) for part in self._parts("split")]
        rows = np.flatnonzero(np.concatenate([np.empty(0, bool), *parts]))
        if not len(rows):
            counts = Counter(str(value) for value in self.column("split"))
            have = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items())) or "no rows"
            raise DataError(f"{self.path}: no rows of split {split!r}; it has {have}; choose one with --split")
        return self._with_media(rows, media, f"rows of split {split}")

    def _with_media(self, rows: NDArray[np.int64], media: Sequence[str], of: str) -> NDArray[np.int64]:
        if self.need == "both":
            return rows
        found = rows[self.has(*media)[rows]]
        if not len(found):
            told = " and ".join(_TOLD[medium] for medium in media)
            raise DataError(
                f"{self.path}: none of {len(rows)} {of} has {told}, which is needed here; choose another --split, or "
                "pack rows that have it"
            )
        if len(found) < len(rows):
            told = " or ".join(_TOLD[medium] for medium in media)
            _warn_once_of_rows(str(self.path), f"{len(rows) - len(found)} of {len(rows)} {of}", told)
        return found

    def records(self, rows: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Return the named columns of some rows, in the order asked for."""
        with self._reading():
            taken: list[dict[str, Any]] = self._dataset.take(
                [int(row) for row in rows], columns=list(columns)
            ).to_pylist()
        return taken

    def _parts(self, name: str) -> Iterator[Any]:
        """Return a column piecewise, as Arrow arrays. Raises DataError for an unknown name."""
        if name not in self._dataset.schema.names:
            raise DataError(f"{self.path}: no column {name!r}; it has {', '.join(self._dataset.schema.names)}")
        return (batch.column(0) for batch in self._batches([name]))

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        """Yield Arrow batches of some columns of all rows, in order."""
        with self._reading():
            yield from self._dataset.to_batches(columns=columns)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Raise what Lance says of files that cannot be read as one line."""
        try:
            yield
        except (OSError, ValueError) as error:
            refuse_full_system(error, self.path)
            if isinstance(self.path, str):
                raise DataError(unreadable(self.path, error)) from error
            reason = str(error).splitlines()[0][:160]
            raise DataError(
                f"{self.path}: a file of the table is missing or broken ({reason}); copy or pack it again"
            ) from error
        except BaseException as error:  # Lance's own, of bytes that it did not foresee, is no Exception
            if type(error).__name__ != "PanicException":
                raise
            raise DataError(f"{self.path}: a file of the table is broken; copy or pack it again") from error

    def images(self, rows: Sequence[int]) -> list[bytes]:
        """Return the packed JPEGs of some rows. Raises DataError for a row without an image."""
        found = [record["image"] for record in self.records(rows, ["image"])]
        if lacking := [row for row, data in zip(rows, found, strict=True) if data is None]:
            raise DataError(f"{self.path}: row {lacking[0]} has no image")
        return found

    def frames(self) -> NDArray[np.int32]:
        """Return the number of spectrogram frames of every row."""
        return self.numbers("audio_frames").astype(np.int32)

    def sound(self, rows: Sequence[int], starts: Sequence[int], frames: Sequence[int]) -> Iterator[Spectrogram]:
        """Yield one slice (frames, mels) a row: only that part of the recording is read, all parts at once."""
        mels = self.signal.audio.mels
        if any(count < 1 for count in frames):
            lacks = "a recording without frames; pack it again" if self.need == "both" else "a row has no sound"
            raise DataError(f"{self.path}: {lacks}")
        wanted = [
            (int(row), int(start) * mels, int(count) * mels)
            for row, start, count in zip(rows, starts, frames, strict=True)
        ]
        with self._reading():
            found = self._dataset.read_blob_ranges("audio", wanted, selector="indices")
        for _, _, data in found:
            if data is None:
                raise DataError(f"{self.path}: a row without a recording; pack it again")
            yield np.frombuffer(data, np.uint8).reshape(-1, mels)


#: How messages call a medium.
_TOLD = {"image": "an image", "audio": "a sound"}


@cache
def _warn_once_of_rows(path: str, rows: str, told: str) -> None:
    _LOG.warning("%s: %s lack %s, and are left out", path, rows, told)


@cache
def _warn_once_of_old_sound(path: str) -> None:
    _LOG.warning(
        "%s was packed by an earlier version of earthtone, which made up sound where an MP3, or any file that was cut, "
        "held less than its header promised; if that may be so, pack it again: earthtone pack DATA --out NEW",
        path,
    )


def _value_hash(value: Any) -> int:
    """Return 64 bits of a value, 0 for none: Python's texts would take twenty times the memory of a million rows."""
    return 0 if value in (None, "") else id_number(str(value))
