"""Plots as SVG: well-formed, without references, the same twice, and with the right numbers in them."""

import threading
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest

from earthtone.evaluate import plots
from earthtone.evaluate.chance import share_found

RANKS = {"image_to_sound": np.array([1, 2, 2, 30, 100]), "sound_to_image": np.array([1.5, 7.0, 10.0, 11.0, 99.0])}


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter("text")]  # noqa: S314 - our own drawing


def all_plots() -> dict[str, str]:
    history = [{"step": i, "loss": 1 / (i + 1), "lr": 0.1, "val_x": 0.3} for i in range(50)]
    return {
        "loss": plots.loss_curve(history, "loss"),
        "steps": plots.step_curves(history, ["lr", "val_x"], "rate", "label"),
        "recall": plots.recall_curve(RANKS, 100, {"image_to_sound": {1: (0.1, 0.3)}}, share_found(100, {})),
        "ranks": plots.rank_histogram(RANKS, 100, share_found(100, {})),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", list(all_plots()))
def test_is_one_well_formed_labelled_and_self_contained_svg(name: str) -> None:
    svg = all_plots()[name]
    root = ET.fromstring(svg)  # noqa: S314 - our own drawing
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert "http" not in svg
    assert "<style" not in svg
    assert "#01010" not in svg  # every stand-in colour became one of the page's
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    assert svg == all_plots()[name]


def test_ids_of_two_plots_never_meet() -> None:
    ids = [node.get("id") for svg in all_plots().values() for node in ET.fromstring(svg).iter() if node.get("id")]  # noqa: S314
    assert len(ids) == len(set(ids))


def test_global_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    all_plots()
    assert dict(mpl.rcParams) == before


def test_works_off_the_main_thread() -> None:
    made: list[str] = []
    thread = threading.Thread(target=lambda: made.append(plots.rank_histogram(RANKS, 100, share_found(100, {}))))
    thread.start()
    thread.join()
    assert made == [plots.rank_histogram(RANKS, 100, share_found(100, {}))]


def test_untrusted_names_are_escaped_and_never_read_as_formulas() -> None:
    history = [{"step": 0, "val_<b>$\\frac$": 0.5, "val_other": 0.5}, {"step": 1, "val_<b>$\\frac$": 0.6}]
    plot = plots.training_plots(history)[0]
    assert "<b>" not in plot.svg
    assert "<b>$\\frac$" in texts(plot.svg)


def test_series_drops_what_is_not_a_finite_number() -> None:
    history = [{"loss": 1.0}, {"loss": float("nan")}, {"loss": float("inf")}, {}, {"step": 9, "loss": 2}]
    steps, values = plots.series(history, "loss")
    assert steps.tolist() == [0, 9]
    assert values.tolist() == [1, 2]


def test_a_long_history_stays_a_small_plot() -> None:
    rng = np.random.default_rng(0)
    history = [{"step": i, "loss": value} for i, value in enumerate(rng.normal(size=20_000))]
    assert len(plots.loss_curve(history, "loss")) < 80_000


def test_smoothing_keeps_constants_and_the_mean_of_a_line() -> None:
    np.testing.assert_allclose(plots.smoothed(np.full(100, 3.0)), 3.0)
    np.testing.assert_allclose(plots.smoothed(np.arange(100.0))[2:-2], np.arange(2.0, 98.0))


def test_thinning_keeps_the_mean_of_blocks() -> None:
    steps, values = plots.thinned(np.arange(801.0), np.arange(801.0) * 2)
    assert len(steps) == 267
    np.testing.assert_allclose(steps, np.arange(1, 801, 3))
    np.testing.assert_allclose(values, steps * 2)


@pytest.mark.parametrize(("gallery", "names"), [(2, ["1", "2-2"]), (420, ["1", "2-5", "6-10", "101-420"])])
def test_the_ranges_of_ranks_cover_the_gallery(gallery: int, names: list[str]) -> None:
    shown = texts(plots.rank_histogram({"image_to_sound": np.array([1, gallery])}, gallery, share_found(gallery, {})))
    assert set(names) - {"2-2"} <= set(shown)


def test_training_plots_follow_what_was_logged() -> None:
    assert plots.training_plots([]) == []
    assert [plot.title for plot in plots.training_plots([{"step": 1, "loss": 2.0}])] == ["The loss over training"]
    row = {"step": 1, "loss": 2.0, "lr": 0.1, "temperature": 0.07, "val_score": 0.4, "val_median_rank": 12.0}
    titles = [plot.title for plot in plots.training_plots([row, {**row, "step": 2}])]
    assert "Progress on unseen pairs: median rank" in titles
    assert len(titles) == 5
