"""One training of a sweep in a process of its own: `python -m earthtone.studies.sweep_worker '{"run": ...}'`.

The process stops, with a checkpoint, when the one that started it is gone: nobody else would.
"""

import json
import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from earthtone.data.packed import Table
from earthtone.device import choose_device
from earthtone.errors import DataError, EarthtoneError, printable
from earthtone.evaluate.probe import evaluate_probe
from earthtone.models.storage import CARD_FILE
from earthtone.plugins import import_modules
from earthtone.studies.pretrain import pretrain, report_on_validation
from earthtone.studies.processes import REASON, STOPPED
from earthtone.studies.study import error_line
from earthtone.studies.sweep_grid import RECIPE_FILE, Measure, RunFigures, write_figures
from earthtone.terminal import guard_output, set_up_logging
from earthtone.train.checkpoint import read_history
from earthtone.train.recipe_file import load_recipe


def one_run(run: Path, table: str | Path, measure: Measure, *, resume: bool) -> str | None:
    """Train the recipe in the folder `run`, measure it on val, keep the figures; return where it was stopped, or None.

    With `resume` a run that was begun goes on; one that is trained is only measured.
    """
    recipe = load_recipe(run / RECIPE_FILE)
    result = pretrain(table, run, recipe=recipe, resume=resume, report=False)
    if not result.finished:
        return f"stopped by {result.stopped_by} after step {result.progress.step} of {result.steps}"
    if result.rank == 0:
        found = measure_run(run, table, measure, choose_device(recipe.train.device))
        write_figures(run, measure.identity(Table(table).fingerprint), found)
    return None


def measure_run(run: Path, table: str | Path, measure: Measure, device: str = "cpu") -> RunFigures:
    """Return what a trained run reached on val, after writing its report; nothing reads a test pair.

    `score` is the choice metric as the run's own log has it for the step whose weights were kept.
    """
    try:
        step = int(json.loads((run / CARD_FILE).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{run / CARD_FILE} names no step ({error}); delete the run's folder and train it again"
        ) from error
    log = read_history(run)
    scores = [line["val_score"] for line in log if line["step"] == step and "val_score" in line]
    found = report_on_validation(run, Table(table), match=measure.match)
    if not scores or found is None:
        raise DataError(f"{run}: nothing was measured on val at step {step}, whose weights were kept")
    figures = {"score": scores[-1]}
    for name in ("R@10", "match_precision@10"):
        for direction, estimates in found.figures.items():
            if name in estimates:  # R@10 is none in a gallery of ten
                figures[f"{name} {direction}"] = estimates[name].value
    if measure.probe is not None:
        result = evaluate_probe(
            str(run), measure.probe, label=measure.probe_label, columns=measure.probe_columns, device=device,
            split="val", resamples=1,
        )  # fmt: skip
        figures["probe accuracy"] = result.figures[result.headline].value
    return RunFigures(figures, step, max(line.get("seconds", 0.0) for line in log))


def main(order: str) -> int:
    """Do what a JSON object asks for, return the exit status; the last line on standard error says why it could not."""
    values: dict[str, Any] = json.loads(order)
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    guard_output()
    set_up_logging(logging.WARNING)
    run = Path(values["run"])
    first = os.environ.get("LOCAL_RANK", "0") == "0"  # the others of a run on several devices belong to it
    try:
        import_modules(values.get("import", ()))
        # held while a process of an earlier sweep is still about to stop
        with FileLock(run / ".lock") if first else nullcontext():
            stopped = one_run(run, values["table"], Measure(**values["measure"]), resume=values["resume"])
    except Exception as error:  # one run of many: the sweep names it
        if not isinstance(error, EarthtoneError):
            traceback.print_exc()
        return _failed(error_line(error), 2 if isinstance(error, EarthtoneError) else 1)
    return 0 if stopped is None else _failed(stopped, STOPPED)


def _failed(reason: str, code: int) -> int:
    sys.stderr.write(f"{REASON}{printable(' '.join(reason.split()), 600)}\n")
    return code


def _stop_when_alone() -> None:
    """Ask this process to stop when standard input, which the sweep holds open, has ended."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
