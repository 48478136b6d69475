"""Check a source before it is packed: what is in it, what is missing, broken, odd or there twice."""

import hashlib
import math
import statistics
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthtone.data.grouped_split import NONE, in_several, split_code, split_of_code
from earthtone.data.manifest import needed
from earthtone.data.pair import MEDIA, SPLITS, FileOrBytes, Note, Pair, Problem
from earthtone.data.remote import is_remote
from earthtone.data.source import Source, check_input, is_packed, items_skipping, open_source, preferred_audio
from earthtone.data.splits import MANIFEST, NamedSplit, check_split_by, named_split
from earthtone.errors import ConfigError, SignalError, one_line, one_line_each
from earthtone.files import content_digest
from earthtone.options import CheckOptions
from earthtone.processors import usable_processors
from earthtone.progress import ordered_map
from earthtone.signal.audio import AudioFacts, probe_audio, survey_recording
from earthtone.signal.config import AudioConfig, ImageConfig, SignalConfig, check_signal_config
from earthtone.signal.excerpt import Excerpt, Sound, file_time, no_excerpt
from earthtone.signal.image import Picture, image_hash, kept_remarks, picture_header, read_grey, read_picture
from earthtone.signal.remarks import SILENT, Remark
from earthtone.signal.spectrogram import check_bands, refuse_short
from earthtone.value_types import takes

if TYPE_CHECKING:
    from earthtone.data.check_table import TableCheck
    from earthtone.data.packed import Table  # imports torch and lance, which check can do without


# How much there is in a split: rows count for little when they are of one place, or of one recording.
LEAST_PLACES = 5
LEAST_FILES = 10
MEASURED_SPLITS = ("val", "test")
_ROUNDED = 1000  # a place is a thousandth of a degree, about 100 m


@dataclass(frozen=True)
class Contents:
    """What rows hold. `images` and `recordings` are distinct ones (silence is none), None where rows have none."""

    rows: int
    images: int | None = None
    recordings: int | None = None
    places: int | None = None
    """Distinct to about 100 m; None where a row has no coordinates."""

    def __str__(self) -> str:
        return f"{_counted(self.rows, 'row')}" + (f" of {self.files_text}" if self.files_text else "")

    @property
    def files_text(self) -> str:
        """How many distinct images, recordings and places there are."""
        named = (("image", self.images), ("recording", self.recordings), ("place", self.places))
        return ", ".join(_counted(count, name) for name, count in named if count is not None)

    @property
    def is_small(self) -> bool:
        """Whether figures on these rows say next to nothing."""
        files = [count for count in (self.images, self.recordings) if count is not None]
        places = LEAST_PLACES if self.places is None else self.places
        return self.rows > 0 and (min(files, default=self.rows) < LEAST_FILES or places < LEAST_PLACES)


def small_split_warning(split: str, contents: Contents) -> str:
    """Return a line on a split on which next to nothing can be measured; empty for any other."""
    if not contents.is_small:
        return ""
    return (
        f"{split} holds {contents}: a figure measured on so little says next to nothing ({LEAST_FILES} images and "
        f"recordings of {LEAST_PLACES} places are the least)"
    )


def contents_of(
    images: NDArray[Any] | None, recordings: NDArray[Any] | None, places: NDArray[np.int64] | None, rows: int
) -> Contents:
    """Return what rows hold, given a number each (N,): equal ones are identical, negative ones are nothing."""
    whole = places is not None and len(places) > 0 and bool((places >= 0).all())
    return Contents(rows, _distinct(images), _distinct(recordings), _distinct(places) if whole else None)


def place_numbers(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a number for each place (N,), equal within about 100 m; -1 where there is none (NaN)."""
    there = ~(np.isnan(longitude) | np.isnan(latitude))
    east = np.where(there, np.round((np.nan_to_num(longitude) + 180) * _ROUNDED), 0).astype(np.int64) % (360 * _ROUNDED)
    north = np.where(there, np.round((np.nan_to_num(latitude) + 90) * _ROUNDED), 0).astype(np.int64)
    return np.where(there, north * (360 * _ROUNDED) + east, -1)


def table_contents(table: "Table", rows: Mapping[str, NDArray[np.int64]] | None = None) -> dict[str, Contents]:
    """Return what each of some parts of a table's rows holds; by default of its splits, those without rows left out."""
    if rows is None:
        splits = np.array([str(split) for split in table.column("split")], np.str_)
        rows = {name: np.flatnonzero(splits == name) for name in SPLITS}
    found = [(table.groups(f"{medium}_hash"), table.has(medium)) for medium in MEDIA]
    places = place_numbers(table.numbers("longitude"), table.numbers("latitude"))
    contents = {}
    for name, part in rows.items():
        images, recordings = (groups[part] if there[part].any() else None for groups, there in found)
        if len(part):
            contents[name] = contents_of(images, recordings, places[part], len(part))
    return contents


def small_split_warnings(contents: Mapping[str, Contents], splits: Sequence[str] = MEASURED_SPLITS) -> list[str]:
    """Return a line for each of the measured splits that holds next to nothing."""
    lines = [small_split_warning(name, contents[name]) for name in splits if name in contents]
    return [line for line in lines if line]


def leak_warnings(table: "Table") -> list[str]:
    """Return a line where images or recordings of a table lie in several splits, which its own or a published one may
    have brought about.
    """
    splits = np.array([split_code(split) for split in table.column("split")], np.int64)
    dealt = splits != NONE
    counts = []
    for name, column in (("image", "image_hash"), ("recording", "audio_hash")):
        leaks = len(in_several(table.groups(column)[dealt], splits[dealt]))
        counts += [_counted(leaks, name)] * bool(leaks)
    if not counts:
        return []
    return [f"{' and '.join(counts)} in more than one split, as the data's own or a published split has it: see check"]


def _distinct(numbers: NDArray[Any] | None) -> int | None:
    if numbers is None:
        return None
    return len(np.unique(numbers[numbers >= 0] if numbers.dtype.kind == "i" else numbers))


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


BROKEN_IMAGE = "broken image"
BROKEN_AUDIO = "broken audio"
BROKEN_PAIR = "broken pair"
#: What decoders raise beside SignalError, from faults of their own.
DECODER_FAULTS = (ArithmeticError, MemoryError, LookupError, RuntimeError, TypeError, ValueError)
_DEFAULT = SignalConfig()


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Of a picture: width and height in pixels, its mode ("RGB", "12 bands uint16") and a 16-byte hash."""

    width: int
    height: int
    mode: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Examined:
    """Of a pair: what its files hold, a problem for each broken one, a note for what was noticed about the others.

    `spectrogram` stands in for `audio`. `audio_digest` is None for silence, which no two recordings share.
    """

    image: PictureFacts | None
    audio: AudioFacts | None
    spectrogram: PictureFacts | None
    audio_digest: bytes | None
    problems: tuple[Problem, ...]
    notes: tuple[Note, ...] = ()


def broken_pair(pair: Pair, error: Exception) -> Problem:
    """Return the problem of a pair whose files brought a decoder down: one odd file must not stop hours of work."""
    return Problem(pair.id, BROKEN_PAIR, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def examine(
    pair: Pair,
    *,
    decode: bool,
    signal: SignalConfig = _DEFAULT,
    spectrograms: bool = False,
    also: Collection[str] = (),
) -> Examined:
    """Return the facts of a pair's files as `signal` has them read; with `decode` each is decoded whole, else only its
    header is read.

    Images are hashed by their pixels, recordings by their samples when decoded, otherwise both by their bytes. A medium
    of `also` that is broken is noted, while the pair has the other one.
    """
    image = audio = spectrogram = digest = None
    faults: dict[str, list[Problem]] = {medium: [] for medium in MEDIA}
    remarks = list(pair.remarks)
    with _as_problem(pair, BROKEN_IMAGE, faults["image"]):
        if pair.image is not None:
            image, seen = _picture(pair.image, decode, signal.image, pair.image_gsd_m)
            remarks += seen
    with _as_problem(pair, BROKEN_AUDIO, faults["audio"]):
        if pair.audio is not None and spectrograms:
            spectrogram = _spectrogram(pair.audio, decode, signal.audio)
        elif pair.audio is not None:
            audio, noticed, digest = _recording(pair.audio, decode, signal.audio)
            remarks += noticed
        digest = digest or bytes_digest(pair.audio) if pair.audio is not None and not is_silence(remarks) else None
    if any(getattr(pair, medium) is not None and not faults[medium] for medium in MEDIA):
        lost = [problem for medium in also for problem in faults.pop(medium)]
        remarks += [Remark(problem.kind, f"{problem.detail}; the row is kept without it") for problem in lost]
    notes = tuple(Note(pair.id, remark.kind, remark.detail) for remark in remarks)
    return Examined(image, audio, spectrogram, digest, tuple(chain.from_iterable(faults.values())), notes)


@contextmanager
def _as_problem(pair: Pair, kind: str, problems: list[Problem]) -> Iterator[None]:
    try:
        yield
    except SignalError as error:
        problems.append(Problem(pair.id, kind, str(error)))
    except DECODER_FAULTS as error:
        problems.append(broken_pair(pair, error))


def is_silence(remarks: Iterable[Remark]) -> bool:
    """Return whether a recording is silence once mixed: equal to any other silence, and no sign of the same place."""
    return any(remark.kind == SILENT for remark in remarks)


def bytes_digest(source: Sound) -> bytes:
    """Return a 16-byte hash of a file's (`content_digest`) or a cell's bytes; of an excerpt with its seconds.

    Raises SignalError.
    """
    if isinstance(source, Excerpt):
        of = source.source
        whole = bytes_digest(of) if isinstance(of, bytes) else _digest_of_many(of, file_time(of))
        seconds = f"{source.start_s!r} {source.end_s!r}".encode()
        return hashlib.blake2b(whole + seconds, digest_size=16).digest()
    if isinstance(source, bytes):
        return hashlib.blake2b(source, digest_size=16).digest()
    try:
        return content_digest(source)
    except OSError as error:
        raise SignalError(f"{source}: {error.strerror}; a readable file was expected") from error


@lru_cache(maxsize=64)
def _digest_of_many(path: Path, time: tuple[int, int] | None) -> bytes:
    """Return `bytes_digest`, once for the many excerpts of a recording while it was not changed."""
    return bytes_digest(path)


def _recording(source: Sound, decode: bool, config: AudioConfig) -> tuple[AudioFacts, tuple[Remark, ...], bytes | None]:
    """Return facts, what was noticed and, when decoded, a hash of rate and samples: a FLAC of a WAV is the same."""
    digest = hashlib.blake2b(digest_size=16)
    if decode:
        facts, remarks = survey_recording(source, config.channel, each=lambda samples: digest.update(samples.data))
        digest.update(f"{facts.hz}".encode())
    else:
        facts, remarks = probe_audio(source), ()
    refuse_short(facts.seconds, config)
    return facts, remarks, digest.digest() if decode else None


def _picture(
    source: FileOrBytes, decode: bool, config: ImageConfig, gsd_m: float | None
) -> tuple[PictureFacts, list[Remark]]:
    if decode:
        picture = read_picture(source, config)
        digest = bytes.fromhex(image_hash(picture.pixels))
        _, _, mode = picture_header(source)
        height, width = picture.pixels.shape[:2]
    else:
        width, height, mode = picture_header(source)
        picture, digest = Picture(np.broadcast_to(np.uint8(0), (height, width, 3))), bytes_digest(source)
    return PictureFacts(width, height, mode, digest), [*picture.remarks, *kept_remarks(picture, config, gsd_m)]


def _spectrogram(sound: Sound, decode: bool, config: AudioConfig) -> PictureFacts:
    source = no_excerpt(sound)
    values = read_grey(source) if decode else None
    width, height, mode = picture_header(source)
    if values is not None:
        height, width = values.shape
    if config.input == "spectrogram":  # else nobody said how many there should be
        check_bands(height, config, source)
    digest = bytes_digest(source) if values is None else bytes.fromhex(image_hash(values))
    return PictureFacts(width, height, mode, digest)


Progress = Callable[[int, int], None]
SHOWN = 20  # problems of each kind named in the text; the JSON names all
_TWINS_SHOWN = 5


@dataclass(frozen=True)
class Twins:
    """Rows with identical content. `splits` are those they will be in: more than one means that a test leaks."""

    ids: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass
class CheckResult:
    """What a source holds. Counts are of usable rows, facts about files of the `examined` ones.

    `problems` leave rows out; `notes` are what its user should know about rows that stay.
    """

    path: str
    rows: int = 0
    usable: int = 0
    examined: int = 0
    splits: dict[str, int] = field(default_factory=Counter)
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    notes: dict[str, list[Note]] = field(default_factory=dict)
    hours: float = 0.0
    seconds_min: float | None = None
    seconds_median: float | None = None
    seconds_max: float | None = None
    audio_hz: dict[str, int] = field(default_factory=Counter)
    audio_channels: dict[str, int] = field(default_factory=Counter)
    spectrogram_rows: dict[str, int] = field(default_factory=Counter)
    image_sizes: dict[str, int] = field(default_factory=Counter)
    image_modes: dict[str, int] = field(default_factory=Counter)
    extent: tuple[float, float, float, float] | None = None
    without_coordinates: int = 0
    contents: dict[str, Contents] = field(default_factory=dict)
    """How many distinct images, recordings and places each split has; images and recordings where all were examined."""
    duplicate_images: list[Twins] = field(default_factory=list)
    duplicate_audio: list[Twins] = field(default_factory=list)
    licenses: dict[str, int] = field(default_factory=Counter)
    extra_columns: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    """What is in no split because a file names it (`exclude`), and what of that file was not found."""
    lacking: dict[str, int] = field(default_factory=dict)
    """How many examined rows have no image, and how many no audio; where rows need not have both."""

    @property
    def ok(self) -> bool:
        """Whether there is anything to use."""
        return self.usable > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, texts and numbers for JSON, with every problem and every duplicate."""
        return {"ok": self.ok, **asdict(self)}

    def to_text(self) -> str:
        """Return the lines that the command line prints; long lists are cut after a few examples."""
        share = f" ({100 * self.usable / self.rows:.3g} %)" if self.usable < self.rows else ""
        lines = [f"{self.path}: {self.usable} of {self.rows} rows usable{share}, {self.examined} examined"]
        lines += [f"  without {medium}: {count}" for medium, count in self.lacking.items()]
        lines += _counts("splits", self.splits)
        lines += [f"    {name}: {found}" for name, found in self.contents.items()]
        lines += [f"  left out: {one_line(line)}" for line in self.excluded]
        lines += [f"  caution: {line}" for line in small_split_warnings(self.contents)]
        if self.seconds_min is not None:
            spread = f"{self.seconds_min:.1f} / {self.seconds_median:.1f} / {self.seconds_max:.1f} s"
            lines.append(f"  audio: {self.hours:.2f} h; shortest / median / longest {spread}")
        lines += _counts("sample rates (Hz)", self.audio_hz) + _counts("channels", self.audio_channels)
        if self.spectrogram_rows:
            lines += _counts("spectrogram rows", self.spectrogram_rows)
            lines.append("  audio: ready spectrograms; pack and train them with --recipe soundingearth-spectrograms")
        lines += _counts("image sizes", self.image_sizes) + _counts("image modes", self.image_modes)
        if self.extent is not None:
            west, south, east, north = self.extent
            lines.append(f"  extent: longitude {west:g} to {east:g}, latitude {south:g} to {north:g}")
        lines.append(f"  without coordinates: {self.without_coordinates}")
        lines += _counts("licenses", self.licenses)
        if self.extra_columns:
            lines.append(f"  free columns: {', '.join(self.extra_columns)}")
        lines += _twins("images", self.duplicate_images) + _twins("recordings", self.duplicate_audio)
        for kind, problems in self.problems.items():
            lines += [f"  {kind}: {len(problems)}", *_named(problems)]
        for kind, notes in self.notes.items():
            lines += [f"  note, {kind}: {len(notes)}", *_named(notes)]
        if not self.ok:
            lines.append("  nothing to use: mend the rows above, or choose other columns with --columns NAME=COLUMN")
        return one_line_each(lines)


@takes(CheckOptions)
def check(options: CheckOptions) -> "CheckResult | TableCheck":
    """Return what a manifest or a folder holds, or whether a packed table is what was packed.

    It is the same for any number of `workers` (threads; all cores when null).

    Every file is decoded whole (one recording a thread in memory); with `headers_only` only headers are read.
    `sample` examines that many rows, evenly spread; the others are then only known to have their files.
    `signal` says how files are read, and is refused where `pack` refuses it; without it all sources can be looked at.
    `bands` chooses red, green and blue of GeoTIFFs alone. `split_by`, `buffer_km` and `exclude` deal the rows out as
    for `pack`.
    `progress` is called with (rows done, rows in all).
    Memory: about 400 bytes a row for hashes and splits, and every problem and note. Raises DataError, ConfigError.

    >>> check("metadata.csv", headers_only=True).usable  # doctest: +SKIP
    2100
    """
    data, prefer, (need, also) = options.data, options.prefer, needed(options.need)
    if not is_remote(data) and is_packed(data):
        from earthtone.data.check_table import check_table  # brings Lance

        if idle := options.changed("columns", "bands", "signal", "split_by", "buffer_km", "exclude", "need"):
            told = idle[0].replace("--signal", "--recipe")
            raise ConfigError(f"{data} is packed: {told} has no effect on it; leave it out")
        return check_table(data, decode=not options.headers_only, sample=options.sample, progress=options.progress)
    split_by, buffer_km = options.split_by or MANIFEST, options.buffer_km
    check_split_by(split_by, buffer_km)
    signal = options.signal or SignalConfig()
    if options.bands is not None:
        signal = replace(signal, image=replace(signal.image, bands=options.bands))
    check_signal_config(signal)
    if options.signal is not None and prefer == "auto":
        prefer = preferred_audio(data, signal)
    source = open_source(data, columns=options.columns, need=need, also=also, prefer=prefer)
    if options.signal is not None and "audio" in (*need, *also):
        check_input(source, signal)
    total = len(source)
    chosen = partial(is_sampled, total=total, sample=options.sample)
    look = partial(
        examine, decode=not options.headers_only, signal=signal, spectrograms=source.ready_spectrograms, also=also
    )

    def work(numbered: tuple[int, Pair | Problem]) -> tuple[int, Pair | Problem, Examined | None]:
        number, item = numbered
        return number, item, look(item) if isinstance(item, Pair) and chosen(number) else None

    items = items_skipping(source, lambda number, _: not chosen(number))
    tally = _Tally(source, named_split(split_by, source, buffer_km=buffer_km, exclude=options.exclude), also)
    for number, item, found in ordered_map(work, enumerate(items), options.workers or usable_processors()):
        tally.add(item, found)
        if options.progress is not None:
            options.progress(number + 1, total)
    return tally.finished()


def is_sampled(row: int, total: int, sample: int | None) -> bool:
    """Return whether a row is one of the `sample` that are evenly spread over all; None: all are."""
    kept = total if sample is None else min(sample, total)
    return (row + 1) * kept // total > row * kept // total


class _Tally:
    """Adds up in `result` what one pass over a source finds."""

    def __init__(self, source: Source, split: NamedSplit, also: tuple[str, ...]) -> None:
        self.result = CheckResult(str(source.path), extra_columns=source.extra_columns, excluded=split.excluded)
        self.result.lacking = dict.fromkeys(also, 0)
        self._source, self._split = source, split
        self._splits, self._digests, self._places, self._has = array("B"), array("q"), array("d"), array("B")
        self._seconds = array("d")
        self._unexamined = 0

    def add(self, item: Pair | Problem, found: Examined | None) -> None:
        result = self.result
        result.rows += 1
        problems: tuple[Problem, ...] = (item,) if isinstance(item, Problem) else ()
        notes: Iterable[Note] = ()
        image = audio_digest = None
        place: tuple[float | None, float | None] = None, None
        if isinstance(item, Pair):
            place = item.longitude, item.latitude
            notes = [Note(item.id, kind, detail) for kind, detail in item.remarks]
        if found is not None:
            result.examined += 1
            problems, notes, image, audio_digest = found.problems, found.notes, found.image, found.audio_digest
            self._add_files(found)
            if isinstance(item, Pair) and not problems:
                self._count_lacking(found)
        for problem in problems:
            result.problems.setdefault(problem.kind, []).append(problem)
        for note in notes:
            result.notes.setdefault(note.kind, []).append(note)
        digests = (None if image is None else image.digest, audio_digest)
        usable = isinstance(item, Pair) and not problems
        self._unexamined += usable and found is None
        self._splits.append(self._add_usable(item, digests) if isinstance(item, Pair) and usable else NONE)
        self._digests.extend(-1 if digest is None else int.from_bytes(digest[:8], "big") >> 1 for digest in digests)
        self._has.extend(found is not None and _has(found, medium) for medium in MEDIA)
        self._places.extend(math.nan if degrees is None else degrees for degrees in place)

    def _count_lacking(self, found: Examined) -> None:
        for medium in self.result.lacking:
            self.result.lacking[medium] += not _has(found, medium)

    def _add_files(self, found: Examined) -> None:
        result = self.result
        if found.image is not None:
            result.image_sizes[f"{found.image.width} x {found.image.height}"] += 1
            result.image_modes[found.image.mode] += 1
        if found.audio is not None:
            self._seconds.append(found.audio.seconds)
            result.audio_hz[str(found.audio.hz)] += 1
            result.audio_channels[str(found.audio.channels)] += 1
        if found.spectrogram is not None:
            result.spectrogram_rows[str(found.spectrogram.height)] += 1

    def _add_usable(self, pair: Pair, digests: Iterable[bytes | None]) -> int:
        """Count a usable pair; return the number of the split that packing will put it in."""
        result = self.result
        split = self._split.settle(pair.id, self._split.assign(pair), [digest.hex() for digest in digests if digest])
        result.usable += 1
        result.splits[split or "none"] += 1
        result.licenses[pair.license or "none"] += 1
        if pair.longitude is None or pair.latitude is None:
            result.without_coordinates += 1
        else:
            west, south, east, north = result.extent or (pair.longitude, pair.latitude) * 2
            east, north = max(east, pair.longitude), max(north, pair.latitude)
            result.extent = min(west, pair.longitude), min(south, pair.latitude), east, north
        return split_code(split)

    def finished(self) -> CheckResult:
        """Return the result with what depends on all rows: duplicates, contents, lengths, counts in order."""
        result, seconds = self.result, self._seconds
        digests = np.array(self._digests, np.int64).reshape(-1, 2)
        image_groups, audio_groups = (_equal_rows(numbers) for numbers in digests.T)
        ids = _ids_of(self._source, {row for group in image_groups + audio_groups for row in group})
        result.duplicate_images = [self._twins(group, ids) for group in image_groups]
        result.duplicate_audio = [self._twins(group, ids) for group in audio_groups]
        result.contents = self._contents(digests)
        result.problems, result.notes = dict(sorted(result.problems.items())), dict(sorted(result.notes.items()))
        result.hours = sum(seconds) / 3600
        if seconds:
            result.seconds_min, result.seconds_max = min(seconds), max(seconds)
            result.seconds_median = statistics.median(seconds)
        for name, counter in vars(result).items():
            if isinstance(counter, Counter):
                setattr(result, name, dict(sorted(counter.items(), key=lambda item: (-item[1], item[0]))))
        return result

    def _contents(self, digests: NDArray[np.int64]) -> dict[str, Contents]:
        """Return what the usable rows of each split hold; files are counted where all were examined and one has any."""
        codes, has = np.array(self._splits, np.uint8), np.array(self._has, bool).reshape(-1, len(MEDIA))
        places = place_numbers(*np.array(self._places, np.float64).reshape(-1, 2).T)
        contents = {}
        for code, name in enumerate(SPLITS):
            rows = np.flatnonzero(codes == code)
            image, audio = (
                None if self._unexamined or not has[rows, at].any() else digests[rows, at] for at in range(len(MEDIA))
            )
            if len(rows):
                contents[name] = contents_of(image, audio, places[rows], len(rows))
        return contents

    def _twins(self, group: list[int], ids: Mapping[int, str]) -> Twins:
        splits = {split_of_code(self._splits[row]) for row in group}
        return Twins(tuple(ids[row] for row in group), tuple(sorted(name for name in splits if name)))


def _has(found: Examined, medium: str) -> bool:
    return (found.image if medium == "image" else found.audio or found.spectrogram) is not None


def _equal_rows(numbers: NDArray[np.int64]) -> list[list[int]]:
    """Return the rows that share a number, ascending; groups in the order of their first rows, negative ones none."""
    order = np.argsort(numbers, kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
    return sorted(run.tolist() for run in runs if len(run) > 1 and numbers[run[0]] >= 0)


def _ids_of(source: Source, rows: set[int]) -> dict[int, str]:
    """Return the ids of some rows, from a second pass: hashes alone are kept in the first."""
    if not rows:
        return {}
    items = islice(items_skipping(source, lambda number, name: True), max(rows) + 1)
    return {row: item.id for row, item in enumerate(items) if row in rows}


def _named(found: Sequence[Problem | Note]) -> list[str]:
    lines = [f"    {item.id}: {item.detail}" for item in found[:SHOWN]]
    return lines + [f"    ... {len(found) - SHOWN} more"] * (len(found) > SHOWN)


def _counts(name: str, counts: Mapping[str, int]) -> list[str]:
    shown = [f"{value} ({count})" for value, count in islice(counts.items(), SHOWN)]
    shown += [f"... {len(counts) - SHOWN} more"] * (len(counts) > SHOWN)
    return [f"  {name}: {', '.join(shown)}"] if counts else []


def _twins(name: str, groups: list[Twins]) -> list[str]:
    if not groups:
        return []
    rows, leaks = sum(len(group.ids) for group in groups), sum(len(group.splits) > 1 for group in groups)
    lines = [f"  duplicate {name}: {rows} rows in {len(groups)} groups, {leaks} of them across splits"]
    lines += [
        f"    {', '.join(group.ids[:_TWINS_SHOWN])}{', ...' * (len(group.ids) > _TWINS_SHOWN)}"
        for group in groups[:_TWINS_SHOWN]
    ]
    return lines
