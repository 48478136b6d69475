"""Ranks: worked by hand, against pytrec_eval and a plain loop, and properties that must hold for all inputs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone.errors import ConfigError, DataError
from earthtone.evaluate.ranking import DIRECTIONS, DirectionRanks, EmbeddedPairs, largest, rank_pairs


def pairs_of(image: Any, audio: Any, image_group: Any = None, audio_group: Any = None) -> EmbeddedPairs:
    image, audio = (np.asarray(values, dtype=np.float64) for values in (image, audio))
    image, audio = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (image, audio))
    count = len(image)
    own = np.arange(count)
    return EmbeddedPairs(
        ids=[str(i) for i in own], image=image.astype(np.float32), audio=audio.astype(np.float32),
        longitude=np.full(count, np.nan), latitude=np.full(count, np.nan),
        image_group=own if image_group is None else np.asarray(image_group),
        audio_group=own if audio_group is None else np.asarray(audio_group),
    )  # fmt: skip


def random_pairs(seed: int, count: int, dimensions: int = 8, groups: int | None = None) -> EmbeddedPairs:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((count, dimensions))
    audio = image + rng.standard_normal((count, dimensions))
    twins = [None, None] if groups is None else [rng.integers(0, groups, count) for _ in range(2)]
    return pairs_of(image, audio, *twins)


def raw_pairs(image: Any, audio: Any, image_group: Any = None, audio_group: Any = None) -> EmbeddedPairs:
    """Pairs that are compared by distance, with embeddings of any length."""
    unit = pairs_of(np.ones((len(image), 1)), np.ones((len(image), 1)), image_group, audio_group)
    raw = {"image": np.asarray(image, np.float32), "audio": np.asarray(audio, np.float32), "similarity": "l2"}
    return replace(unit, **raw)


def assert_same(found: dict[str, DirectionRanks], expected: dict[str, DirectionRanks]) -> None:
    for direction in DIRECTIONS:
        for name in ("rank", "relevant", "tied", "score", "ndcg", "top"):
            np.testing.assert_array_equal(getattr(found[direction], name), getattr(expected[direction], name))


def test_three_by_three_by_hand() -> None:
    # cosines, image by sound:  0.6 0.8 0    own partners on the diagonal
    #                           1   0   0
    #                           0   0   1
    pairs = pairs_of(np.array([[0.6, 0.8, 0], [1, 0, 0], [0, 0, 1]]), np.eye(3))
    found = rank_pairs(pairs)
    assert found["image_to_sound"].rank.tolist() == [2, 3, 1]  # row 1: own 0 ties with another 0, and 1 is above
    assert found["image_to_sound"].tied.tolist() == [False, True, False]
    assert found["image_to_sound"].top.tolist() == [[1, 0, 2], [0, 2, 1], [2, 0, 1]]
    assert found["sound_to_image"].rank.tolist() == [2, 3, 1]  # column 1: 0.8, own 0, a tied 0
    assert found["sound_to_image"].tied.tolist() == [False, True, False]
    np.testing.assert_allclose(found["image_to_sound"].score, [0.6, 0, 1], atol=1e-7)
    np.testing.assert_allclose(found["image_to_sound"].ndcg, [1 / np.log2(3), 0.5, 1])


def test_four_by_four_with_twins_by_hand() -> None:
    # pairs 0 and 1 share a recording, pairs 1 and 2 an image; so 1 has the right items 0, 1, 2
    image = np.array([[0.1, 0.0, 0.3, 0.9], [0.5, 0.1, 0.2, 0.8], [0.5, 0.1, 0.2, 0.8], [0.9, 0.2, 0.3, 0.1]])
    pairs = pairs_of(image, np.eye(4), image_group=[0, 1, 1, 3], audio_group=[0, 0, 2, 3])
    merged, ignored = rank_pairs(pairs)["image_to_sound"], rank_pairs(pairs, twins="ignore")["image_to_sound"]
    assert merged.relevant.tolist() == [2, 3, 2, 1] and ignored.relevant.tolist() == [1, 1, 1, 1]
    assert ignored.rank.tolist() == [3, 4, 3, 4]
    assert merged.rank.tolist() == [3, 2, 3, 4]
    # query 1: order 3, 0, 2, 1, right are the last three
    gains = 1 / np.log2([2, 3, 4, 5])
    assert merged.ndcg[1] == pytest.approx(gains[1:].sum() / gains[:3].sum())
    assert rank_pairs(pairs)["sound_to_image"].relevant.tolist() == [2, 3, 2, 1]


@pytest.mark.parametrize("groups", [None, 25])
def test_agrees_with_pytrec_eval(groups: int | None) -> None:
    pairs = random_pairs(seed=3, count=60, groups=groups)
    cosines = pairs.image.astype(np.float64) @ pairs.audio.T.astype(np.float64)
    right = np.eye(60, dtype=bool)
    if groups:
        right |= pairs.image_group[:, None] == pairs.image_group
        right |= pairs.audio_group[:, None] == pairs.audio_group
    for direction, scores in (("image_to_sound", cosines), ("sound_to_image", cosines.T)):
        found = rank_pairs(pairs)[direction]
        judge = pytrec_eval.RelevanceEvaluator(
            {f"q{i}": {f"d{j}": int(right[i, j]) for j in range(60)} for i in range(60)},
            {"recip_rank", "ndcg_cut_10", "success_1,5,10"},
        )
        told = judge.evaluate({f"q{i}": {f"d{j}": float(scores[i, j]) for j in range(60)} for i in range(60)})
        for i in range(60):
            assert 1 / found.rank[i] == pytest.approx(told[f"q{i}"]["recip_rank"])
            assert found.ndcg[i] == pytest.approx(told[f"q{i}"]["ndcg_cut_10"])
            for k in (1, 5, 10):
                assert (found.rank[i] <= k) == told[f"q{i}"][f"success_{k}"]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12))
def test_agrees_with_a_plain_loop_also_on_ties(seed: int, count: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]])
    image, audio = corners[rng.integers(0, 4, (2, count))]
    pairs = pairs_of(image, audio, rng.integers(0, groups, count), rng.integers(0, groups, count))
    found = rank_pairs(pairs)["image_to_sound"]
    scores = np.round(pairs.image.astype(np.float64) @ pairs.audio.T.astype(np.float64) * 2**24).astype(int)
    for i in range(count):
        right = [
            j for j in range(count)
            if pairs.image_group[j] == pairs.image_group[i] or pairs.audio_group[j] == pairs.audio_group[i]
        ]  # fmt: skip
        wrong = [j for j in range(count) if j not in right]
        best = max(scores[i, j] for j in right)
        assert found.rank[i] == 1 + sum(scores[i, j] >= best for j in wrong)
        assert found.tied[i] == any(scores[i, j] == best for j in wrong)
        order = sorted(range(count), key=lambda j: (-scores[i, j], j in right, j))
        assert found.top[i].tolist() == order[:100]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.one_of(st.none(), st.integers(1, 20)))
def test_the_order_of_rows_does_not_matter(seed: int, count: int, groups: int | None) -> None:
    pairs = random_pairs(seed, count, groups=groups)
    order = np.random.default_rng(seed).permutation(count)
    by_row = ("image", "audio", "image_group", "audio_group")
    other = replace(pairs, **{name: getattr(pairs, name)[order] for name in by_row})
    found, shuffled = rank_pairs(pairs), rank_pairs(other)
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(found[direction].rank[order], shuffled[direction].rank)
        np.testing.assert_array_equal(found[direction].ndcg[order], shuffled[direction].ndcg)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 4000))
def test_the_size_of_the_chunks_does_not_matter(seed: int, count: int, max_bytes: int) -> None:
    pairs = random_pairs(seed, count, dimensions=33, groups=20)
    assert_same(rank_pairs(pairs, max_bytes=max_bytes), rank_pairs(pairs))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 20))
def test_merged_twins_never_rank_worse(seed: int, count: int, groups: int) -> None:
    pairs = random_pairs(seed, count, groups=groups)
    merged, ignored = rank_pairs(pairs), rank_pairs(pairs, twins="ignore")
    for direction in DIRECTIONS:
        assert (merged[direction].rank <= ignored[direction].rank).all()


@given(st.integers(0, 10_000), st.integers(1, 30))
def test_perfect_embeddings_rank_first(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).standard_normal((count, 8))
    for found in rank_pairs(pairs_of(values, values)).values():
        assert found.rank.tolist() == [1] * count
        assert found.ndcg.tolist() == [1.0] * count
        assert found.top[:, 0].tolist() == list(range(count))


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 90), st.integers(1, 130), st.integers(1, 20))
def test_a_constant_model_gets_no_credit(seed: int, count: int, dimensions: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    image, audio = rng.standard_normal((2, dimensions))
    twins = rng.integers(0, groups, count)
    pairs = pairs_of(np.tile(image, (count, 1)), np.tile(audio, (count, 1)), audio_group=twins)
    for twin_mode in ("merge", "ignore"):
        for found in rank_pairs(pairs, twins=twin_mode, max_bytes=8 * count * 7).values():
            assert (found.rank == count - found.relevant + 1).all()
            assert found.tied.tolist() == (found.relevant < count).tolist()


@given(st.integers(0, 10_000), st.integers(1, 3000), st.integers(1, 120), st.integers(1, 2000))
def test_largest_is_the_head_of_a_stable_sort(seed: int, length: int, count: int, values: int) -> None:
    key: NDArray[np.int32] = np.random.default_rng(seed).integers(-values, values, length).astype(np.int32)
    assert largest(key, count).tolist() == sorted(range(length), key=lambda i: (-key[i], i))[:count]


def test_distances_by_hand() -> None:
    # on a line; image 0 at 0, 1 at 10, 2 at 3; recordings at 1, 4, 3: the lengths alone would rank otherwise
    found = rank_pairs(raw_pairs([[0], [10], [3]], [[1], [4], [3]]))
    assert found["image_to_sound"].rank.tolist() == [1, 1, 1]
    assert found["image_to_sound"].top.tolist() == [[0, 2, 1], [1, 2, 0], [2, 1, 0]]
    np.testing.assert_allclose(found["image_to_sound"].score, [-1, -6, 0], atol=1e-3)
    assert found["sound_to_image"].rank.tolist() == [1, 3, 1]
    assert found["sound_to_image"].top.tolist() == [[0, 2, 1], [2, 0, 1], [2, 0, 1]]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12), st.sampled_from([2.0**-10, 1.0, 2.0**13]))
def test_distances_agree_with_a_plain_loop_also_on_ties(seed: int, count: int, groups: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    corners = scale * rng.integers(-3, 4, (6, 3))
    image, audio = corners[rng.integers(0, 6, (2, count))]
    pairs = raw_pairs(image, audio, rng.integers(0, groups, count), rng.integers(0, groups, count))
    apart = ((pairs.image[:, None].astype(float) - pairs.audio[None]) ** 2).sum(axis=2) / scale**2
    apart = np.round(apart, 3)
    same = (pairs.image_group[:, None] == pairs.image_group) | (pairs.audio_group[:, None] == pairs.audio_group)
    for direction, distance in (("image_to_sound", apart), ("sound_to_image", apart.T)):
        found = rank_pairs(pairs, max_bytes=8 * count * 3)[direction]
        best = np.where(same, distance, np.inf).min(axis=1, keepdims=True)
        assert found.rank.tolist() == (1 + (~same & (distance <= best)).sum(axis=1)).tolist()
        assert found.tied.tolist() == (~same & (distance == best)).any(axis=1).tolist()


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_unit_vectors_rank_alike_by_cosine_and_by_distance(seed: int, count: int) -> None:
    pairs = random_pairs(seed, count, groups=20)
    by_cosine, by_distance = rank_pairs(pairs), rank_pairs(replace(pairs, similarity="l2"))
    for direction in DIRECTIONS:
        np.testing.assert_array_equal(by_cosine[direction].rank, by_distance[direction].rank)


def test_a_constant_raw_model_gets_no_credit() -> None:
    rng = np.random.default_rng(0)
    image, audio = 100 * rng.standard_normal((2, 33))
    for found in rank_pairs(raw_pairs(np.tile(image, (70, 1)), np.tile(audio, (70, 1)))).values():
        assert (found.rank == 70).all() and found.tied.all()


def test_keeps_as_many_top_items_as_asked() -> None:
    pairs = random_pairs(0, 30)
    full = rank_pairs(pairs)
    short = rank_pairs(pairs, depth=3)
    for direction in DIRECTIONS:
        assert short[direction].top.tolist() == full[direction].top[:, :3].tolist()
        assert short[direction].ndcg.tolist() == full[direction].ndcg.tolist()


def test_refuses_what_makes_no_sense() -> None:
    pairs = random_pairs(0, 3)
    with pytest.raises(ConfigError, match="twins is 'drop'; one of merge, ignore"):
        rank_pairs(pairs, twins="drop")
    with pytest.raises(ConfigError, match="depth is 0"):
        rank_pairs(pairs, depth=0)
    with pytest.raises(DataError, match="no pairs"):
        rank_pairs(random_pairs(0, 0))
