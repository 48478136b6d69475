"""Manifests of images with masks: the columns image and mask, and split if there is one."""

from collections import defaultdict
from pathlib import Path

from earthtone.data.datasets.finish_masked import FoundMasks
from earthtone.data.labelled import MaskedItem
from earthtone.data.manifest import Manifest, listed, nearest, open_table
from earthtone.data.near_name import NearNames
from earthtone.data.pair import Pair, Problem
from earthtone.data.row import UnusableRow, media
from earthtone.errors import DataError

MASK = "mask"


def read_mask_manifest(path: Path) -> FoundMasks:
    """Return the images of the rows with their masks; an empty mask cell leaves the image for prediction alone.

    Rows whose files are missing are counted and named. Raises DataError without the two columns.
    """
    table = open_table(path)
    for name in ("image", MASK):
        if name not in table.columns:
            raise DataError(
                f"{path} has no column {name!r}; image and mask were expected;{nearest(name, table.columns)}"
            )
    columns = {} if {"id", "key"} & set(table.columns) else {"id": "image"}
    found, problems, near = FoundMasks(), defaultdict[str, list[str]](list), NearNames()
    for pair in Manifest(path, columns=columns, need=("image",)):
        problem = pair if isinstance(pair, Problem) else _add(pair, path.parent, found, near)
        if problem is not None:
            problems[problem.kind].append(problem.id)
    found.notes += [f"{len(ids)} rows left out, {kind}: {listed(ids, 5)}" for kind, ids in sorted(problems.items())]
    return found


def _add(pair: Pair, folder: Path, found: FoundMasks, near: NearNames) -> Problem | None:
    cell = pair.extra.get(MASK, "")
    try:
        mask = media(cell, folder, MASK, "missing mask", near) if cell else None
    except UnusableRow as problem:
        return Problem(pair.id, problem.kind, str(problem))
    if not isinstance(pair.image, Path) or not (mask is None or isinstance(mask, Path)):
        return Problem(pair.id, "images as bytes in the table; write them to files", pair.id)
    found.items.append(MaskedItem(pair.id, pair.image, mask, pair.split))
    return None
