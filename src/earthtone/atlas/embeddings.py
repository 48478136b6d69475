"""The table of embeddings: a row for each picture, recording, window or tile, with its vector and its origin.

A folder E holds `embeddings.lance`, the table of record, and beside it what is made from it. A call that embeds a part
of the data writes `shards/3-of-16.lance`, a table of the same columns; `earthtone index E` merges them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from earthtone.data.packed import check_opened, commit_rows, unfinished_marker, write_seal
from earthtone.errors import DataError, FormatError, shell_line
from earthtone.files import FORMATS, format_of, refuse_full_system, refuse_undecodable
from earthtone.models.two_tower import Embeddings as Vectors

TABLE = "embeddings.lance"
SHARDS = "shards"
#: The folder beside the table with what makes a search fast.
BLOCKS = "index"
VECTOR = "vector"
VectorType = Literal["float16", "float32"]
#: The columns of every table of embeddings before its free ones, and the vector (D,) behind them.
COLUMNS: Mapping[str, pa.DataType] = {
    "id": pa.string(),  # of the pair, item or tile; with `modality` and `start_s` it names one row
    "modality": pa.string(),  # image or audio
    "longitude": pa.float64(),  # degrees, WGS 84; of a tile its centre
    "latitude": pa.float64(),
    "datetime": pa.timestamp("us", "UTC"),
    "source": pa.string(),
    "license": pa.string(),
    "attribution": pa.string(),
    "media": pa.string(),  # absolute path of the file or raster, or an address
    "start_s": pa.float64(),  # of a window or an excerpt in its recording; null: the whole recording, or no sound
    "seconds": pa.float64(),  # length of the recording or of the window
    "west": pa.float64(),  # bounds of a tile in `crs`
    "south": pa.float64(),
    "east": pa.float64(),
    "north": pa.float64(),
    "crs": pa.string(),  # such as EPSG:32621
    "file_fingerprint": pa.string(),  # of the file's content (`encode.store.file_state`), null where there is none
}
#: Added by `earthtone index`: the place on the plane.
PLANE = {"x": pa.float32(), "y": pa.float32()}
#: Added by `earthtone index` too, unless the data have a column of that name: which cluster a row is in, from 1 on, the
#: largest first (`atlas.plane`). A column of texts called so came with the data.
CLUSTER, CLUSTER_TYPE = "cluster", pa.int16()
#: A text column of tables with images: what each looks like (`encode.training_images.image_look`), which maps read.
LOOK_COLUMN = "look"


@dataclass(frozen=True)
class EmbeddingCard:
    """By what model a table's vectors were made, of what; lies in the table's schema."""

    model: str
    """Absolute path of the model, or its name such as random:resnet18."""
    model_fingerprint: str
    """`models.storage.model_fingerprint`: config, signal and weights."""
    dimensions: int
    unit: bool
    """Whether vectors have length 1 and are compared by cosine; else by Euclidean distance."""
    data: str
    """What was embedded, as it was named."""
    windows: bool = False
    """Whether rows of sounds are windows; else whole recordings."""
    precision: str = "32"
    """In which the networks multiplied: 32 or bf16."""
    bands: str = ""
    """Which bands pictures were read as red, green and blue, where the model did not say: 4,3,2."""
    value_range: str = ""
    """Of pictures of more than 8 bits, where the model did not say."""


def is_own(name: str) -> bool:
    """Return whether a column of this name is the table's own, and none that comes with data."""
    return name in COLUMNS or name in PLANE or name in (VECTOR, LOOK_COLUMN)


def embedding_schema(card: EmbeddingCard, vectors: VectorType = "float16", extra: Sequence[str] = ()) -> pa.Schema:
    """Return the schema of a table of embeddings with the text columns `extra`: free ones, and `look`."""
    fields = [*COLUMNS.items(), *((name, pa.string()) for name in extra)]
    number = pa.float16() if vectors == "float16" else pa.float32()
    later = ("bands", "value_range")  # left out where they say nothing: earlier versions read such a table
    told = {name: value for name, value in asdict(card).items() if value != "" or name not in later}
    said = {"format": FORMATS["embeddings"], **told}
    return pa.schema(
        [pa.field(name, kind) for name, kind in fields] + [pa.field(VECTOR, pa.list_(number, card.dimensions))],
        metadata={"earthtone": json.dumps(said, sort_keys=True)},
    )


def write_embeddings(
    table: Path, schema: pa.Schema, columns: Mapping[str, Sequence[object]], vectors: Vectors, *, append: bool = False
) -> None:
    """Write rows as one commit, which is there whole or not at all; columns that are not given are null.

    `vectors` are (N, D). With `append` they come behind what the table has. Raises DataError, OSError for a full disk.
    """
    kind = schema.field(VECTOR).type
    if vectors.ndim != 2 or vectors.shape[1] != kind.list_size:
        raise DataError(f"{table}: vectors {vectors.shape}; (N, {kind.list_size}) expected")
    count = len(vectors)
    number = np.float16 if kind.value_type == pa.float16() else np.float32
    flat = pa.array(np.ascontiguousarray(vectors, number).reshape(-1))
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in schema
        if field.name != VECTOR
    ]
    arrays.append(pa.FixedSizeListArray.from_arrays(flat, kind.list_size))
    batch = pa.Table.from_arrays(arrays, schema=schema)
    write_seal(table, commit_rows(table, batch, "append" if append else "create"))


class EmbeddingTable:
    """An open table of embeddings. Rows are numbered as they lie in it."""

    def __init__(self, path: Path, dataset: Any, card: EmbeddingCard) -> None:
        self.path = path
        self.card = card
        self._dataset = dataset

    def __len__(self) -> int:
        return int(self._dataset.count_rows())

    @property
    def dataset(self) -> Any:
        """Return the Lance dataset."""
        return self._dataset

    @property
    def names(self) -> list[str]:
        """Return the names of all columns but the vector."""
        return [name for name in self._dataset.schema.names if name != VECTOR]

    @property
    def free_names(self) -> list[str]:
        """Return the names of the columns that came with the data."""
        return [name for name in self.names if not is_own(name) and not (name == CLUSTER and self.has_clusters)]

    @property
    def has_clusters(self) -> bool:
        """Return whether `earthtone index` has told rows apart by cluster."""
        schema = self._dataset.schema
        return CLUSTER in schema.names and schema.field(CLUSTER).type == CLUSTER_TYPE

    def columns(self, names: Sequence[str], rows: NDArray[np.int64] | None = None) -> pa.Table:
        """Return some columns of all rows, or of some in the order given. Raises DataError for a broken file."""
        with _reading(self.path):
            if rows is None:
                return self._dataset.to_table(columns=list(names))
            return self._dataset.take(rows.tolist(), columns=list(names))

    def batches(self, names: Sequence[str] | None = None, rows: int = 8192) -> Iterator[Any]:
        """Yield some columns, or all, of all rows as Arrow batches of at most `rows` rows. Raises DataError."""
        with _reading(self.path):
            yield from self._dataset.to_batches(columns=None if names is None else list(names), batch_size=rows)

    def vectors(self, rows: NDArray[np.int64] | None = None) -> Vectors:
        """Return vectors (N, D) as float32, of all rows or of some in the order given."""
        return vectors_of(self.columns([VECTOR], rows), self.card.dimensions)

    def blocks(self, rows: int = 65_536) -> Iterator[Vectors]:
        """Yield the vectors of all rows, at most `rows` at once, in order, as float32."""
        for batch in self.batches([VECTOR], rows):
            yield vectors_of(pa.Table.from_batches([batch]), self.card.dimensions)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise what Lance says of files that cannot be read as one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        refuse_full_system(error, path)
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{path}: a file of the table is missing or broken ({reason}); copy the whole folder again, or embed again"
        ) from error
    except BaseException as error:  # Lance's own, of bytes that it did not foresee, is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{path}: a file of the table is broken; copy the whole folder again, or embed again"
        ) from error


def vectors_of(table: pa.Table, dimensions: int) -> Vectors:
    """Return the column of vectors (N, D) of an Arrow table as float32."""
    column = table[VECTOR].combine_chunks()
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
    values = np.concatenate(flat) if flat else np.zeros(0)
    return values.astype(np.float32, copy=False).reshape(-1, dimensions)


def open_embeddings(folder: str | Path, *, finished: bool = True) -> EmbeddingTable:
    """Return the table of a folder that `earthtone embed` wrote, or of its `.lance` itself.

    Raises DataError where there is none, where it is damaged, where shards wait to be merged, and, when it is to be
    `finished`, where its embedding has not ended: half a table must not be taken for a whole one.
    """
    folder = Path(folder)
    refuse_undecodable(folder)
    path = folder if folder.suffix == ".lance" else folder / TABLE
    if not path.is_dir():
        waiting = len(list((folder / SHARDS).glob("*.lance"))) if (folder / SHARDS).is_dir() else 0
        if waiting:
            line = shell_line("earthtone", "index", folder)
            raise DataError(f"{folder}: {waiting} shards wait to be merged; type: {line}")
        data = any((folder / f"manifest.{suffix}").is_file() for suffix in ("csv", "parquet"))  # as of cut tiles
        of, out = (folder, "E") if data else ("DATA", folder)
        line = shell_line("earthtone", "embed", "--model", "RUN", "--data", of, "--out", out)
        raise DataError(f"{folder}: no {TABLE} there; make it with: {line}")
    if finished and (marker := unfinished_marker(path)).exists():
        raise DataError(
            f"{path}: its embedding has not ended; wait for it, or repeat the earthtone embed that was stopped "
            f"(to use what is there, delete {marker.name})"
        )
    try:
        dataset = lance.dataset(str(path))
        card = _card(path, dataset.schema)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be opened ({reason}); embed the data again, or copy the whole folder"
        ) from error
    check_opened(path, dataset, _advice(card))
    return EmbeddingTable(path, dataset, card)


def _advice(card: EmbeddingCard) -> str:
    """Return what to do, and to type, about a table that was cut or damaged."""
    more = [*(["--windows"] if card.windows else []), *(["--bands", card.bands] if card.bands else [])]
    more += ["--value_range", card.value_range] if card.value_range else []
    line = shell_line("earthtone", "embed", "--model", card.model, "--data", card.data, *more, "--out", "NEW")
    return f"an unfinished or damaged copy; copy the whole folder again, or embed the data again: {line}"


def _card(path: Path, schema: pa.Schema) -> EmbeddingCard:
    try:
        values = json.loads((schema.metadata or {})[b"earthtone"])
        format_of(values, "embeddings", path)
        card = EmbeddingCard(**{name: value for name, value in values.items() if name != "format"})
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: no table of embeddings of earthtone's") from error
    wanted = {"dimensions": int, "unit": bool, "windows": bool}
    odd = [name for name, value in asdict(card).items() if type(value) is not wanted.get(name, str)]
    if odd:
        raise DataError(f"{path}: what it says of its {odd[0]} is none: a damaged table; embed the data again")
    kind = schema.field(VECTOR).type if VECTOR in schema.names else None
    if (
        kind is None
        or getattr(kind, "list_size", None) != card.dimensions
        or any(name not in schema.names or schema.field(name).type != column for name, column in COLUMNS.items())
    ):
        raise DataError(f"{path}: its columns are not those of a table of embeddings: a damaged table")
    return card
