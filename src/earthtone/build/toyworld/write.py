"""A toy world as files: manifest, pictures, recordings and truth, any number of rows."""

import csv
import json
import multiprocessing
import struct
import wave
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from earthtone.build.toyworld.land import LAND_COVER, degrees_per_metre
from earthtone.build.toyworld.noise import Stream, key_of
from earthtone.build.toyworld.planet import Planet, check_sound, check_square, split_of, spot
from earthtone.errors import ConfigError, DataError
from earthtone.files import atomic_path, only_writer, write_text_atomic
from earthtone.options import ToyworldOptions
from earthtone.processors import usable_processors
from earthtone.progress import ordered_map
from earthtone.value_types import takes

# PNG and WAV by hand: they have the same bytes whatever libraries are installed.

_STORED_BYTES = 65_535


def write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write 8-bit grey (rows, columns) or RGB (rows, columns, 3), not compressed: bytes depend on the pixels only."""
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    rows = np.zeros((height, 1 + pixels[0].size), dtype=np.uint8)  # each row begins with filter 0
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", _stored(rows.tobytes())), _chunk(b"IEND", b""))
    with atomic_path(path, sync=False) as temporary:
        temporary.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _stored(data: bytes) -> bytes:
    """Return a zlib stream of stored blocks (RFC 1950, RFC 1951 section 3.2.4)."""
    parts = [b"\x78\x01"]
    for start in range(0, len(data), _STORED_BYTES):
        block = data[start : start + _STORED_BYTES]
        last = start + _STORED_BYTES >= len(data)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join(parts) + struct.pack(">I", zlib.adler32(data))


def write_wav(path: Path, samples: npt.NDArray[np.int16], hz: int) -> None:
    """Write mono 16-bit PCM."""
    with atomic_path(path, sync=False) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(hz)
        file.writeframes(samples.astype("<i2").tobytes())


def write_geotiff(path: Path, pixels: npt.NDArray[np.uint8], longitude: float, latitude: float, size_m: float) -> None:
    """Write grey or RGB as a GeoTIFF in EPSG:4326, centred on the place, north up."""
    import rasterio
    from rasterio.transform import from_bounds

    bands = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    count, height, width = bands.shape
    east, north = (size_m / 2 * degrees for degrees in degrees_per_metre(latitude))
    transform = from_bounds(longitude - east, latitude - north, longitude + east, latitude + north, width, height)
    profile: dict[str, Any] = {
        "driver": "GTiff", "width": width, "height": height, "count": count, "dtype": "uint8", "crs": "EPSG:4326",
        "transform": transform, "photometric": "RGB" if count == 3 else "MINISBLACK",
    }  # fmt: skip
    with atomic_path(path, sync=False) as temporary, rasterio.open(temporary, "w", **profile) as file:
        file.write(bands)


README = """\
This folder is SYNTHETIC. It was computed by `earthtone toyworld`: a procedural planet with painted pictures and
synthesised sounds. Nothing in it was photographed or recorded; no place in it exists. Use it to test and to learn
the tools, and never present it, or a result on it, as real data.

manifest.csv  one row a pair; `land_cover` is the scene's true class, `split` is by blocks of one degree
images/       RGB pictures, north up
audio/        mono recordings, 16-bit PCM
masks/        (when asked for) the true class of each pixel, grey values:
"""

#: Below this many rows, starting worker processes takes longer than it saves.
_FEW_ROWS = 200


#: What a folder holds rows of one world by; written beside them.
_WORLD = ("seed", "pixels", "size_m", "seconds", "hz", "masks", "geotiff")


@takes(ToyworldOptions)
def write_toyworld(options: ToyworldOptions) -> Path:
    """Write rows `start` ... `start + rows - 1` of a toy world to a folder and return the path of its manifest.

    Row i depends on the seed, i and the sizes only, not on how many `workers` write (null: one a processor; one for
    few rows). Files of an interrupted run are kept, and the run goes on. The manifest comes last: where it exists,
    everything it names does. Several processes need a main module that can be imported
    (`if __name__ == "__main__":` in scripts).

    Raises ConfigError for options that make no sense, DataError when the folder holds another toy world, is in use
    or cannot be written.
    """
    _check(options)
    out = Path(options.out)
    with _only_writer(out, options):
        write_text_atomic(out / "README.txt", README + "".join(f"  {k:2d} {v}\n" for k, v in enumerate(LAND_COVER)))
        with atomic_path(out / "manifest.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            for done, row in enumerate(_rows(options), 1):
                if done == 1:
                    table.writerow(row)
                table.writerow(row.values())
                if options.progress is not None:
                    options.progress(done, options.rows)
    return out / "manifest.csv"


def _check(options: ToyworldOptions) -> None:
    if options.size_m > 2_000.0:
        raise ConfigError(f"size_m is {options.size_m:g}; tiles of a written toy world are at most 2000 m wide")
    if options.pixels < 16:
        raise ConfigError(f"pixels is {options.pixels}; a tile needs at least 16")
    check_square(0.0, 0.0, options.size_m, options.pixels)
    check_sound(0.0, options.seconds, options.hz)


@contextmanager
def _only_writer(out: Path, options: ToyworldOptions) -> Iterator[None]:
    """Hold a folder for one toy world: refuse another world's folder or another writer, drop half-written files."""
    settings = out / "toyworld.json"
    foreign = [name for name in ("manifest.csv", "README.txt", "images", "audio") if (out / name).exists()]
    if foreign and not settings.exists():
        raise DataError(f"{out} holds {foreign[0]!r}, which is no toy world's; choose another --out")
    world = {"synthetic": True, **{name: getattr(options, name) for name in _WORLD}}
    world |= {"size_m": float(options.size_m), "seconds": float(options.seconds)}
    mine = json.dumps(world, indent=1) + "\n"
    with only_writer(out, "writing a toy world", "images", "audio", "masks"):
        theirs = settings.read_text(encoding="utf-8") if settings.exists() else mine
        if theirs != mine:
            raise DataError(
                f"{out} holds another toy world: {' '.join(theirs.split())} instead of {' '.join(mine.split())}; "
                "choose another --out or give the same options"
            )
        write_text_atomic(settings, mine)
        yield


def _rows(options: ToyworldOptions) -> Iterator[dict[str, str]]:
    """Yield the manifest's rows in order; at most a few rows a worker are under way."""
    numbers = range(options.start, options.start + options.rows)
    workers = options.workers or (1 if len(numbers) < _FEW_ROWS else usable_processors())
    if workers == 1:
        for number in numbers:
            yield _write_row(options, number)
        return
    # Spawned, not forked: the caller may hold threads (torch, lance).
    pool = ProcessPoolExecutor(min(workers, len(numbers)), multiprocessing.get_context("spawn"))
    try:
        yield from ordered_map(partial(_write_row, replace(options, progress=None)), numbers, workers, pool=pool)
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process of the toy world ended early (out of memory, or a script whose main module cannot be "
            'imported: put the call under `if __name__ == "__main__":`); or give workers=1. '
            "The files written so far are kept and reused"
        ) from error


def _write_row(options: ToyworldOptions, number: int) -> dict[str, str]:
    """Write the files of one row that are missing and return its line of the manifest."""
    planet = Planet(options.seed)
    place = spot(planet, number, options.size_m)
    when = Stream(options.seed, "when", number)
    minute = when.below(24 * 60)
    local = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=when.below(731), minutes=minute)
    name = f"toy-{options.seed}-{number:08d}"
    kind = "tif" if options.geotiff else "png"
    row = {
        "id": name,
        "image": f"images/{name}.{kind}",
        "audio": f"audio/{name}.wav",
        "longitude": f"{place.longitude:.6f}",
        "latitude": f"{place.latitude:.6f}",
        "datetime": (local - timedelta(minutes=round(place.longitude * 4))).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "image_gsd_m": repr(options.size_m / options.pixels),
        "source": "toyworld",
        "license": "CC0-1.0",
        "attribution": "synthetic, computed by earthtone toyworld",
        "split": split_of(options.seed, place.longitude, place.latitude),
        "land_cover": place.label,
        "hour": f"{minute / 60:.2f}",
    }
    if options.masks:
        row["mask"] = f"masks/{name}.{kind}"
    _write_files(options, planet, row, key_of(options.seed, "row", number), minute / 60)
    return row


def _write_files(options: ToyworldOptions, planet: Planet, row: dict[str, str], key: int, hour: float) -> None:
    out, longitude, latitude = Path(options.out), float(row["longitude"]), float(row["latitude"])
    pictures = [out / row[name] for name in ("image", "mask") if name in row]
    if not all(path.exists() for path in pictures):
        tile, cover = planet.tile_and_cover(longitude, latitude, options.size_m, options.pixels, key)
        for path, picture in zip(pictures, (tile, cover), strict=False):
            if options.geotiff:
                write_geotiff(path, picture, longitude, latitude, options.size_m)
            else:
                write_png(path, picture)
    audio = out / row["audio"]
    if not audio.exists():
        samples = planet.soundscape(longitude, latitude, hour=hour, seconds=options.seconds, hz=options.hz, seed=key)
        write_wav(audio, samples, options.hz)
