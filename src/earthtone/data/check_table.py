"""Check a packed table: are its files what was packed, does every row decode, are its hashes those of its contents."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earthtone.data.check import SHOWN, Progress, is_sampled
from earthtone.data.manifest import needed
from earthtone.data.packed import Table, file_faults, read_seal, unfinished_marker
from earthtone.errors import DataError, SignalError, one_line_each
from earthtone.signal.image import decode_tile

_ROWS = 64  # read at once


@dataclass(frozen=True)
class TableCheck:
    """What a packed table is; `faults` are lines on all that is not as it was packed."""

    path: str
    rows: int
    examined: int
    splits: Mapping[str, int]
    sealed: bool
    """Whether the table tells what its files were; tables of earlier versions do not."""
    files: int
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with every fault."""
        return {"ok": self.ok, **asdict(self)}

    def to_text(self) -> str:
        """Return the lines that the command line prints; many faults are cut after a few."""
        splits = ", ".join(f"{name} {count}" for name, count in self.splits.items())
        files = f"{self.files} files, as they were packed" if self.sealed else "packed before tables told their files"
        lines = [f"{self.path}: a packed table of {self.rows} rows, {self.examined} examined", f"  splits: {splits}"]
        lines += [f"  files: {files}"] * (self.ok or not self.sealed)
        lines += [f"  fault: {fault}" for fault in self.faults[:SHOWN]]
        lines += [f"  ... {len(self.faults) - SHOWN} more"] * (len(self.faults) > SHOWN)
        lines.append("  all of it is as it was packed" if self.ok else "  copy it again, or pack it again")
        return one_line_each(lines)


def check_table(
    path: str | Path, *, decode: bool = True, sample: int | None = None, progress: Progress | None = None
) -> TableCheck:
    """Return whether a packed table is what `pack` wrote: rows, files, pictures, sounds and hashes.

    Without `decode` the files are only counted and measured; `sample` decodes that many rows, evenly spread.
    Raises DataError where there is no table to look into.
    """
    path = Path(path)
    seal = read_seal(path)
    faults = [] if seal is None else list(file_faults(path, seal, whole=decode))
    if unfinished_marker(path).exists():
        faults.append("its packing has not ended; repeat the earthtone pack that was stopped")
    table = Table(path, check=False)
    rows = len(table)
    if seal is not None and table.version <= seal.version and (table.version, rows) != (seal.version, seal.rows):
        faults.append(f"{rows:,} rows are there, {seal.rows:,} were packed: its newest version is lost")
    try:
        splits = Counter(str(split or "none") for split in table.column("split"))
        chosen = [row for row in range(rows) if is_sampled(row, rows, sample)] if decode else []
        twice = [name for name, count in Counter(table.column("id")).items() if count > 1]
        faults += [f"{len(twice)} ids are there more than once, the first is {twice[0]}"] if twice else []
        for done, fault in _row_faults(table, chosen):
            faults += [] if fault is None else [fault]
            if progress is not None:
                progress(done, len(chosen))
    except DataError as error:
        faults.append(str(error).removeprefix(f"{path}: "))
        splits, chosen = Counter(), []
    files = 0 if seal is None else len(seal.files)
    return TableCheck(
        str(path), rows, len(chosen), dict(sorted(splits.items())), seal is not None, files, tuple(faults)
    )


def _row_faults(table: Table, chosen: list[int]) -> Iterator[tuple[int, str | None]]:
    """Yield how many rows were looked at, and what is wrong with each, or None."""
    for start in range(0, len(chosen), _ROWS):
        rows = chosen[start : start + _ROWS]
        records = table.records(rows, ["id", "image", "image_hash", "audio_hash", "audio_frames"])
        for at, (row, record) in enumerate(zip(rows, records, strict=True)):
            try:
                fault = _fault(table, row, record)
            except (DataError, ValueError) as error:
                fault = str(error)
            yield start + at + 1, None if fault is None else f"row {row}, {record['id']}: {fault}"


def _fault(table: Table, row: int, record: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a row, None for nothing. Raises DataError where its sound cannot be read."""
    has = {"image": record["image_hash"] != "", "audio": record["audio_frames"] > 0}
    if table.need == "both" or not any(has.values()):
        has = dict.fromkeys(has, True)
    if lost := [medium for medium in needed(table.need)[0] if not has[medium]]:
        return f"it has no {lost[0]}, which the table's rows must have"
    if has["image"] and (fault := _picture_fault(record["image"], table.signal.image.stored_pixels)):
        return fault
    return _sound_fault(table, row, record) if has["audio"] else None


def _picture_fault(image: bytes | None, side: int) -> str | None:
    if image is None:
        return "it has no picture"
    try:
        tile = decode_tile(image)
    except SignalError as error:
        return f"its picture does not decode: {error}"
    if tile.shape[0] != tile.shape[1] or len(tile) > side:  # a smaller picture is kept as it is
        return f"its picture has {tile.shape[1]} x {tile.shape[0]} pixels, a square of at most {side} expected"
    return None


def _sound_fault(table: Table, row: int, record: Mapping[str, Any]) -> str | None:
    sound = next(table.sound([row], [0], [max(record["audio_frames"], 1)]))
    if record["audio_frames"] < 1 or len(sound) * table.signal.audio.mels != sound.size:
        return f"its sound has {record['audio_frames']} frames"
    digest = hashlib.blake2b(sound.tobytes(), digest_size=16).hexdigest()
    if record["audio_hash"] not in ("", digest):  # silence has none
        return "its sound is not the one that was packed (another hash)"
    return None
