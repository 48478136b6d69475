"""`earthtone publish`: a data set as a folder to upload - Parquet with its media, places, licences, credits, cards.

`datasets.load_dataset(FOLDER)` opens it with pictures and sounds, DuckDB as tables, GeoPandas its places. What a row's
licence forbids is left out and counted. The folder is there whole or not at all; a stopped call goes on.
"""

import hashlib
import io
import json
import logging
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
import yaml
from PIL import Image

from earthtone.build.croissant import data_card
from earthtone.build.describe import description_of, description_page
from earthtone.build.geometry_columns import of_points, places_of, point_columns, write_geometries
from earthtone.build.licences import WholeLicence, credit_line, licence_of, strictest
from earthtone.build.options import PublishOptions
from earthtone.build.row_facts import open_any_media, read_rows, tells_place
from earthtone.data.pair import EXCERPT_COLUMNS, Pair, Problem
from earthtone.data.source import Source, is_packed, items_skipping
from earthtone.errors import DataError, SignalError, one_line_each
from earthtone.files import (
    LOCK_FILE,
    append_lines,
    atomic_path,
    only_writer,
    refuse_used,
    regular_file,
    wait_for_disk,
    write_text_atomic,
)
from earthtone.progress import progress
from earthtone.signal.audio import probe_audio
from earthtone.signal.excerpt import Excerpt, Sound, sound_streams, source_of
from earthtone.signal.image import picture_header, read_picture
from earthtone.value_types import takes

PLACES = "metadata.geoparquet"
_DATA, _RECORD = "data", ".record.jsonl"
_HF_SPLITS = {"train": "train", "val": "validation", "test": "test", None: "unassigned"}
_GROUP_ROWS, _GROUP_BYTES = 100, 32 * 2**20  # of a row group, which is in memory whole
_MEGABYTE = 1_000_000
_MOST_FILE_BYTES = 2**30  # of one picture or sound: a cell is in memory whole
_MEDIUM = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TEXTS = ("source", "license", "license_url", "attribution", "credit")
_OWN = ("id", "split", "image", "audio", "longitude", "latitude", "datetime", "image_gsd_m", "seconds", *_TEXTS)
_KM_A_DEGREE = 111.195  # of the sphere of 6371 km
_ABSOLUTE = re.compile(r"(file:|/|\\\\|[A-Za-z]:[\\/])\S")

# Why rows are left out.
UNKNOWN_LICENCE = "licence unknown, or without rights"
NO_DERIVATIVES = "licence forbids what is cut or re-encoded"
TELLS_PLACE = "its id tells its place"
TOO_LARGE = "a file of more than 1 GiB"
UNREADABLE = "a file that cannot be read"
OUTSIDE = "a file outside the folder of the table (--outside takes such files)"


@dataclass(frozen=True)
class PublishResult:
    """What was published, and what was not."""

    out: Path
    rows: int
    splits: Mapping[str, int]
    """Rows by the names that `datasets` has."""
    shards: int
    bytes: int
    """Of all shards."""
    refused: Mapping[str, int]
    """Rows that a licence or a file keeps out, by why."""
    problems: Mapping[str, int]
    """Rows of the data that cannot be used, by kind."""
    whole: str | None
    """The licence of the whole; None: each row has its own."""
    whole_why: str
    remarks: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "out": str(self.out)}

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        lines = [f"{self.out}: {self.rows:,} rows in {self.shards:,} shards, {self.bytes / 1e6:,.1f} MB ({splits})"]
        for found in (self.refused, self.problems):
            lines += [f"  {count:,} rows left out: {why}" for why, count in found.items()]
        lines.append(f"  as a whole: {self.whole or 'no licence'}: {self.whole_why}")
        lines += [f"  note: {remark}" for remark in self.remarks]
        return one_line_each(lines)


@takes(PublishOptions)
def publish(options: PublishOptions) -> PublishResult:
    """Write a manifest or a release as a folder to upload, and return what is in it.

    A stopped call goes on when it is repeated, and `out` is there once all of it is. Files are taken as they are; rows
    that are a part of a recording become FLAC of that part, without loss. Raises DataError, ConfigError.
    """
    out = Path(options.out)
    refuse_used(out)
    if is_packed(options.data):
        raise DataError(f"{options.data} is a packed table, which has no recordings; publish what it was packed from")
    source, media = open_any_media(options.data, options.columns)
    if source.ready_spectrograms:
        raise DataError(f"{source.path} holds ready spectrograms; recordings or pictures expected")
    work = out.with_name(f".{out.name}.publishing")
    try:
        with only_writer(work, "publishing", _DATA):
            writing = _Publishing(options, source, media, work)
            writing.write()
            done = _finished(writing, work, options)
    except DataError:
        if not any((work / _DATA).glob("*.parquet")):  # nothing to go on with
            shutil.rmtree(work, ignore_errors=True)
        raise
    for name in (LOCK_FILE, _RECORD, f".{_RECORD}.lock"):
        (work / name).unlink(missing_ok=True)
    work.replace(out)
    wait_for_disk(out.parent)
    return replace(done, out=out)


@dataclass
class _Shard:
    """A file that is being written."""

    name: str
    stack: ExitStack
    writer: Any
    rows: list[dict[str, Any]] = field(default_factory=list)
    waiting: int = 0
    """Bytes of media in `rows`."""
    bytes: int = 0
    count: int = 0
    last: int = -1
    """Number of the last row."""


class _Publishing:
    """Rows to shards, one open for each split; the record beside them says what is done."""

    def __init__(self, options: PublishOptions, source: Source, media: Sequence[str], work: Path) -> None:
        self.options, self.source, self.media, self.work = options, source, media, work
        self.rows = _Rows(options, source, media)
        self.refused: dict[int, str] = {}
        self._problems: dict[int, str] = {}
        self.shards: list[dict[str, Any]] = []
        self._open: dict[str | None, _Shard] = {}
        self._digests = {split: hashlib.blake2b(digest_size=16) for split in _HF_SPLITS}
        self._through = dict.fromkeys(_HF_SPLITS, -1)
        self._recorded: dict[str, set[int]] = {}
        self._read_record()

    def _read_record(self) -> None:
        """Take up what an earlier call has done. Raises DataError where that was another one."""
        path = self.work / _RECORD
        said = {name: str(value) for name, value in asdict(self.options).items() if name not in ("out", "title", "url")}
        head = json.dumps({"options": said, "columns": self.rows.schema.names}, sort_keys=True)
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [head, ""]
        if lines[0] != head:
            raise DataError(f"{self.work} was begun with other options or data; repeat those, or remove that folder")
        append_lines(path, f"{head}\n", [])
        for line in lines[1:-1]:
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path} is damaged; remove {self.work}, and publish again") from error
            if not any(shard.is_file() for shard in self._paths(entry["shard"])):
                raise DataError(f"{self.work}: {entry['shard']} is gone; remove that folder, and publish again")
            self.shards.append(entry)
            self._through[entry["split"]] = entry["through"]
            self.refused |= {int(number): why for number, why in entry["refused"].items()}
            self._problems |= {int(number): kind for number, kind in entry.get("problems", {}).items()}
        self._recorded = {"refused": set(self.refused), "problems": set(self._problems)}

    @property
    def problems(self) -> Counter[str]:
        """Rows that cannot be used, by kind."""
        return Counter(self._problems.values())

    def _paths(self, name: str) -> list[Path]:
        """Return where a shard may lie: under its first name, or that of the end."""
        first, stem = self.work / _DATA, name.removesuffix(".parquet")
        later = [stem, stem.replace("unassigned", "train")]  # without any split all rows are called train
        return [first / name, *(path for each in later for path in sorted(first.glob(f"{each}-of-*.parquet")))]

    def write(self) -> None:
        """Write all rows that are not there yet. Raises DataError where the data changed, or nothing may be written."""
        (self.work / _DATA).mkdir(exist_ok=True)
        done = min(self._through.values())
        items = items_skipping(self.source, lambda number, _: number <= done)
        try:
            for number, item in enumerate(progress(items, total=len(self.source), label="publish")):
                if isinstance(item, Problem):
                    self._problems[number] = item.kind
                elif number <= done and number in self._problems:
                    continue  # it lacks a medium, which is not read again
                elif number <= self._through[item.split]:
                    self._check(number, item)
                else:
                    self._add(number, item)
            for split in list(self._open):
                self._close(split, len(self.source))
        except BaseException as error:
            for shard in self._open.values():
                shard.stack.__exit__(type(error), error, error.__traceback__)
            raise
        if not self.shards:
            why = "; ".join(f"{count:,}: {why}" for why, count in Counter(self.refused.values()).items())
            raise DataError(
                f"{self.source.path}: no row can be published ({why or 'there is none'}); --license says that of rows "
                "which tell none"
            )

    def _check(self, number: int, pair: Pair) -> None:
        """Compare what is there already with the data."""
        if number not in self.refused:
            self._digest(pair)
        digest = self._digests[pair.split].hexdigest()
        ends = [entry["digest"] for entry in self.shards if (entry["split"], entry["last"]) == (pair.split, number)]
        if ends not in ([], [digest]):
            raise DataError(f"{self.source.path} is not what {self.work} was begun with; remove that folder")

    def _digest(self, pair: Pair) -> None:
        said = (pair.id, pair.license, pair.attribution, pair.longitude, pair.latitude)
        self._digests[pair.split].update("\0".join(map(str, said)).encode("utf-8", "surrogatepass"))

    def _add(self, number: int, pair: Pair) -> None:
        try:
            row, size = self.rows.row(pair)
        except _Refused as error:
            self.refused[number] = str(error)
            return
        shard = self._open.get(pair.split)
        if shard is not None and shard.bytes + size > self.options.shard_mb * _MEGABYTE:
            self._close(pair.split, number - 1)
            shard = None
        shard = shard or self._begun(pair.split)
        self._digest(pair)
        shard.rows.append(row)
        shard.waiting, shard.bytes, shard.last = shard.waiting + size, shard.bytes + size, number
        shard.count += 1
        if len(shard.rows) >= _GROUP_ROWS or shard.waiting >= _GROUP_BYTES:
            self._flush(shard)

    def _begun(self, split: str | None) -> _Shard:
        stack = ExitStack()
        name = f"{_HF_SPLITS[split]}-{sum(entry['split'] == split for entry in self.shards):05d}.parquet"
        path = stack.enter_context(atomic_path(self.work / _DATA / name))
        schema = self.rows.schema
        writer = stack.enter_context(pq.ParquetWriter(path, schema, compression="zstd", write_batch_size=16))
        self._open[split] = _Shard(name, stack, writer)
        return self._open[split]

    def _flush(self, shard: _Shard) -> None:
        if shard.rows:
            shard.writer.write_table(pa.Table.from_pylist(shard.rows, self.rows.schema))
            shard.rows, shard.waiting = [], 0

    def _close(self, split: str | None, through: int) -> None:
        """End a split's shard and write it into the record: rows up to `through` are done."""
        shard = self._open[split]
        self._flush(shard)
        del self._open[split]
        shard.stack.close()
        left_out: dict[str, Mapping[int, str]] = {"refused": self.refused, "problems": self._problems}
        new = {name: {str(number): why for number, why in rows.items() if number not in self._recorded[name]}
               for name, rows in left_out.items()}  # fmt: skip
        self._recorded = {name: set(rows) for name, rows in left_out.items()}
        entry = {
            "shard": shard.name, "split": split, "through": through, "last": shard.last, "rows": shard.count,
            "digest": self._digests[split].hexdigest(), **new,
        }  # fmt: skip
        append_lines(self.work / _RECORD, "", [json.dumps(entry) + "\n"])
        self.shards.append(entry)
        self._through[split] = through

    def named(self) -> list[tuple[str, Path]]:
        """Return the shards with their splits' names, each under its last name, which says how many there are."""
        unsplit = {entry["split"] for entry in self.shards} == {None}
        counts = Counter(entry["split"] for entry in self.shards)
        at: Counter[str | None] = Counter()
        found = []
        for entry in self.shards:
            split = entry["split"]
            name = "train" if unsplit else _HF_SPLITS[split]
            path = self.work / _DATA / f"{name}-{at[split]:05d}-of-{counts[split]:05d}.parquet"
            at[split] += 1
            if not path.exists():
                next(each for each in self._paths(entry["shard"]) if each.exists()).replace(path)
            found.append((name, path))
        return found


class _Refused(Exception):  # noqa: N818 - a signal between functions, never shown as an error
    """Why a row is left out."""


class _Rows:
    """Pairs to rows of the shards, with all that a licence and a coarsened place ask for."""

    def __init__(self, options: PublishOptions, source: Source, media: Sequence[str]) -> None:
        self._media, self._km = media, options.coarsen_km
        home = Path(source.path)
        self._home = None if options.outside else (home if home.is_dir() else home.parent).resolve()
        self._license, self._attribution = options.license, options.attribution
        telling = [name for name in source.extra_columns if self._km is not None and tells_place(name)]
        self.remarks = [f"columns left out, since they tell places: {', '.join(telling)}"] * bool(telling)
        self._extra: dict[str, str] = {}
        for name in source.extra_columns:
            if name not in telling and name != "seconds":
                own = f"source_{name}" if name in EXCERPT_COLUMNS else name
                while own in (*_OWN, *self._extra.values()):
                    own += "_"
                self._extra[name] = own
        kinds = {"longitude": pa.float64(), "latitude": pa.float64(), "image_gsd_m": pa.float64(),
                 "seconds": pa.float64(), "datetime": pa.timestamp("us", "UTC"), "image": _MEDIUM,
                 "audio": _MEDIUM}  # fmt: skip
        names = [name for name in (*_OWN, *self._extra.values()) if name not in ("image", "audio") or name in media]
        fields = [pa.field(name, kinds.get(name, pa.string())) for name in names]
        features = {each.name: _feature(each) for each in fields}
        said = json.dumps({"info": {"features": features}})  # where `datasets` looks for it
        self.schema = pa.schema(fields, metadata={b"huggingface": said.encode()})

    def row(self, pair: Pair) -> tuple[dict[str, Any], int]:
        """Return the row of a pair, and how many bytes its media have. Raises _Refused."""
        licence = licence_of(pair.license or self._license)
        if not licence.known:
            raise _Refused(UNKNOWN_LICENCE)
        if licence.no_derivatives and (isinstance(pair.audio, Excerpt) or self._km is not None):
            raise _Refused(NO_DERIVATIVES)
        author = pair.attribution or self._attribution
        told = {name: _without_path(pair.extra.get(name) or "") for name in self._extra}
        longitude, latitude = pair.longitude, pair.latitude
        if self._km is not None and longitude is not None and latitude is not None:
            if any(_tells(text or "", longitude, latitude) for text in (pair.id, pair.source, author)):
                raise _Refused(TELLS_PLACE)
            told = {name: "" if _tells(text, longitude, latitude) else text for name, text in told.items()}
            longitude, latitude = coarsened(longitude, latitude, self._km)
        row: dict[str, Any] = {
            "id": pair.id, "split": pair.split, "longitude": longitude, "latitude": latitude, "datetime": pair.datetime,
            "image_gsd_m": pair.image_gsd_m, "source": pair.source, "license": licence.id, "license_url": licence.url,
            "attribution": author, "credit": credit_line(pair.id, author, licence, pair.source),
            **{own: told[name] or None for name, own in self._extra.items()},
        }  # fmt: skip
        try:
            for medium in self._media:
                row[medium] = self._medium(pair, medium, self._km is not None)
            row["seconds"] = probe_audio(pair.audio).seconds if pair.audio is not None else None
        except (SignalError, OSError) as error:
            raise _Refused(UNREADABLE) from error
        return row, sum(len(row[medium]["bytes"]) for medium in self._media)

    def _medium(self, pair: Pair, medium: str, anew: bool) -> dict[str, Any]:
        """Return the cell of a picture or sound: the file as it is; `anew` without what its headers tell besides."""
        media: Sound | None = getattr(pair, medium)
        if media is None:
            raise SignalError("no media")
        file = source_of(media)
        if isinstance(file, Path) and self._home is not None and not file.resolve().is_relative_to(self._home):
            raise _Refused(OUTSIDE)
        name = re.sub(r"[^\w.-]+", "_", pair.id)[-80:]
        if medium == "image" and anew:
            out = io.BytesIO()
            Image.fromarray(read_picture(file).pixels).save(out, "PNG")
            return {"bytes": out.getvalue(), "path": f"{name}.png"}
        if isinstance(media, Excerpt) or anew:
            return {"bytes": flac_of(media), "path": f"{name}.flac"}
        if isinstance(media, Path) and media.stat().st_size > _MOST_FILE_BYTES:
            raise _Refused(TOO_LARGE)
        if medium == "image":
            picture_header(file)  # whatever its name, nothing but a picture is taken
        data = media if isinstance(media, bytes) else regular_file(media).read_bytes()
        if not 0 < len(data) <= _MOST_FILE_BYTES:
            raise _Refused(TOO_LARGE if data else UNREADABLE)
        suffix = media.suffix.lower() if isinstance(media, Path) else _suffix(data)
        return {"bytes": data, "path": name if name.lower().endswith(suffix or "\0") else f"{name}{suffix}"}


def flac_of(sound: Sound) -> bytes:
    """Return a sound as a FLAC file of 24 bits, which are all of it but where it had more. Raises SignalError."""
    out = io.BytesIO()
    with ExitStack() as stack:
        file = None
        for opener in sound_streams(sound)[0]:
            stream = opener()
            stack.callback(stream.close)
            if file is None:
                try:
                    file = stack.enter_context(soundfile.SoundFile(
                        out, "w", samplerate=stream.hz, channels=stream.channels, format="FLAC", subtype="PCM_24",
                    ))  # fmt: skip
                except (soundfile.LibsndfileError, ValueError, TypeError) as error:
                    raise SignalError(f"{stream.hz} Hz, {stream.channels} channels: FLAC has no such sound") from error
            if (stream.hz, stream.channels) != (file.samplerate, file.channels):
                raise SignalError("joined files of different rates or channels; take them apart")
            for block in stream.blocks():
                whole = np.rint(block.astype(np.float64) * 2**31)  # exact: the file keeps the upper 24 bits
                file.write(np.clip(whole, -(2**31), 2**31 - 256).astype(np.int32))
                if out.tell() > _MOST_FILE_BYTES:
                    raise _Refused(TOO_LARGE)
    return out.getvalue()


def coarsened(longitude: float, latitude: float, km: float) -> tuple[float, float]:
    """Return the middle of a place's cell of about `km` a side, equal for all places in it.

    >>> coarsened(13.4051, 52.5203, 10.0), coarsened(13.41, 52.53, 10.0)
    ((13.429752, 52.563511), (13.429752, 52.563511))
    """
    bands = max(1, math.ceil(180 * _KM_A_DEGREE / km))
    band = min(int((latitude + 90) / 180 * bands), bands - 1)
    middle = (band + 0.5) / bands * 180 - 90
    bins = max(1, math.ceil(360 * _KM_A_DEGREE * math.cos(math.radians(middle)) / km))
    place = int((longitude + 180) / 360 * bins) % bins
    return round((place + 0.5) / bins * 360 - 180, 6), round(middle, 6)


def _tells(text: str, longitude: float, latitude: float) -> bool:
    """Return whether a text holds a coordinate to three decimals, or both to two, cut or rounded."""
    exact, rough = [], []
    for value in (abs(longitude), abs(latitude)):
        exact.append(f"{value:.6f}"[:-3] in text or f"{value:.3f}" in text)
        rough.append(f"{value:.6f}"[:-4] in text or f"{value:.2f}" in text)
    return any(exact) or all(rough)


def _without_path(text: str) -> str:
    """Return a text, of a path of this machine its last part alone."""
    return re.split(r"[\\/]", text.rstrip("/\\"))[-1] if _ABSOLUTE.match(text) else text


_MAGICS = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"ID3", ".mp3"), (b"\xff\xfb", ".mp3"),
           (b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"))  # fmt: skip


def _suffix(data: bytes) -> str:
    return next((suffix for magic, suffix in _MAGICS if data.startswith(magic)), "")


def _feature(column: pa.Field) -> dict[str, Any]:
    """Return a column as `datasets` describes it."""
    if column.type == _MEDIUM:
        return {"_type": column.name.capitalize()}
    names = {pa.string(): "string", pa.float64(): "float64"}
    return {"dtype": names.get(column.type, str(column.type)), "_type": "Value"}


# What stands beside the shards.

#: Licences that the hub's cards have a name for; others are told as `other`, with name and address.
_HUB_LICENSES = frozenset(
    [f"cc-{parts}-{version}" for parts in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")
     for version in ("2.0", "3.0", "4.0")] + ["cc0-1.0", "mit", "apache-2.0"]
) - {"cc-by-nd-2.0", "cc-by-nd-3.0", "cc-by-nc-nd-2.0", "cc-by-sa-2.0"}  # fmt: skip


def _finished(writing: _Publishing, work: Path, options: PublishOptions) -> PublishResult:
    """Name the shards, write all that stands beside them, and return what was done."""
    shards = writing.named()
    _write_places(work / PLACES, [path for _, path in shards], writing.rows.schema)
    log = logging.getLogger("earthtone.data.manifest")
    log.disabled = True  # that no text carries `bbox` is known
    try:
        facts = read_rows(work / PLACES, metadata_only=True, words=True)
    finally:
        log.disabled = False
    title = options.title or Path(str(options.data)).stem
    found = replace(description_of(facts, title), data=PLACES)
    used = Counter(_credits(work / PLACES))
    licences = [licence_of(text) for text in facts.words["license"].texts]
    whole = strictest(licences)
    page = description_page(found, facts)
    lines = [f"{count:,} rows: {credit_line('', author, licence_of(said), source)}"
             for (author, said, source), count in used.most_common()]  # fmt: skip
    write_text_atomic(work / "credits.txt", one_line_each(lines) + "\n")
    write_text_atomic(work / "describe.html", page.html())
    splits = list(dict.fromkeys(name for name, _ in shards))
    write_text_atomic(work / "README.md", _front(title, whole, splits) + page.markdown() + _USAGE)
    notes = " ".join(page.notes)
    card = data_card(title, notes, work / PLACES, whole, licences, None, found, options.url, writing.rows.schema.names)
    write_text_atomic(work / "croissant.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    counts: Counter[str] = Counter()
    for name, path in shards:
        counts[name] += pq.read_metadata(path).num_rows
    return PublishResult(
        work, sum(counts.values()), dict(counts), len(shards), sum(path.stat().st_size for _, path in shards),
        dict(Counter(writing.refused.values())), dict(writing.problems), found.whole, found.whole_why,
        writing.rows.remarks,
    )  # fmt: skip


_USAGE = """
## To open it

```python
from datasets import load_dataset

rows = load_dataset("FOLDER_OR_OWNER/NAME")
```

```sql
SELECT id, longitude, latitude, credit FROM 'data/*.parquet';
```

`metadata.geoparquet` has the same rows without media, as points (GeoParquet 1.1). Each row has its licence and, as
`credit`, the line to be printed beside it; `credits.txt` has the different ones. `croissant.json` is the data card for
machines.
"""


def _front(title: str, whole: WholeLicence, splits: Sequence[str]) -> str:
    """Return the front matter of the hub's cards."""
    licence = whole.licence
    id = "other" if licence is None or licence.id.lower() not in _HUB_LICENSES else licence.id.lower()
    said: dict[str, Any] = {"pretty_name": title, "license": id}
    if id == "other":
        said |= {"license_name": "each-row-has-its-own" if licence is None else licence.id.lower(),
                 "license_link": licence.url if licence is not None and licence.url else "README.md"}  # fmt: skip
    files = [{"split": name, "path": f"{_DATA}/{name}-*.parquet"} for name in splits]
    said |= {"tags": ["soundscape", "remote sensing", "geospatial"],
             "configs": [{"config_name": "default", "data_files": files}]}  # fmt: skip
    return f"---\n{yaml.safe_dump(said, sort_keys=False, allow_unicode=True)}---\n\n"


def _write_places(path: Path, shards: Sequence[Path], schema: pa.Schema) -> None:
    """Write the rows of all shards without their media, as points."""
    names = [name for name in schema.names if name not in ("image", "audio")]
    west, south, east, north = np.inf, np.inf, -np.inf, -np.inf
    for table in _tables_of(shards, ["longitude", "latitude"]):
        longitude, latitude, fine = places_of(table)
        if fine.any():
            west, east = min(west, longitude[fine].min()), max(east, longitude[fine].max())
            south, north = min(south, latitude[fine].min()), max(north, latitude[fine].max())

    def groups() -> Iterator[pa.Table]:
        for table in _tables_of(shards, names):
            geometry, box = point_columns(*places_of(table))
            columns = {name: table[name] for name in names}
            yield pa.table({**columns, "geometry": geometry, "bbox": box})

    box = [float(side) for side in (west, south, east, north)] if west <= east else None
    write_geometries(path, groups(), of_points(box))


def _tables_of(shards: Sequence[Path], names: list[str]) -> Iterator[pa.Table]:
    for path in shards:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(8192, columns=names):
                yield pa.Table.from_batches([batch])


def _credits(path: Path) -> Iterator[tuple[str | None, str, str | None]]:
    for table in _tables_of([path], ["attribution", "license", "source"]):
        yield from zip(*(column.to_pylist() for column in table.columns), strict=True)
