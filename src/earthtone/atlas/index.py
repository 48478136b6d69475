"""An index of what was embedded: shards merged, rows added and removed, places on a plane, what makes search fast.

Whatever changes is one commit of the table of record, so that a killed call leaves the table as it was or as it should
be. Its seal follows; then merged shards are removed and what is made from it is renewed: the blocks of the scan, files.
"""

import errno
import json
import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from earthtone.atlas.approximate import CLUSTER_FILE, open_clusters, write_clusters
from earthtone.atlas.embeddings import (
    BLOCKS,
    CLUSTER,
    CLUSTER_TYPE,
    LOOK_COLUMN,
    PLANE,
    SHARDS,
    TABLE,
    VECTOR,
    EmbeddingTable,
    open_embeddings,
)
from earthtone.atlas.geoparquet import extent_of, geoparquet_state, write_geoparquet
from earthtone.atlas.merge import (
    Merged,
    Positions,
    Source,
    finite_vectors,
    merge_rows,
    named,
    refuse_mixed_windows,
    refuse_other_model,
    refuse_unlike_shards,
)
from earthtone.atlas.options import IndexOptions
from earthtone.atlas.plane import METHODS, Method, Plane, lay_plane, sampled_rows
from earthtone.atlas.scan import open_store, write_blocks
from earthtone.atlas.stac import stac_state, write_stac
from earthtone.data.packed import commit_rows, read_seal, write_seal
from earthtone.errors import ConfigError, DataError, NewerFormatError, one_line, one_line_each
from earthtone.files import LOCK_FILE, only_writer, refuse_full_system, refuse_undecodable, regular_file, wait_for_disk
from earthtone.progress import progress_bar
from earthtone.value_types import takes

#: GeoParquet, beside the table too.
PARQUET = "embeddings.parquet"
_RECORD = b"earthtone index"
_SHARD = re.compile(r"(\d+)-of-(\d+)\.lance")
_PART = re.compile(r"\d+-of-\d+")  # the folder of who writes that shard
_LEFT = re.compile(r"\..+\.[0-9a-f]{8}\.lance")  # tables that a killed call was writing or removing
_CLUSTERS = 12  # as many as the page has colours
_FILE_ROWS = 2**17  # of the table: Lance holds some hundred bytes a row until a file is ended
_IDS_BYTES = 2**28


@dataclass(frozen=True)
class IndexResult:
    """What is in an index now, and what was done to it."""

    path: Path
    rows: int
    modalities: Mapping[str, int]
    """How many rows each has."""
    plane: str
    shards: int = 0
    """How many were merged by this call."""
    added: int = 0
    already_there: int = 0
    """Rows of the added tables that the index had, with the same vectors."""
    removed: int = 0
    not_there: tuple[str, ...] = ()
    """Ids that were to be removed and are not in the index."""
    new_columns: tuple[str, ...] = ()
    """Free columns that came with added tables."""
    notes: tuple[str, ...] = ()
    parquet: Path | None = None

    def to_text(self) -> str:
        """Return the lines the command line prints."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.modalities.items())
        lines = [f"{self.path}: {self.rows:,} rows ({counts}), placed on a plane by {self.plane}"]
        lines += [f"  {self.shards} shards merged"] * bool(self.shards)
        if self.added or self.already_there:
            lines.append(f"  {self.added:,} rows added, {self.already_there:,} were there")
        lines += [f"  new columns, null in the other rows: {named(self.new_columns)}"] * bool(self.new_columns)
        lines += [f"  {self.removed:,} rows removed"] * bool(self.removed or self.not_there)
        lines += [f"  {len(self.not_there):,} ids were not there: {named(self.not_there)}"] * bool(self.not_there)
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  {self.parquet}, with collection.json and item.json"] * (self.parquet is not None)
        return one_line_each(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the same, ready for JSON."""
        parquet = None if self.parquet is None else str(self.parquet)
        return {**asdict(self), "path": str(self.path), "parquet": parquet}


@dataclass(frozen=True)
class _Record:
    """What an index remembers of how it was made; lies in the table's schema, so that it changes with the rows."""

    plane: Method
    seed: int
    clusters: int | None = None
    """How many were asked for; None in an index of before there were any."""
    shards: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Name of each merged shard -> its files, rows and a hash of them: what is still there is not merged again."""
    added: Sequence[Mapping[str, Any]] = ()
    """Model, data and rows of each table that was added."""


@takes(IndexOptions)
def build_index(options: IndexOptions) -> IndexResult:
    """Make an index of the folder that `earthtone embed` wrote, or change it: merge shards, add, remove, place, renew.

    Rows are in the order of id, modality and start; so the same rows make the same index, bit for bit. Rows of `add`
    that are there already, with the same vector, are left alone. `remove` are ids, or a file with an id a line; all
    rows of an id go. Places on the plane depend on the rows and the `seed` alone.
    Memory does not grow with the rows, but for their ids and about 40 bytes each. A killed call is made good by the
    next one. Raises DataError for shards that lack or do not fit, tables of another model, vectors that are not finite,
    rows that are there twice, and when nothing would be left; ConfigError while another process writes there.
    """
    folder = Path(options.folder)
    refuse_undecodable(folder)
    if not (folder / TABLE).is_dir() and not _shard_paths(folder):
        open_embeddings(folder)  # says what to type
    try:
        with ExitStack() as held:
            held.enter_context(only_writer(folder, "writing"))
            for path in _shard_paths(folder):
                held.enter_context(only_writer(path.with_suffix(""), "writing"))  # as `earthtone embed` holds it
            _sweep(folder)
            result = _build(folder, options)
        _remove_empty(folder / SHARDS)
        return result
    except OSError as error:
        refuse_full_system(error, folder)
        if (full := _of_the_disk(error)) is not None:
            raise DataError(f"cannot write {folder}: {full}; free the disk; what was there is as it was") from error
        raise DataError(
            f"{folder}: {_reason(error)}; a file of the table is missing or broken, or cannot be written: copy the "
            "whole folder again, or embed again; what was there is as it was"
        ) from error


def _build(folder: Path, options: IndexOptions) -> IndexResult:
    base = open_embeddings(folder) if (folder / TABLE).is_dir() else None
    before = None if base is None else _record(base)
    sources, shards = [] if base is None else [Source(_sealed(base), "index")], _shards(folder, before)
    merging = [shard for shard in shards.values() if base is None or shard.start < len(shard.table)]
    others = [Source(_other(folder, path), "added") for path in _listed(options.add)]
    notes = []
    for source in [*merging, *others]:
        if sources:
            first, other = sources[0].table, source.table
            refuse_other_model(first, other)
            refuse_mixed_windows(first, other)
            if other.card.precision != first.card.precision:
                notes.append(f"{other.path} was embedded with precision {other.card.precision}, the rest with "
                             f"{first.card.precision}")  # fmt: skip
        sources.append(source)
    notes += _lookless(sources)
    ids = _ids(_listed(options.remove))
    wanted = _Record(
        options.plane or (before.plane if before else "pca"),
        options.seed if options.seed is not None else before.seed if before else 0,
        _clusters_asked(options, before, sources, notes),
        {name: _mark(shard.table) for name, shard in shards.items()} or (before.shards if before else {}),
        before.added if before else (),
    )
    placed = before is not None and _laid(before) == _laid(wanted) and _is_placed(base)
    merged, added, changed = None, 0, False
    if not placed or len(sources) > 1 or ids:
        merged = merge_rows(sources, ids)
        counts = np.bincount(merged.rows.source, minlength=len(sources)).tolist()
        new = [
            (source, count) for source, count in zip(sources, counts, strict=True) if source.kind == "added" and count
        ]
        added = sum(count for _, count in new)
        wanted = replace(wanted, added=(*wanted.added, *(_origin(*each) for each in new)))
        changed = not placed or bool(merging or added or merged.removed)
    rows = len(sources[0].table) if merged is None else len(merged.rows)
    removed = merged.removed if merged else 0
    if not rows:
        said = "has no rows" if not removed else f"would have no rows left: all {removed:,} were to be removed"
        raise DataError(f"{folder}: the index {said}; embed some data first, or remove the folder")
    if changed and merged is not None:
        _commit(folder / TABLE, merged, wanted, fresh=base is None)
    table = open_embeddings(folder)
    if len(table) != rows:
        raise DataError(f"{table.path}: {len(table):,} rows are there, {rows:,} were written; type the same again")
    # nothing changed: this may be the end of a stopped call, which may have removed rows
    _settle(table, keep_before=changed and not removed)
    if not options.keep_shards:
        _remove_shards(folder, wanted)
    _renew_blocks(table, folder / BLOCKS, changed)
    notes += _renew_clusters(table, folder / BLOCKS, options.approximate)
    parquet = _renew_parquet(table, folder, options.parquet)
    own = {name for source in sources if source.kind != "added" for name in source.table.free_names}
    return IndexResult(
        table.path, rows, _modalities(table), wanted.plane, len(merging), added, merged.already_there if merged else 0,
        removed, tuple(name for name in ids if not merged or name not in merged.found),
        tuple(name for name in table.free_names if name not in own), tuple(notes), parquet,
    )  # fmt: skip


def _laid(record: _Record) -> tuple[Any, ...]:
    """Return by what rows were placed, and told apart."""
    return record.plane, record.seed, record.clusters


def _clusters_asked(options: IndexOptions, before: _Record | None, sources: Sequence[Source], notes: list[str]) -> int:
    """Return in how many clusters rows are told apart; 0 where a column of the data has their name."""
    if any(CLUSTER in source.table.free_names for source in sources):
        if options.clusters:
            notes.append(f"no clusters: the data have a column {CLUSTER!r} of their own")
        return 0
    if options.clusters is not None:
        return options.clusters
    return _CLUSTERS if before is None or before.clusters is None else before.clusters


# What is to be merged, added, removed.


def _listed(values: Sequence[str | Path] | Path) -> Sequence[str | Path]:
    return [values] if isinstance(values, Path) else values


def _shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a folder in the order of their numbers."""
    there = folder / SHARDS
    found = {path: match for path in there.glob("*.lance") if (match := _SHARD.fullmatch(path.name))}
    return sorted(found, key=lambda path: (int(found[path][2]), int(found[path][1])))


def _shards(folder: Path, before: _Record | None) -> dict[str, Source]:
    """Return the shards of a folder by name, each from its first row on that the index has not yet.

    Raises DataError where some are missing, but for what is left of merged ones.
    """
    paths = _shard_paths(folder)
    if not paths:
        return {}
    found = {path.name: _shard(path, before) for path in paths}
    if before is not None and all(shard.start == len(shard.table) for shard in found.values()):
        return found
    there = folder / SHARDS
    numbers = [tuple(map(int, path.stem.split("-of-"))) for path in paths]
    totals = sorted({total for _, total in numbers})
    if len(totals) > 1:
        divided = named([f"of {total}" for total in totals])
        raise DataError(f"{there} has shards of several divisions ({divided}); leave those of one there")
    present = {number for number, _ in numbers}
    if missing := [f"{n}-of-{total}.lance" for total in totals for n in range(total) if n not in present]:
        raise DataError(
            f"{there}: {len(missing)} of {totals[0]} shards are missing: {named(missing)}; embed them: earthtone embed "
            f"... --shard {missing[0].removesuffix('.lance').replace('-of-', '/')}"
        )
    if beyond := sorted(present - set(range(totals[0]))):
        raise DataError(f"{there}: shards {named(beyond)} of {totals[0]}; they count from 0")
    refuse_unlike_shards([shard.table for shard in found.values()])
    return found


def _shard(path: Path, before: _Record | None) -> Source:
    """Return a shard; one that was merged and has got more rows since from the first of these on."""
    table = _sealed(open_embeddings(path))
    known = None if before is None else before.shards.get(path.name)
    if known is not None and list(known) == _mark(table, int(known[0]), int(known[1])):
        return Source(table, "shard", int(known[1]))
    return Source(table, "shard")


def _mark(table: EmbeddingTable, files: int | None = None, rows: int | None = None) -> list[Any]:
    """Return how many files and rows a sealed table has, and a hash of its files, or of the first of them."""
    seal = read_seal(table.path)
    assert seal is not None  # noqa: S101 - it was asked for
    first = list(seal.files.items())[:files]
    digest = blake2b(json.dumps(first).encode(), digest_size=16).hexdigest()
    return [len(first), seal.rows if rows is None else rows, digest]


def _lookless(sources: Sequence[Source]) -> list[str]:
    """Return a note on each table whose images came without what they look like, where others' came with it."""
    without = [source.table for source in sources if LOOK_COLUMN not in source.table.names]
    if not 0 < len(without) < len(sources):
        return []
    counts = {table.path: table.dataset.count_rows(filter="modality = 'image'") for table in without}
    return [
        f"{path}: of its {count:,} images nothing says what they look like (no column {LOOK_COLUMN}), so a map does "
        "not tell as surely which of them are unlike the training's images; embed them again for that"
        for path, count in counts.items()
        if count
    ]


def _sealed(table: EmbeddingTable) -> EmbeddingTable:
    """Return a table. Raises DataError for one without a seal."""
    if read_seal(table.path) is None:
        raise DataError(f"{table.path} is half-written: it has no seal; repeat the call of earthtone embed, it goes on")
    return table


def _other(folder: Path, path: str | Path) -> EmbeddingTable:
    other = open_embeddings(path)
    if other.path.resolve().parent == folder.resolve():
        raise DataError(f"--add {path} is the index itself; another folder of embeddings expected")
    return _sealed(other)


def _ids(words: Sequence[str | Path]) -> dict[str, None]:
    """Return the ids to remove: as they are, or the lines of a file. Raises DataError."""
    if len(words) != 1 or not Path(words[0]).exists():
        return dict.fromkeys(map(str, words))
    try:
        with regular_file(words[0]).open("rb") as file:
            data = file.read(_IDS_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--remove {words[0]}: {_reason(error)}; a text file with an id a line expected") from error
    if len(data) > _IDS_BYTES:
        raise DataError(f"--remove {words[0]}: more than {_IDS_BYTES:,} bytes; a text file with an id a line expected")
    ids = dict.fromkeys(line for line in text.splitlines() if line.strip())
    if not ids:
        raise DataError(f"--remove {words[0]}: an empty file; an id a line expected")
    return ids


def _origin(source: Source, rows: int) -> Mapping[str, Any]:
    card = source.table.card
    return {"model": card.model, "data": card.data, "rows": rows}


def _modalities(table: EmbeddingTable) -> dict[str, int]:
    """Return how many rows each modality has."""
    counts: Counter[str] = Counter()
    for batch in table.batches(["modality"]):
        counts.update({each["values"]: each["counts"] for each in batch["modality"].value_counts().to_pylist()})
    return dict(sorted(counts.items()))


# The table of record.


def _commit(path: Path, merged: Merged, record: _Record, *, fresh: bool) -> None:
    """Write rows with their places as one version of the table; a table that was not there comes with its seal."""
    rows, names, codes = merged.rows, merged.modalities, merged.codes
    card = rows.sources[0].table.card

    def read(positions: Positions) -> tuple[NDArray[Any], list[str]]:
        return rows.vectors(positions), [names[code] for code in codes[positions]]

    sample = sampled_rows(codes, record.seed)
    plane = lay_plane(read, sample, record.plane, cosine=card.unit, seed=record.seed, clusters=record.clusters or 0)
    schema = _with_plane(rows.schema(card), record)
    fault: list[DataError] = []

    def batches() -> Iterator[Any]:
        try:
            with progress_bar(len(rows), "index", "row") as bar:
                for table in _placed(merged, plane, schema):
                    yield from table.to_batches()
                    bar.update(len(table))
        except DataError as error:  # Lance would wrap it
            fault.append(error)
            raise

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.lance") if fresh else path
    try:
        dataset = commit_rows(temporary, reader, "create" if fresh else "overwrite", file_rows=_FILE_ROWS)
        if len(rows) != dataset.count_rows():
            raise DataError(f"{path}: {dataset.count_rows():,} of {len(rows):,} rows were written; type the same again")
        if fresh:
            write_seal(temporary, dataset)
            temporary.rename(path)
            wait_for_disk(path.parent)
    except BaseException as error:
        if fresh:
            shutil.rmtree(temporary, ignore_errors=True)
        if fault:
            raise fault[0] from error
        raise


def _settle(table: EmbeddingTable, *, keep_before: bool) -> None:
    """Write the seal of what the table is now and take earlier versions off the disk, where that is still to be done.

    Whoever has the version before open can read on, with `keep_before`: else what was removed is gone at once.
    """
    seal, version = read_seal(table.path), table.dataset.version
    if seal is not None and seal.version == version:
        return
    write_seal(table.path, table.dataset)
    old = {"retain_versions": 2} if keep_before else {"older_than": timedelta(0)}
    with suppress(OSError):
        table.dataset.cleanup_old_versions(**old, delete_unverified=True)


def _placed(merged: Merged, plane: Plane, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield all rows with x and y, and their cluster."""
    rows, names, codes = merged.rows, merged.modalities, merged.codes
    made = {*PLANE, *([CLUSTER] if len(plane.centres) else [])}
    read = [name for name in schema.names if name not in made]
    for block in rows.blocks():
        table = rows.take(block, read)
        vectors, modalities = finite_vectors(table), [names[code] for code in codes[block]]
        places = plane.place(block, vectors, modalities)
        if len(plane.centres):
            table = table.append_column(CLUSTER, pa.array(plane.clusters(vectors, modalities)))
        for column, name in enumerate(PLANE):
            table = table.append_column(name, pa.array(places[:, column]))
        yield table.select(schema.names).cast(schema)


def _with_plane(schema: pa.Schema, record: _Record) -> pa.Schema:
    """Return the schema with x, y and the cluster before the vector, and what the index remembers."""
    for name, kind in (PLANE | ({CLUSTER: CLUSTER_TYPE} if record.clusters else {})).items():
        schema = schema.insert(schema.get_field_index(VECTOR), pa.field(name, kind))
    return schema.with_metadata({**schema.metadata, _RECORD: json.dumps(asdict(record), sort_keys=True).encode()})


def _record(table: EmbeddingTable) -> _Record | None:
    """Return what an index remembers; None for a table that never was one. Raises DataError."""
    text = (table.dataset.schema.metadata or {}).get(_RECORD)
    if text is None:
        return None
    try:
        values = json.loads(text)
        clusters = values.get("clusters")
        return _Record(
            METHODS[values["plane"]], int(values["seed"]), None if clusters is None else int(clusters),
            dict(values["shards"]), tuple(values["added"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{table.path}: what it remembers of its index cannot be read: a damaged table") from error


def _is_placed(table: EmbeddingTable | None) -> bool:
    """Return whether all rows have their place: those that `earthtone embed` added since have none."""
    return table is not None and set(PLANE) <= set(table.names) and not table.dataset.count_rows(filter="x IS NULL")


def _remove_shards(folder: Path, record: _Record) -> None:
    """Remove shards whose rows are in the sealed table."""
    for path in _shard_paths(folder):
        if path.name in record.shards:
            left = folder / f".{path.stem}.{uuid.uuid4().hex[:8]}.lance"
            path.rename(left)  # at once: half of a shard must not be taken for a damaged one
            shutil.rmtree(left, ignore_errors=True)


def _remove_empty(there: Path) -> None:
    """Remove the folders that parts were written by where only their lock is left, and then the one that holds them."""
    for part in there.iterdir() if there.is_dir() else ():
        if _PART.fullmatch(part.name) and part.is_dir() and not part.with_suffix(".lance").exists():
            with suppress(ConfigError, OSError), only_writer(part, "writing"):  # it may be at work again
                if [path.name for path in part.iterdir()] == [LOCK_FILE]:
                    (part / LOCK_FILE).unlink()
                    part.rmdir()
    with suppress(OSError):
        there.rmdir()


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        if _LEFT.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


# What is made from the table.


def _renew_blocks(table: EmbeddingTable, folder: Path, changed: bool) -> None:
    """Write what makes the search fast, unless it is there, whole, and of this table."""
    stale: str | None = ""  # empty: to be written without a question
    if not changed:
        try:
            stale = open_store(table, folder)[1]
        except NewerFormatError:
            raise
        except DataError:  # a damaged one
            stale = ""
    if stale is not None:
        write_blocks(table, folder)


def _renew_clusters(table: EmbeddingTable, folder: Path, asked: bool) -> list[str]:
    """Make an approximate index where asked, or where one lies that is not of this table; return what it finds."""
    if not asked and not (folder / CLUSTER_FILE).exists():
        return []
    try:
        clusters = open_clusters(table, folder)
    except NewerFormatError:
        raise
    except (ConfigError, DataError):
        clusters = write_clusters(table, open_store(table, folder)[0], folder)
    return [f"approximate index: {recall.sentence()}" for recall in clusters.recalls]


def _renew_parquet(table: EmbeddingTable, folder: Path, asked: bool) -> Path | None:
    """Write GeoParquet and STAC where asked, or where an earlier one lies that is not of this table; return where."""
    path = folder / PARQUET
    if not asked and not path.exists():
        return None
    state = str(_mark(table)[-1])
    if geoparquet_state(path) == stac_state(folder) == state:
        return path
    extent = extent_of(table)
    record = _record(table)
    write_geoparquet(table, path, extent, state)
    write_stac(table, folder, path, extent, record.added if record else (), state)
    return path


def _reason(error: Exception) -> str:
    """Return why a file could not be written, of Lance's long messages too."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _of_the_disk(error) or one_line(" ".join(str(error).split()), 200)


def _of_the_disk(error: Exception) -> str | None:
    """Return what the system says where it is the disk that takes no more, of Lance's long messages too."""
    said = f"{getattr(error, 'strerror', None) or ''} {error}"
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
    return next((os.strerror(code) for code in codes if os.strerror(code) in said), None)
