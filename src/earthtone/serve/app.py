"""The page's server: which addresses there are, and what they answer.

Answers are JSON but for media, points and the page itself; what is refused is `{"error": "one sentence"}`.
The parts are routers, each a function `routes(served, ...)` in its own module.
"""

import gzip
import hashlib
import mimetypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from earthtone import __version__
from earthtone.errors import EarthtoneError, one_line
from earthtone.exports.card import card_sections
from earthtone.serve import items, layers, queries
from earthtone.serve import telemetry as telling
from earthtone.serve.answers import REFUSALS, About
from earthtone.serve.guard import Guard, Rules, allowed_hosts, content_policy, is_loopback, refused, status_of
from earthtone.serve.media import Kept
from earthtone.serve.options import ServeOptions
from earthtone.serve.points import column_names, packed, points_of, read_column
from earthtone.serve.served import Served
from earthtone.serve.uploads import Uploads

PAGE = Path(str(files("earthtone.serve"))) / "page"
_TEXTS = (".css", ".html", ".js", ".json", ".mjs", ".svg", ".txt")
_FOREVER = "public, max-age=31536000, immutable"


def make_app(options: ServeOptions, token: str | None = None) -> FastAPI:
    """Return the application of one index; it lies in `app.state.served`. Raises EarthtoneError."""
    served = Served(options)
    app = FastAPI(
        title="Earthtone", version=__version__, description="Places and their sounds: an index of embeddings.",
        docs_url=None, redoc_url=None, responses=REFUSALS, redirect_slashes=False,
    )  # fmt: skip
    app.state.served = served
    telemetry = telling.Telemetry(served)
    app.state.telemetry = telemetry
    for router in _routers(served, telemetry):
        app.include_router(router)
    app.include_router(_page())
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(EarthtoneError, _wrong)
    proxied = bool(options.hosts or options.root_path or options.forwarded)
    rules = Rules(
        token=token,
        hosts=allowed_hosts(options.host, tuple(options.hosts)),
        proxied=proxied,
        forwarded=options.forwarded,
        apart=options.forwarded or not (proxied or is_loopback(options.host)),
        root_path=(options.root_path or "").rstrip("/"),
        upload_bytes=options.upload_mb * 2**20,
        patience=options.patience,
        policy=content_policy(options.basemap, tuple(options.frames)),
    )
    app.add_middleware(Guard, rules=rules, seen=telemetry.seen)
    return app


def _routers(served: Served, telemetry: telling.Telemetry) -> Sequence[APIRouter]:
    uploads = Uploads(served, served.worker)
    return [
        telling.routes(served, telemetry), _index(served), items.routes(served), _numbers(served),
        queries.routes(served, uploads), queries.marks_routes(served), layers.routes(served),
    ]  # fmt: skip


def _index(served: Served) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["index"])

    @router.get("/about")
    def about() -> About:
        """Tell what is served: rows, columns, model, limits, layers."""
        return served.about()

    @router.get("/card", response_class=PlainTextResponse)
    def card() -> str:
        """Return the model's card as text."""
        if served.model_state != "ready":
            raise refused(404, f"no model is open here ({served.model_missing or 'it is being loaded'})")
        held = served.index.model().card
        kept = held.get("license")
        title = f"# {one_line(served.model_name, 120)}"
        return "\n".join([title, "", *card_sections(held, kept if isinstance(kept, str) else None)]) + "\n"

    return router


# All rows as numbers: made once, sent packed.

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


def _numbers(served: Served) -> APIRouter:
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
        return answered(request, "points", lambda: points_of(served.table, served.index.catalogue.media))

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


# The page itself: files of the package, found by name in a list, so that no path leads out of the folder.


@dataclass(frozen=True)
class _PageFile:
    data: bytes
    kind: str
    tag: str
    packed: bytes | None
    """With gzip, of texts."""


def _page_files() -> dict[str, _PageFile]:
    found = {}
    for path in sorted(PAGE.rglob("*")) if PAGE.is_dir() else ():
        if path.is_file():
            data = path.read_bytes()
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            kind = "text/javascript" if path.suffix in (".js", ".mjs") else kind
            packed = gzip.compress(data, 6, mtime=0) if path.suffix in _TEXTS else None
            tag = hashlib.blake2b(data, digest_size=8).hexdigest()
            found[path.relative_to(PAGE).as_posix()] = _PageFile(data, kind, f'"{tag}"', packed)
    return found


def _page() -> APIRouter:
    router, known = APIRouter(include_in_schema=False), _page_files()

    @router.api_route("/{name:path}", methods=["GET", "HEAD"])
    async def page(name: str, request: Request) -> Response:
        found = known.get(name or "index.html")
        if found is None:
            raise refused(404, f"nothing is at {name!r:.80}; the page is at ./, what it can be asked at openapi.json")
        headers = {"ETag": found.tag, "Vary": "Accept-Encoding"}
        headers["Cache-Control"] = _FOREVER if name.startswith("assets/") else "no-cache"
        if found.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if found.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(found.packed, media_type=found.kind, headers=headers)
        return Response(found.data, media_type=found.kind, headers=headers)

    return router


# Errors.


def _error(status: int, sentence: str, headers: object = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, dict(headers) if isinstance(headers, dict) else None)


async def _refusal(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    said = str(getattr(error, "detail", ""))
    if status == 404 and said == "Not Found":
        said = "nothing is at this address; what there is stands in openapi.json"
    if status == 405:
        said = "this address is asked in another way (GET or POST); openapi.json tells which"
    return _error(status, said, getattr(error, "headers", None))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as it is registered
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    more = len(error.errors()) - 1
    said = (
        f"{where or 'the request'}: {first['msg']}{f' (and {more} more)' if more else ''}; openapi.json tells the form"
    )
    return _error(422, one_line(said, 600))


async def _wrong(request: Request, error: Exception) -> Response:
    assert isinstance(error, EarthtoneError)  # noqa: S101 - as it is registered
    served: Served = request.app.state.served
    return _error(status_of(error), one_line(served.without_folders(str(error)), 2000))
