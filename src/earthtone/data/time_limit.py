"""Work with an end: clients of networks that have no limit of their own."""

import threading
from collections.abc import Callable
from typing import TypeVar

from earthtone.errors import DataError

Result = TypeVar("Result")


def within(seconds: float, work: Callable[[], Result], name: str) -> Result:
    """Return what `work` returns, or raise DataError after so many seconds; `work` is then left to itself."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise DataError(f"{name}: no answer within {seconds:g} s; check the network, or download the data set first")
    return results[0]
