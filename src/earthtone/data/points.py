"""Places as points on the unit sphere."""

import numpy as np
from numpy.typing import NDArray

from earthtone.data.table import Table
from earthtone.errors import DataError


def unit_points(table: Table, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the unit position vectors (len(table), 3) of the rows' longitude and latitude; NaN where there are none.

    x points to 0 E on the equator, y to 90 E, z to the North pole; float64, since float32 tells only metres apart.
    Raises DataError, naming ids, when one of `rows` has no coordinates.
    """
    longitude, latitude = (np.radians(table.numbers(name)) for name in ("longitude", "latitude"))
    level = np.cos(latitude)
    points = np.stack([level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)], axis=1)
    lost = rows[~np.isfinite(points[rows]).all(axis=1)]
    if len(lost):
        ids = ", ".join(record["id"] for record in table.records(lost[:5].tolist(), ["id"]))
        raise DataError(
            f"{table.path}: {len(lost)} of {len(rows)} training pairs have no coordinates ({ids}"
            f"{' ...' if len(lost) > 5 else ''}), and the loss compares places; give them longitude and latitude, "
            "leave them out, or choose another --loss.name"
        )
    return points
