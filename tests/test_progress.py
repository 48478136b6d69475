"""Work in threads comes back in order, a bounded number of items ahead."""

import io
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.progress import ordered_map, progress_bar, terminal_progress


@settings(max_examples=30, deadline=None)
@given(count=st.integers(0, 60), threads=st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(count: int, threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.001 * (item * 7 % 3))
        return item * item

    assert list(ordered_map(work, range(count), threads)) == [item * item for item in range(count)]


@pytest.mark.parametrize("threads", [1, 3])
def test_few_items_are_in_flight(threads: int) -> None:
    taken = given_back = most = 0

    def items() -> Iterator[int]:
        nonlocal taken, most
        for item in range(100):
            taken += 1
            most = max(most, taken - given_back)
            yield item

    for _ in ordered_map(lambda item: item, items(), threads):
        given_back += 1
    assert taken == given_back == 100
    assert most <= 4 * threads


def test_work_happens_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=20)  # passes only when three items are worked on at once
    assert list(ordered_map(lambda item: meeting.wait() >= 0, range(6), threads=3)) == [True] * 6


def test_an_error_in_the_work_is_raised_in_its_place() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise KeyError("five")
        return item

    seen = []
    with pytest.raises(KeyError, match="five"):
        for result in ordered_map(work, range(100), 2):
            seen.append(result)  # noqa: PERF402 - what came before the error counts
    assert seen == [0, 1, 2, 3, 4]


def test_an_error_in_the_items_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the manifest is gone")

    with pytest.raises(OSError, match="the manifest is gone"):
        list(ordered_map(lambda item: item, items(), 2))


def test_leaving_early_stops_the_work() -> None:
    done = []
    results = ordered_map(done.append, range(1000), threads=2)
    next(results)
    before = threading.active_count()
    results.close()  # type: ignore[attr-defined]
    assert len(done) <= 9 and threading.active_count() < before


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("error", [Terminal(), io.StringIO(), None])
def test_a_short_call_from_python_shows_no_bar(error: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", error)
    assert list(terminal_progress(iter(range(5)), total=None, label="images", unit="image")) == [0, 1, 2, 3, 4]
    assert error is None or error.getvalue() == ""


def test_a_bar_comes_after_its_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(3, "images", "image", delay=0.3) as bar:
        bar.update()
        assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
        time.sleep(0.5)
        bar.update()
    assert "images" in sys.stderr.getvalue()  # type: ignore[attr-defined]
