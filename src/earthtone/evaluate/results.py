"""Results of every task: figures with intervals from resampled clusters, and paired comparisons."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from inspect import signature, unwrap
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from earthtone.data.labelled.items import LabelledItem
from earthtone.errors import ConfigError, DataError, EarthtoneError, one_line_each
from earthtone.evaluate.chance import against_chance
from earthtone.files import FORMATS, format_of, write_text_atomic
from earthtone.options import RESAMPLES, TASKS
from earthtone.value_types import Options, type_hints


def group_numbers(items: Sequence[LabelledItem]) -> NDArray[np.int64]:
    """Return a number an item (N,): equal for items of one group; an item without a group is alone."""
    names = [f"item {item.id}" if item.group is None else f"group {item.group}" for item in items]
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)


_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Estimate:
    """One measured figure, its 95 % interval, what chance gives (None when unknown), and from how many queries."""

    value: float
    low: float
    high: float
    chance: float | None
    queries: int


@dataclass(frozen=True)
class PerQuery:
    """A figure that is the mean, or with `median` the median, of one value a query; NaN leaves a query out."""

    values: NDArray[np.float64]
    median: bool = False

    def value(self) -> float:
        """Return the figure; NaN when no query has a value."""
        known = self.values[~np.isnan(self.values)]
        if not len(known):
            return float("nan")
        return float(np.median(known) if self.median else np.mean(known))


def estimates(
    figures: Mapping[str, PerQuery],
    chances: Mapping[str, float | None],
    clusters: NDArray[np.int64] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    max_bytes: int = _MAX_BYTES,
) -> dict[str, Estimate]:
    """Return each of one or more figures with its percentile 95 % interval and what chance gives, if known.

    Each resample draws as many clusters as there are, with replacement, and counts all queries of a drawn cluster;
    all figures see the same resamples. `clusters` is (N,), equal numbers together; None: each query is its own. The
    draws depend on `seed` alone, not on `max_bytes`, which bounds what is held at once.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13; for clusters Cameron, Gelbach
    and Miller, "Bootstrap-based improvements for inference with clustered errors" (2008), pairs cluster bootstrap.
    Raises ConfigError for less than one resample.
    """
    count = len(next(iter(figures.values())).values)
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in figures}
    for weights in resample_weights(count, clusters, resamples, seed, max_bytes):
        for name, figure in figures.items():
            drawn = _weighted_medians if figure.median else _weighted_means
            parts[name].append(drawn(figure.values, weights))
    found = {}
    for name, figure in figures.items():
        chance = chances.get(name)
        chance = None if chance is None or np.isnan(chance) else chance
        known = int((~np.isnan(figure.values)).sum())
        found[name] = Estimate(figure.value(), *interval(np.concatenate(parts[name])), chance, known)
    return found


def resample_weights(
    count: int, clusters: NDArray[np.int64] | None, resamples: int, seed: int, max_bytes: int = _MAX_BYTES
) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of the queries is drawn, (resamples, count) in blocks of rows, clusters as a whole.

    By hand: SciPy's bootstrap knows no clusters. Raises ConfigError for less than one resample.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; at least 1 expected, 1000 is usual")
    rng = np.random.default_rng(seed)
    number = np.arange(count) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    drawn = int(number.max()) + 1
    block = max(1, max_bytes // (24 * count))
    for start in range(0, resamples, block):
        rows = range(start, min(start + block, resamples))
        draws = [np.bincount(rng.integers(0, drawn, drawn), minlength=drawn) for _ in rows]
        yield np.stack(draws).astype(np.float64)[:, number]


def _weighted_means(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # a resample without any known query has no mean
        means: NDArray[np.float64] = (weights @ np.where(known, values, 0.0)) / (weights @ known.astype(np.float64))
    return means


def _weighted_medians(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each resample as if every query were repeated as often as it was drawn."""
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]  # NaN is sorted to the end
    values = values[order]
    medians = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        drawn = np.cumsum(weight[order])
        if len(drawn) and drawn[-1]:
            middle = np.array([(drawn[-1] - 1) // 2, drawn[-1] // 2])  # one place, or the two around the middle
            medians[row] = values[np.searchsorted(drawn, middle, side="right")].mean()
    return medians


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of a figure's resampled values; NaN without any known value."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


@dataclass(frozen=True)
class TaskResult:
    """One model in one task on one data set."""

    task: str
    """Such as `probe`, `finetune`, `segment`, `audiovisual`, `audio`."""
    dataset: str
    model: str
    """The model as the user named it, such as `random:resnet18`."""
    protocol: str
    """One sentence: what was fitted on what, chosen by what, measured on what."""
    headline: str
    """The name of the figure that the suite's table shows."""
    figures: Mapping[str, Estimate]
    ids: Sequence[str] = ()
    """The test items, in a fixed order; the same order for every model on the same data."""
    scores: Sequence[float] = ()
    """What the headline is the mean of, an item each: 1 or 0 for right or wrong, mIoU of a tile. Pairs models."""
    truth: Sequence[str] = ()
    predicted: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Everything else: classes, rows, what was chosen, seconds, seeds."""

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the lines that the command line prints."""
        width = max(map(len, self.figures)) + 2
        lines = [f"{self.task} on {self.dataset}: {self.model}", f"  {self.protocol}"]
        lines += [f"  caution: {line}" for line in self.facts.get("cautions", ())]
        for name, figure in self.figures.items():
            chance = "" if figure.chance is None else f"   chance {figure.chance:.3f}"
            standing = against_chance(figure.value, figure.chance, figure.low, figure.high)
            standing = f": {standing}" if standing.startswith(("below", "chance")) else ""
            value = f"{figure.value:.3f}  [{figure.low:.3f}, {figure.high:.3f}]"
            lines.append(f"  {name.ljust(width)}{value}{chance}{standing}")
        return one_line_each(lines)


class PluginTask(NamedTuple):
    """A task that a plug-in adds: a function of options."""

    function: Callable[[Any], Any]
    options: type[Options]


#: Options of every task on the command line.
_RESERVED = ("json", "help", "help_all", "debug", "quiet", "log_level", "import")


def plugin_task(name: str, function: Any) -> PluginTask:
    """Return a plug-in's task; its options are the class that its argument is annotated with. Raises ConfigError."""
    if name in TASKS:
        raise ConfigError("earthtone has a task of this name; choose another")
    try:
        inner = unwrap(function)
        kind = get_type_hints(inner)[next(iter(signature(inner).parameters))]
        options = type_hints(kind)
    except (TypeError, ValueError, NameError, KeyError, StopIteration) as error:
        raise ConfigError(
            f"it is {function!r:.80}; a function whose argument is annotated with a dataclass of options expected"
        ) from error
    if not issubclass(kind, Options) or "__dataclass_fields__" not in vars(kind):
        raise ConfigError(f"{kind.__name__} is no dataclass derived from earthtone.value_types.Options")
    if taken := [option for option in options if option in _RESERVED]:
        raise ConfigError(f"--{taken[0]} is an option of every task; call it otherwise")
    return PluginTask(function, kind)


def run_plugin_task(name: str, task: PluginTask, options: Options) -> TaskResult:
    """Return what a plug-in's task measures. Raises ConfigError where it fails, or returns something else."""
    try:
        result = task.function(options)
    except (EarthtoneError, MemoryError):
        raise
    except Exception as error:  # a fault of the plug-in's: --debug shows where
        said = " ".join(str(error).split())[:300]
        raise ConfigError(f"the task {name!r} failed: {type(error).__name__}: {said}; --debug shows where") from error
    if not isinstance(result, TaskResult):
        raise ConfigError(f"the task {name!r} returned a {type(result).__name__}; a TaskResult expected")
    if result.headline not in result.figures or not all(isinstance(e, Estimate) for e in result.figures.values()):
        raise ConfigError(f"the task {name!r} has no figure {result.headline!r:.60}; an Estimate for it expected")
    try:
        json.dumps(result.to_dict())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the result of the task {name!r} is no JSON ({error}); plain values expected") from error
    return result


def write_task_result(path: str | Path | None, result: TaskResult) -> None:
    """Write a result as JSON, whole or not at all; nothing without a path."""
    if path is not None:
        said = {"format": FORMATS["result of a task"], **result.to_dict()}
        write_text_atomic(Path(path), json.dumps(said, indent=1, ensure_ascii=False) + "\n")


def read_task_result(path: Path) -> TaskResult:
    """Return a result written by `write_task_result`. Raises DataError for anything else."""
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
        format_of(values, "result of a task", path)
        values.pop("format", None)
        values["figures"] = {name: Estimate(**figure) for name, figure in values["figures"].items()}
        result = TaskResult(**values)
        if result.headline not in result.figures:
            raise ValueError(f"no figure {result.headline!r}")
        return result
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: no result of a task ({error}); delete it and run the task again") from error


Labels = NDArray[np.str_]
FIGURES = ("accuracy", "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1")


def classification_figures(
    truth: Sequence[str],
    *predictions: Sequence[str],
    clusters: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the figures of `FIGURES` by name, with 95 % percentile bootstrap intervals.

    Several `predictions` of the same N items come from several seeds or draws: each figure is then the mean over them,
    and its interval comes from resampling items and seeds independently (the pigeonhole bootstrap of Owen, "The
    pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007), so that it says both how few items and how few
    seeds there were. `clusters` is (N,): items of equal number are drawn together.

    F1 of a class is 2 TP / (2 TP + FP + FN), its precision 0 where it was never predicted; `macro` is the mean over the
    classes of the truth, `weighted` the mean by their items. The chance of accuracy is the share of the commonest class
    of the truth. Raises DataError for answers that do not fit, ConfigError for less than one resample.
    """
    answers = np.asarray(truth, np.str_)
    said = [np.asarray(predicted, np.str_) for predicted in predictions]
    if not len(answers) or not said or any(len(predicted) != len(answers) for predicted in said):
        found = ", ".join(str(len(predicted)) for predicted in said) or "no"
        raise DataError(f"{found} predictions for {len(answers)} items; one an item expected, of one item or more")
    chances = {"accuracy": float(np.unique(answers, return_counts=True)[1].max() / len(answers))}
    value = np.mean([_figures(np.ones((1, len(answers))), answers, predicted)[:, 0] for predicted in said], axis=0)
    rng = np.random.default_rng([seed, 1])  # other draws than those of the items
    seeds = rng.multinomial(len(said), np.full(len(said), 1 / len(said)), resamples) / len(said)
    parts = []
    for weights in resample_weights(len(answers), clusters, resamples, seed):
        share, seeds = np.split(seeds, [len(weights)])
        parts.append(sum(share[:, at] * _figures(weights, answers, one) for at, one in enumerate(said)))
    resampled = np.concatenate(parts, axis=1)  # (figures, resamples)
    return {
        name: Estimate(float(value[row]), *interval(resampled[row]), chances.get(name), len(answers))
        for row, name in enumerate(FIGURES)
    }


def confusion_counts(truth: Sequence[str], predicted: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return the sorted names of all classes, and item counts (classes, classes), truth by prediction."""
    from sklearn.metrics import confusion_matrix

    names = sorted({*truth, *predicted})
    return names, np.asarray(confusion_matrix(truth, predicted, labels=names), np.int64)


def right_shares(truth: Sequence[str], *predictions: Sequence[str]) -> tuple[float, ...]:
    """Return for each item the share of the predictions (one list a training) that are right: the item's score."""
    answers = np.asarray(truth, np.str_)
    right = np.mean([np.asarray(predicted, np.str_) == answers for predicted in predictions], axis=0)
    return tuple(right.tolist())


def deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation of what several seeds, draws or folds gave; None for a single one."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def accuracy_by_class(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return the share of right answers among the items of each class of the truth."""
    answers, said = np.asarray(truth, np.str_), np.asarray(predicted, np.str_)
    return {str(name): float((said[answers == name] == name).mean()) for name in np.unique(answers)}


def _figures(weights: NDArray[np.float64], truth: Labels, predicted: Labels) -> NDArray[np.float64]:
    """Return (figures, resamples) of items that count `weights` (resamples, N) times."""
    names = np.unique(truth)
    is_truth = (truth[:, None] == names).astype(np.float64)
    is_said = (predicted[:, None] == names).astype(np.float64)
    there, named, right = weights @ is_truth, weights @ is_said, weights @ (is_truth * is_said)
    total, present = there.sum(axis=1), there > 0
    f1 = 2 * right / np.maximum(there + named, 1)
    precision = right / np.maximum(named, 1)
    accuracy = right.sum(axis=1) / total
    weighted = [(score * there).sum(axis=1) / total for score in (precision, f1)]
    macro = np.where(present, f1, 0).sum(axis=1) / present.sum(axis=1)
    return np.stack([accuracy, macro, weighted[0], accuracy, weighted[1]])  # weighted recall is accuracy


_FLIPS = 9999


@dataclass(frozen=True)
class Comparison:
    """The first model against the second, item by item."""

    first: str
    second: str
    headline: str
    difference: Estimate
    """First minus second, with its paired bootstrap interval."""
    p_value: float
    """Two-sided: how often chance alone makes a difference this large when both models are equally good."""
    test: str
    """`mcnemar` for right and wrong, `sign_flip` for scores between."""
    first_better: int
    """Items on which the first scores higher."""
    second_better: int

    def to_text(self) -> str:
        """Return one line for the terminal."""
        gap = self.difference
        return (
            f"{self.first} - {self.second}: {self.headline} {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}], "
            f"p {self.p_value:.2g} ({self.test}; better on {self.first_better}, worse on {self.second_better} of "
            f"{gap.queries} items)"
        )


def compare_results(
    first: TaskResult,
    second: TaskResult,
    *,
    clusters: NDArray[np.int64] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return the paired comparison of two results on the same test items, joined by id.

    Where both scored every item 0 or 1: McNemar's test, in its exact form (the discordant items are a binomial with
    one half; McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika
    12(2), 1947). Otherwise a sign-flip permutation test of the mean difference with 9,999 seeded flips. The interval
    is a paired bootstrap: items are resampled, each with both scores; `clusters` as in `estimates`, in the
    order of `first.ids`. Raises DataError for results of other tasks, headlines or items.
    """
    one, other = paired_scores(first, second)
    gap = one - other
    binary = np.isin(np.concatenate([one, other]), (0.0, 1.0)).all()
    better, worse = int((gap > 0).sum()), int((gap < 0).sum())
    found = estimates({"gap": PerQuery(gap)}, {"gap": 0.0}, clusters, resamples=resamples, seed=seed)
    return Comparison(
        first=first.model,
        second=second.model,
        headline=first.headline,
        difference=found["gap"],
        p_value=mcnemar_p(better, worse) if binary else sign_flip_p(gap, seed),
        test="mcnemar" if binary else "sign_flip",
        first_better=better,
        second_better=worse,
    )


def paired_scores(first: TaskResult, second: TaskResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both models' scores of the same items, in the order of `first.ids`. Raises DataError."""
    for name in ("task", "dataset", "headline"):
        if getattr(first, name) != getattr(second, name):
            raise DataError(
                f"{first.model} and {second.model} cannot be compared: {name} {getattr(first, name)!r} and "
                f"{getattr(second, name)!r}; results of one task on one data set expected"
            )
    by_id = [_scores_by_id(result) for result in (first, second)]
    if by_id[0].keys() != by_id[1].keys():
        only = [sorted(by_id[i].keys() - by_id[1 - i].keys()) for i in (0, 1)]
        example = (only[0] + only[1])[0]
        raise DataError(
            f"{first.model} and {second.model} were tested on other items: {len(only[0])} only in the first, "
            f"{len(only[1])} only in the second, such as {example!r}; run both on the same data and split"
        )
    ids = list(first.ids)
    return np.array([by_id[0][i] for i in ids], np.float64), np.array([by_id[1][i] for i in ids], np.float64)


def mcnemar_p(first_only: int, second_only: int) -> float:
    """Return the exact two-sided p-value of McNemar's test from how many items only one of the two had right."""
    from scipy.stats import binomtest

    total = first_only + second_only
    return float(binomtest(first_only, total, 0.5).pvalue) if total else 1.0


def sign_flip_p(gaps: NDArray[np.float64], seed: int = 0) -> float:
    """Return the two-sided p-value of a mean difference: the share of random sign flips with one as large.

    The flips include the observed signs, so that p is never 0 (Phipson and Smyth, "Permutation p-values should never be
    zero", 2010).
    """
    seen = gaps[np.nonzero(gaps)]  # an item without a difference has no sign
    if not len(seen):
        return 1.0
    rng = np.random.default_rng(seed)
    least = abs(seen.sum()) - 1e-9 * max(1.0, float(np.abs(seen).sum()))
    block = max(1, 2**24 // len(seen))
    extreme = 0
    for start in range(0, _FLIPS, block):
        signs = rng.integers(0, 2, (min(block, _FLIPS - start), len(seen)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ seen) >= least).sum())
    return float((1 + extreme) / (1 + _FLIPS))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return p-values corrected for having made several comparisons, by name.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979.
    """
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p_values}


def _scores_by_id(result: TaskResult) -> dict[str, float]:
    if not len(result.ids) or len(result.ids) != len(result.scores):
        raise DataError(
            f"{result.task} of {result.model}: {len(result.ids)} ids and {len(result.scores)} scores; "
            "one score an item expected, such as evaluate ... --out writes"
        )
    found = dict(zip(result.ids, result.scores, strict=True))
    if len(found) != len(result.ids):
        raise DataError(f"{result.task} of {result.model}: {len(result.ids) - len(found)} ids occur twice")
    return found
