"""Retrieval of a model on data as a user names it: a packed table, a manifest, a release folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.data.pack import open_table
from earthtone.data.packed import Table
from earthtone.data.splits import split_in_words
from earthtone.encode.engine import embed_rows
from earthtone.errors import DataError
from earthtone.evaluate.label_match import LabelMatch
from earthtone.evaluate.overlap import table_facts
from earthtone.evaluate.protocols import RetrievalResult, check_protocol, evaluate_by
from earthtone.evaluate.ranking import EmbeddedPairs, rank_pairs
from earthtone.models.storage import opened_model
from earthtone.models.two_tower import TwoTower
from earthtone.options import RetrievalOptions
from earthtone.value_types import takes

_PLACE_COLUMNS = ("id", "longitude", "latitude")


@takes(RetrievalOptions)
def evaluate_retrieval(options: RetrievalOptions) -> RetrievalResult:
    """Return how well a split's images find their recordings and the other way round, counted by `protocol`.

    What is not packed yet is packed for this once, `split_by` and `buffer_km` as for `pack`.
    `twins` and `match` are for the protocol `honest`: identical items are right (`merge`, the default) or wrong
    (`ignore`), and hits are also counted by label (`scene=sound:concepts.json`). `report` is a page to write; `then`
    gets the open table. Raises ConfigError, DataError, ModelError.
    """
    check_protocol(options.protocol, options.twins, options.match)  # before the long part, like the next ones
    match = LabelMatch.parse(options.match) if isinstance(options.match, str) else options.match
    model, split = opened_model(options.model, device=options.device), options.split
    with open_table(
        options.data,
        model.signal,
        columns=options.columns,
        split_by=options.split_by,
        buffer_km=options.buffer_km,
        exclude=options.exclude,
    ) as table:
        rows = table.rows_of(split)
        overlap = table_facts(table, split, rows)
        pairs = embedded_pairs(model, table, rows, match.columns if match else ())
        result = evaluate_by(
            options.protocol, pairs, twins=options.twins, match=match, resamples=options.resamples, seed=options.seed
        )
        dealt = {"name": split, "dealt_out": split_in_words(table.split), "record": dict(table.split)}
        result = replace(result, facts={**result.facts, "split": dealt, **overlap})
        if options.then is not None:
            options.then(table, rows, result)
        if options.report is not None:
            from earthtone.evaluate.report import write_run_report  # brings Matplotlib

            write_run_report(Path(str(options.model)), model, table, rows, result, path=Path(options.report))
    return result


def check_labels(table: Table, labels: tuple[str, ...]) -> None:
    """Raise DataError for a label that is no free column of the table."""
    for label in labels:
        if label not in table.extra_columns:
            known = ", ".join(table.extra_columns) or "none"
            raise DataError(f"{table.path}: no label column {label!r}; its free columns: {known}")


def embedded_pairs(
    model: TwoTower, table: Table, rows: NDArray[np.int64], labels: tuple[str, ...] = ()
) -> EmbeddedPairs:
    """Return the embeddings of some rows with their places, twins and labels."""
    check_labels(table, labels)
    image, audio = embed_rows(model, table, rows)
    records = table.records(rows.tolist(), [*_PLACE_COLUMNS, *labels])
    place = {name: np.array([record[name] for record in records], np.float64) for name in _PLACE_COLUMNS[1:]}
    return EmbeddedPairs(
        ids=[record["id"] for record in records],
        image=image,
        audio=audio,
        longitude=place["longitude"],
        latitude=place["latitude"],
        image_group=_own_groups(table.groups("image_hash"))[rows],
        audio_group=_own_groups(table.groups("audio_hash"))[rows],
        columns={label: [record[label] or "" for record in records] for label in labels},
        similarity="cosine" if model.config.unit else "l2",
    )


def _own_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the same numbers, but rows without a value (-1), such as silent recordings, are each alone."""
    return np.where(groups < 0, -1 - np.arange(len(groups)), groups)


def validation_figures(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> dict[str, float]:
    """Return what training validates by: the mean reciprocal rank of both directions, and their mean as `score`."""
    ranks = rank_pairs(embedded_pairs(model, table, rows))
    figures = {f"mrr_{name}": float(np.mean(1.0 / direction.rank)) for name, direction in ranks.items()}
    return {**figures, "score": sum(figures.values()) / len(figures)}
