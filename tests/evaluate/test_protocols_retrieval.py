"""The whole evaluation: figures, chance, intervals, what is left out, what is told."""

import json
from typing import Any

import numpy as np
import pytest

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.chance import share_found
from earthtone.evaluate.label_match import LabelMatch
from earthtone.evaluate.protocols import RetrievalResult, evaluate_by, honest
from earthtone.evaluate.ranking import EmbeddedPairs
from earthtone.geo import great_circle_km

DIRECTIONS = ("image_to_sound", "sound_to_image")


def unit(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def pairs_of(count: int, seed: int = 0, noise: float = 1.0, **changes: Any) -> EmbeddedPairs:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((count, 16))
    known: dict[str, Any] = {
        "ids": [f"p{i}" for i in range(count)], "image": unit(image),
        "audio": unit(image + noise * rng.standard_normal((count, 16))),
        "longitude": rng.uniform(-180, 180, count), "latitude": rng.uniform(-90, 90, count),
        "image_group": np.arange(count), "audio_group": np.arange(count),
    }  # fmt: skip
    return EmbeddedPairs(**{**known, **changes})


@pytest.fixture(scope="module")
def result() -> RetrievalResult:
    return honest(pairs_of(150), resamples=300)


def test_figures_are_those_of_the_ranks(result: RetrievalResult) -> None:
    for direction in DIRECTIONS:
        rank, figures = result.ranks[direction], result.figures[direction]
        for name, k in {"R@1": 1, "R@5": 5, "R@10": 10, "R@100": 100, "R@10%": 15}.items():
            assert figures[name].value == np.mean(rank <= k)
            assert figures[name].chance == pytest.approx(k / 150)
        assert figures["median_rank"].value == np.median(rank)
        assert figures["median_rank"].chance == 75.5
        assert figures["mrr"].value == pytest.approx(np.mean(1 / rank))
        discount = np.where(rank <= 10, 1 / np.log2(rank + 1), 0)
        assert figures["ndcg@10"].value == pytest.approx(discount.mean())
        assert all(estimate.low <= estimate.value <= estimate.high for estimate in figures.values())


def test_km_is_to_the_nearest_of_the_first_k(result: RetrievalResult) -> None:
    pairs = pairs_of(150)
    place = (pairs.longitude, pairs.latitude)
    for direction in DIRECTIONS:
        top = result.top[direction]
        km = great_circle_km(place[0][:, None], place[1][:, None], place[0][top], place[1][top])
        assert result.figures[direction]["km@1"].value == pytest.approx(np.median(km[:, 0]))
        assert result.figures[direction]["km@10"].value == pytest.approx(np.median(km.min(axis=1)))
        assert result.figures[direction]["km_mean@10"].value == pytest.approx(np.mean(km.min(axis=1)))
        assert {"km@100", "km_mean@100"} <= result.figures[direction].keys()


def test_untrained_embeddings_are_at_chance() -> None:
    rng = np.random.default_rng(5)
    count, habitat = 600, rng.choice(["wood", "lake", "town"], 600).tolist()
    pairs = pairs_of(
        count, audio=unit(rng.standard_normal((count, 16))), audio_group=rng.integers(0, 400, count),
        columns={"habitat": habitat},
    )  # fmt: skip
    found = honest(pairs, match=LabelMatch.parse("habitat"), resamples=300)
    for figures in found.figures.values():
        for name, estimate in figures.items():
            assert estimate.chance is not None
            width = estimate.high - estimate.low
            assert estimate.low - width / 2 <= estimate.chance <= estimate.high + width / 2, name


def test_pairs_without_a_place_are_passed_over() -> None:
    pairs = pairs_of(40)
    unknown = np.arange(40) % 2 == 1
    longitude = np.where(unknown, np.nan, pairs.longitude)
    latitude = np.where(unknown, np.nan, pairs.latitude)
    found = honest(pairs_of(40, longitude=longitude, latitude=latitude), resamples=20)
    figures = found.figures["image_to_sound"]
    assert figures["km@10"].queries <= 20 and figures["R@10"].queries == 40
    top = found.top["image_to_sound"][:, 0]
    both = ~unknown & ~unknown[top]
    km = great_circle_km(longitude[both], latitude[both], longitude[top[both]], latitude[top[both]])
    assert figures["km@1"].value == pytest.approx(np.median(km)) and figures["km@1"].queries == both.sum()
    assert found.to_dict()["places"] == {"pairs_with_coordinates": 20}


def test_no_place_at_all_leaves_km_out() -> None:
    nowhere = np.full(20, np.nan)
    found = honest(pairs_of(20, longitude=nowhere, latitude=nowhere), resamples=20)
    assert not any("km" in name for name in found.figures["image_to_sound"])
    assert "km: left out" in found.to_text()


def test_twins_are_told_and_draw_intervals_together() -> None:
    groups = np.arange(60) // 3
    copied = pairs_of(60)
    copied = pairs_of(60, audio=copied.audio[groups * 3], audio_group=groups)
    merged, ignored = (honest(copied, twins=twins, resamples=200) for twins in ("merge", "ignore"))
    told = merged.to_dict()["twins"]
    assert told == {
        "handling": "merge", "pairs_with_identical_image": 0, "pairs_with_identical_recording": 60,
        "queries_with_several_right_items": 60,
    }  # fmt: skip
    for direction in DIRECTIONS:
        assert merged.figures[direction]["R@1"].value >= ignored.figures[direction]["R@1"].value
        assert merged.figures[direction]["R@1"].chance == pytest.approx(3 / 60)
        assert ignored.figures[direction]["R@1"].chance == pytest.approx(1 / 60)
    assert ignored.figures["image_to_sound"]["R@1"].value == 0  # two other copies always tie
    assert ignored.to_dict()["directions"]["image_to_sound"]["tied_queries"] == 60
    assert merged.to_dict()["directions"]["image_to_sound"]["tied_queries"] == 0


def test_match_precision_of_the_first_ten() -> None:
    rng = np.random.default_rng(2)
    habitat = rng.choice(["wood", "lake", "town"], 80).tolist()
    pairs = pairs_of(80, columns={"habitat": habitat})
    found = honest(pairs, match=LabelMatch.parse("habitat"), resamples=50)
    names = np.array(habitat)
    for direction in DIRECTIONS:
        estimate = found.figures[direction]["match_precision@10"]
        assert estimate.value == pytest.approx((names[found.top[direction]] == names[:, None]).mean())
        assert estimate.chance == pytest.approx((names[:, None] == names).mean())
    assert found.to_dict()["match"] == {"rule": "equal habitat", "fits_nothing": []}
    with pytest.raises(DataError, match="no label column 'biome'; there are: habitat"):
        honest(pairs, match=LabelMatch.parse("biome"))


@pytest.mark.parametrize("count", [1, 2, 5, 10, 11])
def test_small_galleries_leave_out_what_says_nothing(count: int) -> None:
    pairs = pairs_of(count, columns={"habitat": ["wood"] * count})
    found = honest(pairs, match=LabelMatch.parse("habitat"), resamples=10)
    expected = {f"R@{k}" for k in (1, 5, 10, 100) if k < count} | ({"R@10%"} if count >= 10 else set())
    for figures in found.figures.values():
        assert {name for name in figures if name.startswith("R@")} == expected
        assert ("match_precision@10" in figures) == (count > 10)
        assert ("km@10" in figures) == (count > 10)
        assert {"median_rank", "mrr", "ndcg@10"} <= figures.keys()
    assert all(top.shape == (count, min(10, count)) for top in found.top.values())
    json.dumps(found.to_dict(), allow_nan=False)
    found.to_text()


def test_to_dict_is_json_and_states_the_protocol(result: RetrievalResult) -> None:
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["gallery"] == told["queries"] == 150
    assert told["resamples"] == 300 and told["seed"] == 0
    assert told["protocol"].keys() >= {"rank", "ties", "twins", "km", "intervals", "chance"}
    assert all(len(text) <= 300 for text in told["protocol"].values())  # the report cuts longer ones
    metric = told["directions"]["image_to_sound"]["metrics"]["R@10"]
    assert metric.keys() == {"value", "low", "high", "chance", "queries"}


def test_to_text_is_an_aligned_table(result: RetrievalResult) -> None:
    lines = result.to_text().splitlines()
    table = lines[1 : 2 + len(result.figures["image_to_sound"])]
    assert table[0].split("  ")[0] == "" and table[0].endswith("chance")
    assert len({len(line) for line in table}) == 1
    value = result.figures["sound_to_image"]["R@10"]
    row = next(line for line in table if line.startswith("R@10 "))
    assert f"{100 * value.value:.1f} %" in row and f"[{100 * value.low:.1f}, {100 * value.high:.1f}]" in row


def test_is_the_same_again_and_in_other_chunks(result: RetrievalResult) -> None:
    again = honest(pairs_of(150), resamples=300, max_bytes=10_000)
    assert again.to_dict() == result.to_dict()
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(again.top[direction], result.top[direction])
        np.testing.assert_array_equal(again.scores_true[direction], result.scores_true[direction])


def test_refuses_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="no pairs"):
        honest(pairs_of(0), match=LabelMatch.parse("habitat"))
    with pytest.raises(ConfigError, match="resamples is 0"):
        honest(pairs_of(3), resamples=0)


def test_a_tenth_of_a_gallery_of_less_than_ten_is_left_out() -> None:
    for count, there in ((2, False), (4, False), (9, False), (10, True), (19, True), (20, True)):
        found = honest(pairs_of(count), resamples=5)
        assert all(("R@10%" in figures) == there for figures in found.figures.values()), count
        published = evaluate_by("psm", pairs_of(count), resamples=5)
        assert all(("R@10%" in figures) == (count > 10) for figures in published.figures.values()), count


def test_the_number_of_right_items_is_told_and_gives_chance() -> None:
    groups = np.array([0, 0, 0, 1, 1, *range(2, 27)])
    found = honest(pairs_of(30, audio_group=groups), resamples=5)
    told = json.loads(json.dumps(found.to_dict()))["directions"]
    for direction in DIRECTIONS:
        assert told[direction]["right_items"] == {"1": 25, "2": 2, "3": 3}
        curve = share_found(30, found.facts["right_items"][direction])
        for name, k in (("R@1", 1), ("R@5", 5), ("R@10", 10)):
            assert curve[k] == pytest.approx(found.figures[direction][name].chance)


def test_figures_below_chance_are_named() -> None:
    pairs = pairs_of(60)
    lost = honest(pairs_of(60, image=pairs.image, audio=-pairs.image), resamples=50)
    assert "below chance: " in lost.to_text() and "median rank (image to sound)" in lost.to_text()
    assert "below chance" not in honest(pairs_of(60, noise=0.1), resamples=50).to_text()
