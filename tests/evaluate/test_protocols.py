"""Protocols by name: each one's ranks against scipy, its counts, its directions, its refusals."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.label_match import LabelMatch
from earthtone.evaluate.protocols import PROTOCOLS, PUBLISHED, evaluate_by, honest
from earthtone.evaluate.ranking import EmbeddedPairs


def pairs_of(count: int = 250, seed: int = 0, unit: bool = True, **changes: Any) -> EmbeddedPairs:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((count, 12)) * rng.uniform(0.5, 2, (count, 1))
    audio = image + 1.5 * rng.standard_normal((count, 12))
    if unit:
        image, audio = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (image, audio))
    known: dict[str, Any] = {
        "ids": [f"p{n}" for n in range(count)], "image": image.astype(np.float32), "audio": audio.astype(np.float32),
        "longitude": rng.uniform(-180, 180, count), "latitude": rng.uniform(-90, 90, count),
        "image_group": np.arange(count), "audio_group": np.arange(count), "similarity": "cosine" if unit else "l2",
    }  # fmt: skip
    return EmbeddedPairs(**{**known, **changes})


def cosine_ranks(pairs: EmbeddedPairs) -> dict[str, np.ndarray[Any, Any]]:
    image, audio = (
        values / np.linalg.norm(values.astype(float), axis=1, keepdims=True) for values in (pairs.image, pairs.audio)
    )
    cosines = image @ audio.T
    return {
        "image_to_sound": np.array([rankdata(-cosines[n])[n] for n in range(len(pairs))]),
        "sound_to_image": np.array([rankdata(-cosines[:, n])[n] for n in range(len(pairs))]),
    }


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("protocol", ["geoclap", "psm"])
def test_ranks_by_cosine_in_rows_and_columns(protocol: str, unit: bool) -> None:
    pairs = pairs_of(unit=unit)
    found = evaluate_by(protocol, pairs, resamples=20)
    for direction, ranks in cosine_ranks(pairs).items():
        np.testing.assert_array_equal(found.ranks[direction], ranks)
        figures = found.figures[direction]
        assert figures["median_rank"].value == np.median(ranks)
        name, below = ("R@100", 100) if protocol == "geoclap" else ("R@10%", 25.0)
        assert set(figures) == {name, "median_rank"}
        assert figures[name].value == np.mean(ranks < below)
        assert figures[name].chance == pytest.approx((below - 1) / 250)


def test_geoclap_names_the_directions_rightly() -> None:
    """Each image finds its recording first, but the recordings find another image first: by hand."""
    image = np.array([[1, 0, 0], [0.8, 0.6, 0]], np.float32)
    audio = np.array([[0.96, 0.28, 0], [0.6, 0.8, 0]], np.float32)
    pairs = pairs_of(
        2, image=image, audio=audio, longitude=np.zeros(2), latitude=np.zeros(2)
    )  # cosines, image by sound: 0.96 0.6 / 0.936 0.96
    found = evaluate_by("geoclap", pairs, resamples=5)
    assert found.ranks["image_to_sound"].tolist() == [1, 1]
    audio = np.array([[0.8, 0.6, 0], [0.8, -0.6, 0]], np.float32)  # 0.8 0.8 / 1 0.28
    swapped = evaluate_by("geoclap", pairs_of(2, image=image, audio=audio), resamples=5)
    assert swapped.ranks["image_to_sound"].tolist() == [1.5, 2]
    assert swapped.ranks["sound_to_image"].tolist() == [2, 2]


def test_psm_counts_below_a_tenth_that_is_no_whole_number() -> None:
    pairs = pairs_of(255)
    found = evaluate_by("psm", pairs, resamples=5)
    ranks = cosine_ranks(pairs)["image_to_sound"]
    assert found.figures["image_to_sound"]["R@10%"].value == np.mean(ranks < 25.5)
    assert found.figures["image_to_sound"]["R@10%"].chance == pytest.approx(25 / 255)


def test_honest_is_the_evaluation_of_ours() -> None:
    pairs = pairs_of(40)
    assert evaluate_by("honest", pairs, resamples=20).to_dict() == honest(pairs, resamples=20).to_dict()
    ignored = evaluate_by("honest", pairs, twins="ignore", resamples=20).to_dict()
    assert ignored["twins"]["handling"] == "ignore"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_report_says_in_one_sentence_what_is_different(protocol: str) -> None:
    found = evaluate_by(protocol, pairs_of(), resamples=5)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))["protocol"]
    assert told["name"] == protocol and told["difference"].startswith("Unlike the ")
    assert told["difference"].count(".") == 1 and told["difference"] in found.to_text()
    assert all(len(text) <= 300 for text in told.values())  # the report cuts longer ones


@pytest.mark.parametrize("protocol", PUBLISHED)
def test_an_untrained_model_is_at_chance(protocol: str) -> None:
    rng = np.random.default_rng(3)
    audio = rng.standard_normal((600, 12))
    audio /= np.linalg.norm(audio, axis=1, keepdims=True)
    found = evaluate_by(protocol, pairs_of(600, audio=audio.astype(np.float32)), resamples=200)
    for figures in found.figures.values():
        for name, figure in figures.items():
            assert figure.chance is not None
            width = figure.high - figure.low
            assert figure.low - width / 2 <= figure.chance <= figure.high + width / 2, name


@pytest.mark.parametrize("protocol", PUBLISHED)
def test_a_constant_model_has_the_middle_rank(protocol: str) -> None:
    ones = np.full((300, 12), 12**-0.5, np.float32)
    found = evaluate_by(protocol, pairs_of(300, image=ones, audio=ones[:, ::-1].copy()), resamples=5)
    for direction, ranks in found.ranks.items():
        assert (ranks == 150.5).all()
        assert found.to_dict()["directions"][direction]["tied_queries"] == 300


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", [1, 2, 11])
def test_small_galleries(protocol: str, count: int) -> None:
    found = evaluate_by(protocol, pairs_of(count), resamples=5)
    json.dumps(found.to_dict(), allow_nan=False)
    found.to_text()
    assert all(top.shape == (count, min(10, count)) for top in found.top.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pairs_without_places(protocol: str) -> None:
    nowhere = np.full(250, np.nan)
    found = evaluate_by(protocol, pairs_of(longitude=nowhere, latitude=nowhere), resamples=5)
    assert not any("km" in name for name in found.figures["image_to_sound"])


def test_refuses_what_has_no_effect() -> None:
    pairs = pairs_of(5)
    with pytest.raises(ConfigError, match=r"'soundingerth'; did you mean soundingearth\?"):
        evaluate_by("soundingerth", pairs)
    for protocol in PUBLISHED:
        with pytest.raises(ConfigError, match=f"--twins merge has no effect with --protocol {protocol}"):
            evaluate_by(protocol, pairs, twins="merge")
        with pytest.raises(ConfigError, match="--match equal habitat has no effect"):
            evaluate_by(protocol, pairs, match=LabelMatch.parse("habitat"))
        with pytest.raises(DataError, match="no pairs"):
            evaluate_by(protocol, pairs_of(0))
        with pytest.raises(ConfigError, match="resamples is 0"):
            evaluate_by(protocol, pairs, resamples=0)
