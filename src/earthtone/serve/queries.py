"""What the page asks of the index: searches, clicks on the map, scores of all points, hits as files, uploads, marks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import shapely
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from earthtone.atlas import queries as examples
from earthtone.atlas.embeddings import VECTOR
from earthtone.atlas.filters import FILTERS, Filter, area_filter, equal_filter, one_of_filter, passing_rows
from earthtone.atlas.hits import SearchResult, csv_of, geojson_of
from earthtone.atlas.marks import Mark, Marks, add_marks
from earthtone.atlas.options import QueryOptions
from earthtone.atlas.scan import exact_scores
from earthtone.errors import DataError, EarthtoneError, one_line
from earthtone.serve import answers
from earthtone.serve.answers import (
    LONGEST_QUERY,
    Click,
    Clicked,
    Found,
    Hit,
    MarkKept,
    MarkReport,
    MarkSaid,
    MarksTold,
    Passing,
    Search,
    Upload,
)
from earthtone.serve.guard import Pace, refused
from earthtone.serve.media import told_place
from earthtone.serve.points import packed
from earthtone.serve.served import MOST_MARKS_BYTES, Served
from earthtone.serve.uploads import Uploads

_MOST_WINDOWS = 256
_MOST_TOLD = 10_000  # marks
_MARKS_AT_ONCE, _MARKS_A_SECOND = 600, 10.0  # of one address
_MOST_QUERIES = 1000
_MOST_PROBLEMS = 20
_NEAR_KM = 0.1  # of a picture without bounds: nearer than this it is taken to show the place
_UPLOADED = ("audio/*", "image/*", "application/octet-stream")
_BYTES = {"schema": {"type": "string", "format": "binary"}}


@dataclass(frozen=True)
class _Asked:
    """A query of the page's as the index takes it."""

    options: QueryOptions
    like: list[examples.Example]
    unlike: list[examples.Example]
    filters: list[Filter]
    windows: NDArray[np.float64] | None
    """(W, D) of the one sound that is searched by, where it has several."""
    notes: list[str]


def routes(served: Served, uploads: Uploads) -> APIRouter:
    """Return what searches."""
    router = APIRouter(prefix="/api", tags=["queries"])
    index = served.index

    @router.post(
        "/uploads",
        openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(_UPLOADED, _BYTES)}},
    )
    async def upload(
        request: Request, gsd_m: Annotated[float | None, Query(gt=0, le=1e6, description="metres a pixel")] = None
    ) -> Upload:
        """Take a sound or a picture as it is (no form), to be searched by; X-Name is its name, in per cent signs."""
        return await uploads.take(request.stream(), request.headers.get("x-name"), gsd_m)

    @router.post("/search")
    def search(asked: Search) -> Found:
        """Return what is most like a query."""
        read = _read(served, uploads, asked, asked.k)
        return _found(served, index.answer(read.options, read.like, read.unlike, read.filters), read)

    @router.post("/click")
    def click(asked: Click) -> Clicked:
        """Return the tile at a place and the sounds that are likely there."""
        return _clicked(served, asked)

    @router.post("/passing")
    def passing(asked: answers.Filters) -> Passing:
        """Return how many rows pass filters, or what is wrong with which of them; nothing is searched."""
        return _passing(served, asked)

    @router.post("/scores", response_class=Response, responses={200: {"content": {"application/octet-stream": {}}}})
    def scores(asked: answers.Query) -> Response:
        """Return the score of each row (`scores`, f4; NaN where it is not searched), in the form of api/points."""
        read = _read(served, uploads, asked, 1)
        found = index.scores(read.options, read.like, read.unlike, read.filters)
        return Response(packed(len(found), {"scores": found}), media_type="application/octet-stream")

    @router.post(
        "/export", response_class=Response,
        responses={200: {"content": {"text/csv": {}, "application/geo+json": {}, "audio/x-mpegurl": {}}}},
    )  # fmt: skip
    def export(
        request: Request, asked: Search, format: Annotated[Literal["csv", "geojson", "audio"], Query()] = "csv"
    ) -> Response:
        """Return the hits of a search as a file: CSV, GeoJSON, or a list of sounds with their licences (M3U8)."""
        read = _read(served, uploads, asked, asked.k)
        found = _without_folders(index.answer(read.options, read.like, read.unlike, read.filters))
        if format == "audio":
            text, kind, suffix = _sound_list(found, _address(request)), "audio/x-mpegurl", "m3u8"
        elif format == "geojson":
            text, kind, suffix = geojson_of(found), "application/geo+json", "geojson"
        else:
            text, kind, suffix = csv_of(found), "text/csv", "csv"
        name = f'attachment; filename="earthtone-hits.{suffix}"'
        return Response(text.encode("utf-8", "replace"), media_type=kind, headers={"Content-Disposition": name})

    return router


# From what the page says to what the index takes.


def _read(served: Served, uploads: Uploads, asked: answers.Query, k: int) -> _Asked:
    notes: list[str] = []
    like = [_example(served, uploads, each, asked.find, notes) for each in asked.like]
    unlike = [_example(served, uploads, each, asked.find, notes) for each in asked.unlike]
    marks = _marks(served, asked.marks, notes, needed=not like)
    if not like and (marks is None or unlike):
        raise refused(
            422, "nothing to search by; give a sound, a picture, a place or a row that hits should be like, or marks"
        )
    options = QueryOptions(
        k=k, find=asked.find, windows=asked.windows, marks=marks,
        marks_query=asked.marks.query if marks is not None and asked.marks is not None else None,
        borderline=asked.borderline, target_score=asked.target_score if asked.borderline else None,
    )  # fmt: skip
    windows = None
    if len(like) == 1 and not unlike and marks is None:
        windows = _windows(served, uploads, asked.like[0], like[0])
    return _Asked(options, like, unlike, filters_of(served, asked.filters), windows, notes)


def _marks(served: Served, asked: answers.MarksAsked | None, notes: list[str], *, needed: bool) -> Marks | None:
    """Return the marks of a query, None where they are off, or where there are none of it and it can do without."""
    if asked is None or not asked.on:
        return None
    found = served.read_marks()
    chosen = tuple(mark for mark in found.marks if mark.query == one_line(asked.query))
    if Marks(chosen).verdicts()[0]:
        return Marks(tuple(replace(mark, query=asked.query) for mark in chosen), found.problems, served.marks.name)
    if needed:
        raise refused(422, f"nothing of {one_line(asked.query, 80)!r} is marked right or wrong; mark a few hits first")
    notes.append("nothing of this query is marked right or wrong yet: ranked by the query alone")
    return None


def _example(
    served: Served, uploads: Uploads, given: answers.Example, find: str | None, notes: list[str]
) -> examples.Example:
    told = [name for name in ("row", "id", "place", "upload") if getattr(given, name) is not None]
    if len(told) != 1:
        raise refused(422, f"an example with {' and '.join(told) or 'nothing'}; one of row, id, place, upload expected")
    index = served.index
    if given.upload is not None:
        return uploads.find(given.upload).example(given.upload)
    if given.row is not None:
        if given.row >= len(served.table):
            raise refused(404, f"the index has rows 0 to {len(served.table) - 1}; one of these expected")
        return example_of_row(served, given.row)
    reader = examples.Reader(served.table, index.catalogue, index.model, None, find)
    if given.id is not None:
        if not index.catalogue.of_keys([given.id]):
            raise refused(404, f"{one_line(given.id, 120)!r} is no id of the index; that of an item expected")
        return reader.read(f"id:{given.id}")
    assert given.place is not None  # noqa: S101 - one of four
    east, north = turned(given.place[0]), given.place[1]
    row, km = _picture_at(served, east, north)
    found = example_of_row(served, row)
    if km is not None and km >= _NEAR_KM:
        notes.append(f"no tile of the index holds {east:.5g},{north:.5g}: the nearest picture is {_km(km)} away")
    return replace(found, name=f"{east:.7g},{north:.7g}", said=None)


def example_of_row(served: Served, row: int) -> examples.Example:
    """Return a row as a part of a query."""
    rows = np.array([row], np.int64)
    vector = served.table.vectors(rows)[0]
    [key] = served.index.catalogue.keys(rows)
    [medium] = served.table.columns(["modality"], rows)["modality"].to_pylist()
    unit = served.table.card.unit
    return examples.Example(key, examples.unit_vector(vector) if unit else vector.astype(np.float64), medium, rows)


def _picture_at(served: Served, longitude: float, latitude: float) -> tuple[int, float | None]:
    """Return the tile at a place, or the nearest picture, else sound, and how far it is. Raises HTTPException 422."""
    catalogue = served.index.catalogue
    row = catalogue.at(longitude, latitude)
    if row is not None:
        return row, None
    for medium in ("image", "audio"):
        if found := catalogue.near(longitude, latitude, medium):
            return found
    raise refused(422, "no row of the index has a place, so none can be searched by; use the plane, or send a sound")


def turned(longitude: float) -> float:
    """Return a longitude as one from -180 to 180.

    >>> turned(190.0)
    -170.0
    """
    return longitude if -180 <= longitude <= 180 else (longitude + 180) % 360 - 180


def filters_of(served: Served, given: answers.Filters) -> list[Filter]:
    """Return filters as the index takes them; no text in them is ever the name of a file. Raises ConfigError."""
    found: list[Filter] = []
    if given.box is not None:
        found.append(FILTERS["box"](",".join(f"{degrees:.12g}" for degrees in given.box)))
    if given.polygon is not None:
        corners = len(set(given.polygon))
        area = shapely.Polygon(given.polygon)
        if corners < 3 or not area.area > 0:
            raise refused(422, f"a polygon of {corners} corners without an area; at least 3 expected: draw it again")
        if not area.is_valid:
            # to take it apart would cost minutes where a few hundred sides cross each other
            raise refused(422, f"a polygon of {corners} corners whose sides cross or touch: draw it without crossings")
        found.append(area_filter(area, f"polygon of {corners} corners"))
    texts = {"hours_utc": given.hours, "hours_solar": given.hours_solar, "months": given.months,
             "season": given.season, "dates": given.dates}  # fmt: skip
    found += [FILTERS[name](text) for name, text in texts.items() if text is not None and text.strip()]
    for column, words in (("source", given.source), ("license", given.license)):
        found += [one_of_filter(column, words)] if words else []
    for column, words in given.where.items():
        if column not in served.table.names or column in (VECTOR, "media"):
            raise refused(
                422, f"column {one_line(column, 60)!r} is not in the index; one of api/about's columns expected"
            )
        found += [equal_filter(column, words)] if words else []
    found += [FILTERS["where"](text) for text in given.compare if text.strip()]
    if any("media" in one.columns for one in found):
        raise refused(422, "where media lie is not told; another column expected")
    return found


def _passing(served: Served, asked: answers.Filters) -> Passing:
    count, found, wrong = len(served.table), [], {}
    for name in sorted(asked.model_fields_set):
        try:
            alone = filters_of(served, answers.Filters.model_construct(**{name: getattr(asked, name)}))
            for column in {column for one in alone for column in one.columns} - set(served.table.names):
                raise refused(422, f"column {one_line(column, 60)!r} is not in the index; one of api/about's expected")
            found += alone
        except HTTPException as error:
            wrong[name] = str(error.detail)
        except EarthtoneError as error:
            wrong[name] = one_line(served.without_folders(str(error)), 400)
    if wrong:
        return Passing(rows=0, of=count, items={}, wrong=wrong)
    media = served.index.catalogue.media
    try:
        rows = passing_rows(served.table, found).rows
    except DataError as error:
        return Passing(rows=0, of=count, items=dict.fromkeys(media, 0), says=served.without_folders(str(error)))
    items = {name: len(np.intersect1d(own, rows, assume_unique=True)) for name, own in media.items()}
    return Passing(rows=len(rows), of=count, items=items)


# From what the index found to what the page shows.


def _windows(
    served: Served, uploads: Uploads, given: answers.Example, example: examples.Example
) -> NDArray[np.float64] | None:
    """Return the vectors of the windows of a sound that is searched by; None where it has not several."""
    if given.upload is not None:
        windows = uploads.find(given.upload).windows
    elif example.medium == "audio" and len(example.rows) > 1:
        windows = served.table.vectors(example.rows[:_MOST_WINDOWS]).astype(np.float64)
    else:
        return None
    return windows if len(windows) > 1 else None


def _found(served: Served, result: SearchResult, asked: _Asked) -> Found:
    rows = np.array([hit.row for hit in result.hits], np.int64)
    items = served.items(rows)
    spreads: Sequence[float | None] = [None] * len(rows)
    if asked.windows is not None and len(rows):
        spreads = spread_of(served.table.vectors(rows), asked.windows, served.table.card.unit).tolist()
    hits = [
        Hit(
            **item.model_dump(), rank=hit.rank, score=hit.score, percentile=hit.percentile,
            verdict=hit.verdict, spread=spread,  # type: ignore[arg-type]
        )
        for item, hit, spread in zip(items, result.hits, spreads, strict=True)
    ]  # fmt: skip
    notes = [*asked.notes, *(one_line(served.without_folders(note)) for note in result.notes)]
    report = None
    if result.marks is not None:
        report = MarkReport(**result.marks.to_dict(), says=list(result.marks.lines()))  # type: ignore[arg-type]
    return Found(
        query=query_name(result.query), score_is=result.score_is, find=result.found,  # type: ignore[arg-type]
        searched=result.searched, of=result.rows, hits=hits, notes=notes,
        marks=report, chance=chance(len(hits), result.searched, result.found),
    )  # fmt: skip


def query_name(name: str) -> str:
    """Return how a query is called in marks: long names are cut, and end with a hash that tells them apart."""
    if len(one_line(name)) <= LONGEST_QUERY:
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{one_line(name)[: LONGEST_QUERY - 15]} ... [{digest}]"


def spread_of(vectors: NDArray[Any], windows: NDArray[np.float64], unit: bool) -> NDArray[np.float64]:
    """Return the standard deviation (N,) of the scores of vectors (N, D) over a query's windows (W, D)."""
    each = np.stack(
        [exact_scores(examples.unit_vector(window) if unit else window, vectors, unit) for window in windows], 1
    )
    scores = each.astype(np.float64)
    return np.asarray((scores if unit else -np.sqrt(-scores)).std(axis=1))


def chance(shown: int, searched: int, found: str) -> str:
    """Return what an answer would be by chance, in a sentence."""
    what = {"image": "images", "audio": "sounds"}.get(found, "rows")
    share = 100 * min(1.0, shown / max(1, searched))
    return (
        f"By chance any one of {searched:,} {what} is among the first {shown:,} in {share:.2g} of 100 searches, and "
        "its percentile is as likely below 50 as above: a high percentile says that others fit worse, not that it fits."
    )


def _clicked(served: Served, asked: Click) -> Clicked:
    east = turned(asked.longitude)
    row, km = _picture_at(served, east, asked.latitude)
    example = example_of_row(served, row)
    there = served.index.catalogue.media
    find: Literal["image", "audio"] = "audio" if "audio" in there else "image"
    options = QueryOptions(k=asked.k, find=find)
    read = _Asked(options, [], [], filters_of(served, asked.filters), None, [])
    if km is not None and km >= _NEAR_KM:
        what = "picture" if example.medium == "image" else "sound"
        read.notes.append(f"no tile of the index holds this place: the nearest {what} is {_km(km)} away")
    if find == "image":
        read.notes.append("the index holds no sounds: pictures that are alike are shown")
    found = _found(served, served.index.answer(options, [example], [], read.filters), read)
    return Clicked(**dict(found), picture=served.items([row])[0], km=km)


def _km(km: float) -> str:
    return f"{km:,.0f} km" if km >= 1000 else f"{km:.3g} km"


# Hits as files.


def _without_folders(result: SearchResult) -> SearchResult:
    """Return hits whose media are hosts or names alone: where they lie is nobody's business but this machine's."""
    hits = tuple(hit if hit.media is None else replace(hit, media=told_place(hit.media)) for hit in result.hits)
    return replace(result, hits=hits)


def _address(request: Request) -> str:
    """Return where the page lies, as who asks sees it."""
    scheme, host = request.scope["outside_scheme"], request.scope["outside_host"]
    host = host if all(sign.isalnum() or sign in ".-:[]" for sign in host) else ""
    return f"{scheme}://{host}{(request.scope.get('outside') or '').rstrip('/')}/"


def _sound_list(result: SearchResult, address: str) -> str:
    """Return the sounds among the hits as a list that players open, licence and source of each above it."""
    lines = ["#EXTM3U", f"# {one_line(result.query, 300)}; score: {result.score_is}"]
    for hit in result.hits:
        if hit.modality != "audio":
            continue
        seconds = -1 if hit.seconds is None else round(hit.seconds)
        lines.append(
            f"# licence: {one_line(hit.license or 'unknown', 200)}; by: {one_line(hit.attribution or '-', 300)}"
        )
        lines.append(f"#EXTINF:{seconds},{one_line(hit.key, 200)} ({hit.score:.4f})")
        begin = f"#t={hit.start_s:g}" if hit.start_s else ""
        lines.append(
            f"{address}api/items/{hit.row}/sound{begin}" if hit.media else f"# {one_line(hit.key, 200)}: no file"
        )
    return "\n".join(lines) + "\n"


# Marks: read for a query, appended to the file, on the disk before they are acknowledged.


def marks_routes(served: Served) -> APIRouter:
    """Return what reads and writes marks."""
    pace = Pace(_MARKS_AT_ONCE, _MARKS_A_SECOND)
    router = APIRouter(prefix="/api", tags=["marks"])

    @router.get("/marks")
    def told(
        query: Annotated[str | None, Query(max_length=LONGEST_QUERY)] = None,
        skip: Annotated[int, Query(ge=0, le=2**31, description="so many of the newest")] = 0,
        count: Annotated[int, Query(ge=1, le=_MOST_TOLD)] = _MOST_TOLD,
    ) -> MarksTold:
        """Return the marks of a query, or of all, the newest lines last: `count` of them at most."""
        there = served.read_marks()
        wanted = None if query is None else one_line(query)
        found = [mark for mark in there.marks if wanted is None or mark.query == wanted]
        end = max(0, len(found) - skip)
        chosen = found[max(0, end - count) : end]
        return MarksTold(
            marks=[
                MarkKept(key=mark.id, query=mark.query, verdict=mark.verdict, time=mark.time, who=mark.who)
                for mark in chosen
            ],
            of=len(found),
            queries=dict(list(there.queries().items())[:_MOST_QUERIES]), problems=list(there.problems)[:_MOST_PROBLEMS],
        )  # fmt: skip

    @router.post("/marks", status_code=201)
    def say(said: MarkSaid, request: Request) -> MarkKept:
        """Keep a mark. It is on the disk when this answers; several people and programs may write at once."""
        if not pace.take(request.scope["address"]):
            raise refused(429, f"more than {_MARKS_AT_ONCE} marks at once; go on in a moment", retry_after=2)
        if served.marks_bytes() > MOST_MARKS_BYTES:
            raise refused(409, f"{served.marks.name} has more than {MOST_MARKS_BYTES:,} bytes; start another: --marks")
        if not served.index.catalogue.of_keys([said.key]):
            raise refused(
                404, f"{one_line(said.key, 120)!r} is no key of an item of this index; that of a hit expected"
            )
        who = said.who.strip() or (served.options.who or "")
        time = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        add_marks(served.marks, [Mark(said.key, said.query, said.verdict, time, who)])
        return MarkKept(key=said.key, query=said.query, verdict=said.verdict, time=time, who=who)

    return router
