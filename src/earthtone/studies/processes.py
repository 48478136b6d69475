"""Commands in processes of their own, some at a time: started, watched, asked to stop, never left behind."""

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

#: What begins the line, the last of its kind that a process writes, that says why it could not do what was asked.
REASON = "earthtone: "
#: The exit status of a process that was asked to stop and has kept where it was.
STOPPED = 3
_LOOK_SECONDS = 0.1
_TAIL_BYTES = 20_000
Of = TypeVar("Of")


@dataclass(frozen=True)
class Job(Generic[Of]):
    """A command whose output goes to the end of `log`; `of` is what it is for."""

    of: Of
    command: Sequence[str]
    log: Path


@dataclass(frozen=True)
class Ended(Generic[Of]):
    """How a command ended: its exit status, negative for a signal, and what it wrote last."""

    of: Of
    status: int
    tail: str
    seconds: float

    @property
    def stopped(self) -> bool:
        """Whether it ended because it was asked to."""
        return self.status in (STOPPED, -signal.SIGTERM)

    def reason(self) -> str:
        """Why it failed, or where it was stopped, in one line."""
        told = [line for line in self.tail.splitlines() if line.strip()]
        if reasons := [line for line in told if line.startswith(REASON)]:
            return reasons[-1].removeprefix(REASON)
        if self.status == -signal.SIGTERM:
            return "stopped by SIGTERM outside training"
        if self.status < 0:
            hint = "; where nobody killed it, memory ran out" if self.status == -signal.SIGKILL else ""
            return f"killed by {signal.Signals(-self.status).name}{hint}"
        return f"exit status {self.status}" + (f": {told[-1].strip()[:300]}" if told else "")


class _Running(Generic[Of]):
    """A process in a session of its own, so that Ctrl-C in the terminal is for us alone; its standard input ends when
    we do."""

    def __init__(self, job: Job[Of], environment: Mapping[str, str]) -> None:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self.job, self.environment = job, environment
        self.begins = job.log.stat().st_size if job.log.exists() else 0
        self.since = time.monotonic()
        with job.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                job.command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and those that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def ended(self) -> Ended[Of] | None:
        status = self.process.poll()
        if status is None:
            return None
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.close()
        with self.job.log.open("rb") as log:
            log.seek(max(self.begins, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
            tail = log.read().decode("utf-8", "replace")
        return Ended(self.job.of, status, tail, time.monotonic() - self.since)


def run_jobs(
    jobs: Sequence[Job[Of]],
    environments: Sequence[Mapping[str, str]],
    stopping: Stopping,
    *,
    started: Callable[[Of], None] = lambda _: None,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Ended[Of]]:
    """Yield how each job ended, as many at a time as there are `environments`, which are added to our own.

    Once `stopping` is asked for no more are started, and those that run get SIGTERM and all the time they need. Those
    that still run when the caller leaves, also by an error, are killed.
    """
    waiting, free = deque(jobs), deque(environments)
    running: list[_Running[Of]] = []
    asked = False
    try:
        while waiting or running:
            if not asked and stopping.agree():
                asked = True
                waiting.clear()
                for one in running:
                    one.send(signal.SIGTERM)
            while waiting and free:
                job = waiting.popleft()
                running.append(_Running(job, free.popleft()))
                started(job.of)
            for one in list(running):
                if (end := one.ended()) is not None:
                    running.remove(one)
                    free.append(one.environment)
                    yield end
            tick()
            time.sleep(_LOOK_SECONDS)
    finally:
        for one in running:
            one.send(signal.SIGKILL)
            one.process.wait()
