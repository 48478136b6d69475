"""What a suite's figures mean, in words, and how they are written."""

from collections.abc import Sequence
from dataclasses import dataclass

from earthtone.evaluate.bootstrap import Estimate
from earthtone.evaluate.chance import against_chance
from earthtone.evaluate.suite.table import DONE, FAILED, SKIPPED, WAITING, Cell, SuiteTable


@dataclass(frozen=True)
class Notes:
    """What is to be said beside the figures."""

    urgent: Sequence[str] = ()
    """What a reader must know first."""
    remarks: Sequence[str] = ()
    """What was not there, and where sets differ from what was published."""


def reading(table: SuiteTable) -> list[str]:
    """Return sentences that tell what n is, what intervals cover, how models are compared, and what is missing."""
    lines = [
        "n is the number of test items (images, recordings, pairs or tiles), the same for every model in a column.",
        "Brackets hold a 95 % percentile bootstrap interval over the test items: how far the figure would move with "
        f"other items of the same kind. {_seeds(table)}",
        f"Differences are a model minus the baseline {table.baseline} on the same test items, with a paired bootstrap "
        "interval: each item is drawn with both models' scores. p is two-sided: McNemar's exact test where items are "
        "right or wrong, a sign-flip permutation test where they have scores between. Holm's p is corrected over the "
        f"{_counted(sum(compared.found is not None for compared in table.comparisons), 'comparison')} of this table; "
        "below 0.05 a difference is hardly luck.",
    ]
    tasks = {column.task for column in table.columns if column.headline}
    if "segment" in tasks:
        lines.append(
            "segment: the column shows the mIoU of all test pixels together; its differences are of the mean over "
            "tiles of each tile's mIoU, which is what can be paired."
        )
    if any(cell.groups for cell in table.cells):
        lines.append(
            "Where items have groups, such as parts of one recording, the interval of a difference draws whole groups; "
            "McNemar's test knows nothing of groups, so believe the interval where they disagree."
        )
    return lines


def _cautions(table: SuiteTable) -> list[str]:
    """Lines on what the results themselves warn of, each once, and on figures that are below chance."""
    lines = []
    for cell in table.cells:
        if cell.result is None or cell.figure is None:
            continue
        where = f"{cell.task} on {cell.dataset}"
        lines += [f"{where}: {line}" for line in cell.result.facts.get("cautions", ())]
        standing = against_chance(cell.figure.value, cell.figure.chance, cell.figure.low, cell.figure.high)
        lines += [f"{where}: {cell.model} is {standing}"] * standing.startswith("below")
    return list(dict.fromkeys(lines))


def state_notes(table: SuiteTable) -> list[str]:
    """Return a line for what is not in the table, cells that wait, that failed, that were skipped, and for cautions."""
    lines = []
    if waiting := table.count(WAITING):
        lines.append(
            f"Not finished: {waiting} of {len(table.cells)} cells are still to be run, and Holm's p counts only the "
            "comparisons made so far. The same command goes on."
        )
    lines += [
        f"{cell.task} on {cell.dataset}: {cell.model} failed: {cell.why}"
        for cell in table.cells
        if cell.state == FAILED
    ]
    lines += _cautions(table)
    return lines + list(dict.fromkeys(cell.why for cell in table.cells if cell.state == SKIPPED))


def cell_text(cell: Cell) -> str:
    """Return `0.912 [0.890, 0.930]`, or the cell's state."""
    return interval_text(cell.figure) if cell.state == DONE and cell.figure is not None else cell.state


def interval_text(figure: Estimate, sign: str = "") -> str:
    """Return a figure with its interval; `sign` `+` shows the sign of all three."""
    return f"{figure.value:{sign}.3f} [{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]"


def p_text(value: float | None) -> str:
    """Return a p-value with two digits."""
    return "" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _seeds(table: SuiteTable) -> str:
    counts = {
        len(cell.result.facts["seeds"])
        for cell in table.cells
        if cell.result is not None and isinstance(cell.result.facts.get("seeds"), list)
    }
    if counts and max(counts) > 1:
        return (
            f"Where a network is trained, figures are means over {max(counts)} seeds: the intervals of finetune draw "
            "seeds and items, those of other tasks items alone (each seed's figure is in its result)."
        )
    return "It says nothing about training again with another seed: that takes --seeds."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
