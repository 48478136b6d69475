"""What is printed: control characters are written out, and so is what the terminal's encoding lacks.

Ids, names of files and titles come from strangers; everything that goes to a terminal passes here.
"""

import json
import logging
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from earthtone.errors import UNSEEN, RenamedWarning, one_line, printable

_log = logging.getLogger(__name__)


class GuardedStream:
    """A text stream that writes `printable` text only, `\\xe9` for what its encoding lacks."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(encodable(printable(text), self.stream))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def encodable(text: str, stream: TextIO) -> str:
    """Return text as a stream can write it."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def unguarded(stream: TextIO) -> TextIO:
    """Return the stream below a guarded one, for bars that move the cursor themselves."""
    return stream.stream if isinstance(stream, GuardedStream) else stream


def guard_output() -> None:
    """Guard standard output and error for the rest of the process; what is closed is written nowhere."""
    for number in (0, 1, 2):  # a file opened later would otherwise take the place, and be printed into
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
        setattr(sys, name, _guarded(stream))


@contextmanager
def guarded_output() -> Iterator[None]:
    """Guard standard output and error for as long as the context is open."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_guarded(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _guarded(stream: TextIO) -> TextIO:
    return stream if isinstance(stream, GuardedStream) or stream is None else cast(TextIO, GuardedStream(stream))


def set_up_logging(level: int = logging.WARNING) -> None:
    """Write log messages to standard error, one line each; nothing is done where logging is set up already."""
    handler = _Handler()
    handler.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


@contextmanager
def log_level(level: int | None) -> Iterator[None]:
    """Set up logging; a level that is given holds for the package's messages, bars and notes while this is open."""
    set_up_logging(max(level or 0, logging.WARNING))  # what libraries tell of themselves is not asked for
    ours = logging.getLogger("earthtone")
    before = ours.level
    ours.setLevel(before if level is None else level)
    try:
        yield
    finally:
        ours.setLevel(before)


@contextmanager
def old_names_told() -> Iterator[None]:
    """Log each warning of an old name once, as one line, while this is open; other warnings go where they went."""
    told: set[str] = set()
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, RenamedWarning):
                before(message, category, *place, **more)
            elif str(message) not in told:
                told.add(str(message))
                _log.warning("%s", message)

        warnings.showwarning = show
        warnings.simplefilter("always", RenamedWarning)
        yield


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")  # that of this moment
        except Exception:
            self.handleError(record)


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its name
        return one_line(super().formatMessage(record))


def error_text(text: str, longest: int) -> str:
    """Return an error's message; its own lines are indented, any other line end was in a name and is written out."""
    return printable(re.sub(r"\n(?!  )", r"\\n", text), longest)


def json_text(values: Any) -> str:
    """Return JSON to be printed: what a terminal must not see, or standard output cannot write, is escaped."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    if not all(map(str.isprintable, text.split("\n"))):
        text = "".join(map(_json_escaped, text))
    writable = sys.stdout is not None and encodable(text, sys.stdout) == text
    return text if writable else json.dumps(values, indent=1).replace("\x7f", "\\u007f")


def _json_escaped(letter: str) -> str:
    if letter == "\n" or unicodedata.category(letter) not in UNSEEN:
        return letter
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"


def lose_output() -> None:
    """Write standard output nowhere from here on: its disk is full, or its reader has gone."""
    _lose(sys.stdout)


def lose_reader() -> None:
    """Write nowhere from here on: the reader of our output has gone, and there is nobody to tell."""
    _lose(sys.stdout)
    _lose(sys.stderr)


def _lose(stream: TextIO) -> None:
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
