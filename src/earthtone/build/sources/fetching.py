"""Bringing the files of recordings: each checked and put into its place, or told with the reason why it is not there.

`fetched.jsonl` has a line for each recording that was asked for; the last line counts. A file lies under its name only
when it is whole, so that a killed call loses no more than the files that were on their way, and goes on with these.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from earthtone.build.fetch.catalogue import RemoteFile
from earthtone.build.fetch.download import OTHER_SIZE, PAGE, NoRoomError, RefusedFileError, discard, download
from earthtone.build.recordings.recordings import Named
from earthtone.build.sources.source import Recording, RecordingSource
from earthtone.build.web import HostError, QuotaReachedError, Web, checked_url, is_public
from earthtone.errors import ConfigError, DataError, one_line, one_line_each
from earthtone.files import FORMATS, append_lines, atomic_path, format_of, only_writer, regular_file
from earthtone.progress import ordered_map, progress, size_text

_KIND = "fetched recordings"
_RECORD, _PARTS = "fetched.jsonl", ".parts"
_CHUNK, _HEAD = 1 << 20, 4096
_SHOWN = 3
_SILENT = 3  # files in a row that a host does not give, whatever is done: it is left alone
SILENT = "its host did not answer"
GONE, LARGE, EMPTY, NO_SOUND, DIFFERS = "gone", "too large", "empty", "no sound file", "another content than told"
#: First bytes of sound files, and the suffix of what they begin.
_SIGNS = (
    (rb"(RIFF|RIFX|RF64|BW64)....WAVE", ".wav"), (rb"riff\x2e\x91", ".w64"), (rb"fLaC", ".flac"), (rb"OggS", ".ogg"),
    (rb"FORM....AIF[FC]", ".aiff"), (rb"caff", ".caf"), (rb"\.snd", ".au"), (rb"....ftyp", ".m4a"),
    (rb"\x1a\x45\xdf\xa3", ".webm"), (rb"wvpk", ".wv"), (rb"ID3", ".mp3"), (rb"\xff[\xf0\xf1\xf8\xf9]", ".aac"),
    (rb"\xff[\xe2-\xef\xf2-\xf7\xfa-\xff]", ".mp3"),
)  # fmt: skip
_ALIKE: dict[str, tuple[str, ...]] = {
    ".wav": (".wave",), ".ogg": (".oga", ".opus", ".spx"), ".aiff": (".aif", ".aifc"), ".mp3": (".mpga", ".mp2"),
    ".m4a": (".mp4", ".3gp", ".3gpp", ".aac", ".mov"), ".webm": (".mka", ".mkv"),
}  # fmt: skip


@dataclass(frozen=True)
class FetchedFile:
    """A recording whose file is there."""

    recording: Recording
    path: Path
    bytes: int
    blake2b: str
    """Of the whole file, 16 bytes as hexadecimal digits."""


@dataclass
class FetchedRecordings:
    """What lies in a folder after a call, and what does not."""

    folder: Path
    files: list[FetchedFile] = field(default_factory=list)
    new: int = 0
    """Files that this call brought."""
    new_bytes: int = 0
    failed: dict[str, Named] = field(default_factory=dict)
    """By reason; each recording with what its host said."""

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        failed = {reason: {"count": named.count, "files": named.files} for reason, named in self.failed.items()}
        return {"folder": str(self.folder), "files": len(self.files), "bytes": self.bytes, "new": self.new,
                "new_bytes": self.new_bytes, "failed": failed}  # fmt: skip

    def to_text(self) -> str:
        """Return lines for a terminal."""
        lines = [f"{self.folder}: {len(self.files)} recordings, {size_text(self.bytes)}; {self.new} of them new"]
        for reason, named in self.failed.items():
            lines.append(f"  not fetched: {reason}: {named.count}")
            lines += [f"    {name}: {detail[:200]}" for name, detail in named.files[:_SHOWN]]
            lines += ["    ..."] if named.count > _SHOWN else []
        return one_line_each(lines)


def fetch_recordings(
    source: RecordingSource,
    recordings: Iterable[Recording],
    folder: str | Path,
    *,
    web: Web,
    most_bytes: int = 2 * 2**30,
    threads: int = 4,
    again: bool = False,
) -> FetchedRecordings:
    """Bring the files of recordings (a `Listing`, or rows of one) into a folder, and return what lies there.

    A stopped call goes on; what is there is not asked for again. A file of more than `most_bytes`, one that is gone, or
    no sound, or not what was listed, is told with its reason and asked for again only with `again`; one whose host did
    not answer is asked for in the next call. Several sources may share a folder. Raises NoRoomError where the disk is
    full, QuotaReachedError, and ConfigError for a missing key; all else stops no other file.

    >>> fetch_recordings(source, listing, "recordings", web=web).files[0].path  # doctest: +SKIP
    PosixPath('recordings/internet-archive/3f/aporee_1_2.mp3')
    """
    folder = Path(folder)
    result = FetchedRecordings(folder)
    with only_writer(folder, "fetching recordings", _PARTS):
        source.prepare(web)
        work = _Fetching(source, folder, web, most_bytes, again)
        outcomes = ordered_map(work.outcome, _once_each(recordings), threads, ahead=2 * threads)
        total = len(recordings) if isinstance(recordings, Sized) else None
        for row, found, new in progress(outcomes, total=total, label=f"fetch {source.name}", unit="file"):
            if isinstance(found, FetchedFile):
                result.files.append(found)
            else:
                result.failed.setdefault(found.reason, Named()).add(f"{row.source}:{row.source_id}", found.detail)
            if new:
                result.new += isinstance(found, FetchedFile)
                result.new_bytes += found.bytes if isinstance(found, FetchedFile) else 0
                work.record(row, found)
    return result


@dataclass(frozen=True)
class _Missing:
    """Why a file is not there; `for_good`: it will not come however often it is asked for."""

    reason: str
    detail: str
    for_good: bool = True


_Found = FetchedFile | _Missing
_Key = tuple[str, str]


class _BadFileError(Exception):
    """A whole download that is not what was expected."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def _once_each(recordings: Iterable[Recording]) -> Iterator[Recording]:
    seen: set[_Key] = set()
    for row in recordings:
        if (key := (row.source, row.source_id)) not in seen:
            seen.add(key)
            yield row


class _Fetching:
    def __init__(self, source: RecordingSource, folder: Path, web: Web, most_bytes: int, again: bool) -> None:
        self._source, self._folder, self._web, self._most_bytes = source, folder, web, most_bytes
        self._known = _known(folder / _RECORD)
        for note in (folder / _PARTS).glob("*.part.json"):
            if not note.with_suffix("").exists():
                note.unlink()  # of a file that was put into its place when the call was killed
        self._again = again
        self._silent: Counter[str] = Counter()

    def outcome(self, row: Recording) -> tuple[Recording, _Found, bool]:
        """Return what has become of a recording, its file or why there is none, and whether that is new."""
        known = self._known.get((row.source, row.source_id))
        if known is not None and (found := self._there(row, known)) is not None:
            return row, found, False
        return row, self._bring(row), True

    def record(self, row: Recording, found: _Found) -> None:
        """Add a line to the record, where it is not the last one already."""
        said = _line(row, found, self._folder)
        if said == self._known.get((row.source, row.source_id)):
            return
        head = json.dumps({"format": FORMATS[_KIND]}) + "\n"
        append_lines(self._folder / _RECORD, head, [json.dumps(said, ensure_ascii=False) + "\n"])

    def _there(self, row: Recording, known: dict[str, Any]) -> _Found | None:
        """Return what the record has of a recording; None where it is to be asked for."""
        if "path" not in known:
            keep = known.get("for_good") is True and not self._again
            return _Missing(str(known.get("reason")), str(known.get("detail", ""))) if keep else None
        path, size = self._folder / str(known["path"]), known.get("bytes")
        try:
            same = path.stat().st_size == size and row.bytes in (None, size)
        except OSError:
            same = False
        if known.get("hash") and row.hash:
            same = same and known["hash"] == row.hash  # else the source has another file now
        if not path.is_relative_to(self._folder):
            same = same and Path(self._source.media_address(self._web, row)).absolute() == path
        return FetchedFile(row, path, int(size or 0), str(known.get("blake2b"))) if same else None

    def _bring(self, row: Recording) -> _Found:
        host = ""
        try:
            address = self._source.media_address(self._web, row)
            if isinstance(address, Path):
                return self._local(row, address)
            if row.bytes is not None and row.bytes > self._most_bytes:
                return _Missing(LARGE, f"{size_text(row.bytes)}; {size_text(self._most_bytes)} at most")
            stem = self._stem(row)
            if (found := self._left(row, stem)) is not None:
                return found
            if not address:
                return _Missing("without a file", "")
            host = str(urlsplit(self._checked(address)).hostname)
            if self._silent[host] >= _SILENT:
                return _Missing(SILENT, f"{host} did not answer for {_SILENT} files before", for_good=False)
            found = self._downloaded(row, address, stem)
            self._silent[host] = 0
            return found
        except RefusedFileError as error:
            self._silent[host] = 0
            return _Missing(error.kind, _detail(error))
        except _BadFileError as error:
            self._silent[host] = 0
            return _Missing(error.reason, error.detail)
        except HostError as error:
            self._silent[host] += 1
            return _Missing(SILENT, _detail(error), for_good=False)
        except NoRoomError:
            raise
        except QuotaReachedError as error:
            if host in ("", self._source.host):
                raise
            self._silent[host] = _SILENT  # one host of many: the others go on
            return _Missing(SILENT, _detail(error), for_good=False)
        except DataError as error:
            return _Missing("refused address", _detail(error))

    def _checked(self, address: str) -> str:
        """Return an address that may be asked. Raises DataError for one in this network that a public list names."""
        checked_url(address)
        host = str(urlsplit(address).hostname)
        if not self._source.allows_private and not is_public(host):
            raise DataError(f"{self._source.name} names a file at {host}, which is not on the internet; refused")
        return address

    def _stem(self, row: Recording) -> Path:
        """Return a file's path without its suffix: names of strangers are no paths."""
        digest = hashlib.blake2b(row.source_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        name = re.sub(r"[^a-z0-9_-]", "_", row.source_id)[:60]
        name = name if name == row.source_id else f"{name}-{digest}"
        return self._folder / re.sub(r"[^a-z0-9_-]", "_", row.source) / digest[:2] / name

    def _left(self, row: Recording, stem: Path) -> FetchedFile | None:
        """Return a whole file that a killed call put into its place without a word in the record."""
        for path in sorted(stem.parent.glob(f"{stem.name}.*")):
            try:
                return self._file(row, path)
            except (_BadFileError, OSError):
                path.unlink(missing_ok=True)
        return None

    def _local(self, row: Recording, path: Path) -> FetchedFile:
        """Return a file that lies on this machine, where it is."""
        try:
            return self._file(row, regular_file(path.absolute()))
        except OSError as error:
            raise _BadFileError(GONE, f"{path}: {error.strerror or error}") from error

    def _downloaded(self, row: Recording, address: str, stem: Path) -> FetchedFile:
        name = f"{stem.name}{row.suffix}"
        md5, sha256 = ((row.hash.lower() or None) if row.hash_kind == kind else None for kind in ("md5", "sha256"))
        file = RemoteFile(name, (address,), row.bytes, "", md5=md5, sha256=sha256)
        key = hashlib.blake2b(f"{row.source}\0{row.source_id}".encode("utf-8", "surrogatepass"), digest_size=12)
        part = self._folder / _PARTS / f"{key.hexdigest()}.part"
        for last in (False, True):
            try:
                download(self._web, address, file, part, self._web.policy, self._most_bytes, bar=False)
                found = self._file(row, part)
                break
            except (_BadFileError, RefusedFileError) as error:
                discard(part)
                kind = error.kind if isinstance(error, RefusedFileError) else error.reason
                if last or kind not in (PAGE, OTHER_SIZE, NO_SOUND, DIFFERS, EMPTY):
                    raise
        with part.open("rb") as data:
            suffix = _suffix(data.read(_HEAD), row.suffix)
            os.fsync(data.fileno())
        target = stem.with_name(stem.name + suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        discard(part)
        return FetchedFile(row, target, found.bytes, found.blake2b)

    def _file(self, row: Recording, path: Path) -> FetchedFile:
        """Return a whole file with its hash. Raises _BadFileError where it is not what was listed."""
        ours = hashlib.blake2b(digest_size=16)
        kind = row.hash_kind if row.hash_kind in ("md5", "sha1", "sha256") and row.hash else ""
        theirs = hashlib.new(kind, usedforsecurity=False) if kind else None
        size, head = 0, b""
        with path.open("rb") as data:
            while chunk := data.read(_CHUNK):
                head = head or chunk[:_HEAD]
                size += len(chunk)
                ours.update(chunk)
                if theirs is not None:
                    theirs.update(chunk)
        if not size:
            raise _BadFileError(EMPTY, "0 bytes")
        if _suffix(head, "") == "":
            what = "a web page" if re.match(rb"\s*<", head) else f"begins with {one_line(repr(head[:12]))}"
            raise _BadFileError(PAGE if what == "a web page" else NO_SOUND, what)
        if row.bytes is not None and size != row.bytes:
            raise _BadFileError(DIFFERS, f"{size} bytes, {row.bytes} were listed")
        if theirs is not None and theirs.hexdigest() != row.hash.lower():
            raise _BadFileError(DIFFERS, f"its {kind} is {theirs.hexdigest()}, {one_line(row.hash, 80)} was listed")
        return FetchedFile(row, path, size, ours.hexdigest())


def _suffix(head: bytes, told: str) -> str:
    """Return the suffix that a file of these first bytes has, as told where that fits; empty where it is no sound."""
    for sign, suffix in _SIGNS:
        if re.match(sign, head, re.DOTALL) or re.match(sign, head.lstrip(b"\0"), re.DOTALL):
            return told if told == suffix or told in _ALIKE.get(suffix, ()) else suffix
    return ""


def _detail(error: Exception) -> str:
    return one_line(str(error).partition("; ")[0], 300)


def _line(row: Recording, found: _Found, folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = {"source": row.source, "source_id": row.source_id}
    if isinstance(found, _Missing):
        return {**said, "reason": found.reason, "detail": found.detail, "for_good": found.for_good}
    inside = found.path.is_relative_to(folder)
    path = found.path.relative_to(folder).as_posix() if inside else str(found.path.absolute())
    listed = {"hash": row.hash} if row.hash else {}
    return {**said, "path": path, "bytes": found.bytes, "blake2b": found.blake2b, **listed}


def _known(path: Path) -> dict[_Key, dict[str, Any]]:
    """Return the last line of each recording in a record; lines that a kill left half-written are passed over."""
    known: dict[_Key, dict[str, Any]] = {}
    if not path.exists():
        return known
    try:
        with regular_file(path).open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    said = json.loads(line)
                    if "format" in said:
                        format_of(said, _KIND, path)
                    else:
                        known[said["source"], said["source_id"]] = said
                except (ValueError, TypeError, KeyError):
                    continue
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return known


#: The columns of `write_table`, which `earthtone recordings` has under the same names.
SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("audio", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()),
        ("datetime", pa.timestamp("us", tz="UTC")),
        ("local_time", pa.string()), ("day", pa.string()), ("time_zone_known", pa.bool_()),
        ("longitude", pa.float64()), ("latitude", pa.float64()), ("coord_uncertainty_m", pa.float64()),
        ("coord_source", pa.string()), ("seconds", pa.float64()), ("bytes", pa.int64()), ("source", pa.string()),
        ("license", pa.string()), ("attribution", pa.string()), ("author", pa.string()), ("title", pa.string()),
        ("url", pa.string()), ("ai_preference", pa.string()), ("audio_blake2b", pa.string()),
    ],
    metadata={b"earthtone.recordings.format": str(FORMATS["recordings"]).encode()},
)  # fmt: skip


def write_table(files: Iterable[FetchedFile], out: str | Path) -> int:
    """Write a table of recordings (Parquet; a manifest) of fetched files, and return how many rows it has.

    What sources say beside is in columns of their own names. It is whole or not there. Raises ConfigError where no
    file is there.
    """
    out = Path(out)
    rows, own = [], set(SCHEMA.names)
    names: dict[str, None] = {}
    for one in files:
        audio = Path(os.path.relpath(one.path.resolve(), out.parent.resolve())).as_posix()
        row = {**one.recording.cells(), "audio": audio, "bytes": one.bytes, "audio_blake2b": one.blake2b}
        more = {name: text for name, text in one.recording.more.items() if name not in own}
        names.update(dict.fromkeys(more))
        rows.append({**more, **row})
    if not rows:
        raise ConfigError("no recording was fetched; allow further licences, or ask for another place")
    with atomic_path(out) as temporary:
        schema = pa.schema([*SCHEMA, *((name, pa.string()) for name in names)], SCHEMA.metadata)
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary)
    return len(rows)


def iter_fetched(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Yield what a folder's record has of each recording: its path, bytes and blake2b, or the reason it lacks."""
    yield from _known(Path(folder) / _RECORD).values()
