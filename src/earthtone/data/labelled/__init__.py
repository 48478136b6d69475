"""Labelled data sets and sets with masks, opened from a folder or a manifest, known by name or not."""

from earthtone.data.labelled.classes import open_labelled
from earthtone.data.labelled.masked_sets import open_masked

__all__ = ["open_labelled", "open_masked"]
