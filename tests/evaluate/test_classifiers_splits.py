"""Which items are trained on and which are tested."""

import numpy as np
import pytest

from earthtone.data.labelled.items import LabelledItem, LabelledSet
from earthtone.errors import DataError
from earthtone.evaluate.classifiers import check_shots, draw_per_class, even_odd, split_items


def labelled(*splits: str | None, fold: int | None = None) -> LabelledSet:
    return LabelledSet("toy", tuple(LabelledItem(f"{n}", "a", split=s, fold=fold) for n, s in enumerate(splits)))


def test_the_sets_own_splits() -> None:
    parts = split_items(labelled("train", "test", None, "val", "train"))
    assert {name: [item.id for item in items] for name, items in parts.items()} == {
        "train": ["0", "4"], "val": ["3"], "test": ["1"],
    }  # fmt: skip
    assert split_items(labelled("train", "test"))["val"] == []


def test_where_val_is_measured_test_is_left_alone() -> None:
    parts = split_items(labelled("train", "test", "val"), measured="val")
    assert {name: [item.id for item in items] for name, items in parts.items()} == {"train": ["0"], "val": ["2"]}
    with pytest.raises(DataError, match="no items of split 'val'"):
        split_items(labelled("train", "test"), measured="val")


def test_train_and_test_must_be_there() -> None:
    with pytest.raises(DataError, match=r"no items of split 'test' \(train 1, val 1, test 0\)"):
        split_items(labelled("train", "val"))
    with pytest.raises(DataError, match="it has folds"):
        split_items(labelled(None, None, fold=1))


def test_the_release_takes_every_other_file() -> None:
    parts = even_odd(labelled("test", "test", "train", "val", "val"))
    assert [item.id for item in parts["train"]] == ["0", "2", "4"] and [i.id for i in parts["test"]] == ["1", "3"]
    with pytest.raises(DataError, match="1 items"):
        even_odd(labelled("train"))


def test_as_many_of_each_class_are_drawn() -> None:
    names = ["a"] * 5 + ["b"] * 2 + ["c"] * 9
    found = draw_per_class(names, 3, (0, 1))
    assert [np.array(names)[found].tolist().count(name) for name in "abc"] == [3, 2, 3]
    assert found.tolist() == sorted(set(found.tolist())) == draw_per_class(names, 3, (0, 1)).tolist()
    assert found.tolist() != draw_per_class(names, 3, (0, 2)).tolist()


def test_more_shots_than_a_class_has() -> None:
    check_shots(["a", "a", "b", "b"], (1, 2))
    check_shots(["a"], ())
    with pytest.raises(DataError, match=r"--shots 1,5: class 'b' has 2 training items; 1 to 2"):
        check_shots(["a", "a", "a", "b", "b"], (1, 5))
