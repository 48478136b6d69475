"""Progress bars (rate and time left, on standard error), and work in threads whose results come in order.

Bars and notes are shown where warnings of the package are: `logging.getLogger("earthtone").setLevel("ERROR")`, or
`--quiet` on the command line, leaves both out.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from earthtone.errors import one_line
from earthtone.processors import usable_processors
from earthtone.terminal import unguarded

Item = TypeVar("Item")
Result = TypeVar("Result")


def is_shown() -> bool:
    """Return whether bars and notes are shown."""
    return sys.stderr is not None and logging.getLogger("earthtone").isEnabledFor(logging.WARNING)


def note(line: str) -> None:
    """Print a line about the work, such as how long it will take, on standard error."""
    if is_shown():
        from tqdm import tqdm

        tqdm.write(one_line(line), file=unguarded(sys.stderr))  # above a bar


def progress(items: Iterable[Item], *, total: int | None, label: str, unit: str = "row") -> Iterator[Item]:
    """Yield `items` behind a bar; quiet where standard error is no terminal and the work ends within 10 s."""
    with progress_bar(total, label, unit) as bar:
        for item in items:
            yield item
            bar.update()


def terminal_progress(items: Iterable[Item], *, total: int | None, label: str, unit: str) -> Iterator[Item]:
    """Yield `items` behind a bar that comes after 3 s and on a terminal alone: for calls from Python, mostly short."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    with progress_bar(total, label, unit, delay=3) as bar:
        for item in items:
            yield item
            bar.update()


def progress_calls(label: str, unit: str = "row") -> Callable[[int, int], None]:
    """Return a function (done, total) that draws a bar and closes it when all is done."""
    bars: list[Any] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(progress_bar(total, label, unit))
        bars[0].update(done - bars[0].n)
        if done >= total:
            bars.pop().close()

    return show


def progress_bar(total: int | None, label: str, unit: str, done: int = 0, delay: float = 0) -> Any:
    """Return a bar to `update()`, `set_postfix()` and `close()` by hand; `done` of `total` are done already.

    The unit "B" is bytes, shown as kB, MB and GB. On a terminal it is drawn after `delay` seconds.
    """
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=one_line(label),
        file=unguarded(sys.stderr),
        disable=not is_shown(),
        unit=unit,
        unit_scale=unit == "B",
        dynamic_ncols=True,
        delay=delay if terminal else 10,
        mininterval=0.2 if terminal else 15,
    )


def duration_text(seconds: float) -> str:
    """Return `45 s`, `12 min` or `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size_text(count: int | None) -> str:
    """Return bytes as people say them: `4.0 GB`, `17 kB`; `unknown` for null."""
    if count is None:
        return "unknown"
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"


def decoding_threads() -> int:
    """Return how many threads decode images."""
    return max(2, min(8, usable_processors()))


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    *,
    ahead: int | None = None,
    begin: Callable[[], object] | None = None,
    pool: Executor | None = None,
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in order; at most `ahead` items, by default four a thread, wait at once.

    Each thread calls `begin` first. `pool` works in place of threads, and is shut down at the end.
    """
    with pool or ThreadPoolExecutor(threads, initializer=begin) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= (ahead or 4 * threads):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
