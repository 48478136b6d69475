"""The addresses of one row: what it is, its picture, its sound by ranges, its waveform and spectrogram."""

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as InPath
from fastapi.responses import Response, StreamingResponse

from earthtone.errors import EarthtoneError, one_line
from earthtone.serve.answers import Item, Peaks
from earthtone.serve.guard import refused
from earthtone.serve.media import POINTS, SIZES, Media, Source, told_place
from earthtone.serve.served import Served

_PART = 2**18  # bytes of a file that are read at once
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_KEPT = "private, max-age=300"
Row = Annotated[int, InPath(ge=0, le=2**53, description="number of the row in the index")]


def _binary(*kinds: str) -> dict[int | str, dict[str, Any]]:
    form = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": dict.fromkeys(kinds, form)}, 304: {"description": "as it was"}}


def routes(served: Served) -> APIRouter:
    """Return what is asked of single rows."""
    router = APIRouter(prefix="/api/items", tags=["items"])
    store = served.media

    def of(row: int, modality: str) -> Media:
        if row >= len(served.table):
            raise refused(404, f"the index has rows 0 to {len(served.table) - 1}; one of these expected")
        found = served.media_of(row)
        if found.modality != modality:
            there, wanted = ("a picture", "a sound") if modality == "audio" else ("a sound", "a picture")
            raise refused(404, f"row {row} is {there}, and {wanted} was asked for")
        return found

    @router.get("/{row}")
    def item(row: Row) -> Item:
        """Return one row as the page shows it."""
        if row >= len(served.table):
            raise refused(404, f"the index has rows 0 to {len(served.table) - 1}; one of these expected")
        return served.items([row])[0]

    @router.get("/{row}/picture", response_class=Response, responses=_binary("image/jpeg", "image/png"))
    def picture(row: Row, request: Request, size: Annotated[int, Query(ge=SIZES[0], le=SIZES[1])] = 256) -> Response:
        """Return a tile or picture, its longer side `size` pixels at most; what has no data is transparent."""
        media = of(row, "image")
        with _without_folders(media):
            data, kind = store.picture(media, size)
        return _made(request, data, kind)

    @router.get(
        "/{row}/sound",
        response_class=Response,
        responses={206: {"description": "the part that was asked for"}, **_binary("audio/wav", "audio/flac")},
    )
    def sound(row: Row, request: Request) -> Response:
        """Return the whole recording that the row is of, or the part that Range asks for."""
        media = of(row, "audio")
        with _without_folders(media):
            found = store.sound(media)
        return ranged(request, found.source, found.kind)

    @router.get("/{row}/peaks")
    def peaks(row: Row, points: Annotated[int, Query(ge=10, le=POINTS)] = 2000) -> Peaks:
        """Return the waveform of the whole recording."""
        media = of(row, "audio")
        with _without_folders(media):
            return store.view(media).peaks(points)

    @router.get("/{row}/spectrogram", response_class=Response, responses=_binary("image/png"))
    def spectrogram(row: Row, request: Request) -> Response:
        """Return the spectrogram of the whole recording: time to the right, mel upwards between the edges in X-Hz."""
        media = of(row, "audio")
        with _without_folders(media):
            view = store.view(media)
        told = {"X-Seconds": f"{view.seconds:.3f}", "X-Hz": f"{view.hz[0]:g}-{view.hz[1]:g}", "X-Scale": "mel"}
        return _made(request, view.spectrogram, "image/png", told)

    return router


@contextmanager
def _without_folders(media: Media) -> Iterator[None]:
    """Tell what is wrong with a file without telling where it lies."""
    try:
        yield
    except EarthtoneError as error:
        text, path = str(error), media.media or ""
        for whole in (path, path.rpartition("#")[0]):
            text = text.replace(whole, told_place(whole)) if whole else text
        for folder in (str(Path(path).parent), tempfile.gettempdir()):
            text = text.replace(f"{folder}/", "") if len(folder) > 1 else text
        raise refused(422, one_line(text, 600)) from error


def _made(request: Request, data: bytes, kind: str, told: Mapping[str, str] | None = None) -> Response:
    tag = f'"{hashlib.blake2b(data, digest_size=8).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": _KEPT, **(told or {})}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=kind, headers=headers)


def ranged(request: Request, source: Source, kind: str) -> Response:
    """Return a file, or bytes, whole or the one range that is asked for (RFC 9110); several ranges: whole.

    Raises HTTPException 416 for a range beyond the end.
    """
    if isinstance(source, bytes):
        size, tag = len(source), hashlib.blake2b(source, digest_size=8).hexdigest()
    else:
        state = source.stat()
        size, tag = state.st_size, f"{state.st_mtime_ns:x}-{state.st_size:x}"
    headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", "Cache-Control": _KEPT}
    if f'"{tag}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    start, end = 0, size
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if asked is not None and (asked[1] or asked[2]) and request.headers.get("if-range", f'"{tag}"') == f'"{tag}"':
        start, end = (int(asked[1]), size) if asked[1] else (max(0, size - int(asked[2])), size)
        if asked[1] and asked[2]:
            end = min(size, int(asked[2]) + 1)
        if start >= size or end <= start:
            error = refused(416, f"bytes {asked[0][6:]} of a sound of {size} bytes; a range within it expected")
            error.headers = {"Content-Range": f"bytes */{size}"}
            raise error
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 206 if "Content-Range" in headers else 200
    headers["Content-Length"] = str(end - start)
    if isinstance(source, bytes):
        return Response(source[start:end], status, headers, kind)
    return StreamingResponse(_parts(source, start, end - start), status, headers, kind)


def _parts(path: Path, start: int, count: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while count > 0 and (part := file.read(min(_PART, count))):
            count -= len(part)
            yield part
