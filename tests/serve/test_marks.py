"""Marks of the page: kept before they are acknowledged, of several people at once, through a killed server."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from page_server import Answer, ask, page_of

from earthtone.atlas.marks import Mark, add_marks, read_marks
from earthtone.serve.queries import query_name


def say(port: Any, key: str, verdict: str = "right", query: str = "surf", who: str = "") -> Answer:
    body = json.dumps({"key": key, "query": query, "verdict": verdict, "who": who})
    return ask(port, "/api/marks", body, content_type="application/json")


def test_marks_rank_and_are_taken_back(tiny_index: Path, tmp_path: Path) -> None:
    file = tmp_path / "marks.csv"
    with page_of(tiny_index, marks=file, who="ana") as page:
        keys = [ask(page, f"/api/items/{row}").json["key"] for row in range(48)]
        sounds = [key for key in keys if key.startswith("audio:")]
        assert ask(page, "/api/marks?query=surf").json == {"marks": [], "of": 0, "queries": {}, "problems": []}
        for at, key in enumerate(sounds[:10]):
            answer = say(page, key, "right" if at % 2 else "wrong")
            assert answer.status == 201 and answer.json["who"] == "ana"
            assert read_marks(file).marks[-1].id == key  # it is there when it is acknowledged
        body = {"like": [], "find": "audio", "k": 30, "marks": {"query": "surf", "on": True}}
        found = ask(page, "/api/search", json.dumps(body), content_type="application/json").json
        assert "classifier" in found["score_is"] and found["query"] == "surf"
        assert found["marks"]["right"] == found["marks"]["wrong"] == 5 and found["marks"]["says"]
        verdicts = {hit["key"]: hit["verdict"] for hit in found["hits"]}
        assert [verdicts[key] for key in sounds[:4]] == ["wrong", "right", "wrong", "right"]
        body["borderline"] = True
        edge = ask(page, "/api/search", json.dumps(body), content_type="application/json").json
        assert not {hit["key"] for hit in edge["hits"]} & set(sounds[:10])
        for key in sounds[:10]:
            assert say(page, key, "unsure").status == 201
        body["borderline"] = False
        refusal = ask(page, "/api/search", json.dumps(body), content_type="application/json")
        assert refusal.status == 422 and "mark a few hits first" in refusal.error
        add_marks(file, [Mark(sounds[0], "surf", "right", who="another program")])
        assert ask(page, "/api/marks?query=surf").json["queries"] == {"surf": 21}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"key": "no such row", "query": "q", "verdict": "right"}, 404),
        ({"key": "", "query": "q", "verdict": "right"}, 422),
        ({"key": "x", "query": "q", "verdict": "maybe"}, 422),
        ({"key": "x", "query": "q" * 301, "verdict": "right"}, 422),
        ({"key": "x", "query": "q", "verdict": "right", "who": "w" * 81}, 422),
        ({"key": "x", "query": "q"}, 422),
        ({"key": "x", "query": "q", "verdict": "right", "more": 1}, 422),
    ],
)
def test_marks_that_are_none(page: Any, body: Any, status: int) -> None:
    answer = ask(page, "/api/marks", json.dumps(body), content_type="application/json")
    assert answer.status == status and answer.error


def test_marks_have_limits(tiny_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earthtone.serve.queries._MARKS_AT_ONCE", 4)
    monkeypatch.setattr("earthtone.serve.queries._MARKS_A_SECOND", 0.01)
    with page_of(tiny_index, marks=tmp_path / "marks.csv") as page:
        key = ask(page, "/api/items/0").json["key"]
        assert [say(page, key, who=f"{n}").status for n in range(5)] == [201] * 4 + [429]
        told = ask(page, "/api/marks?query=surf&skip=1&count=2").json
        assert [mark["who"] for mark in told["marks"]] == ["1", "2"] and told["of"] == 4
        assert ask(page, "/api/marks?skip=9").json["marks"] == []
        for wrong in ("skip=-1", "count=0", "count=10001", f"query={'q' * 301}"):
            assert ask(page, f"/api/marks?{wrong}").status == 422
    monkeypatch.setattr("earthtone.serve.queries.MOST_MARKS_BYTES", 50)
    with page_of(tiny_index, marks=tmp_path / "marks.csv") as page:
        answer = say(page, key)
        assert answer.status == 409 and "--marks" in answer.error
    assert len(query_name("x" * 5000)) <= 300 and query_name("x" * 5000) != query_name("x" * 5001)


def test_a_file_that_cannot_be_written_is_told(tiny_index: Path, tmp_path: Path) -> None:
    (tmp_path / "marks.csv").mkdir()
    with page_of(tiny_index, marks=tmp_path / "marks.csv") as page:
        answer = say(page, ask(page, "/api/items/0").json["key"])
        assert answer.status == 422 and "marks.csv" in answer.error and str(tmp_path) not in answer.error


@pytest.mark.slow
def test_a_killed_server_loses_no_mark_that_it_acknowledged(tiny_index: Path, tmp_path: Path) -> None:
    file, kept = tmp_path / "marks.csv", []
    process = subprocess.Popen(
        [sys.executable, "-m", "earthtone", "serve", str(tiny_index), "--port", "0", "--marks", str(file)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    line = next(line for line in process.stdout if "http://" in line)
    port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
    keys = [ask(port, f"/api/items/{row}").json["key"] for row in range(48)]

    def mark(person: int) -> None:
        for number in range(10_000):
            query = f"{person}-{number}"
            try:
                answer = say(port, keys[number % 48], query=query, who=f"person {person}")
            except (OSError, HTTPException):
                return  # killed
            if answer.status == 201:
                kept.append(query)

    with ThreadPoolExecutor(4) as people:
        jobs = [people.submit(mark, person) for person in range(4)]
        started = time.monotonic()
        while len(kept) < 100 and time.monotonic() - started < 30:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        for job in jobs:
            job.result()
    process.wait()
    process.stdout.close()
    assert len(kept) >= 100 and len(set(kept)) == len(kept)
    assert set(kept) <= {mark.query for mark in read_marks(file).marks}
    with page_of(tiny_index, marks=file) as page:  # the next server goes on in the same file
        assert say(page, keys[0], query="afterwards").status == 201
        told = ask(page, "/api/marks").json
        assert set(kept) | {"afterwards"} <= set(told["queries"]) and len(told["problems"]) <= 1
