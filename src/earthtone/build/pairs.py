"""Rows of recordings and tiles about their places, put together to pairs: one table for each scale of imagery.

Recordings of one place share a tile. A pair's licence is what both of its parts ask for together; whose licence is not
known, or does not go with the other one, is under none.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earthtone.build.licences import licence_of, strictest
from earthtone.build.recordings.recordings import SCHEMA
from earthtone.build.row_facts import AUTHORS
from earthtone.data.pair import MEDIA, Pair
from earthtone.data.source import open_source
from earthtone.errors import DataError, one_line
from earthtone.files import atomic_path, content_digest
from earthtone.progress import progress
from earthtone.signal.excerpt import Excerpt

_ROWS = 8192  # written at once
_NAMED = 3
#: What a pair has of its tile, beside `image` and `image_gsd_m`.
_OF_TILE = ("image_datetime", "image_source", "image_license", "image_attribution", "image_valid_share")
_KNOWN = ("id", "audio", "longitude", "latitude", "datetime", "source", "license", "attribution")


@dataclass(frozen=True)
class Joined:
    """What became of rows of recordings."""

    rows: int
    left_out: Mapping[str, int]
    """By reason."""


def rows_of_table(
    table: str | Path, columns: Mapping[str, str] | None, out: Path, *, pictures: bool
) -> tuple[int, Counter[str], list[str]]:
    """Write the rows of any table of recordings as one that the steps of a build read; paths become those from `out`.

    Returns how many there are, rows that cannot be read by kind, and what is told of the first of these. With
    `pictures` a row needs an image. Raises DataError where no row can be used, or sounds lie in the table itself.
    """
    source = open_source(table, columns=columns, need=MEDIA if pictures else ("audio",))
    if source.ready_spectrograms:
        raise DataError(f"{table} holds ready spectrograms; recordings expected")
    extra = [
        name
        for name in source.extra_columns
        if name not in (*SCHEMA.names, "file_bytes") or name in ("seconds", "bytes")
    ]
    kept = [name for name in source.extra_columns if name in SCHEMA.names and name not in ("seconds", "bytes", *_KNOWN)]
    texts = [*(("image",) if pictures else ()), "split", *extra, *kept]
    numbers = ["start_s", "end_s", *(("image_gsd_m",) if pictures else ())]
    texts = [name for name in dict.fromkeys(texts) if name not in numbers]
    schema = pa.schema(
        [
            ("id", pa.string()), ("audio", pa.string()), ("datetime", pa.timestamp("us", tz="UTC")),
            ("longitude", pa.float64()), ("latitude", pa.float64()), ("source", pa.string()), ("license", pa.string()),
            ("attribution", pa.string()), *((name, pa.float64()) for name in numbers),
            *((name, pa.string()) for name in texts), ("file_bytes", pa.int64()),
        ],
    )  # fmt: skip
    problems, told, rows = Counter[str](), list[str](), 0
    with _writer(out, schema) as add:
        for item in progress(source, total=len(source), label="read"):
            if not isinstance(item, Pair):
                problems[item.kind] += 1
                told += [f"{item.id}: {item.detail}"] if len(told) < _NAMED else []
                continue
            add(_row_of(item, out, table, pictures))
            rows += 1
        if not rows:
            raise DataError(f"{table}: no row can be used{f' ({told[0]})' if told else ''}; recordings expected")
    return rows, problems, told


def _row_of(pair: Pair, out: Path, table: object, pictures: bool) -> dict[str, Any]:
    audio, excerpt = pair.audio, pair.audio if isinstance(pair.audio, Excerpt) else None
    path = excerpt.source if excerpt is not None else audio
    if not isinstance(path, Path) or (pictures and not isinstance(pair.image, Path)):
        raise DataError(f"{table}: {one_line(pair.id, 60)!r} holds its files within; a table of paths expected")
    row: dict[str, Any] = {name: text or None for name, text in pair.extra.items()}
    row |= {name: getattr(pair, name) for name in _KNOWN if name != "audio"}
    row |= {"audio": _relative(path, out), "split": pair.split, "file_bytes": path.stat().st_size}
    row |= {"start_s": None, "end_s": None}
    if excerpt is not None:
        row |= {"start_s": excerpt.start_s, "end_s": excerpt.end_s}
    if pictures and isinstance(pair.image, Path):
        row |= {"image": _relative(pair.image, out), "image_gsd_m": pair.image_gsd_m}
    return row


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.parent.resolve())).as_posix()


# Places.


def place_id(longitude: float, latitude: float, day: str) -> str:
    """Return the name of a place, to about a decimetre, and of a day where imagery near to it is wanted.

    >>> place_id(13.5, 54.5, "")
    'p-06341700a963'
    """
    text = f"{longitude:.6f} {latitude:.6f} {day}"
    return f"p-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def _place_of(row: Mapping[str, Any], timed: bool) -> tuple[str, str]:
    """Return the id of a row's place; or nothing, and why there is none."""
    longitude, latitude, moment = row["longitude"], row["latitude"], row.get("datetime")
    if longitude is None or latitude is None or longitude != longitude or latitude != latitude:
        return "", "without a place"
    if timed and moment is None:
        return "", "without a time"
    return place_id(longitude, latitude, f"{moment:%Y-%m-%d}" if timed and moment is not None else ""), ""


def write_places(rows: Path, out: Path, *, timed: bool) -> int:
    """Write a table of the different places of rows, for tiles; return how many there are.

    With `timed` a place is one of a day, at noon. Raises DataError where there is none.
    """
    places: dict[str, tuple[float, float, datetime | None]] = {}
    for row in _rows(rows, ("longitude", "latitude", "datetime")):
        name, _ = _place_of(row, timed)
        if name and name not in places:
            noon = row["datetime"].replace(hour=12, minute=0, second=0, microsecond=0) if timed else None
            places[name] = float(row["longitude"]), float(row["latitude"]), noon
    if not places:
        raise DataError(f"{rows}: no row has a place{' and a time' if timed else ''}; imagery needs one: {_hint(rows)}")
    longitudes, latitudes, moments = zip(*places.values(), strict=True)
    table = pa.table({
        "id": pa.array([*places], pa.string()), "longitude": pa.array(longitudes, pa.float64()),
        "latitude": pa.array(latitudes, pa.float64()), "datetime": pa.array(moments, pa.timestamp("us", tz="UTC")),
    })  # fmt: skip
    with atomic_path(out) as temporary:
        pq.write_table(table, temporary)
    return len(places)


def _hint(rows: Path) -> str:
    local = "local_time" in pq.read_schema(rows).names
    return "give recordings.deployments (longitude, latitude, zone)" if local else "look at the columns of the table"


# Pairs.


def join_tiles(rows: Path, tiles: Path, out: Path, *, timed: bool) -> Joined:
    """Write the rows that have a tile as a manifest of pairs, `tiles` being the manifest of those of `write_places`.

    Columns of the tile are `image_datetime`, `image_source`, `image_license`, `image_attribution` and
    `image_valid_share`; `audio_license` is the recording's own, and `recordist` whom it names. Raises DataError where
    no row has one.
    """
    at = {str(row["id"]): row for row in _rows(tiles)}
    before = pq.read_schema(rows)
    dropped = ("image", "image_gsd_m", "audio_license", *_OF_TILE)
    own = [before.field(name) for name in before.names if name not in dropped]
    named = any(name in before.names for name in AUTHORS)  # recordist among them
    schema = pa.schema([
        *own, ("image", pa.string()), ("image_gsd_m", pa.float64()), ("image_datetime", pa.string()),
        ("image_source", pa.string()), ("image_license", pa.string()), ("image_attribution", pa.string()),
        ("image_valid_share", pa.float64()), ("audio_license", pa.string()),
        *(() if named else (("recordist", pa.string()),)),
    ])  # fmt: skip
    left_out, count = Counter[str](), 0
    base = _relative(tiles.parent / "x", out).removesuffix("/x")
    with _writer(out, schema) as add:
        for row in _rows(rows):
            name, why = _place_of(row, timed)
            tile = at.get(name)
            if tile is None:
                left_out[why or "too little imagery there"] += 1
                continue
            credit = [row["attribution"], tile["attribution"] and f"image: {tile['attribution']}"]
            add({
                **row, "image": f"{base}/{tile['image']}", "image_gsd_m": tile["image_gsd_m"],
                "image_datetime": tile["datetime"], "image_source": tile["source"], "image_license": tile["license"],
                "image_attribution": tile["attribution"], "image_valid_share": tile["valid_share"],
                "audio_license": row["license"], **({} if named else {"recordist": row["attribution"]}),
                "license": pair_licence(row["license"], tile["license"]),
                "attribution": "; ".join(filter(None, credit)) or None,
            })  # fmt: skip
            count += 1
        if not count:
            found = "; ".join(f"{number:,} {what}" for what, number in left_out.items())
            raise DataError(f"{rows}: no recording has a tile ({found}); imagery of their places expected")
    return Joined(count, dict(left_out))


@cache
def pair_licence(audio: str | None, image: str | None) -> str | None:
    """Return the licence of a recording and a picture together, as a cell; of two that are none, or that do not go
    together, both as they are said, which no reader takes for a licence.

    >>> pair_licence("CC BY 4.0", "cc-by-nc-sa-4.0"), pair_licence("CC0", "public domain")
    ('CC-BY-NC-SA-4.0', 'CC0-1.0')
    >>> pair_licence("CC BY 4.0", None)
    'sound: CC BY 4.0; image: unknown'
    """
    whole = strictest([licence_of(audio), licence_of(image)])
    if whole.licence is not None:
        return whole.licence.id
    return f"sound: {audio or 'unknown'}; image: {image or 'unknown'}"


def with_tiles_of(rows: Path, other: Path, out: Path) -> int:
    """Write rows of pairs with the tiles that another table of the same rows has, and return how many have one."""
    names = ("image", "image_gsd_m", *_OF_TILE)
    tiles = {str(row["id"]): tuple(row[name] for name in names) for row in _rows(other, ("id", *names))}
    base, count = _relative(other.parent / "x", out).removesuffix("x"), 0
    schema = pq.read_schema(rows)
    texts = {name for name in names if name in schema.names and pa.types.is_string(schema.field(name).type)}
    with _writer(out, schema) as add:
        for row in _rows(rows):
            if (found := tiles.get(str(row["id"]))) is not None:
                tile = dict(zip(names, found, strict=True))
                tile |= {name: str(tile[name]) for name in texts if tile[name] is not None}
                add({**row, **tile, "image": f"{base}{tile['image']}"})
                count += 1
    return count


def row_digests(rows: Path) -> dict[str, bytes]:
    """Return a hash of all cells of each row and of its files' contents, by its id; 16 bytes each."""
    content = cache(lambda path: content_digest(rows.parent / path) if (rows.parent / path).is_file() else b"")
    found = {}
    for row in _rows(rows):
        files = b"".join(content(row[medium]) for medium in MEDIA if row.get(medium))
        cells = repr(sorted(row.items())).encode("utf-8", "replace")
        found[str(row["id"])] = hashlib.blake2b(cells + files, digest_size=16).digest()
    return found


def media_state(rows: Path) -> str:
    """Return a hash of sizes and times of the files that rows name: what changes where one is replaced."""
    digest = hashlib.blake2b(digest_size=16)
    for row in _rows(rows, MEDIA):
        for path in filter(None, row.values()):
            with suppress(OSError):
                found = (rows.parent / path).stat()
                digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _rows(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    file = pq.ParquetFile(path)
    wanted = None if columns is None else [name for name in columns if name in file.schema_arrow.names]
    for batch in file.iter_batches(_ROWS, columns=wanted):
        yield from batch.to_pylist()


@contextmanager
def _writer(out: Path, schema: Any) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield what adds a row to a Parquet file, which is whole or not there; cells without a column are left out."""
    waiting: list[dict[str, Any]] = []

    def write() -> None:
        file.write_table(pa.Table.from_pylist(waiting, schema))
        waiting.clear()

    def add(row: dict[str, Any]) -> None:
        waiting.append(row)
        if len(waiting) >= _ROWS:
            write()

    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as file:
        yield add
        write()
