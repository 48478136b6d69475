"""The report: complete or empty, escaped, self-contained, balanced, bounded and readable."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from earthtone.evaluate import report as module
from earthtone.evaluate.protocols import RetrievalResult
from earthtone.evaluate.report import Item, Match, Report, render_report
from earthtone.evaluate.results import Estimate

ATTACK = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> {{ 7*7 }} $\\frac$"
VOID = {"meta", "img", "br", "hr", "input", "link", "source", "wbr", "col", "area", "base", "embed", "track"}


class Page(HTMLParser):
    """Every element with its attributes; fails on a tag that closes what is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice in <{tag}>"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


def jpeg(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def wav(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(seed).normal(0, 0.1, 800), 8000, format="WAV")
    return buffer.getvalue()


def item(number: int, **changes: Any) -> Item:
    known: dict[str, Any] = {
        "id": f"row-{number}", "image": jpeg(number), "audio_preview": wav(number),
        "caption": f"Place {number}", "longitude": 13.4 + number, "latitude": -52.5,
    }  # fmt: skip
    return Item(**{**known, **changes})


DIRECTIONS = ("image_to_sound", "sound_to_image")


def metric(value: float, chance: float | None = 10 / 420) -> Estimate:
    return Estimate(value, value - 0.04, value + 0.04, chance, 420)


def retrieval(
    metrics: dict[str, Estimate], gallery: int = 420, directions: tuple[str, ...] = DIRECTIONS, **facts: Any
) -> RetrievalResult:
    known: dict[str, Any] = {
        "recall_counts": "rank <= k", "protocol": {}, "split": {"name": "test", "dealt_out": "the set"}, "contents": {},
        "twins": {"handling": "ignore", "pairs_with_identical_image": 0, "pairs_with_identical_recording": 0},
    }  # fmt: skip
    ranks = {direction: np.arange(1, gallery + 1) for direction in directions}
    return RetrievalResult(dict.fromkeys(directions, metrics), ranks, {}, {}, gallery, {**known, **facts})


def full_report(text: str = "A run", caption: str = "A place") -> Report:
    items = [item(number, id=f"{text} {number}", caption=caption) for number in range(8)]
    far = Match(items[7], items[:5], 391, "image_to_sound")
    near = Match(items[1], items[:5], 2, "sound_to_image")
    nan = float("nan")
    metrics = {
        "R@1": metric(0.06), "R@10": metric(0.32), "median_rank": Estimate(23.0, nan, nan, None, 420), text: metric(0.5)
    }  # fmt: skip
    return Report(
        title=text,
        summary={text: text},
        history=[
            {"step": step, "loss": 3 / (step + 1), "lr": 0.001, "temperature": 0.07}
            | ({"val_R@10": 0.2, f"val_{text}": 3.0} if step % 5 == 0 else {})
            for step in range(30)
        ],
        retrieval=retrieval(metrics, protocol={"rank": text}, split={"name": "test", text: 3}),
        matches={"The best": [near], "The worst": [far], text: [near]},
        probe={text: {"accuracy": metric(0.8, 0.2)}, "classes": 5, "kind": text},
        config_yaml=f"name: {text}\nloss: infonce\n",
        notes=[text],
    )


def test_shows_everything_it_was_given() -> None:
    page = Page(render_report(full_report()))
    for expected in ("32.0 %", "[28.0, 36.0 %]", "chance 2.4 %", "its own", "391", "loss: infonce", "80.0 %", "52.50°"):
        assert expected in page.text
    assert len([svg for svg in page.all("svg") if svg.get("role") == "img"]) == 7


def test_the_first_line_says_it_in_plain_words() -> None:
    text = Page(render_report(full_report())).text.replace("\N{NO-BREAK SPACE}", " ")
    expected = "An image finds its own recording among the top 10 of 420 in 32 % of cases [28, 36]; chance is 2.4 %."
    assert expected in text
    assert "13.4 times chance" in text


def test_ranks_below_k_are_not_called_the_first_k() -> None:
    metrics = {"R@100": metric(0.4, 99 / 420), "D@100_km": metric(123.4, 800.0)}
    strict = Report(title="strict", retrieval=retrieval(metrics, recall_counts="rank < k"))
    text = Page(render_report(strict)).text
    assert "among the top 99 of 420" in text and "rank is below 100" in text
    assert "mean distance from the true place to the nearest of the first 100" in text and "123 km" in text
    plain = Page(render_report(Report(title="plain", retrieval=retrieval(metrics)))).text
    assert "among the top 100 of 420" in plain and "among the first 100" in plain


def test_a_figure_may_be_known_in_one_direction_alone() -> None:
    found = retrieval({"R@10": metric(0.3), "km@1": metric(12.0, None)})
    one = replace(found, figures={**found.figures, "image_to_sound": {"R@10": metric(0.3)}})
    assert "12.0 km" in Page(render_report(Report(title="t", retrieval=one))).text
    facts = {"tied_queries": {}, "places": {"pairs_with_coordinates": 3}, "protocol": {"name": "n", "difference": "d"}}
    assert "km@1" in replace(one, facts={**one.facts, **facts}).to_text()


def test_a_result_no_better_than_chance_is_called_that() -> None:
    weak = retrieval({"R@10": Estimate(0.03, 0.01, 0.05, 0.024, 420)})
    text = Page(render_report(Report(title="weak", retrieval=weak))).text.replace("\N{NO-BREAK SPACE}", " ")
    assert "chance is 2.4 %, which it does not clearly beat." in text
    assert "times chance" not in text


@pytest.mark.parametrize(
    ("figure", "words", "tile"),
    [
        ((0.1, 0.05, 0.2, 0.5), "chance is 50 %, which it is below.", "below chance"),
        ((0.45, 0.3, 0.6, 0.5), "chance is 50 %, which it is below, though not clearly.", "below chance, though not"),
        ((1.0, 1.0, 1.0, 1.0), "chance is 100 %, so that this says nothing.", "chance reaches it too"),
    ],
)
def test_headlines_claim_no_more_than_is_so(figure: tuple[float, ...], words: str, tile: str) -> None:
    found = retrieval({"R@10": Estimate(*figure, 30)}, 30)
    text = Page(render_report(Report(title="t", retrieval=found))).text.replace("\N{NO-BREAK SPACE}", " ")
    assert words in text and tile in text and "times chance" not in text


def test_the_charts_draw_the_chance_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 queries each 30 have a gallery of four right items: chance of R@1 is then 3.25 / 40, not 1 / 40."""
    drawn: list[np.ndarray] = []
    monkeypatch.setattr(
        module.plots, "retrieval_plots", lambda ranks, gallery, intervals, chance: drawn.append(chance) or []
    )
    right = {direction: {1: 10, 4: 30} for direction in DIRECTIONS}
    render_report(Report(title="t", retrieval=retrieval({}, 40, right_items=right)))
    render_report(Report(title="t", retrieval=retrieval({}, 40)))
    assert drawn[0][1] == pytest.approx(3.25 / 40) and drawn[0][-1] == pytest.approx(1)
    assert drawn[1] == pytest.approx(np.arange(41) / 40)


def test_twins_are_named_in_sentence_and_pictures() -> None:
    own = item(0, image_hash="i", audio_hash="s")
    found = [item(1, audio_hash="s"), item(2, image_hash="i"), item(3, image_hash="i", audio_hash="s"), item(4)]
    match = Match(own, found, 1, "image_to_sound")
    twins = {"handling": "merge", "pairs_with_identical_image": 0, "pairs_with_identical_recording": 4}
    figures = retrieval({"R@10": metric(0.5, 0.1)}, 30, twins=twins)
    text = render_report(Report(title="t", matches={"best": [match]}, retrieval=figures))
    assert re.findall(r"= (same [a-z ]+)<", text) == ["same recording", "same image", "same image and recording"]
    assert "An image finds its own recording, or that of a twin, among the top 10" in text
    assert "<b>later</b>" in text  # its own place is unknown: the rank is that of the twin


@pytest.mark.parametrize(
    "report",
    [
        Report(title="nothing"),
        Report(title="no metrics", retrieval=retrieval({})),
        Report(title="gallery of one", retrieval=retrieval({"median_rank": metric(1.0, None)}, 1)),
        Report(title="one step", history=[{"step": 0, "loss": 1.0}]),
        Report(title="no numbers", history=[{"loss": float("nan")}, {}]),
        Report(title="no matches", matches={"best": [], "worst": []}),
    ],
    ids=lambda report: report.title,
)
def test_leaves_out_what_is_missing(report: Report) -> None:
    page = Page(render_report(report))
    assert report.title in page.text
    assert not list(page.all("audio"))


def test_numbers_that_are_not_finite_are_counted() -> None:
    text = Page(render_report(Report(title="t", history=[{"loss": 1.0}, {"loss": float("nan")}]))).text
    assert "1 logged number is not finite" in text


def test_escapes_untrusted_text_everywhere() -> None:
    text = render_report(full_report(ATTACK, ATTACK))
    page = Page(text)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "iframe", "object", "embed", "link", "form", "a", "base"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count("alert('x')") > 10
    assert page.text.count("{{ 7*7 }}") == page.text.count("alert('x')")  # nothing is rendered twice
    assert "<script" not in text


def test_loads_nothing_and_says_so_to_the_browser() -> None:
    text = render_report(full_report())
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "data", "action"):
            if name in attributes:
                assert re.match(r"data:(image/jpeg|audio/ogg);base64,|#", attributes[name] or "")
    assert not re.search(r"@import|url\((?!#)|https?://", text)
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'")


def test_pictures_and_sounds_are_the_same_bytes() -> None:
    query, other = item(1), item(2)
    match = Match(query, [other, query], 2, "image_to_sound")
    page = Page(render_report(Report(title="t", matches={"best": [match]})))

    def decoded(tag: str) -> list[bytes]:
        return [base64.b64decode((media["src"] or "").partition(",")[2]) for media in page.all(tag)]

    assert decoded("img") == [query.image, other.image, query.image]
    assert decoded("audio") == [other.audio_preview, query.audio_preview]
    assert all(
        audio["preload"] == "none" and "controls" in audio and audio["aria-label"] for audio in page.all("audio")
    )
    assert all(image["alt"] for image in page.all("img"))


def test_the_truth_is_outlined_once_also_below_the_shown_results() -> None:
    items = [item(number) for number in range(9)]
    match = Match(items[8], items[:5], 391, "sound_to_image")
    page = Page(render_report(Report(title="t", matches={"worst": [match]})))
    cards = list(page.all("li"))
    assert [card.get("class") for card in cards] == [None] * 5 + ["true"]
    assert len(list(page.all("audio"))) == 1  # the query is a sound, the results are pictures


def test_missing_pictures_and_sounds_are_named() -> None:
    bare = Item(id="bare")
    text = Page(render_report(Report(title="t", matches={"best": [Match(bare, [bare], 1, "image_to_sound")]}))).text
    assert "no picture" in text
    assert "no sound" in text


def test_distance_is_the_great_circle() -> None:
    berlin, paris = item(0, longitude=13.405, latitude=52.52), item(1, longitude=2.3522, latitude=48.8566)
    match = Match(berlin, [paris, berlin], 2, "sound_to_image")
    assert "877 km away" in Page(render_report(Report(title="t", matches={"best": [match]}))).text


def test_a_full_report_names_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    query = item(0)
    monkeypatch.setattr(module, "MAX_MEDIA_BYTES", len(query.image or b"") + 10)
    match = Match(query, [query], 1, "image_to_sound")
    page = Page(render_report(Report(title="t", matches={"best": [match]})))
    assert len(list(page.all("img"))) == 1
    assert "left out: the report is full" in page.text


def test_ids_are_unique() -> None:
    ids = [attributes["id"] for _, attributes in Page(render_report(full_report())).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_the_same_report_is_the_same_file() -> None:
    assert render_report(full_report()) == render_report(full_report())


def test_names_that_are_not_utf_8_do_not_stop_it() -> None:
    undecodable = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    text = render_report(full_report(undecodable))
    assert "caf\\udce9.wav" in text and text.encode()


def luminance(color: str) -> float:
    digits = color.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_a_contrast_of_at_least_4_5_in_light_dark_and_print() -> None:
    style = render_report(Report(title="t")).partition("<style>")[2].partition("</style>")[0]
    schemes = [
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]+)", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(schemes) == 3
    for colors in schemes:
        for ink in ("ink", "muted", "moss", "clay", "water", "ochre"):
            for ground in ("paper", "card", "wash", "tint"):
                first, second = sorted([luminance(colors[ink]), luminance(colors[ground])])
                assert (second + 0.05) / (first + 0.05) >= 4.5, (ink, ground, colors)
