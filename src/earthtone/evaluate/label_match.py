# NOTE to the helper who works on evaluate/: I (the lead) wrote this file myself at 02:43, because nothing was here yet. Do NOT restore yours over it;
# review it, move what was better in yours into it with small edits (keep names and signatures), delete chance.py if unused, write tests + benchmark for it.
# Remove these note lines when done.
"""Hits by label: an image of a harbour that finds any sound of waves is right, whoever recorded it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.embedded import EmbeddedPairs


@dataclass(frozen=True)
class LabelMatch:
    """Which sound labels (values of `audio_column`) match which image label (of `image_column`).

    `listed` maps an image label to its sound labels; None means that equal labels match.
    """

    image_column: str
    audio_column: str
    listed: Mapping[str, frozenset[str]] | None = None

    @classmethod
    def parse(cls, text: str) -> "LabelMatch":
        """Return the match that `IMAGE_COLUMN=AUDIO_COLUMN:MAP.json` or `COLUMN` describes. Raises ConfigError."""
        names, _, file = text.partition(":")
        image_column, _, audio_column = names.partition("=")
        image_column, audio_column = image_column.strip(), audio_column.strip() or image_column.strip()
        if not image_column:
            raise ConfigError(f"--match {text!r}; IMAGE_COLUMN=AUDIO_COLUMN:MAP.json or COLUMN expected")
        if not file and image_column != audio_column:
            raise ConfigError(
                f"--match {text!r} names two columns; say which labels match: {names}:MAP.json, an object that lists "
                "the sound labels of each image label"
            )
        return cls(image_column, audio_column, _read_map(Path(file)) if file else None)

    @property
    def columns(self) -> tuple[str, ...]:
        """The label columns, each once."""
        return tuple(dict.fromkeys((self.image_column, self.audio_column)))

    def matrix(self, pairs: EmbeddedPairs) -> "Matches":
        """Return which pairs' images and sounds match. Raises DataError for missing columns and unknown labels."""
        for column in self.columns:
            if column not in pairs.columns:
                raise DataError(f"no label column {column!r}; there are: {', '.join(pairs.columns) or 'none'}")
        images, sounds = pairs.columns[self.image_column], pairs.columns[self.audio_column]
        image_names, image_codes = np.unique(images, return_inverse=True)
        sound_names, sound_codes = np.unique(sounds, return_inverse=True)
        if self.listed is None:
            allowed = image_names[:, None] == sound_names[None, :]
        else:
            if unknown := sorted(set(image_names) - self.listed.keys()):
                raise DataError(f"labels {unknown[:5]} of column {self.image_column!r} are not in the map; add them")
            allowed = np.array([[sound in self.listed[image] for sound in sound_names] for image in image_names])
        return Matches(allowed, image_codes.astype(np.int64), sound_codes.astype(np.int64))


@dataclass(frozen=True)
class Matches:
    """`allowed` bool (image labels, sound labels), and each pair's two label numbers (N,)."""

    allowed: NDArray[np.bool_]
    image: NDArray[np.int64]
    sound: NDArray[np.int64]

    def precision(self, direction: str, top: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return for each query the share of its `top` items (N, k) that match."""
        if direction == "image_to_sound":
            hits = self.allowed[self.image[:, None], self.sound[top]]
        else:
            hits = self.allowed[self.image[top], self.sound[:, None]]
        return np.asarray(hits.mean(axis=1))

    def chance(self) -> float:
        """Return the mean share of the gallery that matches a query; it is the same in both directions."""
        images = np.bincount(self.image, minlength=self.allowed.shape[0])
        sounds = np.bincount(self.sound, minlength=self.allowed.shape[1])
        return float(images @ self.allowed @ sounds / (len(self.image) * len(self.sound)))


def _read_map(path: Path) -> dict[str, frozenset[str]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"--match map {path} cannot be read as JSON ({error})") from error
    right = isinstance(values, dict) and all(
        isinstance(sounds, Sequence) and not isinstance(sounds, str) and all(isinstance(s, str) for s in sounds)
        for sounds in values.values()
    )
    if not right:
        raise ConfigError(f'--match map {path}: an object such as {{"harbor": ["waves", "engine"]}} expected')
    return {image: frozenset(sounds) for image, sounds in values.items()}
