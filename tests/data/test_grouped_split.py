"""Linked rows go one way: whatever links them, in whatever order, with whatever is there already."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.data.grouped_split import NONE, PackedHashes, deal, id_number

ROWS = st.lists(
    st.tuples(st.integers(-1, 5), st.integers(-1, 5), st.sampled_from([0, 1, 2, 2, NONE]), st.booleans()),
    min_size=1, max_size=25,
)  # fmt: skip


def dealt(rows: Sequence[tuple[int, int, int, int]], *, strict: bool = False) -> np.ndarray:
    """Codes of rows (image, recording, base, fixed)."""
    image, audio, base, fixed = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    order = np.array([id_number(str(row)) for row in range(len(rows))], np.uint64)
    return deal(base.astype(np.uint8), [image, audio], order, fixed.astype(np.uint8), strict=strict).codes


@settings(max_examples=200)
@given(ROWS, st.booleans())
def test_rows_that_share_something_are_never_in_two_splits(rows, strict: bool) -> None:  # type: ignore[no-untyped-def]
    codes = dealt([(image, audio, base, NONE) for image, audio, base, _ in rows], strict=strict)
    for key in (0, 1):
        for value in {row[key] for row in rows} - {-1}:
            assert len({int(code) for row, code in zip(rows, codes, strict=True) if row[key] == value} - {NONE}) <= 1
    for (image, audio, base, _), code in zip(rows, codes, strict=True):
        alone = image == audio == -1
        assert code == base if alone else code in (base, NONE) or not strict


@settings(max_examples=200)
@given(ROWS)
def test_new_rows_never_join_one_split_beside_another(rows) -> None:  # type: ignore[no-untyped-def]
    """Whatever is fixed stays; a new row that is in a split shares nothing with a row in another."""
    known = [(image, audio, base, base if there else NONE) for image, audio, base, there in rows]
    codes = dealt(known)
    for (image, audio, _, fixed), code in zip(known, codes, strict=True):
        if fixed != NONE:
            assert code == fixed
        elif code != NONE:
            near = {
                int(other) for (i, a, *_), other in zip(known, codes, strict=True) if i == image >= 0 or a == audio >= 0
            }
            assert near - {NONE, int(code)} == set()


@pytest.mark.parametrize("strict", [True, False])
def test_a_group_goes_where_its_first_row_would(strict: bool) -> None:
    rows = [(0, -1, 0, NONE), (0, 1, 2, NONE), (2, 1, 1, NONE), (-1, -1, 1, NONE)]
    first = min(range(3), key=lambda row: id_number(str(row)))
    goes = rows[first][2]
    expected = [NONE if strict and base != goes else goes for _, _, base, _ in rows[:3]]
    assert dealt(rows, strict=strict).tolist() == [*expected, 1]


def test_what_is_there_decides() -> None:
    assert dealt([(0, -1, 0, NONE), (0, 1, 0, 2), (-1, 1, 1, NONE)]).tolist() == [2, 2, 2]
    # a bridge between train and test is in none; its neighbours go with what they touch
    rows = [(0, -1, 2, 0), (0, -1, 1, NONE), (0, 7, 2, NONE), (-1, 7, 0, 2), (-1, 7, 0, NONE)]
    assert dealt(rows).tolist() == [0, 0, NONE, 2, 2]


def test_identical_content_is_seen_while_packing() -> None:
    packed = PackedHashes()
    assert packed.settle("train", ["i", "a"], movable=True) == "train"
    assert packed.settle("test", ["i", "b"], movable=True) == "train"  # an image of train: follows
    assert packed.settle("test", ["i", "c"], movable=False) is None  # bound to others elsewhere
    assert packed.settle("test", ["j", "c"], movable=False) == "test"  # what is in no split binds nobody
    assert packed.settle("val", ["i", "c"], movable=True) is None  # between train and test
    assert packed.settle("val", ["", ""], movable=True) == "val"
    assert packed.settle("test", ["", "x"], movable=True) == "test"
    packed.note("val", ["x"])
    assert packed.settle(None, ["x"], movable=True) is None
