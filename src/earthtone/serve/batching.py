"""One worker that embeds what visitors search by: whatever waits shares passes, and nobody waits for all of another's.

Windows and pictures are taken in turn from all who wait. An input has the same bits alone and in company
(`models/batches.py`), so a query's vector does not depend on who else is asking.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.models.two_tower import TwoTower
from earthtone.serve.guard import refused

Floats = NDArray[np.float32]
_PASS = 16  # inputs; a multiple of what a forward pass has on a processor
_PATIENCE_SECONDS = 120.0
_AGAIN_SECONDS = 2


@dataclass(frozen=True)
class Embedded:
    """What the model made of a sound or a picture."""

    vector: Floats
    """(D,)"""
    windows: Floats
    """(W, D) of a sound's windows; of a picture its one vector."""


@dataclass
class _Job:
    medium: str
    inputs: Sequence[NDArray[Any]]
    done: Future[list[Floats]] = field(default_factory=Future)
    rows: list[Floats] = field(default_factory=list)


class ModelWorker:
    """The only one that runs the model; `most` may wait for it."""

    def __init__(self, model: Callable[[], TwoTower], most: int) -> None:
        self._model, self._most = model, most
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._last: str | None = None
        self.passes = 0
        """How many there were."""

    @property
    def waiting(self) -> int:
        """Return how many queries wait, those that are worked at too."""
        return len(self._jobs)

    def sound(self, windows: NDArray[Any]) -> Embedded:
        """Return the vectors of a recording's windows (W, frames, mels). Raises HTTPException 503 where many wait."""
        rows = np.stack(self._embedded("audio", list(windows)))
        model = self._model()
        split = model.audio_tower.features
        return Embedded(model.reduced(rows)[split:], rows[:, split:-1])

    def picture(self, view: NDArray[Any]) -> Embedded:
        """Return the vector of a picture (side, side, C), as `TwoTower.views` gives it. Raises HTTPException 503."""
        [row] = self._embedded("image", [view])
        return Embedded(row, row[None])

    def close(self) -> None:
        """End the worker; who waits is told to come again."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(30)

    def _embedded(self, medium: str, inputs: Sequence[NDArray[Any]]) -> list[Floats]:
        job = _Job(medium, inputs)
        with self._changed:
            if self._ended:
                raise refused(503, "the server is ending; ask again once it is back", retry_after=_AGAIN_SECONDS)
            if len(self._jobs) >= self._most:
                raise refused(
                    503, f"{self._most} queries wait for the model already; try again in a moment",
                    retry_after=_AGAIN_SECONDS,
                )  # fmt: skip
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="earthtone model")
                self._thread.start()
            self._changed.notify_all()
        try:
            return job.done.result(_PATIENCE_SECONDS)
        except TimeoutError:
            with self._changed:
                if job in self._jobs:
                    self._jobs.remove(job)
            raise refused(
                503, "the model did not come to this query in two minutes; try again, or give a shorter sound",
                retry_after=10,
            ) from None  # fmt: skip

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._ended:
                    self._changed.wait()
                if self._ended:
                    for job in self._jobs:
                        job.done.set_exception(
                            refused(503, "the server is ending; ask again once it is back", retry_after=_AGAIN_SECONDS)
                        )
                    self._jobs.clear()
                    return
                jobs = list(self._jobs)
            self._pass(jobs)

    def _pass(self, jobs: Sequence[_Job]) -> None:
        """Embed a few inputs of one medium, one of each who waits in turn; the media take turns, too."""
        media = {job.medium for job in jobs}
        medium = jobs[0].medium if len(media) == 1 or self._last is None else next(iter(media - {self._last}))
        self._last = medium
        chosen = _in_turn([job for job in jobs if job.medium == medium], _PASS)
        try:
            rows = _rows(self._model(), medium, [job.inputs[at] for job, at in chosen])
        except BaseException as error:  # whatever it is, who waits must hear of it
            self._end({id(job): job for job, _ in chosen}.values(), error)
            return
        self.passes += 1
        for (job, _), row in zip(chosen, rows, strict=True):
            job.rows.append(row)
        self._end([job for job in jobs if len(job.rows) == len(job.inputs)], None)

    def _end(self, jobs: Any, error: BaseException | None) -> None:
        for job in jobs:
            with self._changed:
                if job not in self._jobs:  # it was given up
                    continue
                self._jobs.remove(job)
            if error is not None:
                job.done.set_exception(error)
            else:
                job.done.set_result(job.rows)


def _in_turn(jobs: Sequence[_Job], most: int) -> list[tuple[_Job, int]]:
    """Return inputs that are still to be embedded: the next of each job, then the one after it, at most so many."""
    left = [[(job, at) for at in range(len(job.rows), min(len(job.inputs), len(job.rows) + most))] for job in jobs]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*left))
    return [each for each in turns if each is not None][:most]


def _rows(model: TwoTower, medium: str, inputs: Sequence[NDArray[Any]]) -> list[Floats]:
    """Return the vector (D,) of each picture, the row (F + D + 1,) of each window."""
    if medium == "image":
        return [row[model.image_tower.features :] for row in model.encoded_images(inputs)]
    return [rows[0] for rows in model.encoded_windows(window[None] for window in inputs)]
