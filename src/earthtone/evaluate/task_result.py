"""What every task on labelled data gives: figures with intervals, and what was said of each test item."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from earthtone.atomic import write_text_atomic
from earthtone.errors import DataError
from earthtone.evaluate.bootstrap import Estimate
from earthtone.evaluate.chance import against_chance
from earthtone.wording import one_line_each


@dataclass(frozen=True)
class TaskResult:
    """One model in one task on one data set."""

    task: str
    """Such as `probe`, `finetune`, `segment`, `audiovisual`, `audio`."""
    dataset: str
    model: str
    """The model as the user named it, such as `random:resnet18`."""
    protocol: str
    """One sentence: what was fitted on what, chosen by what, measured on what."""
    headline: str
    """The name of the figure that the suite's table shows."""
    figures: Mapping[str, Estimate]
    ids: Sequence[str] = ()
    """The test items, in a fixed order; the same order for every model on the same data."""
    scores: Sequence[float] = ()
    """What the headline is the mean of, an item each: 1 or 0 for right or wrong, mIoU of a tile. Pairs models."""
    truth: Sequence[str] = ()
    predicted: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Everything else: classes, rows, what was chosen, seconds, seeds."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        width = max(map(len, self.figures)) + 2
        lines = [f"{self.task} on {self.dataset}: {self.model}", f"  {self.protocol}"]
        lines += [f"  caution: {line}" for line in self.facts.get("cautions", ())]
        for name, figure in self.figures.items():
            chance = "" if figure.chance is None else f"   chance {figure.chance:.3f}"
            standing = against_chance(figure.value, figure.chance, figure.low, figure.high)
            standing = f": {standing}" if standing.startswith(("below", "chance")) else ""
            value = f"{figure.value:.3f}  [{figure.low:.3f}, {figure.high:.3f}]"
            lines.append(f"  {name.ljust(width)}{value}{chance}{standing}")
        return one_line_each(lines)


def write_task_result(path: Path, result: TaskResult) -> None:
    """Write a result as JSON, whole or not at all."""
    write_text_atomic(path, json.dumps(result.to_dict(), indent=1, ensure_ascii=False) + "\n")


def read_task_result(path: Path) -> TaskResult:
    """Return a result written by `write_task_result`. Raises DataError for anything else."""
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
        values["figures"] = {name: Estimate(**figure) for name, figure in values["figures"].items()}
        result = TaskResult(**values)
        if result.headline not in result.figures:
            raise ValueError(f"no figure {result.headline!r}")
        return result
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no result of a task ({error}); delete it and run the task again") from error
