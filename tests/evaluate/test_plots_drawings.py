"""Confusion matrices and maps of features as drawings: what they show, and that names are harmless."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.decomposition import PCA

from earthtone.evaluate.plots import MAX_CLASSES, confusion_svg, map_svg, nearest, principal_components, project_2d


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


def test_components_are_those_of_scikit_learn_with_signs_of_our_own() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6)) * [5, 3, 1, 1, 1, 1]
    found, expected = principal_components(rows), PCA(2).fit_transform(rows)
    assert np.allclose(np.abs(found), np.abs(expected))
    assert (found[np.abs(found).argmax(axis=0), [0, 1]] > 0).all()
    assert np.allclose(principal_components(-rows), principal_components(-rows))


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (7, 1)])
def test_few_items_or_features_still_have_places(shape: tuple[int, int]) -> None:
    positions, method = project_2d(np.random.default_rng(0).normal(size=shape))
    assert positions.shape == (shape[0], 2) and method == "PCA" and np.isfinite(positions).all()
    assert "NaN" not in map_svg(positions, ["a"] * shape[0], ["i"] * shape[0], method)


def test_umap_keeps_groups_apart_and_is_the_same_again() -> None:
    pytest.importorskip("umap", reason="needs earthtone[umap]")
    draw = np.random.default_rng(0)
    centres = np.eye(3, 8)
    rows = np.concatenate([centre + draw.normal(0, 0.05, (30, 8)) for centre in centres])
    positions, method = project_2d(rows)
    assert method == "UMAP" and np.array_equal(positions, project_2d(rows)[0])
    own = np.repeat(np.arange(3), 30)
    middles = np.array([positions[own == n].mean(axis=0) for n in range(3)])
    assert (np.linalg.norm(positions[:, None] - middles, axis=2).argmin(axis=1) == own).all()


def test_every_dot_says_class_and_id_and_lies_in_the_drawing() -> None:
    positions = np.random.default_rng(0).normal(size=(5, 2)) * 1e6
    svg = map_svg(positions, ["<b>", "sea", "sea", "sea", "<b>"], ["a&b", "1", "2", "3", "\udce9"], "PCA")
    root = ElementTree.fromstring(svg)  # noqa: S314
    assert [title.text for title in root.iter("title")] == ["<b>: a&b", "sea: 1", "sea: 2", "sea: 3", "<b>: ?"]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for dot in root.iter("circle"):
        assert 0 < float(dot.attrib["cx"]) < width and 0 < float(dot.attrib["cy"]) < height
    dots = list(root.iter("circle"))
    highest = int(positions[:, 1].argmax())
    assert min(range(5), key=lambda at: float(dots[at].attrib["cy"])) == highest  # up is up
    assert [text.text for text in root.iter("text")] == ["<b>", "sea"]


def test_neighbours_by_cosine_by_hand() -> None:
    gallery = np.array([[0.0, 9.0], [1.0, 0.1], [5.0, 0.0], [-1.0, 0.0], [2.0, 0.0]])
    assert nearest(np.array([[3.0, 0.0]]), gallery, 4).tolist() == [[2, 4, 1, 0]]  # equals: the earlier first
    assert nearest(np.zeros((1, 2)), gallery, 9).shape == (1, 5)
