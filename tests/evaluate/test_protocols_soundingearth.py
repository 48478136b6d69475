"""The release's own numbers, per item and in total."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earthtone.evaluate.protocols import evaluate_by, soundingearth_ranks
from earthtone.evaluate.ranking import EmbeddedPairs

FIXTURE = Path(__file__).parents[0] / "fixtures" / "retrieval.npz"
DIRECTIONS = ("image_to_sound", "sound_to_image")


@pytest.fixture(scope="module")
def release() -> dict[str, Any]:
    with np.load(FIXTURE, allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def pairs(release: dict[str, Any]) -> EmbeddedPairs:
    count = len(release["key"])
    _, same = np.unique(release["image_embedding"], axis=0, return_inverse=True)
    return EmbeddedPairs(
        ids=[str(key) for key in release["key"]],
        image=release["image_embedding"], audio=release["sound_embedding"],
        longitude=release["longitude"], latitude=release["latitude"],
        image_group=same.astype(np.int64).reshape(-1), audio_group=np.arange(count), similarity="l2",
    )  # fmt: skip


@pytest.mark.parametrize("max_bytes", [1, 50_000, 2**24])
def test_every_item_has_the_releases_rank_in_any_chunks(
    release: dict[str, Any], pairs: EmbeddedPairs, max_bytes: int
) -> None:
    found = soundingearth_ranks(pairs, max_bytes=max_bytes)
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(found[direction].rank, release[f"{direction}_rank"])
    assert found["sound_to_image"].tied.sum() == 20  # the pairs of identical images
    assert (found["sound_to_image"].rank[found["sound_to_image"].tied] % 1 == 0.5).all()


def test_all_figures_are_the_releases(release: dict[str, Any], pairs: EmbeddedPairs) -> None:
    result = evaluate_by("soundingearth", pairs, resamples=50)
    for direction in DIRECTIONS:
        figures = result.figures[direction]
        assert set(figures) == {"R@100", "median_rank", "D@10_km", "D@100_km"}  # k below the gallery of 400
        for name, figure in figures.items():
            assert figure.value == pytest.approx(float(release[f"{direction}_{name}"]), rel=1e-12)
            assert figure.low <= figure.value <= figure.high


def test_says_what_it_does_differently(pairs: EmbeddedPairs) -> None:
    result = evaluate_by("soundingearth", pairs, resamples=10)
    told = result.to_dict()
    assert told["protocol"]["name"] == "soundingearth" and told["recall_counts"] == "rank < k"
    assert told["protocol"]["difference"].count(".") == 1  # one sentence
    assert told["protocol"]["difference"] in result.to_text()
    assert told["twins"] == {
        "handling": "ignore", "pairs_with_identical_image": 20, "pairs_with_identical_recording": 0,
    }  # fmt: skip
    assert "windows" in told["protocol"]


def test_the_images_mean_changes_sound_to_image_alone(pairs: EmbeddedPairs) -> None:
    """One image far from every recording: without the division it would come last for all of them."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((60, 8)).astype(np.float32)
    audio = (image + rng.standard_normal((60, 8))).astype(np.float32)
    image[0] += 100.0
    apart = EmbeddedPairs(
        ids=[str(n) for n in range(60)], image=image, audio=audio, longitude=np.full(60, np.nan),
        latitude=np.full(60, np.nan), image_group=np.arange(60), audio_group=np.arange(60), similarity="l2",
    )  # fmt: skip
    distance = np.linalg.norm(image[:, None].astype(float) - audio[None], axis=2)
    found = soundingearth_ranks(apart)
    to_sound = 1 + (distance < np.diag(distance)[:, None]).sum(axis=1)
    np.testing.assert_array_equal(found["image_to_sound"].rank, to_sound)
    scaled = distance / distance.mean(axis=1, keepdims=True)
    to_image = 1 + (scaled < np.diag(scaled)).sum(axis=0)
    np.testing.assert_array_equal(found["sound_to_image"].rank, to_image)
    assert found["sound_to_image"].rank[0] < 60
