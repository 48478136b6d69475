"""No published figure without a source, and none that was not read."""

import csv
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlparse

from earthtone.pages import Page, csv_text
from earthtone.studies.reproduce_page import (
    COLUMNS,
    KINDS,
    TITLE,
    Row,
    figures_table,
    published,
    published_figures,
    tables_not_read,
)


def test_every_figure_says_where_it_was_read() -> None:
    assert published_figures()
    for figure in published_figures():
        address = urlparse(figure.url)
        assert address.scheme == "https" and "." in address.netloc and len(figure.read_in) > 10
        assert figure.of in KINDS and figure.backbone in (None, "resnet18", "resnet50")
        assert figure.url in figure.source and figure.read_in in figure.source
        if figure.of != "paper":
            assert figure.note, "a figure that is not the paper's own says why it may differ"


def test_only_these_are_known() -> None:
    """A new one needs a reader who saw it: change this list only with the source at hand."""
    known = {(f.step, f.figure, f.value, f.of, f.backbone) for f in published_figures() if f.step != "advance"}
    assert known == {
        ("retrieval", "image_to_sound median_rank", 565, "paper", "resnet18"),
        ("retrieval", "image_to_sound R@100", 0.256, "quoted", None),
    }
    assert {f.of for f in published_figures() if f.step == "advance"} == {"reimplementation"}
    assert len(tables_not_read()) == 5


def test_a_figure_of_one_backbone_is_not_the_others() -> None:
    median = published("retrieval", "image_to_sound median_rank", "resnet18")
    assert median is not None and median.cell == "565"
    assert published("retrieval", "image_to_sound median_rank", "resnet50") is None
    assert published("retrieval", "image_to_sound median_rank", None) is None
    assert published("retrieval", "sound_to_image median_rank", "resnet18") is None
    assert published("deepglobe", "mIoU", "resnet18") is None


def test_what_is_not_the_papers_own_says_so() -> None:
    quoted = published("retrieval", "image_to_sound R@100", "resnet50")
    assert quoted is not None and quoted.cell == "0.256 as quoted by others"
    other = published("advance", "concat weighted_f1", "resnet18")
    assert other is not None and other.cell == "not known (0.860: an independent re-implementation)"


def test_the_table_holds_no_formula_and_no_half_character(tmp_path: Path) -> None:
    hostile = "=HYPERLINK(1) \udcff"
    row = Row(**dict.fromkeys(COLUMNS, hostile))
    page = Page(TITLE, [hostile], [figures_table([row])], {"Left out": [hostile]})
    paths = {path.suffix: path for path in page.write(tmp_path, "reproduction", csv_text(COLUMNS, [asdict(row)]))}
    assert set(paths) == {".md", ".csv", ".html"}
    with paths[".csv"].open(newline="", encoding="utf-8") as file:
        (cells,) = csv.DictReader(file)
    assert all(cell.startswith("'=") for cell in cells.values())
    assert "<html" in paths[".html"].read_text(encoding="utf-8")
