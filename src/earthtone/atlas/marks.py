"""Marks: what people say of hits, right or wrong; a file that several programs append to, and a classifier of them.

The file is CSV with the columns `id,query,verdict,time,who`, one mark a line, UTF-8, no line end within a field:

- `id`: what was marked, as hits are called (`Hit.key`): an id; `image:ID` or `audio:ID` where the index has both;
  `ID@12.5` for the window that begins at 12.5 s. An id alone marks the whole recording.
- `query`: for which query, as results call it (`SearchResult.query`), or any name.
- `verdict`: right, wrong or unsure. Of several marks of one person on one thing the last one counts, unsure takes
  back; between persons the majority counts, a draw leaves it out.
- `time`: when, ISO 8601 in UTC. `who`: any name, or nothing.

A line is appended under a lock (`.NAME.lock` beside the file). A last line without its end is half-written: it is left
out, and the next writer ends it. Text that a spreadsheet would take for a formula has a quote before it, which reading
takes away.
"""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from earthtone.errors import ConfigError, DataError, did_you_mean, one_line
from earthtone.files import append_lines, regular_file

Verdict = Literal["right", "wrong", "unsure"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
#: Marks of each kind below which no classifier is trained, and below which nothing is said of its precision.
NEEDED = 3
NEEDED_TO_MEASURE = 5
_MOST_FOLDS = 5
_NAMED = 3
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_STRENGTH = 0.1  # scikit-learn's C: few marks, many dimensions

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """One line of the file."""

    id: str
    query: str
    verdict: Verdict
    time: str = ""
    who: str = ""


COLUMNS = tuple(field.name for field in fields(Mark))


@dataclass(frozen=True)
class Marks:
    """The marks of a file, or of a program, and why lines of it are left out."""

    marks: tuple[Mark, ...]
    problems: tuple[str, ...] = ()
    name: str = "marks"

    def queries(self) -> dict[str, int]:
        """Return how many marks each query has, most first."""
        return dict(Counter(mark.query for mark in self.marks).most_common())

    def of(self, query: str | None) -> "Marks":
        """Return the marks of one query; without a name the only one there is. Raises ConfigError, DataError."""
        known = self.queries()
        if not known:
            why = f" ({self.problems[0]})" if self.problems else ""
            raise DataError(f"{self.name}: no marks{why}; lines of {','.join(COLUMNS)} expected")
        if query is None and len(known) > 1:
            shown = ", ".join(f"{name!r:.60} ({count})" for name, count in list(known.items())[:_NAMED])
            raise ConfigError(
                f"{self.name} has marks of {len(known)} queries ({shown}); choose one: --marks_query NAME"
            )
        if query is not None and query not in known:
            shown = ", ".join(f"{name!r:.60} ({count})" for name, count in list(known.items())[:_NAMED])
            raise ConfigError(
                f"{self.name} has no marks of the query {query!r:.80}; {did_you_mean(query, known)}it has marks of "
                f"{shown}: --marks_query NAME"
            )
        chosen = next(iter(known)) if query is None else query
        return Marks(tuple(mark for mark in self.marks if mark.query == chosen), self.problems, self.name)

    def verdicts(self) -> tuple[dict[str, bool], int]:
        """Return which ids are right and which are wrong, and how many are disputed or unsure."""
        latest: dict[tuple[str, str], str] = {}
        for mark in self.marks:
            latest[mark.id, mark.who] = mark.verdict
        votes: dict[str, int] = {}
        for (name, _), verdict in latest.items():
            votes[name] = votes.get(name, 0) + {"right": 1, "wrong": -1, "unsure": 0}[verdict]
        decided = {name: vote > 0 for name, vote in votes.items() if vote}
        return decided, len(votes) - len(decided)


def read_marks(path: str | Path) -> Marks:
    """Return the marks of a file; lines that are none are counted in `problems`, each with its number and why.

    Raises DataError for a file that cannot be read, or whose first line lacks one of the columns.
    """
    try:
        data = regular_file(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}; a file of marks ({','.join(COLUMNS)}) expected") from error
    *lines, rest = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    problems = [f"line {len(lines) + 1} has no end: half-written, left out"] if rest.strip() else []
    if not lines:
        if problems:
            raise DataError(f"{path}: its first line has no end; {','.join(COLUMNS)} expected")
        return Marks((), (), str(path))
    try:
        columns = [name.strip().lower() for name in _cells(lines[0])]
    except ValueError as error:
        raise DataError(f"{path}: line 1: {error}; {','.join(COLUMNS)} expected") from error
    if lacking := [name for name in COLUMNS if columns.count(name) != 1]:
        raise DataError(f"{path}: its first line lacks {', '.join(lacking)}; {','.join(COLUMNS)} expected")
    at = [columns.index(name) for name in COLUMNS]
    marks = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            cells = _cells(line)
            if len(cells) != len(columns):
                raise ValueError(f"{len(cells)} fields, {len(columns)} expected")
            marks.append(_mark(*(_unguarded(cells[place]) for place in at)))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    return Marks(tuple(marks), tuple(problems), str(path))


def _cells(line: bytes) -> list[str]:
    try:
        [cells] = csv.reader([line.decode("utf-8").removesuffix("\r")], strict=True)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"no line of CSV ({str(error)[:80]})") from error
    return cells


def _mark(name: str, query: str, verdict: str, time: str, who: str) -> Mark:
    word = verdict.strip().lower()
    if not name:
        raise ValueError("no id")
    if word not in VERDICTS:
        raise ValueError(f"verdict {verdict[:40]!r}; {did_you_mean(word, VERDICTS)}{', '.join(VERDICTS)} expected")
    return Mark(name, query, word, time, who)  # type: ignore[arg-type]


def add_marks(path: str | Path, marks: Iterable[Mark]) -> int:
    """Append marks to a file, made with its first line where there is none; return how many. Safe beside other writers.

    A mark without a time gets the present one. Raises ConfigError for a verdict that is none, DataError where the file
    cannot be written; then it is as it was.
    """
    path = Path(path)
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    lines = []
    for mark in marks:
        if mark.verdict not in VERDICTS or not mark.id:
            raise ConfigError(
                f"a mark of id {mark.id!r:.60} with the verdict {mark.verdict!r:.40}; an id, and right, wrong or "
                "unsure expected"
            )
        values = [*astuple(mark)[:3], mark.time or now, mark.who]
        lines.append(_line([_guarded(one_line(str(value))) for value in values]))
    append_lines(path, _line(COLUMNS), lines)
    return len(lines)


def _line(values: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


def _guarded(text: str) -> str:
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_FORMULA) else text


# A classifier of marked rows.


@dataclass(frozen=True)
class MarkedRows:
    """Vectors (N, D) of what was marked, and to which mark each belongs: a recording's windows share one."""

    keys: tuple[str, ...]
    """(M) of the marks."""
    right: NDArray[np.bool_]
    """(M) whether they are right."""
    vectors: Floats
    mark: NDArray[np.int64]
    """(N) number of each row's mark."""

    @property
    def counts(self) -> tuple[int, int]:
        """Return how many marks are right and how many wrong."""
        return int(self.right.sum()), int((~self.right).sum())

    def take(self, marks: NDArray[np.int64]) -> "MarkedRows":
        """Return some of the marks with their rows."""
        kept = np.isin(self.mark, marks)
        number = np.full(len(self.keys), -1)
        number[marks] = np.arange(len(marks))
        keys = tuple(self.keys[at] for at in marks)
        return MarkedRows(keys, self.right[marks], self.vectors[kept], number[self.mark[kept]])

    def best(self, scores: Floats) -> Floats:
        """Return the score (M) of each mark: that of its best row."""
        found = np.full(len(self.keys), -np.inf)
        np.maximum.at(found, self.mark, scores)
        return found


@dataclass(frozen=True)
class Decision:
    """A plane between right and wrong: `weights` (D,) and `bias`; above 0 is right."""

    weights: Floats
    bias: float

    def logits(self, vectors: Floats) -> Floats:
        """Return the log-odds (N) of being right."""
        return np.asarray(vectors @ self.weights + self.bias, np.float64)


def probability(logits: Floats | float) -> Floats:
    """Return 1 / (1 + exp(-logit))."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float64))))


def fit_decision(marked: MarkedRows) -> Decision:
    """Return a logistic regression of marked rows; the same rows give the same one, in any order.

    Rows are centred and brought to a mean squared length of D, so that one strength of the L2 penalty serves all
    models. Right and wrong weigh the same, and so do marks: one of ten windows is ten rows of a tenth.
    """
    order = np.lexsort([*marked.vectors.T[::-1], marked.right[marked.mark]])
    vectors, mark = marked.vectors[order], marked.mark[order]
    right = marked.right[mark]
    centre = vectors.mean(axis=0)
    scale = float(np.sqrt(np.square(vectors - centre).sum(axis=1).mean() / vectors.shape[1])) or 1.0
    share = 1.0 / np.bincount(mark, minlength=len(marked.keys))[mark]
    for side in (right, ~right):
        share[side] *= len(marked.keys) / 2 / share[side].sum()
    model = LogisticRegression(C=_STRENGTH, solver="lbfgs", max_iter=1000, tol=1e-8)
    model.fit((vectors - centre) / scale, right, sample_weight=share)
    weights = np.asarray(model.coef_[0] / scale, np.float64)
    return Decision(weights, float(model.intercept_[0] - weights @ centre))


def held_out_logits(marked: MarkedRows) -> Floats:
    """Return the log-odds (M) of each mark by a classifier that was not trained on it, of up to 5 folds.

    Marks with one and the same vector are never divided. Folds are dealt by a hash of the ids, right and wrong apart,
    so that they do not depend on the order of the marks.
    """
    folds = min(_MOST_FOLDS, *marked.counts)
    fold = np.zeros(len(marked.keys), np.int64)
    groups = _twins(marked)
    for side in (True, False):
        names = sorted({groups[at] for at in np.flatnonzero(marked.right == side)}, key=_digest)
        number = {name: place % folds for place, name in enumerate(names)}
        for at in np.flatnonzero(marked.right == side):
            fold[at] = number[groups[at]]
    first = {groups[at]: int(fold[at]) for at in reversed(range(len(groups)))}
    fold = np.array([first[name] for name in groups], np.int64)  # twins of two verdicts stay together, too
    found = np.zeros(len(marked.keys))
    for held in range(folds):
        out, rest = np.flatnonzero(fold == held), np.flatnonzero(fold != held)
        if not len(out):
            continue
        learnt = marked.take(rest)
        if 0 in learnt.counts:
            found[out] = 0.0  # all of one kind are twins: nothing was learnt
            continue
        part = marked.take(out)
        found[out] = part.best(fit_decision(learnt).logits(part.vectors))
    return found


def _twins(marked: MarkedRows) -> list[str]:
    """Return the name of each mark's group: the first key, by order of the alphabet, of marks that share a vector."""
    holder: dict[bytes, int] = {}
    parent = list(range(len(marked.keys)))

    def root(at: int) -> int:
        while parent[at] != at:
            at = parent[at]
        return at

    for vector, mark in zip(marked.vectors, marked.mark.tolist(), strict=True):
        other = holder.setdefault(vector.tobytes(), mark)
        parent[root(mark)] = root(other)
    names: dict[int, str] = {}
    for at, key in enumerate(marked.keys):
        names[root(at)] = min(key, names.get(root(at), key))
    return [names[root(at)] for at in range(len(marked.keys))]


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()


@dataclass(frozen=True)
class MarkReport:
    """What was learnt of marks, and how precision changed on marks that were held out."""

    right: int
    wrong: int
    left_out: int
    """Disputed, unsure, or not in the index."""
    precision_before: float | None = None
    """Share of right ones among the first `right` marks as the query ranks them; without a query, among all marks."""
    precision_after: float | None = None
    """The same by classifiers that were not trained on the mark; None where the marks are too few to measure."""
    by_query: bool = False
    too_few: bool = False
    """No classifier was trained: right and wrong marks are a query with + and -."""
    problems: tuple[str, ...] = ()
    not_there: tuple[str, ...] = ()
    """Marked ids that are not in the index."""

    def lines(self) -> Iterator[str]:
        """Yield what is said of it."""
        more = f"; {self.left_out} left out (disputed, unsure or not in the index)" if self.left_out else ""
        yield f"{self.right} marks right, {self.wrong} wrong{more}"
        if self.not_there:
            yield f"not in the index: {first_names(self.not_there)}"
        if self.too_few:
            yield (
                f"too few marks for a classifier, {NEEDED} right and {NEEDED} wrong needed: ranked as --like the right "
                "and --unlike the wrong ones"
            )
        elif self.precision_before is None or self.precision_after is None:
            yield (
                f"too few marks to tell how precision changed: {NEEDED_TO_MEASURE} right and {NEEDED_TO_MEASURE} wrong "
                "needed"
            )
        else:
            before = (
                f"{self.precision_before:.2f} by the query"
                if self.by_query
                else (f"{self.precision_before:.2f} of all marks are right")
            )
            yield (
                f"precision of the first {self.right} of {self.right + self.wrong} marks: {before}, "
                f"{self.precision_after:.2f} by classifiers that had not seen the mark "
                f"({self.precision_after - self.precision_before:+.2f})"
            )
        if self.problems:
            yield f"{len(self.problems)} lines of the marks are left out: {self.problems[0]}"

    def to_dict(self) -> dict[str, object]:
        """Return it ready for JSON."""
        return {
            "right": self.right, "wrong": self.wrong, "left_out": self.left_out,
            "precision_before": self.precision_before, "precision_after": self.precision_after,
            "before_is": "the query's" if self.by_query else "the share of right marks", "too_few": self.too_few,
            "problems": list(self.problems), "not_there": list(self.not_there),
        }  # fmt: skip


def first_names(ids: Sequence[str]) -> str:
    """Return the first three ids, and how many there are beside them."""
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return ", ".join(one_line(name, 60) for name in ids[:_NAMED]) + more


def precision_of_first(scores: Floats, right: NDArray[np.bool_], keys: Sequence[str]) -> float:
    """Return the share of right ones among the first R marks, R being how many are right; ties by key."""
    order = sorted(range(len(keys)), key=lambda at: (-scores[at], keys[at]))
    count = int(right.sum())
    return float(np.mean([right[at] for at in order[:count]])) if count else 0.0


def report_marks(
    marked: MarkedRows,
    by_query: Floats | None,
    left_out: int,
    problems: Sequence[str] = (),
    not_there: Sequence[str] = (),
) -> MarkReport:
    """Return how precision changed: `by_query` are the query's scores (M) of the marks, None without a query."""
    right, wrong = marked.counts
    before = after = None
    if min(right, wrong) >= NEEDED_TO_MEASURE:
        after = precision_of_first(held_out_logits(marked), marked.right, marked.keys)
        before = (
            right / (right + wrong) if by_query is None else precision_of_first(by_query, marked.right, marked.keys)
        )
    return MarkReport(
        right, wrong, left_out, before, after, by_query is not None, problems=tuple(problems),
        not_there=tuple(not_there),
    )  # fmt: skip
