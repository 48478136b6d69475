"""The drawn confusion matrix: one square a pair that occurs, names harmless."""

import re
from xml.etree import ElementTree

import numpy as np

from earthtone.evaluate.explain import MAX_CLASSES, confusion_svg


def titles(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("title")]  # noqa: S314


def test_every_pair_that_occurs_has_a_square_that_says_it() -> None:
    svg = confusion_svg(["lake", "town"], np.array([[3, 1], [0, 4]]))
    assert titles(svg) == ["lake called lake: 3 (75 %)", "lake called town: 1 (25 %)", "town called town: 4 (100 %)"]
    assert svg.count("var(--moss)") == 2 and svg.count("var(--clay)") == 1
    assert svg.count("<text") == 2 * 2 + 3  # names at both sides, a number a square
    assert "http" not in svg


def test_of_many_classes_the_largest_are_drawn() -> None:
    count = MAX_CLASSES + 5
    svg = confusion_svg([f"c{n}" for n in range(count)], np.diag(np.arange(count)))
    assert f"{MAX_CLASSES} of {count} classes" in svg
    assert len(titles(svg)) == MAX_CLASSES and not any(title.startswith("c4 ") for title in titles(svg))


def test_odd_names_are_escaped() -> None:
    svg = confusion_svg(['<script>"&', "b\x00\n\udce9"], np.array([[1, 1], [1, 1]]))
    assert '<script>"& called b? ?: 1 (50 %)' in titles(svg)
    assert not re.search(r"<script", svg)
