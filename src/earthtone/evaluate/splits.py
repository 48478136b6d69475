"""Which items of a labelled set are for training, for choosing, and for the test."""

from collections.abc import Iterable, Sequence

import numpy as np

from earthtone.data.labelled import LabelledItem, LabelledSet
from earthtone.errors import DataError

SPLITS = ("train", "val", "test")
Parts = dict[str, list[LabelledItem]]


def split_items(labelled: LabelledSet, *, measured: str = "test") -> Parts:
    """Return the items of `train`, `val` (may be empty) and `test`, in the set's order; items of no split are left out.

    With `measured` val, those of `train` and `val` alone. Raises DataError without train or what is measured.
    """
    parts = {name: [item for item in labelled.items if item.split == name] for name in SPLITS}
    for name in ("train", measured):
        if not parts[name]:
            found = ", ".join(f"{key} {len(items)}" for key, items in parts.items())
            hint = "; it has folds: evaluate audio is for those" if any(item.fold for item in labelled.items) else ""
            raise DataError(
                f"{labelled.name}: no items of split {name!r} ({found}); train and {measured} expected{hint}"
            )
    return parts if measured == "test" else {name: parts[name] for name in ("train", measured)}


def even_odd(labelled: LabelledSet) -> Parts:
    """Return the release's split: items of even position in the set's order are train, odd ones test; no val.

    Heidler et al., arXiv 2108.00688: sorted files, the splits of the set itself are not looked at.
    """
    if len(labelled.items) < 2:
        raise DataError(f"{labelled.name}: {len(labelled.items)} items; two or more expected")
    return {"train": list(labelled.items[::2]), "val": [], "test": list(labelled.items[1::2])}


def drawn(labels: Sequence[str], a_class: int, seed: Iterable[int]) -> np.ndarray:
    """Return the sorted positions of `a_class` random items of each class, all of a class that has fewer."""
    names = np.asarray(labels, np.str_)
    draw = np.random.default_rng(list(seed))
    chosen = []
    for name in np.unique(names):
        there = np.flatnonzero(names == name)
        chosen.append(draw.choice(there, min(a_class, len(there)), replace=False))
    return np.sort(np.concatenate(chosen))


def check_shots(labels: Sequence[str], shots: Sequence[int]) -> None:
    """Raise DataError where a class has fewer training items than were asked for."""
    if not shots:
        return
    names, counts = np.unique(np.asarray(labels, np.str_), return_counts=True)
    least = int(counts.argmin())
    if min(shots) < 1 or max(shots) > counts[least]:
        raise DataError(
            f"--shots {','.join(map(str, shots))}: class {str(names[least])!r} has {int(counts[least])} training "
            f"items; 1 to {int(counts[least])} a class expected"
        )
