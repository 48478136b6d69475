"""What a sweep's figures mean, and how they are written."""

from collections.abc import Mapping
from typing import Any

from earthtone.evaluate.markdown import markdown_table, markdown_text
from earthtone.verbs.sweep.table import FAILED, WAITING, Difference, Spread, SweepTable, VariantRow

SELECTION = (
    "Everything here was measured on val: it is for choosing a variant. The best of many on val is also the luckiest "
    "there; measure the one that you choose, once, on test: earthtone evaluate retrieval --split test."
)
NONE = "none"


def reading(table: SweepTable, settings: Mapping[str, Any]) -> list[str]:
    """Return sentences that tell what each column is and how variants are compared."""
    first = table.variants[0].label
    lines = [
        "score is the choice metric, by which a run chooses its weights: the mean reciprocal rank of both directions, "
        "as the run's own log has it for the step whose weights were kept.",
        f"R@10 is measured with these weights on all pairs of val{_match(settings)}.",
    ]
    if "probe accuracy" in table.figures:
        lines.append(
            "probe accuracy: logistic regression on the frozen image features, fitted on train of "
            f"{settings['probe']}, its strength chosen by cross-validation there, measured on its val."
        )
    return [
        *lines,
        "Figures are means over seeds, ± the standard deviation between seeds (n - 1); training s counts steps, not "
        "validation, and compares only what ran on one machine with as much beside it.",
        f"Differences are to {first}, seed by seed, with a 95 % interval by Student's t over the seeds: whether other "
        "seeds would say the same, on these pairs. It is not corrected for the number of variants.",
    ]


def state_notes(table: SweepTable) -> list[str]:
    """Return a line for each failed run, and how many have not been run."""
    lines = [f"{run.variant}, seed {run.seed}: failed: {run.why}" for run in table.runs if run.state == FAILED]
    if waiting := sum(run.state == WAITING for run in table.runs):
        lines.append(
            f"Not finished: {waiting} of {len(table.runs)} runs are still to be run. The same command goes on."
        )
    return lines


def seeds_text(row: VariantRow) -> str:
    """Return `3`, or `2 of 3` where some have no figures."""
    return str(row.done) if row.done == len(row.runs) else f"{row.done} of {len(row.runs)}"


def spread_text(found: Spread | None, digits: int = 3) -> str:
    """Return `0.123 ± 0.004`."""
    if found is None:
        return NONE
    return f"{found.mean:.{digits}f}" + ("" if found.deviation is None else f" ± {found.deviation:.{digits}f}")


def difference_text(found: Difference | None) -> str:
    """Return `+0.012 [-0.003, +0.027]`, with how many seeds it is of."""
    if found is None:
        return NONE
    interval = "" if found.low is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.mean:+.3f}{interval}, n {found.n}"


def column_text(name: str) -> str:
    """Return a figure's name in words."""
    return name.replace("_", " ")


def markdown(table: SweepTable, settings: Mapping[str, Any]) -> str:
    """Return both tables, what is missing, and how to read them."""
    names = [column_text(name) for name in table.figures]
    rows = [
        [markdown_text(row.label), seeds_text(row), *(spread_text(row.figures.get(name)) for name in table.figures),
         spread_text(row.seconds, 0)]
        for row in table.variants
    ]  # fmt: skip
    parts = [SELECTION, markdown_table(["variant", "seeds", *names, "training s"], rows)]
    if len(table.variants) > 1:
        gaps = [
            [markdown_text(row.label), *(difference_text(row.differences.get(name)) for name in table.figures)]
            for row in table.variants[1:]
        ]
        first = markdown_text(table.variants[0].label)
        parts += [f"Differences to {first}:", markdown_table(["variant", *names], gaps)]
    lines = [*state_notes(table), *reading(table, settings)]
    return "\n\n".join([*parts, "\n".join(f"- {markdown_text(line)}" for line in lines)]) + "\n"


def _match(settings: Mapping[str, Any]) -> str:
    if not settings.get("match"):
        return ""
    return f", as is match precision@10, the share of the first ten whose label fits ({settings['match']})"
