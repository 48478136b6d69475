"""An index of the tiny pairs, and one server of it that all tests of this folder may ask."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from atlas_world import embedded_pairs
from page_server import page_of

from earthtone.atlas.index import build_index
from earthtone.models.two_tower import TwoTower
from earthtone.serve.server import PageServer


@pytest.fixture(scope="session")
def tiny_index(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Path, tiny_model: TwoTower) -> Path:
    """E: an image and a recording of each of 24 pairs, on a plane; the model lies beside it."""
    folder = embedded_pairs(tmp_path_factory.mktemp("tiny-index"), tiny_pairs, tiny_model)
    build_index(folder)
    return folder


@pytest.fixture(scope="session")
def page(tiny_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """A server of it with its model; its marks lie elsewhere."""
    marks = tmp_path_factory.mktemp("marks") / "marks.csv"
    with page_of(tiny_index, model=tiny_index.parent / "model", marks=marks) as server:
        yield server
