"""Pairs to a packed table: decode once, append, resume; any data opened as a packed table."""

import csv
import glob
import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import lance
import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock, Timeout

from earthtone.data.check import (
    BROKEN_AUDIO,
    BROKEN_IMAGE,
    DECODER_FAULTS,
    Contents,
    broken_pair,
    is_silence,
    leak_warnings,
    small_split_warnings,
    table_contents,
)
from earthtone.data.grouped_split import id_number
from earthtone.data.manifest import needed
from earthtone.data.packed import (
    LATER_COLUMNS,
    NOTES,
    TILE_SIDE,
    Table,
    commit_rows,
    is_begun,
    table_schema,
    unfinished_marker,
    write_seal,
)
from earthtone.data.pair import PAIR_COLUMNS, SPLITS, Note, Pair, Problem
from earthtone.data.remote import is_hub, is_remote, last_part, refuse_remote
from earthtone.data.source import Source, check_input, is_packed, items_skipping, open_source, preferred_audio
from earthtone.data.splits import MANIFEST, NamedSplit, check_split_by, named_split, split_in_words
from earthtone.errors import (
    ConfigError,
    DataError,
    SignalError,
    changes,
    flat,
    no_formula,
    one_line_each,
    shell_line,
)
from earthtone.files import atomic_path, refuse_full_system, refuse_undecodable, write_text_atomic
from earthtone.options import Need, PackOptions
from earthtone.processors import usable_processors
from earthtone.progress import ordered_map, progress
from earthtone.signal.audio import Samples, read_recording, write_preview
from earthtone.signal.config import SignalConfig, check_signal_config
from earthtone.signal.excerpt import no_excerpt
from earthtone.signal.image import cut_tile, encode_tile, image_hash, read_picture
from earthtone.signal.remarks import Remark
from earthtone.signal.spectrogram import log_mel, refuse_short, spectrogram_from_picture
from earthtone.value_types import takes

COMMIT_BYTES = 64 * 2**20  # one commit of the table: the most that a kill can lose, and the most that waits in memory
COMMIT_ROWS = 1024
#: What a row holds of a medium that it lacks.
_LACKS: Mapping[str, dict[str, Any]] = {
    "image": {"image": None, "image_hash": "", TILE_SIDE: None},
    "audio": {"audio": None, "audio_hash": "", "audio_frames": 0, "audio_seconds": None, "audio_preview": None},
}
#: Columns of a row, and what was noticed.
Cells = tuple[dict[str, Any], list[Remark]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackResult:
    """What packing did; `problems` counts skipped rows by kind, `notes` what was noticed about added ones.

    Each is named in `problems_path`.
    """

    path: Path
    added: int
    already_there: int
    rows: int
    problems: Mapping[str, int] = field(default_factory=dict)
    problems_path: Path | None = None
    split: Mapping[str, Any] = field(default_factory=lambda: {"by": MANIFEST})
    """How rows are dealt out, as the table records it."""
    splits: Mapping[str, int] = field(default_factory=dict)
    """How many of the added rows are in train, val, test, and in none."""
    notes: Mapping[str, int] = field(default_factory=dict)
    contents: Mapping[str, Contents] = field(default_factory=dict)
    """What each split of the whole table holds."""
    leaks: tuple[str, ...] = ()
    """A line where images or recordings of the table lie in several splits."""
    linked_text: str = ""
    """How many rows of the data were dealt out together with others, because they share something; empty: none."""
    excluded: tuple[str, ...] = ()
    """What was left out because a file names it, and what of that file was not found."""
    lacking: Mapping[str, int] = field(default_factory=dict)
    """How many of the added rows have no image, and how many no audio; where rows need not have both."""

    @property
    def split_text(self) -> str:
        """How the added rows were dealt out, and to what numbers."""
        counts = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        return f"split by {split_in_words(self.split)}; {counts or 'nothing added'}"

    @property
    def skipped_text(self) -> str:
        """How many rows were skipped, of how many, and why; for a warning."""
        count, share = self._share(sum(self.problems.values()))
        return f"{count} rows skipped ({share}; {_kinds_text(self.problems)})"

    def _share(self, count: int) -> tuple[str, str]:
        seen = self.added + self.already_there + sum(self.problems.values())
        return f"{count} of {seen}", f"{100 * count / max(seen, 1):.3g} %"

    def to_text(self) -> str:
        """Return the lines the command line prints."""
        what = "rows" if self.lacking else "pairs"
        lines = [f"{self.path}: {self.added} {what} added, {self.already_there} were there, {self.rows} in all"]
        lines += [f"  added without {name}: {count}" for name, count in self.lacking.items()]
        lines.append(f"  {self.split_text}")
        lines += [f"  dealt out together: {self.linked_text}"] * bool(self.linked_text)
        lines += [f"  left out: {line}" for line in self.excluded]
        lines += [f"  {name} in all: {found}" for name, found in self.contents.items()]
        lines += [f"  caution: {line}" for line in (*self.leaks, *small_split_warnings(self.contents))]
        for kind, count in sorted(self.problems.items()):
            lines.append("  skipped, {}: {} ({})".format(kind, *self._share(count)))
        for kind, count in sorted(self.notes.items()):
            lines.append("  added, but note {}: {} ({})".format(kind, *self._share(count)))
        if self.problems_path is not None:
            lines.append(f"  each of these rows is named in {self.problems_path}")
        return one_line_each(lines)


@takes(PackOptions)
def pack(options: PackOptions) -> PackResult:
    """Append the pairs of `data` to the packed table `out`, creating it if need be; rows already there are left alone.

    A row that lacks an image or a sound is left out, unless `need` says otherwise: then it is there without it, also
    where the file it names is missing or broken, of which a note is kept. A table keeps the `need` it was begun with.
    `split_by` deals the rows out (see `NAMED_SPLITS`), `buffer_km` is for `buffered-blocks`, rows that the file
    `exclude` names are in no split; a table takes no rows that are split otherwise than its own.
    A killed call goes on where it stopped when it is repeated: commits are atomic and rows are known by their id.
    Rows that share an image or a recording are in one split; see `named_split`.
    Memory does not grow with the rows, but for about 400 bytes a row of ids and hashes. Raises DataError, also when
    nothing is usable.
    """
    signal, split_by, data = options.signal or SignalConfig(), options.split_by or MANIFEST, options.data
    check_signal_config(signal)
    check_split_by(split_by, options.buffer_km)
    copied = f"aws s3 cp --recursive {last_part(options.out)} {options.out}"
    refuse_remote(options.out, f"pack on a disk, then copy: {copied}")
    out = Path(options.out).absolute()
    refuse_undecodable(out)
    must, also = needed(options.need)
    source = open_source(data, columns=options.columns, need=must, also=also, prefer=preferred_audio(data, signal))
    check_input(source, signal)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{out}.lock", timeout=0), _one_thread_each():
            split = named_split(
                split_by,
                source,
                buffer_km=options.buffer_km,
                exclude=options.exclude,
                packed=Table(out) if is_begun(out) else None,
            )
            return _pack_locked(source, out, signal, split, options)
    except Timeout as error:
        raise DataError(f"{out}: another process is packing into it; wait for it, or choose another --out") from error
    except OSError as error:
        refuse_full_system(error, out)
        raise DataError(f"cannot write {out}: {system_reason(error)}; choose another --out or free the disk") from error


def _pack_locked(
    source: Source, out: Path, signal: SignalConfig, split: NamedSplit, options: PackOptions
) -> PackResult:
    known = _known_ids(out, signal, source, split, options.need)
    before = len(known)
    schema = table_schema(signal, source.extra_columns, split.record, options.need)
    must, also = needed(options.need)
    lacking = [name for name in LATER_COLUMNS if before and not Table(out).has_column(name)]
    for name in lacking:
        schema = schema.remove(schema.get_field_index(name))  # a table of before there was that column
    keeps_scale = TILE_SIDE not in lacking
    marker = unfinished_marker(out)
    marker.touch()  # stays when we are killed: half a table must not be taken for a whole one
    problems: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    splits = dict.fromkeys((*SPLITS, "none"), 0)
    without = dict.fromkeys(also, 0)
    added = already = without_scale = 0
    with _ProblemList(out.with_name(f"{out.name}.problems.csv")) as listed:

        def fresh() -> Iterator[Pair | Problem]:
            nonlocal already
            items = items_skipping(source, lambda _, name: id_number(name) in known)
            for pair in progress(items, total=len(source), label="pack"):
                if isinstance(pair, Pair) and id_number(pair.id) in known:
                    already += 1
                else:
                    yield pair

        waiting: list[dict[str, Any]] = []
        size = 0

        def work(pair: Pair | Problem) -> tuple[dict[str, Any], list[Note]] | Problem:
            return _packed(pair, source, signal, split, options.preview_seconds, must)

        for packed in ordered_map(work, fresh(), options.threads or usable_processors()):
            if isinstance(packed, Problem):
                problems[packed.kind] += 1
                listed.add(packed)
                continue
            row, noticed = packed
            row["split"] = split.settle(row["id"], row["split"], (row["image_hash"], row["audio_hash"]))
            for note in noticed:
                notes[note.kind] += 1
                listed.add(note)
            waiting.append(row)
            splits[row["split"] or "none"] += 1
            without_scale += not keeps_scale and row[TILE_SIDE] is not None
            without = {medium: count + (row[medium] is None) for medium, count in without.items()}
            size += sum(len(row[name] or b"") for name in ("audio", "image", "audio_preview"))
            if size >= COMMIT_BYTES or len(waiting) >= COMMIT_ROWS:
                added += _commit(waiting, out, schema)
                waiting, size = [], 0
        added += _commit(waiting, out, schema)
        if not before and not added:
            marker.unlink()
            first = "; ".join(f"{kind}: {count}" for kind, count in problems.most_common(3)) or "no rows"
            closer = shell_line("earthtone", "check", source.path)
            raise DataError(f"{source.path}: no usable pair ({first}); look closer with: {closer}")
    if without_scale:
        _log.warning(
            "%s was packed before tables kept the metres along a tile: those of %d added rows are lost; for "
            "model.scale_input pack all again with another --out", out, without_scale,
        )  # fmt: skip
    dataset = lance.dataset(str(out))
    dataset.cleanup_old_versions(older_than=timedelta(days=1))
    write_seal(out, dataset)
    marker.unlink()
    splits = {name: count for name, count in splits.items() if count or name != "none"}
    return PackResult(
        out, added, already, before + added, dict(problems), listed.kept, split.record, splits, dict(notes),
        table_contents(Table(out)), tuple(leak_warnings(Table(out))), split.linked_text,
        split.excluded, without,
    )  # fmt: skip


def _known_ids(out: Path, signal: SignalConfig, source: Source, split: NamedSplit, need: Need) -> set[int]:
    """Return the hashed ids of an existing table, after checking that the new rows will fit it."""
    if not is_begun(out):
        return set()
    table = Table(out)
    if table.signal != signal:
        changed = changes(flat(asdict(table.signal)), flat(asdict(signal)))
        raise DataError(f"{out} was packed with another signal config ({changed}); choose another --out")
    if table.need != need:
        raise DataError(
            f"{out} was packed with --need {table.need}, the new rows come with --need {need}; "
            f"type --need {table.need}, or choose another --out"
        )
    if dict(table.split) != dict(split.record):
        raise DataError(
            f"{out} is split by {table.split.get('by')}, the new rows by {split.record['by']} "
            f"({changes(flat(table.split), flat(split.record))}); split both alike or choose another --out"
        )
    if set(table.extra_columns) != set(source.extra_columns):
        raise DataError(
            f"{out} has the free columns {sorted(table.extra_columns)}, {source.path} has "
            f"{sorted(source.extra_columns)}; make them equal or choose another --out"
        )
    return {id_number(name) for name in table.column("id")}


def _packed(
    pair: Pair | Problem,
    source: Source,
    signal: SignalConfig,
    split: NamedSplit,
    preview_seconds: float,
    need: tuple[str, ...],
) -> tuple[dict[str, Any], list[Note]] | Problem:
    """Return the table's row of a pair and what was noticed about it, or the problem that keeps it out."""
    if isinstance(pair, Problem):
        return pair
    row: dict[str, Any] = {name: getattr(pair, name) for name in PAIR_COLUMNS} | {"split": split.assign(pair)}
    remarks = list(pair.remarks)
    problem = None
    for medium, broken in (("image", BROKEN_IMAGE), ("audio", BROKEN_AUDIO)):
        row |= _LACKS[medium]
        if getattr(pair, medium) is None:
            continue
        try:
            if medium == "image":
                cells, noticed = _image(pair, signal)
            else:
                cells, noticed = _sound(pair, source, signal, preview_seconds)
        except SignalError as error:
            problem = Problem(pair.id, broken, str(error))
        except DECODER_FAULTS as error:
            problem = broken_pair(pair, error)
        else:
            row |= cells
            remarks += noticed
            continue
        if medium in need:
            return problem
        remarks.append(Remark(problem.kind, f"{problem.detail}; the row is kept without it"))
    if problem is not None and row["image"] is None and row["audio"] is None:
        return problem
    if is_silence(remarks):
        row["audio_hash"] = ""  # an empty hash has no twins
    row[NOTES] = "\n".join(f"{kind}: {' '.join(detail.split())}" for kind, detail in remarks) or None
    return row | dict(pair.extra), [Note(pair.id, remark.kind, remark.detail) for remark in remarks]


def _image(pair: Pair, signal: SignalConfig) -> Cells:
    """Return what is stored of a pair's image, and what was noticed. Raises SignalError."""
    assert pair.image is not None  # noqa: S101 - the caller looked
    # a JPEG may be decoded small, but not where only a part of it is kept
    min_side = None if signal.image.footprint_m is not None else signal.image.stored_pixels
    picture = read_picture(pair.image, signal.image, min_side)
    tile, side_m, remarks = cut_tile(picture, signal.image, pair.image_gsd_m)
    cells = {"image": encode_tile(tile, signal.image), "image_hash": image_hash(tile), TILE_SIDE: side_m}
    return cells, [*picture.remarks, *remarks]


def _sound(pair: Pair, source: Source, signal: SignalConfig, preview_seconds: float) -> Cells:
    """Return what is stored of a pair's recording, and what was noticed. Raises SignalError."""
    assert pair.audio is not None  # noqa: S101 - the caller looked
    samples, remarks = None, []
    if source.ready_spectrograms:
        spectrogram = spectrogram_from_picture(no_excerpt(pair.audio), signal.audio)
    else:
        recording = read_recording(pair.audio, signal.audio.sample_rate_hz, signal.audio.channel)
        refuse_short(recording.facts.seconds, signal.audio)
        samples, remarks = recording.samples, list(recording.remarks)
        spectrogram = log_mel(samples, signal.audio)
    sound = spectrogram.tobytes()
    cells = {
        "audio": sound,
        "audio_hash": hashlib.blake2b(sound, digest_size=16).hexdigest(),
        "audio_frames": len(spectrogram),
        "audio_seconds": None if samples is None else len(samples) / signal.audio.sample_rate_hz,
        "audio_preview": None if samples is None else _preview(samples, signal, preview_seconds),
    }
    return cells, remarks


def _preview(samples: Samples, signal: SignalConfig, seconds: float) -> bytes | None:
    """Return the middle of a recording, as a file for the browser."""
    hz = signal.audio.sample_rate_hz
    count = min(len(samples), round(seconds * hz))
    start = (len(samples) - count) // 2
    return write_preview(np.asarray(samples[start : start + count]), hz) if count else None


def _commit(rows: list[dict[str, Any]], out: Path, schema: pa.Schema) -> int:
    """Append rows to the table in one atomic step; return how many."""
    if not rows:
        return 0
    batch = pa.Table.from_pylist(rows, schema=schema)
    commit_rows(out, batch, "append" if is_begun(out) else "create")
    return len(rows)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Keep torch and OpenCV to one thread each: ours already fill the cores."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


class _ProblemList:
    """The CSV of skipped rows, and of added ones that need a look, beside the table; absent when there are none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: Path | None = None

    def __enter__(self) -> "_ProblemList":
        for left in self.path.parent.glob(f".{glob.escape(self.path.stem)}.????????{self.path.suffix}"):
            left.unlink()  # what a killed call left; we hold the lock
        self._whole = atomic_path(self.path)
        self._file = self._whole.__enter__().open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["id", "problem", "detail", "row"])
        return self

    def add(self, found: Problem | Note) -> None:
        outcome = "left out" if isinstance(found, Problem) else "added"
        self._rows.writerow([no_formula(found.id), found.kind, no_formula(found.detail), outcome])
        self._file.flush()  # what is written cannot fail when the file is closed
        self.kept = self.path

    def __exit__(self, *error: Any) -> None:
        self._file.close()
        with suppress(DataError) if error[0] else nullcontext():  # that of the packing goes on as it is
            self._whole.__exit__(*error)
        if self.kept is None:
            self.path.unlink(missing_ok=True)


def system_reason(error: OSError) -> str:
    """Return what the system said; Lance wraps it into long texts of its own."""
    text = error.strerror or str(error)
    for telling in ("No space left on device", "Permission denied", "Read-only file system", "File too large"):
        if telling in text:
            return telling
    return text.splitlines()[0]


@contextmanager
def open_table(
    data: str | Path,
    signal: SignalConfig,
    *,
    columns: Mapping[str, str] | None = None,
    split_by: str | None = None,
    buffer_km: float | None = None,
    exclude: str | Path | None = None,
    need: Need = "both",
    keep: Path | None = None,
) -> Iterator[Table]:
    """Yield `data` as a packed table; what is not packed yet is packed into `keep`, or for this once only.

    `split_by`, `buffer_km`, `exclude` and `need` are those of `pack`, by default the data's own splits, and pairs; of a
    packed table the caller takes the rows that it needs. Raises DataError when nothing in it is usable, ConfigError for
    options without effect.
    """
    options: dict[str, Any] = {"split_by": split_by or MANIFEST, "buffer_km": buffer_km, "exclude": exclude}
    options["need"] = need
    check_split_by(options["split_by"], buffer_km)
    if is_packed(data):
        given = {"columns": columns, "split_by": split_by, "buffer_km": buffer_km, "exclude": exclude}
        for name, value in given.items():
            if value:
                raise ConfigError(f"{data} is packed: --{name} has no effect on it; leave it out")
        if not is_remote(data) and (marker := unfinished_marker(Path(data))).exists():
            raise DataError(
                f"{data}: its packing has not ended; wait for it or repeat the earthtone pack that was stopped "
                f"(to use what is there, delete {marker.name})"
            )
        yield Table(data)
    elif keep is not None:
        note, source = _source_note(data, keep)
        _warn_of(pack(data, keep, signal=signal, columns=columns, **options))
        write_text_atomic(note, source)
        yield Table(keep)
    else:
        with tempfile.TemporaryDirectory(prefix="earthtone-") as folder:
            once = Path(folder) / "once.lance"
            _warn_of(pack(data, once, signal=signal, columns=columns, preview_seconds=5.0, **options), kept=False)
            yield Table(once)


def _source_note(data: str | Path, keep: Path) -> tuple[Path, str]:
    """Return the file beside `keep` that says whose pairs it holds, and its text: a run's own table is of one source.

    Raises DataError when it holds the pairs of other data.
    """
    note, source = keep.with_name(f"{keep.name}.source"), str(data if is_hub(data) else Path(data).resolve())
    if note.exists() and (before := note.read_text(encoding="utf-8").strip()) != source:
        raise DataError(
            f"{keep} holds the pairs of {before}; choose another --out, or name the table itself as the data"
        )
    return note, f"{source}\n"


def _warn_of(result: PackResult, *, kept: bool = True) -> None:
    """Warn of skipped and of odd rows: what is measured or learned is not all that was given."""
    where = f"each is named in {result.problems_path}" if kept else "earthtone check names each"
    if result.problems:
        _log.warning("%s; %s", result.skipped_text, where)
    if result.notes:
        _log.warning("of %d added rows some need a look (%s); %s", result.added, _kinds_text(result.notes), where)
    for line in result.excluded:
        _log.warning("%s", line)
    if result.splits.get("none"):
        _log.warning("%s: those are not used", result.split_text)


def _kinds_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items()))
