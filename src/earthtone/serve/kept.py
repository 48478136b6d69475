"""Things that are costly to make and asked for again: made once at a time, kept while there is room."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Values by key, at most so many bytes of them; the one that was asked for longest ago goes first."""

    def __init__(
        self, most_bytes: int, size: Callable[[T], int], gone: Callable[[T], object] = lambda value: None
    ) -> None:
        """`size` tells a value's bytes; `gone` is called with each that goes."""
        self._most_bytes, self._size, self._gone = most_bytes, size, gone
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._making: dict[Hashable, Future[T]] = {}
        self.bytes = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; the first who asks makes it, others wait. What `make` raises reaches all."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.get(key)
            mine = making is None
            if making is None:
                making = self._making[key] = Future()
        if not mine:
            return making.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            making.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._values[key] = value
            self.bytes += self._size(value)
            while self.bytes > self._most_bytes and len(self._values) > 1:
                _, old = self._values.popitem(last=False)
                self.bytes -= self._size(old)
                self._gone(old)
        making.set_result(value)
        return value

    def clear(self) -> None:
        """Let all go."""
        with self._lock:
            for value in self._values.values():
                self._gone(value)
            self._values.clear()
            self.bytes = 0
