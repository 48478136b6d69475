"""What happens between two steps: counting, logging, validation, checkpoints, a polite stop."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from earthtone.models.storage import save_model
from earthtone.models.two_tower import TwoTower
from earthtone.progress import duration_text, note, progress_bar
from earthtone.train.checkpoint import LOG_FILE, History, Progress, save_checkpoint
from earthtone.train.distributed import World
from earthtone.train.lightning_module import PretrainTask

#: Returns figures of a model on the validation pairs; `score` among them decides which weights are the best.
Validate = Callable[[TwoTower], Mapping[str, float]]

_log = logging.getLogger(__name__)
LOG_EVERY = 10  # steps
_STEPS_TO_TELL, _SECONDS_TO_TELL = 4, 2.0  # after which the pace is known ...
_LONG_SECONDS = 60.0  # ... and said where there is so much to come
_STOPS = (signal.SIGINT, signal.SIGTERM)


class StopAtOnceError(Exception):
    """The second Ctrl-C; not KeyboardInterrupt, which Lightning takes for its own."""


class Stopping:
    """A polite stop: a signal to any process becomes, after the step, the wish of all; `stopped_by` says which."""

    def __init__(self, world: World) -> None:
        self.stopped_by: signal.Signals | None = None
        self._world = world
        self._asked: signal.Signals | None = None

    def listen(self) -> None:
        """Take signals from here on, whatever Lightning installed."""
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


@dataclass(eq=False)
class OtherRanksCallback(Callback):
    """Between two steps in processes beside the first: counts steps, serves the first one, stops when all do."""

    progress: Progress
    stopping: Stopping
    world: World

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Meet the other processes."""
        self.world.connect()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals, and take part in what the first process writes."""
        self.stopping.listen()
        self._begin(cast(PretrainTask, pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count the step, do what is due after it, and stop when one process is asked to."""
        task = cast(PretrainTask, pl_module)
        task.done += 1
        self.progress = replace(self.progress, step=task.done)
        self._record(task)
        stop = self.stopping.agree()  # the other processes wait here for what the first one recorded
        self._checkpoint(task, stop=stop)
        if stop:
            trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep where the training is when a callback of another's has ended it early."""
        task = cast(PretrainTask, pl_module)
        if task.done < task.steps and self.stopping.stopped_by is None:
            self._checkpoint(task, stop=True)

    def _begin(self, task: PretrainTask) -> None:
        task.full.serve()

    def _record(self, task: PretrainTask) -> None:
        task.full.serve()

    def _checkpoint(self, task: PretrainTask, *, stop: bool) -> None:
        task.full.serve()


@dataclass(eq=False)
class RankZeroCallback(OtherRanksCallback):
    """Between two steps in the first process: log, validation, best weights, checkpoints.

    All state that a resume needs is in `progress`.
    """

    folder: Path
    history: History
    steps_per_epoch: int
    validate: Validate | None
    keep_best: bool
    card: Mapping[str, Any]
    _bar: Any = field(default=None, init=False)
    _shown: dict[str, str] = field(default_factory=dict, init=False)
    _since: float = field(default=0.0, init=False)
    _last_checkpoint: float = field(default=0.0, init=False)
    _told: bool = field(default=False, init=False)
    _clocked: tuple[int, float] | None = field(default=None, init=False)

    def _begin(self, task: PretrainTask) -> None:
        """Start the clocks, keep weights that came from elsewhere."""
        self._bar = progress_bar(task.steps, "train", "step", done=task.done)
        if task.done:
            self._tell_time_left(task, self.progress.seconds / task.done)
        self._since = self._last_checkpoint = time.monotonic()
        if task.done == 0 and self.card.get("start"):  # a resume needs no other file than this one
            save_checkpoint(self.folder, task, self.progress)
        task.full.release()

    def _record(self, task: PretrainTask) -> None:
        """Log the step, and validate at the end of an epoch."""
        now = time.monotonic()
        self.progress = replace(self.progress, seconds=self.progress.seconds + now - self._since)
        self._since = now
        if not self._told:
            self._watch_pace(task, now)
        self._look_for_twins(task)
        self._shown["loss"] = f"{task.last_loss:.3f}"
        self._bar.set_postfix(self._shown, refresh=False)
        self._bar.update()
        if task.done % LOG_EVERY == 0 or task.done == task.steps:
            figures = {"loss": task.last_loss, "lr": task.learning_rate, "seconds": round(self.progress.seconds, 2)}
            figures |= {name: float(term) for name, term in task.last_terms.items()}
            if task.temperature is not None:
                figures["temperature"] = task.temperature
            if self.progress.twins_only:
                figures["twins_only"] = self.progress.twins_only
            self.history.add(task.done, figures)
        if task.done % self.steps_per_epoch == 0:
            self._end_epoch(task, task.done // self.steps_per_epoch)
        task.full.release()

    def _watch_pace(self, task: PretrainTask, now: float) -> None:
        """Say how long the training will take, once some steps behind the slow first one tell it."""
        self._clocked = self._clocked or (task.done, now)
        steps, seconds = task.done - self._clocked[0], now - self._clocked[1]
        if steps >= _STEPS_TO_TELL and seconds >= _SECONDS_TO_TELL:
            self._tell_time_left(task, seconds / steps)

    def _tell_time_left(self, task: PretrainTask, seconds_a_step: float) -> None:
        self._told = True
        left = task.steps - task.done
        if left * seconds_a_step >= _LONG_SECONDS:
            epochs = task.steps // self.steps_per_epoch
            note(
                f"training: {left} steps to go of {task.steps} ({epochs} epochs), about "
                f"{duration_text(left * seconds_a_step)} at {1 / seconds_a_step:.3g} steps a second, without "
                "validation; Ctrl-C stops it safely, --resume goes on"
            )

    def _checkpoint(self, task: PretrainTask, *, stop: bool) -> None:
        """Write a checkpoint before a stop, and where the last one is old."""
        if stop or time.monotonic() - self._last_checkpoint >= task.config.checkpoint_seconds:
            save_checkpoint(self.folder, task, self.progress)
            self._last_checkpoint = time.monotonic()
        task.full.release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the bar as it is, also after an error."""
        if self._bar is not None:
            self._bar.close()

    def _look_for_twins(self, task: PretrainTask) -> None:
        """Count batches without a single negative; warn of the first one."""
        if not task.twins_only:
            return
        if not self.progress.twins_only:
            _log.warning(
                "step %d: all %d pairs of the batch are twins of each other, there is no negative among them; such "
                "batches change little, `twins_only` in %s counts them",
                task.done, task.config.batch_size, LOG_FILE,
            )  # fmt: skip
        self.progress = replace(self.progress, twins_only=self.progress.twins_only + 1)

    def _end_epoch(self, task: PretrainTask, epoch: int) -> None:
        """Validate where it is due and keep the weights when they are the best; the time it takes is not training."""
        every = task.config.validate_every
        last = task.done == task.steps
        if self.validate is None or not every or (epoch % every and not last):
            if last:
                self._save(task, task.full.model(), {})
            return
        model = task.full.model()
        figures = dict(self.validate(model))
        self.history.add(task.done, {f"val_{name}": value for name, value in figures.items()})
        self._shown["val"] = f"{figures['score']:.3f}"
        better = self.progress.best is None or figures["score"] > self.progress.best
        if better:
            self.progress = replace(self.progress, best=figures["score"], best_step=task.done)
        if better if self.keep_best else last:
            self._save(task, model, figures)
        self._since = time.monotonic()

    def _save(self, task: PretrainTask, model: TwoTower, figures: Mapping[str, float]) -> None:
        said = {
            "step": task.done,
            "training_seconds": round(self.progress.seconds, 1),
            "temperature": task.temperature,
            "validation": dict(figures),
        }
        save_model(self.folder, model, {**self.card, **said})
