"""Scene classes by way of torchgeo, for sets that it knows and we do not; nothing is downloaded."""

import inspect
from pathlib import Path
from typing import Any

from earthtone.data.datasets.finish import Found
from earthtone.data.labelled import LabelledItem
from earthtone.errors import ConfigError, DataError, MissingExtraError
from earthtone.wording import did_you_mean

PREFIX = "torchgeo:"


def read_torchgeo(path: Path, name: str) -> Found:
    """Return the files of a torchgeo data set below `path`, with its own splits.

    `name` is a class of torchgeo.datasets that lists `samples` (all NonGeoClassificationDataset do). Raises ConfigError
    for another name, DataError when torchgeo does not find the set there, MissingExtraError without torchgeo.
    """
    try:
        import torchgeo.datasets as sets
    except ImportError as error:
        raise MissingExtraError(f"dataset {PREFIX}{name}", "torchgeo") from error
    base = sets.NonGeoClassificationDataset
    known = {key: value for key, value in vars(sets).items() if inspect.isclass(value) and issubclass(value, base)}
    known.pop(base.__name__, None)
    if name not in known:
        raise ConfigError(f"{PREFIX}{name} is unknown; {did_you_mean(name, known)}known: {', '.join(sorted(known))}")
    found = Found()
    for split in _splits(known[name]):
        opened = _opened(known[name], path, split)
        for file, index in opened.samples:
            item = Path(file)
            label = str(opened.classes[index])
            found.items.append(LabelledItem(_id(path, item), label, image=item, split=split))
    return found


def _splits(kind: Any) -> tuple[str | None, ...]:
    """Return the splits that a class can be opened with; (None,) when it has none."""
    if "split" not in inspect.signature(kind.__init__).parameters:
        return (None,)
    return tuple(name for name in ("train", "val", "test") if name in getattr(kind, "splits", ("train", "val", "test")))


def _opened(kind: Any, path: Path, split: str | None) -> Any:
    options = {} if split is None else {"split": split}
    try:
        return kind(root=str(path), **options)
    except Exception as error:  # torchgeo's own errors, and whatever a damaged folder brings about
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: torchgeo cannot open {kind.__name__} there: {reason:.300}") from error


def _id(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix() if file.is_relative_to(path) else str(file)
