"""What leaks from train into val and test: who and what they share, and how near they are on the ground."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.build.dealing import nearest_km
from earthtone.build.row_facts import NO_TIME, Numbers, RowFacts
from earthtone.data.grouped_split import NONE, Codes, in_several
from earthtone.data.pair import SPLITS
from earthtone.errors import one_line_each
from earthtone.pages import PageTable

_NAMED = 5
#: Distances in km at which near pairs are counted.
NEAR_KM = (0.0, 0.1, 1.0, 10.0, 100.0)
_NEAR = 1.0  # one of them, within which a row is a neighbour
_QUANTILES = {"least": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "most": 1.0}


@dataclass(frozen=True)
class Distances:
    """How far rows of a split are from the nearest training row, on the sphere."""

    split: str
    rows: int
    """Rows with a place, measured ..."""
    without_place: int
    """... and without one, which may lie anywhere."""
    km: Mapping[str, float]
    """Quantiles; empty where there are no two rows to measure between."""
    within: Mapping[str, int]
    """How many rows are at most so many km from a training row."""
    nearest: Sequence[str]
    """The nearest pair: two ids."""


@dataclass(frozen=True)
class SharedValues:
    """What several splits have in common."""

    what: str
    """image, recording, a column's name, author or recorder."""
    values: int
    """Different ones that lie in several splits."""
    rows: Mapping[str, int]
    """Rows of val and of test that have one which is also trained on."""
    examples: Sequence[str]
    """`id = id`: a measured row and a training row."""


@dataclass(frozen=True)
class Leakage:
    """A report on a split."""

    data: str
    record: Mapping[str, Any]
    rows: Mapping[str, int]
    """By split, `none` for rows in none."""
    distances: Sequence[Distances]
    shared: Sequence[SharedValues]
    faults: Sequence[str]
    """What must not be: the figures measured on this split flatter a model."""
    remarks: Sequence[str]
    """What its user should know."""
    problems: Mapping[str, int]
    """Rows that cannot be read, by kind; they are in no split."""
    judged: Sequence[str] = ()
    """What would have been a fault: a shared image, recording, column or author, a row within the buffer."""

    @property
    def ok(self) -> bool:
        """Whether nothing leaks that must not."""
        return not self.faults

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        total = sum(self.rows.values())
        counts = ", ".join(f"{name} {count:,} ({count / max(total, 1):.1%})" for name, count in self.rows.items())
        lines = [f"{self.data}: {counts}"]
        for kind, count in self.problems.items():
            lines.append(f"  {count:,} rows left out: {kind}")
        for one in self.distances:
            if one.km:
                near = ", ".join(f"{one.within[f'{km:g}']:,} within {km:g} km" for km in NEAR_KM[1:])
                lines.append(
                    f"  {one.split} to the nearest training row: median {km_text(one.km['median'])}, "
                    f"least {km_text(one.km['least'])}; {near}"
                )
        for item in self.shared:
            if item.values:
                rows = ", ".join(f"{count:,} of {name}" for name, count in item.rows.items() if count)
                beside = f": {rows} are also trained on" if rows else ""
                lines.append(f"  shared {item.what}: {item.values:,} in several splits{beside}")
        lines += [f"  note: {remark}" for remark in self.remarks]
        lines += [f"  leak: {fault}" for fault in self.faults]
        lines.append(f"  {self.verdict}")
        return one_line_each(lines)

    @property
    def verdict(self) -> str:
        """What was judged, and how that ended, as one line."""
        judged = f"judged: {', '.join(self.judged) or 'nothing: no column and no file could be compared'}"
        if self.faults:
            return f"figures measured on this split flatter ({judged})"
        return f"nothing leaks of what was judged ({judged})" if self.judged else f"no verdict ({judged})"

    def tables(self) -> list[PageTable]:
        """Return the tables of the page."""
        total = sum(self.rows.values())
        counts = [[name, f"{count:,}", f"{count / max(total, 1):.1%}"] for name, count in self.rows.items()]
        far = [
            [one.split, f"{one.rows:,}", f"{one.without_place:,}", *(km_text(one.km[name]) for name in _QUANTILES)]
            for one in self.distances if one.km
        ]  # fmt: skip
        near = [[one.split, *(f"{one.within[f'{km:g}']:,}" for km in NEAR_KM)] for one in self.distances if one.km]
        shared = [
            [item.what, f"{item.values:,}", *(f"{item.rows.get(name, 0):,}" for name in SPLITS[1:]),
             "; ".join(item.examples)]
            for item in self.shared
        ]  # fmt: skip
        tables = [PageTable("Rows", ["split", "rows", "share"], counts)]
        if far:
            tables.append(
                PageTable("To the nearest training row", ["split", "rows", "without a place", *_QUANTILES], far)
            )
            heads = ["at the same place", *(f"within {km:g} km" for km in NEAR_KM[1:])]
            tables.append(PageTable("Rows near a training row", ["split", *heads], near))
        if shared:
            heads = ["what", "in several splits", "rows of val", "rows of test", "examples"]
            tables.append(
                PageTable("Shared", heads, shared, lead="Rows whose image, recording, author ... is also in train.")
            )
        return tables


def leakage(facts: RowFacts, codes: Codes, record: Mapping[str, Any], remarks: Sequence[str] = ()) -> Leakage:
    """Return the report on a split (N,) of rows; `record` tells how it was made, as far as that is known."""
    names = [*SPLITS, "none"]
    counts = np.bincount(codes, minlength=4)
    rows = {name: int(count) for name, count in zip(names, counts, strict=True) if name != "none" or count}
    distances = [_distances(facts, codes, code) for code in (1, 2) if counts[code]]
    shared = [_shared(facts, codes, what, key) for what, key in {**facts.links, **facts.who}.items()]
    faults = [_fault(item) for item in shared if item.values and item.what in facts.links]
    by = record.get("by")
    faults += [_fault(item) for item in shared if item.values and item.what == by]
    judged = [f"shared {item.what}" for item in shared if item.what in facts.links or item.what == by]
    buffer_km = record.get("buffer_km")
    if isinstance(buffer_km, int | float) and buffer_km > 0:
        faults += _too_near(facts, codes, float(buffer_km))
        judged.append(f"the buffer of {buffer_km:g} km")
    if by == "time":
        faults += _out_of_order(facts, codes)
        judged.append("the order of times")
    said = [*remarks, *_empty(rows), *_near(distances), *_unknown(facts)]
    return Leakage(facts.path, record, rows, distances, shared, faults, said, facts.problems, judged)


def distances_km(facts: RowFacts, codes: Codes, code: int) -> tuple[NDArray[np.float64], Numbers, Numbers]:
    """Return the km from each placed row of a split to the nearest training row, these rows, and the nearest ones."""
    rows = np.flatnonzero(facts.placed & (codes == code))
    train = np.flatnonzero(facts.placed & (codes == 0))
    km, near = nearest_km(facts, rows, train)
    return km, rows, near


def _distances(facts: RowFacts, codes: Codes, code: int) -> Distances:
    km, rows, near = distances_km(facts, codes, code)
    without = int((codes == code).sum()) - len(rows)
    if not len(rows) or not np.isfinite(km).all():
        return Distances(SPLITS[code], len(rows), without, {}, {}, ())
    quantiles = dict(zip(_QUANTILES, np.quantile(km, list(_QUANTILES.values())).tolist(), strict=True))
    least = int(km.argmin())
    pair = (facts.id_of(int(rows[least])), facts.id_of(int(near[least])))
    return Distances(
        SPLITS[code], len(rows), without, quantiles, {f"{most:g}": int((km <= most).sum()) for most in NEAR_KM}, pair
    )


def _shared(facts: RowFacts, codes: Codes, what: str, key: Numbers) -> SharedValues:
    rows = np.flatnonzero((key >= 0) & (codes != NONE))
    several = in_several(key[rows], codes[rows].astype(np.int64))
    train = rows[codes[rows] == 0]
    trained = np.intersect1d(several, key[train])
    also: dict[str, int] = {}
    examples: list[str] = []
    for code in (1, 2):
        hit = rows[(codes[rows] == code) & np.isin(key[rows], trained)]
        also[SPLITS[code]] = len(hit)
        for row in hit[: _NAMED - len(examples)].tolist():
            other = int(train[key[train] == key[row]][0])
            examples.append(f"{facts.id_of(row)} = {facts.id_of(other)}")
    return SharedValues(what, len(several), also, examples)


def _fault(item: SharedValues) -> str:
    examples = f", such as {'; '.join(item.examples[:2])}" if item.examples else ""
    values = "1 value" if item.values == 1 else f"{item.values:,} values"
    return f"{values} of {item.what} in several splits{examples}"


def _too_near(facts: RowFacts, codes: Codes, buffer_km: float) -> list[str]:
    """Return a line for each two splits with rows nearer than the buffer that the split promises."""
    lines = []
    for code, other in ((1, 0), (2, 0), (2, 1)):
        rows, others = (np.flatnonzero(facts.placed & (codes == one)) for one in (code, other))
        km, _ = nearest_km(facts, rows, others, buffer_km)
        if count := int((km <= buffer_km).sum()):
            lines.append(
                f"{count:,} rows of {SPLITS[code]} are within the buffer, {buffer_km:g} km, of {SPLITS[other]}"
            )
    return lines


def _out_of_order(facts: RowFacts, codes: Codes) -> list[str]:
    known = facts.seconds_utc != NO_TIME
    spans = [facts.seconds_utc[known & (codes == code)] for code in range(3)]
    there = [(SPLITS[code], span) for code, span in enumerate(spans) if len(span)]
    return [
        f"{later} begins before {earlier} ends"
        for (earlier, before), (later, after) in pairwise(there)
        if after.min() <= before.max()
    ]


def _near(distances: Sequence[Distances]) -> list[str]:
    """Return a line for each measured split with rows within a kilometre of a training row: no fault of most rules."""
    near = [(one.split, one.within[f"{_NEAR:g}"], one.rows) for one in distances if one.km]
    return [
        f"{count:,} of {rows:,} rows of {split} with a place are within {_NEAR:g} km of a training row: figures on "
        f"them say little of new places; --buffer_km {_NEAR:g} leaves such rows out"
        for split, count, rows in near
        if count
    ]


def _empty(rows: Mapping[str, int]) -> list[str]:
    none = [name for name in SPLITS if not rows.get(name)]
    return [f"{' and '.join(none)} {'has' if len(none) == 1 else 'have'} no row"] if none else []


def _unknown(facts: RowFacts) -> list[str]:
    """Return lines on what could not be compared."""
    lines = []
    if without := int((~facts.placed).sum()):
        lines.append(f"{without:,} rows have no place: how near they are to others is not known")
    for what, key in facts.who.items():
        if lacking := int((key < 0).sum()):
            lines.append(f"{lacking:,} rows name no {what} (column {facts.who_columns[what]})")
    lacking_who = [what for what in ("author", "recorder") if what not in facts.who]
    lines += [f"no column names the {what}: shared ones cannot be seen" for what in lacking_who]
    if not {"image", "recording"} <= facts.links.keys():
        lines.append("files were not compared: identical ones under other names cannot be seen")
    return lines


def km_text(km: float) -> str:
    """Return a distance as people read it: metres below a kilometre.

    >>> km_text(0.25), km_text(12.34), km_text(1234.0)
    ('250 m', '12.3 km', '1,234 km')
    """
    if km < 1:
        return f"{km * 1000:.0f} m"
    return f"{km:.1f} km" if km < 100 else f"{km:,.0f} km"
