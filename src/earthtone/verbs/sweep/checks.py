"""Mistakes that are told before the first run of a sweep starts."""

from dataclasses import asdict

from earthtone.data.datasets import open_labelled
from earthtone.data.source import is_packed
from earthtone.data.table import Table
from earthtone.errors import ConfigError
from earthtone.evaluate.label_match import LabelMatch
from earthtone.evaluate.on_data import check_labels
from earthtone.evaluate.splits import split_items
from earthtone.signal.config import SignalConfig
from earthtone.train.freeze import check_unfreeze
from earthtone.train.loader import TrainLoader
from earthtone.train.recipe_loss import check_queue, recipe_loss
from earthtone.verbs.sweep.plan import PlannedRun
from earthtone.verbs.sweep.run_settings import Measure
from earthtone.wording import changes, flat


def check_probe(measure: Measure) -> None:
    """Raise ConfigError or DataError where the labelled set cannot be opened or lacks val."""
    if measure.probe is None:
        if measure.probe_label is not None or measure.probe_columns is not None:
            raise ConfigError("probe_label and probe_columns are for --probe; name a labelled set with it")
        return
    if is_packed(measure.probe):
        raise ConfigError(f"--probe {measure.probe} is a packed table; a folder of classes or a manifest expected")
    labelled = open_labelled(measure.probe, label=measure.probe_label, columns=measure.probe_columns)
    split_items(labelled, measured="val")


def run_steps(run: PlannedRun, table: Table) -> int:
    """Return how many steps a run takes.

    Raises ConfigError where there are too few pairs for its batch or queue, or too few steps for its encoders to join.
    """
    rows = table.rows_of("train")
    steps = TrainLoader(table, rows, run.recipe).steps
    check_queue(recipe_loss(run.recipe), len(rows), run.recipe)
    check_unfreeze(run.recipe.train, steps)
    return steps


def check_table(table: Table, signals: SignalConfig, match: LabelMatch | None) -> None:
    """Raise ConfigError or DataError before the first run where none could be trained or measured."""
    if changed := changes(flat(asdict(table.signal)), flat(asdict(signals))):
        raise ConfigError(
            f"{table.path} was packed with another signal config than a variant has ({changed}); name the data that it "
            "was packed from, and the sweep packs it for each"
        )
    for split in ("train", "val"):
        table.rows_of(split)
    check_labels(table, match.columns if match else ())
