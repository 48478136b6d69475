"""`earthtone split`: rows dealt out once and kept as a file, that grows with the data; a look at any split."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.build.dealing import DealtRows, deal_rows
from earthtone.build.leakage import Leakage, distances_km, leakage
from earthtone.build.options import CheckSplitOptions, SplitRowsOptions
from earthtone.build.pictures import PagePicture, distance_curve, map_of_places
from earthtone.build.row_facts import RowFacts, read_rows
from earthtone.data.grouped_split import NONE, Codes
from earthtone.data.pair import MEDIA, SPLITS
from earthtone.data.split_file import ROOT, SPLIT_FILE, SplitFile, read_split, write_split
from earthtone.errors import ConfigError, DataError, one_line_each, shell_line
from earthtone.files import FORMATS, atomic_folder, refuse_used, write_text_atomic
from earthtone.pages import Page
from earthtone.terminal import json_text
from earthtone.value_types import takes


@dataclass(frozen=True)
class SplitResult:
    """A split that was made."""

    out: Path
    dealt: DealtRows
    report: Leakage
    packable: bool
    """Whether its rows are pairs that `earthtone pack` takes."""

    @property
    def ok(self) -> bool:
        """Whether nothing leaks that must not."""
        return self.report.ok

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the report, with the folder."""
        return {"out": str(self.out), **self.report.to_dict()}

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        return one_line_each([*self.report.to_text().split("\n"), f"{self.out}/split.html"])


@takes(SplitRowsOptions)
def split(options: SplitRowsOptions) -> SplitResult:
    """Deal the rows of a data set out to train, val and test, and write who is where, with a report on what leaks.

    What shares an image, a recording or the id of one is never divided. `earthtone pack DATA --split_by OUT` uses it.
    Raises ConfigError and DataError; then nothing is written.
    """
    if options.out is None:
        raise ConfigError("--out is missing: the folder to write; with --check a split that is there is looked at")
    out = Path(options.out)
    refuse_used(out)
    kept = None if options.keep is None else read_split(options.keep)
    if kept is not None:
        options = as_before(options, kept)
    if options.by == "region" and options.region is None:
        raise ConfigError("--by region needs --region: W,S,E,N in degrees, a polygon, or a file of one")
    facts = _facts(options)
    fixed, stood = (None, None) if kept is None else kept.find(facts.id_numbers)
    if kept is not None and stood is not None and not stood.any():
        raise DataError(
            f"{facts.path}: none of its rows is in {kept.path}; data that have grown, with their old rows, are expected"
        )
    dealt = deal_rows(facts, options, fixed, stood)
    if kept is not None:
        dealt = replace(dealt, record={**dealt.record, ROOT: kept.root})
    if dealt.codes.min() == NONE:
        raise DataError(
            f"{facts.path}: no row is left in any split ({_why(dealt)}); choose another --by or --buffer_km"
        )
    if kept is None:
        _refuse_empty(dealt, facts, options)
    report = leakage(facts, dealt.codes, dealt.record, remarks_of(dealt, facts, kept, options))
    with atomic_folder(out) as folder:
        write_split(folder / SPLIT_FILE, facts.ids, dealt.codes, dealt.record)
        write_report(folder, report, facts, dealt.codes)
    return SplitResult(out, dealt, report, set(facts.media) == set(MEDIA))


@takes(CheckSplitOptions)
def check_split(options: CheckSplitOptions) -> Leakage:
    """Return what a split that is there leaks: the data's own, or that of a file.

    Raises DataError where the data have no split, or the file has none of their rows.
    """
    out = None if options.out is None else Path(options.out)
    if out is not None:
        refuse_used(out)
    found = None if options.split is None else read_split(options.split)
    facts = read_rows(options.data, columns=options.columns, metadata_only=options.metadata_only, need=options.need)
    codes, record, remarks = facts.splits, dict[str, Any](), list[str]()
    if found is not None:
        codes, there = found.find(facts.id_numbers)
        record = dict(found.record)
        if not there.any():
            raise DataError(f"{found.path}: none of its {len(found.ids):,} ids is one of {facts.path}")
        if lacking := int((~there).sum()):
            remarks.append(f"{lacking:,} rows are not in {found.path}")
        if gone := len(found.ids) - int(there.sum()):
            remarks.append(f"{gone:,} ids of {found.path} are no rows of the data")
    if (codes == NONE).all():
        raise DataError(
            f"{facts.path}: no row is in a split; make one: {shell_line('earthtone', 'split', options.data)}"
        )
    report = leakage(facts, codes, record, remarks)
    if out is not None:
        with atomic_folder(out) as folder:
            write_report(folder, report, facts, codes)
    return report


def as_before(options: SplitRowsOptions, kept: SplitFile) -> SplitRowsOptions:
    """Return the options with which a split was made, so that it can be added to. Raises ConfigError for others."""
    if not kept.record:
        return options  # of others: what is typed decides about new rows
    names = {field.name for field in fields(options)} & {*kept.record}
    before = {name: kept.record[name] for name in names}
    if isinstance(before.get("shares"), list):
        before["shares"] = tuple(before["shares"])
    said = {**before, "region": kept.record.get("region_said")}
    for name in sorted(option[2:] for option in options.changed(*names)):
        if getattr(options, name) != said[name]:
            raise ConfigError(
                f"--{name} {getattr(options, name)}: {kept.path} was made with {said[name]}; leave it out, or make a "
                "new split without --keep"
            )
    if before.get("by") == "time":
        before.pop("shares", None)  # its days decide
    try:
        return replace(options, **before)
    except (ConfigError, TypeError, ValueError) as error:
        raise DataError(f"{kept.path}: it was made in a way that this version does not know ({error})") from error


def remarks_of(dealt: DealtRows, facts: RowFacts, kept: SplitFile | None, options: SplitRowsOptions) -> list[str]:
    """Return what the report says of how rows were dealt out."""
    lines = []
    if dealt.linked:
        lines.append(f"{dealt.linked:,} rows share an image, a recording or an id with others and were kept together")
    lines += [f"{count:,} rows are in no split: {why}" for why, count in dealt.nowhere.items()]
    if dealt.alone:
        lacking = "a place" if options.by not in ("author", "recorder") else f"a name of their {options.by}"
        lines.append(f"{dealt.alone:,} rows without {lacking} were dealt out one by one")
    if dealt.units and dealt.largest > 0.2 * len(facts):
        lines.append(
            f"the largest of {dealt.units:,} units that stay together has {dealt.largest:,} rows: the shares can "
            "hardly be met"
        )
    if kept is not None:
        lines.append(f"{dealt.kept:,} rows stand where {kept.path} has them; {len(facts) - dealt.kept:,} are new")
        if gone := len(kept.ids) - dealt.kept:
            lines.append(f"{gone:,} rows of {kept.path} are not in the data any more, nor in this split")
    return lines


def write_report(folder: Path, report: Leakage, facts: RowFacts, codes: Codes) -> None:
    """Write split.json and split.html into a folder."""
    write_text_atomic(folder / "split.json", json_text({"format": FORMATS["split"], **report.to_dict()}) + "\n")
    verdict = f"{report.verdict[0].upper()}{report.verdict[1:]}."
    leaks = [*(f"Leak: {fault}." for fault in report.faults), verdict]
    page = Page(
        title=f"Split of {Path(report.data).name}",
        notes=[in_words(report.record), *leaks],
        tables=report.tables(),
        lists={"To know": list(report.remarks)},
        template="dataset.html.j2",
        more={"pictures": _pictures(facts, codes)},
    )
    write_text_atomic(folder / "split.html", page.html())


def in_words(record: Mapping[str, Any]) -> str:
    """Return how a split was made, in a sentence."""
    if not record:
        return "The data's own split, or one of others: how it was made is not known."
    said = {
        name: value for name, value in record.items() if name not in ("by", "region_said", ROOT) and value is not None
    }
    return f"Split by {record.get('by')}: " + ", ".join(f"{name} {_short(value)}" for name, value in said.items()) + "."


def _short(value: Any) -> str:
    text = " / ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _facts(options: SplitRowsOptions) -> RowFacts:
    who: dict[str, str] = {}
    if options.column is not None:
        who[options.by] = options.column
    return read_rows(
        options.data, columns=options.columns, metadata_only=options.metadata_only, need=options.need, who=who
    )


def _refuse_empty(dealt: DealtRows, facts: RowFacts, options: SplitRowsOptions) -> None:
    """Raise DataError where a split that was asked for got no row, such as of a single author's recordings."""
    wanted = [share > 0 for share in options.shares]
    if options.by == "region":
        wanted[2] = True
    if options.val_from is not None:
        wanted = [True, options.val_from != options.test_from, True]
    empty = [name for code, name in enumerate(SPLITS) if wanted[code] and not (dealt.codes == code).any()]
    if not empty:
        return
    why = f"; {lost}" if (lost := _why(dealt)) else ""
    if dealt.units:
        why = f": there {'is 1 unit' if dealt.units == 1 else f'are {dealt.units:,} units'} of what stays together{why}"
    instead = "choose other days" if options.val_from is not None else "or a share of 0 for it in --shares"
    if options.by == "key-digit":
        instead = "which deals out rows by their place or by chance"
    raise DataError(
        f"{facts.path}: no row is left for {' and '.join(empty)} by {options.by}{why}; choose another --by, {instead}"
    )


def _why(dealt: DealtRows) -> str:
    return "; ".join(f"{count:,} {why}" for why, count in dealt.nowhere.items())


def _pictures(facts: RowFacts, codes: Codes) -> list[PagePicture]:
    pictures = []
    layers = {}
    for code, name in ((NONE, "none"), *enumerate(SPLITS)):
        rows = facts.placed & (codes == code)
        if rows.any():
            layers[name] = (facts.longitude[rows], facts.latitude[rows])
    if layers:
        pictures.append(
            PagePicture("Where the rows are", "One dot for all rows of a split in one pixel.", map_of_places(layers))
        )
    curves: dict[str, NDArray[np.float64]] = {}
    for code in (1, 2):
        km, _, _ = distances_km(facts, codes, code)
        if len(km) and np.isfinite(km).all():
            curves[SPLITS[code]] = km
    if curves:
        caption = "A curve far to the right is a split whose test places are far from all that was trained on."
        pictures.append(PagePicture("How far val and test are from train", caption, distance_curve(curves)))
    return pictures
