"""Who is whose twin: exact from metres to kilometres, anywhere on the globe, and the same in whatever process."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import haversine_distances
from torch import Tensor

from earthtone.losses import twins as relation
from earthtone.losses.twins import EARTH_RADIUS_M, padded_groups, twins_between

NOBODY = torch.full((1, 3), -1)


def unit(longitude: float, latitude: float) -> Tensor:
    """The unit vector (1, 3) of a place in degrees."""
    lon, lat = np.radians([longitude, latitude])
    return torch.tensor([[np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]])


def near(points: Tensor, others: Tensor, radius_m: float) -> list[list[bool]]:
    nobody, nobody_else = NOBODY.repeat(len(points), 1), NOBODY.repeat(len(others), 1)
    found: list[list[bool]] = twins_between(nobody, points, nobody_else, others, radius_m).tolist()
    return found


@pytest.mark.parametrize("radius_m", [1.0, 20.0, 200.0, 10_000.0])
@pytest.mark.parametrize("place", [(0, 0), (13.4, 52.5), (-179.9999, -33), (180, 0), (77, 89.9), (5, -90)])
def test_a_thousandth_nearer_or_farther_decides(place: tuple[float, float], radius_m: float) -> None:
    step = np.degrees(radius_m / EARTH_RADIUS_M)  # along the meridian an arc is a difference of latitudes
    away = -1 if place[1] > 0 else 1
    here = unit(*place)
    assert near(here, unit(place[0], place[1] + away * 0.999 * step), radius_m) == [[True]]
    assert near(here, unit(place[0], place[1] + away * 1.001 * step), radius_m) == [[False]]


def test_both_sides_of_the_date_line_are_near() -> None:
    assert near(unit(179.9999, 10), unit(-179.9999, 10), 25) == [[True]]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), radius_m=st.floats(1, 2.1e7))
def test_agrees_with_the_haversine_of_scikit_learn(seed: int, radius_m: float) -> None:
    draw = np.random.default_rng(seed)
    latitude, longitude = np.degrees(np.arcsin(draw.uniform(-1, 1, 12))), draw.uniform(-180, 180, 12)
    metres = haversine_distances(np.radians(np.stack([latitude, longitude], 1))) * EARTH_RADIUS_M
    points = torch.cat([unit(*place) for place in zip(longitude, latitude, strict=True)])
    clear = abs(metres - radius_m) > 1e-3
    assert (np.array(near(points, points, radius_m)) == (metres < radius_m))[clear].all()


def test_what_is_unknown_is_nobodys_neighbour() -> None:
    points = torch.tensor([[1.0, 0, 0], [np.nan] * 3, [np.nan] * 3])
    numbers = torch.tensor([[1, 2, -1], [3, 4, -1], [5, 2, -1]])
    found = twins_between(numbers, points, numbers, points, 4e7)
    assert found.tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert near(points, points, 4e7) == [[True, False, False], [False, False, False], [False, False, False]]
    assert not twins_between(NOBODY, None, NOBODY, None, 100).any()
    assert padded_groups(torch.tensor([[7, 8]])).tolist() == [[7, 8, -1]]


def facts(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Groups and places of rows, many of them twins in one way or another, some without a place."""
    draw = np.random.default_rng(seed)
    points = torch.cat([unit(lon, lat) for lon, lat in draw.normal(50, 5e-3, (rows, 2))])
    points[draw.random(rows) < 0.2] = np.nan
    return torch.from_numpy(draw.integers(-1, 30, (rows, 3))), points


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 24))
def test_parts_and_order_do_not_matter(seed: int, cut: int) -> None:
    groups, points = facts(24, seed)
    whole = twins_between(groups, points, groups, points, 150)
    assert torch.equal(whole, whole.T)
    parts = [
        [twins_between(groups[a], points[a], groups[b], points[b], 150) for b in (slice(cut), slice(cut, None))]
        for a in (slice(cut), slice(cut, None))
    ]
    assert torch.equal(whole, torch.cat([torch.cat(line, dim=1) for line in parts]))


def test_distances_are_looked_at_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    groups, points = facts(24, 1)
    whole = twins_between(groups, points, groups, points, 150)
    monkeypatch.setattr(relation, "ENTRIES_AT_ONCE", 60)
    assert torch.equal(whole, twins_between(groups, points, groups, points, 150))


def process(rank: int, meeting: str, out: str) -> None:
    """What one of two processes does: it knows its own rows' facts, gathers the others', and tells the twins."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    own = [part[rank * 12 : rank * 12 + 12].contiguous() for part in facts(24, 2)]
    joined = []
    for part in own:
        parts = [torch.empty_like(part) for _ in range(2)]
        torch.distributed.all_gather(parts, part)
        joined.append(torch.cat(parts))
    torch.save(twins_between(joined[0], joined[1], joined[0], joined[1], 150), f"{out}-{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_find_the_twins_of_the_joined_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(process, (str(tmp_path / "meeting"), str(tmp_path / "found")), nprocs=2)
    groups, points = facts(24, 2)
    expected = twins_between(groups, points, groups, points, 150)
    assert 0 < expected[:12, 12:].sum() < 144  # twins across the processes
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"found-{rank}.pt", weights_only=True), expected)
