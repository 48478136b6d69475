"""Sets of sounds whose folds and classes stand in a table beside them, as ESC-50 and UrbanSound8K."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from earthtone.data.datasets.finish import Found
from earthtone.data.labelled import LabelledItem
from earthtone.data.manifest import listed
from earthtone.data.read_csv import CsvTable
from earthtone.data.row import UnusableRow
from earthtone.errors import DataError

ReadRow = Callable[[Path, Mapping[str, str]], LabelledItem]


def read_fold_table(path: Path, table: str, columns: tuple[str, ...], layout: str, read: ReadRow) -> Found:
    """Return the items that `read` makes of the table's rows; rows it refuses are counted. Raises DataError."""
    if not (path / table).is_file():
        raise DataError(f"{path} has no {table}; {layout} was expected")
    rows = CsvTable(path / table)
    missing = [name for name in columns if name not in rows.columns]
    if missing:
        raise DataError(f"{rows.path} lacks the columns {listed(missing)}, found {listed(rows.columns)}; {layout}")
    found, problems = Found(), defaultdict[str, list[str]](list)
    for row in rows.rows(columns):
        if row.fault is not None:
            problems[row.fault[0]].append(row.place)
            continue
        try:
            found.items.append(read(path, {name: str(row.cells[name]).strip() for name in columns}))
        except UnusableRow as problem:
            problems[problem.kind].append(str(problem))
    found.notes += [f"{len(names)} rows left out, {kind}: {listed(names, 5)}" for kind, names in problems.items()]
    return found
