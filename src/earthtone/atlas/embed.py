"""The verb embed: vectors of images and sounds of any data as one table, stopped and gone on with at any moment.

Rows are written in commits, whole or not at all, and known by their id: what is there is not made again. Before
anything is written, what is there is held against model and data as they are now.
"""

import csv
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import blake2b
from itertools import compress
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from earthtone.atlas.embeddings import (
    COLUMNS,
    LOOK_COLUMN,
    TABLE,
    VECTOR,
    EmbeddingCard,
    EmbeddingTable,
    embedding_schema,
    open_embeddings,
    write_embeddings,
)
from earthtone.atlas.items import Item, Items, PackedItems, open_items
from earthtone.atlas.options import EmbedOptions
from earthtone.atlas.reading import Reading, fingerprint_of, read_ahead, reader_of
from earthtone.atlas.shards import Part, launched_part
from earthtone.data.grouped_split import id_number
from earthtone.data.manifest import listed
from earthtone.data.pack import system_reason
from earthtone.data.packed import is_begun, unfinished_marker, write_seal
from earthtone.data.pair import Problem
from earthtone.data.remote import refuse_remote
from earthtone.device import choose_precision
from earthtone.encode.engine import Medium, for_many_passes
from earthtone.errors import ConfigError, DataError, no_formula, one_line, one_line_each, shell_line
from earthtone.files import atomic_path, only_writer, refuse_full_system, refuse_undecodable
from earthtone.models.batches import constant_batch
from earthtone.models.storage import model_fingerprint, model_name, opened_model
from earthtone.models.two_tower import Embeddings, TwoTower
from earthtone.progress import decoding_threads, note, ordered_map, progress_bar
from earthtone.signal.config import ImageConfig
from earthtone.signal.excerpt import Excerpt
from earthtone.value_types import takes

_COMMIT_BYTES = 64 * 2**20  # of vectors that wait to be written
_MOST_FLOAT16 = 65504.0
_NAMED = 5
_NOT_FINITE = "no finite vector"
_PRECISIONS = {"32-true": "32", "bf16-mixed": "bf16"}
_UNITS: Mapping[Medium, tuple[str, str]] = {"image": ("images", "image"), "audio": ("sounds", "sound")}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbedResult:
    """What a call did; `problems` counts items left out by kind, each is named in `problems_path`."""

    path: Path
    """The table."""
    model_fingerprint: str
    precision: str
    """In which the networks multiplied: 32 or bf16."""
    rows: int
    """In the table now."""
    added: Mapping[str, int] = field(default_factory=dict)
    """Rows by modality."""
    already_there: int = 0
    """Rows that were there before."""
    problems: Mapping[str, int] = field(default_factory=dict)
    problems_path: Path | None = None
    part: tuple[int, int] = (0, 1)
    """Which part, from 0, of how many."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        paths = {"path": str(self.path), "problems_path": self.problems_path and str(self.problems_path)}
        return {**found, **paths, "added": dict(self.added), "problems": dict(self.problems), "part": list(self.part)}

    def to_text(self) -> str:
        """Return the lines the command line prints."""
        added = ", ".join(f"{count:,} {medium}" for medium, count in self.added.items() if count) or "nothing"
        lines = [f"{self.path}: {added} added, {self.already_there:,} rows were there, {self.rows:,} in all"]
        lines[0] += f" (part {self.part[0]} of {self.part[1]}, counted from 0)" if self.part[1] > 1 else ""
        lines.append(f"  model {self.model_fingerprint}, precision {self.precision}")
        lines += [f"  left out, {kind}: {count:,}" for kind, count in sorted(self.problems.items())]
        if self.problems_path is not None:
            lines.append(f"  each of these is named in {self.problems_path}")
        return one_line_each(lines)


@takes(EmbedOptions)
def embed(options: EmbedOptions) -> EmbedResult:
    """Write vectors of the images and sounds in `data` to `out`/embeddings.lance, and return what was done.

    A killed call goes on where it stopped when it is repeated; data that has got more rows too. A part of several
    (`shard`, else as torchrun or a SLURM array say) writes a table of its own, which `earthtone index` merges. What
    cannot be read is counted and named in problems.csv. Raises DataError where nothing can be read, where another model
    or other data than before is given, and for a full disk; ConfigError while another process writes.
    """
    if options.engine == "ray":
        from earthtone.atlas.ray_engine import embed_on_ray  # of an extra

        return embed_on_ray(options)
    if options.shard is not None:
        return embed_shard(options, *options.shard)
    shard, of, told = launched_part()
    if told:
        note(f"part {shard} of {of}, counted from 0, by {told} (--shard 0/1 for all)")
    return embed_shard(options, shard, of)


def embed_shard(options: EmbedOptions, shard: int = 0, of: int = 1, model: TwoTower | None = None) -> EmbedResult:
    """Embed part `shard`, from 0, of `of` parts, whatever `options.shard` says, into shards/SHARD-of-OF.lance.

    `model` is that of the options where it is open already. One process a part; several parts at a time may run on
    any machines that see `options.out`. Raises as `embed`.
    """
    refuse_remote(options.out, "embed on a disk, then copy the folder")
    out = Path(options.out).absolute()
    refuse_undecodable(out)
    part = Part(out, shard, of)
    part.refuse_others()
    with only_writer(part.folder, "embedding"):
        model = model or opened_model(options.model, seed=options.seed, device=options.device)
        items = open_items(
            options.data, model, modality=options.modality, columns=options.columns, leave_out=out
        )  # fmt: skip
        return _Embedding(options, part, model, items).run()


class _Embedding:
    """One call: what is there, what is to be made, what is done with it."""

    def __init__(self, options: EmbedOptions, part: Part, model: TwoTower, items: Items) -> None:
        self.part = part
        self.model = model
        self.items = items
        self.windows = options.windows
        self.image = _image_config(options, model, items)
        self.batch = options.batch or constant_batch(model.device)
        there = [
            open_embeddings(path, finished=path != part.table)
            for path in dict.fromkeys((part.out / TABLE, part.table))  # the one that parts were merged to, too
            if is_begun(path, "table of embeddings")
        ]
        self.precision = _precision(options, model, there)
        self.card = EmbeddingCard(
            _name_of(options), model_fingerprint(model), model.config.dimensions, model.config.unit, str(options.data),
            options.windows, _PRECISIONS[self.precision], _listed(options.bands), _listed(options.value_range),
        )  # fmt: skip
        for table in there:
            _refuse_other(table, self.card, options, items)
        own = next((table for table in there if table.path == part.table), None)
        self.known = {medium: _Known(there, medium, part) for medium in items.media}
        extra = [name for name in items.extra if name not in COLUMNS]
        extra += [LOOK_COLUMN] * ("image" in items.media)
        schema = embedding_schema(self.card, options.vectors, extra) if own is None else own.dataset.schema
        self.before = 0 if own is None else len(own)
        self.writer = _Writer(part.table, schema, options, begun=own is not None)

    def run(self) -> EmbedResult:
        """Embed what is not there yet."""
        _refuse_changed(self)
        self.quick = for_many_passes(self.model, self.precision)
        marker = unfinished_marker(self.part.table)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()  # stays when we are killed: half a table must not be taken for a whole one
        added: dict[str, int] = {}
        with _Problems(self.part.problems) as problems:
            try:
                for medium in self.items.media:
                    before = self.writer.count
                    self._embed(medium, problems)
                    added[medium] = self.writer.count - before
                self.writer.commit()
            except BaseException:
                if not self.writer.begun:
                    marker.unlink(missing_ok=True)
                raise
        if not self.writer.begun:
            marker.unlink()
            self._nothing(problems)
        self.writer.finish()
        marker.unlink(missing_ok=True)
        self._warn(problems, sum(added.values()))
        return EmbedResult(
            self.part.table, self.card.model_fingerprint, self.card.precision, self.before + self.writer.count,
            added, self.before, dict(problems.counts), problems.kept, (self.part.number, self.part.parts),
        )  # fmt: skip

    def _nothing(self, problems: "_Problems") -> None:
        """Leave the table of a part without items empty. Raises DataError where nothing at all could be embedded."""
        if self.part.parts > 1 or any(len(known) for known in self.known.values()):
            self.writer.write([])
            return
        if not problems.first:
            raise DataError(f"{self.card.data} holds nothing to embed: no row, no image, no sound")
        name, detail = problems.first
        count = sum(problems.counts.values())
        raise DataError(
            f"none of {count} items of {self.card.data} can be embedded; the first, {one_line(name, 100)!r}: {detail}; "
            f"all are named in {problems.path}"
        )

    def _warn(self, problems: "_Problems", added: int) -> None:
        if problems.counts:
            total = sum(problems.counts.values())
            name, detail = problems.first or ("", "")
            _log.warning(
                "%d items cannot be embedded and were left out, such as %s (%s); all are named in %s",
                total, one_line(name, 100), one_line(detail, 300), problems.path,
            )  # fmt: skip

    def wanted(self, medium: Medium, *, known: bool) -> Iterator[Item | Problem]:
        """Yield items of this part that are in the table, or those that are not and problems."""
        here = self.known[medium]
        verified = self.items.verified

        def skip(name: str) -> bool:
            return not self.part.has(name) or ((name in here) != known) or (known and not verified)

        for item in self.items.items(medium, skip):
            if self.part.has(item.id) and known == (isinstance(item, Item) and item.id in here):
                yield item

    def _embed(self, medium: Medium, problems: "_Problems") -> None:
        tower = self.model.image_tower if medium == "image" else self.model.audio_tower
        encoded = self.quick.encoded_images if medium == "image" else self.quick.encoded_sounds
        columns = slice(tower.features, tower.features + self.model.config.dimensions)
        divided = self.windows and medium == "audio"
        waiting: deque[tuple[Item, Reading, int]] = deque()  # items, and how many vectors each has
        label, unit = _UNITS[medium]
        known = len(self.known[medium])
        total = max(-(-self.items.count(medium) // self.part.parts), known)
        with progress_bar(total, label, unit, done=known) as bar, ExitStack() as stack:
            read = stack.enter_context(closing(read_ahead(self.wanted(medium, known=False), self._reader(medium))))

            def inputs() -> Iterator[NDArray[np.uint8]]:
                for found in read:
                    if isinstance(found, Problem):
                        problems.add(medium, found)
                        bar.update()
                        continue
                    item, reading = found
                    waiting.append((item, reading._replace(inputs=_NONE), len(reading.inputs) if divided else 1))
                    if divided:
                        yield from (window[None] for window in reading.inputs)
                    else:
                        yield reading.inputs

            vectors: list[Embeddings] = []
            for row in encoded(inputs(), batch=self.batch, precision=self.precision):
                vectors.append(row[columns].copy())
                if len(vectors) == waiting[0][2]:
                    item, reading, _ = waiting.popleft()
                    if np.isfinite(vectors).all():
                        self.writer.add([*self._rows(item, medium, reading, vectors)])
                    else:
                        said = "the model gives numbers that are not finite for it"
                        problems.add(medium, Problem(item.id, _NOT_FINITE, said))
                    vectors = []
                    bar.update()

    def _reader(self, medium: Medium) -> Any:
        return reader_of(self.items, self.model, medium, self.image)

    def _rows(
        self, item: Item, medium: Medium, reading: Reading, vectors: Sequence[Embeddings]
    ) -> Iterator[Mapping[str, object]]:
        """Yield the row of an item, or those of a recording's windows."""
        row = {
            "id": item.id, "modality": medium, **item.columns, "file_fingerprint": reading.fingerprint,
            LOOK_COLUMN: reading.look,
        }  # fmt: skip
        if medium == "image" or not self.windows:
            yield {**row, "seconds": reading.seconds, VECTOR: vectors[0]}
            return
        long = self.model.signal.audio.window_frames * _hop_seconds(self.model)
        begin = item.media.start_s if isinstance(item.media, Excerpt) else 0.0
        for start, vector in zip(reading.starts_s, vectors, strict=True):
            seconds = long if reading.seconds is None else min(long, reading.seconds - start)
            yield {**row, "start_s": begin + start, "seconds": seconds, VECTOR: vector}


_NONE = np.zeros(0, np.uint8)


def _hop_seconds(model: TwoTower) -> float:
    audio = model.signal.audio
    return round(audio.hop_seconds * audio.sample_rate_hz) / audio.sample_rate_hz


def _name_of(options: EmbedOptions) -> str:
    """Return the model's absolute path, or its name."""
    name = model_name(options.model)
    named = not isinstance(options.model, TwoTower)
    return str(Path(name).absolute()) if named and Path(name).exists() else name


def _image_config(options: EmbedOptions, model: TwoTower, items: Items) -> ImageConfig:
    """Return how pictures are read: as the model says, but for what was typed. Raises ConfigError for what is idle."""
    given = {name: value for name in ("bands", "value_range") if (value := getattr(options, name)) is not None}
    if given and (isinstance(items, PackedItems) or "image" not in items.media):
        what = "a packed table, whose pictures are tiles already" if "image" in items.media else "sounds alone"
        raise ConfigError(f"--{next(iter(given))} has no effect on {what}; leave it out")
    config: ImageConfig = replace(model.signal.image, **given)
    return config


def _listed(numbers: Sequence[Any] | None) -> str:
    """Return band numbers, a range, three of them or a range's name as they are typed; nothing for None."""
    if numbers is None or isinstance(numbers, str):
        return numbers or ""
    return ",".join(_listed(one) if isinstance(one, tuple) else f"{one:g}" for one in numbers)


def _precision(options: EmbedOptions, model: TwoTower, there: Sequence[EmbeddingTable]) -> str:
    """Return what `choose_precision` says; without a wish, that of the vectors that are there."""
    name = options.precision
    if name == "auto" and there:
        name = "bf16" if there[0].card.precision == "bf16" else "32"
    return choose_precision(name, model.device.type)


# What is there already, and whether it is of this model and these data.


def _refuse_other(table: EmbeddingTable, card: EmbeddingCard, options: EmbedOptions, items: Items) -> None:
    """Raise DataError where a table's rows were made by another model, or otherwise than this call would."""
    was = table.card
    if was.model_fingerprint != card.model_fingerprint:
        raise DataError(
            f"{table.path} was made by the model {was.model} of fingerprint {was.model_fingerprint}; {card.model} has "
            f"{card.model_fingerprint}; choose another --out, or the model it was made by"
        )
    number = "float16" if table.dataset.schema.field(VECTOR).type.value_type == pa.float16() else "float32"
    told = [
        ("precision", was.precision, card.precision),
        ("vectors", number, options.vectors),
        *([("windows", was.windows, card.windows)] if "audio" in items.media else []),
        ("bands", was.bands or "none", card.bands or "none"),
        ("value_range", was.value_range or "none", card.value_range or "none"),
    ]
    if unlike := [f"--{name} {before}, now {now}" for name, before, now in told if before != now]:
        raise DataError(f"{table.path} was made with {'; '.join(unlike).lower()}; repeat that, or choose another --out")
    if new := sorted(set(items.extra) - set(table.names)):
        raise DataError(
            f"{table.path} has the free columns {listed(table.free_names)}, {options.data} has {listed(new)} too; make "
            "them equal, or choose another --out"
        )


class _Known:
    """Items of a medium that are in tables, by hashes of their ids, and those of their fingerprints: 16 bytes each."""

    def __init__(self, tables: Sequence[EmbeddingTable], medium: Medium, part: Part) -> None:
        keys, prints = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for table in tables:
            for ids, found in _rows_of(table, medium):
                here = [part.has(name) for name in ids]
                keys.append(np.array([id_number(name) for name in compress(ids, here)], np.uint64))
                prints.append(np.array([_hashed(text) for text in compress(found, here)], np.uint64))
        self.keys, first = np.unique(np.concatenate(keys), return_index=True)
        self.prints = np.concatenate(prints)[first]

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, name: str) -> bool:
        return self.place(name) is not None

    def place(self, name: str) -> int | None:
        """Return where an id stands, None where it does not."""
        key = np.uint64(id_number(name))
        at = int(np.searchsorted(self.keys, key))
        return at if at < len(self.keys) and self.keys[at] == key else None


def _rows_of(table: EmbeddingTable, medium: Medium) -> Iterator[tuple[list[str], list[str | None]]]:
    """Yield ids and fingerprints of the rows of a medium. Raises DataError for a damaged table."""
    try:
        for batch in table.dataset.to_batches(
            columns=["id", "file_fingerprint"], filter=f"modality = '{medium}'", batch_size=8192
        ):
            ids, found = (column.to_pylist() for column in batch.columns)
            yield ids, found
    except (OSError, ValueError) as error:
        refuse_full_system(error, table.path)
        raise DataError(f"{table.path}: a file of the table is missing or broken; choose another --out") from error


def _hashed(fingerprint: str | None) -> int:
    return 0 if fingerprint is None else id_number(fingerprint)


def _refuse_changed(call: _Embedding) -> None:
    """Raise DataError where items that are in the table are gone from the data, or have other files now."""
    before, now = blake2b(digest_size=16), blake2b(digest_size=16)
    changed: list[str] = []
    gone = total = 0
    for medium, known in call.known.items():
        if not len(known):
            continue
        prints, found = np.zeros_like(known.prints), np.zeros(len(known), bool)
        items = (item for item in call.wanted(medium, known=True) if isinstance(item, Item))

        def told(item: Item) -> tuple[str, str | None]:
            return item.id, fingerprint_of(item) if item.media is not None else None

        label, unit = _UNITS[medium]
        with progress_bar(len(known), f"check of {label} that are there", unit) as bar:
            for name, text in ordered_map(told, items, decoding_threads()):
                at = known.place(name)
                assert at is not None  # noqa: S101 - `wanted` yields what is known
                prints[at] = _hashed(text) if call.items.verified else known.prints[at]
                found[at] = True
                if prints[at] != known.prints[at] and len(changed) < _NAMED:
                    changed.append(name)
                bar.update()
        gone += int((~found).sum())
        total += len(known)
        for digest, values in ((before, known.prints), (now, prints)):
            digest.update(known.keys.tobytes() + values.tobytes())
    if changed or gone:
        more = " or more" * (len(changed) == _NAMED)
        said = [f"{len(changed)}{more} have changed, such as {listed(changed, 3)}"] * bool(changed)
        said += [f"{gone} of {total} are gone from {call.card.data}"] * bool(gone)
        again = shell_line("earthtone", "index", call.part.out, "--remove", "IDS")
        raise DataError(
            f"{call.part.out} holds vectors of other data: {'; '.join(said)} (fingerprint of what was embedded "
            f"{before.hexdigest()}, now {now.hexdigest()}); choose another --out, or take rows out: {again}"
        )


# Writing.


class _Writer:
    """Rows that wait, and the table that they are added to in commits."""

    def __init__(self, table: Path, schema: pa.Schema, options: EmbedOptions, *, begun: bool) -> None:
        self._table = table
        self._schema = schema
        dimensions = schema.field(VECTOR).type.list_size
        self._most = max(1, min(options.commit_rows, _COMMIT_BYTES // (4 * dimensions)))
        self._seconds = options.commit_seconds
        self._waiting: list[Mapping[str, object]] = []
        self._since = time.monotonic()
        self._half = schema.field(VECTOR).type.value_type == pa.float16()
        self.begun = begun
        self.count = 0

    def add(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Take the rows of one item, which are written together."""
        self._waiting += rows
        self.count += len(rows)
        if len(self._waiting) >= self._most or time.monotonic() - self._since >= self._seconds:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        if self._waiting:
            self.write(self._waiting)
        self._waiting = []
        self._since = time.monotonic()

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add rows as one commit. Raises DataError, for a full disk too."""
        dimensions = self._schema.field(VECTOR).type.list_size
        vectors = np.array([row[VECTOR] for row in rows], np.float32).reshape(len(rows), dimensions)
        if self._half and len(rows) and np.abs(vectors).max() > _MOST_FLOAT16:
            raise ConfigError(f"vectors of up to {np.abs(vectors).max():g} have no room in float16; --vectors float32")
        names = [name for name in self._schema.names if name != VECTOR]
        columns = {name: [_stored(row.get(name)) for row in rows] for name in names}
        try:
            self._table.parent.mkdir(parents=True, exist_ok=True)
            write_embeddings(self._table, self._schema, columns, vectors, append=self.begun)
        except OSError as error:
            refuse_full_system(error, self._table)
            raise DataError(
                f"cannot write {self._table}: {system_reason(error)}; free the disk and repeat the call, which goes on"
            ) from error
        self.begun = True

    def finish(self) -> None:
        """Seal the table; versions of a day ago go."""
        dataset = lance.dataset(str(self._table))
        with suppress(OSError):
            dataset.cleanup_old_versions(older_than=timedelta(days=1))
        write_seal(self._table, dataset)


def _stored(value: object) -> object:
    """Return a value as Arrow takes it: a text without halves of characters."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "backslashreplace").decode()
    return value


class _Problems:
    """The CSV of what cannot be embedded; absent when there is nothing. `first` is the first one's id and reason."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: Path | None = None
        self.counts: Counter[str] = Counter()
        self.first: tuple[str, str] | None = None

    def __enter__(self) -> "_Problems":
        self._stack = ExitStack()
        temporary = self._stack.enter_context(atomic_path(self.path))
        self._file = self._stack.enter_context(
            temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        )
        self._rows = csv.writer(self._file)
        self._rows.writerow(["id", "modality", "problem", "detail"])
        return self

    def add(self, medium: Medium, problem: Problem) -> None:
        """Name one."""
        self.counts[problem.kind] += 1
        self.first = self.first or (problem.id, problem.detail)
        self._rows.writerow([no_formula(problem.id), medium, problem.kind, no_formula(problem.detail)])
        self.kept = self.path

    def __exit__(self, *error: Any) -> None:
        with suppress(OSError, DataError) if error[0] else nullcontext():  # that of the call goes on as it is
            self._stack.__exit__(*error)
        if self.kept is None:
            self.path.unlink(missing_ok=True)
