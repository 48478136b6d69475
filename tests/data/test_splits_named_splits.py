"""Splits by name: each row in one split, the same every time, as published, as far apart as promised."""

import csv
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthtone.data.pair import SPLITS, Pair, Problem
from earthtone.data.source import open_source
from earthtone.data.splits import (
    NAMED_SPLITS,
    BlockGrid,
    block_split,
    check_split_by,
    geoclap_codes,
    named_split,
    psm_codes,
    split_in_words,
)
from earthtone.errors import ConfigError, DataError

Place = tuple[float | None, float | None]


class Pairs:
    """A source in memory."""

    path = Path("memory")
    name = "memory"
    extra_columns: tuple[str, ...] = ("recording_id",)
    ready_spectrograms = False

    def __init__(self, pairs: Sequence[Pair | Problem]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.pairs)


def pair(number: int, place: Place = (None, None), split: str | None = None, **others: Any) -> Pair:
    known = {"image": f"image {number}".encode(), "audio": f"sound {number}".encode(), **others}
    return Pair(str(number), longitude=place[0], latitude=place[1], split=split, **known)


def dealt(by: str, pairs: Sequence[Pair], **options: float) -> dict[str, str | None]:
    split = named_split(by, Pairs(pairs), **options)
    return {one.id: split.assign(one) for one in pairs}


def km_between(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Great-circle distance through unit vectors."""
    a, b = (
        (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat))
        for lon, lat in ((math.radians(x), math.radians(y)) for x, y in (one, two))
    )
    return 2 * 6371.0088 * math.asin(min(1.0, math.dist(a, b) / 2))


def towns(seed: int, count: int) -> list[Place]:
    """Places in clusters of a few kilometres, many a cell of 10 km."""
    rng = np.random.default_rng(seed)
    middles = np.stack([rng.uniform(-180, 180, 30), np.degrees(np.arcsin(rng.uniform(-0.99, 0.99, 30)))], axis=1)
    town = middles[rng.choice(30, count, p=rng.dirichlet(np.ones(30)))]
    north = np.clip(town[:, 1] + rng.normal(0, 0.03, count), -90, 90)
    east = (town[:, 0] + rng.normal(0, 0.03, count) + 540) % 360 - 180
    return list(zip(east.tolist(), north.tolist(), strict=True))


PLACES = st.lists(
    st.one_of(st.just((None, None)), st.tuples(st.floats(-180, 180), st.floats(-90, 90))), min_size=1, max_size=60
)


@settings(max_examples=40, deadline=None)
@given(PLACES, st.sampled_from(sorted(NAMED_SPLITS)))
def test_every_row_is_in_one_split_or_in_none_and_always_the_same(places: list[Place], by: str) -> None:
    pairs = [pair(number, place) for number, place in enumerate(places)]
    found = dealt(by, pairs)
    assert found == dealt(by, pairs)
    assert set(found.values()) <= {*SPLITS, None}
    placeless = {str(number) for number, place in enumerate(places) if place == (None, None)}
    nowhere = {name for name, split in found.items() if split is None}
    if by in ("manifest", "blocks", "key-digit", "geoclap"):
        assert not nowhere
    else:
        assert placeless <= nowhere
    if by == "psm-cells":
        assert placeless == nowhere


@settings(max_examples=30, deadline=None)
@given(PLACES, st.sampled_from(sorted(set(NAMED_SPLITS) - {"geoclap"})), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(places, by, random) -> None:  # type: ignore[no-untyped-def]
    pairs = [pair(number, place) for number, place in enumerate(places)]
    shuffled = random.sample(pairs, len(pairs))
    assert dealt(by, pairs) == dealt(by, shuffled)
    assert named_split(by, Pairs(pairs)).record == named_split(by, Pairs(shuffled)).record


def test_geoclap_has_the_published_counts() -> None:
    assert np.bincount(geoclap_codes(50_792)).tolist() == [35_554, 5_079, 10_159]


@pytest.mark.parametrize(
    ("count", "sum_of_places", "first"),
    # from pandas: DataFrame.sample(frac=1, random_state=42), cut at int(0.7 n) and int(0.8 n)
    [
        (10, 22, [0, 0, 0, 2, 1, 0, 2, 0, 0, 0]),
        (1000, 254_566, [0, 2, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
        (12_345, 38_775_324, [0, 2, 0, 0, 2, 2, 1, 1, 0, 2, 0, 2]),
        (50_792, 641_398_104, [0, 0, 2, 0, 0, 1, 0, 0, 0, 2, 2, 0]),
    ],
)
def test_geoclap_deals_out_the_rows_that_pandas_does(count: int, sum_of_places: int, first: list[int]) -> None:
    codes = geoclap_codes(count)
    assert codes[:12].tolist() == first and int((codes.astype(int) * np.arange(count)).sum()) == sum_of_places


@given(st.integers(0, 3000))
def test_geoclap_cuts_at_seven_and_eight_tenths(count: int) -> None:
    sizes = np.bincount(geoclap_codes(count), minlength=3).tolist()
    assert sizes == [int(0.7 * count), int(0.8 * count) - int(0.7 * count), count - int(0.8 * count)]


def test_geoclap_counts_usable_rows_in_the_order_of_the_file() -> None:
    pairs = [pair(number) for number in range(100, 110)]
    broken: list[Pair | Problem] = [*pairs[:3], Problem("x", "missing image", "gone"), *pairs[3:]]
    split = named_split("geoclap", Pairs(broken))
    assert split.record["rows"] == 10
    assert [SPLITS.index(str(split.assign(one))) for one in pairs] == geoclap_codes(10).tolist()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(50, 1500))
def test_psm_cells_are_whole_and_held_out_by_count(seed: int, count: int) -> None:
    places = towns(seed, count)
    found = dealt("psm-cells", [pair(number, place) for number, place in enumerate(places)])
    cells = [BlockGrid(10.0).cell(*place) for place in places]  # type: ignore[arg-type]
    sizes = Counter(cells)
    splits: dict[tuple[int, int], set[str | None]] = {}
    for number, cell in enumerate(cells):
        splits.setdefault(cell, set()).add(found[str(number)])
    assert all(len(inside) == 1 for inside in splits.values())  # no cell is torn
    assert all(splits[cell] == {"train"} for cell, size in sizes.items() if size < 25)
    full = sorted(size for size in sizes.values() if size >= 25)
    if not full:
        return
    low, high = np.quantile(full, [0.33, 0.66])
    for inside in (lambda n: n <= low, lambda n: low < n <= high, lambda n: n > high):
        part = [cell for cell, size in sizes.items() if size >= 25 and inside(size)]
        held_out = int(0.35 * len(part))
        told = Counter(next(iter(splits[cell])) for cell in part)
        assert told["val"] == int(0.4 * held_out) and told["test"] == held_out - int(0.4 * held_out)


def test_psm_cells_by_hand() -> None:
    """360 full cells of 25 to 384 rows: parts of 119, 118 and 123 cells, 41, 41 and 43 of them held out."""
    sizes = np.arange(25, 385)
    codes = psm_codes(np.repeat(np.arange(360), sizes))
    firsts = codes[np.concatenate([[0], np.cumsum(sizes)[:-1]])]
    assert np.bincount(firsts).tolist() == [360 - 125, 16 + 16 + 17, 25 + 25 + 26]
    assert psm_codes(np.repeat([-1, 5], 30)).tolist() == [3] * 30 + [0] * 30


@pytest.mark.parametrize("buffer_km", [0.5, 1.0, 3.0])
def test_pairs_of_different_splits_are_a_buffer_apart(buffer_km: float) -> None:
    places = [place for seed in range(4) for place in towns(seed, 250)]
    pairs = [pair(number, place) for number, place in enumerate(places)]
    found = dealt("buffered-blocks", pairs, buffer_km=buffer_km)
    kept = [(place, found[str(number)]) for number, place in enumerate(places) if found[str(number)] is not None]
    assert 100 < len(kept) < len(places)
    assert all(split == block_split(*place) for place, split in kept)  # type: ignore[arg-type]
    for at, (one, split) in enumerate(kept):
        for other, other_split in kept[:at]:
            if split != other_split and abs(one[1] - other[1]) < 0.1:  # type: ignore[operator]
                assert km_between(one, other) > buffer_km  # type: ignore[arg-type]


def test_the_buffer_is_a_kilometre_unless_told() -> None:
    pairs = [pair(number, place) for number, place in enumerate(towns(0, 200))]
    assert dealt("buffered-blocks", pairs) == dealt("buffered-blocks", pairs, buffer_km=1.0)
    assert named_split("buffered-blocks", Pairs(pairs)).record["buffer_km"] == 1.0


def test_the_manifests_split_counts_for_manifest_alone() -> None:
    given_ = [pair(number, (8.0, 50.0), "val") for number in range(3)]
    assert set(dealt("manifest", given_).values()) == {"val"}
    assert set(dealt("blocks", given_).values()) == {block_split(8.0, 50.0)} != {"val"}
    assert dealt("key-digit", given_) == {"0": "train", "1": "train", "2": "test"}


def test_copies_of_an_image_without_a_place_stay_together() -> None:
    for by in ("manifest", "blocks"):
        copies = [pair(number, image=b"the same image") for number in range(20)]
        assert len(set(dealt(by, copies).values())) == 1
        assert len(set(dealt(by, [pair(number) for number in range(40)]).values())) == 3


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 8), st.sampled_from(["", "r1", "r2"]), st.booleans()),
        min_size=2, max_size=40,
    ),
    st.sampled_from(["manifest", "blocks", "buffered-blocks", "psm-cells"]),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_what_is_linked_is_never_in_two_splits(rows, by, random) -> None:  # type: ignore[no-untyped-def]
    pairs = [
        pair(
            number, (number * 7.3 % 360 - 180, number * 3.1 % 60) if placed else (None, None),
            image=f"i{image}".encode(), audio=f"a{audio}".encode(), extra={"recording_id": name, "note": "same"},
        )
        for number, (image, audio, name, placed) in enumerate(rows)
    ]  # fmt: skip
    found = dealt(by, pairs)
    assert found == dealt(by, random.sample(pairs, len(pairs)))
    for value in (lambda one: one.image, lambda one: one.audio, lambda one: one.extra["recording_id"] or one.id):
        splits: dict[object, set[str | None]] = {}
        for one in pairs:
            splits.setdefault(value(one), set()).add(found[one.id])
        assert all(len(inside - {None}) <= 1 for inside in splits.values())


def test_a_row_without_a_split_goes_with_its_twin_that_has_one() -> None:
    pairs = [pair(0, split="test"), pair(1, audio=b"sound 0"), pair(2, image=b"image 1"), pair(3, split="train")]
    assert dealt("manifest", pairs) == {"0": "test", "1": "test", "2": "test", "3": "train"}
    torn = [pair(0, split="test"), pair(1, audio=b"sound 0", split="train"), pair(2, audio=b"sound 0")]
    split = named_split("manifest", Pairs(torn))
    assert [split.assign(one) for one in torn] == ["test", "train", None]
    assert split.linked_text == "1 rows share an image, a recording or its id with others; 1 of them link several " \
        "splits and are in none"  # fmt: skip


def test_published_splits_stay_what_they_are() -> None:
    copies = [pair(number, audio=b"one recording") for number in range(10)]
    assert Counter(dealt("key-digit", copies).values()) == {"train": 7, "test": 2, "val": 1}
    assert Counter(dealt("geoclap", copies).values()) == {"train": 7, "test": 2, "val": 1}


def test_a_row_that_came_in_between_is_told() -> None:
    split = named_split("geoclap", Pairs([pair(1), pair(2)]))
    with pytest.raises(DataError, match="id '3' was not there a moment ago"):
        split.assign(pair(3))


def test_a_manifest_is_read_once_before(tmp_path: Path) -> None:
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "audio", "longitude", "latitude"])
        for number in range(30):
            for suffix in ("png", "wav"):
                (tmp_path / f"{number}.{suffix}").touch()
            rows.writerow([number, f"{number}.png", f"{number}.wav", 8 + number / 1e4, 50])
    source = open_source(tmp_path / "pairs.csv")
    split = named_split("psm-cells", source)
    assert split.record["rows"] == 30 and len(split.record["digest"]) == 16
    assert {split.assign(one) for one in source if isinstance(one, Pair)} == {"train"}  # one cell: int(0.35) is 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: check_split_by("geoclip"), "did you mean geoclap?"),
        (lambda: check_split_by("blocks", 1.0), "--buffer_km has no effect with --split_by blocks"),
        (lambda: check_split_by("buffered-blocks", 0.0), "buffer_km is 0.0; more than 0"),
        (lambda: check_split_by("buffered-blocks", math.nan), "buffer_km is nan"),
        (lambda: check_split_by("buffered-blocks", 1e4), "at most 50"),
        (lambda: named_split("nothing", Pairs([])), "one of manifest, blocks"),
    ],
)
def test_refuses_what_makes_no_sense(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        wrong()


def test_ids_without_a_last_digit_are_refused() -> None:
    with pytest.raises(DataError, match="id 'a2' is no whole number"):
        named_split("key-digit", Pairs([pair(1), Pair("a2", None, None)]))


def test_each_split_is_told_in_words() -> None:
    for by in NAMED_SPLITS:
        words = split_in_words(named_split(by, Pairs([pair(1)])).record)
        assert words.startswith(f"{by}: ") and len(words) <= 120 and "None" not in words
    assert split_in_words({"by": "of tomorrow"}) == "of tomorrow: unknown to this version"
