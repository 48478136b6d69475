"""Names of strangers: below their folder, or refused."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthtone.build.fetch.catalogue import safe_relative
from earthtone.errors import DataError

PIECES = st.sampled_from(["..", ".", "", "a", "B", "/", "\\", "C:", "\x00", ".fetch", "é", "\ud800", "~", " "])


@pytest.mark.slow
@given(st.one_of(st.text(), st.lists(PIECES).map("/".join), st.lists(PIECES).map("".join)))
def test_a_name_stays_below_its_folder(name: str) -> None:
    with contextlib.suppress(DataError):
        path = Path("/base") / safe_relative(name, "test")
        assert os.path.normpath(path).startswith("/base/")
        assert path.relative_to("/base").parts[0] != ".fetch"


@pytest.mark.parametrize(("name", "path"), [("a/b.jpg", "a/b.jpg"), ("./a//b", "a/b"), ("a\\b", "a/b"), ("..a", "..a")])
def test_an_honest_name(name: str, path: str) -> None:
    assert str(safe_relative(name, "test")) == path
