"""Data elsewhere: the Hugging Face hub by range requests, and packed tables in object stores."""

import io
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from earthtone.data.pair import clipped
from earthtone.errors import ConfigError, DataError

Result = TypeVar("Result")


def time_limited(seconds: float, work: Callable[[], Result], name: str) -> Result:
    """Return what `work` returns, or raise DataError after so many seconds; `work` is then left to itself."""
    answer: Future[Result] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()  # an executor would wait for it at the end of the process
    wait([answer], seconds)
    if not answer.done():
        raise DataError(f"{name}: no answer within {seconds:g} s; check the network, or download the data set first")
    return answer.result()


_LOG = logging.getLogger(__name__)

#: The hub as catalogues write it; HF_ENDPOINT takes its place.
HUB = "https://huggingface.co"


def hub_endpoint() -> str:
    """Return the address of the hub: HF_ENDPOINT where it is set, as for all tools of Hugging Face.

    Raises ConfigError for one with a password or a token in it: addresses are written beside the data and into
    messages.
    """
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:
        raise ConfigError(f"HF_ENDPOINT is no address ({error}); such as {HUB} expected") from error
    if "@" in parts.netloc or parts.query:
        raise ConfigError(
            "HF_ENDPOINT has a name, a password or a query in it, which would be written beside the data; an address "
            f"alone was expected, such as {HUB}"
        )
    return endpoint


def hub_token(endpoint: str) -> bool | None:
    """Return what the hub's client shall send: None for its own choice, False where it would go over plain http.

    A token that is withheld is logged: private and gated data sets are then refused.
    """
    if urlsplit(endpoint).scheme != "http":
        return None
    if _has_token():
        _LOG.warning("%s is plain http: the token is not sent; private and gated data need https://", endpoint)
    return False


def refuse_token_over_http() -> None:
    """Raise ConfigError where the hub's client, left to itself, would send a token over plain http."""
    endpoint = hub_endpoint()
    if urlsplit(endpoint).scheme == "http" and _has_token():
        raise ConfigError(
            f"HF_ENDPOINT is {endpoint}, and a token is never sent over plain http; set one of https://, or set "
            "HF_HUB_DISABLE_IMPLICIT_TOKEN=1"
        )


def _has_token() -> bool:
    """Return whether the hub's client has a token and sends it unasked."""
    from huggingface_hub import constants, get_token  # slow to import

    return not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and get_token() is not None


# Data sets on the Hugging Face hub, `hf://datasets/OWNER/NAME[@REVISION][/FOLDER]`, read by range requests.
PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://datasets/\w[\w.-]*/\w[\w.-]*(@[^/@]+)?(/[^@]*)?")
LISTING_SECONDS = 60.0  # the hub's client has no limit of its own for a listing
_WAITS = (1.0, 4.0)  # seconds before a block is asked for again; newer clients try again themselves as well
BLOCK_BYTES = 8 * 2**20
_BLOCKS = 8  # kept a file: columns of a row group are read in turn


def is_hub(data: object) -> bool:
    """Return whether `data` is an address on the hub rather than a path."""
    return str(data).startswith(PREFIX)


class HubFolder:
    """The files below an address, listed once. Raises DataError: one line, after a minute at most.

    The address of the hub is the variable HF_ENDPOINT, if it is set; private and gated sets are read with the token
    of `hf auth login` or HF_TOKEN, which goes over https alone.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        if not _ADDRESS.fullmatch(self.address):
            raise DataError(
                f"{clipped(address)}: no data set's address; hf://datasets/OWNER/NAME was expected, such as "
                "hf://datasets/MVRL/SoundingEarth, or hf://datasets/OWNER/NAME@REVISION/FOLDER"
            )
        from huggingface_hub import HfFileSystem  # slow to import

        # it would log its retries one by one; what fails in the end is our own line
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        # one worker: threads of its own would hold up the end of the process when the hub hangs
        endpoint = hub_endpoint()
        self._files = HfFileSystem(
            endpoint=endpoint, token=hub_token(endpoint), skip_instance_cache=True, max_workers=1,
            use_listings_cache=True,
        )  # fmt: skip
        self._sizes = time_limited(LISTING_SECONDS, self._listed, self.address)

    @property
    def names(self) -> list[str]:
        """The files' names, relative to the address, sorted."""
        return sorted(self._sizes)

    def open(self, name: str) -> io.RawIOBase:
        """Return a file for reading at any place; its errors are DataErrors that name it."""
        path = f"{self._root}/{name}"

        def fetch(start: int, size: int) -> bytes:
            with self._files.open(path, "rb", cache_type="none") as file:
                file.seek(start)
                return bytes(file.read(size))

        return BlockFile(f"{self.address}/{name}", self._sizes[name], fetch)

    def _listed(self) -> dict[str, int]:
        try:
            self._root = str(self._files.resolve_path(self.address).unresolve())
            found: Any = self._files.find(self.address, detail=True)
        except Exception as error:  # the hub's client has those of several libraries
            raise DataError(_refused(self.address, error)) from error
        return {name.removeprefix(f"{self._root}/"): int(entry["size"]) for name, entry in found.items()}


class BlockFile(io.RawIOBase):
    """A file of known size, fetched in blocks of which the latest stay in memory.

    By hand, since the files of fsspec and of the hub's client take an answer that is too short for the file's end.
    """

    def __init__(self, name: str, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._name, self._size, self._fetch = name, size, fetch
        self._at = 0
        self._block = lru_cache(_BLOCKS)(self._fetched)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self._size:
            number, offset = divmod(self._at, BLOCK_BYTES)
            piece = self._block(number)[offset : offset + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        return done

    def _fetched(self, number: int) -> bytes:
        start = number * BLOCK_BYTES
        size = min(BLOCK_BYTES, self._size - start)
        for pause in (*_WAITS, None):
            try:
                data = self._fetch(start, size)
                break
            except Exception as error:  # as above
                if pause is None or _status(error) is not None:
                    raise DataError(_refused(self._name, error)) from error
                time.sleep(pause)
        if len(data) != size:
            raise DataError(
                f"{self._name}: {len(data)} bytes came where {size} were asked for; repeat the command, or download "
                "the data set and name its folder"
            )
        return data


def _refused(name: str, error: Exception) -> str:
    """Return one line on what the hub's client said."""
    if isinstance(error, FileNotFoundError) and "not found" in str(error):
        return (
            f"{name}: no such data set or revision on the hub, or it is private (hf auth login); "
            "hf://datasets/OWNER/NAME[@REVISION] was expected"
        )
    status = _status(error)
    if status in (401, 403):
        return f"{name}: the hub refuses it ({status}); accept its terms on its page, then type: hf auth login"
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{name}: cannot be read ({reason[:200]}); check the network, or download the data set and name its folder"


def _status(error: Exception) -> int | None:
    """Return the status of an answer; None when there was none, as when the connection was lost."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


# Packed tables in object stores, `s3://`, `gs://` and `az://`, read by Lance; what it says of faults, in one line.
#
# Credentials and endpoints are in the environment variables of each store (docs/storage.md).

_CREDENTIALS = {
    "s3://": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs://": "GOOGLE_APPLICATION_CREDENTIALS",
    "az://": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
SCHEMES = tuple(_CREDENTIALS)
OPEN_SECONDS = 60.0  # Lance asks a silent store again and again: right for a training, not for its start
_FAULTS = (
    (r"credentials|token request|account name", "no credentials for its store; set {credentials} (docs/storage.md)"),
    (r"NoSuchBucket|NoSuchContainer|ContainerNotFound|bucket does not exist", "no such bucket"),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|AuthenticationFailed|ExpiredToken|status code: 40[13]",
        "its store refuses it; check {credentials}",
    ),
    (r"PermanentRedirect|AuthorizationHeaderMalformed|resolve region", "in another region; set AWS_REGION"),
    (r"builder error", "plain http is refused; where the endpoint is one of http://, set AWS_ALLOW_HTTP=true"),
    (
        r"error sending request|timed out|dns error|connect error",
        "its store does not answer; check the network, and AWS_ENDPOINT_URL where the store is not that of Amazon",
    ),
    (
        r"[Nn]ot ?[Ff]ound|status code: 404",
        "no packed table, or not all of it; pack on a disk, then copy the whole folder (aws s3 cp --recursive)",
    ),
)


def is_remote(data: object) -> bool:
    """Return whether `data` is an address in an object store rather than a path.

    Raises ConfigError, which does not show it, for one that carries keys: addresses are printed and written into runs.
    """
    remote = str(data).startswith(SCHEMES)
    if remote and re.search(r"://[^/]*:[^/]*@|\?", str(data)):
        raise ConfigError(
            "an address in an object store carries keys or a query; SCHEME://BUCKET/FOLDER was expected, and the keys "
            "in environment variables (docs/storage.md)"
        )
    return remote


def refuse_remote(path: object, advice: str) -> None:
    """Raise ConfigError where something would be written into an object store."""
    if is_remote(path):
        raise ConfigError(f"{path}: nothing is written into object stores; {advice}")


def last_part(path: object) -> str:
    """Return the last part of a path or an address."""
    return Path(str(path)).name


def open_remote(address: str) -> Any:
    """Return the Lance dataset at an address. Raises DataError: one line, after a minute at most."""
    import lance  # slow to import

    def dataset() -> Any:
        try:
            return lance.dataset(address)
        except (ValueError, OSError) as error:
            raise DataError(unreadable(address, error)) from error

    return time_limited(OPEN_SECONDS, dataset, address)


def unreadable(address: str, error: Exception) -> str:
    """Return one line on why something at an address cannot be read; Lance tells it in pages."""
    text = str(error)
    credentials = _CREDENTIALS[next(scheme for scheme in SCHEMES if address.startswith(scheme))]
    first = re.sub(r"\?\S*", "", text.splitlines()[0] if text else type(error).__name__)  # queries hold signatures
    found = (meaning.format(credentials=credentials) for pattern, meaning in _FAULTS if re.search(pattern, text))
    return f"{address}: {next(found, f'cannot be read ({first[:160]})')}"
