"""Data sets on the Hugging Face hub, `hf://datasets/OWNER/NAME[@REVISION][/FOLDER]`, read by range requests."""

import io
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from earthtone.data.cell import clipped
from earthtone.data.hub_endpoint import hub_endpoint, hub_token
from earthtone.data.time_limit import within
from earthtone.errors import DataError

PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://datasets/\w[\w.-]*/\w[\w.-]*(@[^/@]+)?(/[^@]*)?")
_LISTING_SECONDS = 60.0  # the hub's client has no limit of its own for a listing
_WAITS = (1.0, 4.0)  # seconds before a block is asked for again; newer clients try again themselves as well
_BLOCK = 8 * 2**20
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

        # its retries would be told one by one; what fails in the end is our own line
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        # one worker: threads of its own would hold up the end of the process when the hub hangs
        endpoint = hub_endpoint()
        self._files = HfFileSystem(
            endpoint=endpoint, token=hub_token(endpoint), skip_instance_cache=True, max_workers=1,
            use_listings_cache=True,
        )  # fmt: skip
        self._sizes = within(_LISTING_SECONDS, self._listed, self.address)

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

        return _BlockFile(f"{self.address}/{name}", self._sizes[name], fetch)

    def _listed(self) -> dict[str, int]:
        try:
            self._root = str(self._files.resolve_path(self.address).unresolve())
            found: Any = self._files.find(self.address, detail=True)
        except Exception as error:  # the hub's client has those of several libraries
            raise DataError(_refused(self.address, error)) from error
        return {name.removeprefix(f"{self._root}/"): int(entry["size"]) for name, entry in found.items()}


class _BlockFile(io.RawIOBase):
    """A file of known size, fetched in blocks; the latest stay in memory."""

    def __init__(self, name: str, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._name = name
        self._size = size
        self._fetch = fetch
        self._place = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._place < self._size:
            number, offset = divmod(self._place, _BLOCK)
            piece = self._block(number)[offset : offset + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._place += len(piece)
        return done

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._blocks[number] = self._fetched(number)
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetched(self, number: int) -> bytes:
        start = number * _BLOCK
        size = min(_BLOCK, self._size - start)
        for wait in (*_WAITS, None):
            try:
                data = self._fetch(start, size)
                break
            except Exception as error:  # as above
                if wait is None or _status(error) is not None:
                    raise DataError(_refused(self._name, error)) from error
                time.sleep(wait)
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
