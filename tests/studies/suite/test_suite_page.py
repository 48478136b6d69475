"""The three files: every figure in each, names as they are and harmless, nothing from elsewhere."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from earthtone.evaluate.results import Estimate, TaskResult
from earthtone.studies.study import DONE, FAILED, SKIPPED, WAITING
from earthtone.studies.suite_page import (
    COLUMNS,
    Cell,
    SuiteTable,
    suite_csv,
    suite_page,
    suite_table,
)

ATTACK = "<script>alert(1)</script>|*_`\"'{{ 7*7 }}\nsecond $line$ é\udce9"


def result(model: str, value: float, n: int = 8) -> TaskResult:
    scores = [float(at < value * n) for at in range(n)]
    figure = Estimate(value, value - 0.0625, value + 0.03125, 0.25, n)
    return TaskResult(
        "probe", "set", model, "how", "accuracy", {"accuracy": figure}, [str(i) for i in range(n)], scores
    )


def table(model: str = "second", dataset: str = "set") -> SuiteTable:
    first, second = (replace(result(name, value), dataset=dataset) for name, value in (("first", 0.5), (model, 0.875)))
    cells = [
        Cell("probe", dataset, "first", DONE, first), Cell("probe", dataset, model, DONE, second),
        Cell("finetune", dataset, "first", FAILED, why=f"bad {model}"), Cell("finetune", dataset, model, WAITING),
        Cell("audio", dataset, "first", SKIPPED, why=f"model {model} has no sound encoder: audio skipped"),
        Cell("audio", dataset, model, WAITING),
    ]  # fmt: skip
    return suite_table(cells, "first", resamples=50)


def text_of(html: str) -> str:
    class Text(HTMLParser):
        found = ""

        def handle_data(self, data: str) -> None:
            self.found += data

    page = Text()
    page.feed(html)
    return page.found


def test_csv_holds_all_cells_with_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(suite_csv(table()))))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 6
    assert [row["state"] for row in rows] == ["done", "done", "failed", "waiting", "skipped", "waiting"]
    assert float(rows[1]["value"]) == 0.875 and float(rows[1]["low"]) == 0.8125 and rows[1]["best"] == "1"
    assert rows[0]["difference"] == "" and float(rows[1]["difference"]) == 0.375
    assert rows[1]["test"] == "mcnemar" and float(rows[1]["p"]) == 0.25 and rows[1]["better_on"] == "3"
    assert rows[2]["note"] == "bad second"


def test_markdown_has_as_many_cells_in_every_row_and_marks_the_best() -> None:
    lines = suite_page(table(), ["a note"], ["a remark"]).markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows[:4]} == {5}
    assert "**0.875 [0.812, 0.906]**" in rows[3] and "0.500 [0.438, 0.531]" in rows[2] and "**" not in rows[2]
    assert "+0.375 [" in "\n".join(lines) and "- a note" in lines and "- a remark" in lines
    assert any("finetune on set: first failed: bad second" in line for line in lines)
    assert any("audio skipped" in line for line in lines) and any("2 of 6 cells" in line for line in lines)


def test_html_holds_each_figure_and_loads_nothing() -> None:
    html = suite_page(table(), ["a note"], ["a remark"]).html()
    text = text_of(html)
    for expected in (
        "0.875",
        "[0.812, 0.906]",
        "0.500",
        "n = 8",
        "+0.375",
        "McNemar",
        "a note",
        "bad second",
        "waiting",
    ):
        assert expected in text
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link|<iframe", html)
    assert html.count('class="best"') == 1 and html.count('class="bar"') == 2


@pytest.mark.parametrize("suffix", ["html", "md", "csv"])
def test_odd_names_are_shown_and_do_nothing(suffix: str) -> None:
    found = table(ATTACK, ATTACK)
    text = {"html": suite_page(found).html, "md": suite_page(found).markdown, "csv": lambda: suite_csv(found)}[suffix]()
    text.encode()
    if suffix == "html":
        assert "<script" not in text and "{{ 7*7 }}" in text_of(text)
    elif suffix == "md":
        rows = [line for line in text.splitlines() if line.startswith("|")][:4]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {5}
        assert not re.search(r"(?<!\\)<", text) and r"\<script\>" in text
    else:
        rows = list(csv.DictReader(io.StringIO(text)))
        assert rows[1]["model"] == ATTACK.replace("\udce9", "?")


def test_no_spreadsheet_takes_a_name_for_a_formula() -> None:
    [_, second, *_] = csv.DictReader(io.StringIO(suite_csv(table("=HYPERLINK(A1)", "-set"))))
    assert second["model"] == "'=HYPERLINK(A1)" and second["dataset"] == "'-set" and float(second["value"]) == 0.875


def test_cautions_of_results_stand_beside_the_table_once() -> None:
    careful = [replace(result(name, 0.5), facts={"cautions": ["one class alone"]}) for name in ("first", "second")]
    cells = [Cell("probe", "set", each.model, DONE, each) for each in careful]
    found = suite_table(cells, "first", resamples=50)
    for page in (text_of(suite_page(found).html()), suite_page(found).markdown()):
        assert page.count("probe on set: one class alone") == 1
