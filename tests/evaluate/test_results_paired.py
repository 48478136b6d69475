"""Two models on the same items: p-values are SciPy's, intervals shrink with pairing, other items are refused."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from earthtone.errors import DataError
from earthtone.evaluate.results import TaskResult, compare_results, holm, mcnemar_p, paired_scores, sign_flip_p


def result(model: str, scores: Sequence[float], ids: Sequence[str] | None = None, **changes: str) -> TaskResult:
    known = {"task": "probe", "dataset": "toy", "protocol": "p", "headline": "accuracy", **changes}
    names = tuple(ids or [f"item {n}" for n in range(len(scores))])
    return TaskResult(model=model, figures={}, ids=names, scores=tuple(scores), **known)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 3), (2, 9), (25, 10), (700, 560), (0, 2000)])
def test_mcnemar_is_the_exact_binomial(first: int, second: int) -> None:
    expected = binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(first, second) == mcnemar_p(second, first)


def test_sign_flips_are_scipys_permutation_test() -> None:
    gaps = np.random.default_rng(0).normal(0.3, 1, 10)
    exact = permutation_test((gaps,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p(gaps) == pytest.approx(exact, abs=0.015)
    assert sign_flip_p(np.zeros(5)) == 1.0
    assert sign_flip_p(np.full(30, 0.1)) == pytest.approx(1e-4)


def test_right_and_wrong_by_mcnemar() -> None:
    rng = np.random.default_rng(0)
    first = (rng.random(200) < 0.8).astype(float)
    second = first.copy()
    second[:20] = 0.0  # wrong wherever the first is right, among twenty
    found = compare_results(result("a", first), result("b", second))
    lost = int(first[:20].sum())
    assert found.test == "mcnemar" and (found.first_better, found.second_better) == (lost, 0)
    assert found.difference.value == pytest.approx(lost / 200)
    assert 0 < found.difference.low < found.difference.high < 0.2
    assert found.p_value == pytest.approx(2 * 0.5**lost)
    assert "a - b: accuracy +0.0" in found.to_text() and found.first == "a"


def test_items_are_joined_by_id() -> None:
    first = result("a", [1, 0, 1], ["x", "y", "z"])
    second = result("b", [1, 1, 0], ["z", "x", "y"])
    one, other = paired_scores(first, second)
    assert one.tolist() == other.tolist() == [1, 0, 1]
    assert compare_results(first, second).p_value == 1.0


def test_scores_between_right_and_wrong_by_sign_flips() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(60)
    found = compare_results(result("a", np.clip(base + 0.1, 0, 1)), result("b", base))
    assert found.test == "sign_flip" and found.p_value < 0.001 and found.difference.low > 0.05


def test_clusters_widen_the_interval() -> None:
    first, second = [1.0] * 50 + [0.0] * 50, [0.0] * 50 + [0.0] * 50
    alone = compare_results(result("a", first), result("b", second)).difference
    together = compare_results(result("a", first), result("b", second), clusters=np.repeat([0, 1], 50)).difference
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_holm_is_worked_by_hand() -> None:
    found = holm({"x": 0.01, "y": 0.04, "z": 0.03})
    assert found == pytest.approx({"x": 0.03, "y": 0.06, "z": 0.06})
    assert list(found) == ["x", "y", "z"] and holm({}) == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (result("b", [1, 0], ["x", "w"]), "1 only in the first, 1 only in the second, such as 'y'"),
        (result("b", [1, 0], ["x", "x"]), "1 ids occur twice"),
        (result("b", [1, 0], ["x", "y"], dataset="other"), "dataset 'toy' and 'other'"),
        (result("b", [1, 0], ["x", "y"], task="segment"), "task 'probe' and 'segment'"),
        (result("b", [1], ["x", "y"]), "2 ids and 1 scores"),
        (result("b", [], []), "0 ids and 0 scores"),
    ],
)
def test_other_items_are_refused(other: TaskResult, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare_results(result("a", [1, 0], ["x", "y"]), other)
