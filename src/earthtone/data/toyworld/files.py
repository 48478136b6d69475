"""PNG, WAV and GeoTIFF files; PNG and WAV have the same bytes whatever libraries are installed."""

import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from earthtone.atomic import atomic_path
from earthtone.data.toyworld.ground import degrees_per_metre

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
