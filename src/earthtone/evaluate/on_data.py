"""The evaluations of a model on data as a user names it: a packed table, a manifest, a release folder."""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from earthtone.data.open_table import is_packed, open_table
from earthtone.data.ordered import ordered_map
from earthtone.data.pair import Pair
from earthtone.data.source import open_source
from earthtone.data.split import assign_split
from earthtone.data.table import Table
from earthtone.errors import ConfigError, DataError, SignalError
from earthtone.evaluate.embedded import EmbeddedPairs
from earthtone.evaluate.label_match import LabelMatch
from earthtone.evaluate.probe import ProbeResult, linear_probe
from earthtone.evaluate.protocols import HONEST, check_protocol, evaluate_by
from earthtone.evaluate.ranking import TWINS, rank_pairs
from earthtone.evaluate.retrieval import RetrievalResult
from earthtone.models.embed_rows import embed_rows, image_features
from earthtone.models.inputs import image_tile
from earthtone.models.open_model import open_model
from earthtone.models.two_tower import Embeddings, TwoTower
from earthtone.progress import progress
from earthtone.signal.image import Pixels

Labelled = tuple[Embeddings, list[str]]
_PLACE_COLUMNS = ("id", "longitude", "latitude")
_log = logging.getLogger(__name__)
_IMAGES_AT_ONCE = 256
Value = TypeVar("Value")


def evaluate_retrieval(
    model: TwoTower | str | Path,
    data: str | Path,
    *,
    split: str = "test",
    columns: Mapping[str, str] | None = None,
    match: LabelMatch | str | None = None,
    twins: str | None = None,
    protocol: str = HONEST,
    resamples: int = 1000,
    seed: int = 0,
    then: Callable[[Table, NDArray[np.int64], RetrievalResult], None] | None = None,
) -> RetrievalResult:
    """Return how well a split's images find their recordings and the other way round, counted by `protocol`.

    `twins` and `match` are for the protocol `honest`: identical items are right (`merge`, the default) or wrong
    (`ignore`), and hits are also counted by label (`scene=sound:concepts.json`). `then` gets the open table, for a
    report. Raises ConfigError, DataError, ModelError.
    """
    model = model if isinstance(model, TwoTower) else open_model(model)
    check_protocol(protocol, twins, match)  # before the long part, like the next ones
    match = LabelMatch.parse(match) if isinstance(match, str) else match
    if twins not in (None, *TWINS) or resamples < 1 or seed < 0:
        known = " or ".join(TWINS)
        raise ConfigError(
            f"twins {twins!r}, resamples {resamples}, seed {seed}; {known}, at least 1, at least 0 expected"
        )
    with open_table(data, model.signal, columns=columns) as table:
        rows = table.rows_of(split)
        _warn_of_leaks(table, split, rows)
        pairs = embedded_pairs(model, table, rows, match.columns if match else ())
        result = evaluate_by(protocol, pairs, twins=twins, match=match, resamples=resamples, seed=seed)
        if then is not None:
            then(table, rows, result)
    return result


def _warn_of_leaks(table: Table, split: str, rows: NDArray[np.int64]) -> None:
    """Warn when pairs that are measured share an image or a recording with pairs that were trained on."""
    if split != "test" or "train" not in (splits := table.column("split")):
        return
    train = np.array([name == "train" for name in splits])
    groups = [table.groups(name) for name in ("image_hash", "audio_hash")]
    leaked = np.logical_or.reduce([np.isin(group[rows], group[train]) for group in groups])
    if leaked.any():
        _log.warning(
            "%d of %d test pairs share an image or a recording with training pairs; the figures flatter the model",
            int(leaked.sum()), len(rows),
        )  # fmt: skip


def embedded_pairs(
    model: TwoTower, table: Table, rows: NDArray[np.int64], labels: tuple[str, ...] = ()
) -> EmbeddedPairs:
    """Return the embeddings of some rows with their places, twins and labels."""
    for label in labels:
        if label not in table.extra_columns:
            known = ", ".join(table.extra_columns) or "none"
            raise DataError(f"{table.path}: no label column {label!r}; its free columns: {known}")
    image, audio = embed_rows(model, table, rows)
    records = table.records(rows.tolist(), [*_PLACE_COLUMNS, *labels])
    place = {name: np.array([_degrees(record[name]) for record in records]) for name in _PLACE_COLUMNS[1:]}
    return EmbeddedPairs(
        ids=[record["id"] for record in records],
        image=image,
        audio=audio,
        longitude=place["longitude"],
        latitude=place["latitude"],
        image_group=table.groups("image_hash")[rows],
        audio_group=table.groups("audio_hash")[rows],
        columns={label: [record[label] or "" for record in records] for label in labels},
        similarity="cosine" if getattr(model.config, "unit", True) else "l2",
    )


def validation_figures(model: TwoTower, table: Table, rows: NDArray[np.int64]) -> dict[str, float]:
    """Return what training watches: the mean reciprocal rank of both directions, and their mean as `score`."""
    ranks = rank_pairs(embedded_pairs(model, table, rows))
    figures = {f"mrr_{name}": float(np.mean(1.0 / direction.rank)) for name, direction in ranks.items()}
    return {**figures, "score": sum(figures.values()) / len(figures)}


def evaluate_probe(
    model: TwoTower | str | Path,
    data: str | Path,
    *,
    label: str,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Return how well a linear classifier reads `label` off the frozen image encoder's last-stage features.

    Fitted on the split `train`, its strength chosen on `val` where there is one, measured on `test`. `data` needs
    images and labels only. Raises DataError.
    """
    model = model if isinstance(model, TwoTower) else open_model(model)
    if is_packed(data):
        with open_table(data, model.signal, columns=columns) as table:
            parts = _packed_features(model, table, label)
    else:
        parts = _file_features(model, data, label, dict(columns or {}))
    for split in ("train", "test"):
        if split not in parts:
            raise DataError(f"{data}: no labelled images of split {split!r}; a probe needs train and test")
    val = parts.get("val", (None, None))
    return linear_probe(*parts["train"], *parts["test"], val_features=val[0], val_labels=val[1], seed=seed)


def _packed_features(model: TwoTower, table: Table, label: str) -> dict[str, Labelled]:
    labels, splits = table.column(label), table.column("split")
    parts = {}
    for split in sorted({str(split) for split in splits}):
        rows = np.array([i for i, name in enumerate(splits) if name == split and labels[i] not in (None, "")], np.int64)
        if len(rows):
            parts[split] = (image_features(model, table, rows), [str(labels[row]) for row in rows])
    return parts


def _file_features(model: TwoTower, data: str | Path, label: str, columns: dict[str, str]) -> dict[str, Labelled]:
    """Features straight from image files, in chunks."""
    source = open_source(data, columns=columns, need=("image",))
    if label not in source.extra_columns:
        raise DataError(f"{data}: no label column {label!r}; its free columns: {', '.join(source.extra_columns)}")
    features: dict[str, list[Embeddings]] = {}
    labels: dict[str, list[str]] = {}

    def read(pair: Pair) -> tuple[Pair, Pixels | None]:
        assert pair.image is not None  # noqa: S101 - `need` asked for it
        try:
            return pair, image_tile(pair.image, model.signal.image, pair.image_gsd_m)
        except SignalError:
            return pair, None

    skipped = 0

    def usable() -> Iterator[Pair]:
        nonlocal skipped
        for item in source:
            if isinstance(item, Pair) and item.extra.get(label):
                yield item
            else:
                skipped += 1

    waiting: dict[str, list[Pixels]] = {}
    for pair, tile in progress(ordered_map(read, usable(), threads=2), total=len(source), label="features"):
        if tile is None:
            skipped += 1
            continue
        split = str(assign_split(pair))
        labels.setdefault(split, []).append(pair.extra[label])
        tiles = waiting.setdefault(split, [])
        tiles.append(tile)
        if len(tiles) == _IMAGES_AT_ONCE:
            features.setdefault(split, []).append(model.image_features(tiles))
            tiles.clear()
    for split, tiles in waiting.items():
        if tiles:
            features.setdefault(split, []).append(model.image_features(tiles))
    if skipped:
        _log.warning(
            "%s: %d rows without a usable image or label were skipped; earthtone check names them", data, skipped
        )
    return {split: (np.concatenate(parts), labels[split]) for split, parts in features.items()}


def _degrees(value: float | None) -> float:
    return np.nan if value is None else value
