"""Commands in processes of their own, some at a time: started, watched, asked to stop, never left behind.

By hand, since pools of processes (concurrent.futures, joblib) kill what they stop, and a training must keep its place.
"""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from earthtone.train.callbacks import Stopping

#: Begins the line in which a process says why it failed; the last such line counts.
REASON = "earthtone: "
#: The exit status of a process that was asked to stop and has kept where it was.
STOPPED = 3
_LOOK_SECONDS = 0.1
_TAIL_BYTES = 20_000
U = TypeVar("U")


@dataclass(frozen=True)
class Ended(Generic[U]):
    """How a command ended: its exit status, negative for a signal, and what it wrote last."""

    unit: U
    status: int
    tail: str
    seconds: float

    @property
    def stopped(self) -> bool:
        """Return whether it ended because it was asked to."""
        return self.status in (STOPPED, -signal.SIGTERM)

    def reason(self) -> str:
        """Return why it failed, or where it was stopped, in one line."""
        lines = [line for line in self.tail.splitlines() if line.strip()]
        if reasons := [line for line in lines if line.startswith(REASON)]:
            return reasons[-1].removeprefix(REASON)
        if self.status == -signal.SIGTERM:
            return "stopped by SIGTERM outside training"
        if self.status < 0:
            hint = "; where nobody killed it, memory ran out" if self.status == -signal.SIGKILL else ""
            return f"killed by {signal.Signals(-self.status).name}{hint}"
        return f"exit status {self.status}" + (f": {lines[-1].strip()[:300]}" if lines else "")


class Job(Generic[U]):
    """A command for a unit, whose output goes to the end of `log`.

    Its process has a session of its own, so that Ctrl-C in the terminal is for us alone; its standard input ends when
    we do.
    """

    def __init__(self, unit: U, command: Sequence[str], log: Path) -> None:
        self.unit, self.command, self.log = unit, command, log

    def start(self, environment: Mapping[str, str]) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.environment = environment
        self.begins = self.log.stat().st_size if self.log.exists() else 0
        self.since = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                self.command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and those that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def ended(self) -> Ended[U] | None:
        """Return how the process ended; None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.close()
        with self.log.open("rb") as log:
            log.seek(max(self.begins, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
            tail = log.read().decode("utf-8", "replace")
        return Ended(self.unit, status, tail, time.monotonic() - self.since)


def run_jobs(
    jobs: Sequence[Job[U]],
    environments: Sequence[Mapping[str, str]],
    stopping: Stopping,
    *,
    started: Callable[[U], None] = lambda _: None,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Ended[U]]:
    """Yield how each job ended, as many at a time as there are `environments`, which are added to our own.

    Once `stopping` is asked for no more are started, and those that run get SIGTERM and all the time they need. Those
    that still run when the caller leaves, also by an error, are killed.
    """
    waiting, free = deque(jobs), deque(environments)
    running: list[Job[U]] = []
    asked = False
    try:
        while waiting or running:
            if not asked and stopping.agree():
                asked = True
                waiting.clear()
                for job in running:
                    job.send(signal.SIGTERM)
            while waiting and free:
                job = waiting.popleft()
                job.start(free.popleft())
                running.append(job)
                started(job.unit)
            for job in list(running):
                if (end := job.ended()) is not None:
                    running.remove(job)
                    free.append(job.environment)
                    yield end
            tick()
            time.sleep(_LOOK_SECONDS)
    finally:
        for job in running:
            job.send(signal.SIGKILL)
            job.process.wait()
