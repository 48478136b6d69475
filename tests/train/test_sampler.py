"""Batches: what holds of every batch whatever the data, shares and rings; chance alone is what it was before."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from earthtone.data.pack import pack
from earthtone.data.packed import Table
from earthtone.errors import ConfigError, DataError
from earthtone.losses.twins import twins_between
from earthtone.signal.config import SignalConfig
from earthtone.train import sampler as sampler_module
from earthtone.train.recipe import SamplerConfig
from earthtone.train.sampler import Sampler, Similar, TableGroups, unit_points

EARTH_KM = 6371.0088
CLOSE = SamplerConfig(ring_share=0.25, ring_km=(1, 60))
BOTH = replace(CLOSE, similar_share=0.25)


def world(seed: int, rows: int, unknown: float = 0.1) -> TableGroups:
    """Towns of 20 km, rows in them; a few rows share an image, a recording or a place; a few have no coordinates."""
    draw = np.random.default_rng(seed)
    towns = draw.normal(size=(max(1, rows // 12), 3))
    towns /= np.linalg.norm(towns, axis=1, keepdims=True)
    points = towns[draw.integers(len(towns), size=rows)] + draw.normal(0, 10 / EARTH_KM, (rows, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[draw.random(rows) < unknown] = np.nan
    groups = draw.integers(0, 3 * rows, (rows, 3))
    groups[:, 2] = np.where(draw.random(rows) < 0.5, -1, groups[:, 2])
    return TableGroups(groups, points)


def look_alikes(seed: int, rows: int) -> Similar:
    draw = np.random.default_rng(seed)
    image = draw.normal(size=(rows, 8)).astype(np.float32)
    return Similar.of(image, (image + draw.normal(size=(rows, 8))).astype(np.float32), 0)


def make(
    config: SamplerConfig, facts: TableGroups, size: int = 16, rows: NDArray[np.int64] | None = None, seed: int = 0
) -> Sampler:
    assert facts.groups is not None
    rows = np.arange(len(facts.groups)) if rows is None else rows
    out = Sampler(rows, size, config, seed, facts, twin_radius_m=200)
    if config.similar_share:
        out.similar = look_alikes(seed, len(rows))
    return out


def apart(points: NDArray[np.float64], row: int, other: int) -> float:
    return float(2 * EARTH_KM * np.arcsin(np.linalg.norm(points[row] - points[other]) / 2))


def test_chance_alone_is_one_permutation_an_epoch() -> None:
    rows = np.arange(7, 60)
    plain = Sampler(rows, 8, SamplerConfig(), 3, TableGroups(None, None))
    for step in (0, 1, 5, 6, 17):
        epoch, number = divmod(step, len(rows) // 8)
        order = np.random.default_rng([3, epoch]).permutation(rows)
        assert np.array_equal(plain.batch(step), order[number * 8 : number * 8 + 8])
    assert plain.once and plain.refresh_epochs is None


KINDS = {
    "random": SamplerConfig(),
    "spread": SamplerConfig(batches="spread", cell_km=20),
    "clustered": SamplerConfig(batches="clustered"),
    "ring": CLOSE,
    "similar": SamplerConfig(similar_share=0.5),
    "all": replace(BOTH, batches="clustered"),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.slow
@EVERY_KIND
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(60, 200), size=st.sampled_from([8, 16]))
def test_every_batch_is_whole_of_training_rows_without_a_double(kind: str, seed: int, rows: int, size: int) -> None:
    facts = world(seed, rows)
    training = np.flatnonzero(np.random.default_rng(seed).random(rows) < 0.8)
    one, other = (make(KINDS[kind], facts, size, training, seed) for _ in range(2))
    steps = list(range(2 * (len(training) // size)))
    batches = [one.batch(step) for step in steps]
    for step in reversed(steps):  # another sampler, in another order: a function of seed and step
        assert np.array_equal(other.batch(step), batches[step])
    for batch in batches:
        assert len(set(batch.tolist())) == size
        assert set(batch.tolist()) <= set(training.tolist())


@EVERY_KIND
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), rows=st.integers(60, 200))
def test_every_row_has_its_turn_once_a_pass(kind: str, seed: int, rows: int) -> None:
    """But for fewer than a batch at its end, which are others in the next pass."""
    one = make(KINDS[kind], world(seed, rows), seed=seed)
    base = KINDS[kind].rows(16).base
    steps = rows // base
    seen = [row for step in range(steps) for row in one.batch(step).tolist()]
    assert len(set(seen)) >= steps * base > rows - base
    if one.once:
        assert len(set(seen)) == len(seen)


def test_hard_negatives_do_not_crowd_out_anyone() -> None:
    """Over many epochs each row comes about as often as by chance; each at least once in 1 / (1 - share) epochs."""
    one = make(BOTH, world(5, 160, unknown=0))
    counts = np.zeros(160)
    for step in range(400):
        counts[one.batch(step)] += 1
    assert counts.sum() == 400 * 16
    assert counts.min() >= 400 * 8 // 160 - 1  # half of a batch has its turn


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.125, 0.25, 0.5]), low=st.sampled_from([0.5, 5.0]))
def test_neighbours_lie_in_the_ring_of_the_row_before_and_are_no_twins(seed: int, share: float, low: float) -> None:
    facts = world(seed, 150, unknown=0)
    config = SamplerConfig(ring_share=share, ring_km=(low, 80))
    one = make(config, facts, seed=seed)
    groups, points = torch.from_numpy(facts.groups), torch.from_numpy(facts.points)
    for step in range(6):
        batch = one.batch(step)
        own = set(one.base_rows(step).tolist())
        chosen = [place for place, row in enumerate(batch.tolist()) if row not in own]
        assert len(chosen) == config.rows(16).ring
        for place in chosen:
            anchor = next(batch[p] for p in range(place, -1, -1) if batch[p] in own)
            assert low - 1e-9 <= apart(points.numpy(), anchor, batch[place]) <= 80 + 1e-9
            pair = torch.tensor([anchor, batch[place]])
            assert not twins_between(groups[pair[:1]], points[pair[:1]], groups[pair[1:]], points[pair[1:]], 200).any()


def test_rows_without_neighbours_get_pairs_by_chance_and_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    facts = world(1, 64, unknown=0)
    assert facts.points is not None
    facts.points[8:] = np.random.default_rng(2).normal(size=(56, 3))  # far from everyone
    facts.points[8:] /= np.linalg.norm(facts.points[8:], axis=1, keepdims=True)
    facts.points[:8] = facts.points[0] + np.random.default_rng(1).normal(0, 5 / EARTH_KM, (8, 3))
    facts.points[:8] /= np.linalg.norm(facts.points[:8], axis=1, keepdims=True)
    one = make(CLOSE, facts)
    assert "12 % of the training pairs have another one 1 to 60 km away" in caplog.text
    assert all(len(set(one.batch(step).tolist())) == 16 for step in range(8))


def test_look_alikes_are_the_nearest_of_the_other_modality_but_no_twins() -> None:
    facts = world(2, 120)
    config = SamplerConfig(similar_share=0.5)
    one = make(config, facts)
    similar = one.similar
    assert similar is not None
    scores = similar.image.astype(int) @ similar.audio.astype(int).T  # rows are images, columns recordings
    groups, points = torch.from_numpy(facts.groups), torch.from_numpy(facts.points)
    twins = twins_between(groups, points, groups, points, 200).numpy()
    for step in range(10):
        batch, own = one.batch(step).tolist(), one.base_rows(step).tolist()
        by_chance = 0
        for place, row in enumerate(batch):
            if row in own:
                anchor = row
                continue
            ranks = []
            for line in (scores[anchor], scores[:, anchor]):
                better = [j for j in range(120) if line[j] > line[row] and not twins[anchor, j] and j not in batch]
                ranks.append(len(better))
            by_chance += min(ranks) > 0
            assert not twins[anchor, row], place
        assert by_chance == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_spread_batches_have_each_cell_once_where_that_can_be(seed: int) -> None:
    """Sixteen cells of ten rows each, a batch of sixteen: systematic sampling takes one of each."""
    draw = np.random.default_rng(seed)
    corners = np.array([[x, y, 1.0] for x in np.linspace(-1, 1, 4) for y in np.linspace(-1, 1, 4)])
    points = np.repeat(corners / np.linalg.norm(corners, axis=1, keepdims=True), 10, axis=0)
    order = draw.permutation(160)
    facts = TableGroups(np.arange(480).reshape(160, 3), points[order])
    one = make(SamplerConfig(batches="spread", cell_km=5), facts, seed=seed)
    for step in range(20):
        assert len({int(order[row]) // 10 for row in one.batch(step)}) == 16
    many = make(SamplerConfig(batches="clustered", cell_km=5), facts, seed=seed)
    assert all(len({int(order[row]) // 10 for row in many.batch(step)}) <= 4 for step in range(20))  # ten, and ends


def test_embeddings_are_kept_in_eight_bits_and_their_order_is_that_of_the_cosines() -> None:
    draw = np.random.default_rng(0)
    image, audio = draw.normal(size=(2, 300, 64)).astype(np.float32)
    similar = Similar.of(7 * image, audio, 0)
    assert similar.image.dtype == np.int8
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (image, audio)]
    pool = draw.permutation(300)[:200]
    for flip in (False, True):
        own, other = unit[::-1] if flip else unit
        cosines = own[:20] @ other.T
        for row, found in enumerate(similar.nearest(np.arange(20), pool, sound_to_image=flip)):
            assert found.shape == (32,) and set(found) <= set(pool)
            best = np.sort(cosines[row, pool])[::-1]
            np.testing.assert_allclose(cosines[row, found], best[:32], atol=0.02)


def test_a_pool_bounds_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "POOL", 40)
    one = make(SamplerConfig(similar_share=0.5), world(3, 150))
    assert all(len(set(one.batch(step).tolist())) == 16 for step in range(10))


def test_too_few_places_are_told_in_a_line() -> None:
    nowhere = world(0, 80, unknown=0.95)
    for config, option in ((CLOSE, "sampler.ring_share"), (KINDS["spread"], "sampler.batches spread")):
        with pytest.raises(ConfigError, match=rf"of 80 training pairs have coordinates, fewer than a batch.*{option}"):
            make(config, nowhere)
    with pytest.raises(ConfigError, match=r"none of 80 training pairs has another one 0.001 to 0.1 km away"):
        make(SamplerConfig(ring_share=0.25, ring_km=(0.001, 0.1)), world(0, 80))


def test_embeddings_must_be_there_first() -> None:
    one = make(SamplerConfig(similar_share=0.5), world(0, 80))
    one.similar = None
    with pytest.raises(ConfigError, match="needs the model's embeddings before the first batch"):
        one.batch(0)


def test_products_are_the_cosines_of_great_circles(tiny_table: Path) -> None:
    table = Table(tiny_table)
    points = unit_points(table, table.rows_of("all")).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-12)
    longitude, latitude = (np.radians(table.column(name)) for name in ("longitude", "latitude"))
    # spherical law of cosines
    expected = np.sin(latitude)[:, None] * np.sin(latitude) + np.cos(latitude)[:, None] * np.cos(latitude) * np.cos(
        longitude[:, None] - longitude
    )
    np.testing.assert_allclose(points @ points.T, expected, atol=1e-12)


def test_pairs_without_coordinates_are_counted_and_named(
    tiny_pairs: Path, tiny_signal: SignalConfig, tmp_path: Path
) -> None:
    lines = tiny_pairs.read_text().splitlines()
    fields = lines[0].split(",")
    kept = [lines[0]]
    for number, line in enumerate(lines[1:7]):
        values = line.split(",")
        if number in (1, 3):
            values[fields.index("longitude")] = values[fields.index("latitude")] = ""
        for name in ("image", "audio"):
            values[fields.index(name)] = str(tiny_pairs.parent / values[fields.index(name)])
        kept.append(",".join(values))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(kept) + "\n")
    table = Table(pack(manifest, tmp_path / "t.lance", signal=tiny_signal, threads=1).path)
    with pytest.raises(DataError, match=r"2 of 6 training pairs have no coordinates \(pair-1, pair-3\).*loss.name"):
        unit_points(table, table.rows_of("all"))
    rows = np.array([0, 2])
    points = unit_points(table, rows)
    assert points.dtype == np.float64 and np.isfinite(points[rows]).all() and np.isnan(points[1]).all()
