"""All points as numbers: where each row lies on the map and on the plane, and its columns; made once, sent packed."""

import gzip
import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from fastapi.responses import Response
from numpy.typing import NDArray

from earthtone.errors import one_line
from earthtone.serve.columns import column_names, places, read_column
from earthtone.serve.guard import refused
from earthtone.serve.kept import Kept
from earthtone.serve.served import Served

MAGIC = b"ETP1"
_TYPES = {"<f4": "f4", "|u1": "u1", "<u2": "u2", "<u4": "u4"}
_MOST_BYTES = 2**28  # of answers that are kept
_FORM = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    "description": "ETP1, uint32 length of a JSON head, the head, arrays; all little-endian (docs/serving-api.md)",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {200: _FORM, 304: {"description": "as it was"}}


@dataclass(frozen=True)
class _Answer:
    plain: bytes
    packed: bytes
    """With gzip."""
    tag: str


def packed(rows: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as one answer: ETP1, uint32 length of the head, the head as JSON, the arrays.

    The head is {"rows": n, "arrays": [{"name", "dtype": f4, u1, u2 or u4, "offset": bytes from the very beginning, a
    multiple of 8, "length": numbers}]}; all numbers are little-endian.
    """
    flat = {name: np.ascontiguousarray(values, values.dtype.newbyteorder("<")) for name, values in arrays.items()}
    described = [
        {"name": name, "dtype": _TYPES[values.dtype.str], "offset": 0, "length": len(values)}
        for name, values in flat.items()
    ]
    room = len(json.dumps({"rows": rows, "arrays": described})) + 24 * len(flat) + 16  # offsets are not known yet
    start = -(-(8 + room) // 8) * 8
    at = start
    for told, values in zip(described, flat.values(), strict=True):
        told["offset"] = at
        at += -(-values.nbytes // 8) * 8
    head = json.dumps({"rows": rows, "arrays": described}).encode()
    head += b" " * (start - 8 - len(head))
    parts = [MAGIC, len(head).to_bytes(4, "little"), head]
    for values in flat.values():
        parts += [values.tobytes(), bytes(-values.nbytes % 8)]
    return b"".join(parts)


def points_of(served: Served) -> bytes:
    """Return longitude, latitude (NaN where there is none), x, y, and 0 for images and 1 for sounds, of all rows."""
    table, count = served.table, len(served.table)
    east, north = places(table)
    around = np.where((east < -180) | (east > 180), (east + 180) % 360 - 180, east)
    arrays = {"lon": around.astype(np.float32), "lat": north.astype(np.float32)}
    if served.has_plane:
        plane = table.columns(["x", "y"])
        arrays |= {name: plane[name].to_numpy().astype(np.float32) for name in ("x", "y")}
    else:
        arrays |= {name: np.full(count, np.nan, np.float32) for name in ("x", "y")}
    modality = np.zeros(count, np.uint8)
    for name, rows in served.index.catalogue.media.items():
        modality[rows] = name == "audio"
    return packed(count, {**arrays, "modality": modality})


def routes(served: Served) -> APIRouter:
    """Return the points and their columns."""
    router = APIRouter(prefix="/api", tags=["index"])
    kept: Kept[_Answer] = Kept(_MOST_BYTES, lambda answer: len(answer.plain) + len(answer.packed))
    making = threading.Semaphore(2)

    def answered(request: Request, name: str, make: Callable[[], bytes]) -> Response:
        def made() -> _Answer:
            with making:
                plain = make()
                tag = hashlib.blake2b(plain, digest_size=8).hexdigest()
                return _Answer(plain, gzip.compress(plain, 1, mtime=0), f'"{tag}"')

        found = kept.get(name, made)
        headers = {"ETag": found.tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
        if found.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(found.packed, media_type="application/octet-stream", headers=headers)
        return Response(found.plain, media_type="application/octet-stream", headers=headers)

    @router.get("/points", response_class=Response, responses=_RESPONSES)
    def points(request: Request) -> Response:
        """Return where all rows lie: lon, lat, x, y (f4, NaN where there is none) and modality (u1, 1 is a sound)."""
        return answered(request, "points", lambda: points_of(served))

    @router.get("/columns/{name}", response_class=Response, responses=_RESPONSES)
    def column(request: Request, name: Annotated[str, InPath(max_length=200)]) -> Response:
        """Return `values` of a column: codes (u2; 65535 is none), or numbers (f4; of a time days since 1970)."""
        if name not in column_names(served.table):
            raise refused(404, f"column {one_line(name, 80)!r} is none of api/about's; one of these expected")
        found = read_column(served.table, name)
        if found is None:
            raise refused(404, f"column {one_line(name, 80)!r} is empty or has too many values; another one expected")
        array = found.array
        return answered(request, f"column {name}", lambda: packed(len(array), {"values": array}))

    return router
