"""Rows dealt out to train, val and test by a rule, linked ones together, those that stood before where they are.

A unit is what the rule keeps together: a cell, a hexagon, an author, a recorder. Units that share an image, a recording
or the id of one become one. Units come in an order that the seed draws, and each goes to the split that is drawn for
it while that has room, so that the shares of the rows are met as near as the units allow; no split that has a share
stays empty while another one has two units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from earthtone.build.options import SplitRowsOptions
from earthtone.build.row_facts import NO_TIME, Numbers, RowFacts
from earthtone.data.grouped_split import NONE, Codes, deal, linked
from earthtone.data.pair import SPLITS
from earthtone.data.releases import key_digit_split
from earthtone.data.splits import BlockGrid
from earthtone.errors import ConfigError, DataError
from earthtone.geo import chord, great_circle_km

_DAY = 86_400
_BUFFER_KM = 1.0  # with h3, where nothing else is said
_TRAIN, _VAL, _TEST = range(3)


@dataclass(frozen=True)
class DealtRows:
    """Where N rows went, and why some went nowhere."""

    codes: Codes
    """(N,) numbers of SPLITS, or NONE."""
    record: Mapping[str, Any]
    """How, for the split's file."""
    units: int
    """How many units of linked rows there are."""
    largest: int
    """Rows in the largest of them."""
    linked: int
    """Rows that share an image, a recording or an id with others."""
    kept: int
    """Rows that stood before."""
    nowhere: Mapping[str, int]
    """Rows in no split, by why."""
    alone: int
    """Rows without a place or a name, each of which was a unit of its own."""


def deal_rows(
    facts: RowFacts, options: SplitRowsOptions, fixed: Codes | None = None, stood: NDArray[np.bool_] | None = None
) -> DealtRows:
    """Return the split of each row. `fixed` (N,) are splits of rows that `stood` (N,) before, in one or in none.

    Raises ConfigError and DataError where the rule does not fit the data.
    """
    count = len(facts)
    fixed = np.full(count, NONE, np.uint8) if fixed is None else fixed
    stood = np.zeros(count, bool) if stood is None else stood
    links = list(facts.links.values())
    link_group = linked(links) if links else np.full(count, -1, np.int64)
    decided, record = _decided(facts, options)
    nowhere: dict[str, int] = {}
    units, largest, alone = 0, 0, 0
    if options.by in ("key-digit", "time"):
        codes = decided
        if options.by == "time" and (dateless := int((codes == NONE).sum())):
            nowhere["without a time"] = dateless
    else:
        unit = _units(facts, options)
        free = decided == NONE
        if options.by == "region":
            free &= facts.placed
            nowhere["without a place"] = int((~facts.placed).sum())
        alone = int((unit[free] < 0).sum()) if options.by != "random" else 0
        rows = np.flatnonzero(free)
        codes = decided.copy()
        shares = (*options.shares[:2], 0.0) if options.by == "region" else options.shares
        if sum(shares) <= 0:
            raise ConfigError("--shares leaves nothing for train and val; a share above 0 expected")
        codes[rows], units, largest = _dealt(
            [key[rows] for key in (*links, unit)], facts.id_numbers[rows], fixed[rows], shares, options.seed
        )
        if options.by != "region" and (between := int((codes[rows] == NONE).sum())):
            nowhere["between rows of several splits that stood"] = between
    codes = np.where(stood, fixed, codes).astype(np.uint8)
    before = codes == NONE
    codes = _parted(codes, stood, link_group)
    _count(nowhere, "linked to a row of another split", (codes == NONE) & ~before & ~stood)
    buffer_km = buffer_of(options)
    if buffer_km > 0:
        before = codes == NONE
        codes = _without_near(facts, codes, stood, buffer_km)
        _count(nowhere, f"within {buffer_km:g} km of another split, or without a place", (codes == NONE) & ~before)
    _count(nowhere, "in none before", stood & (fixed == NONE))
    return DealtRows(
        codes, record, units, largest, int((link_group >= 0).sum()), int(stood.sum()),
        {why: rows for why, rows in nowhere.items() if rows}, alone,
    )  # fmt: skip


def buffer_of(options: SplitRowsOptions) -> float:
    """Return the buffer in km: what was said, or the kind's own."""
    if options.buffer_km is not None:
        return options.buffer_km
    return _BUFFER_KM if options.by == "h3" else 0.0


def _count(nowhere: dict[str, int], why: str, rows: NDArray[np.bool_]) -> None:
    if found := int(rows.sum()):
        nowhere[why] = found


def _record(options: SplitRowsOptions, **more: Any) -> dict[str, Any]:
    """Return what identifies a split: its kind and the options that decide."""
    record: dict[str, Any] = {"by": options.by, "buffer_km": buffer_of(options)}
    if options.by != "key-digit":
        record |= {"seed": options.seed, "shares": list(options.shares)}
    own = {"cells": ("cell_km",), "h3": ("resolution",), "region": ("region", "cell_km"), "author": ("column",),
           "recorder": ("column",)}  # fmt: skip
    return record | {name: getattr(options, name) for name in own.get(options.by, ())} | more


def _decided(facts: RowFacts, options: SplitRowsOptions) -> tuple[Codes, dict[str, Any]]:
    """Return the splits (N,) that a row's own id, time or place decides, NONE for the others, and the record."""
    if options.by == "key-digit":
        if (odd := np.flatnonzero(facts.digits < 0)).size:
            name = facts.id_of(int(odd[0]))
            raise DataError(
                f"{facts.path}: id {name!r:.80} is no whole number, so --by key-digit cannot read its last digit; "
                "choose another one, or the column with the key: --columns id=key"
            )
        of_digit = np.array([SPLITS.index(key_digit_split(digit)) for digit in range(10)], np.uint8)
        return of_digit[facts.digits], _record(options)
    if options.by == "time":
        return _by_time(facts, options)
    codes = np.full(len(facts), NONE, np.uint8)
    if options.by == "region":
        inside, words = _inside(facts, str(options.region))
        codes[inside] = _TEST
        return codes, _record(options, region=words, region_said=options.region)
    return codes, _record(options, **({"column": facts.who_columns.get(options.by)} if options.by in facts.who else {}))


def _by_time(facts: RowFacts, options: SplitRowsOptions) -> tuple[Codes, dict[str, Any]]:
    """Return train before the first day of val, val before that of test; a day is never divided."""
    known = facts.seconds_utc != NO_TIME
    if not known.any():
        raise DataError(f"{facts.path}: no row has a time, so --by time cannot split it; choose another --by")
    days = facts.seconds_utc[known] // _DAY
    if options.val_from is not None and options.test_from is not None:
        first = [int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) // _DAY
                 for day in (options.val_from, options.test_from)]  # fmt: skip
    else:
        ordered = np.sort(days)
        at = np.minimum(np.round(np.cumsum(options.shares[:2]) * len(ordered)).astype(int), len(ordered) - 1)
        first = [int(day) for day in ordered[at]]
        if options.shares[2] == 0:
            first[1] = int(ordered[-1]) + 1
        if options.shares[1] == 0:
            first[0] = first[1]
    codes = np.full(len(facts), NONE, np.uint8)
    codes[known] = np.searchsorted(first, days, "right")
    names = [datetime.fromtimestamp(day * _DAY, UTC).date().isoformat() for day in first]
    return codes, _record(options, val_from=names[0], test_from=names[1])


def _inside(facts: RowFacts, text: str) -> tuple[NDArray[np.bool_], str]:
    """Return which rows (N,) lie in a region, its border included, and the region as WKT."""
    import shapely  # of the extra atlas

    from earthtone.build.regions import read_region

    shape = read_region(text)
    inside = np.zeros(len(facts), bool)
    shapely.prepare(shape)
    rows = np.flatnonzero(facts.placed)
    for turn in (-360.0, 0.0, 360.0):  # a polygon across 180 goes on beyond it
        points = shapely.points(facts.longitude[rows] + turn, facts.latitude[rows])
        inside[rows] |= shapely.intersects(shape, points)
    if not inside.any():
        raise DataError(f"{facts.path}: no row lies in --region {text[:80]}; longitude first, then latitude, expected")
    west, east = shapely.box(-180, -90, 180, 90), shapely.box(180, -90, 540, 90)
    beyond = shapely.transform(shapely.intersection(shape, east), lambda points: points - (360, 0))
    parts = [part for piece in (shapely.intersection(shape, west), beyond) for part in shapely.get_parts(piece)]
    polygons = [part for part in parts if part.geom_type == "Polygon"]  # an edge along 180 is none
    return inside, str(shapely.to_wkt(shapely.multipolygons(polygons), rounding_precision=9))


def _units(facts: RowFacts, options: SplitRowsOptions) -> Numbers:
    """Return the number of each row's unit (N,), -1 for a row that is one by itself."""
    unit = np.full(len(facts), -1, np.int64)
    if options.by == "random":
        return unit
    if options.by in ("author", "recorder"):
        if options.by not in facts.who or not (facts.who[options.by] >= 0).any():
            raise DataError(
                f"{facts.path}: no column names the {options.by} of a row; type --column NAME with the one that does"
            )
        return facts.who[options.by]
    rows = np.flatnonzero(facts.placed)
    if not len(rows):
        raise DataError(f"{facts.path}: no row has a place, so --by {options.by} cannot split it; choose another --by")
    longitude, latitude = facts.longitude[rows], facts.latitude[rows]
    if options.by == "degree":
        west = np.floor(longitude + 180).astype(np.int64) % 360
        unit[rows] = np.minimum(np.floor(latitude + 90), 179).astype(np.int64) * 360 + west
    elif options.by == "h3":
        from h3.api.basic_int import latlng_to_cell  # of the extra geo

        places = zip(latitude.tolist(), longitude.tolist(), strict=True)
        cells = (latlng_to_cell(*place, options.resolution) for place in places)
        unit[rows] = np.fromiter(cells, np.int64, len(rows))
    else:
        unit[rows] = cell_numbers(longitude, latitude, options.cell_km)
    return unit


def cell_numbers(longitude: NDArray[np.float64], latitude: NDArray[np.float64], cell_km: float) -> Numbers:
    """Return the number of each place's cell (N,), as `BlockGrid` has them: band x 2**32 + bin."""
    grid = BlockGrid(cell_km)
    band = np.clip(((latitude + 90) / 180 * grid.bands).astype(np.int64), 0, grid.bands - 1)
    bands, of_place = np.unique(band, return_inverse=True)
    bins = np.array([grid.bins(int(one)) for one in bands], np.int64)[of_place]
    cell: Numbers = (band << 32) + ((longitude + 180) / 360 * bins).astype(np.int64) % bins
    return cell


def _dealt(
    keys: list[Numbers], ids: NDArray[np.uint64], fixed: Codes, shares: tuple[float, float, float], seed: int
) -> tuple[Codes, int, int]:
    """Return the splits of N rows of which those of equal numbers in a key stay together, how many units they make,
    and the rows of the largest."""
    count = len(ids)
    if not count:
        return np.empty(0, np.uint8), 0, 0
    group = linked(keys)
    group = np.where(group >= 0, group, np.arange(count))
    _, first, of_row, sizes = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
    anchored = np.zeros(len(first), bool)
    anchored[of_row[fixed != NONE]] = True
    codes = np.full(count, NONE, np.uint8)
    rows = np.flatnonzero(anchored[of_row])
    if len(rows):
        own = np.full(len(rows), NONE, np.uint8)
        codes[rows] = deal(own, [key[rows] for key in keys], ids[rows], fixed[rows], strict=False).codes
    least = np.full(len(first), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, of_row, mixed(ids, seed))
    filled = np.bincount(codes[rows], minlength=4)[:3]
    free = np.flatnonzero(~anchored)
    drawn = np.full(len(first), NONE, np.uint8)
    drawn[free] = _filled(sizes[free], mixed(least[free], 1), filled.tolist(), shares, count)
    codes = np.where(anchored[of_row], codes, drawn[of_row]).astype(np.uint8)
    return codes, len(first), int(sizes.max())


def _filled(
    sizes: Numbers, draws: NDArray[np.uint64], filled: list[int], shares: tuple[float, float, float], count: int
) -> Codes:
    """Return the split of each unit (M,): the one that is drawn for it while that has room, else that of most room."""
    total = sum(shares)
    room = [share / total * count - have for share, have in zip(shares, filled, strict=True)]
    edges = np.cumsum(shares) / total
    wish = np.searchsorted(edges, (mixed(draws, 2) >> np.uint64(11)) / 2.0**53, "right").clip(0, 2).tolist()
    order = np.argsort(draws, kind="stable").tolist()
    codes = np.full(len(sizes), NONE, np.uint8)
    size_of = sizes.tolist()
    for at in order:
        size, code = size_of[at], wish[at]
        if size / 2 > room[code]:
            code = max(range(3), key=lambda one: room[one])
        codes[at] = code
        room[code] -= size
    return _none_empty(
        codes, sizes, draws, [share > 0 and not have for share, have in zip(shares, filled, strict=True)]
    )


def _none_empty(codes: Codes, sizes: Numbers, draws: NDArray[np.uint64], wanted: list[bool]) -> Codes:
    """Return the splits of units (M,) with the smallest of the split of most units in each that is wanted and empty."""
    for code, needs in enumerate(wanted):
        units = np.bincount(codes, minlength=3)
        most = int(units.argmax())
        if needs and not units[code] and units[most] > 1:
            mine = np.flatnonzero(codes == most)
            codes[mine[np.lexsort((draws[mine], sizes[mine]))[0]]] = code
    return codes


def mixed(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return a well-mixed number for each (N,), another one for every seed (SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = numbers + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        done: NDArray[np.uint64] = state ^ (state >> np.uint64(31))
    return done


def _parted(codes: Codes, stood: NDArray[np.bool_], group: Numbers) -> Codes:
    """Return the splits without rows that are linked to one of another split: of a group those of one split stay.

    That is the split of rows that stood; test before val before train where none did. Rows that stood are not moved.
    """
    rows = np.flatnonzero((group >= 0) & (codes != NONE))
    highest, stands, lowest = (np.full(len(codes), fill, np.int64) for fill in (-1, -1, NONE))
    np.maximum.at(highest, group[rows], codes[rows])
    old = rows[stood[rows]]
    np.maximum.at(stands, group[old], codes[old])
    np.minimum.at(lowest, group[old], codes[old])
    of_row = group[rows]
    stays = np.where(
        stands[of_row] < 0, highest[of_row], np.where(stands[of_row] == lowest[of_row], stands[of_row], -1)
    )
    out = rows[(codes[rows] != stays) & ~stood[rows]]
    codes = codes.copy()
    codes[out] = NONE
    return codes


def unit_vectors(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places in degrees as unit vectors (N, 3)."""
    east, north = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)


def nearest_km(
    facts: RowFacts, rows: Numbers, others: Numbers, most_km: float = np.inf
) -> tuple[NDArray[np.float64], Numbers]:
    """Return for each of some rows (M,) the km to the nearest of the others, and which row that is.

    Both are of rows with places. Infinity and -1 where none is within `most_km`. The nearest by the straight line
    through the Earth is the nearest on the sphere; km are of `great_circle_km`.
    """
    km, near = np.full(len(rows), np.inf), np.full(len(rows), -1, np.int64)
    if not len(rows) or not len(others):
        return km, near
    tree = cKDTree(unit_vectors(facts.longitude[others], facts.latitude[others]))
    points = unit_vectors(facts.longitude[rows], facts.latitude[rows])
    # a little more than asked for: the two formulas round differently
    bound = chord(most_km) * 1.0001 + 1e-12 if most_km < 20_000 else np.inf
    _, at = tree.query(points, distance_upper_bound=bound)
    found = at < len(others)
    near[found] = others[at[found]]
    km[found] = great_circle_km(
        facts.longitude[rows[found]], facts.latitude[rows[found]],
        facts.longitude[near[found]], facts.latitude[near[found]],
    )  # fmt: skip
    return km, near


def _without_near(facts: RowFacts, codes: Codes, stood: NDArray[np.bool_], buffer_km: float) -> Codes:
    """Return the splits without new rows within a buffer of rows of another split that stay: those that stood, then
    test before val before train; and without new rows that may lie anywhere."""
    codes = np.where(~facts.placed & ~stood, NONE, codes).astype(np.uint8)
    placed = facts.placed & (codes != NONE)
    for code in (_TEST, _VAL, _TRAIN):
        rows = np.flatnonzero(placed & (codes == code) & ~stood)
        others = np.flatnonzero(placed & (codes != NONE) & (codes != code) & (stood | (codes > code)))
        km, _ = nearest_km(facts, rows, others, buffer_km)
        codes[rows[km <= buffer_km]] = NONE
    return codes
