"""A polite stop: a signal to any process becomes, after the step, the wish of all."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from earthtone.train.world import World

_STOPS = (signal.SIGINT, signal.SIGTERM)


class StopAtOnceError(Exception):
    """The second Ctrl-C; not KeyboardInterrupt, which Lightning takes for its own."""


class Stopping:
    """Who asked this process to stop, and, in `stopped_by`, why all of them do."""

    def __init__(self, world: World) -> None:
        self.stopped_by: signal.Signals | None = None
        self._world = world
        self._asked: signal.Signals | None = None

    def listen(self) -> None:
        """Signals are ours from here on, whatever Lightning installed."""
        if threading.current_thread() is threading.main_thread():
            for number in _STOPS:
                signal.signal(number, self._ask)

    def agree(self) -> bool:
        """Return whether to stop after this step; the same in all processes, each of which must call it."""
        found = self._world.largest(int(self._asked or 0))
        self.stopped_by = signal.Signals(found) if found else None
        return self.stopped_by is not None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM as a wish to stop after the current step; a second one stops at once.

        What handled them before does so again afterwards, whatever happened.
        """
        main = threading.current_thread() is threading.main_thread()
        before = {number: signal.getsignal(number) for number in _STOPS} if main else {}
        try:
            yield
        except StopAtOnceError:
            raise KeyboardInterrupt from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self._asked is not None:
            raise StopAtOnceError
        self._asked = signal.Signals(number)
