"""What is known of every row of a table beside its picture and sound: what tells twins and neighbours."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from earthtone.data.points import unit_points
from earthtone.data.table import Table
from earthtone.errors import ConfigError
from earthtone.losses import loss_class
from earthtone.train.recipe import Recipe


class TableFacts(NamedTuple):
    """By row number of a table: `groups` int64 (rows, 3), `points` float64 (rows, 3); None where nothing needs them.

    Groups are numbers of image, recording and place, equal for equal ones, -1 for nobody's (a missing place). They
    are numbered over the whole table, so that all processes that open it have the same numbers. Points are unit
    vectors, NaN where a row has no coordinates.
    """

    groups: NDArray[np.int64] | None
    points: NDArray[np.float64] | None


def table_facts(table: Table, rows: NDArray[np.int64], recipe: Recipe) -> TableFacts:
    """Return the facts that the recipe needs; `rows` are those of the training.

    Raises DataError when the loss compares places and one of `rows` has none, ConfigError when none of them has what
    an option of the recipe looks at.
    """
    sampler = recipe.sampler
    needs_groups = looks_at_twins(recipe) or sampler.ring_share > 0 or sampler.similar_share > 0
    groups = _groups(table, rows, recipe.loss.place_column) if needs_groups else None
    compares = loss_class(recipe.loss.name).needs_points
    by_place = recipe.loss.twin_radius_m > 0 or sampler.ring_share > 0 or sampler.batches != "random"
    if not compares and not by_place:
        return TableFacts(groups, None)
    points = unit_points(table, rows if compares else rows[:0])
    if recipe.loss.twin_radius_m and not np.isfinite(points[rows]).all(axis=1).any():
        raise ConfigError(
            f"{table.path}: none of {len(rows)} training pairs has coordinates, so loss.twin_radius_m "
            f"{recipe.loss.twin_radius_m:g} would find nobody; leave it out, or give them longitude and latitude"
        )
    return TableFacts(groups, points)


def looks_at_twins(recipe: Recipe) -> bool:
    """Return whether the step needs to know twins: the loss unless it ignores them, SimCLR within always."""
    return recipe.loss.twins != "ignore" or recipe.within.name == "simclr"


def _groups(table: Table, rows: NDArray[np.int64], place_column: str | None) -> NDArray[np.int64]:
    columns = [table.groups("image_hash"), table.groups("audio_hash")]
    if place_column is None:
        columns.append(np.full(len(table), -1))
    else:
        columns.append(table.groups(place_column))
        if (columns[-1][rows] < 0).all():
            raise ConfigError(
                f"{table.path}: column {place_column!r} (loss.place_column) is empty for all {len(rows)} training pairs"
            )
    return np.stack(columns, axis=1)
