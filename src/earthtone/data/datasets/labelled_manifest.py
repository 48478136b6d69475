"""Manifests with a label column: a pair's own columns, `file` for image or sound, and `split`, `fold` and `group`."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from earthtone.data.cell import is_unknown
from earthtone.data.datasets.finish import Found
from earthtone.data.datasets.media import kind
from earthtone.data.labelled import LabelledItem
from earthtone.data.manifest import Manifest, Table, listed, nearest, open_table
from earthtone.data.pair import Pair, Problem
from earthtone.data.row import MEDIA
from earthtone.errors import DataError
from earthtone.signal.remarks import NULL_ISLAND

_FILE = ("file", "path", "filename", "file_name")  # names of the one file's column in manifests of one medium
_OWN = ("label", "fold", "group")


def read_labelled_manifest(path: Path, label: str | None = None, columns: Mapping[str, str] | None = None) -> Found:
    """Return the items of the rows that have a label and their files; others are counted and named. Raises DataError.

    `label` names the label's column ("label" without it); `columns` maps a pair's columns, `fold` and `group` to those
    of the file. Without an `id` column the file's name is the id.
    """
    table = open_table(path)
    given = dict(columns or {})
    own = {name: given.pop(name, name) for name in _OWN}
    if label is not None:
        own["label"] = label
    for name, column in own.items():
        if column not in table.columns and (name == "label" or column != name):
            raise DataError(
                f"{path} has no column {column!r} for the {name};{nearest(column, table.columns)}; type --label NAME"
            )
    pairs = Manifest(path, columns=_pair_columns(table, given), need=_media(table, given))
    own = {name: pairs.carried_as(column) for name, column in own.items()}
    found, problems = Found(), defaultdict[str, list[str]](list)
    remarks = defaultdict[str, list[str]](list)
    for row in pairs:
        for remark in row.remarks if isinstance(row, Pair) else ():
            if remark.kind != NULL_ISLAND:
                remarks[remark.kind].append(row.id)
        problem = row if isinstance(row, Problem) else _add(row, own, found)
        if problem is not None:
            problems[problem.kind].append(problem.id)
    found.notes += [f"{len(ids)} rows left out, {what}: {listed(ids, 5)}" for what, ids in sorted(problems.items())]
    found.notes += [f"{len(ids)} rows stay without a value, {what}: {listed(ids, 5)}" for what, ids in remarks.items()]
    _from_one(found)
    return found


def has_labels(path: Path, label: str | None, columns: Mapping[str, str] | None) -> bool:
    """Return whether a manifest has the label's column."""
    return (label or (columns or {}).get("label", "label")) in open_table(path).columns


def file_column(table: Table) -> str | None:
    """Return the column that names a row's one file, or None."""
    return next((name for name in _FILE if name in table.columns), None)


def _media(table: Table, given: Mapping[str, str]) -> tuple[str, ...]:
    """Return the media that rows must have: those with a column, else what the first named file is."""
    named = tuple(name for name in MEDIA if name in given or name in table.columns)
    if named:
        return named
    column = file_column(table)
    if column is None:
        raise DataError(
            f"{table.path} has the columns {listed(table.columns)}; image, audio or file expected, "
            "or type --columns image=NAME"
        )
    first = next((str(row.cells[column]) for row in table.rows([column]) if row.cells.get(column)), "")
    medium = kind(Path(first))
    if medium is None:
        raise DataError(f"{table.path}: column {column!r} names {first!r:.80}; an image or a sound was expected")
    return (medium,)


def _pair_columns(table: Table, given: Mapping[str, str]) -> dict[str, str]:
    columns, media = dict(given), _media(table, given)
    column = file_column(table)
    for name in media:
        if name not in columns and name not in table.columns and column is not None:
            columns[name] = column
    if "id" not in columns and not {"id", "key"} & set(table.columns):
        columns["id"] = columns.get(media[0], media[0])
    return columns


def _add(pair: Pair, own: Mapping[str, str], found: Found) -> Problem | None:
    label = pair.extra.get(own["label"], "").strip()
    if not label:
        return Problem(pair.id, "no label", f"{pair.id}: column {own['label']!r} is empty")
    if isinstance(pair.image, bytes) or isinstance(pair.audio, bytes):
        return Problem(pair.id, "media as bytes in the table; write them to files", pair.id)
    fold = pair.extra.get(own["fold"], "").strip()
    if fold and not (fold.isascii() and fold.isdigit()):
        return Problem(pair.id, "fold is no whole number", f"{pair.id}: fold {fold!r:.40}")
    group = pair.extra.get(own["group"], "").strip()
    number = int(fold) if fold else None
    found.items.append(
        LabelledItem(
            pair.id,
            label,
            pair.image,
            pair.audio,
            pair.split,
            number,
            None if is_unknown(group) else group,
            pair.image_gsd_m,
        )
    )
    return None


def _from_one(found: Found) -> None:
    """Count folds from 1 where the file counts from 0; drop them, saying so, where only some rows have one."""
    from dataclasses import replace

    folds = [item.fold for item in found.items if item.fold is not None]
    if folds and len(folds) < len(found.items):
        found.notes.append(f"{len(found.items) - len(folds)} rows have no fold: folds are not used")
        found.items[:] = [replace(item, fold=None) for item in found.items]
    elif folds and min(folds) == 0:
        found.items[:] = [replace(item, fold=(item.fold or 0) + 1) for item in found.items]
