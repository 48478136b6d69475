"""The verb curate: rows measured, judged, written - those that stay as a manifest, the others with what dropped them.

Three passes over the data: to measure what is not measured yet (kept on the disk, so that a stopped call goes on and
new thresholds cost no decoding), to judge each row and compare what is left, to write. Memory: about 250 bytes a row,
and with the rules on duplicates up to 600 more.
"""

import json
import logging
import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from earthtone.build.curate.duplicates import Seen, Twin, twins_of
from earthtone.build.curate.measure import FACTS_FILE, Facts, KeptFacts, Wanted, key_of, measurer, tagger, waiting
from earthtone.build.curate.output import CuratedRows, Held, Histograms, RuleCount, write_page
from earthtone.build.curate.rules import JUDGES, Finding, judge
from earthtone.build.options import RULES, CurateOptions, ExplainOptions
from earthtone.build.row_facts import open_any_media
from earthtone.data.grouped_split import id_number
from earthtone.data.pair import Pair, Problem
from earthtone.data.source import Source, is_packed
from earthtone.errors import ConfigError, DataError, one_line, one_line_each
from earthtone.files import FORMATS, format_of, only_writer, refuse_undecodable, write_text_atomic
from earthtone.processors import usable_processors
from earthtone.progress import ordered_map, progress
from earthtone.terminal import json_text
from earthtone.value_types import takes

_log = logging.getLogger(__name__)
RECORD_FILE = "curation.json"
_KIND = "curation"
_PAIRED = ("same-audio", "same-image")


@dataclass(frozen=True)
class CurateResult:
    """What stays of a data set, and which rule dropped how much. `out` is the folder."""

    out: Path
    data: str
    rows: int
    kept: int
    hours: float
    """Of sound, of the rows that stay."""
    rules: Mapping[str, RuleCount]
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> Path:
        """The rows that stay: a manifest."""
        return self.out / "curated.parquet"

    @property
    def channel(self) -> str | None:
        """The channel that should be taken when the rows are packed; None: the mean of all will do."""
        return "loudest" if self.rules["cancel"].noted else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "out": str(self.out)}

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        lines = [f"{self.out}: {self.kept:,} of {self.rows:,} rows stay, {self.hours:,.2f} h of sound"]
        for name, found in self.rules.items():
            if found.dropped:
                told = f"{found.dropped:,} ({found.alone:,} by it alone)"
                lines.append(f"  dropped, {name}: {told}, such as {': '.join(found.examples[0]):.200}")
            if found.noted:
                lines.append(f"  noted, {name}: {found.noted:,}")
        lines += [f"  {note}" for note in self.notes]
        return one_line_each([*lines, f"{self.out}/curation.html"])


@dataclass(frozen=True)
class Explanation:
    """What each rule says of one row, and what became of it."""

    id: str
    verdict: str
    findings: Mapping[str, Finding]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        lines = [f"{self.id}: {self.verdict}"]
        for rule, found in self.findings.items():
            said = {"off": "", "not judged": f": {found.value}"}.get(found.verdict, f": {found.detail}")
            lines.append(f"  {rule:<12} {found.verdict}{said}")
        return one_line_each(lines)


@takes(CurateOptions)
def curate(options: CurateOptions) -> CurateResult:
    """Write which rows of a data set are worth training on, which are not, and why.

    In `out`: curated.parquet (a manifest), dropped.parquet (id, rule, detail), curation.json, curation.html. A stopped
    call goes on; one with other thresholds measures nothing anew. Raises DataError, also where no row stays;
    ConfigError.

    >>> curate("recordings.parquet", "curated", any_licence=True).kept  # doctest: +SKIP
    1312
    """
    out = Path(options.out)
    refuse_undecodable(out)
    _refuse_other(out)
    source = _opened(options)
    if options.tagger is not None:
        tagger(options.tagger)
    with only_writer(out, "curating"):
        kept = KeptFacts(out / FACTS_FILE)
        try:
            wanted = _wanted(options)
            _measure(source, kept, wanted, options.threads or usable_processors())
            judged = _judged(source, kept, wanted, options)
            return _written(source, kept, judged, options)
        finally:
            kept.close()


@takes(ExplainOptions)
def explain_curation(options: ExplainOptions) -> Explanation:
    """Return every rule's value, threshold and verdict for one row of a curation, with the options it was made with.

    Raises DataError where the folder is no finished curation, or the data have no such row.
    """
    out = Path(options.out)
    curation = _recorded(out)
    source = _opened(curation)
    wanted = _wanted(curation)
    with only_writer(out, "curating"):
        kept = KeptFacts(out / FACTS_FILE)
        try:
            judged = _judged(source, kept, wanted, curation)
            return _explained(source, kept, judged, curation, options.id)
        finally:
            kept.close()


def _refuse_other(out: Path) -> None:
    """Raise ConfigError where a folder holds something, and no curation."""
    there = out.is_file() or out.is_symlink() or (out.is_dir() and any(out.iterdir()))
    if there and not (out / FACTS_FILE).is_file():
        raise ConfigError(f"{out} exists and is no folder of a curation; choose another --out")


def _opened(options: CurateOptions) -> Source:
    if is_packed(options.data):
        raise ConfigError(f"{options.data} is packed already: curate what it was packed from, then pack that")
    source, _ = open_any_media(options.data, options.columns)
    if source.ready_spectrograms:
        raise ConfigError(f"{options.data} holds ready spectrograms, no recordings: their sound cannot be judged")
    return source


def _wanted(options: CurateOptions) -> Wanted:
    return Wanted(
        prints=options.counts("same-audio") and options.max_distance > 0,
        speech=options.counts("speech"),
        tagger=options.tagger if options.counts("tags") else None,
    )


def _measure(source: Source, kept: KeptFacts, wanted: Wanted, threads: int) -> None:
    items = progress(source, total=len(source), label="measure")
    todo = waiting((item for item in items if isinstance(item, Pair)), kept, wanted)
    for key, facts, holds in ordered_map(measurer(wanted), todo, threads):
        kept.add(key, facts, holds)


@dataclass
class _Judged:
    """What was decided of each row, by its number in the data."""

    seen: Seen
    """What is compared of the rows that no rule of their own drops."""
    ids: "array[int]" = field(default_factory=lambda: array("Q"))
    """64 bits of each id, to see that the data stay as they were."""
    twins: Mapping[str, Mapping[int, Twin]] = field(default_factory=dict)
    histograms: Histograms = field(default_factory=Histograms)


def _facts(pair: Pair, kept: KeptFacts, wanted: Wanted) -> Facts:
    facts = kept.find(key_of(pair, wanted))
    if facts is None:
        raise DataError(f"{pair.id}: its file has changed meanwhile; type the same again")
    return facts


def _judged(source: Source, kept: KeptFacts, wanted: Wanted, options: CurateOptions) -> _Judged:
    judged = _Judged(Seen(options.counts("same-audio"), options.counts("same-image")))
    for number, item in enumerate(progress(source, total=len(source), label="judge")):
        judged.ids.append(id_number(item.id))
        if isinstance(item, Pair):
            facts = _facts(item, kept, wanted)
            findings = judge(item, facts, options)
            judged.histograms.add(findings)
            if all(finding.verdict != "dropped" for finding in findings.values()):
                judged.seen.add(number, facts, options.same_images == "always" or item.audio is None)
    judged.twins = twins_of(judged.seen, options.max_distance, options.max_bits)
    return judged


def _rows(
    source: Source, kept: KeptFacts, judged: _Judged, options: CurateOptions
) -> Iterator[tuple[Pair | Problem, Facts, dict[str, Finding]]]:
    """Yield the rows once more, with what each rule that counts says of them."""
    wanted = _wanted(options)
    needed = {twin.row for twins in judged.twins.values() for twin in twins.values()}
    names: dict[int, str] = {}
    for number, item in enumerate(source):
        if number >= len(judged.ids) or judged.ids[number] != id_number(item.id):
            raise DataError(f"{source.path} has changed meanwhile; type the same again")
        if number in needed:
            names[number] = item.id
        if isinstance(item, Problem):
            yield item, Facts(), {"row": Finding(item.detail, f"no {item.kind}", "dropped")}
            continue
        facts = _facts(item, kept, wanted)
        findings = judge(item, facts, options)
        for rule in _PAIRED:
            if options.counts(rule):
                findings[rule] = judged.seen.finding(rule, number, judged.twins[rule].get(number), names, options)
        yield item, facts, findings


def _written(source: Source, kept: KeptFacts, judged: _Judged, options: CurateOptions) -> CurateResult:
    out = Path(options.out)
    counts = {rule: RuleCount() for rule in RULES}
    held = Held()
    with CuratedRows(out, source, options) as table:
        for item, facts, findings in progress(_rows(source, kept, judged, options), total=len(source), label="write"):
            held.rows += 1
            dropped = [rule for rule, finding in findings.items() if finding.verdict == "dropped"]
            for rule, finding in findings.items():
                counts[rule].add(item.id, finding, alone=dropped == [rule])
            if dropped or isinstance(item, Problem):
                table.drop(item.id, {rule: findings[rule] for rule in dropped})
            else:
                table.keep(item, facts, findings)
                held.kept += 1
                held.seconds += 0.0 if facts.sound is None else facts.sound.seconds
        if not held.kept:
            raise DataError(_none_left(source, counts))
    notes = _notes(counts, table, options)
    result = CurateResult(out, str(options.data), held.rows, held.kept, held.seconds / 3600, counts, tuple(notes))
    write_page(out, result.data, held, counts, options, judged.histograms, notes)
    record = {"format": FORMATS[_KIND], **_record(options), **result.to_dict()}
    write_text_atomic(out / RECORD_FILE, json_text(record) + "\n")
    return result


def _none_left(source: Source, counts: Mapping[str, RuleCount]) -> str:
    told = "; ".join(
        f"{rule}: {count.dropped:,}, such as {count.examples[0][1]:.160}"
        for rule, count in counts.items()
        if count.dropped
    )
    advice = "give other thresholds, or --off RULE"
    if counts["licence"].dropped:
        advice = f"--any_licence takes your own recordings, --allow nc,nd more licences; else {advice}"
    return f"{source.path}: no row stays ({told or 'there is none'}); {advice}"


def _notes(counts: Mapping[str, RuleCount], table: CuratedRows, options: CurateOptions) -> list[str]:
    notes = []
    if counts["cancel"].noted:
        notes.append(
            f"the channels of {counts['cancel'].noted:,} rows cancel when averaged: pack with "
            "--signal.audio.channel loudest"
        )
    if table.place_columns:
        notes.append(f"places are coarse; not written, since they tell places: {', '.join(table.place_columns)}")
    if table.telling_names:
        notes.append(
            f"ids or files of {table.telling_names:,} rows have numbers in their names that may be places: rename "
            "them before you publish, and look into the headers of recorders' files"
        )
    return notes


def _record(options: CurateOptions) -> dict[str, Any]:
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    data = str(options.data)
    if "://" not in data:
        data = Path(os.path.relpath(Path(data).resolve(), Path(options.out).resolve())).as_posix()
    return {"options": {**values, "data": data, "out": "."}}


def _recorded(out: Path) -> CurateOptions:
    """Return the options of a curation that is done. Raises DataError."""
    path = out / RECORD_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        format_of(values, _KIND, path)
        said = dict(values["options"])
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; a folder that earthtone curate has written to its end expected"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no record of a curation; repeat the earthtone curate that wrote it") from error
    data = said["data"] if "://" in str(said.get("data")) else out / str(said.get("data"))
    try:
        return CurateOptions(**{**said, "data": data, "out": out})
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: made in a way that this version does not know ({error})") from error


def _explained(source: Source, kept: KeptFacts, judged: _Judged, options: CurateOptions, id: str) -> Explanation:
    for item, facts, findings in _rows(source, kept, judged, options):
        if item.id != id:
            continue
        if isinstance(item, Problem):
            return Explanation(id, "dropped: row", findings)
        everything = {**judge(item, facts, options, all_of_them=True), **findings}
        off = {rule: Finding("", "", "off") for rule in _PAIRED if rule not in findings}
        found = {rule: {**off, **everything}[rule] for rule in RULES if rule in JUDGES or rule in _PAIRED}
        dropped = [rule for rule, finding in found.items() if finding.verdict == "dropped"]
        return Explanation(id, f"dropped: {', '.join(dropped)}" if dropped else "stays", found)
    told = "an id of curated.parquet or dropped.parquet expected"
    raise DataError(f"{source.path} has no row {one_line(id)!r:.80}; {told}")
