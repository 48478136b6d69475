"""The release's random division leaks recordings, the given one does not; both are exhaustive and repeatable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from earthtone.errors import DataError
from earthtone.evaluate.audiovisual import given_division, random_division


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(10, 40), min_size=2, max_size=6))
def test_the_random_division_is_a_division(counts: list[int]) -> None:
    labels = [f"class {kind}" for kind, count in enumerate(counts) for _ in range(count)]
    found = random_division(labels)
    names = np.array(labels)
    assert len(found.fits) == 5
    for train, val in found.fits:
        joined = np.concatenate([train, val, found.test])
        assert np.array_equal(np.sort(joined), np.arange(len(labels)))
        for part in (train, val, found.test):
            assert set(names[part]) == set(labels)
    assert len({tuple(val) for _, val in found.fits}) > 1
    assert len(found.test) == pytest.approx(0.2 * len(labels), abs=1)


def test_the_parts_are_those_of_the_release() -> None:
    labels = np.array(["a"] * 30 + ["b"] * 20)
    rest, test = train_test_split(np.arange(50), test_size=0.2, random_state=42, stratify=labels)
    found = random_division(labels.tolist())
    assert np.array_equal(found.test, np.sort(test))
    for number, (train, val) in enumerate(found.fits):
        _, expected = train_test_split(rest, test_size=0.1 / 0.8, random_state=42 * number, stratify=labels[rest])
        assert np.array_equal(val, np.sort(expected)) and len(train) == 35


def test_classes_too_small_are_told() -> None:
    with pytest.raises(DataError, match="cannot be divided at random"):
        random_division(["a"] * 20 + ["b"])


def test_the_given_division_is_taken_as_it_is() -> None:
    found = given_division(["train", "test", None, "val", "train"])
    assert [part.tolist() for part in (*found.fits[0], found.test)] == [[0, 4], [3], [1]]
    with pytest.raises(DataError, match="0 pairs of split train"):
        given_division(["test", "val"])
