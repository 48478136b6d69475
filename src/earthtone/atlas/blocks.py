"""The block file: the vectors of a table once more, laid out for the exact search of `atlas/scan.py`.

`E/index/scan.safetensors` holds each vector as the table does and as int8, in blocks of rows of one modality. It is a
plain safetensors file, mapped into memory, and can be made again from the table at any time.
"""

import hashlib
import json
import math
import mmap
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import DTypeLike, NDArray

from earthtone.atlas.embeddings import VECTOR, EmbeddingCard, EmbeddingTable, vectors_of
from earthtone.errors import DataError, shell_line
from earthtone.files import FORMATS, atomic_path, format_of
from earthtone.progress import progress_bar

BLOCK_FILE = "scan.safetensors"
BLOCK_ROWS = 65_536  # of at most 256 numbers; fewer of wider ones, so that a block being made stays small
PART_ROWS = 1_024  # rows of a block that share a scale and the bounds of the int8 error
_KIND = "blocks of a search"
_LONGEST_HEADER = 2**20  # bytes; ours has about 2,000
_HELD_BYTES = 2**30  # of codes; more stay in the file
_CODES = 127  # the largest int8; -128 stays unused
_TYPES: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "U32": "<u4",
    "I8": "|i1",
}
#: What is read when the file is opened, and covered by one hash; the rest is checked where it is used.
_BESIDE = (
    "part_scale", "part_residual", "part_length", "part_square", "block_start", "block_mean", "block_sum", "row",
    "position", "order", "vector_sum",
)  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """What bounds the int8 error of the P parts of blocks: a row is `mean + scale * codes + residual`."""

    scale: NDArray[np.float64]
    """(P,) what a step of the codes is."""
    residual: NDArray[np.float64]
    """(P,) the largest length of a residual."""
    length: NDArray[np.float64]
    """(P,) the largest length of `scale * codes`."""
    square: NDArray[np.float64]
    """(P,) the smallest squared length of a row minus the mean."""


class Blocks:
    """An open block file. Rows are numbered as in the table; a row's position is its place in the file.

    Positions of a block b are `starts[b]` to `starts[b + 1]`; its part p has `PART_ROWS` of them.
    """

    def __init__(self, path: Path, card: EmbeddingCard, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.path, self.card = path, card
        self.vectors: NDArray[Any] = arrays["vectors"]
        """(N, D) by position, float16 or float32 as in the table."""
        self.parts = Parts(*(arrays[f"part_{name}"] for name in ("scale", "residual", "length", "square")))
        self.starts: NDArray[np.int64] = arrays["block_start"]
        """(B + 1,)"""
        self.means: NDArray[np.float32] = arrays["block_mean"]
        """(B, D)"""
        self._codes, self._code_sums = arrays["codes"], arrays["block_sum"]
        self._rows, self._positions, self._order = arrays["row"], arrays["position"], arrays["order"]
        self._vector_sums = arrays["vector_sum"]
        self._held = _large_pages(self._codes) if self._codes.nbytes <= _HELD_BYTES else self._codes
        self._sound: set[int] = set()  # blocks whose codes were compared with their sum, and are held

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def part_starts(self) -> NDArray[np.int64]:
        """Return (B + 1,) the first part of each block."""
        return np.concatenate([[0], np.cumsum(-(-np.diff(self.starts) // PART_ROWS))])

    def codes(self, block: int) -> NDArray[np.int8]:
        """Return the int8 rows (n, D) of a block. Raises DataError for a damaged one."""
        rows = slice(self.starts[block], self.starts[block + 1])
        if block not in self._sound:
            if zlib.crc32(self._codes[rows].data) != self._code_sums[block]:
                raise self.damaged(f"block {block}")
            if self._held is not self._codes:
                self._held[rows] = self._codes[rows]
            self._sound.add(block)
        return self._held[rows]

    def codes_at(self, positions: NDArray[np.int64], blocks: NDArray[np.int64]) -> NDArray[np.int8]:
        """Return the int8 rows (n, D) at positions, which lie in these blocks (n,), ascending."""
        for block in range(blocks[0], blocks[-1] + 1):
            self.codes(block)
        found: NDArray[np.int8] = np.take(self._held, positions, axis=0)  # twice as fast as `[positions]`
        return found

    def vectors_at(self, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Return the vectors (n, D) at positions. Raises DataError for damaged ones."""
        found = np.take(self.vectors, positions, axis=0)
        if (row_sums(found) != self._vector_sums[positions]).any():
            raise self.damaged("its vectors")
        return found

    def rows_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row numbers of positions."""
        return self._rows[positions].astype(np.int64)

    def at_rows(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return at which positions (N,) row numbers are: faster than to sort their positions."""
        found = np.zeros(len(self), np.bool_)
        found[self._positions[rows]] = True
        return found

    def id_places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of row numbers in the order of the ids."""
        return self._order[rows].astype(np.int64)

    def damaged(self, what: str) -> DataError:
        """Return the error that says so."""
        line = shell_line("earthtone", "index", self.path.parent.parent)
        return DataError(f"{self.path}: {what} changed after it was written: a damaged file; make it again: {line}")


def _large_pages(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return room for codes in memory of large pages, where the system has them; it is taken when it is written to.

    A scan reads all codes once: in the small pages of a mapped file it spends two fifths of its time on addresses.
    """
    room = mmap.mmap(-1, codes.nbytes)
    with suppress(AttributeError, OSError, ValueError):
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, np.int8).reshape(codes.shape)


def write_blocks(table: EmbeddingTable, folder: Path) -> Path:
    """Write the block file of a table into `folder`, whole or not at all, and return its path.

    No more than a block of each modality is held, and 16 bytes a row. Raises DataError for a table without rows, for
    vectors that are not finite, and for a folder that cannot be written.
    """
    count, width = len(table), table.card.dimensions
    if not count:
        raise DataError(f"{table.path}: has no rows; embed something first: earthtone embed")
    state = table_state(table)
    kind = table.dataset.schema.field(VECTOR).type.value_type
    layout = _Layout(_shapes(table, block_rows(width), "F16" if kind == "halffloat" else "F32"))
    path = Path(folder) / BLOCK_FILE
    with atomic_path(path) as temporary, temporary.open("w+b") as file:
        file.truncate(layout.size)
        beside = {name: layout.empty(name) for name in _BESIDE}
        writer = _Writer(file, layout, beside, unit=table.card.unit)
        with progress_bar(count, "index", "vectors") as bar:
            for rows, vectors in _blocks_of(table, block_rows(width)):
                writer.add(rows, vectors)
                bar.update(len(rows))
        if writer.at != count or table_state(table) != state:
            raise DataError(f"{table.path}: changed while it was read; type the line again")
        beside["order"][:] = id_order(table)
        for name, values in beside.items():
            layout.write(file, name, values)
        layout.write_header(file, {"format": FORMATS[_KIND], "table": state, "sum": _digest(beside)})
    return path


def open_blocks(table: EmbeddingTable, folder: Path) -> Blocks | None:
    """Return the block file in `folder`, None where there is none or where it is of another state of the table.

    Raises DataError for a damaged one, NewerFormatError for one of a later earthtone.
    """
    path = Path(folder) / BLOCK_FILE
    if not path.exists():
        return None
    line = shell_line("earthtone", "index", path.parent.parent)
    try:
        said, layout = _read_header(path)
        format_of(said, _KIND, path)
        if said["table"] != table_state(table):
            return None
        arrays = layout.mapped(path)
        if _digest(arrays) != said["sum"]:
            raise ValueError("its content is another than was written")
        if arrays["vectors"].shape != (len(table), table.card.dimensions):
            raise ValueError(f"vectors of shape {arrays['vectors'].shape}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path}: a damaged file ({reason}); make it again: {line}") from error
    return Blocks(path, table.card, arrays)


def table_state(table: EmbeddingTable) -> str:
    """Return a hash that changes with the rows, vectors, ids and modalities of a table, and with nothing else."""
    fields = {field.name(): field.id() for field in table.dataset.lance_schema.fields()}
    wanted = {fields[name] for name in (VECTOR, "id", "modality", "start_s")}
    state: list[object] = [len(table), table.card.dimensions, table.card.unit]
    for fragment in table.dataset.get_fragments():
        files = sorted(file.path for file in fragment.metadata.files if wanted & set(file.fields))
        deleted = fragment.metadata.to_json().get("deletion_file")
        state.append([fragment.fragment_id, files, deleted])
    return hashlib.blake2b(json.dumps(state, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def id_order(table: EmbeddingTable) -> NDArray[np.int64]:
    """Return for each row its place (N,) in the order of id, modality, start and row."""
    columns = ("id", "modality", "start_s")
    order = pc.sort_indices(table.columns(columns), sort_keys=[(name, "ascending") for name in columns])
    places = np.empty(len(order), np.int64)
    places[order.to_numpy()] = np.arange(len(order))
    return places


def row_sums(vectors: NDArray[Any]) -> NDArray[np.uint32]:
    """Return a check sum (n,) of each of n vectors, which another number anywhere in it changes."""
    words: NDArray[Any] = np.ascontiguousarray(vectors).view(np.uint16 if vectors.strides[0] % 4 else np.uint32)
    weights = 2 * np.arange(words.shape[1], dtype=np.uint32) + 1  # odd: a changed word changes the sum
    sums: NDArray[np.uint32] = (words * weights).sum(axis=1, dtype=np.uint32)
    return sums


def block_rows(width: int) -> int:
    """Return how many rows of a width make a block."""
    return max(4 * PART_ROWS, BLOCK_ROWS * 256 // max(256, width) // PART_ROWS * PART_ROWS)


def _blocks_of(table: EmbeddingTable, size: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield row numbers and vectors of up to `size` rows of one modality, each row once."""
    held: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = {}
    start = 0
    for batch in table.dataset.to_batches(columns=[VECTOR, "modality"], batch_size=min(size, 8_192)):
        vectors = vectors_of(pa.Table.from_batches([batch]), table.card.dimensions)
        if not np.isfinite(vectors).all():
            raise DataError(f"{table.path}: vectors that are not finite: a damaged table; embed the data again")
        names = batch["modality"].dictionary_encode()
        numbers = names.indices.to_numpy(zero_copy_only=False)
        for number, name in enumerate(names.dictionary.to_pylist()):
            own = np.flatnonzero(numbers == number)
            held.setdefault(name, []).append((own + start, vectors[own]))
            if sum(len(rows) for rows, _ in held[name]) >= size:
                rows, joined = (np.concatenate(parts) for parts in zip(*held[name], strict=True))
                yield rows[:size], joined[:size]
                held[name] = [(rows[size:], joined[size:])]
        start += len(vectors)
    for parts in held.values():
        rows, joined = (np.concatenate(part) for part in zip(*parts, strict=True))
        if len(rows):
            yield rows, joined


class _Writer:
    """Writes blocks one behind the other and fills in what is said of them."""

    def __init__(self, file: BinaryIO, layout: "_Layout", beside: Mapping[str, NDArray[Any]], *, unit: bool) -> None:
        self._file, self._layout, self._beside, self._unit = file, layout, beside, unit
        self._block = self._part = self.at = 0

    def add(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Write the vectors (n, D) of rows as the next block.

        Within it rows are sorted, so that those of one part have about one largest number, or one length where the
        length is part of the score: their scale and bounds are then tight.
        """
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        near = vectors - mean
        order = np.argsort(np.abs(near).max(axis=1) if self._unit else np.square(near).sum(axis=1), kind="stable")
        rows, vectors = rows[order], vectors[order]
        codes = np.empty(vectors.shape, np.int8)
        for start in range(0, len(rows), PART_ROWS):
            part = slice(start, start + PART_ROWS)
            codes[part] = self._coded(vectors[part].astype(np.float64) - mean)
        beside, end = self._beside, self.at + len(rows)
        beside["block_mean"][self._block] = mean
        beside["block_start"][self._block + 1] = end
        beside["block_sum"][self._block] = zlib.crc32(codes.data)
        beside["row"][self.at : end] = rows
        beside["position"][rows] = np.arange(self.at, end)
        stored = vectors.astype(self._layout.type_of("vectors"))
        beside["vector_sum"][self.at : end] = row_sums(stored)
        self._layout.write(self._file, "vectors", stored, self.at)
        self._layout.write(self._file, "codes", codes, self.at)
        self._block, self.at = self._block + 1, end

    def _coded(self, near: NDArray[np.float64]) -> NDArray[np.int8]:
        """Return the codes of a part and note its bounds, rounded away from what they bound."""
        scale = float(np.abs(near).max()) / _CODES or 1.0
        codes = np.clip(np.rint(near / scale), -_CODES, _CODES)
        about, beside, more, less = scale * codes, self._beside, 1 + 1e-9, 1 - 1e-9
        beside["part_scale"][self._part] = scale
        beside["part_residual"][self._part] = np.linalg.norm(near - about, axis=1).max() * more
        beside["part_length"][self._part] = np.linalg.norm(about, axis=1).max() * more
        beside["part_square"][self._part] = np.square(near).sum(axis=1).min() * less
        self._part += 1
        return codes.astype(np.int8)


def _shapes(table: EmbeddingTable, size: int, vectors: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of every array of a block file, those of the largest numbers first: so all are aligned."""
    count, width = len(table), table.card.dimensions
    modalities = table.columns(["modality"])["modality"].value_counts().field("counts").to_pylist()
    lengths = [min(size, own - start) for own in modalities for start in range(0, own, size)]
    parts = sum(-(-length // PART_ROWS) for length in lengths)
    return {
        **{f"part_{name}": ("F64", (parts,)) for name in ("scale", "residual", "length", "square")},
        "block_start": ("I64", (len(lengths) + 1,)),
        "block_mean": ("F32", (len(lengths), width)),
        "block_sum": ("U32", (len(lengths),)),
        **dict.fromkeys(("row", "position", "order"), ("I32", (count,))),
        "vector_sum": ("U32", (count,)),
        "vectors": (vectors, (count, width)),
        "codes": ("I8", (count, width)),
    }


class _Layout:
    """Where each array lies in a safetensors file, which is written piece by piece: the library wants all at once."""

    def __init__(self, shapes: Mapping[str, tuple[str, tuple[int, ...]]], header: int | None = None) -> None:
        self._shapes, self._offsets, end = shapes, {}, 0
        for name, (kind, shape) in shapes.items():
            begin, end = end, end + np.dtype(_TYPES[kind]).itemsize * math.prod(shape)
            self._offsets[name] = (begin, end)
        self._header = self._padded({"format": FORMATS[_KIND], "table": "0" * 32, "sum": "0" * 32})
        self._data = 8 + (len(self._header) if header is None else header)
        self.size = self._data + end

    def type_of(self, name: str) -> DTypeLike:
        return np.dtype(_TYPES[self._shapes[name][0]])

    def empty(self, name: str) -> NDArray[Any]:
        return np.zeros(self._shapes[name][1], self.type_of(name))

    def write(self, file: BinaryIO, name: str, values: NDArray[Any], row: int = 0) -> None:
        """Write values of an array from one of its rows on."""
        values = np.ascontiguousarray(values, self.type_of(name))
        file.seek(self._data + self._offsets[name][0] + row * values[:1].nbytes)
        file.write(values.data)

    def write_header(self, file: BinaryIO, said: Mapping[str, Any]) -> None:
        header = self._padded(said)
        if len(header) != len(self._header):
            raise ValueError("a header of another length")
        file.seek(0)
        file.write(len(header).to_bytes(8, "little") + header)

    def mapped(self, path: Path) -> dict[str, NDArray[Any]]:
        """Return all arrays, read from the disk when they are used."""
        if (size := path.stat().st_size) != self.size:
            raise ValueError(f"{size:,} bytes, {self.size:,} expected")
        whole = np.memmap(path, np.uint8, "c")  # never written; torch warns of arrays that cannot be
        return {
            name: np.asarray(whole[self._data + begin : self._data + end]).view(self.type_of(name)).reshape(shape)
            for (name, (_, shape)), (begin, end) in zip(self._shapes.items(), self._offsets.values(), strict=True)
        }

    def _padded(self, said: Mapping[str, Any]) -> bytes:
        header: dict[str, Any] = {"__metadata__": {"earthtone": json.dumps(said, sort_keys=True)}}
        for name, (kind, shape) in self._shapes.items():
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": list(self._offsets[name])}
        text = json.dumps(header)
        return text.ljust(-(-(8 + len(text)) // 64) * 64 - 8).encode()  # spaces: the arrays begin at a multiple of 64


def _read_header(path: Path) -> tuple[dict[str, Any], _Layout]:
    """Return what the header says and where the arrays lie. Raises ValueError, KeyError, TypeError for another file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length:,} bytes")
        values = json.loads(file.read(length))
    said = json.loads(values.pop("__metadata__")["earthtone"])
    shapes = {str(name): (str(one["dtype"]), tuple(map(int, one["shape"]))) for name, one in values.items()}
    return said, _Layout(shapes, length)


def _digest(beside: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in _BESIDE:
        digest.update(np.ascontiguousarray(beside[name]).data)
    return digest.hexdigest()
