"""Georeferenced images of different splits that show the same ground."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from earthtone.data.labelled import MaskedItem

_TIFF = (".tif", ".tiff")


class _Extent(NamedTuple):
    """An image's rectangle in the units of its coordinate system."""

    item: MaskedItem
    left: float
    bottom: float
    right: float
    top: float


def overlapping(items: Iterable[MaskedItem]) -> list[str]:
    """Return one note that counts and names pairs of images in different splits whose rectangles overlap, or no note.

    Only GeoTIFFs with a place are compared, within one coordinate system each, by a sweep from west to east.
    """
    systems: dict[str, list[_Extent]] = {}
    for item in items:
        if item.split is not None and item.image.suffix.lower() in _TIFF:
            placed = _extent(item)
            if placed is not None:
                systems.setdefault(placed[0], []).append(placed[1])
    pairs = [f"{a.item.id} and {b.item.id}" for extents in systems.values() for a, b in _crossing(extents)]
    if not pairs:
        return []
    what = "images of different splits overlap on the ground, which flatters every figure"
    return [f"{what}: {len(pairs)} pairs, such as {'; '.join(pairs[:3])}"]


def _crossing(extents: list[_Extent]) -> Iterable[tuple[_Extent, _Extent]]:
    """Yield the pairs of different splits that share more than an edge."""
    extents = sorted(extents, key=lambda extent: extent.left)
    active: list[_Extent] = []
    for extent in extents:
        active = [other for other in active if other.right > extent.left]
        for other in active:
            if other.item.split != extent.item.split and other.bottom < extent.top and extent.bottom < other.top:
                yield other, extent
        active.append(extent)


def _extent(item: MaskedItem) -> tuple[str, _Extent] | None:
    """Return the coordinate system and the rectangle of a file, None where it has none or cannot be read."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    from earthtone.signal.raster import warnings_as

    try:
        with warnings_as("ignore", NotGeoreferencedWarning), rasterio.open(Path(item.image), driver="GTiff") as file:
            if file.crs is None:
                return None
            bounds = file.bounds
            return str(file.crs), _Extent(item, bounds.left, bounds.bottom, bounds.right, bounds.top)
    except RasterioIOError:  # the task that reads it counts it and names it
        return None
