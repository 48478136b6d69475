"""A file on a host that GDAL reads by pieces, through our own client and not through GDAL's.

So a host is asked at its rate and again after a fault, redirects follow our rules, an address that expires is renewed,
and nothing but http and https is opened, whatever GDAL would make of a name.
"""

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from earthtone.build.web import Web, shown_url
from earthtone.errors import DataError
from earthtone.progress import size_text

_PIECE = 2**17
_MOST_AT_ONCE = 32  # pieces a request
_MOST_KEPT = 128  # pieces a file, 16 MiB
_MOST_WHOLE = 64 * 2**20  # of a host that gives no pieces
_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20})")


class RangedFile:
    """The bytes at an address; from any thread."""

    def __init__(self, web: Web, address: Callable[[bool], str], said_by: str | None = None) -> None:
        """`address` gives the address to ask, with True a new one, since the last was refused; `said_by` named it."""
        self._web, self._address, self._said_by = web, address, said_by
        self._lock = threading.Lock()
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._whole: bytes | None = None
        self._etag: str | None = None
        self.size = -1
        self.fault: Exception | None = None
        """What went wrong while GDAL was reading, which tells no more than that it could not."""

    def read(self, start: int, count: int) -> bytes:
        """Return bytes from `start` on, fewer at the end. Raises DataError."""
        with self._lock:
            if self.size < 0:
                self._ask(0, 1)
            stop = min(start + count, self.size)
            if start >= stop:
                return b""
            if self._whole is not None:
                return self._whole[start:stop]
            first, last = start // _PIECE, (stop - 1) // _PIECE
            found: dict[int, bytes] = {}
            number = first
            while number <= last:
                if number in self._pieces:
                    found[number] = self._pieces[number]
                    self._pieces.move_to_end(number)
                    number += 1
                    continue
                end = number + 1
                while end <= last and end not in self._pieces and end - number < _MOST_AT_ONCE:
                    end += 1
                found |= self._ask(number, end)
                if self._whole is not None:
                    return self._whole[start:stop]
                number = end
            together = b"".join(found[number] for number in range(first, last + 1))
            return together[start - first * _PIECE : stop - first * _PIECE]

    def _ask(self, first: int, end: int) -> dict[int, bytes]:
        """Return pieces by their numbers, asked for at once."""
        start, last = first * _PIECE, end * _PIECE - 1
        for renew in (False, True):
            url = self._address(renew)
            headers = {"Range": f"bytes={start}-{last}"}
            answer = self._web.get(url, headers=headers, said_by=self._said_by, most_bytes=_MOST_WHOLE)
            if answer.status not in (401, 403):
                break
        name = shown_url(url)
        if answer.status == 200:
            if self.size >= 0:
                raise DataError(f"{name}: the host gave pieces, and now gives the whole file; type the same again")
            self._whole, self.size = answer.body, len(answer.body)
            return {}
        match = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
        if answer.status != 206 or match is None:
            why = "refuses, also with a new address" if answer.status in (401, 403) else "gives no piece of it"
            raise DataError(f"{name}: the host {why} (status {answer.status})")
        size, etag = int(match[3]), answer.headers.get("etag")
        whole = min(last + 1, size) - start
        if (int(match[1]), len(answer.body)) != (start, whole):
            raise DataError(
                f"{name}: {size_text(len(answer.body))} from {match[1]} on came; {size_text(whole)} from "
                f"{start} on expected"
            )
        if self.size >= 0 and (size != self.size or etag != self._etag):
            raise DataError(f"{name}: another file than before, while it was read; type the same again")
        self.size, self._etag = size, etag
        found = {
            number: answer.body[(number - first) * _PIECE : (number - first + 1) * _PIECE]
            for number in range(first, min(end, -(-size // _PIECE)))
        }
        self._pieces |= found
        while len(self._pieces) > _MOST_KEPT:
            self._pieces.popitem(last=False)
        return found

    def opener(self, path: str, mode: str = "rb", **_: Any) -> io.RawIOBase:
        """Open it for rasterio."""
        if not str(path).endswith(NAME):
            raise FileNotFoundError(path)  # what GDAL looks for beside a file
        return _Handle(self)


#: What GDAL takes the file's name to be; the address itself never reaches it.
NAME = "asset.tif"


class _Handle(io.RawIOBase):
    """A position in a file."""

    def __init__(self, file: RangedFile) -> None:
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 2 and self._file.size < 0:
            self.read(1)
        self._at = offset if whence == 0 else self._at + offset if whence == 1 else self._file.size + offset
        return self._at

    def read(self, count: int = -1) -> bytes:
        try:  # an exception would be lost in GDAL
            data = self._file.read(self._at, count if count >= 0 else max(0, self._file.size - self._at))
        except Exception as error:
            self._file.fault = error
            return b""
        self._at += len(data)
        return data
