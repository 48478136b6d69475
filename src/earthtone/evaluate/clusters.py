"""Which test items belong together, for the bootstrap."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled import LabelledItem


def group_numbers(items: Sequence[LabelledItem]) -> NDArray[np.int64]:
    """Return a number an item (N,): equal for items of one group; an item without a group is alone."""
    names = [f"item {item.id}" if item.group is None else f"group {item.group}" for item in items]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)
