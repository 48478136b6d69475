"""Marks: the file and its many writers, the classifier beside scikit-learn's own, and what is said of precision."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from atlas_world import drawn, unit_vectors, windows_and_tiles
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from earthtone.atlas.embeddings import open_embeddings
from earthtone.atlas.marks import (
    COLUMNS,
    Decision,
    Mark,
    MarkedRows,
    Marks,
    add_marks,
    fit_decision,
    held_out_logits,
    precision_of_first,
    probability,
    read_marks,
)
from earthtone.atlas.search import open_index
from earthtone.cli import main
from earthtone.errors import ConfigError, DataError

# The file.


def test_what_is_written_is_read_and_a_spreadsheet_opens_it(tmp_path: Path) -> None:
    marks = [
        Mark("pair-1", "a.wav", "right", "2026-01-01T10:00:00Z", "ann"),
        Mark('ta,"il\n\x1b', "+ a.wav - b.jpg", "wrong", "2026-01-01T10:00:01Z"),
        Mark("=cmd()", "'-1", "unsure", "t", "@bob"),
        Mark("'=x", "-3", "right", "t", "'plain"),
    ]
    assert add_marks(tmp_path / "m.csv", marks) == 4
    read = read_marks(tmp_path / "m.csv")
    assert read.problems == ()
    assert read.marks == (marks[0], Mark('ta,"il\\n\\x1b', *list(vars(marks[1]).values())[1:]), *marks[2:])
    rows = list(csv.reader((tmp_path / "m.csv").open(newline="")))
    assert rows[0] == list(COLUMNS) and len(rows) == 5
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)


TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S"), include_characters=" "))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXT.filter(bool), TEXT), min_size=1, max_size=3))
def test_any_text_that_can_be_seen_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]
) -> None:
    file = tmp_path_factory.mktemp("any") / "m.csv"
    marks = tuple(Mark(name, query, "right", "2026-01-01T00:00:00Z", query) for name, query in texts)
    add_marks(file, marks)
    assert read_marks(file).marks == marks


def test_a_time_is_written_where_none_was_given(tmp_path: Path) -> None:
    add_marks(tmp_path / "m.csv", [Mark("a", "q", "right")])
    [mark] = read_marks(tmp_path / "m.csv").marks
    assert mark.time.endswith("Z") and mark.time[:2] == "20" and "T" in mark.time


def test_a_half_written_last_line_is_left_out_and_ended_by_the_next_writer(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    add_marks(file, [Mark("a", "q", "right", "t"), Mark("b", "q", "wrong", "t")])
    whole = file.read_bytes()
    for cut in range(len(whole.split(b"\n")[0]) + 1, len(whole)):
        file.write_bytes(whole[:cut])
        read = read_marks(file)
        lines = whole[:cut].split(b"\n")
        assert [mark.id for mark in read.marks] == ["a", "b"][: len(lines) - 2]
        assert len(read.problems) == bool(lines[-1].strip())
        add_marks(file, [Mark("c", "q", "right", "t")])
        after = read_marks(file)
        assert after.marks[-1].id == "c" and [m.id for m in after.marks][: len(read.marks)] == [
            m.id for m in read.marks
        ]
        assert all("half-written" not in problem for problem in after.problems)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", None),
        ("id,query,verdict,time,who\n", None),
        ("id,query,verdict,time\na,q,right,t\n", "lacks who"),
        ("id,query,verdict", "first line has no end"),
        ('"id,query\n', "no line of CSV"),
        ("\x00\xff\n", "lacks id"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, text: str, told: str | None) -> None:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    if told is None:
        with pytest.raises(DataError, match="no marks"):
            read_marks(tmp_path / "m.csv").of(None)
    else:
        with pytest.raises(DataError, match=told):
            read_marks(tmp_path / "m.csv")
    with pytest.raises(DataError, match="a file of marks"):
        read_marks(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="a folder"):
        read_marks(tmp_path)


def test_lines_that_are_none_are_counted_and_columns_may_stand_otherwise(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(
        b"\xef\xbb\xbfwho,Verdict,id,query,time,more\r\n"
        b"ann,RIGHT,a,q,t,x\r\n\r\nann,maybe,b,q,t,x\r\nann,right,,q,t,x\r\nann,right,c\r\n\xff,right,d,q,t,x\r\n"
    )
    read = read_marks(tmp_path / "m.csv")
    assert [(mark.id, mark.verdict, mark.who) for mark in read.marks] == [("a", "right", "ann")]
    assert [problem[:6] for problem in read.problems] == ["line 4", "line 5", "line 6", "line 7"]


_WRITER = """
import sys
from pathlib import Path
from earthtone.atlas.marks import Mark, add_marks
for n in range(int(sys.argv[3])):
    add_marks(Path(sys.argv[1]), [Mark(f"{sys.argv[2]}-{n}", "q" * 300, "right", "t", sys.argv[2])])
    print(n, flush=True)
"""


@pytest.mark.slow
def test_several_writers_lose_nothing_and_one_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "marks" / "m.csv"
    command = [sys.executable, "-c", _WRITER, str(file)]
    writers = [subprocess.Popen([*command, name, "60"], stdout=subprocess.PIPE, text=True) for name in "ab"]
    killed = subprocess.Popen([*command, "k", "100000"], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    for _ in range(30):
        killed.stdout.readline()
    os.kill(killed.pid, signal.SIGKILL)
    told = 30 + len(killed.stdout.readlines())
    killed.wait()
    assert [writer.wait() for writer in writers] == [0, 0]
    for writer in writers:
        writer.communicate()
    read = read_marks(file)
    count = {name: [m.id for m in read.marks if m.who == name] for name in "abk"}
    assert count["a"] == [f"a-{n}" for n in range(60)] and count["b"] == [f"b-{n}" for n in range(60)]
    assert told <= len(count["k"]) <= told + 1 and read.problems == ()


@pytest.mark.slow
def test_a_writer_that_cannot_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    add_marks(file, [Mark("a", "q", "right", "t")])
    before = file.read_bytes()
    code = (  # a file may grow to so many bytes in this process: as a full disk does
        "import resource, signal, sys\nfrom earthtone.atlas.marks import Mark, add_marks\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 20}, -1))\n"
        f"add_marks({str(file)!r}, [Mark('b' * 50, 'q', 'right', 't')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "DataError: cannot write" in done.stderr
    assert file.read_bytes() == before
    with pytest.raises(ConfigError, match="right, wrong or unsure"):
        add_marks(file, [Mark("a", "q", "Richtig")])  # type: ignore[arg-type]
    assert file.read_bytes() == before


def test_the_last_mark_of_a_person_and_the_majority_count() -> None:
    rows = [
        ("a", "right", "ann"), ("a", "wrong", "ann"),  # took it back
        ("b", "right", "ann"), ("b", "wrong", "bob"),  # a draw
        ("c", "right", "ann"), ("c", "wrong", "bob"), ("c", "right", "eve"),
        ("d", "right", "ann"), ("d", "unsure", "ann"),
    ]  # fmt: skip
    marks = Marks(tuple(Mark(name, "q", verdict, "", who) for name, verdict, who in rows))  # type: ignore[arg-type]
    assert marks.verdicts() == ({"a": False, "c": True}, 2)


def test_which_query_is_chosen() -> None:
    marks = Marks((Mark("a", "surf", "right"), Mark("b", "surf", "wrong"), Mark("a", "birds", "right")))
    with pytest.raises(ConfigError, match=r"2 queries \('surf' \(2\), 'birds' \(1\)\); choose one: --marks_query"):
        marks.of(None)
    with pytest.raises(ConfigError, match="did you mean birds"):
        marks.of("bird")
    assert [mark.id for mark in marks.of("birds").marks] == ["a"]


# The classifier.


def marked(count: int, seed: int, apart: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return vectors (count, 8) of length 1 and whether they are right, which a direction tells."""
    draw = np.random.default_rng(seed)
    right = np.arange(count) % 2 == 0
    vectors = draw.normal(size=(count, 8)) + apart * np.where(right, 1, -1)[:, None] * np.eye(8)[0] + 2 * np.eye(8)[1]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), right


def of_rows(vectors: NDArray[np.float64], right: NDArray[np.bool_]) -> MarkedRows:
    return MarkedRows(tuple(f"m{n:03d}" for n in range(len(right))), right, vectors, np.arange(len(right)))


def test_it_is_scikit_learns_logistic_regression_of_scaled_rows() -> None:
    vectors, right = marked(30, 0, 1.0)
    vectors, right = vectors[:25], right[:25]
    centred = vectors - vectors.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=1).mean() / 8)
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000, tol=1e-10).fit(centred / scale, right)
    other = marked(50, 9, 0.5)[0]
    wanted = model.predict_proba((other - vectors.mean(axis=0)) / scale)[:, 1]
    np.testing.assert_allclose(probability(fit_decision(of_rows(vectors, right)).logits(other)), wanted, atol=1e-4)


def test_the_order_and_the_scale_of_rows_change_nothing() -> None:
    vectors, right = marked(20, 1, 1.0)
    one = fit_decision(of_rows(vectors, right))
    order = np.random.default_rng(0).permutation(20)
    other = fit_decision(of_rows(vectors[order], right[order]))
    np.testing.assert_array_equal(one.weights, other.weights)
    assert one.bias == other.bias
    far = fit_decision(of_rows(100 * vectors + 5, right))
    np.testing.assert_allclose(far.logits(100 * vectors + 5), one.logits(vectors), atol=1e-4)


def test_a_mark_of_many_windows_weighs_as_one_of_one() -> None:
    vectors, right = marked(12, 2, 1.0)
    one = of_rows(vectors, right)
    again = MarkedRows(
        one.keys, right, np.concatenate([vectors, vectors[:1], vectors[:1]]), np.append(np.arange(12), [0, 0])
    )
    centre = np.average(again.vectors, axis=0)
    assert not np.allclose(
        centre, one.vectors.mean(axis=0)
    )  # what is scaled differs a little, what is weighed does not
    np.testing.assert_allclose(probability(fit_decision(one).logits(vectors)),
                               probability(fit_decision(again).logits(vectors)), atol=0.03)  # fmt: skip


def test_a_held_out_mark_is_judged_by_others_alone() -> None:
    vectors, right = marked(40, 3, 1.5)
    found = held_out_logits(of_rows(vectors, right))
    assert ((found > 0) == right).mean() > 0.8
    draw = np.random.default_rng(0)
    noise = [held_out_logits(of_rows(draw.normal(size=(40, 64)), right)) for _ in range(6)]
    agreement = np.mean([((each > 0) == right).mean() for each in noise])
    assert agreement < 0.62  # 64 dimensions separate any 40 marks: who sees the mark itself gets 1.0


def test_marks_with_one_vector_are_held_out_together() -> None:
    draw = np.random.default_rng(4)
    base = draw.normal(size=(10, 64))
    vectors, right = np.concatenate([base, base]), np.tile(np.arange(10) < 5, 2)
    agreement = np.mean((held_out_logits(of_rows(vectors, right)) > 0) == right)
    assert agreement < 0.8  # a twin in training would give 1.0


def test_precision_of_the_first_is_counted_by_hand() -> None:
    right = np.array([True, False, True, False, True])
    assert precision_of_first(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), right, list("abcde")) == pytest.approx(2 / 3)
    assert precision_of_first(np.zeros(5), right, list("abcde")) == pytest.approx(2 / 3)  # ties by key
    assert precision_of_first(np.array([5.0, 1, 5, 1, 5]), right, list("abcde")) == 1.0


# In a search.


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 tiles; what is right is told by two of eight numbers."""
    columns: dict[str, list[Any]] = {"id": [f"t{n:03d}" for n in range(300)], "modality": ["image"] * 300}
    return drawn(tmp_path_factory.mktemp("marked"), columns, unit_vectors(300, 2))


def truth(world: Path) -> dict[str, bool]:
    table = open_embeddings(world)
    vectors = table.vectors()
    ids = table.columns(["id"])["id"].to_pylist()
    return {name: bool(vector[0] + vector[1] > 0.3) for name, vector in zip(ids, vectors, strict=True)}


def marks_of(world: Path, count: int, query: str = "q") -> Marks:
    known = truth(world)
    return Marks(tuple(Mark(name, query, "right" if known[name] else "wrong") for name in list(known)[:count]))


def test_marks_rank_by_the_classifier_and_precision_is_told(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known, marks = truth(world), marks_of(world, 60)
    index = open_index(world)
    result = index.search(marks=marks, k=300)
    table = open_embeddings(world)
    vectors, ids = table.vectors().astype(np.float64), table.columns(["id"])["id"].to_pylist()
    decision = fit_decision(of_rows(vectors[:60], np.array([known[name] for name in ids[:60]])))
    scores = probability(decision.logits(vectors))
    wanted = sorted(
        range(300), key=lambda n: (-np.float32(decision.logits(vectors[n : n + 1])[0] - decision.bias), ids[n])
    )
    assert [hit.id for hit in result.hits] == [ids[n] for n in wanted]
    np.testing.assert_allclose([hit.score for hit in result.hits], scores[wanted], atol=1e-6)
    assert "probability of being right" in result.score_is
    unmarked = [hit for hit in result.hits if hit.verdict is None]
    assert len(unmarked) == 240 and {hit.verdict for hit in result.hits} == {None, "right", "wrong"}
    assert np.mean([known[hit.id] for hit in unmarked[:30]]) > 0.9
    report = result.marks
    assert report is not None and report.precision_before is not None and report.precision_after is not None
    assert report.precision_before == pytest.approx(report.right / 60) and not report.by_query
    assert report.precision_after > report.precision_before + 0.2
    by_query = index.search("t250", marks=marks, k=5).marks
    assert by_query is not None and by_query.by_query and by_query.precision_after == report.precision_after
    cosine = vectors[:60] @ vectors[250]
    first = sorted(range(60), key=lambda n: (-np.float32(cosine[n]), ids[n]))[: report.right]
    assert by_query.precision_before == pytest.approx(np.mean([known[ids[n]] for n in first]))
    add_marks(tmp_path / "m.csv", marks.marks)
    assert main(["search", str(world), "--marks", str(tmp_path / "m.csv"), "--k", "3"]) == 0
    out = capsys.readouterr().out
    assert (
        f"precision of the first {report.right} of 60 marks: {report.precision_before:.2f} of all marks are right"
        in out
    )
    assert f"({report.precision_after - report.precision_before:+.2f})" in out and out.startswith("q: 3 of 300 images")
    assert main(["search", str(world), "--marks", str(tmp_path / "m.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["marks"]["precision_after"] == report.precision_after


def test_borderline_hits_are_unmarked_and_nearest_to_the_target(world: Path) -> None:
    index, marks = open_index(world), marks_of(world, 60)
    whole = {hit.id: hit for hit in index.search(marks=marks, k=300).hits}
    for target in (None, 0.8):
        result = index.search(marks=marks, k=7, borderline=True, target_score=target)
        at = 0.5 if target is None else target
        wanted = sorted((abs(hit.score - at), name) for name, hit in whole.items() if hit.verdict is None)[:7]
        assert [hit.id for hit in result.hits] == [name for _, name in wanted]
        assert result.target == at and result.searched == 240
        ranks = sorted(hit.score for hit in whole.values() if hit.verdict is None)
        behind = [100 * np.searchsorted(ranks, hit.score) / 239 for hit in result.hits]
        np.testing.assert_allclose([hit.percentile for hit in result.hits], behind, atol=1e-9)
    plain = index.search("t000", k=300, find="image").hits
    near = index.search("t000", k=5, borderline=True, target_score=0.3).hits
    wanted = sorted((abs(hit.score - 0.3), hit.id) for hit in plain)[:5]
    assert [hit.id for hit in near] == [name for _, name in wanted]


def test_few_marks_are_said_so(world: Path) -> None:
    index, known = open_index(world), truth(world)
    right = [name for name in known if known[name]][:4]
    wrong = [name for name in known if not known[name]][:4]

    def of(rights: int, wrongs: int) -> Marks:
        names = [*right[:rights], *wrong[:wrongs]]
        return Marks(tuple(Mark(name, "q", "right" if known[name] else "wrong") for name in names))

    few = index.search(marks=of(2, 1), k=3)
    assert few.marks is not None and "too few marks for a classifier" in few.to_text() and "cosine" in few.score_is
    vectors = open_embeddings(world).vectors()
    ids = list(known)
    plus, minus = (vectors[[ids.index(name) for name in names]] for names in (right[:2], wrong[:1]))
    query = 2 * plus.mean(axis=0) - minus.mean(axis=0)
    wanted = np.argsort(-(vectors @ query))[:3]
    assert [hit.id for hit in few.hits] == [ids[n] for n in wanted]
    some = index.search(marks=of(4, 4), k=3)
    assert "probability" in some.score_is and "too few marks to tell how precision changed" in some.to_text()
    with pytest.raises(DataError, match="no mark is right"):
        index.search(marks=of(0, 2))
    with pytest.raises(ConfigError, match="near which score"):
        index.search(marks=of(2, 1), borderline=True)


def test_ids_that_are_not_there_and_lines_that_are_none_are_counted(world: Path, tmp_path: Path) -> None:
    add_marks(tmp_path / "m.csv", [*marks_of(world, 30).marks, Mark("gone", "q", "right")])
    with (tmp_path / "m.csv").open("a") as file:
        file.write("broken line\nhalf")
    result = open_index(world).search(marks=tmp_path / "m.csv", k=3)
    assert result.marks is not None and (result.marks.right + result.marks.wrong, result.marks.left_out) == (30, 1)
    assert "2 lines of the marks are left out" in result.to_text() and "not in the index: gone" in result.to_text()
    gone = Marks(tuple(Mark(f"gone-{number}", "q", "right") for number in range(5)))
    with pytest.raises(DataError, match="none of 5 marked ids is in the index: gone-0, gone-1, gone-2 and 2 more;"):
        open_index(world).search(marks=gone)


def test_a_mark_on_a_recording_is_one_on_all_its_windows(tmp_path: Path) -> None:
    world = windows_and_tiles(tmp_path)
    verdicts: dict[str, str] = {f"rec-{n:02d}": ("right", "wrong")[n % 2] for n in range(12)}
    verdicts["rec-11@2.5"] = "right"
    marks = Marks(tuple(Mark(name, "q", verdict) for name, verdict in verdicts.items()))  # type: ignore[arg-type]
    result = open_index(world).search(marks=marks, k=50)
    assert result.found == "audio" and len(result.hits) == 12
    assert result.marks is not None and (result.marks.right, result.marks.wrong) == (7, 6)
    table = open_embeddings(world)
    columns = table.columns(["id", "start_s", "modality"]).to_pylist()
    keys = sorted(verdicts)
    rows = [
        [
            n
            for n, row in enumerate(columns)
            if row["id"] == key.split("@")[0] and ("@" not in key or row["start_s"] == 2.5)
        ]
        for key in keys
    ]
    vectors = table.vectors(np.array([n for each in rows for n in each])).astype(np.float64)
    mark = np.repeat(np.arange(len(keys)), [len(each) for each in rows])
    right = np.array([verdicts[key] == "right" for key in keys])
    decision: Decision = fit_decision(MarkedRows(tuple(keys), right, vectors, mark))
    best: dict[str, float] = {}
    for row, vector in zip(columns, table.vectors().astype(np.float64), strict=True):
        if row["modality"] == "audio":
            score = float(probability(decision.logits(vector[None]))[0])
            best[row["id"]] = max(score, best.get(row["id"], 0.0))
    np.testing.assert_allclose([hit.score for hit in result.hits], sorted(best.values(), reverse=True), atol=1e-6)
