"""A folder with the media of hits: sounds cut to their windows, tiles read from their rasters, other files copied."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from earthtone.atlas.hits import Hit, SearchResult, csv_of, geojson_of, json_of
from earthtone.data.packed import Table
from earthtone.encode.store import content_fingerprint
from earthtone.errors import DataError, EarthtoneError, needed_by, one_line
from earthtone.files import regular_file, wait_for_disk, write_text_atomic
from earthtone.geo import says_crs
from earthtone.pages import csv_text
from earthtone.signal.audio import probe_audio
from earthtone.signal.image import picture_header
from earthtone.signal.raster import warnings_as
from earthtone.signal.sound_streams import Block, source_name, streams

_FLAC_CHANNELS, _FLAC_HZ = 8, 655_350  # the most that FLAC has
_LONGEST_NAME = 60
_MOST_PIXELS = 4096  # a side of a tile that is cut out
RASTERS = (".tif", ".tiff", ".vrt", ".jp2")  # what tiles are cut from
CREDITS = "credits.csv"


@dataclass(frozen=True)
class Clip:
    """The file of one hit in the folder, or why there is none."""

    file: str | None
    said: str
    """What it is, or what lacks: `cut`, `copied`, `missing: ...`."""


def write_folder(result: SearchResult, folder: Path) -> Iterator[str]:
    """Write media, hits.csv, hits.json, hits.geojson and credits.csv into a new folder; yield what is said of it.

    The folder has its name once all is in it. A hit whose media cannot be had is listed, and says so.
    Raises DataError where it cannot be written.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - without following links
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir(parents=True)
        clips = {hit.rank: _clip(hit, temporary) for hit in result.hits}
        more = {rank: {"file": clip.file or "", "media_state": clip.said} for rank, clip in clips.items()}
        write_text_atomic(temporary / "hits.csv", csv_of(result, more))
        write_text_atomic(temporary / "hits.json", json_of(result))
        write_text_atomic(temporary / "hits.geojson", geojson_of(result))
        write_text_atomic(temporary / CREDITS, _credits(result, clips))
        wait_for_disk(*(path for path in temporary.iterdir()), temporary)
        if folder.is_dir():
            folder.rmdir()  # an empty one: `check_out`
        temporary.rename(folder)
        wait_for_disk(folder.parent)
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}; choose another --out or free the disk"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    there = sum(clip.file is not None for clip in clips.values())
    yield f"{folder}: {len(result.hits)} hits, {there} with their media"
    for hit in result.hits:
        if clips[hit.rank].file is None:
            yield f"{hit.rank}, {one_line(hit.key, 80)}: {clips[hit.rank].said}"


def _credits(result: SearchResult, clips: dict[int, Clip]) -> str:
    columns = ("file", "id", "license", "attribution", "source", "media")
    rows = [
        {"file": clips[hit.rank].file or "", **{name: getattr(hit, name) or "" for name in columns[1:]}}
        for hit in result.hits
    ]
    return csv_text(columns, rows)


def _clip(hit: Hit, folder: Path) -> Clip:
    """Write the media of one hit."""
    stem = folder / f"{hit.rank:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', hit.id)[:_LONGEST_NAME].strip('.')}"
    if hit.media is None:
        return Clip(None, "missing: the index does not tell where its media lie")
    if "://" in hit.media:
        return Clip(None, f"not fetched: its media lie at {one_line(hit.media, 200)}")
    table, _, name = hit.media.rpartition("#")
    try:
        if Path(table).suffix == ".lance" and Path(table).is_dir():
            return _of_packed(hit, Table(table), name, stem)
        if Path(table).is_file() and not Path(hit.media).exists():
            return Clip(None, f"not cut out: its media lie within {one_line(table, 200)}")
        try:
            source = regular_file(hit.media)
        except OSError as error:
            return Clip(None, f"missing: {one_line(hit.media, 200)} ({error.strerror or error})")
        return _of_file(hit, source, stem)
    except EarthtoneError as error:
        return Clip(None, f"cannot be read: {one_line(str(error), 300)}")


def _of_file(hit: Hit, source: Path, stem: Path) -> Clip:
    known = hit.file_fingerprint in (None, content_fingerprint(source))
    changed = "" if known else ", but the file has changed since it was embedded"
    if hit.modality == "audio" and hit.start_s is not None:
        return Clip(write_cut(source, stem, hit.start_s, hit.seconds).name, f"cut{changed}")
    if hit.modality == "image" and hit.bounds is not None and source.suffix.lower() in RASTERS:
        return Clip(write_tile(source, stem, hit.bounds, hit.crs).name, f"cut{changed}")
    # an index names any file: what is no picture and no sound is nobody's hit
    picture_header(source) if hit.modality == "image" else probe_audio(source)
    suffix = source.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", source.suffix) else ""
    file = Path(f"{stem}{suffix}")
    shutil.copyfile(source, file)
    return Clip(file.name, f"copied{changed}")


def _of_packed(hit: Hit, table: Table, name: str, stem: Path) -> Clip:
    """Write the tile that a packed table keeps, or what it keeps of a recording: the beginning, for listening."""
    ids = table.column("id")
    if name not in ids:
        return Clip(None, f"missing: {table.path} has no row {one_line(name, 80)!r}")
    row = ids.index(name)
    if hit.modality == "image":
        if not table.has("image")[row]:
            return Clip(None, "missing: the packed table keeps no image of this row")
        Path(f"{stem}.jpg").write_bytes(table.images([row])[0])
        return Clip(f"{stem.name}.jpg", "the tile that the packed table keeps")
    preview = table.records([row], ["audio_preview"])[0]["audio_preview"]
    if preview is None:
        return Clip(None, "missing: the packed table keeps no sound to be heard")
    if hit.start_s is None:
        Path(f"{stem}.ogg").write_bytes(preview)
        return Clip(f"{stem.name}.ogg", "the beginning that the packed table keeps")
    kept = probe_audio(preview).seconds
    if hit.start_s + (hit.seconds or 0.0) > kept + 0.1:
        return Clip(None, f"missing: the packed table keeps the first {kept:.0f} s of the recording alone")
    return Clip(write_cut(preview, stem, hit.start_s, hit.seconds).name, "cut")


def write_cut(source: Path | bytes, stem: Path, start_s: float, seconds: float | None) -> Path:
    """Write a part of a recording, with all its channels at its own rate, and return the file.

    FLAC of 24 bits, or WAV of floats where FLAC has not so many channels or samples a second. The file is decoded from
    its beginning, as embedding heard it. Raises SignalError; DataError where the part lies beyond its end.
    """
    openers, _ = streams(source)
    end = None if seconds is None else start_s + seconds
    clock, out = 0.0, None
    try:
        for opener in openers:
            stream = opener()
            heard = 0
            try:
                first = round((start_s - clock) * stream.hz)
                last = None if end is None else round((end - clock) * stream.hz)
                for block in stream.blocks():
                    part = block[max(0, first - heard) : None if last is None else max(0, last - heard)]
                    heard += len(block)
                    if len(part):
                        out = out or _writer(stem, stream.hz, stream.channels)
                        if (out.samplerate, out.channels) != (stream.hz, stream.channels):
                            raise DataError(f"{source_name(source)}: the part lies in two streams of different kinds")
                        _write(out, part)
                    if last is not None and heard >= last:
                        break
            finally:
                stream.close()
            clock += heard / stream.hz
            if end is not None and clock >= end:
                break
    finally:
        if out is not None:
            out.close()
    if out is None:
        raise DataError(
            f"{source_name(source)}: it ends at {clock:.2f} s, before the part at {start_s:g} s; it is another file now"
        )
    return Path(out.name)


def _writer(stem: Path, hz: int, channels: int) -> soundfile.SoundFile:
    if channels <= _FLAC_CHANNELS and hz <= _FLAC_HZ:
        return soundfile.SoundFile(f"{stem}.flac", "w", hz, channels, format="FLAC", subtype="PCM_24")
    return soundfile.SoundFile(f"{stem}.wav", "w", hz, channels, format="WAV", subtype="FLOAT")


def _write(out: soundfile.SoundFile, part: Block) -> None:
    try:
        out.write(np.clip(part, -1.0, 1.0) if out.format == "FLAC" else part)
    except (soundfile.SoundFileError, AssertionError) as error:  # the latter: fewer samples were written
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), out.name) from error


def write_tile(source: Path, stem: Path, bounds: tuple[float, float, float, float], crs: str | None) -> Path:
    """Write the part of a raster within west, south, east, north of `crs` as GeoTIFF, and return the file.

    All bands as they are, at the raster's own resolution where it lies in `crs` north up, else warped to it; at most
    4,096 pixels a side. Raises DataError, also for a picture without a place.
    """
    with needed_by(str(source)):
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
        from rasterio.transform import from_bounds
        from rasterio.vrt import WarpedVRT
        from rasterio.windows import from_bounds as window_of

        from earthtone.build.imagery import GDAL_SETTINGS, driver_of, refuse_foreign_overviews
    try:
        with (
            warnings_as("ignore", NotGeoreferencedWarning),
            rasterio.Env(**GDAL_SETTINGS),
            rasterio.open(source, driver=driver_of(source)) as raster,
        ):
            refuse_foreign_overviews(raster, source)
            if raster.crs is None or raster.transform.is_identity:
                raise DataError(f"{source}: it has no place, and its tile has: it is another file now")
            if crs is not None and not says_crs(crs):
                raise DataError(
                    f"{source}: its tile is of the CRS {one_line(crs, 60)!r}, which is none: a damaged table"
                )
            wanted = raster.crs if crs is None else rasterio.crs.CRS.from_user_input(crs)
            with WarpedVRT(raster, crs=wanted) as north_up:
                window = window_of(*bounds, transform=north_up.transform)
                outside = _outside(window, north_up.height, north_up.width)
            width, height = (max(1, min(_MOST_PIXELS, round(side))) for side in (window.width, window.height))
            if outside:
                raise DataError(f"{source}: the tile {bounds} lies outside of it: it is another file now")
            grid = from_bounds(*bounds, width, height)
            with WarpedVRT(raster, crs=wanted, transform=grid, width=width, height=height) as view:
                values: NDArray[Any] = view.read()
                profile = {
                    "driver": "GTiff", "width": width, "height": height, "count": view.count, "crs": wanted,
                    "dtype": view.dtypes[0], "transform": grid, "nodata": view.nodata, "compress": "deflate",
                }  # fmt: skip
                with rasterio.open(f"{stem}.tif", "w", **profile) as out:
                    out.colorinterp = view.colorinterp
                    out.write(values)
        return Path(f"{stem}.tif")
    except (RasterioError, ValueError) as error:
        raise DataError(f"{source}: {one_line(' '.join(str(error).split()), 200)}") from error


def _outside(window: Any, height: int, width: int) -> bool:
    return bool(
        window.col_off >= width or window.row_off >= height
        or window.col_off + window.width <= 0 or window.row_off + window.height <= 0
    )  # fmt: skip
