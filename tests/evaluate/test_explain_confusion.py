"""The confusion matrix: counts against scikit-learn, one square a pair that occurs, names harmless."""

import re
from xml.etree import ElementTree

import numpy as np
from sklearn.metrics import confusion_matrix

from earthtone.evaluate.explain import MAX_CLASSES, confusion_svg, counted


def titles(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("title")]  # noqa: S314


def test_counts_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    truth, said = (draw.choice(["a", "b", "c", "d"], 200).tolist() for _ in range(2))
    said[0] = "never true"
    names, counts = counted(truth, said)
    assert names == ["a", "b", "c", "d", "never true"]
    assert np.array_equal(counts, confusion_matrix(truth, said, labels=names))


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
