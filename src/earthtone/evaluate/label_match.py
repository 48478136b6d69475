"""Hits by label: of the ten nearest, how many carry a label that fits the query's."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError, DataError
from earthtone.files import regular_file

_log = logging.getLogger(__name__)
_FORMS = "IMAGE_COLUMN=AUDIO_COLUMN:MAP.json such as scene=sound:concepts.json, or COLUMN for equal labels"


@dataclass(frozen=True)
class LabelMatch:
    """Which label of a recording fits which label of an image; `fitting` None: the equal one."""

    image_column: str
    audio_column: str
    fitting: Mapping[str, frozenset[str]] | None = None
    source: str = ""
    """Where `fitting` comes from, for messages."""

    @classmethod
    def parse(cls, text: str) -> "LabelMatch":
        """Return the rule that `text` names: `scene=sound:concepts.json`, `habitat` or `scene=habitat`.

        The JSON file holds an object that maps each image label to the list of audio labels that fit it. Raises
        ConfigError for another form, DataError for a file that is missing or no such map.
        """
        image, equals, rest = text.partition("=")
        audio, colon, file = rest.partition(":")
        image, audio, file = image.strip(), audio.strip(), file.strip()
        if not image or ":" in image or (equals and not audio) or (colon and not file):
            raise ConfigError(f"match {text!r} is not understood; type {_FORMS}")
        if not file:
            return cls(image, audio or image)
        return cls(image, audio, _read_map(Path(file)), file)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the label columns that it needs, each once."""
        return tuple(dict.fromkeys((self.image_column, self.audio_column)))

    def __str__(self) -> str:
        if self.fitting is None and self.image_column == self.audio_column:
            return f"equal {self.image_column}"
        return f"{self.image_column} = {self.audio_column}" + (f" by {self.source}" if self.source else "")


@dataclass(frozen=True)
class MatchedLabels:
    """A rule applied to N pairs: labels as numbers, and which fit."""

    image_label: NDArray[np.int64]
    """(N,) rows of `fits`; the last for an image without a label."""
    audio_label: NDArray[np.int64]
    """(N,) columns of `fits`; the last for a recording without a label."""
    fits: NDArray[np.bool_]
    """(image labels + 1, audio labels + 1)."""
    unlisted: tuple[str, ...]
    """Audio labels of the data that fit no image label at all."""

    def precision(self, direction: str, top: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return for each query the share of the found rows `top` (N, K) that fit; NaN for a query without a label."""
        query, item, fits = self._sides(direction)
        return np.where(query < len(fits) - 1, fits[query[:, None], item[top]].mean(axis=1), np.nan)

    def chance(self, direction: str) -> float:
        """Return what a random ranking expects: the mean over queries of the share of the gallery that fits."""
        query, item, fits = self._sides(direction)
        share = fits @ np.bincount(item, minlength=fits.shape[1]) / len(item)
        return float(np.nanmean(np.where(query < len(fits) - 1, share[query], np.nan)))

    def _sides(self, direction: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return the labels of queries and of items, and which of them fit, (query labels + 1, item labels + 1)."""
        if direction == "image_to_sound":
            return self.image_label, self.audio_label, self.fits
        return self.audio_label, self.image_label, self.fits.T


def match_labels(match: LabelMatch, columns: Mapping[str, Sequence[str]]) -> MatchedLabels:
    """Return the rule applied to the labels of N pairs; an empty label is none.

    Raises DataError for a column that is missing or empty, and for an image label that the map does not know.
    """
    for name in match.columns:
        if name not in columns:
            raise DataError(f"no label column {name!r}; there are: {', '.join(columns) or 'none'}; type {_FORMS}")
        if not any(columns[name]):
            raise DataError(f"label column {name!r} is empty in all {len(columns[name])} rows")
    image_names, image_label = _numbered(columns[match.image_column])
    audio_names, audio_label = _numbered(columns[match.audio_column])
    fitting = match.fitting or {name: frozenset([name]) for name in image_names}
    unknown = [name for name in image_names if name not in fitting]
    if unknown:
        raise DataError(
            f"{match.source} does not say what fits {match.image_column} {_some(unknown)}; it knows {_some(fitting)}; "
            "add the missing ones, with an empty list if nothing fits"
        )
    fits = np.zeros((len(image_names) + 1, len(audio_names) + 1), dtype=np.bool_)
    for row, name in enumerate(image_names):
        fits[row, :-1] = [label in fitting[name] for label in audio_names]
    listed = frozenset().union(*fitting.values())
    unlisted = tuple(name for name in audio_names if name not in listed)
    if not fits.any():
        raise DataError(
            f"no {match.audio_column} fits any {match.image_column}: {match.audio_column} has {_some(audio_names)}, "
            f"{match.source or match.image_column} lists {_some(sorted(listed))}"
        )
    if unlisted:
        _log.warning("match %s: %s %s fits nothing", match, match.audio_column, _some(unlisted))
    return MatchedLabels(image_label, audio_label, fits, unlisted)


def _numbered(labels: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the sorted labels and each row's place among them; behind the last for an empty one."""
    names = sorted({label for label in labels if label})
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place.get(label, len(names)) for label in labels], dtype=np.int64)


def _read_map(path: Path) -> dict[str, frozenset[str]]:
    try:
        found = json.loads(regular_file(path).read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except OSError as error:
        near = ", ".join(sorted(other.name for other in path.parent.glob("*.json"))[:5]) or "none"
        raise DataError(f"cannot read the label map {path}: {error.strerror}; JSON files there: {near}") from error
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8, or nested without end
        raise DataError(f"label map {path} is not JSON: {error}") from error
    expected = 'an object such as {"beach": ["sea_waves", "wind"]} expected'
    if not isinstance(found, dict) or not found:
        raise DataError(f"label map {path} holds {json.dumps(found)[:40]}; {expected}")
    for name, labels in found.items():
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise DataError(f"label map {path}: {name!r} maps to {json.dumps(labels)[:40]}, no list; {expected}")
    return {name: frozenset(labels) for name, labels in found.items()}


def _without_repeats(items: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [name for name, count in Counter(name for name, _ in items).items() if count > 1]
    if repeated:
        raise ValueError(f"{_some(repeated)} is given twice")
    return dict(items)


def _some(names: Iterable[str], limit: int = 8) -> str:
    known = list(names)
    shown = ", ".join(repr(name) for name in known[:limit])
    return shown + (f" and {len(known) - limit} more" if len(known) > limit else "")
