"""One table as HTML, Markdown and CSV: what is in each, and names that do nothing in any."""

import csv
import io
import re
from pathlib import Path

import pytest

from earthtone.pages import (
    Page,
    PageTable,
    TableCell,
    csv_text,
    figure_text,
    interval_bar,
    markdown_text,
    with_links,
)

PAGE = Page(
    "A title",
    ["read this first"],
    [
        PageTable(
            "The table", ["model", TableCell("accuracy", small="n = 8")],
            [
                ["first", TableCell("0.500", small="[0.438, 0.531]", folded="by hand, https://example.org/a_b")],
                ["second", TableCell("0.875", mark="best", folded="by hand, https://example.org/a_b")],
                ["third", TableCell("failed", below="no data", folded="other")],
            ],
            lead="A sentence.",
        ),
        PageTable("On the page alone", ["run"], [[TableCell("one", link="runs/a b/report.html")]], only_html=True),
        PageTable("Differences", ["model"], [["second"]]),
    ],
    {"How to read this": ["slowly"], "Nothing here": []},
)  # fmt: skip


def test_markdown_has_the_same_tables_with_numbered_notes() -> None:
    assert PAGE.markdown() == "\n".join([
        "# A title", "", "- read this first", "",
        "| model | accuracy: n = 8 |", "| --- | --- |",
        "| first | 0.500 [0.438, 0.531] (1) |", "| second | **0.875 (1)** |", "| third | failed (2) |", "",
        "Differences:", "", "| model |", "| --- |", "| second |", "",
        "Notes, in brackets behind the figures:", "", "1. by hand, https://example.org/a_b", "2. other", "",
        "How to read this:", "", "- slowly", "",
    ])  # fmt: skip


def test_the_page_has_all_of_it() -> None:
    html = PAGE.html()
    for expected in ("<h1>A title</h1>", "read this first", "A sentence.", "[0.438, 0.531]", "no data", "slowly"):
        assert expected in html
    assert 'href="runs/a%20b/report.html"' in html and "Nothing here" not in html
    assert html.count('<a href="https://example.org/a_b">https://example.org/a_b</a>') == 2


def test_all_three_files_are_written(tmp_path: Path) -> None:
    paths = PAGE.write(tmp_path, "stem", "a,b\n")
    assert [path.name for path in paths] == ["stem.csv", "stem.md", "stem.html"]
    assert paths[0].read_text() == "a,b\n" and paths[1].read_text() == PAGE.markdown()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain 0.5 [0.1, 0.9]", "plain 0.5 [0.1, 0.9]"),
        ("image_to_sound _odd_", r"image_to_sound \_odd\_"),
        ("[name](https://a.b/c|d)", r"[name\](https://a.b/c\|d)"),
        ("[x]: y", r"[x\]: y"),
        ("<b>|*`#~$\\ & two\nlines", r"\<b\>\|\*\`\#\~\$\\ &amp; two lines"),
        ("half \udcff", "half ?"),
    ],
)
def test_markdown_shows_names_as_they_are(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


def test_only_addresses_become_links() -> None:
    shown = str(with_links("see https://a.b/c?d=1, not javascript:x or https://<script>"))
    assert '<a href="https://a.b/c?d=1">https://a.b/c?d=1</a>, not' in shown
    assert shown.count("<a ") == 1 and "<script" not in shown


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1+1", "-a", "@x", "\tx", "\rx", "\nx", "\uff1d1"])
def test_no_spreadsheet_takes_a_name_for_a_formula(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text(["name", "n"], [{"name": name, "n": -0.5}]), newline=""))
    assert row == {"name": f"'{name}", "n": "-0.5"}
    assert next(csv.reader(io.StringIO(csv_text([name], []), newline=""))) == [f"'{name}"]


def test_figures_and_their_bars() -> None:
    assert figure_text(0.5, 0.25, 0.75) == "0.500 [0.250, 0.750]"
    assert figure_text(0.5, -0.25, 0.75, digits=1, sign="+") == "+0.5 [-0.2, +0.8]"
    bar = str(interval_bar(0.5, 0.25, float("nan"), 0.1))
    assert 'cx="60.0"' in bar and "M30.0 6H0.0" in bar and "M12.0 1V11" in bar
    assert not re.search("nan", bar.replace("to nan", ""))
