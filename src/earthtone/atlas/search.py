"""Search in a table of embeddings, from a query to hits: what is asked, what is searched, ranking, what is said of it.

Exact: every row that the filters keep is compared. Rows that the query itself is made of are no hits. The rank of a row
among all that were searched is known from the ranking, so a hit's percentile is no estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.atlas.approximate import Clusters, approximate_top_k, open_clusters
from earthtone.atlas.embeddings import COLUMNS, EmbeddingTable, open_embeddings
from earthtone.atlas.filters import Filter, filters_of, passing_rows
from earthtone.atlas.hits import Hit, SearchResult, check_out, write_hits
from earthtone.atlas.marks import (
    NEEDED,
    MarkedRows,
    MarkReport,
    Marks,
    first_names,
    fit_decision,
    probability,
    read_marks,
    report_marks,
)
from earthtone.atlas.options import OpenIndexOptions, QueryOptions, SearchOptions
from earthtone.atlas.queries import OTHER, Catalogue, Example, Reader, combined, query_text
from earthtone.atlas.scan import exact_scores, id_order, open_store, top_k
from earthtone.errors import ConfigError, DataError, ModelError, needed_by, shell_line
from earthtone.models.storage import model_fingerprint, opened_model
from earthtone.models.two_tower import TwoTower
from earthtone.value_types import takes

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

COSINE = "cosine of the angle to the query, 1 is the same direction"
DISTANCE = "minus the Euclidean distance to the query, 0 is the same"
_PROBABILITY = "probability of being right, by a classifier of the marks"
_MIXED = (
    "images and sounds are ranked together, but a model may keep them apart: compare scores within one of them, or "
    "type --find image or --find audio"
)
_MORE_AT_ONCE = 4  # rows a hit that are looked at for one hit a recording, and by how much more where it lacks
_BLOCK = 65_536
_LARGE = 200_000  # rows, from which on it is worth saying that an index makes the search faster


@dataclass(frozen=True)
class _Ranking:
    """Rows in their order, best first; as far as was needed."""

    rows: Rows
    scores: Floats
    places: Rows
    """(N,) of each in the order of all that were searched, from 0."""


@dataclass(frozen=True)
class _Asked:
    """What is asked, read and checked."""

    name: str
    query: Floats | None
    marked: "_Marked | None"
    find: str
    rows: Rows | None
    """That are compared; None for all."""
    own: Rows
    """Those of the query itself, among them."""
    searched: int
    notes: tuple[str, ...]


class Index:
    """A folder of embeddings, opened for searching. Stored vectors are enough for queries by id, place or vector."""

    def __init__(self, folder: Path, table: EmbeddingTable, model: TwoTower | str | Path | None, device: str) -> None:
        self.folder = folder
        self.table = table
        self.given_model, self.device = model, device
        self._model: TwoTower | None = None

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Return the rows by id and place."""
        return Catalogue(self.table)

    @cached_property
    def _store(self) -> tuple[Any, str | None]:
        """What is scanned, and a line where that is not the fastest."""
        return open_store(self.table)

    @cached_property
    def _clusters(self) -> Clusters:
        """The approximate index, which is used on request alone."""
        return open_clusters(self.table)

    def show(self, **options: Any) -> Any:
        """Return the index as a page in a notebook's frame, or as a picture (`still=True`, and outside IPython).

        Options are those of `serve_page`, `maps` (folders of `earthtone map`) and `height` in pixels.
        """
        with needed_by("Index.show"):
            from earthtone.serve.show import show_index
        return show_index(self, **options)

    def model(self) -> TwoTower:
        """Return the model of the index, opened when first asked for.

        Raises ModelError where it cannot be opened, or is another one than that of the index.
        """
        if self._model is None:
            card = self.table.card
            spec = card.model if self.given_model is None else self.given_model
            try:
                model = opened_model(spec, device=self.device)
            except (ModelError, ConfigError) as error:
                if self.given_model is not None:
                    raise
                raise ModelError(
                    f"{self.folder}: the model of its vectors, {card.model}, cannot be opened ({error}); say where it "
                    "lies: --model RUN; queries by id, place or vector (.npy) need none"
                ) from error
            found = model_fingerprint(model)
            if found != card.model_fingerprint:
                name = "the model given" if isinstance(spec, TwoTower) else str(spec)
                raise ModelError(
                    f"{name} is another model than that of the index: its fingerprint is {found}, the index's is "
                    f"{card.model_fingerprint} ({card.model}); give that one, or embed the data anew with this one"
                )
            self._model = model
        return self._model

    def search(self, like: Any = (), unlike: Any = (), *, marks: Any = None, **options: Any) -> SearchResult:
        """Return the hits that are most like a query, by the options of `earthtone search`.

        `like` and `unlike` are one thing or a list of them: a path, `LON,LAT` or (longitude, latitude), an id, a vector
        (D,) or vectors (N, D), a picture (uint8), (samples, hz); queries.py tells what texts mean. `marks` are a file's
        name or Marks.
        Raises ConfigError, DataError, ModelError, SignalError.

        >>> index.search("waves.wav", k=3).hits[0].id  # doctest: +SKIP
        'harbour'
        """
        positive, negative = _several(like), _several(unlike)
        for name in ("source", "license", "where"):
            if isinstance(options.get(name), str):
                options[name] = [options[name]]
        return self.answer(QueryOptions(marks=marks, **options), positive, negative)

    def answer(
        self, options: QueryOptions, like: Sequence[Any], unlike: Sequence[Any], filters: Sequence[Filter] = ()
    ) -> SearchResult:
        """Return what `search` does, by options that are checked already.

        `like` and `unlike` may be Examples, as of what was embedded before; `filters` count beside those of `options`.
        """
        asked = self._asked(options, like, unlike, filters)
        notes = list(asked.notes)
        ranking, score_is, target = self._ranked(options, asked.query, asked.marked, asked.rows, asked.own, asked.find)
        hits = self._hits(ranking, asked.searched, asked.marked)
        if len(hits) < options.k:
            what = "rows" if options.windows == "all" else "images and recordings"
            notes.append(f"{len(hits)} of {options.k} hits: no more {what} are there to be ranked, all are shown")
        if options.approximate:
            notes.append(
                "approximate: rows that are far from the query were not looked at, so that some may be missing"
            )
            notes += [one.sentence() for one in self._clusters.recalls if asked.find in ("all", one.found)]
        if self._store[1] and len(self.table) >= _LARGE:
            notes.append(self._store[1])
        report = None if asked.marked is None else asked.marked.report
        return SearchResult(
            asked.name, score_is, asked.find, asked.searched, len(self.table), tuple(hits), tuple(notes), report, target
        )

    def scores(
        self, options: QueryOptions, like: Sequence[Any], unlike: Sequence[Any], filters: Sequence[Filter] = ()
    ) -> NDArray[np.float32]:
        """Return the score (N,) of every row that `answer` ranks, NaN of the others; `k` and `windows` do not count."""
        asked = self._asked(options, like, unlike, filters)
        rows, scores, _ = self._scored(asked.query, asked.marked, asked.rows, asked.own)
        found = np.full(len(self.table), np.nan, np.float32)
        found[rows] = scores
        return found

    def _asked(
        self, options: QueryOptions, like: Sequence[Any], unlike: Sequence[Any], filters: Sequence[Filter]
    ) -> "_Asked":
        self._refuse(options, like, unlike)
        reader = Reader(self.table, self.catalogue, self.model, options.gsd_m, options.find)
        positive, negative = [reader.read(each) for each in like], [reader.read(each) for each in unlike]
        if options.gsd_m is not None and not reader.pictures:
            raise ConfigError("--gsd_m has no effect: no query is an image to be embedded; leave it out")
        notes = [example.said for example in (*positive, *negative) if example.said]
        unit = self.table.card.unit
        query = combined([e.vector for e in positive], [e.vector for e in negative], unit) if positive else None
        name = query_text([e.name for e in positive], [e.name for e in negative])
        marked = None
        if options.marks is not None:
            marked = _Marked.read(self, options, name, query)
            name = marked.name
        find = self._found_medium(options, positive, marked)
        rows, said = self._searched_rows(options, find, filters)
        notes += said
        if find == "all" and len(self.catalogue.media) > 1:
            notes.append(_MIXED)
        own = np.unique(np.concatenate([e.rows for e in (*positive, *negative)] or [np.zeros(0, np.int64)]))
        if marked is not None and options.borderline:
            own = np.union1d(own, marked.all_rows)
        if rows is not None:
            own = np.intersect1d(own, rows)
        searched = (len(self.table) if rows is None else len(rows)) - len(own)
        if searched < 1:
            raise DataError(f"{self.folder}: no row is left beside those of the query itself; give another one")
        return _Asked(name, query, marked, find, rows, own, searched, tuple(notes))

    def _refuse(self, options: QueryOptions, like: Sequence[Any], unlike: Sequence[Any]) -> None:
        if not len(self.table):
            line = shell_line("earthtone", "embed", "--model", "RUN", "--data", "DATA", "--out", self.folder)
            raise DataError(f"{self.folder}: an empty index, nothing was embedded; type: {line}")
        if not like and (options.marks is None or unlike):
            what = "--unlike alone says only where not to look; " if unlike else ""
            raise ConfigError(
                f"{what}nothing to search by; give --like a sound, an image, LON,LAT, an id or vectors (.npy), or "
                "--marks"
            )
        filters_of(options.filters())  # a mistake in them is told before anything long
        if options.windows == "all" and not self.table.card.windows:
            raise ConfigError(
                f"--windows all has no effect: the sounds of {self.folder} are whole recordings; leave it out, or "
                "embed them with --windows"
            )

    def _found_medium(self, options: QueryOptions, positive: Sequence[Example], marked: "_Marked | None") -> str:
        """Return what is searched: image, audio or all."""
        there = list(self.catalogue.media)
        if options.find not in (None, "all"):
            if options.find not in there:
                raise DataError(f"--find {options.find}: the index holds {' and '.join(there)} alone")
            return str(options.find)
        if options.find == "all":
            return "all"
        if marked is not None and marked.medium is not None:
            return marked.medium
        media = {example.medium for example in positive}
        if len(there) == 1:
            return there[0]
        [medium] = media if len(media) == 1 else [None]
        return OTHER[medium] if medium is not None else "all"

    def _searched_rows(self, options: QueryOptions, find: str, more: Sequence[Filter]) -> tuple[Rows | None, list[str]]:
        """Return the rows that are compared, None for all, and a sentence on what the filters did.

        Raises ConfigError, DataError for filters that make no sense, or leave nothing.
        """
        media = self.catalogue.media
        filters = [*filters_of(options.filters()), *more]
        if not filters:
            return (None if find == "all" or len(media) == 1 else media[find]), []
        medium = filters_of({"modality": find}) if find != "all" and len(media) > 1 else []
        passing = passing_rows(self.table, [*medium, *filters])
        return passing.rows, [passing.sentence()]

    def _ranked(
        self, options: QueryOptions, query: Floats | None, marked: "_Marked | None", rows: Rows | None, own: Rows,
        find: str,
    ) -> tuple[_Ranking, str, float | None]:  # fmt: skip
        """Return the best rows, what their scores are, and the score that borderline hits are nearest to."""
        decided = marked is not None and marked.decision is not None
        target = options.target_score if options.borderline else None
        if options.borderline and target is None:
            if not decided:
                raise ConfigError(
                    "--borderline without a classifier of marks; say near which score: --target_score 0.3"
                )
            target = 0.5
        if decided or options.borderline:
            found, scores, kind = self._scored(query, marked, rows, own)
            return self._ordered(options, found, scores, target), kind, target
        unit = self.table.card.unit
        ranking = self._best(_wanted(query, marked), rows, own, options, find)
        # a vector that was rounded to float16 may be longer than 1 by a little
        shown = np.clip(ranking.scores, -1.0, 1.0) if unit else -np.sqrt(-ranking.scores)
        return replace(ranking, scores=shown), COSINE if unit else DISTANCE, None

    def _scored(
        self, query: Floats | None, marked: "_Marked | None", rows: Rows | None, own: Rows
    ) -> tuple[Rows, Floats, str]:
        """Return all rows that are compared but the query's own, their scores, and what these are."""
        if marked is not None and marked.decision is not None:
            found, logits = self._all_scores(marked.decision.weights, rows, own, dot=True)
            return found, probability(logits + marked.decision.bias), _PROBABILITY
        unit = self.table.card.unit
        found, values = self._all_scores(_wanted(query, marked), rows, own, dot=unit)
        return found, np.clip(values, -1.0, 1.0) if unit else -np.sqrt(-values), COSINE if unit else DISTANCE

    def _best(self, query: Floats, rows: Rows | None, own: Rows, options: QueryOptions, find: str) -> _Ranking:
        """Return the best rows by the scan, of one recording the best window unless all are asked for."""
        total = len(self.table) if rows is None else len(rows)
        size = min(total, options.k * (1 if options.windows == "all" else _MORE_AT_ONCE) + len(own))
        while True:
            scores, found = (part[0] for part in self._top(query, size, rows, find if options.approximate else None))
            kept = ~np.isin(found, own)
            ranking = _Ranking(found[kept], scores[kept].astype(np.float64), np.arange(int(kept.sum())))
            first = self._firsts(ranking, options)
            if len(first.rows) >= options.k or size >= total:
                return first
            size = min(total, size * _MORE_AT_ONCE)

    def _top(self, query: Floats, size: int, rows: Rows | None, near: str | None) -> tuple[Any, Rows]:
        """Return scores and rows (1, size) of a query; `near`: approximately, rows of this medium or of all."""
        if near is None:
            return top_k(query[None], self._store[0], size, rows)
        medium = None if near == "all" else near
        return approximate_top_k(query[None], self._clusters, self._store[0], size, rows, medium)

    def _all_scores(self, query: Floats, rows: Rows | None, own: Rows, *, dot: bool) -> tuple[Rows, Floats]:
        """Return all rows that are compared but the query's own, and their scores."""
        wanted = np.arange(len(self.table)) if rows is None else rows
        wanted = np.setdiff1d(wanted, own, assume_unique=True)
        parts, start = [np.zeros(0, np.float32)], 0
        for vectors in self.table.blocks(_BLOCK):
            here = wanted[slice(*np.searchsorted(wanted, [start, start + len(vectors)]))] - start
            parts.append(exact_scores(query, vectors[here], dot))
            start += len(vectors)
        return wanted, np.concatenate(parts).astype(np.float64)

    def _ordered(self, options: QueryOptions, rows: Rows, scores: Floats, target: float | None) -> _Ranking:
        """Return all rows by score, or by nearness to a target; ties by id."""
        ids = id_order(self.table)[rows]
        order = np.lexsort((ids, -scores))
        place = np.empty(len(rows), np.int64)
        place[order] = np.arange(len(rows))
        if target is not None:
            order = np.lexsort((ids, np.abs(scores - target)))
        return self._firsts(_Ranking(rows[order], scores[order], place[order]), options)

    def _firsts(self, ranking: _Ranking, options: QueryOptions) -> _Ranking:
        """Return the first k, of an image or recording the first row alone unless all windows are asked for."""
        at = np.arange(len(ranking.rows))
        if options.windows == "best" and len(at):
            at = self._first_of_each(ranking.rows, options.k)
        at = at[: options.k]
        return _Ranking(ranking.rows[at], ranking.scores[at], ranking.places[at])

    def _first_of_each(self, rows: Rows, count: int) -> Rows:
        seen: set[tuple[str, str]] = set()
        first: list[int] = []
        for start in range(0, len(rows), _BLOCK):  # of a ranking of all rows mostly the beginning is enough
            part = self.table.columns(["id", "modality"], rows[start : start + _BLOCK])
            names = zip(part["id"].to_pylist(), part["modality"].to_pylist(), strict=True)
            for at, name in enumerate(names, start):
                if name not in seen:
                    seen.add(name)
                    first.append(at)
            if len(first) >= count:
                break
        return np.array(first, np.int64)

    def _hits(self, ranking: _Ranking, searched: int, marked: "_Marked | None") -> list[Hit]:
        if not len(ranking.rows):
            return []
        free = self.table.free_names
        found = self.table.columns([*COLUMNS, *free], ranking.rows)
        try:
            cells = found.to_pylist()
        except (OverflowError, ValueError) as error:
            raise DataError(f"{self.table.path}: a datetime beyond all years; embed the data again") from error
        keys = self.catalogue.keys(ranking.rows)
        verdicts = {} if marked is None else marked.verdict_of_row
        hits = []
        for at, (row, key, cell) in enumerate(zip(ranking.rows.tolist(), keys, cells, strict=True)):
            behind = searched - 1 - int(ranking.places[at])
            percentile = 100.0 * behind / (searched - 1) if searched > 1 else 100.0
            hits.append(_hit(at + 1, float(ranking.scores[at]), percentile, key, row, cell, free, verdicts.get(row)))
        return hits


def _wanted(query: Floats | None, marked: "_Marked | None") -> Floats:
    """Return the vector that rows are compared with. Raises ConfigError where there is none."""
    found = marked.query if marked is not None else query
    if found is None:
        raise ConfigError("nothing to search by; give --like, or more marks")
    return found


def _hit(
    rank: int, score: float, percentile: float, key: str, row: int, cell: dict[str, Any], free: Sequence[str],
    verdict: str | None,
) -> Hit:  # fmt: skip
    bounds = tuple(cell[name] for name in ("west", "south", "east", "north"))
    return Hit(
        rank=rank, score=score, percentile=percentile, key=key, id=cell["id"], modality=cell["modality"], row=row,
        longitude=_number(cell["longitude"]), latitude=_number(cell["latitude"]),
        datetime=None if cell["datetime"] is None else cell["datetime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        source=cell["source"], license=cell["license"], attribution=cell["attribution"], media=cell["media"],
        start_s=_number(cell["start_s"]), seconds=_number(cell["seconds"]), file_fingerprint=cell["file_fingerprint"],
        bounds=None if None in map(_number, bounds) else bounds, crs=cell["crs"], verdict=verdict,
        more={name: cell[name] for name in free},
    )  # fmt: skip


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _several(given: Any) -> list[Any]:
    """Return what was given as a list: one thing alone, or a list of them; (longitude, latitude) is one thing."""
    return list(given) if isinstance(given, list) or (isinstance(given, tuple) and not given) else [given]


@dataclass(frozen=True)
class _Marked:
    """Marks, found in an index."""

    name: str
    medium: str | None
    report: MarkReport
    decision: Any
    """A Decision; None where the marks are too few."""
    query: Floats | None
    """Without a decision: what is right and wrong as a query with + and -."""
    all_rows: Rows
    verdict_of_row: dict[int, str]

    @staticmethod
    def read(index: Index, options: QueryOptions, name: str, query: Floats | None) -> "_Marked":
        given = options.marks if isinstance(options.marks, Marks) else read_marks(str(options.marks))
        wanted = options.marks_query
        if wanted is None and name in given.queries():
            wanted = name
        marks = given.of(wanted)
        verdicts, left_out = marks.verdicts()
        places = index.catalogue.of_keys(list(verdicts))
        media = {place.medium for found in places.values() for place in found}
        medium: str | None = options.find if options.find in OTHER else None
        if medium is None and len(media) == 1:
            [medium] = media
        if medium is None and len(media) > 1 and options.find is None:
            raise ConfigError(
                f"{marks.name}: its ids name images and sounds of the index; say which were marked: --find image or "
                "--find audio"
            )
        found = {
            key: numbers
            for key, each in sorted(places.items())
            if (numbers := [place.row for place in each if medium is None or place.medium == medium])
        }
        unknown = [key for key in verdicts if key not in found]
        left_out += len(unknown)
        if not found:
            raise DataError(
                f"{marks.name}: none of {len(verdicts)} marked ids is in the index: {first_names(unknown)}; marks of "
                "this index expected"
            )
        rows = np.array([row for each in found.values() for row in each], np.int64)
        mark = np.repeat(np.arange(len(found)), [len(each) for each in found.values()])
        right = np.array([verdicts[key] for key in found])
        marked = MarkedRows(tuple(found), right, index.table.vectors(rows).astype(np.float64), mark)
        unit = index.table.card.unit
        by_query = None if query is None else marked.best(exact_scores(query, marked.vectors, unit).astype(np.float64))
        report = report_marks(marked, by_query, left_out, marks.problems, unknown)
        decision, fallback = None, None
        if min(marked.counts) >= NEEDED:
            decision = fit_decision(marked)
        else:
            fallback = _as_query(marked, query, unit)
            report = replace(report, too_few=True)
        said = {row: "right" if verdicts[key] else "wrong" for key, each in found.items() for row in each}
        chosen = marks.marks[0].query
        return _Marked(chosen, medium, report, decision, fallback, np.unique(rows), said)


def _as_query(marked: MarkedRows, query: Floats | None, unit: bool) -> Floats:
    """Return the query that few marks are: right ones as --like, beside the query that was given, wrong as --unlike."""
    means = [marked.vectors[marked.mark == at].mean(axis=0) for at in range(len(marked.keys))]
    sides: dict[bool, list[Floats]] = {True: [], False: []}
    for mean, right in zip(means, marked.right.tolist(), strict=True):
        sides[right].append(mean / max(float(np.linalg.norm(mean)), 1e-12) if unit else mean)
    if query is not None:
        sides[True].append(query)
    if not sides[True]:
        raise DataError("no mark is right and there is no --like: wrong ones alone do not say what to look for")
    return combined(sides[True], sides[False], unit)


@takes(OpenIndexOptions)
def open_index(options: OpenIndexOptions) -> Index:
    """Return the index of a folder that `earthtone embed` wrote; its model is opened when a file must be embedded.

    Raises DataError where there is none, where it is damaged, or where shards wait to be merged.
    """
    table = open_embeddings(options.index)
    folder = table.path.parent if table.path == Path(options.index) else Path(options.index)
    return Index(folder, table, options.model, options.device)


@takes(SearchOptions)
def search(options: SearchOptions) -> SearchResult:
    """Return the hits in an index that are most like a query, and write them where `out` says.

    Sentences on what was written stand in the result's notes. Raises ConfigError, DataError, ModelError, SignalError.
    """
    check_out(options.out)
    index = open_index(options.index, model=options.model, device=options.device)
    result = index.answer(options, options.like, options.unlike)
    if options.model is not None and index._model is None:
        raise ConfigError("--model has no effect: no query is a file to be embedded; leave it out")
    if options.out is not None:
        result = replace(result, notes=(*result.notes, *write_hits(result, options.out)))
    return result
