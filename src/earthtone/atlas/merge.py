"""The rows of several tables of embeddings as one: which fit together, in what order, which are there twice.

Rows are ordered by id, modality and start, as ties of a search are: so an index of the same rows is the same table, bit
for bit, in however many parts and in whatever order they came. Shards divide data by a hash of the id; where a row
stood in the data is not known any more.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from earthtone.atlas.embeddings import CLUSTER, COLUMNS, PLANE, VECTOR, EmbeddingCard, EmbeddingTable, embedding_schema
from earthtone.errors import DataError, one_line

#: What names a row, and orders rows.
KEY = ("id", "modality", "start_s")
BLOCK_ROWS = (
    8192  # read, placed and written at once; also how sums are cut, so that the same rows give the same numbers
)
_NAMED = 5  # of many

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Source:
    """A table whose rows, from number `start` on, come into an index."""

    table: EmbeddingTable
    kind: Literal["index", "shard", "added"]
    start: int = 0


class Rows:
    """Rows of several tables in one order. Positions count them from 0.

    What a table lacks is null; vectors have the type of the first table's.
    """

    def __init__(self, sources: Sequence[Source], source: NDArray[np.int32], row: Positions) -> None:
        self.sources = sources
        self.source = source
        """(N,) the number of each row's source."""
        self._row = row
        """(N,) its number in that table."""
        self._tables = [each.table for each in sources]
        self.extra = tuple(dict.fromkeys(name for table in self._tables for name in _extra(table)))
        self.vectors_are_float16 = vector_type(self._tables[0]).value_type == pa.float16()

    @classmethod
    def of(cls, sources: Sequence[Source]) -> "Rows":
        """Return all rows of some sources, one behind the other."""
        rows = [np.arange(each.start, len(each.table), dtype=np.int64) for each in sources]
        number = np.repeat(np.arange(len(rows), dtype=np.int32), [len(each) for each in rows])
        return cls(sources, number, np.concatenate(rows))

    def __len__(self) -> int:
        return len(self._row)

    def only(self, positions: Positions) -> "Rows":
        """Return some of the rows, in the order given."""
        return Rows(self.sources, self.source[positions], self._row[positions])

    def schema(self, card: EmbeddingCard) -> pa.Schema:
        """Return the schema of a table of these rows, without places on the plane."""
        return embedding_schema(card, "float16" if self.vectors_are_float16 else "float32", self.extra)

    def keys(self) -> pa.Table:
        """Return what names each row, of rows that are all those of their sources, one source behind the other."""
        columns = list(KEY)
        parts = [each.table.columns(columns).slice(each.start) for each in self.sources]
        found = pa.concat_tables([part.select(columns) for part in parts])
        if len(found) != len(self):
            raise DataError(
                f"{self._tables[0].path}: {len(found):,} of {len(self):,} rows could be read: a damaged table"
            )
        return found

    def take(self, positions: Positions, names: Sequence[str]) -> pa.Table:
        """Return columns of the rows at some positions, in their order."""
        sources, rows = self.source[positions], self._row[positions]
        parts, places = [], []
        for number in np.unique(sources):
            where = np.flatnonzero(sources == number)
            parts.append(self._read(self._tables[number], rows[where], names))
            places.append(where)
        found = pa.concat_tables(parts).combine_chunks()
        return found if len(parts) < 2 else found.take(pa.array(np.argsort(np.concatenate(places))))

    def vectors(self, positions: Positions) -> NDArray[Any]:
        """Return the vectors (N, D) of the rows at some positions, as they are stored. Raises DataError."""
        return finite_vectors(self.take(positions, ["id", VECTOR]))

    def blocks(self) -> Iterator[Positions]:
        """Yield all positions, a block after the other."""
        for start in range(0, len(self), BLOCK_ROWS):
            yield np.arange(start, min(start + BLOCK_ROWS, len(self)))

    def _read(self, table: EmbeddingTable, rows: Positions, names: Sequence[str]) -> pa.Table:
        # an index's numbers of clusters are no column of the data: they are made anew, or null beside one of that name
        made = {CLUSTER} if table.has_clusters else set[str]()
        there = [name for name in names if name in table.dataset.schema.names and name not in made]
        found = table.columns(there, rows)
        if len(found) != len(rows):
            raise DataError(f"{table.path}: {len(found):,} of {len(rows):,} rows could be read: a damaged table")
        columns = []
        for name in names:
            if name == VECTOR:
                number = np.float16 if self.vectors_are_float16 else np.float32
                columns.append(_as_lists(stored_vectors(found), number))
            elif name in there:
                columns.append(found[name].combine_chunks())
            else:
                columns.append(pa.nulls(len(found), COLUMNS.get(name, pa.string())))
        return pa.table(columns, names=list(names))


@dataclass(frozen=True)
class Merged:
    """The rows of an index in their order."""

    rows: Rows
    modalities: list[str]
    codes: NDArray[np.int8]
    """(N,) the number of each row's modality."""
    removed: int
    found: frozenset[str]
    """Ids that were removed."""
    already_there: int
    """Rows of added tables, and of shards, that the index had."""


def merge_rows(sources: Sequence[Source], remove: Collection[str] = ()) -> Merged:
    """Return the rows of some tables in the order of an index, each once, without those of some ids.

    Ids are not removed from tables that are added. Of two rows of one name the index's stays, if they hold the same.
    Raises DataError where they do not, and for rows that are twice in the index or in shards.
    """
    every = Rows.of(sources)
    keys = every.keys()
    kept, found = np.arange(len(every)), frozenset[str]()
    if remove:
        own = np.array([source.kind != "added" for source in sources])[every.source]
        gone = pc.is_in(keys["id"], value_set=pa.array(list(remove), pa.string())).to_numpy() & own
        found = frozenset(keys["id"].filter(pa.array(gone)).unique().to_pylist())
        kept = np.flatnonzero(~gone)
        keys = keys.filter(pa.array(~gone))
    order = pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in KEY]).to_numpy().astype(np.int64)
    keys = keys.take(pa.array(order))
    rows = every.only(kept[order])
    again = _same_as_before(keys)
    if again.any():
        _refuse_unlike_doubles(rows, again)
        rows = rows.only(np.flatnonzero(~again))
        keys = keys.filter(pa.array(~again))
    if keys["id"].null_count or keys["modality"].null_count:
        raise DataError("rows without an id or a modality: a damaged table; embed the data again")
    names = keys["modality"].combine_chunks().dictionary_encode()
    names = names.chunk(0) if isinstance(names, pa.ChunkedArray) else names
    codes = names.indices.to_numpy(zero_copy_only=False).astype(np.int8)
    return Merged(rows, names.dictionary.to_pylist(), codes, len(every) - len(kept), found, int(again.sum()))


def _same_as_before(keys: pa.Table) -> NDArray[np.bool_]:
    """Return for each row of a sorted table whether it equals the row before; nulls equal each other."""
    same = np.zeros(len(keys), bool)
    if len(keys) > 1:
        same[1:] = True
    for column in keys.columns if len(keys) > 1 else ():
        now, before = column.slice(1), column.slice(0, len(keys) - 1)
        equal = pc.fill_null(pc.equal(now, before), False)
        same[1:] &= pc.or_(equal, pc.and_(pc.is_null(now), pc.is_null(before))).to_numpy()
    return same


def _refuse_unlike_doubles(rows: Rows, again: NDArray[np.bool_]) -> None:
    """Raise DataError unless rows that are there `again` come from elsewhere and hold what the first one holds."""
    firsts = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
    second = np.flatnonzero(again)
    first = firsts[second]
    kinds = np.array([source.kind for source in rows.sources])
    one, two = kinds[rows.source[first]], kinds[rows.source[second]]
    twice = (one == two) & (two != "added")
    paths = [source.table.path for source in rows.sources]
    if twice.any():
        ids = rows.take(second[twice][:100], ["id"])["id"].to_pylist()
        where = {paths[number].name for each in (first, second) for number in rows.source[each[twice]]}
        raise DataError(
            f"{paths[0].parent}: {int(twice.sum()):,} rows are there twice (ids {named(ids)}; in "
            f"{named(sorted(where))}); embed the data again: each row once expected"
        )
    for start in range(0, len(second), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        ours, theirs = (rows.take(each[part], ["id", "file_fingerprint", VECTOR]) for each in (first, second))
        same = (finite_vectors(ours) == finite_vectors(theirs)).all(axis=1)
        files = zip(ours["file_fingerprint"].to_pylist(), theirs["file_fingerprint"].to_pylist(), strict=True)
        same &= np.array([a == b or None in (a, b) for a, b in files], bool)
        if not same.all():
            at = np.flatnonzero(~same)
            ids = [ours["id"][int(place)].as_py() for place in at[:100]]
            raise DataError(
                f"{paths[rows.source[second[part][at[0]]]]}: rows of the index are there with other vectors or "
                f"files (ids {named(ids)}); to put these in their place, remove the old ones in the same call: --remove"
            )


def _extra(table: EmbeddingTable) -> list[str]:
    """Return the names of a table's columns that not every table of embeddings has."""
    own = {*COLUMNS, *PLANE, *([CLUSTER] if table.has_clusters else [])}
    return [name for name in table.names if name not in own]


def vector_type(table: EmbeddingTable) -> Any:
    """Return the Arrow type of a table's vectors."""
    return table.dataset.schema.field(VECTOR).type


def stored_vectors(table: pa.Table) -> NDArray[Any]:
    """Return the vectors (N, D) of an Arrow table in the type that they are stored in. Raises DataError for nulls."""
    column = table[VECTOR].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    flat: Any = column.flatten()
    if column.null_count or flat.null_count:
        raise DataError("rows without a vector: a damaged table; embed the data again")
    values: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return values


def finite_vectors(table: pa.Table) -> NDArray[Any]:
    """Return the stored vectors of an Arrow table that has the column id. Raises DataError where one is not finite."""
    vectors = stored_vectors(table)
    fine = np.isfinite(vectors).all(axis=1)
    if not fine.all():
        name = table["id"][int(np.flatnonzero(~fine)[0])].as_py()
        raise DataError(
            f"the vector of {one_line(str(name), 100)!r} is not finite; embed it again (vectors beyond 65,504 need "
            "float32), or take it out with --remove"
        )
    return vectors


def _as_lists(vectors: NDArray[Any], number: type) -> Any:
    with np.errstate(over="ignore"):  # told by `finite_vectors`
        flat: NDArray[Any] = np.ascontiguousarray(vectors, number).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1])


# What fits together.


def refuse_other_model(first: EmbeddingTable, other: EmbeddingTable) -> None:
    """Raise DataError unless two tables' vectors can be compared: of one model, width and measure."""
    ours, theirs = first.card, other.card
    if ours.model_fingerprint != theirs.model_fingerprint:
        raise DataError(
            f"{other.path} is of another model: {theirs.model} ({theirs.model_fingerprint}); {first.path} is of "
            f"{ours.model} ({ours.model_fingerprint}); embed both with one model"
        )
    if (ours.dimensions, ours.unit) != (theirs.dimensions, theirs.unit):
        raise DataError(
            f"{other.path} has vectors of {_width_text(theirs)}; {first.path} of {_width_text(ours)}; embed both alike"
        )


def refuse_unlike_shards(shards: Sequence[EmbeddingTable]) -> None:
    """Raise DataError unless tables are parts of one call: one model, data, way of embedding, columns and types."""
    first = shards[0]
    for other in shards[1:]:
        refuse_other_model(first, other)
        ours, theirs = (asdict(replace(table.card, model="")) for table in (first, other))
        if unlike := [name for name in ours if ours[name] != theirs[name]]:
            told = "; ".join(f"{name} {theirs[name]!r} and {ours[name]!r}" for name in unlike)
            raise DataError(f"{other.path} and {first.path} are no parts of one call: {told}; embed all parts alike")
        if other.dataset.schema.remove_metadata() != first.dataset.schema.remove_metadata():
            found = {table: dict(zip(table.dataset.schema.names, table.dataset.schema.types, strict=True))
                     for table in (first, other)}  # fmt: skip
            names = [n for n in {**found[first], **found[other]} if found[first].get(n) != found[other].get(n)]
            raise DataError(
                f"{other.path} and {first.path} differ in columns {named(names or ['(their order)'])}; embed all alike"
            )


def refuse_mixed_windows(first: EmbeddingTable, other: EmbeddingTable) -> None:
    """Raise DataError where one table's sounds are windows and the other's whole recordings."""
    with_sound = [table for table in (first, other) if table.dataset.count_rows(filter="modality = 'audio'")]
    if len(with_sound) == 2 and first.card.windows != other.card.windows:
        kind = {True: "windows", False: "whole recordings"}
        raise DataError(
            f"{other.path} has sounds as {kind[other.card.windows]}, {first.path} as {kind[first.card.windows]}; "
            "embed both with --windows, or both without"
        )


def named(names: Sequence[object]) -> str:
    """Return the first few of many names."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(one_line(str(name), 100) for name in names[:_NAMED]) + more


def _width_text(card: EmbeddingCard) -> str:
    return f"{card.dimensions} numbers{'' if card.unit else ', not of length 1'}"
