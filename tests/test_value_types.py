"""What fits a type, and what is said of what does not."""

from typing import Any

import numpy as np
import pytest

from earthtone.value_types import expected, fits, may_be_null, wrong


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [3, -1, np.int64(4)], [None, "", True, 2.5, "3", 2**63, [1]]),
        (float, [3, 0.5, np.float32(2)], [None, "", True, "0.5", 10**400]),
        (bool, [True, False], [None, 1, 0, "yes", ""]),
        (str, ["a"], [None, "", "  ", 3]),
        (int | None, [3, None], ["", 2.5]),
        (tuple[float, float], [(0.5, 1), [1, 2]], [None, (1,), (1, None), "12", (1, 2, 3)]),
        (tuple[int, int, int] | None, [None, (4, 3, 2)], [(4, 3), (4, 3, 2.5)]),
        (dict[str, bool | int | None], [{}, {"a": None, "b": 3}], [None, {"a": "b"}, {3: 3}, []]),
    ],
)
def test_what_fits(hint: Any, good: list[Any], bad: list[Any]) -> None:
    assert all(fits(value, hint) and wrong(value, hint) is None for value in good)
    assert not any(fits(value, hint) for value in bad)


def test_in_words() -> None:
    assert expected(tuple[float, float] | None) == "[a number, a number], or null"
    assert wrong(None, bool) == "empty; true or false expected"
    assert wrong(10**400, float) == "a number of more than 63 bits; a number expected"
    assert wrong("x", int | None) == "'x'; a whole number, or null expected"
    assert may_be_null(str | None)
    assert not may_be_null(str)
